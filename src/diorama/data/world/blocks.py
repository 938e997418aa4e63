"""What lines a street: the ground it lies on, houses, parks, fences and walls."""

from __future__ import annotations

import colorsys
import itertools
from dataclasses import dataclass, field

from diorama.data.world import roadside
from diorama.data.world.primitives import CUT_BARS
from diorama.data.world.props import BARRIER, BUILDING, FENCE, ROAD, SIDEWALK, TERRAIN, VEGETATION, Props
from diorama.data.world.style import StreetStyle

START, END, NEAR = -24.0, 150.0, 28.0
"""Where the street begins and ends along z, and up to where things get their small parts [m]."""

KERB = 0.12
"""Height of the sidewalk [m]."""


@dataclass
class Street:
    """A street while it is built: half widths from its middle [m], what is taken on the ground."""

    kit: Props
    style: StreetStyle
    road: float
    walk: float
    lane: float
    parking: bool
    crossing: float
    """Where the side street crosses, z [m]."""
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    def free(self, x: float, z: float, half_x: float, half_z: float) -> bool:
        """Claims a rectangle on the ground if nothing stands there."""
        if any(x + half_x > a and x - half_x < b and z + half_z > c and z - half_z < d for a, b, c, d in self.taken):
            return False
        self.taken.append((x - half_x, x + half_x, z - half_z, z + half_z))
        return True


def ground(street: Street) -> None:
    """Terrain, road with its marks, the side street, sidewalks and kerbs."""
    kit, builder = street.kit, street.kit.builder
    grass = kit.paint("mottle", (0.3, 0.4, 0.17), (0.42, 0.47, 0.22), values=(0.5, 1.0))
    builder.ground(-0.03, grass, TERRAIN)
    tone = kit.uniform(0.27, 0.42)
    asphalt = kit.paint(
        "road",
        (tone, tone, tone * 1.03),
        (0.86, 0.86, 0.83),
        values=(street.road, street.lane, float(street.parking), street.crossing - START, kit.uniform(4, 9)),
    )
    length, middle = END - START, (END + START) / 2
    builder.box((0, -0.02, middle), (2 * street.road, 0.04, length), asphalt, ROAD, casts=False)
    plain = kit.paint("road", (tone, tone, tone * 1.03), (0.86, 0.86, 0.83), values=(street.road, street.lane, 0.0, -99.0, 0.0))
    slab = kit.uniform(0.45, 0.62)
    size = kit.uniform(0.4, 0.9)
    stone = kit.paint("tiles", (slab * 1.03, slab, slab * 0.95), (0.3, 0.29, 0.28), values=(size, size, 0.015, 0.14, float(kit.maybe(0.5))))
    kerb = kit.paint("tiles", (0.62, 0.61, 0.59), (0.35, 0.35, 0.34), values=(0.3, 1.0, 0.015, 0.1, 0.0))
    gap = street.lane + 0.8
    for side in (-1, 1):
        for low, high in _stretches(street.crossing - gap, street.crossing + gap):
            x, long = side * (street.road + street.walk / 2), high - low
            builder.box((x, KERB / 2 - 0.03, (low + high) / 2), (street.walk, KERB + 0.06, long), stone, SIDEWALK, casts=False)
            edge = side * (street.road + 0.08)
            builder.box((edge, KERB / 2 - 0.028, (low + high) / 2), (0.17, KERB + 0.066, long), kerb, SIDEWALK, casts=False)
        reach = 45.0
        builder.box((side * (street.road + reach / 2), -0.021, street.crossing), (reach, 0.04, 2 * gap - 1.0), plain, ROAD, casts=False)


def _stretches(before: float, after: float) -> list[tuple[float, float]]:
    """The street from `START` to `before` and from `after` to `END`, in pieces: short ones nearby keep their projected boxes tight."""
    cuts = (START, 5.0, 9.0, 16.0, 40.0, END)
    pieces = [(low, min(high, before)) for low, high in itertools.pairwise(cuts) if low < before]
    return pieces + [(max(low, after), high) for low, high in itertools.pairwise(cuts) if high > after]


def _wall(street: Street) -> int:
    kit, style = street.kit, street.style
    kind = style.facades[kit.integer(0, len(style.facades))]
    value = kit.uniform(*style.wall_value)
    warm = kit.maybe(0.75)
    hue = kit.uniform(0.02, 0.14) if warm else kit.uniform(0, 1)
    saturation = kit.uniform(*style.wall_saturation) * (1.0 if warm else 0.6)
    if kind == "brick":
        colour = colorsys.hsv_to_rgb(kit.uniform(0.01, 0.07), kit.uniform(0.35, 0.6), kit.uniform(0.35, 0.58))
    elif kind == "glass":
        colour = colorsys.hsv_to_rgb(0.58, 0.1, kit.uniform(0.35, 0.6))
    else:
        colour = colorsys.hsv_to_rgb(hue, saturation * (0.4 if kind == "stone" else 1.0), value)
    trim = (0.85, 0.84, 0.8) if kit.maybe(0.6) else (0.3, 0.28, 0.26)
    storey, bay = kit.uniform(2.9, 3.4), kit.uniform(1.7, 3.2)
    wide, tall = (0.86, 0.8) if kind == "glass" else (kit.uniform(0.36, 0.56), kit.uniform(0.45, 0.62))
    return kit.paint(
        "facade",
        colour,
        trim,
        values=(storey, bay, wide, tall, {"plaster": 0.0, "stone": 1.0, "brick": 2.0, "glass": 3.0}[kind], float(kit.maybe(0.5))),
    )


def _house(street: Street, side: int, z: float, width: float, setback: float) -> None:
    """One house with its street side at the sidewalk's edge (plus `setback`)."""
    kit, builder = street.kit, street.kit.builder
    wall, floors = _wall(street), kit.integer(int(street.style.floors[0]), int(street.style.floors[1]) + 1)
    storey = builder.materials[wall].values[0]
    height, depth = floors * storey + kit.uniform(0.3, 0.9), kit.uniform(9, 14)
    x = side * (street.road + street.walk + setback + depth / 2)
    roof = kit.paint(
        "tiles",
        colorsys.hsv_to_rgb(kit.uniform(0.0, 0.06), kit.uniform(0.2, 0.6), kit.uniform(0.25, 0.45)),
        (0.16, 0.12, 0.1),
        values=(0.3, 0.35, 0.02, 0.2, 1.0),
    )
    grey = kit.paint("plain", (0.42, 0.41, 0.4), values=(0.08, 1.0))
    builder.box((x, height / 2, z), (depth, height, width), wall, BUILDING, faces={"top": grey})
    trim = kit.paint("plain", builder.materials[wall].accent, values=(0.05, 1.0))
    near = z + width / 2 > -2 and z - width / 2 < 45
    if kit.maybe(street.style.roof):
        rise = kit.uniform(2.2, 4.2)
        builder.box((x, height + rise / 2, z), (depth + 0.7, rise, width + 0.1), roof, BUILDING, taper=(0.02, 1.0))
        if near:
            for k in range(kit.integer(0, 3)):
                builder.box(
                    (x - side * depth * 0.22, height + rise * 0.6, z + (k - 0.5) * width * 0.3),
                    (1.6, 1.5, 1.3),
                    grey,
                    BUILDING,
                    taper=(1.0, 0.9),
                )
            builder.box((x, height + rise, z + kit.uniform(-0.3, 0.3) * width), (0.6, 1.6, 0.9), roof, BUILDING)
    else:
        builder.box((x, height + 0.12, z), (depth + 0.5, 0.35, width + 0.02), trim, BUILDING)
        if near and kit.maybe(0.5):
            builder.box((x, height + 0.9, z), (3, 1.6, 3), grey, BUILDING)
    if near:
        front = side * (street.road + street.walk + setback)
        if kit.maybe(0.6):
            builder.box((front - side * 0.06, storey + 0.02, z), (0.16, 0.22, width), trim, BUILDING)
        if kit.maybe(0.35):
            awning = kit.paint("stripes", colorsys.hsv_to_rgb(kit.uniform(0, 1), 0.6, 0.6), (0.9, 0.9, 0.86), values=(0.5, 0.5, 1.0))
            builder.box(
                (front - side * 0.6, 2.75, z + kit.uniform(-0.2, 0.2) * width),
                (1.2, 0.5, width * 0.4),
                awning,
                BUILDING,
                taper=(0.1, 1.0),
                shift=(side * 0.54, 0),
            )
        if kit.maybe(0.4):
            bay = builder.materials[wall].values[1]
            for floor in range(1, min(floors, 4)):
                for k in range(int(width / bay / 2)):
                    at = z - width / 2 + bay * (2 * k + 1.5)
                    builder.box((front - side * 0.45, floor * storey + 0.45, at), (0.9, 0.12, bay * 0.9), grey, BUILDING)
                    builder.box(
                        (front - side * 0.88, floor * storey + 0.95, at),
                        (0.05, 0.95, bay * 0.9),
                        kit.dark,
                        BUILDING,
                        cut=CUT_BARS,
                        cut_value=0.16,
                    )


def _park(street: Street, side: int, low: float, high: float) -> None:
    """Grass with trees behind a fence, a wall or a hedge."""
    kit, builder = street.kit, street.kit.builder
    x, middle, length = side * (street.road + street.walk + 0.15), (low + high) / 2, high - low
    kind = kit.integer(0, 3)
    if kind == 0:
        colour = (0.16, 0.2, 0.17) if kit.maybe(0.5) else (0.5, 0.38, 0.24)
        fence = kit.paint("plain", colour)
        builder.box((x, 0.75, middle), (0.06, 1.3, length), fence, FENCE, cut=CUT_BARS, cut_value=kit.uniform(0.13, 0.22))
    elif kind == 1:
        wall = kit.paint(
            "tiles",
            colorsys.hsv_to_rgb(0.06, kit.uniform(0.1, 0.4), kit.uniform(0.4, 0.6)),
            (0.6, 0.58, 0.54),
            values=(0.5, 0.22, 0.02, 0.25, 1.0),
        )
        high_wall = kit.uniform(1.2, 2.4)
        builder.box((x, high_wall / 2, middle), (0.3, high_wall, length), wall, BARRIER)
        builder.box((x, high_wall + 0.04, middle), (0.4, 0.1, length), kit.paint("plain", (0.6, 0.59, 0.56)), BARRIER)
    else:
        builder.box((x, 0.65, middle), (0.8, 1.3, length), kit.leaves[0], VEGETATION, taper=(0.85, 1.0))
    for _ in range(kit.integer(2, 6)):
        roadside.tree(
            kit,
            builder.at(side * (street.road + street.walk + kit.uniform(3, 16)), -0.03, kit.uniform(low + 2, high - 2)),
            kit.uniform(5, 10),
            -2 < low < 30,
        )
    for _ in range(kit.integer(0, 4)):
        roadside.bush(
            kit,
            builder.at(side * (street.road + street.walk + kit.uniform(1.5, 5)), 0, kit.uniform(low + 1, high - 1)),
            kit.uniform(0.6, 1.2),
        )


def blocks(street: Street) -> None:
    """Houses and parks on both sides, houses down the side street, and one that ends the view."""
    kit = street.kit
    gap = street.lane + 0.8
    for side in (-1, 1):
        z = START
        while z < END:
            width = kit.uniform(9, 20)
            if z < street.crossing + gap and z + width > street.crossing - gap - 1.5:
                if street.crossing - gap - 1.5 - z > 5:
                    width = street.crossing - gap - 1.5 - z
                else:
                    z = street.crossing + gap + 1.5
                    continue
            if kit.maybe(0.22) and z > -5:
                _park(street, side, z, z + width)
            else:
                _house(street, side, z + width / 2, width - 0.01, kit.uniform(0.0, 0.5) if kit.maybe(0.8) else kit.uniform(1, 3))
            z += width
    for side in (-1, 1):
        for k in range(2):
            wall, height = _wall(street), kit.uniform(8, 18)
            x, z = side * (street.road + 46 + kit.uniform(0, 6)), street.crossing + (k - 0.5) * 16
            street.kit.builder.box((x, height / 2, z), (10, height, 15), wall, BUILDING)
    height = kit.uniform(9, 16)
    street.kit.builder.box((kit.uniform(-12, 12), height / 2, END + 12), (60, height, 12), _wall(street), BUILDING)
