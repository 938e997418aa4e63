"""What moves and stands on a street; each function builds one thing about its own origin on the ground, front towards +z."""

from __future__ import annotations

import colorsys

import numpy as np

from diorama.data.labels import CITYSCAPES19
from diorama.data.world.materials import Colour, Material
from diorama.data.world.primitives import CUT_LEAF, CUT_RING, Builder, turn

(ROAD, SIDEWALK, BUILDING, BARRIER, FENCE, POLE, LIGHT, SIGN, VEGETATION, TERRAIN, SKY, PERSON, RIDER, CAR, TRUCK, BUS, TRAIN, MOTORCYCLE,
 BICYCLE) = range(len(CITYSCAPES19))  # fmt: skip

_CARS: tuple[Colour, ...] = (
    (0.66, 0.67, 0.69), (0.1, 0.1, 0.11), (0.88, 0.88, 0.86), (0.28, 0.3, 0.33), (0.52, 0.05, 0.05), (0.06, 0.14, 0.36), (0.12, 0.22, 0.17), (0.55, 0.46, 0.33), (0.66, 0.28, 0.06), (0.16, 0.36, 0.55),
    (0.2, 0.2, 0.21), (0.42, 0.43, 0.45),
)  # fmt: skip
_SKIN: tuple[Colour, ...] = ((0.85, 0.65, 0.53), (0.72, 0.5, 0.37), (0.45, 0.3, 0.22), (0.92, 0.75, 0.65))


class Props:
    """Materials that a street shares, and its random stream."""

    def __init__(self, builder: Builder, random: np.random.Generator, autumn: float) -> None:
        self.builder, self.random, self.autumn = builder, random, autumn
        self.rubber = self.paint("plain", (0.07, 0.07, 0.075))
        self.metal = self.paint("plain", (0.42, 0.43, 0.44), values=(0.05, 1.0), gloss=0.06)
        self.silver = self.paint("plain", (0.68, 0.69, 0.7), gloss=0.15)
        self.dark = self.paint("plain", (0.12, 0.12, 0.13), gloss=0.03)
        self.glass = self.paint("plain", (0.1, 0.11, 0.12), gloss=0.09)
        self.lamp = self.paint("plain", (0.95, 0.95, 0.9), gloss=0.15)
        self.tail = self.paint("plain", (0.75, 0.05, 0.04), gloss=0.1, glow=0.3)
        self.plate = self.paint("plain", (0.9, 0.9, 0.86))
        self.bark = self.paint("mottle", (0.3, 0.24, 0.19), (0.2, 0.16, 0.13), values=(0.5, 0.0))
        self.leaves = [self._leaf() for _ in range(4)]

    def paint(self, kind: str, colour: Colour, accent: Colour = (0.1, 0.1, 0.1), values: tuple[float, ...] = (), gloss: float = 0.0, glow: float = 0.0) -> int:
        """A new material with a seed of its own."""
        return self.builder.paint(Material(kind, colour, accent, values, int(self.random.integers(256)), gloss, glow))

    def _leaf(self) -> int:
        if self.maybe(self.autumn):
            hue = self.uniform(0.04, 0.13)
            return self.paint("leaves", colorsys.hsv_to_rgb(hue, 0.75, 0.42), colorsys.hsv_to_rgb(hue + 0.02, 0.7, 0.68))
        hue = self.uniform(0.2, 0.31)
        return self.paint("leaves", colorsys.hsv_to_rgb(hue, 0.6, 0.3), colorsys.hsv_to_rgb(hue - 0.03, 0.55, 0.52))

    def uniform(self, low: float, high: float) -> float:
        """A number between `low` and `high`."""
        return float(self.random.uniform(low, high))

    def maybe(self, share: float) -> bool:
        """True in `share` of all cases."""
        return bool(self.random.random() < share)

    def integer(self, low: int, high: int) -> int:
        """An integer from `low` to `high - 1`."""
        return int(self.random.integers(low, high))

    def cloth(self, low: float = 0.15, high: float = 0.8) -> int:
        """The colour of a garment."""
        return self.paint("fabric", colorsys.hsv_to_rgb(self.uniform(0, 1), self.uniform(0.05, 0.75), self.uniform(low, high)), values=(0.1,))


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
    at.box((0, (belt + height) / 2 - 0.03, middle), (width * 0.93, height - belt, cabin), kit.glass, CAR, taper=(0.8, scale), shift=(0, drift))
    at.box((0, height - 0.02, middle + drift), (width * 0.75, 0.06, cabin * scale * 1.04), body, CAR, taper=(0.92, 0.92))
    away = bool(at.rotation[2, 2] > 0)
    if near:
        at.box((0, 0.3, 0), (width + 0.02, 0.2, length * 0.995), kit.dark if kit.maybe(0.4) else body, CAR)
        for x in (-1, 1):
            for part in (-0.02, 0.4):
                z = middle + drift * 0.5 - part * cabin * 0.5
                at.box((x * width * 0.425, (belt + height) / 2, z), (0.05, height - belt + 0.02, 0.09), body, CAR, rotation=turn(0, 0, x * 0.29))
            at.box((x * (width / 2 + 0.05), belt + 0.08, middle + cabin * 0.32), (0.18, 0.13, 0.1), body, CAR)
        if away:
            at.box((0, 0.62 if shape < 3 else 0.8, -length / 2 + 0.01), (0.52, 0.12, 0.04), kit.plate, CAR)
        else:
            at.box((0, 0.5, length / 2 - 0.01), (width * 0.5, 0.16, 0.05), kit.dark, CAR)
    for x in (-1, 1):
        if not away:
            at.box((x * width * 0.38, 0.67, length / 2 - 0.05), (width * 0.2, 0.13, 0.12), kit.lamp, CAR)
            continue
        at.box((x * width * 0.41, 0.74 if shape < 3 else 0.95, -length / 2 + 0.04), (width * 0.14, 0.16 if shape < 3 else 0.4, 0.1), kit.tail, CAR)
    _wheels(kit, at, width + 0.03, length * 0.6, radius, CAR, near)


def truck(kit: Props, at: Builder, near: bool) -> None:
    """A lorry with a box body."""
    length, width, height = kit.uniform(6.0, 9.0), 2.4, kit.uniform(2.9, 3.6)
    paint = kit.paint("plain", _CARS[kit.integer(0, len(_CARS))], values=(0.03, 1.0), gloss=0.08)
    load = kit.paint("stripes", (0.85, 0.85, 0.84), colorsys.hsv_to_rgb(kit.uniform(0, 1), 0.6, 0.6), values=(2.2, 0.25 * kit.maybe(0.5), 0.0))
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


def _limb(at: Builder, low: tuple[float, float, float], high: tuple[float, float, float], radius: float, material: int, label: int, taper: float = 1.0) -> None:
    at.cylinder(low, high, radius, material, label, taper=taper)


def _head(kit: Props, at: Builder, y: float, z: float, label: int, helmet: bool) -> None:
    skin = kit.paint("plain", _SKIN[kit.integer(0, len(_SKIN))])
    hair = kit.cloth(0.2, 0.9) if helmet else kit.paint("plain", ((0.12, 0.09, 0.07), (0.35, 0.24, 0.13), (0.6, 0.5, 0.3), (0.5, 0.5, 0.5))[kit.integer(0, 4)])
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
    points = {"rear": (0.0, 0.34, -0.52), "pedal": (0.0, 0.3, -0.05), "seat": (0.0, 0.85, -0.22), "bar": (0.0, 0.88, 0.36), "front": (0.0, 0.34, 0.52)}
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


def tree(kit: Props, at: Builder, height: float, near: bool) -> None:
    """A street tree: a trunk and a crown of leafy clumps."""
    trunk, spread = height * kit.uniform(0.28, 0.36), height * kit.uniform(0.24, 0.34)
    leaf = kit.leaves[kit.integer(0, len(kit.leaves))]
    lean = kit.uniform(-0.15, 0.15)
    at.cylinder((0, 0, 0), (lean, trunk + 0.3 * spread, 0), 0.035 * height ** 0.8, kit.bark, VEGETATION, taper=0.6)
    centre = trunk + (height - trunk) * 0.5
    at.ellipsoid((lean, centre, 0), (spread * 0.72, (height - trunk) * 0.42, spread * 0.72), leaf, VEGETATION, cut=CUT_LEAF, cut_value=-0.7)
    count = kit.integer(7, 11) if near else 3
    for k in range(count):
        angle = 2.4 * k + kit.uniform(0, 0.8)
        level = kit.uniform(-0.75, 0.85)
        out = spread * np.sqrt(1 - level * level) * kit.uniform(0.5, 0.85)
        size = spread * kit.uniform(0.32, 0.52)
        at.ellipsoid((lean + out * np.cos(angle), centre + level * (height - trunk) * 0.42, out * np.sin(angle)), (size, size * kit.uniform(0.6, 0.85), size), leaf,
                     VEGETATION, rotation=turn(angle, kit.uniform(-0.4, 0.4)), cut=CUT_LEAF, cut_value=-0.35)  # fmt: skip


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
        red, white = kit.paint("plain", (0.8, 0.06, 0.06)), kit.paint("stripes", (0.92, 0.92, 0.9), (0.1, 0.1, 0.1), values=(0.16, 0.3, 1.0))
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
        at.ellipsoid((kit.uniform(-0.4, 0.4) * size, size * 0.4, (k - 1) * size * 0.5), (size * 0.55, size * 0.5, size * 0.5), leaf, VEGETATION, cut=CUT_LEAF, cut_value=-0.6)
