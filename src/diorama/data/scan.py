"""What is known about a scan drawn into an image: the line of each return, which lines a map loses, where points move. NumPy only.

A `Lidar` says where the scanner stands in the camera's frame and at which elevation each of its lines points.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diorama.errors import ConfigError
from diorama.types import UNKNOWN_DEPTH

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Row = tuple[float, float, float]

LEVEL: tuple[Row, Row, Row] = ((0.0, 0.0, 1.0), (-1.0, 0.0, 0.0), (0.0, -1.0, 0.0))
"""Axes of a scanner that stands as the camera does."""


@dataclass(frozen=True)
class Lidar:
    """A spinning scanner as the camera sees it; camera axes point right, down, forward."""

    elevations: tuple[float, ...]
    """Angle of each line above the scanner's horizon [degrees], top line first."""
    heights: tuple[float, ...]
    """Where each line starts above the scanner's origin [m]: a block of lasers sits above it."""
    origin: Row = (0.0, 0.0, 0.0)
    """The scanner's origin in the camera's frame [m]."""
    axes: tuple[Row, Row, Row] = LEVEL
    """The scanner's forward, left and up in the camera's frame."""
    offset: float = 0.0
    """How far to the left of and above its place a return is drawn, as a share of the focal length: it stays when a map is resized.
    KITTI's development kit counts pixels from 1, so that the maps made with it are off by one pixel."""

    def __post_init__(self) -> None:
        if not self.elevations or len(self.heights) != len(self.elevations):
            raise ConfigError(f"lidar: {len(self.elevations)} elevations, {len(self.heights)} heights. Give one of each per line.")
        if any(low >= high for high, low in zip(self.elevations, self.elevations[1:], strict=False)):
            raise ConfigError("lidar: elevations do not fall. List them from the top line to the bottom line.")

    @classmethod
    def upright(cls, elevations: F64, height: float, rotation: F64) -> Lidar:
        """A scanner `height` metres straight above a camera whose right, down and forward axes in the world are the rows of `rotation`.

        It spins about the world's vertical, whatever the camera's pitch and roll (`world` scenes: y up).
        """
        down_first = tuple(sorted((float(angle) for angle in elevations), reverse=True))
        x, y, z = (np.asarray(rotation, np.float64)[:, k] for k in range(3))
        return cls(down_first, (0.0,) * len(down_first), _row(y * height), (_row(z), _row(-x), _row(y)))

    def to_meta(self) -> dict[str, Any]:
        """JSON types for `meta["lidar"]` of a frame."""
        return asdict(self)

    @classmethod
    def from_meta(cls, meta: dict[str, Any]) -> Lidar | None:
        """The scanner that `meta["lidar"]` of a frame describes (JSON types, the fields of this class), None without one."""
        found = meta.get("lidar")
        if found is None:
            return None
        axes = [_row(np.asarray(row)) for row in found.get("axes", LEVEL)]
        elevations = tuple(found["elevations"])
        heights = tuple(found.get("heights", (0.0,) * len(elevations)))
        return cls(
            elevations, heights, _row(np.asarray(found.get("origin", (0.0,) * 3))), (axes[0], axes[1], axes[2]), found.get("offset", 0.0)
        )


def _row(values: F64) -> Row:
    return float(values[0]), float(values[1]), float(values[2])


_UPPER = (
    1.93, 1.57, 1.30, 0.86, 0.57, 0.17, -0.10, -0.47, -0.82, -1.22, -1.51, -1.85, -2.23, -2.57, -2.90, -3.26,
    -3.56, -3.96, -4.24, -4.62, -4.95, -5.29, -5.65, -6.00, -6.37, -6.72, -7.05, -7.34, -7.73, -8.11, -8.37, -8.77,
)  # fmt: skip
_LOWER = (
    -8.99, -9.54, -10.03, -10.44, -10.93, -11.57, -12.09, -12.54, -13.02, -13.46, -14.03, -14.58, -15.18, -15.65, -16.17, -16.55,
    -17.18, -17.73, -18.33, -18.80, -19.33, -19.75, -20.24, -20.81, -21.34, -21.96, -22.47, -22.89, -23.36, -24.01, -24.55, -25.05,
)  # fmt: skip

KITTI = Lidar(
    elevations=_UPPER + _LOWER,
    heights=(0.21,) * 32 + (0.12,) * 32,
    origin=(0.0571, -0.0755, -0.2694),
    axes=((0.000235, 0.010449, 0.999945), (-0.999944, 0.010565, 0.000124), (-0.010563, -0.999890, 0.010451)),
    offset=1 / 721.5,
)
"""The HDL-64E of KITTI's car seen from its left colour camera (calibration of 2011-09-26).

Elevations and heights were measured: points of raw scans come line after line, so the median elevation of each line is known; it
is the same to 0.02 degrees in two scans if the upper 32 lines start 0.21 m and the lower ones 0.12 m above the origin.
"""


def kitti_lidar(velodyne_to_camera: F64) -> Lidar:
    """The scanner of KITTI for the calibration of another day or camera: `(3, 4)`, LiDAR points [m] -> points in that camera's frame."""
    rotation, origin = velodyne_to_camera[:, :3], velodyne_to_camera[:, 3]
    return replace(KITTI, origin=_row(origin), axes=(_row(rotation[:, 0]), _row(rotation[:, 1]), _row(rotation[:, 2])))


class Returns(NamedTuple):
    """The known pixels of a map as the scanner sees them, N of them in row order."""

    v: NDArray[np.int64]
    u: NDArray[np.int64]
    depth: F64  # (N,) [m]
    flat: F64  # (N,) distance from the scanner's axis [m]
    up: F64  # (N,) above the scanner's origin [m]
    azimuth: F64  # (N,) degrees to the right of its forward axis


def returns(depth: F32, intrinsics: F64, lidar: Lidar = KITTI) -> Returns:
    """Known pixels of `depth` `(H, W)` [m] in the frame of `lidar`; `intrinsics` `(3, 3)` [px]."""
    v, u = np.nonzero(depth)
    z = depth[v, u].astype(np.float64)
    x = ((u - intrinsics[0, 2]) / intrinsics[0, 0] + lidar.offset) * z
    y = ((v - intrinsics[1, 2]) / intrinsics[1, 1] + lidar.offset) * z
    x, y, away = x - lidar.origin[0], y - lidar.origin[1], z - lidar.origin[2]
    forward, left, up = (a * x + b * y + c * away for a, b, c in lidar.axes)
    return Returns(v, u, z, np.hypot(forward, left), up, np.degrees(np.arctan2(-left, forward)))


def nearest_line(found: Returns, lidar: Lidar = KITTI) -> tuple[NDArray[np.int16], F32]:
    """Of each return the line whose elevation is nearest (0 = top), and the elevation's distance from it [degrees], each `(N,)`."""
    line = np.zeros(len(found.v), np.int16)
    offset = np.full(len(found.v), np.inf)
    heights = np.array(lidar.heights)
    for height in sorted(set(lidar.heights)):
        numbers = np.flatnonzero(heights == height)[::-1]
        angles = np.array(lidar.elevations)[numbers]
        elevation = np.degrees(np.arctan2(found.up - height, found.flat))
        place = np.searchsorted((angles[1:] + angles[:-1]) / 2, elevation)
        off = elevation - angles[place]
        better = np.abs(off) < np.abs(offset)
        line[better], offset[better] = numbers[place[better]], off[better]
    return line, offset.astype(np.float32)


def scan_lines(depth: F32, intrinsics: F64, lidar: Lidar = KITTI) -> NDArray[np.int16]:
    """`(H, W)` number of the scan line of each return of a sparse map, 0 = top, -1 = unknown depth."""
    found = returns(depth, intrinsics, lidar)
    lines = np.full(depth.shape, -1, np.int16)
    lines[found.v, found.u] = nearest_line(found, lidar)[0]
    return lines


def is_dense(depth: F32) -> bool:
    """Whether most known pixels have a known one below them: a rendered or stereo map rather than a scan."""
    known = depth > 0
    return bool(2 * np.count_nonzero(known[1:] & known[:-1]) > np.count_nonzero(known))


def camera_lidar(intrinsics: F64, size: tuple[int, ...], lines: int = 64) -> Lidar:
    """A scanner in the camera's place whose lines are evenly spread over the height of an image of `size` `(H, W)`."""
    edges = np.array([-0.5, size[0] - 0.5])
    top, bottom = np.degrees(np.arctan2(intrinsics[1, 2] - edges, intrinsics[1, 1]))
    elevations = top + (np.arange(lines) + 0.5) * (bottom - top) / lines
    return Lidar(tuple(float(angle) for angle in elevations), (0.0,) * lines)


def thinned(depth: F32, intrinsics: F64, lines: int, lidar: Lidar, step: float = 0.0, scanned: bool | None = None) -> F32:
    """`(H, W)` sparse depth [m]: what `lines` evenly spaced lines of `lidar` see of `depth`.

    A map that a scanner made (`scanned`; None: if it is not dense) keeps the returns of those lines, all of them if `lines` is the
    scanner's own number. A dense one is scanned: of each shot, every `step` degrees (0: every column), the pixel nearest to its
    direction if within half a pixel.
    """
    total = len(lidar.elevations)
    kept = ((np.arange(lines) + 0.5) * total / lines).astype(np.int64) if lines < total else np.arange(total)
    dense = is_dense(depth) if scanned is None else not scanned
    if dense:
        lidar = replace(lidar, elevations=tuple(lidar.elevations[k] for k in kept), heights=tuple(lidar.heights[k] for k in kept))
    found = returns(depth, intrinsics, lidar)
    line, offset = nearest_line(found, lidar)
    if dense:
        chosen = np.abs(offset) <= np.degrees(0.5 / intrinsics[1, 1])
        chosen &= _shot(found, line, offset, chosen, intrinsics, step)
    else:
        chosen = np.isin(line, kept)
    sparse = np.zeros_like(depth)
    v, u = found.v[chosen], found.u[chosen]
    sparse[v, u] = depth[v, u]
    return sparse


def _shot(
    found: Returns, line: NDArray[np.int16], offset: F32, wanted: NDArray[np.bool_], intrinsics: F64, step: float
) -> NDArray[np.bool_]:
    """Of the `wanted` pixels the one nearest to each shot, as a mask `(N,)`."""
    places = np.flatnonzero(wanted)
    if step > 0:
        shot = np.rint(found.azimuth[places] / step)
        aside = np.abs(found.azimuth[places] - shot * step)
        hit = aside <= np.degrees(0.5 / intrinsics[0, 0])
        places, shot, aside = places[hit], shot[hit], aside[hit]
    else:
        shot, aside = found.u[places].astype(np.float64), np.zeros(len(places))
    order = np.lexsort((np.hypot(offset[places], aside), shot, line[places]))
    first = np.ones(len(order), bool)
    first[1:] = (np.diff(line[places][order]) != 0) | (np.diff(shot[order]) != 0)
    mask = np.zeros(len(found.v), bool)
    mask[places[order[first]]] = True
    return mask


def moved(sparse: F32, intrinsics: F64, rotation: F64, translation: F64) -> F32:
    """`(H, W)` sparse depth [m] after p -> `rotation` p + `translation` [m] of its points in the camera's frame.

    Where two meet the nearer one stays; what leaves the image or comes behind the camera is lost.
    """
    v, u = np.nonzero(sparse)
    z = sparse[v, u].astype(np.float64)
    pixels = np.stack([u, v, np.ones(len(u))])
    x, y, depth = rotation @ (np.linalg.inv(intrinsics) @ pixels * z) + translation[:, None]
    target = np.full(sparse.shape, np.inf, np.float32)
    front = depth > 0
    column, row, _ = intrinsics @ (np.stack([x, y, depth])[:, front] / depth[front])
    column, row = np.rint(column).astype(np.int64), np.rint(row).astype(np.int64)
    inside = (column >= 0) & (row >= 0) & (row < sparse.shape[0]) & (column < sparse.shape[1])
    np.minimum.at(target, (row[inside], column[inside]), depth[front][inside].astype(np.float32))
    target[np.isinf(target)] = UNKNOWN_DEPTH
    return target
