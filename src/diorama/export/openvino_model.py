"""The same `Prediction` by OpenVINO, without torch: an .xml file (and its .bin) that `diorama export --format openvino` wrote."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.errors import ModelError
from diorama.export.config import METADATA_KEY, ModelConfig, input_keys, parse
from diorama.export.runtime import checked
from diorama.types import Inputs, Prediction

MAX_COMPILED = 4
"""So many sizes get a network compiled for them alone, which is a third faster; others share one that takes any size."""


class OpenVinoModel:
    """An exported model: `Inputs` in, NumPy `Prediction` out.

    Args:
        path: the .xml file; its .bin lies beside it.
        threads: threads per image; None lets OpenVINO take every core.
        device: "cpu".

    Raises:
        ModelError: openvino is not installed, not one of our files, or the device is not there.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None, device: str = "cpu") -> None:
        try:
            import openvino
        except ImportError as error:
            raise ModelError(f"{path}: an OpenVINO model needs the package openvino. Install it with `pip install openvino`.") from error
        self.path = Path(path)
        if not self.path.is_file():
            raise ModelError(f"{path}: no such file. Give an .xml file that `diorama export --format openvino` wrote.")
        if not self.path.with_suffix(".bin").is_file():
            raise ModelError(f"{path}: its weights, {self.path.with_suffix('.bin').name}, do not lie beside it. Copy both files.")
        if device != "cpu":
            raise ModelError(f"device '{device}' is not available to OpenVINO models. Use cpu, or the .onnx file.")
        self._core = openvino.Core()
        try:
            graph = self._core.read_model(self.path)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1][:160]
            raise ModelError(f"{path}: OpenVINO cannot open it ({reason}). Copy both files again or export it anew.") from error
        if not graph.has_rt_info([METADATA_KEY]):
            raise ModelError(f"{path}: holds no diorama config, so another program wrote it. Give a model written by diorama.")
        self.config: ModelConfig = parse(graph.get_rt_info([METADATA_KEY]).astype(str), self.path)
        self._outputs = [output.get_any_name() for output in graph.outputs]
        unknown = set(self._outputs) - set(Prediction._fields)
        if unknown:
            raise ModelError(f"{path}: outputs {sorted(unknown)} are not part of a Prediction. Export the model anew.")
        self.arithmetic = self._arithmetic()
        self._settings = {
            "INFERENCE_PRECISION_HINT": self.arithmetic,
            "PERFORMANCE_HINT": "LATENCY",
            **({} if threads is None else {"INFERENCE_NUM_THREADS": threads}),
        }
        self._graph = _channels_last(graph)
        self._compiled: dict[tuple[tuple[int, ...], ...] | None, Any] = {}
        self._lock = Lock()

    def _arithmetic(self) -> str:
        """What is not int8 is computed in this: "bf16" if the file asks for it and the processor has it, else "f32"."""
        wanted = self.config["export"].get("precision") == "bf16"
        return "bf16" if wanted and "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"

    def __call__(self, inputs: Inputs) -> Prediction:
        """The prediction for `inputs`; NumPy arrays, depth in metres.

        Raises:
            ShapeError: another number of dimensions or channels, or an input is missing.
        """
        feed = {key: np.ascontiguousarray(part, np.float32) for key, part in checked(inputs, input_keys(self.config)).items()}
        with self._lock:  # a request holds one answer, which the next call writes over
            found = self._request({key: part.shape for key, part in feed.items()}).infer(feed, share_inputs=True, share_outputs=True)
            return Prediction(**{name: _channels_first(found[name]) for name in self._outputs})

    def _request(self, shapes: dict[str, tuple[int, ...]]) -> Any:
        """What computes inputs of these shapes: compiled for them alone, unless they are the fifth."""
        key = tuple(shapes.values())
        if key in self._compiled:
            return self._compiled[key]
        alone = len(self._compiled) < MAX_COMPILED
        if not alone and None in self._compiled:
            return self._compiled[None]
        graph = self._graph
        if alone:
            graph = graph.clone()
            graph.reshape(shapes)
        request = self._core.compile_model(graph, "CPU", self._settings).create_infer_request()
        self._compiled[key if alone else None] = request
        return request


def _channels_last(graph: Any) -> Any:
    """`graph` with its outputs as they are computed, `(B, H, W, C)`: OpenVINO needs long to turn forty channels."""
    from openvino import Layout
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(graph)
    for output in graph.outputs:
        result = steps.output(output.get_any_name())
        result.model().set_layout(Layout("NCHW"))
        result.tensor().set_layout(Layout("NHWC"))
    return steps.build()


def _channels_first(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """`(B, H, W, C)` -> `(B, C, H, W)`, a copy."""
    batch, height, width, channels = values.shape
    found = np.empty((batch, channels, height, width), np.float32)
    for one, other in zip(values, found, strict=True):
        cv2.transpose(one.reshape(height * width, channels), other.reshape(channels, height * width))
    return found
