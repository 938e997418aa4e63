"""Disparity <-> depth of a rectified pair. NumPy only."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diorama.errors import ConfigError

F32 = NDArray[np.float32]


def disparity_of_png(stored: NDArray[np.uint16], encoding: Literal["kitti", "cityscapes"]) -> F32:
    """`(H, W)` disparity [px] of a 16-bit PNG: stored / 256 (kitti), (stored - 1) / 256 (cityscapes); 0 = unknown."""
    steps = stored.astype(np.float32) - np.float32(encoding == "cityscapes")
    return (steps.clip(min=0) / np.float32(256)).astype(np.float32)


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
