"""The model that a run starts from: its weights taken over, and what it says of itself kept with the run, its own origin nested inside."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml

from diorama.config import RunConfig
from diorama.data.io import replacing
from diorama.data.labels import LabelSet
from diorama.errors import ConfigError, ModelError
from diorama.export.config import ModelConfig, label_set, read_config
from diorama.export.model_file import start_from
from diorama.methods.base import Method
from diorama.parsing import plain
from diorama.prediction.predictor import find_model
from diorama.training.setup import is_first

logger = logging.getLogger("diorama")

FILE = "started_from.json"
"""In the run folder: a resume, and whoever ships the run, need not find the first model again."""
_MOST_NAMED = 8


def require_start(config: RunConfig) -> None:
    """Return if the run starts from a model, or its method can begin with nothing.

    Raises:
        ConfigError: neither; what a method's config says under `starts`.
    """
    if config.trainer.start_from is None and (why := getattr(config.model, "starts", "")):
        raise ConfigError(why)


def begin_with(method: Method, model: str) -> dict[str, Any]:
    """Give `method` the weights of a trained model and say which of its own start new; where they came from comes back.

    Raises:
        ModelError: there is no such model, or not one weight fits, or weights that are not to move mean something else here.
    """
    path = find_model(model)
    new = start_from(method, path)
    _check_meaning(method, path, model, new)
    if is_first():
        logger.info("starts from %s; new: %s", model, _listed(new) or "nothing")
    return _said_by(path)


def _check_meaning(method: Method, path: Path, model: str, new: Collection[str]) -> None:
    """Compare the settings that decide what weights mean although no shape shows it (`meanings` of the method's config).

    Raises:
        ModelError: they differ for weights that never move; for others it is a warning.
    """
    then = read_config(_read_from(path))["init"]
    for name, prefix in getattr(method.config, "meanings", {}).items():
        taken = [key for key, _ in method.named_parameters() if key.startswith(prefix) and key not in new]
        was, now = plain(then.get(name)), plain(getattr(method.config, name))
        if not taken or name not in then or was == now:
            continue
        said = f"model.{name} is {now}, the weights of {model} were learned with {was}"
        if all(taken[0].startswith(stage.freeze) for stage in method.stages):
            raise ModelError(f"{said} and stand still here. Set model.{name}={was}.")
        if is_first():
            logger.warning("%s: they begin as what they are not. To go on with them set model.%s=%s", said, name, was)


def keep(run: Path, origin: Mapping[str, Any]) -> None:
    """Write `origin` into the run folder."""
    with replacing(run / FILE) as temporary:
        temporary.write_text(json.dumps(origin, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def origin_of(run: Path, config: RunConfig) -> dict[str, Any] | None:
    """Model, method and training facts that the run started from; None for one that began with nothing but a backbone."""
    if config.trainer.start_from is None:
        return None
    if (run / FILE).is_file():
        stored: dict[str, Any] = json.loads((run / FILE).read_text(encoding="utf-8"))
        return stored
    try:  # a run of an earlier diorama, which kept nothing
        return _said_by(find_model(config.trainer.start_from))
    except ModelError:
        return {"model": Path(config.trainer.start_from).name, "method": config.method, "training": {}}


def require_same_start(run: Path, config: RunConfig) -> None:
    """Return if a resume of `run` under `config` does not ask for another start.

    Raises:
        ConfigError: it does; the weights are those of the checkpoint.
    """
    path = run / "config.yaml"
    asked = config.trainer.start_from
    if path.is_file() and yaml.safe_load(path.read_text(encoding="utf-8")).get("trainer", {}).get("start_from") != asked:
        raise ConfigError(f"trainer.start_from is '{asked}', but {run} goes on from its checkpoint. Leave it out, or train anew.")


def told(origin: Mapping[str, Any] | None) -> dict[str, Any]:
    """`origin` as the training facts of a model hold it; empty without one."""
    return {"started_from": dict(origin)} if origin else {}


def labels_of(origin: Mapping[str, Any] | None) -> LabelSet | None:
    """The label set of the model that a run started from: what its classes are called where its own data have no labels."""
    return label_set(cast("ModelConfig", {"labels": (origin or {}).get("labels")}))


def chain(training: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The origins in the training facts of a model, its own first: each with `model`, `method` and `training`."""
    origin = training.get("started_from")
    while origin:
        yield origin
        origin = origin["training"].get("started_from")


def _said_by(path: Path) -> dict[str, Any]:
    path = _read_from(path)
    config = read_config(path)
    name = path.name if path.is_dir() else path.parent.name if path.stem == "model" else path.stem
    return {"model": name, "method": config["method"], "labels": config["labels"], "training": config["training"]}


def _read_from(path: Path) -> Path:
    """The file that weights are read from, where a folder holds it."""
    return path / "model.safetensors" if path.is_dir() and (path / "model.safetensors").is_file() else path


def _listed(names: Sequence[str]) -> str:
    """The modules of these parameters, of many the first few."""
    modules = list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))
    more = len(modules) - _MOST_NAMED
    return ", ".join(modules[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
