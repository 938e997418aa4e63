"""Evaluate a completion where the scan is all the truth: on returns withheld from its input, predicted once, counted in four ways."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rich.progress import track

from diorama.data.base import SceneDataset, WrappedDataset
from diorama.data.occlusion import Withheld, withhold
from diorama.data.scan import KITTI, Lidar
from diorama.data.sparsify import frame_seed
from diorama.errors import DataError
from diorama.evaluation import metrics
from diorama.evaluation.breakdown import breakdown, breakdown_columns, ranges_for
from diorama.evaluation.density import density_breakdown, density_columns
from diorama.evaluation.depth import depth_columns, prepared, to_truth_size
from diorama.evaluation.protocols import Protocol, by_name
from diorama.evaluation.table import FrameTable
from diorama.evaluation.withheld import SHARE, TARGETS, How, counted, input_text, truth_text
from diorama.running.batches import Predict, PredictedFrames
from diorama.running.evaluate import Evaluation
from diorama.types import Frame


class WithheldDataset(WrappedDataset):
    """The frames of `dataset` with a part of their sparse depth taken out: `sparse_depth` is the rest, `depth` what was taken.

    Args:
        dataset: with sparse depth and intrinsics; a frame whose `meta` describes its scanner is divided by that scanner's lines.
        how: `random` returns, or whole scan `lines`.
        share: of the returns, or of the lines.
        seed: another seed takes other returns.
        clean: remove returns that the camera cannot see from the input, judged by the input alone.
        targets: which of the returns taken out are `depth`, one of `withheld.TARGETS`.

    Raises:
        DataError: the data set has no scan.
    """

    def __init__(
        self, dataset: SceneDataset, how: How = "random", share: float = SHARE, seed: int = 0, clean: bool = True, targets: str = ""
    ) -> None:
        super().__init__(dataset)
        lacking = {"sparse_depth", "intrinsics"} - dataset.provides
        if lacking:
            raise DataError(f"{dataset.name} has no '{min(lacking)}', so nothing can be withheld. Choose data with a scan: kitti_lidar.")
        self.how, self.share, self.seed, self.clean, self.targets = how, share, seed, clean, targets
        self.truth, self.points = truth_text(how, targets, share, seed), input_text(clean)
        self.provides = dataset.provides | {"depth"}

    def parts(self, index: int) -> tuple[Frame, Withheld]:
        """Frame number `index` and its scan divided."""
        frame = self.dataset.frame(index)
        lidar = Lidar.from_meta(frame.get("meta", {})) or KITTI
        seed = frame_seed(self.seed, self.ids[index])
        divided = withhold(frame["sparse_depth"], self.how, self.share, seed, intrinsics=frame["intrinsics"], lidar=lidar, clean=self.clean)
        return frame, divided

    def frame(self, index: int) -> Frame:
        """Frame number `index`, the withheld returns as its depth; `meta["withheld"]` holds the division."""
        frame, divided = self.parts(index)
        meta: dict[str, Any] = {**frame.get("meta", {}), "withheld": divided}
        return Frame(**{**frame, "sparse_depth": divided.sparse, "depth": counted(divided)[self.targets], "meta": meta})


def evaluate_withheld(
    predict: Predict,
    dataset: SceneDataset,
    how: How = "random",
    *,
    share: float = SHARE,
    seed: int = 0,
    clean: bool = True,
    crop: str = "kitti_352x1216",
    inputs: Sequence[str] = ("sparse_depth",),
    batch_size: int = 8,
    progress: bool = True,
    draws: int = 1000,
) -> dict[str, Evaluation]:
    """Score `predict` on withheld returns; for each end of a protocol's name in `withheld.TARGETS` what was found.

    Args:
        predict: see `evaluate_model`.
        dataset: see `WithheldDataset`; its own depth, if it has any, is not looked at.
        how: `random` returns, or whole scan `lines`.
        share: of the returns, or of the lines.
        seed: another seed takes other returns.
        clean: remove returns that the camera cannot see from the input.
        crop: of the protocol; "none" for scans of other sizes.
        inputs: keys of the frames that `predict` is given.
        batch_size: frames per call of `predict`.
        progress: draw a progress bar.
        draws: bootstrap draws for the intervals over images; 0 leaves them out.

    Raises:
        DataError: the data set is empty or has no scan.
    """
    if not len(dataset):
        raise DataError(f"{dataset.name} {dataset.split}: no frames to evaluate. Check the folder with `diorama data check`.")
    began = time.perf_counter()
    data = WithheldDataset(dataset, how, share, seed, clean)
    rules = {end: _rules(data, end, crop) for end in TARGETS}
    tables = {end: FrameTable() for end in TARGETS}
    reader = PredictedFrames(data, None, batch_size, False, predict, inputs)
    frames, sizes = reader(range(len(data))), set()
    for number, frame, single in track(frames, "evaluating", len(data), disable=not progress, transient=True):
        predicted = to_truth_size(single[1], frame["depth"].shape)
        sizes.add("x".join(str(length) for length in predicted.shape))
        for end, truth in counted(frame["meta"]["withheld"]).items():
            tables[end].add(number, data.ids[number], _columns(truth, predicted, frame["sparse_depth"], rules[end]))
    seconds = time.perf_counter() - began
    size = sizes.pop() if len(sizes) == 1 else "mixed"
    return {end: _evaluation(tables[end], replace(rules[end], truth_size=size), draws, seconds) for end in TARGETS}


def _rules(data: WithheldDataset, end: str, crop: str) -> Protocol:
    """The protocol on these data; a setting other than the usual one shows in its name and text."""
    usual = by_name(f"kitti_withheld_{data.how}{end}").vary(crop=crop)
    unusual = {
        f"+share={data.share:g}": data.share != SHARE,
        f"+seed={data.seed}": data.seed != 0 and data.how == "random",
        "+uncleaned": not data.clean,
    }
    name = usual.name + "".join(text for text, said in unusual.items() if said)
    truth, points = truth_text(data.how, end, data.share, data.seed), input_text(data.clean)
    return replace(usual, name=name, dataset=data.name, split=data.split, truth=truth, sparse=points, frames=len(data))


def _columns(truth: Any, predicted: Any, points: Any, rules: Protocol) -> dict[str, Any]:
    valid, scaled, edges = rules.valid(truth), prepared(predicted, rules), ranges_for(rules.cap)
    cells = breakdown_columns(truth, scaled, valid, None, None, 0, edges) | density_columns(truth, scaled, valid, points)
    return depth_columns(truth, predicted, rules) | cells


def _evaluation(table: FrameTable, rules: Protocol, draws: int, seconds: float) -> Evaluation:
    return Evaluation(
        protocol=rules, values=metrics.score(table, rules, draws), rows=table, labels=None, confusion=None,
        breakdown=breakdown(table, (), ranges_for(rules.cap), draws) if draws else None, seconds=seconds,
        density=density_breakdown(table, draws) if draws else None,
    )  # fmt: skip
