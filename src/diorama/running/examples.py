"""The frames worth looking at: best, median and worst of each task, with what is true and what was predicted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diorama.evaluation.depth import prepared, to_truth_size
from diorama.evaluation.metrics import frame_metrics
from diorama.evaluation.protocols import Protocol
from diorama.evaluation.semantics import classes_of
from diorama.evaluation.table import FrameTable
from diorama.running.batches import PredictedFrames, Single
from diorama.types import Frame


@dataclass
class Example:
    """One frame worth looking at: what was seen, what is true and what was predicted, at the truth's size."""

    frame: int
    name: str
    why: str
    image: NDArray[np.uint8] | None
    values: dict[str, float]
    semantic: NDArray[np.uint8] | None = None
    predicted_semantic: NDArray[np.uint8] | None = None
    depth: NDArray[np.float32] | None = None
    predicted_depth: NDArray[np.float64] | None = None
    valid: NDArray[np.bool_] | None = None
    sparse_depth: NDArray[np.float32] | None = None


def pick(table: FrameTable, count: int) -> dict[int, list[str]]:
    """Frame number -> why it is shown ("worst depth", ...): `count` each of best, median and worst mIoU and RMSE."""
    each, chosen = frame_metrics(table), dict[int, list[str]]()
    for name, label, sign in (("miou", "semantics", -1.0), ("rmse", "depth", 1.0)):
        if name not in each:
            continue
        order = [row for row in np.argsort(sign * each[name], kind="stable") if np.isfinite(each[name][row])]
        middle = max(0, (len(order) - count) // 2)
        for kind, rows in (("best", order[:count]), ("median", order[middle : middle + count]), ("worst", order[::-1][:count])):
            for row in rows:
                chosen.setdefault(int(table.frames[row]), []).append(f"{kind} {label}")
    return chosen


def examples(frames: PredictedFrames, table: FrameTable, protocol: Protocol, count: int) -> list[Example]:
    """The frames that `pick` chooses, predicted once more, in the order of their choice."""
    chosen, numbers = pick(table, count), table.frames
    each = frame_metrics(table)
    found = []
    for number, frame, single in frames(list(chosen)):
        row = int(np.flatnonzero(numbers == number)[0])
        values = {name: float(column[row]) for name, column in each.items()}
        found.append(
            _example(Example(number, table.ids[row], ", ".join(chosen[number]), frame.get("image"), values), frame, single, protocol)
        )
    return found


def _example(shown: Example, frame: Frame, single: Single, protocol: Protocol) -> Example:
    logits, depth = single[:2]
    semantic, truth = frame.get("semantic"), frame.get("depth")
    shown.sparse_depth = frame.get("sparse_depth")
    if semantic is not None and logits is not None:
        shown.semantic, shown.predicted_semantic = semantic, classes_of(logits, semantic.shape)
    if truth is not None and depth is not None:
        shown.depth, shown.valid = truth, protocol.valid(truth)
        shown.predicted_depth = prepared(to_truth_size(depth, truth.shape), protocol, shown.values.get("scale", 1.0))
    return shown
