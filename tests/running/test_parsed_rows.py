"""A benchmark with a parser: rows that make photos of label maps carry what it sees in them, whether they were finished before or not."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from diorama import catalog
from diorama.cli import main
from diorama.config import RunConfig
from diorama.errors import ConfigError, ModelError
from diorama.running import benchmark as benchmarks
from diorama.running import parsed_rows
from diorama.running.benchmark import Benchmark, run_benchmark
from diorama.running.evaluate_file import evaluate
from diorama.running.train import train
from diorama.running.translate import PARSED

STREETS: dict[str, Any] = {"name": "world_street", "frames": 4, "size": [32, 48], "stereo": False}
SHARED: dict[str, Any] = {
    "data": STREETS,
    "view": {"size": [32, 32], "cache": False},
    "trainer": {"batch_size": 2, "accelerator": "cpu", "threads": 1, "workers": 0, "steps": 1},
}
FCN = {"name": "fcn", "classes": 19, "backbone": "test_resnet", "pretrained": False, "epochs": 1}
GAN = {"name": "multitask_gan", "classes": 19, "width": 4, "semantic_blocks": 1, "depth_blocks": 1, "buffer": 2, "epochs": 1}


@pytest.fixture(scope="module")
def parser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run of a scene parser."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIORAMA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield train(RunConfig.from_dict({**SHARED, "model": FCN, "out": str(tmp_path_factory.mktemp("parser"))}))


@pytest.fixture
def benchmark(tmp_path: Path) -> Benchmark:
    """Two rows: one whose models make photos, one of a depth branch without semantics."""
    base = tmp_path / "base.yaml"
    base.write_text(yaml.safe_dump({**SHARED, "model": GAN, "sparse": {"points": 100}}))
    alone = {"model.branch": "depth", "model.semantic_input": False, "model.smooth_guide": "rgb"}
    return Benchmark(title="Small", base=str(base), rows={"GAN": {}, "depth": alone}, seeds=(0,), metrics=("miou", "rmse"))


def cells(out: Path) -> dict[str, dict[str, str]]:
    with (out / "runs.csv").open(newline="") as file:
        return {row["row"]: row for row in csv.DictReader(file)}


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Rows that are trained from now on, in order."""
    trained: list[str] = []
    original = benchmarks.train_once
    monkeypatch.setattr(benchmarks, "train_once", lambda config, folder: trained.append(folder.name) or original(config, folder))
    return trained


def test_rows_carry_what_the_parser_sees_as_evaluate_says_it(benchmark: Benchmark, parser: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """First finished without a parser and kept, then asked by one; what the parser has said is not asked again."""
    trained, out = counted(monkeypatch), tmp_path / "out"
    run_benchmark(benchmark, out, keep=True)
    assert not any("parser" in key for key in cells(out)["GAN"])
    run_benchmark(benchmark, out, parser=str(parser))
    assert trained == ["gan-seed0", "depth-seed0"]
    streets = catalog.dataset("world_street")(split="test", **{key: value for key, value in STREETS.items() if key != "name"})
    wanted = evaluate(out / "runs" / "gan-seed0", streets, "world_street", parser=parser, progress=False)
    found = cells(out)
    for name in PARSED:
        assert float(found["GAN"][name]) == pytest.approx(wanted[name.removeprefix("parser_")], rel=1e-5)
        assert found["depth"][name] == ""
    assert float(found["GAN"]["miou"]) != float(found["GAN"]["parser_miou"])
    assert found["GAN"]["parser"] == wanted.protocol.parsed_by
    assert found["depth"]["parser"] == ""
    table = (out / "table.md").read_text()
    assert "| row | seeds | miou | rmse | parser_pixel_accuracy | parser_class_accuracy | parser_miou |" in table
    assert f"parser_*: what {wanted.protocol.parsed_by} sees in photos" in table
    monkeypatch.setattr(parsed_rows, "evaluate", None)
    run_benchmark(benchmark, out, parser=str(parser))
    run_benchmark(benchmark, out)
    assert cells(out) == found
    assert len(trained) == 2
    # what another parser has said must not stand beside it
    result = out / "gan-seed0.json"
    stored = json.loads(result.read_text())
    result.write_text(json.dumps({**stored, "model": {**stored["model"], "parser": "other@00000000"}}))
    shutil.rmtree(out / "runs")
    with pytest.raises(ConfigError, match=r"gan-seed0\.json: judged by other@00000000, and its run was not kept\. Remove the file"):
        run_benchmark(benchmark, out, parser=str(parser))


def test_a_new_run_is_judged_before_it_is_removed(benchmark: Benchmark, parser: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    facts = {"title": "Small", "base": benchmark.base, "seeds": [0], "metrics": ["parser_miou", "miou"], "rows": {"GAN": {}}}
    path.write_text(yaml.safe_dump({**facts, "parser": str(parser)}))
    assert main(["benchmark", str(path), "--out", str(tmp_path / "out")]) == 0
    assert not list((tmp_path / "out" / "runs").iterdir())
    found = cells(tmp_path / "out")["GAN"]
    assert list(found)[2:6] == ["parser_miou", "miou", "parser_pixel_accuracy", "parser_class_accuracy"]
    assert all(0 <= float(found[name]) <= 1 for name in PARSED)


def test_a_result_whose_run_is_gone_keeps_an_empty_cell_and_is_told(
    benchmark: Benchmark, parser: Path, tmp_path: Path, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    trained, out = counted(monkeypatch), tmp_path / "out"
    run_benchmark(benchmark, out, rows=["GAN"])
    run_benchmark(benchmark, out, rows=["GAN"], parser=str(parser))
    assert trained == ["gan-seed0"]
    assert "parser_miou" not in cells(out)["GAN"]
    assert "gan-seed0.json: its run was not kept, so no parser can judge its photos. Remove the file to run it again" in caplog.text


@pytest.mark.parametrize(
    ("rows", "source", "kind", "said"),
    [
        (["GAN"], "fcn-nowhere", ModelError, r"fcn-nowhere"),
        (["depth"], "", ConfigError, r"no row makes photos of label maps for a parser to judge\. Leave out the parser"),
        (["GAN"], "ci_net-nyuv2", ModelError, r"the parser ci_net-nyuv2 has other classes than world_street"),
    ],
    ids=["no such parser", "nothing to judge", "other classes"],
)
def test_a_parser_that_does_not_fit_is_told_before_anything_is_trained(
    rows: list[str], source: str, kind: Any, said: str, benchmark: Benchmark, parser: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    trained = counted(monkeypatch)
    with pytest.raises(kind, match=said):
        run_benchmark(benchmark, tmp_path / "out", rows=rows, parser=source or str(parser))
    assert trained == []
    assert not (tmp_path / "out").exists()


def test_a_row_that_needs_a_trained_model_is_told_before_those_that_do_not(benchmark: Benchmark, tmp_path: Path, monkeypatch: Any) -> None:
    """As in Table II, whose first row alone can begin with nothing."""
    trained = counted(monkeypatch)
    benchmark.rows["semantic"] = {"model.branch": "depth"}
    with pytest.raises(ConfigError, match=r"Train model\.branch=semantic first and pass its run with --trainer\.start_from"):
        run_benchmark(benchmark, tmp_path / "out", rows=["depth", "semantic"])
    assert trained == []
