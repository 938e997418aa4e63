"""What surfaces look like: one small function per kind of material, from texture coordinates in metres to linear colour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diorama.data.world.texture import chance, coverage, noise

F32 = NDArray[np.float32]
Colour = tuple[float, float, float]

PARAMETERS = 6


@dataclass(frozen=True)
class Material:
    """A kind (a key of `KINDS`), two colours (sRGB 0..1) and what its function reads as parameters."""

    kind: str
    colour: Colour
    accent: Colour = (0.0, 0.0, 0.0)
    values: tuple[float, ...] = ()
    seed: int = 0
    gloss: float = 0.0
    """Share of the mirrored sky or lamp at a right angle, 0..1."""
    glow: float = 0.0
    """Light it gives off, in units of its colour."""


@dataclass
class Texels:
    """Samples that share a kind of material: `(n,)` coordinates [m], pixel footprint [m], face size [m]; `(3, n)` colours."""

    u: F32
    v: F32
    footprint: F32
    size_u: F32
    size_v: F32
    colour: F32
    accent: F32
    values: F32
    seed: F32

    def grain(self, period: float, channel: int = 0, stretch: float = 1.0) -> F32:
        """Noise that repeats after `period` metres, fading out where pixels are too coarse for it."""
        shift = self.seed * np.float32(0.37 * period)
        fade = 1 / (1 + np.square(self.footprint * np.float32(40.0 / period)))
        return noise(self.u + shift, (self.v + shift) * np.float32(stretch), period, channel) * fade


def _mix(low: F32, high: F32, part: F32) -> F32:
    return low + (high - low) * part


def _plain(t: Texels) -> F32:
    """values: strength and period [m] of the stains."""
    strength = t.values[0]
    return t.colour * (1 + strength * (0.6 * t.grain(4.0) + 0.4 * t.grain(0.9, 1)))


def _mottle(t: Texels) -> F32:
    """Two colours in patches. values: sharpness, size [0 small .. 1 large]."""
    field = np.where(t.values[1] > 0.5, t.grain(6.0, 2), t.grain(1.6, 2))
    part = np.clip(0.5 + t.values[0] * field, 0, 1)
    return _mix(t.colour, t.accent, part) * (1 + 0.08 * t.grain(0.7, 3))


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
    return _mix(t.colour, t.accent, 0.5 + 0.8 * tone) * (shade * (0.55 + 0.45 * gap))


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
    inside = _mix(1 - share, coverage(edge, t.footprint), sharp)
    tone = (chance(column, row, t.seed) - 0.5) * sharp
    stone = t.colour * (1 + t.values[3] * tone + 0.07 * t.grain(1.5, 1) + 0.05 * t.grain(5.0))
    return _mix(t.accent, stone, inside)


def _stripes(t: Texels) -> F32:
    """values: period [m], share of the accent, 1 = along v else along u."""
    along = np.where(t.values[2] > 0.5, t.u, t.v) / t.values[0]
    inside = 0.5 * t.values[1] - np.abs(along - np.floor(along) - 0.5)
    sharp = np.clip(2 - 3 * t.footprint / t.values[0], 0, 1)
    part = _mix(t.values[1], coverage(inside * t.values[0], t.footprint), sharp)
    return _mix(t.colour, t.accent, part) * (1 + 0.05 * t.grain(1.2, 1))


def _checks(t: Texels) -> F32:
    """Crossing bands, as on a plaid or a chess board. values: period [m]."""
    period = t.values[0]
    bands = [coverage((0.25 - np.abs(w / period - np.floor(w / period) - 0.5)) * period, t.footprint) for w in (t.u, t.v)]
    sharp = np.clip(2 - 4 * t.footprint / period, 0, 1)
    return _mix(t.colour, t.accent, _mix(np.float32(0.5), 0.5 * (bands[0] + bands[1]), sharp)) * (1 + 0.04 * t.grain(0.8, 1))


def _fabric(t: Texels) -> F32:
    """values: strength of weave and folds."""
    fade = 1 / (1 + np.square(t.footprint * 120))
    weave = noise(t.u, t.v, 0.35, 3) * fade
    return t.colour * (1 + t.values[0] * (0.5 * weave + 0.6 * t.grain(1.3, 2)))


def _folds(t: Texels) -> F32:
    """A curtain: soft vertical folds. values: period [m], depth."""
    wave = np.sin(2 * np.pi * (t.u + 0.05 * t.grain(3.0)) / t.values[0])
    return t.colour * (1 + t.values[1] * wave + 0.05 * t.grain(1.0, 1))


def _rug(t: Texels) -> F32:
    """A carpet with borders and a pattern. values: border [m], pattern period [m]."""
    edge = np.minimum(np.minimum(t.u, t.size_u - t.u), np.minimum(t.v, t.size_v - t.v))
    border = t.values[0]
    line = coverage(border * 0.4 - np.abs(edge - border), t.footprint)
    period = t.values[1]
    diamond = np.abs((t.u / period) % 1 - 0.5) + np.abs((t.v / period) % 1 - 0.5)
    pattern = coverage((0.25 - np.abs(diamond - 0.5) * 1.4) * period, t.footprint) * (edge > 1.6 * border)
    return _mix(t.colour, t.accent, np.maximum(line, 0.7 * pattern)) * (1 + 0.12 * t.grain(0.8, 3))


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
    inner = _mix(np.float32(0.8), np.clip(picture, 0.02, 0.95), mount)
    return _mix(t.accent, inner, coverage(edge - t.values[0], t.footprint))


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
    outside = _mix(trees, sky, coverage(y - ridge, t.footprint / t.size_v + 0.02)) * 2.2
    return _mix(t.accent, outside, coverage(edge, t.footprint))


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
    return (colour + 0.25 * label) * (0.35 + 0.65 * gap)


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
    return _mix(t.colour * (wood * bevel * (0.35 + 0.65 * joint)), t.accent, knob)


def _screen(t: Texels) -> F32:
    """A television: black, or with a picture on it. values: 1 = on."""
    edge = np.minimum(np.minimum(t.u, t.size_u - t.u), np.minimum(t.v, t.size_v - t.v))
    picture = np.stack([0.5 + 0.4 * noise(t.u + k + t.seed, t.v * 0.6 + k, 1.9 + 0.5 * k, 2) for k in range(3)])
    shown = np.clip(picture, 0.03, 1) * t.values[0] * 1.5
    return t.colour * (1 + 0.3 * t.v / t.size_v) + shown * coverage(edge - 0.025, t.footprint)


def _wood(t: Texels) -> F32:
    """values: strength of the grain."""
    fade = 1 / (1 + np.square(t.footprint * 25))
    long_side = t.size_u >= t.size_v
    across, along = np.where(long_side, t.v, t.u), np.where(long_side, t.u, t.v)
    return t.colour * np.maximum(1 + t.values[0] * noise(across * 5 + t.seed * 0.7, along * 0.5, 3.0, 1) * fade, 0.1)


def _leaves(t: Texels) -> F32:
    """Foliage: light and dark clumps of two greens."""
    clump = t.grain(2.4, 1)
    fine = t.grain(0.7, 2)
    return _mix(t.colour, t.accent, np.clip(0.45 + 0.25 * clump + 0.2 * fine, 0, 1)) * np.clip(1 + 0.3 * clump + 0.25 * fine, 0.15, 2)


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


def _facade(t: Texels) -> F32:
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
    base = np.where(t.v < 0.7, 0.72, 1.0) * (0.93 + 0.07 * np.clip(t.v / 4, 0, 1))
    wall = t.colour * (tone * stain * base)
    wall += (0.5 - wall) * mortar
    shade = 1 - 0.45 * coverage(np.minimum(wide - np.abs(x), np.minimum(tall - y, 0.22 - (tall - y))), edge) * opening
    wall = _mix(wall, t.accent * 0.9, border)
    return _mix(wall, _mix(t.accent * 0.8, pane, frame) * shade, opening)


def _road(t: Texels) -> F32:
    """Asphalt with lane marks; u runs across from the left kerb. values: half width [m], lane [m], 1 = parking, crossing z [m], its half width."""
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
    mark = np.maximum(mark, coverage(0.06 - side, soft) * np.where(t.values[2] > 0.5, coverage((0.3 - np.abs(t.v / 2 % 1 - 0.5)) * 2, soft * 2), 1.0) * open_road)
    zebra = coverage((0.25 - np.abs(x % 1 - 0.5)), soft) * (np.abs(gap - t.values[4] - 1.6) < 1.3) * (np.abs(x) < half - 0.3)
    stop = coverage(0.2 - np.abs(gap - t.values[4] - 3.6), soft * 3) * (np.abs(x) < lane) * ((x > 0) == (t.v < t.values[3]))
    mark = np.maximum(np.maximum(mark, zebra), stop) * np.clip(0.85 + 0.25 * t.grain(2.0, 5), 0.3, 1) * main
    gutter = 1 - 0.25 * np.exp(-np.maximum(half - np.abs(x), 0) * 5) * main
    return _mix(asphalt * gutter, t.accent, mark * 0.9)


def _carriage(t: Texels) -> F32:
    """The side of a bus or tram: a band of windows. values: window width [m], from and to as share of the height."""
    y = t.v / t.size_v
    count = np.maximum(np.round(t.size_u / t.values[0]), 1)
    cell = t.u / t.size_u * count
    x = np.abs(cell - np.floor(cell) - 0.5) * t.size_u / count
    gap = np.minimum(t.size_u / count / 2 - 0.05 - x, np.minimum(y - t.values[1], t.values[2] - y) * t.size_v)
    glass = 0.03 + 0.05 * np.clip(y - t.values[1], 0, 1) + 0.03 * chance(np.floor(cell), t.seed)
    body = np.where(y > t.values[1] - 0.06, t.accent, t.colour) * (1 + 0.04 * t.grain(2.0, 1))
    body = np.where(y < 0.06, t.colour * 0.3, body)
    return _mix(body, glass, coverage(gap, t.footprint))


Shader = Callable[[Texels], F32]

KINDS: dict[str, Shader] = {
    "plain": _plain, "mottle": _mottle, "planks": _planks, "tiles": _tiles, "stripes": _stripes, "checks": _checks, "fabric": _fabric,
    "folds": _folds, "rug": _rug, "art": _art, "pane": _pane, "books": _books, "panels": _panels, "screen": _screen, "wood": _wood, "leaves": _leaves,
    "facade": _facade, "road": _road, "carriage": _carriage,
}  # fmt: skip


@dataclass
class Palette:
    """The materials of a scene as arrays, one column each."""

    kinds: list[str]
    kind: NDArray[np.int64]
    colour: F32
    accent: F32
    values: F32
    seed: F32
    gloss: F32
    glow: F32


def palette(materials: list[Material]) -> Palette:
    """`materials` as arrays with linear colours."""
    kinds = sorted({m.kind for m in materials})
    values = np.zeros((PARAMETERS, len(materials)), np.float32)
    for i, m in enumerate(materials):
        values[: len(m.values), i] = m.values
    return Palette(
        kinds, np.array([kinds.index(m.kind) for m in materials]),
        np.array([m.colour for m in materials], np.float32).T ** np.float32(2.2), np.array([m.accent for m in materials], np.float32).T ** np.float32(2.2),
        values, np.array([m.seed & 255 for m in materials], np.float32), np.array([m.gloss for m in materials], np.float32),
        np.array([m.glow for m in materials], np.float32),
    )  # fmt: skip
