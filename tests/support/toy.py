"""Models whose answers can be worked out by hand, without any network."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diorama.export.config import ModelConfig
from diorama.types import Inputs, Prediction

SIZE = [64, 96]
COLOURS = ((10, 20, 30), (200, 30, 40))


def toy_config(
    size: list[int] | None = None, classes: Sequence[str] = ("dark", "red"), cap: float = 10.0, **training: object
) -> ModelConfig:
    """The config of a model for photos of `size`; no `classes`: of depth alone."""
    palette = [list(COLOURS[number]) if number < len(COLOURS) else [number, 1, 1] for number in range(len(classes))]
    return {
        "format": 1,
        "method": "toy",
        "diorama": "0.1.0",
        "init": {},
        "labels": {"name": f"toy{len(classes)}", "classes": list(classes), "palette": palette} if classes else None,
        "depth": {"cap": cap, "unit": "m"},
        "input": {"size": size, "multiple_of": 32},
        "training": {"data": "none", **training},
        "export": {},
    }


@dataclass
class RedModel:
    """Class 1 where red is above one half, depth = 4 + green metres."""

    config: ModelConfig = field(default_factory=lambda: toy_config(SIZE))
    seen: list[tuple[int, ...]] = field(default_factory=list)
    outputs: tuple[str, ...] = ("semantic_logits", "depth")

    def __call__(self, inputs: Inputs) -> Prediction:
        images = inputs["image"]
        self.seen.append(images.shape)
        red, green = images[:, 0], images[:, 1]
        found = {"semantic_logits": np.stack([np.full_like(red, 0.5), red], 1), "depth": 4 + green[:, None]}
        return Prediction(**{name: found[name] for name in self.outputs})


class WaitingModel(RedModel):
    """A red model that waits for `go`, which is set unless a test clears it."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.go.set()

    def __call__(self, inputs: Inputs) -> Prediction:
        found = super().__call__(inputs)
        assert self.go.wait(20)
        return found


@dataclass
class SameModel:
    """The same logits and the same depth at every pixel."""

    config: ModelConfig
    depth: float
    logits: tuple[float, ...] = ()

    def __call__(self, inputs: Inputs) -> Prediction:
        count, _, height, width = inputs["image"].shape

        def planes(values: ArrayLike) -> NDArray[np.float32]:
            column = np.asarray(values, np.float32)[None, :, None, None]
            return np.broadcast_to(column, (count, column.shape[1], height, width)).copy()

        return Prediction(planes(self.logits) if self.logits else None, planes([self.depth]))


def half_red(green: float | NDArray[np.float64] = 51) -> NDArray[np.uint8]:
    """(64, 96, 3): the right half is red; green is the same everywhere (51 is 0.2, a depth of 4.2 m) or one value per row."""
    image = np.zeros((*SIZE, 3), np.uint8)
    image[:, 48:, 0] = 255
    image[..., 1] = np.broadcast_to(np.round(green), SIZE[0])[:, None]
    return image
