"""Small and loose things of rooms; each function builds one about its own origin."""

from __future__ import annotations

import numpy as np

from diorama.data.world.kit import BOOKS, OBJECTS, Kit
from diorama.data.world.primitives import CUT_LEAF, Builder
from diorama.data.world.solids import turn


def thing(kit: Kit, at: Builder) -> None:
    """A small object: cup, bottle, bowl, box, book pile, vase, laptop, fruit."""
    pick = int(kit.random.integers(8))
    paint = kit.paint("plain", kit.colour(0.3, 0.95, 1.4), values=(0.04, 1.0), gloss=0.05)
    if pick == 0:
        at.cylinder((0, 0, 0), (0, 0.1, 0), 0.042, paint, OBJECTS, taper=1.15, cap=kit.dark)
    elif pick == 1:
        height = kit.uniform(0.16, 0.24)
        at.cylinder((0, 0, 0), (0, height, 0), 0.037, paint, OBJECTS)
        at.cylinder((0, height, 0), (0, height + 0.08, 0), 0.03, paint, OBJECTS, taper=0.45)
    elif pick == 2:
        at.cylinder((0, 0, 0), (0, 0.09, 0), 0.08, paint, OBJECTS, taper=1.8, cap=paint)
        for k in range(3):
            at.ellipsoid(
                (0.05 * np.cos(2.1 * k), 0.11, 0.05 * np.sin(2.1 * k)),
                (0.045, 0.045, 0.045),
                kit.paint("plain", kit.colour(0.6, 0.95, 1.8)),
                OBJECTS,
            )
    elif pick == 3:
        at.box((0, 0.08, 0), (kit.uniform(0.1, 0.28), 0.16, kit.uniform(0.1, 0.25)), paint, OBJECTS)
    elif pick == 4:
        for k in range(int(kit.random.integers(2, 5))):
            cover = kit.paint("plain", kit.colour(0.2, 0.8, 1.3))
            at.box(
                (0, 0.018 + 0.035 * k, 0),
                (0.24 - 0.01 * k, 0.033, 0.17),
                cover,
                BOOKS,
                rotation=turn(kit.uniform(-0.3, 0.3)),
                faces={"front": kit.white, "left": kit.white},
            )
    elif pick == 5:
        at.ellipsoid((0, 0.11, 0), (0.075, 0.11, 0.075), paint, OBJECTS)
        at.cylinder((0, 0.19, 0), (0, 0.27, 0), 0.03, paint, OBJECTS, taper=1.4)
        leaf = kit.paint("leaves", (0.16, 0.34, 0.1), (0.36, 0.5, 0.18))
        at.ellipsoid((0, 0.38, 0), (0.13, 0.14, 0.13), leaf, OBJECTS, cut=CUT_LEAF, cut_value=0.0)
    elif pick == 6:
        at.box((0, 0.012, 0), (0.34, 0.02, 0.24), kit.metal, OBJECTS)
        at.box(
            (0, 0.13, 0.14),
            (0.34, 0.22, 0.012),
            kit.dark,
            OBJECTS,
            rotation=turn(0, 0.2),
            faces={"front": kit.paint("screen", (0.05, 0.05, 0.06), values=(1.0,), glow=0.6)},
        )
    else:
        at.ellipsoid((0, 0.07, 0), (0.07, 0.07, 0.07), paint, OBJECTS)


def plant(kit: Kit, at: Builder) -> None:
    """A potted plant."""
    height = kit.uniform(0.6, 1.5)
    pot = kit.paint("plain", kit.colour(0.3, 0.85), values=(0.06, 1.0))
    at.cylinder((0, 0, 0), (0, 0.3, 0), 0.13, pot, OBJECTS, taper=1.35, cap=kit.dark)
    at.cylinder((0, 0.3, 0), (0, height * 0.75, 0), 0.015, kit.wood, OBJECTS)
    leaf = kit.paint("leaves", (0.12, 0.28, 0.1), (0.3, 0.48, 0.18))
    for _ in range(int(kit.random.integers(4, 8))):
        angle, out, y = kit.uniform(0, 6.3), kit.uniform(0.05, 0.25), kit.uniform(0.45, 1.0) * height
        at.ellipsoid(
            (out * np.cos(angle), y, out * np.sin(angle)),
            (kit.uniform(0.12, 0.24), kit.uniform(0.08, 0.2), kit.uniform(0.12, 0.24)),
            leaf,
            OBJECTS,
            rotation=turn(angle, 0.4),
            cut=CUT_LEAF,
            cut_value=-0.1,
        )


def floor_lamp(kit: Kit, at: Builder, height: float) -> None:
    """A standing lamp with a lit shade (a table lamp if `height` is small)."""
    shade = kit.paint("plain", (1.0, 0.9, 0.7), glow=kit.uniform(0.5, 1.6))
    at.cylinder((0, 0, 0), (0, 0.03, 0), 0.13 if height > 0.8 else 0.07, kit.dark, OBJECTS)
    at.cylinder((0, 0, 0), (0, height, 0), 0.013, kit.metal, OBJECTS, casts=False)
    at.cylinder((0, height - 0.2, 0), (0, height + 0.04, 0), 0.2 if height > 0.8 else 0.13, shade, OBJECTS, taper=0.65, casts=False)


def bag(kit: Kit, at: Builder) -> None:
    """Something on the floor: a cardboard box, a bag, a basket, a ball."""
    pick = int(kit.random.integers(4))
    if pick == 0:
        card = kit.paint("plain", (0.62, 0.48, 0.32), values=(0.06, 1.0))
        at.box((0, 0.17, 0), (kit.uniform(0.3, 0.55), 0.34, kit.uniform(0.25, 0.45)), card, OBJECTS)
    elif pick == 1:
        at.box((0, 0.18, 0), (0.34, 0.36, 0.18), kit.cloth(1.3), OBJECTS, taper=(0.7, 0.45))
    elif pick == 2:
        at.cylinder(
            (0, 0, 0),
            (0, 0.34, 0),
            0.17,
            kit.paint("checks", (0.6, 0.5, 0.36), (0.45, 0.36, 0.24), values=(0.05,)),
            OBJECTS,
            taper=1.2,
            cap=kit.dark,
        )
    else:
        at.ellipsoid(
            (0, 0.13, 0),
            (0.13, 0.13, 0.13),
            kit.paint("checks", kit.colour(0.5, 0.95, 1.8), kit.colour(0.5, 0.95, 1.8), values=(0.3,)),
            OBJECTS,
        )
