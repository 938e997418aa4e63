"""The models a page offers: those that come with the package, completions, and finished runs; loaded when they are first asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from diorama.completion.model import list_completions
from diorama.errors import ModelError, suggest
from diorama.export.config import ModelConfig, input_keys
from diorama.prediction.predictor import Predictor, list_models, load

_KEPT = 3
"""Models that stay in memory."""

_TAKES = {("image",): "a photo", ("sparse_depth",): "sparse depth", ("image", "sparse_depth"): "a photo and sparse depth"}


class Shelf:
    """Models by name.

    Args:
        runs: folder of run folders that are offered as well, if it exists.
        first: a model that is offered before all others; also a file or folder anywhere.
        threads: per image; None takes every core.

    Raises:
        ModelError: `first` is no model.
        ConfigError: `first` sees no scenes.
    """

    def __init__(self, first: str, runs: Path, threads: int | None = None) -> None:
        self._threads, self._lock = threads, threading.Lock()
        self._loaded: OrderedDict[str, Predictor] = OrderedDict()
        self._known: dict[str, ModelConfig | None] = {
            **{name: config for name, config in list_models().items() if "matched" not in input_keys(config)},
            **list_completions(),
            **{str(folder): None for folder in sorted(runs.glob("*")) if any(folder.glob("model.*"))},
        }
        self.first = first
        predictor = load(first, threads=threads)
        predictor.require_scenes()
        self._known = {first: predictor.config, **self._known}
        self._loaded[first] = predictor

    @property
    def names(self) -> list[str]:
        """What can be chosen, in order."""
        return list(self._known)

    def __getitem__(self, name: str) -> Predictor:
        """The model of this name, loaded.

        Raises:
            ModelError: no such model, or it cannot be loaded.
            ConfigError: it sees no scenes.
        """
        if name not in self._known:
            raise ModelError(f"unknown model '{name}': {suggest(name, self._known)}")
        with self._lock:
            if name not in self._loaded:
                predictor = load(name, threads=self._threads)
                predictor.require_scenes()
                self._loaded[name] = predictor
                while len(self._loaded) > _KEPT:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(name)
            return self._loaded[name]

    def takes(self, name: str) -> tuple[str, ...]:
        """What a model takes.

        Raises:
            ModelError: no such model, or it cannot be loaded.
        """
        config = self._known.get(name)
        return input_keys(config) if config is not None else self[name].inputs

    def about(self, name: str) -> str:
        """One line on a model.

        Raises:
            ModelError: no such model, or it cannot be loaded.
        """
        config = self._known.get(name) or self[name].config
        words = [f"takes {_TAKES.get(input_keys(config), ' and '.join(input_keys(config)))}"]
        if config["labels"]:
            words.append(f"{len(config['labels']['classes'])} classes")
        if config["depth"]:
            words.append(f"depth up to {float(config['depth']['cap']):g} m")
        trained = config["training"].get("data")
        words.append(f"trained on {trained}" if trained not in (None, "none") else "needs no training")
        return ", ".join(words)
