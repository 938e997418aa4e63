"""The files of `diorama predict` spread over one process, several, or the machines of a ray cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from diorama.errors import ConfigError, UserError
from diorama.prediction.predictor import Predictor, list_models
from diorama.running import spread as spreading
from diorama.running.predict_job import Files, How, Job, begin
from diorama.running.spread import Done, Engine, Share

log = logging.getLogger("diorama")


@dataclass(frozen=True)
class Parts:
    """How the files of a run are divided among processes and machines.

    Args:
        engine: processes of this machine, or a `ray.data` job (extra `ray`), whose machines all see source and results under one path.
        workers: processes, or actors; None: this process alone, or an actor for each device of the cluster (with device "cuda" a GPU).
        shard: (i, n): every n-th file from the i-th on, i from 1: n machines that share a folder of results divide the work.
    """

    engine: Engine = "processes"
    workers: int | None = None
    shard: tuple[int, int] = (1, 1)

    @property
    def many(self) -> bool:
        """Whether there are processes other than this one."""
        return self.engine == "ray" or (self.workers or 1) > 1

    def check(self, out: str | Path | None, *, overwrite: bool, resume: bool) -> None:
        """Return if all of this goes together.

        Raises:
            ConfigError: it does not.
        """
        spreading.check_engine(self.engine)
        spreading.check_shard(self.shard)
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"--workers {self.workers}. Choose 1 or more.")
        if overwrite and resume:
            raise ConfigError("both --overwrite, which makes all results again, and --resume, which keeps them. Give one of them.")
        for flag, given in (("--resume", resume), ("--shard", self.shard[1] > 1)):
            if given and out is None:
                raise ConfigError(f"{flag} without --out, so a new folder would be taken. Name the folder of the results.")

    def check_many(self, model: str | Path | Predictor, device: str, number: int | None) -> None:
        """Return if this goes in several processes; `number` is that of a camera.

        Raises:
            ConfigError: it does not.
        """
        flag = "--engine ray" if self.engine == "ray" else "--workers"
        if number is not None:
            raise ConfigError(f"a camera is on one machine, and only one process reads it. Leave out {flag}.")
        if isinstance(model, Predictor):
            raise ConfigError(f"a loaded model stays in this process. Give {flag} the name or the path of the model.")
        if self.engine == "processes" and device != "cpu":
            raise ConfigError(f"--workers is for the CPU: processes would share {device}. Use --engine ray, which gives each actor a GPU.")


ALONE = Parts()


def one_by_one(predictor: Predictor, job: Job, files: Files, advance: Callable[[str], None]) -> Iterator[Done]:
    """The files in this process, one after the other."""
    for number, item in enumerate(files.items):
        try:
            yield number, job.one(predictor, item, files.how(item), advance), ""
        except UserError as error:
            advance(item.path.name)
            yield number, None, str(error)


def in_many(parts: Parts, model: Mapping[str, Any], job: Job, files: Files, advance: Callable[[str], None]) -> Iterator[Done]:
    """The files in processes of their own, as they are finished; `model` are arguments of `load`."""
    if not len(files):
        return
    share = Share(model["threads"] or 1, gpu=str(model["device"]).startswith("cuda"))
    count = min(len(files), spreading.crowd(parts.engine, parts.workers, share))
    log.info("%d files to predict on, %d at a time", len(files), count)
    there = replace(job, out=job.out.absolute(), second={key: Path(where).absolute() for key, where in job.second.items()})
    started = partial(begin, there, {**model, "threads": share.threads})
    tasks = _Tasks(files)
    again = "Run the same command again with --resume"
    for number, answer, why in spreading.spread(parts.engine, started, tasks, count, share, tasks.name, again):
        advance(tasks.name(number))
        yield number, answer, why


class _Tasks(Sequence[tuple[str, str, How]]):
    """Path, stem and way of each file, made when they are asked for: there may be a million."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, number: Any) -> Any:
        item = self._files.items[number]
        return os.path.abspath(item.path), str(item.stem), self._files.how(item)  # noqa: PTH100 (links stay links)

    def name(self, number: int) -> str:
        """What a file is called in messages."""
        return self._files.items[number].path.name


def everywhere(model: str | Path | Predictor) -> Any:
    """A model's path from everywhere; names are left as they are."""
    if isinstance(model, Predictor) or str(model) in list_models() or not Path(model).exists():
        return model
    return Path(model).absolute()
