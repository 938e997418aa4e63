"""What an aerial city is drawn on: a window of an endless pixel grid with a height, a surface and a tone per pixel.

Everything is computed from the numbers of pixels on the endless grid, one pixel at a time, so that two windows agree to the bit
where they overlap.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.data.world.texture import TILE, tile

F32 = NDArray[np.float32]
Flags = NDArray[np.bool_]
Colour = tuple[float, float, float, float]
"""Reflectance of red, green, blue and near infrared, 0..1."""


class Patch(NamedTuple):
    """A rectangle of the canvas around an object: where, and each pixel's place along and across the object [m]."""

    where: tuple[slice, slice]
    p: F32
    q: F32


@cache
def _pattern(channel: int, grow: int) -> F32:
    small = tile(channel)
    if grow == 1:
        return small
    if grow == 0:
        fine = small - cv2.blur(np.pad(small, 8, mode="wrap"), (17, 17))[8:-8, 8:-8]
        return np.asarray(fine / fine.std(), np.float32)
    padded = np.pad(small, 2, mode="wrap")
    grown = cv2.resize(padded, None, fx=grow, fy=grow, interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(grown[2 * grow : 2 * grow + TILE * grow, 2 * grow : 2 * grow + TILE * grow])


class Canvas:
    """Rows `top..`, columns `left..` of the grid of pixels of `gsd` metres; x goes east, y south, pixel (0, 0) is at (0, 0) m.

    `height` is metres above ground; `surface` numbers `labels` and `colours`; `tone` multiplies the colour.
    """

    def __init__(self, gsd: float, top: int, left: int, height: int, width: int) -> None:
        self.gsd, self.top, self.left = gsd, top, left
        self.x = np.arange(left, left + width) * gsd
        self.y = np.arange(top, top + height) * gsd
        self.height = np.zeros((height, width), np.float32)
        self.surface = np.zeros((height, width), np.uint16)
        self.tone = np.ones((height, width), np.float32)
        self.labels: list[int] = []
        self.colours: list[Colour] = []
        self._known: dict[tuple[int, Colour], int] = {}

    def number(self, label: int, colour: Colour) -> int:
        """The number of the surface of this label and colour."""
        if (label, colour) not in self._known:
            self._known[label, colour] = len(self.labels)
            self.labels.append(label)
            self.colours.append(colour)
        return self._known[label, colour]

    def patch(self, at: tuple[float, float], angle: float, half: tuple[float, float]) -> Patch | None:
        """The pixels around a rectangle of half sides `half` [m] turned by `angle` about `at`; None if it is out of sight."""
        c, s = float(np.cos(angle)), float(np.sin(angle))
        reach_x, reach_y = half[0] * abs(c) + half[1] * abs(s), half[0] * abs(s) + half[1] * abs(c)
        first_x, end_x = np.searchsorted(self.x, (at[0] - reach_x, at[0] + reach_x)).tolist()
        first_y, end_y = np.searchsorted(self.y, (at[1] - reach_y, at[1] + reach_y)).tolist()
        if first_x == end_x or first_y == end_y:
            return None
        x = (self.x[first_x:end_x] - at[0]).astype(np.float32)
        y = (self.y[first_y:end_y] - at[1]).astype(np.float32)[:, None]
        cos, sin = np.float32(c), np.float32(s)
        return Patch((slice(first_y, end_y), slice(first_x, end_x)), x * cos + y * sin, y * cos - x * sin)

    def lay(self, patch: Patch, inside: Flags, surface: int, tone: F32 | float = 1.0) -> None:
        """Ground of height 0, over whatever ground was there."""
        np.copyto(self.surface[patch.where], np.uint16(surface), where=inside)
        np.copyto(self.tone[patch.where], np.float32(tone) if isinstance(tone, float) else tone, where=inside)

    def raise_(self, patch: Patch, inside: Flags, height: F32 | float, surface: int, tone: F32 | float = 1.0) -> None:
        """Something of this height [m], seen where it is above all that was there."""
        tops = np.float32(height) if isinstance(height, float) else height
        seen = inside & (tops > self.height[patch.where])
        np.copyto(self.height[patch.where], tops, where=seen)
        self.lay(patch, seen, surface, tone)

    def noise(self, channel: int, patch: Patch | None = None, grow: int = 1) -> F32:
        """Smooth noise of mean 0 and deviation 1; its details are 4 to 128 `grow` px wide and repeat after 512 `grow` px.

        `grow` 0: details of 4 to 16 px alone.
        """
        pattern = _pattern(channel, grow)
        size = len(pattern)
        rows, columns = (slice(0, len(self.y)), slice(0, len(self.x))) if patch is None else patch.where
        i = np.arange(self.top + rows.start, self.top + rows.stop) % size
        j = np.arange(self.left + columns.start, self.left + columns.stop) % size
        return np.asarray(pattern[i][:, j])
