"""Procedural scenes as data sets: rooms with the 13 NYU classes and streets with the 19 Cityscapes classes, no download."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from diorama.data.base import SceneDataset
from diorama.data.labels import CITYSCAPES19, NYU13
from diorama.data.scan import Lidar
from diorama.data.world import indoor, street, style
from diorama.data.world.camera import Camera
from diorama.data.world.lidar import ROOM_SCANNER, STREET_SCANNER, Scanner, scan
from diorama.data.world.light import Light
from diorama.data.world.primitives import Scene
from diorama.data.world.render import Sensor, View, render
from diorama.errors import ConfigError
from diorama.types import IGNORE, Frame

_SCENE, _LEFT, _RIGHT, _LIDAR = range(4)


class World(SceneDataset):
    """What both worlds share. Frame `index` is a pure function of (seed, split, style, index) and the size."""

    citation: ClassVar[str] = "Procedural scenes of this package; nothing to cite."
    terms: ClassVar[str] = "Apache-2.0, as the package that draws them."
    offers: ClassVar[frozenset[str]] = frozenset(
        {"image", "right", "semantic", "semantic_right", "depth", "sparse_depth", "disparity", "intrinsics", "baseline", "domain"}
    )
    styles: ClassVar[tuple[str, ...]]
    scanner: ClassVar[Scanner]
    background: ClassVar[int] = IGNORE

    def __init__(
        self, frames: int, split: str, size: tuple[int, int], style: str, seed: int, root: str | Path | None, stereo: bool
    ) -> None:
        self.root, self.split, self.seed, self.stereo = Path(root) if root else None, split, seed, stereo
        self._check_split()
        if frames < 1:
            raise ConfigError(f"{self.name}: {frames} frames. Pass --data.frames of at least 1.")
        if min(size) < 16:
            raise ConfigError(f"{self.name}: size {tuple(size)} is too small. Pass --data.size [height, width] of at least 16.")
        self.size = int(size[0]), int(size[1])
        self.style = style
        self._style_of(0)
        self.ids = [f"{split}_{seed}_{index:05d}" for index in range(frames)]
        pair = {"right", "semantic_right", "disparity"} if stereo else set()
        self.provides = frozenset({"image", "semantic", "depth", "sparse_depth", "intrinsics", "baseline", "domain"} | pair)

    def _style_of(self, index: int) -> str:
        return style.choose(self.style, self.styles, index)

    def _random(self, index: int, part: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.splits.index(self.split), index, part])

    @abstractmethod
    def _build(self, name: str, random: np.random.Generator) -> tuple[Scene, Camera, Light, Sensor, float]:
        """Scene, left camera, light, sensor and baseline [m] of style `name`."""

    def scene(self, index: int) -> tuple[Scene, Camera, Light, Sensor, float]:
        """Scene, left camera, light, sensor and baseline [m] of frame `index`, not yet rendered."""
        return self._build(self._style_of(index), self._random(index, _SCENE))

    def views(self, index: int, stereo: bool = True) -> tuple[View, View | None, Camera, float]:
        """Left and right view with image, depth and labels each, the left camera and the baseline [m]."""
        scene, camera, light, sensor, baseline = self.scene(index)
        left = render(scene, camera, light, sensor, self._random(index, _LEFT), self.background)
        right = None
        if stereo:
            right = render(scene, camera.shifted(baseline), light, sensor, self._random(index, _RIGHT), self.background, left.gain)
        return left, right, camera, baseline

    def frame(self, index: int) -> Frame:
        """Frame number `index`; the right view is drawn only if `stereo`."""
        left, right, camera, baseline = self.views(index, self.stereo)
        name = self._style_of(index)
        meta: dict[str, Any] = {
            "id": self.ids[index],
            "path": f"{self.name}/{name}/{self.ids[index]}",
            "split": self.split,
            "style": name,
            "lidar": Lidar.upright(self.scanner.elevations, self.scanner.height, camera.rotation).to_meta(),
        }
        frame = Frame(
            image=left.image,
            semantic=left.semantic,
            depth=left.depth,
            sparse_depth=scan(camera, self.scanner, left.depth, self._random(index, _LIDAR)),
            intrinsics=camera.matrix,
            baseline=baseline,
            domain=self.styles.index(name),
            meta=meta,
        )
        if right is not None:
            known = left.depth > 0
            frame["right"], frame["semantic_right"] = right.image, right.semantic
            frame["disparity"] = np.where(known, np.float32(baseline * camera.focal_x) / np.where(known, left.depth, 1), 0).astype(
                np.float32
            )
        return frame


class WorldIndoor(World):
    """Furnished rooms, drawn on the fly: image pair, depth [m], 13 classes, LiDAR lines.

    Args:
        frames: how many frames the split has; train, val and test never share a room.
        split: `train`, `val` or `test`.
        size: height and width [px].
        style: `home`, `office` or `mixed` (each in turn).
        seed: another seed is another world.
        root: not used; the frames need no files.
        stereo: whether to draw the right view as well (twice the time).
    """

    name: ClassVar[str] = "world_indoor"
    title: ClassVar[str] = "Procedural rooms, 13 classes"
    depth_cap: ClassVar[float] = 10.0
    styles: ClassVar[tuple[str, ...]] = tuple(style.INDOOR)
    scanner: ClassVar[Scanner] = ROOM_SCANNER
    labels = NYU13

    def __init__(
        self,
        frames: int = 200,
        split: str = "train",
        size: tuple[int, int] = (240, 320),
        style: str = "mixed",
        seed: int = 0,
        root: str | Path | None = None,
        stereo: bool = True,
    ) -> None:
        super().__init__(frames, split, size, style, seed, root, stereo)

    def _build(self, name: str, random: np.random.Generator) -> tuple[Scene, Camera, Light, Sensor, float]:
        chosen = style.INDOOR[name]
        scene, camera, light = indoor.build(chosen, random, self.size)
        return scene, camera, light, chosen.sensor, chosen.baseline


class WorldStreet(World):
    """Streets with traffic, drawn on the fly: image pair, depth [m], 19 classes, LiDAR lines.

    Args:
        frames: how many frames the split has; train, val and test never share a street.
        split: `train`, `val` or `test`.
        size: height and width [px].
        style: `harbour`, `mill` (two cities that differ in light, haze, houses and camera) or `mixed` (each in turn).
        seed: another seed is another world.
        root: not used; the frames need no files.
        stereo: whether to draw the right view as well (twice the time).
    """

    name: ClassVar[str] = "world_street"
    title: ClassVar[str] = "Procedural streets, 19 classes"
    depth_cap: ClassVar[float] = 80.0
    styles: ClassVar[tuple[str, ...]] = tuple(style.STREET)
    scanner: ClassVar[Scanner] = STREET_SCANNER
    background: ClassVar[int] = CITYSCAPES19.classes.index("sky")
    labels = CITYSCAPES19

    def __init__(
        self,
        frames: int = 200,
        split: str = "train",
        size: tuple[int, int] = (256, 512),
        style: str = "mixed",
        seed: int = 0,
        root: str | Path | None = None,
        stereo: bool = True,
    ) -> None:
        super().__init__(frames, split, size, style, seed, root, stereo)

    def _build(self, name: str, random: np.random.Generator) -> tuple[Scene, Camera, Light, Sensor, float]:
        chosen = style.STREET[name]
        scene, camera, light = street.build(chosen, random, self.size)
        return scene, camera, light, chosen.sensor, chosen.baseline
