"""Disparity <-> depth of a rectified pair, and what becomes of disparity when an image changes its size. NumPy and OpenCV only."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.errors import ConfigError, ShapeError

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]


def depth_from_disparity(disparity: F32, focal_px: float, baseline: float) -> F32:
    """`(H, W)` depth [m] = focal [px] * baseline [m] / disparity [px]; 0 = unknown, where the disparity is not finite or not above 0.

    The focal length is the horizontal one of that very image at the size of `disparity`; a crop keeps it, and its disparities may exceed
    its width.

    Raises:
        ConfigError: the focal length or the baseline is not positive.
    """
    return _inverse(disparity, focal_px, baseline)


def disparity_from_depth(depth: F32, focal_px: float, baseline: float) -> F32:
    """`(H, W)` disparity [px] = focal [px] * baseline [m] / depth [m]; 0 = unknown, where the depth is not finite or not above 0.

    Raises:
        ConfigError: the focal length or the baseline is not positive.
    """
    return _inverse(depth, focal_px, baseline)


def _inverse(values: F32, focal_px: float, baseline: float) -> F32:
    if not (0 < focal_px < np.inf and 0 < baseline < np.inf):
        raise ConfigError(f"focal length {focal_px} px, baseline {baseline} m. Give the positive numbers of this image's calibration.")
    known = np.isfinite(values) & (values > 0)
    return np.where(known, np.float64(focal_px) * baseline / np.where(known, values, 1), 0).astype(np.float32)


def in_view(disparity: F32, right: bool = False) -> Mask:
    """`(H, W)` mask of pixels whose partner lies in the other image: x - disparity (of a right view x + disparity) within 0..W - 1.

    Unknown disparity has no partner.
    """
    width = disparity.shape[1]
    column = np.arange(width, dtype=np.float32)
    target = column + disparity if right else column - disparity
    return np.asarray((disparity > 0) & (target >= 0) & (target <= width - 1))


def resize_disparity(disparity: F32, height: int, width: int) -> F32:
    """`(height, width)` disparity by the nearest pixel, its values scaled with the width; 0 stays unknown.

    Disparity is not averaged: across an edge the mean of two surfaces is the disparity of neither.

    Raises:
        ShapeError: not `(H, W)`, or the new size is empty.
    """
    if disparity.ndim != 2 or height < 1 or width < 1:
        raise ShapeError(f"disparity {disparity.shape} to {height}x{width}. Give (H, W) and a size of at least one pixel.")
    resized = cv2.resize(disparity, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return (np.asarray(resized, np.float32) * np.float32(width / disparity.shape[1])).astype(np.float32)
