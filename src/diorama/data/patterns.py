"""Which pixels of a depth map stay: some of them, a regular grid, corners of the image, all but blobs. NumPy and OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.errors import ShapeError

F32 = NDArray[np.float32]
Places = NDArray[np.int64]
"""Indices into the flattened map, rising."""


def some(places: Places, count: int, random: np.random.Generator) -> Places:
    """`count` of the places (all, if there are fewer); a smaller count takes a part of what a larger one takes."""
    if count >= len(places):
        return places
    keys = random.random(len(places))
    return np.sort(places[np.argpartition(keys, count)[:count]])


def grid(depth: F32, count: int) -> Places:
    """The known pixel nearest to the middle of each cell of a grid of about `count` square cells."""
    height, width = depth.shape
    side = max((height * width / count) ** 0.5, 1.0)
    rows, columns = max(round(height / side), 1), max(round(width / side), 1)
    v, u = np.nonzero(depth)
    row, column = v * rows // height, u * columns // width
    # the middle pixel of a cell whose edges lie between pixels
    off = (v - ((row + 0.5) * height / rows - 0.5)) ** 2 + (u - ((column + 0.5) * width / columns - 0.5)) ** 2
    cell = row * columns + column
    order = np.lexsort((off, cell))
    first = np.ones(len(order), bool)
    first[1:] = np.diff(cell[order]) > 0
    best = order[first]
    return np.asarray(v[best] * width + u[best])


def corners(depth: F32, count: int, image: NDArray[np.uint8]) -> Places:
    """Pixels with depth at the `count` strongest corners (ORB) of the image; where two fall on one pixel it counts once."""
    if image.shape[:2] != depth.shape:
        raise ShapeError(f"image {image.shape[:2]} and depth {depth.shape} differ in size. Resize them together.")
    finder = cv2.ORB.create(nfeatures=count, edgeThreshold=8, patchSize=8, fastThreshold=5)
    found = finder.detect(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
    strongest = sorted(found, key=lambda corner: (-corner.response, corner.pt))[:count]
    u, v = np.rint(np.array([corner.pt for corner in strongest]).reshape(-1, 2)).astype(np.int64).T
    inside = (u < depth.shape[1]) & (v < depth.shape[0])
    places = np.unique(v[inside] * depth.shape[1] + u[inside])
    return np.asarray(places[depth.ravel()[places] > 0])


def blobs(size: tuple[int, ...], share: float, distance: float, random: np.random.Generator) -> NDArray[np.bool_]:
    """`(H, W)` mask that is true on `share` of the area, in blobs about `distance` (of the shorter side) apart."""
    cell = max(distance * min(size) / 2, 1.0)
    coarse = random.standard_normal([int(n / cell) + 2 for n in size])
    smooth = coarse
    for axis, n in enumerate(size):
        place = np.arange(n) / cell
        low = place.astype(np.int64)
        # a smooth step between the values of the coarse grid: no corners at its nodes
        part = (place - low) ** 2 * (3 - 2 * (place - low))
        part = part[:, None] if axis == 0 else part
        smooth = np.take(smooth, low, axis) * (1 - part) + np.take(smooth, low + 1, axis) * part
    mask = np.zeros(smooth.size, bool)
    mask[np.argsort(-smooth, axis=None, kind="stable")[: round(share * smooth.size)]] = True
    return mask.reshape(size)
