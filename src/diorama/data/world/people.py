"""Pedestrians and riders with what they ride; each function builds one about its own origin on the ground, front towards +z."""

from __future__ import annotations

import colorsys

from diorama.data.world.materials import Colour
from diorama.data.world.primitives import CUT_RING, Builder
from diorama.data.world.props import BICYCLE, MOTORCYCLE, PERSON, RIDER, Props
from diorama.data.world.solids import turn

_SKIN: tuple[Colour, ...] = ((0.85, 0.65, 0.53), (0.72, 0.5, 0.37), (0.45, 0.3, 0.22), (0.92, 0.75, 0.65))


def _limb(
    at: Builder,
    low: tuple[float, float, float],
    high: tuple[float, float, float],
    radius: float,
    material: int,
    label: int,
    taper: float = 1.0,
) -> None:
    at.cylinder(low, high, radius, material, label, taper=taper)


def _head(kit: Props, at: Builder, y: float, z: float, label: int, helmet: bool) -> None:
    skin = kit.paint("plain", _SKIN[kit.integer(0, len(_SKIN))])
    hair = (
        kit.cloth(0.2, 0.9)
        if helmet
        else kit.paint("plain", ((0.12, 0.09, 0.07), (0.35, 0.24, 0.13), (0.6, 0.5, 0.3), (0.5, 0.5, 0.5))[kit.integer(0, 4)])
    )
    at.ellipsoid((0, y, z), (0.085, 0.115, 0.1), skin, label)
    at.ellipsoid((0, y + 0.045, z - 0.02), (0.095, 0.09, 0.11), hair, label)


def pedestrian(kit: Props, at: Builder, near: bool) -> None:
    """Someone who walks or stands."""
    tall = kit.uniform(0.9, 1.06) if kit.maybe(0.88) else kit.uniform(0.62, 0.8)
    top, trousers = kit.cloth(0.15, 0.85), kit.cloth(0.1, 0.45)
    stride = kit.uniform(0.08, 0.3) * (1 if kit.maybe(0.75) else 0.15)
    hip, shoulder = 0.88 * tall, 1.42 * tall
    for x, step in ((-1, stride), (1, -stride)):
        _limb(at, (x * 0.09, 0.05, step), (x * 0.08, hip, 0), 0.065, trousers, PERSON, 1.35)
        if near:
            at.box((x * 0.09, 0.04, step + 0.05), (0.09, 0.08, 0.25), kit.dark, PERSON)
            _limb(at, (x * 0.25, 0.82 * tall, -step * 0.9), (x * 0.2, shoulder - 0.04, 0), 0.042, top, PERSON, 1.3)
    if kit.maybe(0.25):
        at.cylinder((0, 0.5 * tall, 0), (0, 1.0 * tall, 0), 0.26, top, PERSON, taper=0.62, depth=0.2)
    if near:
        at.ellipsoid((0, hip + 0.02, 0), (0.17, 0.15, 0.13), trousers, PERSON)
    at.cylinder((0, hip, 0), (0, shoulder, 0), 0.155, top, PERSON, taper=1.22, depth=0.105)
    at.ellipsoid((0, shoulder, 0), (0.19, 0.08, 0.115), top, PERSON)
    _head(kit, at, 1.62 * tall, 0.02, PERSON, False)
    if near and kit.maybe(0.35):
        at.box((0, 1.2 * tall, -0.17), (0.28, 0.42, 0.14), kit.cloth(), PERSON, taper=(0.85, 0.8))


def cyclist(kit: Props, at: Builder, near: bool, ridden: bool = True) -> None:
    """A bicycle, with its rider unless parked."""
    frame = kit.paint("plain", colorsys.hsv_to_rgb(kit.uniform(0, 1), 0.6, kit.uniform(0.15, 0.6)), gloss=0.05)
    for z in (-0.52, 0.52):
        at.cylinder((-0.02, 0.34, z), (0.02, 0.34, z), 0.34, kit.rubber, BICYCLE, cut=CUT_RING, cut_value=0.84)
    points = {
        "rear": (0.0, 0.34, -0.52),
        "pedal": (0.0, 0.3, -0.05),
        "seat": (0.0, 0.85, -0.22),
        "bar": (0.0, 0.88, 0.36),
        "front": (0.0, 0.34, 0.52),
    }
    tubes = (("pedal", "seat"), ("seat", "bar"), ("bar", "front"), ("rear", "pedal"), ("pedal", "bar"), ("rear", "seat"))
    for a, b in tubes if near else tubes[:3]:
        at.cylinder(points[a], points[b], 0.02, frame, BICYCLE)
    at.box((0, 0.93, -0.24), (0.14, 0.06, 0.24), kit.dark, BICYCLE)
    at.cylinder((-0.28, 1.0, 0.33), (0.28, 1.0, 0.33), 0.016, kit.dark, BICYCLE)
    if ridden:
        _rider(kit, at, 0.95, -0.22, 1.0, 0.33, near)


def _rider(kit: Props, at: Builder, seat: float, seat_z: float, bar: float, bar_z: float, near: bool) -> None:
    top, trousers = kit.cloth(0.2, 0.85), kit.cloth(0.1, 0.45)
    for x, low in ((-1, 0.28), (1, 0.5)):
        knee = (x * 0.12, seat - 0.12 + (0.12 if x > 0 else -0.1), seat_z + 0.34)
        _limb(at, (x * 0.1, seat + 0.02, seat_z), knee, 0.075, trousers, RIDER, 0.8)
        _limb(at, (x * 0.1, low - 0.1, seat_z + 0.2), knee, 0.05, trousers, RIDER, 1.2)
        if near:
            _limb(at, (x * 0.19, seat + 0.5, seat_z + 0.18), (x * 0.24, bar + 0.02, bar_z - 0.02), 0.045, top, RIDER, 0.8)
    at.cylinder((0, seat, seat_z), (0, seat + 0.52, seat_z + 0.17), 0.15, top, RIDER, taper=1.25, depth=0.11)
    at.ellipsoid((0, seat + 0.52, seat_z + 0.17), (0.19, 0.09, 0.12), top, RIDER)
    _head(kit, at, seat + 0.75, seat_z + 0.24, RIDER, kit.maybe(0.6))


def motorcycle(kit: Props, at: Builder, ridden: bool) -> None:
    """A motorcycle or scooter, with its rider unless parked."""
    paint = kit.paint("plain", colorsys.hsv_to_rgb(kit.uniform(0, 1), 0.7, kit.uniform(0.2, 0.7)), gloss=0.1)
    for z in (-0.65, 0.65):
        at.cylinder((-0.07, 0.31, z), (0.07, 0.31, z), 0.31, kit.rubber, MOTORCYCLE)
        at.cylinder((-0.08, 0.31, z), (0.08, 0.31, z), 0.17, kit.silver, MOTORCYCLE)
    at.box((0, 0.5, -0.05), (0.3, 0.4, 0.75), kit.dark, MOTORCYCLE, taper=(0.8, 0.9))
    at.ellipsoid((0, 0.78, 0.18), (0.19, 0.16, 0.34), paint, MOTORCYCLE)
    at.box((0, 0.8, -0.4), (0.26, 0.12, 0.7), kit.dark, MOTORCYCLE, rotation=turn(0, -0.1))
    at.cylinder((0, 0.31, 0.65), (0, 1.0, 0.42), 0.05, kit.silver, MOTORCYCLE)
    at.cylinder((-0.36, 1.02, 0.4), (0.36, 1.02, 0.4), 0.02, kit.dark, MOTORCYCLE)
    at.ellipsoid((0, 0.88, 0.56), (0.1, 0.11, 0.09), kit.lamp, MOTORCYCLE)
    at.box((0, 0.75, -0.78), (0.16, 0.1, 0.06), kit.tail, MOTORCYCLE)
    if ridden:
        _rider(kit, at, 0.86, -0.25, 1.02, 0.4, True)
