"""Work spread as a ray.data job: one actor per device, blocks of paths in, answers out.

ray.data holds back what actors are not ready for, and starts an actor again that died. A block of paths whose actor died `RETRIES` times
more is asked path by path, so that a file that kills whoever reads it costs no other.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diorama.errors import ConfigError, UserError, one_line

if TYPE_CHECKING:
    from diorama.running.spread import Begin, Done, Share, Task

log = logging.getLogger("diorama")

RETRIES = 3
"""How often the tasks of an actor that died are given out again."""
LARGEST_BLOCK = 32
"""Tasks that travel together; what an actor has done of them when it dies is done again."""

_HOST_AND_PORT = re.compile(r"([^:/\s]+):(\d{1,5})")
_ours = False


def room(share: Share) -> int:
    """How many actors the cluster, as it is now, has devices for.

    Raises:
        ConfigError: ray is not installed or cannot be reached, or has no core, or no GPU where one is asked for.
    """
    there = _connected().cluster_resources()
    if share.gpu:
        if there.get("GPU", 0) < 1:
            raise ConfigError("ray sees no GPU. Start it where there is one (`ray start --num-gpus N`), or pass --device cpu.")
        return int(there["GPU"])
    if there.get("GPU", 0) >= 1:
        log.info("ray sees %d GPUs, which --device cuda would use, one per actor", int(there["GPU"]))
    if there.get("CPU", 0) < share.threads:
        raise ConfigError(f"ray's cluster has {there.get('CPU', 0):g} cores, {share.threads} per actor are asked for. Start workers first.")
    return int(there["CPU"]) // share.threads


class RayWorker:
    """One actor: a row with a number and a task in, a row with that number and the answer out.

    Args:
        begin: what it begins with.
        share: what it has for itself.
        folder: the folder that the job was begun in, which relative paths are relative to.
    """

    def __init__(self, begin: Begin, share: Share, folder: str) -> None:
        from diorama.running.spread import Asked

        with suppress(OSError):  # a machine without it sees the absolute paths all the same
            os.chdir(folder)
        self.asked = Asked(begin, share)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """`answer` is JSON of [answer, why there is none, what was logged], or of the text of an error that ends the job."""
        try:
            answer: Any = self.asked(json.loads(row["task"]))
        except UserError as error:
            answer = str(error)
        return {"number": row["number"], "answer": json.dumps(answer)}


def spread(begin: Begin, tasks: Sequence[Task], workers: int, share: Share, again: str) -> Iterator[Done]:
    """As `spread.spread`."""
    global _ours
    ray = _connected()
    from diorama.running.spread import tell

    answered = bytearray(len(tasks))
    try:
        with _quietly(ray):
            for largest in (max(1, min(LARGEST_BLOCK, len(tasks) // (8 * workers))), 1):
                left = [number for number, done in enumerate(answered) if not done]
                if not left:
                    break
                for row in _rows(ray, begin, tasks, left, largest, workers, share):
                    number, answer = int(row["number"]), json.loads(row["answer"])
                    if isinstance(answer, str):
                        raise UserError(answer)
                    if not answered[number]:
                        answered[number] = 1
                        tell(answer[2])
                        yield number, answer[0], answer[1]
        for number, done in enumerate(answered):
            if not done:
                yield number, None, f"whoever worked on it died {RETRIES + 1} times. Look at ray's logs; most often memory was short."
    except ray.exceptions.RayError as error:
        raise UserError(f"ray's job broke off ({one_line(error)}). {again}: what is complete is kept.") from error
    finally:
        if _ours:
            _ours = False
            ray.shutdown()


def _rows(
    ray: Any, begin: Begin, tasks: Sequence[Task], left: Sequence[int], largest: int, workers: int, share: Share
) -> Iterator[dict[str, Any]]:
    import pyarrow as pa  # ray's own

    blocks = [
        pa.table({"number": numbers, "task": [json.dumps(list(tasks[number])) for number in numbers]})
        for numbers in (left[at : at + largest] for at in range(0, len(left), largest))
    ]
    with warnings.catch_warnings():  # the last two words lose their place in 2.64
        warnings.simplefilter("ignore")
        done = ray.data.from_arrow(blocks).map(
            RayWorker,
            fn_constructor_kwargs={"begin": begin, "share": share, "folder": str(Path.cwd())},
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(blocks))),
            num_cpus=share.threads,
            num_gpus=1 if share.gpu else None,
            max_restarts=-1,
            max_task_retries=RETRIES,
        )
    found: Iterator[dict[str, Any]] = done.iter_rows()
    return found


def _connected() -> Any:
    """ray, connected to the cluster of RAY_ADDRESS or of this machine; one of its own is started where there is none."""
    global _ours
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError("--engine ray needs ray. Install it: pip install 'diorama[ray]', or leave --engine out.") from error
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster of our own tells nobody of itself
        where = os.environ.get("RAY_ADDRESS", "")
        try:
            if matched := _HOST_AND_PORT.fullmatch(where):  # ray itself tries for minutes
                socket.create_connection((matched[1], int(matched[2])), timeout=10).close()
            ray.init(include_dashboard=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:
            raise ConfigError(
                f"no ray cluster at {where or 'this machine'} ({one_line(error)}). Check RAY_ADDRESS and `ray status`; "
                "RAY_ADDRESS=local starts one here."
            ) from error
        _ours = True
    return ray


@contextmanager
def _quietly(ray: Any) -> Iterator[None]:
    """Inside, ray.data goes on after a block that failed, and neither bars nor tracebacks of its own are shown."""
    context, logger = ray.data.DataContext.get_current(), logging.getLogger("ray.data")
    wanted = {"max_errored_blocks": -1, "enable_progress_bars": False, "print_on_execution_start": False}
    before, level = {name: getattr(context, name) for name in wanted if hasattr(context, name)}, logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        for name in before:
            setattr(context, name, wanted[name])
        yield
    finally:
        logger.setLevel(level)
        for name, value in before.items():
            setattr(context, name, value)
