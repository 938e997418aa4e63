"""The page in a real browser: drop a photo, wait, ask a pixel; a wrong file; nothing is asked of any other machine."""

from __future__ import annotations

import os
import shutil
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from diorama.apps.limits import Limits
from diorama.data import io

pytestmark = pytest.mark.slow

WAIT = 120_000  # ms: a machine without a GPU draws WebGL by itself
PICTURES = os.environ.get("DIORAMA_PICTURES")
"""Folder where the screenshots go, to be looked at."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium here; on Debian: apt-get install chromium")
    software = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with playwright.sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=found, args=software)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("gradio", reason="the extra 'demo' is not installed")
    from diorama.apps.web import launch

    ready, end, found = threading.Event(), threading.Event(), []

    def until(where: str) -> None:
        found.append(where)
        ready.set()
        end.wait(600)

    limits = Limits(megabytes=2, seconds=60)
    settings = {"model": "ci_net-nyuv2", "runs": tmp_path_factory.mktemp("runs"), "limits": limits, "port": 0, "threads": 1, "until": until}
    thread = threading.Thread(target=launch, kwargs=settings, daemon=True)
    thread.start()
    assert ready.wait(120), "the page did not come up"
    yield found[0]
    end.set()
    thread.join(30)
    assert not thread.is_alive()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page, opened; in the end nothing may have been asked of another machine."""
    opened = browser.new_page(viewport={"width": 1440, "height": 1000})
    opened.set_default_timeout(WAIT)
    elsewhere: list[str] = []
    opened.on("request", lambda request: None if request.url.startswith((address, "data:", "blob:")) else elsewhere.append(request.url))
    opened.goto(address)
    opened.wait_for_selector("#photo input[type=file]", state="attached")
    yield opened
    opened.close()
    assert not elsewhere


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from diorama.data.world.dataset import WorldIndoor

    path = tmp_path_factory.mktemp("photos") / "room.jpg"
    io.write_image(path, WorldIndoor(frames=5, split="test", size=(480, 640), stereo=False).frame(4)["image"], quality=92)
    return path


def drop(page: Any, selector: str, path: Path, media: str) -> None:
    """Drop a file as a mouse does: with a DataTransfer on the drop zone."""
    handle = page.evaluate_handle(
        """([bytes, name, type]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], name, { type }));
            return data;
        }""",
        [list(path.read_bytes()), path.name, media],
    )
    page.dispatch_event(selector, "drop", {"dataTransfer": handle})


def probe(page: Any) -> str:
    return str(page.locator("[data-testid=probe] .value").inner_text())


def drawn(page: Any) -> bool:
    """Whether the points turn up: the canvas is one colour until then."""
    for _ in range(60):
        picture = cv2.imdecode(np.frombuffer(page.locator("#points canvas").screenshot(), np.uint8), cv2.IMREAD_COLOR)
        if picture[100:].std() > 5:
            return True
        page.wait_for_timeout(1000)
    return False


def photographed(page: Any, name: str) -> None:
    if PICTURES:
        if page.locator("#points canvas").count():
            drawn(page)
        page.screenshot(path=f"{PICTURES}/{name}.png", full_page=True)


def test_a_dropped_photo_can_be_asked_turned_and_taken_home(page: Any, room: Path, tmp_path: Path) -> None:
    import diorama

    drop(page, "#photo button", room, "image/jpeg")
    page.wait_for_selector("#viewer .pane canvas")
    scene = diorama.load("ci_net-nyuv2", threads=1).scene(room)
    assert scene.semantic is not None and scene.depth is not None and scene.labels is not None
    for x, y in ((100, 420), (320, 240), (600, 60)):
        for pane in (0, 1):
            canvas = page.locator("#viewer .pane canvas").nth(pane)
            box = canvas.bounding_box()
            canvas.hover(position={"x": (x + 0.5) * box["width"] / 640, "y": (y + 0.5) * box["height"] / 480})
            expected = {
                f"{scene.labels.classes[scene.semantic[y + dy, x + dx]]} · {scene.depth[y + dy, x + dx]:.2f} m"
                for dx in (-1, 0, 1)
                for dy in (-1, 0, 1)  # the pointer stands on whole screen pixels
            }
            assert probe(page) in expected
    held = probe(page)
    canvas.click()
    canvas.hover(position={"x": 5, "y": 5})
    assert probe(page), "a click holds the pixel"
    assert "held" in page.locator("[data-testid=probe] .place").inner_text()
    canvas.press("ArrowLeft")
    assert "m" in probe(page) and held
    before = page.evaluate("document.querySelector('#viewer .pane canvas').toDataURL().length")
    page.locator("#viewer .slider input").first.fill("0")
    assert page.evaluate("document.querySelector('#viewer .pane canvas').toDataURL().length") != before
    assert page.locator("#viewer .chip").count() >= 3
    assert page.locator("#viewer .ticks span").count() >= 2
    page.wait_for_selector("#points canvas")
    assert drawn(page), "the points never turned up"
    with page.expect_download() as coming:
        page.click("#download")
    archive = tmp_path / "all.zip"
    coming.value.save_as(archive)
    with zipfile.ZipFile(archive) as found:
        assert {"room.semantic.png", "room.depth.png", "room.ply", "room.json"} <= set(found.namelist())
    page.locator("#viewer .slider input").first.fill("60")
    photographed(page, "page")


def test_a_wrong_file_gets_a_friendly_line(page: Any, tmp_path: Path) -> None:
    wrong = tmp_path / "holiday.jpg"
    wrong.write_text("these are no pixels")
    drop(page, "#photo button", wrong, "image/jpeg")
    alert = page.locator("#viewer [role=alert]")
    alert.wait_for()
    said = alert.inner_text()
    assert "This cannot be predicted on" in said
    assert "holiday.jpg: not an image that diorama reads" in said
    assert "/tmp" not in said and "Traceback" not in said
    photographed(page, "wrong_file")


def test_too_large_a_file_is_refused_by_its_size(page: Any, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(b"\0" * 3_000_000)
    page.set_input_files("#photo input[type=file]", str(large))
    page.get_by_text("maximum allowed size", exact=False).first.wait_for()
    assert not page.locator("#viewer .pane").count()


@pytest.mark.parametrize(("number", "points", "model"), [(2, "14,314 points", "image_reconstruction-world_street"), (3, None, "linear")])
def test_examples_complete_lidar_and_stereo(page: Any, number: int, points: str | None, model: str) -> None:
    page.locator("#examples .thumbnail-lg").nth(number).click()
    page.wait_for_selector("#viewer .pane canvas")
    titles = page.locator("#viewer .title").all_inner_texts()
    assert titles == ["Known depth", "Depth"]
    if points:
        assert page.locator("#viewer .note").first.inner_text() == points
    page.locator("#viewer .pane canvas").last.hover()
    assert probe(page).endswith(" m")
    assert page.locator("#model input").input_value() == model
    photographed(page, f"example_{number}")
