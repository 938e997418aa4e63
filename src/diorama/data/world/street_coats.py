"""What streets are coated with: house fronts, asphalt with lane marks, sides of buses and trams."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diorama.data.world.materials import Texels, mix
from diorama.data.world.texture import chance, coverage, noise

F32 = NDArray[np.float32]


def _courses(t: Texels) -> tuple[F32, F32]:
    """Tone of each stone or brick of a wall, and the share of mortar between them."""
    tone, mortar = np.ones_like(t.u), np.zeros_like(t.u)
    kind = t.values[4]
    some = np.flatnonzero(((kind == 1) | (kind == 2)) & (t.footprint < np.where(kind == 2, 0.0195, 0.104)))
    long = np.where(kind[some] == 2, np.float32(0.24), np.float32(0.8))
    high = np.where(kind[some] == 2, np.float32(0.075), np.float32(0.4))
    footprint, up = t.footprint[some], t.v[some] / high
    line = np.floor(up)
    along = t.u[some] / long + 0.5 * (line % 2)
    joint = np.minimum(np.abs(along - np.round(along)) * long, np.abs(up - np.round(up)) * high)
    sharp = np.clip(1.3 - 5 * footprint / high, 0, 1)
    mortar[some] = 0.5 * coverage(0.008 - joint, footprint + np.float32(0.004)) * sharp
    tone[some] += 0.22 * (chance(np.floor(along), line, 3.0) - 0.5) * sharp
    return tone, mortar


def facade(t: Texels) -> F32:
    """A house front with windows. values: storey [m], bay [m], window share of width, of height, kind (0 plaster .. 3 glass), 1 = shops."""
    storey, bay = t.values[0], t.values[1]
    count = np.maximum(np.floor(t.size_u / bay), 1)
    bay = t.size_u / count
    column, row = np.floor(t.u / bay), np.floor(t.v / storey)
    x, y = (t.u / bay - column - 0.5) * bay, (t.v / storey - row - 0.52) * storey
    shop = (row < 1) & (t.values[5] > 0.5)
    wide = np.where(shop, 0.84, t.values[2]) * bay / 2
    tall = np.where(shop, 0.7, t.values[3]) * storey / 2
    exists = (t.v < t.size_v - 0.25 * storey) & (t.size_v > 1)
    gap = np.minimum(wide - np.abs(x), tall - np.abs(y))
    edge = np.clip(t.footprint, 0.01, None)
    opening = coverage(gap, edge) * exists
    border = coverage(gap + 0.12, edge) * exists
    frame = coverage(np.minimum(gap - 0.06, np.where(shop, 9.0, np.minimum(np.abs(x), np.abs(y - 0.35 * tall)) - 0.025)), edge)
    draw = chance(column, row, t.seed)
    bright = 0.03 + 0.10 * draw * draw + 0.09 * (y / storey + 0.5)
    blind = (y > tall * (1 - 2 * np.maximum(draw - 0.55, 0) * 1.6)) & ~shop
    pane = np.stack([bright * 0.85, bright * 0.95, bright * 1.1]) + 0.32 * blind
    tone, mortar = _courses(t)
    stain = 1 + 0.06 * t.grain(7.0, 2) + 0.05 * t.grain(1.6, 1)
    base = np.where(t.v < 0.7, np.float32(0.72), np.float32(1.0)) * (0.93 + 0.07 * np.clip(t.v / 4, 0, 1))
    wall = mix(t.colour * (tone * stain * base), 0.5, mortar)
    shade = 1 - 0.45 * coverage(np.minimum(wide - np.abs(x), np.minimum(tall - y, 0.22 - (tall - y))), edge) * opening
    wall = mix(wall, t.accent * 0.9, border)
    return mix(wall, mix(t.accent * 0.8, pane, frame) * shade, opening)


def road(t: Texels) -> F32:
    """Asphalt with lane marks; u runs across from the left kerb.

    values: half width [m], lane [m], 1 = parking, crossing z [m], its half width.
    """
    half, lane = t.values[0], t.values[1]
    x = t.u - t.size_u / 2
    main = t.values[3] > -50
    rough = 0.07 * t.grain(0.9, 3) + 0.09 * t.grain(7.0, 1)
    worn = 0.05 * np.cos(np.clip(np.abs(np.abs(x) - lane / 2) / lane, 0, 0.5) * 4 * np.pi) * main
    near = t.footprint < 0.066
    crack = np.zeros_like(rough)
    crack[near] = 0.22 * (np.abs(noise(t.u[near], t.v[near], 9.0, 4)) < 0.025) * (1.2 - 18 * t.footprint[near])
    asphalt = t.colour * (1 + rough + worn - crack)
    soft = t.footprint
    dash = coverage((0.25 - np.abs(t.v / 9 % 1 - 0.5)) * 9, soft * 2)
    gap = np.abs(t.v - t.values[3])
    open_road = gap > t.values[4] + 3.2
    mark = coverage(0.07 - np.abs(x), soft) * dash * open_road
    side = np.abs(np.abs(x) - lane)
    mark = np.maximum(
        mark,
        coverage(0.06 - side, soft)
        * np.where(t.values[2] > 0.5, coverage((0.3 - np.abs(t.v / 2 % 1 - 0.5)) * 2, soft * 2), 1.0)
        * open_road,
    )
    zebra = coverage((0.25 - np.abs(x % 1 - 0.5)), soft) * (np.abs(gap - t.values[4] - 1.6) < 1.3) * (np.abs(x) < half - 0.3)
    stop = coverage(0.2 - np.abs(gap - t.values[4] - 3.6), soft * 3) * (np.abs(x) < lane) * ((x > 0) == (t.v < t.values[3]))
    mark = np.maximum(np.maximum(mark, zebra), stop) * np.clip(0.85 + 0.25 * t.grain(2.0, 5), 0.3, 1) * main
    gutter = 1 - 0.25 * np.exp(-np.maximum(half - np.abs(x), 0) * 5) * main
    return mix(asphalt * gutter, t.accent, mark * 0.9)


def carriage(t: Texels) -> F32:
    """The side of a bus or tram: a band of windows. values: window width [m], from and to as share of the height."""
    y = t.v / t.size_v
    count = np.maximum(np.round(t.size_u / t.values[0]), 1)
    cell = t.u / t.size_u * count
    x = np.abs(cell - np.floor(cell) - 0.5) * t.size_u / count
    gap = np.minimum(t.size_u / count / 2 - 0.05 - x, np.minimum(y - t.values[1], t.values[2] - y) * t.size_v)
    glass = 0.03 + 0.05 * np.clip(y - t.values[1], 0, 1) + 0.03 * chance(np.floor(cell), t.seed)
    body = np.where(y > t.values[1] - 0.06, t.accent, t.colour) * (1 + 0.04 * t.grain(2.0, 1))
    body = np.where(y < 0.06, t.colour * 0.3, body)
    return mix(body, glass, coverage(gap, t.footprint))
