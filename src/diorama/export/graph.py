"""The ONNX graph of a method: traced with free batch and image size, and its weights halved where asked."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from diorama.errors import ModelError
from diorama.types import INPUT_CHANNELS, Prediction

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor, nn

    from diorama.methods.base import Method

TRACED = (96, 128)
"""(height, width) of the image the graph is traced with."""

OUTPUTS = ("semantic_logits", "depth", "reconstruction", "uncertainty", "confidence", "threshold")
"""Fields of `Prediction` that are exported; attention is (N, N) and for study only."""

_OPSET = 18
_DEFERRED = "prefer_deferred_runtime_asserts_over_guards"
_SMALLEST_HALF = 256


def to_onnx(method: Method) -> ModelProto:
    """The graph of `method` with dynamic batch, height and width: inputs named as the method's, outputs as in `Prediction`.

    Raises:
        ModelError: onnxscript is missing, or torch cannot trace the network.
    """
    import torch

    # Autograd counts the devices at its first use. Were that after torch.export, which pretends one, this process could never fork
    # again, and a training on several devices would fail.
    torch.autograd.backward(torch.ones((), requires_grad=True))
    names = _outputs_of(method)

    class Exported(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.method = method

        def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
            found: Prediction = self.method(*inputs)
            return tuple(getattr(found, name) for name in names)

    dim = torch.export.Dim
    free = {0: dim("batch", min=1, max=1024), 2: dim("height", min=32, max=16384), 3: dim("width", min=32, max=16384)}
    example = tuple(torch.rand(2, INPUT_CHANNELS[key], *TRACED) for key in method.inputs)
    network, shapes = Exported().eval(), (tuple(free for _ in example),)
    try:
        with torch.no_grad(), warnings.catch_warnings(), static_same_padding(method):
            # The exporter warns about its own internals; what matters to a user is measured afterwards.
            warnings.simplefilter("ignore")
            traced: Any = network
            if _DEFERRED in inspect.signature(torch.export.export).parameters:
                # Sizes padded to a multiple of 32 give guards torch cannot prove. Left to itself the ONNX exporter finds that out by
                # tracing, failing and tracing again by slower ways.
                deferred: dict[str, Any] = {_DEFERRED: True}
                traced = torch.export.export(network, example, dynamic_shapes=shapes, **deferred)
            program = torch.onnx.export(
                traced,
                example,
                input_names=list(method.inputs),
                output_names=names,
                dynamic_shapes=shapes,
                opset_version=_OPSET,
                dynamo=True,
                verbose=False,
            )
    except ImportError as error:
        raise ModelError(f"export needs the package {error.name}. Install `diorama[export]`.") from error
    except RuntimeError as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(f"torch cannot export {type(method).__name__}: {first}. Report it with the model's config.json.") from error
    graph = cast("ModelProto", cast("Any", program).model_proto)
    forget_origin(graph)
    return graph


def forget_origin(graph: ModelProto) -> None:
    """Remove what the exporter notes of its own run, in place: stack traces with paths of this machine, which nobody else should get."""
    parts: list[Any] = [graph.graph, *graph.functions]
    for part in parts:
        del part.metadata_props[:]
        for value in (*part.node, *getattr(part, "input", ()), *part.value_info):
            if not isinstance(value, str):
                del value.metadata_props[:]
                value.ClearField("doc_string")


def halve(graph: ModelProto) -> None:
    """Store the larger fp32 weights of `graph` as fp16, each followed by a cast back; in place.

    The arithmetic stays fp32: onnxruntime evaluates casts of constants when it loads the file.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for position, weight in enumerate(graph.graph.initializer):
        if weight.data_type != TensorProto.FLOAT or len(weight.dims) < 2:
            continue
        values = numpy_helper.to_array(weight)
        if values.size < _SMALLEST_HALF or np.abs(values).max() >= np.finfo(np.float16).max:
            continue
        name = weight.name
        graph.graph.initializer[position].CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.fp16"))
        casts.append(helper.make_node("Cast", [f"{name}.fp16"], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    # Shapes that the exporter noted for the renamed weights no longer belong to an initialiser.
    renamed = {node.output[0] for node in casts}
    kept = [value for value in graph.graph.value_info if value.name not in renamed]
    del graph.graph.value_info[:]
    graph.graph.value_info.extend(kept)


@contextmanager
def static_same_padding(network: nn.Module) -> Iterator[None]:
    """Inside, timm's TensorFlow-style convolutions pad by a constant that holds for sizes their stride divides.

    Methods pad the image to a multiple of 32, so every size does. The padding computed from symbolic sizes nests deeper with every
    layer, and torch spends ten minutes on simplifying it. A network that breaks the rule fails the comparison with torch.
    """
    changed: list[Any] = [module for module in network.modules() if any(kind.__name__ == "Conv2dSame" for kind in type(module).__mro__)]
    for module in changed:
        module.forward = functools.partial(_same_conv, module)
    try:
        yield
    finally:
        for module in changed:
            del module.forward


def _same_conv(conv: nn.Conv2d, image: Tensor) -> Tensor:
    from torch.nn import functional as F

    totals = [max(d * (k - 1) + 1 - s, 0) for k, s, d in zip(conv.kernel_size, conv.stride, conv.dilation, strict=True)]
    rows, columns = totals
    padded = F.pad(image, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
    return F.conv2d(padded, conv.weight, conv.bias, cast("Any", conv.stride), 0, cast("Any", conv.dilation), conv.groups)


def _outputs_of(method: Method) -> list[str]:
    import torch

    with torch.inference_mode():
        found: Prediction = method.eval()(*(torch.rand(1, INPUT_CHANNELS[key], *TRACED) for key in method.inputs))
    return [name for name in OUTPUTS if getattr(found, name) is not None]
