"""Confidence against numbers worked out by hand, and against loops over pairs and orders of pixels."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from diorama.errors import ShapeError
from diorama.evaluation.confidence import (
    METRICS,
    bad_pixel_area,
    confidence_columns,
    confidence_metrics,
    disparity_ause,
    least_area,
    roc_auc,
)
from diorama.evaluation.metrics import score
from diorama.evaluation.protocols import by_name
from diorama.evaluation.table import FrameTable
from diorama.evaluation.uncertainty import ause


def drawn(seed: int, size: int = 12, levels: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Confidences with many ties, and which pixels are right."""
    draw = np.random.default_rng(seed)
    return draw.integers(0, levels, size) / levels, draw.random(size) < 0.6


@pytest.mark.parametrize("seed", range(4))
def test_roc_area_is_the_share_of_pairs_in_order(seed: int) -> None:
    confidence, right = drawn(seed)
    pairs = list(itertools.product(confidence[right], confidence[~right]))
    expected = sum(1.0 if good > bad else 0.5 if good == bad else 0.0 for good, bad in pairs) / len(pairs)
    assert roc_auc(confidence, right) == pytest.approx(expected, abs=1e-12)


def test_roc_area_by_hand() -> None:
    # of the four pairs of right (0.9, 0.4) and wrong (0.5, 0.1) three are in order
    assert roc_auc(np.array([0.9, 0.5, 0.4, 0.1]), np.array([True, False, True, False])) == 0.75
    assert math.isnan(roc_auc(np.array([0.9, 0.5]), np.array([True, True])))


def test_bad_pixel_area_by_hand() -> None:
    # surest first: right, wrong, right, wrong -> rates 0, 1/2, 1/3, 1/2
    confidence, right = np.array([0.9, 0.5, 0.4, 0.1]), np.array([True, False, True, False])
    assert bad_pixel_area(confidence, right) == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    # best order: right, right, wrong, wrong -> 0, 0, 1/3, 1/2
    assert least_area(right) == pytest.approx((1 / 3 + 1 / 2) / 4)
    assert bad_pixel_area(np.zeros(0), np.zeros(0, bool)) == 0


@pytest.mark.parametrize("seed", range(3))
def test_ties_count_as_the_mean_over_their_orders(seed: int) -> None:
    confidence, right = drawn(seed, size=6, levels=2)
    areas = []
    for order in itertools.permutations(range(6)):
        if all(confidence[a] >= confidence[b] for a, b in itertools.pairwise(order)):
            wrong = np.cumsum(~right[list(order)])
            areas.append(np.mean(wrong / np.arange(1, 7)))
    assert bad_pixel_area(confidence, right) == pytest.approx(np.mean(areas), abs=1e-12)


def test_least_area_nears_the_formula() -> None:
    right = np.arange(20_000) >= 3_000  # a rate of 0.15
    assert least_area(right) == pytest.approx(0.15 + 0.85 * math.log(0.85), abs=1e-4)
    assert bad_pixel_area(np.zeros(right.size), right) == pytest.approx(0.15)


def test_ause_equals_that_of_uncertainty_where_nothing_ties() -> None:
    draw = np.random.default_rng(0)
    error, confidence = draw.exponential(2, 400), draw.random(400)
    assert disparity_ause(error, confidence) == pytest.approx(ause(error, 1 - confidence))
    assert disparity_ause(error, -error) == pytest.approx(0)
    # equally sure everywhere, so what is left has the error of the whole; sorted by error, the worse of 0 and 2 is gone after one step
    assert disparity_ause(np.array([0.0, 2.0]), np.zeros(2), steps=2) == pytest.approx((0 + math.sqrt(2)) / 2)


def test_columns_count_known_pixels_and_unmatched_ones_are_wrong() -> None:
    truth = np.array([[10, 10, 10, 0, 2]], np.float32)
    disparity = np.array([[13, 13.1, 9, 50, 0]], np.float32)
    confidence = np.array([[0.9, 0.6, 0.2, 1.0, 0.4]], np.float32)
    columns = confidence_columns(disparity, truth, confidence, 3.0, 0.65)
    found = {key.removeprefix("confidence/"): value for key, value in columns.items()}
    assert found["n"] == 4
    assert found["disparity_right"] == 0.5
    assert found["confidence_accuracy"] == 0.5  # right and sure, wrong and sure, right and not, wrong and not
    assert found["threshold_accuracy"] == 0.75
    assert found["confidence_auc"] == 0.5
    with pytest.raises(ShapeError, match="Give all at one size"):
        confidence_columns(disparity[:, :2], truth, confidence, 3.0)
    with pytest.raises(ShapeError, match="same pixels, flat"):
        roc_auc(np.zeros(3), np.zeros(4, bool))


def test_numbers_are_means_over_the_frames_that_have_them() -> None:
    table, protocol = FrameTable(), by_name("confidence_3px")
    truth, all_right = np.full((1, 4), 8, np.float32), np.full((1, 4), 8, np.float32)
    half = np.array([[8, 8, 20, 20]], np.float32)
    sure = np.array([[0.9, 0.8, 0.3, 0.2]], np.float32)
    for number, disparity in enumerate((half, all_right)):
        table.add(number, str(number), confidence_columns(disparity, truth, sure, protocol.tolerance_px))
    table.add(2, "2", confidence_columns(half, np.zeros((1, 4), np.float32), sure, protocol.tolerance_px))
    found = score(table, protocol, draws=0)
    assert (found["confidence_auc"].value, found["confidence_auc"].frames) == (1.0, 1)
    assert (found["disparity_right"].value, found["disparity_right"].frames) == (0.75, 2)
    assert "threshold_accuracy" not in found
    assert found["confidence_ause"].unit == "px"
    each = confidence_metrics(table)
    assert set(each) == set(METRICS)
    assert np.isnan(each["disparity_right"]).tolist() == [False, False, True]


def test_the_protocol_says_what_is_right() -> None:
    assert "a disparity within 1 px of the truth" in by_name("confidence_1px").sentence()
    assert by_name("confidence_1px").differences(by_name("confidence_3px")) == ["tolerance_px: 1 != 3"]
    stored = by_name("world_street").to_dict()
    del stored["tolerance_px"]
    assert type(by_name("world_street")).from_dict(stored) == by_name("world_street")
