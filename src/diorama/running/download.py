"""One photo or video from an address that a user typed: limited in size and time, and never led into the local network."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urljoin, urlsplit

from diorama.errors import DataError, one_line
from diorama.prediction.sources import IMAGE_SUFFIXES, VIDEO_SUFFIXES

LIMITS = {"image": (100_000_000, 60.0), "video": (2_000_000_000, 1800.0)}
"""Kind of content -> most bytes, most seconds."""

_SUFFIXES = {
    "image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "image/bmp": ".bmp", "image/tiff": ".tif",
    "image/x-portable-pixmap": ".ppm", "image/gif": ".gif", "video/mp4": ".mp4", "video/quicktime": ".mov", "video/webm": ".webm",
    "video/x-msvideo": ".avi", "video/avi": ".avi", "video/x-matroska": ".mkv", "video/x-m4v": ".m4v",
}  # fmt: skip
_MOVED = {301, 302, 303, 307, 308}
_HOPS = 5
_SECONDS_PER_READ = 15.0
_SECONDS_TO_ANSWER = 30.0
_CHUNK = 2**16
_HEADERS = {"User-Agent": "diorama", "Accept": "image/*, video/*", "Accept-Encoding": "identity"}
_UNNAMED = ("application/octet-stream", "binary/octet-stream")
_HAND = "Download it with a browser and give its path."


@contextmanager
def downloaded(address: str) -> Iterator[Path]:
    """The file at `address` in a folder that vanishes with the block.

    Redirects are followed five times, to hosts of the public net alone and never from https to http; proxies are not asked.

    Raises:
        DataError: no http(s) address, no answer, another kind of content, too large or too slow, or led to a local address.
    """
    with tempfile.TemporaryDirectory(prefix="diorama-") as folder:
        yield _fetched(address, Path(folder))


def _fetched(address: str, folder: Path) -> Path:
    at = address
    for hop in range(_HOPS + 1):
        with ExitStack() as stack:
            connection, target = _connected(at, address, led=hop > 0)
            stack.callback(connection.close)
            try:
                connection.request("GET", target, headers=_HEADERS)
                with _at_most(connection, _SECONDS_TO_ANSWER):
                    answer = stack.enter_context(connection.getresponse())
                if answer.status not in _MOVED or not (further := answer.getheader("Location")):
                    return _stored(answer, address, at, folder)
                following = urljoin(at, further)
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise DataError(f"{address}: no answer that can be read ({one_line(error)}). Check the address. {_HAND}") from error
        if urlsplit(at).scheme == "https" and urlsplit(following).scheme != "https":
            raise DataError(f"{address}: leads from https to {urlsplit(following).scheme}. {_HAND}")
        at = following
    raise DataError(f"{address}: leads on more than {_HOPS} times. {_HAND}")


def _connected(at: str, address: str, *, led: bool) -> tuple[http.client.HTTPConnection, str]:
    """A connection to the host of `at`, to the very number that was looked at, and what to ask it for."""
    try:
        parts = urlsplit(at)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise DataError(f"{address}: not an address ({one_line(error)}). Give http(s)://host/path.") from error
    if parts.scheme not in ("http", "https") or not host:
        raise DataError(f"{address}: {'leads to' if led else 'is'} no http(s) address. {_HAND}")
    if parts.username is not None:
        raise DataError(f"{address.replace(parts.netloc, host)}: holds a name or password, which are not sent. {_HAND}")
    port = port or (443 if parts.scheme == "https" else 80)
    try:
        numbers = list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
    except (OSError, UnicodeError) as error:
        raise DataError(f"{address}: the host {host} is not known ({one_line(error)}). Check the address and the connection.") from error
    if led and not all(_public(number) for number in numbers):
        raise DataError(f"{address}: leads to {host}, which is no public host. {_HAND}")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not target.isascii() or any(sign.isspace() for sign in target):
        raise DataError(f"{address}: holds spaces or signs that an address cannot have. Copy it from the browser's address line.")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(host, port, timeout=_SECONDS_PER_READ)
    plain = None
    try:
        plain = _socket(numbers, port)
        # the name may stand for another number by now: it is only what the certificate is held against
        connection.sock = plain if parts.scheme == "http" else ssl.create_default_context().wrap_socket(plain, server_hostname=host)
    except OSError as error:
        if plain is not None:
            plain.close()
        raise DataError(f"{address}: {host} does not answer ({one_line(error)}). Check the address and the connection.") from error
    return connection, target


def _socket(numbers: list[str], port: int) -> socket.socket:
    """A connection to the first of a host's numbers that answers."""
    for number in numbers[:-1]:
        with suppress(OSError):
            return socket.create_connection((number, port), _SECONDS_PER_READ)
    return socket.create_connection((numbers[-1], port), _SECONDS_PER_READ)


@contextmanager
def _at_most(connection: http.client.HTTPConnection, seconds: float) -> Iterator[None]:
    """End a connection that sends its headers letter by letter."""
    plain = connection.sock

    def end() -> None:
        with suppress(OSError):
            plain.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _public(number: str) -> bool:
    found = ipaddress.ip_address(number.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None) or getattr(found, "sixtofour", None)
    return found.is_global and not found.is_multicast and (mapped is None or mapped.is_global)


def _stored(answer: http.client.HTTPResponse, address: str, at: str, folder: Path) -> Path:
    """The content in a file that is called as in the address, with the suffix of its type."""
    if answer.status != 200:
        raise DataError(f"{address}: the host answers {answer.status} {one_line(Exception(answer.reason))}. Check the address.")
    kind = answer.getheader("Content-Type", "").partition(";")[0].strip().lower()
    path = PurePosixPath(unquote(urlsplit(at).path))
    suffix = _SUFFIXES.get(kind)
    if kind in _UNNAMED and path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
        suffix = path.suffix.lower()
    if suffix is None or answer.getheader("Content-Encoding", "identity") != "identity":
        raise DataError(f"{address}: holds {kind or 'something unnamed'}, no photo and no video. Give the address of the picture itself.")
    most, seconds = LIMITS["video" if suffix in VIDEO_SUFFIXES else "image"]
    said = answer.getheader("Content-Length", "")
    if said.isdigit() and int(said) > most:
        raise DataError(f"{address}: {int(said) // 10**6} MB, above the limit of {most // 10**6} MB. {_HAND}")
    stem = "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in path.stem).lstrip(".")[:80] or "download"
    target = folder / f"{stem}{suffix}"
    deadline, size = time.monotonic() + seconds, 0
    with target.open("wb") as file:
        while part := answer.read1(_CHUNK):
            size += len(part)
            if size > most:
                raise DataError(f"{address}: above the limit of {most // 10**6} MB. {_HAND}")
            if time.monotonic() > deadline:
                raise DataError(f"{address}: took more than {seconds:.0f} s. {_HAND}")
            file.write(part)
    if said.isdigit() and size < int(said):
        raise DataError(f"{address}: ends after {size} of {said} bytes. Try again. {_HAND}")
    return target
