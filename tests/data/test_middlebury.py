"""Middlebury in the layouts of its editions: what is written comes back, splits, and bad files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from diorama.data import io
from diorama.data.check import check
from diorama.data.fixtures import make, write_middlebury
from diorama.data.middlebury import Middlebury
from diorama.errors import ConfigError, DataError
from diorama.types import Frame

Make = Callable[..., Frame]


@pytest.fixture
def scenes(tmp_path: Path, frame: Make) -> Path:
    write_middlebury([frame(k, stereo=True) for k in range(3)], tmp_path)
    return tmp_path


def test_official_layout_comes_back(scenes: Path, frame: Make) -> None:
    dataset = Middlebury(scenes)
    assert dataset.ids == ["scene_0", "scene_1", "scene_2"]
    read, made = dataset[1], frame(1, stereo=True)
    assert np.array_equal(read["image"], made["image"])
    assert np.array_equal(read["right"], made["right"])
    # 16 pixels wide: fx is 20 px, the baseline 0.5 m
    expected = np.where(made["depth"] > 0, 10 / np.where(made["depth"] > 0, made["depth"], 1), 0)
    np.testing.assert_allclose(read["disparity"], expected, rtol=1e-6)
    assert (read["disparity"] == 0).sum() == 1
    assert dataset.check() == []
    assert not [finding for finding in check(dataset) if finding.level == "error"]
    assert len(list(dataset.files())) == 9


def test_scenes_with_all_nine_views_lack_nothing(tmp_path: Path) -> None:
    (scene := tmp_path / "cones").mkdir()
    for number in range(9):  # as the zip of 2003 unpacks
        cv2.imwrite(str(scene / f"im{number}.png"), np.full((6, 16, 3), number, np.uint8))
    for number in (2, 6):
        cv2.imwrite(str(scene / f"disp{number}.png"), np.full((6, 16), 4 * number, np.uint8))
    dataset = Middlebury(tmp_path)
    assert dataset.check() == []
    assert [dataset[0][key].max() for key in ("image", "right", "disparity")] == [2, 6, 2]
    (scene / "disp2.png").unlink()
    (tmp_path / "other").mkdir()
    for name in ("view1", "view5", "disp1"):
        cv2.imwrite(str(tmp_path / "other" / f"{name}.png"), np.full((6, 16), 4, np.uint8))
    assert "1 scenes lack a file (first: cones, disparity)" in Middlebury(tmp_path).check()[0]


def test_scenes_are_parted_by_name(scenes: Path) -> None:
    assert Middlebury(scenes, "train", held_out=["scene_1"]).ids == ["scene_0", "scene_2"]
    assert Middlebury(scenes, "test", held_out=["scene_1"]).ids == ["scene_1"]
    assert Middlebury(scenes / "scene_2").ids == ["scene_2"]
    with pytest.raises(DataError, match=r"no test scene\. Name the scenes of 'test' with --data\.held_out"):
        Middlebury(scenes, "test")
    with pytest.raises(DataError, match="no scene 'scene_9' to hold out"):
        Middlebury(scenes, "test", held_out=["scene_9"])


@pytest.mark.parametrize(("left", "right", "disparity"), [("im2.ppm", "im6.ppm", "disp2.pgm"), ("view1.png", "view5.png", "disp1.png")])
def test_older_editions(tmp_path: Path, left: str, right: str, disparity: str) -> None:
    stored = np.array([[0, 4, 6], [255, 2, 1]], np.uint8)
    for name, picture in ((left, np.full((2, 3, 3), 7, np.uint8)), (right, np.full((2, 3, 3), 9, np.uint8)), (disparity, stored)):
        (tmp_path / "cones").mkdir(exist_ok=True)
        assert cv2.imwrite(str(tmp_path / "cones" / name), picture)
    frame = Middlebury(tmp_path)[0]
    assert frame["disparity"].tolist() == [[0, 1, 1.5], [63.75, 0.5, 0.25]]
    assert (frame["image"].max(), frame["right"].max()) == (7, 9)
    assert Middlebury(tmp_path, scale=2)[0]["disparity"].max() == 127.5


def test_what_is_missing_is_told(scenes: Path, tmp_path: Path) -> None:
    (scenes / "scene_0" / "im1.png").unlink()
    dataset = Middlebury(scenes)
    assert dataset.ids == ["scene_1", "scene_2"]
    assert "1 scenes lack a file (first: scene_0, right)" in dataset.check()[0]
    io.write_image(scenes / "scene_1" / "im1.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(DataError, match="Download one size of both"):
        dataset[0]
    with pytest.raises(DataError, match="no such folder"):
        Middlebury(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no scene with both views"):
        Middlebury(tmp_path / "empty")
    with pytest.raises(ConfigError, match="Give what 8-bit disparities are divided by"):
        Middlebury(scenes, scale=0)
    with pytest.raises(DataError, match="needs pairs with disparity"):
        make("world_indoor", tmp_path / "made", "middlebury", 1, "train", size=(16, 32), stereo=False)


def test_real_cones(real_data: Path) -> None:
    frame = Middlebury(real_data / "middlebury")[0]
    assert frame["image"].shape == (375, 450, 3)
    assert 50 < frame["disparity"].max() < 60
