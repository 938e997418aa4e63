"""The ONNX graph of a method: traced with free batch and image size, and its weights halved where asked."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

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


def halve(graph: ModelProto, origin: Mapping[str, NDArray[Any]] | None = None) -> None:
    """Store the larger fp32 weights of `graph` as fp16, each followed by a cast back; in place.

    The arithmetic stays fp32: onnxruntime evaluates what is done to constants when it loads the file.

    Args:
        graph: of `to_onnx`.
        origin: the method's own weights by name. Where the exporter multiplied a norm into them, they are stored as they were and
            multiplied again: weights that come from an fp16 file then lose nothing, and otherwise one pixel in five hundred would change.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes, scales = [], []
    for position, weight in enumerate(graph.graph.initializer):
        if weight.data_type != TensorProto.FLOAT or len(weight.dims) < 2:
            continue
        values = numpy_helper.to_array(weight)
        if values.size < _SMALLEST_HALF or np.abs(values).max() >= np.finfo(np.float16).max:
            continue
        name = weight.name
        plain, scale = _unscaled(values, (origin or {}).get(name.removeprefix("method.")))
        graph.graph.initializer[position].CopyFrom(numpy_helper.from_array(plain.astype(np.float16), f"{name}.fp16"))
        target = name if scale is None else f"{name}.unscaled"
        nodes.append(helper.make_node("Cast", [f"{name}.fp16"], [target], name=f"{name}.cast", to=TensorProto.FLOAT))
        if scale is not None:
            scales.append(numpy_helper.from_array(scale, f"{name}.scale"))
            nodes.append(helper.make_node("Mul", [target, f"{name}.scale"], [name], name=f"{name}.scaled"))
    graph.graph.initializer.extend(scales)
    after = [*nodes, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(after)
    # Shapes that the exporter noted for the renamed weights no longer belong to an initialiser.
    renamed = {node.output[0] for node in nodes}
    kept = [value for value in graph.graph.value_info if value.name not in renamed]
    del graph.graph.value_info[:]
    graph.graph.value_info.extend(kept)


def _unscaled(values: NDArray[Any], origin: NDArray[Any] | None) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
    """`values` as `origin * scale`, a factor for each output channel, if fp16 then holds them better; else `values` and None."""
    if origin is None or origin.shape != values.shape or np.array_equal(origin, values):
        return values, None
    half = origin.astype(np.float16).astype(np.float64).reshape(len(values), -1)
    flat = values.astype(np.float64).reshape(len(values), -1)
    factors = ((half * flat).sum(1) / np.maximum((half * half).sum(1), np.finfo(np.float64).tiny)).astype(np.float32)
    missed = np.abs(half * factors[:, None] - flat).max()
    if not missed < np.abs(flat.astype(np.float16) - flat).max():
        return values, None
    return origin, factors.reshape(-1, *(1,) * (values.ndim - 1))


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


def own_weights(method: Method) -> dict[str, NDArray[Any]]:
    """Name -> array of every weight of `method`, for `halve`."""
    return {name: value.detach().cpu().numpy() for name, value in method.state_dict().items()}


def _outputs_of(method: Method) -> list[str]:
    import torch

    with torch.inference_mode():
        found: Prediction = method.eval()(*(torch.rand(1, INPUT_CHANNELS[key], *TRACED) for key in method.inputs))
    return [name for name in OUTPUTS if getattr(found, name) is not None]
