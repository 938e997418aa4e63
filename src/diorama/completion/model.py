"""Completions by name, and as models: `linear` takes the place of a trained network wherever one is evaluated or predicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diorama.completion.interpolate import linear, nearest
from diorama.completion.morphological import morphological
from diorama.errors import ModelError, ShapeError, suggest
from diorama.types import Inputs, Prediction

if TYPE_CHECKING:
    from diorama.export.config import ModelConfig

Completion = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""`(H, W)` sparse depth [m], 0 = unknown -> `(H, W)` float32 depth [m], above 0."""

DEPTH_CAP = 100.0
"""Largest depth the models state [m]; they clip nothing, it ends the colours of pictures."""


def linear_morphological(sparse: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of `linear` and `morphological`, whose errors at the borders of objects partly cancel.

    Raises:
        ShapeError: not two-dimensional.
        DataError: NaN, infinite or negative depth, or no known pixel at all.
    """
    return (linear(sparse) + morphological(sparse)) / np.float32(2)


COMPLETIONS: dict[str, Completion] = {
    "nearest": nearest,
    "linear": linear,
    "morphological": morphological,
    "linear_morphological": linear_morphological,
}
"""Name -> function, each with its defaults."""


def list_completions() -> dict[str, ModelConfig]:
    """Name -> config of the completions that need no training, in the form of trained models."""
    return {name: _config(name) for name in COMPLETIONS}


class ClassicalModel:
    """A completion with the face of a trained model: `Inputs` with `sparse_depth` in, `Prediction` with `depth` out.

    Args:
        name: a key of `COMPLETIONS`.

    Raises:
        ModelError: no completion has this name.
    """

    def __init__(self, name: str) -> None:
        if name not in COMPLETIONS:
            raise ModelError(f"unknown completion '{name}': {suggest(name, COMPLETIONS)}")
        self._complete = COMPLETIONS[name]
        self.config: ModelConfig = _config(name)

    def __call__(self, inputs: Inputs) -> Prediction:
        """Depth `(B, 1, H, W)` [m] for `inputs["sparse_depth"]` `(B, 1, H, W)` floats [m], 0 = unknown; other keys are not looked at.

        Raises:
            ShapeError: sparse depth is missing or has another shape or an integer type.
            DataError: a frame has NaN, infinite or negative depth, or no known pixel at all.
        """
        if "sparse_depth" not in inputs:
            given = ", ".join(inputs) or "nothing"
            raise ShapeError(f"'sparse_depth' is not given ({given}). Give floats (B, 1, H, W), metres, 0 = unknown.")
        sparse = np.asarray(inputs["sparse_depth"])
        if sparse.ndim != 4 or sparse.shape[1] != 1 or not np.issubdtype(sparse.dtype, np.floating):
            found = f"shape {sparse.shape} and type {sparse.dtype}"
            raise ShapeError(f"'sparse_depth' has {found}. Give floats (B, 1, H, W), metres, 0 = unknown.")
        depth = np.empty(sparse.shape, np.float32)
        for index, frame in enumerate(sparse):
            depth[index, 0] = self._complete(frame[0].astype(np.float32))
        return Prediction(depth=depth)


def _config(name: str) -> ModelConfig:
    import diorama

    return {
        "format": 1,
        "method": name,
        "diorama": diorama.__version__,
        "init": {},
        "labels": None,
        "depth": {"cap": DEPTH_CAP, "unit": "m"},
        "input": {"keys": ["sparse_depth"], "size": None, "multiple_of": 1},
        "training": {"data": "none"},
        "export": {},
    }
