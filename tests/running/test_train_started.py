"""Processes that torchrun or SLURM has started: as many as the run has, or none trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diorama.config import RunConfig
from diorama.errors import ConfigError
from diorama.running.train import train

Settings = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("who", "variables"),
    [
        ("torchrun", {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}),
        ("srun", {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1"}),
    ],
)
def test_processes_that_would_each_train_alone_are_refused(
    who: str, variables: dict[str, str], settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"{who} started 2 processes, trainer.devices 1 x trainer.nodes 1 are 1. Set trainer.devices"):
        train(RunConfig.from_dict(settings()))
    assert not (tmp_path / "runs").exists()


def test_a_process_alone_trains_in_a_job_of_several(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script of sbatch has the variables of the job, but only srun starts its tasks."""
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")
    assert (train(RunConfig.from_dict(settings(trainer={"steps": 1}))) / "model.safetensors").is_file()
