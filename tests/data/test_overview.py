"""What `data check` says of sound data, against numbers counted by hand; and what it says where a flag or a name is missing."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from diorama.cli import main
from diorama.data import io
from diorama.data.check import check
from diorama.data.folder import Folder
from diorama.data.labels import LabelSet
from diorama.data.overview import Overview, summary


@pytest.fixture
def rooms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty frames of 20x10 in flat folders: a quarter floor, a twentieth ignored, depths 1.00 to 2.99 m."""
    root = tmp_path / "my_rooms"
    random = np.random.default_rng(0)
    semantic = np.zeros((10, 20), np.uint8)
    semantic[5:, :10], semantic[0, :10] = 1, 255
    (root / "depth").mkdir(parents=True)
    for number in range(20):
        io.write_image(root / f"images/r{number}.png", random.integers(0, 255, (10, 20, 3), np.uint8))
        io.write_label_png(root / f"semantic/r{number}.png", semantic)
        cv2.imwrite(str(root / f"depth/r{number}.png"), (1000 + 10 * np.arange(200).reshape(10, 20)).astype(np.uint16))
    (root / "dataset.yaml").write_text("classes: [background, floor]\ndepth_scale: 1000\n")
    monkeypatch.chdir(tmp_path)
    return root


def test_a_sound_folder_is_told_in_a_few_lines(rooms: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "folder", "--data.root", str(rooms)]) == 0
    *lines, division, total = capsys.readouterr().out.splitlines()
    counts = {split: len(Folder(rooms, split)) for split in ("train", "val", "test")}
    # 50 of 190 labelled pixels are floor, 10 of 200 ignored; percentiles of 1.00, 1.01, ... 2.99 m
    held = "20x10; background 73.7%, floor 26.3% (5.0% of the pixels ignored); depth 1.10, 2.00, 2.89 m (5, 50, 95 %)"
    assert lines == [f"{split}: {count} frames; {held}" for split, count in counts.items()]
    listed = " / ".join(f"{count} {split}" for split, count in counts.items())
    assert division == f"no train.txt, val.txt or test.txt: split by a hash of the file names, {listed}"
    assert total == "folder: 0 errors, 0 warnings"


def test_nothing_is_told_of_what_is_held_where_there_are_errors(rooms: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (rooms / "dataset.yaml").write_text("classes: [background]\ndepth_scale: 1000\n")
    assert main(["data", "check", "folder", "--data.root", str(rooms), "--splits", "[train]"]) == 1
    line, total = capsys.readouterr().out.splitlines()
    assert "train frames, first" in line
    assert total == "folder: 1 errors, 0 warnings"


def test_sizes_and_frames_that_are_read(rooms: Path) -> None:
    for key in ("images", "semantic", "depth"):
        path = rooms / key / "r0.png"
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:8])
    (rooms / "train.txt").write_text("\n".join(f"r{number}" for number in range(3)))
    overview = Overview(Folder(rooms))
    check(overview.dataset, overview=overview)
    assert str(overview).startswith("train: 3 frames; 20x10 (2) and 20x8 (1); ")
    assert len(summary([overview])) == 1
    one = Overview(Folder(rooms))
    check(one.dataset, 1, overview=one)
    assert str(one).startswith("train: 3 frames (1 read); 20x8; ")


def test_of_many_classes_the_largest_are_named(rooms: Path) -> None:
    dataset = Folder(rooms, "all", keys=("image",))
    dataset.labels = LabelSet("many", tuple("abcdefghij"), tuple((k, k, k) for k in range(10)))
    overview = Overview(dataset)
    semantic = np.repeat(np.arange(10), np.arange(1, 11)).astype(np.uint8)[None]  # 1 pixel of a, ... 10 of j
    overview.look({"semantic": semantic}, "a", True)
    named = "j 18.2%, i 16.4%, h 14.5%, g 12.7%, f 10.9%, e 9.1%, d 7.3%, c 5.5%, 2 more 5.5%"
    assert str(overview) == f"all: 20 frames (1 read); 55x1; {named}"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("check my_rooms", "'my_rooms' is a folder: diorama data check folder --data.root my_rooms"),
        ("plot my_rooms --frames 2", "'my_rooms' is a folder: diorama data plot folder --data.root my_rooms"),
        ("check folder my_rooms", "'my_rooms' needs its flag: diorama data check folder --data.root my_rooms"),
        ("check nyuv2 elsewhere --frames 5", "'elsewhere' needs its flag: diorama data check nyuv2 --data.root elsewhere"),
        ("check foldr my_rooms", "unknown data set 'foldr': did you mean 'folder'?"),
    ],
)
def test_a_folder_without_its_flag(rooms: Path, words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", *words.split()]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["check", "plot", "make"])
def test_help_names_the_flag_of_the_folder(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", verb, "--help"]) == 0
    assert f"diorama data {verb} folder --data.root my_rooms" in " ".join(capsys.readouterr().out.split())
