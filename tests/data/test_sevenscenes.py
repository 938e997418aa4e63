"""7-Scenes in both layouts; lists, unknown depth, poses, and bad files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from diorama.data import io
from diorama.data.fixtures import write_sevenscenes
from diorama.data.sevenscenes import SevenScenes, intrinsics, read_depth, read_pose
from diorama.errors import DataError
from diorama.types import Frame

Make = Callable[..., Frame]

POSE = [[0.0, -1.0, 0.0, 0.5], [1.0, 0.0, 0.0, -2.0], [0.0, 0.0, 1.0, 0.25], [0.0, 0.0, 0.0, 1.0]]


@pytest.fixture
def rooms(tmp_path: Path, frame: Make) -> Path:
    made = [frame(k) for k in range(3)]
    made[1]["meta"]["pose"] = POSE
    write_sevenscenes(made, tmp_path, "train")
    write_sevenscenes([frame(k) for k in range(3, 5)], tmp_path, "test")
    return tmp_path


def test_official_layout_comes_back(rooms: Path, frame: Make) -> None:
    for root in (rooms, rooms / "diorama"):
        train, test = SevenScenes(root), SevenScenes(root, "test")
        assert train.ids == [f"diorama/seq-01/frame-{k:06d}" for k in range(3)]
        assert test.ids == [f"diorama/seq-02/frame-{k:06d}" for k in range(2)]
        assert len(SevenScenes(root, "all")) == 5
        for read, number in ((train[0], 0), (train[2], 2), (test[1], 4)):
            assert np.array_equal(read["image"], frame(number)["image"])
            assert np.abs(read["depth"] - frame(number)["depth"]).max() <= 0.0005
        assert train[1]["meta"]["pose"] == POSE
        assert train.check() == []
        assert all(path.is_file() for path in train.files())


def test_unknown_depth_is_zero_in_both_ways(tmp_path: Path) -> None:
    io.write_label_png(tmp_path / "d.png", np.array([[0, 65535, 65534, 1500]], np.uint16), bits=16)
    assert np.allclose(read_depth(tmp_path / "d.png"), [[0, 0, 65.534, 1.5]])


def test_intrinsics_scale_about_pixel_centres() -> None:
    # 320 at 640 pixels is edge 320.5, at 320 pixels edge 160.25, centre 159.75
    assert np.allclose(intrinsics(240, 320), [[292.5, 0, 159.75], [0, 292.5, 119.75], [0, 0, 1]])


def test_flat_folders_are_cut_once(tmp_path: Path, frame: Make) -> None:
    for k in range(10):
        io.write_image(tmp_path / "image" / f"{k:06d}.jpg", frame(k)["image"])
        io.write_depth_png(tmp_path / "depth" / f"{k:06d}.png", frame(k)["depth"], 1000)
    (tmp_path / "depth" / "000009.png").unlink()
    parts = {split: SevenScenes(tmp_path, split) for split in SevenScenes.splits}
    assert [len(parts[split]) for split in ("train", "test", "all")] == [7, 2, 9]
    assert "pose" not in parts["train"][0]["meta"]
    assert parts["all"].check() == [f"{tmp_path}: 1 images have no depth (first: 000009) and are left out. Unpack it."]


def test_bad_folders_lists_and_files(rooms: Path, tmp_path: Path) -> None:
    room = rooms / "diorama"
    with pytest.raises(DataError, match="no such folder. Point --data.root"):
        SevenScenes(tmp_path / "none")
    with pytest.raises(DataError, match=r"no room 'chess' .*\(there: diorama\)"):
        SevenScenes(rooms, scenes=["chess"])
    cv2.imwrite(str(room / "seq-01" / "frame-000000.depth.png"), np.ones((12, 16), np.uint8))
    io.write_label_png(room / "seq-01" / "frame-000001.depth.png", np.ones((6, 8), np.uint16), bits=16)
    (room / "seq-01" / "frame-000002.pose.txt").write_text("1 0 0 0")
    dataset = SevenScenes(rooms)
    for index, message in enumerate(("8-bit PNG", "sizes differ", "4 numbers, expected 16")):
        with pytest.raises(DataError, match=message):
            dataset[index]
    for text, message in (("1 " * 16, "not a rotation"), ("nan " * 16, "expected 16 finite"), ("a", "no pose")):
        (tmp_path / "p.txt").write_text(text)
        with pytest.raises(DataError, match=message):
            read_pose(tmp_path / "p.txt")
    (room / "TrainSplit.txt").write_text("sequence7\n")
    with pytest.raises(DataError, match=r"seq-07: no such folder, though the lists of diorama name it. Unpack seq-07.zip"):
        SevenScenes(rooms)
    (room / "TrainSplit.txt").write_text("kitchen\n")
    with pytest.raises(DataError, match="'kitchen' names no sequence"):
        SevenScenes(rooms)
    (room / "TrainSplit.txt").unlink()
    with pytest.raises(DataError, match=r"TrainSplit.txt: missing. Copy the list"):
        SevenScenes(rooms)
    shutil.rmtree(room)
    with pytest.raises(DataError, match="no train frames with image and depth"):
        SevenScenes(rooms)


def test_real_frames(real_data: Path) -> None:
    every = SevenScenes(real_data / "sevenscenes", "all")
    assert len(every) == 100
    assert [len(SevenScenes(real_data / "sevenscenes", split)) for split in ("train", "test")] == [80, 20]
    # the poses are right if a point seen in two frames has one place in the room: most depths agree after warping
    near, far = every[0], every[1]
    matrix, pose = near["intrinsics"], np.linalg.inv(far["meta"]["pose"]) @ np.array(near["meta"]["pose"])
    v, u = np.nonzero((near["depth"] > 0) & (near["depth"] < 5))
    depth = near["depth"][v, u]
    points = np.linalg.solve(matrix, np.stack([u, v, np.ones(len(u))])) * depth
    moved = pose[:3, :3] @ points + pose[:3, 3:]
    x, y = (np.rint(matrix[i, i] * moved[i] / moved[2] + matrix[i, 2]).astype(int) for i in (0, 1))
    inside = (x >= 0) & (y >= 0) & (x < 320) & (y < 240) & (moved[2] > 0)
    other = far["depth"][y[inside], x[inside]]
    agree = np.abs(other - moved[2][inside])[other > 0]
    assert len(agree) > 10000
    assert np.median(agree) < 0.05
