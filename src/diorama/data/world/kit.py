"""What rooms are furnished with: class numbers, and the woods and fabrics that the pieces of a room share."""

from __future__ import annotations

import colorsys

import numpy as np

from diorama.data.labels import NYU13
from diorama.data.world.materials import Colour
from diorama.data.world.painter import Painter
from diorama.data.world.primitives import Builder

BED, BOOKS, CEILING, CHAIR, FLOOR, FURNITURE, OBJECTS, PICTURE, SOFA, TABLE, TV, WALL, WINDOW = range(len(NYU13))

WOODS: tuple[Colour, ...] = (
    (0.55, 0.36, 0.2),
    (0.42, 0.26, 0.15),
    (0.7, 0.52, 0.34),
    (0.3, 0.18, 0.11),
    (0.78, 0.66, 0.5),
    (0.5, 0.28, 0.14),
)


class Kit(Painter):
    """What a room is furnished with: a builder, a random stream, and the woods and fabrics its pieces share."""

    def __init__(self, builder: Builder, random: np.random.Generator, saturation: float, white: float) -> None:
        self.builder, self.random, self.saturation = builder, random, saturation
        self.white_share = white
        tone = WOODS[int(random.integers(len(WOODS)))]
        self.wood = self.paint("wood", tone, values=(0.16,), gloss=0.03)
        self.dark = self.paint("plain", (0.09, 0.09, 0.1), values=(0.05, 1.0), gloss=0.04)
        self.metal = self.paint("plain", (0.55, 0.56, 0.58), gloss=0.25)
        self.white = self.paint("plain", (0.88, 0.87, 0.84), values=(0.03, 1.0), gloss=0.02)

    def uniform(self, low: float, high: float) -> float:
        """A number between `low` and `high`."""
        return float(self.random.uniform(low, high))

    def maybe(self, share: float) -> bool:
        """True in `share` of all cases."""
        return bool(self.random.random() < share)

    def colour(self, low: float = 0.25, high: float = 0.85, strength: float = 1.0) -> Colour:
        """A colour of random hue; saturation follows the style."""
        saturation = min(self.uniform(0.05, 0.75) * self.saturation * strength, 0.95)
        r, g, b = colorsys.hsv_to_rgb(self.uniform(0, 1), saturation, self.uniform(low, high))
        return (r, g, b)

    def any_wood(self) -> int:
        """The room's wood, sometimes another or white."""
        if self.maybe(self.white_share):
            return self.white
        if self.maybe(0.6):
            return self.wood
        return self.paint("wood", WOODS[int(self.random.integers(len(WOODS)))], values=(0.16,), gloss=0.03)

    def cloth(self, strength: float = 1.0) -> int:
        """A fabric: plain, striped or checked."""
        colour, accent = self.colour(strength=strength), self.colour(strength=strength)
        pick = self.random.random()
        if pick < 0.62:
            return self.paint("fabric", colour, values=(self.uniform(0.08, 0.2),))
        if pick < 0.84:
            return self.paint("stripes", colour, accent, values=(self.uniform(0.05, 0.3), self.uniform(0.2, 0.5), float(self.maybe(0.5))))
        return self.paint("checks", colour, accent, values=(self.uniform(0.08, 0.3),))
