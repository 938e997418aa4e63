"""Tests of runs: stop one at a step, go on with it, compare what two have left, read the one line with which one is refused."""

from __future__ import annotations

import csv
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from diorama.cli import main
from diorama.config import RunConfig
from diorama.running import train as loop


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


def differing(first: Path, second: Path, *left_out: str) -> list[str]:
    """Names of what the checkpoints of two runs do not have in common."""
    one, other = (flat(torch.load(run / "last.ckpt", weights_only=True)) for run in (first, second))
    assert one.keys() == other.keys()
    same = {key: torch.equal(one[key], other[key]) if torch.is_tensor(one[key]) else one[key] == other[key] for key in one}
    return [key for key, equal in same.items() if not equal and not key.startswith(left_out)]


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int, number: int = signal.SIGTERM) -> None:
    """The signal to stop arrives during step number `steps`."""
    asked: list[int] = []

    def agreed(fabric: object, flag: int) -> int:
        asked.append(flag)
        return number if len(asked) == steps else 0

    monkeypatch.setattr(loop, "agreed", agreed)


def go_on(run: Path) -> Path:
    """Resume a stopped run as it says itself."""
    return loop.train(RunConfig.from_dict(yaml.safe_load((run / "config.yaml").read_text())), resume=run)


def failure(settings: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str], status: int) -> str:
    """What `diorama train` says on stderr: one line, no traceback."""
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(settings))
    assert main(["train", "--config", str(path)]) == status
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("diorama: error: ")]
    assert len(said) == 1
    assert said[0].endswith(".")
    return said[0]
