"""What the page and the server allow a stranger to ask of this machine: bytes, pixels, seconds, and how many at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass
from typing import TypeVar

from diorama.errors import ConfigError, DataError, UserError

Answer = TypeVar("Answer")

MIB = 1 << 20


class TooLargeError(DataError):
    """More bytes or pixels than are allowed."""


class FullError(UserError):
    """Every place is taken: try again later."""


class TooSlowError(UserError):
    """No answer within the allowed time."""


class ClosedError(UserError):
    """The server is about to stop."""


@dataclass(frozen=True)
class Limits:
    """What one request may cost, and how many may wait.

    Raises:
        ConfigError: a limit that would allow nothing.
    """

    megabytes: float = 20.0
    """Of a request's body, or of an uploaded file [MiB]."""
    megapixels: float = 16.0
    """Of a photo or depth map [million pixels]."""
    network_megapixels: float = 2.0
    """What a network looks at [million pixels]. Completions see depth at its own size, and need up to 1 kB for each of its pixels."""
    seconds: float = 60.0
    """Until the answer, waiting included."""
    queue: int = 8
    """How many may wait."""
    workers: int = 1
    """How many are predicted at once."""

    def __post_init__(self) -> None:
        for name in ("megabytes", "megapixels", "network_megapixels", "seconds"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} {getattr(self, name):g} would allow nothing. Choose a number above 0.")
        if self.workers < 1:
            raise ConfigError(f"workers {self.workers}: nobody would work. Choose 1 or more.")
        if self.queue < 0:
            raise ConfigError(f"queue {self.queue}. Choose 0 or more.")

    @property
    def bytes(self) -> int:
        """Of a request's body, or of an uploaded file."""
        return int(self.megabytes * MIB)

    @property
    def places(self) -> int:
        """How many may be inside, working or waiting."""
        return self.workers + self.queue

    def check_pixels(self, height: int, width: int, name: str) -> None:
        """Return if a picture of this size is small enough.

        Raises:
            TooLargeError: it is not.
        """
        if height * width > self.megapixels * 1e6:
            raise TooLargeError(
                f"{name}: {width}x{height} pixels, more than the {self.megapixels:g} million allowed here. Make it smaller first."
            )

    def check_work(self, height: int, width: int) -> None:
        """Return if a network may look at so many pixels.

        Raises:
            TooLargeError: it may not.
        """
        if height * width > self.network_megapixels * 1e6:
            raise TooLargeError(
                f"the network would look at {width}x{height} pixels, more than the {self.network_megapixels:g} million allowed here. "
                "Make the depth map, and its photo, smaller first."
            )


class Gate:
    """Lets so many work at once and so many wait; who waits too long leaves.

    A thread cannot be stopped from outside: what has begun keeps its place until it ends, so that the machine never does more than
    `limits.workers` things at once.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.closed = False
        self._inside = 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(limits.workers, thread_name_prefix="diorama-work")

    @property
    def inside(self) -> int:
        """How many work or wait."""
        return self._inside

    def check(self) -> None:
        """Return if there is a place.

        Raises:
            FullError: there is none.
            ClosedError: there will be none.
        """
        if self.closed:
            raise ClosedError("this server is about to stop. Ask another one, or this one in a minute.")
        if self._inside >= self.limits.places:
            raise FullError(f"{self._inside} others are at work or waiting, no more are let in. Try again in a few seconds.")

    def submit(self, work: Callable[[], Answer]) -> Future[Answer]:
        """The future answer of `work`; cancelling it gives the place back if it has not begun.

        Raises:
            FullError: there is no place.
            ClosedError: there will be none.
        """
        with self._lock:
            self.check()
            self._inside += 1
        future = self._pool.submit(work)
        future.add_done_callback(self._leave)
        return future

    def run(self, work: Callable[[], Answer]) -> Answer:
        """The answer of `work`.

        Raises:
            FullError: there is no place.
            TooSlowError: it takes longer than is allowed.
        """
        future = self.submit(work)
        try:
            return future.result(self.limits.seconds)
        except NotInTime as error:
            future.cancel()
            raise self.too_slow() from error

    def too_slow(self) -> TooSlowError:
        """What to tell who waited too long."""
        return TooSlowError(f"no answer within the {self.limits.seconds:g} s allowed here. Try again later, or with a smaller picture.")

    def close(self) -> None:
        """Let nobody in any more, and send home who waits."""
        self.closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _leave(self, _: Future[Answer]) -> None:
        with self._lock:
            self._inside -= 1
