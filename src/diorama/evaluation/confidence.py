"""How well a confidence in 0..1 tells right disparities from wrong ones, in one frame. NumPy only.

Sparsification by bad pixels is that of X. Hu, P. Mordohai, "A Quantitative Evaluation of Confidence Measures for Stereo Vision", PAMI 2012,
which CCNN is judged by. Pixels of equal confidence have no order: every figure here is its mean over all orders of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diorama.errors import ShapeError
from diorama.evaluation.protocol import Better
from diorama.evaluation.table import FrameTable
from diorama.evaluation.uncertainty import STEPS, sparsified

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

METRICS: dict[str, tuple[str, Better]] = {
    "confidence_auc": ("1", "higher"),
    "confidence_area": ("1", "lower"),
    "confidence_optimum": ("1", "lower"),
    "confidence_ause": ("px", "lower"),
    "confidence_accuracy": ("1", "higher"),
    "threshold_accuracy": ("1", "higher"),
    "disparity_right": ("1", "higher"),
}
"""Name -> unit and direction; all are means over images. `confidence_optimum` and `disparity_right` say what was judged, not how well."""


def roc_auc(confidence: Float, right: Bool) -> float:
    """Chance that a right pixel is surer than a wrong one, a tie counting one half; nan unless there are both.

    Args:
        confidence: flat.
        right: flat, same pixels.

    Raises:
        ShapeError: the two differ in length.
    """
    _require_same(confidence, right)
    good = int(np.count_nonzero(right))
    if not 0 < good < right.size:
        return float("nan")
    _, place, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    good_at = np.bincount(place, right, len(counts))
    bad_at = counts - good_at
    below = np.cumsum(bad_at) - bad_at
    return float(np.sum(good_at * (below + bad_at / 2)) / (good * (right.size - good)))


def bad_pixel_area(confidence: Float, right: Bool) -> float:
    """Area under the rate of wrong pixels among the surest m, over all densities m / n from 1 / n to 1; 0 without pixels.

    Raises:
        ShapeError: the two differ in length.
    """
    _require_same(confidence, right)
    if not right.size:
        return 0.0
    _, place, counts = np.unique(-confidence, return_inverse=True, return_counts=True)
    ends = np.concatenate([[0], np.cumsum(counts)])
    wrong = np.concatenate([[0.0], np.cumsum(np.bincount(place, ~right, len(counts)))])
    kept = np.arange(1, right.size + 1)
    return float(np.mean(np.interp(kept, ends, wrong) / kept))


def least_area(right: Bool) -> float:
    """`bad_pixel_area` of a confidence that puts every right pixel before every wrong one: about e + (1 - e) ln(1 - e) for a rate e."""
    return bad_pixel_area(right.astype(np.float64), right)


def disparity_ause(error: Float, confidence: Float, steps: int = STEPS) -> float:
    """Area under the sparsification error of the RMSE [px], see `uncertainty.ause`: the least sure pixels are removed first.

    Args:
        error: flat absolute errors of the disparity [px].
        confidence: flat, same pixels.
        steps: number of equal parts that are removed.

    Raises:
        ShapeError: the two differ in length.
    """
    _require_same(error, confidence)
    if not error.size:
        return 0.0
    _, place, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    mixed = np.sqrt(np.bincount(place, error * error) / counts)[place]
    return float(np.mean(sparsified(mixed, -confidence, steps) - sparsified(error, error, steps)))


def confidence_columns(
    disparity: NDArray[np.float32],
    truth: NDArray[np.float32],
    confidence: NDArray[np.float32],
    tolerance: float,
    threshold: float | None = None,
) -> dict[str, Any]:
    """The columns of one frame, `confidence/NAME`: every metric, and the number of pixels `n`. Occluded pixels count.

    Args:
        disparity: `(H, W)` that was judged [px], 0 = unknown, which is wrong wherever the truth is known.
        truth: `(H, W)` [px], 0 = unknown.
        confidence: `(H, W)` in 0..1.
        tolerance: largest difference of a right disparity [px].
        threshold: confidence from which a disparity is taken for right, beside 0.5.

    Raises:
        ShapeError: the maps differ in size.
    """
    if not disparity.shape == truth.shape == confidence.shape:
        raise ShapeError(f"disparity {disparity.shape}, truth {truth.shape}, confidence {confidence.shape}. Give all at one size.")
    known = truth > 0
    error = np.abs(disparity[known].astype(np.float64) - truth[known])
    right, sure = (error <= tolerance) & (disparity[known] > 0), confidence[known].astype(np.float64)
    if not right.size:
        return {"confidence/n": 0, **{f"confidence/{name}": np.nan for name in METRICS}}
    found = {
        "confidence_auc": roc_auc(sure, right),
        "confidence_area": bad_pixel_area(sure, right),
        "confidence_optimum": least_area(right),
        "confidence_ause": disparity_ause(error, sure),
        "confidence_accuracy": float(np.mean((sure >= 0.5) == right)),
        "threshold_accuracy": np.nan if threshold is None else float(np.mean((sure >= threshold) == right)),
        "disparity_right": float(np.mean(right)),
    }
    return {"confidence/n": right.size, **{f"confidence/{name}": value for name, value in found.items()}}


def confidence_metrics(table: FrameTable) -> dict[str, Float]:
    """The metrics of each frame from the columns of `confidence_columns`; nan where one does not exist (nothing wrong, no threshold)."""
    some = table["confidence/n"] > 0  # a frame without the columns reads as zeros
    return {name: np.where(some, table[f"confidence/{name}"], np.nan) for name in METRICS}


def _require_same(one: NDArray[Any], other: NDArray[Any]) -> None:
    if one.shape != other.shape or one.ndim != 1:
        raise ShapeError(f"values of shape {one.shape} and {other.shape}. Pass those of the same pixels, flat.")
