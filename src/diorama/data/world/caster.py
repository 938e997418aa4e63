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

from diorama.data.world.camera import Grid
from diorama.data.world.primitives import CUT_BARS, CUT_LEAF, CUT_RING, NO_CUT, Scene
from diorama.data.world.projection import Projected, project
from diorama.data.world.texture import TILE, tile

F32 = NDArray[np.float32]
Surface = NDArray[np.uint16] | int

_BAND = 12000  # grid points at a time, so that a primitive's planes stay in the processor's cache


@dataclass
class Hits:
    """What a cast found: `nearness` (inverse depth [1/m], or minus the distance along a beam [m]) and `surface` per grid point.

    Where nothing was hit, `surface` is the number of surfaces and nearness 0 (camera) or minus infinity (beam).
    """

    nearness: F32
    surface: NDArray[np.uint16]


@dataclass(frozen=True)
class _Part:
    """What one primitive is on the grid, as plain numbers."""

    fronts: int
    """How many of its planes face the viewer; they come first."""
    slope_x: F32
    slope_y: F32
    level: F32
    numbers: list[int]
    inside: bool
    curve: int
    """Its quadric, -1 if it has none."""
    curved: int
    """Surface number of its quadric."""


def cast(scene: Scene, grid: Grid, shadows_only: bool = False, holes: bool = True, smallest: int = 2) -> Hits:
    """The first surface along every ray of `grid`.

    `shadows_only` leaves out what throws no shadow or is less than `smallest` grid points wide; without `holes`, cut-outs are solid.
    """
    view = project(scene, grid)
    shape = len(grid.y), len(grid.x)
    hits = Hits(np.full(shape, -np.inf if grid.parallel else 0.0, np.float32), np.full(shape, scene.surfaces, np.uint16))
    wide, high = view.box[:, 1] - view.box[:, 0], view.box[:, 3] - view.box[:, 2]
    wanted = (wide > 0) & (high > 0)
    if shadows_only:
        wanted &= scene.casts & (np.maximum(wide, high) > smallest + 2)
    order = np.flatnonzero(wanted)
    order = order[np.argsort(-view.nearest[order], kind="stable")]
    x, y = grid.x.astype(np.float32), grid.y.astype(np.float32)[:, None]
    boxes, centres = view.box[order].tolist(), view.centre[order].astype(np.float32)
    bounds, cuts = view.nearest[order].tolist(), ((scene.cut[order] != NO_CUT) & holes).tolist()
    for i, (x0, x1, y0, y1), (middle_x, middle_y), bound, cut in zip(order.tolist(), boxes, centres, bounds, cuts, strict=True):
        part = _part(scene, view, i)
        across = x[x0:x1] - middle_x
        rows = max(_BAND // (x1 - x0), 1)
        for top in range(y0, y1, rows):
            low = min(top + rows, y1)
            known = hits.nearness[top:low, x0:x1]
            if known.size > 100 and -np.inf < bound <= known.min():
                continue
            found = _meet(view, part, across, y[top:low] - middle_y, known)
            if found is None:
                break
            near, surface, better = found
            if cut:
                _cut_out(scene, grid, i, (x0, x1, top, low), near, surface, better)
            np.copyto(known, near, where=better)
            np.copyto(hits.surface[top:low, x0:x1], surface, where=better)
    return hits


def _part(scene: Scene, view: Projected, i: int) -> _Part:
    own = slice(scene.first.item(i), scene.last.item(i))
    quadric = scene.quadric.item(i)
    numbers = view.number[own]
    return _Part(
        view.fronts[i],
        view.slope_x[own],
        view.slope_y[own],
        view.level[own],
        numbers,
        scene.inside.item(i),
        quadric,
        quadric + len(scene.planes),
    )


def _meet(view: Projected, part: _Part, x: F32, y: F32, known: F32) -> tuple[F32, Surface, NDArray[np.bool_]] | None:
    """Nearness and surface of a primitive, and where it is nearer than what is `known`; None if nowhere."""
    count, fronts = len(part.numbers), part.fronts
    far: F32 | None = None
    possible: NDArray[np.bool_] | None = None
    if count:
        walls = (part.slope_y * y + part.level) + part.slope_x * x
    if part.inside:
        near, surface = _select(walls, part.numbers, True)
        return near, surface, near > known
    if part.curve >= 0:
        cap = _select(walls[:fronts], part.numbers[:fronts], False) if fronts else None
        round_ = _meet_curve(view, part, x, y, cap)
        if round_ is None:
            return None
        near, surface, far, possible = round_
    elif not fronts:
        return None
    else:
        near, surface = _select(walls[:fronts], part.numbers[:fronts], False)
    if fronts < count:
        back = np.maximum.reduce(walls[fronts:], axis=0)
        far = back if far is None else np.maximum(far, back)
    better = near > known
    if far is not None:
        better &= near > far
    if possible is not None:
        better &= possible
    return near, surface, better


_Curve = tuple[F32, Surface, F32 | None, NDArray[np.bool_] | None]


def _meet_curve(view: Projected, part: _Part, x: F32, y: F32, cap: tuple[F32, Surface] | None) -> _Curve | None:
    """Nearness, surface, nearness of leaving and which rays meet a quadric whose `cap` faces the viewer (None if none does)."""
    a, b, c, d, e, f = view.square[part.curve]
    under = (a * x + d) * x + ((c * y + e) * y + f)
    if b:
        under += (b * y) * x
    possible = under > 0
    root = np.sqrt(np.maximum(under, 0, out=under), out=under)
    l0, l1, l2 = view.linear[part.curve]
    middle = l0 * x + (l1 * y + l2)
    if view.usable[part.curve]:
        near = middle + root
        far = np.subtract(middle, root, out=middle) if part.numbers else None
        if cap is None:
            return near, part.curved, far, possible
        surface = np.where(cap[0] < near, np.asarray(cap[1], np.uint16), np.uint16(part.curved))
        return np.minimum(near, cap[0]), surface, far, possible
    if cap is None:
        return None
    # The viewer is within the endless cylinder (before a cap) or the other half of its cone (where nearness is below both roots).
    beyond = cap[0] > middle + root
    near = np.where(beyond | ~possible, cap[0], np.minimum(cap[0], middle - root))
    far = np.where(beyond & possible, middle + root, np.float32(-np.inf))
    return near, np.where(near == cap[0], np.asarray(cap[1], np.uint16), np.uint16(part.curved)), far, None


def _select(walls: F32, numbers: list[int], largest: bool) -> tuple[F32, Surface]:
    """The smallest (or largest) of `(k, h, w)` values, and the surface it belongs to."""
    if len(numbers) == 1:
        return walls[0], numbers[0]
    best = (np.maximum if largest else np.minimum).reduce(walls, axis=0)
    surface = np.where(walls[1] == best, np.uint16(numbers[1]), np.uint16(numbers[0]))
    for k in range(2, len(numbers)):
        np.copyto(surface, np.uint16(numbers[k]), where=walls[k] == best)
    return best, surface


def _cut_out(
    scene: Scene, grid: Grid, i: int, box: tuple[int, int, int, int], near: F32, surface: Surface, better: NDArray[np.bool_]
) -> None:
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
