"""Scenes as convex primitives: boxes (also tapered), ellipsoids, cylinders, ground planes and the inside of a room.

World axes: x right, y up, z forward, metres. Every primitive is the intersection of half-spaces and at most one quadric,
so that one caster serves them all. A `Builder` collects parameters in lists; `Builder.build` turns them into arrays at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diorama.data.world.materials import Material, Palette, palette
from diorama.data.world.solids import CORNERS, FACES, planes, quadrics, turn, wrap

F64 = NDArray[np.float64]
Vector = tuple[float, float, float]

NO_CUT = 0
CUT_LEAF = 1
CUT_RING = 2
CUT_BARS = 3


@dataclass
class Scene:
    """Everything the caster and the shader need, as arrays: `P` planes and `Q` quadrics are the surfaces `0..P+Q-1`."""

    planes: F64
    """`(P, 4)`: outward unit normal and offset, `normal . point = offset` [m]."""
    quadrics: F64
    """`(Q, 4, 4)` homogeneous matrices, negative inside."""
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    """Planes `first[i]:last[i]` bound primitive i."""
    quadric: NDArray[np.int64]
    """Quadric of primitive i, -1 if it has none."""
    corners: F64
    """`(N, 8, 3)` corners that enclose primitive i [m]; NaN marks an unbounded one."""
    inside: NDArray[np.bool_]
    """True for a room: it is seen from within."""
    casts: NDArray[np.bool_]
    """True if the primitive throws shadows."""
    cut: NDArray[np.int64]
    cut_value: F64
    label: NDArray[np.uint8]
    """`(P + Q,)` train id of each surface."""
    material: NDArray[np.int64]
    """`(P + Q,)` index into `materials`."""
    frame: NDArray[np.float32]
    """`(10, P + Q)`: texture axes U, u0, V, v0 (u = U . point + u0) and the size of the face [m]."""
    materials: list[Material]

    @property
    def surfaces(self) -> int:
        """How many surfaces there are."""
        return len(self.planes) + len(self.quadrics)

    @cached_property
    def coats(self) -> Palette:
        """The materials as arrays."""
        return palette(self.materials)

    @cached_property
    def normals(self) -> NDArray[np.float32]:
        """`(3, P)` unit normals of the planes on the side where a viewer is."""
        normals = self.planes[:, :3].T.astype(np.float32)
        for room in np.flatnonzero(self.inside):
            normals[:, self.first[room] : self.last[room]] *= -1
        return normals

    @cached_property
    def slopes(self) -> NDArray[np.float32]:
        """`(12, Q)`: rows of a matrix A (9) and a vector b (3) such that A point + b is normal to the quadric."""
        core = np.concatenate([self.quadrics[:, :3, :3].reshape(-1, 9), self.quadrics[:, :3, 3]], 1)
        return np.ascontiguousarray(core.T.astype(np.float32))


@dataclass
class _Part:
    """One primitive as it was asked for."""

    kind: str
    centre: Vector
    half: Vector
    rotation: Any
    taper: tuple[float, float] = (1.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)
    label: int = 0
    materials: tuple[int, ...] = ()
    labels: tuple[int, ...] = ()
    casts: bool = True
    cut: int = NO_CUT
    cut_value: float = 0.0


_IDENTITY = np.eye(3)


@dataclass
class Builder:
    """Collects primitives and materials; `at` places whole groups (a chair, a car) by a turn and a shift."""

    parts: list[_Part] = field(default_factory=list)
    materials: list[Material] = field(default_factory=list)
    origin: F64 = field(default_factory=lambda: np.zeros(3))
    rotation: F64 = field(default_factory=lambda: np.eye(3))

    def at(self, x: float, y: float, z: float, yaw: float = 0.0) -> Builder:
        """A builder that adds to the same scene, with its origin at `(x, y, z)` of this one and turned by `yaw` [rad]."""
        place = self.origin + self.rotation @ np.array([x, y, z])
        return Builder(self.parts, self.materials, place, self.rotation @ turn(yaw) if yaw else self.rotation)

    def paint(self, material: Material) -> int:
        """Number of `material` in this scene."""
        self.materials.append(material)
        return len(self.materials) - 1

    def box(
        self,
        centre: Vector,
        size: Vector,
        material: int,
        label: int,
        *,
        rotation: F64 | None = None,
        taper: tuple[float, float] = (1.0, 1.0),
        shift: tuple[float, float] = (0.0, 0.0),
        faces: dict[str, int] | None = None,
        labels: dict[str, int] | None = None,
        casts: bool = True,
        cut: int = NO_CUT,
        cut_value: float = 0.0,
    ) -> None:
        """Adds a box of full `size` about `centre`; its top is scaled by `taper` and moved by `shift` along local x and z.

        `faces` and `labels` override material and label per name of `FACES`.
        """
        coats = tuple((faces or {}).get(name, material) for name in FACES)
        ids = tuple((labels or {}).get(name, label) for name in FACES)
        half = (size[0] / 2, size[1] / 2, size[2] / 2)
        self._add(_Part("box", centre, half, rotation, taper, shift, label, coats, ids, casts, cut, cut_value))

    def ellipsoid(
        self,
        centre: Vector,
        radii: Vector,
        material: int,
        label: int,
        *,
        rotation: F64 | None = None,
        casts: bool = True,
        cut: int = NO_CUT,
        cut_value: float = 0.0,
    ) -> None:
        """Adds an ellipsoid with the given half axes."""
        self._add(
            _Part(
                "ellipsoid",
                centre,
                radii,
                rotation,
                label=label,
                materials=(material,),
                labels=(label,),
                casts=casts,
                cut=cut,
                cut_value=cut_value,
            )
        )

    def cylinder(
        self,
        base: Vector,
        top: Vector,
        radius: float,
        material: int,
        label: int,
        *,
        taper: float = 1.0,
        depth: float | None = None,
        cap: int | None = None,
        casts: bool = True,
        cut: int = NO_CUT,
        cut_value: float = 0.0,
    ) -> None:
        """Adds a capped cylinder from `base` to `top`; the top's radius is `taper * radius`; `depth` is the other half axis [m]."""
        low, high = np.array(base, np.float64), np.array(top, np.float64)
        axis = high - low
        length = float(np.sqrt(axis @ axis))
        axis /= length
        if abs(axis[1]) > 0.999999:
            rotation = _IDENTITY if axis[1] > 0 else np.diag([1.0, -1.0, -1.0])
        else:
            side = np.array([axis[1], -axis[0], 0.0]) if abs(axis[2]) < 0.9 else np.array([0.0, axis[2], -axis[1]])
            side /= np.sqrt(side @ side)
            ahead = np.array(
                [side[1] * axis[2] - side[2] * axis[1], side[2] * axis[0] - side[0] * axis[2], side[0] * axis[1] - side[1] * axis[0]]
            )
            rotation = np.column_stack([side, axis, ahead])
        middle = (low + high) / 2
        coats = (cap if cap is not None else material,) * 2 + (material,)
        half = (radius, length / 2, depth if depth is not None else radius)
        self._add(
            _Part(
                "cylinder",
                (middle[0], middle[1], middle[2]),
                half,
                rotation,
                (taper, taper),
                label=label,
                materials=coats,
                labels=(label,) * 3,
                casts=casts,
                cut=cut,
                cut_value=cut_value,
            )
        )

    def ground(self, height: float, material: int, label: int) -> None:
        """Adds the half-space below `height` [m]; it throws no shadow."""
        self._add(
            _Part(
                "ground", (0.0, height - 1.0, 0.0), (1.0, 1.0, 1.0), None, label=label, materials=(material,), labels=(label,), casts=False
            )
        )

    def room(self, centre: Vector, size: Vector, faces: dict[str, int], labels: dict[str, int]) -> None:
        """Adds the inside of a box: six faces seen from within, each named by where it lies as seen by the viewer within."""
        half = (size[0] / 2, size[1] / 2, size[2] / 2)
        self._add(
            _Part(
                "room",
                centre,
                half,
                None,
                materials=tuple(faces[name] for name in FACES),
                labels=tuple(labels[name] for name in FACES),
                casts=False,
            )
        )

    def _add(self, part: _Part) -> None:
        rotation = self.rotation if part.rotation is None else self.rotation @ part.rotation
        x, y, z = self.origin + self.rotation @ np.array(part.centre)
        part.centre, part.rotation = (x, y, z), rotation
        self.parts.append(part)

    def build(self) -> Scene:
        """The scene as arrays."""
        parts = self.parts
        centre = np.array([part.centre for part in parts])
        half = np.array([part.half for part in parts])
        rotation = np.array([part.rotation for part in parts])
        taper = np.array([part.taper for part in parts])
        shift = np.array([part.shift for part in parts])
        kind = np.array([part.kind for part in parts])
        walls, frame = planes(centre, half, rotation, taper, shift)
        keep = np.zeros((len(parts), 6), bool)
        keep[(kind == "box") | (kind == "room")] = True
        keep[kind == "cylinder", 2:4] = True
        keep[kind == "ground", 3] = True
        curved = (kind == "ellipsoid") | (kind == "cylinder")
        curves = quadrics(centre[curved], half[curved], rotation[curved], taper[curved, 0], kind[curved] == "cylinder")
        counts = keep.sum(1)
        last = np.cumsum(counts)
        number = np.full(len(parts), -1)
        number[curved] = np.arange(curved.sum())
        spread = np.maximum(1.0, taper)
        reach = np.stack([half[:, 0] * spread[:, 0] + np.abs(shift[:, 0]), half[:, 1], half[:, 2] * spread[:, 1] + np.abs(shift[:, 1])], 1)
        corners = centre[:, None] + np.einsum("nij,nkj->nki", rotation, CORNERS * reach[:, None])
        corners[(kind == "ground") | (kind == "room")] = np.nan
        flat = [part.labels[:-1] if part.kind == "cylinder" else part.labels for part in parts if part.kind != "ellipsoid"]
        coats = [part.materials[:-1] if part.kind == "cylinder" else part.materials for part in parts if part.kind != "ellipsoid"]
        round_ = [part for part, is_curved in zip(parts, curved, strict=True) if is_curved]
        return Scene(
            planes=walls[keep],
            quadrics=curves,
            first=last - counts,
            last=last,
            quadric=number,
            corners=corners,
            inside=kind == "room",
            casts=np.array([part.casts for part in parts]),
            cut=np.array([part.cut for part in parts]),
            cut_value=np.array([part.cut_value for part in parts]),
            label=np.array([i for group in flat for i in group] + [part.labels[-1] for part in round_], np.uint8),
            material=np.array([i for group in coats for i in group] + [part.materials[-1] for part in round_], np.int64),
            frame=np.concatenate([frame[keep], wrap(centre[curved], half[curved])]).T.astype(np.float32).copy(),
            materials=self.materials,
        )
