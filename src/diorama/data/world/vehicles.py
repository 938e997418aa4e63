"""Cars, lorries, buses and trams; each function builds one about its own origin on the ground, front towards +z."""

from __future__ import annotations

import colorsys

from diorama.data.world.materials import Colour
from diorama.data.world.primitives import Builder
from diorama.data.world.props import BUS, CAR, TRAIN, TRUCK, Props
from diorama.data.world.solids import turn

_CARS: tuple[Colour, ...] = (
    (0.66, 0.67, 0.69),
    (0.1, 0.1, 0.11),
    (0.88, 0.88, 0.86),
    (0.28, 0.3, 0.33),
    (0.52, 0.05, 0.05),
    (0.06, 0.14, 0.36),
    (0.12, 0.22, 0.17),
    (0.55, 0.46, 0.33),
    (0.66, 0.28, 0.06),
    (0.16, 0.36, 0.55),
    (0.2, 0.2, 0.21),
    (0.42, 0.43, 0.45),
)


def _wheels(kit: Props, at: Builder, track: float, base: float, radius: float, label: int, near: bool) -> None:
    if not near:
        for z in (-1, 1):
            at.cylinder((-track / 2, radius, z * base / 2), (track / 2, radius, z * base / 2), radius, kit.rubber, label)
        return
    for x in (-1, 1):
        for z in (-1, 1):
            side = x * track / 2
            at.cylinder((side - x * 0.2, radius, z * base / 2), (side, radius, z * base / 2), radius, kit.rubber, label)
            at.cylinder((side - x * 0.02, radius, z * base / 2), (side + x * 0.012, radius, z * base / 2), radius * 0.62, kit.silver, label)


def car(kit: Props, at: Builder, near: bool) -> None:
    """A hatchback, saloon, estate or van; of its lamps only those on the side towards -z, where the camera is."""
    colour = _CARS[kit.integer(0, len(_CARS))]
    body = kit.paint("plain", colour, values=(0.02, 1.0), gloss=0.045)
    shape = kit.integer(0, 4)
    length, width, height = ((3.9, 1.72, 1.48), (4.5, 1.8, 1.45), (4.6, 1.82, 1.5), (4.9, 1.95, 1.95))[shape]
    belt = (0.86, 0.84, 0.86, 1.05)[shape]
    rear, bonnet = ((0.1, 1.0), (0.75, 1.15), (0.1, 1.2), (0.06, 0.75))[shape]
    radius = 0.32
    at.box((0, (belt + 0.18) / 2 + 0.02, 0), (width, belt - 0.2, length), body, CAR, taper=(0.94, 0.985))
    cabin = length - bonnet - rear
    middle = (rear - bonnet) / 2
    lean = 0.42 if shape < 3 else 0.3
    scale = (cabin - lean * 1.9) / cabin if rear > 0.5 else (cabin - lean * 1.6) / cabin
    drift = -0.22 if rear < 0.5 else -0.05
    at.box(
        (0, (belt + height) / 2 - 0.03, middle), (width * 0.93, height - belt, cabin), kit.glass, CAR, taper=(0.8, scale), shift=(0, drift)
    )
    at.box((0, height - 0.02, middle + drift), (width * 0.75, 0.06, cabin * scale * 1.04), body, CAR, taper=(0.92, 0.92))
    away = bool(at.rotation[2, 2] > 0)
    if near:
        at.box((0, 0.3, 0), (width + 0.02, 0.2, length * 0.995), kit.dark if kit.maybe(0.4) else body, CAR)
        for x in (-1, 1):
            for part in (-0.02, 0.4):
                z = middle + drift * 0.5 - part * cabin * 0.5
                at.box(
                    (x * width * 0.425, (belt + height) / 2, z),
                    (0.05, height - belt + 0.02, 0.09),
                    body,
                    CAR,
                    rotation=turn(0, 0, x * 0.29),
                )
            at.box((x * (width / 2 + 0.05), belt + 0.08, middle + cabin * 0.32), (0.18, 0.13, 0.1), body, CAR)
        if away:
            at.box((0, 0.62 if shape < 3 else 0.8, -length / 2 + 0.01), (0.52, 0.12, 0.04), kit.plate, CAR)
        else:
            at.box((0, 0.5, length / 2 - 0.01), (width * 0.5, 0.16, 0.05), kit.dark, CAR)
    for x in (-1, 1):
        if not away:
            at.box((x * width * 0.38, 0.67, length / 2 - 0.05), (width * 0.2, 0.13, 0.12), kit.lamp, CAR)
            continue
        at.box(
            (x * width * 0.41, 0.74 if shape < 3 else 0.95, -length / 2 + 0.04),
            (width * 0.14, 0.16 if shape < 3 else 0.4, 0.1),
            kit.tail,
            CAR,
        )
    _wheels(kit, at, width + 0.03, length * 0.6, radius, CAR, near)


def truck(kit: Props, at: Builder, near: bool) -> None:
    """A lorry with a box body."""
    length, width, height = kit.uniform(6.0, 9.0), 2.4, kit.uniform(2.9, 3.6)
    paint = kit.paint("plain", _CARS[kit.integer(0, len(_CARS))], values=(0.03, 1.0), gloss=0.08)
    load = kit.paint(
        "stripes", (0.85, 0.85, 0.84), colorsys.hsv_to_rgb(kit.uniform(0, 1), 0.6, 0.6), values=(2.2, 0.25 * kit.maybe(0.5), 0.0)
    )
    at.box((0, 0.75, 0), (width * 0.85, 0.3, length), kit.dark, TRUCK)
    at.box((0, (height + 0.9) / 2, -1.0), (width, height - 0.9, length - 2.2), load, TRUCK)
    at.box((0, 1.1, length / 2 - 0.85), (width * 0.96, 1.3, 1.7), paint, TRUCK)
    at.box((0, 2.1, length / 2 - 0.95), (width * 0.94, 0.75, 1.5), kit.glass, TRUCK, taper=(0.95, 0.8), shift=(0, -0.1))
    at.box((0, 2.55, length / 2 - 1.05), (width * 0.92, 0.25, 1.2), paint, TRUCK)
    for x in (-1, 1):
        at.box((x * 0.95, 0.85, length / 2), (0.35, 0.2, 0.06), kit.lamp, TRUCK)
        at.box((x * 0.95, 0.95, -length / 2), (0.3, 0.2, 0.06), kit.tail, TRUCK)
    _wheels(kit, at, width, length * 0.62, 0.48, TRUCK, near)


def bus(kit: Props, at: Builder, near: bool) -> None:
    """A city bus."""
    length, width, height = kit.uniform(9.5, 12.0), 2.5, 3.05
    colour = colorsys.hsv_to_rgb(kit.uniform(0, 1), kit.uniform(0.3, 0.8), kit.uniform(0.5, 0.85))
    side = kit.paint("carriage", colour, (0.88, 0.88, 0.86), values=(1.35, 0.46, 0.88), gloss=0.06)
    at.box((0, height / 2 + 0.15, 0), (width, height - 0.3, length), side, BUS, faces={"top": kit.silver, "bottom": kit.dark})
    at.box((0, 2.85, length / 2 + 0.01), (width * 0.7, 0.3, 0.04), kit.paint("plain", (0.9, 0.6, 0.1), glow=0.4), BUS)
    for x in (-1, 1):
        at.box((x * 0.95, 0.75, length / 2), (0.35, 0.2, 0.06), kit.lamp, BUS)
        at.box((x * 1.0, 0.9, -length / 2), (0.25, 0.35, 0.06), kit.tail, BUS)
    _wheels(kit, at, width, length * 0.55, 0.48, BUS, near)


def tram(kit: Props, at: Builder, near: bool) -> None:
    """A tram of two or three cars on the track (train, in the classes)."""
    colour = colorsys.hsv_to_rgb(kit.uniform(0, 1), kit.uniform(0.4, 0.8), kit.uniform(0.5, 0.8))
    side = kit.paint("carriage", colour, (0.9, 0.9, 0.88), values=(1.7, 0.42, 0.8), gloss=0.06)
    cars, length = kit.integer(2, 4), 9.0
    for k in range(cars):
        z = (k - (cars - 1) / 2) * (length + 0.5)
        at.box((0, 1.85, z), (2.45, 2.9, length), side, TRAIN, taper=(0.97, 0.97), faces={"top": kit.silver})
        at.box((0, 0.3, z), (2.1, 0.4, length * 0.9), kit.dark, TRAIN)
    at.box((0, 1.8, 0), (2.1, 2.5, cars * length), kit.dark, TRAIN)
    if near:
        at.box((0, 3.6, 0), (0.8, 0.3, 1.6), kit.dark, TRAIN)
