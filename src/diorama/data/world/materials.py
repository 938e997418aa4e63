"""What a surface is made of: a kind, two colours and parameters; and the samples that its kind is asked to colour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diorama.data.world.texture import Values, noise

F32 = NDArray[np.float32]
Colour = tuple[float, float, float]

PARAMETERS = 6


@dataclass(frozen=True)
class Material:
    """A kind (a key of `KINDS`), two colours (sRGB 0..1) and what its function reads as parameters."""

    kind: str
    colour: Colour
    accent: Colour = (0.0, 0.0, 0.0)
    values: tuple[float, ...] = ()
    seed: int = 0
    gloss: float = 0.0
    """Share of the mirrored sky or lamp at a right angle, 0..1."""
    glow: float = 0.0
    """Light it gives off, in units of its colour."""


@dataclass
class Texels:
    """Samples that share a kind of material: `(n,)` coordinates [m], pixel footprint [m], face size [m]; `(3, n)` colours."""

    u: F32
    v: F32
    footprint: F32
    size_u: F32
    size_v: F32
    colour: F32
    accent: F32
    values: F32
    seed: F32

    def grain(self, period: float, channel: int = 0, stretch: float = 1.0) -> F32:
        """Noise that repeats after `period` metres, fading out where pixels are too coarse for it."""
        shift = self.seed * np.float32(0.37 * period)
        fade = 1 / (1 + np.square(self.footprint * np.float32(40.0 / period)))
        return np.asarray(noise(self.u + shift, (self.v + shift) * np.float32(stretch), period, channel) * fade)


def mix(low: Values, high: Values, part: Values) -> F32:
    """From `low` to `high` as `part` goes from 0 to 1."""
    return np.asarray(low + (high - low) * part)


@dataclass
class Palette:
    """The materials of a scene as arrays, one column each."""

    kinds: list[str]
    kind: NDArray[np.int64]
    colour: F32
    accent: F32
    values: F32
    seed: F32
    gloss: F32
    glow: F32


def palette(materials: list[Material]) -> Palette:
    """`materials` as arrays with linear colours."""
    kinds = sorted({m.kind for m in materials})
    values = np.zeros((PARAMETERS, len(materials)), np.float32)
    for i, m in enumerate(materials):
        values[: len(m.values), i] = m.values
    return Palette(
        kinds,
        np.array([kinds.index(m.kind) for m in materials]),
        np.array([m.colour for m in materials], np.float32).T ** np.float32(2.2),
        np.array([m.accent for m in materials], np.float32).T ** np.float32(2.2),
        values,
        np.array([m.seed & 255 for m in materials], np.float32),
        np.array([m.gloss for m in materials], np.float32),
        np.array([m.glow for m in materials], np.float32),
    )
