"""The command line: verbs -> functions. `diorama VERB --help` answers without torch; errors of the user are one line."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import diorama
from diorama.errors import UserError, suggest

VERBS = {
    "quickstart": "make rooms, train, compare, predict and report, all on this machine",
    "train": "train a method on a data set",
    "evaluate": "measure a model on a data set under a named protocol",
    "predict": "semantics, metric depth, overlay and point cloud of images",
    "sweep": "how completions degrade with density, pattern, noise and misalignment",
    "submit": "write or check result files for the KITTI depth servers",
    "pseudo-label": "disparity, depth and confidence of stereo pairs, to train on",
    "export": "write a model for onnxruntime or OpenVINO, for use without torch",
    "benchmark": "rows x seeds -> table with means and intervals",
    "demo": "a page on this machine: drop a photo, ask any pixel, turn the points",
    "serve": "one model over HTTP: image in; JSON, PNG or NPZ out",
    "data": "list, check, plot and make data sets",
    "methods": "the methods, what each needs, and the models that come with the package",
    "doctor": "examine this machine and advise",
}
"""Verb -> what it does, in the order of the overview; each is a function of `diorama.verbs` (with _ for -)."""

EXTRAS = {
    **dict.fromkeys(("torch", "torchvision", "lightning", "timm", "torchmetrics", "matplotlib", "h5py", "psutil"), "train"),
    **dict.fromkeys(("nncf", "onnx", "onnxscript", "openvino"), "export"),
    "rasterio": "geo",
    "gradio": "demo",
    **dict.fromkeys(("fastapi", "uvicorn", "python_multipart"), "serve"),
    "transformers": "teachers",
    "ray": "ray",
    "huggingface_hub": "hub",
    "torchjd": "gradients",
}
"""Top-level module -> extra of the package that installs it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; the exit status (0 done, 2 user error, 3 training stopped, 130 Ctrl-C).

    With `--debug` among the words errors come with their traceback.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        with _logging(logging.DEBUG if debug else logging.INFO):
            return _dispatch(words)
    except UserError as error:
        if debug:
            raise
        return _fail(str(error), error.exit_status)
    except SystemExit as leaving:  # --help of a parser, or SIGTERM
        return leaving.code if isinstance(leaving.code, int) else 0
    except KeyboardInterrupt as stop:
        return _fail(str(stop) or "stopped by Ctrl-C.", 130)
    except BrokenPipeError:  # `diorama methods | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if debug or extra is None:
            raise
        return _fail(f"this needs {error.name}, which is not installed. Install it with: pip install 'diorama[{extra}]'", 2)
    except OSError as error:
        if debug:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _fail(
            f"{where}{error.strerror or error}. Check the path, its rights and the free space there (--debug shows where it happened).", 1
        )


def entry() -> None:
    """The console script: `main` with SIGTERM turned into exit status 143, so that `finally` clauses run."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(main())


def overview() -> str:
    """What `diorama --help` prints."""
    verbs = "\n".join(f"  {name:<12} {what}" for name, what in VERBS.items())
    return (
        "usage: diorama VERB [options]\n\n"
        "One network for semantics and metric depth from whatever labels there are.\n\n"
        f"verbs:\n{verbs}\n\n"
        "options:\n"
        "  --help      of diorama, or of a verb: diorama train --help\n"
        "  --debug     show the traceback of an error\n"
        "  --version   print the version\n\n"
        "start here:  diorama quickstart     or     diorama predict photo.jpg"
    )


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    verb, *rest = words
    if verb == "--version":
        print(f"diorama {diorama.__version__}")
        return 0
    if verb not in VERBS:
        raise UserError(f"unknown verb '{verb}': {suggest(verb, VERBS)} See `diorama --help`.")
    status: int = getattr(importlib.import_module("diorama.verbs"), verb.replace("-", "_"))(rest)
    return status


def _fail(text: str, status: int) -> int:
    print(f"diorama: error: {' '.join(text.split())}", file=sys.stderr)
    return status


@contextmanager
def _logging(level: int) -> Iterator[None]:
    """Show what the library logs as plain lines on stderr."""
    logger, handler = logging.getLogger("diorama"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _terminate(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)
