"""Class x range x band: counts add to the total, a planted error is the only hot cell, bands by hand."""

from __future__ import annotations

import numpy as np
import pytest

from diorama.errors import ConfigError
from diorama.evaluation.breakdown import STREET_RANGES, Breakdown, boundary, boundary_radius, breakdown, breakdown_columns, ranges_for
from diorama.evaluation.table import FrameTable

EDGES = ranges_for(10.0)
NAMES = ("zero", "one", "two")


def made(frames: int, wrong: float = 0.5, labelled: bool = True) -> tuple[Breakdown, int, float]:
    """A table of frames whose depth is right but for class 1 at 2-3 m inside of objects; counted pixels and squared error beside it."""
    rows, pixels, squared = FrameTable(), 0, 0.0
    for number in range(frames):
        generator = np.random.default_rng(number)
        semantic = generator.choice(np.array([0, 1, 2, 255], np.uint8), (6, 8)).repeat(16, 0).repeat(16, 1)
        truth = generator.uniform(0.2, 9.9, semantic.shape).astype(np.float32)
        valid = generator.random(truth.shape) < 0.8
        planted = (semantic == 1) & (truth >= 2) & (truth < 3) & ~boundary(semantic, boundary_radius(len(semantic)))
        predicted = truth.astype(np.float64) + wrong * planted
        rows.add(number, str(number), breakdown_columns(truth, predicted, valid, semantic if labelled else None, None, 3, EDGES))
        pixels += int(valid.sum())
        squared += wrong**2 * int((planted & valid).sum())
    found = breakdown(rows, NAMES, EDGES)
    assert found is not None
    return found, pixels, squared


def test_ranges_end_at_the_cap() -> None:
    assert ranges_for(10.0) == (0.0, 1.0, 2.0, 3.0, 5.0, 10.0)
    assert ranges_for(80.0) == (0.0, 5.0, 10.0, 20.0, 40.0, 60.0, 80.0)
    assert ranges_for(100.0) == (0.0, 5.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0)
    assert ranges_for(50.0) == (0.0, 5.0, 10.0, 20.0, 40.0, 50.0)


def test_boundary_band_by_hand() -> None:
    line = np.array([[0] * 6 + [1] * 6], np.uint8).repeat(5, 0)
    assert boundary(line, 2).tolist() == [[False] * 4 + [True] * 4 + [False] * 4] * 5


def test_counts_and_squared_errors_add_to_the_whole() -> None:
    found, pixels, squared = made(4)
    assert found.counts.sum() == pixels
    assert sum(row["pixels"] for row in found.rows()) == pixels
    assert sum(row["pixels"] * row["rmse_m"] ** 2 for row in found.rows()) == pytest.approx(squared)
    rmse, counts = found.marginal((0, 1, 2))
    assert counts == pixels
    assert float(rmse) == pytest.approx(np.sqrt(squared / pixels))


def test_a_planted_error_is_the_only_hot_cell() -> None:
    found, _, _ = made(4)
    hot = [(row["class"], row["range"], row["band"]) for row in found.rows() if row["rmse_m"] > 1e-9]
    assert hot == [("one", "2-3 m", "interior")]
    cell = next(row for row in found.rows() if row["rmse_m"] > 1e-9)
    assert (cell["rmse_m"], cell["mae_m"]) == pytest.approx((0.5, 0.5))
    assert (cell["rmse_low"], cell["rmse_high"]) == pytest.approx((0.5, 0.5))  # the same in every frame
    assert 0.5 / 3 < cell["abs_rel"] < 0.5 / 2


def test_without_labels_there_is_one_class_and_no_band() -> None:
    found, pixels, _ = made(2, labelled=False)
    assert {(row["class"], row["band"]) for row in found.rows()} == {("unlabelled", "interior")}
    assert found.counts.sum() == pixels


def test_accuracy_per_cell_counts_right_labels() -> None:
    semantic = np.array([[0, 0, 0, 0, 1, 1, 1, 255]], np.uint8).repeat(3, 0)
    found = np.array([[0, 0, 1, 1, 1, 1, 0, 0]], np.uint8).repeat(3, 0)
    truth = np.full(semantic.shape, 1.5, np.float32)
    rows = FrameTable()
    rows.add(0, "a", breakdown_columns(truth, truth.astype(np.float64), truth > 0, semantic, found, 2, EDGES))
    table = breakdown(rows, ("zero", "one"), EDGES, draws=0)
    assert table is not None
    accuracy = np.nansum(table.accuracy * table.counts, axis=(1, 2)) / table.counts.sum(axis=(1, 2))
    assert accuracy[:2] == pytest.approx([2 / 4, 2 / 3])
    assert np.isnan(table.accuracy[2]).all()
    assert np.isnan(table.rmse_interval).all()


def test_ranges_of_the_papers_are_sums_of_finer_ones() -> None:
    edges = ranges_for(100.0)
    truth = np.array([[2.0, 7.0, 12.0, 30.0, 50.0, 70.0, 90.0]], np.float32)
    error = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]])
    rows = FrameTable()
    for number in range(2):
        rows.add(number, str(number), breakdown_columns(truth, truth + error, truth > 0, None, None, 0, edges))
    found = breakdown(rows, (), edges, into=STREET_RANGES)
    assert found is not None
    assert found.range_names() == ["0-20 m", "20-40 m", "40-60 m", "60-80 m"]
    assert found.counts[0, :, 0].tolist() == [6, 2, 2, 2]  # 90 m lies outside of them
    assert found.rmse[0, :, 0] == pytest.approx([np.sqrt((1 + 4 + 9) / 3), 4, 5, 6])
    assert found.distance_interval == pytest.approx(np.stack([found.rmse[0, :, 0]] * 2, 1))
    assert found.range_interval[:, 0] == pytest.approx(np.stack([found.rmse[0, :, 0]] * 2, 1))
    with pytest.raises(ConfigError, match="15 m is no edge"):
        breakdown(rows, (), edges, into=(0.0, 15.0))


def test_no_depth_no_table() -> None:
    assert breakdown(FrameTable(), NAMES, EDGES) is None
