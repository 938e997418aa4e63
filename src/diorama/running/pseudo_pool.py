"""The frames of `pseudo-label` as tasks that are spread: over processes of this machine, or over the machines of a ray cluster."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from diorama.running import spread as spreading
from diorama.running.pseudo_worker import Job, begin
from diorama.running.spread import Engine, Share

Task = tuple[str, int]
Done = tuple[Task, dict[str, Any] | None, str]
"""Split and number of a frame, its record (None: skipped), and why it was skipped."""


def spread(engine: Engine, job: Job, tasks: Sequence[Task], workers: int | None) -> tuple[int, Iterator[Done]]:
    """How many processes there are, and the frames of `tasks` in the order in which they are finished.

    Args:
        engine: "processes" or "ray".
        job: what to do; under ray, `out` and the data must be seen under the same paths by every machine.
        tasks: split and number of frames.
        workers: processes; None: one for each core, under ray for each core of the cluster.

    Raises:
        ConfigError: no such engine, or ray is not installed or cannot be reached.
        WorkerDiedError: a process was ended from outside.
        UserError: no frame can be labelled: a model, matcher or teacher cannot be loaded.
    """
    spreading.check_engine(engine)
    if not tasks:
        return 1, iter(())
    count = min(len(tasks), spreading.crowd(engine, workers, Share()))
    there = dataclasses.replace(job, out=job.out.absolute()) if engine == "ray" else job
    done = spreading.spread(engine, partial(begin, there), tasks, count, Share(), lambda number: _name(job, tasks[number]))
    return count, ((tasks[number], record, why) for number, record, why in done)


def _name(job: Job, task: Task) -> str:
    split, index = task
    return str(job.datasets[split].ids[index])
