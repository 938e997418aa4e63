"""A method in torch with the same face as `OnnxModel`: NumPy in, NumPy `Prediction` out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diorama.errors import ModelError
from diorama.export.config import ModelConfig
from diorama.export.runtime import checked
from diorama.types import Inputs, Prediction

if TYPE_CHECKING:
    from diorama.methods.base import Method


class EagerModel:
    """A method run by torch.

    Args:
        method: the network; put into evaluation mode.
        config: what its model file says about it.
        device: any torch device; "cuda" needs a GPU.

    Raises:
        ModelError: torch is not installed or has no such device.
    """

    def __init__(self, method: Method, config: ModelConfig, *, device: str = "cpu") -> None:
        import torch

        try:
            self._method = method.to(torch.device(device)).eval()
        except (RuntimeError, AssertionError) as error:
            raise ModelError(f"device '{device}' is not available to torch ({str(error).splitlines()[0]}). Use cpu.") from error
        self.config = config
        self._device = device

    def __call__(self, inputs: Inputs) -> Prediction:
        """The prediction for `inputs`; NumPy arrays, depth in metres.

        Raises:
            ShapeError: another number of dimensions or channels, or an input is missing.
        """
        import torch

        parts = checked(inputs, self._method.inputs).values()
        with torch.inference_mode():
            # Copies, because torch warns about arrays it may not write to.
            found: Prediction = self._method(*(torch.from_numpy(np.array(part, np.float32)).to(self._device) for part in parts))
        arrays: list[Any] = [None if value is None else value.float().cpu().numpy() for value in found]
        return Prediction(*arrays)


def load_eager(path: Path, *, device: str = "cpu", threads: int | None = None) -> EagerModel:
    """The model file at `path`, run by torch.

    Raises:
        ModelError: torch is missing, or the file is no model.
    """
    try:
        import torch
    except ImportError as error:
        raise ModelError(f"{path}: a .safetensors model needs torch. Install `diorama[train]`, or give its .onnx file.") from error
    from diorama.export.model_file import load_model

    if threads is not None:
        torch.set_num_threads(threads)
    method, config = load_model(path)
    return EagerModel(method, config, device=device)
