"""torch -> OpenVINO: an .xml graph with its config and a .bin of weights, in fp32, fp16, bf16 or int8, compared with torch."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diorama.data.io import replacing
from diorama.errors import ConfigError, ModelError
from diorama.export.config import CONFIG_NAME, METADATA_KEY, ModelConfig, to_json
from diorama.export.eager import EagerModel
from diorama.export.export import HALF_TOLERANCE, TOLERANCE, ExportReport, differences, measured, refuse_beyond
from diorama.export.graph import halve, own_weights, to_onnx
from diorama.export.openvino_model import OpenVinoModel
from diorama.export.trial import Frames, Trial

if TYPE_CHECKING:
    from onnx import ModelProto

    from diorama.methods.base import Method

log = logging.getLogger("diorama")

_TOLERANCES = {"fp16": HALF_TOLERANCE, "bf16": 0.2}
"""Where real frames judge, none of these does: how far the worst of all values moves says little about a rounded network."""

_IN_METRES = ("depth", "uncertainty")
_LAYERS = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul")
_NO_LAYERS = ("Constant", "Parameter", "Result")


def export_openvino(
    method: Method, config: ModelConfig, target: Path, *, precision: str = "fp32", trial: Trial | None = None
) -> ExportReport:
    """Write `method` with its `config` to `target` (.xml, and .bin beside it; replaced if they exist), checked against torch.

    Raises:
        ConfigError: int8 without a trial.
        ModelError: a package is missing, the graph differs from torch, or loses more accuracy than the trial allows.
    """
    try:
        import openvino
    except ImportError as error:
        raise ModelError(f"export needs the package openvino ({error}). Install `diorama[export]`.") from error
    if precision == "int8" and trial is None:
        raise ConfigError("int8 is fitted to real frames and judged on others. Pass a trial.")
    eager = EagerModel(method, config)
    with tempfile.TemporaryDirectory() as folder:
        plain, rounded = Path(folder) / "plain.xml", Path(folder) / "rounded.xml"
        traced = to_onnx(method)
        graph = _read(traced, Path(folder) / "traced.onnx")
        _write(graph, plain, config)
        exact = last = OpenVinoModel(plain)
        parity, agreement = differences(eager, exact)
        refuse_beyond(parity, TOLERANCE, target)
        rounding: dict[str, tuple[float, float]] = {}
        if precision != "fp32":
            if precision == "int8" and trial is not None:
                graph = quantised(graph, trial.calibration)
            else:
                halve(traced, own_weights(method))
                graph = _read(traced, Path(folder) / "halved.onnx")
            _write(graph, rounded, {**config, "export": {"precision": precision}})
            last = OpenVinoModel(rounded)
            rounding, agreement = differences(eager, last)
            if trial is None:
                refuse_beyond(rounding, _TOLERANCES[precision], target, "Judge it on real frames with --data, or export in fp32")
        accuracy = None if trial is None else trial.compare(exact, last, target)
        report = ExportReport(
            path=target,
            megabytes=0.0,
            weights={"fp32": "fp32", "int8": "int8"}.get(precision, "fp16"),
            parity={name: found for name, (found, _) in parity.items()},
            rounding={name: found for name, (found, _) in rounding.items()},
            agreement=agreement,
            format="openvino",
            precision=precision,
            accuracy=accuracy,
        )
        said: dict[str, Any] = {"arithmetic": last.arithmetic, "openvino": openvino.__version__.partition("-")[0]}
        config = {**config, "export": measured(report) | said}
        _write(graph, target, config)
    if target.name == "model.xml" and not (beside := target.with_name(CONFIG_NAME)).exists():
        with replacing(beside) as temporary:
            temporary.write_text(to_json(config, str(target)) + "\n", encoding="utf-8")
    megabytes = sum(path.stat().st_size for path in (target, target.with_suffix(".bin"))) / 1e6
    log.debug("%s: %.1f MB, largest difference to torch %s", target, megabytes, report.parity)
    return ExportReport(**{**vars(report), "megabytes": round(megabytes, 3)})


def quantised(graph: Any, calibration: Frames) -> Any:
    """`graph` with int8 layers, their ranges fitted to `calibration`; the last layer of every output in metres stays as it is.

    A depth that is told from 256 steps is off by more than a good network errs.

    Raises:
        ModelError: nncf is not installed.
    """
    os.environ.setdefault("NNCF_CI", "1")  # else it reports its use to its makers
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # nncf imports it, and it misses a compiler
    try:
        import nncf
    except ImportError as error:
        raise ModelError(f"int8 needs the package nncf ({error}). Install `diorama[export]`.") from error
    nncf.set_log_level(logging.ERROR)
    exact = nncf.IgnoredScope(names=[name for output in graph.outputs if output.get_any_name() in _IN_METRES for name in head(output)])
    # its progress bars go to stdout, which is for results
    with contextlib.redirect_stdout(sys.stderr if sys.stderr.isatty() else io.StringIO()):
        return nncf.quantize(
            graph,
            nncf.Dataset(calibration, dict),
            subset_size=len(calibration),
            preset=nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER,  # attention beside convolutions: spares what softmax and sigmoid weigh with
            ignored_scope=exact,
        )


def head(output: Any) -> list[str]:
    """Names of the nodes between an output and the last layer with weights before it, both included."""
    found: dict[str, str] = {}
    waiting = [output.get_node()]
    while waiting:
        node = waiting.pop()
        if node.get_friendly_name() in found:
            continue
        found[node.get_friendly_name()] = node.get_type_name()
        if node.get_type_name() not in _LAYERS:
            waiting += [port.get_source_output().get_node() for port in node.inputs()]
    return [name for name, kind in found.items() if kind not in _NO_LAYERS]


def _read(graph: ModelProto, path: Path) -> Any:
    import openvino

    path.write_bytes(graph.SerializeToString())
    return openvino.Core().read_model(path)


def _write(graph: Any, target: Path, config: ModelConfig) -> None:
    """The graph and its weights as two files, each complete or not there."""
    import openvino

    graph.set_rt_info(to_json(config, str(target)), [METADATA_KEY])
    with replacing(target) as temporary:
        # what fp16 may hold is so already; compressed here, small factors and biases would lose digits, too
        openvino.save_model(graph, temporary, compress_to_fp16=False)
        weights = temporary.with_suffix(".bin")
        try:
            weights.replace(target.with_suffix(".bin"))
        finally:
            weights.unlink(missing_ok=True)
