"""Addresses of this machine to listen at."""

from __future__ import annotations

import logging
import socket

from diorama.errors import ConfigError

log = logging.getLogger("diorama")

LOCAL = ("127.0.0.1", "localhost", "::1")
"""Addresses that only this machine reaches."""


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens at this address; 0 takes any free port. Addresses that other machines reach are warned of.

    Raises:
        ConfigError: it cannot be had.
    """
    if host not in LOCAL:
        log.warning("%s can be reached from other machines, and nobody is asked for a password.", host)
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=128)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{host}:{port} cannot be had ({reason}). Choose another --port, or 0 for any free one.") from error
