"""One process for one part of a folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diorama.errors import DataError

log = logging.getLogger("diorama")


@contextmanager
def alone(root: Path, name: str, what: str) -> Iterator[None]:
    """Inside, this process is the only one that does the part `name` of the folder; the system lets go of it when the process ends.

    A file system that keeps no locks keeps nobody out.

    Args:
        root: the folder, made if need be.
        name: of the part; a hidden file is called so meanwhile.
        what: is made, for the message.

    Raises:
        DataError: another process does it.
    """
    path = root / f".{name}.lock"
    while True:
        try:
            root.mkdir(parents=True, exist_ok=True)
            file = path.open("w")
        except OSError as error:
            raise DataError(f"{root}: cannot write there ({error.strerror}). Choose another --out.") from error
        with file:
            try:
                import fcntl
            except ImportError:  # Windows
                yield
                return
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DataError(f"{root}: another process is making {what}. Wait for it, or give each a --shard.") from error
            except OSError as error:
                log.debug("%s: no locks here (%s)", root, error.strerror)
            # who had it before may have removed the file meanwhile: a lock on what has no name keeps nobody out
            if not path.exists() or path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return
