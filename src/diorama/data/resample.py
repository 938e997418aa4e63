"""Rasters at another ground sampling distance: exact means over a pixel's area, or the value at its centre. NumPy only.

Pixel `i` of the new raster covers `[i * scale, (i + 1) * scale)` of the old one, whose pixel `j` covers `[j, j + 1)`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_SLACK = 1e-6


class Target(NamedTuple):
    """The new raster, as seen from a window of the old one."""

    first: tuple[float, float]
    """Row and column of the window where the first new pixel begins."""
    size: tuple[int, int]
    scale: float
    """Old pixels that a new one spans."""


def span(first: int, count: int, scale: float) -> tuple[int, int]:
    """The first old pixel and the one after the last that `count` new pixels from `first` on cover."""
    return math.floor(first * scale + _SLACK), math.ceil((first + count) * scale - _SLACK)


def _weights(count: int, source: int, shift: float, scale: float) -> NDArray[np.float32]:
    """`(count, source)`: share of each new pixel that lies on each old one."""
    edges = np.clip(shift + scale * np.arange(count + 1), 0, source)
    low, high = np.maximum(edges[:-1, None], np.arange(source)), np.minimum(edges[1:, None], np.arange(source) + 1)
    covered = np.maximum(high - low, 0)
    return np.asarray((covered / np.maximum(covered.sum(1, keepdims=True), 1e-9)).astype(np.float32))


def averaged(values: NDArray[np.float32], to: Target) -> NDArray[np.float32]:
    """`(h, w, c)` -> `(*to.size, c)`: means over each new pixel's area.

    NaN is unknown: it takes no part in a mean, and a pixel of which less than half is known is NaN.
    """
    if to.scale == 1:
        top, left = round(to.first[0]), round(to.first[1])
        return np.ascontiguousarray(values[top : top + to.size[0], left : left + to.size[1]])
    rows, columns = (_weights(to.size[k], values.shape[k], to.first[k], to.scale) for k in (0, 1))

    def mean(of: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(np.einsum("ih,hwc,jw->ijc", rows, of, columns, optimize=True), np.float32)

    known = np.isfinite(values)
    if known.all():
        return mean(values)
    share, total = mean(known.astype(np.float32)), mean(np.where(known, values, np.float32(0)))
    return np.where(share > 0.4999, total / np.maximum(share, np.float32(1e-6)), np.nan).astype(np.float32)


def nearest(values: NDArray[Any], to: Target) -> NDArray[Any]:
    """`(h, w, c)` -> `(*to.size, c)`: the value at each new pixel's centre."""
    rows, columns = (
        np.floor(to.first[k] + (np.arange(to.size[k]) + 0.5) * to.scale + _SLACK).astype(int).clip(0, values.shape[k] - 1) for k in (0, 1)
    )
    return np.ascontiguousarray(values[rows][:, columns])
