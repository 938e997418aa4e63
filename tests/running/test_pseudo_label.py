"""`diorama pseudo-label` through the command line: what is written, what is skipped by name, what goes on after a stop."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from diorama.cli import main
from diorama.data import io
from diorama.data.cityscapes import Cityscapes
from diorama.data.disparity import depth_from_disparity
from diorama.data.fixtures import make
from diorama.data.labels import CITYSCAPES19
from diorama.errors import DataError
from diorama.running.folder_teacher import FolderTeacher
from diorama.stereo.files import write_disparity
from diorama.stereo.labelling import STEREO_KINDS
from diorama.stereo.matching import match
from diorama.stereo.measures import cost_margin, left_right_confidence

FIRST, SECOND, THIRD = (f"diorama_000000_{number:06d}" for number in range(3))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three street pairs as Cityscapes, 64x192."""
    root = tmp_path_factory.mktemp("city") / "city"
    make("world_street", root, "cityscapes", 3, "train", size=(64, 192))
    return root


@pytest.fixture
def city(made: Path, tmp_path: Path) -> Path:
    """A copy of `made` to spoil."""
    return Path(shutil.copytree(made, tmp_path / "city"))


def place(root: Path, kind: str, frame_id: str = FIRST, ending: str = "png") -> Path:
    return root / kind / "train" / "diorama" / f"{frame_id}_{kind}.{ending}"


def run(root: Path, out: Path, *flags: str) -> int:
    return main(["pseudo-label", "--data", f"cityscapes:{root}", "--out", str(out), "--workers", "1", *flags])


def failure(capsys: pytest.CaptureFixture[str], *args: Any) -> str:
    """What a command says that does not begin."""
    assert run(*args) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("diorama: error: ")
    return said


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def record(out: Path, frame_id: str = FIRST) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "train.frames" / f"{frame_id}.json").read_text())
    return found


def test_the_cityscapes_reader_reads_what_was_matched(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(made, out, "--confidence", "left_right") == 0
    said = capsys.readouterr()
    assert "3 labelled in" in said.out
    assert "an eighth of the width" in said.err
    frames = Cityscapes(made, keys=["image", "right", "intrinsics", "baseline"])
    read = Cityscapes(out, keys=["disparity"])
    assert read.ids == frames.ids == [FIRST, SECOND, THIRD]
    for frame, found in zip(frames, read, strict=True):
        pair = match(frame["image"], frame["right"])
        # a sixteenth of a pixel is sixteen steps of the file, so nothing is lost
        np.testing.assert_array_equal(found["disparity"], pair.left.disparity)
        stem = f"train/{frame['meta']['id']}.png"
        np.testing.assert_array_equal(io.read_depth(out / "disparity_right" / stem, 256), pair.right.disparity)
        np.testing.assert_array_equal(io.read_labels(out / "agrees" / stem), pair.left.agrees * np.uint8(255))
        stored = io.read_labels(out / "confidence" / stem)
        assert np.abs(stored / 65535.0 - left_right_confidence(pair.left)).max() <= 0.5 / 65535 + 1e-7
        depth = depth_from_disparity(pair.left.disparity, frame["intrinsics"][0, 0], frame["baseline"])
        near = depth < 255
        assert np.abs(io.read_depth(out / "depth" / stem) - depth)[near].max() <= 0.5 / 256 + 1e-4
    assert json.loads((out / "summary.json").read_text())["frames"] == 3


def test_a_record_says_what_can_be_counted(made: Path, tmp_path: Path) -> None:
    assert run(made, tmp_path / "out", "--limit", "1", "--min-depth", "4") == 0
    frame = Cityscapes(made, keys=["image", "right", "intrinsics", "baseline"])[0]
    focal, baseline = float(frame["intrinsics"][0, 0]), frame["baseline"]
    found = record(tmp_path / "out")
    assert found["range_px"] == 16 * int(np.ceil(np.ceil(focal * baseline / 4) / 16))
    assert (found["focal_px"], found["baseline"]) == (focal, baseline)
    agrees = [io.read_labels(tmp_path / "out" / kind / "train" / f"{FIRST}.png") > 0 for kind in ("agrees", "agrees_right")]
    assert found["agreement"] == pytest.approx(np.mean(agrees), abs=1e-6)
    confidence = io.read_labels(tmp_path / "out" / "confidence" / "train" / f"{FIRST}.png") / 65535
    assert found["confidence"] == pytest.approx(confidence.mean(), abs=1e-4)
    assert sum(found["histogram"]) == 64 * 192
    assert found["histogram"][-1] == pytest.approx((confidence >= 0.9).sum(), abs=5)


def test_a_second_run_only_makes_what_is_missing(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(made, out) == 0
    before, times = tree(out), {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    assert run(made, out) == 0
    assert "0 labelled" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.png")} == times
    (out / "train.frames" / f"{SECOND}.json").unlink()  # as if the frame had not been finished
    (out / "confidence" / "train" / f"{THIRD}.png").unlink()
    (out / "depth" / "train" / f".{SECOND}-abcd1234.png").write_bytes(b"half")
    (out / "depth" / "train" / f".{FIRST}-abcd1234.png").write_bytes(b"of a shard elsewhere, perhaps")
    assert run(made, out) == 0
    assert "2 labelled" in capsys.readouterr().out
    (out / "depth" / "train" / f".{FIRST}-abcd1234.png").unlink()
    assert tree(out) == before


def test_other_settings_are_refused_by_name_until_overwritten(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(made, out, "--limit", "1") == 0
    said = failure(capsys, made, out, "--tolerance", "2", "--confidence", "left_right")
    assert 'labelling.confidence "cost_margin" -> "left_right"' in said
    assert "labelling.tolerance 1.0 -> 2.0" in said
    assert said.rstrip().endswith("or renew it with --overwrite.")
    old = record(out)["settings"]
    assert run(made, out, "--tolerance", "2", "--confidence", "cost_margin", "--overwrite", "--limit", "1") == 0
    assert record(out)["settings"] != old
    frame = Cityscapes(made, keys=["image", "right"])[0]
    pair = match(frame["image"], frame["right"], tolerance=2)
    stored = io.read_labels(out / "confidence_right" / "train" / f"{FIRST}.png") / 65535
    expected = cost_margin(frame["image"], frame["right"], pair.right.disparity, mirror=True)
    np.testing.assert_allclose(stored, expected, atol=0.6 / 65535)


def test_what_was_made_so_far_is_drawn(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, sheet = tmp_path / "out", tmp_path / "sheet.png"
    words = ["data", "plot", "cityscapes", "--data.root", str(made), "--data.keys", "[image]", "--pseudo", str(out), "--out", str(sheet)]
    assert main(words) == 2
    assert "Make one with `diorama pseudo-label`" in capsys.readouterr().err
    run(made, out, "--limit", "2")
    assert main([*words, "--width", "96"]) == 0
    title, head, row, gap, bar = 22, 30, 32, 8, 62
    assert io.read_image(sheet).shape[:2] == (title + head + 2 * (row + gap), 4 * gap + 3 * 96 + 2 * bar)


def test_shards_together_are_the_whole(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(made, tmp_path / "whole") == 0
    for shard in ("1/2", "2/2"):
        assert run(made, tmp_path / "parts", "--shard", shard) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines() if "labelled in" in line] == ["3", "2", "1"]
    whole, parts = tree(tmp_path / "whole"), tree(tmp_path / "parts")
    del whole["summary.json"], parts["summary-1-of-2.json"], parts["summary-2-of-2.json"]
    assert parts == whole


def test_processes_give_the_same_files_as_one(made: Path, tmp_path: Path) -> None:
    assert run(made, tmp_path / "one") == 0
    assert main(["pseudo-label", "--data", f"cityscapes:{made}", "--out", str(tmp_path / "two"), "--workers", "2"]) == 0
    assert tree(tmp_path / "two") == tree(tmp_path / "one")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--shard", "3/2"], "i from 1 to n"),
        (["--shard", "0/2"], "i from 1 to n"),
        (["--shard", "half"], "--shard 1/4"),
        (["--workers", "0"], "Choose 1 or more"),
        (["--limit", "0"], "Choose 1 or more"),
        (["--splits", "train", "train"], "Name each split once"),
        (["--splits", "nonsense"], "Choose one of train, val"),
        (["--matcher", "nonsense"], "Give sgbm, a folder of disparity files, or module:callable"),
        (["--matcher", "diorama.nonsense:match"], "Put its module on PYTHONPATH"),
        (["--matcher", "diorama.errors:nonsense"], "Put its module on PYTHONPATH"),
        (["--matcher", "diorama.types:IGNORE"], "expected a function"),
        (["--matcher", "a:b", "--range-px", "32"], "Leave them out"),
        (["--matcher", "a:b", "--min-depth", "2"], "Leave it out"),
        (["--range-px", "32", "--min-depth", "2"], "Give one of them"),
        (["--min-depth", "-1"], "above 0"),
        (["--block", "4"], "odd number"),
        (["--tolerance", "0"], "positive number of pixels"),
        (["--fill", "nonsense"], "Choose inconsistent or missing"),
        (["--disparity-scale", "nonsense"], "Choose kitti, cityscapes"),
        (["--confidence", "nonsense"], "nonsense"),
        (["--confidence", "none", "--save", "disparity", "confidence"], "Leave one of the two out"),
        (["--save", "dispartiy"], "did you mean 'disparity'?"),
        (["--save", "semantic"], "Name one with --teacher"),
        (["--labels", "cityscapes19"], "Name one with --teacher"),
        (["--engine", "nonsense"], "Choose processes or ray"),
    ],
)
def test_wrong_flags_are_one_line(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], said: str) -> None:
    assert said in failure(capsys, made, tmp_path / "out", *flags)


def test_what_has_no_pairs_is_told_which_have(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pseudo-label", "--data", "camvid:x", "--out", "y"]) == 2
    assert "camvid has no stereo pairs. Choose one of" in capsys.readouterr().err
    assert main(["pseudo-label", "--out", "y"]) == 2
    assert "on which data?" in capsys.readouterr().err
    assert main(["pseudo-label", "--data", "cityscapes:x"]) == 2
    assert "Add --out DIR" in capsys.readouterr().err


def test_the_data_set_itself_is_never_written_to(city: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(city)
    assert "whose files pseudo labels would replace" in failure(capsys, city, city)
    assert tree(city) == before
    other = city.parent / "other"
    shutil.copytree(city / "disparity", other / "disparity")
    assert "no folder of pseudo labels" in failure(capsys, city, other)


def test_a_missing_right_file_is_a_named_skip(city: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place(city, "rightImg8bit", SECOND).unlink()
    place(city, "camera", THIRD, "json").unlink()
    assert run(city, tmp_path / "out") == 1
    said = capsys.readouterr()
    assert f"skipped {SECOND}: no right view. Add the file" in said.err
    assert f"skipped {THIRD}: no calibration. Add it" in said.err
    assert "1 labelled" in said.out
    assert "2 skipped" in said.out
    assert list(json.loads((tmp_path / "out" / "summary.json").read_text())["skipped"]) == [f"train/{SECOND}", f"train/{THIRD}"]


def test_without_calibration_there_is_disparity_but_no_depth(city: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(city / "camera")
    said = failure(capsys, city, tmp_path / "out")
    assert "no calibration" in said
    assert "--save disparity" in said
    assert run(city, tmp_path / "out", "--save", "disparity", "agrees") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir()) == ["agrees", "disparity", "train.frames"]
    assert "no calibration" in failure(capsys, city, tmp_path / "more", "--save", "disparity", "--min-depth", "2")


def test_views_of_two_sizes_and_damaged_files_are_skipped_by_name(city: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right = place(city, "rightImg8bit", FIRST)
    io.write_image(right, io.read_image(right)[:-8])
    place(city, "leftImg8bit", SECOND).write_bytes(place(city, "leftImg8bit", SECOND).read_bytes()[:500])
    assert run(city, tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert f"skipped {FIRST}: left image 192x64, right image 192x56" in said
    assert f"{SECOND}_leftImg8bit.png: truncated" in said
    assert not list((tmp_path / "out").rglob(f"*{SECOND}*"))


def test_one_picture_twice_has_no_disparity(city: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(place(city, "leftImg8bit"), place(city, "rightImg8bit"))
    left = io.read_image(place(city, "leftImg8bit", SECOND))
    io.write_image(place(city, "rightImg8bit", SECOND), (left * 0.97).astype(np.uint8))
    assert run(city, tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert f"skipped {FIRST}: both views are the same picture" in said
    assert f"{SECOND}: 9" in said or f"{SECOND}: 100%" in said
    assert "of the pixels move by less than 0.5 px" in said
    assert record(tmp_path / "out", SECOND)["warnings"][0]["kind"] == "still"


def test_swapped_views_are_told_once_and_remembered(city: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for frame_id in (FIRST, SECOND, THIRD):
        left, right = (io.read_image(place(city, kind, frame_id)) for kind in ("leftImg8bit", "rightImg8bit"))
        io.write_image(place(city, "leftImg8bit", frame_id), right)
        io.write_image(place(city, "rightImg8bit", frame_id), left)
    assert run(city, tmp_path / "out") == 0
    said = capsys.readouterr()
    assert said.err.count("views in the wrong order") == 1
    assert "said once" in said.err
    warned = [record(tmp_path / "out", frame_id)["warnings"] for frame_id in (FIRST, SECOND, THIRD)]
    assert sum("wrong order" in warning["text"] for warnings in warned for warning in warnings) >= 1
    assert "warned of: " in said.out


def test_views_that_are_not_rectified_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    city = tmp_path / "city"
    make("world_street", city, "cityscapes", 1, "train", size=(192, 512))
    right = io.read_image(place(city, "rightImg8bit"))
    io.write_image(place(city, "rightImg8bit"), np.roll(right, 6, axis=0))
    assert run(city, tmp_path / "out") == 0
    assert "not rectified" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["warnings"]["unrectified"] == 1


def test_disparity_of_another_matcher(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = Cityscapes(made, keys=["image", "right"])
    expected = {}
    for frame in frames:
        pair = match(frame["image"], frame["right"])
        stem = Path(frame["meta"]["path"]).stem if frame["meta"]["id"] != SECOND else SECOND
        for side, view in zip(("left", "right"), pair, strict=True):
            write_disparity(tmp_path / "found" / side / f"{stem}.png", view.disparity)
        expected[frame["meta"]["id"]] = pair.left.disparity
    # 8 bits hold whole pixels only: whoever reads them as 16 bits would get a 256th of the disparity
    eight = tmp_path / "found" / "left" / f"{THIRD}_leftImg8bit.png"
    io.write_label_png(eight, expected[THIRD].astype(np.uint8))
    assert run(made, tmp_path / "out", "--matcher", str(tmp_path / "found")) == 1
    said = capsys.readouterr().err
    assert f"skipped {THIRD}: {eight}: 8-bit disparity, expected 16-bit" in said
    read = Cityscapes(tmp_path / "out", keys=["disparity"])
    assert read.ids == [FIRST, SECOND]
    for found in read:
        np.testing.assert_array_equal(found["disparity"], expected[found["meta"]["id"]])


MATCHERS = """
import os
import numpy as np

def three(left, right):
    return np.full(left.shape[:2], 3.0)

def nothing(left, right):
    return np.zeros(left.shape[:2])

def wrong(left, right):
    raise RuntimeError("no graphics card")

def small(left, right):
    return np.ones((2, 2))

def dies(left, right):
    os._exit(9)
"""


@pytest.fixture
def matchers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"matchers_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MATCHERS)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_callable_matches(made: Path, tmp_path: Path, matchers: str) -> None:
    assert run(made, tmp_path / "out", "--matcher", f"{matchers}:three", "--limit", "1") == 0
    assert set(np.unique(Cityscapes(tmp_path / "out", keys=["disparity"])[0]["disparity"])) == {3.0}
    found = record(tmp_path / "out")
    # x - 3 is in view from column 3 on, in both views alike
    assert found["agreement"] == pytest.approx(189 / 192, abs=1e-6)
    assert "range_px" not in found


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing", "no disparity in the left view"),
        ("wrong", "failed (RuntimeError: no graphics card)"),
        ("small", "the matcher returned (2, 2)"),
    ],
)
def test_a_matcher_that_fails_skips_its_frame(
    made: Path, tmp_path: Path, matchers: str, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    assert run(made, tmp_path / "out", "--matcher", f"{matchers}:{name}", "--limit", "1") == 1
    assert f"skipped {FIRST}: " in (err := capsys.readouterr().err)
    assert said in err


def test_a_process_that_dies_is_told(made: Path, tmp_path: Path, matchers: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pseudo-label", "--data", f"cityscapes:{made}", "--out", str(tmp_path / "out"), "--workers", "2"]
    assert main([*words, "--matcher", f"{matchers}:dies"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "a process was ended from outside" in said
    assert FIRST in said
    assert "--workers 1 needs less" in said


def test_two_runs_at_once_do_not_mix(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from diorama.running.alone import alone

    with alone(tmp_path / "out", "pseudo-label-1-of-1", "this"):
        assert "another process is making the same" in failure(capsys, made, tmp_path / "out")
        assert run(made, tmp_path / "out", "--shard", "1/2") == 0
    assert run(made, tmp_path / "out") == 0
    assert not list((tmp_path / "out").rglob(".*"))


def test_the_last_moment_of_another_run_lets_only_one_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")
    from diorama.running.alone import alone

    really = fcntl.flock

    def just_removed(file: Any, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", really)
        (tmp_path / ".it.lock").unlink()  # the run that had it ends between our opening and our locking
        really(file, how)

    monkeypatch.setattr(fcntl, "flock", just_removed)
    with alone(tmp_path, "it", "this"), pytest.raises(DataError, match="another process"), alone(tmp_path, "it", "this"):
        pass
    assert not list(tmp_path.iterdir())


def test_confidence_of_a_network(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(source: str, threads: int) -> Any:
        def said(disparity: np.ndarray, mirror: bool = False) -> tuple[np.ndarray, float]:
            asked.append((source, threads, mirror))
            return np.full(disparity.shape, 0.25 if mirror else 0.75, np.float32), 0.3 if mirror else 0.6

        return said

    monkeypatch.setattr("diorama.stereo.labeller.load_confidence", load)
    assert run(made, tmp_path / "out", "--confidence", "ccnn-mine", "--limit", "1") == 0
    assert asked == [("ccnn-mine", 1, False), ("ccnn-mine", 1, True)]
    found = record(tmp_path / "out")
    assert (found["tau"], found["tau_right"], found["confidence"]) == (0.6, 0.3, 0.75)
    assert found["histogram"] == [0] * 7 + [64 * 192, 0, 0]


def test_semantics_and_relative_depth_of_a_teacher(made: Path, tmp_path: Path) -> None:
    frames = Cityscapes(made, keys=["image", "semantic", "depth", "intrinsics", "baseline"])
    for frame in frames:
        inverse = np.where(frame["depth"] > 0, 1 / np.maximum(frame["depth"], 0.1), 0)
        io.write_label_png(tmp_path / "teacher" / "left" / f"{frame['meta']['id']}.png", frame["semantic"])
        io.write_npy(tmp_path / "teacher" / "left" / f"{frame['meta']['id']}.depth.npy", (7 * inverse + 0.02).astype(np.float32))
    flags = ["--teacher", str(tmp_path / "teacher"), "--depth-unit", "inverse", "--limit", "2"]
    assert run(made, tmp_path / "out", *flags) == 0
    read = Cityscapes(tmp_path / "out", keys=["semantic"])
    for number, found in enumerate(read):
        np.testing.assert_array_equal(found["semantic"], frames[number]["semantic"])
        fit = record(tmp_path / "out", found["meta"]["id"])["fit"]
        assert fit["scale"] == pytest.approx(1 / 7, rel=0.1)  # far things move by few steps
        depth = io.read_depth(tmp_path / "out" / "teacher_depth" / "train" / f"{found['meta']['id']}.png")
        truth = frames[number]["depth"]
        near = (truth > 0) & (truth < 20) & (depth > 0)
        assert np.median(np.abs(depth - truth)[near] / truth[near]) < 0.1
    assert json.loads((tmp_path / "out" / "pseudo.json").read_text())["labels"]["classes"] == list(CITYSCAPES19.classes)
    assert "semantic_right" not in record(tmp_path / "out")["kinds"]
    # without the check of the views nobody knows what of the stereo depth to fit to
    assert run(made, tmp_path / "unsure", *flags, "--save", "disparity", "teacher_depth") == 1
    failed = json.loads((tmp_path / "unsure" / "summary.json").read_text())["skipped"]
    assert len(failed) == 2
    assert "Save disparity and agrees too" in failed[f"train/{FIRST}"]


def test_a_teacher_speaks_in_the_classes_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rig, teacher = tmp_path / "rig", tmp_path / "teacher"
    make("world_street", rig, "folder", 1, "train", size=(64, 192))
    stem = next((rig / "images" / "train").iterdir()).stem
    io.write_label_png(teacher / f"{stem}.png", np.full((64, 192), 2, np.uint8))
    io.write_npy(teacher / f"{stem}.depth.npy", np.full((64, 192), 2, np.float32))
    words = ["pseudo-label", "--data", f"folder:{rig}", "--workers", "1", "--save"]
    assert main([*words, "semantic", "--teacher", str(teacher), "--out", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "pseudo.json").read_text())["labels"]["classes"] == list(CITYSCAPES19.classes)
    assert (io.read_labels(tmp_path / "out" / "semantic" / "train" / f"{stem}.png") == 2).all()
    rooms = ["--teacher", "ci_net-nyuv2", "--out", str(tmp_path / "rooms")]
    assert main([*words, "semantic", *rooms]) == 2  # whose classes are of rooms
    assert "of its 40 classes are not in 'rig'" in capsys.readouterr().err
    assert main([*words, "teacher_depth", *rooms]) == 0  # where no classes are asked for, they need not fit


def test_a_teacher_that_fails_skips_its_frame(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for frame in Cityscapes(made, keys=["semantic"]):
        io.write_label_png(tmp_path / "teacher" / f"{frame['meta']['id']}.png", frame["semantic"])
    inner = FolderTeacher.__call__

    def short_of_memory(self: FolderTeacher, image: Any, frame_id: str, view: Any = "left") -> Any:
        if frame_id == SECOND:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return inner(self, image, frame_id, view)

    monkeypatch.setattr(FolderTeacher, "__call__", short_of_memory)
    assert run(made, tmp_path / "out", "--teacher", str(tmp_path / "teacher"), "--save", "semantic") == 1
    failed = json.loads((tmp_path / "out" / "summary.json").read_text())["skipped"]
    assert list(failed) == [f"train/{SECOND}"]
    assert "teacher teacher failed (RuntimeError: DefaultCPUAllocator: can't allocate memory)" in failed[f"train/{SECOND}"]
    assert record(tmp_path / "out", THIRD)["kinds"] == ["semantic"]


def test_a_teacher_alone_needs_no_pairs(city: Path, tmp_path: Path) -> None:
    for frame in Cityscapes(city, keys=["semantic"]):
        io.write_label_png(tmp_path / "teacher" / f"{frame['meta']['id']}.png", frame["semantic"])
    shutil.rmtree(city / "rightImg8bit")
    shutil.rmtree(city / "camera")
    assert run(city, tmp_path / "out", "--teacher", str(tmp_path / "teacher"), "--save", "semantic", "semantic_confidence") == 0
    assert len(Cityscapes(tmp_path / "out", keys=["semantic"])) == 3


def test_every_layout_with_pairs_is_labelled(tmp_path: Path) -> None:
    for layout in ("folder", "kitti_object", "kitti_stereo"):
        make("world_street", tmp_path / layout, layout, 2, "train", size=(64, 192))
        out = tmp_path / f"{layout}-out"
        words = ["pseudo-label", "--data", layout, "--data.root", str(tmp_path / layout), "--out", str(out), "--workers", "1"]
        assert main(words) == 0
        assert set(STEREO_KINDS) == set(json.loads(next((out / "train.frames").rglob("*.json")).read_text())["kinds"])
    assert len(list((tmp_path / "kitti_stereo-out" / "training" / "disp_occ_0").glob("*_10.png"))) == 2
    assert (
        cv2.imread(str(next((tmp_path / "kitti_stereo-out" / "training" / "disp_occ_0").iterdir())), cv2.IMREAD_UNCHANGED).dtype == "uint16"
    )


def test_one_camera_for_all_and_a_missing_right_view(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rig = tmp_path / "rig"
    make("world_street", rig, "folder", 3, "train", size=(64, 192))
    shutil.rmtree(rig / "intrinsics")
    for folder in rig.iterdir():
        if folder.is_dir() and folder.name not in ("images", "right"):
            shutil.rmtree(folder)
    missing = sorted((rig / "right").rglob("*.png"))[1]
    missing.unlink()
    words = ["pseudo-label", "--data", f"folder:{rig}", "--workers", "1", "--out"]
    (rig / "dataset.yaml").write_text("")
    assert main([*words, str(tmp_path / "none")]) == 2
    said = capsys.readouterr().err
    assert "folder has no calibration" in said
    assert "say `intrinsics` and `baseline` of all frames in dataset.yaml" in said
    (rig / "dataset.yaml").write_text("intrinsics: {fx: 200, fy: 200, cx: 95.5, cy: 31.5}\n")
    assert main([*words, str(tmp_path / "none")]) == 2
    assert "no baseline. Write `baseline: METRES`" in capsys.readouterr().err
    (rig / "dataset.yaml").write_text("intrinsics: {fx: 200, fy: 200, cx: 95.5, cy: 31.5}\nbaseline: 250\n")
    assert main([*words, str(tmp_path / "millimetres")]) == 1
    assert "a baseline of 250 m: is it in millimetres" in capsys.readouterr().err
    (rig / "dataset.yaml").write_text("intrinsics: {fx: 200, fy: 200, cx: 95.5, cy: 31.5}\nbaseline: 0.25\n")
    assert main([*words, str(tmp_path / "out")]) == 1
    assert f"skipped {missing.stem}: no right view" in capsys.readouterr().err
    found = json.loads(next((tmp_path / "out" / "train.frames").iterdir()).read_text())
    assert (found["focal_px"], found["baseline"]) == (200.0, 0.25)


@pytest.mark.slow
def test_real_pairs_against_the_official_disparity(real_data: Path, tmp_path: Path) -> None:
    official = Cityscapes(real_data / "cityscapes", keys=["disparity"])
    # four more frames of the set have an image but no right view
    assert run(real_data / "cityscapes", tmp_path / "out") == 1
    found = {frame["meta"]["id"]: frame["disparity"] for frame in Cityscapes(tmp_path / "out", keys=["disparity"])}
    assert set(found) == set(official.ids)
    for frame in official:
        known = (frame["disparity"] > 0) & (io.read_labels(tmp_path / "out" / "agrees" / "train" / f"{frame['meta']['id']}.png") > 0)
        assert np.median(np.abs(found[frame["meta"]["id"]] - frame["disparity"])[known]) < 0.4


def test_no_torch_is_needed(made: Path, tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\nfrom diorama.cli import main\nif __name__ == '__main__': sys.exit(main(sys.argv[1:]))"
    )
    (tmp_path / "light.py").write_text(program)
    words = ["pseudo-label", "--data", f"cityscapes:{made}", "--out", str(tmp_path / "out"), "--workers", "2"]
    done = subprocess.run([sys.executable, str(tmp_path / "light.py"), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "3 labelled" in done.stdout


def test_a_folder_that_cannot_be_written_is_told(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert "Choose another --out" in failure(capsys, made, tmp_path / "file")
    if os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
        assert "Choose another --out" in failure(capsys, made, tmp_path / "closed" / "out")
