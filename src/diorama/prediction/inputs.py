"""What a user hands to a network, read and brought to the network's form: photos, and sparse depth of a LiDAR or a depth sensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diorama.data import io
from diorama.data.cache import resize_image, splat
from diorama.data.kitti_calibration import read_camera, require_same_day, require_size
from diorama.data.kitti_velodyne import read_scan
from diorama.errors import DataError, ShapeError

Given = str | Path | NDArray[np.uint8] | NDArray[np.float32]
"""A path, or the array itself."""

LIDAR_SCALE = 256.0
"""Values per metre of a sparse depth PNG that does not say its own scale (the KITTI convention)."""

_IMPLAUSIBLE_M = 250.0


def read_photo(photo: Given) -> NDArray[np.uint8]:
    """`(H, W, 3)` RGB of a path or an array.

    Raises:
        DataError: it cannot be read, or it is sparse depth.
        ShapeError: the array is no RGB image.
    """
    if not isinstance(photo, np.ndarray) and _is_sparse_depth(Path(photo)):
        raise DataError(f"{photo}: sparse depth (16-bit, most pixels 0), not a photo. Choose a completion: --model linear.")
    image = photo if isinstance(photo, np.ndarray) else io.read_image(photo)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ShapeError(f"a photo of shape {image.shape} and type {image.dtype}. Give uint8 (H, W, 3), RGB.")
    return np.asarray(image, np.uint8)


def _is_sparse_depth(path: Path) -> bool:
    """Whether an image file is 16-bit grey, and 0 in more than half of its pixels."""
    if path.suffix.lower() not in (".png", ".tif", ".tiff") or io.is_colour(path):
        return False
    try:
        depth = io.read_depth(path, unrecorded=LIDAR_SCALE)
    except DataError:  # 8-bit
        return False
    return bool((depth == 0).mean() > 0.5)


def read_sparse_depth(points: Given) -> NDArray[np.float32]:
    """`(H, W)` sparse depth [m], 0 = unknown, of a depth file (PNG: metres * 256 unless it says its scale) or an array.

    Raises:
        DataError: it cannot be read, has no known pixel, or its values are no metres.
        ShapeError: the array is no `(H, W)` map.
    """
    name = "the array" if isinstance(points, np.ndarray) else str(points)
    if isinstance(points, np.ndarray):
        if points.ndim != 2 or not points.size or not np.issubdtype(points.dtype, np.floating):
            raise ShapeError(f"sparse depth of shape {points.shape} and type {points.dtype}. Give floats (H, W) in metres, 0 = unknown.")
        depth = io.check_depth(points.astype(np.float32), name)
    else:
        depth = io.read_depth(points, unrecorded=LIDAR_SCALE)
    known = depth[depth > 0]
    if not known.size:
        raise DataError(f"{name}: no pixel has a depth. Give a map with some known pixels (metres * 256 as 16-bit PNG, 0 = unknown).")
    if float(np.median(known)) > _IMPLAUSIBLE_M:
        raise DataError(f"{name}: the median depth is {np.median(known):.0f} m, so these are no metres. Divide millimetres by 1000.")
    return depth


def read_velodyne(
    path: Path, calibration: str | Path | None, size: tuple[int, int] | None
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """A raw scan (`.bin`) as the left colour camera sees it: `(H, W)` sparse depth [m] and that camera's `(3, 3)` matrix [px].

    Args:
        path: the scan.
        calibration: KITTI's folder of the day, the frame's file of the object benchmark, or a folder of such files named as the scans.
        size: (H, W) of the photo; None: what the calibration says.

    Raises:
        DataError: no calibration, one that does not fit the photo or the day, no size, or no return in view.
    """
    if calibration is None:
        raise DataError(f"{path}: a raw scan needs its calibration. Pass --calibration: the folder of the day or of one file per frame.")
    where = Path(calibration)
    if (own := where / f"{path.stem}.txt").is_file():
        where = own
    require_same_day(where, path)
    camera = read_camera(where)
    size = size or camera.size
    if size is None:
        raise DataError(f"{path}: how large is the image? The calibration does not say. Pass the photo too (--image).")
    require_size(camera, size, path)
    return read_scan(path, camera, size), camera.intrinsics


def prepared(key: str, given: NDArray[np.uint8] | NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """What `read_photo` or `read_sparse_depth` gave as the network takes it: `(1, C, h, w)` at `size`."""
    if key == "sparse_depth":
        points = given.astype(np.float32)
        return (points if points.shape == size else splat(points, size))[None, None]
    photo = np.asarray(given, np.uint8)
    photo = photo if photo.shape[:2] == size else resize_image(photo, size)
    return np.ascontiguousarray(photo.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
