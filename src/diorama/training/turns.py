"""The turns of one step: each a forward pass, a backward pass and an update of one optimiser, while the parameters of the others rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lightning.fabric import Fabric
from torch.optim import Optimizer

from diorama.methods.base import Method, StepContext
from diorama.training.descend import descend, moving, update
from diorama.training.gradients import TaskGradients
from diorama.training.setup import agreed, in_precision
from diorama.types import Sample


def take_turns(
    fabric: Fabric,
    module: Any,
    method: Method,
    batch: Mapping[str, Sample],
    context: StepContext,
    optimisers: Mapping[str, Any],
    *,
    ids: Sequence[str],
    clip_norm: float = 0.0,
    accumulate: int = 1,
    join: TaskGradients | None = None,
) -> dict[str, float]:
    """Every turn of one step; their terms as numbers, and the sum of all as `loss`.

    A turn without terms is left out, and its optimiser stands still unless it has accumulated gradients before. Of a step all of whose
    turns are without terms the last one is not left out, so that it is told.

    Args:
        fabric: launched.
        module: `method` as set up by `fabric`, its `losses` marked as a forward method.
        method: what turns there are.
        batch: name of a stream -> samples, on the device.
        context: of this step.
        optimisers: by the names that turns use, set up by `fabric`.
        ids: frames of the batch.
        clip_norm: see `descend`.
        accumulate: see `descend`.
        join: see `descend`.

    Raises:
        TrainingError: a term is not finite, or there is none at all.
    """
    turns, taken = method.turns(context), False
    batch = in_precision(fabric, batch)
    said: dict[str, float] = {}
    shared = (context.step + 1) % accumulate == 0
    for number, turn in enumerate(turns, 1):
        optimiser = optimisers[turn.optimiser]
        # DDP decides in the forward pass whether the backward pass will share gradients
        unshared = fabric.no_backward_sync(module, enabled=not shared or join is not None)
        with alone(method, optimiser.optimizer, len(optimisers)), unshared:
            with fabric.autocast():  # a marked method of an unwrapped module is not cast by Fabric
                terms = module.losses(batch, context, turn)
            if len(turns) > 1 and (taken or number < len(turns)) and not agreed(fabric, bool(terms)):
                if shared and accumulate > 1:
                    _settle(fabric, module, optimiser, clip_norm)
                continue
            total = descend(
                fabric, module, terms, optimiser, ids=ids, step=context.step, clip_norm=clip_norm, accumulate=accumulate, join=join
            )
        taken = True
        said |= {name: float(value.detach()) for name, value in terms.items()}
        said["loss"] = said.get("loss", 0.0) + float(total)
    return said


def _settle(fabric: Fabric, module: Any, optimiser: Any, clip_norm: float) -> None:
    """The update of a turn without terms: by what the steps before it have gathered, if they have."""
    parameters = moving(optimiser)
    gathered = any(parameter.grad is not None for parameter in parameters)
    if fabric.world_size > 1 and parameters:
        # DDP was told to share gradients and would otherwise wait for them in the next backward pass, which is not to share any
        fabric.backward(module.nothing())
    if gathered:
        update(fabric, module, optimiser, clip_norm)
    else:
        optimiser.zero_grad(set_to_none=True)


@contextmanager
def alone(method: Method, optimiser: Optimizer, optimisers: int) -> Iterator[None]:
    """Inside, no parameter but those of `optimiser` gathers gradients; with one optimiser there is nothing to hold."""
    # ids, because comparing tensors compares their values
    own = {id(parameter) for group in optimiser.param_groups for parameter in group["params"]}
    others = [one for one in method.parameters() if one.requires_grad and id(one) not in own] if optimisers > 1 else []
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)


def freeze(method: Method, prefixes: tuple[str, ...]) -> None:
    """The parameters whose names begin with one of `prefixes` stand still from now on, all others move."""
    for name, parameter in method.named_parameters():
        moves = not (prefixes and name.startswith(prefixes))
        parameter.requires_grad_(moves)
        if not moves:  # a part of an unfinished accumulation would still move it
            parameter.grad = None
