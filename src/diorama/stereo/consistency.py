"""Two disparity maps of one pair: where they agree, and what stands where they do not. NumPy and OpenCV only.

Left pixel x points to right pixel x - disparity, right pixel x to left pixel x + disparity. Unknown disparity is 0.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.errors import ConfigError, DataError, ShapeError

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]
Fill = Literal["inconsistent", "missing"]
Array = TypeVar("Array", bound=np.generic)


class View(NamedTuple):
    """What is known of one view of a pair, each `(H, W)`."""

    disparity: F32
    """Pixels, filled: above 0 everywhere."""
    raw: F32
    """Pixels, as the matcher found it; 0 = not known."""
    difference: F32
    """How far the other view's disparity differs [px]; infinite where there is none: not known, or out of view."""
    agrees: Mask
    """Whether the difference is within the tolerance: the left-right check."""


class Pair(NamedTuple):
    """Both views."""

    left: View
    right: View


def checked(left: F32, right: F32, tolerance: float = 1.0, fill: Fill = "inconsistent") -> Pair:
    """Both views of a pair, from the `(H, W)` disparities [px] that a matcher found in each.

    Args:
        left: disparity of the left view; what `known_only` takes for no disparity is not known.
        right: of the right view, the same size.
        tolerance: how far the two may differ where they agree [px].
        fill: what is replaced by `fill_rows`: "inconsistent" all that does not agree (occluded, mismatched, out of view), right for
            a matcher that guesses there; "missing" only what is not known, right for a network that has learned to guess.

    Raises:
        ShapeError: the sizes differ.
        ConfigError: the tolerance is not positive, or `fill` is unknown.
        DataError: no pixel of a view is known.
    """
    if left.shape != right.shape or left.ndim != 2:
        raise ShapeError(f"disparity of the left view {left.shape}, of the right {right.shape}. Give both as (H, W) of one size.")
    if not tolerance > 0:
        raise ConfigError(f"tolerance {tolerance}. Choose a positive number of pixels.")
    if fill not in ("inconsistent", "missing"):
        raise ConfigError(f"fill '{fill}'. Choose inconsistent or missing.")
    raw = known_only(left), known_only(right)
    for view, disparity in zip(("left", "right"), raw, strict=True):
        if not disparity.any():
            raise DataError(f"no disparity in the {view} view. Check that the pair is rectified, in its order, and shows texture.")
    differences = left_right_difference(*raw), mirrored(left_right_difference(mirrored(raw[1]), mirrored(raw[0])))
    views = []
    for disparity, difference in zip(raw, differences, strict=True):
        agrees = difference <= tolerance
        # Where nothing agrees, as in a swapped pair, what was found stays: no pixel claims to agree.
        kept = agrees if fill == "inconsistent" and agrees.any() else disparity > 0
        views.append(View(fill_rows(disparity, kept), disparity, difference, agrees))
    return Pair(views[0], views[1])


def known_only(disparity: NDArray[np.floating[Any]]) -> F32:
    """A float32 copy of the disparity [px] with 0 wherever it is none: not finite, not above 0, or not below the width."""
    with np.errstate(invalid="ignore"):
        known = (disparity > 0) & (disparity < disparity.shape[-1])
    return np.where(known, disparity, 0).astype(np.float32)


def left_right_difference(disparity: F32, other: F32) -> F32:
    """`(H, W)` |disparity - other's disparity at the pixel it points to| [px] of a left view; infinite where one of them is not known.

    The nearest pixel is asked: between the two sides of an edge there is no disparity in the middle. Of a right view: mirror both,
    and mirror the result.
    """
    height, width = disparity.shape
    # OpenCV's tables of whole pixels are 16-bit; what lies outside of the image becomes 0, as what is not known
    place = np.empty((height, width, 2), np.int16)
    place[..., 0] = np.rint(np.arange(width, dtype=np.float32) - disparity).clip(-1, width)
    place[..., 1] = np.arange(height, dtype=np.int16)[:, None]
    unused = np.empty(0, np.float32)
    there: F32 = np.asarray(cv2.remap(other, place, unused, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0), np.float32)
    difference: F32 = np.abs(disparity - there)
    difference[(there <= 0) | (disparity <= 0)] = np.inf
    return difference


def fill_rows(disparity: F32, kept: Mask) -> F32:
    """`(H, W)` disparity [px] with every pixel that is not `kept` replaced from its row, in which the background wins.

    A pixel gets the smaller disparity (the farther surface) of the nearest kept pixels left and right of it, since what one view
    hides lies behind the edge that hides it; at the ends of a row, the only one there is. A row without any copies the nearest row
    that has one (the upper of two).

    Raises:
        ShapeError: the sizes differ.
        DataError: no pixel is kept.
    """
    if disparity.shape != kept.shape or disparity.ndim != 2:
        raise ShapeError(f"disparity {disparity.shape}, mask {kept.shape}. Give both as (H, W) of one size.")
    rows: Mask = np.asarray(kept.any(axis=1))
    if not rows.any():
        raise DataError(f"disparity of {disparity.shape[1]}x{disparity.shape[0]} pixels without one known value. Leave the pair out.")
    width, values = disparity.shape[1], disparity.ravel()
    there, holes = np.flatnonzero(kept), np.flatnonzero(~kept)
    # as many kept pixels lie before a hole as its place in reading order exceeds its number among the holes
    after = holes - np.arange(holes.size)
    nearest = np.full(holes.size, np.inf, np.float32)
    for number in (after - 1, after):
        pixel = there[number.clip(0, there.size - 1)]
        beside = (number >= 0) & (number < there.size) & (pixel // width == holes // width)
        np.minimum(nearest, values[pixel], out=nearest, where=beside)
    filled = np.array(disparity, np.float32, order="C")
    filled.reshape(-1)[holes] = nearest
    if not rows.all():
        full = np.flatnonzero(rows)
        away = np.abs(np.arange(rows.size)[:, None] - full)
        filled = filled[full[away.argmin(axis=1)]]
    return filled


def other_view(disparity: F32) -> F32:
    """`(H, W)` disparity [px] of the right view that a left one means: the nearest surface of those that fall on a pixel; 0 = none.

    For matchers that hand over the left view alone. Half-pixel gaps of slanted surfaces stay open, as do occlusions.
    """
    width = disparity.shape[1]
    rows, columns = np.nonzero(disparity > 0)
    values = disparity[rows, columns]
    target = np.rint(columns - values).astype(np.intp)
    inside = (target >= 0) & (target < width)
    right = np.zeros_like(disparity)
    np.maximum.at(right, (rows[inside], target[inside]), values[inside])
    return right


def mirrored(image: NDArray[Array]) -> NDArray[Array]:
    """`(H, W, ...)` with left and right exchanged, contiguous."""
    if image.dtype in (np.uint8, np.float32):
        return np.asarray(cv2.flip(cast("Any", image), 1), image.dtype)
    return np.ascontiguousarray(image[:, ::-1])
