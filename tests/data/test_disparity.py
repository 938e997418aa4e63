from __future__ import annotations

import numpy as np
import pytest

from diorama.data.disparity import depth_from_disparity, disparity_from_depth
from diorama.data.world.dataset import WorldStreet
from diorama.errors import ConfigError


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


def test_bad_input() -> None:
    disparity = np.ones((2, 3), np.float32)
    for wrong in ((0, 0.5), (700, -1), (np.nan, 0.5), (np.inf, 0.5)):
        with pytest.raises(ConfigError, match="calibration"):
            depth_from_disparity(disparity, *wrong)
