"""`diorama evaluate` from a model and a data set to numbers and a report, against shares counted by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from diorama import catalog
from diorama.cli import main
from diorama.data.base import SceneDataset
from diorama.prediction.predictor import Predictor
from diorama.running import evaluate_file
from diorama.types import IGNORE, Prediction

ROOMS = {"frames": 3, "size": [48, 64], "stereo": False}


class Constant:
    """A network that sees class 2 and two metres everywhere."""

    config: Any = {
        "format": 1, "method": "ci_net", "diorama": "0.1.0", "init": {"backbone": "none"}, "labels": None,
        "depth": {"cap": 10.0, "unit": "m"}, "input": {"size": [48, 64], "multiple_of": 32},
        "training": {"data": "nothing", "seed": 7}, "export": {},
    }  # fmt: skip

    def __call__(self, images: Any) -> Prediction:
        logits = np.zeros((len(images), 13, *images.shape[2:]), np.float32)
        logits[:, 2] = 1
        return Prediction(logits, np.full((len(images), 1, *images.shape[2:]), 2, np.float32))


@pytest.fixture(scope="module")
def rooms() -> SceneDataset:
    dataset: SceneDataset = catalog.dataset("world_indoor")(split="test", **ROOMS)
    return dataset


@pytest.fixture
def constant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate_file, "load", lambda *_, **__: Predictor(Constant(), "constant", "test"))


def share_and_error(dataset: SceneDataset) -> tuple[float, float]:
    frames = list(dataset)
    labels = np.concatenate([frame["semantic"].ravel() for frame in frames])
    depth = np.concatenate([frame["depth"].ravel() for frame in frames]).astype(np.float64)
    depth = depth[(depth > 1e-3) & (depth < 10)]
    return float((labels[labels != IGNORE] == 2).mean()), float(np.sqrt(((depth - 2) ** 2).mean()))


def test_numbers_of_a_constant_network(rooms: SceneDataset, tmp_path: Path) -> None:
    found = evaluate_file.evaluate(Predictor(Constant(), "constant", "test"), rooms, out=tmp_path, progress=False)
    share, error = share_and_error(rooms)
    assert found.protocol.name == "world_indoor"
    assert found["pixel_accuracy"] == pytest.approx(share)
    assert found["rmse"] == pytest.approx(error, rel=1e-6)
    stored = json.loads((tmp_path / "metrics.json").read_text())
    assert (stored["model"]["name"], stored["model"]["backbone"], stored["model"]["seed"]) == ("constant", "none", 7)
    assert "constant" in (tmp_path / "report.html").read_text()


def test_flip_shows_in_the_protocol(rooms: SceneDataset) -> None:
    found = evaluate_file.evaluate(Predictor(Constant(), "constant", "test"), rooms, flip=True, progress=False)
    assert found.protocol.name == "world_indoor+flip"


def test_protocol_follows_the_number_of_classes(rooms: SceneDataset, tmp_path: Path) -> None:
    from diorama.data.fixtures import make

    make("world_indoor", tmp_path, "folder", 1, "test", size=(48, 64), stereo=False)
    assert evaluate_file.default_protocol(catalog.dataset("folder")(tmp_path, "test")).name == "folder"
    assert evaluate_file.default_protocol(rooms).classes == 13


@pytest.mark.usefixtures("constant")
def test_the_verb_takes_what_the_run_folder_knows(rooms: SceneDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    settings = {"model": {"name": "ci_net"}, "data": {"name": "world_indoor", **ROOMS}, "evaluation": {"protocol": "world_indoor"}}
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    assert main(["evaluate", str(run)]) == 0
    shown = capsys.readouterr().out
    share, _ = share_and_error(rooms)
    assert f"pixel_accuracy       {share:.4f}" in shown
    assert (run / "evaluation" / "report.html").is_file()


@pytest.mark.usefixtures("constant")
def test_the_verb_takes_another_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--data", "world_indoor", "--data.frames", "2", "--data.size", "[48,64]", "--data.stereo", "false", "--split", "val"]
    assert main(["evaluate", "ci_net-nyuv2", *words, "--out", "found"]) == 0
    protocol = json.loads((tmp_path / "found" / "metrics.json").read_text())["protocol"]
    assert (protocol["split"], protocol["frames"]) == ("val", 2)
