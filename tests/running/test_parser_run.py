"""The scene parser as a run: trained, evaluated and asked to judge; its light recipes need nothing that is not shipped."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from diorama import catalog
from diorama.config import RunConfig, read_config
from diorama.errors import ModelError
from diorama.export.model_file import start_from
from diorama.prediction.predictor import find_model
from diorama.running.evaluate_file import evaluate
from diorama.running.train import train

STREETS = {"name": "world_street", "frames": 4, "size": [32, 64], "stereo": False}


def test_a_parser_trains_on_streets_and_is_no_translator(settings: Callable[..., dict[str, Any]]) -> None:
    model = {"name": "fcn", "classes": 19, "backbone": "test_resnet", "pretrained": False, "class_weights": "balanced", "epochs": 1}
    run = train(RunConfig.from_dict(settings(view={"size": [32, 64]}) | {"model": model, "data": STREETS}))
    stored = json.loads((run / "metrics.json").read_text())
    assert {"miou", "pixel_accuracy"} <= set(stored["metrics"])
    assert "rmse" not in stored["metrics"]
    assert stored["protocol"]["parsed_by"] == ""
    streets = catalog.dataset("world_street")(split="test", frames=1, size=(32, 64), stereo=False)
    with pytest.raises(ModelError, match="makes no photos of label maps"):
        evaluate(run, streets, parser=run, progress=False)


@pytest.mark.parametrize("name", ["camvid", "world_street"])
def test_light_recipes_begin_with_the_shipped_encoder(name: str) -> None:
    run = read_config(["--config", f"fcn/{name}", "--data.root", "anywhere"])
    assert run.trainer.start_from is not None
    fresh = start_from(catalog.method("fcn")(run.model), find_model(run.trainer.start_from))
    assert fresh
    assert all(key.startswith("network.scores.") for key in fresh)
