from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import ConvexHull

from diorama.completion.interpolate import linear, near_pixels, nearest, nearest_pixels, triangles
from diorama.errors import ConfigError, DataError, ShapeError

SEEDS = range(6)


def points(seed: int, height: int = 60, width: int = 80, count: int = 70) -> np.ndarray:
    draw = np.random.default_rng(seed)
    sparse = np.zeros((height, width), np.float32)
    sparse.flat[draw.choice(height * width, count, replace=False)] = draw.uniform(0.5, 9.5, count)
    return sparse


def least_squares(known: np.ndarray) -> np.ndarray:
    """Squared distance to the nearest known pixel, every pixel against every known one."""
    y, x = np.indices(known.shape)
    return np.min([(y - row) ** 2 + (x - column) ** 2 for row, column in np.argwhere(known)], axis=0)


def squares(known: np.ndarray, index: np.ndarray) -> np.ndarray:
    y, x = np.indices(known.shape)
    return (index // known.shape[1] - y) ** 2 + (index % known.shape[1] - x) ** 2


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("threads", [1, 2])
def test_nearest_is_as_near_as_brute_force(seed: int, threads: int) -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(threads)
    try:
        known = points(seed, 150, 260, (1, 2, 7, 40, 200, 900)[seed]) > 0
        index = nearest_pixels(known)
        chamfer = near_pixels(known)
    finally:
        cv2.setNumThreads(before)
    assert known.ravel()[index].all()
    assert np.array_equal(squares(known, index), least_squares(known))
    assert known.ravel()[chamfer].all()
    assert (squares(known, chamfer) <= 1.1 * least_squares(known)).all()


def test_nearest_by_hand() -> None:
    sparse = np.zeros((1, 7), np.float32)
    sparse[0, 1], sparse[0, 6] = 2.0, 5.0
    assert nearest(sparse).tolist() == [[2, 2, 2, 2, 5, 5, 5]]


@pytest.mark.parametrize("seed", SEEDS)
def test_triangles_fill_the_convex_hull_once_and_their_circles_are_empty(seed: int) -> None:
    known = points(seed) > 0
    corners = triangles(known)
    at = np.argwhere(known)[:, ::-1]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    doubled = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    assert np.abs(doubled).sum() / 2 == pytest.approx(ConvexHull(at).volume, rel=2e-3)
    for corner, sense in zip(corners, np.sign(doubled), strict=True):
        away = corner[None] - at[:, None]
        lifted = np.concatenate((away, (away**2).sum(2, keepdims=True)), axis=2)
        assert (np.linalg.det(lifted.astype(np.float64)) * sense < 0.5).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_linear_equals_another_library_inside_the_hull(seed: int) -> None:
    sparse = points(seed)
    rows, columns = np.nonzero(sparse)
    y, x = np.indices(sparse.shape)
    theirs = LinearNDInterpolator(np.stack((columns, rows), 1).astype(float), sparse[rows, columns])(x, y)
    dense = linear(sparse, max_edge=None)
    inside = np.isfinite(theirs)
    # four points on one circle have two triangulations: a few triangles differ
    assert np.mean(np.abs(dense - theirs)[inside] < 1e-4) > 0.95


@pytest.mark.parametrize("seed", SEEDS)
def test_every_pixel_of_a_triangle_gets_its_barycentric_mean(seed: int) -> None:
    sparse = points(seed, 30, 40, 25)
    dense = linear(sparse, max_edge=None)
    left = np.ones(sparse.shape, bool)
    y, x = np.indices(sparse.shape)
    for a, b, c in triangles(sparse > 0).astype(float):
        basis = np.array([[a[0], b[0], c[0]], [a[1], b[1], c[1]], [1, 1, 1]])
        weights = np.linalg.solve(basis, np.stack((x.ravel(), y.ravel(), np.ones(x.size))))
        within = (weights > -1e-9).all(0).reshape(sparse.shape)
        values = np.array([sparse[int(row), int(column)] for column, row in (a, b, c)]) @ weights
        assert np.abs(dense - values.reshape(sparse.shape))[within].max() < 1e-4
        left &= ~within
    assert np.array_equal(dense[left], nearest(sparse)[left])


def test_linear_keeps_a_plane_exactly_and_known_pixels_untouched() -> None:
    y, x = np.indices((40, 50))
    plane = (2 + 0.03 * x + 0.05 * y).astype(np.float32)
    sparse = np.where(points(1, 40, 50, 60) > 0, plane, 0).astype(np.float32)
    sparse[[0, 0, -1, -1], [0, -1, 0, -1]] = plane[[0, 0, -1, -1], [0, -1, 0, -1]]
    dense = linear(sparse, max_edge=None)
    assert np.abs(dense - plane).max() < 1e-5
    assert np.array_equal(dense[sparse > 0], sparse[sparse > 0])


def test_linear_by_hand() -> None:
    sparse = np.zeros((5, 5), np.float32)
    sparse[0, 0], sparse[0, 4], sparse[4, 0] = 1.0, 5.0, 9.0
    dense = linear(sparse, max_edge=None)
    assert np.allclose([dense[0, 2], dense[2, 0], dense[1, 1], dense[2, 2]], [3, 5, 4, 7])
    assert dense[4, 4] in (5.0, 9.0)  # outside the triangle, as near to both


def test_a_long_edge_is_left_to_the_nearest_point() -> None:
    sparse = np.zeros((10, 400), np.float32)
    sparse[::3, :12:3] = 2.0
    sparse[5, 399] = 80.0
    spacing = np.sqrt(sparse.size / (sparse > 0).sum())
    assert np.array_equal(linear(sparse, max_edge=100 / spacing), nearest(sparse))
    assert np.unique(linear(sparse, max_edge=None)).size > 100


@pytest.mark.parametrize("where", [[(3, 4)], [(0, 0), (19, 29)], [(2, 2), (2, 9), (2, 25)], [(1, 1), (5, 5), (9, 9)]])
def test_points_that_span_no_triangle_give_the_nearest(where: list[tuple[int, int]]) -> None:
    sparse = np.zeros((20, 30), np.float32)
    for depth, (row, column) in enumerate(where, 1):
        sparse[row, column] = depth
    dense = linear(sparse)
    assert len(triangles(sparse > 0)) == 0
    assert np.array_equal(dense, nearest(sparse))
    assert set(np.unique(dense)) == set(range(1, len(where) + 1))


def test_values_stay_between_those_known() -> None:
    for seed, (fewer, more) in enumerate(pairwise((3, 10, 100, 1000))):
        sparse = points(seed, 60, 80, (fewer + more) // 2)
        dense = linear(sparse, max_edge=None)
        known = sparse[sparse > 0]
        assert known.min() - 1e-5 <= dense.min()
        assert dense.max() <= known.max() + 1e-5


@pytest.mark.parametrize("complete", [nearest, linear])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (3, 3)])
def test_frames_of_one_row_or_all_known(complete, shape: tuple[int, int]) -> None:
    full = np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)
    assert np.array_equal(complete(full), full)


@pytest.mark.parametrize("complete", [nearest, linear])
def test_what_cannot_be_completed_is_refused(complete) -> None:
    with pytest.raises(DataError, match="without one known value.*check its depth scale"):
        complete(np.zeros((4, 6), np.float32))
    with pytest.raises(DataError, match="1 NaN.*replace them by 0"):
        complete(np.array([[1, np.nan]], np.float32))
    with pytest.raises(DataError, match="1 negative"):
        complete(np.array([[1, -2]], np.float32))
    with pytest.raises(ShapeError, match="Give one frame"):
        complete(np.ones((1, 4, 6), np.float32))


@pytest.mark.parametrize("max_edge", [0, -1, float("nan")])
def test_a_limit_of_edges_is_positive(max_edge: float) -> None:
    with pytest.raises(ConfigError, match="Choose a positive number"):
        linear(np.ones((2, 2), np.float32), max_edge=max_edge)
