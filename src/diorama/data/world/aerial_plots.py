"""What a block of an aerial city holds: houses, gardens, yards, car parks, building sites, and the kerbs around it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from diorama.data.world import aerial_things as things
from diorama.data.world.aerial_canvas import Colour
from diorama.data.world.aerial_style import CAR_COLOURS, CONTAINER_COLOURS, GRAVEL_PATH, PAINT, SOIL, WATER, AerialStyle
from diorama.data.world.aerial_things import Box, Car, Ground, Roof, Thing, Tree


@dataclass
class Plot:
    """A block in the making: a rectangle of `half` sides about `at`, turned by `angle`; places inside are (u, v) from its centre [m]."""

    style: AerialStyle
    random: np.random.Generator
    at: tuple[float, float]
    angle: float
    half: tuple[float, float]
    ground: list[Thing] = field(default_factory=list)
    raised: list[Thing] = field(default_factory=list)

    def place(self, u: float, v: float) -> tuple[float, float]:
        """World coordinates of a place."""
        c, s = float(np.cos(self.angle)), float(np.sin(self.angle))
        return self.at[0] + u * c - v * s, self.at[1] + u * s + v * c

    def draw(self, least: float, most: float) -> float:
        """A random number between the two."""
        return float(self.random.uniform(least, most))

    def chance(self, share: float) -> bool:
        """True in this share of cases."""
        return bool(self.random.random() < share)

    def one(self, colours: tuple[Colour, ...]) -> Colour:
        """One of the colours, a little brighter or darker."""
        gain = self.draw(0.85, 1.18)
        r, g, b, n = colours[int(self.random.integers(len(colours)))]
        return round(r * gain, 3), round(g * gain, 3), round(b * gain, 3), round(n * gain, 3)

    def lay(
        self, u: float, v: float, half: tuple[float, float], label: int, colour: Colour, turn: float = 0.0,
        grain: float = 0.1, joints: float = 0.0, dashes: float = 0.0,
    ) -> None:  # fmt: skip
        """A rectangle of ground."""
        self.ground.append(Ground(self.place(u, v), self.angle + turn, half, label, colour, grain, joints, dashes))

    def tree(self, u: float, v: float, largest: float = 9.0) -> None:
        """A tree of the city's kind."""
        radius = min(self.draw(*self.style.tree), largest)
        top = radius * self.draw(1.7, 2.6) + 1.0
        self.raised.append(Tree(self.place(u, v), radius, top, self.one(self.style.leaves), self.draw(*self.style.bare)))

    def car(self, u: float, v: float, turn: float) -> None:
        """A car or van, its front along `turn`."""
        van = self.chance(0.08)
        turn += self.draw(-0.04, 0.04) + (np.pi if self.chance(0.5) else 0)
        length = self.draw(4.9, 5.6) if van else self.draw(3.8, 4.8)
        self.raised.append(Car(self.place(u, v), self.angle + turn, length, self.one(CAR_COLOURS), van))

    def box(self, u: float, v: float, half: tuple[float, float], top: float, label: int, colour: Colour, turn: float = 0.0) -> None:
        """A wall, hedge, shed or container."""
        self.raised.append(Box(self.place(u, v), self.angle + turn, half, top, label, colour))

    def house(
        self, u: float, v: float, half: tuple[float, float], turn: float, eaves: float, flat: bool, hip: bool, colour: Colour
    ) -> None:
        """A house whose ridge runs along `turn`, with skylights and chimneys or vents."""
        pitch = 0.0 if flat else self.draw(*self.style.pitch)
        some = [(self.draw(-0.8, 0.8) * half[0], self.draw(-0.7, 0.7) * half[1]) for _ in range(int(self.random.integers(0, 7)))]
        shafts = [(self.draw(-0.85, 0.85) * half[0], self.draw(-0.5, 0.5) * half[1]) for _ in range(int(self.random.integers(1, 4)))]
        windows = tuple(some) if not flat or self.chance(0.5) else ()
        self.raised.append(Roof(self.place(u, v), self.angle + turn, half, eaves, pitch, hip, colour, windows, tuple(shafts)))

    def green(self, u: float, v: float, half: tuple[float, float], share: float = 1.0) -> None:
        """Trees and shrubs scattered over a rectangle, `share` of what a garden of this city has."""
        count = self.random.poisson(share * self.style.trees * half[0] * half[1] * 4 / 100)
        for _ in range(min(int(count), 60)):
            x, y = u + self.draw(-1, 1) * half[0], v + self.draw(-1, 1) * half[1]
            if self.chance(0.35):
                radius = self.draw(0.4, 1.1)
                self.raised.append(Tree(self.place(x, y), radius, self.draw(0.4, 1.3), self.one(self.style.lawn), 0.3, things.LOW))
            else:
                self.tree(x, y)


def _frame(plot: Plot) -> None:
    """Pavement around the block, parked cars and trees along its kerbs, the lines of the two streets that belong to it."""
    style, (a, b) = plot.style, plot.half
    plot.lay(0, 0, plot.half, things.SURFACE, plot.one((style.pavement,)), joints=style.joints or 1.2, grain=0.06)
    for side, length, turn in ((-1, a, 0.0), (1, a, 0.0), (-1, b, np.pi / 2), (1, b, np.pi / 2)):
        across = (b if turn == 0 else a) + 1.15
        parking = plot.chance(0.75)
        along = -length + plot.draw(4, 9)
        while along < length - 4:
            if parking and plot.chance(style.cars):
                u, v = (along, side * across) if turn == 0 else (side * across, along)
                plot.car(u, v, turn)
            along += plot.draw(5.2, 6.4)
        if plot.chance(0.35):
            for along in np.arange(-length + 5, length - 4, plot.draw(8, 14)).tolist():
                inner = side * (across - 2.0)
                u, v = (along, inner) if turn == 0 else (inner, along)
                plot.tree(u, v, 2.6)
    for turn, middle, length in ((0.0, b + style.street[1], a), (np.pi / 2, a + style.street[0], b)):
        u, v = (0.0, -middle) if turn == 0 else (-middle, 0.0)
        if style.lines:
            plot.lay(u, v, (length, 0.07), things.SURFACE, PAINT, turn, grain=0.05, dashes=3.0)
        for _ in range(int(plot.random.poisson(0.8))):
            along, lane = plot.draw(-length, length), plot.draw(0.8, 1.4) * (1 if plot.chance(0.5) else -1)
            x, y = (along, v + lane) if turn == 0 else (u + lane, along)
            plot.car(x, y, turn)


def _rows(plot: Plot, a: float, b: float) -> None:
    """Attached houses along the streets around a yard."""
    deep = plot.draw(4.6, 6.2)
    if plot.chance(0.5):
        plot.lay(0, 0, (a, b), things.SURFACE, plot.one((plot.style.pavement,)), joints=1.0)
        plot.lay(
            0,
            0,
            ((a - 2 * deep) * plot.draw(0.5, 0.9), (b - 2 * deep) * plot.draw(0.5, 0.9)),
            things.LOW,
            plot.one(plot.style.lawn),
            grain=0.16,
        )
    for side, turn in ((-1, 0.0), (1, 0.0), (-1, np.pi / 2), (1, np.pi / 2)):
        length, across = (a, b) if turn == 0 else (b - 2 * deep, a)
        eaves = plot.draw(*plot.style.eaves)
        if plot.chance(0.12):
            continue
        along = -length
        while along < length - 4:
            half = min(plot.draw(4.5, 8.5), (length - along) / 2)
            if length - along - 2 * half < 6:
                half = (length - along) / 2
            middle, inner = along + half, side * (across - deep)
            if plot.chance(0.93):
                u, v = (middle, inner) if turn == 0 else (inner, middle)
                flat = plot.chance(plot.style.flat)
                hip = plot.chance(plot.style.hips / 3) and not flat
                colour = plot.one(plot.style.gravel if flat else plot.style.tiles)
                plot.house(u, v, (half, deep), turn, eaves + plot.draw(-0.8, 0.8), flat, hip, colour)
            along += 2 * half
    inside = a - 2 * deep - 1, b - 2 * deep - 1
    if min(inside) > 4:
        for _ in range(int(plot.random.integers(0, 4))):
            shed = plot.draw(2, 5), plot.draw(1.5, 3)
            u, v = plot.draw(-1, 1) * (inside[0] - shed[0]) * 0.95, plot.draw(-1, 1) * (inside[1] - shed[1]) * 0.95
            plot.house(u, v, shed, 0 if plot.chance(0.5) else np.pi / 2, plot.draw(2.5, 4), True, False, plot.one(plot.style.gravel))
        plot.green(0, 0, (inside[0] * 0.9, inside[1] * 0.9), 0.8)
        for _ in range(int(plot.random.integers(0, 3))):
            plot.car(plot.draw(-1, 1) * inside[0], plot.draw(-1, 1) * inside[1], plot.draw(0, 3))


def _villas(plot: Plot, a: float, b: float) -> None:
    """Houses of their own with gardens, hedges, drives and sheds."""
    count_u, count_v = max(round(2 * a / plot.draw(15, 20)), 1), max(round(2 * b / plot.draw(17, 23)), 1)
    w, h = a / count_u, b / count_v
    for i in range(count_u):
        for j in range(count_v):
            u, v = -a + (2 * i + 1) * w, -b + (2 * j + 1) * h
            plot.box(u - w + 0.3, v, (0.35, h), plot.draw(0.7, 1.6), things.LOW, plot.one(plot.style.lawn))
            if plot.chance(0.1):
                plot.green(u, v, (w * 0.8, h * 0.8), 1.6)
                continue
            half = min(plot.draw(4.4, 6.5), w * 0.75), min(plot.draw(3.6, 5.0), h * 0.65)
            x, y = u + plot.draw(-0.2, 0.2) * w, v + plot.draw(-0.15, 0.15) * h
            turn = plot.draw(-0.12, 0.12) + (np.pi / 2 if plot.chance(0.3) and w > 6 else 0)
            drive = x + half[0] + 1.6, v + (h * 0.5 if j % 2 else -h * 0.5)
            plot.lay(*drive, (1.5, h * 0.5), things.SURFACE, plot.one((plot.style.pavement,)), joints=0.8)
            plot.lay(x, y + half[1] + 1.2, (half[0] * 0.6, 1.6), things.SURFACE, plot.one((plot.style.pavement,)), joints=0.5)
            if plot.chance(plot.style.cars):
                plot.car(*drive, np.pi / 2)
            flat, eaves = plot.chance(plot.style.flat), min(plot.draw(*plot.style.eaves), 8.5)
            colour = plot.one(plot.style.gravel if flat else plot.style.tiles)
            plot.house(x, y, half, turn, eaves, flat, plot.chance(plot.style.hips), colour)
            if plot.chance(0.45):
                plot.house(*(x - half[0] - 1.8, y - 1.0), (1.6, 2.9), 0.0, 2.6, True, False, plot.one(plot.style.gravel))
            plot.green(u, v + h * 0.55, (w * 0.8, h * 0.3))
            plot.green(u, v - h * 0.6, (w * 0.8, h * 0.25))
            if plot.chance(0.15):
                plot.lay(u - w * 0.4, v + h * 0.5, (2.2, 1.5), things.CLUTTER, WATER, grain=0.04)


def _slabs(plot: Plot, a: float, b: float) -> None:
    """Large buildings with flat roofs beside a car park."""
    plot.lay(0, 0, (a, b), things.SURFACE, plot.style.road, grain=0.05)
    part = plot.draw(-0.2, 0.35)
    width = a * (1 - part) / 2 - 1.5
    centre, height = a - width - 1, plot.draw(1.0, 1.6) * plot.style.eaves[1]
    plot.lay(centre, 0, (width + 1, b), things.LOW, plot.one(plot.style.lawn), grain=0.14)
    if width > 5:
        plot.house(centre, plot.draw(-0.1, 0.1) * b, (b * 0.78, width * 0.8), np.pi / 2, height, True, False, plot.one(plot.style.gravel))
        plot.house(centre, plot.draw(-0.6, 0.6) * b, (2.5, 3.0), 0.0, height + 2.4, True, False, plot.one(plot.style.gravel))
    left, right = -a, centre - width - 1
    plot.green(left + 1.5, 0, (1.0, b), 1.5)
    for row in np.arange(-b + 4, b - 3, 7.6).tolist():
        for column in np.arange(left + 4, right - 2, 2.6).tolist():
            if plot.style.lines or plot.chance(0.1):
                plot.lay(column - 1.3, row, (0.06, 2.4), things.SURFACE, PAINT, grain=0.02)
            if plot.chance(plot.style.cars):
                plot.car(column, row, np.pi / 2)


def _park(plot: Plot, a: float, b: float) -> None:
    """Lawns with paths, trees, now and then a pond or a playground."""
    for turn in (plot.draw(0.2, 0.7), plot.draw(1.2, 2.4)):
        plot.lay(plot.draw(-0.3, 0.3) * a, plot.draw(-0.3, 0.3) * b, (min(a, b) * 0.95, 1.3), things.SURFACE, GRAVEL_PATH, turn)
    if plot.chance(0.5):
        plot.lay(plot.draw(-0.5, 0.5) * a, plot.draw(-0.5, 0.5) * b, (plot.draw(3, 8), plot.draw(3, 6)), things.CLUTTER, WATER, 0.3, 0.03)
    if plot.chance(0.5):
        plot.lay(plot.draw(-0.5, 0.5) * a, plot.draw(-0.5, 0.5) * b, (plot.draw(3, 6), plot.draw(3, 6)), things.CLUTTER, SOIL, 0.1, 0.1)
    plot.green(0, 0, (a - 1, b - 1), 1.1)


def _site(plot: Plot, a: float, b: float) -> None:
    """A building site: bare soil, heaps, containers, a crane's load, a shell."""
    plot.lay(0, 0, (a * 0.92, b * 0.92), things.CLUTTER, SOIL, grain=0.18)
    for _ in range(int(plot.random.integers(2, 6))):
        radius = plot.draw(1.5, 4.0)
        at = plot.place(plot.draw(-0.8, 0.8) * a, plot.draw(-0.8, 0.8) * b)
        plot.raised.append(Tree(at, radius, plot.draw(0.4, 0.9) * radius, plot.one((SOIL,)), 0.2, things.CLUTTER))
    for _ in range(int(plot.random.integers(2, 8))):
        half, turn = (plot.draw(1.2, 3.1), 1.22), 0.0 if plot.chance(0.6) else plot.draw(0, 3)
        plot.box(
            plot.draw(-0.8, 0.8) * a, plot.draw(-0.8, 0.8) * b, half, plot.draw(1.2, 2.7), things.CLUTTER, plot.one(CONTAINER_COLOURS), turn
        )
    if plot.chance(0.5) and min(a, b) > 12:
        plot.house(a * 0.3, b * 0.3, (a * 0.35, b * 0.3), 0.0, plot.draw(3, 12), True, False, plot.one(plot.style.gravel))
    plot.green(-a * 0.6, -b * 0.9, (a * 0.3, 1.5), 1.0)


KINDS = {"rows": _rows, "villas": _villas, "slabs": _slabs, "park": _park, "site": _site}


def fill(plot: Plot) -> Plot:
    """The block with all that it holds."""
    _frame(plot)
    a, b = plot.half[0] - plot.style.kerb, plot.half[1] - plot.style.kerb
    plot.lay(0, 0, (a, b), things.LOW, plot.one(plot.style.lawn), grain=0.15)
    kinds = tuple(plot.style.plots)
    kind = kinds[int(np.searchsorted(np.cumsum(list(plot.style.plots.values())), plot.random.random() * 0.9999))]
    KINDS[kind](plot, a, b)
    if plot.chance(0.25):  # bins at the kerb
        plot.box(plot.draw(-0.8, 0.8) * a, b + 0.8, (plot.draw(0.6, 1.8), 0.5), 1.2, things.CLUTTER, plot.one(CONTAINER_COLOURS))
    return plot
