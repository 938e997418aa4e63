"""What is wrong with a data set: missing and damaged files, labels out of range, frames in two splits, and what the rules of
`diorama.data.defects` find in files that can all be read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from diorama import catalog
from diorama.data.base import LeftOut, SceneDataset
from diorama.data.defects import Examination
from diorama.data.defects.rule import Finding, Level
from diorama.data.defects.twins import shared_pictures
from diorama.data.folder import IncompleteError
from diorama.data.overview import Overview
from diorama.errors import DataError
from diorama.types import IGNORE, Frame

SAMPLE = 50
"""Frames of a split that the rules measure, evenly spread over those that are read."""

_WORD = r"[^\W\d_]+"


@dataclass(frozen=True)
class DatasetRow:
    """One line of `diorama data list`."""

    name: str
    title: str
    provides: tuple[str, ...]
    splits: tuple[str, ...]
    terms: str
    root_hint: str


def list_datasets() -> list[DatasetRow]:
    """Every data set of the catalog, in its order, with what it can provide at most."""
    rows = []
    for name in catalog.names("datasets"):
        kind = catalog.dataset(name)
        rows.append(DatasetRow(name, kind.title, tuple(sorted(kind.offers)), tuple(kind.splits), kind.terms, kind.root_hint))
    return rows


def check_dataset(
    name: str,
    splits: Sequence[str] | None = None,
    frames: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    every: bool = False,
    overviews: list[Overview] | None = None,
    /,
    **settings: Any,
) -> list[Finding]:
    """Findings over the splits of a data set (all that it is published with, unless named), and frames shared by two of them.

    A split that is not there is a finding of its own, unless none is there at all.

    Args:
        name: catalog name.
        splits: which; None: all but those derived from others.
        frames: at most so many of each split, evenly spread; None: all.
        progress: called with (frames done, frames in all) of the split at hand.
        every: let the rules of `diorama.data.defects` measure every frame, not `SAMPLE` of each split, and list every faulty one.
        overviews: is given what the frames of each split hold.
        settings: constructor arguments of the data set (`root`, ...).

    Raises:
        DataError: no split can be opened.
    """
    kind = catalog.dataset(name)
    wanted = list(splits) if splits else [split for split in kind.splits if split not in kind.derived_splits]
    opened: list[SceneDataset] = []
    findings: list[Finding] = []
    failures: list[DataError] = []
    for split in wanted:
        try:
            opened.append(kind(split=split, **settings))
        except DataError as error:
            failures.append(error)
            level: Level = "error" if splits or isinstance(error, IncompleteError) else "warning"
            findings.append(Finding(level, split, "", str(error)))
    if not opened:
        raise failures[0]
    seen = [Overview(dataset) for dataset in opened]
    for dataset, overview in zip(opened, seen, strict=True):
        findings += check(dataset, frames, progress, every, overview)
    if overviews is not None:
        overviews += seen
    prints = [(overview.dataset.split, overview.prints) for overview in seen]
    return findings + shared_frames(opened) + shared_pictures(prints)


def shared_frames(datasets: Iterable[SceneDataset]) -> list[Finding]:
    """Ids that two splits share: the test would measure what was trained on."""
    findings = []
    for one, other in combinations(datasets, 2):
        shared = sorted(set(one.ids) & set(other.ids))
        if shared:
            text = f"{len(shared)} frames are in '{one.split}' and in '{other.split}' (first: {shared[0]}). Take them out of one."
            findings.append(Finding("error", other.split, shared[0], text))
    return findings


def check(
    dataset: SceneDataset,
    frames: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    every: bool = False,
    overview: Overview | None = None,
) -> list[Finding]:
    """Findings in one split: what the reader itself misses, then frame by frame, then over all frames looked at.

    Args:
        dataset: the split.
        frames: at most so many, evenly spread; None: all.
        progress: called with (frames done, frames in all).
        every: let the rules measure every frame that is read, not `SAMPLE` of them, and list every faulty one, not one of each kind.
        overview: is shown the frames.
    """
    findings = [Finding("warning" if isinstance(text, LeftOut) else "error", dataset.split, "", text) for text in dataset.check()]
    doubled = sorted({frame_id for frame_id in dataset.ids if dataset.ids.count(frame_id) > 1}) if _has_twins(dataset.ids) else []
    findings += [Finding("error", dataset.split, frame_id, f"id {frame_id} occurs twice. Rename one.") for frame_id in doubled]
    if not len(dataset):
        return [*findings, Finding("error", dataset.split, "", f"{dataset.name} {dataset.split}: no frames. Check the root folder.")]
    count = len(dataset) if frames is None else min(frames, len(dataset))
    chosen = np.linspace(0, len(dataset) - 1, count).round().astype(int)
    sample = np.linspace(0, count - 1, count if every else min(count, SAMPLE)).round().astype(int).tolist()
    places = {place: number for number, place in enumerate(sample)}
    rules = Examination(dataset.labels, len(sample))
    overview = overview or Overview(dataset)
    already = {text for finding in findings for text in [finding.text]}
    for done, index in enumerate(chosen, 1):
        try:
            frame = dataset[int(index)]
        except DataError as error:
            # A missing file has been named by the reader's own check.
            if not any(str(error).split(": ")[0] in text for text in already):
                findings.append(Finding("error", dataset.split, dataset.ids[index], str(error)))
            continue
        finally:
            if progress:
                progress(done, count)
        findings += [Finding(level, dataset.split, dataset.ids[index], text) for level, text in check_frame(frame, dataset)]
        if done - 1 in places:
            rules.look(places[done - 1], dataset.ids[index], frame)
        overview.look(frame, dataset.ids[index], done - 1 in places)
    # A reader that was asked for a surface model has one, and one that names it needs no rule to say it again.
    told = "above sea level" in getattr(dataset, "truth", "") or any("a DSM" in text for text in already)
    found = [finding for finding in rules.findings(dataset.split) if not (told and finding.rule == "dsm")]
    # Where the ids are wrong, classes are bound to be absent.
    whole = count == len(dataset) and not any(finding.rule == "label_ids" and finding.level == "error" for finding in found)
    listed = findings if every else _grouped(findings, count, len(dataset))
    return listed + found + (_absent(dataset, overview.pixels) if whole else [])


def _grouped(findings: list[Finding], read: int, frames: int) -> list[Finding]:
    """One finding for each kind of fault: those whose words are the same but for the numbers and the words of the frame's name."""
    kinds: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        own = re.findall(_WORD, finding.frame)
        kinds.setdefault((finding.level, *(word for word in re.findall(_WORD, finding.text) if word not in own)), []).append(finding)
    grouped = []
    for same in kinds.values():
        first, count = same[0], len(same)
        where = "" if first.frame in first.text else f"{first.frame}: "
        text = f"{count} of {read if first.frame else frames} {first.split} frames, first {where}{first.text}"
        grouped.append(replace(first, text=text) if count > 1 else first)
    return grouped


def _has_twins(ids: list[str]) -> bool:
    return len(set(ids)) < len(ids)


def _absent(dataset: SceneDataset, seen: NDArray[np.int64]) -> list[Finding]:
    if "semantic" not in dataset.provides or dataset.labels is None or not seen.any():
        return []
    absent = [name for train_id, name in enumerate(dataset.labels.classes) if not seen[train_id]]
    if not absent:
        return []
    text = f"{len(absent)} of {len(dataset.labels)} classes never occur ({', '.join(absent[:6])}{', ...' if len(absent) > 6 else ''}): "
    return [Finding("warning", dataset.split, "", text + "mean IoU will not count them. Check the label ids if that surprises you.")]


def check_frame(frame: Frame, dataset: SceneDataset) -> list[tuple[Literal["error", "warning"], str]]:
    """(level, text) of each fault in one frame."""
    found: list[tuple[Literal["error", "warning"], str]] = []
    lacking = sorted(dataset.provides - set(frame))
    if lacking:
        found.append(("error", f"no '{lacking[0]}', though the data set says it provides it. Mend the reader or the files."))
    if "semantic" in frame:
        found += _check_semantic(frame["semantic"], len(dataset.labels) if dataset.labels else 0)
    for key in ("depth", "sparse_depth"):
        if key in frame:
            found += _check_depth(frame[key], key)
    if "image" in frame and "right" in frame:
        left, right = frame["image"], frame["right"]
        if left.shape != right.shape:
            found.append(
                (
                    "error",
                    f"the right view is {right.shape[1]}x{right.shape[0]}, the left {left.shape[1]}x{left.shape[0]}. Use rectified pairs.",
                )
            )
        elif np.array_equal(left, right):
            found.append(("error", "the right view is a copy of the left one. Use the pair's own right image."))
    if "image" in frame and int(frame["image"].max()) == int(frame["image"].min()):
        found.append(("warning", "the image has one colour only. Look at the file."))
    return found + check_camera(frame)


def _check_semantic(semantic: NDArray[np.uint8], classes: int) -> list[tuple[Literal["error", "warning"], str]]:
    labelled = semantic[semantic != IGNORE]
    if not labelled.size:
        return [("warning", "no pixel has a label. Take the frame out, or check the ids.")]
    if classes and labelled.max() >= classes:
        return [
            ("error", f"label {labelled.max()} out of range, there are {classes} classes (0..{classes - 1}, 255 = ignore). Mend the file.")
        ]
    return []


def _check_depth(depth: NDArray[np.float32], key: str) -> list[tuple[Literal["error", "warning"], str]]:
    if not np.isfinite(depth).all() or (depth < 0).any():
        return [("error", f"{key} has NaN, infinite or negative values. Unknown depth is 0.")]
    known = np.count_nonzero(depth)
    if not known:
        return [("warning", f"{key} has no known pixel. Take the frame out, or check the files.")]
    if key == "sparse_depth" and known > 0.5 * depth.size:
        return [("warning", f"sparse_depth is known at {known / depth.size:.0%} of the pixels. Is it the dense depth?")]
    return []


def check_camera(frame: Frame) -> list[tuple[Literal["error", "warning"], str]]:
    """(level, text) of each fault of the frame's `intrinsics` and `baseline`, as far as it has them."""
    found: list[tuple[Literal["error", "warning"], str]] = []
    if "baseline" in frame and not 0.001 < frame["baseline"] < 10:
        found.append(("warning", f"a baseline of {frame['baseline']:g} m: is it in millimetres or centimetres? It has to be metres."))
    if "intrinsics" not in frame:
        return found
    matrix = frame["intrinsics"]
    fx, fy, cx, cy = matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]
    size = next((frame[key].shape[:2] for key in ("image", "depth", "semantic") if key in frame), None)
    if not (fx > 0 and fy > 0):
        found.append(("error", f"focal lengths {fx:g}, {fy:g} px are not positive. Mend the intrinsics."))
    elif size and not (0 <= cx < size[1] and 0 <= cy < size[0]):
        text = f"principal point ({cx:.0f}, {cy:.0f}) outside the {size[1]}x{size[0]} image: are the intrinsics of another size?"
        found.append(("warning", f"{text} They have to be of the images."))
    return found
