"""Benchmarks judged on the held-out frames of each data set of their rows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from diorama.data.world.dataset import WorldStreet
from diorama.errors import ConfigError, ProtocolError
from diorama.evaluation.protocols import by_name
from diorama.running.benchmark import Benchmark, run_benchmark
from diorama.running.benchmark_tables import write_tables
from diorama.running.evaluate_file import evaluate

SETTINGS: dict[str, Any] = {
    "model": {
        "name": "semi_mtl", "classes": 19, "backbone": "test_resnet", "output_stride": 32, "pretrained": False, "width": 8,
        "depth_widths": [8, 6], "judge_width": 2, "depth_scale": 4.0, "alignment": "none",
    },
    "data": {"name": "world_street", "frames": 3, "size": [32, 48], "stereo": False},
    "streams": {"labelled": {"style": "harbour"}, "measured": {"style": "mill", "frames": 2}},
    "view": {"size": [32, 48]},
    "trainer": {"steps": 1, "batch_size": 2, "accelerator": "cpu", "threads": 1, "workers": 0},
}  # fmt: skip


def table(tmp_path: Path, domains: dict[str, str | None], **changes: Any) -> Benchmark:
    base = tmp_path / "base.yaml"
    base.write_text(yaml.safe_dump({**SETTINGS, **changes}))
    return Benchmark(
        title="Two cities",
        base=str(base),
        rows={"seg": {"model.tasks": "semantic"}, "dep": {"model.tasks": "depth"}, "both": {}},
        seeds=(0,),
        baselines=("seg", "dep"),
        domains=domains,
    )


def test_a_row_has_the_numbers_of_its_model_on_every_data_set(tmp_path: Path) -> None:
    out = run_benchmark(table(tmp_path, {"measured": None, "labelled": None}), tmp_path / "out", rows=["both"], keep=True)
    stored = json.loads((out / "both-seed0.json").read_text())
    for domain, style, frames in (("measured", "mill", 2), ("labelled", "harbour", 3)):
        test = WorldStreet(split="test", frames=frames, size=(32, 48), stereo=False, style=style)
        found = evaluate(out / "runs" / "both-seed0", test, "world_street", progress=False)
        for name in ("miou", "rmse"):
            assert stored["metrics"][f"{name}@{domain}"]["value"] == found[name]
        assert stored["domains"][domain]["name"] == "world_street"
        assert stored["domains"][domain]["frames"] == frames
    assert stored["metrics"]["rmse@measured"]["value"] != stored["metrics"]["rmse"]["value"]


def test_columns_and_gains_of_each_data_set_are_those_worked_out_by_hand(tmp_path: Path) -> None:
    benchmark = table(tmp_path, {"a": None, "b": None})
    planted = {
        "seg": {"miou": 0.2, "miou@a": 0.5, "miou@b": 0.1},
        "dep": {"rmse": 5.0, "rmse@a": 8.0, "rmse@b": 4.0},
        "both": {"miou": 0.2, "rmse": 4.0, "miou@a": 0.6, "rmse@a": 6.0, "miou@b": 0.1, "rmse@b": 5.0},
    }
    planted_runs(tmp_path / "out", planted)
    write_tables(benchmark, tmp_path / "out")
    lines = (tmp_path / "out" / "table.md").read_text().splitlines()
    assert lines[2] == (
        "| row | seeds | miou | rmse | miou@a | rmse@a | miou@b | rmse@b | Delta M@a | Delta M@b | Delta M |"
    )  # fmt: skip
    both = [cell.strip() for cell in lines[-1 - next(i for i, line in enumerate(reversed(lines)) if line.startswith("| both"))].split("|")]
    assert both[3:9] == ["0.2", "4", "0.6", "6", "0.1", "5"]
    assert both[9].startswith("+22.5 %")  # (0.1 / 0.5 + 2 / 8) / 2
    assert both[10].startswith("-12.5 %")  # (0 - 1 / 4) / 2
    assert both[11].startswith("+10.0 %")  # (0 + 1 / 5) / 2
    assert sum(line.startswith(("@a: ", "@b: ")) for line in lines) == 2


def test_a_gain_over_tasks_that_no_data_set_has_both_of(tmp_path: Path) -> None:
    benchmark = dataclasses.replace(table(tmp_path, {"a": None, "b": None}), gains=("miou@a", "rmse@b"))
    planted_runs(tmp_path / "out", {"seg": {"miou@a": 0.5}, "dep": {"rmse@b": 4.0}, "both": {"miou@a": 0.6, "rmse@b": 3.8}})
    file = tmp_path / "out" / "dep-seed0.json"  # its main numbers are of other data than those of the other rows
    file.write_text(json.dumps({**json.loads(file.read_text()), "protocol": by_name("world_indoor").to_dict()}))
    write_tables(benchmark, tmp_path / "out")
    (head, *_, both) = [line for line in (tmp_path / "out" / "table.md").read_text().splitlines() if line.startswith("| ")]
    assert head.endswith("| rmse@b | Delta M |")  # a data set without one of the tasks has no column of its own
    assert both.split("|")[-2].strip().startswith("+12.5 %")  # (0.1 / 0.5 + 0.2 / 4) / 2


def test_runs_judged_by_two_protocols_on_a_data_set_make_no_table(tmp_path: Path) -> None:
    out = tmp_path / "out"
    planted_runs(out, {"seg": {"miou@a": 0.5}, "both": {"miou@a": 0.6}})
    file = out / "both-seed0.json"
    stored = json.loads(file.read_text())
    stored["domains"]["a"] = by_name("world_indoor").to_dict()
    file.write_text(json.dumps(stored))
    with pytest.raises(ProtocolError):
        write_tables(table(tmp_path, {"a": None}), out)


def planted_runs(out: Path, values: dict[str, dict[str, float]]) -> None:
    out.mkdir(exist_ok=True)
    protocol = by_name("world_street").to_dict()
    for row, numbers in values.items():
        metrics = {
            name: {"value": value, "unit": "1", "better": "higher" if "miou" in name else "lower"} for name, value in numbers.items()
        }
        model = {"seed": 0, "backbone": "x", "data": "world_street", "budget": "1 step"}
        result = {"metrics": metrics, "protocol": protocol, "model": model, "domains": {"a": protocol, "b": protocol}}
        (out / f"{row}-seed0.json").write_text(json.dumps(result))


@pytest.mark.parametrize(
    ("domains", "changes", "message"),
    [
        ({"measure": None}, {}, "domain 'measure' is no stream: did you mean 'measured'"),
        ({"measured": "world_indoor"}, {}, "world_indoor"),
        ({"labelled": None}, {"streams": {}}, "no section `streams`"),
    ],
)  # fmt: skip
def test_a_data_set_that_rows_cannot_be_judged_on_is_told_first(
    domains: dict[str, str | None], changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises((ConfigError, ProtocolError), match=message):
        run_benchmark(table(tmp_path, domains, **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_results_without_the_numbers_of_a_data_set_are_out_of_date(tmp_path: Path) -> None:
    run_benchmark(table(tmp_path, {}), tmp_path / "out", rows=["seg"])
    with pytest.raises(ConfigError, match="not judged on 'measured'"):
        run_benchmark(table(tmp_path, {"measured": None}), tmp_path / "out", rows=["seg"])
