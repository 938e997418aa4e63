"""Uncertainty against error: quantiles against scipy, an oracle on the diagonal, samples of either law, a curve by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from diorama.errors import ShapeError
from diorama.evaluation.calibration import LEVELS, QUANTILES, Calibration, Law, calibration, calibration_columns
from diorama.evaluation.table import FrameTable
from diorama.evaluation.uncertainty import ause


def curves(law: Law, *frames: tuple[np.ndarray, np.ndarray]) -> Calibration:
    rows = FrameTable()
    for number, (error, uncertainty) in enumerate(frames):
        rows.add(number, str(number), calibration_columns(error, uncertainty))
    found = calibration(rows, law)
    assert found is not None
    return found


def test_quantiles_are_those_of_the_laws() -> None:
    levels = np.array(LEVELS)
    assert QUANTILES["laplace"] == pytest.approx(stats.laplace.ppf((1 + levels) / 2), rel=1e-7)
    assert QUANTILES["gaussian"] == pytest.approx(stats.norm.ppf((1 + levels) / 2), rel=1e-7)


@pytest.mark.parametrize("law", ["laplace", "gaussian"])
def test_an_oracle_lies_on_the_diagonal_and_has_no_ause(law: Law) -> None:
    frames = [np.abs(np.random.default_rng(seed).normal(size=4000)) * 3 for seed in range(3)]
    frames[0][:5] = 0.0
    found = curves(law, *((error, error) for error in frames))
    assert np.array_equal(found.predicted, found.observed)
    assert found.error == 0.0
    assert found.pixels.sum() == 12000
    assert [ause(error, error) for error in frames] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("law", "draw"), [("laplace", "laplace"), ("gaussian", "normal")])
def test_errors_of_the_law_itself_are_calibrated(law: Law, draw: str) -> None:
    generator = np.random.default_rng(4)
    scale = 10 ** generator.uniform(-2, 1, 200_000)
    error = np.abs(getattr(generator, draw)(0.0, scale))
    found, other = curves(law, (error, scale)), curves("gaussian" if law == "laplace" else "laplace", (error, scale))
    assert found.covered == pytest.approx(LEVELS, abs=0.005)
    assert found.coverage_error < 0.003 < 0.03 < other.coverage_error
    many = found.pixels > 5000
    assert found.observed[many] == pytest.approx(found.predicted[many], rel=0.05)
    doubled = curves(law, (error, 2 * scale))
    assert doubled.observed[doubled.pixels > 5000] == pytest.approx(doubled.predicted[doubled.pixels > 5000] / 2, rel=0.05)


def test_the_curve_by_hand() -> None:
    # bins end at 0.1 and 10^(-3/4) = 0.178: the first two share one, 3.0 lies between 10^(1/4) and 10^(1/2)
    error, uncertainty = np.array([0.1, 0.3, 1.0]), np.array([0.11, 0.15, 3.0])
    linear, square = curves("laplace", (error, uncertainty)), curves("gaussian", (error, uncertainty))
    assert linear.pixels.tolist() == [2, 1]
    assert linear.predicted == pytest.approx([0.13, 3.0])
    assert linear.observed == pytest.approx([0.2, 1.0])
    assert linear.error == pytest.approx((2 * 0.07 + 2.0) / 3)
    assert square.predicted == pytest.approx([np.sqrt((0.11**2 + 0.15**2) / 2), 3.0])
    assert square.observed == pytest.approx([np.sqrt((0.01 + 0.09) / 2), 1.0])
    # |e| / u = 0.909, 2, 0.333: of Laplace's k = -ln(1 - p), 0.105, 0.223, 0.357, 0.511, 0.693, 0.916, 1.204, 1.609, 2.303, 2.996, 4.605
    assert linear.covered == pytest.approx(np.array([0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]) / 3)
    kinds = [row["kind"] for row in linear.rows()]
    assert (kinds.count("error_m"), kinds.count("coverage")) == (2, len(LEVELS))


def test_lengths_must_agree_and_no_uncertainty_gives_no_curve() -> None:
    with pytest.raises(ShapeError, match="same pixels"):
        calibration_columns(np.ones(3), np.ones(2))
    assert calibration(FrameTable()) is None
