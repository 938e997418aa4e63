"""What every light is, the shadows it throws and the darkening where things stand close.

Everything here depends on world positions only, never on the view, so that both views of a stereo pair agree.
"""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.data.world.camera import Beam, Camera, beam_grid, camera_grid
from diorama.data.world.caster import cast
from diorama.data.world.primitives import Scene
from diorama.data.world.texture import sample

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_FAR = np.float32(1e6)
_SOFT = ((-0.6, -1.1), (1.1, -0.6), (-1.1, 0.6), (0.6, 1.1))


class Light(Protocol):
    """What a renderer asks: how much light arrives, and what lies behind everything."""

    def irradiance(self, point: F32, normal: F32) -> F32:
        """`(3, n)` light arriving at `(3, n)` points with unit normals."""

    def backdrop(self, direction: F32) -> F32:
        """`(3, n)` radiance from `(3, n)` unit directions that meet nothing."""

    def mirrored(self, direction: F32) -> F32:
        """`(3, n)` radiance that glossy surfaces mirror: the backdrop without its fine parts."""

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
        hits = cast(
            scene,
            beam_grid(eye) if isinstance(eye, Beam) else camera_grid(eye),
            shadows_only=True,
            holes=not coarse,
            smallest=5 if coarse else 2,
        )
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
        return (
            (x > 2)
            & (y > 2)
            & (x < self.eye.width - 4)
            & (y < self.eye.height - 4)
            & (depth > (0.02 if isinstance(self.eye, Camera) else -np.inf))
        )

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
        x, z = (
            (point[0] - np.float32(self.corner[0])) / np.float32(self.step),
            (point[2] - np.float32(self.corner[1])) / np.float32(self.step),
        )
        over = sample(self._map, x, z) - np.maximum(point[1], 0)
        return np.asarray(1 - np.clip(over / np.float32(self.span), 0, 1))
