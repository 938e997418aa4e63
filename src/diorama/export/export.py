"""torch -> ONNX, and from there OpenVINO: a file for any batch and image size, compared with torch before it is kept.

The graph is traced once at `TRACED` and then run at other, odd sizes, two of them larger: a size that was frozen into the graph shows
there. What was measured travels in the file's metadata.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diorama.data.io import replacing
from diorama.errors import ConfigError, ModelError
from diorama.export.config import CONFIG_NAME, METADATA_KEY, ModelConfig, input_keys, to_json
from diorama.export.eager import EagerModel
from diorama.export.graph import OUTPUTS, TRACED, halve, own_weights, to_onnx
from diorama.export.model_file import load_model
from diorama.export.runtime import OnnxModel
from diorama.export.trial import Trial
from diorama.types import Inputs, Prediction

if TYPE_CHECKING:
    from onnx import ModelProto

    from diorama.methods.base import Method

log = logging.getLogger("diorama")

PARITY_SIZES = ((1, 61, 83), (2, 131, 157), (1, 203, 255))
"""(batch, height, width) at which the file is compared with torch."""

TOLERANCE = 1e-3
"""Largest accepted difference, in parts of the largest absolute value of that output (at least 1)."""

HALF_TOLERANCE = 5e-2

PRECISIONS = {"onnx": ("fp32", "fp16"), "openvino": ("fp32", "fp16", "bf16", "int8")}
"""Format -> what it can be written in. fp16 is how weights are stored, bf16 and int8 how they are computed with."""

ENDINGS = {"onnx": ".onnx", "openvino": ".xml"}


@dataclass(frozen=True)
class ExportReport:
    """What was written and how far it is from torch."""

    path: Path
    megabytes: float
    weights: str
    """How the weights are stored: "fp32", "fp16" or "int8"."""
    parity: dict[str, float]
    """Output -> largest absolute difference of the fp32 graph to torch over `PARITY_SIZES` (depth in metres)."""
    rounding: dict[str, float]
    """The same for the written file where it is less than fp32; empty otherwise."""
    agreement: float | None
    """Part of all pixels with the same class as in torch; None without a semantic output."""
    format: str = "onnx"
    precision: str = "fp32"
    """See `PRECISIONS`."""
    accuracy: dict[str, Any] | None = None
    """What a `Trial` measured on real frames before and after; None without one."""


def export(
    source: str | Path,
    out: str | Path | None = None,
    *,
    format: str = "onnx",  # noqa: A002 (the word of the command line)
    precision: str = "fp32",
    overwrite: bool = False,
    trial: Trial | Callable[[ModelConfig], Trial] | None = None,
) -> ExportReport:
    """Write the model `source` for use without torch, checked against torch.

    Args:
        source: a .safetensors model file or its folder.
        out: the .onnx or .xml file; None puts `model.onnx` or `model.xml` beside the source. Next to a `model.onnx` stands its
            `config.json`; next to an .xml file its weights, .bin.
        format: "onnx" or "openvino".
        precision: "fp32"; "fp16" stores weights in half the size, which are computed in fp32; of OpenVINO also "bf16", in which
            processors that have it compute faster, and "int8".
        overwrite: replace an existing file.
        trial: real frames on which the accuracy is measured before and after; or what makes them for the model's config.
            int8 needs one.

    Raises:
        ConfigError: a format or precision that there is not, or int8 without a trial.
        ModelError: the source is no model, the target exists, a package is missing, the graph differs from torch, or loses accuracy.
    """
    ending = check_format(format, precision, tried=trial is not None)
    source = Path(source)
    target = Path(out) if out is not None else (source if source.is_dir() else source.parent) / f"model{ending}"
    if target.suffix != ending:
        raise ModelError(f"{target}: an exported {format} model ends with {ending}. Rename it.")
    if target.exists() and not overwrite:
        raise ModelError(f"{target} exists already. Pass --overwrite, or choose another name.")
    method, config = load_model(source)
    if format == "onnx":
        _check_neighbour(target, config, overwrite=overwrite)
    made = trial(config) if callable(trial) else trial
    if format == "openvino":
        from diorama.export.openvino_file import export_openvino

        return export_openvino(method, config, target, precision=precision, trial=made)
    return export_method(method, config, target, half=precision == "fp16", trial=made)


def check_format(format: str, precision: str, *, tried: bool) -> str:  # noqa: A002
    """The ending of files of that format.

    Raises:
        ConfigError: no such format or precision, or int8 without a trial.
    """
    if format not in PRECISIONS:
        raise ConfigError(f"unknown format '{format}'. Choose {' or '.join(PRECISIONS)}.")
    if precision not in PRECISIONS[format]:
        others = [name for name, precisions in PRECISIONS.items() if precision in precisions]
        hint = f"Add --format {others[0]}" if others else f"Choose among {', '.join(PRECISIONS[format])}"
        raise ConfigError(f"{format} files are not written in '{precision}'. {hint}.")
    if precision == "int8" and not tried:
        raise ConfigError("int8 is fitted to real frames and judged on others. Name them: --data nyuv2 --data.root DIR.")
    return ENDINGS[format]


def export_method(method: Method, config: ModelConfig, target: Path, *, half: bool = False, trial: Trial | None = None) -> ExportReport:
    """Write `method` with its `config` to `target` (.onnx, replaced if it exists), checked against torch.

    Raises:
        ModelError: a package is missing, the graph differs from torch, or loses more accuracy than the trial allows.
    """
    try:
        import onnx
    except ImportError as error:
        raise ModelError(f"export needs the package onnx ({error}). Install `diorama[export]`.") from error
    eager = EagerModel(method, config)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        graph = to_onnx(method)
        _save(graph, plain, config)
        parity, agreement = differences(eager, OnnxModel(plain, threads=1))
        refuse_beyond(parity, TOLERANCE, target)
        rounding: dict[str, tuple[float, float]] = {}
        if half:
            halve(graph, own_weights(method))
            _save(graph, plain, config)
            rounding, agreement = differences(eager, OnnxModel(plain, threads=1))
            refuse_beyond(rounding, HALF_TOLERANCE, target)
        accuracy = None if trial is None else trial.compare(eager, OnnxModel(plain), target)
    report = ExportReport(
        path=target,
        megabytes=round(graph.ByteSize() / 1e6, 3),
        weights="fp16" if half else "fp32",
        parity={name: found for name, (found, _) in parity.items()},
        rounding={name: found for name, (found, _) in rounding.items()},
        agreement=agreement,
        precision="fp16" if half else "fp32",
        accuracy=accuracy,
    )
    config = {**config, "export": measured(report) | {"opset": graph.opset_import[0].version}}
    with replacing(target) as temporary:
        _save(graph, temporary, config)
    onnx.checker.check_model(str(target))
    if target.name == "model.onnx":
        with replacing(target.with_name(CONFIG_NAME)) as temporary:
            temporary.write_text(to_json(config, str(target)) + "\n", encoding="utf-8")
    log.debug("%s: %.1f MB, largest difference to torch %s", target, report.megabytes, report.parity)
    return report


def measured(report: ExportReport) -> dict[str, Any]:
    """What the file says of its own export; JSON types only."""
    said = {key: value for key, value in asdict(report).items() if key not in {"path", "megabytes"} and value is not None}
    if report.agreement is None:
        said["agreement"] = None
    return {**said, "sizes": [list(size) for size in PARITY_SIZES], "traced": list(TRACED)}


def differences(eager: EagerModel, exported: Callable[[Inputs], Prediction]) -> tuple[dict[str, tuple[float, float]], float | None]:
    """Output -> (largest absolute difference, largest absolute value) over `PARITY_SIZES`, and the part of equal classes."""
    found: dict[str, tuple[float, float]] = {}
    equal, pixels = 0, 0
    for size in PARITY_SIZES:
        inputs = trial_inputs(input_keys(eager.config), *size)
        ours, theirs = eager(inputs), exported(inputs)
        for name in OUTPUTS:
            one, other = getattr(ours, name), getattr(theirs, name)
            if one is None:
                continue
            if other is None or one.shape != other.shape:
                shape = None if other is None else other.shape
                raise ModelError(f"the exported graph gives {name} of shape {shape}, torch {one.shape}. Report it with the config.json.")
            gap, largest = found.get(name, (0.0, 1.0))
            found[name] = (max(gap, float(np.abs(one - other).max())), max(largest, float(np.abs(one).max())))
        if ours.semantic_logits is not None:
            same = ours.semantic_logits.argmax(1) == theirs.semantic_logits.argmax(1)
            equal, pixels = equal + int(same.sum()), pixels + same.size
    return found, equal / pixels if pixels else None


def refuse_beyond(
    found: Mapping[str, tuple[float, float]],
    tolerance: float,
    target: Path,
    hint: str = "Export in fp32, or report it with the config.json",
) -> None:
    """Return if no output differs from torch by more than `tolerance` parts of its largest value.

    Raises:
        ModelError: one does.
    """
    for name, (gap, largest) in found.items():
        if not gap <= tolerance * largest:
            raise ModelError(f"{target}: {name} differs from torch by {gap:.3g} at values up to {largest:.3g}; not written. {hint}.")


def trial_inputs(keys: Sequence[str], batch: int, height: int, width: int) -> dict[str, NDArray[np.float32]]:
    """Reproducible inputs of a network: smooth images, depth [m] known at a twentieth of all pixels, and disparity [px] of all."""
    images = _smooth_images(batch, height, width)
    known = np.random.default_rng(height * 10007 + width).random((batch, 1, height, width)) < 0.05
    maps = {"sparse_depth": (1 + 9 * images[:, :1]) * known, "matched": 1 + 63 * images[:, :1]}
    return {key: maps.get(key, images) for key in keys}


def _smooth_images(batch: int, height: int, width: int) -> NDArray[np.float32]:
    """Reproducible images with edges and gradients at several scales, nearer to photos than noise is."""
    generator = np.random.default_rng(height * 10007 + width)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    images = np.zeros((batch, 3, height, width), np.float32)
    for image in images.reshape(-1, height, width):
        for wavelength in (3.0, 9.0, 31.0, 97.0):
            angle, phase = generator.uniform(0, 2 * np.pi, 2)
            image += np.sin((rows * np.sin(angle) + columns * np.cos(angle)) * (2 * np.pi / wavelength) + phase)
        image += 2 * (rows + columns * generator.uniform(-1, 1) > generator.uniform(0, height))
    low, high = images.min(), images.max()
    scaled: NDArray[np.float32] = (images - low) / np.float32(high - low)
    return scaled


def _save(graph: ModelProto, path: Path, config: ModelConfig) -> None:
    import onnx

    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, {METADATA_KEY: to_json(config, str(path))})
    onnx.save_model(graph, str(path))


def _check_neighbour(target: Path, config: ModelConfig, *, overwrite: bool) -> None:
    beside = target.with_name(CONFIG_NAME)
    if target.name != "model.onnx" or overwrite or not beside.exists():
        return
    try:
        other = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError:
        other = None
    if not isinstance(other, dict) or {**other, "export": {}} != {**config, "export": {}}:
        raise ModelError(f"{beside} belongs to another model. Pass --overwrite, or choose another folder.")
