"""How a completion degrades: one evaluation for each setting of the input points, as rows, CSV file and plot.

```python
rows = sweep(predict, dataset, "nyuv2_completion_500", standard_settings(dataset), model="linear", crop=(228, 304))
write_sweep(rows, "runs/sweep")
```
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diorama.data.base import SceneDataset
from diorama.data.io import replacing
from diorama.data.sparse_dataset import SparseDataset
from diorama.data.sparsify import Sparsify
from diorama.errors import ConfigError, DataError
from diorama.evaluation.points import points_of
from diorama.evaluation.protocols import Protocol, by_name
from diorama.running.batches import Predict
from diorama.running.evaluate import evaluate_model
from diorama.running.sweep_figures import svg, sweep_chart
from diorama.types import Frame

METRICS = ("rmse", "mae", "abs_rel", "irmse", "imae", "delta1", "delta2", "delta3")
"""What a row holds; `rmse` and `mae` in the unit of the protocol."""

_COLUMNS = ("model", "axis", "setting", "value", "points", "frames", "unit", "rmse_low", "rmse_high", *METRICS, "protocol", "input")


@dataclass(frozen=True)
class Setting:
    """One way to draw the input points, as a place on an axis."""

    axis: str
    """What varies: "points", "scan lines", ..."""
    label: str
    """The setting on that axis."""
    rules: Sparsify
    value: float | None = None
    """The setting as a number; None where the axis is one of kinds."""


@dataclass(frozen=True)
class SweepRow:
    """The numbers of one model at one setting."""

    model: str
    axis: str
    setting: str
    value: float | None
    points: float
    """Mean number of input points of a frame."""
    frames: int
    unit: str
    """Of `rmse` and `mae`."""
    values: dict[str, float]
    """By name, those of `METRICS`."""
    interval: tuple[float, float] | None
    """95 % bootstrap interval of the RMSE over images."""
    protocol: str
    input: str
    """The rule that the points are drawn by."""


def standard_settings(dataset: SceneDataset, points: int = 500) -> list[Setting]:
    """The settings that `dataset` allows: those of a scan if it has sparse depth of its own, else those of points drawn from its depth.

    Args:
        dataset: scans of a data set named `kitti...` are thinned by the lines of KITTI's scanner. Without intrinsics there are
            no scan lines and no misplacement, without images no corners.
        points: drawn from dense depth where their number does not vary.
    """
    if "sparse_depth" in dataset.provides:
        found, base = _scan_settings(dataset.name.startswith("kitti")), Sparsify(pattern="all")
    else:
        found, base = _point_settings(points), Sparsify(points=points)
    found += _each("depth noise [m]", (0, 0.02, 0.05, 0.1, 0.2, 0.5), base, "noise")
    found += _each("outliers [%]", (0, 1, 2, 5, 10), base, "outliers", 0.01)
    if "intrinsics" in dataset.provides:
        found += _each("scanner shifted [m]", (0, 0.02, 0.05, 0.1, 0.2), base, "shift")
        found += _each("scanner turned [degrees]", (0, 0.25, 0.5, 1, 2), base, "turn")
    lacking = {"intrinsics", "image"} - dataset.provides
    return [setting for setting in found if not lacking & setting.rules.needs]


def _scan_settings(kitti: bool) -> list[Setting]:
    scan = Sparsify(pattern="lines", scanner="kitti" if kitti else "camera")
    found = _each("dropped returns [%]", (0, 20, 40, 60, 80, 90, 95, 98), Sparsify(pattern="all"), "drop", 0.01)
    found += [Setting("scan lines", str(lines), replace(scan, lines=lines), lines) for lines in (64, 32, 16, 8, 4)]
    quarter = {
        "every fourth line": replace(scan, lines=16),
        "at random": Sparsify(pattern="all", drop=0.75),
        "holes": Sparsify(pattern="all", holes=0.75),
    }
    return found + [Setting("a quarter of the returns", name, rules) for name, rules in quarter.items()]


def _point_settings(points: int) -> list[Setting]:
    found = [Setting("points", str(count), Sparsify(points=count), count) for count in (20, 50, 100, 200, 500, 1000, 2000, 5000)]
    found += [Setting("scan lines", str(lines), Sparsify(pattern="lines", lines=lines), lines) for lines in (64, 32, 16, 8, 4)]
    patterns = {
        "random": Sparsify(points=points),
        "grid": Sparsify(pattern="grid", points=points),
        "corners": Sparsify(pattern="corners", points=points),
        "with holes": Sparsify(points=2 * points, holes=0.5),
    }
    return found + [Setting(f"{points} points", name, rules) for name, rules in patterns.items()]


def _each(axis: str, values: Iterable[float], base: Sparsify, field: str, factor: float = 1.0) -> list[Setting]:
    return [Setting(axis, f"{value:g}", replace(base, **{field: factor * value}), value) for value in values]  # type: ignore[arg-type]


class _Counted(SparseDataset):
    """Remembers how many points each frame was given."""

    def __init__(self, dataset: SceneDataset, rules: Sparsify, seed: int, crop: tuple[int, int] | None) -> None:
        super().__init__(dataset, rules, seed, crop)
        self.counts: dict[int, int] = {}

    def frame(self, index: int) -> Frame:
        """Frame number `index` with its sparse depth."""
        frame = super().frame(index)
        self.counts[index] = int(np.count_nonzero(frame["sparse_depth"]))
        return frame


def sweep(
    predict: Predict,
    dataset: SceneDataset,
    protocol: Protocol | str,
    settings: Sequence[Setting],
    *,
    model: str = "model",
    inputs: Sequence[str] = ("sparse_depth",),
    crop: tuple[int, int] | None = None,
    seed: int = 0,
    batch_size: int = 8,
    progress: bool = True,
    draws: int = 200,
) -> list[SweepRow]:
    """Score `predict` once for each setting; the points of a frame depend on `seed`, its id and the setting alone.

    Args:
        predict: see `evaluate_model`.
        dataset: with depth as truth. Its frames are read anew for every setting: cache what is slow to read.
        protocol: or its name; only its input points are replaced, which its numbers say.
        settings: see `standard_settings`.
        model: name in the rows.
        inputs: keys of the frames that `predict` is given.
        crop: `(H, W)` [px] of the middle that points are drawn in and numbers are taken of; None: all of it.
        seed: another one draws other points.
        batch_size: frames per call of `predict`.
        progress: draw a progress bar for each setting.
        draws: bootstrap draws for the intervals over images; 0 leaves them out.

    Raises:
        ConfigError: no settings, a batch size below 1, or the data lack what one of the settings needs.
        DataError: the data have no depth to score against.
    """
    if batch_size < 1:
        raise ConfigError(f"batch size {batch_size}. Choose 1 or more.")
    if not settings:
        raise ConfigError("a sweep without settings. Pass those of standard_settings(dataset).")
    if "depth" not in dataset.provides:
        raise DataError(f"{dataset.name} has no depth to score against. Choose data with depth: `diorama data list`.")
    rules, rows = by_name(protocol) if isinstance(protocol, str) else protocol, []
    for setting in settings:
        data = _Counted(dataset, setting.rules, seed, crop)
        found = evaluate_model(
            predict, data, rules.vary(sparse=points_of(data)), batch_size=batch_size, inputs=inputs, progress=progress, draws=draws
        )
        values = {name: found[name] for name in METRICS if name in found.values}
        rmse, points = found.values["rmse"], float(np.mean(list(data.counts.values())))
        rows.append(
            SweepRow(
                model=model, axis=setting.axis, setting=setting.label, value=setting.value, points=points,
                frames=rmse.frames, unit=rmse.unit, values=values, interval=rmse.interval, protocol=found.protocol.name,
                input=found.protocol.sparse,
            )
        )  # fmt: skip
    return rows


def write_sweep(rows: Sequence[SweepRow], folder: str | Path) -> list[Path]:
    """Write sweep.csv and, where matplotlib is installed, sweep.svg of one or more models into `folder`; returns the paths."""
    out = Path(folder)
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_cells(row) for row in rows)
    written = [out / "sweep.csv"]
    with replacing(written[0]) as temporary:
        temporary.write_text(text.getvalue())
    try:
        chart = sweep_chart(rows)
    except ImportError:
        return written
    written.append(out / "sweep.svg")
    with replacing(written[1]) as temporary:
        temporary.write_bytes(svg(chart))
    return written


def read_sweep(path: str | Path) -> list[SweepRow]:
    """The rows of a sweep.csv, so that sweeps of several models go into one plot.

    Raises:
        DataError: the file is missing or no sweep.
    """
    try:
        with Path(path).open(newline="") as file:
            return [_row(cells) for cells in csv.DictReader(file)]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: no sweep ({error!r}). Pass a sweep.csv that `write_sweep` wrote.") from error


def _cells(row: SweepRow) -> dict[str, str]:
    low, high = row.interval or (math.nan, math.nan)
    numbers = {"value": row.value, "points": row.points, "rmse_low": low, "rmse_high": high, **row.values}
    written = {key: "" if value is None or math.isnan(value) else f"{value:.9g}" for key, value in numbers.items()}
    return {
        "model": row.model, "axis": row.axis, "setting": row.setting, "frames": str(row.frames), "unit": row.unit,
        "protocol": row.protocol, "input": row.input, **written,
    }  # fmt: skip


def _row(cells: dict[str, str]) -> SweepRow:
    known = {name: float(cells[name]) for name in METRICS if cells[name]}
    interval = (float(cells["rmse_low"]), float(cells["rmse_high"])) if cells["rmse_low"] else None
    return SweepRow(
        model=cells["model"], axis=cells["axis"], setting=cells["setting"], value=float(cells["value"]) if cells["value"] else None,
        points=float(cells["points"]), frames=int(cells["frames"]), unit=cells["unit"], values=known, interval=interval,
        protocol=cells["protocol"], input=cells["input"],
    )  # fmt: skip
