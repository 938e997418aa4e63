"""Frames of a video beside what the network sees in them: one colour scale and one legend from the first frame to the last."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from diorama.errors import ConfigError
from diorama.prediction import render
from diorama.prediction.result import ScenePrediction

_LEAST = 240
"""Pictures of small frames are enlarged to so many pixels along the longer side: titles and legend need the room."""

_ROOM = 1.25
"""By how much nearer and farther the scale of a camera reaches than its first frame: what comes later is not known."""


class Panels:
    """Draws photo, classes and depth of one frame after the other, side by side and all alike.

    Args:
        seen: scenes of some frames, best spread over the whole video; they fix the colours of depth, and which classes are named.
        tile: largest side of each picture [px].
        ends: False if frames come that nobody can know yet (a camera): the colours then reach farther than in `seen`.

    Raises:
        ConfigError: nothing was seen.
    """

    def __init__(self, seen: Iterable[ScenePrediction], *, tile: int = 480, ends: bool = True) -> None:
        near, far = math.inf, -math.inf
        maps: list[NDArray[np.uint8]] = []
        self.size, labels = (0, 0), None
        for scene in seen:
            if not maps and self.size == (0, 0):
                scale = min(max(_LEAST, max(scene.size)), tile) / max(scene.size)
                self.size, labels = (max(1, round(scene.size[0] * scale)), max(1, round(scene.size[1] * scale))), scene.labels
            if scene.semantic is not None:
                maps.append(render.fit_labels(scene.semantic, self.size[1], self.size[0]))
            if scene.depth is not None:
                nearest, farthest = render.depth_range(scene.depth)
                near, far = min(near, nearest), max(far, farthest)
        if self.size == (0, 0):
            raise ConfigError("no frame was seen, so there is no scale for the rest. Give at least one scene.")
        room = 1.0 if ends else _ROOM
        self.range = (near / room, far * room) if near <= far else None
        """(near, far) in metres between which depth is coloured; None without depth."""
        self._legend = None
        if maps and labels is not None:
            self._legend = render.legend(np.concatenate(maps), labels, self.size[1])

    def draw(self, scene: ScenePrediction) -> NDArray[np.uint8]:
        """`(H, W, 3)` RGB, of the same size for every frame."""
        height, width = self.size
        photo = render.resized(scene.picture, width, height)
        tiles = [render.tile(photo, "Photo")]
        if scene.semantic is not None and scene.labels is not None:
            small = render.fit_labels(scene.semantic, width, height)
            tiles.append(render.tile(render.overlay(photo, small, scene.labels, names=False), "Semantics", self._legend))
        if scene.depth is not None and self.range is not None:
            colours = render.resized(render.depth_colours(scene.depth, *self.range), width, height)
            bar = render.colour_bar(*self.range, width)
            tiles.append(render.tile(colours, "Depth", bar, note="metres"))
        return render.grid(tiles, len(tiles))
