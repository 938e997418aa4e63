"""One method and all it needs to be used again, as a safetensors file: never a pickle, loaded strictly.

`config.json` is written next to it for people and hubs; the file itself repeats it, so one file is enough.
"""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diorama import catalog
from diorama.data.io import replacing
from diorama.data.labels import LabelSet
from diorama.errors import ConfigError, ModelError
from diorama.export.config import CONFIG_NAME, FORMAT, METADATA_KEY, ModelConfig, model_in, read_config, to_json, wrong_kind
from diorama.types import seen_resized

if TYPE_CHECKING:
    from torch import Tensor

    from diorama.methods.base import Method

_HALF_MAX = 65504.0


def save_model(
    method: Method,
    path: str | Path,
    *,
    labels: LabelSet | None,
    depth_cap: float | None,
    training: dict[str, Any],
    input_size: tuple[int, int] | None = None,
    multiple_of: int = 32,
    half: bool = False,
) -> ModelConfig:
    """Write `method` to `path` (.safetensors) and its config to `config.json` beside it; the config comes back.

    Args:
        method: the network, with a `config` dataclass of JSON types; its class must be in the catalog.
        path: where to write, ending with .safetensors.
        labels: of the data; written only for a network whose `config.tasks` has semantics.
        depth_cap: largest depth of the data [m]; likewise for depth.
        training: data set, terms of use and whatever else should travel with the weights; JSON types only.
            `field_of_view` (over the longer side, degrees) is used for point clouds of photos without intrinsics.
        input_size: (height, width) it was trained at: photos are resized to about this many pixels. Sparse depth is never resized.
        multiple_of: sides of other shapes are rounded to this.
        half: store weights of two or more dimensions as fp16; they are loaded as fp32.

    Raises:
        ModelError: the method is in no catalog, the path has another suffix, or the config holds no JSON type.
    """
    import diorama

    path = Path(path)
    if path.suffix != ".safetensors":
        raise ModelError(f"{path}: a model file ends with .safetensors. Rename it.")
    init, origin = _without_origin(dataclasses.asdict(method.config))
    tasks = getattr(method.config, "tasks", "both")
    config: ModelConfig = {
        "format": FORMAT,
        "method": catalog_name(method),
        "diorama": diorama.__version__,
        "init": init,
        "labels": None if labels is None or tasks not in ("semantic", "both") else _labels_json(labels),
        "depth": None if depth_cap is None or tasks not in ("depth", "both") else {"cap": float(depth_cap), "unit": "m"},
        "input": {
            "keys": list(method.inputs),
            "size": [int(side) for side in input_size] if input_size is not None and seen_resized(method.inputs) else None,
            "multiple_of": int(multiple_of),
        },
        "training": {**origin, **training},
        "export": {},
    }
    text = to_json(config, str(path))
    write_weights(method, path, text, half=half)
    with replacing(path.with_name(CONFIG_NAME)) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return config


def write_weights(method: Method, path: Path, text: str, *, half: bool) -> None:
    """Write the weights of `method` with the config `text` as metadata, under a temporary name first."""
    from safetensors.torch import save_file

    # Cloning unties shared tensors, which safetensors refuses; they load back as equal copies.
    tensors = {name: _stored(tensor.detach().cpu(), half).clone().contiguous() for name, tensor in method.state_dict().items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={METADATA_KEY: text, "format": "pt"})


def load_model(path: str | Path, *, method: str | None = None) -> tuple[Method, ModelConfig]:
    """The method in a model file (or folder) in evaluation mode, and its config; loaded strictly, nothing is downloaded.

    Args:
        path: a .safetensors file, or a folder with model.safetensors.
        method: the method the caller expects; any if None.

    Raises:
        ModelError: no such file, another format or method, or weights that do not fit.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "model.safetensors" if (path / "model.safetensors").is_file() else model_in(path)
    if path.suffix == ".onnx":
        raise ModelError(f"{path}: an ONNX file cannot be trained or exported again. Give the model.safetensors it was made from.")
    if path.exists() and path.suffix != ".safetensors":
        raise ModelError(f"{path}: {wrong_kind(path)}")
    config = read_config(path)
    if method is not None and config["method"] != method:
        raise ModelError(f"{path}: a model of method '{config['method']}', not '{method}'. Give a {method} model or change model.name.")
    return _fill(build(config, path), path, config["method"]), config


def start_from(method: Method, path: str | Path) -> list[str]:
    """Copy into `method` every weight of a trained model that it has under the same name and shape; the names of its others come back.

    Args:
        method: the network to start; its class may differ from the model's, as may its number of classes.
        path: a .safetensors file, or a folder with model.safetensors.

    Raises:
        ModelError: no such file, or not one weight fits.
    """
    trained, _ = load_model(path)
    own = method.state_dict()
    # with what the method has no place for, so that its hooks see when it is but a part of what was trained
    offered = {name: tensor for name, tensor in trained.state_dict().items() if name not in own or own[name].shape == tensor.shape}
    fitting = own.keys() & offered.keys()
    if not fitting:
        raise ModelError(f"{path}: no weight fits the new model. Take a model of the same method and backbone, or leave it out.")
    method.load_state_dict(offered, strict=False)
    return sorted(own.keys() - fitting)


def build(config: ModelConfig, path: Path) -> Method:
    """The method of `config` with fresh weights; a backbone's own weights are never fetched.

    Raises:
        ModelError: the method is unknown here, or its arguments have changed.
    """
    try:
        method_class = catalog.method(config["method"])
    except ConfigError as error:
        raise ModelError(f"{path}: {error}") from error
    try:
        found: Method = method_class(_dataclass_from_json(method_class.config_class, config["init"]))
    except TypeError as error:
        raise ModelError(
            f"{path}: written by diorama {config['diorama']} with other arguments of '{config['method']}' ({error}). Install that version."
        ) from error
    return found


def catalog_name(method: Method) -> str:
    """The name under which the class of `method` stands in the catalog.

    Raises:
        ModelError: it stands in none, so the file could not be loaded again.
    """
    kind = type(method)
    for name, target in catalog.names("methods").items():
        if target == f"{kind.__module__}:{kind.__qualname__}":
            return name
    raise ModelError(f"{kind.__module__}:{kind.__qualname__} is in no catalog. Add a diorama.methods entry point.")


def _fill(method: Method, path: Path, name: str) -> Method:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: damaged or cut off ({error}). Copy or download it again.") from error
    own = method.state_dict()
    missing, unknown = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    if missing or unknown:
        what = "; ".join(f"{word} {len(keys)} ({keys[0]}, ...)" for word, keys in (("lacks", missing), ("has unknown", unknown)) if keys)
        raise ModelError(f"{path}: its weights are not those of method '{name}': {what}. Give a file that diorama wrote for '{name}'.")
    for key, tensor in weights.items():
        if tensor.shape != own[key].shape:
            raise ModelError(
                f"{path}: '{key}' has shape {tuple(tensor.shape)}, '{name}' expects {tuple(own[key].shape)}. "
                "Give the file together with the config it was written with."
            )
    method.load_state_dict(weights, strict=True)
    return method.eval()


def _stored(tensor: Tensor, half: bool) -> Tensor:
    # Biases and batch statistics are small in size and large in range: they stay fp32.
    if half and tensor.is_floating_point() and tensor.dim() >= 2 and float(tensor.abs().max()) < _HALF_MAX:
        return tensor.half()
    return tensor


def _without_origin(init: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """`init` that fetches no backbone weights when the model is built again, and where they came from as a note."""
    origin: dict[str, Any] = {}
    if init.get("pretrained"):
        init["pretrained"], origin["backbone_pretrained"] = False, init["pretrained"]
    if init.get("backbone_weights"):
        init["backbone_weights"], origin["backbone_weights"] = None, Path(init["backbone_weights"]).name
    return init, origin


def _labels_json(labels: LabelSet) -> dict[str, Any]:
    return {"name": labels.name, "classes": list(labels.classes), "palette": [[int(v) for v in colour] for colour in labels.palette]}


def _dataclass_from_json(kind: type[Any], values: dict[str, Any]) -> Any:
    """The dataclass `kind` from JSON values: lists become tuples and dictionaries dataclasses where a field says so."""
    hints = typing.get_type_hints(kind)
    return kind(**{key: _from_json(hints.get(key), value) for key, value in values.items()})


def _from_json(hint: Any, value: Any) -> Any:
    options = [hint, *typing.get_args(hint)]
    if isinstance(value, dict):
        nested = next((option for option in options if dataclasses.is_dataclass(option)), None)
        return value if nested is None else _dataclass_from_json(typing.cast("type[Any]", nested), value)
    if isinstance(value, list) and any(option is tuple or typing.get_origin(option) is tuple for option in options):
        return tuple(_from_json(None, item) for item in value)
    return value
