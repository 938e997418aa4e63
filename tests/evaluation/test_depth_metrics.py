"""Depth metrics: a case worked out by hand, torchmetrics where it has the metric, aggregation, uncertainty."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional import mean_absolute_error, mean_absolute_percentage_error, mean_squared_error

from diorama.errors import ModelError, ShapeError
from diorama.evaluation.depth import depth_columns, to_truth_size
from diorama.evaluation.metrics import score
from diorama.evaluation.protocols import Protocol
from diorama.evaluation.table import FrameTable
from diorama.evaluation.uncertainty import ause

POOLED = Protocol(name="p", dataset="d", split="s", truth="t", cap=10.0, floor=0.1)
PER_IMAGE = POOLED.vary(aggregation="per_image")


def table(protocol: Protocol, *frames: tuple[list[float], list[float]]) -> FrameTable:
    rows = FrameTable()
    for number, (truth, predicted) in enumerate(frames):
        rows.add(number, str(number), depth_columns(np.array([truth], np.float32), np.array([predicted], np.float32), protocol))
    return rows


def test_every_metric_by_hand() -> None:
    # counted: (1, 2), (2, 2), (4, 2); unknown, at the cap and at the floor are not
    found = score(table(POOLED, ([1, 2, 4, 0, 10, 1e-3], [2, 2, 2, 7, 7, 7])), POOLED, draws=0)
    expected = {
        "rmse": math.sqrt(5 / 3),
        "mae": 1.0,
        "abs_rel": 0.5,
        "sq_rel": 2 / 3,
        "sq_rel_squared": (1 + 4 / 16) / 3,
        "rmse_log": math.log(2) * math.sqrt(2 / 3),
        "log10": 2 * math.log10(2) / 3,
        "irmse": math.sqrt((500**2 + 250**2) / 3),
        "imae": 250.0,
        "delta1": 1 / 3,
        "delta2": 1 / 3,
        "delta3": 1 / 3,
    }
    assert {name: measured.value for name, measured in found.items()} == pytest.approx(expected)
    assert found["rmse"].unit == "m"
    assert found["irmse"].unit == "1/km"
    assert (found["rmse"].better, found["delta1"].better) == ("lower", "higher")


def test_delta_thresholds_are_strict() -> None:
    found = score(table(POOLED, ([1.0, 1.0, 1.0, 1.0], [1.25, 1.2, 0.8, 1.5])), POOLED, draws=0)
    # 1.25 / 1 and 1 / 0.8f (0.8 is 0.800000012 in float32, so its ratio is just below) against < 1.25
    assert found["delta1"].value == 0.5
    assert found["delta2"].value == 1.0


def test_pooled_and_per_image_differ_as_they_should() -> None:
    frames = (([5.0, 0.0, 0.0], [6.0, 1.0, 1.0]), ([4.0, 4.0, 4.0], [7.0, 7.0, 7.0]))
    assert score(table(POOLED, *frames), POOLED, draws=0)["rmse"].value == pytest.approx(math.sqrt((1 + 27) / 4))
    assert score(table(PER_IMAGE, *frames), PER_IMAGE, draws=0)["rmse"].value == pytest.approx((1 + 3) / 2)


def test_a_frame_without_truth_is_left_out() -> None:
    frames = (([0.0], [3.0]), ([2.0], [3.0]))
    for protocol in (POOLED, PER_IMAGE):
        found = score(table(protocol, *frames), protocol, draws=0)["rmse"]
        assert (found.value, found.frames) == (1.0, 1)
    assert score(table(POOLED, ([0.0], [3.0])), POOLED) == {}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(0.25, 9.75, width=32), st.floats(0.25, 9.75, width=32)), min_size=1, max_size=40))
def test_torchmetrics_agrees(pairs: list[tuple[float, float]]) -> None:
    truth, predicted = (list(part) for part in zip(*pairs, strict=True))
    found = score(table(POOLED, (truth, predicted)), POOLED, draws=0)
    d, p = torch.tensor(truth, dtype=torch.float64), torch.tensor(predicted, dtype=torch.float64)
    assert found["rmse"].value == pytest.approx(float(mean_squared_error(p, d, squared=False)), abs=1e-9)
    assert found["mae"].value == pytest.approx(float(mean_absolute_error(p, d)), abs=1e-9)
    assert found["abs_rel"].value == pytest.approx(float(mean_absolute_percentage_error(p, d)), abs=1e-9)
    assert found["rmse_log"].value == pytest.approx(float(mean_squared_error(p.log(), d.log(), squared=False)), abs=1e-9)


def test_tensors_of_any_kind_come_in() -> None:
    for kind in (torch.float32, torch.float64, torch.bfloat16):
        assert to_truth_size(torch.full((1, 2, 2), 3.0, dtype=kind, requires_grad=True), (4, 4)).tolist() == [[3.0] * 4] * 4


def test_depth_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ModelError, match="not finite"):
        to_truth_size(np.array([[1.0, np.nan]]), (1, 2))
    with pytest.raises(ShapeError, match="one image at a time"):
        to_truth_size(np.ones((2, 4, 4)), (4, 4))
    with pytest.raises(ShapeError, match="Resize the prediction"):
        depth_columns(np.ones((2, 2), np.float32), np.ones((2, 3), np.float32), POOLED)


def test_a_scale_that_cannot_be_aligned_is_refused() -> None:
    with pytest.raises(ModelError, match="no scale can be aligned"):
        depth_columns(np.ones((1, 2), np.float32), np.zeros((1, 2), np.float32), POOLED.vary(align="median"))


def test_the_interval_holds_the_value_and_shrinks_to_nothing_for_equal_frames() -> None:
    generator = np.random.default_rng(0)
    frames = [([4.0, 5.0], (np.array([4.0, 5.0]) + error).tolist()) for error in generator.normal(0, 0.5, 40)]
    low, high = score(table(POOLED, *frames), POOLED)["rmse"].interval or (0.0, 0.0)
    assert low < score(table(POOLED, *frames), POOLED)["rmse"].value < high
    assert high - low < 0.3
    assert score(table(POOLED, *([([4.0], [5.0])] * 8)), POOLED)["rmse"].interval == (1.0, 1.0)
    assert score(table(POOLED, frames[0]), POOLED)["rmse"].interval is None


def test_ause_by_hand_and_zero_for_the_oracle() -> None:
    # errors 1 and 0 in two steps: nothing removed, both leave sqrt(1/2); half removed, the wrong order leaves 1, the right one 0
    assert ause(np.array([1.0, 0.0]), np.array([0.0, 1.0]), steps=2) == pytest.approx(0.5)
    error = np.abs(np.random.default_rng(1).normal(size=5000))
    assert ause(error, 3 * error + 1) == pytest.approx(0.0, abs=1e-12)
    shuffled, reverse = ause(error, np.random.default_rng(2).random(5000)), ause(error, -error)
    assert 0.3 < shuffled < reverse
    assert ause(np.zeros(0), np.zeros(0)) == 0.0
