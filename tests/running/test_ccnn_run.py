"""CCNN as a run: pairs are matched on the way, both stages train, a stop changes nothing, and the model is judged, shipped and used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import differing, failure, rows

from diorama.cli import main
from diorama.config import RunConfig
from diorama.data.fixtures import write_middlebury
from diorama.data.world.dataset import WorldStreet
from diorama.errors import ConfigError
from diorama.evaluation.protocols import by_name
from diorama.prediction.predictor import load
from diorama.running.evaluate_file import evaluate
from diorama.running.ship import ship
from diorama.running.train import train
from diorama.stereo.confidence import load_confidence
from diorama.stereo.matching import match

STEPS = 6


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def street(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Two stages of two epochs and one, two steps an epoch."""
    monkeypatch.setenv("DIORAMA_CACHE", str(cache))
    return {
        "model": {"name": "ccnn", "start": "differences", "optimiser": "adam", "epochs": 2, "threshold_epochs": 1},
        "data": {"name": "world_street", "frames": 4, "size": [96, 192]},
        "view": {"size": [96, 192], "crop": [40, 48], "zoom": [0.9, 1.0], "cache": True},
        "trainer": {"batch_size": 2, "accelerator": "cpu", "threads": 1, "workers": 0, "log_every": 1},
        "out": str(tmp_path / "runs"),
    }


def test_a_run_is_judged_and_its_model_is_of_use(street: dict[str, Any], tmp_path: Path) -> None:
    run = train(RunConfig.from_dict(street))
    found = json.loads((run / "metrics.json").read_text())
    assert {"confidence_auc", "confidence_area", "confidence_accuracy", "threshold_accuracy", "disparity_right"} <= set(found["metrics"])
    assert (found["protocol"]["name"], found["protocol"]["tolerance_px"]) == ("confidence_3px", 3.0)
    assert found["metrics"]["disparity_right"]["frames"] == 4
    assert "confidence, ROC area" in (run / "report.html").read_text()
    assert [row["stage"] for row in rows(run)] == ["ccnn"] * 4 + ["threshold"] * 2
    # the number that does not depend on the network, by hand
    frames = WorldStreet(frames=4, size=(96, 192), split="test")
    shares = []
    for frame in frames:
        known = frame["disparity"] > 0
        gap = np.abs(match(frame["image"], frame["right"]).left.disparity - frame["disparity"])
        shares.append((gap <= 3)[known].mean())
    assert found["metrics"]["disparity_right"]["value"] == pytest.approx(np.mean(shares), abs=1e-9)

    folder = ship(run, tmp_path / "ccnn-small")
    card = (folder / "README.md").read_text()
    assert "| confidence_auc |" in card
    assert "How far each disparity of a matched pair is to be trusted" in card
    assert "dense disparity of any size, pixels; trained on windows of 40x48" in card
    confidence, tau = load_confidence(folder, threads=1)(match(frames[0]["image"], frames[0]["right"]).left.disparity)
    assert confidence.shape == (96, 192)
    assert tau is not None
    again = evaluate(folder, frames, progress=False)
    assert again.protocol.name == "confidence_3px"
    assert again["confidence_auc"] == pytest.approx(found["metrics"]["confidence_auc"]["value"], abs=2e-3)
    stricter = evaluate(folder, frames, by_name("confidence_1px"), progress=False)
    assert stricter["disparity_right"] < again["disparity_right"]
    with pytest.raises(ConfigError, match=r"judges matched disparity and sees no photos. Use it as `diorama pseudo-label --confidence"):
        load(folder).scene(np.zeros((48, 96, 3), np.uint8))


@pytest.mark.parametrize("stop", [3, 5])
def test_a_stopped_and_resumed_run_equals_the_uninterrupted_one(street: dict[str, Any], stop: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diorama.running.train.Training.finish", lambda self, baselines=(): None)
    whole = train(RunConfig.from_dict(street))
    street["trainer"]["steps"] = stop
    run = train(RunConfig.from_dict(street))
    street["trainer"]["steps"] = None
    train(RunConfig.from_dict(street), resume=run)
    assert differing(whole, run) == []
    assert rows(run) == rows(whole)
    assert len(rows(run)) == STEPS


def test_it_trains_on_middlebury(street: dict[str, Any], tmp_path: Path) -> None:
    root = tmp_path / "middlebury"
    write_middlebury(WorldStreet(frames=3, size=(96, 192)), root)
    held_out = sorted(path.name for path in root.iterdir())[0]
    street["data"] = {"name": "middlebury", "root": str(root), "held_out": [held_out]}
    street["trainer"]["steps"] = 2
    found = json.loads((train(RunConfig.from_dict(street)) / "metrics.json").read_text())
    assert found["metrics"]["disparity_right"]["frames"] == 1


def test_data_without_pairs_or_disparity_are_told(street: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    street["data"]["stereo"] = False
    assert "world_street (train) has no 'right' to match. Choose stereo pairs" in failure(street, tmp_path, capsys, 2)


def test_predict_says_what_the_model_is_for(street: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    street["trainer"]["steps"] = 1
    run = train(RunConfig.from_dict(street))
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"")
    assert main(["predict", str(photo), "--model", str(run)]) == 2
    assert "judges matched disparity and sees no photos" in capsys.readouterr().err
