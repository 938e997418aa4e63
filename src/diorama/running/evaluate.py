"""Evaluate any model on any data set under a protocol: NumPy images in, numbers with their protocol out.

Needs no torch: `predict` is a callable from a float32 RGB batch `(B, 3, H, W)` in 0..1 to a `Prediction` of arrays. A torch method
becomes one with `diorama.running.torch_predictor`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from diorama.data.base import SceneDataset
from diorama.data.labels import LabelSet
from diorama.errors import ConfigError, DataError, ModelError, ProtocolError
from diorama.evaluation import metrics
from diorama.evaluation.breakdown import Breakdown, breakdown, breakdown_columns, ranges_for
from diorama.evaluation.depth import as_array, depth_columns, prepared, scale_factor, to_truth_size
from diorama.evaluation.protocols import Measured, Protocol, by_name
from diorama.evaluation.semantics import classes_of, confusion
from diorama.evaluation.table import FrameTable, merge
from diorama.evaluation.uncertainty import ause
from diorama.types import Frame, Prediction

Predict = Callable[[NDArray[np.float32]], Prediction]
Gather = Callable[[Any], list[Any]]
"""Object of this process -> the objects of all processes, on every process."""

Single = tuple[NDArray[Any] | None, NDArray[Any] | None, NDArray[Any] | None]
"""Logits (K, h, w), depth (1, h, w), uncertainty (1, h, w) of one image."""


@dataclass
class Example:
    """One frame worth looking at: what was seen, what is true and what was predicted, at the truth's size."""

    frame: int
    name: str
    why: str
    image: NDArray[np.uint8]
    values: dict[str, float]
    semantic: NDArray[np.uint8] | None = None
    predicted_semantic: NDArray[np.uint8] | None = None
    depth: NDArray[np.float32] | None = None
    predicted_depth: NDArray[np.float64] | None = None
    valid: NDArray[np.bool_] | None = None


@dataclass
class Evaluation:
    """What an evaluation found. `values` by metric name; `rows` is the per-frame table of all processes."""

    protocol: Protocol
    values: dict[str, Measured]
    rows: FrameTable
    labels: LabelSet | None
    confusion: NDArray[np.int64] | None
    breakdown: Breakdown | None
    seconds: float
    examples: list[Example] = field(default_factory=list)

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
    draws: int = 1000,
) -> Evaluation:
    """Score `predict` on every frame of `dataset`; the same bits for any number of processes.

    Args:
        predict: float32 RGB `(B, 3, h, w)` in 0..1 -> `Prediction` of arrays (or tensors).
        dataset: read in the order of its ids; this process takes `range(rank, n, world)`, without padding.
        protocol: or its name. Data set, split, truth size and number of frames are filled in from the data.
        batch_size: images per call of `predict`.
        size: `(h, w)` the image is resized to (area when shrinking); the truth keeps its size. None: as stored.
        rank: number of this process.
        world: number of processes.
        gather: see `Gather`; needed when world > 1.
        progress: draw a progress bar (on the first process).
        examples: how many of the best, of the median and of the worst frames to keep for a report, per task.
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
    rules = _bound(by_name(protocol) if isinstance(protocol, str) else protocol, dataset)
    reader = _Reader(dataset, size, batch_size, rules.flip, predict)
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
    values = metrics.score(rows, rules, draws)
    if not values:
        raise DataError(
            f"{dataset.name} {dataset.split}: truth and prediction share neither semantics nor depth. Choose data with labels or depth."
        )
    names = dataset.labels.classes if dataset.labels else ()
    found = Evaluation(
        protocol=rules, values=values, rows=rows, labels=dataset.labels, confusion=metrics.confusion_matrix(rows),
        breakdown=breakdown(rows, names, ranges_for(rules.cap)) if draws else None, seconds=time.perf_counter() - began,
    )  # fmt: skip
    if examples and rank == 0:
        found.examples = _examples(reader, found, examples)
    return found


def _bound(protocol: Protocol, dataset: SceneDataset) -> Protocol:
    """The protocol on this very data set.

    Raises:
        ProtocolError: the label set has another number of classes.
    """
    classes = len(dataset.labels) if dataset.labels else None
    if protocol.classes is not None and classes is not None and protocol.classes != classes:
        raise ProtocolError(
            f"protocol '{protocol.name}' has {protocol.classes} classes, {dataset.name} was loaded with {classes}. "
            f"Load the data with {protocol.classes} classes or choose another protocol (`diorama evaluate --list-protocols`)."
        )
    return replace(protocol, dataset=dataset.name, split=dataset.split, classes=classes)


class _Reader:
    """Frames in batches of one image size, with what the model says about them."""

    def __init__(self, dataset: SceneDataset, size: tuple[int, int] | None, batch_size: int, flip: bool, predict: Predict) -> None:
        self.dataset, self.size, self.flip, self.predict = dataset, size, flip, predict
        self.batch_size = min(batch_size, len(dataset))

    def __call__(self, frames: Sequence[int]) -> Iterator[tuple[int, Frame, Single]]:
        group: list[tuple[int, Frame, NDArray[np.float32]]] = []
        for number in frames:
            frame = self.dataset.frame(number)
            image = network_image(frame["image"], self.size)
            if group and (len(group) == self.batch_size or group[0][2].shape != image.shape):
                yield from self._run(group, fill=False)
                group = []
            group.append((number, frame, image))
        if group:
            yield from self._run(group, fill=True)

    def _run(self, group: list[tuple[int, Frame, NDArray[np.float32]]], fill: bool) -> Iterator[tuple[int, Frame, Single]]:
        images = [image for _, _, image in group]
        if fill:
            # kernels may round differently at another batch size, and every shard ends with a short batch
            images += [images[-1]] * (self.batch_size - len(images))
        batch = np.stack(images)
        outputs = self._outputs(batch, len(group))
        for row, (number, frame, _) in enumerate(group):
            yield number, frame, (_row(outputs[0], row), _row(outputs[1], row), _row(outputs[2], row))

    def _outputs(self, batch: NDArray[np.float32], count: int) -> Single:
        said = self.predict(batch)
        plain = tuple(_first(part, count) for part in (said.semantic_logits, said.depth, said.uncertainty))
        if not self.flip:
            return plain[0], plain[1], plain[2]
        said = self.predict(np.ascontiguousarray(batch[..., ::-1]))
        mirrored = tuple(_first(part, count) for part in (said.semantic_logits, said.depth, said.uncertainty))
        both = [None if a is None or b is None else (a + b[..., ::-1]) / 2 for a, b in zip(plain, mirrored, strict=True)]
        return both[0], both[1], both[2]


def network_image(image: NDArray[np.uint8], size: tuple[int, int] | None) -> NDArray[np.float32]:
    """`(H, W, 3)` uint8 RGB -> `(3, h, w)` float32 in 0..1; area-averaged when shrinking, bilinear when enlarging."""
    if size is not None and image.shape[:2] != tuple(size):
        shrinks = size[0] <= image.shape[0] and size[1] <= image.shape[1]
        image = np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), np.uint8)
    return np.ascontiguousarray(image.transpose(2, 0, 1), np.float32) / np.float32(255.0)


def _first(part: Any, count: int) -> NDArray[Any] | None:
    return None if part is None else as_array(part)[:count]


def _row(part: NDArray[Any] | None, row: int) -> NDArray[Any] | None:
    return None if part is None else part[row]


def _score_frames(
    reader: _Reader, frames: Sequence[int], protocol: Protocol, factor: float | None, advance: Callable[[], None]
) -> tuple[FrameTable, set[str]]:
    table, sizes = FrameTable(), set()
    for number, frame, (logits, depth, uncertainty) in reader(frames):
        truth = frame.get("semantic", frame.get("depth"))
        if truth is not None:
            sizes.add(f"{truth.shape[0]}x{truth.shape[1]}")
        table.add(number, reader.dataset.ids[number], _columns(frame, logits, depth, uncertainty, protocol, factor))
        advance()
    return table, sizes


def _columns(
    frame: Frame, logits: NDArray[Any] | None, depth: NDArray[Any] | None, uncertainty: NDArray[Any] | None,
    protocol: Protocol, factor: float | None,
) -> dict[str, Any]:  # fmt: skip
    """All columns of one frame: those of a task need both its truth and its prediction."""
    columns: dict[str, Any] = {}
    semantic, found = frame.get("semantic"), None
    if semantic is not None and logits is not None and protocol.classes:
        if len(logits) != protocol.classes:
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
            truth, scaled, valid, semantic if fits else None, found if fits else None, protocol.classes or 0, ranges_for(protocol.cap)
        )
        if uncertainty is not None:
            spread = to_truth_size(uncertainty, truth.shape)[valid].astype(np.float64)
            area = ause(np.abs(scaled[valid] - truth[valid]), spread)
            columns |= {"ause/n": int(valid.sum()), "ause/sum": area}
    return columns


def _global_factor(reader: _Reader, frames: Sequence[int], protocol: Protocol, collect: Gather, advance: Callable[[], None]) -> float:
    """Median over the data set of each image's median(truth) / median(prediction)."""
    factors = []
    for _, frame, (_, depth, _) in reader(frames):
        truth = frame.get("depth")
        if truth is not None and depth is not None:
            valid = protocol.valid(truth)
            if valid.any():
                factors.append(scale_factor(truth, to_truth_size(depth, truth.shape), valid))
        advance()
    together = [factor for part in collect(factors) for factor in part]
    return float(np.median(together)) if together else 1.0


def _examples(reader: _Reader, found: Evaluation, count: int) -> list[Example]:
    """Best, median and worst frames of each task, predicted once more."""
    each = metrics.frame_metrics(found.rows)
    chosen: dict[int, list[str]] = {}
    for name, label, sign in (("miou", "semantics", -1.0), ("rmse", "depth", 1.0)):
        if name not in each or name not in found.values:
            continue
        order = [row for row in np.argsort(sign * each[name], kind="stable") if np.isfinite(each[name][row])]
        middle = max(0, len(order) // 2 - count // 2)
        picks = {"best": order[:count], "median": order[middle : middle + count], "worst": order[::-1][:count]}
        for kind, rows in picks.items():
            for row in rows:
                chosen.setdefault(int(row), []).append(f"{kind} {label}")
    examples = []
    numbers = found.rows.frames
    reasons = {int(numbers[row]): (row, why) for row, why in chosen.items()}
    for number, frame, (logits, depth, _) in reader(list(reasons)):
        row, why = reasons[number]
        values = {name: float(column[row]) for name, column in each.items()}
        examples.append(_example(number, reader.dataset.ids[number], ", ".join(why), frame, logits, depth, values, found.protocol))
    return examples


def _example(
    number: int, name: str, why: str, frame: Frame, logits: NDArray[Any] | None, depth: NDArray[Any] | None,
    values: dict[str, float], protocol: Protocol,
) -> Example:  # fmt: skip
    shown = Example(number, name, why, frame["image"], values)
    semantic, truth = frame.get("semantic"), frame.get("depth")
    if semantic is not None and logits is not None:
        shown.semantic, shown.predicted_semantic = semantic, classes_of(logits, semantic.shape)
    if truth is not None and depth is not None:
        shown.depth, shown.valid = truth, protocol.valid(truth)
        shown.predicted_depth = prepared(to_truth_size(depth, truth.shape), protocol, values.get("scale", 1.0))
    return shown


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
