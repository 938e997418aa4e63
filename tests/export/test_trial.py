"""What rounding may cost: losses by hand, the bound, and a trial on frames that are chosen by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from diorama import catalog
from diorama.cli import main
from diorama.errors import ConfigError, ModelError
from diorama.export import export as export_module
from diorama.export.config import read_config
from diorama.export.export import ExportReport
from diorama.export.trial import Trial, losses
from diorama.prediction.predictor import load
from diorama.running.trials import CalibrationFrames, trial_on
from diorama.types import Prediction

TARGET = Path("there.xml")
ROOMS = {"frames": 5, "size": [32, 48], "stereo": False}


def nothing(inputs: Any) -> Prediction:
    return Prediction()


def other(inputs: Any) -> Prediction:
    return Prediction()


def trial(before: dict[str, float], after: dict[str, float], **bounds: Any) -> Trial:
    return Trial(lambda network: before if network is nothing else after, **bounds)


def test_losses_count_in_points_and_percent() -> None:
    found = losses({"miou": 0.5, "rmse": 0.8, "abs_rel": 0.1}, {"miou": 0.493, "rmse": 0.812, "abs_rel": 9.0})
    assert found == pytest.approx({"miou": 0.7, "rmse": 1.5})
    gained = losses({"miou": 0.5, "confidence_auc": 0.9}, {"miou": 0.51, "confidence_auc": 0.9})
    assert gained == pytest.approx({"miou": -1.0, "confidence_auc": 0.0})
    assert losses({"miou": 0.5, "rmse": 0.8}, {"rmse": math.nan}) == {"miou": math.inf, "rmse": math.inf}


def test_a_file_within_the_bounds_says_what_it_lost() -> None:
    found = trial({"miou": 0.5, "rmse": 0.8}, {"miou": 0.491, "rmse": 0.815}, facts={"protocol": "p"}).compare(nothing, other, TARGET)
    assert found["protocol"] == "p"
    assert (found["before"], found["after"]) == ({"miou": 0.5, "rmse": 0.8}, {"miou": 0.491, "rmse": 0.815})
    assert found["loss"]["miou"] == {"value": pytest.approx(0.9), "unit": "points", "allowed": 1.0}
    assert found["loss"]["rmse"] == {"value": pytest.approx(1.875), "unit": "percent", "allowed": 2.0}
    json.dumps(found)


def test_a_file_beyond_a_bound_is_refused() -> None:
    before = {"miou": 0.5, "rmse": 0.8}
    with pytest.raises(ModelError) as error:
        trial(before, {"miou": 0.489, "rmse": 0.8}).compare(nothing, other, TARGET)
    assert str(error.value) == (
        "there.xml: miou 0.5000 -> 0.4890, a loss of 1.10 points (allowed 1); not written. "
        "Choose a finer --precision, or allow more with --max-loss."
    )
    with pytest.raises(ModelError, match=r"rmse 0\.8000 -> 0\.8200, a loss of 2\.50 percent \(allowed 2\)"):
        trial(before, {"miou": 0.5, "rmse": 0.82}).compare(nothing, other, TARGET)
    with pytest.raises(ModelError, match="not written"):
        trial(before, {"miou": math.nan, "rmse": math.nan}).compare(nothing, other, TARGET)
    with pytest.raises(ModelError, match="neither mIoU nor RMSE of this network can be measured"):
        trial({"pixel_accuracy": 0.5}, {"pixel_accuracy": 0.5}).compare(nothing, other, TARGET)
    assert trial(before, {"miou": 0.489, "rmse": 0.82}, max_points=2, max_percent=3).compare(nothing, other, TARGET)


def test_onnx_files_are_refused_beyond_a_bound_too(tiny_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "differences", lambda *_: ({}, None))
    worse = Trial(lambda network: {"miou": 0.5 if type(network).__name__ == "EagerModel" else 0.4})
    with pytest.raises(ModelError, match="a loss of 10.00 points"):
        export_module.export(tiny_file, trial=worse)
    assert not (tiny_file.parent / "model.onnx").exists()


def test_calibration_frames_are_spread_and_as_predict_prepares_them() -> None:
    rooms = catalog.dataset("world_indoor")(split="train", **ROOMS)
    frames = CalibrationFrames(rooms, ("image",), (32, 64), 3)
    assert frames.numbers == [0, 2, 4]
    assert len(frames) == len(list(frames)) == len(list(frames)) == 3
    image = next(iter(frames))["image"]
    assert (image.shape, image.dtype) == ((1, 3, 32, 64), np.float32)
    assert 0 <= image.min() < image.max() <= 1
    assert CalibrationFrames(rooms, ("image",), None, 300).numbers == [0, 1, 2, 3, 4]


def test_frames_that_judge_do_not_fit() -> None:
    rooms = catalog.dataset("world_indoor")(split="test", **ROOMS)
    config: Any = {"method": "tiny", "input": {"size": [32, 48]}, "labels": None, "depth": None}
    with pytest.raises(ConfigError, match="split 'test' cannot both fit int8 and judge it"):
        trial_on(config, rooms, rooms)
    with pytest.raises(ConfigError, match="Choose 1 or more"):
        trial_on(config, rooms, catalog.dataset("world_indoor")(split="train", **ROOMS), frames=0)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []

    def record(**options: Any) -> ExportReport:
        calls.append(options)
        lost = {"loss": {"miou": {"value": 0.25, "unit": "points", "allowed": 1.0}}, "before": {"miou": 0.5}, "after": {"miou": 0.4975}}
        return ExportReport(Path("x.xml"), 1.0, "int8", {}, {}, None, "openvino", "int8", lost if "trial" in options else None)

    monkeypatch.setattr(export_module, "export", record)
    return calls


def test_the_verb_opens_the_splits_that_fit_and_judge(
    asked: list[dict[str, Any]], tiny_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(tiny_file), "--format", "openvino", "--precision", "int8"]
    rooms = ["--data", "world_indoor", "--data.frames", "4", "--data.size", "[32,48]", "--data.stereo=false"]
    assert main([*words, *rooms, "--max-loss", "0.5", "3", "--calibration-frames", "2"]) == 0
    made = asked[0].pop("trial")(read_config(tiny_file))
    assert asked[0] == {"source": tiny_file, "format": "openvino", "precision": "int8", "out": None, "overwrite": False}
    assert (made.max_points, made.max_percent) == (0.5, 3.0)
    assert made.facts["judged_on"] == "world_indoor test, 4 frames"
    assert made.facts["fitted_to"] == "world_indoor train, 2 frames"
    assert "miou 0.5000 -> 0.4975 (+0.25 points lost, 1 allowed)" in capsys.readouterr().out


def test_a_run_folder_knows_its_data(asked: list[dict[str, Any]], tiny_file: Path) -> None:
    settings = {"data": {"name": "world_indoor", **ROOMS}, "evaluation": {"protocol": "world_indoor"}}
    (tiny_file.parent / "config.yaml").write_text(json.dumps(settings))
    assert main(["export", str(tiny_file.parent)]) == 0
    assert "trial" not in asked[0]
    assert main(["export", str(tiny_file.parent), "--format", "openvino", "--precision", "int8"]) == 0
    assert asked[1]["trial"](read_config(tiny_file)).facts["judged_on"] == "world_indoor test, 5 frames"


def test_wrong_words(tiny_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, says in (
        (["--data.root", "x"], "--data.root of which data set? Add --data NAME"),
        (["--data", "nyu"], "did you mean 'nyuv2'?"),
        (["--data", "nyuv2", "--data.root", str(tmp_path)], "no images. nyuv2 needs"),
        (["--data", "world_indoor", "--data.frame", "3"], "did you mean 'frames'?"),
        (["--data", "world_indoor", "--calibration-split", "moon"], "moon"),
        (["--precision", "int4"], "int4"),
        (["--half"], "unknown flag '--half'"),
    ):
        assert main(["export", str(tiny_file), *words]) == 2
        assert says in capsys.readouterr().err


@pytest.mark.slow
def test_int8_is_fitted_judged_and_refused(tiny_rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("nncf")
    words = ["export", str(tiny_rooms), "--format", "openvino", "--precision", "int8", "--data", "world_indoor", "--data.frames", "4"]
    words += ["--data.size", "[32,48]", "--data.stereo", "false"]
    out = tmp_path / "int8.xml"
    assert main([*words, "--out", str(out), "--max-loss", "1", "-99"]) == 2
    assert "not written" in capsys.readouterr().err
    assert not out.exists()
    assert main([*words, "--out", str(out), "--max-loss", "9", "20"]) == 0
    measured = read_config(out)["export"]
    assert measured["accuracy"]["judged_on"] == "world_indoor test, 4 frames"
    assert measured["accuracy"]["loss"]["rmse"]["allowed"] == 20
    # weights in 8 bits, and between the depth head and its output none
    layers = {layer.get("name"): layer for layer in ET.parse(out).getroot().iter("layer")}
    assert any(layer.find("data") is not None and layer.find("data").get("element_type") == "i8" for layer in layers.values())
    image = np.random.default_rng(0).random((1, 3, 32, 48), np.float32)
    exact = load(tiny_rooms).model({"image": image}).depth
    assert np.abs(load(out, threads=1).model({"image": image}).depth - exact).max() < 0.05 * np.ptp(exact) + 0.02
