"""One network for semantics and metric depth from whatever labels there are.

The public names are loaded when they are first used, so that `import diorama` costs nothing and needs no torch::

    import diorama

    model = diorama.load("ci_net-nyuv2")
    for scene in model.predict("photos/"):
        scene.save("results")
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diorama.catalog import list_datasets, list_methods
    from diorama.config import RunConfig
    from diorama.prediction.hub import from_pretrained
    from diorama.prediction.predictor import list_models, load
    from diorama.running.hub import push_to_hub
    from diorama.running.predict import predict
    from diorama.running.train import train

_PUBLIC = {
    "RunConfig": "diorama.config",
    "from_pretrained": "diorama.prediction.hub",
    "list_datasets": "diorama.catalog",
    "list_methods": "diorama.catalog",
    "list_models": "diorama.prediction.predictor",
    "load": "diorama.prediction.predictor",
    "predict": "diorama.running.predict",
    "push_to_hub": "diorama.running.hub",
    "train": "diorama.running.train",
}
"""Public name -> the module that defines it."""

__all__ = [
    "RunConfig",
    "__version__",
    "from_pretrained",
    "list_datasets",
    "list_methods",
    "list_models",
    "load",
    "predict",
    "push_to_hub",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        try:
            return version("diorama")
        except PackageNotFoundError:
            return "0+source"
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'diorama' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
