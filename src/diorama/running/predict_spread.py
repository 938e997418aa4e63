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
from diorama.prediction.sources import SourceImage
from diorama.running import spread as spreading
from diorama.running.predict_job import How, Job, begin
from diorama.running.spread import Done, Engine, Share

log = logging.getLogger("diorama")


@dataclass(frozen=True)
class Parts:
    """How the files are spread over processes."""

    engine: Engine
    workers: int | None
    share: Share
    model: Mapping[str, Any]
    """Arguments of `load` in each."""


def one_by_one(
    predictor: Predictor, job: Job, items: Sequence[SourceImage], ways: Mapping[Path, How], advance: Callable[[str], None]
) -> Iterator[Done]:
    """The files in this process, one after the other."""
    for number, item in enumerate(items):
        try:
            yield number, job.one(predictor, item, ways.get(item.path, "photo"), advance), ""
        except UserError as error:
            advance(item.path.name)
            yield number, None, str(error)


def in_many(
    parts: Parts, job: Job, items: Sequence[SourceImage], ways: Mapping[Path, How], advance: Callable[[str], None]
) -> Iterator[Done]:
    """The files in processes of their own, as they are finished."""
    if not items:
        return
    count = min(len(items), spreading.crowd(parts.engine, parts.workers, parts.share))
    log.info("%d files to predict on, %d at a time", len(items), count)
    there = replace(job, out=job.out.absolute(), second={key: Path(where).absolute() for key, where in job.second.items()})
    model = {**parts.model, "threads": parts.share.threads}
    tasks = _Tasks(items, ways)
    named = [item.path.name for item in items].__getitem__
    again = "Run the same command again with --resume"
    for number, answer, why in spreading.spread(parts.engine, partial(begin, there, model), tasks, count, parts.share, named, again):
        advance(items[number].path.name)
        yield number, answer, why


class _Tasks(Sequence[tuple[str, str, How]]):
    """Path, stem and way of each file, made when they are asked for: there may be a million."""

    def __init__(self, items: Sequence[SourceImage], ways: Mapping[Path, How]) -> None:
        self._items, self._ways = items, ways

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, number: Any) -> Any:
        item = self._items[number]
        return os.path.abspath(item.path), str(item.stem), self._ways.get(item.path, "photo")  # noqa: PTH100 (links stay links)


def check_parts(
    engine: Engine, workers: int | None, shard: tuple[int, int], out: str | Path | None, *, overwrite: bool, resume: bool
) -> None:
    """Return if the parts of the work go together.

    Raises:
        ConfigError: they do not.
    """
    spreading.check_engine(engine)
    spreading.check_shard(shard)
    if workers is not None and workers < 1:
        raise ConfigError(f"--workers {workers}. Choose 1 or more.")
    if overwrite and resume:
        raise ConfigError("both --overwrite, which makes all results again, and --resume, which keeps them. Give one of them.")
    for flag, given in (("--resume", resume), ("--shard", shard[1] > 1)):
        if given and out is None:
            raise ConfigError(f"{flag} without --out, so a new folder would be taken. Name the folder of the results.")


def check_many(model: str | Path | Predictor, engine: Engine, device: str, number: int | None) -> None:
    """Return if this goes in several processes.

    Raises:
        ConfigError: it does not.
    """
    flag = "--engine ray" if engine == "ray" else "--workers"
    if number is not None:
        raise ConfigError(f"a camera is on one machine, and only one process reads it. Leave out {flag}.")
    if isinstance(model, Predictor):
        raise ConfigError(f"a loaded model stays in this process. Give {flag} the name or the path of the model.")
    if engine == "processes" and device != "cpu":
        raise ConfigError(f"--workers is for the CPU: processes would share {device}. Use --engine ray, which gives each actor a GPU.")


def everywhere(model: str | Path | Predictor) -> Any:
    """A model's path from everywhere; names are left as they are."""
    if isinstance(model, Predictor) or str(model) in list_models() or not Path(model).exists():
        return model
    return Path(model).absolute()
