"""Depth error by local density of the input: a brute-force count of the windows, cells by hand, sums that add up."""

from __future__ import annotations

import numpy as np
import pytest

from diorama.errors import ShapeError
from diorama.evaluation.density import EDGES, RADIUS, density_breakdown, density_columns, local_density, range_names
from diorama.evaluation.table import FrameTable

SIZE = (60, 90)


def some_points(share: float, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (generator.random(SIZE) < share).astype(np.float32) * generator.uniform(1, 9, SIZE).astype(np.float32)


@pytest.mark.parametrize("radius", [0, 1, 7, RADIUS])
def test_local_density_counts_the_points_of_each_window(radius: int) -> None:
    points = some_points(0.05)
    expected = np.zeros(SIZE)
    for row in range(SIZE[0]):
        for column in range(SIZE[1]):
            window = points[max(row - radius, 0) : row + radius + 1, max(column - radius, 0) : column + radius + 1]
            expected[row, column] = (window > 0).mean()
    assert np.array_equal(local_density(points, radius), expected)


def test_each_range_holds_the_pixels_and_errors_that_belong_to_it() -> None:
    points = np.zeros((100, 200), np.float32)
    points[:, 150:] = 5.0  # every pixel to the right is known, no window of a pixel left of column 134 holds one
    truth, predicted = np.full(points.shape, 4.0, np.float32), np.full(points.shape, 4.0)
    predicted[:, :134] += 3.0
    predicted[:, 134:] -= 0.5
    rows = FrameTable()
    rows.add(0, "a", density_columns(truth, predicted, truth > 0, points))
    found = density_breakdown(rows, draws=0)
    assert found is not None
    assert (found.counts[0], found.counts.sum()) == (100 * 134, points.size)
    assert (found.rmse[0], found.mae[0], found.abs_rel[0]) == (3.0, 3.0, 0.75)
    near = found.counts[1:] > 0
    assert np.all(found.rmse[1:][near] == 0.5)
    # a window that holds k of its 33 columns has k / 33: one column of pixels has 3 %, two have 6 and 9 %, the others more
    assert near.tolist() == [False, False, False, True, True, True]
    assert found.counts[4:].tolist() == [100, 200, 100 * 63]
    assert (found.share, found.points) == (0.25, 5000.0)
    assert [row["points_near"] for row in found.rows()] == ["none", "2-5 %", "5-10 %", "10-100 %"]


def test_counts_and_squared_errors_add_to_the_whole() -> None:
    rows, pixels, squared = FrameTable(), 0, 0.0
    for number, share in enumerate((0.002, 0.01, 0.2)):
        generator = np.random.default_rng(number)
        truth, error = generator.uniform(1, 9, SIZE).astype(np.float32), generator.normal(size=SIZE)
        valid = generator.random(SIZE) < 0.7
        rows.add(number, str(number), density_columns(truth, truth + error, valid, some_points(share, number)))
        pixels, squared = pixels + int(valid.sum()), squared + float(((truth + error) - truth)[valid] @ ((truth + error) - truth)[valid])
    found = density_breakdown(rows)
    assert found is not None
    assert found.counts.sum() == pixels
    assert np.nansum(found.counts * found.rmse**2) == pytest.approx(squared)
    assert len(range_names()) == len(EDGES) == len(found.counts)


def test_points_of_another_size_are_refused_and_no_points_give_no_table() -> None:
    truth = np.ones(SIZE, np.float32)
    with pytest.raises(ShapeError, match="Bring both to one size"):
        density_columns(truth, truth.astype(np.float64), truth > 0, np.ones((3, 3), np.float32))
    assert density_breakdown(FrameTable()) is None
