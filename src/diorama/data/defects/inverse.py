"""Disparity taken for depth. On every plane of the scene 1 / depth is an affine function of the pixel, so disparity is one too and
depth is not: small patches say which of the two a map is, whatever its unit. And depth grows towards the upper rows of most frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diorama.data.defects.rule import LEAST_SIDE, Rule, Verdict, is_aerial, main_depth
from diorama.data.labels import LabelSet
from diorama.types import Frame

_PATCHES = 12, 16
_POINTS = 144
"""At most about so many of a patch are fitted."""
_LEAST_POINTS = {"depth": 25, "sparse_depth": 12}
_RELIEF = 1.15, 3.0
"""Largest over least value of a patch: flatter ones do not tell, steeper ones hold an edge."""
_MISFIT = 0.12
_BANDS = 24


class Shape(NamedTuple):
    """Figures of one frame."""

    key: str
    planes: int
    """Patches that one of the two explains."""
    inverse: int
    """Those where the values themselves are affine: disparity."""
    trend: float
    """Rank correlation of row and median value, -1 to 1; NaN without relief."""


def measure(frame: Frame, labels: LabelSet | None) -> Shape | None:
    """Votes of the planar patches, and the vertical trend, of a frame that is not seen from above."""
    found = main_depth(frame)
    if found is None or min(found[1].shape) < LEAST_SIDE or is_aerial(frame, labels):
        return None
    key, depth = found
    planes, inverse = _votes(depth, _LEAST_POINTS[key])
    return Shape(key, planes, inverse, _trend(depth))


def judge(sample: Sequence[Shape]) -> Verdict | None:
    """Error where planes and trend both say disparity; warning where there are no planes and the trend is strong."""
    planes, inverse = sum(one.planes for one in sample), sum(one.inverse for one in sample)
    trends = np.array([one.trend for one in sample if np.isfinite(one.trend)])
    trend = float(np.median(trends)) if trends.size else np.nan
    key, advice = sample[0].key, "Convert it: depth = focal length * baseline / disparity (folder: put it into disparity/)."
    if planes >= 20 and inverse > 0.65 * planes and not trend < -0.3:
        told = f", and it grows towards the lower rows (rank correlation {trend:+.2f})" if trend > 0.3 else ""
        return Verdict("error", f"{key} is linear on {inverse} of {planes} planar patches, as disparity is{told}. {advice}")
    if planes < 20 and trends.size and trend > 0.6 and (trends > 0).mean() > 0.8:
        return Verdict("warning", f"{key} grows towards the lower rows (rank correlation {trend:+.2f}): is it disparity? {advice}")
    return None


def _votes(depth: NDArray[np.float32], least: int) -> tuple[int, int]:
    rows, columns = (np.linspace(0, side, parts + 1).astype(int) for side, parts in zip(depth.shape, _PATCHES, strict=True))
    planes = inverse = 0
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            y, x = np.nonzero(depth[top:bottom, left:right])
            if len(y) < least:
                continue
            step = max(1, len(y) // _POINTS)
            y, x = y[::step], x[::step]
            values = depth[top + y, left + x].astype(np.float64)
            low, high = np.percentile(values, (2, 98))
            if not _RELIEF[0] <= high / low <= _RELIEF[1]:
                continue
            plane = np.column_stack([y, x, np.ones(len(y))])
            targets = np.column_stack([values, 1 / values])
            targets = (targets - targets.mean(0)) / targets.std(0)
            solution, _, rank, _ = np.linalg.lstsq(plane, targets, rcond=None)
            misfit = np.sqrt(((targets - plane @ solution) ** 2).mean(0))
            if rank == 3 and misfit.min() <= _MISFIT:
                planes, inverse = planes + 1, inverse + int(misfit[0] < misfit[1])
    return planes, inverse


def _trend(depth: NDArray[np.float32]) -> float:
    known = depth[depth > 0]
    if known.size < 100 or np.divide(*np.percentile(known, (90, 10))) < 1.5:
        return np.nan
    bands = (band[band > 0] for band in np.array_split(depth, _BANDS))
    medians = np.array([np.median(band) if band.size >= 20 else np.nan for band in bands])
    places = np.flatnonzero(np.isfinite(medians))
    if len(places) < _BANDS // 3:
        return np.nan
    ranks = medians[places].argsort().argsort()
    return float(np.corrcoef(np.arange(len(places)), ranks)[0, 1])


INVERSE = Rule("disparity", measure, judge)
