"""What tests of runs read: the rows of metrics.csv, nested states as flat ones, the one line with which a run is refused."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import yaml

from diorama.cli import main


def rows(run: Path) -> list[dict[str, str]]:
    """metrics.csv without the speed, which no two runs share."""
    with (run / "metrics.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if key != "images_per_s"} for row in csv.DictReader(file)]


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested dictionaries and lists as one dictionary with dotted keys."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: leaf for part, item in items for key, leaf in flat(item, f"{name}.{part}").items()}
    return {name: value}


def failure(settings: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str], status: int) -> str:
    """What `diorama train` says on stderr: one line, no traceback."""
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(settings))
    assert main(["train", "--config", str(path)]) == status
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("diorama: error: ")]
    assert len(said) == 1
    assert said[0].endswith(".")
    return said[0]
