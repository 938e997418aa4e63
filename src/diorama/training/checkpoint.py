"""Everything a stopped run needs to go on as if it had not stopped; tensors and JSON types only."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from diorama.errors import ModelError
from diorama.methods.base import Method
from diorama.training.average import MovingAverage

logger = logging.getLogger("diorama")

FORMAT = 1


class Stateful(Protocol):
    """What keeps its state in a dictionary, such as Fabric's precision plugin with its gradient scaler."""

    def state_dict(self) -> dict[str, Any]:
        """The state; empty without one."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put `state_dict` back."""


def save_checkpoint(
    path: Path,
    *,
    name: str,
    method: Method,
    average: MovingAverage,
    optimisers: Mapping[str, Optimizer],
    step: int,
    loader: Mapping[str, Any],
    precision: Stateful | None = None,
    memories: Sequence[Mapping[str, Tensor]] = (),
) -> None:
    """Write the state after `step` steps; the old file stays until the new one is whole.

    `memories` are what `Method.memory` gives in each process.
    """
    state = {
        "format": FORMAT,
        "method": name,
        "step": step,
        "model": method.state_dict(),
        "average": average.state_dict(),
        "optimisers": {key: optimiser.state_dict() for key, optimiser in optimisers.items()},
        "gradients": {key: value.grad for key, value in method.named_parameters() if value.grad is not None},
        "loader": dict(loader),
        "precision": precision.state_dict() if precision else {},
        "memories": [dict(memory) for memory in memories],
    }
    temporary = path.with_suffix(".tmp")
    try:
        torch.save(state, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(
    path: Path,
    *,
    name: str,
    method: Method,
    average: MovingAverage,
    optimisers: Mapping[str, Optimizer],
    precision: Stateful | None = None,
    rank: int = 0,
    world: int = 1,
) -> tuple[int, dict[str, Any]]:
    """Steps done and the loader's state, after the rest was put back in place; process `rank` of `world` gets its own memory.

    Memories of other processes than there are now are left out, and said to be.

    Raises:
        ModelError: missing, damaged, of another method, or of another network.
    """
    if not path.is_file():
        start = path.with_name("config.yaml")
        anew = f"Nothing was saved yet: start again with `diorama train --config {start}`." if start.is_file() else "Pass a run folder."
        raise ModelError(f"{path}: no checkpoint. {anew}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found, version = state["method"], state["format"]
    except Exception as error:  # torch's unpickling errors differ between versions; all mean the same to a user
        raise ModelError(f"{path}: not a readable checkpoint ({type(error).__name__}). Resume from another run or start anew.") from error
    if not isinstance(version, int) or version > FORMAT:
        raise ModelError(f"{path}: written by a newer diorama (format {version}, this one reads {FORMAT}). Update diorama.")
    if found != name:
        raise ModelError(f"{path}: a checkpoint of '{found}', not of '{name}'. Set model.name={found} or resume another run.")
    try:
        method.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        for key, optimiser in optimisers.items():
            declared = [{name: value for name, value in group.items() if name != "params"} for group in optimiser.param_groups]
            optimiser.load_state_dict(state["optimisers"][key])
            # what a run of an earlier diorama did not declare
            for group, own in zip(optimiser.param_groups, declared, strict=True):
                group.update({name: value for name, value in own.items() if name not in group})
        parameters = dict(method.named_parameters())
        for key, gradient in state["gradients"].items():
            parameters[key].grad = gradient.to(parameters[key].device)
        # absent from a run in another precision, or of an earlier diorama: the scale is then found anew within some steps
        if precision and state.get("precision"):
            precision.load_state_dict(state["precision"])
        # absent from a run of an earlier diorama; a process that was not there begins without
        memories = state.get("memories", [])
        for memory in memories[rank : rank + 1]:
            if memory:
                method.recall(memory)
    except (RuntimeError, KeyError, ValueError) as error:
        raise ModelError(f"{path}: saved from another configuration of '{name}'. Resume with the config.yaml beside it.") from error
    if rank == 0 and any(memories) and len(memories) != world:
        logger.warning("%s", _other_number(len(memories), world))
    return int(state["step"]), dict(state["loader"])


def _other_number(then: int, now: int) -> str:
    lost = f"what the last {then - now} had gathered is left out" if then > now else f"the last {now - then} begin with none"
    return (
        f"the checkpoint holds image buffers or other memories of {then} process{'es' if then > 1 else ''}, this run has {now}: {lost}. "
        f"To go on exactly, resume with {then} (trainer.devices x trainer.nodes)"
    )
