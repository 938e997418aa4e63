"""Photos of any size through a model worked out by hand; resizing against torch's own."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from diorama.errors import ConfigError, DataError, ModelError, ShapeError
from diorama.prediction import predictor as predictor_module
from diorama.prediction.predictor import Predictor, list_models, load, resized_argmax
from diorama.types import Prediction


def test_a_photo_of_the_training_size_is_not_resized(predictor: Predictor, half_red: NDArray[np.uint8]) -> None:
    scene = predictor.scene(half_red)
    assert scene.semantic is not None
    assert scene.depth is not None
    np.testing.assert_array_equal(scene.semantic, np.repeat([[0] * 48 + [1] * 48], 64, 0))
    np.testing.assert_allclose(scene.depth, 4 + half_red[..., 1] / 255, rtol=1e-5)
    assert scene.working_size == (64, 96)


def test_answers_have_the_size_of_the_photo(predictor: Predictor, model: Any, half_red: NDArray[np.uint8]) -> None:
    large = np.repeat(np.repeat(half_red, 7, 0), 7, 1)
    scene = predictor.scene(large)
    assert model.seen == [(1, 3, 64, 96)]
    assert scene.semantic is not None
    assert scene.depth is not None
    assert scene.semantic.shape == scene.depth.shape == (448, 672)
    assert (scene.semantic[:, :330] == 0).all()
    assert (scene.semantic[:, 342:] == 1).all()
    np.testing.assert_allclose(scene.depth, 4 + large[..., 1] / 255, atol=0.02)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000))
def test_the_working_size_keeps_the_shape_of_the_photo(height: int, width: int) -> None:
    predictor = Predictor(_sized([240, 320]), "toy", "none")
    rows, columns = predictor.working_size(height, width)
    if (rows, columns) != (240, 320):
        assert rows % 32 == columns % 32 == 0
    assert min(rows, columns) >= 32
    ideal = math.sqrt(240 * 320 * height / width)
    if min(ideal, 240 * 320 / ideal) >= 32:
        # Rounding moves each side by at most half of 32.
        assert abs(rows - ideal) <= 16 + 1e-6 or (rows, columns) == (240, 320)
        assert abs(columns - 240 * 320 / ideal) <= 16 + 1e-6 or (rows, columns) == (240, 320)


def test_a_photo_held_upright_is_seen_upright() -> None:
    predictor = Predictor(_sized([240, 320]), "toy", "none")
    assert predictor.working_size(480, 640) == (240, 320)
    assert predictor.working_size(4000, 3000) == (320, 256)
    assert Predictor(_sized(None), "toy", "none").working_size(600, 800) == (256, 320)


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 5), st.integers(3, 20), st.integers(3, 20), st.integers(1, 50), st.integers(1, 50), st.integers(0, 99))
def test_classes_are_the_largest_of_the_bilinear_logits(k: int, h: int, w: int, height: int, width: int, seed: int) -> None:
    torch = pytest.importorskip("torch")
    logits = np.random.default_rng(seed).normal(size=(k, h, w)).astype(np.float32)
    resized = torch.nn.functional.interpolate(torch.from_numpy(logits)[None], (height, width), mode="bilinear", align_corners=False)[0]
    best = resized.max(0).values
    chosen = torch.from_numpy(resized_argmax(logits, height, width).astype(np.int64))
    # Two classes within rounding of each other may be told apart either way.
    assert float((best - resized.gather(0, chosen[None])[0]).max()) < 1e-4


def test_what_lies_beyond_the_label_set_is_ignore(model: Any, half_red: NDArray[np.uint8]) -> None:
    class Unsure:
        """Where green is above one half, one logit beyond the two classes is the largest."""

        config = model.config

        def __call__(self, inputs: Any) -> Prediction:
            logits, depth = model(inputs)[:2]
            return Prediction(np.concatenate([logits, 9 * (inputs["image"][:, 1:2] > 0.5)], 1), depth)

    semantic = Predictor(Unsure(), "unsure", "by hand").scene(half_red).semantic
    assert semantic is not None
    green = half_red[..., 1] > 127
    assert np.array_equal(semantic, np.where(green, 255, half_red[..., 0] > 127))


def test_exif_orientation_is_applied(predictor: Predictor, half_red: NDArray[np.uint8], tmp_path: Path) -> None:
    stored = Image.fromarray(np.rot90(half_red, 1))  # the camera was turned; orientation 6 says: turn clockwise to view
    exif = Image.Exif()
    exif[0x0112] = 6
    stored.save(tmp_path / "turned.png", exif=exif)
    scene = predictor.scene(tmp_path / "turned.png")
    np.testing.assert_array_equal(scene.image, half_red)
    assert scene.semantic is not None
    assert scene.semantic[10, 90] == 1
    assert scene.semantic[10, 5] == 0


def test_a_folder_gives_one_scene_after_the_other(predictor: Predictor, half_red: NDArray[np.uint8], tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        Image.fromarray(half_red).save(tmp_path / name)
    assert [scene.path.name for scene in predictor.predict(tmp_path) if scene.path] == ["a.png", "b.png"]


def test_batches_go_to_the_network_as_they_are(predictor: Predictor, model: Any) -> None:
    images = np.random.default_rng(0).random((2, 3, 37, 41), np.float32)
    np.testing.assert_array_equal(predictor.batch({"image": images}).depth, 4 + images[:, 1:2])
    assert model.seen == [(2, 3, 37, 41)]


def test_the_camera_is_given_assumed_or_the_training_camera() -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    plain = Predictor(_sized([60, 80]), "toy", "none")
    assumed = plain.scene(image)
    assert assumed.intrinsics_assumed
    assert assumed.field_of_view == pytest.approx(60)
    trained = Predictor(_sized([60, 80], field_of_view=90.0), "toy", "none").scene(image)
    assert trained.intrinsics[0, 0] == pytest.approx(40)  # tan 45 degrees = 1: the focal length is half the width
    asked = plain.scene(image, field_of_view=90.0)
    assert not asked.intrinsics_assumed
    # Held upright, the same camera has the same focal length.
    upright = plain.scene(np.zeros((80, 60, 3), np.uint8), field_of_view=90.0)
    assert upright.intrinsics[0, 0] == pytest.approx(40)
    assert upright.field_of_view == pytest.approx(90)
    given_camera = np.array([[50.0, 0, 40], [0, 51, 30], [0, 0, 1]])
    np.testing.assert_array_equal(plain.scene(image, intrinsics=given_camera).intrinsics, given_camera)
    with pytest.raises(ConfigError, match="Give one of them"):
        plain.scene(image, intrinsics=given_camera, field_of_view=60)
    with pytest.raises(ShapeError, match=r"not \(3, 3\)"):
        plain.scene(image, intrinsics=np.eye(4))


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4), np.float32), np.zeros((4, 4, 2), np.uint8), np.full((4, 4, 3), 1.5), np.zeros((0, 4, 3))]
)
def test_arrays_that_are_no_photo_are_refused(predictor: Predictor, array: NDArray[Any]) -> None:
    with pytest.raises(ShapeError, match=r"Give uint8 \(H, W, 3\)"):
        predictor.scene(array)


def test_a_truncated_photo_is_an_error_of_one_line(predictor: Predictor, half_red: NDArray[np.uint8], tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    Image.fromarray(half_red).save(path)
    path.write_bytes(path.read_bytes()[:90])
    with pytest.raises(DataError, match=r"cut\.png") as error:
        predictor.scene(path)
    assert "\n" not in str(error.value)


def test_loading_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").touch()
    (tmp_path / "junk.onnx").write_bytes(b"nothing")
    (tmp_path / "junk.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0")
    (tmp_path / "empty").mkdir()
    for source, says in (
        (tmp_path / "missing.onnx", "no such file or folder"),
        ("ci_net-nyuv3", "unknown model 'ci_net-nyuv3'"),
        (tmp_path / "weights.pth", "Give the model.safetensors"),
        (tmp_path / "junk.onnx", "onnxruntime cannot open it"),
        (tmp_path / "junk.safetensors", "safetensors"),
        (tmp_path / "empty", "holds no model.onnx"),
    ):
        with pytest.raises(ModelError, match=says) as error:
            load(source)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("threads", [0, -3])
def test_threads_are_at_least_one(tmp_path: Path, threads: int) -> None:
    with pytest.raises(ConfigError, match="Choose 1 or more"):
        load(tmp_path, threads=threads)


def test_an_angle_of_zero_is_refused_and_not_taken_for_none(predictor: Predictor, half_red: NDArray[np.uint8]) -> None:
    with pytest.raises(ConfigError, match="choose one between 1 and 179"):
        predictor.scene(half_red, field_of_view=0)


def test_shipped_models_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor_module, "WEIGHTS", tmp_path)
    for name in ("one", "two", "no_weights"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(_sized([64, 96]).config))
    for name in ("one", "two"):
        (tmp_path / name / "model.onnx").write_bytes(b"")
    assert list(list_models()) == ["one", "two"]
    assert predictor_module.find_model("two") == tmp_path / "two"
    with pytest.raises(ModelError, match="did you mean 'one'"):
        load("onne")


def _sized(size: list[int] | None, **training: object) -> toy.SameModel:
    """A model of which only the config matters."""
    return toy.SameModel(toy.toy_config(size, classes=(), **training), depth=1)
