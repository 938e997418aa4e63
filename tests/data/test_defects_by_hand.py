"""The figures that the rules of the data doctor measure, against scenes small enough to work out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from diorama.data.defects import bands, ids, inverse, resized, scale, stereo, surface
from diorama.data.disparity import depth_from_disparity
from diorama.data.labels import ISPRS6
from diorama.types import Frame


def test_the_plane_of_a_street_by_hand() -> None:
    """1 / depth = (row - 10) / 100 on a road: affine, so its depth is not, and its disparity is."""
    rows = np.arange(20, 212, dtype=np.float64)[:, None].repeat(256, 1)
    depth = (100 / (rows - 10)).astype(np.float32)
    true, wrong = (inverse.measure({"depth": values}, None) for values in (depth, (1 / depth).astype(np.float32)))
    assert true is not None and wrong is not None
    assert true.planes == wrong.planes > 20
    assert (true.inverse, wrong.inverse) == (0, wrong.planes)
    assert (true.trend, wrong.trend) == (pytest.approx(-1), pytest.approx(1))


def test_the_height_of_a_camera_by_hand() -> None:
    """A road 1.5 m below a camera of focal length 200 px lies at depth 300 / (row - middle) m."""
    rows = np.arange(200, dtype=np.float64)[:, None].repeat(100, 1)
    depth = np.where(rows > 99.5, 300 / (rows - 99.5 + (rows == 99.5)), 0).astype(np.float32)
    camera = np.array([[200.0, 0, 49.5], [0, 200.0, 99.5], [0, 0, 1]])
    found = scale.measure({"depth": depth, "intrinsics": camera}, None)
    assert found is not None
    assert found.below == pytest.approx(1.5, rel=1e-5)
    assert found.median == pytest.approx(float(np.median(300 / (np.arange(100) + 0.5))), rel=1e-5)


def test_the_factor_between_depth_and_disparity_by_hand() -> None:
    disparity = np.linspace(2, 40, 4000, dtype=np.float32).reshape(40, 100)
    frame: Frame = {
        "disparity": disparity,
        "depth": depth_from_disparity(disparity, 500.0, 0.3),
        "intrinsics": np.diag([500.0, 500.0, 1.0]),
    }
    fit = stereo.measure_given({**frame, "baseline": 0.6}, None)
    assert fit is not None
    assert fit.ratio == pytest.approx(np.log(2), rel=1e-5)
    assert fit.spread < 1e-5


def test_borders_and_depths_by_hand() -> None:
    semantic = np.repeat(np.array([1, 1, 1, 1, 1, 2, 3, 3, 3, 3, 3, 5, 5, 5, 5, 5], np.uint8)[None], 48, 0).repeat(3, 1)
    thin = np.repeat(np.array([1] * 24 + [2] + [3] * 23, np.uint8)[None], 60, 0)
    assert resized.measure_labels({"semantic": thin}, None) == (60, 0, 0, 0)  # one id between all: as a void would be
    assert resized.measure_labels({"semantic": semantic}, None) is not None
    points = np.zeros((60, 60), np.float32)
    points[::3, ::3] = 4
    assert resized.measure_sparse({"sparse_depth": points}, None) == resized.Sunk("sparse_depth", 0.0, pytest.approx(np.nan, nan_ok=True))
    points[::6] *= np.float32(0.25)
    found = resized.measure_sparse({"sparse_depth": points}, None)
    assert found is not None
    assert found.share == pytest.approx(0.5)


def test_ground_and_colours_by_hand() -> None:
    heights = np.full((64, 64), 20, np.float32)
    heights[:, :32] = 6
    ground: Frame = {"depth": heights, "semantic": np.where(heights > 10, 1, 0).astype(np.uint8)}
    assert surface.measure(ground, ISPRS6) == (6, 6, True)
    red = np.broadcast_to(np.array([120, 60, 65], np.uint8), (64, 64, 3)).copy()
    green = np.broadcast_to(np.array([60, 90, 50], np.uint8), (64, 64, 3)).copy()
    roof = np.broadcast_to(np.array([150, 90, 60], np.uint8), (64, 64, 3)).copy()
    kinds = [bands.measure({"image": image, "meta": {"bands": "rgb"}}, None) for image in (red, green, roof)]
    assert [kind.kind for kind in kinds if kind is not None] == ["irrg", "rgb", ""]
    assert ids.measure({"image": red}, None) is None
