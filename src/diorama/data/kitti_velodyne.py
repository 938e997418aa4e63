"""Scans of KITTI's Velodyne HDL-64E: `.bin` files -> points -> sparse depth of a camera.

A file holds N times four little-endian float32: x forward, y left, z up [m] and reflectance 0..1, line by line from the top.

**Rounding.** The raw devkit is MATLAB: a point at (u, v) belongs to the pixel (round(u), round(v)) counted from 1, halves away from
zero. Counted from 0, as here, that is column floor(u + 0.5) - 1 and row floor(v + 0.5) - 1; the ground truth of the Eigen split follows
this rule. Where several points meet in a pixel, the nearest to the camera wins. Points behind the camera (w <= 0) are left out.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diorama.data.io import replacing
from diorama.data.kitti_calibration import KittiCamera
from diorama.errors import DataError, ShapeError
from diorama.types import UNKNOWN_DEPTH

_log = logging.getLogger("diorama.data")

_BYTES_PER_POINT = 16
_MAX_POINTS = 10_000_000

MEDIAN_M = (1.0, 60.0)
"""Between these lies the median depth of a street scan."""
RANGE_M = 130.0
"""The scanner reaches 120 m: a depth map that is known beyond is in other units."""


class Returns(NamedTuple):
    """The return that each pixel shows: M pixels of an image of `size`, row by row."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    depth: NDArray[np.float32]
    """`(M,)` [m] along the camera's axis."""
    points: NDArray[np.int64]
    """`(M,)` which of the points it is."""
    size: tuple[int, int]

    def image(self, values: NDArray[Any], empty: float = 0.0) -> NDArray[Any]:
        """`(H, W)` map of a value per point, `(N,)` (elevation, laser line, reflectance, ...); `empty` where there is no return."""
        made = np.full(self.size, empty, values.dtype)
        made[self.rows, self.columns] = values[self.points]
        return made


def read_points(path: str | Path) -> NDArray[np.float32]:
    """`(N, 4)` points of a scan: x, y, z [m] and reflectance; points that are not finite are left out with a warning.

    Raises:
        DataError: the file is missing, empty, no multiple of 16 bytes, too large, or holds no finite point.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file. Check the path.")
    count, rest = divmod(path.stat().st_size, _BYTES_PER_POINT)
    if rest or not count:
        raise DataError(
            f"{path}: {path.stat().st_size} bytes, expected a multiple of 16 (x, y, z, reflectance as float32): truncated, or no "
            "Velodyne scan. Copy or download the file again."
        )
    if count > _MAX_POINTS:
        raise DataError(f"{path}: {count} points, above the limit of {_MAX_POINTS}. Is it one scan? Split the file.")
    points = np.fromfile(path, "<f4").reshape(-1, 4).astype(np.float32, copy=False)
    finite = np.isfinite(points).all(1)
    if not finite.any():
        raise DataError(f"{path}: no finite point among {count}. Copy or download the file again.")
    if not finite.all():
        _log.warning("%s: %d of %d points are NaN or infinite and are left out", path, count - int(finite.sum()), count)
        points = points[finite]
    return points


def write_points(path: str | Path, points: NDArray[np.float32]) -> None:
    """Store `(N, 4)` points as a scan.

    Raises:
        ShapeError: another shape.
    """
    if points.ndim != 2 or points.shape[1] != 4:
        raise ShapeError(f"{path}: a scan is (N, 4), not {points.shape}. Pass x, y, z and reflectance.")
    with replacing(path) as temporary:
        temporary.write_bytes(points.astype("<f4").tobytes())


def seen(points: NDArray[np.float32], projection: NDArray[np.float64], size: tuple[int, int]) -> Returns:
    """The returns that a camera sees, one per pixel: the nearest, of equally near ones the first of the scan.

    Args:
        points: `(N, 3)` or `(N, 4)` in the scanner's coordinates [m]; further columns do not matter.
        projection: `(3, 4)` of `KittiCamera.projection`.
        size: `(H, W)` of the image.

    Raises:
        ShapeError: `points` is not `(N, 3 or more)` or `projection` not `(3, 4)`.
    """
    if points.ndim != 2 or points.shape[1] < 3 or projection.shape != (3, 4):
        raise ShapeError(f"points {points.shape} and projection {projection.shape}: expected (N, 4) and (3, 4).")
    moved = points[:, :3].astype(np.float64) @ projection[:, :3].T + projection[:, 3]
    front = np.flatnonzero(moved[:, 2] > 0)
    depth = moved[front, 2]
    column, row = (np.floor(moved[front, axis] / depth + 0.5) - 1 for axis in (0, 1))
    inside = (column >= 0) & (row >= 0) & (column < size[1]) & (row < size[0])
    index, depth = front[inside], depth[inside]
    pixel = row[inside].astype(np.int64) * size[1] + column[inside].astype(np.int64)
    order = np.lexsort((depth, pixel))
    pixel = pixel[order]
    first = np.r_[True, pixel[1:] != pixel[:-1]] if len(pixel) else np.zeros(0, bool)
    rows, columns = np.divmod(pixel[first], size[1])
    return Returns(rows, columns, depth[order][first].astype(np.float32), index[order][first], size)


def sparse_depth(points: NDArray[np.float32], projection: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    """`(H, W)` depth [m], 0 = no return, of the scan as a camera sees it (see `seen`)."""
    returns = seen(points, projection, size)
    made = np.full(size, UNKNOWN_DEPTH, np.float32)
    made[returns.rows, returns.columns] = returns.depth
    return made


def read_scan(path: str | Path, camera: KittiCamera, size: tuple[int, int]) -> NDArray[np.float32]:
    """`(H, W)` sparse depth [m], 0 = no return, of a `.bin` scan as `camera` sees it in images of `size`.

    Raises:
        DataError: the scan cannot be read, the calibration has no scanner, or none of the points is in view.
    """
    if camera.projection is None:
        raise DataError(f"{path}: the calibration says nothing of the scanner. Use the day's folder or the frame's object calibration.")
    depth = sparse_depth(read_points(path), camera.projection, size)
    if not depth.any():
        raise DataError(f"{path}: no return is in view of the camera. Is the calibration that of this scan?")
    return depth


def laser_lines(points: NDArray[np.float32]) -> NDArray[np.int64]:
    """`(N,)` number of the laser of each point, 0 = the highest: a line begins where the azimuth passes from the last quarter to the first.

    Only for whole scans in the order of the file; a full turn gives 64 lines.
    """
    quarter = np.floor_divide(np.arctan2(points[:, 1], points[:, 0]) % (2 * np.pi), np.pi / 2)
    begins = (quarter[1:] == 0) & (quarter[:-1] == 3)
    return np.concatenate([[0], np.cumsum(begins)])[: len(points)].astype(np.int64)


def implausible(depth: NDArray[np.float32]) -> str | None:
    """What is odd about the units of a street's depth map [m], ending with what to do; None if nothing is, or if no pixel is known.

    Millimetres stored where metres * 256 belong make everything 3.9 times as far.
    """
    known = depth[depth > 0]
    if not known.size:
        return None
    median, far = float(np.median(known)), float(np.percentile(known, 99))
    if median > MEDIAN_M[1] or far > RANGE_M:
        return f"median depth {median:.1f} m, 99th percentile {far:.1f} m: millimetres? KITTI stores metres * 256. Convert the files."
    if median < MEDIAN_M[0]:
        return f"median depth {median:.3f} m: a scale too small? KITTI stores metres * 256. Convert the files."
    return None
