"""Tiles against the whole image, weights against 1, and what a row of tiles may hold."""

from __future__ import annotations

import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diorama.errors import ConfigError, ShapeError
from diorama.prediction.tiling import View, blended, plan_tiles, softmax
from diorama.types import Inputs, Prediction

RANDOM = np.random.default_rng(0)
POOLED = 4


class Convolutions:
    """Two filters of 5x5 with a ReLU between, zeros around, on the image and on 4x4 means of it: it sees 2 + 2 + 4 * 2 + 3 pixels far."""

    reach = 15

    def __init__(self, classes: int = 3) -> None:
        self.filters = RANDOM.normal(0, 0.4, (classes + 1, 3, 5, 5)).astype(np.float32)
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, inputs: Inputs) -> Prediction:
        images = inputs["image"]
        self.shapes.append(images.shape)
        found = np.stack([self._one(image) for image in images])
        return Prediction(found[:, 1:], 5 + found[:, :1])

    def _one(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        _, height, width = image.shape
        coarse = image.reshape(3, height // POOLED, POOLED, width // POOLED, POOLED).mean((2, 4))
        planes = []
        for kernels in self.filters:
            plane = np.zeros((height, width), np.float32)
            for channel, kernel in enumerate(kernels):
                plane += filtered(np.maximum(filtered(image[channel], kernel), 0), kernel)
                plane += filtered(coarse[channel], kernel).repeat(POOLED, 0).repeat(POOLED, 1)
            planes.append(plane)
        return np.stack(planes)


def filtered(plane: NDArray[np.float32], kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.filter2D(plane, -1, kernel, borderType=cv2.BORDER_CONSTANT), np.float32)


def reading(image: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None):
    def read(top: int, left: int, height: int, width: int) -> View:
        assert top >= 0 and left >= 0 and top + height <= image.shape[0] and left + width <= image.shape[1]
        part = np.s_[top : top + height, left : left + width]
        return View(image[part], None if valid is None else valid[part])

    return read


def collected(blocks, size: tuple[int, int], classes: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Probabilities, depth, and how often each pixel came."""
    probabilities, depth, times = np.zeros((classes, *size), np.float32), np.zeros(size, np.float32), np.zeros(size, int)
    last = (0, -1)
    for block in blocks:
        assert (block.top, block.left) > last
        last = block.top, block.left
        part = np.s_[block.top : block.top + block.size[0], block.left : block.left + block.size[1]]
        times[part] += 1
        if block.depth is not None:
            probabilities[:, *part], depth[part] = block.probabilities, block.depth
    return probabilities, depth, times


@given(
    st.integers(1, 300), st.integers(1, 40).map(lambda value: 4 * value), st.integers(0, 60), st.sampled_from([1, 2, 4, 8]), st.booleans()
)
@settings(max_examples=150, deadline=None)
def test_weights_sum_to_one_at_every_pixel(length: int, tile: int, halo: int, multiple: int, upright: bool) -> None:
    size = (length, 7) if upright else (7, length)
    side = -(-tile // multiple) * multiple
    if side - 3 * halo < multiple and any(-(-part // multiple) * multiple > side for part in size):
        with pytest.raises(ConfigError, match="leaves no room"):
            plan_tiles(size, tile, halo, multiple)
        return
    plan = plan_tiles(size, tile, halo, multiple)
    spans = plan.rows if upright else plan.columns
    padded = -(-length // multiple) * multiple
    total, believed = np.zeros(padded), np.zeros(padded, bool)
    for span in spans:
        assert span.start % multiple == 0 and (span.stop - span.start) % multiple == 0
        assert 0 <= span.start <= span.first < span.last <= span.stop <= padded
        assert span.first - span.start >= (halo if span.start else 0)
        assert span.stop - span.last >= (halo if span.stop < padded else 0)
        assert (span.weights > 0).all()
        total[span.first : span.last] += span.weights
        believed[span.first : span.last] = True
    assert believed.all()
    np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.mark.parametrize("size", [(300, 260), (64, 500), (500, 48), (40, 40), (96, 96), (100, 96)])
@pytest.mark.parametrize("batch", [1, 3])
def test_tiles_answer_as_the_whole_image(size: tuple[int, int], batch: int) -> None:
    model = Convolutions()
    image = RANDOM.integers(0, 256, (*size, 3), np.uint8)
    plan = plan_tiles(size, 96, model.reach, POOLED)
    found, depth, times = collected(blended(model, reading(image), plan, batch=batch), size, 3)
    whole = model({"image": image.transpose(2, 0, 1)[None].astype(np.float32) / 255})
    assert (times == 1).all()
    np.testing.assert_allclose(depth, whole.depth[0, 0], atol=1e-4)
    np.testing.assert_allclose(found, softmax(whole.semantic_logits)[0], atol=1e-4)
    assert {shape[2:] for shape in model.shapes[:-1]} == {(min(96, size[0]), min(96, size[1]))}
    assert max(shape[0] for shape in model.shapes[:-1]) <= batch


def test_a_halo_that_is_too_small_shows() -> None:
    """The seam test would notice."""
    model, image = Convolutions(), RANDOM.integers(0, 256, (200, 200, 3), np.uint8)
    plan = plan_tiles((200, 200), 96, 4, POOLED)
    _, depth, _ = collected(blended(model, reading(image), plan), (200, 200), 3)
    whole = model({"image": image.transpose(2, 0, 1)[None].astype(np.float32) / 255})
    assert np.abs(depth - whole.depth[0, 0]).max() > 1e-2


def test_sides_that_are_no_multiple_are_padded_by_reflection() -> None:
    model, image = Convolutions(), RANDOM.integers(0, 256, (131, 150, 3), np.uint8)
    plan = plan_tiles((131, 150), 96, model.reach, POOLED)
    _, depth, times = collected(blended(model, reading(image), plan), (131, 150), 3)
    padded = np.concatenate([image, image[:-2:-1]])  # 132 rows
    padded = np.concatenate([padded, padded[:, :-3:-1]], 1)  # 152 columns
    whole = model({"image": padded.transpose(2, 0, 1)[None].astype(np.float32) / 255})
    assert (times == 1).all()
    np.testing.assert_allclose(depth, whole.depth[0, 0, :131, :150], atol=1e-4)


def ramp(inputs: Inputs) -> Prediction:
    """Depth 0 at the first tile, 1 at the others, told by their brightness."""
    return Prediction(None, (inputs["image"][:, :1].mean((2, 3), keepdims=True) > 0.4) * np.ones_like(inputs["image"][:, :1]))


def test_neighbours_that_disagree_meet_in_a_cosine() -> None:
    """Two tiles of 16 with a halo of 4 share 12 pixels: 4 of the left one, 4 between, 4 of the right one."""
    image = np.zeros((16, 20, 3), np.uint8)
    image[:, 4:] = 130
    plan = plan_tiles((16, 20), 16, 4)
    blocks = list(blended(ramp, reading(image), plan))
    assert all(block.probabilities is None for block in blocks)
    depth = np.concatenate([block.depth for block in blocks], 1)
    middle = [0.5 - 0.5 * np.cos(np.pi * (step + 0.5) / 4) for step in range(4)]
    np.testing.assert_allclose(depth, np.tile([*[0.0] * 8, *middle, *[1.0] * 8], (16, 1)), atol=1e-6)


def test_what_is_not_valid_is_not_shown_to_the_network() -> None:
    model, image = Convolutions(), RANDOM.integers(0, 256, (256, 256, 3), np.uint8)
    valid = np.zeros((256, 256), bool)
    valid[200:, 200:] = True
    plan = plan_tiles((256, 256), 64, 8, POOLED)
    blocks = list(blended(model, reading(image, valid), plan))
    assert np.array_equal(stitched(blocks, valid.shape), valid)
    assert 0 < len(model.shapes) < len(plan)
    _, depth, _ = collected(blocks, (256, 256), 3)
    _, every, _ = collected(blended(model, reading(image), plan), (256, 256), 3)
    np.testing.assert_allclose(depth[valid], every[valid], atol=1e-5)
    nothing = list(blended(model, reading(image, np.zeros_like(valid)), plan))
    assert len(nothing) == len(plan) and all(block.depth is None for block in nothing)


def stitched(blocks, size: tuple[int, int]) -> NDArray[np.bool_]:
    found = np.zeros(size, bool)
    for block in blocks:
        found[block.top : block.top + block.size[0], block.left : block.left + block.size[1]] = block.valid
    return found


def test_memory_does_not_grow_with_the_height() -> None:
    def peak(height: int) -> int:
        read = lambda top, left, rows, columns: View(np.full((rows, columns, 3), top % 251, np.uint8))  # noqa: E731
        model = lambda inputs: Prediction(inputs["image"], inputs["image"][:, :1])  # noqa: E731
        tracemalloc.start()
        for _ in blended(model, read, plan_tiles((height, 512), 128, 16)):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(512)
    assert peak(8192) < 1.1 * peak(1024) + 50_000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (((100, 100), 0), "tiles of 0x0 pixels. Choose"),
        (((100, 100), 32, -1), "Choose 0 or more"),
        (((100, 100), 32, 16), "halo of at most 10"),
        (((100, 100), 64, 12, 32), "halo of at most 10"),
    ],
)
def test_plans_that_cannot_be(arguments, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        plan_tiles(*arguments)


def test_bad_models_and_batches() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    half = lambda inputs: Prediction(None, inputs["image"][:, :1, ::2, ::2])  # noqa: E731
    with pytest.raises(ShapeError, match="keeps the size"):
        list(blended(half, reading(image), plan_tiles((64, 64), 32, 4)))
    with pytest.raises(ConfigError, match="Choose 1 or more"):
        list(blended(ramp, reading(image), plan_tiles((64, 64), 32, 4), batch=0))
    with pytest.raises(ShapeError, match="nothing to predict on"):
        plan_tiles((0, 5), 32)
