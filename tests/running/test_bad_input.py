"""What is wrong with data, settings or checkpoints, through `diorama train`: one line that says what to do, and nothing left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from runs import failure

from diorama.cli import main
from diorama.data import io
from diorama.data.fixtures import make
from diorama.errors import suggest
from diorama.types import IGNORE

Settings = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small rooms in folders."""
    root = tmp_path_factory.mktemp("sound")
    make("world_indoor", root, "folder", 3, "train", size=(32, 48), stereo=False)
    return root


def first(root: Path, key: str) -> Path:
    return sorted((root / key / "train").iterdir())[0]


def smaller_depth(root: Path) -> None:
    io.write_depth_png(first(root, "depth"), np.ones((30, 48), np.float32))


def eight_bit_depth(root: Path) -> None:
    io.write_label_png(first(root, "depth"), np.ones((32, 48), np.uint8))


def label_out_of_range(root: Path) -> None:
    io.write_label_png(first(root, "semantic"), np.full((32, 48), 13, np.uint8))


def no_depth(root: Path) -> None:
    shutil.rmtree(root / "depth")


def truncated(root: Path) -> None:
    path = first(root, "images")
    path.write_bytes(path.read_bytes()[:300])


def nan_depth(root: Path) -> None:
    for path in sorted((root / "depth" / "train").iterdir()):
        io.write_npy(path.with_suffix(".npy"), np.full((32, 48), np.nan, np.float32))
        path.unlink()


def no_label(root: Path) -> None:
    for path in (root / "semantic" / "train").iterdir():
        io.write_label_png(path, np.full((32, 48), IGNORE, np.uint8))


def unknown_depth(root: Path) -> None:
    for path in (root / "depth" / "train").iterdir():
        io.write_depth_png(path, np.zeros((32, 48), np.float32))


def emptied(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


BROKEN = [
    (shutil.rmtree, 2, ("no such folder", "--data.root")),
    (emptied, 2, ("no image files", "Put them in images/")),
    (smaller_depth, 2, ("sizes differ", "48x30", "Store them all at one size")),
    (eight_bit_depth, 2, ("8-bit PNG, expected 16-bit depth", "Pass --data.depth_scale")),
    (label_out_of_range, 2, ("label id 13 out of range", "Mend the file")),
    (no_depth, 2, ("no depth files", "depth/")),
    (truncated, 2, ("truncated", "Copy or download the file again")),
    (nan_depth, 2, ("1536 NaN of 1536 depth values", "replace them by 0")),
    (no_label, 3, ("no labelled pixel in any of 3 frames", "diorama data check")),
    (unknown_depth, 3, ("no known depth in any of 3 frames", "diorama data check")),
]


@pytest.mark.parametrize(("spoil", "status", "parts"), BROKEN, ids=[spoil.__name__ for spoil, *_ in BROKEN])
def test_broken_data_is_one_line_and_leaves_nothing(
    spoil: Callable[[Path], None],
    status: int,
    parts: tuple[str, ...],
    sound: Path,
    settings: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = tmp_path / "data"
    shutil.copytree(sound, root)
    spoil(root)
    said = failure(of_folder(settings(), root), tmp_path, capsys, status)
    assert all(part in said for part in parts), said
    assert not list((tmp_path / "runs").rglob("*")), "nothing may be left behind"


def test_a_batch_without_a_valid_pixel_stops_with_its_frames(
    sound: Path, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    shutil.copytree(sound, root)
    io.write_label_png(first(root, "semantic"), np.full((32, 48), IGNORE, np.uint8))
    io.write_depth_png(first(root, "depth"), np.zeros((32, 48), np.float32))
    said = failure(of_folder(settings(trainer={"batch_size": 1}), root), tmp_path, capsys, 3)
    assert f"no loss on frames {first(root, 'images').stem}: none of their pixels has a label or depth" in said
    assert "diorama data check" in said


def test_a_checkpoint_of_another_method_is_refused(
    sound: Path, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "runs" / "run"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(yaml.safe_dump(of_folder(settings(), sound)))
    torch.save({"format": 1, "method": "pseudo_mtl", "step": 3}, run / "last.ckpt")
    assert main(["train", "--resume", str(run)]) == 2
    said = capsys.readouterr().err
    assert "a checkpoint of 'pseudo_mtl', not of 'ci_net'" in said
    assert (run / "last.ckpt").is_file(), "what was there before stays"


def test_an_unknown_backbone_does_not_fill_the_screen() -> None:
    many = [f"net{number:04d}" for number in range(1000)]
    assert suggest("zzz", many).endswith("net0019 and 980 more.")
    assert suggest("zzz", many[:20]).endswith("net0019.")


def of_folder(settings: dict[str, Any], root: Path) -> dict[str, Any]:
    """`settings` with the frames in `root` for data."""
    return {**settings, "data": {"name": "folder", "root": str(root), "keys": ["image", "semantic", "depth"]}}
