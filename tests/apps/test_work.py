"""Uploads -> predictions: what is paired with what, what is refused, and a stereo pair whose depth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy import half_red
from uploads import npy, png

from diorama.apps.limits import Limits, TooLargeError
from diorama.apps.work import Upload, predict_upload
from diorama.errors import ConfigError, DataError, ShapeError
from diorama.prediction.predictor import Predictor, load

LIMITS = Limits()


def test_a_photo_is_predicted_at_its_size(predictor: Predictor, photo: Path) -> None:
    scene = predict_upload(predictor, Upload(photo, field_of_view=90), LIMITS)
    assert scene.depth == pytest.approx(np.full((64, 96), 4.2))
    assert scene.intrinsics[0, 0] == pytest.approx(48)


def test_errors_name_the_file_and_no_folder(predictor: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(b"no photo")
    with pytest.raises(DataError, match="^holiday.jpg: not an image"):
        predict_upload(predictor, Upload(path), LIMITS)
    text = tmp_path / "notes.txt"
    text.write_bytes(b"hello")
    with pytest.raises(DataError, match=r"^notes.txt: no photo file. Give one of \.jpg"):
        predict_upload(predictor, Upload(text), LIMITS)


def test_pixels_are_counted_before_anything_is_decoded(predictor: Predictor, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diorama.data.io.read_image", lambda *_: pytest.fail("decoded"))
    with pytest.raises(TooLargeError, match="half_red.png: 96x64"):
        predict_upload(predictor, Upload(photo), Limits(megapixels=0.006))


def test_arrays_are_counted_too_and_must_be_maps(tmp_path: Path) -> None:
    path = tmp_path / "points.npy"
    path.write_bytes(npy(np.ones((100, 100), np.float32)))
    with pytest.raises(TooLargeError, match="100x100"):
        predict_upload(load("nearest"), Upload(sparse_depth=path), Limits(megapixels=0.0099))
    path.write_bytes(npy(np.ones((4, 5, 6), np.float32)))
    with pytest.raises(ShapeError, match=r"points.npy: an array of shape \(4, 5, 6\)"):
        predict_upload(load("nearest"), Upload(sparse_depth=path), LIMITS)


def textured_pair(folder: Path, shift: int) -> tuple[Path, Path]:
    """A wall of noise that the right camera sees `shift` pixels farther to the left."""
    noise = np.random.default_rng(0).integers(0, 255, (48, 200, 3), np.uint8)
    noise = np.repeat(np.repeat(noise, 2, 0), 2, 1)
    left, right = folder / "left.png", folder / "right.png"
    left.write_bytes(png(noise[:, :320]))
    right.write_bytes(png(noise[:, shift : 320 + shift]))
    return left, right


def test_a_stereo_pair_is_metres_by_its_camera(tmp_path: Path) -> None:
    left, right = textured_pair(tmp_path, shift=16)
    scene = predict_upload(load("nearest"), Upload(left, right=right, focal_px=400, baseline=0.2), LIMITS)
    assert scene.depth is not None and scene.sparse_depth is not None
    assert np.median(scene.depth) == pytest.approx(400 * 0.2 / 16, rel=0.01)  # 5 m
    assert (scene.sparse_depth > 0).mean() > 0.8
    assert scene.intrinsics[0, 0] == 400


def test_what_makes_no_pair_is_refused(predictor: Predictor, tmp_path: Path) -> None:
    left, right = textured_pair(tmp_path, shift=16)
    completion = load("nearest")
    with pytest.raises(ConfigError, match="focal length"):
        predict_upload(completion, Upload(left, right=right), LIMITS)
    with pytest.raises(DataError, match="left view as the photo"):
        predict_upload(completion, Upload(right=right, focal_px=400, baseline=0.2), LIMITS)
    with pytest.raises(DataError, match="stereo pair: views in the wrong order"):
        predict_upload(completion, Upload(right, right=left, focal_px=400, baseline=0.2), LIMITS)
    with pytest.raises(ConfigError, match="looks at the photo alone. Leave out the right view"):
        predict_upload(predictor, Upload(left, right=right, focal_px=400, baseline=0.2), LIMITS)
    other = tmp_path / "other.png"
    other.write_bytes(png(half_red()))
    with pytest.raises(ShapeError, match="differ in size"):
        predict_upload(completion, Upload(left, right=other, focal_px=400, baseline=0.2), LIMITS)
    with pytest.raises(DataError, match=r"nearest takes sparse depth \(or a stereo pair\), which is not given"):
        predict_upload(completion, Upload(left), LIMITS)
