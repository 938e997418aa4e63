"""From the per-frame table to numbers that carry their protocol, with bootstrap intervals over images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diorama.evaluation import depth, resample, semantics
from diorama.evaluation.protocols import Better, Measured, Protocol
from diorama.evaluation.table import FrameTable

Float = NDArray[np.float64]


def score(table: FrameTable, protocol: Protocol, draws: int = resample.DRAWS) -> dict[str, Measured]:
    """Every metric the table allows, by name.

    Semantics come from the one confusion matrix of all frames. Depth is pooled or the mean of per-image values, as the protocol says;
    frames without a counted pixel are left out. `frames` of a number is the number of frames it rests on.

    Args:
        table: merged rows of all processes.
        protocol: the numbers carry it; it also says whether depth is pooled.
        draws: bootstrap draws for the intervals; 0 leaves them out.
    """
    weights = resample.weights(len(table), draws) if draws and len(table) > 1 else None
    found: dict[str, Measured] = {}
    if "confusion" in table:
        found |= _semantics(table, protocol, weights)
    if "depth/n" in table:
        found |= _depth(table, protocol, weights)
    return found


def confusion_matrix(table: FrameTable) -> NDArray[np.int64] | None:
    """`(K, K + 1)` counts of all frames, None without semantics."""
    if "confusion" not in table:
        return None
    total: NDArray[np.int64] = table["confusion"].sum(axis=0)
    return total


def frame_metrics(table: FrameTable) -> dict[str, Float]:
    """Per-frame values `(n,)` of each metric for frames.csv and for choosing frames; nan where a frame has no counted pixel."""
    values: dict[str, Float] = {}
    if "confusion" in table:
        values |= semantics.semantic_metrics(*semantics.class_sums(table["confusion"]))
    if "depth/n" in table:
        values |= depth.depth_metrics(_depth_sums(table))
        values["scale"] = table["depth/scale"]
    if "ause/n" in table:
        values["ause"] = np.where(table["ause/n"] > 0, table["ause/sum"], np.nan)
    return values


def _depth_sums(table: FrameTable) -> dict[str, Float]:
    return {key: table[f"depth/{key}"] for key in (*depth.COUNTS, *depth.SUMS)}


def _semantics(table: FrameTable, protocol: Protocol, weights: Float | None) -> dict[str, Measured]:
    matrices = table["confusion"]
    frames = int((matrices.sum(axis=(1, 2)) > 0).sum())
    if not frames:
        return {}
    values = semantics.semantic_metrics(*semantics.class_sums(matrices.sum(axis=0)))
    drawn = None
    if weights is not None:
        drawn = semantics.semantic_metrics(*(weights @ part for part in semantics.class_sums(matrices)))
    return _measured(values, drawn, semantics.METRICS, frames, protocol)


def _depth(table: FrameTable, protocol: Protocol, weights: Float | None) -> dict[str, Measured]:
    sums = _depth_sums(table)
    some = sums["n"] > 0
    frames = int(some.sum())
    if not frames:
        return {}
    if protocol.aggregation == "pooled":
        values = depth.depth_metrics({key: np.asarray(column.sum()) for key, column in sums.items()})
        drawn = depth.depth_metrics({key: weights @ column for key, column in sums.items()}) if weights is not None else None
    else:
        each = {key: np.where(some, column, 0.0) for key, column in depth.depth_metrics(sums).items()}
        values = {key: np.asarray(column[some].mean()) for key, column in each.items()}
        drawn = _weighted_means(each, some, weights)
    found = _measured(values, drawn, depth.METRICS, frames, protocol)
    return found | _ause(table, protocol, weights)


def _ause(table: FrameTable, protocol: Protocol, weights: Float | None) -> dict[str, Measured]:
    """Mean over images of the area under the sparsification error, whatever the aggregation of the depth metrics."""
    if "ause/n" not in table or not (table["ause/n"] > 0).any():
        return {}
    some = table["ause/n"] > 0
    each = {"ause": np.where(some, table["ause/sum"], 0.0)}
    values = {"ause": np.asarray(each["ause"][some].mean())}
    return _measured(values, _weighted_means(each, some, weights), {"ause": ("m", "lower")}, int(some.sum()), protocol)


def _weighted_means(each: dict[str, Float], some: NDArray[np.bool_], weights: Float | None) -> dict[str, Float] | None:
    if weights is None:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        return {key: (weights @ column) / (weights @ some.astype(np.float64)) for key, column in each.items()}


def _measured(
    values: dict[str, Float], drawn: dict[str, Float] | None, known: dict[str, tuple[str, Better]], frames: int, protocol: Protocol
) -> dict[str, Measured]:
    return {
        name: Measured(name, float(values[name]), unit, better, frames, protocol, resample.interval(drawn[name]) if drawn else None)
        for name, (unit, better) in known.items()
    }
