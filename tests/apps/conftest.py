from __future__ import annotations

from pathlib import Path

import pytest
from toy import WaitingModel, half_red
from uploads import png

from diorama.prediction.predictor import Predictor


@pytest.fixture
def model() -> WaitingModel:
    return WaitingModel()


@pytest.fixture
def predictor(model: WaitingModel) -> Predictor:
    return Predictor(model, "toy", "by hand")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "half_red.png"
    path.write_bytes(png(half_red()))
    return path
