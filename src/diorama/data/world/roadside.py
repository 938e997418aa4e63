"""Trees, shrubs, lamps, signals and signs; each function builds one about its own origin on the ground."""

from __future__ import annotations

import numpy as np

from diorama.data.world.primitives import CUT_LEAF, Builder
from diorama.data.world.props import LIGHT, POLE, SIGN, VEGETATION, Props
from diorama.data.world.solids import turn


def tree(kit: Props, at: Builder, height: float, near: bool) -> None:
    """A street tree: a trunk and a crown of leafy clumps."""
    trunk, spread = height * kit.uniform(0.28, 0.36), height * kit.uniform(0.24, 0.34)
    leaf = kit.leaves[kit.integer(0, len(kit.leaves))]
    lean = kit.uniform(-0.15, 0.15)
    at.cylinder((0, 0, 0), (lean, trunk + 0.3 * spread, 0), 0.035 * height**0.8, kit.bark, VEGETATION, taper=0.6)
    centre = trunk + (height - trunk) * 0.5
    at.ellipsoid((lean, centre, 0), (spread * 0.72, (height - trunk) * 0.42, spread * 0.72), leaf, VEGETATION, cut=CUT_LEAF, cut_value=-0.7)
    count = kit.integer(7, 11) if near else 3
    for k in range(count):
        angle = 2.4 * k + kit.uniform(0, 0.8)
        level = kit.uniform(-0.75, 0.85)
        out = spread * np.sqrt(1 - level * level) * kit.uniform(0.5, 0.85)
        size = spread * kit.uniform(0.32, 0.52)
        at.ellipsoid(
            (lean + out * np.cos(angle), centre + level * (height - trunk) * 0.42, out * np.sin(angle)),
            (size, size * kit.uniform(0.6, 0.85), size),
            leaf,
            VEGETATION,
            rotation=turn(angle, kit.uniform(-0.4, 0.4)),
            cut=CUT_LEAF,
            cut_value=-0.35,
        )


def lamp_post(kit: Props, at: Builder, side: float) -> None:
    """A street lamp whose arm reaches over the road (towards x of sign `side`)."""
    height = kit.uniform(6.0, 8.0)
    at.cylinder((0, 0, 0), (0, height, 0), 0.09, kit.metal, POLE, taper=0.6)
    at.cylinder((0, height, 0), (side * 1.5, height + 0.25, 0), 0.045, kit.metal, POLE)
    at.box((side * 1.7, height + 0.24, 0), (0.7, 0.12, 0.26), kit.metal, POLE)


def traffic_light(kit: Props, at: Builder, toward: float) -> None:
    """A signal on a pole; its lamps look to z of sign `toward`."""
    at.cylinder((0, 0, 0), (0, 3.2, 0), 0.06, kit.metal, POLE)
    at.box((0, 2.9, toward * 0.16), (0.32, 0.95, 0.22), kit.dark, LIGHT)
    at.box((0, 2.9, toward * 0.1), (0.46, 1.1, 0.02), kit.dark, LIGHT)
    lit = kit.integer(0, 3)
    for k, colour in enumerate(((0.95, 0.1, 0.06), (0.95, 0.65, 0.05), (0.1, 0.9, 0.4))):
        shown = colour if k == lit else (colour[0] * 0.3, colour[1] * 0.3, colour[2] * 0.3)
        lamp = kit.paint("plain", shown, glow=2.0 if k == lit else 0.0)
        at.cylinder((0, 3.2 - 0.3 * k, toward * 0.2), (0, 3.2 - 0.3 * k, toward * 0.285), 0.11, lamp, LIGHT)


def road_sign(kit: Props, at: Builder, toward: float) -> None:
    """A round, square or triangular sign on a pole."""
    height = kit.uniform(2.2, 2.7)
    at.cylinder((0, 0, 0), (0, height + 0.3, 0), 0.035, kit.silver, POLE)
    z = toward * 0.06
    kind = kit.integer(0, 4)
    if kind == 0:
        red, white = (
            kit.paint("plain", (0.8, 0.06, 0.06)),
            kit.paint("stripes", (0.92, 0.92, 0.9), (0.1, 0.1, 0.1), values=(0.16, 0.3, 1.0)),
        )
        at.cylinder((0, height, z), (0, height, z + toward * 0.02), 0.32, red, SIGN)
        at.cylinder((0, height, z), (0, height, z + toward * 0.03), 0.24, white, SIGN)
    elif kind == 1:
        blue = kit.paint("checks", (0.06, 0.2, 0.65), (0.9, 0.9, 0.9), values=(0.5,))
        at.box((0, height, z), (0.6, 0.6, 0.02), blue, SIGN)
    elif kind == 2:
        red, white = kit.paint("plain", (0.8, 0.06, 0.06)), kit.paint("plain", (0.92, 0.92, 0.9))
        at.box((0, height, z), (0.78, 0.68, 0.02), red, SIGN, taper=(0.02, 1.0))
        at.box((0, height - 0.03, z + toward * 0.006), (0.5, 0.42, 0.02), white, SIGN, taper=(0.02, 1.0))
    else:
        yellow = kit.paint("stripes", (0.92, 0.72, 0.06), (0.1, 0.1, 0.1), values=(0.22, 0.25, 0.0))
        at.box((0, height, z), (0.9, 0.5, 0.02), yellow, SIGN)


def bush(kit: Props, at: Builder, size: float) -> None:
    """A low round shrub."""
    leaf = kit.leaves[kit.integer(0, len(kit.leaves))]
    for k in range(3):
        at.ellipsoid(
            (kit.uniform(-0.4, 0.4) * size, size * 0.4, (k - 1) * size * 0.5),
            (size * 0.55, size * 0.5, size * 0.5),
            leaf,
            VEGETATION,
            cut=CUT_LEAF,
            cut_value=-0.6,
        )
