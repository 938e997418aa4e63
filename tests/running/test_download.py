"""Addresses on the command line: what a server on this machine answers, and what is refused of it."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diorama.cli import main
from diorama.errors import DataError
from diorama.prediction.predictor import list_models
from diorama.running import download
from diorama.running.download import downloaded


def photo() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


PHOTO = photo()


class Answers(BaseHTTPRequestHandler):
    """Right and wrong answers by path."""

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/to/"):
            return self._answer(302, b"", Location=path.removeprefix("/to/").replace("%3A", ":"))
        if path == "/endless.png":
            self._answer(200, None, Content_Type="image/png")
            while True:
                try:
                    self.wfile.write(bytes(10_000))
                except OSError:
                    return None
        if path == "/slow.png":
            self._answer(200, None, Content_Type="image/png")
            for _ in range(20):
                try:
                    self.wfile.write(b"x")
                except OSError:
                    return None
                time.sleep(0.05)
            return None
        kinds = {
            "/room.png": ("image/png", PHOTO), "/no suffix": ("image/png; charset=x", PHOTO),
            "/plain.png": ("application/octet-stream", PHOTO), "/unnamed": ("application/octet-stream", PHOTO),
            "/page.png": ("text/html", b"<html>"), "/vector.svg": ("image/svg+xml", b"<svg/>"),
            "/..%2f..%2fetc%2fpasswd.png": ("image/png", PHOTO),
        }  # fmt: skip
        if path == "/cut.png":
            return self._answer(200, PHOTO[:100], Content_Type="image/png", Content_Length=str(len(PHOTO)))
        if path == "/large.png":
            return self._answer(200, b"", Content_Type="image/png", Content_Length="100000001")
        if path == "/packed.png":
            return self._answer(200, PHOTO, Content_Type="image/png", Content_Encoding="gzip")
        kind, body = kinds.get(path.replace("%20", " "), ("", b""))
        return self._answer(200 if kind else 404, body, Content_Type=kind)

    def _answer(self, status: int, body: bytes | None, **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body or b"")


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/room.png", "room.png"),
        ("/room.png?size=2#part", "room.png"),
        ("/no%20suffix", "no_suffix.png"),
        ("/plain.png", "plain.png"),
        ("/..%2f..%2fetc%2fpasswd.png", "passwd.png"),
    ],
)
def test_a_photo_arrives_whole_and_vanishes_after_use(host: str, path: str, name: str) -> None:
    with downloaded(host + path) as found:
        assert (found.name, found.read_bytes()) == (name, PHOTO)
    assert not found.parent.exists()


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/nothing.png", "answers 404"),
        ("/page.png", "holds text/html, no photo"),
        ("/vector.svg", "holds image/svg"),
        ("/unnamed", "octet-stream, no photo"),
        ("/packed.png", "no photo and no video"),
        ("/large.png", "100 MB, above the limit"),
        ("/cut.png", "ends after 100 of"),
        ("/to/ftp%3A//example.org/a.png", "leads to no http"),
        ("/a b.png", "spaces or signs"),
    ],
)
def test_what_is_no_photo_is_refused(host: str, path: str, says: str) -> None:
    with pytest.raises(DataError, match=says) as error, downloaded(host + path):
        pass
    assert "\n" not in str(error.value)


def test_no_redirect_leads_into_the_local_network(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for inner in (f"{host}/room.png", "http://localhost/a.png", "http://169.254.169.254/latest", "http://[::1]/a.png", "http://10.0.0.1/", "http://0.0.0.0/",
                  "http://[::ffff:127.0.0.1]/a.png", "http://2130706433/a.png"):  # fmt: skip
        with pytest.raises(DataError, match="which is no public host"), downloaded(f"{host}/to/{inner}"):
            pass
    # a name that stands for a public and a local number
    real = socket.getaddrinfo

    def two(name: str, *rest: object, **named: object) -> list[object]:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, 80)) for number in ("93.184.216.34", "127.0.0.1")]
        return list(found) if name == "example.org" else list(real(name, *rest, **named))  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    with pytest.raises(DataError, match="leads to example.org, which is no public host"), downloaded(f"{host}/to/http://example.org/a.png"):
        pass


def test_redirects_are_followed_and_end(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_public", lambda number: True)
    with downloaded(f"{host}/to/{host}/to/{host}/room.png") as found:
        assert found.read_bytes() == PHOTO
    with pytest.raises(DataError, match="leads on more than 5 times"), downloaded(host + f"/to/{host}" * 7):
        pass


def test_size_and_time_are_limited(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "LIMITS", {"image": (200_000, 5.0), "video": (1, 1.0)})
    with pytest.raises(DataError, match="above the limit of 0 MB"), downloaded(f"{host}/endless.png"):
        pass
    monkeypatch.setattr(download, "LIMITS", {"image": (200_000, 0.15), "video": (1, 1.0)})
    with pytest.raises(DataError, match="took more than 0 s"), downloaded(f"{host}/slow.png"):
        pass


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("ftp://example.org/a.png", "is no http"),
        ("http://user:secret@127.0.0.1/a.png", "holds a name or password"),
        ("http://127.0.0.1:1/a.png", "does not answer"),
        ("http://no-such-host.invalid/a.png", "is not known"),
        ("http:///a.png", "is no http"),
        ("http://127.0.0.1:99999/a.png", "not an address"),
        ("http://[::1/a.png", "not an address"),
    ],
)
def test_addresses_that_cannot_be_asked(address: str, says: str) -> None:
    with pytest.raises(DataError, match=says) as error, downloaded(address):
        pass
    assert "secret" not in str(error.value)


@pytest.mark.skipif("ci_net-nyuv2" not in list_models(), reason="the shipped model is not there")
def test_the_shell_predicts_on_an_address(host: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", f"{host}/room.png", "--out", str(tmp_path / "out"), "--save", "depth", "json", "--threads", "1"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["room.depth.png", "room.json"]
    assert main(["predict", f"{host}/page.png", "--out", str(tmp_path / "none")]) == 2
    said = capsys.readouterr().err
    assert "no photo and no video" in said
    assert "Traceback" not in said
    assert not (tmp_path / "none").exists()
