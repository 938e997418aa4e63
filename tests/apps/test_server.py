"""`diorama serve` through ASGI: answers worked out by hand, and every limit with its status."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
import time
from typing import Any

import numpy as np
import pytest
from toy import WaitingModel, half_red
from uploads import decoded, npy, png

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
httpx = pytest.importorskip("httpx", reason="httpx is not installed")
from diorama.apps.limits import Limits  # noqa: E402
from diorama.apps.server import create_app  # noqa: E402
from diorama.prediction.predictor import Predictor, load  # noqa: E402

PHOTO = png(half_red())
PNG = {"content-type": "image/png"}


def ask(app: Any, method: str, path: str, **request: Any) -> Any:
    """One request without any socket; the application does not run its lifespan."""

    async def asked() -> Any:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
            return await client.request(method, path, **request)

    return asyncio.run(asked())


@pytest.fixture
def app(predictor: Predictor) -> Any:
    return create_app(predictor, Limits(megabytes=0.05, megapixels=0.01, seconds=5, queue=1))


def test_json_says_what_the_model_sees(app: Any) -> None:
    answer = ask(app, "POST", "/predict", content=PHOTO, headers=PNG)
    assert answer.status_code == 200
    found = answer.json()
    assert found["size"] == {"height": 64, "width": 96}
    assert found["semantic"]["shares"] == {"dark": 0.5, "red": 0.5}
    assert found["depth"]["median"] == pytest.approx(4.2, abs=1e-4)
    assert found["model"]["name"] == "toy"
    assert "maps" not in found
    assert "files" not in found


def test_json_holds_the_maps_if_asked_to(app: Any) -> None:
    maps = ask(app, "POST", "/predict?maps=true", content=PHOTO, headers=PNG).json()["maps"]
    semantic, depth = (decoded(base64.b64decode(maps[f"{kind}_png"])) for kind in ("semantic", "depth"))
    assert (semantic == (np.arange(96) >= 48)).all()
    assert (depth == round(4.2 * 256)).all()


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("image/png", "image/png"),
        ("text/html, image/*;q=0.8, */*;q=0.1", "image/png"),
        ("application/x-npz", "application/x-npz"),
        ("application/json;q=0.1, application/x-npz;q=0.9", "application/x-npz"),
        ("*/*", "application/json"),
        ("", "application/json"),
    ],
)
def test_the_accept_header_chooses_the_form(app: Any, accept: str, media: str) -> None:
    answer = ask(app, "POST", "/predict", content=PHOTO, headers={**PNG, "accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, media)


def test_nothing_acceptable_is_406_and_the_query_goes_first(app: Any) -> None:
    refused = ask(app, "POST", "/predict", content=PHOTO, headers={**PNG, "accept": "text/html, image/png;q=0"})
    assert refused.status_code == 406
    assert "image/png" in refused.json()["detail"]
    assert ask(app, "POST", "/predict?format=png", content=PHOTO, headers={**PNG, "accept": "text/html"}).status_code == 200


def test_npz_holds_the_arrays_without_pickle(app: Any) -> None:
    body = ask(app, "POST", "/predict?format=npz", files={"image": ("photo.png", PHOTO)}).content
    arrays = np.load(io.BytesIO(body), allow_pickle=False)
    assert (arrays["semantic"] == (np.arange(96) >= 48)).all()
    assert arrays["depth"] == pytest.approx(np.full((64, 96), 4.2), abs=1e-5)
    assert arrays["classes"].tolist() == ["dark", "red"]
    assert arrays["palette"].tolist() == [[10, 20, 30], [200, 30, 40]]
    assert arrays["intrinsics"].shape == (3, 3)


@pytest.mark.parametrize(("picture", "shape"), [("semantic", (64, 96)), ("depth", (64, 96)), ("overlay", (64, 96, 3)), ("panel", None)])
def test_png_shows_the_picture_that_was_asked_for(app: Any, picture: str, shape: tuple[int, ...] | None) -> None:
    answer = ask(app, "POST", f"/predict?format=png&picture={picture}", content=PHOTO, headers=PNG)
    assert shape is None or decoded(answer.content).shape == shape
    assert answer.headers["content-type"] == "image/png"


def test_the_camera_can_be_told(app: Any) -> None:
    camera = ask(app, "POST", "/predict?field_of_view=90", content=PHOTO, headers=PNG).json()["camera"]
    assert camera["intrinsics"][0][0] == pytest.approx(48)  # 96 / 2 / tan(45 degrees)
    assert camera["assumed"] is False


@pytest.mark.parametrize(
    ("status", "said", "request_"),
    [
        (413, "0.05 MiB", {"content": b"x" * 60_000, "headers": PNG}),
        (413, "120x90 pixels", {"content": png(np.zeros((90, 120, 3), np.uint8)), "headers": PNG}),
        (415, "text/plain", {"content": b"hello", "headers": {"content-type": "text/plain"}}),
        (415, "notes.txt", {"files": {"image": ("notes.txt", b"hello", "text/plain")}}),
        (415, "''", {"content": b"hello"}),
        (422, "not an image", {"content": b"hello", "headers": PNG}),
        (422, "truncated", {"content": PHOTO[:-40], "headers": PNG}),
        (422, "empty", {"content": b"", "headers": PNG}),
        (422, "'other' is no file", {"files": {"other": ("a.png", PHOTO)}}),
        (422, "there twice", {"files": [("image", ("a.png", PHOTO)), ("image", ("b.png", PHOTO))]}),
        (422, "looks at the photo alone", {"files": {"image": ("a.png", PHOTO), "sparse_depth": ("b.png", PHOTO)}}),
        (422, "Leave out the right view", {"files": {"right": ("a.png", PHOTO)}}),
        (422, "field_of_view", {"content": PHOTO, "headers": PNG, "params": {"field_of_view": "200"}}),
        (422, "format", {"content": PHOTO, "headers": PNG, "params": {"format": "tiff"}}),
        (400, "oundary", {"content": b"hello", "headers": {"content-type": "multipart/form-data"}}),
    ],
)
def test_what_is_wrong_gets_its_status_and_one_line(
    app: Any, model: WaitingModel, status: int, said: str, request_: dict[str, Any]
) -> None:
    answer = ask(app, "POST", "/predict", **request_)
    detail = answer.json()["detail"]
    assert answer.status_code == status, detail
    assert said in detail
    assert "\n" not in detail
    assert "/tmp" not in detail and "diorama-" not in detail
    assert not model.seen


def test_a_body_without_a_length_is_counted_as_it_comes(app: Any) -> None:
    async def endless() -> Any:
        for _ in range(100):
            yield b"x" * 1000

    assert ask(app, "POST", "/predict", content=endless(), headers=PNG).status_code == 413


def test_a_slow_body_is_not_waited_for(predictor: Predictor) -> None:
    async def slow() -> Any:
        yield b"x"
        await asyncio.sleep(5)

    app = create_app(predictor, Limits(seconds=0.05))
    answer = ask(app, "POST", "/predict", content=slow(), headers=PNG)
    assert (answer.status_code, "0.05 s" in answer.json()["detail"]) == (408, True)


def test_a_full_queue_is_429_and_a_slow_answer_503(predictor: Predictor, model: WaitingModel) -> None:
    app = create_app(predictor, Limits(seconds=0.4, queue=1))
    model.go.clear()

    async def asked() -> Any:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
            inside = [asyncio.create_task(client.post("/predict", content=PHOTO, headers=PNG)) for _ in range(2)]
            while (await client.get("/health")).json()["inside"] < 2:
                await asyncio.sleep(0.01)
            third = await client.post("/predict", content=PHOTO, headers=PNG)
            late = await asyncio.gather(*inside)
            model.go.set()
            deadline = time.monotonic() + 10
            while (await client.get("/health")).json()["inside"] and time.monotonic() < deadline:
                await asyncio.sleep(0.01)
            return third, late, await client.post("/predict", content=PHOTO, headers=PNG)

    third, late, after = asyncio.run(asked())
    assert third.status_code == 429
    assert third.headers["retry-after"] == "5"
    assert [answer.status_code for answer in late] == [503, 503]
    assert after.status_code == 200
    assert len(model.seen) == 2, "who left before his turn is not worked for"


def test_health_model_and_interface(app: Any, predictor: Predictor) -> None:
    assert ask(app, "GET", "/health").json() == {"status": "ok", "inside": 0, "places": 2}
    about = ask(app, "GET", "/model").json()
    assert about["classes"] == ["dark", "red"]
    assert about["takes"] == ["image"]
    assert about["limits"]["bytes"] == 52428
    interface = ask(app, "GET", "/openapi.json").json()
    answers = interface["paths"]["/predict"]["post"]["responses"]
    assert {"200", "400", "406", "408", "413", "415", "422", "429", "503"} <= set(answers)
    assert all("example" in answers[status]["content"]["application/json"] for status in answers)
    assert ask(app, "GET", "/docs").status_code == 404, "its scripts come from elsewhere"
    app.state.gate.close()
    assert ask(app, "GET", "/health").status_code == 503
    assert ask(app, "POST", "/predict", content=PHOTO, headers=PNG).status_code == 503


def test_sparse_depth_is_completed() -> None:
    app = create_app(load("nearest"), Limits(seconds=20))
    points = np.zeros((16, 24), np.uint16)
    points[4, 6] = 5 * 1000
    answer = ask(app, "POST", "/predict?format=npz&depth_scale=1000", content=png(points), headers=PNG)
    assert np.load(io.BytesIO(answer.content))["depth"] == pytest.approx(np.full((16, 24), 5.0))
    both = {"image": ("a.png", png(np.zeros((16, 24, 3), np.uint8))), "sparse_depth": ("b.npy", npy(points / np.float32(1000)))}
    assert ask(app, "POST", "/predict", files=both).json()["depth"]["range"] == [5.0, 5.0]
    assert ask(app, "POST", "/predict", files={"image": both["image"]}).status_code == 422
    small = create_app(load("nearest"), Limits(network_megapixels=0.0001))
    assert ask(small, "POST", "/predict", content=png(points), headers=PNG).status_code == 413


def test_a_network_that_sees_no_scenes_is_refused() -> None:
    from diorama.errors import ConfigError

    with pytest.raises(ConfigError, match="judges matched disparity"):
        create_app(load("ccnn-world_street", threads=1))


def test_it_answers_at_a_port_and_ends_when_told_to(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    import uvicorn

    from diorama.apps import running
    from diorama.errors import ConfigError

    servers: list[Any] = []
    made = uvicorn.Server.__init__

    def remembered(self: Any, *arguments: Any) -> None:
        made(self, *arguments)
        servers.append(self)

    ports: list[int] = []
    opened = running.listening

    def at(host: str, port: int) -> Any:
        place = opened(host, port)
        ports.append(place.getsockname()[1])
        return place

    monkeypatch.setattr(uvicorn.Server, "__init__", remembered)
    monkeypatch.setattr(running, "listening", at)
    thread = threading.Thread(target=running.serve, args=(predictor, Limits(seconds=5)), kwargs={"port": 0}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not (servers and servers[0].started) and time.monotonic() < deadline:
        time.sleep(0.02)
    with pytest.raises(ConfigError, match=rf"127.0.0.1:{ports[0]} cannot be had"):
        opened("127.0.0.1", ports[0])
    answer = httpx.post(f"http://127.0.0.1:{ports[0]}/predict", content=PHOTO, headers=PNG, timeout=20)
    assert answer.json()["semantic"]["shares"] == {"dark": 0.5, "red": 0.5}
    assert "server" not in answer.headers
    servers[0].should_exit = True
    thread.join(20)
    assert not thread.is_alive()
