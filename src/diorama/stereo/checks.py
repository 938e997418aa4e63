"""What is wrong with a pair as a whole: views that are not rectified, or in the wrong order. NumPy and OpenCV only."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.errors import DataError
from diorama.stereo.consistency import Pair
from diorama.stereo.matching import Matching, check_images, match

U8 = NDArray[np.uint8]

MOST_ROWS = 1.5
"""Views of which a quarter of the corresponding points lies farther apart than this many rows [px] are not rectified."""
LOOK_AGAIN = 0.5
"""A pair that agrees on less than this share of its pixels is matched again with its views exchanged."""
LEAST_AGREEMENT = 0.3
"""A pair that agrees on less than this share is warned of in any case."""

_MOST_POINTS = 1000
_LEAST_POINTS = 20
_PLAUSIBLE = 0.15
"""Corresponding points lie at most this share of the height apart in rows; the rest are mistakes."""


class Points(NamedTuple):
    """Where corresponding points of two views lie."""

    found: int
    rows: float
    """Median of (row in the right view - row in the left view) [px]."""
    rows_apart: float
    """Upper quartile of its absolute value [px]: a turned view moves one side up, the other down, and its middle not at all."""
    columns: float
    """Median of (column in the left view - column in the right view) [px]: the disparity, so above 0."""


def corresponding_points(left: U8, right: U8) -> Points | None:
    """Offsets between ORB features that are each other's best match; None where there are too few to tell.

    Raises:
        ShapeError: the two are no images of one size.
    """
    check_images(left, right)
    detector = cv2.ORB.create(_MOST_POINTS)
    grey: list[Any] = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image for image in (left, right)]
    (points, words), (others, other_words) = (detector.detectAndCompute(image, None) for image in grey)
    if not points or not others:
        return None
    pairs = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(words, other_words)
    moves = np.array([np.subtract(others[pair.trainIdx].pt, points[pair.queryIdx].pt) for pair in pairs]).reshape(-1, 2)
    moves = moves[np.abs(moves[:, 1]) <= max(4.0, _PLAUSIBLE * len(left))]
    if len(moves) < _LEAST_POINTS:
        return None
    columns, rows = moves.T
    return Points(len(moves), float(np.median(rows)), float(np.quantile(np.abs(rows), 0.75)), float(-np.median(columns)))


def unrectified(left: U8, right: U8) -> str | None:
    """A warning if corresponding points do not lie on the same rows, with what to do; None if they do or nobody can tell.

    Raises:
        ShapeError: the two are no images of one size.
    """
    points = corresponding_points(left, right)
    if points is None or points.rows_apart <= MOST_ROWS:
        return None
    lower = f", the right view {abs(points.rows):.1f} px too {'low' if points.rows > 0 else 'high'}" if abs(points.rows) > MOST_ROWS else ""
    return (
        f"not rectified: {points.found} corresponding points, a quarter of them {points.rows_apart:.1f} or more rows apart{lower}. "
        "Rectify both views with the rig's calibration (OpenCV: stereoRectify, initUndistortRectifyMap, remap)."
    )


def swapped(left: U8, right: U8, pair: Pair, matcher: Matching | None = None) -> str | None:
    """A warning if the two views are in the wrong order, or hardly agree in either; None if they agree.

    Args:
        left: `(H, W, 3)` RGB.
        right: the same size.
        pair: what matching these gave.
        matcher: what they were matched with; it runs again only if few pixels agree.
    """
    share = agreement(pair)
    if share >= LOOK_AGAIN:
        return None
    try:
        turned = agreement(match(right, left, matcher))
    except DataError:
        turned = 0.0
    if turned >= max(LOOK_AGAIN, 1.5 * share):
        return (
            f"views in the wrong order: {share:.0%} of the pixels pass the left-right check, exchanged {turned:.0%}. "
            "Exchange the left and right files (a left image shows near things farther to the right)."
        )
    if share >= LEAST_AGREEMENT:
        return None
    return (
        f"only {share:.0%} of the pixels pass the left-right check. Check that both views show one moment, are rectified "
        "and textured, and that the range of disparities covers the nearest thing."
    )


def agreement(pair: Pair) -> float:
    """Share of the pixels of both views that pass the left-right check."""
    return float(np.mean([view.agrees.mean() for view in pair]))
