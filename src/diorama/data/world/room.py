"""The room itself while it is furnished: walls, floor, windows, pictures, and what is taken where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diorama.data.world.kit import CEILING, FLOOR, PICTURE, WALL, WINDOW, WOODS, Kit
from diorama.data.world.primitives import Builder
from diorama.data.world.style import IndoorStyle

WALLS = ("back", "left", "right", "front")
_YAW = {"back": 0.0, "left": -np.pi / 2, "right": np.pi / 2, "front": np.pi}


@dataclass
class Room:
    """A room while it is furnished: its size [m], what is taken on the floor and on the walls."""

    kit: Kit
    width: float
    length: float
    height: float
    taken: list[tuple[float, float, float, float]]
    hung: list[tuple[str, float, float]]

    def free(self, x: float, z: float, half_x: float, half_z: float) -> bool:
        """Whether a rectangle lies within the room and touches nothing."""
        if x - half_x < 0.01 or z - half_z < 0.01 or x + half_x > self.width - 0.01 or z + half_z > self.length - 0.01:
            return False
        return all(x + half_x < a or x - half_x > b or z + half_z < c or z - half_z > d for a, b, c, d in self.taken)

    def claim(self, x: float, z: float, half_x: float, half_z: float) -> None:
        """Marks a rectangle as taken."""
        self.taken.append((x - half_x, x + half_x, z - half_z, z + half_z))

    def span(self, wall: str) -> float:
        """Length of a wall [m]."""
        return self.width if wall in ("back", "front") else self.length

    def spot(self, wall: str, along: float, out: float) -> tuple[float, float]:
        """Floor position at `along` a wall and `out` from it."""
        return {"back": (along, self.length - out), "front": (along, out), "left": (out, along), "right": (self.width - out, along)}[wall]

    def against(
        self, width: float, depth: float, walls: tuple[str, ...] = WALLS[:3], clear: float = 0.0, tries: int = 12
    ) -> tuple[Builder, str, float] | None:
        """A place for a piece with its back to a wall, `clear` metres free before it; None if there is none."""
        for _ in range(tries):
            wall = walls[int(self.kit.random.integers(len(walls)))]
            along = self.kit.uniform(width / 2, max(self.span(wall) - width / 2, width / 2 + 0.01))
            x, z = self.spot(wall, along, depth / 2 + 0.04 + clear / 2)
            half_x, half_z = (width / 2, (depth + clear) / 2) if wall in ("back", "front") else ((depth + clear) / 2, width / 2)
            if self.free(x, z, half_x, half_z):
                x, z = self.spot(wall, along, depth / 2 + 0.04)
                self.claim(x, z, *((width / 2, depth / 2) if wall in ("back", "front") else (depth / 2, width / 2)))
                return self.kit.builder.at(x, 0, z, _YAW[wall]), wall, along
        return None

    def amid(self, width: float, depth: float, yaw: float, tries: int = 12) -> Builder | None:
        """A place anywhere on the floor."""
        reach_x, reach_z = (
            (abs(np.cos(yaw)) * width + abs(np.sin(yaw)) * depth) / 2,
            (abs(np.sin(yaw)) * width + abs(np.cos(yaw)) * depth) / 2,
        )
        for _ in range(tries):
            x, z = self.kit.uniform(0.2, self.width - 0.2), self.kit.uniform(0.8, self.length - 0.2)
            if self.free(x, z, reach_x, reach_z):
                self.claim(x, z, reach_x, reach_z)
                return self.kit.builder.at(x, 0, z, yaw)
        return None

    def hang(self, wall: str, width: float, tries: int = 8) -> tuple[Builder, float] | None:
        """A free stretch of a wall, as a builder whose z = 0 is the wall's face; None if there is none."""
        for _ in range(tries):
            along = self.kit.uniform(width / 2 + 0.15, max(self.span(wall) - width / 2 - 0.15, width / 2 + 0.16))
            if along + width / 2 > self.span(wall) - 0.05:
                continue
            if all(wall != other or abs(along - place) > (width + size) / 2 + 0.1 for other, place, size in self.hung):
                self.hung.append((wall, along, width))
                x, z = self.spot(wall, along, 0.0)
                return self.kit.builder.at(x, 0, z, _YAW[wall]), along
        return None


def shell(room: Room, style: IndoorStyle) -> None:
    """Floor, ceiling, walls, skirting, perhaps a pillar or a jutting wall."""
    kit = room.kit
    tone = kit.colour(0.62, 0.95, 0.5)
    coat = style.walls[int(kit.random.integers(len(style.walls)))]
    near = (tone[0] * 0.86, tone[1] * 0.86, tone[2] * 0.88)
    walls = {
        "plain": lambda: kit.paint("plain", tone, values=(kit.uniform(0.02, 0.07), 1.0)),
        "stripes": lambda: kit.paint("stripes", tone, near, values=(kit.uniform(0.12, 0.4), 0.5, 1.0)),
        "mottle": lambda: kit.paint("mottle", tone, near, values=(0.4, float(kit.maybe(0.5)))),
        "tiles": lambda: kit.paint("tiles", tone, near, values=(0.6, 0.6, 0.012, 0.06, 0.0)),
    }
    wall = walls[coat]()
    feature = kit.paint("plain", kit.colour(0.3, 0.85, 0.9), values=(0.05, 1.0)) if kit.maybe(0.3) else wall
    kind = style.floors[int(kit.random.integers(len(style.floors)))]
    wood = WOODS[int(kit.random.integers(len(WOODS)))]
    pale = kit.colour(0.35, 0.85, 0.5)
    dim = (pale[0] * 0.82, pale[1] * 0.82, pale[2] * 0.84)
    floor = {
        "planks": lambda: kit.paint(
            "planks",
            wood,
            (wood[0] * 0.8, wood[1] * 0.78, wood[2] * 0.75),
            values=(kit.uniform(0.08, 0.18), kit.uniform(0.8, 2.2), 0.5),
            gloss=0.05,
        ),
        "mottle": lambda: kit.paint("mottle", pale, dim, values=(0.25, 0.0)),
        "tiles": lambda: kit.paint("tiles", pale, (0.35, 0.34, 0.33), values=(*(kit.uniform(0.25, 0.6),) * 2, 0.012, 0.2, 0.0), gloss=0.06),
    }[kind]()
    ceiling = kit.paint("plain", (0.93, 0.93, 0.91), values=(0.015, 1.0))
    faces = {"left": wall, "right": wall, "front": wall, "back": feature, "bottom": floor, "top": ceiling}
    labels = {"left": WALL, "right": WALL, "front": WALL, "back": WALL, "bottom": FLOOR, "top": CEILING}
    kit.builder.room((room.width / 2, room.height / 2, room.length / 2), (room.width, room.height, room.length), faces, labels)
    trim = kit.white if kit.maybe(0.6) else kit.wood
    for wall_name in WALLS:
        x, z = room.spot(wall_name, room.span(wall_name) / 2, 0.008)
        kit.builder.at(x, 0, z, _YAW[wall_name]).box((0, 0.045, 0), (room.span(wall_name), 0.09, 0.016), trim, WALL, casts=False)
    if kit.maybe(0.35):
        width, depth = kit.uniform(0.3, 1.4), kit.uniform(0.25, 0.9)
        x = width / 2 if kit.maybe(0.5) else room.width - width / 2
        kit.builder.box((x, room.height / 2, room.length - depth / 2), (width, room.height, depth), feature, WALL)
        room.claim(x, room.length - depth / 2, width / 2, depth / 2)
        room.hung.append(("back", x, width))


def openings(room: Room) -> list[tuple[str, float, float, float, float]]:
    """Windows (with curtains) and a door; returns wall, place, width, sill and height of each window."""
    kit = room.kit
    found = []
    for _ in range(int(kit.random.integers(1, 4))):
        wall = WALLS[int(kit.random.integers(3))]
        width, sill = kit.uniform(0.8, 2.0), kit.uniform(0.5, 1.05)
        height = min(kit.uniform(1.0, 1.6), room.height - sill - 0.2)
        place = room.hang(wall, width + 0.3)
        if place is None:
            continue
        at, along = place
        frame = (0.92, 0.92, 0.9) if kit.maybe(0.7) else (0.35, 0.24, 0.15)
        sky = (kit.uniform(0.6, 0.85), kit.uniform(0.75, 0.9), 0.97)
        pane = kit.paint(
            "pane",
            sky,
            frame,
            values=(0.05, float(kit.random.integers(1, 4)), float(kit.random.integers(1, 3))),
            glow=kit.uniform(0.5, 1.1),
        )
        trim = kit.paint("plain", frame)
        at.box((0, sill + height / 2, -0.015), (width, height, 0.03), trim, WINDOW, faces={"front": pane}, casts=False)
        at.box((0, sill - 0.02, -0.06), (width + 0.1, 0.03, 0.14), trim, WINDOW, casts=False)
        if kit.maybe(0.55):
            cloth = kit.paint("folds", kit.colour(0.5, 0.95), values=(kit.uniform(0.06, 0.14), 0.16))
            low = 0.06 if kit.maybe(0.6) else sill - 0.15
            top = min(sill + height + 0.15, room.height - 0.03)
            wide = kit.uniform(0.18, 0.35)
            for side in (-1, 1):
                at.box((side * (width / 2 + 0.02), (low + top) / 2, -0.1), (wide, top - low, 0.06), cloth, WINDOW, casts=False)
            at.cylinder((-width / 2 - 0.25, top + 0.01, -0.1), (width / 2 + 0.25, top + 0.01, -0.1), 0.014, kit.dark, WINDOW, casts=False)
        found.append((wall, along, width, sill, height))
    if kit.maybe(0.6):
        place = room.hang(WALLS[int(kit.random.integers(3))], 1.0)
        if place is not None:
            leaf = kit.paint("panels", (0.88, 0.87, 0.84) if kit.maybe(0.6) else WOODS[0], (0.6, 0.55, 0.4), values=(1.0, 2.0, 0.05))
            place[0].box((0, 1.02, -0.02), (0.95, 2.05, 0.04), kit.white, WALL, casts=False)
            place[0].box((0, 1.0, -0.035), (0.83, 2.0, 0.03), kit.white, WALL, faces={"front": leaf}, casts=False)
            x, z = room.spot(room.hung[-1][0], place[1], 0.5)
            room.claim(x, z, 0.45, 0.45)
    return found


def pictures(room: Room) -> None:
    """Hangs pictures where the walls are free."""
    kit = room.kit
    for _ in range(int(kit.random.integers(1, 5))):
        width = kit.uniform(0.35, 1.1)
        height = width * kit.uniform(0.6, 1.3)
        place = room.hang(WALLS[int(kit.random.integers(3))], width)
        if place is not None:
            frame = ((0.1, 0.09, 0.08), (0.5, 0.35, 0.18), (0.9, 0.89, 0.86))[int(kit.random.integers(3))]
            art = kit.paint("art", (0.5, 0.5, 0.5), frame, values=(0.03, float(kit.maybe(0.5))))
            place[0].box(
                (0, kit.uniform(1.5, 1.75), -0.016),
                (width, min(height, 0.95), 0.03),
                kit.paint("plain", frame),
                PICTURE,
                faces={"front": art},
                casts=False,
            )
