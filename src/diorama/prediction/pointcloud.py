"""Depth maps as coloured points: back-projection, binary .ply files, and a view of them from beside the camera."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diorama.data.io import replacing
from diorama.errors import ConfigError, ShapeError

ASSUMED_FIELD_OF_VIEW = 60.0
"""Field of view over the longer side [degrees] of a camera that nothing is known about: about a phone's main camera."""

_LARGEST_DOT = 8


class PointCloud(NamedTuple):
    """Points in the camera's frame: x right, y down, z forward."""

    points: NDArray[np.float32]  # (N, 3) metres
    colours: NDArray[np.uint8]  # (N, 3) RGB
    labels: NDArray[np.uint8] | None  # (N,) train ids

    def save(self, path: str | Path, *, comments: tuple[str, ...] = ()) -> None:
        """Write the points as .ply, see `write_ply`."""
        write_ply(path, self, comments=comments)


def intrinsics_from_field_of_view(height: int, width: int, degrees: float) -> NDArray[np.float64]:
    """`(3, 3)` intrinsics [px] of a centred camera with square pixels and this horizontal field of view.

    Pixel centres are integers, so the axis passes through ((W - 1) / 2, (H - 1) / 2).

    Raises:
        ConfigError: the angle is not between 1 and 179 degrees.
    """
    if not 1.0 <= degrees <= 179.0:
        raise ConfigError(f"a field of view of {degrees:g} degrees: choose one between 1 and 179.")
    focal_px = width / (2 * math.tan(math.radians(degrees) / 2))
    return np.array([[focal_px, 0, (width - 1) / 2], [0, focal_px, (height - 1) / 2], [0, 0, 1]], np.float64)


def back_project(
    depth: NDArray[np.float32],
    image: NDArray[np.uint8],
    intrinsics: NDArray[np.float64],
    *,
    semantic: NDArray[np.uint8] | None = None,
    max_points: int = 1_000_000,
    max_jump: float | None = 0.06,
) -> PointCloud:
    """The points `depth * K^-1 (u, v, 1)` of all pixels with a depth.

    Args:
        depth: `(H, W)` metres, 0 = unknown.
        image: `(H, W, 3)` RGB.
        intrinsics: `(3, 3)` pixels, pixel centres at integers.
        semantic: `(H, W)` train ids that go with the points.
        max_points: larger images are thinned to every n-th row and column.
        max_jump: pixels whose depth differs by more than this part from both neighbours across an edge are left out: interpolation
            put them into empty space between an object and its background. None keeps them.

    Raises:
        ShapeError: the arrays differ in size, or intrinsics is not 3x3.
    """
    if image.shape[:2] != depth.shape or (semantic is not None and semantic.shape != depth.shape):
        raise ShapeError(f"depth {depth.shape} and image {image.shape} differ in size: resize one of them.")
    if intrinsics.shape != (3, 3):
        raise ShapeError(f"intrinsics have shape {intrinsics.shape}, not (3, 3): give the camera matrix.")
    keep = np.isfinite(depth) & (depth > 0)
    if max_jump is not None:
        keep &= ~_on_jump(depth, max_jump)
    step = max(1, math.ceil(math.sqrt(depth.size / max_points)))
    kept, inverse = keep[::step, ::step], np.linalg.inv(intrinsics)
    rows, columns = np.arange(0, depth.shape[0], step)[:, None], np.arange(0, depth.shape[1], step)
    points = np.empty((*kept.shape, 3), np.float32)
    for axis, (across, down, fixed) in enumerate(inverse):
        points[..., axis] = (across * columns + (down * rows + fixed)) * depth[::step, ::step]
    taken = np.flatnonzero(kept)  # with places numpy gathers five times as fast as with a mask
    labels = None if semantic is None else semantic[::step, ::step].reshape(-1).take(taken)
    return PointCloud(points.reshape(-1, 3).take(taken, 0), image[::step, ::step].reshape(-1, 3).take(taken, 0), labels)


def write_ply(path: str | Path, cloud: PointCloud, *, comments: tuple[str, ...] = ()) -> None:
    """Write a binary little-endian .ply: x, y, z in metres, red, green, blue and, where there are labels, `label` (train id)."""
    fields: list[tuple[str, str]] = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")]
    parts = [np.ascontiguousarray(cloud.points, "<f4").view(np.uint8), cloud.colours]
    if cloud.labels is not None:
        fields.append(("label", "u1"))
        parts.append(cloud.labels[:, None])
    vertices = np.concatenate(parts, 1)
    header = [
        "ply",
        "format binary_little_endian 1.0",
        "comment metres in the camera frame: x right, y down, z forward",
        *(f"comment {' '.join(text.split())}" for text in comments),
        f"element vertex {len(vertices)}",
        *(f"property {'float' if kind == '<f4' else 'uchar'} {name}" for name, kind in fields),
        "end_header",
    ]
    with replacing(Path(path)) as temporary, temporary.open("wb") as file:
        file.write(("\n".join(header) + "\n").encode("ascii", "replace"))
        file.write(vertices.data)


def view(
    cloud: PointCloud,
    height: int,
    width: int,
    *,
    yaw: float = 14.0,
    pitch: float = 9.0,
    background: tuple[int, int, int] = (24, 26, 31),
) -> NDArray[np.uint8]:
    """`(height, width, 3)` RGB picture of the points from a camera swung round the middle of the scene.

    Args:
        cloud: what to look at.
        height: of the picture [px].
        width: of the picture [px].
        yaw: how far the camera moves to the right, looking back at the middle [degrees].
        pitch: how far it rises, looking down [degrees].
        background: RGB where there is no point.
    """
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = background
    if not len(cloud.points):
        return canvas
    pivot = np.median(cloud.points, axis=0)
    turned = (cloud.points - pivot) @ _rotation(yaw, pitch).T
    depth = turned[:, 2] + 1.15 * pivot[2]
    visible = depth > 0.2 * pivot[2]
    depth, flat = depth[visible], turned[visible, :2] / depth[visible, None]
    low, high = np.percentile(flat, (1, 99), axis=0)
    focal_px = 0.94 * min(width / max(high[0] - low[0], 1e-6), height / max(high[1] - low[1], 1e-6))
    pixels = np.round((flat - (low + high) / 2) * focal_px + ((width - 1) / 2, (height - 1) / 2)).astype(np.int64)
    _splat(canvas, pixels, depth, cloud.colours[visible], size=min(_LARGEST_DOT, math.ceil(1.5 * math.sqrt(height * width / len(depth)))))
    return canvas


def _splat(canvas: NDArray[np.uint8], pixels: NDArray[np.int64], depth: NDArray[np.float64], colours: NDArray[np.uint8], size: int) -> None:
    """Draw squares of `size` pixels into `canvas`, nearer ones over farther ones."""
    height, width = canvas.shape[:2]
    far_first = np.argsort(-depth)
    pixels, depth, colours = pixels[far_first] - size // 2, depth[far_first], colours[far_first]
    nearest = np.full((height, width), np.inf)
    for offset in np.ndindex(size, size):
        x, y = pixels[:, 0] + offset[1], pixels[:, 1] + offset[0]
        # Within one assignment later (nearer) writes win; the comparison settles it between the offsets.
        nearer = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        nearer[nearer] = depth[nearer] < nearest[y[nearer], x[nearer]]
        y, x = y[nearer], x[nearer]
        nearest[y, x] = depth[nearer]
        canvas[y, x] = colours[nearer]


def _on_jump(depth: NDArray[np.float32], max_jump: float) -> NDArray[np.bool_]:
    """Pixels on the slope between two surfaces: the depth jumps on both sides, along a row or a column, in the same direction."""
    marked = np.zeros(depth.shape, np.bool_)
    for axis in (0, 1):
        lines = np.moveaxis(depth, axis, 0)
        target = np.moveaxis(marked, axis, 0)
        step = np.diff(lines, axis=0) / np.maximum(np.minimum(lines[1:], lines[:-1]), 1e-6)
        before, after = step[:-1], step[1:]
        target[1:-1] |= (np.minimum(np.abs(before), np.abs(after)) > max_jump) & (before * after > 0)
    return marked


def _rotation(yaw: float, pitch: float) -> NDArray[np.float64]:
    """World to a camera moved right by `yaw` and up by `pitch` round the origin (y is down)."""
    a, b = math.radians(yaw), math.radians(pitch)
    around_y = np.array([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
    around_x = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    rotation: NDArray[np.float64] = around_x @ around_y
    return rotation
