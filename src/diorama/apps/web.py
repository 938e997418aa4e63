"""`diorama demo`: a page on this machine that shows what a model sees in a photo, in sparse depth, or in a stereo pair."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diorama.apps import viewer
from diorama.apps.examples import Example, draw
from diorama.apps.limits import Limits
from diorama.apps.page import Page
from diorama.apps.ports import listening
from diorama.apps.shelf import Shelf
from diorama.apps.work import Upload
from diorama.errors import ConfigError, UserError

# Before gradio is imported, which looks once: nothing is reported to anybody.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
import gradio as gr

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("diorama")

Component = Any

_FONTS = ["ui-sans-serif", "system-ui", "sans-serif"]
_POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; connect-src 'self' data: blob:; "
    "object-src 'none'; base-uri 'self'; frame-ancestors 'self'; form-action 'self'"
)
"""The browser loads nothing from anywhere else, whatever a component would like to."""

_HOUR = 3600
_ALPHA, _BETA = 76.0, 80.0
"""Where the points are looked at from at first [degrees]: 14 beside the camera that took the photo, 10 above it."""

_GROUND = (0.06, 0.07, 0.085, 1.0)
"""RGBA behind the points."""


class _LocalOnly:
    """Sends `_POLICY` with every answer.

    Args:
        app: what answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.datastructures import MutableHeaders

        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["content-security-policy"] = _POLICY
                headers["referrer-policy"] = "no-referrer"
            await send(message)

        await self.app(scope, receive, with_policy if scope["type"] == "http" else send)


def build(page: Page, examples: list[Example]) -> gr.Blocks:
    """The page around `page`, not yet launched."""
    blocks: gr.Blocks = gr.Blocks(title="diorama", analytics_enabled=False, fill_width=True, delete_cache=(_HOUR, _HOUR))
    with blocks:
        gr.HTML(
            "<h1>diorama</h1><p>Classes and metres of every pixel. Everything stays on this machine.</p>", elem_id="head", padding=False
        )
        with gr.Row(equal_height=False):
            with gr.Column(scale=0, min_width=340, elem_id="side"):
                inputs = _inputs(page.shelf)
                button = gr.Button("Predict", variant="primary", elem_id="predict")
                gallery = _gallery(examples)
            with gr.Column(scale=1, min_width=360):
                template, style, script = (viewer.asset(f"viewer.{kind}") for kind in ("html", "css", "js"))
                shown = gr.HTML("", html_template=template, css_template=style, js_on_load=script, elem_id="viewer")
                cloud = gr.Model3D(
                    label="Points: drag to turn, wheel to zoom", height=480, camera_position=(_ALPHA, _BETA, None), interactive=False,
                    clear_color=_GROUND, visible="hidden", elem_id="points",
                )  # fmt: skip
                archive = gr.DownloadButton("Download all outputs (.zip)", visible=False, elem_id="download")
        _connect(page, inputs, button, gallery, examples, [shown, cloud, archive])
    blocks.queue(max_size=page.limits.queue, default_concurrency_limit=page.limits.workers)
    return blocks


def _inputs(shelf: Shelf) -> dict[str, Component]:
    """The components that make an `Upload`, and the model."""
    points = "sparse_depth" in shelf.takes(shelf.first)
    found: dict[str, Component] = {"model": gr.Dropdown(shelf.names, value=shelf.first, label="Model", elem_id="model", filterable=False)}
    found["about"] = gr.Markdown(shelf.about(shelf.first), elem_id="about")
    found["image"] = gr.File(label="Photo", height=132, elem_id="photo")
    with gr.Column(visible=points, elem_id="extra") as found["extra"]:
        found["sparse_depth"] = gr.File(label="Sparse depth (16-bit PNG, TIFF, NPY, PFM)", height=132, elem_id="sparse")
        with gr.Accordion("or the right view of a stereo pair", open=False) as found["pair"]:
            found["right"] = gr.File(label="Right view, rectified", height=132, elem_id="right")
            with gr.Row():
                found["focal_px"] = gr.Number(label="Focal length [px]", minimum=0, min_width=120)
                found["baseline"] = gr.Number(label="Baseline [m]", minimum=0, min_width=120)
        found["depth_scale"] = gr.Number(label="Depth units per metre, if a file does not say (default 256)", minimum=0)
    with gr.Accordion("Camera of the points", open=False):
        found["field_of_view"] = gr.Number(label="Field of view over the longer side [degrees]", minimum=1, maximum=179)
    return found


def _gallery(examples: list[Example]) -> Component:
    return gr.Gallery(
        [(str(example.image), example.title) for example in examples],
        label="Examples, drawn by diorama", columns=2, height="auto", object_fit="cover", allow_preview=False, interactive=False,
        buttons=[], elem_id="examples",
    )  # fmt: skip


def _connect(
    page: Page, inputs: dict[str, Component], button: Component, gallery: Component, examples: list[Example], outputs: list[Component]
) -> None:
    """Predict when a file is dropped that completes the input, when another model is chosen, and when asked to."""
    asked = ("image", "sparse_depth", "right", "focal_px", "baseline", "depth_scale", "field_of_view")
    keys = [inputs["model"], *(inputs[key] for key in asked)]
    settings: dict[str, Any] = {"api_visibility": "private", "concurrency_id": "model", "show_progress_on": outputs[0]}

    def upload_of(*values: Any) -> Upload:
        given = dict(zip(asked, values, strict=True))
        paths: dict[str, Any] = {key: given[key] and Path(given[key]) for key in ("image", "sparse_depth", "right")}
        return Upload(**paths, **{key: given[key] or None for key in asked[3:]})

    def predict(model: str, *values: Any) -> list[Any]:
        return _updates(page, model, upload_of(*values))

    def when_complete(model: str, *values: Any) -> list[Any]:
        upload = upload_of(*values)
        pair = upload.right is not None and upload.focal_px and upload.baseline
        there = set(upload.files) | ({"sparse_depth"} if pair else set())
        return _updates(page, model, upload) if set(page.shelf.takes(model)) <= there else [gr.skip()] * 3

    def another(model: str) -> list[Any]:
        try:
            return [page.shelf.about(model), gr.update(visible="sparse_depth" in page.shelf.takes(model))]
        except UserError as error:
            return [str(error), gr.skip()]

    def example(event: gr.SelectData) -> list[Any]:
        one = examples[event.index]
        files = [None if path is None else str(path) for path in (one.image, one.sparse_depth, one.right)]
        opened = gr.update(open=one.right is not None)
        upload = Upload(one.image, one.sparse_depth, one.right, one.focal_px, one.baseline)
        return [one.model, *files, one.focal_px, one.baseline, None, None, *another(one.model), opened, *_updates(page, one.model, upload)]

    button.click(predict, keys, outputs, **settings)
    chosen = inputs["model"].input(
        another, inputs["model"], [inputs["about"], inputs["extra"]], api_visibility="private", queue=False, show_progress="hidden"
    )
    chosen.then(when_complete, keys, outputs, **settings)
    for key in ("image", "sparse_depth", "right"):
        inputs[key].upload(when_complete, keys, outputs, **settings)
    gallery.select(example, None, [*keys, inputs["about"], inputs["extra"], inputs["pair"], *outputs], **settings)


def _updates(page: Page, model: str, upload: Upload) -> list[Any]:
    """The new state of viewer, points and download."""
    if not upload.files:
        return [viewer.problem("Drop a photo first, or take one of the examples.", "Nothing to predict on"), gr.skip(), gr.skip()]
    shown = page.predict(model, upload)
    return [
        shown.viewer,
        gr.update(value=shown.cloud, visible="hidden" if shown.cloud is None else True),
        gr.update(value=shown.archive, visible=shown.archive is not None),
    ]


def launch(
    *,
    model: str,
    runs: Path = Path("runs"),
    limits: Limits | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    threads: int | None = None,
    open: bool = False,  # noqa: A002
    until: Callable[[str], object] | None = None,
) -> None:
    """Show the page until it is stopped.

    Args:
        model: chosen at first.
        runs: folder of runs that can be chosen as well.
        limits: what one prediction may cost.
        host: address to listen at; others than those of this machine alone are warned of: there is no password.
        port: 0 takes any free one.
        threads: per image; None takes every core.
        open: whether to open it in the browser.
        until: is given the page's address and returns when it is to end; None: it ends with Ctrl-C or SIGTERM.

    Raises:
        ConfigError: the address or port cannot be had, or the model sees no scenes.
        ModelError: no such model.
    """
    limits = Limits() if limits is None else limits
    shelf = Shelf(model, runs, threads)
    with listening(host, port) as place:  # gradio would take another port, or say nothing of the address
        port = int(place.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="diorama-demo-") as name:
        os.environ["GRADIO_TEMP_DIR"] = str(Path(name) / "uploads")
        page = Page(shelf, limits, Path(name))
        rooms = next((known for known in shelf.names if shelf.takes(known) == ("image",)), None)
        blocks = build(page, draw(Path(name), rooms))
        try:
            address = _launched(blocks, limits, host, port, open)
            log.info("the page is at %s (Ctrl-C stops it)", address)
            until(address) if until else threading.Event().wait()
        finally:
            page.gate.close()
            blocks.close(verbose=False)


def _launched(blocks: gr.Blocks, limits: Limits, host: str, port: int, open: bool) -> str:  # noqa: A002
    from starlette.middleware import Middleware  # not at the top: without the extra it is gradio that is to be missed

    theme = gr.themes.Base(primary_hue="teal", neutral_hue="slate", font=_FONTS, font_mono=["ui-monospace", "monospace"])
    try:
        _, address, _ = blocks.launch(
            server_name=host, server_port=port, inbrowser=open, share=False, prevent_thread_lock=True, quiet=True,
            max_file_size=limits.bytes, footer_links=[], run_history=False, ssr_mode=False, pwa=False, mcp_server=False,
            enable_monitoring=False, theme=theme, css=viewer.asset("page.css"), app_kwargs={"middleware": [Middleware(_LocalOnly)]},
        )  # fmt: skip
    except OSError as error:
        raise ConfigError(f"{host}:{port} cannot be had. Choose another --port.") from error
    return str(address)
