"""The charts of a report as SVG inside the page: confusion matrix, depth error by class, range and band, training curves."""

from __future__ import annotations

import base64
import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diorama.evaluation.breakdown import BANDS, Breakdown

INK, FAINT, RULE = "#1c2430", "#6b7482", "#e3e6eb"
BLUE, ORANGE = "#2f6db5", "#e0782f"
_STYLE: Any = {
    "font.family": "DejaVu Sans", "font.size": 9, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": RULE,
    "xtick.color": FAINT, "ytick.color": FAINT, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": False,
    "axes.titlesize": 9.5, "axes.titleweight": "bold", "axes.titlelocation": "left", "legend.frameon": False, "svg.hashsalt": "diorama",
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
}  # fmt: skip
_NUMBERED = 20  # classes up to which the cells of the confusion matrix hold their numbers


def confusion_chart(matrix: NDArray[np.int64], names: Sequence[str]) -> str:
    """Row-normalised confusion matrix in percent of the true pixels of each class that occurs; data URI."""
    shown = [k for k in range(len(names)) if matrix[k].sum() or matrix[:, k].sum()]
    columns = [*shown, len(names)] if matrix[:, -1].any() else shown
    counts = matrix[np.ix_(shown, columns)].astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.nan_to_num(100 * counts / matrix[shown].sum(axis=1, keepdims=True))
    side = max(4.2, 0.245 * len(shown) + 1.6) if len(shown) > _NUMBERED else max(3.6, 0.4 * len(shown) + 1.4)
    with _figure((side + 0.6, side)) as (figure, save):
        axes = figure.subplots()
        drawn = axes.imshow(np.sqrt(part), cmap="Blues", vmin=0, vmax=10, aspect="equal")
        size = 7 if len(shown) > _NUMBERED else 8
        axes.set_xticks(range(len(columns)), ["none" if k == len(names) else names[k] for k in columns])
        axes.set_yticks(range(len(shown)), [names[k] for k in shown])
        axes.tick_params(length=0, labelsize=size)
        axes.tick_params(axis="x", rotation=90 if len(shown) > 8 else 35)
        axes.set(xlabel="predicted", ylabel="truth")
        if len(shown) <= _NUMBERED:
            for (row, column), value in np.ndenumerate(part):
                if value >= 0.5:
                    axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color="white" if value > 40 else INK)
        _colour_bar(figure, drawn, axes, [0, 5, 20, 50, 100], np.sqrt, "% of true pixels")
        return save()


def cells_chart(found: Breakdown, least: int = 100) -> str:
    """RMSE [m] by class and distance range, both bands together; cells below `least` pixels stay empty, unless all are; data URI."""
    rmse, counts = found.marginal((2,))
    least = least if (counts >= least).any() else 1  # a few distances measured by hand
    names = (*found.classes, "unlabelled")
    order = [k for k in range(len(names)) if counts[k].sum() >= least]
    values = np.where(counts >= least, rmse, np.nan)[order]
    with _figure((7.6, 0.225 * len(order) + 1.1)) as (figure, save):
        axes = figure.subplots()
        drawn = axes.imshow(values, cmap="YlOrRd", aspect="auto", vmin=0, vmax=float(np.nanquantile(values, 0.98)))
        axes.set_xticks(range(values.shape[1]), found.range_names())
        axes.set_yticks(range(len(order)), [names[k] for k in order])
        axes.tick_params(length=0)
        axes.tick_params(axis="y", labelsize=8)
        limit = 0.6 * float(np.nanquantile(values, 0.98))
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7.5, color="white" if value > limit else INK)
        axes.set_xlabel("true distance")
        bar = figure.colorbar(drawn, ax=axes, fraction=0.025, pad=0.02, label="RMSE [m]")
        bar.outline.set_visible(False)
        return save()


def ranges_chart(found: Breakdown) -> str:
    """RMSE [m] with its interval by distance range and boundary band, above the part of the pixels in each; data URI."""
    rmse, counts = found.marginal((0,))
    places = np.arange(len(rmse))
    with _figure((7.6, 4.1)) as (figure, save):
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        for band, (colour, shift) in enumerate(((BLUE, -0.2), (ORANGE, 0.2))):
            if not counts[:, band].any():
                continue
            low, high = (np.abs(found.range_interval[:, band, side] - rmse[:, band]) for side in (0, 1))
            whiskers = np.nan_to_num(np.stack([low, high]))
            top.bar(places + shift, np.nan_to_num(rmse[:, band]), 0.38, color=colour, label=BANDS[band])
            top.errorbar(places + shift, np.nan_to_num(rmse[:, band]), whiskers, fmt="none", ecolor=INK, elinewidth=1, capsize=2)
            bottom.bar(places + shift, 100 * counts[:, band] / max(1, counts.sum()), 0.38, color=colour, alpha=0.55)
        top.set_ylabel("RMSE [m]")
        bottom.set_ylabel("% of pixels")
        bottom.set_xticks(places, found.range_names())
        bottom.set_xlabel("true distance")
        for axes in (top, bottom):
            axes.grid(axis="y", color=RULE, linewidth=0.8)
            axes.set_axisbelow(True)
            axes.tick_params(length=0)
        if counts[:, 1].any():
            top.legend(loc="upper left", title=None)
        return save()


def curves_chart(path: Path, most: int = 9) -> str | None:
    """Small multiples of the numeric columns of a run's metrics.csv over the step; None if there is nothing to draw."""
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        return None
    series = _series(rows)
    if not series:
        return None
    series = dict(list(series.items())[:most])
    columns = min(3, len(series))
    lines = math.ceil(len(series) / columns)
    with _figure((10.4, 2.1 * lines + 0.3)) as (figure, save):
        grid = figure.subplots(lines, columns, squeeze=False)
        for axes, (name, (steps, values)) in zip(grid.flat, series.items(), strict=False):
            few = len(steps) <= 60
            axes.plot(
                steps,
                values,
                color=BLUE if few else "#a9c4e4",
                linewidth=1.4 if few else 0.7,
                marker="o" if len(steps) <= 12 else "",
                markersize=3,
            )
            if not few:
                axes.plot(steps, _smoothed(values), color=BLUE, linewidth=1.5)
            axes.set_title(name)
            axes.grid(axis="y", color=RULE, linewidth=0.8)
            axes.tick_params(length=0, labelsize=8)
            low, high = np.quantile(values, [0.05, 0.95])
            if low > 0 and high > 100 * low:
                axes.set_yscale("log")
        for axes in list(grid.flat)[len(series) :]:
            axes.set_visible(False)
        for axes in grid[-1]:
            axes.set_xlabel("step")
        return save()


def _series(rows: list[dict[str, str]]) -> dict[str, tuple[list[float], list[float]]]:
    """Column -> (steps, finite values), for the columns that change."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    passive = {"step", "epoch", "time", "seconds", "stage"}
    for name in dict.fromkeys(key for row in rows for key in row if key and key not in passive):
        pairs = [(float(row.get("step") or number), _float(row.get(name))) for number, row in enumerate(rows)]
        kept = [(step, value) for step, value in pairs if math.isfinite(value)]
        if len({value for _, value in kept}) > 1:
            found[name] = ([step for step, _ in kept], [value for _, value in kept])
    return found


def _float(text: str | None) -> float:
    try:
        return float(text) if text else math.nan
    except ValueError:
        return math.nan


def _smoothed(values: Sequence[float]) -> NDArray[np.float64]:
    """Running mean over a fortieth of the curve, shorter at its ends."""
    width = max(1, len(values) // 40)
    kernel = np.ones(2 * width + 1)
    mean: NDArray[np.float64] = np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")
    return mean


def _colour_bar(figure: Any, drawn: Any, axes: Any, ticks: list[float], scale: Any, label: str) -> None:
    bar = figure.colorbar(drawn, ax=axes, fraction=0.03, pad=0.02, label=label)
    bar.set_ticks([scale(tick) for tick in ticks], labels=[f"{tick:g}" for tick in ticks])
    bar.outline.set_visible(False)


@contextmanager
def _figure(size: tuple[float, float]) -> Iterator[tuple[Any, Callable[[], str]]]:
    """A figure in the house style, without touching the global state of matplotlib, and a function that returns its data URI."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)

        def save() -> str:
            buffer = io.BytesIO()
            figure.savefig(buffer, format="svg", metadata={"Date": None})
            return f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode()}"

        yield figure, save
