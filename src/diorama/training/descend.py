"""One update: backward, non-finite check with the ids of the batch, clip, step. The only place that moves weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from diorama.errors import TrainingError
from diorama.training.gradients import TaskGradients
from diorama.training.setup import agreed, gathered


def descend(
    fabric: Fabric,
    module: nn.Module,
    terms: Mapping[str, Tensor],
    optimiser: Any,
    *,
    ids: Sequence[str],
    step: int,
    clip_norm: float = 0.0,
    accumulate: int = 1,
    join: TaskGradients | None = None,
) -> Tensor:
    """The sum of `terms` after its gradient has moved the weights of `optimiser`.

    Gradients of `accumulate` steps are averaged before one update; clipping acts on the average. Whoever calls this for a
    step without update, or with `join`, does so inside `fabric.no_backward_sync`, together with the forward pass.

    Args:
        fabric: launched.
        module: set up by `fabric`.
        terms: losses by name, already weighted; none if no pixel of the batch is labelled.
        optimiser: set up by `fabric`.
        ids: frames of the batch, named if the loss is not finite.
        step: number of this step, from 0.
        clip_norm: largest gradient norm, 0 = no clipping.
        accumulate: steps per update.
        join: how the gradients of tasks are joined; None: they are added.

    Raises:
        TrainingError: a term, or a gradient that is to be joined, is not finite; or nothing was labelled and so nothing can be learnt.
    """
    broken = [f"{name} = {float(value.detach())}" for name, value in terms.items() if not bool(torch.isfinite(value.detach()).all())]
    # all processes stop together: one that stopped alone would leave the others waiting for its gradients
    if agreed(fabric, not terms or bool(broken)):
        empty = gathered(fabric, "" if terms else ", ".join(ids))
        if any(empty):
            raise TrainingError(
                f"step {step}: no loss on frames {', '.join(filter(None, empty))}: none of their pixels has a label or depth. "
                "Mend them or take them out (`diorama data check`), or raise trainer.batch_size."
            )
        found = gathered(fabric, f"{', '.join(broken)} on frames {', '.join(ids)}" if broken else "")
        raise TrainingError(
            f"step {step}: {'; '.join(text for text in found if text)}. Look at these frames (`diorama data check`), "
            "lower the rate (model.stage_rates) or set trainer.clip_norm."
        )
    loss = torch.stack([value.float() for value in terms.values()]).sum()
    if join is None:
        fabric.backward(loss / accumulate)
    else:
        join.backward(fabric, terms, moving(optimiser), step=step, accumulate=accumulate)
    if (step + 1) % accumulate == 0:
        update(fabric, module, optimiser, clip_norm)
    return loss.detach()


def moving(optimiser: Any) -> list[nn.Parameter]:
    """The parameters of `optimiser` that do not stand still in this stage."""
    return [parameter for group in optimiser.optimizer.param_groups for parameter in group["params"] if parameter.requires_grad]


def update(fabric: Fabric, module: nn.Module, optimiser: Any, clip_norm: float = 0.0) -> None:
    """Move the weights of `optimiser` by the gradients that they have gathered, and forget these."""
    if clip_norm:
        fabric.clip_gradients(module, optimiser, max_norm=clip_norm, error_if_nonfinite=False)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
