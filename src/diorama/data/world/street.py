"""Streets: traffic, people, lamps, signs and trees between houses and parks (Cityscapes 19 train ids)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diorama.data.world import people, roadside, vehicles
from diorama.data.world.blocks import KERB, NEAR, START, Street, blocks, ground
from diorama.data.world.camera import Camera
from diorama.data.world.daylight import Daylight
from diorama.data.world.primitives import Builder, Scene
from diorama.data.world.props import Props
from diorama.data.world.solids import turn
from diorama.data.world.style import StreetStyle


def _furniture(street: Street) -> None:
    """Lamps, signs, signals, trees and bins along the kerbs."""
    kit, builder = street.kit, street.kit.builder
    for side in (-1, 1):
        kerb = side * (street.road + 0.55)
        z = START / 2 + kit.uniform(0, 12)
        while z < 110:
            if street.free(kerb, z, 0.3, 0.3) and abs(z - street.crossing) > 8:
                roadside.lamp_post(kit, builder.at(kerb, KERB, z), -side)
            z += kit.uniform(20, 30)
        z = kit.uniform(0, 10)
        spacing = kit.uniform(*street.style.trees)
        while z < 100:
            if abs(z - street.crossing) > 9 and street.free(kerb + side * 0.5, z, 0.5, 0.5):
                roadside.tree(kit, builder.at(kerb + side * 0.5, KERB, z), kit.uniform(4.5, 7.5), z < NEAR)
            z += spacing * kit.uniform(0.8, 1.4)
        for _ in range(kit.integer(2, 6)):
            z = kit.uniform(5, 60)
            if abs(z - street.crossing) > 7 and street.free(kerb, z, 0.4, 0.4):
                roadside.road_sign(kit, builder.at(kerb, KERB, z, kit.uniform(-0.2, 0.2)), -1.0 if side > 0 or kit.maybe(0.4) else 1.0)
        for z, toward in ((street.crossing - street.lane - 1.6, -1.0), (street.crossing + street.lane + 1.6, -1.0)):
            if kit.maybe(0.75) and street.free(kerb, z, 0.3, 0.3):
                roadside.traffic_light(kit, builder.at(kerb, KERB, z), toward)
        for _ in range(kit.integer(0, 3)):
            z = kit.uniform(4, 45)
            if street.free(kerb + side * 0.3, z, 0.6, 1.0):
                people.cyclist(kit, builder.at(kerb + side * 0.2, KERB, z, kit.uniform(1.2, 1.9)), z < 28, ridden=False)


def _people(street: Street) -> None:
    kit = street.kit
    for _ in range(kit.integer(4, 14)):
        side, z = (-1, 1)[kit.integer(0, 2)], kit.uniform(5, 20) if kit.maybe(0.4) else kit.uniform(15, 60)
        x = side * (street.road + kit.uniform(0.9, max(street.walk - 0.4, 1.0)))
        if street.free(x, z, 0.35, 0.35):
            people.pedestrian(kit, kit.builder.at(x, KERB, z, kit.uniform(-0.5, 0.5) + np.pi * kit.integer(0, 2)), z < 28)
    if kit.maybe(0.4):
        for _ in range(kit.integer(1, 4)):
            x, z = kit.uniform(-street.road, street.road), street.crossing - street.lane - 1.2 + kit.uniform(-1, 1)
            if z > 7 and street.free(x, z, 0.4, 0.4):
                people.pedestrian(kit, kit.builder.at(x, 0, z, np.pi / 2 * (1 - 2 * kit.integer(0, 2))), z < 25)


_MIX: tuple[tuple[Callable[[Props, Builder, bool], None], float], ...] = (
    (vehicles.car, 4.9),
    (vehicles.truck, 9.0),
    (vehicles.bus, 12.0),
    (vehicles.tram, 28.0),
)
"""What drives, and its length [m]."""

_SHARES = (0.74, 0.84, 0.93)
"""Up to which of uniform numbers the first, the second and the third of them is chosen."""


def _traffic(street: Street, own: float) -> None:
    """Parked cars, vehicles ahead in the own lane, oncoming ones, riders, perhaps a bus, a lorry or a tram."""
    kit, builder = street.kit, street.kit.builder
    for lane, heading in ((own, 0.0), (-own, np.pi)):
        z = kit.uniform(9, 34) if heading == 0 else kit.uniform(2, 30)
        while z < 110:
            thing, length = _MIX[int(np.searchsorted(_SHARES, kit.uniform(0, 1), side="right"))]
            if kit.maybe(0.75) and street.free(lane, z + length / 2, 1.2, length / 2 + 0.5):
                near = z < NEAR
                thing(kit, builder.at(lane + kit.uniform(-0.2, 0.2), 0, z + length / 2, heading + kit.uniform(-0.02, 0.02)), near)
            z += length + kit.uniform(6, 32)
    for lane, heading in ((own + 0.35 * street.lane, 0.0), (-own - 0.35 * street.lane, np.pi)):
        for _ in range(kit.integer(0, 3)):
            z = kit.uniform(7, 45)
            if street.free(lane, z, 0.4, 1.1):
                at = builder.at(lane, 0, z, heading + kit.uniform(-0.06, 0.06))
                if kit.maybe(0.65):
                    people.cyclist(kit, at, z < 28)
                else:
                    people.motorcycle(kit, at, True)
    if street.parking:
        for side in (-1, 1):
            z = kit.uniform(-6, 6)
            while z < 75:
                if kit.maybe(0.72) and abs(z - street.crossing) > 10 and street.free(side * (street.road - 1.1), z, 1.0, 2.6):
                    at = builder.at(side * (street.road - 1.05), 0, z, (0.0 if side > 0 else np.pi) + kit.uniform(-0.03, 0.03))
                    if kit.maybe(0.93):
                        vehicles.car(kit, at, 0 < z < NEAR)
                    else:
                        people.motorcycle(kit, at, False)
                z += kit.uniform(5.3, 7.5)


def build(style: StreetStyle, random: np.random.Generator, size: tuple[int, int]) -> tuple[Scene, Camera, Daylight]:
    """A street, the left camera of a car on it for images of `size` (H, W), and its light with shadows."""
    builder = Builder()
    kit = Props(builder, random, style.autumn)
    parking = kit.maybe(0.65)
    lane = kit.uniform(*style.lane)
    street = Street(kit, style, lane + (2.2 if parking else 0.5), kit.uniform(2.2, 4.2), lane, parking, kit.uniform(18, 75))
    own = lane / 2
    street.free(own, 2.0, 1.3, 6.5)
    ground(street)
    _traffic(street, own)
    _furniture(street)
    _people(street)
    blocks(street)
    axes = turn(np.radians(kit.uniform(-6, 6)), np.radians(kit.uniform(*style.camera_pitch)), np.radians(kit.uniform(-0.7, 0.7)))
    focal = kit.uniform(*style.focal) * size[1]
    centre = (size[1] - 1) / 2 + kit.uniform(-0.01, 0.01) * size[1], (size[0] - 1) / 2 + kit.uniform(-0.02, 0.02) * size[0]
    position = np.array([own + kit.uniform(-0.3, 0.3), kit.uniform(*style.camera_height), 0.0])
    camera = Camera(size[0], size[1], focal, focal, *centre, position, np.stack([axes[:, 0], -axes[:, 1], axes[:, 2]]))
    scene = builder.build()
    light = _daylight(kit, style)
    light.throw(scene, position, axes[:, 2], min(max(size[1], 256), 768))
    return scene, camera, light


def _daylight(kit: Props, style: StreetStyle) -> Daylight:
    height, azimuth = np.radians(kit.uniform(*style.sun_height)), kit.integer(0, 2) * np.pi + kit.uniform(-1.1, 1.1)
    sun = np.array([np.cos(height) * np.sin(azimuth), np.sin(height), np.cos(height) * np.cos(azimuth)])
    warmth, power, clouds = kit.uniform(*style.sun_warmth), kit.uniform(*style.sun_power), kit.uniform(*style.clouds)
    sun_colour = np.array([1.0, 1.0 - 0.12 * warmth, 1.0 - 0.35 * warmth], np.float32) * np.float32(power)
    blue, grey = np.array([0.1, 0.24, 0.62]), np.array([0.5, 0.53, 0.57])
    zenith = (blue + (grey - blue) * clouds**1.5).astype(np.float32)
    pale, veil = np.array([0.46, 0.6, 0.78]), np.array([0.62, 0.63, 0.645])
    horizon = (pale + (veil - pale) * clouds).astype(np.float32)
    return Daylight(sun, sun_colour, zenith, horizon, clouds, kit.uniform(0, 50), kit.uniform(*style.haze_length))
