"""How well a predicted uncertainty [m, larger is worse] sorts the errors of one frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

STEPS = 50


def ause(error: Float, uncertainty: Float, steps: int = STEPS) -> float:
    """Area under the sparsification error of the RMSE [m]; 0 for an uncertainty that sorts like the error itself.

    The most uncertain pixels are removed in `steps` equal parts; at each part the RMSE of the rest is compared with the RMSE that
    removal by the true error would leave; the differences are averaged over the removed fraction.

    Args:
        error: flat absolute errors [m].
        uncertainty: flat, same pixels.
        steps: number of equal parts.
    """
    if not error.size:
        return 0.0
    return float(np.mean(sparsified(error, uncertainty, steps) - sparsified(error, error, steps)))


def sparsified(error: Float, key: Float, steps: int) -> Float:
    """RMSE of the pixels left after removing those of largest `key`, at fractions 0, 1/steps, ..., 1 - 1/steps."""
    squared = np.square(error[np.argsort(key, kind="stable")])
    left = np.ceil(error.size * (1.0 - np.arange(steps) / steps)).astype(np.int64)
    kept: Float = np.sqrt(np.cumsum(squared)[left - 1] / left)
    return kept
