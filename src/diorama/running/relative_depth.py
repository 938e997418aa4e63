"""Relative (inverse) depth of a teacher -> metres, by a robust fit of scale and shift to what stereo or LiDAR knows. NumPy only.

The fit is least median of squares over drawn pairs of points (it stands just under half of gross outliers), followed by least squares on
what lies within 2.5 robust deviations of it. The same input gives the same bits.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diorama.errors import DataError, ShapeError

Float = NDArray[np.float64]

LEAST_POINTS = 32
"""Known pixels below which no scale is trusted."""

_DRAWN, _PAIRS, _ROUNDS = 4096, 400, 30
_WITHIN = 2.5  # robust standard deviations: 99 % of normal residuals
_MAD = 1.4826
_FLAT = "relative depth is the same at nearly every known pixel, so it has no scale. Check the teacher, or leave the frame out."
_LEVEL = "known depth is nearly the same wherever relative depth differs, so it says no scale. Check it, or leave the frame out."


class RelativeFit(NamedTuple):
    """`1 / depth = scale * relative + shift` [1/m] (or `depth = ...` [m] where `inverse` is false)."""

    scale: float
    shift: float
    inliers: NDArray[np.bool_]
    """`(H, W)` known pixels that agree with the fit."""
    inverse: bool = True


def fit_relative(
    relative: NDArray[np.float32], metric: NDArray[np.float32], weight: NDArray[np.float32] | None = None, inverse: bool = True
) -> RelativeFit:
    """Scale and shift of one image's relative depth, from metric depth of some of its pixels of which up to 40 % may be wrong.

    Args:
        relative: `(H, W)`; larger is nearer if `inverse`, else larger is farther.
        metric: `(H, W)` metres, 0 = unknown.
        weight: `(H, W)` trust in `metric`, e.g. the confidence of stereo; 0 leaves a pixel out. None: all alike.
        inverse: fit `1 / metric` (MiDaS, Depth Anything), where equal errors of disparity are equal errors; else `metric`.

    Raises:
        ShapeError: the maps differ in size.
        DataError: fewer than `LEAST_POINTS` known pixels, relative depth without contrast, or it falls where it should rise.
    """
    for name, values in (("metric depth", metric), ("weights", weight)):
        if values is not None and values.shape != relative.shape:
            raise ShapeError(f"relative depth {relative.shape}, {name} {values.shape}. Bring both to one size.")
    known = (metric > 0) & np.isfinite(metric) & np.isfinite(relative)
    if weight is not None:
        known &= weight > 0
    count = int(known.sum())
    if count < LEAST_POINTS:
        raise DataError(f"{count} pixels with known depth, {LEAST_POINTS} are needed to scale relative depth. Give denser depth.")
    x = relative[known].astype(np.float64)
    y = metric[known].astype(np.float64)
    y = 1 / y if inverse else y
    w = np.ones(count) if weight is None else weight[known].astype(np.float64)
    middle, spread = float(np.median(x)), float(np.std(x))
    if not spread > 1e-9 * max(1.0, abs(middle)):
        raise DataError(_FLAT)
    x = (x - middle) / spread  # the normal equations stay well conditioned whatever unit a teacher uses
    slope, offset, within = _refined(x, y, w, *_least_median(x, y, w))
    if abs(slope) <= 1e-6 * float(np.median(np.abs(y))):
        raise DataError(_LEVEL)
    if not slope > 0:
        other = "false" if inverse else "true"
        raise DataError(f"relative depth falls where it should rise with the known one (scale {slope / spread:.3g}). Try inverse={other}.")
    inliers = np.zeros(relative.shape, bool)
    inliers[known] = within
    return RelativeFit(slope / spread, offset - slope * middle / spread, inliers, inverse)


def metres(relative: NDArray[np.float32], fit: RelativeFit, farthest: float = math.inf) -> NDArray[np.float32]:
    """`(H, W)` depth [m] that relative depth means under `fit`; 0 where it means nothing (not positive, not finite) or above `farthest`."""
    fitted = fit.scale * relative.astype(np.float64) + fit.shift
    sound = np.isfinite(fitted) & (fitted > 0)
    fitted = np.where(sound, fitted, 1.0)
    depth = 1 / fitted if fit.inverse else fitted
    return np.where(sound & (depth <= farthest), depth, 0).astype(np.float32)


def _least_median(x: Float, y: Float, w: Float) -> tuple[float, float]:
    """Slope and offset of the line through two points that has the least median residual; points are drawn in proportion to `w`."""
    generator = np.random.default_rng(0)
    share = np.cumsum(w) / w.sum()
    px, py = x, y
    if len(x) > _DRAWN or np.ptp(w) > 0:
        chosen = np.searchsorted(share, (np.arange(_DRAWN) + 0.5) / _DRAWN).clip(max=len(x) - 1)
        px, py = x[chosen], y[chosen]
    # one point of each pair from the lower and one from the upper half: two points close by say nothing about the slope
    order = np.argsort(px, kind="stable")
    half = len(order) // 2
    low = order[generator.integers(0, half, _PAIRS)]
    high = order[generator.integers(half, len(order), _PAIRS)]
    apart = px[high] > px[low]
    if not apart.any():
        raise DataError(_FLAT)
    low, high = low[apart], high[apart]
    slopes = (py[high] - py[low]) / (px[high] - px[low])
    offsets = py[low] - slopes * px[low]
    medians = [float(np.median(np.abs(py - slope * px - offset))) for slope, offset in zip(slopes, offsets, strict=True)]
    best = int(np.argmin(medians))
    return float(slopes[best]), float(offsets[best])


def _refined(x: Float, y: Float, w: Float, slope: float, offset: float) -> tuple[float, float, NDArray[np.bool_]]:
    """Weighted least squares on the points within `_WITHIN` robust deviations, until these no longer change."""
    spread = _MAD * _median(np.abs(y - slope * x - offset), w)
    limit = max(_WITHIN * spread, 1e-9 * float(np.median(np.abs(y))))
    within = np.zeros(len(x), bool)
    for _ in range(_ROUNDS):
        found = np.abs(y - slope * x - offset) <= limit
        if (found == within).all():
            break
        within = found
        a, b, weights = x[within], y[within], w[within]
        total = weights.sum()
        mean_a, mean_b = (weights @ a) / total, (weights @ b) / total
        variance = weights @ (a - mean_a) ** 2
        if not variance > 0:
            break
        slope = float(weights @ ((a - mean_a) * (b - mean_b)) / variance)
        offset = float(mean_b - slope * mean_a)
    return slope, offset, within


def _median(values: Float, w: Float) -> float:
    """The value that half of the weight lies at or below."""
    if np.ptp(w) == 0:
        return float(np.median(values))
    order = np.argsort(values, kind="stable")
    below = np.cumsum(w[order])
    return float(values[order[np.searchsorted(below, below[-1] / 2)]])
