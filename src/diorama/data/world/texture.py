"""Value noise on tiles that repeat without a seam, made once per process and sampled bilinearly."""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Values = NDArray[np.floating[Any]] | np.floating[Any] | float
"""What shading formulas mix freely; at run time all arrays are float32."""

TILE = 512
"""Side of a noise tile [texels]."""

_ROW = 512


@cache
def tile(channel: int, octaves: int = 6) -> F32:
    """`(TILE, TILE)` value noise of mean 0 and standard deviation 1; one of independent `channel`s, periodic in both axes."""
    random = np.random.default_rng([7919, channel])
    total = np.zeros((TILE, TILE), np.float32)
    for octave in range(octaves):
        cells = 4 << octave
        lattice = np.pad(random.random((cells, cells), np.float32), 2, mode="wrap")
        grown = cv2.resize(lattice, None, fx=TILE / cells, fy=TILE / cells, interpolation=cv2.INTER_CUBIC)
        edge = 2 * TILE // cells
        total += grown[edge : edge + TILE, edge : edge + TILE] * 0.62**octave
    return np.asarray(((total - total.mean()) / total.std()).astype(np.float32))


@cache
def _white() -> F32:
    return np.random.default_rng(104729).random((256, 256), np.float32)


def noise(u: NDArray[np.floating[Any]], v: NDArray[np.floating[Any]], period: float, channel: int = 0) -> F32:
    """Smooth noise of mean 0 and standard deviation 1 at `(n,)` positions; the pattern repeats after `period` (same unit as u, v)."""
    rows = max(-(-len(u) // _ROW), 1)
    at = np.zeros((2, rows * _ROW), np.float32)
    np.multiply(u, np.float32(1 / period), out=at[0, : len(u)])
    np.multiply(v, np.float32(1 / period), out=at[1, : len(u)])
    at -= np.floor(at)
    at *= TILE
    grid = at.reshape(2, rows, _ROW)
    sampled = cv2.remap(tile(channel), grid[0], grid[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(sampled, np.float32).ravel()[: len(u)]


def chance(i: NDArray[np.floating[Any]], j: NDArray[np.floating[Any]], seed: Values = 0.0) -> F32:
    """Independent uniform numbers in 0..1 for integer cells `(i, j)` (given as floats) and a `seed` of 0..255."""
    column = (i + seed * 61.0).astype(np.int32) & 255
    row = (j + i * 7.0 + seed * 17.0).astype(np.int32) & 255
    return _white().ravel().take(row * 256 + column)


def coverage(distance: Values, footprint: Values) -> F32:
    """How much of a pixel of width `footprint` lies inside an edge that is `distance` away (positive inside): 0..1."""
    return np.asarray(np.clip(distance / footprint + 0.5, 0.0, 1.0))


def sample(image: F32, x: F32, y: F32) -> F32:
    """Bilinear values of `image` `(H, W)` at `(n,)` pixel positions; beyond the edge the border goes on."""
    rows = max(-(-len(x) // _ROW), 1)
    at = np.zeros((2, rows * _ROW), np.float32)
    np.clip(x, 0, image.shape[1] - 1, out=at[0, : len(x)])
    np.clip(y, 0, image.shape[0] - 1, out=at[1, : len(x)])
    grid = at.reshape(2, rows, _ROW)
    return np.asarray(cv2.remap(image, grid[0], grid[1], cv2.INTER_LINEAR), np.float32).ravel()[: len(x)]
