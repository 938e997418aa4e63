"""What surfaces look like: one small function per kind of material, from texture coordinates in metres to linear colour."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from diorama.data.world.materials import Texels, mix
from diorama.data.world.street_coats import carriage, facade, road
from diorama.data.world.texture import chance, coverage, noise

F32 = NDArray[np.float32]


def _plain(t: Texels) -> F32:
    """values: strength and period [m] of the stains."""
    strength = t.values[0]
    return np.asarray(t.colour * (1 + strength * (0.6 * t.grain(4.0) + 0.4 * t.grain(0.9, 1))))


def _mottle(t: Texels) -> F32:
    """Two colours in patches. values: sharpness, size [0 small .. 1 large]."""
    field = np.where(t.values[1] > 0.5, t.grain(6.0, 2), t.grain(1.6, 2))
    part = np.clip(0.5 + t.values[0] * field, 0, 1)
    return mix(t.colour, t.accent, part) * (1 + 0.08 * t.grain(0.7, 3))


def _planks(t: Texels) -> F32:
    """Wooden boards along v. values: width [m], length [m], contrast."""
    width, length = t.values[0], t.values[1]
    board = np.floor(t.u / width)
    start = chance(board, board * 0, t.seed) * length
    piece = np.floor((t.v + start) / length)
    tone = chance(board, piece, t.seed) - 0.5
    across = t.u / width - board
    gap = coverage(np.minimum(across, 1 - across) * width - 0.004, t.footprint)
    fade = 1 / (1 + np.square(t.footprint * 25))
    veins = noise(t.u * 6 + tone * 9, t.v * 0.5 + tone * 5, 3.0, 1) * fade
    shade = 1 + t.values[2] * (0.75 * tone + 0.22 * veins)
    return np.asarray(mix(t.colour, t.accent, 0.5 + 0.8 * tone) * (shade * (0.55 + 0.45 * gap)))


def _tiles(t: Texels) -> F32:
    """Slabs with joints in the accent colour. values: width [m], height [m], joint [m], contrast, 1 = every other row shifted."""
    width, height = t.values[0], t.values[1]
    row = np.floor(t.v / height)
    shifted = t.u / width + 0.5 * t.values[4] * (row % 2)
    column = np.floor(shifted)
    x, y = shifted - column, t.v / height - row
    edge = np.minimum(np.minimum(x, 1 - x) * width, np.minimum(y, 1 - y) * height) - t.values[2] / 2
    share = np.minimum(t.values[2] * (1 / width + 1 / height), 0.5)
    sharp = np.clip(1.5 - 4 * t.footprint / np.minimum(width, height), 0, 1)
    inside = mix(1 - share, coverage(edge, t.footprint), sharp)
    tone = (chance(column, row, t.seed) - 0.5) * sharp
    stone = t.colour * (1 + t.values[3] * tone + 0.07 * t.grain(1.5, 1) + 0.05 * t.grain(5.0))
    return mix(t.accent, stone, inside)


def _stripes(t: Texels) -> F32:
    """values: period [m], share of the accent, 1 = along v else along u."""
    along = np.where(t.values[2] > 0.5, t.u, t.v) / t.values[0]
    inside = 0.5 * t.values[1] - np.abs(along - np.floor(along) - 0.5)
    sharp = np.clip(2 - 3 * t.footprint / t.values[0], 0, 1)
    part = mix(t.values[1], coverage(inside * t.values[0], t.footprint), sharp)
    return mix(t.colour, t.accent, part) * (1 + 0.05 * t.grain(1.2, 1))


def _checks(t: Texels) -> F32:
    """Crossing bands, as on a plaid or a chess board. values: period [m]."""
    period = t.values[0]
    bands = [coverage((0.25 - np.abs(w / period - np.floor(w / period) - 0.5)) * period, t.footprint) for w in (t.u, t.v)]
    sharp = np.clip(2 - 4 * t.footprint / period, 0, 1)
    return mix(t.colour, t.accent, mix(np.float32(0.5), 0.5 * (bands[0] + bands[1]), sharp)) * (1 + 0.04 * t.grain(0.8, 1))


def _fabric(t: Texels) -> F32:
    """values: strength of weave and folds."""
    fade = 1 / (1 + np.square(t.footprint * 120))
    weave = noise(t.u, t.v, 0.35, 3) * fade
    return np.asarray(t.colour * (1 + t.values[0] * (0.5 * weave + 0.6 * t.grain(1.3, 2))))


def _folds(t: Texels) -> F32:
    """A curtain: soft vertical folds. values: period [m], depth."""
    wave = np.sin(2 * np.pi * (t.u + 0.05 * t.grain(3.0)) / t.values[0])
    return np.asarray(t.colour * (1 + t.values[1] * wave + 0.05 * t.grain(1.0, 1)))


def _rug(t: Texels) -> F32:
    """A carpet with borders and a pattern. values: border [m], pattern period [m]."""
    edge = np.minimum(np.minimum(t.u, t.size_u - t.u), np.minimum(t.v, t.size_v - t.v))
    border = t.values[0]
    line = coverage(border * 0.4 - np.abs(edge - border), t.footprint)
    period = t.values[1]
    diamond = np.abs((t.u / period) % 1 - 0.5) + np.abs((t.v / period) % 1 - 0.5)
    pattern = coverage((0.25 - np.abs(diamond - 0.5) * 1.4) * period, t.footprint) * (edge > 1.6 * border)
    return mix(t.colour, t.accent, np.maximum(line, 0.7 * pattern)) * (1 + 0.12 * t.grain(0.8, 3))


def _art(t: Texels) -> F32:
    """A framed picture; the frame has the accent colour. values: frame [m], 1 = with a white mount."""
    edge = np.minimum(np.minimum(t.u, t.size_u - t.u), np.minimum(t.v, t.size_v - t.v))
    x, y = t.u / t.size_u, t.v / t.size_v
    bend = noise(x + t.seed * 0.13, y * 0.7 + t.seed * 0.29, 2.6, 2)
    hill = 0.45 + 0.12 * bend + 0.1 * np.sin(3 * x + t.seed)
    blotch = noise(x + t.seed * 0.31, y + t.seed * 0.17, 1.7, 1)
    sky = np.stack([0.35 + 0.4 * y, 0.45 + 0.3 * y, 0.75 - 0.2 * y])
    tint = np.stack([chance(t.seed, t.seed * 0 + k) for k in range(3)])
    scene = np.where(y > hill, sky, tint * (0.45 + 0.5 * y)) * (1 + 0.35 * blotch)
    abstract = np.where(blotch > 0.2, tint, 1 - 0.8 * tint[::-1]) * np.where(bend > 0, 1.0, 0.35)
    picture = np.where(chance(t.seed, t.seed * 0 + 9) > 0.5, scene, abstract)
    mount = coverage(edge - t.values[0] * 2.5, t.footprint) * t.values[1] + (1 - t.values[1])
    inner = mix(np.float32(0.8), np.clip(picture, 0.02, 0.95), mount)
    return mix(t.accent, inner, coverage(edge - t.values[0], t.footprint))


def _pane(t: Texels) -> F32:
    """A window from within: sky over a horizon behind mullions of the accent colour. values: frame [m], panes across, panes up."""
    edge = np.minimum(np.minimum(t.u, t.size_u - t.u), np.minimum(t.v, t.size_v - t.v)) - t.values[0]
    for w, size, count in ((t.u, t.size_u, t.values[1]), (t.v, t.size_v, t.values[2])):
        cell = w / size * count
        middle = np.abs(cell - np.round(cell)) * size / count - t.values[0] * 0.4
        edge = np.minimum(edge, np.where((cell > 0.5) & (cell < count - 0.5), middle, 9.0))
    y = t.v / t.size_v
    ridge = 0.33 + 0.09 * noise(t.u + t.seed * 1.7, t.u * 0.2, 5.0, 1)
    trees = np.stack([0.10 + 0 * y, 0.17 + 0 * y, 0.07 + 0 * y]) * (1 + 0.4 * noise(t.u, t.v, 1.5, 2))
    sky = t.colour * (0.75 + 0.4 * y)
    outside = mix(trees, sky, coverage(y - ridge, t.footprint / t.size_v + 0.02)) * 2.2
    return mix(t.accent, outside, coverage(edge, t.footprint))


def _books(t: Texels) -> F32:
    """Spines of books standing in a row. values: mean width [m]."""
    place = t.u / t.values[0]
    place = place + 0.35 * np.sin(place * 2.1 + t.seed)
    book = np.floor(place)
    x = place - book
    hue = [chance(book, t.seed, k + 1.0) for k in range(3)]
    grey = chance(book, t.seed, 9.0)
    colour = np.stack([0.03 + 0.75 * h * h * (0.4 + 0.6 * grey) for h in hue])
    gap = coverage(np.minimum(x, 1 - x) * t.values[0] - 0.003, t.footprint)
    y = t.v / t.size_v
    label = ((y > 0.62) & (y < 0.72 + 0.1 * grey)) * (hue[0] > 0.4)
    return np.asarray((colour + 0.25 * label) * (0.35 + 0.65 * gap))


def _panels(t: Texels) -> F32:
    """Fronts of doors or drawers with dark joints and knobs of the accent colour. values: columns, rows, share of wood grain."""
    cell_u, cell_v = t.size_u / t.values[0], t.size_v / t.values[1]
    x, y = t.u / cell_u, t.v / cell_v
    x, y = x - np.floor(x), y - np.floor(y)
    edge = np.minimum(np.minimum(x, 1 - x) * cell_u, np.minimum(y, 1 - y) * cell_v)
    joint = coverage(edge - 0.006, t.footprint)
    bevel = np.where((edge > 0.05) & (edge < 0.065), 0.8, 1.0)
    knob = coverage(0.018 - np.hypot((x - 0.5) * cell_u, (y - 0.5) * cell_v), t.footprint)
    wood = np.maximum(1 + t.values[2] * noise(t.u * 5, t.v * 0.6 + t.seed, 3.0, 1) / (1 + np.square(t.footprint * 25)), 0.1)
    return mix(t.colour * (wood * bevel * (0.35 + 0.65 * joint)), t.accent, knob)


def _screen(t: Texels) -> F32:
    """A television: black, or with a picture on it. values: 1 = on."""
    edge = np.minimum(np.minimum(t.u, t.size_u - t.u), np.minimum(t.v, t.size_v - t.v))
    picture = np.stack([0.5 + 0.4 * noise(t.u + k + t.seed, t.v * 0.6 + k, 1.9 + 0.5 * k, 2) for k in range(3)])
    shown = np.clip(picture, 0.03, 1) * t.values[0] * 1.5
    return np.asarray(t.colour * (1 + 0.3 * t.v / t.size_v) + shown * coverage(edge - 0.025, t.footprint))


def _wood(t: Texels) -> F32:
    """values: strength of the grain."""
    fade = 1 / (1 + np.square(t.footprint * 25))
    long_side = t.size_u >= t.size_v
    across, along = np.where(long_side, t.v, t.u), np.where(long_side, t.u, t.v)
    return np.asarray(t.colour * np.maximum(1 + t.values[0] * noise(across * 5 + t.seed * 0.7, along * 0.5, 3.0, 1) * fade, 0.1))


def _leaves(t: Texels) -> F32:
    """Foliage: light and dark clumps of two greens."""
    clump = t.grain(2.4, 1)
    fine = t.grain(0.7, 2)
    return np.asarray(
        mix(t.colour, t.accent, np.clip(0.45 + 0.25 * clump + 0.2 * fine, 0, 1)) * np.clip(1 + 0.3 * clump + 0.25 * fine, 0.15, 2)
    )


Shader = Callable[[Texels], F32]

KINDS: dict[str, Shader] = {
    "plain": _plain,
    "mottle": _mottle,
    "planks": _planks,
    "tiles": _tiles,
    "stripes": _stripes,
    "checks": _checks,
    "fabric": _fabric,
    "folds": _folds,
    "rug": _rug,
    "art": _art,
    "pane": _pane,
    "books": _books,
    "panels": _panels,
    "screen": _screen,
    "wood": _wood,
    "leaves": _leaves,
    "facade": facade,
    "road": road,
    "carriage": carriage,
}
