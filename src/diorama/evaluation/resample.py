"""How far a number would move: bootstrap over images within a run, t-interval over seeds between runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

DRAWS = 1000

# two-sided 95 % quantiles of Student's t for 1, 2, ... degrees of freedom; beyond them the expansion below is exact to 5e-4
_T = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)
_Z = 1.959964


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


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the mean of independent runs (Student's t); None for fewer than two runs."""
    if len(values) < 2:
        return None
    mean, freedom = math.fsum(values) / len(values), len(values) - 1
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / freedom)
    half = t_quantile(freedom) * deviation / math.sqrt(len(values))
    return mean - half, mean + half


def t_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t with `freedom` >= 1 degrees of freedom (Abramowitz and Stegun 26.7.5)."""
    if freedom <= len(_T):
        return _T[freedom - 1]
    first = (_Z**3 + _Z) / 4
    second = (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / 96
    third = (3 * _Z**7 + 19 * _Z**5 + 17 * _Z**3 - 15 * _Z) / 384
    return _Z + first / freedom + second / freedom**2 + third / freedom**3
