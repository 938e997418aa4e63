"""Who looks: pinhole cameras and parallel beams, as grids of rays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera; pixel centres are integers. Rows of `rotation` are its right, down and forward axes in the world."""

    height: int
    width: int
    focal_x: float
    focal_y: float
    centre_x: float
    centre_y: float
    position: F64
    rotation: F64

    @property
    def matrix(self) -> F64:
        """`(3, 3)` intrinsics [px]."""
        return np.array([[self.focal_x, 0.0, self.centre_x], [0.0, self.focal_y, self.centre_y], [0.0, 0.0, 1.0]])

    def shifted(self, baseline: float) -> Camera:
        """The same camera, `baseline` metres to its right."""
        return Camera(
            self.height,
            self.width,
            self.focal_x,
            self.focal_y,
            self.centre_x,
            self.centre_y,
            self.position + baseline * self.rotation[0],
            self.rotation,
        )


@dataclass(frozen=True)
class Beam:
    """Parallel rays along rows of `rotation` (right, down, forward): light from afar, or a look straight down.

    Column i and row j of its `height x width` grid pass through `position + step * (i * right + j * down)`.
    """

    height: int
    width: int
    step: float
    position: F64
    rotation: F64


@dataclass
class Grid:
    """Rays as a grid: column and row coordinates in units where the ray is `(x, y, 1)` (camera) or starts at `(x, y, 0)` (beam)."""

    x: F64
    y: F64
    origin: F64
    rotation: F64
    parallel: bool


def camera_grid(camera: Camera, double: bool = False) -> Grid:
    """The rays of a camera's pixel centres; `double` adds the points half-way, `(2H + 1, 2W + 1)` with centres at odd places."""
    start, step = (-0.5, 0.5) if double else (0.0, 1.0)
    x: F64 = (np.arange(start, camera.width, step) - camera.centre_x) / camera.focal_x
    y: F64 = (np.arange(start, camera.height, step) - camera.centre_y) / camera.focal_y
    return Grid(x, y, camera.position, camera.rotation, False)


def beam_grid(beam: Beam) -> Grid:
    """The rays of a beam."""
    x = np.arange(beam.width, dtype=np.float64) * beam.step
    y = np.arange(beam.height, dtype=np.float64) * beam.step
    return Grid(x, y, beam.position, beam.rotation, True)
