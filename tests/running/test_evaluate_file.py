"""`diorama evaluate` from a model and a data set to numbers and a report, against shares counted by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from diorama import catalog
from diorama.cli import main
from diorama.data.base import SceneDataset
from diorama.errors import ConfigError, DataError, ModelError
from diorama.prediction.predictor import Predictor
from diorama.running import evaluate_file
from diorama.running.records import earlier_results
from diorama.running.streams import Stretch
from diorama.types import IGNORE, Prediction

ROOMS = {"frames": 3, "size": [48, 64], "stereo": False}


class Constant:
    """A network that sees class 2 and two metres everywhere."""

    config: Any = {
        "format": 1, "method": "ci_net", "diorama": "0.1.0", "init": {"backbone": "none"}, "labels": None,
        "depth": {"cap": 10.0, "unit": "m"}, "input": {"size": [48, 64], "multiple_of": 32},
        "training": {"data": "nothing", "seed": 7}, "export": {},
    }  # fmt: skip

    def __call__(self, inputs: Any) -> Prediction:
        images = inputs["image"]
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


def test_results_are_not_overwritten_unasked(rooms: SceneDataset, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("mine")
    (tmp_path / "confusion.csv").write_text("old")
    (tmp_path / "notes.txt").write_text("kept")
    constant = Predictor(Constant(), "constant", "test")
    with pytest.raises(DataError, match=r"metrics\.json exists already\. Pass --overwrite"):
        evaluate_file.evaluate(constant, rooms, out=tmp_path, progress=False)
    assert (tmp_path / "metrics.json").read_text() == "mine"
    assert not (tmp_path / "report.html").exists()
    evaluate_file.evaluate(constant, rooms, out=tmp_path, overwrite=True, progress=False)
    assert json.loads((tmp_path / "metrics.json").read_text())["model"]["seed"] == 7
    assert (tmp_path / "confusion.csv").read_text().startswith("truth,")
    assert (tmp_path / "notes.txt").read_text() == "kept"


def test_nothing_of_an_earlier_evaluation_is_left_among_the_new(rooms: SceneDataset, tmp_path: Path) -> None:
    found = evaluate_file.evaluate(Predictor(Constant(), "constant", "test"), rooms, out=tmp_path, progress=False)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {path.name for path in earlier_results(tmp_path)}, "a file that --overwrite would not know of"
    assert found.confusion is not None


def test_what_is_wrong_is_told_before_the_evaluation(rooms: SceneDataset, tmp_path: Path) -> None:
    constant = Predictor(Constant(), "constant", "test")
    with pytest.raises(DataError, match="not the metrics of an evaluation"):
        evaluate_file.evaluate(constant, rooms, out=tmp_path / "out", baselines=[tmp_path / "nowhere"], progress=False)
    for wrong in ({"batch_size": 0}, {"size": (0, 32)}):
        with pytest.raises(ConfigError, match="Choose 1 or more"):
            evaluate_file.evaluate(constant, rooms, out=tmp_path / "out", progress=False, **wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="a file, not a folder"):
        evaluate_file.evaluate(constant, rooms, out=tmp_path / "file", progress=False)


@pytest.mark.usefixtures("constant")
def test_a_fitted_scale_shows_in_the_protocol_and_forgives_it(rooms: SceneDataset) -> None:
    found = evaluate_file.evaluate("constant", rooms, align="median", progress=False)
    assert found.protocol.name == "world_indoor+median"
    squared = []
    for frame in rooms:  # a constant times median(truth) / 2 is the median of the truth
        depth = frame["depth"][(frame["depth"] > 1e-3) & (frame["depth"] < 10)].astype(np.float64)
        squared.append((depth - np.median(depth)) ** 2)
    assert found["rmse"] == pytest.approx(np.sqrt(np.concatenate(squared).mean()), rel=1e-4)
    with pytest.raises(ConfigError, match="as it is predicted"):
        evaluate_file.evaluate("constant", rooms, "kitti_withheld_random", align="median", progress=False)


def test_a_scale_is_fitted_only_where_there_is_depth(rooms: SceneDataset, tmp_path: Path) -> None:
    class Labels(Constant):
        config: Any = {**Constant.config, "depth": None}

    with pytest.raises(ConfigError, match=r"labels predicts no depth whose scale could be fitted\. Leave out --align"):
        evaluate_file.evaluate(Predictor(Labels(), "labels", "test"), rooms, align="median", out=tmp_path / "out", progress=False)
    photos = Stretch(rooms, 0, 1)
    photos.provides = frozenset({"image", "semantic"})
    with pytest.raises(ConfigError, match="has no depth to fit a scale to"):
        evaluate_file.evaluate(Predictor(Constant(), "constant", "test"), photos, align="median_global", progress=False)
    assert not (tmp_path / "out").exists()


def test_flip_shows_in_the_protocol(rooms: SceneDataset) -> None:
    found = evaluate_file.evaluate(Predictor(Constant(), "constant", "test"), rooms, flip=True, progress=False)
    assert found.protocol.name == "world_indoor+flip"


@pytest.mark.parametrize("asked", [{"flip": True}, {"size": (48, 64)}])
def test_scans_are_neither_mirrored_nor_resized(asked: dict[str, Any], rooms: SceneDataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="kitti_withheld_lines gives scans as they are.* Leave out"):
        evaluate_file.evaluate("linear", rooms, "kitti_withheld_lines", out=tmp_path / "out", **asked, progress=False)
    assert not (tmp_path / "out").exists()


def test_points_of_two_minds_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "linear", "--data", "world_indoor", "--data.frames", "1", "--out", str(tmp_path / "out")]
    assert main([*words, "--protocol", "nyuv2_completion_500", "--sparse.points", "50"]) == 2
    assert "nyuv2_completion_500 says which points are given, so --sparse.* changes nothing. Leave" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_points_for_a_network_of_photos_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "ci_net-nyuv2", "--data", "world_indoor", "--data.frames", "1", "--out", str(tmp_path / "out")]
    assert main([*words, "--sparse.points", "50"]) == 2
    assert "ci_net-nyuv2 takes no sparse depth, so --sparse.* changes nothing. Leave it out, or choose a" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_model_of_other_classes_is_refused_even_if_its_logits_are_as_many(rooms: SceneDataset, tmp_path: Path) -> None:
    """Twelve classes and "ignore" are thirteen logits, as many as the rooms have classes."""
    names = [f"class{number}" for number in range(12)]
    model = Constant()
    model.config = {**Constant.config, "labels": {"name": "twelve", "classes": names, "palette": [[number, 0, 1] for number in range(12)]}}
    with pytest.raises(ModelError, match=r"the model has 12 classes, the truth 13\. Evaluate it on its own label set\."):
        evaluate_file.evaluate(Predictor(model, "twelve", "test"), rooms, out=tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


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
    assert main(["evaluate", str(run)]) == 2
    assert "Pass --overwrite" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--overwrite"]) == 0


@pytest.mark.usefixtures("constant")
def test_the_verb_judges_as_the_run_was_judged(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    settings = {"model": {"name": "ci_net"}, "data": {"name": "world_indoor", **ROOMS}, "evaluation": {"split": "val", "flip": True}}
    (run / "config.yaml").write_text(yaml.safe_dump(settings))

    def judged(*flags: str) -> tuple[str, bool]:
        assert main(["evaluate", str(run), "--overwrite", *flags]) == 0
        protocol = json.loads((run / "evaluation" / "metrics.json").read_text())["protocol"]
        return protocol["split"], protocol["flip"]

    assert judged() == ("val", True)
    assert judged("--flip", "false", "--split", "test") == ("test", False)


@pytest.mark.usefixtures("constant")
def test_without_test_frames_the_verb_judges_on_val_as_training_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from diorama.data.fixtures import make

    run, root = tmp_path / "run", tmp_path / "rooms"
    run.mkdir()
    (run / "config.yaml").write_text(yaml.safe_dump({"model": {"name": "ci_net"}, "data": {"name": "folder", "root": str(root)}}))
    make("world_indoor", root, "folder", 2, "train", size=(48, 64), stereo=False)

    def said(status: int, *flags: str) -> str:
        assert main(["evaluate", str(run), "--overwrite", *flags]) == status
        return capsys.readouterr().err

    def judged() -> str:
        return str(json.loads((run / "evaluation" / "metrics.json").read_text())["protocol"]["split"])

    text = said(2)
    assert "folder has no test or val frames here, but train, all" in text
    assert text.endswith("Pass --split train to evaluate on it.\n")
    said(0, "--split", "train")
    assert judged() == "train"
    make("world_indoor", root, "folder", 1, "val", size=(48, 64), stereo=False)
    assert "evaluated on 'val', since 'test' is not there" in said(0)
    assert judged() == "val"
    make("world_indoor", root, "folder", 1, "test", size=(48, 64), stereo=False)
    assert "since" not in said(0)
    assert judged() == "test"
    shutil.rmtree(root)
    assert "no such folder" in said(2)


@pytest.mark.usefixtures("constant")
def test_the_verb_takes_another_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--data", "world_indoor", "--data.frames", "2", "--data.size", "[48,64]", "--data.stereo", "false", "--split", "val"]
    assert main(["evaluate", "ci_net-nyuv2", *words, "--out", "found"]) == 0
    protocol = json.loads((tmp_path / "found" / "metrics.json").read_text())["protocol"]
    assert (protocol["split"], protocol["frames"]) == ("val", 2)
