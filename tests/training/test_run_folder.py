"""Run folders: numbered, never overwritten, announced to child processes; metrics.csv keeps what was before a resume."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from diorama.errors import ConfigError
from diorama.training.run_folder import VARIABLE, MetricsFile, RunFolder


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def rows(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_folders_are_numbered_and_existing_ones_left_alone(tmp_path: Path) -> None:
    (tmp_path / "runs" / "a-b-1").mkdir(parents=True)
    (tmp_path / "runs" / "a-b-1" / "mine").write_text("kept")
    assert RunFolder.create(tmp_path / "runs", "a-b").path == tmp_path / "runs" / "a-b-2"
    assert RunFolder.create(tmp_path / "runs", "a-b").path == tmp_path / "runs" / "a-b-3"
    assert (tmp_path / "runs" / "a-b-1" / "mine").read_text() == "kept"


def test_an_announced_folder_is_taken_and_forgotten_afterwards(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "a")
    with run.announced():
        assert os.environ[VARIABLE] == str(run.path)
        assert RunFolder.create(tmp_path, "a").path == run.path
        with RunFolder(tmp_path / "inner").announced():
            assert os.environ[VARIABLE].endswith("inner")
        assert os.environ[VARIABLE] == str(run.path)
    assert VARIABLE not in os.environ


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot create a run folder.*--out"):
        RunFolder.create(tmp_path / "file", "a")


def test_config_and_versions_are_readable_text(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.write_config({"model": {"name": "ci_net", "rates": [1e-3, 2.0]}, "seed": 3})
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == {"model": {"name": "ci_net", "rates": [1e-3, 2.0]}, "seed": 3}
    said = (tmp_path / "environment.txt").read_text()
    assert said.startswith("python 3.")
    assert "\ntorch " in said


def test_a_resume_keeps_the_rows_before_its_step(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    first = MetricsFile(path)
    for step in range(5):
        first.append({"step": step, "loss": 1.0 / (step + 1)})
    resumed = MetricsFile(path, step=3)
    resumed.append({"step": 3, "loss": 9.0})
    assert [(row["step"], row["loss"]) for row in rows(path)] == [("0", "1"), ("1", "0.5"), ("2", "0.333333"), ("3", "9")]


def test_a_new_column_appears_for_earlier_rows_as_empty(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    file = MetricsFile(path)
    file.append({"step": 0, "loss": 1.0})
    file.append({"step": 1, "loss": 2.0, "attention": 0.5})
    file.append({"step": 2, "loss": 3.0})
    assert rows(path) == [
        {"step": "0", "loss": "1", "attention": ""},
        {"step": "1", "loss": "2", "attention": "0.5"},
        {"step": "2", "loss": "3", "attention": ""},
    ]
    assert not list(tmp_path.glob("*.tmp"))


def test_discard_leaves_nothing(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "a")
    run.write_config({})
    run.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_changed_config_keeps_the_one_before(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.write_config({"seed": 1})
    assert not run.change_config({"seed": 1}, 30)
    assert run.change_config({"seed": 2}, 40)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == {"seed": 2}
    assert yaml.safe_load((tmp_path / "config-until-40.yaml").read_text()) == {"seed": 1}
    assert not (tmp_path / "config-until-30.yaml").exists()
