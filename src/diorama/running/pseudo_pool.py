"""How the frames of `pseudo-label` are spread: in this process, over processes of this machine, or as a ray.data job."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Literal

import cv2

from diorama.errors import ConfigError, UserError
from diorama.running import pseudo_worker
from diorama.running.pseudo_worker import Job, Worker, labelled

Engine = Literal["processes", "ray"]
Task = tuple[str, int]
Done = tuple[Task, dict[str, Any] | None, str]
"""Split and number of a frame, its record (None: skipped), and why it was skipped."""

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_MOST_NAMED = 4


class WorkerDiedError(UserError):
    """A process was ended from outside; what it had finished is kept."""


def spread(engine: Engine, job: Job, tasks: Sequence[Task], workers: int) -> Iterator[Done]:
    """The frames of `tasks` in the order in which they are finished.

    Raises:
        ConfigError: no such engine, or ray is not installed.
        WorkerDiedError: a process was ended from outside.
        UserError: no frame can be labelled: a model, matcher or teacher cannot be loaded.
    """
    if engine not in ("processes", "ray"):
        raise ConfigError(f"no engine '{engine}'. Choose processes or ray.")
    if not tasks:
        return iter(())
    if engine == "ray":
        return _by_ray(job, tasks, workers)
    return _here(job, tasks) if workers <= 1 else _in_processes(job, tasks, workers)


def _here(job: Job, tasks: Sequence[Task]) -> Iterator[Done]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        worker = Worker(job)
        for task in tasks:
            yield task, *labelled(worker, *task)
    finally:
        cv2.setNumThreads(threads)


def _in_processes(job: Job, tasks: Sequence[Task], workers: int) -> Iterator[Done]:
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads of this process hold
    with one_thread():
        pool = ProcessPoolExecutor(workers, context, initializer=pseudo_worker.begin, initargs=(job,))
        pending: dict[Future[tuple[dict[str, Any] | None, str]], Task] = {}
        upcoming = iter(tasks)
        try:
            while True:
                while len(pending) < 2 * workers and (task := next(upcoming, None)) is not None:
                    pending[pool.submit(pseudo_worker.label, *task)] = task
                if not pending:
                    break
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    task = pending[future]
                    record, why = future.result()
                    del pending[future]
                    yield task, record, why
        except BrokenProcessPool as error:
            names = [job.datasets[split].ids[index] for split, index in pending.values()]
            more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
            raise WorkerDiedError(
                f"a process was ended from outside while {', '.join(names[:_MOST_NAMED])}{more} waited for it or were in work (most often "
                f"memory was short). Run the same command again: what is complete is kept; --workers {max(1, workers // 2)} needs less."
            ) from error
        except KeyboardInterrupt:
            raise KeyboardInterrupt("stopped by Ctrl-C. The same command goes on where this one stopped.") from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, processes that are started use one thread each for linear algebra."""
    before = {key: os.environ.get(key) for key in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


class RayWorker:
    """One actor of a ray.data job: a row (split, index) in, (record, why) out as JSON.

    Args:
        job: what to do; `out` and the data must be seen under the same paths by every node.
    """

    def __init__(self, job: Job) -> None:
        cv2.setNumThreads(1)
        self.worker = Worker(job)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with `record` and `why`."""
        record, why = labelled(self.worker, str(row["split"]), int(row["index"]))
        return {**row, "record": json.dumps(record), "why": why}


def _by_ray(job: Job, tasks: Sequence[Task], workers: int) -> Iterator[Done]:
    try:
        import ray.data
    except ImportError as error:
        raise ConfigError("--engine ray needs ray. Install it: pip install 'diorama[ray]', or leave --engine out.") from error
    rows = ray.data.from_items([{"split": split, "index": index} for split, index in tasks])
    there = dataclasses.replace(job, out=job.out.absolute())
    done = rows.map(RayWorker, fn_constructor_kwargs={"job": there}, concurrency=workers, num_cpus=1)
    for row in done.iter_rows():
        yield (row["split"], int(row["index"])), json.loads(row["record"]), row["why"]
