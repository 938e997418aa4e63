"""An endless city from straight above: image, labels and height above ground of any window, a pure function of its coordinates.

A window may be drawn on its own: what a pixel shows depends on its place, never on the window that it is drawn in, so a mosaic
larger than memory is written part by part and has no seams, not by one grey level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diorama.data.world import aerial_things as things
from diorama.data.world.aerial_canvas import Canvas
from diorama.data.world.aerial_plots import Plot, fill
from diorama.data.world.aerial_style import AERIAL, AerialStyle

F32 = NDArray[np.float32]

BANDS = {"rgb": (0, 1, 2), "irrg": (3, 0, 1)}
"""Which of red, green, blue, near infrared an image shows as its three channels."""

TALLEST = 40.0
"""Metres; nothing in a city is higher."""

_OVERHANG = 9.0  # metres that a block's things may reach beyond it
_FAR = 1 << 24  # numbers of blocks start here, so that those of a seed are not negative
_GRAIN = 1021  # a prime, so that the noise of a sensor never falls in step with anything
_GAMMA = np.float32(1 / 2.2)


class AerialView(NamedTuple):
    """What is seen of a window: `image` (H, W, 3), `height` (H, W) metres above ground, `semantic` (H, W) train ids of `ISPRS6`."""

    image: NDArray[np.uint8]
    height: F32
    semantic: NDArray[np.uint8]


@cache
def _grain() -> F32:
    return np.random.default_rng(15485863).standard_normal((_GRAIN, _GRAIN, 3), np.float32)


@dataclass(frozen=True)
class AerialCity:
    """The city `style` ("a", "b") of this seed, in pixels of `gsd` metres; `bands` is a key of `BANDS`."""

    style: str
    seed: int = 0
    gsd: float = 0.09
    bands: str = "rgb"

    @property
    def look(self) -> AerialStyle:
        """The style behind the name."""
        return AERIAL[self.style]

    def _draws(self) -> tuple[float, float, float, float]:
        """Turn of the streets, direction and elevation of the sun [radians], exposure."""
        return _city_draws(self.style, self.seed)

    def draw(self, top: int, left: int, height: int, width: int) -> AerialView:
        """The window of `height` x `width` pixels whose first is (top, left) of the endless grid; both may be negative."""
        _, azimuth, elevation, _ = self._draws()
        step = math.cos(azimuth) / self.gsd, math.sin(azimuth) / self.gsd  # px towards the sun per metre
        reach = TALLEST / math.tan(elevation)
        far_x, far_y = math.ceil(abs(step[0]) * reach) + 2, math.ceil(abs(step[1]) * reach) + 2
        before_x, before_y = (far_x if step[0] < 0 else 2), (far_y if step[1] < 0 else 2)
        canvas = Canvas(self.gsd, top - before_y, left - before_x, height + far_y + 2, width + far_x + 2)
        road = canvas.number(things.SURFACE, self.look.road)
        canvas.surface[:] = road
        canvas.tone[:] = 1 + 0.05 * canvas.noise(2) + np.float32(0.06) * canvas.noise(3, grow=4)
        plots = self._plots(canvas)
        for plot in plots:
            for thing in plot.ground:
                thing.draw(canvas)
        for plot in plots:
            for thing in plot.raised:
                thing.draw(canvas)
        inner = slice(before_y, before_y + height), slice(before_x, before_x + width)
        image = self._develop(
            canvas, inner, self._light(canvas, (slice(before_y - 1, before_y + height + 1), slice(before_x - 1, before_x + width + 1)))
        )
        semantic = np.asarray(canvas.labels, np.uint8)[canvas.surface[inner]]
        return AerialView(image, canvas.height[inner].copy(), semantic)

    def _plots(self, canvas: Canvas) -> list[Plot]:
        """The blocks that reach into the canvas, always in the same order."""
        turn = self._draws()[0]
        c, s = math.cos(turn), math.sin(turn)
        corners = [(x, y) for x in (canvas.x[0], canvas.x[-1]) for y in (canvas.y[0], canvas.y[-1])]
        u, v = [x * c + y * s for x, y in corners], [y * c - x * s for x, y in corners]
        span, slack = self.look.block, _OVERHANG + self.look.block * self.look.uneven
        columns = range(math.floor((min(u) - slack) / span) - 1, math.ceil((max(u) + slack) / span) + 1)
        rows = range(math.floor((min(v) - slack) / span) - 1, math.ceil((max(v) + slack) / span) + 1)
        return [_plot(self.style, self.seed, i, j) for i in columns for j in rows]

    def _light(self, canvas: Canvas, where: tuple[slice, slice]) -> tuple[F32, F32]:
        """Light of the sun and openness to the sky of a part of the canvas, 0..1."""
        _, azimuth, elevation, _ = self._draws()
        fall = math.tan(elevation) * self.gsd  # metres that the edge of a shadow sinks per px
        sunward = math.cos(azimuth), math.sin(azimuth)
        edge = canvas.height.copy()
        # The highest edge that shades a pixel, by doubling: after k rounds all of 2^k steps towards the sun are looked at.
        for k in range(max(math.ceil(math.log2(TALLEST / fall)), 1)):
            dx, dy = round(sunward[0] * 2**k), round(sunward[1] * 2**k)
            there, here = _shifted(edge.shape, dy, dx)
            np.maximum(edge[here], edge[there] - np.float32(fall * 2**k), out=edge[here])
        rows, columns = where
        height = canvas.height
        lit = 1 - np.clip((edge[where] - height[where] - np.float32(0.06)) * np.float32(3.0), 0, 1)
        slope = np.float32(1 / (2 * self.gsd))
        east = (height[rows, columns.start + 1 : columns.stop + 1] - height[rows, columns.start - 1 : columns.stop - 1]) * slope
        south = (height[rows.start + 1 : rows.stop + 1, columns] - height[rows.start - 1 : rows.stop - 1, columns]) * slope
        east, south = np.clip(east, -1.6, 1.6), np.clip(south, -1.6, 1.6)
        flat = np.float32(math.cos(elevation))
        facing = np.float32(math.sin(elevation)) - (east * np.float32(sunward[0]) + south * np.float32(sunward[1])) * flat
        steep = 1 / np.sqrt(1 + east * east + south * south)
        return np.maximum(facing * steep, 0) * lit, np.float32(0.55) + np.float32(0.45) * steep

    def _develop(self, canvas: Canvas, inner: tuple[slice, slice], light: tuple[F32, F32]) -> NDArray[np.uint8]:
        """`(H, W, 3)` grey levels: reflectance times light, blur of the lens, tone curve, noise of the sensor."""
        look, chosen = self.look, list(BANDS[self.bands])
        exposure = self._draws()[3]
        wide = slice(inner[0].start - 1, inner[0].stop + 1), slice(inner[1].start - 1, inner[1].stop + 1)
        colours = np.asarray(canvas.colours, np.float32)[:, chosen]
        sun, sky = np.asarray(look.sun_colour, np.float32)[chosen], np.asarray(look.sky, np.float32)[chosen]
        surface, tone = canvas.surface[wide], canvas.tone[wide]
        sunlit, open_sky = light[0] * tone, light[1] * tone
        image = np.empty((inner[0].stop - inner[0].start, inner[1].stop - inner[1].start, 3), np.uint8)
        i = np.arange(canvas.top + inner[0].start, canvas.top + inner[0].stop) % _GRAIN
        j = np.arange(canvas.left + inner[1].start, canvas.left + inner[1].stop) % _GRAIN
        for band in range(3):
            picture = colours[:, band].take(surface) * (sunlit * sun[band] + open_sky * sky[band])
            side, middle = np.float32(look.blur / 4), np.float32(1 - look.blur / 2)
            picture = middle * picture[1:-1] + side * (picture[:-2] + picture[2:])
            picture = middle * picture[:, 1:-1] + side * (picture[:, :-2] + picture[:, 2:])
            level = (picture * np.float32(exposure * 1.15 * 4095)).clip(0, 4095).astype(np.uint16)
            shown = _tone(look.contrast).take(level) + np.float32(look.noise) * _grain()[i, :, band][:, j]
            image[..., band] = (shown + np.float32(0.5)).clip(0, 255).astype(np.uint8)
        return image


def _shifted(shape: tuple[int, ...], dy: int, dx: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Slices of the pixels `(dy, dx)` away, and of those that they are away from."""

    def one(size: int, by: int) -> tuple[slice, slice]:
        by = max(-size, min(size, by))
        return (slice(by, size), slice(0, size - by)) if by >= 0 else (slice(0, size + by), slice(-by, size))

    (there_y, here_y), (there_x, here_x) = one(shape[0], dy), one(shape[1], dx)
    return (there_y, there_x), (here_y, here_x)


@cache
def _tone(contrast: float) -> F32:
    level = (np.arange(4096, dtype=np.float32) / 4095) ** _GAMMA
    return np.asarray((np.clip(0.45 + (level - 0.45) * contrast, 0, 1) * 255).astype(np.float32))


@cache
def _city_draws(style: str, seed: int) -> tuple[float, float, float, float]:
    random, look = np.random.default_rng([seed, 1 + sorted(AERIAL).index(style)]), AERIAL[style]
    turn = float(random.uniform(0, math.pi / 2))
    azimuth = float(random.uniform(-0.85, -0.15) * math.pi)  # the sun stands in the south, so shadows fall north
    return turn, -azimuth, math.radians(random.uniform(*look.sun)), float(random.uniform(*look.exposure))


def _line(style: str, seed: int, axis: int, number: int) -> float:
    """Where street `number` of a direction runs [m]."""
    look = AERIAL[style]
    random = np.random.default_rng([seed, 11 + axis, sorted(AERIAL).index(style), number + _FAR])
    return look.block * (number + look.uneven * float(random.uniform(-0.5, 0.5)))


@lru_cache(512)
def _plot(style: str, seed: int, i: int, j: int) -> Plot:
    look = AERIAL[style]
    u0, u1 = _line(style, seed, 0, i) + look.street[0], _line(style, seed, 0, i + 1) - look.street[0]
    v0, v1 = _line(style, seed, 1, j) + look.street[1], _line(style, seed, 1, j + 1) - look.street[1]
    turn = _city_draws(style, seed)[0]
    c, s = math.cos(turn), math.sin(turn)
    u, v = (u0 + u1) / 2, (v0 + v1) / 2
    random = np.random.default_rng([seed, 21, sorted(AERIAL).index(style), i + _FAR, j + _FAR])
    return fill(Plot(look, random, (u * c - v * s, u * s + v * c), turn, ((u1 - u0) / 2, (v1 - v0) / 2)))
