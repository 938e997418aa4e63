"""Sparse depth -> dense depth by morphology, as described in J. Ku, A. Harakeh, S. L. Waslander, "In Defense of Classical Image
Processing: Fast Depth Completion on the CPU", Conference on Computer and Robot Vision (CRV) 2018. NumPy and OpenCV only.

| step of the paper | here |
|---|---|
| inversion, so that near depth wins under a kernel | minima of depth, unknown = the largest float: the same without rounding |
| dilation by a diamond of 5 | `dilate` |
| closing, 5x5 | `close` |
| small holes: dilation by 7x7 of what is still empty | `small_hole` |
| the highest value of a column copied up to the frame | `extend`, off as in the paper's variants that leave the sky alone |
| large holes: dilation by 31x31 of what is still empty | `large_hole` |
| what is empty even then stays empty | filled with the nearest value, so that depth is everywhere |
| median 5x5, then Gaussian 5x5 or bilateral | `median`, `blur`, `blur_size` |

The inversion's constants (100 m, a margin of 20 m) drop out of every step, so indoor and outdoor depth need no setting.
"""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.completion.interpolate import known_pixels, near_pixels
from diorama.errors import ConfigError

Blur = Literal["gaussian", "bilateral", "none"]

_EMPTY = np.finfo(np.float32).max
"""Depth of a pixel without a value; not infinity, because OpenCV pads with this number beyond the border."""


def morphological(
    sparse: NDArray[np.float32],
    *,
    dilate: int = 5,
    close: int = 5,
    small_hole: int = 7,
    large_hole: int = 31,
    extend: bool = False,
    median: int = 5,
    blur: Blur = "gaussian",
    blur_size: int = 5,
    edge: float = 1.0,
) -> NDArray[np.float32]:
    """`(H, W)` sparse depth [m], 0 = unknown -> `(H, W)` float32 depth [m], finite and above 0.

    Known pixels move too: nearer neighbours grow over them and the blur evens them out.

    Args:
        sparse: `(H, W)` metres, 0 = unknown.
        dilate: side of the diamond that the known pixels grow by [px]; 1 leaves the step out, here and below.
        close: side of the square that closes gaps [px].
        small_hole: side of the square of the first hole filling [px].
        large_hole: side of the square of the second hole filling [px].
        extend: copy the highest value of each column to the pixels above it before the large holes are filled.
        median: side of the median filter against outliers [px]: 1, 3 or 5.
        blur: the last smoothing; "bilateral" keeps edges of depth.
        blur_size: side of that smoothing [px].
        edge: step of depth [m] at which the bilateral blur has faded; only for it.

    Raises:
        ConfigError: a side that is even or below 1, another median or blur, or `edge` is not positive.
        ShapeError: not two-dimensional.
        DataError: NaN, infinite or negative depth, or no known pixel at all.
    """
    sides = {"dilate": dilate, "close": close, "small_hole": small_hole, "large_hole": large_hole, "blur_size": blur_size}
    _check(sides, median, blur, edge)
    known = known_pixels(sparse)
    depth: NDArray[Any] = np.where(known, sparse, _EMPTY).astype(np.float32)
    depth = cv2.erode(depth, _diamond(dilate))
    depth = cv2.dilate(cv2.erode(depth, _square(close)), _square(close))
    depth = _fill(depth, small_hole)
    if extend:
        depth = _extended(depth)
    depth = _fill(depth, large_hole)
    found = depth < _EMPTY
    if not found.all():
        depth[~found] = depth.ravel()[near_pixels(found)[~found]]
    if median > 1:
        depth = cv2.medianBlur(depth, median)
    if blur == "gaussian":
        depth = cv2.GaussianBlur(depth, (blur_size, blur_size), 0)
    elif blur == "bilateral":
        depth = cv2.bilateralFilter(depth, blur_size, edge, blur_size / 2)
    return np.asarray(depth, np.float32)


def _check(sides: dict[str, int], median: int, blur: str, edge: float) -> None:
    for name, side in sides.items():
        if side < 1 or side % 2 == 0:
            raise ConfigError(f"{name} {side}. Choose an odd number of pixels, 1 or more.")
    if median not in (1, 3, 5):
        raise ConfigError(f"median {median}. Choose 1, 3 or 5.")
    if blur not in ("gaussian", "bilateral", "none"):
        raise ConfigError(f"blur '{blur}'. Choose gaussian, bilateral or none.")
    if not edge > 0:
        raise ConfigError(f"edge {edge}. Choose a positive number of metres.")


def _fill(depth: NDArray[Any], side: int) -> NDArray[Any]:
    """Empty pixels get the least depth of the square around them, if there is one."""
    return np.where(depth < _EMPTY, depth, cv2.erode(depth, _square(side)))


def _extended(depth: NDArray[Any]) -> NDArray[Any]:
    """The pixels above the highest found one of each column get its depth."""
    found = depth < _EMPTY
    top = found.argmax(axis=0)
    above = np.arange(len(depth))[:, None] < top
    return np.where(above, depth[top, np.arange(depth.shape[1])], depth)


def _square(side: int) -> NDArray[np.uint8]:
    return np.ones((side, side), np.uint8)


def _diamond(side: int) -> NDArray[np.uint8]:
    away = np.abs(np.arange(side) - side // 2)
    return (away[:, None] + away <= side // 2).astype(np.uint8)
