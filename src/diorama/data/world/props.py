"""What streets are furnished with: class numbers, and the materials that the things of a street share."""

from __future__ import annotations

import colorsys

import numpy as np

from diorama.data.labels import CITYSCAPES19
from diorama.data.world.painter import Painter
from diorama.data.world.primitives import Builder

(
    ROAD,
    SIDEWALK,
    BUILDING,
    BARRIER,
    FENCE,
    POLE,
    LIGHT,
    SIGN,
    VEGETATION,
    TERRAIN,
    SKY,
    PERSON,
    RIDER,
    CAR,
    TRUCK,
    BUS,
    TRAIN,
    MOTORCYCLE,
    BICYCLE,
) = range(len(CITYSCAPES19))


class Props(Painter):
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
        return self.paint(
            "fabric", colorsys.hsv_to_rgb(self.uniform(0, 1), self.uniform(0.05, 0.75), self.uniform(low, high)), values=(0.1,)
        )
