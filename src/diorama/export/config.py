"""What a model file says about itself: written beside and inside every model, read without torch.

The same JSON object is the `config.json` of a model folder and the metadata of `model.safetensors`, `model.onnx` and `model.xml`,
so that each of them is enough alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from diorama.data.labels import LabelSet
from diorama.errors import ModelError

FORMAT = 1
"""Version of the model file format; files of a newer one are refused, older ones are read."""

METADATA_KEY = "diorama"
"""Under this key the metadata of `.safetensors`, `.onnx` and `.xml` files hold the config as JSON text."""

CONFIG_NAME = "config.json"

SUFFIXES = {".onnx": "onnx", ".safetensors": "torch", ".xml": "openvino"}
"""Suffix of a model file -> the backend that runs it."""

_REQUIRED = ("method", "diorama", "init", "labels", "depth", "input", "training")
_MAX_HEADER = 100_000_000


class ModelConfig(TypedDict):
    """The config of one model; JSON types only."""

    format: int
    method: str
    diorama: str  # version that wrote it
    init: dict[str, Any]  # dataclasses.asdict(method.config)
    labels: dict[str, Any] | None  # name, classes, palette; None without a semantic output
    depth: dict[str, Any] | None  # cap [m], unit; None without a depth output
    input: dict[str, Any]  # keys (absent: image), size [height, width] it was trained at or None, multiple_of
    training: dict[str, Any]  # data, terms and whatever else the trainer knows
    export: dict[str, Any]  # empty, or what the export measured


def input_keys(config: ModelConfig) -> tuple[str, ...]:
    """What the network takes, in the order of its arguments: keys of `INPUT_CHANNELS`."""
    return tuple(config["input"].get("keys", ("image",)))


def label_set(config: ModelConfig) -> LabelSet | None:
    """The label set of the model's train ids, None if it has no semantic output."""
    stored = config["labels"]
    if stored is None:
        return None
    palette = tuple((int(r), int(g), int(b)) for r, g, b in stored["palette"])
    return LabelSet(stored["name"], tuple(stored["classes"]), palette)


def to_json(config: ModelConfig, where: str) -> str:
    """The config as JSON text.

    Raises:
        ModelError: it holds something that is not a JSON type (a Path, an array, NaN).
    """
    try:
        return json.dumps(config, indent=1, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{where}: the config holds a value of no JSON type ({error}). Use numbers, text, lists, dictionaries.") from error


def parse(text: str, where: str | Path) -> ModelConfig:
    """The config in `text`, checked.

    Raises:
        ModelError: not a diorama config, a newer format, or a key is missing.
    """
    try:
        config = json.loads(text)
    except ValueError as error:
        raise ModelError(f"{where}: not readable as JSON ({error}). Copy the model file again.") from error
    if not isinstance(config, dict) or not isinstance(config.get("format"), int):
        raise ModelError(f"{where}: not the config of a diorama model (no 'format'). Give a model that diorama wrote.")
    if config["format"] > FORMAT:
        raise ModelError(
            f"{where}: model format {config['format']}, this diorama reads up to {FORMAT}. Install a newer one (docs/install.md)."
        )
    missing = [key for key in _REQUIRED if key not in config]
    if missing:
        raise ModelError(f"{where}: the model config lacks {', '.join(missing)}. Write the model again with diorama.")
    found: ModelConfig = {"export": {}, **config}  # type: ignore[typeddict-item]
    return found


def read_config(path: str | Path) -> ModelConfig:
    """The config of a model folder, `.safetensors`, `.onnx`, `.xml` or `config.json`, read without torch.

    Raises:
        ModelError: the path does not exist, is no model file of diorama, or has a newer format.
    """
    path = Path(path)
    if path.is_dir():
        path = model_in(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such model file. Give a folder, a model file, or a name from `diorama methods`.")
    if path.suffix == ".json":
        return parse(path.read_text(encoding="utf-8"), path)
    if path.suffix == ".safetensors":
        return _from_safetensors(path)
    if path.suffix == ".onnx":
        from diorama.export.runtime import OnnxModel

        return OnnxModel(path, threads=1).config
    if path.suffix == ".xml":
        from diorama.export.openvino_model import OpenVinoModel

        return OpenVinoModel(path, threads=1).config
    raise ModelError(f"{path}: {wrong_kind(path)}")


def model_in(folder: Path) -> Path:
    """The model file in `folder`: `model.onnx` (needs nothing else), `model.safetensors` or `model.xml`, else the only one there is.

    Raises:
        ModelError: there is none, or more than one with other names.
    """
    for name in ("model.onnx", "model.safetensors", "model.xml"):
        if (folder / name).is_file():
            return folder / name
    found = sorted(path for suffix in SUFFIXES for path in folder.glob(f"*{suffix}"))
    if len(found) == 1:
        return found[0]
    if found:
        raise ModelError(
            f"{folder}: holds {len(found)} model files, none called model.onnx, model.safetensors or model.xml. Name the file itself."
        )
    if (folder / "last.ckpt").is_file():
        raise ModelError(f"{folder}: a training that was stopped. Finish it with `diorama train --resume {folder}`.")
    raise ModelError(
        f"{folder}: holds no model.onnx, model.safetensors or model.xml. Give the run folder of a finished training, or a model file."
    )


def wrong_kind(path: Path) -> str:
    """What to do with a file that is no model file, by its suffix."""
    if path.suffix == ".bin" and path.with_suffix(".xml").is_file():
        return f"only the weights of an OpenVINO model. Give {path.with_suffix('.xml').name}, which lies beside it."
    if path.suffix in {".ckpt", ".pt", ".pth", ".bin", ".pkl"}:
        return "a checkpoint, which diorama does not open as a model. Give the model.safetensors that lies in the same run folder."
    return f"'{path.suffix or path.name}' is no kind of model file. Give a folder, or a .safetensors, .onnx or .xml file."


def metadata_config(metadata: Mapping[str, str] | None, path: Path) -> ModelConfig:
    """The config among the metadata of a weights file.

    Raises:
        ModelError: the file has none, so another program wrote it.
    """
    if not metadata or METADATA_KEY not in metadata:
        raise ModelError(
            f"{path}: holds no diorama config, so another program wrote it. Give a model written by diorama, or set it as backbone weights."
        )
    return parse(metadata[METADATA_KEY], path)


def _from_safetensors(path: Path) -> ModelConfig:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(_MAX_HEADER, path.stat().st_size):
            raise ModelError(f"{path}: not a safetensors file, or cut off. Copy or download it again.")
        header = file.read(length)
    try:
        metadata = json.loads(header).get("__metadata__")
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{path}: not a safetensors file, or damaged. Copy or download it again.") from error
    return metadata_config(metadata, path)
