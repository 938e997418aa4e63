"""The same `Prediction` without torch: an ONNX file that `diorama export` wrote, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diorama.errors import ModelError, ShapeError
from diorama.export.config import ModelConfig, input_keys, metadata_config
from diorama.types import INPUT_CHANNELS, Inputs, Prediction


class OnnxModel:
    """An exported model: `Inputs` in, NumPy `Prediction` out.

    Args:
        path: a file that `diorama export` wrote.
        threads: threads per image; None lets onnxruntime take every core.
        device: "cpu", or "cuda" where onnxruntime-gpu is installed.

    Raises:
        ModelError: not an ONNX file, not one of ours, or the device is not there.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None, device: str = "cpu") -> None:
        import onnxruntime

        self.path = Path(path)
        if not self.path.is_file():
            raise ModelError(f"{path}: no such file. Give an .onnx file that `diorama export` wrote.")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
        provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}.get(device)
        if provider not in onnxruntime.get_available_providers():
            raise ModelError(f"device '{device}' is not available to onnxruntime. Use cpu, or cuda, which needs onnxruntime-gpu.")
        try:
            self._session = onnxruntime.InferenceSession(str(self.path), options, providers=[provider])
        # onnxruntime's errors share no base class of their own: a damaged file raises one of a dozen RuntimeError kin.
        except Exception as error:
            first = str(error).strip().splitlines()[0][:160]
            raise ModelError(f"{path}: onnxruntime cannot open it ({first}). Copy it again or export it anew.") from error
        self.config: ModelConfig = metadata_config(self._session.get_modelmeta().custom_metadata_map, self.path)
        self._outputs = [output.name for output in self._session.get_outputs()]
        unknown = set(self._outputs) - set(Prediction._fields)
        if unknown:
            raise ModelError(f"{path}: outputs {sorted(unknown)} are not part of a Prediction. Export the model anew.")

    def __call__(self, inputs: Inputs) -> Prediction:
        """The prediction for `inputs`; NumPy arrays, depth in metres.

        Raises:
            ShapeError: another number of dimensions or channels, or an input is missing.
        """
        feed = {key: np.ascontiguousarray(part, np.float32) for key, part in checked(inputs, input_keys(self.config)).items()}
        found: list[Any] = self._session.run(self._outputs, feed)
        return Prediction(**dict(zip(self._outputs, found, strict=True)))


_MEANING = {"image": "RGB in 0..1", "right": "RGB in 0..1", "sparse_depth": "metres, 0 = unknown", "matched": "pixels, 0 = unknown"}


def checked(inputs: Inputs, keys: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The entries of `inputs` that a network takes, `(B, C, H, W)` floats each, in the order of `keys`.

    Raises:
        ShapeError: no dictionary, one is missing, has another shape or an integer type, or two differ in batch or size.
    """
    if not isinstance(inputs, Mapping):
        raise ShapeError(f"inputs are a {type(inputs).__name__}. Give a dictionary by name, e.g. {{'{keys[0]}': array}}.")
    found: dict[str, NDArray[Any]] = {}
    for key in keys:
        wanted = f"floats (B, {INPUT_CHANNELS[key]}, H, W), {_MEANING[key]}"
        if key not in inputs:
            raise ShapeError(f"the network takes '{key}', which is not given ({', '.join(inputs) or 'nothing'}). Give {wanted}.")
        part = np.asarray(inputs[key])
        if part.ndim != 4 or part.shape[1] != INPUT_CHANNELS[key] or not np.issubdtype(part.dtype, np.floating):
            raise ShapeError(f"'{key}' has shape {part.shape} and type {part.dtype}. Give {wanted}.")
        found[key] = part
    if len({(part.shape[0], *part.shape[2:]) for part in found.values()}) > 1:
        shapes = ", ".join(f"{key} {part.shape}" for key, part in found.items())
        raise ShapeError(f"inputs of different size ({shapes}). Bring them to one size.")
    return found
