"""`diorama doctor`: what this machine offers, each with one line of advice. Works without torch."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import numpy as np

State = Literal["good", "note", "bad"]

CORE = ("numpy", "opencv-python-headless", "pillow", "onnxruntime", "jsonargparse", "rich", "jinja2", "safetensors", "pyyaml")
EXTRAS = {
    "train": ("torch", "torchvision", "lightning", "timm", "torchmetrics", "matplotlib", "h5py", "psutil"),
    "export": ("onnx", "onnxscript", "openvino", "nncf"),
    "geo": ("rasterio",),
    "exr": ("openexr",),
    "teachers": ("transformers",),
    "gradients": ("torchjd",),
    "demo": ("gradio",),
    "serve": ("fastapi", "uvicorn", "python-multipart"),
    "ray": ("ray",),
    "hub": ("huggingface_hub",),
}
COMPROMISED = {"lightning": ("2.6.2", "2.6.3")}
"""Releases that were replaced by an attacker and must not stay installed."""

GIB = 1 << 30
FINE = "Nothing to do."


@dataclass(frozen=True)
class Finding:
    """One thing that was examined; `state` "bad" means that something will not work."""

    name: str
    value: str
    state: State
    advice: str


def examine(folder: Path | None = None) -> list[Finding]:
    """Everything `diorama doctor` looks at; `folder` (default: the current one) is tried for space and write rights."""
    folder = Path.cwd() if folder is None else folder
    return [*_versions(), *_devices(), *_threads(), *_codecs(), *_disk(folder), *_memory(), *_models()]


def doctor(folder: Path | None = None) -> int:
    """Print the findings as a table; 0 if nothing is bad, else 1."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    findings = examine(folder)
    table = Table("", "what", "found", "advice", box=None, pad_edge=False)
    marks = {"good": "[green]ok[/]", "note": "[yellow]note[/]", "bad": "[red]bad[/]"}
    for finding in findings:
        table.add_row(marks[finding.state], *map(escape, (finding.name, finding.value, finding.advice)))
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    console.print(table)
    bad = [finding.name for finding in findings if finding.state == "bad"]
    console.print(f"\n{len(bad)} of {len(findings)} need attention: {', '.join(bad)}." if bad else "\nAll is well.")
    return 1 if bad else 0


def installed(package: str) -> str | None:
    """Version of an installed distribution, None if it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _versions() -> Iterator[Finding]:
    old = sys.version_info < (3, 11)
    yield Finding("Python", platform.python_version(), "bad" if old else "good", "Install Python 3.11 or later." if old else FINE)
    missing = [package for package in CORE if installed(package) is None]
    yield Finding(
        "core packages",
        "missing: " + ", ".join(missing) if missing else f"diorama {installed('diorama') or 'not installed, run from source'}",
        "bad" if missing else "good",
        f"Install them with: pip install {' '.join(missing)}" if missing else "Predicting with the shipped models works.",
    )
    for extra, packages in EXTRAS.items():
        found = {package: installed(package) for package in packages}
        missing = [package for package, number in found.items() if number is None]
        wrong = [f"{package} {found[package]}" for package, numbers in COMPROMISED.items() if found.get(package) in numbers]
        if wrong:
            yield Finding(f"extra '{extra}'", ", ".join(wrong), "bad", "A compromised release: install another version now.")
        elif missing:
            yield Finding(f"extra '{extra}'", "missing: " + ", ".join(missing), "note", f"If you need it: pip install 'diorama[{extra}]'")
        else:
            yield Finding(f"extra '{extra}'", ", ".join(f"{package} {found[package]}" for package in packages[:3]), "good", FINE)


def _devices() -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is None:
        yield Finding("devices", "torch is not installed", "note", "Predicting uses the CPU; to train: pip install 'diorama[train]'")
        return
    try:
        import torch

        importlib.import_module("torchvision")
    except (ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:80]
        yield Finding("devices", reason, "bad", "torch and torchvision do not fit: make a new environment.")
        return
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count:
        names = ", ".join(
            f"{torch.cuda.get_device_name(i)} ({torch.cuda.get_device_properties(i).total_memory / GIB:.0f} GiB)" for i in range(count)
        )
        yield Finding("devices", names, "good", f"Train on all of them with --trainer.devices {count} --trainer.precision bf16-mixed")
    elif torch.backends.mps.is_available():
        yield Finding("devices", "Apple GPU", "good", "Use it with --trainer.accelerator mps")
    else:
        yield Finding("devices", "CPU only", "note", "Train your own frames here with the recipe ci_net/finetune; full recipes want a GPU.")


def _threads() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    if chosen.isdigit() and int(chosen) > cores:
        yield Finding(
            "threads",
            f"{cores} cores, OMP_NUM_THREADS={chosen}",
            "bad",
            f"More threads than cores are slow: OMP_NUM_THREADS={cores}.",
        )
    else:
        said = f", OMP_NUM_THREADS={chosen}" if chosen else ""
        yield Finding("threads", f"{cores} cores{said}", "good", "Jobs that share the machine: --trainer.threads N.")


def _codecs() -> Iterator[Finding]:
    import cv2

    depth = (np.arange(64, dtype=np.uint16) * 1021).reshape(8, 8)
    done, coded = cv2.imencode(".png", depth)
    decoded = cv2.imdecode(coded, cv2.IMREAD_UNCHANGED)
    exact = bool(done) and decoded is not None and np.array_equal(decoded, depth)
    done, coded = cv2.imencode(".jpg", np.full((8, 8, 3), 128, np.uint8))
    jpeg = bool(done) and cv2.imdecode(coded, cv2.IMREAD_COLOR) is not None
    broken = [name for name, works in (("16-bit PNG", exact), ("JPEG", jpeg)) if not works]
    yield Finding(
        "codecs",
        f"OpenCV {cv2.__version__}: " + (f"{', '.join(broken)} broken" if broken else "16-bit PNG exact, JPEG"),
        "bad" if broken else "good",
        "Reinstall opencv-python-headless, and no other opencv package beside it." if broken else FINE,
    )


def _disk(folder: Path) -> Iterator[Finding]:
    for name, place in (("folder", folder), ("temporary folder", Path(tempfile.gettempdir()))):
        try:
            with tempfile.TemporaryFile(dir=place) as file:
                file.write(b"diorama")
        except OSError as error:
            yield Finding(name, f"{place}: {error.strerror}", "bad", "Choose a folder that exists and can be written to.")
            continue
        free = shutil.disk_usage(place).free / GIB
        advice = "Free some space: a run takes up to 2 GiB." if free < 2 else "Runs are written to ./runs unless --out says otherwise."
        yield Finding(name, f"{free:.1f} GiB free, can be written to", "note" if free < 2 else "good", advice)


def _memory() -> Iterator[Finding]:
    if not hasattr(os, "sysconf") or "SC_AVPHYS_PAGES" not in os.sysconf_names:
        yield Finding("memory", "unknown on this system", "note", "Start with --trainer.batch_size 2 and raise it.")
        return
    page = os.sysconf("SC_PAGE_SIZE")
    total, free = (os.sysconf(name) * page / GIB for name in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES"))
    low = total < 4
    advice = (
        "Use --trainer.batch_size 2 --trainer.workers 0 and a smaller --view.size." if low else "Each worker process takes up to 1 GiB."
    )
    yield Finding("memory", f"{total:.1f} GiB, {free:.1f} GiB free", "note" if low else "good", advice)


def _models() -> Iterator[Finding]:
    from diorama.export.config import input_keys
    from diorama.prediction.predictor import list_models

    models = list_models()
    if models:
        of_photos = next((name for name, found in models.items() if input_keys(found) == ("image",)), next(iter(models)))
        yield Finding("shipped models", ", ".join(models), "good", f"Try: diorama predict photo.jpg --model {of_photos}")
    else:
        yield Finding("shipped models", "none", "bad", "The package is incomplete: in a clone, pip install --force-reinstall --no-deps .")
