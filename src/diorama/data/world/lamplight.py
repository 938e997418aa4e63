"""Light of a room: lamps, windows, a sunbeam on the floor, and what the walls pass on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diorama.data.world.camera import Beam, Camera
from diorama.data.world.light import Closeness, Shadow, aim
from diorama.data.world.primitives import Scene

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


@dataclass
class Lamp:
    """A small bright thing: a lamp, or a window as light. `rotation` looks where it shines."""

    position: F64
    rotation: F64
    colour: F32
    reach: float
    """Distance at which its light has fallen to half [m]."""
    focus: float
    """0 shines everywhere, 1 like a flat window."""
    shadow: Shadow | None = None

    def throw(self, scene: Scene, detail: int, width: float, softness: float) -> None:
        """Computes its shadows; `width` is the tangent of half its opening angle."""
        focal = detail / 2 / width
        middle = (detail - 1) / 2
        self.shadow = Shadow(scene, Camera(detail, detail, focal, focal, middle, middle, self.position, self.rotation), softness)

    def light(self, point: F32, normal: F32) -> F32:
        """`(3, n)` light of this lamp alone."""
        way = self.position.astype(np.float32)[:, None] - point
        square = np.einsum("in,in->n", way, way) + np.float32(1e-4)
        inverse = 1 / np.sqrt(square)
        facing = np.clip((np.einsum("in,in->n", way, normal) * inverse + np.float32(0.12)) / np.float32(1.12), 0, 1)
        ahead = np.maximum(-(self.rotation[2].astype(np.float32) @ way) * inverse, 0)
        strength = facing * (1 - self.focus + self.focus * ahead) / (1 + square / np.float32(self.reach**2))
        if self.shadow is not None:
            strength *= self.shadow.reach(point + np.float32(0.02) * normal, 0.03)
        return np.asarray(self.colour[:, None] * strength)


@dataclass
class Sunbeam:
    """Sun that falls through a window: a bright patch bounded by the window's rectangle."""

    sun: F64
    colour: F32
    axis: int
    """0 if the window lies in a wall of constant x, 2 for constant z."""
    wall: float
    low: tuple[float, float]
    high: tuple[float, float]
    shadow: Shadow | None = None

    def throw(self, scene: Scene, middle: F64, extent: float, detail: int) -> None:
        """Computes what furniture keeps from the patch."""
        rotation = aim(-self.sun)
        self.shadow = Shadow(scene, Beam(detail, detail, extent / detail, middle - extent / 2 * (rotation[0] + rotation[1]), rotation))

    def light(self, point: F32, normal: F32) -> F32:
        """`(3, n)` light of the patch."""
        facing = np.maximum(self.sun.astype(np.float32) @ normal, 0)
        along = (np.float32(self.wall) - point[self.axis]) / np.float32(self.sun[self.axis])
        across = point[2 - self.axis] + along * np.float32(self.sun[2 - self.axis])
        height = point[1] + along * np.float32(self.sun[1])
        soft = np.float32(0.03)
        edge = np.minimum(np.minimum(across - self.low[0], self.high[0] - across), np.minimum(height - self.low[1], self.high[1] - height))
        lit = np.clip(edge / soft + 0.5, 0, 1).astype(np.float32) * facing * (along > 0)
        some = np.flatnonzero(lit > 0)
        if self.shadow is not None and len(some):
            lit[some] *= self.shadow.reach(point[:, some] + np.float32(0.02) * normal[:, some], 0.03)
        return np.asarray(self.colour[:, None] * lit)


@dataclass
class RoomLight:
    """Lamps, windows and the light that walls pass on."""

    ambient: F32
    low: F64
    high: F64
    """Corners of the room [m]."""
    lamps: list[Lamp]
    beams: list[Sunbeam]
    closeness: Closeness

    def irradiance(self, point: F32, normal: F32) -> F32:
        """All lamps and beams, and the light in the room, less of it in corners and under things."""
        dim = 0.35 + 0.65 * self.closeness.open(point)
        for axis in range(3):
            for wall, sign in ((self.low[axis], 1.0), (self.high[axis], -1.0)):
                gap = (point[axis] - np.float32(wall)) * np.float32(sign)
                dim *= 1 - 0.32 * np.exp(np.maximum(gap, 0) * np.float32(-3.0)) * (1 - np.abs(normal[axis]))
        total = self.ambient[:, None] * (dim * (0.8 + 0.2 * normal[1]))
        sources: list[Lamp | Sunbeam] = [*self.lamps, *self.beams]
        for source in sources:
            total = total + source.light(point, normal) * (0.4 + 0.6 * dim)
        return np.asarray(total)

    def backdrop(self, direction: F32) -> F32:
        """The room's own light, brighter from above (a closed room shows none of it)."""
        return np.asarray(self.ambient[:, None] * (0.7 + 0.5 * np.clip(direction[1], 0, 1)))

    def mirrored(self, direction: F32) -> F32:
        """The same."""
        return self.backdrop(direction)

    def haze(self, distance: F32) -> tuple[F32, F32]:
        """None."""
        return np.ones_like(distance), self.ambient[:, None]
