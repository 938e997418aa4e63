"""Machine side of a run: Fabric, seeds, threads, the sign to stop."""

from __future__ import annotations

import logging
import os
import random
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FrameType
from typing import Any, TypeVar, cast

import numpy as np
import torch
from lightning.fabric import Fabric
from lightning.fabric.loggers import Logger
from lightning.fabric.strategies import DDPStrategy

from diorama.errors import ConfigError, UserError
from diorama.training.run_folder import RunFolder
from diorama.training.settings import Trainer
from diorama.types import Sample

logger = logging.getLogger("diorama")

T = TypeVar("T")


def build_fabric(settings: Trainer, run: RunFolder | None = None) -> Fabric:
    """Fabric for these settings: DDP as soon as there is more than one process.

    `find_unused_parameters` is on because stages leave parts unused (the queries of stage 1, say).

    Raises:
        ConfigError: the accelerator is not there, or a logger's package is missing.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    processes = settings.devices * settings.nodes
    cpu = settings.accelerator == "cpu" or (settings.accelerator == "auto" and not torch.cuda.is_available())
    strategy = DDPStrategy(find_unused_parameters=True, process_group_backend="gloo" if cpu else None) if processes > 1 else "auto"
    try:
        fabric = Fabric(
            accelerator="cpu" if cpu else settings.accelerator,
            devices=settings.devices,
            num_nodes=settings.nodes,
            strategy=strategy,
            precision=settings.precision,
            loggers=build_loggers(settings, run) if run else None,
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"cannot start on '{settings.accelerator}' with {settings.devices} devices ({error}). See `diorama doctor`."
        ) from error
    fabric.strategy.precision.convert_input = _as_given
    return fabric


def _as_given(data: Any) -> Any:
    """In place of Fabric's casting of what a wrapped module is given: it rounds depth to bfloat16 and refuses frozen dataclasses.

    Autocast lowers what may be lowered, as where one process trains an unwrapped module.
    """
    return data


def in_precision(fabric: Fabric, batch: Mapping[str, Sample]) -> Mapping[str, Sample]:
    """`batch` in float64 where the run computes in it; as it is otherwise, since autocast lowers what may be lowered."""
    if fabric.strategy.precision.precision != "64-true":
        return batch
    return {name: cast("Sample", {key: _doubled(value) for key, value in sample.items()}) for name, sample in batch.items()}


def _doubled(value: Any) -> Any:
    return value.to(torch.float64) if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def build_loggers(settings: Trainer, run: RunFolder) -> list[Logger]:
    """The trackers asked for beside metrics.csv.

    Raises:
        ConfigError: an unknown name, or its package is not installed.
    """
    made: list[Logger] = []
    for name in settings.loggers:
        try:
            if name == "csv":
                continue
            if name == "tensorboard":
                from lightning.fabric.loggers import TensorBoardLogger

                made.append(TensorBoardLogger(run.path, name="", version="tensorboard"))
            elif name == "wandb":
                from lightning.pytorch.loggers import WandbLogger

                made.append(WandbLogger(name=run.path.name, save_dir=run.path))
            elif name == "mlflow":
                from lightning.pytorch.loggers import MLFlowLogger

                made.append(MLFlowLogger(run_name=run.path.name, save_dir=str(run.path / "mlruns")))
            else:
                raise ConfigError(f"unknown logger '{name}'. Known: csv, tensorboard, wandb, mlflow.")
        except ModuleNotFoundError as error:
            raise ConfigError(f"trainer.loggers has '{name}' but its package is missing ({error}). Install it or leave it out.") from error
    return made


def seed_step(seed: int, step: int, rank: int) -> None:
    """Set torch, random and numpy from (seed, step, rank): a step's randomness does not depend on the steps before it."""
    value = int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])
    torch.manual_seed(value)
    random.seed(value)
    np.random.seed(value)  # noqa: NPY002  third parties' transforms draw from it


class StopSign:
    """SIGTERM and the first Ctrl-C ask the loop to save and leave (Lightning alone would exit with 0); a second Ctrl-C stops at once.

    Use as a context; `number` is that of the signal that has come, 0 before. A signal that was ignored stays so: a job that was
    started in the background is not meant by the Ctrl-C of its terminal.
    """

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSign:
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) is not signal.SIG_IGN:
                with suppress(ValueError):  # not the main thread: whoever owns it decides
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            if handler is not None:
                signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.number = self.number or number
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if is_first():
                with suppress(RuntimeError):  # the step was just writing a line
                    logger.warning("stopping after this step, which is saved; Ctrl-C again stops at once, without it")


def agreed(fabric: Fabric, flag: int) -> int:
    """The largest `flag` of any process, so that all leave at the same step and for the same reason."""
    if fabric.world_size == 1:
        return int(flag)
    largest: Any = fabric.all_reduce(torch.tensor(float(flag)), reduce_op="max")
    return int(largest.item())


def gathered(fabric: Fabric, item: Any) -> list[Any]:
    """`item` of every process, on every process."""
    if fabric.world_size == 1:
        return [item]
    items: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(items, item)
    return items


def first_says(fabric: Fabric, work: Callable[[], T]) -> T:
    """What `work` returns on the first process, on every process; what it raises is raised on every process.

    Raises:
        UserError: the one of the first process.
    """
    outcome: Any = None
    if fabric.is_global_zero:
        try:
            outcome = work()
        except UserError as error:
            outcome = error
    outcome = fabric.broadcast(outcome)
    if isinstance(outcome, UserError):
        raise outcome
    return cast("T", outcome)


def is_first() -> bool:
    """Whether this is the first process of the run, also before all are started."""
    return all(int(os.environ.get(name, "0")) == 0 for name in ("LOCAL_RANK", "NODE_RANK", "RANK", "SLURM_PROCID"))
