"""torch -> ONNX: one file for any batch and image size, compared with torch before it is kept.

The graph is traced once at `TRACED` and then run at other, odd sizes, two of them larger: a size that was frozen into the graph shows
there. What was measured travels in the file's metadata.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diorama.data.io import replacing
from diorama.errors import ModelError
from diorama.export.config import CONFIG_NAME, METADATA_KEY, ModelConfig, input_keys, to_json
from diorama.export.eager import EagerModel
from diorama.export.graph import OUTPUTS, TRACED, halve, to_onnx
from diorama.export.model_file import load_model
from diorama.export.runtime import OnnxModel

if TYPE_CHECKING:
    from onnx import ModelProto

    from diorama.methods.base import Method

log = logging.getLogger("diorama")

PARITY_SIZES = ((1, 61, 83), (2, 131, 157), (1, 203, 255))
"""(batch, height, width) at which the file is compared with torch."""

TOLERANCE = 1e-3
"""Largest accepted difference, in parts of the largest absolute value of that output (at least 1)."""

HALF_TOLERANCE = 5e-2


@dataclass(frozen=True)
class ExportReport:
    """What was written and how far it is from torch."""

    path: Path
    megabytes: float
    weights: str
    """How the weights are stored: "fp32" or "fp16"; computation is fp32 either way."""
    parity: dict[str, float]
    """Output -> largest absolute difference of the fp32 graph to torch over `PARITY_SIZES` (depth in metres)."""
    rounding: dict[str, float]
    """The same for the written file where its weights are fp16; empty otherwise."""
    agreement: float | None
    """Part of all pixels with the same class as in torch; None without a semantic output."""


def export(source: str | Path, out: str | Path | None = None, *, half: bool = False, overwrite: bool = False) -> ExportReport:
    """Write the model `source` as ONNX, checked against torch.

    Args:
        source: a .safetensors model file or its folder.
        out: the .onnx file; None puts `model.onnx` beside the source. Next to a `model.onnx` stands its `config.json`.
        half: store weights as fp16 (half the size); onnxruntime turns them into fp32 once, when it loads the file.
        overwrite: replace an existing file.

    Raises:
        ModelError: the source is no model, the target exists, a package is missing, or the graph differs from torch.
    """
    source = Path(source)
    target = Path(out) if out is not None else (source if source.is_dir() else source.parent) / "model.onnx"
    if target.suffix != ".onnx":
        raise ModelError(f"{target}: an exported model ends with .onnx. Rename it.")
    if target.exists() and not overwrite:
        raise ModelError(f"{target} exists already. Pass --overwrite, or choose another name.")
    method, config = load_model(source)
    _check_neighbour(target, config, overwrite=overwrite)
    return export_method(method, config, target, half=half)


def export_method(method: Method, config: ModelConfig, target: Path, *, half: bool = False) -> ExportReport:
    """Write `method` with its `config` to `target` (.onnx, replaced if it exists), checked against torch.

    Raises:
        ModelError: a package is missing, or the graph differs from torch.
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
        _refuse_beyond(parity, TOLERANCE, target)
        rounding: dict[str, tuple[float, float]] = {}
        if half:
            halve(graph)
            _save(graph, plain, config)
            rounding, agreement = differences(eager, OnnxModel(plain, threads=1))
            _refuse_beyond(rounding, HALF_TOLERANCE, target)
    report = ExportReport(
        path=target,
        megabytes=round(graph.ByteSize() / 1e6, 3),
        weights="fp16" if half else "fp32",
        parity={name: found for name, (found, _) in parity.items()},
        rounding={name: found for name, (found, _) in rounding.items()},
        agreement=agreement,
    )
    measured = {key: value for key, value in asdict(report).items() if key not in {"path", "megabytes"}}
    measured |= {"sizes": [list(size) for size in PARITY_SIZES], "traced": list(TRACED), "opset": graph.opset_import[0].version}
    config = {**config, "export": measured}
    with replacing(target) as temporary:
        _save(graph, temporary, config)
    onnx.checker.check_model(str(target))
    if target.name == "model.onnx":
        with replacing(target.with_name(CONFIG_NAME)) as temporary:
            temporary.write_text(to_json(config, str(target)) + "\n", encoding="utf-8")
    log.debug("%s: %.1f MB, largest difference to torch %s", target, report.megabytes, report.parity)
    return report


def differences(eager: EagerModel, exported: OnnxModel) -> tuple[dict[str, tuple[float, float]], float | None]:
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


def _refuse_beyond(found: dict[str, tuple[float, float]], tolerance: float, target: Path) -> None:
    for name, (gap, largest) in found.items():
        if not gap <= tolerance * largest:
            raise ModelError(
                f"{target}: {name} differs from torch by {gap:.3g} at values up to {largest:.3g}; not written. "
                "Export without half, or report it with the config.json."
            )


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
