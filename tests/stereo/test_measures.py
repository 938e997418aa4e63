from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from diorama.data.world.dataset import WorldStreet
from diorama.errors import ConfigError, ShapeError
from diorama.stereo.consistency import View, mirrored
from diorama.stereo.matching import match
from diorama.stereo.measures import cost_margin, left_right_confidence


def area_under_curve(confidence: np.ndarray, right: np.ndarray) -> float:
    """Chance that a right pixel is surer than a wrong one."""
    return float(mannwhitneyu(confidence[right], confidence[~right]).statistic / (right.sum() * (~right).sum()))


def test_left_right_confidence_by_hand() -> None:
    difference = np.array([[0, 1, 3, np.inf]], np.float32)
    view = View(difference, difference, difference, difference <= 1)
    assert left_right_confidence(view).tolist() == [[1, 0.5, 0.25, 0]]


def test_margin_equals_a_loop_over_all_disparities() -> None:
    draw = np.random.default_rng(0)
    left, right = draw.integers(0, 40, (2, 9, 20), np.uint8)
    disparity = draw.uniform(0.6, 7, (9, 20)).astype(np.float32)
    disparity[2] = 0
    margin = cost_margin(left, right, disparity, range_px=8, block=3, reduction=1)

    def gradient(image: np.ndarray) -> np.ndarray:
        wide = np.pad(image.astype(int), 1, mode="edge")
        slope = wide[:, 2:] - wide[:, :-2]
        return (slope[:-2] + 2 * slope[1:-1] + slope[2:]).clip(-31, 31)

    one, other = gradient(left), gradient(right)
    for y in range(9):
        for x in range(20):
            place, here, elsewhere = round(float(disparity[y, x])), [], []
            for step in range(min(9, x + 1)):
                cost = 0
                for row in (max(y - 1, 0), y, min(y + 1, 8)):
                    for column in (max(x - 1, step), x, min(x + 1, 19)):
                        cost += abs(one[row, column] - other[row, column - step])
                (here if abs(step - place) <= 1 else elsewhere).append(cost)
            known = 0 < disparity[y, x] <= x and here
            expected = 0 if not known else (min(elsewhere, default=65535) + 1) / (min(elsewhere, default=65535) + min(here) + 2)
            assert margin[y, x] == pytest.approx(expected, abs=1e-6), (y, x)


@pytest.mark.parametrize("reduction", [1, 2])
def test_repeated_texture_is_unsure_and_a_single_one_sure(make_pair, reduction: int) -> None:
    truth = np.full((48, 160), 6, np.float32)
    left, right = make_pair(48, 160, truth)
    assert np.median(cost_margin(left, right, truth, reduction=reduction)[:, 40:]) > 0.8
    stripes = np.tile(left[:, 40:48], (1, 20, 1))
    margin = cost_margin(stripes, np.roll(stripes, -6, 1), truth, range_px=32, reduction=reduction)
    assert np.median(margin[:, 40:120]) == pytest.approx(0.5, abs=0.02)
    wrong = cost_margin(left, right, truth + 5, reduction=reduction)
    assert np.median(wrong[:, 40:]) < 0.3


def test_unknown_and_out_of_view_are_0(make_pair) -> None:
    truth = np.full((24, 64), 5, np.float32)
    left, right = make_pair(24, 64, truth)
    truth[8:12] = 0
    margin = cost_margin(left, right, truth)
    assert (margin[8:12] == 0).all() and (margin[:, :5] == 0).all() and (margin[12:, 5:] > 0).all()
    assert margin.dtype == np.float32 and margin.max() <= 1


def test_a_disparity_beyond_the_range_is_compared_all_the_same(make_pair) -> None:
    truth = np.full((32, 128), 24, np.float32)
    left, right = make_pair(32, 128, truth)
    assert np.median(cost_margin(left, right, truth, range_px=8)[:, 40:]) > 0.8


def test_right_view_is_the_mirrored_left_one(make_pair) -> None:
    left, right = make_pair(40, 96, np.tile(np.linspace(5, 7, 96, dtype=np.float32), (40, 1)))
    pair = match(left, right)
    ours = cost_margin(left, right, pair.right.raw, mirror=True)
    np.testing.assert_array_equal(mirrored(ours), cost_margin(mirrored(right), mirrored(left), mirrored(pair.right.raw)))
    assert np.median(ours[:, :80]) > 0.8


def test_both_tell_right_from_wrong_on_streets() -> None:
    street = WorldStreet(frames=2, split="val", size=(256, 512))
    for index in range(2):
        frame = street[index]
        view = match(frame["image"], frame["right"]).left
        known = frame["disparity"] > 0
        fine = ((np.abs(view.raw - frame["disparity"]) <= 3) & (view.raw > 0))[known]
        assert area_under_curve(left_right_confidence(view)[known], fine) > 0.75
        assert area_under_curve(cost_margin(frame["image"], frame["right"], view.raw)[known], fine) > 0.75


def test_bad_input() -> None:
    image, disparity = np.zeros((8, 16, 3), np.uint8), np.ones((8, 16), np.float32)
    with pytest.raises(ShapeError, match="one size"):
        cost_margin(image, image, disparity[:4])
    with pytest.raises(ShapeError, match="one size"):
        cost_margin(image, cv2.resize(image, (8, 8)), disparity)
    for wrong in ({"block": 4}, {"block": 33}, {"reduction": 0}, {"range_px": 0}):
        with pytest.raises(ConfigError, match="Choose an odd block"):
            cost_margin(image, image, disparity, **wrong)
