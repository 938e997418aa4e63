"""Whether a predicted uncertainty is as large as the errors it speaks of: errors by predicted size, and coverage.

An uncertainty u [m] is read as the scale of a distribution of the error. Laplace: mean |error| is u, and |error| <= k u has the
probability 1 - exp(-k). Gaussian: the root mean square error is u, and that probability is erf(k / sqrt(2)).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from diorama.errors import ShapeError
from diorama.evaluation.table import FrameTable

Float = NDArray[np.float64]
Law = Literal["laplace", "gaussian"]

EDGES = tuple(10.0 ** (power / 4) for power in range(-12, 9))
"""Of the bins of predicted uncertainty [m]: four to a decade from 1 mm to 100 m, one bin below and one above."""

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Probabilities whose intervals are looked at."""

_LAPLACE = tuple(float(-np.log1p(-level)) for level in LEVELS)
# quantiles of |error| / sigma under the normal law, (1 + level) / 2 of the standard normal; tests hold them against scipy
_GAUSSIAN = (
    0.12566135, 0.25334710, 0.38532047, 0.52440051, 0.67448975, 0.84162123, 1.03643339, 1.28155157, 1.64485363, 1.95996398, 2.57582930,
)  # fmt: skip
QUANTILES: Mapping[Law, tuple[float, ...]] = {"laplace": _LAPLACE, "gaussian": _GAUSSIAN}
"""k of each level: that share of the errors should lie within k times the uncertainty."""

VALUES = ("n", "u", "u_sq", "abs", "sq")


def calibration_columns(error: Float, uncertainty: Float) -> dict[str, Any]:
    """Sums of one frame: `calibration/VALUE` by bin of the uncertainty, `calibration/covered_LAW` by level.

    Args:
        error: flat absolute errors [m].
        uncertainty: flat, same pixels [m], not negative.

    Raises:
        ShapeError: the two differ in length.
    """
    if error.shape != uncertainty.shape:
        raise ShapeError(f"{error.size} errors, {uncertainty.size} uncertainties. Pass those of the same pixels.")
    place, cells = np.searchsorted(EDGES, uncertainty, side="right"), len(EDGES) + 1
    sums: dict[str, NDArray[Any]] = {
        "n": np.bincount(place, minlength=cells),
        "u": np.bincount(place, uncertainty, cells),
        "u_sq": np.bincount(place, uncertainty * uncertainty, cells),
        "abs": np.bincount(place, error, cells),
        "sq": np.bincount(place, error * error, cells),
    }
    covered = {f"covered_{law}": np.array([np.count_nonzero(error <= k * uncertainty) for k in QUANTILES[law]]) for law in QUANTILES}
    return {f"calibration/{key}": value for key, value in (sums | covered).items()}


@dataclass(frozen=True)
class Calibration:
    """The two curves of one law; a calibrated uncertainty lies on the diagonal of both."""

    law: Law
    pixels: NDArray[np.int64]
    """`(bins,)`, the bins without pixels left out here and below."""
    predicted: Float
    """`(bins,)` error that the uncertainty predicts [m]: its mean (Laplace) or root mean square (Gaussian)."""
    observed: Float
    """`(bins,)` mean absolute (Laplace) or root mean square error [m]."""
    covered: Float
    """`(levels,)` share of the errors inside the interval of each of `LEVELS`."""

    @property
    def error(self) -> float:
        """Mean distance of the observed from the predicted error [m] over pixels."""
        return float(np.average(np.abs(self.observed - self.predicted), weights=self.pixels))

    @property
    def coverage_error(self) -> float:
        """Mean distance of the covered share from the level, over levels."""
        return float(np.mean(np.abs(self.covered - np.array(LEVELS))))

    def rows(self) -> list[dict[str, Any]]:
        """Both curves, a dict for each point, as calibration.csv holds them: kind, expected, observed, pixels."""
        total = int(self.pixels.sum())
        bins = zip(self.predicted.tolist(), self.observed.tolist(), self.pixels.tolist(), strict=True)
        errors = [{"kind": "error_m", "expected": a, "observed": b, "pixels": n} for a, b, n in bins]
        levels = zip(LEVELS, self.covered.tolist(), strict=True)
        return errors + [{"kind": "coverage", "expected": a, "observed": b, "pixels": total} for a, b in levels]


def calibration(table: FrameTable, law: Law = "laplace") -> Calibration | None:
    """The curves over all frames; None if no frame has an uncertainty.

    Args:
        table: merged rows with the columns of `calibration_columns`.
        law: how the uncertainty is read.
    """
    if "calibration/n" not in table or not table["calibration/n"].any():
        return None
    total = {key: table[f"calibration/{key}"].sum(axis=0) for key in VALUES}
    some = total["n"] > 0
    n, u, u_sq, absolute, squared = (total[key][some] for key in VALUES)
    predicted, observed = (u / n, absolute / n) if law == "laplace" else (np.sqrt(u_sq / n), np.sqrt(squared / n))
    covered = table[f"calibration/covered_{law}"].sum(axis=0) / n.sum()
    return Calibration(law, n, predicted, observed, covered)
