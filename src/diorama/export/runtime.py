"""The same `Prediction` without torch: an ONNX file that `diorama export` wrote, run by onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diorama.errors import ModelError, ShapeError
from diorama.export.config import ModelConfig, metadata_config
from diorama.types import Prediction


class OnnxModel:
    """An exported model: `(B, 3, H, W)` RGB in 0..1 in, NumPy `Prediction` out.

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
            raise ModelError(f"device '{device}' is not available to onnxruntime. Use cpu, or install onnxruntime-gpu for cuda.")
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

    def __call__(self, images: NDArray[np.float32]) -> Prediction:
        """The prediction for `(B, 3, H, W)` float32 RGB in 0..1; NumPy arrays, depth in metres.

        Raises:
            ShapeError: another number of dimensions or channels.
        """
        check_images(images)
        found: list[Any] = self._session.run(self._outputs, {"image": np.ascontiguousarray(images, np.float32)})
        return Prediction(**dict(zip(self._outputs, found, strict=True)))


def check_images(images: NDArray[Any]) -> None:
    """Refuse anything but `(B, 3, H, W)` floating point.

    Raises:
        ShapeError: another shape or an integer type.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not np.issubdtype(images.dtype, np.floating):
        raise ShapeError(f"images have shape {images.shape} and type {images.dtype}. Give floats (B, 3, H, W), RGB in 0..1.")
