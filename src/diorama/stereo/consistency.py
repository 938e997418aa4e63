"""Two disparity maps of one pair: where they agree, and what stands where they do not. NumPy only.

Left pixel x points to right pixel x - disparity, right pixel x to left pixel x + disparity. Unknown disparity is 0.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeVar

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
    width = disparity.shape[1]
    target = np.rint(np.arange(width, dtype=np.float32) - disparity).astype(np.intp)
    seen = (disparity > 0) & (target >= 0)
    there = np.take_along_axis(other, target.clip(0, width - 1), axis=1)
    return np.where(seen & (there > 0), np.abs(disparity - there), np.inf).astype(np.float32)


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
    width = disparity.shape[1]
    column = np.arange(width, dtype=np.int32)
    before = np.maximum.accumulate(np.where(kept, column, np.int32(-1)), axis=1)
    after = np.minimum.accumulate(np.where(kept, column, np.int32(width))[:, ::-1], axis=1)[:, ::-1]
    infinite = np.float32(np.inf)
    from_left = np.where(before >= 0, np.take_along_axis(disparity, before.clip(min=0), axis=1), infinite)
    from_right = np.where(after < width, np.take_along_axis(disparity, after.clip(max=width - 1), axis=1), infinite)
    filled = np.where(kept, disparity, np.minimum(from_left, from_right)).astype(np.float32)
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
    return np.ascontiguousarray(image[:, ::-1])
