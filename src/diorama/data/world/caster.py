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
_BAND = 12000  # grid points at a time, so that a primitive's planes stay in the processor's cache


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
    owner = np.repeat(np.arange(len(centre)), scene.last - scene.first)
    order = np.lexsort((~facing ^ scene.inside[owner], owner))
    fronts = np.bincount(owner, facing ^ scene.inside[owner], len(centre)).astype(int)
    six = np.stack([square[:, 0, 0], 2 * square[:, 0, 1], square[:, 1, 1], 2 * square[:, 0, 2], 2 * square[:, 1, 2], square[:, 2, 2]], 1)
    slope_x, slope_y, level = np.ascontiguousarray(plane[order].T.astype(np.float32))[:, :, None, None]
    return _Projected(slope_x, slope_y, level, order.tolist(), fronts.tolist(), linear.tolist(), six.tolist(), usable.tolist(), box, centre, nearest)


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


def cast(scene: Scene, grid: Grid, shadows_only: bool = False, holes: bool = True) -> Hits:
    """The first surface along every ray of `grid`.

    `shadows_only` leaves out what throws no shadow or would cover less than a grid point; without `holes`, cut-outs are solid.
    """
    view = _project(scene, grid)
    shape = len(grid.y), len(grid.x)
    hits = Hits(np.full(shape, -np.inf if grid.parallel else 0.0, np.float32), np.full(shape, scene.surfaces, np.uint16))
    wanted = (view.box[:, 1] > view.box[:, 0]) & (view.box[:, 3] > view.box[:, 2])
    if shadows_only:
        wanted &= scene.casts & ((view.box[:, 1] - view.box[:, 0] > 4) | (view.box[:, 3] - view.box[:, 2] > 4))
    order = np.flatnonzero(wanted)
    x, y = grid.x.astype(np.float32), grid.y.astype(np.float32)[:, None]
    order = order[np.argsort(-view.nearest[order], kind="stable")]
    for i, (x0, x1, y0, y1), (middle_x, middle_y) in zip(order.tolist(), view.box[order].tolist(), view.centre[order].tolist(), strict=True):
        rows = max(_BAND // (x1 - x0), 1)
        for top in range(y0, y1, rows):
            low = min(top + rows, y1)
            known = hits.nearness[top:low, x0:x1]
            if known.size > 100 and -np.inf < view.nearest[i] <= known.min():
                continue
            found = _meet(scene, view, i, x[x0:x1] - np.float32(middle_x), y[top:low] - np.float32(middle_y), known)
            if found is None:
                break
            near, surface, better = found
            if holes and scene.cut[i] != NO_CUT:
                _cut_out(scene, grid, i, (x0, x1, top, low), near, surface, better)
            np.copyto(known, near, where=better)
            np.copyto(hits.surface[top:low, x0:x1], surface, where=better)
    return hits


def _meet(scene: Scene, view: _Projected, i: int, x: F32, y: F32, known: F32) -> tuple[F32, NDArray[np.uint16] | int, NDArray[np.bool_]] | None:
    """Nearness and surface of primitive i, and where it is nearer than what is `known`; None if nowhere."""
    first, last, quadric = int(scene.first[i]), int(scene.last[i]), int(scene.quadric[i])
    fronts = view.fronts[i]
    possible = far = None
    near: F32
    surface: NDArray[np.uint16] | int
    if first < last:
        walls = (view.slope_y[first:last] * y + view.level[first:last]) + view.slope_x[first:last] * x
    if scene.inside[i]:
        fronts = last - first
        near, surface = _select(walls, view.number[first:last], True)
        return near, surface, near > known
    if quadric >= 0:
        middle, root, possible = _curve(view, quadric, x, y)
        curved = quadric + len(scene.planes)
        cap, number = _select(walls[:fronts], view.number[first : first + fronts], False) if fronts else (None, curved)
        if view.usable[quadric]:
            near, surface = middle + root, curved
            far = np.subtract(middle, root, out=middle) if first < last else None
            if cap is not None:
                surface = np.where(cap < near, np.asarray(number, np.uint16), np.uint16(curved))
                np.minimum(near, cap, out=near)
        elif cap is None:
            return None
        else:
            # The viewer is within the endless cylinder (before a cap) or the other half of its cone (nearness below the roots).
            beyond = cap > middle + root
            near = np.where(beyond | ~possible, cap, np.minimum(cap, middle - root))
            far = np.where(beyond & possible, middle + root, np.float32(-np.inf))
            surface = np.where(near == cap, np.asarray(number, np.uint16), np.uint16(curved))
            possible = None
    elif not fronts:
        return None
    else:
        near, surface = _select(walls[:fronts], view.number[first : first + fronts], False)
    if fronts < last - first:
        back = np.maximum.reduce(walls[fronts:], axis=0)
        far = back if far is None else np.maximum(far, back, out=far)
    better = near > known
    if far is not None:
        better &= near > far
    if possible is not None:
        better &= possible
    return near, surface, better


def _curve(view: _Projected, quadric: int, x: F32, y: F32) -> tuple[F32, F32, NDArray[np.bool_]]:
    """Middle and half distance of the two nearnesses at which rays meet a quadric, and whether they do."""
    a, b, c, d, e, f = view.square[quadric]
    under = (a * x + d) * x + ((c * y + e) * y + f)
    if abs(b) > _TINY:
        under += (b * y) * x
    possible = under > 0
    root = np.sqrt(np.maximum(under, 0, out=under), out=under)
    l0, l1, l2 = view.linear[quadric]
    return l0 * x + (l1 * y + l2), root, possible


def _select(walls: F32, numbers: list[int], largest: bool) -> tuple[F32, NDArray[np.uint16] | int]:
    """The smallest (or largest) of `(k, h, w)` values, and the surface it belongs to."""
    if len(numbers) == 1:
        return walls[0], numbers[0]
    best = (np.maximum if largest else np.minimum).reduce(walls, axis=0)
    surface = np.where(walls[1] == best, np.uint16(numbers[1]), np.uint16(numbers[0]))
    for k in range(2, len(numbers)):
        np.copyto(surface, np.uint16(numbers[k]), where=walls[k] == best)
    return best, surface


def _cut_out(scene: Scene, grid: Grid, i: int, box: tuple[int, int, int, int], near: F32, surface: NDArray[np.uint16] | int, better: NDArray[np.bool_]) -> None:
    """Takes holes (between leaves, in a wheel, between bars) out of `better`, by the texture coordinates of the points hit."""
    rows, columns = np.nonzero(better)
    if not len(rows):
        return
    seen = np.full(len(rows), surface) if isinstance(surface, int) else surface[rows, columns]
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
    else:
        return
    better[rows[hole], columns[hole]] = False
