"""What an evaluation leaves on disk for programs: metrics.json, frames.csv and .npz, breakdown.csv, confusion.csv."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diorama.data.io import replacing
from diorama.evaluation import semantics
from diorama.evaluation.metrics import frame_metrics

if TYPE_CHECKING:
    from diorama.running.evaluate import Evaluation

FORMAT = 1
_PACKAGES = ("diorama", "numpy", "opencv-python-headless", "onnxruntime", "torch", "torchvision", "timm")


def metrics_dict(evaluation: Evaluation, model: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The content of metrics.json: JSON types only, a value that does not exist is null.

    Args:
        evaluation: what was found.
        model: what the model is; Delta M needs `backbone`, `data`, `budget` and `seed` in it.
    """
    found: dict[str, Any] = {
        "format": FORMAT,
        "metrics": {name: measured.to_dict() for name, measured in evaluation.values.items()},
        "protocol": evaluation.protocol.to_dict(),
        "model": dict(model or {}),
        "seconds": round(evaluation.seconds, 3),
        "environment": environment(),
    }
    rows = class_rows(evaluation)
    if rows:
        found["classes"] = rows
        found["classes_counted"] = sum(row["iou"] is not None for row in rows)
    return found


def class_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One dict per class: name, train id, iou, accuracy (null where the class does not occur) and true pixels."""
    if evaluation.confusion is None or evaluation.labels is None:
        return []
    hits, true, predicted = semantics.class_sums(evaluation.confusion)
    iou, accuracy = semantics.class_iou(hits, true, predicted), semantics.class_accuracy(hits, true)
    return [
        {"id": k, "name": name, "iou": _number(iou[k]), "accuracy": _number(accuracy[k]), "pixels": int(true[k])}
        for k, name in enumerate(evaluation.labels.classes)
    ]


def environment() -> dict[str, str]:
    """Python, machine, threads and the versions of the packages that decide numbers, without importing any of them."""
    found = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": str(os.cpu_count()),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
    }
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


RESULTS = (
    *("metrics.json", "report.html", "frames.csv", "frames.npz", "confusion.csv", "breakdown.csv", "density.csv", "calibration.csv"),
    *("against_teacher.csv", "against_teacher.svg", "against_teacher.png"),
)
"""Every file that an evaluation may leave in its folder."""


def earlier_results(out: str | Path) -> list[Path]:
    """The files that an earlier evaluation left in `out`."""
    return [path for name in RESULTS if (path := Path(out) / name).exists()]


def write_records(evaluation: Evaluation, out: str | Path, model: Mapping[str, Any] | None = None) -> list[Path]:
    """Write metrics.json, frames.csv, frames.npz and, where there is such a thing, confusion.csv and breakdown.csv into `out`."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "frames.npz"]
    with replacing(written[0]) as temporary:
        evaluation.rows.save(temporary)
    each = frame_metrics(evaluation.rows)
    frames = zip(evaluation.rows.frames.tolist(), evaluation.rows.ids, *(column.tolist() for column in each.values()), strict=True)
    written.append(_write_csv(folder / "frames.csv", ["frame", "id", *each], frames))
    if evaluation.confusion is not None and evaluation.labels is not None:
        names = evaluation.labels.classes
        rows = ([name, *counts] for name, counts in zip(names, evaluation.confusion.tolist(), strict=True))
        written.append(_write_csv(folder / "confusion.csv", ["truth", *names, "none"], rows))
    if evaluation.breakdown is not None:
        cells = evaluation.breakdown.rows()
        written.append(_write_csv(folder / "breakdown.csv", list(cells[0]), (list(cell.values()) for cell in cells)))
    if evaluation.density is not None:
        cells = evaluation.density.rows()
        written.append(_write_csv(folder / "density.csv", list(cells[0]), (list(cell.values()) for cell in cells)))
    if evaluation.calibration:
        points = [{"law": curve.law, **point} for curve in evaluation.calibration for point in curve.rows()]
        written.append(_write_csv(folder / "calibration.csv", list(points[0]), (list(point.values()) for point in points)))
    # metrics.json last: where it stands, the rest is complete
    written.append(folder / "metrics.json")
    _write_text(written[-1], json.dumps(metrics_dict(evaluation, model), indent=1, allow_nan=False) + "\n")
    return written


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    _write_text(path, text.getvalue())
    return path


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text)


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.9g}"
    return value


def _number(value: np.float64) -> float | None:
    return float(value) if np.isfinite(value) else None
