"""Which surface each pixel sees, and how near: front-to-back over convex primitives, each only inside its projected box.

The trick that makes NumPy fast enough: along a pixel's ray, the *nearness* at which a plane is met is a linear function of
the pixel. For a pinhole camera nearness is inverse depth (`1 / z = (n . d) / c`), for parallel light it is minus the distance;
a quadric adds the square root of a quadratic polynomial. So a convex primitive is `min` over the planes that face the viewer
against `max` over the others, and one kernel serves camera views, sun shadows and lamps alike, exact to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diorama.data.world.primitives import CUT_BARS, CUT_LEAF, CUT_RING, NO_CUT, Scene
from diorama.data.world.texture import TILE, tile

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

NEAR = 0.05
"""Nothing closer than this is looked for when bounding boxes are made [m]."""

_EDGES = np.array([[a, a | bit] for a in range(8) for bit in (1, 2, 4) if not a & bit])
_TINY = 1e-12


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
        return Camera(self.height, self.width, self.focal_x, self.focal_y, self.centre_x, self.centre_y, self.position + baseline * self.rotation[0], self.rotation)


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


@dataclass
class Hits:
    """What a cast found: `nearness` (inverse depth [1/m], or minus the distance along a beam [m]) and `surface` per grid point.

    Where nothing was hit, `surface` is the number of surfaces and nearness 0 (camera) or minus infinity (beam).
    """

    nearness: F32
    surface: NDArray[np.uint16]


def camera_grid(camera: Camera, double: bool = False) -> Grid:
    """The rays of a camera's pixel centres; `double` adds the points half-way, `(2H + 1, 2W + 1)` with centres at odd places."""
    if double:
        u, v = np.arange(2 * camera.width + 1) / 2 - 0.5, np.arange(2 * camera.height + 1) / 2 - 0.5
    else:
        u, v = np.arange(camera.width, dtype=np.float64), np.arange(camera.height, dtype=np.float64)
    return Grid((u - camera.centre_x) / camera.focal_x, (v - camera.centre_y) / camera.focal_y, camera.position, camera.rotation, False)


def beam_grid(beam: Beam) -> Grid:
    """The rays of a beam."""
    return Grid(np.arange(beam.width) * beam.step, np.arange(beam.height) * beam.step, beam.position, beam.rotation, True)


@dataclass
class _Projected:
    """A scene as linear and quadratic functions of grid coordinates relative to each primitive's `centre`."""

    plane: F64  # (P, 3) nearness = p0 x + p1 y + p2
    facing: NDArray[np.bool_]  # (P,) the viewer is outside of this plane
    linear: F64  # (Q, 3)
    square: F64  # (Q, 3, 3)
    usable: NDArray[np.bool_]  # (Q,) the viewer is outside
    box: NDArray[np.int64]  # (N, 4) x0 x1 y0 y1 in grid points
    centre: F64  # (N, 2)
    nearest: F64  # (N,) an upper bound of the nearness


def _signed(value: F64) -> F64:
    return np.where(np.abs(value) < _TINY, np.where(value < 0, -_TINY, _TINY), value)


def _project(scene: Scene, grid: Grid) -> _Projected:
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
    rest = np.einsum("i,qij,j->q", grid.origin, scene.quadrics[:, :3, :3], grid.origin) + 2 * scene.quadrics[:, :3, 3] @ grid.origin + scene.quadrics[:, 3, 3]
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
    return _Projected(plane, facing, linear, square, usable, box, centre, nearest)


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
    for column, low, high, zero, step, size in ((0, low_x, high_x, grid.x[0], step_x, len(grid.x)), (2, low_y, high_y, grid.y[0], step_y, len(grid.y))):
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
    return seen[:, :2] / np.maximum(seen[:, 2:], NEAR)


def cast(scene: Scene, grid: Grid, shadows_only: bool = False) -> Hits:
    """The first surface along every ray of `grid`; `shadows_only` leaves out what throws no shadow."""
    view = _project(scene, grid)
    shape = len(grid.y), len(grid.x)
    hits = Hits(np.full(shape, -np.inf if grid.parallel else 0.0, np.float32), np.full(shape, scene.surfaces, np.uint16))
    wanted = (view.box[:, 1] > view.box[:, 0]) & (view.box[:, 3] > view.box[:, 2])
    if shadows_only:
        wanted &= scene.casts
    order = np.flatnonzero(wanted)
    for i in order[np.argsort(-view.nearest[order], kind="stable")]:
        _draw(scene, grid, view, int(i), hits)
    return hits


def _draw(scene: Scene, grid: Grid, view: _Projected, i: int, hits: Hits) -> None:
    x0, x1, y0, y1 = view.box[i].tolist()
    known = hits.nearness[y0:y1, x0:x1]
    if known.size > 200 and view.nearest[i] <= known.min() and scene.cut[i] == NO_CUT and np.isfinite(view.nearest[i]):
        return
    x = (grid.x[x0:x1] - view.centre[i, 0]).astype(np.float32)
    y = (grid.y[y0:y1] - view.centre[i, 1]).astype(np.float32)[:, None]
    first, last, quadric = int(scene.first[i]), int(scene.last[i]), int(scene.quadric[i])
    facing = view.facing[first:last].tolist()
    if scene.inside[i]:
        facing = [not seen for seen in facing]
    fronts = [first + k for k, seen in enumerate(facing) if seen]
    backs = [first + k for k, seen in enumerate(facing) if not seen]
    planes = view.plane[first:last].astype(np.float32)
    if scene.inside[i]:
        near, surface = _meet([(j, planes[j - first]) for j in fronts + backs], x, y, None, scene.surfaces, np.maximum)
        better = near > known
    else:
        start = None
        far = None
        if quadric >= 0:
            if not view.usable[quadric]:
                return
            start, far, possible = _curve(view, quadric, x, y)
        elif not fronts:
            return
        near, surface = _meet([(j, planes[j - first]) for j in fronts], x, y, start, quadric + len(scene.planes), np.minimum)
        for j in backs:
            a, b, c = planes[j - first]
            wall = a * x + (b * y + c)
            far = wall if far is None else np.maximum(far, wall, out=far)
        better = near > known
        if far is not None:
            better &= near > far
        if start is not None:
            better &= possible
    if scene.cut[i] != NO_CUT:
        _cut_out(scene, grid, i, (x0, x1, y0, y1), near, surface, better)
    np.copyto(known, near, where=better)
    np.copyto(hits.surface[y0:y1, x0:x1], surface, where=better)


def _meet(planes: list[tuple[int, F32]], x: F32, y: F32, near: F32 | None, number: int, pick: np.ufunc) -> tuple[F32, NDArray[np.uint16]]:
    """The nearness over several planes (and a curve `near` with surface `number`), and which of them it is."""
    surface = np.array([[number]], np.uint16)
    for j, (a, b, c) in planes:
        wall = a * x + (b * y + c)
        if near is None:
            near, surface = wall, np.array([[j]], np.uint16)
            continue
        if surface.size == 1:
            surface = np.full(near.shape, surface[0, 0], np.uint16)
        np.copyto(surface, j, where=wall < near if pick is np.minimum else wall > near)
        pick(near, wall, out=near)
    assert near is not None
    return near, surface


def _curve(view: _Projected, quadric: int, x: F32, y: F32) -> tuple[F32, F32, NDArray[np.bool_]]:
    """Nearness at which rays enter and leave a quadric, and which of them meet it at all."""
    (a, b, d), (_, c, e), (_, _, f) = view.square[quadric].astype(np.float32)
    under = (a * x + 2 * d) * x + ((c * y + 2 * e) * y + f)
    if b:
        under += (2 * b * y) * x
    possible = under > 0
    root = np.sqrt(np.maximum(under, 0, out=under), out=under)
    l0, l1, l2 = view.linear[quadric].astype(np.float32)
    middle = l0 * x + (l1 * y + l2)
    return middle + root, middle - root, possible


def _cut_out(scene: Scene, grid: Grid, i: int, box: tuple[int, int, int, int], near: F32, surface: NDArray[np.uint16], better: NDArray[np.bool_]) -> None:
    """Takes holes (between leaves, in a wheel, between bars) out of `better`, by the texture coordinates of the points hit."""
    rows, columns = np.nonzero(better)
    if not len(rows):
        return
    seen = np.broadcast_to(surface, better.shape)[rows, columns] if surface.size > 1 else np.full(len(rows), surface[0, 0])
    s = near[rows, columns]
    x, y = grid.x[box[0] : box[1]].astype(np.float32)[columns], grid.y[box[2] : box[3]].astype(np.float32)[rows]
    frame = scene.frame[:, seen]
    axes = grid.rotation.astype(np.float32)
    scale = np.float32(1.0) if grid.parallel else 1 / s
    ahead = -s if grid.parallel else scale
    origin = grid.origin.astype(np.float32)
    where = [origin[k] + (x * axes[0, k] + y * axes[1, k]) * scale + ahead * axes[2, k] for k in range(3)]
    u = frame[0] * where[0] + frame[1] * where[1] + frame[2] * where[2] + frame[3]
    v = frame[4] * where[0] + frame[5] * where[1] + frame[6] * where[2] + frame[7]
    value = float(scene.cut_value[i])
    kind = scene.cut[i]
    if kind == CUT_LEAF:
        texels = TILE / 2.4
        row, column = (v * texels).astype(np.int32) & (TILE - 1), (u * texels).astype(np.int32) & (TILE - 1)
        hole = tile(1).ravel().take(row * TILE + column) < value
    elif kind == CUT_RING:
        hole = (np.hypot(u / frame[8] - 0.5, v / frame[9] - 0.5) < 0.5 * value) & (seen < len(scene.planes))
    elif kind == CUT_BARS:
        hole = ((u / value) % 1.0 > 0.3) & (np.abs(v / frame[9] - 0.5) < 0.42)
    better[rows[hole], columns[hole]] = False
