"""A spinning LiDAR beside the camera: which pixels of a dense depth map its beams hit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diorama.data.world.camera import Camera

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Scanner:
    """A scanner whose beams have fixed elevations; it spins about the world's vertical axis. Angles in degrees."""

    lines: int = 64
    lowest: float = -24.8
    highest: float = 2.0
    step: float = 0.18
    """Between two shots of one beam."""
    height: float = 0.3
    """Above the camera [m]."""
    range: float = 80.0
    """[m]"""
    noise: float = 0.02
    """Standard deviation of the range [m]."""
    lost: float = 0.08
    """Share of shots that do not come back."""

    @property
    def elevations(self) -> NDArray[np.float64]:
        """`(lines,)` angles above the horizon, lowest first."""
        return np.linspace(self.lowest, self.highest, self.lines)


STREET_SCANNER = Scanner()
"""64 beams from -24.8 to 2 degrees, as on the cars that recorded KITTI (Geiger et al., IJRR 2013)."""

ROOM_SCANNER = Scanner(lines=64, lowest=-40.0, highest=25.0, step=0.4, height=0.1, range=10.0, noise=0.01, lost=0.05)


def angles(camera: Camera, scanner: Scanner, depth: F32) -> tuple[F32, F32, F32]:
    """Elevation and azimuth [degrees] and range [m] of each pixel's point as the scanner sees it, each `(H, W)`."""
    u = (np.arange(camera.width, dtype=np.float32) - np.float32(camera.centre_x)) / np.float32(camera.focal_x)
    v = ((np.arange(camera.height, dtype=np.float32) - np.float32(camera.centre_y)) / np.float32(camera.focal_y))[:, None]
    axes = camera.rotation.astype(np.float32)
    x, y, z = ((axes[0, k] * u + axes[1, k] * v + axes[2, k]) * depth for k in range(3))
    y = y - np.float32(scanner.height)
    flat = np.hypot(x, z)
    to_degrees = np.float32(180 / np.pi)
    return np.arctan2(y, flat) * to_degrees, np.arctan2(x, z) * to_degrees, np.hypot(flat, y)


def scan(camera: Camera, scanner: Scanner, depth: F32, random: np.random.Generator) -> F32:
    """`(H, W)` sparse depth [m], 0 = no return: for each shot the pixel nearest to its direction, if within half a pixel.

    Depths of the pixels hit are the dense ones plus range noise. Points that the camera does not see are not returned.
    """
    elevation, azimuth, distance = angles(camera, scanner, depth)
    gap = (scanner.highest - scanner.lowest) / (scanner.lines - 1)
    line = (elevation - np.float32(scanner.lowest)) / np.float32(gap)
    nearest_line = np.rint(line)
    shot = azimuth / np.float32(scanner.step)
    nearest_shot = np.rint(shot)
    pixel = np.degrees(1 / camera.focal_y)
    off_line, off_shot = np.abs(line - nearest_line) * np.float32(gap), np.abs(shot - nearest_shot) * np.float32(scanner.step)
    hit = (
        (depth > 0)
        & (distance <= scanner.range)
        & (nearest_line >= 0)
        & (nearest_line < scanner.lines)
        & (off_line <= 0.5 * pixel)
        & (off_shot <= 0.5 * pixel)
    )
    places = np.flatnonzero(hit)
    cell = (nearest_line.ravel()[places] * 4096 + nearest_shot.ravel()[places] + 2048).astype(np.int64)
    error = np.hypot(off_line.ravel()[places], off_shot.ravel()[places])
    best = places[np.argsort(-error, kind="stable")], cell[np.argsort(-error, kind="stable")]
    winner = np.full(scanner.lines * 4096 + 4096, -1)
    winner[best[1]] = best[0]
    chosen = winner[winner >= 0]
    chosen = chosen[random.random(len(chosen)) >= scanner.lost]
    sparse = np.zeros(depth.size, np.float32)
    true = depth.ravel()[chosen]
    along = true / distance.ravel()[chosen]
    sparse[chosen] = np.maximum(true + random.standard_normal(len(chosen), np.float32) * np.float32(scanner.noise) * along, 0.01)
    return sparse.reshape(depth.shape)
