"""Rooms: bedrooms, living rooms, dining rooms, studies and kitchens with windows, pictures, clutter and light (NYU 13 classes)."""

from __future__ import annotations

import numpy as np

from diorama.data.world import clutter
from diorama.data.world import furniture as make
from diorama.data.world.camera import Camera
from diorama.data.world.kit import FLOOR, FURNITURE, OBJECTS, Kit
from diorama.data.world.lamplight import Lamp, RoomLight, Sunbeam
from diorama.data.world.light import Closeness, aim
from diorama.data.world.primitives import Builder, Scene
from diorama.data.world.room import Room, openings, pictures, shell
from diorama.data.world.solids import turn
from diorama.data.world.style import IndoorStyle


def _bedroom(room: Room) -> None:
    kit = room.kit
    width, length = kit.uniform(0.95, 1.9), kit.uniform(1.9, 2.1)
    place = room.against(width + 0.1, length, clear=0.3)
    if place:
        make.bed(kit, place[0], width, length)
    for _ in range(2):
        if place := room.against(0.48, 0.4):
            make.cabinet(kit, place[0], 0.46, kit.uniform(0.45, 0.6), 0.4, 1, 2, 1)
            if kit.maybe(0.6):
                clutter.floor_lamp(kit, place[0].at(0, 0.6, 0.05), 0.4)
    if place := room.against(1.3, 0.62):
        make.cabinet(kit, place[0], 1.25, kit.uniform(1.7, 2.15), 0.6, 2, 1, 0)
    if place := room.against(1.1, 0.48):
        make.cabinet(kit, place[0], 1.05, kit.uniform(0.75, 1.0), 0.45, 2, 4, 3)
    if kit.maybe(0.4):
        _lounge(room, 0.85)
    if kit.maybe(0.5):
        _study(room)


def _lounge(room: Room, width: float) -> None:
    if place := room.against(width + 0.06, 0.95, clear=0.2):
        make.sofa(room.kit, place[0], width)


def _screen(room: Room) -> None:
    kit = room.kit
    if place := room.against(1.5, 0.42):
        high = kit.uniform(0.4, 0.6)
        make.cabinet(kit, place[0], 1.45, high, 0.4, 3, 1, 1)
        make.television(kit, place[0].at(0, 0, 0.02), kit.uniform(0.8, 1.25), high + 0.02)
        room.hung.append((place[1], place[2], 1.5))


def _living(room: Room) -> None:
    kit = room.kit
    _lounge(room, kit.uniform(1.5, 2.4))
    _screen(room)
    if kit.maybe(0.7):
        _lounge(room, kit.uniform(0.8, 1.0))
    if at := room.amid(1.15, 0.65, float(kit.random.integers(2)) * np.pi / 2):
        make.table(kit, at, kit.uniform(0.8, 1.1), kit.uniform(0.45, 0.65), kit.uniform(0.36, 0.5), int(kit.random.integers(1, 5)))
    for _ in range(int(kit.random.integers(1, 3))):
        _bookcase(room)


def _bookcase(room: Room) -> None:
    kit = room.kit
    width = kit.uniform(0.6, 1.3)
    if place := room.against(width, 0.34):
        make.shelf(kit, place[0], width, kit.uniform(0.8, 2.1))


def _dining(room: Room) -> None:
    kit = room.kit
    width, depth, yaw = kit.uniform(1.1, 1.9), kit.uniform(0.8, 1.0), kit.uniform(-0.25, 0.25) + float(kit.random.integers(2)) * np.pi / 2
    at = room.amid(width + 0.9, depth + 0.9, yaw, 20)
    if at is None:
        return
    make.table(kit, at, width, depth, kit.uniform(0.72, 0.77), int(kit.random.integers(2, 7)))
    wood, seat = kit.any_wood(), kit.cloth() if kit.maybe(0.5) else kit.any_wood()
    for side in (-1, 1):
        for k in range(2 if width > 1.3 else 1):
            x = (k - 0.5) * width * 0.5 if width > 1.3 else 0.0
            if kit.maybe(0.85):
                turned = (np.pi if side < 0 else 0.0) + kit.uniform(-0.3, 0.3)
                make.chair(kit, at.at(x, 0, side * (depth / 2 + kit.uniform(0.05, 0.3)), turned), wood, seat)
    if kit.maybe(0.7):
        height = kit.uniform(1.6, 1.9)
        at.cylinder((0, height, 0), (0, room.height, 0), 0.008, kit.dark, OBJECTS, casts=False)
        at.cylinder(
            (0, height - 0.12, 0),
            (0, height + 0.1, 0),
            0.22,
            kit.paint("plain", kit.colour(0.6, 0.95), glow=0.9),
            OBJECTS,
            taper=0.4,
            casts=False,
        )


def _study(room: Room) -> None:
    kit = room.kit
    width, depth = kit.uniform(1.0, 1.6), kit.uniform(0.55, 0.75)
    if place := room.against(width, depth, clear=0.6):
        at = place[0]
        make.table(kit, at, width, depth, 0.74, int(kit.random.integers(2, 6)))
        if kit.maybe(0.7):
            screen = kit.paint("screen", (0.05, 0.05, 0.06), values=(1.0,), glow=0.7)
            at.box((0, 1.0, depth / 2 - 0.15), (0.55, 0.34, 0.04), kit.dark, OBJECTS, faces={"front": screen})
            at.box((0, 0.79, depth / 2 - 0.15), (0.06, 0.1, 0.04), kit.dark, OBJECTS)
        if kit.maybe(0.5):
            clutter.floor_lamp(kit, at.at(width / 2 - 0.15, 0.74, 0.1), 0.42)
        make.chair(
            kit,
            at.at(kit.uniform(-0.2, 0.2), 0, -depth / 2 - kit.uniform(0.05, 0.3), np.pi + kit.uniform(-0.6, 0.6)),
            kit.wood,
            kit.cloth(),
        )


def _kitchen(room: Room) -> None:
    kit = room.kit
    width = kit.uniform(1.6, 2.6)
    if place := room.against(width, 0.62, clear=0.4):
        columns = max(2, round(width / 0.55))
        make.cabinet(kit, place[0], width, 0.88, 0.6, columns, 2, 5)
        if kit.maybe(0.75):
            coat = kit.paint("panels", kit.colour(0.5, 0.92, 0.6), (0.3, 0.3, 0.3), values=(float(columns), 1.0, 0.05))
            place[0].box((0, 1.75, 0.15), (width, 0.6, 0.34), kit.white, FURNITURE, faces={"front": coat})
            room.hung.append((place[1], place[2], width))
    if place := room.against(0.65, 0.65):
        make.cabinet(kit, place[0], 0.62, kit.uniform(1.5, 1.85), 0.62, 1, 2, 0)
    _dining(room)


def _armchair(room: Room) -> None:
    _lounge(room, room.kit.uniform(0.8, 1.0))


_PLANS = {
    "bedroom": (_bedroom, _screen, _bookcase),
    "living": (_living, _dining),
    "dining": (_dining, _bookcase, _armchair, _screen),
    "study": (_study, _bookcase, _bookcase, _study, _armchair),
    "kitchen": (_screen, _kitchen),
    "studio": (_bedroom, _living),
}
"""What a kind of room is furnished with, in this order, as far as there is space."""


def build(style: IndoorStyle, random: np.random.Generator, size: tuple[int, int]) -> tuple[Scene, Camera, RoomLight]:
    """A furnished room, a camera in it for images of `size` (H, W), and its light (shadows not yet thrown)."""
    builder = Builder()
    kit = Kit(builder, random, float(random.uniform(*style.saturation)), style.white)
    room = Room(kit, kit.uniform(3.2, 6.0), kit.uniform(3.6, 7.0), kit.uniform(2.4, 3.0), [], [])
    camera = _camera(room, style, size)
    shell(room, style)
    windows = openings(room)
    for furnish in _PLANS[tuple(_PLANS)[int(random.integers(len(_PLANS)))]]:
        furnish(room)
    for _ in range(int(kit.uniform(*style.clutter))):
        if at := room.amid(0.4, 0.4, kit.uniform(0, 6.3), 4):
            piece = kit.random.random()
            if piece < 0.25:
                clutter.plant(kit, at)
            elif piece < 0.4:
                clutter.floor_lamp(kit, at, kit.uniform(1.3, 1.7))
            elif piece < 0.55:
                make.chair(kit, at, kit.wood, kit.cloth())
            else:
                clutter.bag(kit, at)
    pictures(room)
    if kit.maybe(0.55):
        rug = kit.paint("rug", kit.colour(0.25, 0.8), kit.colour(0.3, 0.9), values=(kit.uniform(0.05, 0.15), kit.uniform(0.15, 0.5)))
        width, length = kit.uniform(1.2, 2.6), kit.uniform(1.2, 2.4)
        at = builder.at(kit.uniform(0.35, 0.65) * room.width, 0, kit.uniform(0.4, 0.75) * room.length, kit.uniform(-0.3, 0.3))
        at.box((0, 0.004, 0), (width, 0.008, length), rug, FLOOR, casts=False)
    lamps = _lamps(room)
    scene = builder.build()
    return scene, camera, _light(room, style, scene, windows, lamps, min(max(size[1], 192), 448))


def _camera(room: Room, style: IndoorStyle, size: tuple[int, int]) -> Camera:
    """A camera near the front wall or a corner that looks into the room; keeps the floor before it free."""
    kit = room.kit
    x, z = kit.uniform(0.15, 0.85) * room.width, kit.uniform(0.25, 0.9)
    goal_x, goal_z = kit.uniform(0.25, 0.75) * room.width, room.length * kit.uniform(0.6, 1.0)
    yaw = float(np.arctan2(goal_x - x, goal_z - z)) + kit.uniform(-0.2, 0.2)
    pitch, roll = np.radians(kit.uniform(*style.camera_pitch)), np.radians(kit.uniform(-2, 2))
    axes = turn(yaw, pitch, roll)
    focal = kit.uniform(*style.focal) * size[1]
    centre = (size[1] - 1) / 2 + kit.uniform(-0.01, 0.01) * size[1], (size[0] - 1) / 2 + kit.uniform(-0.01, 0.01) * size[0]
    room.claim(x, z, 0.55, 0.55)
    ahead = axes[:, 2]
    room.claim(x + 0.9 * ahead[0], z + 0.9 * ahead[2], 0.45, 0.45)
    position = np.array([x, kit.uniform(*style.camera_height), z])
    return Camera(size[0], size[1], focal, focal, *centre, position, np.stack([axes[:, 0], -axes[:, 1], axes[:, 2]]))


def _lamps(room: Room) -> list[tuple[float, float, float]]:
    """Ceiling lamps; returns where their light comes from."""
    kit = room.kit
    places = []
    glow = kit.paint("plain", (1.0, 0.95, 0.86), glow=2.5)
    for k in range(count := int(kit.random.integers(1, 3))):
        x, z = room.width * kit.uniform(0.35, 0.65), room.length * (k + 0.55) / count
        if kit.maybe(0.5):
            kit.builder.cylinder((x, room.height - 0.07, z), (x, room.height, z), 0.2, glow, OBJECTS, casts=False)
        else:
            kit.builder.box((x, room.height - 0.02, z), (1.1, 0.04, 0.3), kit.white, OBJECTS, faces={"bottom": glow}, casts=False)
        places.append((x, room.height - 0.15, z))
    return places


def _light(
    room: Room,
    style: IndoorStyle,
    scene: Scene,
    windows: list[tuple[str, float, float, float, float]],
    lamps: list[tuple[float, float, float]],
    detail: int,
) -> RoomLight:
    kit = room.kit
    warmth = kit.uniform(*style.lamp_warmth)
    tint = np.array([1.0, 1.0 - 0.18 * warmth, 1.0 - 0.5 * warmth], np.float32)
    lit = 1.0 if not windows or kit.maybe(0.7) else 0.12
    sources: list[Lamp] = []
    for place in lamps:
        power = np.float32(kit.uniform(*style.lamp_power) * lit / len(lamps) * 1.3)
        lamp = Lamp(np.array(place), aim((0.0, -1.0, 0.0)), tint * power, 2.6, 0.25)
        lamp.throw(scene, detail, 2.6, detail / 200)
        sources.append(lamp)
    beams: list[Sunbeam] = []
    day = np.array([0.86, 0.94, 1.0], np.float32)
    for number, (wall, along, width, sill, height) in enumerate(windows):
        inward = {"back": (0, -1), "left": (1, 0), "right": (-1, 0), "front": (0, 1)}[wall]
        x, z = room.spot(wall, along, 0.0)
        middle = np.array([x, sill + height / 2, z])
        power = np.float32(kit.uniform(*style.window_power) * width * height * 0.8)
        lamp = Lamp(middle + np.array([inward[0], 0, inward[1]]) * 0.05, aim((inward[0], -0.35, inward[1])), day * power, 1.8, 1.0)
        if number == 0:
            lamp.throw(scene, detail, 2.2, detail / 70)
        sources.append(lamp)
        if number == 0 and kit.maybe(style.sunny):
            slope, side = kit.uniform(0.5, 1.1), kit.uniform(-0.7, 0.7)
            sun = np.array([-inward[0] + abs(inward[1]) * side, slope, -inward[1] + abs(inward[0]) * side])
            sun /= np.linalg.norm(sun)
            axis = 0 if wall in ("left", "right") else 2
            beam = Sunbeam(
                sun,
                np.array([2.6, 2.3, 1.8], np.float32),
                axis,
                (x, z)[axis // 2],
                (along - width / 2, sill),
                (along + width / 2, sill + height),
            )
            beam.throw(scene, np.array([room.width / 2, 0.5, room.length / 2]), float(np.hypot(room.width, room.length)) + 1.0, detail)
            beams.append(beam)
    ambient = (0.5 * tint + 0.5 * day) * np.float32(kit.uniform(*style.ambient))
    closeness = Closeness(scene, (0.0, 0.0), (room.width, room.length), 0.05, 0.28, 1.0)
    return RoomLight(ambient, np.zeros(3), np.array([room.width, room.height, room.length]), sources, beams, closeness)
