"""Bootstrap over images: how far a number would move had other images been drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

DRAWS = 1000


def weights(images: int, draws: int = DRAWS, seed: int = 0) -> Float:
    """`(draws, images)`: how often each image is drawn when as many as there are come back with replacement."""
    generator = np.random.default_rng([seed, images])
    return generator.multinomial(images, np.full(images, 1.0 / images), size=draws).astype(np.float64)


def interval(values: Float, level: float = 0.95) -> tuple[float, float] | None:
    """Percentile interval of bootstrap values along the first axis; None if none of them is finite."""
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
