"""Classical confidence of a disparity map, larger is surer, in 0..1: the rows a learned one has to beat. NumPy and OpenCV only.

X. Hu, P. Mordohai, "A Quantitative Evaluation of Confidence Measures for Stereo Vision", PAMI 2012, names both: LRD and peak ratio.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.errors import ConfigError, ShapeError
from diorama.stereo.consistency import View, mirrored
from diorama.stereo.matching import Matcher, check_images

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

_GRADIENT = 31
"""Horizontal gradients are compared up to this many grey levels: it is edges that match, not exposure."""
_NONE = np.iinfo(np.uint16).max
"""Cost of a disparity that points out of view."""


def left_right_confidence(view: View) -> F32:
    """`(H, W)` 1 / (1 + left-right difference [px]); 0 where the other view has no answer: not known there, or out of view."""
    return (1 / (1 + view.difference)).astype(np.float32)


def cost_margin(
    left: U8, right: U8, disparity: F32, *, range_px: int | None = None, block: int = 9, reduction: int = 2, mirror: bool = False
) -> F32:
    """`(H, W)` matching cost margin: near 1 if no other disparity matches as well, below 0.5 if one matches better.

    That is: least cost elsewhere / (least cost elsewhere + cost at the disparity), with 1 added to each cost. The cost is the sum of
    absolute differences of the horizontal gradients [grey levels] in a window. "At" the disparity is within one pixel (of the reduced
    image), "elsewhere" is the rest of the range. 0 where the disparity is not known or points out of view.

    Args:
        left: `(H, W, 3)` RGB.
        right: the same size.
        disparity: `(H, W)` [px] of the left view, 0 = not known.
        range_px: disparities that are compared [px], at least as many as `disparity` has; None: those that `Matcher` searches.
        block: side of the window [px of the reduced image], odd, 31 at most.
        reduction: costs are computed at this fraction of the size; 2 takes an eighth of the time of 1.
        mirror: `disparity` is that of the right view.

    Raises:
        ShapeError: the sizes differ.
        ConfigError: an even or larger window, or a range or reduction below 1.
    """
    check_images(left, right)
    if disparity.shape != left.shape[:2]:
        raise ShapeError(f"disparity {disparity.shape}, images {left.shape[:2]}. Give all at one size.")
    if not 1 <= block <= 31 or block % 2 == 0 or reduction < 1 or (range_px is not None and range_px < 1):
        raise ConfigError(
            f"block {block}, reduction {reduction}, range {range_px}. Choose an odd block up to 31, and 1 or more for the others."
        )
    if mirror:
        turned = cost_margin(mirrored(right), mirrored(left), mirrored(disparity), range_px=range_px, block=block, reduction=reduction)
        return mirrored(turned)
    height, width = disparity.shape
    size = max(1, round(width / reduction)), max(1, round(height / reduction))
    scale = size[0] / width
    small = np.asarray(cv2.resize(disparity, size, interpolation=cv2.INTER_NEAREST_EXACT), np.float32) * np.float32(scale)
    place = np.where(small > 0, np.rint(small), -2).astype(np.int16)
    searched = min(size[0], max(round((range_px or Matcher().searched(width)) * scale), int(place.max())) + 1)
    here, elsewhere = _least_costs(_gradients(left, size), _gradients(right, size), place, searched, block)
    margin = (elsewhere + 1) / (here + elsewhere + 2)
    margin[(here == _NONE) | (place < 0)] = 0
    wide = np.asarray(cv2.resize(margin.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    return np.where((disparity > 0) & (disparity <= np.arange(width)), wide, 0).astype(np.float32)


def _gradients(image: U8, size: tuple[int, int]) -> U8:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    slope = np.asarray(cv2.Sobel(small, cv2.CV_16S, 1, 0, borderType=cv2.BORDER_REPLICATE))
    return (slope.clip(-_GRADIENT, _GRADIENT) + _GRADIENT).astype(np.uint8)


def _least_costs(left: U8, right: U8, place: NDArray[np.int16], searched: int, block: int) -> tuple[F32, F32]:
    """Least cost within one pixel of `place` and least cost elsewhere, `(H, W)` each; `_NONE` where there is none."""
    here, elsewhere = (np.full(left.shape, _NONE, np.uint16) for _ in range(2))
    for step in range(searched):
        apart = cv2.absdiff(left[:, step:], right[:, : left.shape[1] - step])
        cost = np.asarray(cv2.boxFilter(apart, cv2.CV_16U, (block, block), normalize=False, borderType=cv2.BORDER_REPLICATE))
        near = np.abs(place[:, step:] - np.int16(step)) <= 1
        for least, among in ((here[:, step:], near), (elsewhere[:, step:], ~near)):
            np.minimum(least, np.where(among, cost, _NONE), out=least)
    return here.astype(np.float32), elsewhere.astype(np.float32)
