"""SemiMTL as runs: data sets as streams, stopped and resumed, judged on both tasks, and fed what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from runs import differing, failure, go_on, rows, stop_after

from diorama.cli import main
from diorama.config import RunConfig, read_config
from diorama.data import io
from diorama.prediction.predictor import load
from diorama.running import train as loop
from diorama.running.streams import open_streams
from diorama.running.train import StoppedError, Training, train

MODEL: dict[str, Any] = {
    "name": "semi_mtl", "classes": 19, "backbone": "test_resnet", "output_stride": 32, "pretrained": False, "width": 8,
    "depth_widths": [8, 6], "judge_width": 2, "depth_scale": 4.0, "epochs": 3,
}  # fmt: skip
STREETS: dict[str, Any] = {"name": "world_street", "frames": 4, "size": [32, 48], "stereo": False}
CITIES: dict[str, Any] = {"labelled": {"style": "harbour"}, "measured": {"style": "mill"}}


def made(out: Path, model: dict[str, Any] | None = None, **sections: Any) -> dict[str, Any]:
    """Settings of a small run; keyword arguments are sections whose entries replace its own."""
    chosen: dict[str, Any] = {
        "model": {**MODEL, **(model or {})},
        "data": STREETS,
        "streams": CITIES,
        "view": {"size": [32, 48], "cache": False},
        "trainer": {"batch_size": 2, "accelerator": "cpu", "threads": 1, "workers": 0, "log_every": 1},
        "out": str(out),
    }
    for name, value in sections.items():
        chosen[name] = {**chosen[name], **value} if name in ("view", "trainer", "data") else value
    return chosen


@pytest.mark.parametrize(
    ("model", "trainer", "stop"),
    [
        ({}, {"ema": 0.9}, 2),
        ({"generator_update": "per_dataset", "weighting": "dwa", "dwa_steps": 1}, {"precision": "bf16-mixed"}, 3),
        ({"norm": "per_domain", "norm_domain": "measured"}, {"gradients": "pcgrad", "accumulate": 2, "ema": 0.9}, 3),
    ],
    ids=["accumulated", "per data set, bf16", "norms per domain, gradients joined"],
)
def test_a_stopped_and_resumed_run_equals_the_uninterrupted_one(
    model: dict[str, Any], trainer: dict[str, Any], stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, vectors of the spectral norms, statistics per domain, both optimisers, averages of the task weights."""
    monkeypatch.setattr(Training, "finish", lambda self, baselines=(): None)
    config = RunConfig.from_dict(made(tmp_path, model, trainer={"steps": 5, **trainer}))
    whole = train(config)
    state = torch.load(whole / "last.ckpt", weights_only=True)
    assert any(key.endswith("_u") for key in state["model"])
    assert any(key.startswith("weighting.") for key in state["model"]) == ("weighting" in model)
    assert any(".domain2_mean" in key for key in state["model"]) == ("norm" in model)
    assert all(np.isfinite(float(value)) for row in rows(whole) for key, value in row.items() if key != "stage")
    with monkeypatch.context() as patch:
        stop_after(patch, stop)
        with pytest.raises(StoppedError, match=f"step {stop} of"):
            train(config)
    run = whole.with_name("semi_mtl-world_street-2")
    torch.manual_seed(stop)
    go_on(run)
    assert differing(run, whole) == []
    assert rows(run) == rows(whole)


def test_labels_here_and_depth_there_make_one_model_of_both(tmp_path: Path) -> None:
    run = train(RunConfig.from_dict(made(tmp_path, trainer={"steps": 2})))
    last = rows(run)[-1]
    assert {"semantic", "depth", "judge_semantic", "judge_depth", "right_semantic", "right_depth"} <= set(last)
    assert {"intra_semantic", "inter_semantic", "intra_depth", "inter_depth"} <= set(last)
    stored = json.loads((run / "metrics.json").read_text())
    assert {"miou", "rmse", "delta1"} <= set(stored["metrics"])
    answer = load(run).batch({"image": np.zeros((1, 3, 32, 32), np.float32)})
    assert answer.semantic_logits.shape == (1, 19, 32, 32)
    assert 0 < float(answer.depth.min()) <= float(answer.depth.max()) <= 80


def test_a_single_task_is_judged_alone_and_keeps_the_data_of_the_joint_runs(tmp_path: Path) -> None:
    """So that Delta M takes it for a baseline."""
    found = {}
    for name, model in {"joint": {"alignment": "none"}, "depth": {"tasks": "depth", "alignment": "none"}}.items():
        run = train(RunConfig.from_dict(made(tmp_path, model, trainer={"steps": 2})))
        found[name] = json.loads((run / "metrics.json").read_text())
    assert "miou" not in found["depth"]["metrics"]
    assert "rmse" in found["depth"]["metrics"]
    assert all(found["depth"]["model"][key] == found["joint"]["model"][key] for key in ("backbone", "data", "budget"))


def test_each_data_set_is_a_stream_of_its_own(tmp_path: Path) -> None:
    def opened(settings: dict[str, Any]) -> Any:
        config = RunConfig.from_dict(settings)
        return open_streams(config, loop.catalog.method("semi_mtl")(config.model))

    cities = opened(made(tmp_path))
    assert {name: stream.needs for name, stream in cities.items()} == {"labelled": {"image", "semantic"}, "measured": {"image", "depth"}}
    assert {name: stream.dataset.style for name, stream in cities.items()} == {"labelled": "harbour", "measured": "mill"}
    halves = [stream.dataset.ids for stream in opened(made(tmp_path, streams={})).values()]
    assert not set(halves[0]) & set(halves[1])
    assert len(halves[0]) == len(halves[1]) == 2
    three = {"sets": {"labelled": ["semantic"], "measured": ["depth"], "photos": []}}
    assert opened(made(tmp_path, three))["photos"].needs == {"image"}


def test_the_recipe_reads_two_cities() -> None:
    run = read_config(["--config", "semi_mtl/world_street_light"])
    assert set(run.model.sets) == set(run.streams)
    assert {fields["style"] for fields in run.streams.values()} == {"harbour", "mill"}


WRONG: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        {},
        {"streams": {"photos": {"style": "mill"}}},
        "no stream 'photos': semi_mtl has the streams labelled and measured;",
    ),
    ({"sets": {"labelled": ["semantic"], "measured": []}}, {}, "no data set teaches depth"),
    ({"classes": 13}, {}, "model.classes is 13, world_street has 19 classes. Set model.classes=19."),
    ({"absent": {"labelled": [0]}}, {}, "has a label of the classes [0] that model.absent.labelled says it lacks. Mend that."),
]


@pytest.mark.parametrize(("model", "sections", "said"), WRONG, ids=str)
def test_what_does_not_go_together_is_told_and_leaves_nothing(
    model: dict[str, Any], sections: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = made(tmp_path / "runs", model, **sections)
    assert said in failure(settings, tmp_path, capsys, 3 if "has a label" in said else 2)
    assert not list((tmp_path / "runs").rglob("*"))


def test_a_data_set_without_the_labels_that_it_shall_teach_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        io.write_image(tmp_path / "photos" / "images" / "train" / f"{number}.png", np.full((32, 48, 3), number, np.uint8))
    settings = made(tmp_path / "runs", streams={**CITIES, "measured": {"name": "folder", "root": str(tmp_path / "photos")}})
    said = failure(settings, tmp_path, capsys, 2)
    assert "semi_mtl (stream 'measured') needs 'depth'; folder (train) has no depth maps." in said
    assert "--streams.measured.name NAME" in said
    assert main(["methods"]) == 0
    assert "semi_mtl" in capsys.readouterr().out
