"""Accuracy of a network before and after it was rounded, on real frames, and how much of it may be lost. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from diorama.errors import ModelError
from diorama.types import Inputs, Prediction

Runs = Callable[[Inputs], Prediction]


class Frames(Protocol):
    """Inputs of a network that can be gone through several times, a list for instance."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Inputs]: ...


POINTS = ("miou", "confidence_auc")
"""Metrics in 0..1, larger is better, whose loss counts in points: hundredths."""

PERCENT = ("rmse",)
"""Errors, whose growth counts in percent."""


@dataclass(frozen=True)
class Trial:
    """Real frames that a rounded network has to stand.

    Args:
        judge: a network -> its metrics by name, at least one of `POINTS` and `PERCENT`.
        calibration: inputs of the network that int8 is fitted to; other frames than those that judge.
        max_points: largest loss of each of `POINTS`.
        max_percent: largest growth of each of `PERCENT`.
        facts: what the file shall say of these frames; JSON types only.
    """

    judge: Callable[[Runs], Mapping[str, float]]
    calibration: Frames = ()
    max_points: float = 1.0
    max_percent: float = 2.0
    facts: dict[str, Any] = field(default_factory=dict)

    def compare(self, before: Runs, after: Runs, target: Path) -> dict[str, Any]:
        """Metrics of both networks, what is lost, the bounds and `facts`.

        Raises:
            ModelError: more is lost than allowed, or nothing could be measured.
        """
        first, second = self.judge(before), self.judge(after)
        lost = losses(first, second)
        if not lost:
            raise ModelError(f"{target}: neither mIoU nor RMSE of this network can be measured there. Choose data with its labels.")
        bounds = {name: self.max_percent if name in PERCENT else self.max_points for name in lost}
        beyond = [name for name, value in lost.items() if not value <= bounds[name]]
        if beyond:
            told = "; ".join(
                f"{name} {first[name]:.4f} -> {second[name]:.4f}, a loss of {lost[name]:.2f} {unit(name)} (allowed {bounds[name]:g})"
                for name in beyond
            )
            raise ModelError(f"{target}: {told}; not written. Choose a finer --precision, or allow more with --max-loss.")
        return {
            **self.facts,
            "before": {name: float(first[name]) for name in lost},
            "after": {name: float(second[name]) for name in lost},
            "loss": {name: {"value": round(value, 4), "unit": unit(name), "allowed": bounds[name]} for name, value in lost.items()},
        }


def losses(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Metric -> what was lost, in points or percent; negative where it was gained, infinite where it is no number any more."""
    found = {}
    for name in (*POINTS, *PERCENT):
        if name in before and math.isfinite(before[name]):
            now = after.get(name, math.nan)
            lost = 100 * (before[name] - now) if name in POINTS else 100 * (now / before[name] - 1) if before[name] else now * math.inf
            found[name] = lost if math.isfinite(now) else math.inf
    return found


def unit(name: str) -> str:
    """In what the loss of the metric `name` counts."""
    return "percent" if name in PERCENT else "points"
