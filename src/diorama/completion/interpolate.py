"""Sparse depth -> dense depth from the returns around a pixel: the nearest one, or the triangle it lies in. NumPy and OpenCV only.

All functions take `(H, W)` float metres with 0 = unknown and give `(H, W)` float32 metres: finite, above 0, known pixels untouched.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.data.io import check_depth
from diorama.errors import ConfigError, DataError, ShapeError
from diorama.types import UNKNOWN_DEPTH

MAX_EDGE_SPACINGS = 8.0
"""The longest edge of a triangle in `linear`, in units of the mean spacing of the returns."""

_MARGIN = 16
"""The triangulation's frame reaches this many image sizes beyond the image: its corners cut slivers off the convex hull, at most a
pixel wide at this distance; much farther out OpenCV's arithmetic gets inexact."""

_ROUNDING = 1.5e-6
"""Relative error of OpenCV's squared float distances, seen up to 1.3e-6: whole numbers are told apart up to 400 pixels."""

_ON_EDGE = 1e-9
"""Pixels this far outside a triangle [px] still count as on its edge, so that rounding leaves no hole between two triangles."""


def known_pixels(sparse: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where `sparse` `(H, W)` [m] has a value.

    Raises:
        ShapeError: not two-dimensional.
        DataError: NaN, infinite or negative depth, or no known pixel at all.
    """
    if sparse.ndim != 2:
        raise ShapeError(f"sparse depth has shape {sparse.shape}. Give one frame, (H, W), in metres.")
    known = check_depth(sparse, "sparse depth") > UNKNOWN_DEPTH
    if not known.any():
        height, width = sparse.shape
        raise DataError(f"sparse depth of {width}x{height} pixels without one known value. Leave the frame out, or check its depth scale.")
    return np.asarray(known)


def nearest(sparse: NDArray[np.float32]) -> NDArray[np.float32]:
    """The depth of the nearest known pixel: exact to 400 px, farther out to a millionth; one of several that are equally near.

    Raises:
        ShapeError: not two-dimensional.
        DataError: NaN, infinite or negative depth, or no known pixel at all.
    """
    return np.asarray(sparse, np.float32).ravel()[nearest_pixels(known_pixels(sparse))]


def nearest_pixels(known: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Index `(H, W)` into the raveled frame of the nearest True of `known` `(H, W)`, of which there is at least one.

    OpenCV has labels for a chamfer distance only and no labels for its exact distance. So: the labels, and where their pixel is
    farther than the exact distance, the pixel at that distance is looked for in the columns around.
    """
    near = near_pixels(known)
    exact = cv2.distanceTransform((~known).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    squares = (exact.astype(np.float64) ** 2 * (1 + _ROUNDING) + 0.5).astype(np.int64)
    height, width = known.shape
    y, x = np.ogrid[:height, :width]
    at_y, at_x = np.divmod(near, width)
    rows, columns = np.nonzero((at_y - y) ** 2 + (at_x - x) ** 2 > squares)
    if rows.size:
        near[rows, columns] = _at_distance(known, rows, columns, squares[rows, columns])
    return near


def near_pixels(known: NDArray[np.bool_]) -> NDArray[np.intp]:
    """`nearest_pixels` by a chamfer distance: several times as fast, and a few percent of the pixels get one slightly farther away."""
    _, labels = cv2.distanceTransformWithLabels((~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    place = np.zeros(int(labels.max()) + 1, np.intp)
    place[labels[known]] = np.flatnonzero(known)
    return np.asarray(place[labels])


def _at_distance(
    known: NDArray[np.bool_], rows: NDArray[np.intp], columns: NDArray[np.intp], squares: NDArray[np.int64]
) -> NDArray[np.intp]:
    """Index of a known pixel at most sqrt(`squares`) away from each of the pixels (rows, columns), all `(N,)`; there is one."""
    width = known.shape[1]
    in_column = _nearest_in_column(known)
    found = np.zeros(len(rows), np.intp)
    left = np.arange(len(rows))
    for away in range(width):
        for side in (-away, away):
            column = columns[left] + side
            row = in_column[rows[left], column.clip(0, width - 1)]
            hit = ((row - rows[left]) ** 2 + away**2 <= squares[left]) & (column >= 0) & (column < width)
            found[left[hit]] = row[hit] * width + column[hit]
            left = left[~hit]
        if not left.size:
            break
    return found


def _nearest_in_column(known: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Row `(H, W)` of the nearest True in the same column; far outside the image where the column has none."""
    far = np.int32(4 * sum(known.shape))
    rows = np.arange(len(known), dtype=np.int32)[:, None]
    above = np.maximum.accumulate(np.where(known, rows, -far))
    below = np.minimum.accumulate(np.where(known, rows, far)[::-1])[::-1]
    return np.where(rows - above <= below - rows, above, below)


def linear(sparse: NDArray[np.float32], max_edge: float | None = MAX_EDGE_SPACINGS) -> NDArray[np.float32]:
    """Barycentric interpolation in the Delaunay triangles of the known pixels; `nearest` where there is none.

    Triangles with a long edge span the border of two objects or the sky above the highest scan line: they are left out.

    Args:
        sparse: `(H, W)` metres, 0 = unknown.
        max_edge: the longest edge of a triangle that is filled, in units of the mean spacing of the known pixels
            (sqrt(H W / known)); None fills all triangles.

    Raises:
        ConfigError: `max_edge` is not positive.
        ShapeError: not two-dimensional.
        DataError: NaN, infinite or negative depth, or no known pixel at all.
    """
    if max_edge is not None and not max_edge > 0:
        raise ConfigError(f"max_edge {max_edge}. Choose a positive number of spacings, or None for no limit.")
    known = known_pixels(sparse)
    dense = nearest(sparse)
    corners = triangles(known)
    if max_edge is not None and len(corners):
        squares = ((corners - np.roll(corners, 1, axis=1)) ** 2).sum(2).max(1)
        corners = corners[squares <= max_edge**2 * known.size / known.sum()]
    if len(corners):
        _fill(dense, corners, sparse[corners[..., 1], corners[..., 0]].astype(np.float64))
        dense[known] = sparse[known]
    return dense


def triangles(known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Delaunay triangles of the True pixels: `(T, 3, 2)` corners as (x, y); none where they all lie on one line."""
    height, width = known.shape
    rows, columns = np.nonzero(known)
    margin = _MARGIN * max(height, width)
    plane = cv2.Subdiv2D((-margin, -margin, width + 2 * margin, height + 2 * margin))
    places: Any = np.stack((columns, rows), 1).astype(np.float32)
    plane.insert(places)
    found = np.asarray(plane.getTriangleList(), np.float32).reshape(-1, 3, 2)
    inside = ((found >= 0) & (found < (width, height))).all((1, 2))
    corners = np.rint(found[inside]).astype(np.int64)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return np.asarray(corners[first[:, 0] * second[:, 1] != first[:, 1] * second[:, 0]])


def _fill(dense: NDArray[np.float32], corners: NDArray[np.int64], depths: NDArray[np.float64]) -> None:
    """Write the plane through `depths` `(T, 3)` of each triangle `(T, 3, 2)` into the pixels in it and on its edges.

    All triangles at once: each is cut into one span per row, each span into its pixels.
    """
    order = np.argsort(corners[..., 1], axis=1, kind="stable")
    corners = np.take_along_axis(corners, order[..., None], axis=1)
    depths = np.take_along_axis(depths, order, axis=1)
    x, y = corners[..., 0].astype(np.float64), corners[..., 1]
    across, along = _slopes(x, y, depths)
    which, row = _unrolled(y[:, 0], y[:, 2])
    # the edge from the top corner to the lowest faces the other two, of which one meets the row
    left = x[which, 0] + (row - y[which, 0]) * ((x[:, 2] - x[:, 0]) / (y[:, 2] - y[:, 0]))[which]
    start = (row >= y[which, 1]).astype(np.int64)
    drops = np.maximum(np.diff(y, axis=1), 1)
    right = x[which, start] + (row - y[which, start]) * (np.diff(x, axis=1) / drops)[which, start]
    left, right = np.minimum(left, right), np.maximum(left, right)
    span, column = _unrolled(np.ceil(left - _ON_EDGE).astype(np.int64), np.floor(right + _ON_EDGE).astype(np.int64))
    base = depths[which, 0] - x[which, 0] * across[which] + (row - y[which, 0]) * along[which]
    dense[row[span], column] = base[span] + column * across[which][span]


def _slopes(x: NDArray[np.float64], y: NDArray[np.int64], z: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """dz/dx and dz/dy of the plane through three points each, all `(T, 3)`."""
    (ax, ay, az), (bx, by, bz) = ([value[:, corner] - value[:, 0] for value in (x, y, z)] for corner in (1, 2))
    area = ax * by - ay * bx
    return (az * by - ay * bz) / area, (ax * bz - az * bx) / area


def _unrolled(first: NDArray[np.int64], last: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The whole numbers first..last of each entry, one after the other, and the entry each belongs to."""
    counts = np.maximum(last - first + 1, 0)
    entry = np.repeat(np.arange(len(counts)), counts)
    before = np.cumsum(counts) - counts
    return entry, np.arange(len(entry)) - np.repeat(before - first, counts)
