"""A model whose answer can be worked out by hand, and a photo for it."""

from __future__ import annotations

import numpy as np
import pytest
import toy
from numpy.typing import NDArray

from diorama.prediction.predictor import Predictor


@pytest.fixture
def model() -> toy.RedModel:
    return toy.RedModel()


@pytest.fixture
def predictor(model: toy.RedModel) -> Predictor:
    return Predictor(model, "toy", "by hand")


@pytest.fixture
def half_red() -> NDArray[np.uint8]:
    """(64, 96, 3): red at the right half, green rises from the top (0) to the bottom (255)."""
    return toy.half_red(np.linspace(0, 255, 64))
