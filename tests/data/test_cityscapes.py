"""Cityscapes: official layout written and read, disparity worked out by hand, real frames against their files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from diorama.data.cityscapes import Cityscapes, read_camera, read_disparity
from diorama.data.disparity import depth_from_disparity
from diorama.data.fixtures import write_cityscapes
from diorama.data.labels import CITYSCAPES7, CITYSCAPES19_TO_7
from diorama.errors import ConfigError, DataError
from diorama.types import Frame

Make = Callable[..., Frame]
ALL = ("image", "right", "semantic", "disparity", "depth", "intrinsics", "baseline")


@pytest.fixture
def root(tmp_path: Path, frame: Make) -> Path:
    write_cityscapes([frame(k, classes=19, stereo=True) for k in range(3)], tmp_path, "val")
    return tmp_path


def test_every_key_comes_back(root: Path, frame: Make) -> None:
    dataset = Cityscapes(root, "val", keys=ALL)
    assert dataset.ids == [f"diorama_000000_{k:06d}" for k in range(3)]
    for number, read in enumerate(dataset):
        made = frame(number, classes=19, stereo=True)
        for key in ("image", "right", "semantic", "intrinsics"):
            assert np.array_equal(read[key], made[key]), key
        assert read["baseline"] == 0.5
        known = made["depth"] > 0
        assert np.array_equal(read["depth"] > 0, known)
        expected = 0.5 * 20.0 / made["depth"][known]  # fx of the fixture is 16 * 1.25
        assert np.abs(read["disparity"][known] - expected).max() <= 0.5 / 256 + 1e-6
        assert set(read) - {"meta"} == dataset.provides == set(ALL)


def test_rows_are_cut_from_every_map_and_the_camera_moves(root: Path) -> None:
    whole, part = Cityscapes(root, "val", keys=ALL)[1], Cityscapes(root, "val", keys=ALL, rows=(2, 9))[1]
    for key in ("image", "right", "semantic", "disparity", "depth"):
        assert np.array_equal(part[key], whole[key][2:9]), key
    assert Cityscapes(root, "val", rows=(2, 9)).truth.endswith("rows 2 to 8")
    assert not hasattr(Cityscapes(root, "val"), "truth")
    assert part["intrinsics"][1, 2] == whole["intrinsics"][1, 2] - 2
    assert (part["intrinsics"][0] == whole["intrinsics"][0]).all()
    for rows in ((5, 5), (-1, 4), (3,)):
        with pytest.raises(ConfigError, match=r"rows=.*e\.g\. \[0, 768\]"):
            Cityscapes(root, "val", rows=rows)
    with pytest.raises(DataError, match="12 rows.*Choose fewer"):
        Cityscapes(root, "val", rows=(0, 768))[0]


def test_only_the_keys_asked_for_are_read(root: Path) -> None:
    dataset = Cityscapes(root, "val", keys=("right", "baseline"))
    assert set(dataset[0]) == {"right", "baseline", "meta"}
    assert dataset.labels is None
    for kind in ("leftImg8bit", "gtFine", "disparity"):
        for path in (root / kind).rglob("*.png"):
            path.unlink()
    assert len(Cityscapes(root, "val", keys=("right", "baseline"))) == 3
    with pytest.raises(DataError, match=r"no val frame has all of leftImg8bit, rightImg8bit \(files: leftImg8bit 0, rightImg8bit 3\)"):
        Cityscapes(root, "val", keys=("image", "right"))


def test_disparity_by_hand(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "d.png"), np.array([[0, 1, 257, 12801]], np.uint16))
    disparity = read_disparity(tmp_path / "d.png")
    assert disparity.tolist() == [[0, 0, 1, 50]]
    depth = depth_from_disparity(disparity, 2262.52, 0.209313)
    assert depth[0, :2].tolist() == [0, 0]
    assert depth[0, 2] == pytest.approx(473.5749, abs=1e-3)
    assert depth[0, 3] == pytest.approx(9.471497, abs=1e-5)
    cv2.imwrite(str(tmp_path / "d8.png"), np.array([[1]], np.uint8))
    with pytest.raises(DataError, match=r"expected 16-bit"):
        read_disparity(tmp_path / "d8.png")


def test_seven_classes(root: Path, frame: Make) -> None:
    dataset = Cityscapes(root, "val", classes=7, keys=("semantic",))
    assert dataset.labels is CITYSCAPES7
    assert np.array_equal(dataset[0]["semantic"], CITYSCAPES19_TO_7[frame(0, classes=19)["semantic"]])


def test_frames_without_a_file_are_left_out_and_named(root: Path) -> None:
    (root / "disparity/val/diorama/diorama_000000_000001_disparity.png").unlink()
    dataset = Cityscapes(root, "val")
    assert dataset.ids == ["diorama_000000_000000", "diorama_000000_000002"]
    assert len(dataset.check()) == 1
    assert "1 frames lack disparity.png (first: diorama_000000_000001)" in dataset.check()[0]


def test_train_extra_takes_the_coarse_labels(tmp_path: Path, frame: Make) -> None:
    write_cityscapes([frame(0, classes=19, stereo=True)], tmp_path, "train_extra")
    fine = tmp_path / "gtFine/train_extra/diorama/diorama_000000_000000_gtFine_labelIds.png"
    coarse = tmp_path / "gtCoarse/train_extra/diorama/diorama_000000_000000_gtCoarse_labelIds.png"
    coarse.parent.mkdir(parents=True)
    fine.rename(coarse)
    dataset = Cityscapes(tmp_path, "train_extra")
    assert np.array_equal(dataset[0]["semantic"], frame(0, classes=19)["semantic"])
    # pseudo labels go where this reader looks for labels
    assert dataset.official_place("semantic", dataset.ids[0]) == (coarse.relative_to(tmp_path).as_posix(), "label_ids")


def test_bad_arguments_and_files(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'semantic'"):
        Cityscapes(root, "val", keys=("semantics",))
    with pytest.raises(ConfigError, match=r"keys is empty"):
        Cityscapes(root, "val", keys=())
    with pytest.raises(ConfigError, match=r"Choose 19 or 7"):
        Cityscapes(root, "val", classes=34)
    with pytest.raises(DataError, match=r"no such folder. Point --data.root"):
        Cityscapes(root, "train")
    camera = root / "camera/val/diorama/diorama_000000_000000_camera.json"
    camera.write_text(json.dumps({"intrinsic": {"fx": 1}}))
    with pytest.raises(DataError, match=r"no Cityscapes camera file"):
        Cityscapes(root, "val")[0]
    camera.write_text("{")
    with pytest.raises(DataError, match=r"no Cityscapes camera file"):
        read_camera(camera)
    label = root / "gtFine/val/diorama/diorama_000000_000000_gtFine_labelIds.png"
    cv2.imwrite(str(label), np.full((12, 16), 34, np.uint8))
    with pytest.raises(DataError, match=r"label id 34, expected labelIds 0..33"):
        Cityscapes(root, "val", keys=("semantic",))[0]


def test_real_frames(real_data: Path) -> None:
    folder = real_data / "cityscapes"
    dataset = Cityscapes(folder, keys=ALL)
    assert dataset.ids == ["aachen_000001_000019"]
    read = dataset[0]
    stored = cv2.imread(str(folder / "disparity/train/aachen/aachen_000001_000019_disparity.png"), cv2.IMREAD_UNCHANGED)
    row, column = np.argwhere(stored > 1000)[1234]
    assert read["depth"][row, column] == pytest.approx(0.209313 * 2262.52 / ((int(stored[row, column]) - 1) / 256), rel=1e-6)
    assert len(Cityscapes(folder, keys=("image", "right", "disparity"))) == 2
    assert len(Cityscapes(folder, keys=("image", "semantic"))) == 4
    # The hood of the ego vehicle (labelId 1) is not evaluated.
    assert (read["semantic"][-20:, 1024] == 255).all()
