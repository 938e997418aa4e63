"""Files of one photo, read back by other decoders than the ones that wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from diorama.errors import ConfigError
from diorama.prediction.predictor import Predictor
from diorama.prediction.result import DEFAULT_SAVE, check_save

ALL = ("semantic", "depth", "json", "overlay", "ply", "panel")


def test_every_file_has_the_name_and_size_it_should(predictor: Predictor, half_red: NDArray[np.uint8], tmp_path: Path) -> None:
    written = predictor.scene(half_red).save(tmp_path, "sub/room", ALL)
    suffixes = ("semantic.png", "depth.png", "json", "overlay.jpg", "ply", "panel.jpg")
    assert sorted(written) == sorted(tmp_path / "sub" / f"room.{suffix}" for suffix in suffixes)
    assert sorted(tmp_path.rglob("*.*")) == sorted(written)
    for name in ("semantic.png", "depth.png", "overlay.jpg"):
        with Image.open(tmp_path / "sub" / f"room.{name}") as image:
            assert image.size == (96, 64)


def test_label_and_depth_files_hold_train_ids_and_metres_times_256(
    predictor: Predictor, half_red: NDArray[np.uint8], tmp_path: Path
) -> None:
    predictor.scene(half_red).save(tmp_path, "room")
    labels = np.array(Image.open(tmp_path / "room.semantic.png"))
    assert labels.dtype == np.uint8
    assert labels[20].tolist() == [0] * 48 + [1] * 48
    depth = cv2.imread(str(tmp_path / "room.depth.png"), cv2.IMREAD_UNCHANGED)
    assert depth.dtype == np.uint16
    assert depth[0, 0] == 4 * 256  # green 0: 4 m
    assert depth[-1, 0] == 5 * 256  # green 255: 5 m


def test_the_json_says_what_the_numbers_mean(predictor: Predictor, half_red: NDArray[np.uint8], tmp_path: Path) -> None:
    predictor.scene(half_red, field_of_view=90.0).save(tmp_path, "room")
    said: dict[str, Any] = json.loads((tmp_path / "room.json").read_text())
    assert said["model"] == {"name": "toy", "method": "toy", "diorama": "0.1.0", "backend": "by hand", "data": "none"}
    assert said["camera"]["field_of_view_longer_side_degrees"] == pytest.approx(90)
    assert said["size"] == said["input_size"] == {"height": 64, "width": 96}
    assert said["semantic"]["classes"] == ["dark", "red"]
    assert said["semantic"]["shares"] == {"dark": 0.5, "red": 0.5}
    assert (said["depth"]["unit"], said["depth"]["scale"], said["depth"]["clipped_pixels"]) == ("m", 256, 0)
    assert said["depth"]["range"] == [4.0, 5.0]
    assert said["camera"]["assumed"] is False
    assert said["camera"]["intrinsics"][0][0] == pytest.approx(48)
    assert said["points"] == 64 * 96
    assert said["files"]["depth"] == "room.depth.png"


def test_depth_beyond_what_the_file_can_hold_is_counted(predictor: Predictor, half_red: NDArray[np.uint8], tmp_path: Path) -> None:
    scene = predictor.scene(half_red)
    assert scene.depth is not None
    scene.depth[0, :7] = 300.0  # 65535 / 256 is just below 256 m
    scene.save(tmp_path, "room", ("depth", "json"))
    assert json.loads((tmp_path / "room.json").read_text())["depth"]["clipped_pixels"] == 7
    assert np.array(Image.open(tmp_path / "room.depth.png"))[0, 6] == 65535


def test_the_ply_lies_where_the_camera_saw_it(predictor: Predictor, half_red: NDArray[np.uint8], tmp_path: Path) -> None:
    predictor.scene(half_red, field_of_view=90.0).save(tmp_path, "room", ("ply",))
    header, _, body = (tmp_path / "room.ply").read_bytes().partition(b"end_header\n")
    assert b"field of view 90.00 degrees over the longer side\n" in header
    kinds = [("xyz", "<f4", 3), ("rgb", "u1", 3), ("label", "u1")]
    points = np.frombuffer(body, np.dtype(kinds))
    assert len(points) == 64 * 96
    # The last pixel is (u, v) = (95, 63) at 5 m; the focal length is 48 px, the centre (47.5, 31.5).
    np.testing.assert_allclose(points["xyz"][-1], [(95 - 47.5) / 48 * 5, (63 - 31.5) / 48 * 5, 5], rtol=1e-5)
    assert points["rgb"][-1].tolist() == [255, 255, 0]
    assert points["label"][-1] == 1


def test_what_a_model_does_not_predict_is_left_out(predictor: Predictor, model: Any, half_red: NDArray[np.uint8], tmp_path: Path) -> None:
    model.outputs = ("semantic_logits",)
    only_classes = predictor.scene(half_red)
    assert sorted(path.name for path in only_classes.save(tmp_path, "a")) == ["a.json", "a.overlay.jpg", "a.semantic.png"]
    with pytest.raises(ConfigError, match="predicts no depth"):
        only_classes.point_cloud()
    model.outputs = ("depth",)
    only_depth = predictor.scene(half_red)
    assert sorted(path.name for path in only_depth.save(tmp_path, "b")) == ["b.depth.png", "b.json", "b.overlay.jpg", "b.ply"]
    assert only_depth.overlay().shape == half_red.shape
    assert only_classes.plot().width < predictor.scene(half_red).plot().width * 2


def test_the_panel_shows_photo_classes_depth_and_points(predictor: Predictor, model: Any, half_red: NDArray[np.uint8]) -> None:
    whole = np.asarray(predictor.scene(half_red).plot(tile=200))
    model.outputs = ("depth",)
    assert whole.shape[1] >= 400
    assert whole.shape[0] > 2 * 133  # two rows of 200 x 133
    assert len(np.unique(whole.reshape(-1, 3), axis=0)) > 100


def test_kinds_to_save_are_checked() -> None:
    assert check_save(("ply", "semantic")) == ["semantic", "ply"]
    assert check_save("depth") == ["depth"]
    assert DEFAULT_SAVE == ("semantic", "depth", "json", "overlay", "ply")
    with pytest.raises(ConfigError, match="did you mean 'depth'"):
        check_save(["dept"])
    with pytest.raises(ConfigError, match="nothing to save"):
        check_save([])


def test_an_array_needs_a_stem(predictor: Predictor, half_red: NDArray[np.uint8], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pass stem"):
        predictor.scene(half_red).save(tmp_path)
    assert not list(tmp_path.iterdir())
