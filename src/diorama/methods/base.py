"""What every method is: a network, what it needs, its losses as named terms, its stages and its optimisers as data."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from diorama.types import Prediction, Sample


@dataclass(frozen=True)
class Stage:
    """A stretch of training: how long, how fast, which losses act and which parts stand still. Stage = f(step)."""

    name: str
    epochs: float
    rate: float
    """Learning rate of the freshly initialised layers at the start of the stage."""
    losses: tuple[str, ...]
    schedule: Literal["constant", "poly", "cosine", "halving", "tenth", "flat_linear"] = "constant"
    """`flat_linear` stays for the first half of the stage and then falls in a line to 0."""
    freeze: tuple[str, ...] = ()
    """Prefixes of parameter names that do not move in this stage."""
    warmup: float = 0.0
    """Part of the stage in which the rate rises linearly from 0."""
    halve_every: float = 5.0
    """Epochs after which the schedule "halving" halves the rate."""
    tenth_every: float = 10.0
    """Epochs after which the schedule "tenth" divides the rate by 10."""


@dataclass(frozen=True)
class Turn:
    """One backward and update within a step: plain methods have one, adversarial ones take turns.

    Where a method has several optimisers, only the parameters of `optimiser` gather gradients in its turn.
    """

    name: str = "all"
    optimiser: str = "all"


@dataclass
class StepContext:
    """Where training stands when a loss is asked for; all a method may know of the loop around it."""

    step: int
    stage: Stage
    sample_seed: list[int] = field(default_factory=list)
    """One seed per sample of the batch, stream after stream: random pixels are drawn from it, never from the global state."""
    logs: bool = False
    """Whether the step is one of those that are logged; what only `gauges` tells need not be computed at others."""


class Method(nn.Module):
    """A paper's system. Subclasses state `needs`, build the network in `__init__`, and write `forward` and `losses`."""

    needs: ClassVar[frozenset[str]]
    """Keys of `Sample` that the whole method trains on."""
    inputs: ClassVar[tuple[str, ...]] = ("image",)
    """Keys of `Sample` that `forward` takes, in this order; the exported graph's inputs carry these names."""
    config_class: ClassVar[type[Any]]
    citation: ClassVar[str]

    config: Any
    requires: frozenset[str]
    """What this configuration needs: `needs`, or less when parts are switched off."""

    @property
    def streams(self) -> Mapping[str, frozenset[str]]:
        """Name of a stream -> keys of `Sample` that it must provide. Samples of different streams do not belong together.

        Each is read in an order of its own; an epoch is one pass through the first.
        """
        return {"main": self.requires}

    @property
    def task_terms(self) -> Mapping[str, str]:
        """Name of a term of `losses` -> the task that it is the loss of; what is of no task alone (adversarial terms) is not there.

        Between these tasks weights and gradients can be balanced.
        """
        return {}

    @abstractmethod
    def forward(self, *inputs: Any, **named: Any) -> Prediction:
        """A tensor `(B, C, H, W)` for each of `inputs` -> `Prediction`; exportable, any size."""

    @abstractmethod
    def losses(self, batch: Mapping[str, Sample], context: StepContext, turn: Turn) -> dict[str, Tensor]:
        """The terms of this turn under the names they are logged by, already weighted: their sum is what is minimised.

        Args:
            batch: name of a stream -> its samples.
            context: where training stands.
            turn: one of `turns`; without a term it is left out, unless that leaves the step without any.
        """

    def nothing(self) -> Tensor:
        """0, to which every parameter that moves contributes: what the loop takes for the loss of a turn without terms."""
        return torch.stack([(parameter * 0).sum() for parameter in self.parameters() if parameter.requires_grad]).sum()

    @abstractmethod
    def optimisers(self) -> dict[str, Optimizer]:
        """One optimiser per name used in `turns`; each group holds `rate_factor` beside `lr`, or a `steady_rate` without schedule."""

    @property
    @abstractmethod
    def stages(self) -> list[Stage]:
        """The recipe of the paper."""

    def turns(self, context: StepContext) -> list[Turn]:
        """The updates of one step, in order."""
        del context  # methods whose turns change with the stage look at it
        return [Turn()]

    def prepare(self, statistics: Mapping[str, Any]) -> None:
        """Take what was counted on the training set (class frequencies) before the first step."""

    def enter(self, stage: Stage) -> tuple[str, ...]:
        """What is to be done as `stage` begins, also the first; prefixes of the names of weights that were set anew come back.

        A resumed run enters no stage that it was in already: what a later stage is to find goes through `memory`.
        """
        del stage  # most methods go on with the weights they have
        return ()

    def gauges(self) -> dict[str, float]:
        """Figures of how training goes, logged beside the losses every `trainer.log_every` steps; may log a warning."""
        return {}

    def samples(self, batch: Mapping[str, Sample]) -> dict[str, Tensor]:
        """What to look at while training goes on: title of a column -> `(B, 3, H, W)`, RGB in 0..1. Called in evaluation mode."""
        del batch  # most methods show nothing
        return {}

    def memory(self) -> dict[str, Tensor]:
        """What only a checkpoint keeps, beside weights and optimisers: what this process has gathered on the way (image buffers)."""
        return {}

    def recall(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `memory` gave.

        Raises:
            KeyError: of another configuration.
        """
        del state  # most methods gather nothing
