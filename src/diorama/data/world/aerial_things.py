"""What stands in an aerial city, seen from straight above: ground, roofs, trees, cars, boxes. Each draws itself on a canvas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from diorama.data.world.aerial_canvas import Canvas, Colour

SURFACE, BUILDING, LOW, TREE, CAR, CLUTTER = range(6)
"""Train ids of the ISPRS classes (`labels.ISPRS6`)."""

_GLASS = (0.05, 0.06, 0.07, 0.06)
_WHITE = (0.75, 0.75, 0.73, 0.75)
_SHAFT = (0.30, 0.17, 0.13, 0.3)


class Thing(Protocol):
    """Something that can be drawn; `ground` things lie flat and are drawn before the others."""

    def draw(self, canvas: Canvas) -> None:
        """Draws itself where the canvas shows it."""


def _waves(values: NDArray[np.float32], length: float) -> NDArray[np.float32]:
    """A triangular wave of -1..1 (no sine: its last bits depend on where in an array a number lies)."""
    turns = values * np.float32(1 / length)
    return np.asarray(np.abs(turns - np.floor(turns) - np.float32(0.5)) * 4 - 1)


@dataclass(frozen=True)
class Ground:
    """A rectangle of ground; `grain` is how much its tone varies, `joints` the distance of its paving joints [m], 0 = none."""

    at: tuple[float, float]
    angle: float
    half: tuple[float, float]
    label: int
    colour: Colour
    grain: float = 0.1
    joints: float = 0.0
    dashes: float = 0.0
    """Length of the dashes of a line [m], 0 = a full area."""

    def draw(self, canvas: Canvas) -> None:
        """Lays the rectangle over the ground."""
        patch = canvas.patch(self.at, self.angle, self.half)
        if patch is None:
            return
        inside = (np.abs(patch.p) <= self.half[0]) & (np.abs(patch.q) <= self.half[1])
        if self.dashes:
            inside &= _waves(patch.p, 2.2 * self.dashes) > 0
        tone = 1 + np.float32(self.grain) * (canvas.noise(0, patch) + 0.6 * canvas.noise(1, patch, 4) + 0.5 * canvas.noise(8, patch, 0))
        if self.joints > 3 * canvas.gsd:
            edge = np.maximum(_waves(patch.p, self.joints), _waves(patch.q, self.joints))
            tone -= np.float32(0.25) * (edge > 1 - np.float32(4 * canvas.gsd / self.joints))
        canvas.lay(patch, inside, canvas.number(self.label, self.colour), np.maximum(tone, np.float32(0.2)))


@dataclass(frozen=True)
class Roof:
    """A house: `half` along and across the ridge, `eaves` and pitch (rise per metre, 0 = flat with a parapet), hipped or gabled."""

    at: tuple[float, float]
    angle: float
    half: tuple[float, float]
    eaves: float
    pitch: float
    hip: bool
    colour: Colour
    windows: tuple[tuple[float, float], ...] = ()
    """Places of skylights [m along, across]."""
    shafts: tuple[tuple[float, float], ...] = ()
    """Places of chimneys or vents."""

    def draw(self, canvas: Canvas) -> None:
        """Raises the roof and what is on it."""
        patch = canvas.patch(self.at, self.angle, self.half)
        if patch is None:
            return
        p, q = patch.p, patch.q
        end, side = np.float32(self.half[0]) - np.abs(p), np.float32(self.half[1]) - np.abs(q)
        inside = (end >= 0) & (side >= 0)
        eaves = np.float32(self.eaves)
        rim = np.minimum(end, side)
        grain = canvas.noise(4, patch)
        if self.pitch:
            height = eaves + np.float32(self.pitch) * (rim if self.hip else side)
            tone = 1 + np.float32(0.06) * grain + np.float32(0.08) * canvas.noise(5, patch, 4)
            if canvas.gsd < 0.12:
                tone += np.float32(0.05) * _waves(q, 0.36)
        else:
            height = np.where(rim < np.float32(0.35), eaves + np.float32(0.35), eaves)
            tone = 1 + np.float32(0.1) * grain + np.float32(0.12) * canvas.noise(5, patch, 4)
        canvas.raise_(patch, inside, height, canvas.number(BUILDING, self.colour), np.maximum(tone, np.float32(0.3)))
        lift = np.float32(0.04)
        for along, across in self.windows:
            pane = (np.abs(p - np.float32(along)) < np.float32(0.45)) & (np.abs(q - np.float32(across)) < np.float32(0.6))
            canvas.raise_(patch, pane & inside, height + lift, canvas.number(BUILDING, _GLASS))
        for along, across in self.shafts:
            shaft = (np.abs(p - np.float32(along)) < np.float32(0.4)) & (np.abs(q - np.float32(across)) < np.float32(0.5))
            canvas.raise_(patch, shaft & inside, height + np.float32(0.9), canvas.number(BUILDING, _SHAFT if self.pitch else _WHITE))


@dataclass(frozen=True)
class Tree:
    """A crown of this radius and height [m]; `bare` ones (0..1) show more branches than leaves."""

    at: tuple[float, float]
    radius: float
    top: float
    colour: Colour
    bare: float = 0.0
    label: int = TREE

    def draw(self, canvas: Canvas) -> None:
        """Raises the crown: a dome with a ragged edge."""
        patch = canvas.patch(self.at, 0.0, (1.2 * self.radius, 1.2 * self.radius))
        if patch is None:
            return
        rough = canvas.noise(6, patch)
        fine = canvas.noise(7, patch, 0)
        away = (patch.p * patch.p + patch.q * patch.q) * np.float32(1 / self.radius**2) + np.float32(0.2) * rough + np.float32(0.13) * fine
        inside = away < 1
        dome = np.sqrt(np.maximum(1 - away, 0))
        height = np.float32(self.top) * (np.float32(0.5) + np.float32(0.5) * dome) + np.float32(0.03 * self.top) * (rough + 2 * fine)
        height = np.maximum(height, np.float32(0.25 * self.top))
        tone = 1 + np.float32(0.1 + 0.2 * self.bare) * fine + np.float32(0.1) * rough
        canvas.raise_(patch, inside, height, canvas.number(self.label, self.colour), np.maximum(tone, np.float32(0.25)))


@dataclass(frozen=True)
class Car:
    """A car 1.5 m high, its front along `angle`; `length` 4 to 5 m, vans are all roof."""

    at: tuple[float, float]
    angle: float
    length: float
    colour: Colour
    van: bool = False

    def draw(self, canvas: Canvas) -> None:
        """Raises bonnet, roof and windows."""
        a, b = self.length / 2, 0.92
        patch = canvas.patch(self.at, self.angle, (a, b))
        if patch is None:
            return
        along, across = patch.p * np.float32(1 / a), patch.q * np.float32(1 / b)
        square = along * along
        inside = square * square * square + (across * across) ** 3 < 1
        front = 0.75 if self.van else 0.28
        cabin = (along < np.float32(front)) & (along > np.float32(-0.8)) & (np.abs(across) < np.float32(0.86))
        body = canvas.number(CAR, self.colour)
        canvas.raise_(patch, inside, np.where(cabin, np.float32(2.2 if self.van else 1.3), np.float32(0.9)), body)
        pane = cabin & ~((along < np.float32(front - 0.25)) & (along > np.float32(-0.58)) & (np.abs(across) < np.float32(0.7)))
        if not self.van:
            canvas.raise_(patch, inside & pane, 1.32, canvas.number(CAR, _GLASS))
            canvas.raise_(patch, inside & cabin & ~pane, 1.48, body)


@dataclass(frozen=True)
class Box:
    """A wall, hedge, shed or container: a rectangle with an even top."""

    at: tuple[float, float]
    angle: float
    half: tuple[float, float]
    top: float
    label: int
    colour: Colour

    def draw(self, canvas: Canvas) -> None:
        """Raises the box."""
        patch = canvas.patch(self.at, self.angle, self.half)
        if patch is None:
            return
        inside = (np.abs(patch.p) <= self.half[0]) & (np.abs(patch.q) <= self.half[1])
        rough = 0.25 if self.label == LOW else 0.06
        grain = canvas.noise(7, patch)
        height = np.maximum(np.float32(self.top) * (1 + np.float32(rough / 2) * grain), np.float32(0.1)) if self.label == LOW else self.top
        tone = np.maximum(1 + np.float32(rough) * grain, np.float32(0.3))
        canvas.raise_(patch, inside, height, canvas.number(self.label, self.colour), tone)
