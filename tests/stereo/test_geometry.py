from __future__ import annotations

import numpy as np
import pytest

from diorama.data.world.dataset import WorldStreet
from diorama.errors import ConfigError, ShapeError
from diorama.stereo.geometry import depth_from_disparity, disparity_from_depth, in_view, resize_disparity


def test_depth_by_hand() -> None:
    # 720 px * 0.54 m = 388.8 px m
    disparity = np.array([[388.8, 100, 48.6, 0, -3, np.nan, np.inf]], np.float32)
    depth = depth_from_disparity(disparity, 720, 0.54)
    np.testing.assert_allclose(depth, [[1, 3.888, 8, 0, 0, 0, 0]], rtol=1e-6)
    assert depth.dtype == np.float32


def test_there_and_back() -> None:
    depth = np.random.default_rng(0).uniform(5, 90, (8, 40)).astype(np.float32)
    depth[:, ::7] = 0
    again = depth_from_disparity(disparity_from_depth(depth, 700, 0.5), 700, 0.5)
    np.testing.assert_allclose(again, depth, rtol=1e-6)


def test_worlds_own_pair_of_depth_and_disparity() -> None:
    frame = WorldStreet(frames=1, size=(64, 128))[0]
    depth = depth_from_disparity(frame["disparity"], frame["intrinsics"][0, 0], frame["baseline"])
    np.testing.assert_allclose(depth, frame["depth"], rtol=1e-5)


def test_nothing_is_divided_by_zero() -> None:
    with np.errstate(all="raise"):
        assert depth_from_disparity(np.zeros((2, 3), np.float32), 700, 0.5).tolist() == [[0] * 3] * 2
        assert disparity_from_depth(np.array([[0, -1, np.nan, np.inf]], np.float32), 700, 0.5).tolist() == [[0] * 4]


def test_in_view_by_hand() -> None:
    disparity = np.array([[0.5, 1, 2.5, 0, 2]], np.float32)
    assert in_view(disparity).tolist() == [[False, True, False, False, True]]
    assert in_view(disparity, right=True).tolist() == [[True, True, False, False, False]]


@pytest.mark.parametrize("factor", [0.5, 0.25, 2.0])
def test_resized_disparity_means_the_same_depth(factor: float) -> None:
    disparity = np.repeat(np.repeat(np.random.default_rng(1).uniform(1, 20, (8, 16)), 4, 0), 4, 1).astype(np.float32)
    disparity[4:8] = 0
    height, width = (int(size * factor) for size in disparity.shape)
    small = resize_disparity(disparity, height, width)
    assert small.shape == (height, width)
    depth = depth_from_disparity(small, 700 * factor, 0.5)
    y, x = ((np.arange(size) / factor).astype(int) for size in (height, width))
    np.testing.assert_allclose(depth, depth_from_disparity(disparity, 700, 0.5)[y[:, None], x], rtol=1e-5)


def test_only_the_width_scales_values() -> None:
    assert (resize_disparity(np.full((4, 8), 3, np.float32), 16, 8) == 3).all()


def test_bad_input() -> None:
    disparity = np.ones((2, 3), np.float32)
    for wrong in ((0, 0.5), (700, -1), (np.nan, 0.5), (np.inf, 0.5)):
        with pytest.raises(ConfigError, match="calibration"):
            depth_from_disparity(disparity, *wrong)
    with pytest.raises(ShapeError, match="at least one pixel"):
        resize_disparity(disparity, 0, 4)
