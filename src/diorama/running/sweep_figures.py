"""The charts of depth completion as SVG inside a page: sweeps over the input, error by class, distance and density, calibration."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from diorama.errors import ConfigError
from diorama.evaluation.breakdown import Breakdown
from diorama.evaluation.calibration import LEVELS, Calibration
from diorama.evaluation.density import DensityBreakdown, range_names
from diorama.running import figures
from diorama.running.figures import FAINT, INK, RULE

if TYPE_CHECKING:
    from diorama.running.sweep import SweepRow

COLOURS = ("#2f6db5", "#e0782f", "#3a9d6e", "#b5485d", "#7b5ea7", "#8a7a3c", "#4aa3b8", "#5b6470")
"""One for each model, in the order they come."""

_LOGARITHMIC = ("points", "scan lines")


def svg(uri: str) -> bytes:
    """The SVG file inside the data URI of a chart."""
    return base64.b64decode(uri.partition(",")[2])


def sweep_chart(rows: Sequence[SweepRow], metric: str = "rmse") -> str:
    """`metric` over each axis of a sweep, a line for each model; whiskers are the 95 % intervals of the RMSE.

    Args:
        rows: of one or more models.
        metric: one of `sweep.METRICS`.

    Raises:
        ConfigError: there are no rows, they do not have the metric, or their units differ.
    """
    units = {row.unit for row in rows}
    if len(units) != 1 or not all(metric in row.values for row in rows):
        raise ConfigError(f"these rows do not have one {metric} in one unit. Plot sweeps of one protocol.")
    axes_names, models = list(dict.fromkeys(row.axis for row in rows)), list(dict.fromkeys(row.model for row in rows))
    columns = min(3, len(axes_names))
    lines = math.ceil(len(axes_names) / columns)
    unit = f" [{units.pop()}]" if metric in ("rmse", "mae") else ""
    with figures._figure((3.5 * columns, 2.5 * lines + 0.4)) as (figure, save):
        grid = figure.subplots(lines, columns, squeeze=False)
        for axes, name in zip(grid.flat, axes_names, strict=False):
            for place, (colour, model) in enumerate(zip(_colours(models), models, strict=True)):
                aside = 0.5 * ((place + 0.5) / len(models) - 0.5)  # of kinds, models stand beside each other
                _sweep_line(axes, [row for row in rows if (row.axis, row.model) == (name, model)], metric, colour, model, aside)
            axes.set_title(name)
            axes.set_ylabel(f"{metric.upper() if metric in ('rmse', 'mae') else metric}{unit}")
            axes.set_ylim(bottom=0)
            _ruled(axes)
        for axes in list(grid.flat)[len(axes_names) :]:
            axes.set_visible(False)
        if len(models) > 1:
            figure.legend(*grid.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(models)))
        return save()


def _sweep_line(axes: Any, rows: Sequence[SweepRow], metric: str, colour: str, model: str, aside: float) -> None:
    if not rows:
        return
    values = [row.values[metric] for row in rows]
    numeric = [row.value for row in rows if row.value is not None]
    ordered = len(numeric) == len(rows)
    places: Sequence[float] = numeric if ordered else [place + aside for place in range(len(rows))]
    axes.plot(places, values, color=colour, marker="o", markersize=3, linewidth=1.4 if ordered else 0, label=model)
    if metric == "rmse" and all(row.interval for row in rows):
        spread = [[abs(row.interval[side] - value) for row, value in zip(rows, values, strict=True) if row.interval] for side in (0, 1)]
        axes.errorbar(places, values, spread, fmt="none", ecolor=colour, elinewidth=0.8, capsize=1.5)
    if not ordered:
        axes.set_xticks(range(len(rows)), [row.setting for row in rows])
        axes.set_xlim(-0.5, len(rows) - 0.5)
    elif rows[0].axis in _LOGARITHMIC:
        axes.set_xscale("log")
        axes.set_xticks(places, [row.setting for row in rows])
        axes.minorticks_off()


def comparison_chart(found: Mapping[str, Breakdown], classes: Sequence[str] = ()) -> str:
    """RMSE [m] of several models by class and by distance range, with 95 % intervals over images.

    Args:
        found: model -> breakdown; `breakdown(..., into=STREET_RANGES)` gives the ranges of completion papers.
        classes: the ones to show, in this order; empty: no panel of classes.

    Raises:
        ConfigError: the breakdowns have other classes or ranges, or a class that is asked for is none of theirs.
    """
    first = next(iter(found.values()), None)
    if first is None or any((other.classes, other.edges) != (first.classes, first.edges) for other in found.values()):
        raise ConfigError("the breakdowns differ in classes or ranges. Evaluate all models on one data set.")
    unknown = [name for name in classes if name not in first.classes]
    if unknown:
        raise ConfigError(f"no class '{unknown[0]}' in the breakdown. Choose among {', '.join(first.classes)}.")
    panels = [name for name, shown in (("class", bool(classes)), ("true distance", True)) if shown]
    with figures._figure((5.2 * len(panels), 3.0)) as (figure, save):
        grid = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, panel in zip(grid, panels, strict=True):
            labels = list(classes) if panel == "class" else first.range_names()
            for place, (model, each) in enumerate(found.items()):
                if panel == "class":
                    rows = [each.classes.index(name) for name in classes]
                    values, spans = each.marginal((1, 2))[0][rows], each.class_interval[rows]
                else:
                    values, spans = each.marginal((0, 2))[0], each.distance_interval
                _bars(axes, values, spans, place, len(found), _colours(list(found))[place], model)
            axes.set_xticks(range(len(labels)), labels)
            axes.set_xlabel(panel)
            axes.set_ylabel("RMSE [m]")
            _ruled(axes)
        if len(found) > 1:
            grid[0].legend()
        return save()


def density_chart(found: Mapping[str, DensityBreakdown]) -> str:
    """RMSE [m] of several models by the local density of input points, above the part of the pixels in each range."""
    names = range_names()
    with figures._figure((7.6, 4.1)) as (figure, save):
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        for place, (model, each) in enumerate(found.items()):
            colour = _colours(list(found))[place]
            _bars(top, each.rmse, each.rmse_interval, place, len(found), colour, model)
            part = 100 * each.counts / max(1, int(each.counts.sum()))
            _bars(bottom, part, None, place, len(found), colour, model)
        top.set_ylabel("RMSE [m]")
        bottom.set_ylabel("% of pixels")
        bottom.set_xticks(range(len(names)), names)
        bottom.set_xlabel("pixels with an input point, of the 33x33 around")
        for axes in (top, bottom):
            _ruled(axes)
        if len(found) > 1:
            top.legend()
        return save()


def calibration_chart(found: Mapping[str, Calibration]) -> str:
    """Predicted against observed error [m] and expected against found coverage, by what the legend calls them.

    The thin lines are those of a calibrated model.
    """
    with figures._figure((7.6, 3.6)) as (figure, save):
        left, right = figure.subplots(1, 2)
        ends = np.concatenate([np.concatenate([each.predicted, each.observed]) for each in found.values()])
        ends = ends[ends > 0]
        span = (float(ends.min()), float(ends.max())) if ends.size else (1e-3, 1.0)
        left.plot(span, span, color=FAINT, linewidth=0.8)
        right.plot((0, 100), (0, 100), color=FAINT, linewidth=0.8)
        for colour, (model, each) in zip(_colours(list(found)), found.items(), strict=True):
            left.plot(each.predicted, each.observed, color=colour, marker="o", markersize=3, label=model)
            right.plot(100 * np.array(LEVELS), 100 * each.covered, color=colour, marker="o", markersize=3)
        left.set(xscale="log", yscale="log", xlabel="predicted error [m]", ylabel="observed error [m]")
        right.set(xlabel="expected inside the interval [%]", ylabel="found inside [%]")
        for axes in (left, right):
            _ruled(axes)
        left.legend()
        return save()


def _bars(axes: Any, values: Any, spans: Any, place: int, count: int, colour: str, label: str) -> None:
    width = 0.8 / count
    places = np.arange(len(values)) + (place - (count - 1) / 2) * width
    heights = np.nan_to_num(values)
    axes.bar(places, heights, 0.92 * width, color=colour, label=label)
    if spans is not None:
        whiskers = np.nan_to_num(np.abs(spans.T - values))
        axes.errorbar(places, heights, whiskers, fmt="none", ecolor=INK, elinewidth=0.8, capsize=1.5)


def _ruled(axes: Any) -> None:
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=8)


def _colours(models: Sequence[str]) -> list[str]:
    return [COLOURS[place % len(COLOURS)] for place in range(len(models))]
