"""Rows x seeds -> a table, with what is finished never run again."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from diorama.config import RunConfig
from diorama.errors import ConfigError, DataError, TrainingError
from diorama.evaluation.protocols import by_name
from diorama.running import train as loop
from diorama.running.benchmark import Benchmark, row_settings, run_benchmark, train_once
from diorama.running.renewal import decisive, differences
from diorama.running.train import StoppedError, Training
from diorama.training.run_folder import VARIABLE, RunFolder

Settings = Callable[..., dict[str, Any]]
ALONE = {"model.scene_understanding": False, "model.sharing": "none", "model.consistency": False}
MIOU = {"semantics": {0: 0.20, 1: 0.22, 2: 0.21}, "joint": {0: 0.23, 1: 0.24, 2: 0.22}}
RMSE = {"depth": {0: 0.80, 1: 0.82, 2: 0.81}, "joint": {0: 0.78, 1: 0.83, 2: 0.79}}


@pytest.fixture
def base(settings: Settings, tmp_path: Path) -> Path:
    """A recipe of the small run, judged on one small room."""
    path = tmp_path / "base.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in settings().items() if key != "out"}))
    return path


@pytest.fixture
def benchmark(base: Path) -> Benchmark:
    return Benchmark(
        title="Small table",
        base=str(base),
        rows={"semantics": {"model.tasks": "semantic", **ALONE}, "depth": {"model.tasks": "depth", **ALONE}, "joint": {}},
        seeds=(0, 1, 2),
        metrics=("miou", "rmse"),
        baselines=("semantics", "depth"),
        budget="One thread.",
    )


def pretended(monkeypatch: pytest.MonkeyPatch, fail_at: int | None = None) -> list[tuple[str, int]]:
    """Trainings that only write planted numbers; the list of those that were started."""
    started: list[tuple[str, int]] = []
    protocol = by_name("world_indoor").to_dict()

    def train(config: RunConfig, resume: Path | None = None, **_: object) -> Path:
        run = RunFolder(resume) if resume else RunFolder.create(config.out, "x")
        row = {"semantic": "semantics", "depth": "depth", "both": "joint"}[config.model.tasks]
        started.append((row, config.seed))
        if len(started) == fail_at:
            raise TrainingError("killed. Start again.")
        found = {}
        for name, unit, better, values in (("miou", "share", "higher", MIOU), ("rmse", "m", "lower", RMSE)):
            if row in values:
                found[name] = {"value": values[row][config.seed], "unit": unit, "better": better}
        model = {"seed": config.seed, "backbone": "test_resnet", "data": "world_indoor", "budget": "9 steps of 2"}
        (run.path / "metrics.json").write_text(json.dumps({"metrics": found, "protocol": protocol, "model": model}))
        return run.path

    monkeypatch.setattr(loop, "train", train)
    return started


def test_mean_interval_and_gain_are_those_worked_out_by_hand(benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = pretended(monkeypatch)
    out = run_benchmark(benchmark, tmp_path / "out")
    assert started == [(row, seed) for seed in (0, 1, 2) for row in ("semantics", "depth", "joint")]
    table = (out / "table.md").read_text().splitlines()
    assert table[0] == "# Small table"
    # t(0.975, 2 degrees of freedom) = 4.3027; standard deviation 0.01 for miou, 0.026458 for rmse of the joint row
    half = 4.3027 * 0.01 / math.sqrt(3)
    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in table if line.startswith("|")}
    assert cells["joint"][0] == "3"
    assert cells["joint"][1] == f"0.23 ± {half:.2g}"
    assert cells["joint"][2] == f"0.8 ± {4.3027 * 0.0264575 / math.sqrt(3):.2g}"
    assert cells["semantics"] == ["3", f"0.21 ± {half:.2g}", "", ""]
    # Delta M by seed: mean of the gain in miou and the gain in rmse
    gains = [((MIOU["joint"][s] / MIOU["semantics"][s] - 1) + (1 - RMSE["joint"][s] / RMSE["depth"][s])) / 2 for s in (0, 1, 2)]
    mean = sum(gains) / 3
    spread = 4.3027 * math.sqrt(sum((gain - mean) ** 2 for gain in gains) / 2 / 3)
    assert cells["joint"][3].startswith(f"{100 * mean:+.1f} % [{100 * (mean - spread):+.1f}, {100 * (mean + spread):+.1f}]")
    assert cells["joint"][3].endswith("over 3 seeds")
    assert "One thread." in table
    with (out / "runs.csv").open(newline="") as file:
        runs = list(csv.DictReader(file))
    assert len(runs) == 9
    assert [(run["seed"], run["miou"], run["rmse"]) for run in runs if run["row"] == "joint"] == [
        ("0", "0.23", "0.78"), ("1", "0.24", "0.83"), ("2", "0.22", "0.79"),
    ]  # fmt: skip


def test_no_gain_without_baselines_or_while_one_is_missing(benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretended(monkeypatch)
    out = run_benchmark(benchmark, tmp_path / "out", rows=["semantics", "joint"], seeds=[1])
    assert "%" not in (out / "table.md").read_text().replace("95 %", "")
    run_benchmark(benchmark, out, rows=["depth"], seeds=[1])
    (joint,) = [line for line in (out / "table.md").read_text().splitlines() if line.startswith("| joint")]
    assert joint.split("|")[2].strip() == "1"
    assert joint.split("|")[3].strip() == "0.24"
    assert joint.split("|")[5].strip().startswith("+3.9 %")  # ((0.24/0.22 - 1) + (1 - 0.83/0.82)) / 2


def test_what_is_finished_is_not_run_again(benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = pretended(monkeypatch, fail_at=4)
    with pytest.raises(TrainingError, match="killed"):
        run_benchmark(benchmark, tmp_path / "out", seeds=[0, 1])
    assert len(list((tmp_path / "out").glob("*-seed*.json"))) == 3
    again = pretended(monkeypatch)
    run_benchmark(benchmark, tmp_path / "out", seeds=[0, 1])
    assert started[:3] == [("semantics", 0), ("depth", 0), ("joint", 0)]
    assert again == [("semantics", 1), ("depth", 1), ("joint", 1)]
    assert not list((tmp_path / "out" / "runs").iterdir())


def test_a_stopped_run_goes_on_and_equals_one_that_was_not_stopped(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RunConfig.from_dict(settings(trainer={"steps": 4}))
    monkeypatch.setattr(Training, "finish", lambda self, baselines=(): None)
    whole = train_once(config, tmp_path / "whole")
    steps: list[int] = []
    original = Training.one_step

    def counted(self: Training, batch: Any) -> dict[str, float]:
        steps.append(self.step)
        return original(self, batch)

    monkeypatch.setattr(Training, "one_step", counted)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "agreed", lambda fabric, flag: 15 * (len(steps) == 2))
        with pytest.raises(StoppedError):
            train_once(config, tmp_path / "parted")
    assert train_once(config, tmp_path / "parted") == tmp_path / "parted"
    assert steps == [0, 1, 2, 3]
    assert whole == tmp_path / "whole"

    def losses(run: Path) -> list[str]:
        with (run / "metrics.csv").open(newline="") as file:
            return [row["loss"] for row in csv.DictReader(file)]

    assert losses(tmp_path / "parted") == losses(whole)


def test_what_a_killed_run_left_without_a_checkpoint_is_replaced(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Training, "finish", lambda self, baselines=(): None)
    folder = tmp_path / "runs" / "joint-seed0"
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text("step\n0\n")
    assert train_once(RunConfig.from_dict(settings(trainer={"steps": 1})), folder) == folder
    assert (folder / "last.ckpt").is_file()


def test_a_result_of_other_settings_is_told_and_run_again_when_asked(
    benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, started = tmp_path / "out", pretended(monkeypatch)
    run_benchmark(benchmark, out, rows=["joint", "depth"], seeds=[0])
    stored = json.loads((out / "joint-seed0.json").read_text())["settings"]
    assert (stored["trainer.batch_size"], stored["seed"], stored["model.backbone"]) == (2, 0, "test_resnet")
    assert not {"out", "data.root", "trainer.threads"} & set(stored)
    benchmark.rows["joint"] = {"trainer.batch_size": 4, "model.alpha": 0.5}
    with pytest.raises(ConfigError) as caught:
        run_benchmark(benchmark, out, rows=["joint", "depth"], seeds=[0, 1])
    said = str(caught.value)
    assert said.startswith(str(out / "joint-seed0.json"))
    assert "trainer.batch_size was 2, is 4" in said
    assert "model.alpha was 1.0, is 0.5" in said
    assert "Pass --renew" in said
    assert len(started) == 2, "nothing may be trained before"
    run_benchmark(benchmark, out, rows=["joint", "depth"], seeds=[0], renew=True)
    assert started[2:] == [("joint", 0)], "what did not change is not run again"
    run_benchmark(benchmark, out, ["--trainer.threads", "3", "--trainer.log_every", "7"], rows=["joint", "depth"], seeds=[0])
    assert len(started) == 3, "settings of the machine change no number"


def test_a_result_of_an_earlier_version_is_held_against_what_it_says(
    benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, started = tmp_path / "out", pretended(monkeypatch)
    run_benchmark(benchmark, out, rows=["joint"], seeds=[0])
    result = out / "joint-seed0.json"
    stored = json.loads(result.read_text())
    config = {"name": "ci_net", "alpha": 1.0, "a_field_that_went": 3, "backbone_weights": None}
    result.write_text(json.dumps({**{key: stored[key] for key in ("metrics", "protocol")}, "model": {**stored["model"], "config": config}}))
    run_benchmark(benchmark, out, rows=["joint"], seeds=[0])
    benchmark.rows["joint"] = {"model.alpha": 2.0}
    with pytest.raises(ConfigError, match=r"model\.alpha was 1\.0, is 2\.0\. Pass --renew"):
        run_benchmark(benchmark, out, rows=["joint"], seeds=[0])
    result.write_text("{}")
    with pytest.raises(DataError, match=r"no result of a benchmark.*Remove it"):
        run_benchmark(benchmark, out, rows=["joint"], seeds=[0])
    assert len(started) == 1


def test_a_stopped_run_of_other_settings_is_not_gone_on_with(benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, started = tmp_path / "out", pretended(monkeypatch)
    folder = out / "runs" / "joint-seed0"
    folder.mkdir(parents=True)
    earlier = {**row_settings(benchmark, "joint"), "seed": 0}
    earlier["view"]["flip"] = 0.25
    (folder / "config.yaml").write_text(RunConfig.from_dict(earlier).to_yaml())
    (folder / "last.ckpt").write_text("")
    with pytest.raises(ConfigError, match=r"joint-seed0\.json: made with other settings: view\.flip was 0\.25, is 0\.5\. Pass --renew"):
        run_benchmark(benchmark, out, rows=["joint"], seeds=[0])
    assert (folder / "last.ckpt").exists()
    run_benchmark(benchmark, out, rows=["joint"], seeds=[0], renew=True, keep=True)
    assert started == [("joint", 0)]
    assert not (folder / "last.ckpt").exists()


def test_a_section_that_was_set_or_left_out_is_a_difference_and_a_new_key_is_none() -> None:
    then = {"model.alpha": 1.0, "model.gone": 2, "seed": 0}
    assert differences(then, {"model.alpha": 1.0, "model.new": 3, "seed": 0}) == ""
    assert differences(then, {"model.alpha": 1.0, "sparse.points": 500, "seed": 0}) == "sparse.points was None, is 500"
    assert differences({**then, "sparse.points": 500}, then) == "sparse.points was 500, is None"


def test_paths_of_the_machine_are_no_settings() -> None:
    one = decisive(
        {"data": {"root": "/a", "name": "x"}, "model": {"backbone_weights": "/a/net.pth"}, "out": "runs", "view": {"cache": True}}
    )
    assert one == {"data.name": "x", "model.backbone_weights": "net.pth"}


def test_of_streams_the_part_decides_and_the_place_does_not() -> None:
    def row(part: list[int], root: str, every: int) -> dict[str, Any]:
        stream = {"name": "folder", "root": root, "part": part}
        return decisive({"streams": {"labels": stream}, "trainer": {"samples_every": every, "steps": 5}})

    assert differences(row([0, 2], "/a", 10), row([0, 2], "/b", 0)) == ""
    assert differences(row([0, 2], "/a", 0), row([1, 2], "/a", 0)) == "streams.labels.part was [0, 2], is [1, 2]"
    one = row([0, 2], "/a", 0)
    assert differences(one, {key: value for key, value in one.items() if not key.endswith("part")}) == (
        "streams.labels.part was [0, 2], is None"
    )


@pytest.mark.parametrize("status", [0, 3])
def test_a_run_of_several_processes_is_a_command_of_its_own(
    status: int, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, commands = RunConfig.from_dict(settings(trainer={"devices": 2, "steps": 3})), []
    folder = tmp_path / "runs" / "joint-seed0"

    def run(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert os.environ[VARIABLE] == str(folder)
        commands.append(words[1:])
        if words[-2] == "--config":
            assert RunConfig.from_dict(yaml.safe_load(Path(words[-1]).read_text())) == config
        (folder / "last.ckpt").write_text("")
        return subprocess.CompletedProcess(words, status)

    monkeypatch.setattr(subprocess, "run", run)
    for words in (["--config", str(folder / "settings.yaml")], ["--resume", str(folder)]):
        if status:
            with pytest.raises(TrainingError, match=r"ended with status 3.*start the benchmark again"):
                train_once(config, folder)
        else:
            assert train_once(config, folder) == folder
        assert commands[-1] == ["-m", "diorama", "train", *words]
    assert VARIABLE not in os.environ


def test_one_real_row_from_training_to_table(benchmark: Benchmark, tmp_path: Path) -> None:
    out = run_benchmark(benchmark, tmp_path / "out", ["--trainer.steps", "2", "--data.frames", "4"], rows=["joint"], seeds=[7])
    stored = json.loads((out / "joint-seed7.json").read_text())
    assert stored["model"]["seed"] == 7
    assert stored["model"]["budget"].startswith("2 steps")
    assert (
        f"| joint | 1 | {stored['metrics']['miou']['value']:.4g} | {stored['metrics']['rmse']['value']:.4g} |"
        in (out / "table.md").read_text()
    )
    assert not (out / "runs" / "joint-seed7").exists()


@pytest.mark.parametrize(
    ("change", "flags", "rows", "said"),
    [
        ({}, [], ["join"], r"no row 'join'\. Rows: semantics, depth, joint"),
        ({"joint": {"model.sharng": "none"}}, [], [], "sharng.*did you mean 'sharing'"),
        ({"joint": {"trainer.batch_size": "many"}}, [], [], r"trainer\.batch_size"),
        ({}, ["--trainer.bach_size", "3"], [], "did you mean 'batch_size'"),
    ],
)
def test_a_typo_is_told_before_anything_is_trained(
    change: dict[str, Any],
    flags: list[str],
    rows: list[str],
    said: str,
    benchmark: Benchmark,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = pretended(monkeypatch)
    benchmark.rows.update(change)
    with pytest.raises(ConfigError, match=said):
        run_benchmark(benchmark, tmp_path / "out", flags, rows=rows)
    assert started == []
    assert not (tmp_path / "out").exists()


def test_a_row_changes_only_what_it_names(benchmark: Benchmark) -> None:
    benchmark.rows["joint"]["trainer.batch_size"] = 5
    settings, plain = row_settings(benchmark, "joint"), row_settings(benchmark, "depth")
    assert settings["trainer"]["batch_size"] == 5
    assert plain["trainer"]["batch_size"] == 2
    assert plain["model"]["tasks"] == "depth"
    assert {**settings["trainer"], "batch_size": 2} == plain["trainer"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("[1, 2", "cannot be read"),
        ("title: a\nbase: b\n", "keys title, base, rows"),
        ("title: a\nbase: b\nrows: {x: {}}\nsedes: [1]\n", "may have"),
        ("title: a\nbase: b\nrows: {x: {}}\nbaselines: [y]\n", r"baseline 'y' is no row\. Rows: x"),
    ],
)
def test_a_file_that_is_no_benchmark_is_told(text: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "bench.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        Benchmark.read(path)
    assert "\n" not in str(caught.value)


def test_a_file_is_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "bench.yaml"
    path.write_text(
        "title: T\nbase: ci_net/world_indoor\nseeds: [4]\nmetrics: [rmse]\nrows:\n  one: {seed: 3}\n  two:\n    model.sharing: lsu\n"
    )
    found = Benchmark.read(path)
    assert (found.title, found.seeds, found.metrics, found.baselines) == ("T", (4,), ("rmse",), ())
    assert found.rows == {"one": {"seed": 3}, "two": {"model.sharing": "lsu"}}
