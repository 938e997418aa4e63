"""Evaluate any model on any data set under a protocol: NumPy in, numbers with their protocol out.

Needs no torch: `predict` is a callable from `Inputs` (RGB in 0..1, sparse depth, or both) to a `Prediction` of arrays. A torch method
becomes one with `diorama.running.torch_predictor`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from diorama.data.base import SceneDataset
from diorama.data.labels import LabelSet
from diorama.errors import ConfigError, DataError, ModelError, ProtocolError
from diorama.evaluation import metrics
from diorama.evaluation.breakdown import Breakdown, breakdown, breakdown_columns, ranges_for
from diorama.evaluation.calibration import Calibration, calibration, calibration_columns
from diorama.evaluation.confidence import confidence_columns
from diorama.evaluation.density import DensityBreakdown, density_breakdown, density_columns
from diorama.evaluation.depth import depth_columns, prepared, scale_factor, to_truth_size
from diorama.evaluation.points import points_of
from diorama.evaluation.protocols import Measured, Protocol, by_name
from diorama.evaluation.semantics import classes_of, confusion
from diorama.evaluation.table import FrameTable, merge
from diorama.evaluation.uncertainty import ause
from diorama.running.batches import Predict, PredictedFrames, Single
from diorama.running.examples import Example
from diorama.running.examples import examples as chosen_examples
from diorama.running.resized import resized
from diorama.types import Frame

Gather = Callable[[Any], list[Any]]
"""Object of this process -> the objects of all processes, on every process."""


@dataclass
class Evaluation:
    """What an evaluation found. `values` by metric name; `rows` is the per-frame table of all processes."""

    protocol: Protocol
    values: dict[str, Measured]
    rows: FrameTable
    labels: LabelSet | None
    confusion: NDArray[np.int64] | None
    breakdown: Breakdown | None
    seconds: float = 0.0
    examples: list[Example] = field(default_factory=list)
    density: DensityBreakdown | None = None
    """By density of the input points; None without them."""
    calibration: list[Calibration] = field(default_factory=list)
    """Of the uncertainty, under either law; empty without one."""

    def __getitem__(self, name: str) -> float:
        """The plain value of metric `name`."""
        return self.values[name].value


def evaluate_model(
    predict: Predict,
    dataset: SceneDataset,
    protocol: Protocol | str,
    *,
    size: tuple[int, int] | None = None,
    batch_size: int = 8,
    rank: int = 0,
    world: int = 1,
    gather: Gather | None = None,
    progress: bool = True,
    examples: int = 0,
    inputs: Sequence[str] = ("image",),
    draws: int = 1000,
) -> Evaluation:
    """Score `predict` on every frame of `dataset`; the same bits for any number of processes.

    Args:
        predict: `Inputs` -> `Prediction` of arrays (or tensors).
        dataset: read in the order of its ids; this process takes `range(rank, n, world)`, without padding. Where its truth is not the
            protocol's usual one, the data set says so in an attribute `truth` ("raw depth").
        protocol: or its name. Data set, split, truth, its size and the number of frames are filled in from the data.
        batch_size: images per call of `predict`.
        size: `(h, w)` the input is resized to (area when shrinking); the truth keeps its size. None: as stored.
        rank: number of this process.
        world: number of processes.
        gather: see `Gather`; needed when world > 1.
        progress: draw a progress bar (on the first process).
        examples: how many of the best, of the median and of the worst frames to keep for a report, per task.
        inputs: keys of the frames that `predict` is given.
        draws: bootstrap draws for the intervals over images; 0 leaves them out.

    Raises:
        ProtocolError: the number of classes is not the protocol's.
        DataError: the data set is empty or has nothing to score against.
        ModelError: the prediction does not fit the labels, or is not finite.
    """
    if world > 1 and gather is None:
        raise ConfigError(f"evaluation on {world} processes needs a way to gather their tables. Pass gather=torch_gather.")
    if not len(dataset):
        raise DataError(f"{dataset.name} {dataset.split}: no frames to evaluate. Check the folder with `diorama data check`.")
    began = time.perf_counter()
    rules = by_name(protocol) if isinstance(protocol, str) else protocol
    dataset = resized(dataset, rules)
    rules = _bound(rules, dataset)
    reader = PredictedFrames(dataset, size, batch_size, rules.flip, predict, inputs)
    frames = range(rank, len(dataset), world)
    collect = gather or (lambda item: [item])
    passes = 2 if rules.align == "median_global" else 1
    with _bar(progress and rank == 0, passes * len(frames)) as advance:
        factor = None
        if rules.align == "median_global":
            factor = _global_factor(reader, frames, rules, collect, advance)
        table, sizes = _score_frames(reader, frames, rules, factor, advance)
    shards = collect((table, sizes))
    rows = merge(part for part, _ in shards)
    known = sorted(set().union(*(part for _, part in shards)))
    rules = replace(rules, truth_size=known[0] if len(known) == 1 else "mixed", frames=len(dataset))
    found = _measured(rows, rules, dataset, draws)
    found.seconds = time.perf_counter() - began
    if examples and rank == 0:
        found.examples = chosen_examples(reader, rows, rules, examples)
    return found


def _measured(rows: FrameTable, rules: Protocol, dataset: SceneDataset, draws: int) -> Evaluation:
    """Everything that the per-frame table says.

    Raises:
        DataError: nothing was scored.
    """
    values = metrics.score(rows, rules, draws)
    if not values:
        raise DataError(
            f"{dataset.name} {dataset.split}: truth and prediction share neither semantics nor depth nor disparity. "
            "Choose data with what the model predicts, and a protocol for it."
        )
    names = dataset.labels.classes if dataset.labels else ()
    found = Evaluation(
        protocol=rules, values=values, rows=rows, labels=dataset.labels, confusion=metrics.confusion_matrix(rows), breakdown=None
    )
    if draws:
        found.breakdown = breakdown(rows, names, ranges_for(rules.cap))
        found.density = density_breakdown(rows)
        found.calibration = [curve for law in ("laplace", "gaussian") if (curve := calibration(rows, law))]
    return found


def _bound(protocol: Protocol, dataset: SceneDataset) -> Protocol:
    """The protocol on this very data set.

    Raises:
        ProtocolError: the label set has another number of classes, or the input points are others.
    """
    classes = len(dataset.labels) if dataset.labels else None
    if protocol.classes is not None and classes is not None and protocol.classes != classes:
        raise ProtocolError(
            f"protocol '{protocol.name}' has {protocol.classes} classes, {dataset.name} was loaded with {classes}. "
            f"Load the data with {protocol.classes} classes or choose another protocol (`diorama evaluate --list-protocols`)."
        )
    truth = getattr(dataset, "truth", protocol.truth)
    bound = replace(protocol, dataset=dataset.name, split=dataset.split, classes=classes, truth=truth)
    return bound.given(points_of(dataset))


def _score_frames(
    reader: PredictedFrames, frames: Sequence[int], protocol: Protocol, factor: float | None, advance: Callable[[], None]
) -> tuple[FrameTable, set[str]]:
    table, sizes = FrameTable(), set()
    for number, frame, single in reader(frames):
        truth = frame.get("disparity") if protocol.tolerance_px else frame.get("semantic", frame.get("depth"))
        if truth is not None:
            sizes.add(f"{truth.shape[0]}x{truth.shape[1]}")
        table.add(number, reader.dataset.ids[number], _columns(frame, single, protocol, factor))
        advance()
    return table, sizes


def _columns(frame: Frame, single: Single, protocol: Protocol, factor: float | None) -> dict[str, Any]:
    """All columns of one frame: those of a task need both its truth and its prediction."""
    columns: dict[str, Any] = {}
    logits, depth, uncertainty, confidence, threshold = single
    semantic, found = frame.get("semantic"), None
    if semantic is not None and logits is not None and protocol.classes:
        # one logit beyond the classes is "ignore", which is never right
        if len(logits) not in (protocol.classes, protocol.classes + 1):
            raise ModelError(f"the model has {len(logits)} classes, the truth {protocol.classes}. Evaluate it on its own label set.")
        found = classes_of(logits, semantic.shape)
        columns["confusion"] = confusion(semantic, found, protocol.classes)
    truth = frame.get("depth")
    if truth is not None and depth is not None:
        predicted = to_truth_size(depth, truth.shape)
        columns |= depth_columns(truth, predicted, protocol, factor)
        valid = protocol.valid(truth)
        scaled = prepared(predicted, protocol, columns["depth/scale"])
        fits = semantic is not None and semantic.shape == truth.shape
        columns |= breakdown_columns(
            truth, scaled, valid, semantic if fits else None, found if fits else None, protocol.classes or 0, ranges_for(protocol.cap),
            protocol.relative_floor,
        )  # fmt: skip
        points = frame.get("sparse_depth")
        if points is not None and points.shape == truth.shape:
            columns |= density_columns(truth, scaled, valid, points, protocol.relative_floor)
        if uncertainty is not None:
            spread = to_truth_size(uncertainty, truth.shape)[valid].astype(np.float64)
            error = np.abs(scaled[valid] - truth[valid])
            columns |= {"ause/n": int(valid.sum()), "ause/sum": ause(error, spread), **calibration_columns(error, spread)}
    if confidence is not None and protocol.tolerance_px and "disparity" in frame:
        tau = None if threshold is None else float(threshold.reshape(-1)[0])
        columns |= confidence_columns(frame["matched"], frame["disparity"], confidence[0], protocol.tolerance_px, tau)
    return columns


def _global_factor(
    reader: PredictedFrames, frames: Sequence[int], protocol: Protocol, collect: Gather, advance: Callable[[], None]
) -> float:
    """Median over the data set of each image's median(truth) / median(prediction)."""
    factors = []
    for _, frame, single in reader(frames):
        depth = single[1]
        truth = frame.get("depth")
        if truth is not None and depth is not None:
            valid = protocol.valid(truth)
            if valid.any():
                factors.append(scale_factor(truth, to_truth_size(depth, truth.shape), valid))
        advance()
    together = [factor for part in collect(factors) for factor in part]
    return float(np.median(together)) if together else 1.0


def _bar(shown: bool, total: int) -> AbstractContextManager[Callable[[], None]]:
    """A context that gives a function to call after each frame; it draws a progress bar if `shown`."""
    return _Bar(total) if shown else nullcontext(lambda: None)


class _Bar:
    def __init__(self, total: int) -> None:
        columns = (TextColumn("evaluating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress, self._total = Progress(*columns, transient=True), total

    def __enter__(self) -> Callable[[], None]:
        self._progress.start()
        task = self._progress.add_task("evaluating", total=self._total)
        return lambda: self._progress.advance(task)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
