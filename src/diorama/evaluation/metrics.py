"""From the per-frame table to numbers that carry their protocol, with bootstrap intervals over images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diorama.evaluation import confidence, depth, resample, semantics
from diorama.evaluation.protocol import UNITS, Better, Measured, Protocol
from diorama.evaluation.table import FrameTable

Float = NDArray[np.float64]

METRICS: dict[str, tuple[str, Better]] = {**semantics.METRICS, **depth.METRICS, "ause": ("m", "lower"), **confidence.METRICS}
"""Name -> unit and direction of every metric; `ause` is the mean over images, whatever the aggregation. `score` reports what is in
metres here in the protocol's unit."""


def score(table: FrameTable, protocol: Protocol, draws: int = resample.DRAWS) -> dict[str, Measured]:
    """Every metric the table allows, by name.

    Semantics come from the one confusion matrix of all frames. Depth is pooled or the mean of per-image values, as the protocol says;
    frames without a counted pixel are left out. `frames` of a number is the number of frames it rests on.

    Args:
        table: merged rows of all processes.
        protocol: the numbers carry it; it also says whether depth is pooled, and the unit of lengths.
        draws: bootstrap draws for the intervals; 0 leaves them out.
    """
    once = weighted(table, protocol)
    drawn = weighted(table, protocol, resample.weights(len(table), draws)) if draws and len(table) > 1 else {}
    frames = _frames(table)
    found = {}
    for name, value in once.items():
        unit, better = METRICS[name]
        factor, unit = (UNITS[protocol.unit], protocol.unit) if unit == "m" else (1.0, unit)
        span = resample.interval(factor * drawn[name]) if drawn else None
        found[name] = Measured(name, factor * float(value), unit, better, frames[name], protocol, span)
    return found


def weighted(table: FrameTable, protocol: Protocol, weights: Float | None = None) -> dict[str, Float]:
    """Every metric `(draws,)` with frame i counted `weights[draw, i]` times; without weights the plain values `()`; lengths in metres.

    Args:
        table: merged rows of all processes.
        protocol: says whether depth is pooled.
        weights: `(draws, frames)`, None for the plain values.
    """
    values: dict[str, Float] = {}
    if "confusion" in table and table["confusion"].any():
        values |= semantics.semantic_metrics(*(_total(part, weights) for part in semantics.class_sums(table["confusion"])))
    if "depth/n" in table and table["depth/n"].any():
        sums = _depth_sums(table)
        if protocol.aggregation == "pooled":
            values |= depth.depth_metrics({key: _total(column, weights) for key, column in sums.items()})
        else:
            values |= {key: _mean(column, np.isfinite(column), weights) for key, column in depth.depth_metrics(sums).items()}
    if "ause/n" in table and table["ause/n"].any():
        values["ause"] = _mean(table["ause/sum"], table["ause/n"] > 0, weights)
    if "confidence/n" in table:
        each = {name: (column, np.isfinite(column)) for name, column in confidence.confidence_metrics(table).items()}
        values |= {name: _mean(column, some, weights) for name, (column, some) in each.items() if some.any()}
    return values


def confusion_matrix(table: FrameTable) -> NDArray[np.int64] | None:
    """`(K, K + 1)` counts of all frames, None without semantics."""
    if "confusion" not in table:
        return None
    total: NDArray[np.int64] = table["confusion"].sum(axis=0)
    return total


def frame_metrics(table: FrameTable) -> dict[str, Float]:
    """Per-frame values `(n,)` of each metric for frames.csv and for choosing frames; lengths in metres, nan without a counted pixel."""
    values: dict[str, Float] = {}
    if "confusion" in table:
        values |= semantics.semantic_metrics(*semantics.class_sums(table["confusion"]))
    if "depth/n" in table:
        values |= depth.depth_metrics(_depth_sums(table))
        values["scale"] = table["depth/scale"]
    if "ause/n" in table:
        values["ause"] = np.where(table["ause/n"] > 0, table["ause/sum"], np.nan)
    if "confidence/n" in table:
        values |= {name: column for name, column in confidence.confidence_metrics(table).items() if np.isfinite(column).any()}
    return values


def _depth_sums(table: FrameTable) -> dict[str, Float]:
    # tables stored before heights were judged count every pixel
    kept = {"relative": "n"} if "depth/relative" not in table else {}
    return {key: table[f"depth/{kept.get(key, key)}"] for key in (*depth.COUNTS, *depth.SUMS)}


def _frames(table: FrameTable) -> dict[str, int]:
    """How many frames each metric rests on."""
    labelled = int((table["confusion"].sum(axis=(1, 2)) > 0).sum()) if "confusion" in table else 0
    sums = _depth_sums(table) if "depth/n" in table else {}
    measured, raised = (int((sums[key] > 0).sum()) if sums else 0 for key in ("n", "relative"))
    found = {
        **dict.fromkeys(semantics.METRICS, labelled),
        **dict.fromkeys((*depth.METRICS, "ause"), measured),
        **dict.fromkeys(depth.RELATIVE, raised),
    }
    if "confidence/n" in table:
        found |= {name: int(np.isfinite(column).sum()) for name, column in confidence.confidence_metrics(table).items()}
    return found


def _total(column: Float, weights: Float | None) -> Float:
    """Sum over frames. The plain one is NumPy's own, in the order of the rows: a matrix product may add in another order."""
    return np.asarray(column.sum(axis=0)) if weights is None else np.asarray(weights @ column)


def _mean(each: Float, some: NDArray[np.bool_], weights: Float | None) -> Float:
    """Mean over the frames that have a value."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return _total(np.where(some, each, 0.0), weights) / _total(some.astype(np.float64), weights)
