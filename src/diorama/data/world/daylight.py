"""Light of a street: sun, sky, clouds and haze."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diorama.data.world.camera import Beam
from diorama.data.world.light import Closeness, Shadow, aim
from diorama.data.world.materials import mix
from diorama.data.world.primitives import Scene
from diorama.data.world.texture import noise

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


@dataclass
class Daylight:
    """Sun, sky and haze of a street."""

    sun: F64
    """Unit vector towards the sun."""
    sun_colour: F32
    zenith: F32
    horizon: F32
    clouds: float
    cloud_seed: float
    haze_length: float
    """Distance after which 63 % of a surface is haze [m]."""
    near: Shadow | None = None
    far: Shadow | None = None
    closeness: Closeness | None = None

    def throw(self, scene: Scene, around: F64, heading: F64, detail: int) -> None:
        """Computes the shadows of `scene` for views from `around` along `heading`; `detail` is the side of a shadow map [px]."""
        rotation = aim(-self.sun)
        half = rotation[0] + rotation[1]
        self.near = Shadow(scene, Beam(detail, detail, 26.0 / detail, around + 11 * heading - 13 * half, rotation))
        detail = detail * 3 // 4
        self.far = Shadow(scene, Beam(detail, detail, 110.0 / detail, around + 48 * heading - 55 * half, rotation), coarse=True)
        self.closeness = Closeness(scene, (around[0] - 30, around[2] - 5), (60.0, 80.0), 0.25, 0.9, 2.4)

    def irradiance(self, point: F32, normal: F32) -> F32:
        """Sun with shadows, sky from above, light bounced from the ground."""
        assert self.near is not None
        assert self.far is not None
        assert self.closeness is not None
        facing = np.maximum(self.sun.astype(np.float32) @ normal, 0)
        lit = np.zeros_like(facing)
        front = np.flatnonzero(facing > 0)
        place, off = point[:, front], normal[:, front]
        close = self.near.inside(place)
        reach = np.empty(len(front), np.float32)
        for shadow, which, bias in ((self.near, np.flatnonzero(close), 0.05), (self.far, np.flatnonzero(~close), 0.2)):
            reach[which] = shadow.reach(place[:, which] + np.float32(bias) * off[:, which], 0.6 * bias)
        lit[front] = reach * facing[front]
        open_sky = self.closeness.open(point)
        up = 0.5 + 0.5 * normal[1]
        ambient = 1.1 * (0.35 * self.zenith + 0.65 * self.horizon)[:, None]
        side = 0.75 + 0.25 * normal[0] * np.float32(np.sign(self.sun[0]) or 1.0)
        bounce = 0.22 * (0.5 * self.sun_colour * np.float32(self.sun[1]) + 0.5 * self.horizon)[:, None]
        return np.asarray(
            self.sun_colour[:, None] * lit + ambient * ((0.3 + 0.7 * up) * side * (0.25 + 0.75 * open_sky)) + bounce * ((1 - up) * open_sky)
        )

    def backdrop(self, direction: F32) -> F32:
        """Sky from horizon to zenith, with clouds and the glow around the sun."""
        up = np.clip(direction[1], 0, 1)
        flat = 1 / (up + np.float32(0.12))
        x, z = direction[0] * flat, direction[2] * flat
        field = noise(x + np.float32(self.cloud_seed), z + np.float32(self.cloud_seed * 0.7), 9.0, 5) + 0.35 * noise(x, z, 2.2, 4)
        cover = np.clip((field + np.float32(2.4 * self.clouds - 1.5)) * 0.8, 0, 1) * np.clip(up * 6, 0, 1)
        cover *= np.float32(0.35 + 0.5 * min(self.clouds * 1.4, 1.0))
        white = (0.4 * self.horizon + 0.8 * self.horizon.mean() + 0.16 * self.sun_colour)[:, None] * (1.05 - 0.12 * np.clip(field, 0, 2))
        return mix(self._clear(up), white, cover) + self._glow(direction)

    def mirrored(self, direction: F32) -> F32:
        """Sky without clouds."""
        return self._clear(np.clip(direction[1], 0, 1)) + self._glow(direction)

    def _clear(self, up: F32) -> F32:
        return mix(self.horizon[:, None], self.zenith[:, None], 1 - np.exp(-up * np.float32(3.2)))

    def _glow(self, direction: F32) -> F32:
        glow = np.maximum(self.sun.astype(np.float32) @ direction, 0)
        return np.asarray(self.sun_colour[:, None] * (0.10 * glow**6 + 0.35 * glow**64))

    def haze(self, distance: F32) -> tuple[F32, F32]:
        """Exponential haze towards the colour of the horizon."""
        return np.exp(distance * np.float32(-1 / self.haze_length)), self.horizon[:, None]
