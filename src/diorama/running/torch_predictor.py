"""A torch method as the callable that `evaluate_model` takes, and the gathering of tables between torch processes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diorama.types import Inputs, Prediction


def torch_predictor(network: nn.Module, device: torch.device | str | None = None, precision: str = "32") -> Callable[[Inputs], Prediction]:
    """`network` as a callable from `Inputs` to a `Prediction` of NumPy arrays.

    The network is in evaluation mode during each call and every module back in its own mode after it.

    Args:
        network: any module whose `forward` returns a `Prediction`; it is called with what its `inputs` name, else with the image.
        device: where the batch goes; None: where the first parameter is.
        precision: "32", "64" for a network of such weights, or "bf16" / "16" for autocast on that device.
    """
    place = torch.device(device) if device is not None else next(network.parameters()).device
    keys = getattr(network, "inputs", ("image",))
    dtype = {"bf16": torch.bfloat16, "16": torch.float16}.get(precision.removesuffix("-mixed"))
    exact = torch.float64 if precision == "64" else None

    def predict(inputs: Inputs) -> Prediction:
        modes = {module: module.training for module in network.modules()}
        network.eval()
        cast: AbstractContextManager[Any] = torch.autocast(place.type, dtype) if dtype is not None else nullcontext()
        try:
            with torch.inference_mode(), cast:
                said = network(*(torch.from_numpy(inputs[key]).to(place, exact) for key in keys))
        finally:
            for module, training in modes.items():  # frozen batch norms stay as they were, which train() would undo
                module.training = training
        kept = ("semantic_logits", "depth", "uncertainty", "confidence", "threshold")
        return Prediction(**{name: _array(getattr(said, name)) for name in kept})

    return predict


def torch_gather(item: Any) -> list[Any]:
    """`item` of every process of the default group, on every process; `[item]` when there is only one."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [item]
    items: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(items, item)
    return items


def _array(value: Tensor | None) -> NDArray[np.float32] | None:
    return None if value is None else value.float().cpu().numpy()
