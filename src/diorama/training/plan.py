"""Stages laid out over steps: which stage a step belongs to and how fast it learns. A pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch.optim import Optimizer

from diorama.errors import ConfigError
from diorama.methods.base import Stage

POLY_POWER = 0.9


class Plan:
    """The stages of a method for epochs of `epoch_steps` steps.

    Args:
        stages: in order; one without epochs is left out.
        epoch_steps: steps of one epoch.

    Raises:
        ConfigError: no stage has a step.
    """

    def __init__(self, stages: Sequence[Stage], epoch_steps: int) -> None:
        self.stages = [stage for stage in stages if stage.epochs > 0]
        self.epoch_steps = epoch_steps
        self.starts, total = [], 0
        for stage in self.stages:
            self.starts.append(total)
            total += max(1, round(stage.epochs * epoch_steps))
        if not self.stages:
            raise ConfigError("the method has no stage with epochs. Set model.stage_epochs.")
        self.total = total

    def index(self, step: int) -> int:
        """Number of the stage that `step` belongs to."""
        return max(number for number, start in enumerate(self.starts) if step >= start)

    def stage(self, step: int) -> Stage:
        """The stage that `step` belongs to."""
        return self.stages[self.index(step)]

    def enters(self, step: int) -> bool:
        """Whether a stage other than the first begins at `step`."""
        return step > 0 and step in self.starts

    def rate(self, step: int) -> float:
        """Learning rate of new layers at `step`."""
        number = self.index(step)
        stage, start = self.stages[number], self.starts[number]
        length = (self.starts[number + 1] if number + 1 < len(self.starts) else self.total) - start
        done = (step - start) / length
        factor: float = {
            "constant": 1.0,
            "poly": (1 - done) ** POLY_POWER,
            "cosine": 0.5 * (1 + math.cos(math.pi * done)),
            "flat_linear": min(1.0, 2 * (1 - done)),
            "tenth": 0.1 ** ((step - start) // (stage.tenth_every * self.epoch_steps)),
            "halving": 0.5 ** ((step - start) // (stage.halve_every * self.epoch_steps)),
        }[stage.schedule]
        rising = min(1.0, (step - start + 1) / (stage.warmup * length)) if stage.warmup else 1.0
        return stage.rate * factor * rising

    def apply(self, step: int, optimisers: Sequence[Optimizer]) -> None:
        """Set the rates for `step`; on entering a stage, forget the momentum of the last one. A `steady_rate` knows no schedule."""
        for optimiser in optimisers:
            if self.enters(step):
                optimiser.state.clear()
            for group in optimiser.param_groups:
                group["lr"] = group.get("steady_rate") or self.rate(step) * group.get("rate_factor", 1.0)
