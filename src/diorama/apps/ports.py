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
    if not 0 <= port <= 65535:
        raise ConfigError(f"port {port} cannot be had: ports are 0 to 65535. Choose another --port, or 0 for any free one.")
    if host not in LOCAL:
        log.warning("%s can be reached from other machines, and nobody is asked for a password.", host)
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=128)
    except OSError as error:
        raise ConfigError(f"{host}:{port} cannot be had ({error.strerror}). Choose another --port, or 0 for any free one.") from error
