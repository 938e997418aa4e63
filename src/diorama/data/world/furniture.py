"""Furniture; each function builds one piece about its own origin on the floor, front towards -z."""

from __future__ import annotations

import numpy as np

from diorama.data.world.clutter import thing
from diorama.data.world.kit import BED, BOOKS, CHAIR, FURNITURE, OBJECTS, SOFA, TABLE, TV, WOODS, Kit
from diorama.data.world.primitives import Builder
from diorama.data.world.solids import turn


def bed(kit: Kit, at: Builder, width: float, length: float) -> None:
    """A bed with its head at +z: frame, mattress, blanket, pillows."""
    wood, sheet, blanket = kit.any_wood(), kit.paint("fabric", kit.colour(0.75, 0.95, 0.4), values=(0.06,)), kit.cloth()
    base, thick = kit.uniform(0.2, 0.36), kit.uniform(0.18, 0.26)
    at.box((0, base / 2 + 0.04, 0), (width, base, length), wood, BED)
    at.box((0, base + thick / 2, 0.02), (width - 0.05, thick, length - 0.08), sheet, BED)
    cover = kit.uniform(0.5, 0.72) * length
    at.box(
        (0, base + thick / 2 + 0.01, -(length - cover) / 2 - 0.005), (width + 0.03, thick + 0.05, cover), blanket, BED, taper=(0.97, 0.98)
    )
    at.box((0, kit.uniform(0.38, 0.6), length / 2 + 0.03), (width + 0.06, kit.uniform(0.75, 1.15), 0.06), wood, BED)
    pillows = 1 if width < 1.2 else 2
    for k in range(pillows):
        x = (k - (pillows - 1) / 2) * width * 0.46
        at.ellipsoid(
            (x, base + thick + 0.06, length / 2 - 0.28),
            (width / pillows * 0.42, 0.1, 0.2),
            sheet if kit.maybe(0.6) else kit.cloth(),
            OBJECTS,
            rotation=turn(kit.uniform(-0.15, 0.15), -0.25),
        )
    if kit.maybe(0.35):
        at.box(
            (kit.uniform(-0.2, 0.2), base + thick + 0.06, -length * 0.2),
            (0.35, 0.07, 0.26),
            kit.cloth(),
            OBJECTS,
            rotation=turn(kit.uniform(0, 3)),
            taper=(0.8, 0.8),
        )


def sofa(kit: Kit, at: Builder, width: float) -> None:
    """A sofa or armchair: seat, back, arms, cushions."""
    cloth = kit.paint("fabric", kit.colour(0.2, 0.8), values=(kit.uniform(0.06, 0.16),))
    seat, depth, arm = kit.uniform(0.38, 0.46), 0.9, kit.uniform(0.12, 0.24)
    back = kit.uniform(0.72, 0.95)
    at.box((0, seat * 0.35 + 0.05, 0), (width, seat * 0.7, depth), cloth, SOFA)
    inner = width - 2 * arm
    count = max(1, round(inner / 0.7))
    for k in range(count):
        x = (k + 0.5) * inner / count - inner / 2
        at.box((x, seat, -0.05), (inner / count - 0.02, 0.15, depth - 0.22), cloth, SOFA, taper=(0.94, 0.94))
        at.box(
            (x, (seat + back) / 2 + 0.06, depth / 2 - 0.24),
            (inner / count - 0.02, back - seat, 0.18),
            cloth,
            SOFA,
            rotation=turn(0, 0.16),
            taper=(0.92, 0.8),
        )
    at.box((0, back / 2, depth / 2 - 0.08), (width, back, 0.16), cloth, SOFA, taper=(0.99, 0.7))
    for side in (-1, 1):
        at.box((side * (width - arm) / 2, 0.31, 0), (arm, 0.6, depth), cloth, SOFA, taper=(0.9, 0.98))
        for z in (-1, 1):
            at.cylinder(
                (side * (width / 2 - 0.08), 0, z * (depth / 2 - 0.08)),
                (side * (width / 2 - 0.08), 0.08, z * (depth / 2 - 0.08)),
                0.025,
                kit.dark,
                SOFA,
            )
    for _ in range(int(kit.random.integers(0, 3 if width > 1.2 else 2))):
        x = kit.uniform(-inner / 2 + 0.2, inner / 2 - 0.2) if inner > 0.5 else 0.0
        at.ellipsoid(
            (x, seat + 0.26, 0.06),
            (0.21, 0.2, 0.09),
            kit.cloth(1.4),
            OBJECTS,
            rotation=turn(kit.uniform(-0.3, 0.3), 0.3, kit.uniform(-0.4, 0.4)),
        )


def _legs(at: Builder, width: float, depth: float, height: float, thick: float, material: int, label: int) -> None:
    for x in (-1, 1):
        for z in (-1, 1):
            at.box((x * (width - thick) / 2, height / 2, z * (depth - thick) / 2), (thick, height, thick), material, label)


def chair(kit: Kit, at: Builder, material: int, seat_material: int) -> None:
    """A chair; the sitter looks to -z."""
    seat, width, back = kit.uniform(0.42, 0.47), kit.uniform(0.4, 0.48), kit.uniform(0.38, 0.55)
    if kit.maybe(0.2):
        at.cylinder((0, 0.05, 0), (0, seat, 0), 0.03, kit.metal, CHAIR)
        for k in range(5):
            angle = k * 2 * np.pi / 5
            at.cylinder((0, 0.07, 0), (0.28 * np.cos(angle), 0.04, 0.28 * np.sin(angle)), 0.02, kit.dark, CHAIR)
        at.box((0, seat, 0), (width, 0.08, width), seat_material, CHAIR, taper=(0.9, 0.9))
        at.box(
            (0, seat + 0.12 + back / 2, width / 2),
            (width * 0.9, back, 0.06),
            seat_material,
            CHAIR,
            rotation=turn(0, 0.12),
            taper=(0.85, 1.0),
        )
        at.box((0, seat + 0.08, width / 2), (0.06, 0.2, 0.03), kit.dark, CHAIR)
        return
    _legs(at, width, width, seat, 0.035, material, CHAIR)
    at.box((0, seat, 0), (width + 0.02, 0.04, width + 0.02), seat_material, CHAIR)
    for x in (-1, 1):
        at.box((x * (width / 2 - 0.02), seat + back / 2, width / 2 - 0.02), (0.035, back, 0.035), material, CHAIR)
    if kit.maybe(0.5):
        for k in range(3):
            at.box((0, seat + back * (0.35 + 0.3 * k), width / 2 - 0.02), (width - 0.06, 0.07, 0.02), material, CHAIR)
    else:
        at.box((0, seat + back * 0.6, width / 2 - 0.02), (width - 0.04, back * 0.75, 0.03), seat_material, CHAIR)


def table(kit: Kit, at: Builder, width: float, depth: float, height: float, clutter_count: int) -> None:
    """A table with things on it."""
    wood = kit.any_wood()
    if kit.maybe(0.2) and abs(width - depth) < 0.5:
        radius = min(width, depth) / 2
        at.cylinder((0, height - 0.035, 0), (0, height, 0), radius, wood, TABLE)
        at.cylinder((0, 0, 0), (0, height - 0.03, 0), 0.05, wood, TABLE)
        at.cylinder((0, 0, 0), (0, 0.04, 0), radius * 0.5, wood, TABLE)
    else:
        at.box((0, height - 0.02, 0), (width, 0.04, depth), wood, TABLE)
        leg_material = kit.metal if kit.maybe(0.25) else wood
        _legs(at, width - 0.08, depth - 0.08, height - 0.04, kit.uniform(0.04, 0.07), leg_material, TABLE)
        if kit.maybe(0.5):
            at.box((0, height - 0.08, 0), (width - 0.12, 0.08, depth - 0.12), wood, TABLE)
    for _ in range(clutter_count):
        thing(kit, at.at(kit.uniform(-0.4, 0.4) * width, height, kit.uniform(-0.38, 0.38) * depth, kit.uniform(0, 6.3)))


def shelf(kit: Kit, at: Builder, width: float, height: float) -> None:
    """An open bookcase with rows of books and some things."""
    wood, depth = kit.any_wood(), 0.32
    back = kit.paint("plain", (0.3, 0.22, 0.16) if kit.maybe(0.6) else (0.75, 0.74, 0.7))
    at.box((0, height / 2, depth / 2 - 0.01), (width, height, 0.02), back, FURNITURE)
    for x in (-1, 1):
        at.box((x * (width / 2 - 0.012), height / 2, 0), (0.025, height, depth), wood, FURNITURE)
    rows = max(2, round(height / 0.36))
    gap = height / rows
    for row in range(rows + 1):
        at.box((0, min(max(row * gap, 0.02), height - 0.01), 0), (width, 0.025, depth), wood, FURNITURE)
    for row in range(rows):
        place = -width / 2 + 0.05
        while place < width / 2 - 0.15:
            run = min(kit.uniform(0.15, 0.6), width / 2 - 0.04 - place)
            base = max(row * gap, 0.02) + 0.013
            if kit.maybe(0.68):
                tall = kit.uniform(0.55, 0.85) * gap
                books = kit.paint("books", (0.5, 0.5, 0.5), values=(kit.uniform(0.025, 0.05),))
                at.box((place + run / 2, base + tall / 2, -0.02), (run, tall, 0.2), kit.white, BOOKS, faces={"front": books}, casts=False)
            elif kit.maybe(0.5):
                thing(kit, at.at(place + run / 2, base, -0.04, kit.uniform(-0.3, 0.3)))
            place += run + kit.uniform(0.01, 0.15)


def cabinet(kit: Kit, at: Builder, width: float, height: float, depth: float, columns: int, rows: int, things: int) -> None:
    """A wardrobe, dresser, night stand, counter or refrigerator: a body whose front has doors or drawers."""
    tone = (0.86, 0.85, 0.82) if kit.maybe(kit.white_share + 0.1) else WOODS[int(kit.random.integers(len(WOODS)))]
    body = kit.paint("wood", tone, values=(0.12,), gloss=0.03)
    front = kit.paint(
        "panels", tone, (0.7, 0.68, 0.6) if kit.maybe(0.5) else (0.15, 0.14, 0.13), values=(float(columns), float(rows), 0.12), gloss=0.03
    )
    at.box((0, height / 2 + 0.03, 0), (width, height - 0.06, depth), body, FURNITURE, faces={"front": front})
    at.box((0, 0.03, 0.02), (width - 0.06, 0.06, depth - 0.06), kit.dark, FURNITURE)
    at.box((0, height + 0.01, -0.01), (width + 0.03, 0.025, depth + 0.02), body, FURNITURE)
    for _ in range(things):
        thing(kit, at.at(kit.uniform(-0.4, 0.4) * width, height + 0.022, kit.uniform(-0.2, 0.2) * depth, kit.uniform(-0.5, 0.5)))


def television(kit: Kit, at: Builder, width: float, base: float) -> None:
    """A flat television whose foot stands at height `base`."""
    screen = kit.paint("screen", (0.05, 0.05, 0.06), values=(float(kit.maybe(0.45)),), gloss=0.12, glow=0.5)
    height = width * 0.57
    at.box((0, base + 0.06 + height / 2, 0), (width, height, 0.05), kit.dark, TV, faces={"front": screen})
    at.box((0, base + 0.03, 0), (0.08, 0.08, 0.04), kit.dark, TV)
    at.box((0, base + 0.01, 0), (width * 0.4, 0.02, 0.2), kit.dark, TV)
