"""Light in a scene: sun and sky outside, lamps and windows inside, with cast shadows and darker corners.

Everything here depends on world positions only, never on the view, so that both views of a stereo pair agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.data.world.camera import Beam, Camera, beam_grid, camera_grid
from diorama.data.world.caster import cast
from diorama.data.world.primitives import Scene
from diorama.data.world.texture import noise, sample

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_FAR = np.float32(1e6)
_SOFT = ((-0.6, -1.1), (1.1, -0.6), (-1.1, 0.6), (0.6, 1.1))


class Light(Protocol):
    """What a renderer asks: how much light arrives, and what lies behind everything."""

    def irradiance(self, point: F32, normal: F32) -> F32:
        """`(3, n)` light arriving at `(3, n)` points with unit normals."""

    def backdrop(self, direction: F32, clouds: bool) -> F32:
        """`(3, n)` radiance from `(3, n)` unit directions that meet nothing (also what glossy surfaces mirror)."""

    def haze(self, distance: F32) -> tuple[F32, F32]:
        """How much of a surface is left at a distance [m], `(n,)`, and the colour that replaces it, `(3, 1)`."""


def aim(forward: tuple[float, float, float] | F64) -> F64:
    """`(3, 3)` rotation with rows right, down, forward for a look along `forward`."""
    ahead = np.asarray(forward, np.float64) / np.linalg.norm(forward)
    helper = np.array([0.0, 0.0, 1.0]) if abs(ahead[1]) > 0.9 else np.array([0.0, 1.0, 0.0])
    right = np.cross(helper, ahead)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(ahead, right), ahead])


class Shadow:
    """A depth map seen from a light; tells which points it reaches, with soft edges."""

    def __init__(self, scene: Scene, eye: Beam | Camera, softness: float = 0.0, coarse: bool = False) -> None:
        self.eye, self.softness = eye, softness
        parallel = isinstance(eye, Beam)
        hits = cast(scene, beam_grid(eye) if isinstance(eye, Beam) else camera_grid(eye), shadows_only=True, holes=not coarse, smallest=5 if coarse else 2)
        if parallel:
            depth = np.where(np.isfinite(hits.nearness), -hits.nearness, _FAR)
        else:
            depth = 1 / np.maximum(hits.nearness, 1 / _FAR)
        depth = depth.astype(np.float32)
        self._quads = np.stack([depth[:-1, :-1], depth[:-1, 1:], depth[1:, :-1], depth[1:, 1:]], 2).reshape(-1, 4)

    def _locate(self, point: F32) -> tuple[F32, F32, F32]:
        axes, origin = self.eye.rotation.astype(np.float32), self.eye.position.astype(np.float32)[:, None]
        x, y, depth = axes @ (point - origin)
        if isinstance(self.eye, Beam):
            return x / np.float32(self.eye.step), y / np.float32(self.eye.step), depth
        scale = 1 / np.maximum(depth, np.float32(0.02))
        focal = np.float32(self.eye.focal_x)
        return x * scale * focal + np.float32(self.eye.centre_x), y * scale * focal + np.float32(self.eye.centre_y), depth

    def inside(self, point: F32) -> NDArray[np.bool_]:
        """Which `(3, n)` points lie in the map at all."""
        x, y, depth = self._locate(point)
        return (x > 2) & (y > 2) & (x < self.eye.width - 4) & (y < self.eye.height - 4) & (depth > (0.02 if isinstance(self.eye, Camera) else -np.inf))

    def reach(self, point: F32, bias: float) -> F32:
        """`(n,)` share of the light that arrives, 0..1; points outside of the map are lit."""
        x, y, depth = self._locate(point)
        width, height = self.eye.width, self.eye.height
        out = ~((x > 2) & (y > 2) & (x < width - 4) & (y < height - 4))
        if isinstance(self.eye, Camera):
            out |= depth < 0.02
        limit = (depth - np.float32(bias))[:, None]
        total = np.zeros(len(x), np.float32)
        offsets = [(self.softness * dx, self.softness * dy) for dx, dy in _SOFT] if self.softness else [(0.0, 0.0)]
        for dx, dy in offsets:
            xx, yy = np.clip(x + np.float32(dx), 0, width - 2.01), np.clip(y + np.float32(dy), 0, height - 2.01)
            column, row = xx.astype(np.int32), yy.astype(np.int32)
            lit = (self._quads.take(row * (width - 1) + column, axis=0) > limit).astype(np.float32)
            fx, fy = xx - column, yy - row
            top = lit[:, 0] + (lit[:, 1] - lit[:, 0]) * fx
            total += top + (lit[:, 2] + (lit[:, 3] - lit[:, 2]) * fx - top) * fy
        total /= len(offsets)
        total[out] = 1
        return total


class Closeness:
    """How much of the sky things near a point hide: a blurred height map, darker at the foot of whatever stands there."""

    def __init__(self, scene: Scene, corner: tuple[float, float], size: tuple[float, float], step: float, reach: float, top: float) -> None:
        width, height = int(size[0] / step), int(size[1] / step)
        self.step, self.corner, self.span = step, corner, reach
        heights = np.zeros((height, width), np.float32)
        foot = (scene.corners[:, [0, 1, 5, 4]][:, :, [0, 2]] - corner) / step
        low, high = scene.corners[..., 1].min(1), scene.corners[..., 1].max(1)
        standing = scene.casts & (low < top) & (foot.max(1) > 0).all(1) & (foot.min(1) < (width, height)).all(1)
        fixed = np.rint(np.nan_to_num(foot) * 16).astype(np.int32)
        for i in np.flatnonzero(standing)[np.argsort(high[standing], kind="stable")]:
            cv2.fillConvexPoly(heights, fixed[i], min(float(high[i]), top), shift=4)
        near = cv2.GaussianBlur(heights, (0, 0), 0.35 * reach / step)
        self._map = np.asarray(0.5 * near + 0.5 * cv2.GaussianBlur(heights, (0, 0), reach / step), np.float32)

    def open(self, point: F32) -> F32:
        """`(n,)` share of the sky that is left, 0..1."""
        x, z = (point[0] - np.float32(self.corner[0])) / np.float32(self.step), (point[2] - np.float32(self.corner[1])) / np.float32(self.step)
        over = sample(self._map, x, z) - np.maximum(point[1], 0)
        return 1 - np.clip(over / np.float32(self.span), 0, 1)


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
        assert self.near is not None and self.far is not None and self.closeness is not None
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
        return self.sun_colour[:, None] * lit + ambient * ((0.3 + 0.7 * up) * side * (0.25 + 0.75 * open_sky)) + bounce * ((1 - up) * open_sky)

    def backdrop(self, direction: F32, clouds: bool = True) -> F32:
        """Sky from horizon to zenith, with clouds and the glow around the sun."""
        up = np.clip(direction[1], 0, 1)
        part = 1 - np.exp(-up * 3.2)
        sky = self.horizon[:, None] + (self.zenith - self.horizon)[:, None] * part
        glow = np.maximum(self.sun.astype(np.float32) @ direction, 0)
        if clouds:
            flat = 1 / (up + np.float32(0.12))
            x, z = direction[0] * flat, direction[2] * flat
            field = noise(x + np.float32(self.cloud_seed), z + np.float32(self.cloud_seed * 0.7), 9.0, 5) + 0.35 * noise(x, z, 2.2, 4)
            cover = np.clip((field + np.float32(2.4 * self.clouds - 1.5)) * 0.8, 0, 1) * np.clip(up * 6, 0, 1)
            white = (0.4 * self.horizon + 0.8 * self.horizon.mean() + 0.16 * self.sun_colour)[:, None] * (1.05 - 0.12 * np.clip(field, 0, 2))
            sky = sky + (white - sky) * (cover * np.float32(0.35 + 0.5 * min(self.clouds * 1.4, 1.0)))
        return sky + self.sun_colour[:, None] * (0.10 * glow**6 + 0.35 * glow**64)

    def haze(self, distance: F32) -> tuple[F32, F32]:
        """Exponential haze towards the colour of the horizon."""
        return np.exp(distance * np.float32(-1 / self.haze_length)), self.horizon[:, None]


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
        return self.colour[:, None] * strength


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
        return self.colour[:, None] * lit


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
        for source in (*self.lamps, *self.beams):
            total = total + source.light(point, normal) * (0.4 + 0.6 * dim)
        return total

    def backdrop(self, direction: F32, clouds: bool = True) -> F32:
        """What glossy things mirror: the room's own light, brighter from above."""
        return self.ambient[:, None] * (0.7 + 0.5 * np.clip(direction[1], 0, 1))

    def haze(self, distance: F32) -> tuple[F32, F32]:
        """None."""
        return np.ones_like(distance), self.ambient[:, None]
