"""Keeps the HTTP server up: takes a port of this machine, and lets what has begun end when it is told to stop."""

from __future__ import annotations

import logging
import math

import uvicorn

from diorama.apps.limits import Limits
from diorama.apps.ports import listening
from diorama.apps.server import create_app
from diorama.prediction.predictor import Predictor

log = logging.getLogger("diorama")

_UNREAD = 32
"""Connections beyond those with a place: their bodies may lie in memory, each up to `Limits.bytes`."""


def serve(predictor: Predictor, limits: Limits | None = None, *, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Answer until SIGINT or SIGTERM; what has begun is finished first.

    Args:
        predictor: the model.
        limits: what a request may ask for.
        host: address to listen at; others than those of this machine alone are warned of: there is no password.
        port: 0 takes any free one.

    Raises:
        ConfigError: the address or port cannot be had, or the model sees no scenes.
    """
    limits = Limits() if limits is None else limits
    app = create_app(predictor, limits)
    settings = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=limits.places + _UNREAD,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=math.ceil(limits.seconds),
    )
    with listening(host, port) as place:
        log.info("%s answers at http://%s:%d/predict (Ctrl-C stops it)", predictor.name, host, place.getsockname()[1])
        uvicorn.Server(settings).run(sockets=[place])
