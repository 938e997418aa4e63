"""The gradients of several tasks made one where they move the same parameters, by an aggregator of torchjd."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from diorama.errors import ConfigError, TrainingError
from diorama.methods.base import Method
from diorama.training.settings import Gradients

AGGREGATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "mgda": ("MGDA", {}),
    "pcgrad": ("PCGrad", {}),
    "imtl_g": ("IMTLG", {}),
    "aligned_mtl": ("AlignedMTL", {}),
    "cagrad": ("CAGrad", {"c": 0.4}),
    "upgrad": ("UPGrad", {}),
}
"""Name of the setting -> class of `torchjd.aggregation` and its arguments: c of CAGrad is its paper's for NYUv2. None has a state."""


class TaskGradients:
    """Backward passes of a step, one per task.

    A parameter that two or more tasks move gets what the aggregator makes of their gradients, taken over all such parameters at once; one
    that a single task moves gets its gradient. Terms of no task (adversarial ones) are added to that.

    With several processes gradients are those of the mean loss before they are joined, so N processes do what one does; DDP has no part in
    it. Gradients of an accumulation are joined step by step, and averaged.

    Memory: the graph until the last backward pass, and a gradient of all parameters for each task, one for the other terms, and as much
    again while they are joined.

    Args:
        kind: of `AGGREGATORS`.
        method: whose `task_terms` say which terms are of which task.

    Raises:
        ConfigError: the method has less than two tasks, or the aggregator needs a package that is not installed.
        ModuleNotFoundError: torchjd is not installed.
    """

    def __init__(self, kind: Gradients, method: Method) -> None:
        self.task_terms = dict(method.task_terms)
        if len(set(self.task_terms.values())) < 2:
            raise ConfigError(
                f"trainer.gradients={kind} joins the gradients of several tasks, which this model does not have. Leave it out."
            )
        name, arguments = AGGREGATORS[kind]
        aggregators = importlib.import_module("torchjd.aggregation")
        try:
            self.aggregate = getattr(aggregators, name)(**arguments)
        except ImportError as error:  # of a solver that is not part of torchjd
            raise ConfigError(f"trainer.gradients={kind}: {error}, or set trainer.gradients=mgda.") from error

    def backward(
        self, fabric: Fabric, terms: Mapping[str, Tensor], parameters: Sequence[nn.Parameter], *, step: int, accumulate: int = 1
    ) -> None:
        """Add the gradient of a step, over `accumulate`, to those of `parameters`.

        Args:
            fabric: launched; the forward pass was inside its `no_backward_sync`.
            terms: losses by name, weighted, one or more.
            parameters: that move in this turn.
            step: number of this step.
            accumulate: steps per update.

        Raises:
            TrainingError: the gradient of a task is not finite.
        """
        losses: dict[str, list[Tensor]] = {task: [] for task in dict.fromkeys(self.task_terms.values())}
        for name, value in terms.items():
            losses.setdefault(self.task_terms.get(name, ""), []).append(value.float())
        losses.setdefault("", [])  # of no task
        rows, reached = self._passes(fabric, [torch.stack(parts).sum() if parts else None for parts in losses.values()], parameters)
        tasks = len(losses) - 1
        shared = (reached[:tasks].sum(0) > 1).tolist()
        total = rows.sum(0)
        if any(shared):
            places = torch.cat([torch.full((one.numel(),), both) for one, both in zip(parameters, shared, strict=True)]).to(total.device)
            jacobian = rows[:tasks, places]
            if not bool(torch.isfinite(jacobian).all()):
                worst = [task for task, row in zip(losses, jacobian, strict=False) if not bool(torch.isfinite(row).all())]
                raise TrainingError(
                    f"step {step}: the gradient of {' and '.join(worst)} is not finite. Lower the rate or set trainer.gradients=sum."
                )
            # a task that is absent from this step has no say
            joined = self.aggregate(jacobian[reached[:tasks].any(1)])
            if fabric.world_size > 1:
                torch.distributed.broadcast(joined, 0)  # an aggregator may draw, or round differently
            total[places] = joined + rows[tasks, places]
        for parameter, part, any_row in zip(
            parameters, torch.split(total, [one.numel() for one in parameters]), reached.any(0), strict=True
        ):
            if not bool(any_row):
                continue
            gradient = torch.empty_like(parameter).copy_(part.view(parameter.shape)).div_(accumulate)
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)

    @staticmethod
    def _passes(fabric: Fabric, losses: Sequence[Tensor | None], parameters: Sequence[nn.Parameter]) -> tuple[Tensor, Tensor]:
        """Gradients `(L, P)` of the losses by all parameters in a row, mean over processes; and which `(L, parameters)` are reached."""
        before = [parameter.grad for parameter in parameters]
        passes = [number for number, loss in enumerate(losses) if loss is not None and loss.requires_grad]
        rows = torch.zeros(len(losses), sum(one.numel() for one in parameters), dtype=parameters[0].dtype, device=parameters[0].device)
        reached = torch.zeros(len(losses), len(parameters), device=rows.device)
        for number in passes:
            for parameter in parameters:
                parameter.grad = None
            fabric.backward(losses[number], retain_graph=number != passes[-1])
            for place, (parameter, part) in enumerate(
                zip(parameters, torch.split(rows[number], [p.numel() for p in parameters]), strict=True)
            ):
                if parameter.grad is not None:
                    part.copy_(parameter.grad.reshape(-1))
                    reached[number, place] = 1
        for parameter, gradient in zip(parameters, before, strict=True):
            parameter.grad = gradient
        if fabric.world_size > 1:
            torch.distributed.all_reduce(rows)
            rows /= fabric.world_size
            torch.distributed.all_reduce(reached, op=torch.distributed.ReduceOp.MAX)
        return rows, reached > 0
