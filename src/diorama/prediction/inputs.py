"""What a user hands to a network, read and brought to the network's form: photos, and sparse depth of a LiDAR or a depth sensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diorama.data import io
from diorama.data.cache import resize_image, resize_nearest, splat
from diorama.data.kitti_calibration import read_camera, require_same_day, require_size
from diorama.data.kitti_velodyne import read_scan
from diorama.errors import ConfigError, DataError, ShapeError
from diorama.prediction.arrays import LIDAR_SCALE, as_photo, as_points, is_held

Given = str | Path | Any
"""A path; or the photo or map itself: an array, a PIL image or a torch tensor."""

_IMPLAUSIBLE_M, _IMPLAUSIBLY_NEAR_M = 250.0, 0.01
_BRIGHT = 2**15
"""The brightest hundredth of a 16-bit photo; depth * 256 reaches it at 128 m, millimetres at 33 m."""


def read_photo(photo: Given) -> NDArray[np.uint8]:
    """`(H, W, 3)` RGB of a path, or of a photo itself (see `arrays.as_photo`).

    Raises:
        DataError: it cannot be read, or it is depth.
        ShapeError: the array is no photo.
    """
    if is_held(photo):
        return as_photo(photo)
    if said := _said_depth(Path(photo)):
        raise DataError(f"{photo}: {said}")
    return io.read_image(photo)


def _said_depth(path: Path) -> str:
    """What to say of an image that is depth: 16-bit grey, and mostly 0, with a scale of its own, or darker than a photo; else empty."""
    if path.suffix.lower() not in (".png", ".tif", ".tiff") or io.is_colour(path):
        return ""
    mode, recorded = io.depth_mode(path)
    if not mode.startswith("I"):
        return ""
    values = io.read_labels(path)
    if (values == 0).mean() > 0.5:
        return "sparse depth (16-bit, most pixels 0), not a photo. Choose a completion: --model linear."
    # a photo of 16 bits uses the upper half of their range, or has 8 bits that were spread over it
    photo = (values % 257 == 0).all() or np.quantile(values, 0.99) >= _BRIGHT
    if recorded is None and photo:
        return ""
    return "dense depth (16-bit grey), not a photo. Give the photo; if this is a dark photo, save it with 8 bits."


def scale_of(path: Path, given: float | None = None) -> float | None:
    """How many file units of a depth file are a metre: `given`, else what the file records, else `LIDAR_SCALE`; None if it holds metres.

    Raises:
        DataError: it cannot be read, has 8 bits, or holds metres although a scale is given.
    """
    recorded, suffix = None, path.suffix.lower()
    if suffix == ".npy":
        metres = bool(np.issubdtype(io.read_npy(path).dtype, np.floating))
    elif suffix in (".pfm", ".h5", ".hdf5"):
        metres = True
    else:
        mode, recorded = io.depth_mode(path)
        metres = mode == "F"
        if mode in io.SHALLOW:
            raise DataError(
                f"{path}: an 8-bit image, but sparse depth has 16 bits. At {given or LIDAR_SCALE:g} to the metre its largest value, 255, "
                f"would be {255 / (given or LIDAR_SCALE):.3g} m: it is rather a picture of depth. Save metres * 256 as 16-bit PNG."
            )
    if metres and given is not None:
        raise DataError(f"{path}: holds metres (floats), so a depth scale changes nothing. Leave out --depth-scale.")
    return None if metres else given or recorded or LIDAR_SCALE


def check_scale(scale: float | None) -> None:
    """Return if `scale`, file units to the metre, can be one.

    Raises:
        ConfigError: it is not a number above 0.
    """
    if scale is not None and not 0 < scale < np.inf:
        raise ConfigError(f"a depth scale of {scale:g}. Give how many file units are a metre: 256 (KITTI), 1000 (millimetres).")


def read_sparse_depth(points: Given, scale: float | None = None) -> NDArray[np.float32]:
    """`(H, W)` sparse depth [m], 0 = unknown, of a depth file (see `scale_of`) or of a map itself (see `arrays.as_points`).

    Args:
        points: the file, or the map in metres.
        scale: file units to the metre; None: what the file says, else 256.

    Raises:
        ConfigError: an impossible scale, or one for an array.
        DataError: it cannot be read, has no known pixel, or its values are no metres.
        ShapeError: the array is no `(H, W)` map.
    """
    held = is_held(points)
    name = "the sparse depth" if held else str(points)
    check_scale(scale)
    if held:
        if scale is not None and not isinstance(points, Image.Image):
            raise ConfigError("an array of sparse depth holds metres, so a depth scale changes nothing. Leave it out.")
        metres = as_points(points, scale)
        if metres.ndim != 2 or not metres.size or not np.issubdtype(metres.dtype, np.floating):
            raise ShapeError(f"sparse depth of shape {metres.shape} and type {metres.dtype}. Give floats (H, W) in metres, 0 = unknown.")
        depth, used = io.check_depth(metres.astype(np.float32), name), None
    else:
        used = scale_of(Path(points), scale)
        depth = io.read_depth(points, used)
    known = depth[depth > 0]
    if not known.size:
        raise DataError(f"{name}: no pixel has a depth. Give a map with some known pixels (metres * 256 as 16-bit PNG, 0 = unknown).")
    middle = float(np.median(known))
    if middle > _IMPLAUSIBLE_M:
        hint = "Divide millimetres by 1000" if used is None else f"{used:g} to the metre is not its scale: pass --depth-scale"
        raise DataError(f"{name}: the median depth is {middle:.0f} m, so these are no metres. {hint}.")
    if middle < _IMPLAUSIBLY_NEAR_M and used is not None:
        raise DataError(f"{name}: the median depth is {middle:.2g} m: {used:g} to the metre is not its scale. Pass --depth-scale.")
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
    """What `read_photo` or `read_sparse_depth` gave, or a disparity map, as the network takes it: `(1, C, h, w)` at `size`."""
    if key in ("sparse_depth", "matched"):
        found = given.astype(np.float32)
        if found.shape != size:
            found = splat(found, size) if key == "sparse_depth" else resize_nearest(found, size) * np.float32(size[1] / found.shape[1])
        return found[None, None]
    photo = np.asarray(given, np.uint8)
    photo = photo if photo.shape[:2] == size else resize_image(photo, size)
    return np.ascontiguousarray(photo.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
