"""New materials, each with a seed of its own: what the builders of rooms and of streets share."""

from __future__ import annotations

import numpy as np

from diorama.data.world.materials import Colour, Material
from diorama.data.world.primitives import Builder


class Painter:
    """Draws the seed of every new material from the scene's own generator."""

    builder: Builder
    random: np.random.Generator

    def paint(
        self,
        kind: str,
        colour: Colour,
        accent: Colour = (0.1, 0.1, 0.1),
        values: tuple[float, ...] = (),
        gloss: float = 0.0,
        glow: float = 0.0,
    ) -> int:
        """The number of a new material with a seed of its own."""
        return self.builder.paint(Material(kind, colour, accent, values, int(self.random.integers(256)), gloss, glow))
