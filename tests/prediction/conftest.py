"""A model whose answer can be worked out by hand, without any network."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from diorama.export.config import ModelConfig
from diorama.prediction.predictor import Predictor
from diorama.types import Inputs, Prediction


def toy_config(size: list[int] | None = None, **training: object) -> ModelConfig:
    return {
        "format": 1,
        "method": "toy",
        "diorama": "0.1.0",
        "init": {},
        "labels": {"name": "toy2", "classes": ["dark", "red"], "palette": [[10, 20, 30], [200, 30, 40]]},
        "depth": {"cap": 10.0, "unit": "m"},
        "input": {"size": size, "multiple_of": 32},
        "training": {"data": "none", **training},
        "export": {},
    }


@dataclass
class RedModel:
    """Class 1 where red is above one half, depth = 4 + green metres."""

    config: ModelConfig = field(default_factory=lambda: toy_config([64, 96]))
    seen: list[tuple[int, ...]] = field(default_factory=list)
    outputs: tuple[str, ...] = ("semantic_logits", "depth")

    def __call__(self, inputs: Inputs) -> Prediction:
        images = inputs["image"]
        self.seen.append(images.shape)
        red, green = images[:, 0], images[:, 1]
        found = {"semantic_logits": np.stack([np.full_like(red, 0.5), red], 1), "depth": 4 + green[:, None]}
        return Prediction(**{name: found[name] for name in self.outputs})


@pytest.fixture
def model() -> RedModel:
    return RedModel()


@pytest.fixture
def predictor(model: RedModel) -> Predictor:
    return Predictor(model, "toy", "by hand")


@pytest.fixture
def half_red() -> NDArray[np.uint8]:
    """(64, 96, 3): red at the right half, green rises from the top (0) to the bottom (255)."""
    image = np.zeros((64, 96, 3), np.uint8)
    image[:, 48:, 0] = 255
    image[..., 1] = np.linspace(0, 255, 64).round()[:, None]
    return image
