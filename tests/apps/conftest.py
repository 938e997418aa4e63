from __future__ import annotations

from pathlib import Path

import pytest
from uploads import RedModel, half_red, png

from diorama.prediction.predictor import Predictor


@pytest.fixture
def model() -> RedModel:
    return RedModel()


@pytest.fixture
def predictor(model: RedModel) -> Predictor:
    return Predictor(model, "toy", "by hand")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "half_red.png"
    path.write_bytes(png(half_red()))
    return path
