"""Errors put there on purpose come out as the numbers, cells and curves that arithmetic says, through the whole evaluation."""

from __future__ import annotations

import csv
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diorama.evaluation.breakdown import ranges_for
from diorama.evaluation.calibration import calibration, calibration_columns
from diorama.evaluation.density import density_breakdown, density_columns
from diorama.evaluation.protocols import by_name
from diorama.evaluation.table import FrameTable
from diorama.running.evaluate import evaluate_model
from diorama.running.records import write_records
from diorama.types import Frame, Inputs, Prediction

ROOMS = by_name("folder", cap=10.0)
FRAMES = 5


def answering(data: Any, answer: Callable[[Frame], Any]) -> Callable[[Inputs], Prediction]:
    """A model that knows which frame comes next and answers with depth, or depth and uncertainty, of it."""
    frames = iter(list(data))

    def predict(inputs: Inputs) -> Prediction:
        said = answer(next(frames))
        depth, uncertainty = said if isinstance(said, tuple) else (said, None)
        grow = (None, None)
        return Prediction(depth=depth[grow], uncertainty=None if uncertainty is None else uncertainty[grow])

    return predict


def truths(data: Any) -> np.ndarray:
    return np.concatenate([frame["depth"][frame["depth"] > 0] for frame in data]).astype(np.float64)


def test_a_bias_of_five_percent_is_five_percent_everywhere(toy: Any) -> None:
    data = toy(FRAMES)
    found = evaluate_model(answering(data, lambda frame: frame["depth"] * 1.05), data, ROOMS, batch_size=1, progress=False)
    d = truths(data)
    expected = {
        "rmse": 0.05 * np.sqrt(np.mean(d**2)), "mae": 0.05 * d.mean(), "abs_rel": 0.05, "sq_rel": 0.0025 * d.mean(),
        "sq_rel_squared": 0.0025, "rmse_log": np.log(1.05), "log10": np.log10(1.05),
        "irmse": 1000 * (1 - 1 / 1.05) * np.sqrt(np.mean(d**-2)), "imae": 1000 * (1 - 1 / 1.05) * np.mean(1 / d),
        "delta1": 1.0, "delta2": 1.0, "delta3": 1.0,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert found.breakdown is not None
    some = found.breakdown.counts > 0
    assert found.breakdown.abs_rel[some] == pytest.approx(0.05, rel=1e-5)
    edges = np.array(ranges_for(10.0))
    rmse, counts = found.breakdown.marginal((0, 2))
    for k, (low, high) in enumerate(pairwise(edges)):
        inside = d[(d >= low) & (d < high)]
        assert counts[k] == len(inside)
        if len(inside):
            assert rmse[k] == pytest.approx(0.05 * np.sqrt(np.mean(inside**2)), rel=1e-5)
    aligned = evaluate_model(
        answering(data, lambda frame: frame["depth"] * 1.05), data, ROOMS.vary(align="median"), batch_size=1, progress=False, draws=0
    )
    assert aligned["rmse"] == pytest.approx(0.0, abs=1e-6)


def test_an_error_in_one_class_at_one_distance_is_the_only_hot_cell(toy: Any, tmp_path: Path) -> None:
    def wrong(frame: Frame) -> np.ndarray:
        far = (frame["depth"] >= 3) & (frame["depth"] < 5)
        return np.where(far & (frame["semantic"] == 3), frame["depth"] + np.float32(0.25), frame["depth"])

    data = toy(FRAMES)
    found = evaluate_model(answering(data, wrong), data, ROOMS, batch_size=1, progress=False)
    write_records(found, tmp_path)
    with (tmp_path / "breakdown.csv").open() as file:
        rows = list(csv.DictReader(file))
    hot = {(row["class"], row["range"], row["band"]): float(row["rmse_m"]) for row in rows if float(row["rmse_m"]) > 1e-6}
    assert set(hot) == {("class3", "3-5 m", "interior"), ("class3", "3-5 m", "boundary")}
    assert list(hot.values()) == pytest.approx([0.25, 0.25], rel=1e-5)
    planted = sum(int(row["pixels"]) for row in rows if (row["class"], row["range"]) == ("class3", "3-5 m"))
    assert found["rmse"] == pytest.approx(0.25 * np.sqrt(planted / len(truths(data))), rel=1e-5)


def test_an_error_where_no_point_is_near_is_hot_there_alone() -> None:
    points = np.zeros((120, 160), np.float32)
    points[::4, :60:4] = 5.0
    truth = np.full(points.shape, 6.0, np.float32)
    predicted = np.where(np.arange(160) >= 60 + 16, 6.5, 6.0)[None].repeat(120, 0)
    rows = FrameTable()
    rows.add(0, "a", density_columns(truth, predicted, truth > 0, points))
    found = density_breakdown(rows, draws=0)
    assert found is not None
    # the last point stands in column 56: windows from column 73 on hold none
    assert found.counts[0] == 120 * (160 - 73)
    assert found.rmse[0] == pytest.approx(0.5 * np.sqrt((160 - 76) / (160 - 73)))
    assert np.nansum(found.rmse[1:]) == 0.0


def test_an_oracle_uncertainty_has_no_ause_and_a_diagonal_curve(toy: Any) -> None:
    def noisy(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
        noise = np.random.default_rng(int(frame["depth"].sum())).normal(0, 0.3, frame["depth"].shape).astype(np.float32)
        depth = np.maximum(frame["depth"] + noise, np.float32(0.2))
        return depth, np.abs(depth - frame["depth"])

    data = toy(FRAMES)
    found = evaluate_model(answering(data, noisy), data, ROOMS, batch_size=1, progress=False)
    assert found["ause"] == 0.0
    assert found["rmse"] > 0.25
    rows = FrameTable()
    for number, frame in enumerate(data):
        depth, uncertainty = noisy(frame)
        known = frame["depth"] > 0
        error = np.abs(depth - frame["depth"])[known].astype(np.float64)
        rows.add(number, str(number), calibration_columns(error, uncertainty[known].astype(np.float64)))
    curve = calibration(rows)
    assert curve is not None
    assert np.array_equal(curve.predicted, curve.observed)
