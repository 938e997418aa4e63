"""CamVid in both layouts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from diorama.data import io
from diorama.data.camvid import CamVid
from diorama.data.fixtures import write_camvid
from diorama.data.labels import CITYSCAPES19
from diorama.errors import DataError
from diorama.types import Frame

Make = Callable[..., Frame]


def test_segnet_layout_comes_back(tmp_path: Path, frame: Make) -> None:
    write_camvid([frame(k, classes=11) for k in range(3)], tmp_path, "val")
    assert {path.name for path in tmp_path.iterdir()} == {"val", "valannot"}
    dataset = CamVid(tmp_path, "val")
    assert dataset.ids == ["scene_0", "scene_1", "scene_2"]
    for number, read in enumerate(dataset):
        assert np.array_equal(read["image"], frame(number)["image"])
        assert np.array_equal(read["semantic"], frame(number, classes=11)["semantic"])
    (tmp_path / "valannot" / "scene_1.png").unlink()
    assert "scene_1.png: missing" in dataset.check()[0]


def test_plain_layout_comes_back(tmp_path: Path, frame: Make) -> None:
    made = frame(0, classes=11)
    io.write_image(tmp_path / "test/image/a.png", made["image"])
    io.write_label_png(tmp_path / "test/semantic/a.png", np.where(made["semantic"] == 255, 11, made["semantic"]))
    assert np.array_equal(CamVid(tmp_path, "test")[0]["semantic"], made["semantic"])


def test_street_labels_are_converted(tmp_path: Path, frame: Make) -> None:
    made = frame(0, classes=19)
    write_camvid([made], tmp_path, "train", labels=CITYSCAPES19)
    read = CamVid(tmp_path, "train")
    names = [*CITYSCAPES19.classes]
    for ours, theirs in (("road", "road"), ("sidewalk", "pavement"), ("vegetation", "tree"), ("bus", "car"), ("rider", "bicyclist")):
        where = made["semantic"] == names.index(ours)
        assert {read.labels.classes[k] for k in np.unique(read[0]["semantic"][where])} == {theirs}
    assert (read[0]["semantic"][made["semantic"] == names.index("train")] == 255).all()


def test_bad_folders_and_files(tmp_path: Path, frame: Make) -> None:
    with pytest.raises(DataError, match=r"camvid needs train/ and trainannot/"):
        CamVid(tmp_path)
    (tmp_path / "train").mkdir()
    (tmp_path / "trainannot").mkdir()
    with pytest.raises(DataError, match=r"no images"):
        CamVid(tmp_path)
    write_camvid([frame(0, classes=11)], tmp_path, "val")
    cv2.imwrite(str(tmp_path / "valannot/scene_0.png"), np.full((12, 16), 31, np.uint8))
    with pytest.raises(DataError, match=r"label id 31, expected 0..10"):
        CamVid(tmp_path, "val")[0]
    cv2.imwrite(str(tmp_path / "valannot/scene_0.png"), np.full((6, 8), 3, np.uint8))
    with pytest.raises(DataError, match=r"sizes differ"):
        CamVid(tmp_path, "val")[0]


def test_real_frames(real_data: Path) -> None:
    assert [len(CamVid(real_data / "camvid", split)) for split in ("train", "val", "test")] == [367, 101, 233]
    dataset = CamVid(real_data / "camvid", "val")
    read = dataset[0]
    raw = cv2.imread(str(real_data / "camvid/val/semantic" / f"{dataset.ids[0]}.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(read["semantic"] == 255, raw == 11)
    assert np.array_equal(read["semantic"][raw < 11], raw[raw < 11])
    # Roads lie in the lower half, skies in the upper.
    rows = np.arange(360)[:, None] + np.zeros((1, 480))
    assert rows[read["semantic"] == 3].mean() > 180 > rows[read["semantic"] == 0].mean()
