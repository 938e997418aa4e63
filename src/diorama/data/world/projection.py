"""A scene as seen along a grid of rays: linear and quadratic functions of the grid's coordinates, and bounding boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diorama.data.world.camera import Grid
from diorama.data.world.primitives import Scene

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

NEAR = 0.05
"""Nothing closer than this is looked for when bounding boxes are made [m]."""

_EDGES = np.array([[a, a | bit] for a in range(8) for bit in (1, 2, 4) if not a & bit])
_TINY = 1e-12


@dataclass
class Projected:
    """A scene as linear and quadratic functions of grid coordinates relative to each primitive's `centre`."""

    slope_x: F32
    slope_y: F32
    level: F32
    """`(P, 1, 1)` each: nearness = slope_x x + slope_y y + level; of each primitive the planes that face the viewer come first."""
    number: list[int]
    """Which surface each of these planes is."""
    fronts: list[int]
    """How many planes of a primitive face the viewer."""
    linear: list[list[float]]
    square: list[list[float]]
    """Per quadric a, 2b, c, 2d, 2e, f of `a x^2 + 2b xy + c y^2 + 2d x + 2e y + f`."""
    usable: list[bool]
    """The viewer is outside of the (endless) quadric."""
    box: NDArray[np.int64]
    """`(N, 4)` x0 x1 y0 y1 in grid points."""
    centre: F64
    nearest: F64
    """`(N,)` an upper bound of the nearness."""


def _signed(value: F64) -> F64:
    return np.where(np.abs(value) < _TINY, np.where(value < 0, -_TINY, _TINY), value)


def project(scene: Scene, grid: Grid) -> Projected:
    """`scene` as functions of the coordinates of `grid`."""
    normal = scene.planes[:, :3] @ grid.rotation.T
    reach = scene.planes[:, 3] - scene.planes[:, :3] @ grid.origin
    if grid.parallel:
        ahead = _signed(normal[:, 2])
        plane = np.stack([normal[:, 0] / ahead, normal[:, 1] / ahead, -reach / ahead], 1)
        facing = ahead < 0
    else:
        plane, facing = normal / _signed(reach)[:, None], reach < 0
    core = grid.rotation @ scene.quadrics[:, :3, :3] @ grid.rotation.T
    toward = (scene.quadrics[:, :3, :3] @ grid.origin + scene.quadrics[:, :3, 3]) @ grid.rotation.T
    rest = (
        np.einsum("i,qij,j->q", grid.origin, scene.quadrics[:, :3, :3], grid.origin)
        + 2 * scene.quadrics[:, :3, 3] @ grid.origin
        + scene.quadrics[:, 3, 3]
    )
    if grid.parallel:
        # a t^2 + 2 b t + c with constant a, linear b and quadratic c; nearness is -t.
        a = _signed(core[:, 2, 2])
        b = np.stack([core[:, 0, 2], core[:, 1, 2], toward[:, 2]], 1)
        c = core.copy()
        c[:, 2, :2] = c[:, :2, 2] = toward[:, :2]
        c[:, 2, 2] = rest
        linear, lead, usable = b / a[:, None], a, a > 0
    else:
        # c w^2 + 2 b w + a with constant c: nearness w is inverse depth.
        b, c, lead = toward, core, _signed(rest)
        linear, usable = -b / lead[:, None], rest > 0
    square = (np.einsum("qi,qj->qij", b, b) - lead[:, None, None] * c) / (lead * lead)[:, None, None]
    box, nearest = _boxes(scene, grid)
    centre = np.stack([(grid.x[box[:, 0]] + grid.x[box[:, 1] - 1]) / 2, (grid.y[box[:, 2]] + grid.y[box[:, 3] - 1]) / 2], 1)
    _recentre(scene, plane, linear, square, centre)
    owner = np.repeat(np.arange(len(centre)), scene.last - scene.first)
    order = np.lexsort((~facing ^ scene.inside[owner], owner))
    fronts = np.bincount(owner, facing ^ scene.inside[owner], len(centre)).astype(int)
    six = np.stack([square[:, 0, 0], 2 * square[:, 0, 1], square[:, 1, 1], 2 * square[:, 0, 2], 2 * square[:, 1, 2], square[:, 2, 2]], 1)
    slope_x, slope_y, level = np.ascontiguousarray(plane[order].T.astype(np.float32))[:, :, None, None]
    return Projected(
        slope_x, slope_y, level, order.tolist(), fronts.tolist(), linear.tolist(), six.tolist(), usable.tolist(), box, centre, nearest
    )


def _recentre(scene: Scene, plane: F64, linear: F64, square: F64, centre: F64) -> None:
    """Moves each function's zero to the middle of its primitive (in place): float32 then suffices even for far, small ones."""
    owner = np.repeat(np.arange(len(centre)), scene.last - scene.first)
    plane[:, 2] += plane[:, 0] * centre[owner, 0] + plane[:, 1] * centre[owner, 1]
    holder = np.flatnonzero(scene.quadric >= 0)
    if len(holder):
        x, y = centre[holder].T
        linear[:, 2] += linear[:, 0] * x + linear[:, 1] * y
        at = np.stack([x, y, np.ones_like(x)], 1)
        moved = np.einsum("qij,qj->qi", square, at)
        square[:, 2, 2] = np.einsum("qi,qi->q", moved, at)
        square[:, :2, 2] = square[:, 2, :2] = moved[:, :2]


def _boxes(scene: Scene, grid: Grid) -> tuple[NDArray[np.int64], F64]:
    """Grid points that a primitive can touch, `(N, 4)` as x0 x1 y0 y1 (empty if x1 <= x0), and its largest nearness."""
    unbounded = np.isnan(scene.corners[:, 0, 0])
    points = (np.nan_to_num(scene.corners) - grid.origin) @ grid.rotation.T
    ahead = points[..., 2]
    if grid.parallel:
        x, y = points[..., 0], points[..., 1]
        nearest = -ahead.min(1)
        low_x, high_x, low_y, high_y = x.min(1), x.max(1), y.min(1), y.max(1)
        hidden = np.zeros(len(points), bool)
    else:
        hidden = (ahead < NEAR).all(1) & ~unbounded
        crossing = (ahead < NEAR).any(1) & ~hidden & ~unbounded
        safe = np.maximum(ahead, NEAR)
        x, y = points[..., 0] / safe, points[..., 1] / safe
        nearest = 1 / safe.min(1)
        low_x, high_x, low_y, high_y = x.min(1), x.max(1), y.min(1), y.max(1)
        for i in np.flatnonzero(crossing):
            seen = _clipped(points[i])
            low_x[i], low_y[i] = seen.min(0)
            high_x[i], high_y[i] = seen.max(0)
    step_x, step_y = grid.x[1] - grid.x[0], grid.y[1] - grid.y[0]
    box = np.empty((len(points), 4), np.int64)
    for column, low, high, zero, step, size in (
        (0, low_x, high_x, grid.x[0], step_x, len(grid.x)),
        (2, low_y, high_y, grid.y[0], step_y, len(grid.y)),
    ):
        box[:, column] = np.clip(np.floor(np.clip((low - zero) / step, -1e6, 1e6)), 0, size - 1)
        box[:, column + 1] = np.clip(np.ceil(np.clip((high - zero) / step, -1e6, 1e6)) + 1, 1, size)
        hidden |= ~unbounded & (((high - zero) / step < 0) | ((low - zero) / step > size - 1))
    box[unbounded] = (0, len(grid.x), 0, len(grid.y))
    box[hidden, 1] = box[hidden, 0]
    box[hidden, 1] = np.maximum(box[hidden, 1], 0)
    nearest[unbounded] = -np.inf
    box[hidden] = (1, 1, 1, 1)
    return box, nearest


def _clipped(points: F64) -> F64:
    """`(n, 2)` image points of a box's corners in front of the near plane and of its edges' crossings with it."""
    start, end = points[_EDGES[:, 0]], points[_EDGES[:, 1]]
    cross = (start[:, 2] < NEAR) != (end[:, 2] < NEAR)
    part = (NEAR - start[cross, 2]) / (end[cross, 2] - start[cross, 2])
    seen = np.concatenate([points[points[:, 2] >= NEAR], start[cross] + part[:, None] * (end[cross] - start[cross])])
    return np.asarray(seen[:, :2] / np.maximum(seen[:, 2:], NEAR))
