"""How work on many files is spread: in this process, over processes of this machine, or as a ray.data job over many machines.

Work is begun once in each process (a model is loaded there, say), then asked task after task. Tasks and answers are of JSON types:
paths travel, never images. No more tasks wait in a process than keep it busy. A task may be done twice, so what it writes has to come
into being under a temporary name and be renamed.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import cv2

from diorama.errors import ConfigError, UserError

log = logging.getLogger("diorama")

Engine = Literal["processes", "ray"]
Task = Sequence[str | int]
"""What one call of the work is given, JSON types."""
Work = Callable[..., tuple[Any, str]]
"""(answer of JSON types, ""), or (None, why there is none): what is wrong with one file does not stop the rest."""
Begin = Callable[[], Work]
"""Picklable. Raises a `UserError` if nothing can be done at all, which then ends the job."""
Done = tuple[int, Any, str]
"""Number of a task, its answer (None: there is none), and why there is none."""

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_MOST_NAMED = 4


class WorkerDiedError(UserError):
    """A process was ended from outside; what it had finished is kept."""


@dataclass(frozen=True)
class Share:
    """What each process has for itself."""

    threads: int = 1
    gpu: bool = False


def check_engine(engine: str) -> None:
    """Return if there is such an engine.

    Raises:
        ConfigError: there is none.
    """
    if engine not in ("processes", "ray"):
        raise ConfigError(f"no engine '{engine}'. Choose processes or ray.")


def check_shard(shard: tuple[int, int]) -> None:
    """Return if `shard` is the i-th of n parts.

    Raises:
        ConfigError: it is not.
    """
    if not 1 <= shard[0] <= shard[1]:
        raise ConfigError(f"shard {shard[0]}/{shard[1]}. Write i/n with i from 1 to n, e.g. 1/4, 2/4, 3/4 and 4/4 on four machines.")


def read_shard(text: str) -> tuple[int, int]:
    """`i/n` as two numbers.

    Raises:
        ConfigError: it is no such text.
    """
    first, slash, second = text.partition("/")
    if not (slash and first.isdecimal() and second.isdecimal()):
        raise ConfigError(f"--shard '{text}'. Write i/n with i from 1 to n, e.g. --shard 1/4.")
    return int(first), int(second)


def crowd(engine: Engine, workers: int | None, share: Share) -> int:
    """How many processes there will be: `workers`, else as many as this machine, or ray's cluster as it is now, has devices for.

    Raises:
        ConfigError: ray is not installed, cannot be reached, or has no GPU where one is asked for.
    """
    if engine == "ray":
        from diorama.running import ray_job

        room = ray_job.room(share)
    else:
        room = cores() // share.threads
    return workers or max(1, room)


def spread(
    engine: Engine,
    begin: Begin,
    tasks: Sequence[Task],
    workers: int,
    share: Share,
    named: Callable[[int], str],
    again: str = "Run the same command again",
) -> Iterator[Done]:
    """The tasks in the order in which they are finished, each once.

    Args:
        engine: "processes" or "ray".
        begin: what each process begins with.
        tasks: what there is to do; read as processes get free.
        workers: how many processes; a single one that is not ray's is this process.
        share: of each.
        named: number of a task -> what to call it where a process died.
        again: what to do after that.

    Raises:
        ConfigError: no such engine, or ray is not installed or cannot be reached.
        WorkerDiedError: a process was ended from outside; under ray its tasks are done by another.
        UserError: the work could not be begun.
    """
    check_engine(engine)
    if not tasks:
        return iter(())
    workers = min(workers, len(tasks))
    if engine == "ray":
        from diorama.running import ray_job

        return ray_job.spread(begin, tasks, workers, share, again)
    return _here(begin, tasks, share) if workers <= 1 else _in_processes(begin, tasks, workers, share, named, again)


def _here(begin: Begin, tasks: Sequence[Task], share: Share) -> Iterator[Done]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(share.threads)
    try:
        work = begin()
        for number, task in enumerate(tasks):
            yield number, *work(*task)
    finally:
        cv2.setNumThreads(threads)


def _in_processes(
    begin: Begin, tasks: Sequence[Task], workers: int, share: Share, named: Callable[[int], str], again: str
) -> Iterator[Done]:
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads of this process hold
    with few_threads(share.threads):
        pool = ProcessPoolExecutor(workers, context, initializer=_start, initargs=(begin, share))
        pending: dict[Future[tuple[Any, str, list[tuple[int, str]]]], int] = {}
        upcoming = iter(range(len(tasks)))
        try:
            while True:
                while len(pending) < 2 * workers and (number := next(upcoming, None)) is not None:
                    pending[pool.submit(_ask, tuple(tasks[number]))] = number
                if not pending:
                    break
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    number = pending[future]
                    answer, why, said = future.result()
                    del pending[future]
                    tell(said)
                    yield number, answer, why
        except BrokenProcessPool as error:
            names = [named(number) for number in pending.values()]
            more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
            raise WorkerDiedError(
                f"a process was ended from outside while {', '.join(names[:_MOST_NAMED])}{more} waited for it or were in work (most often "
                f"memory was short). {again}: what is complete is kept; --workers {max(1, workers // 2)} needs less."
            ) from error
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped by Ctrl-C. {again}: it goes on where this one stopped.") from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class Asked:
    """The work, begun in a process of its own; what is logged meanwhile comes back with the answers.

    Args:
        begin: see `Begin`. A `UserError` of it is raised when the first task is asked for: a process that fails to start breaks a pool
            without a word.
        share: of this process.
    """

    def __init__(self, begin: Begin, share: Share) -> None:
        cv2.setNumThreads(share.threads)
        self._work: Work | UserError
        try:
            self._work = begin()
        except UserError as error:
            self._work = error
        self._heard = _Ear()
        log.addHandler(self._heard)
        log.setLevel(logging.INFO)
        log.propagate = False

    def __call__(self, task: Task) -> tuple[Any, str, list[tuple[int, str]]]:
        """Answer, why there is none, and (level, text) of what was logged."""
        if isinstance(self._work, UserError):
            raise self._work
        self._heard.said = []
        answer, why = self._work(*task)
        return answer, why, self._heard.said


class _Ear(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append((record.levelno, record.getMessage()))


def tell(said: Sequence[Sequence[Any]]) -> None:
    """Log here what was logged there."""
    for level, text in said:
        log.log(level, "%s", text)


_asked: Asked | None = None


def _start(begin: Begin, share: Share) -> None:
    """Set this process up: few threads, no Ctrl-C of its own, gone when its parent is."""
    global _asked
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if (parent := multiprocessing.parent_process()) is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        # a parent that is killed outright closes nothing: its processes would wait for work for ever
        threading.Thread(target=follow, daemon=True).start()
    _asked = Asked(begin, share)


def _ask(task: Task) -> tuple[Any, str, list[tuple[int, str]]]:
    assert _asked is not None
    return _asked(task)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def few_threads(count: int) -> Iterator[None]:
    """Inside, processes that are started use `count` threads each for linear algebra."""
    before = {key: os.environ.get(key) for key in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, str(count)))
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value
