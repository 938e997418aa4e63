"""`diorama demo` and `diorama serve`: words -> model and limits -> the page or the server, which need their extras."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diorama.catalog import DEFAULT_MODEL
from diorama.flags import VerbParser


def show_page(words: Sequence[str]) -> int:
    """Open the page."""
    parser = VerbParser(
        "demo",
        "A web page on this machine: drop a photo, see classes and metres, ask any pixel, turn the points, take it all home. "
        "Needs the extra: pip install 'diorama[demo]'",
        "diorama demo --open",
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME", help="chosen at first: shipped model, run folder or file")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="run folders in it can be chosen as well")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    _add_shared(parser, port=7860)
    options = vars(parser.read(words))
    limits = _limits(options)
    from diorama.apps.web import launch

    launch(limits=limits, **options)
    return 0


def answer_requests(words: Sequence[str]) -> int:
    """Answer over HTTP until stopped."""
    parser = VerbParser(
        "serve",
        "One model over HTTP: POST an image to /predict; JSON, PNG or NPZ comes back. Needs the extra: pip install 'diorama[serve]'",
        "diorama serve --model ci_net-nyuv2 --port 8000",
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME", help="shipped model (see `diorama methods`), run folder or file")
    parser.add_argument("--backend", choices=("auto", "onnx", "openvino", "torch"), default="auto")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="images predicted at once; default: 1")
    _add_shared(parser, port=8000)
    options = vars(parser.read(words))
    limits = _limits(options)
    from diorama.apps.running import serve as start
    from diorama.prediction.predictor import load

    predictor = load(options["model"], backend=options["backend"], device=options["device"], threads=options["threads"])
    start(predictor, limits, host=options["host"], port=options["port"])
    return 0


def _add_shared(parser: VerbParser, port: int) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; default: this machine alone. There is no password")
    parser.add_argument("--port", type=int, default=port, help=f"default: {port}; 0: any free one")
    parser.add_argument("--threads", type=int, metavar="N", help="threads per image; default: every core")
    parser.add_argument("--max-megabytes", type=float, default=20.0, metavar="MB", help="largest upload; default: 20")
    parser.add_argument("--max-megapixels", type=float, default=16.0, metavar="MP", help="largest picture; default: 16 million pixels")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="until an answer, waiting included; default: 60")
    parser.add_argument("--queue", type=int, default=8, metavar="N", help="how many may wait; default: 8")


def _limits(options: dict[str, Any]) -> Any:
    """Take the limits out of `options`."""
    from diorama.apps.limits import Limits

    given = {"megabytes": options.pop("max_megabytes"), "megapixels": options.pop("max_megapixels")}
    given |= {name: options.pop(name) for name in ("seconds", "queue")}
    return Limits(**given, workers=options.pop("workers", 1))
