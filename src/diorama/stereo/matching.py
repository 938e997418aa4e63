"""Rectified pairs -> disparity by semi-global matching, with any other matcher in its place. NumPy and OpenCV only.

A matcher is a callable `(left, right) -> disparity`: two `(H, W, 3)` uint8 RGB images in, the `(H, W)` float32 disparity [px] of the
left view out. Left pixel x shows what right pixel x - disparity shows. What is not finite, not positive or wider than the image
counts as not known. The right view's disparity comes from the same matcher on the mirrored and swapped pair.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.errors import ConfigError, ShapeError
from diorama.stereo.consistency import Fill, Pair, checked, mirrored

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

Matching = Callable[[U8, U8], F32]
"""Left and right image `(H, W, 3)` RGB -> `(H, W)` disparity [px] of the left one."""

FAR = 1 / 16
"""Disparity [px] of what the matcher finds at infinity: its least step, in which OpenCV counts; 0 would mean "unknown"."""

_MULTIPLE = 16
"""OpenCV searches multiples of so many pixels."""


@dataclass(frozen=True)
class Matcher:
    """OpenCV's semi-global block matching in three directions; a `Matching`. Defaults are tuned on the streets of `world`.

    H. Hirschmueller, "Stereo Processing by Semiglobal Matching and Mutual Information", PAMI 2008, in the variant of OpenCV.
    """

    range_px: int | None = None
    """Disparities searched, 0 up to this [px], rounded up to a multiple of 16. None: an eighth of the width."""
    block: int = 5
    """Side of the window that is compared [px], odd."""
    p1: int = 16
    """Penalty of a step by one pixel, times the pixels and channels of a window."""
    p2: int = 64
    """Penalty of a larger step, on the same scale; above `p1`."""
    uniqueness: int = 0
    """How far the second best cost must lie above the best [%]; what does not is not known."""
    speckle: int = 200
    """Regions of at most so many pixels are not known; 0 keeps them."""
    speckle_range: int = 1
    """How far the disparities of one region differ from pixel to pixel [px]."""
    contrast: int = 63
    """Horizontal gradients are compared up to this many grey levels; OpenCV takes at least 15."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), 0 if field.name in ("uniqueness", "speckle") else 1
            if value is not None and value < least:
                raise ConfigError(f"{field.name} {value}. Choose {least} or more.")
        if self.block % 2 == 0 or self.block > 11:
            raise ConfigError(f"block {self.block}. Choose an odd number of pixels from 1 to 11.")
        if self.p2 <= self.p1:
            raise ConfigError(f"p2 {self.p2} is not above p1 {self.p1}. Large steps must cost more than small ones.")

    def for_camera(self, focal_px: float, baseline: float, min_depth: float) -> Matcher:
        """The same matcher, searching as far as a thing at `min_depth` [m] moves between two views `baseline` [m] apart.

        Raises:
            ConfigError: one of the three is not positive.
        """
        if not (focal_px > 0 and baseline > 0 and min_depth > 0):
            raise ConfigError(f"focal length {focal_px} px, baseline {baseline} m, least depth {min_depth} m. Give positive numbers.")
        return replace(self, range_px=math.ceil(focal_px * baseline / min_depth))

    def searched(self, width: int) -> int:
        """How many disparities are searched in an image of this width [px]."""
        wanted = width / 8 if self.range_px is None else min(self.range_px, width)
        return _MULTIPLE * max(1, math.ceil(wanted / _MULTIPLE))

    def __call__(self, left: U8, right: U8) -> F32:
        """`(H, W)` disparity [px] of the left view, 0 = not found.

        Raises:
            ShapeError: the two are no images of one size.
        """
        check_images(left, right)
        searched = self.searched(left.shape[1])
        window = self.block**2 * (left.shape[2] if left.ndim == 3 else 1)
        matcher = cv2.StereoSGBM.create(
            minDisparity=0,
            numDisparities=searched,
            blockSize=self.block,
            P1=self.p1 * window,
            P2=self.p2 * window,
            disp12MaxDiff=-1,  # the check against the right view is ours, at sub-pixel steps
            preFilterCap=self.contrast,
            uniquenessRatio=self.uniqueness,
            speckleWindowSize=self.speckle,
            speckleRange=self.speckle_range,
            mode=cv2.StereoSGBM_MODE_SGBM_3WAY,
        )
        # OpenCV leaves out the first `searched` columns, though most of what they show is in the right view as well.
        wide = [cv2.copyMakeBorder(image, 0, 0, searched, 0, cv2.BORDER_REPLICATE) for image in (left, right)]
        steps = np.asarray(matcher.compute(wide[0], wide[1]))[:, searched:]
        return np.where(steps < 0, 0, np.maximum(steps, 1) * np.float32(FAR)).astype(np.float32)


def match(left: U8, right: U8, matcher: Matching | None = None, tolerance: float = 1.0, fill: Fill = "inconsistent") -> Pair:
    """Dense disparity of both views, and where the two agree.

    Args:
        left: `(H, W, 3)` RGB, rectified.
        right: the same size.
        matcher: None: `Matcher()`.
        tolerance: how far the disparities of a left pixel and of the right pixel it points to may differ [px].
        fill: what the neighbours in the row replace, see `consistency.checked`.

    Raises:
        ShapeError: the images differ in size, or the matcher returned another size.
        DataError: not one pixel of a view was matched.
        ConfigError: the tolerance is not positive, or `fill` is unknown.
    """
    check_images(left, right)
    matcher = Matcher() if matcher is None else matcher
    found = matcher(left, right), mirrored(matcher(mirrored(right), mirrored(left)))
    for view, disparity in zip(("left", "right"), found, strict=True):
        if disparity.shape != left.shape[:2]:
            raise ShapeError(
                f"the matcher returned {disparity.shape} for a {view} view of {left.shape[:2]}. Make it return (H, W) in pixels."
            )
    return checked(found[0], found[1], tolerance, fill)


def check_images(left: U8, right: U8) -> None:
    """Return if the two make a pair: uint8, `(H, W, 3)` or `(H, W)`, of one size.

    Raises:
        ShapeError: they do not.
    """
    for image in (left, right):
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or not image.size:
            raise ShapeError(f"an image of a pair is uint8 (H, W, 3), not {image.dtype} {image.shape}. Convert it first.")
    if left.shape[:2] != right.shape[:2]:
        (height, width), (other_height, other_width) = left.shape[:2], right.shape[:2]
        raise ShapeError(f"left image {width}x{height}, right image {other_width}x{other_height}. Give both views at one size.")
    if left.shape != right.shape:
        raise ShapeError(f"left image {left.shape}, right image {right.shape}. Give both views in colour, or both in grey.")
