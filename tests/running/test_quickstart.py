"""The quickstart: three networks on equal terms, one report, nothing of anybody else's overwritten."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from diorama.config import RunConfig
from diorama.errors import ConfigError
from diorama.prediction.predictor import list_models
from diorama.running import predict as predicting
from diorama.running import quickstart as verb
from diorama.running import train as loop
from diorama.running.quickstart import quickstart
from diorama.training.run_folder import RunFolder

Call = tuple[RunConfig, tuple[Path, ...]]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Call]:
    """Trainings leave a planted report, predictions a planted folder; the list of trainings that were started."""
    calls: list[Call] = []

    def train(config: RunConfig, *, baselines: Sequence[Path] = ()) -> Path:
        run = RunFolder.create("must-not-be-made", "x")
        for base in baselines:
            assert (base / "report.html").is_file()
        calls.append((config, tuple(baselines)))
        (run.path / "report.html").write_text(f"report of {run.path.name}")
        return run.path

    def predict(model: Path, source: Path, out: Path, **_: object) -> None:
        assert len(list(source.rglob("*.*"))) == 6
        out.mkdir()
        (out / "model.txt").write_text(str(model))

    (tmp_path / "shipped").mkdir()
    monkeypatch.setattr(loop, "train", train)
    monkeypatch.setattr(predicting, "predict", predict)
    monkeypatch.setattr(verb, "find_model", lambda name: tmp_path / "shipped")
    return calls


def test_three_networks_differ_only_in_what_is_compared(trained: list[Call], tmp_path: Path) -> None:
    out = tmp_path / "quick"
    report = quickstart(out, frames=(3, 2), epochs=0.5)
    assert report == out / "report.html"
    assert report.read_text() == "report of joint"
    semantic, depth, joint = (config for config, _ in trained)
    assert [config.model.tasks for config in (semantic, depth, joint)] == ["semantic", "depth", "both"]
    assert (joint.model.scene_understanding, joint.model.sharing, joint.model.consistency) == (True, "fsm", True)
    for config in (semantic, depth):
        assert (config.model.scene_understanding, config.model.sharing, config.model.consistency) == (False, "none", False)
        assert (config.view, config.trainer, config.evaluation, config.seed, config.data) == (
            joint.view, joint.trainer, joint.evaluation, joint.seed, joint.data,
        )  # fmt: skip
        assert config.model.stage_epochs == joint.model.stage_epochs
        assert config.model.backbone == joint.model.backbone
    assert [baselines for _, baselines in trained] == [(), (), (out / "runs" / "semantic", out / "runs" / "depth")]
    assert (out / "predictions" / "model.txt").read_text() == str(out / "runs" / "joint" / "model.safetensors")


def test_its_data_set_holds_the_frames_that_were_asked_for(trained: list[Call], tmp_path: Path) -> None:
    quickstart(tmp_path / "quick", frames=(3, 2), epochs=0.5)
    config, _ = trained[-1]
    train, held_out = config.open_dataset("train"), config.open_dataset("val")
    assert (len(train), len(held_out)) == (3, 2)
    assert {"image", "semantic", "depth"} <= train.provides
    assert train.frame(0)["image"].shape == (*verb.SIZE, 3)
    assert train.labels is not None
    assert len(train.labels) == config.model.classes


@pytest.mark.parametrize(("frames", "epochs"), [((0, 2), 1.0), ((2, 0), 1.0), ((2, 2), 0.0), ((2, 2), -1.0), ((2, 2), float("nan"))])
def test_nothing_to_draw_or_to_train_is_told_at_once(trained: list[Call], tmp_path: Path, frames: tuple[int, int], epochs: float) -> None:
    with pytest.raises(ConfigError, match="Choose --frames of 1 or more and --epochs above 0"):
        quickstart(tmp_path / "out", frames=frames, epochs=epochs)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="a file, not a folder"):
        quickstart(tmp_path / "file")
    assert not trained
    assert not (tmp_path / "out").exists()


def test_somebody_elses_folder_is_left_alone(trained: list[Call], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match=r"is not empty\. Pass --overwrite .* or another --out"):
            quickstart(tmp_path, overwrite=overwrite)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    assert trained == []


def test_an_earlier_quickstart_is_replaced_when_told_to(trained: list[Call], tmp_path: Path) -> None:
    out = tmp_path / "quick"
    quickstart(out, frames=(2, 1))
    (out / "old").write_text("")
    with pytest.raises(ConfigError, match="is not empty"):
        quickstart(out, frames=(2, 1))
    assert (out / "old").exists()
    quickstart(out, frames=(2, 1), overwrite=True)
    assert not (out / "old").exists()
    assert len(trained) == 6


@pytest.mark.slow
@pytest.mark.skipif("ci_net-nyuv2" not in list_models(), reason="the shipped model is not there")
def test_the_whole_of_it_leaves_a_report_with_the_gain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIORAMA_CACHE", str(tmp_path / "cache"))
    report = quickstart(tmp_path / "quick", frames=(8, 4), epochs=0.1)
    assert "against single-task models" in report.read_text()
    stored: dict[str, Any] = json.loads((tmp_path / "quick" / "runs" / "joint" / "metrics.json").read_text())
    assert {"miou", "rmse"} <= set(stored["metrics"])
    assert len(list((tmp_path / "quick" / "predictions").rglob("*.depth.png"))) == 6
