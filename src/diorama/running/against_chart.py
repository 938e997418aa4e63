"""The plot of a model against its teacher, as SVG and PNG."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from diorama.running.against_teacher import CONFIDENCE, METRICS, VIEWS, Against, Compared
from diorama.running.figures import _STYLE, BLUE, INK, ORANGE, RULE

_LABELS = {"abs_rel": "Abs Rel", "rmse": "RMSE [m]"}
_WHO = (("teacher", ORANGE, "teacher (stereo)"), ("model", BLUE, "model (one photo)"))


def chart_files(found: Against) -> tuple[bytes, bytes]:
    """SVG and PNG: Abs Rel and RMSE of both over the teacher's confidence and by the agreement of its views, above the pixels in each."""
    panels = [groups for groups in (found.of(CONFIDENCE), found.of(VIEWS)) if groups]
    with rc_context(_STYLE):
        figure = Figure(figsize=(8.4, 6.4), layout="constrained", facecolor="white")
        grid = figure.subplots(
            len(METRICS) + 1, len(panels), sharex="col", squeeze=False, height_ratios=[3] * len(METRICS) + [1],
            width_ratios=[max(3, len(groups)) for groups in panels],
        )  # fmt: skip
        for column, groups in enumerate(panels):
            for row, metric in enumerate(METRICS):
                _errors(grid[row, column], groups, metric, label=_LABELS[metric] if column == 0 else "")
            _pixels(grid[-1, column], groups, label="% of pixels" if column == 0 else "")
            grid[-1, column].set_xlabel("confidence of the teacher" if groups[0].by == CONFIDENCE else "its two views")
        grid[0, 0].legend()
        figure.suptitle(f"{found.protocol.name}, {found.frames} frames, 95 % intervals over frames", x=0.01, ha="left", fontsize=9)
        return _saved(figure, FigureCanvasSVG, "svg", metadata={"Date": None}), _saved(figure, FigureCanvasAgg, "png", dpi=160)


def _errors(axes: Any, groups: list[Compared], metric: str, label: str) -> None:
    places = np.arange(len(groups))
    for (who, colour, name), aside in zip(_WHO, (-0.2, 0.2), strict=True):
        values = np.array([group.values[f"{who}_{metric}"] for group in groups])
        spans = np.array([group.intervals[f"{who}_{metric}"] for group in groups]).T
        axes.bar(places + aside, values, 0.38, color=colour, label=name)
        if np.isfinite(spans).any():
            axes.errorbar(
                places + aside, values, np.nan_to_num(np.abs(spans - values)), fmt="none", ecolor=INK, elinewidth=0.8, capsize=1.5
            )
    axes.set_ylabel(label)
    _ruled(axes)


def _pixels(axes: Any, groups: list[Compared], label: str) -> None:
    counts = np.array([group.pixels for group in groups], np.float64)
    axes.bar(np.arange(len(groups)), 100 * counts / counts.sum(), 0.76, color="#a9b4c2")
    axes.set_xticks(np.arange(len(groups)), [group.name.removeprefix("views ") for group in groups])
    axes.set_ylabel(label)
    _ruled(axes)


def _ruled(axes: Any) -> None:
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=7.5)


def _saved(figure: Figure, canvas: Any, kind: str, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    canvas(figure)
    figure.savefig(buffer, format=kind, facecolor="white", **settings)
    return buffer.getvalue()
