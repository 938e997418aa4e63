"""Where completions err: RMSE by semantic class and by distance of several models on the same input points, as CSV file and plot.

```python
found = {"linear": by_place(predict, dataset, "world_street", Sparsify(pattern="all"))}
write_places(found, "runs/sweep")
```
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diorama.data.base import SceneDataset
from diorama.data.io import replacing
from diorama.data.sparse_dataset import SparseDataset
from diorama.data.sparsify import Sparsify
from diorama.errors import DataError
from diorama.evaluation.breakdown import STREET_RANGES, Breakdown, breakdown, ranges_for
from diorama.evaluation.points import points_of
from diorama.evaluation.protocols import Protocol, by_name
from diorama.running.batches import Predict
from diorama.running.evaluate import evaluate_model
from diorama.running.sweep_figures import comparison_chart, svg

PLACES = "class and distance"
"""How `diorama sweep --axes` calls it."""

FILES = ("places.csv", "places.svg")

STREET_CLASSES = ("road", "car", "vegetation", "building", "pole", "traffic sign")
"""The classes that completion papers report on streets; where they are not all there, those with the most pixels."""

ALL = "all"
"""Stands in the table for every class, labelled or not, and for every distance."""

_COLUMNS = ("model", "class", "range", "pixels", "rmse_m", "rmse_low", "rmse_high")


def by_place(
    predict: Predict,
    dataset: SceneDataset,
    protocol: Protocol | str,
    points: Sparsify,
    *,
    inputs: Sequence[str] = ("sparse_depth",),
    crop: tuple[int, int] | None = None,
    seed: int = 0,
    batch_size: int = 8,
    progress: bool = True,
    draws: int = 200,
) -> Breakdown:
    """The error of `predict` by class, distance and band; streets in the four ranges of completion papers, 0-20 to 60-80 m.

    Args:
        predict: see `evaluate_model`.
        dataset: with depth as truth, and labels if there are to be classes.
        protocol: or its name; only its input points are replaced.
        points: how they are drawn.
        inputs: keys of the frames that `predict` is given.
        crop: `(H, W)` [px] of the middle that points are drawn in and numbers are taken of; None: all of it.
        seed: another one draws other points.
        batch_size: frames per call of `predict`.
        progress: draw a progress bar.
        draws: bootstrap draws for the intervals over images; 0 leaves them out.

    Raises:
        DataError: no pixel was counted.
    """
    data = SparseDataset(dataset, points, seed, crop)
    rules = (by_name(protocol) if isinstance(protocol, str) else protocol).vary(sparse=points_of(data))
    scored = evaluate_model(predict, data, rules, batch_size=batch_size, inputs=inputs, progress=progress, draws=0)
    edges, names = ranges_for(rules.cap), dataset.labels.classes if dataset.labels else ()
    found = breakdown(scored.rows, names, edges, draws, into=STREET_RANGES if set(STREET_RANGES) <= set(edges) else None)
    if found is None or not found.counts.any():
        raise DataError(f"{dataset.name} {dataset.split}: no pixel with a known depth. Look at the frames with `diorama data check`.")
    return found


def shown_classes(found: Breakdown, most: int = 6) -> list[str]:
    """`STREET_CLASSES` if all of them occur, else the classes with the most pixels; empty without labels."""
    pixels = found.counts.sum((1, 2))[:-1]
    there = {name for name, count in zip(found.classes, pixels, strict=True) if count}
    if set(STREET_CLASSES) <= there:
        return list(STREET_CLASSES)
    return [found.classes[k] for k in np.argsort(-pixels, kind="stable")[:most] if pixels[k]]


def place_rows(found: Mapping[str, Breakdown]) -> list[dict[str, Any]]:
    """Model, class, range, pixels and RMSE [m] of every class at every distance, with the sums over either (`ALL`) and their intervals."""
    return [{"model": model, **row} for model, each in found.items() for row in _rows(each)]


def _rows(found: Breakdown) -> Iterator[dict[str, Any]]:
    names, spans = (*found.classes, "unlabelled"), found.range_names()
    rmse, counts = found.marginal((0, 2))
    for k, span in enumerate(spans):
        yield _row(ALL, span, counts[k], rmse[k], found.distance_interval[k])
    rmse, counts = found.marginal((1, 2))
    for k, name in enumerate(names):
        yield _row(name, ALL, counts[k], rmse[k], found.class_interval[k])
    rmse, counts = found.marginal((2,))
    for kind, span in zip(*np.nonzero(counts), strict=True):
        yield _row(names[kind], spans[span], counts[kind, span], rmse[kind, span], (math.nan, math.nan))


def _row(name: str, span: str, pixels: Any, rmse: Any, interval: Any) -> dict[str, Any]:
    low, high = interval
    return {
        "class": name, "range": span, "pixels": int(pixels), "rmse_m": float(rmse), "rmse_low": float(low), "rmse_high": float(high),
    }  # fmt: skip


def write_places(found: Mapping[str, Breakdown], folder: str | Path) -> list[Path]:
    """Write places.csv and, where matplotlib is installed, places.svg of one or more models into `folder`; returns the paths."""
    text, out = io.StringIO(), Path(folder)
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in place_rows(found):
        if row["pixels"]:
            writer.writerow({key: _cell(value) for key, value in row.items()})
    written = [out / FILES[0]]
    with replacing(written[0]) as temporary:
        temporary.write_text(text.getvalue())
    try:
        chart = comparison_chart(found, shown_classes(next(iter(found.values()))))
    except ImportError:
        return written
    written.append(out / FILES[1])
    with replacing(written[1]) as temporary:
        temporary.write_bytes(svg(chart))
    return written


def _cell(value: Any) -> Any:
    return ("" if math.isnan(value) else f"{value:.9g}") if isinstance(value, float) else value
