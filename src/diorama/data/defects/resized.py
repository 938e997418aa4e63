"""Maps that were resized as if they were photos. Interpolated labels put ids between two classes that no annotator drew; interpolated
depth with unknown pixels sinks towards 0 beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.data.defects.rule import LEAST_SIDE, Rule, Verdict, cleaned, first, is_aerial, some
from diorama.data.labels import LabelSet
from diorama.types import IGNORE, Frame

_CORE = 4
"""Pixels in a row that make a region; what lies between two regions is at most 2 px wide where it was interpolated."""
_BORDERS = 50
_SUNK = 0.2
_WIDEST = 31


class Borders(NamedTuple):
    """Figures of one label map."""

    through: int
    """Borders of two regions whose ids differ by 2 or more, with a thin third id between them in value."""
    direct: int
    """The same without a third id."""
    thin: int
    """Borders of any two regions with any thin third id; not counted is one id that makes up most of them, a void between things."""
    plain: int
    """Borders of any two regions without."""


def measure_labels(frame: Frame, labels: LabelSet | None) -> Borders | None:  # noqa: ARG001
    """What lies between the regions of a label map, along rows and columns."""
    if "semantic" not in frame or min(frame["semantic"].shape) < LEAST_SIDE:
        return None
    both = np.array([_borders(frame["semantic"]), _borders(frame["semantic"].T)]).sum(0)
    return Borders(*both.tolist()) if both.sum() >= _BORDERS else None


def judge_labels(sample: Sequence[Borders]) -> Verdict | None:
    """Error where the borders lead through ids between those of their regions, or nearly all through some third id."""
    ordered = [one.through > 0.25 * max(one.through + one.direct, _BORDERS) for one in sample]
    any_id = [one.thin > 0.5 * max(one.thin + one.plain, _BORDERS) for one in sample]
    bad = [one or other for one, other in zip(ordered, any_id, strict=True)]
    if not some(bad):
        return None
    at = first(bad)
    share = sample[at].thin / (sample[at].thin + sample[at].plain)
    text = f"{share:.0%} of the borders between labels have a seam of 1 or 2 px of a third class, in {sum(bad)} of {len(sample)} frames:"
    return Verdict("error", f"{text} resized as photos are, or stored as JPEG? Resize label maps to the nearest pixel, store PNG.", at)


def _borders(semantic: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    height = len(semantic)
    ends = np.full((height, 1), IGNORE, np.int64)
    flat = np.concatenate([semantic, ends], 1).ravel()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1])
    length, value = np.diff(np.append(starts, flat.size)), flat[starts]
    core, known, thin = length >= _CORE, value != IGNORE, length <= 2
    one, other = value[:-1], value[1:]
    plain = core[:-1] & core[1:] & known[:-1] & known[1:]
    direct = plain & (np.abs(one - other) >= 2)
    one, middle, other = value[:-2], value[1:-1], value[2:]
    single = core[:-2] & core[2:] & thin[1:-1] & known[:-2] & known[1:-1] & known[2:] & (one != other)
    through = single & (np.minimum(one, other) < middle) & (middle < np.maximum(one, other))
    double = core[:-3] & core[3:] & thin[1:-2] & thin[2:-1] & known[:-3] & known[1:-2] & known[2:-1] & known[3:] & (value[:-3] != value[3:])
    between = np.bincount(middle[single], minlength=1)
    void = between.max() if between.max() > 0.8 * between.sum() else 0
    return int(through.sum()), int(direct.sum()), int(single.sum() - void + double.sum()), int(plain.sum())


class Sunk(NamedTuple):
    """Figures of one depth map with unknown pixels."""

    key: str
    share: float
    """Of the known pixels beside unknown ones, those below half of the depth inside, or of the largest around where none is inside."""
    ratio: float
    """Median of sparse over dense depth; NaN where there are not both."""


def measure_sparse(frame: Frame, labels: LabelSet | None) -> Sunk | None:
    """How depth behaves beside unknown pixels, in the sparse map if there is one."""
    key = "sparse_depth" if "sparse_depth" in frame else "depth"
    if key not in frame or min(frame[key].shape) < LEAST_SIDE or is_aerial(frame, labels):  # type: ignore[literal-required]
        return None
    depth = cleaned(frame[key])  # type: ignore[literal-required]
    ratio = np.nan
    if key == "sparse_depth" and "depth" in frame and frame["depth"].shape == depth.shape:
        dense = cleaned(frame["depth"])
        both = (dense > 0) & (depth > 0)
        ratio = float(np.median(depth[both] / dense[both])) if both.sum() >= 100 else np.nan
    share = _sunk(depth)
    return None if share is None and np.isnan(ratio) else Sunk(key, share or 0.0, ratio)


def judge_sparse(sample: Sequence[Sunk]) -> Verdict | None:
    """Error where many depths beside unknown pixels are blends with 0, or sparse depth is a fraction of the dense one."""
    bad = [one.share > _SUNK for one in sample]
    count = len(sample)
    if some(bad):
        at = first(bad)
        text = f"{sample[at].share:.0%} of the depths in {sample[at].key} beside unknown pixels are below half of those around, in"
        advice = "resized as photos are, so that depths are mixed with the 0 of unknown? Keep every point's own depth."
        return Verdict("error", f"{text} {sum(bad)} of {count} frames: {advice}", at)
    off = [abs(np.log(one.ratio)) > 0.1 for one in sample]
    if some(off, 0.5):
        ratio = float(np.median([one.ratio for one, wrong in zip(sample, off, strict=True) if wrong]))
        text = f"sparse_depth is {ratio:.3g} times depth at the same pixels, in {sum(off)} of {count} frames: one has another scale,"
        return Verdict("error", f"{text} or was resized as photos are. Make both metres, and keep every point's own depth.", first(off))
    return None


def _sunk(depth: NDArray[np.float32]) -> float | None:
    known = depth > 0
    share = float(known.mean())
    if known.sum() < 100 or share > 0.995:
        return None
    side = max(5, int(np.ceil(np.sqrt(9 / share))) | 1)
    if side > _WIDEST:  # so few points that their neighbours are other things
        return None
    beside = cv2.dilate((~known).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    window = np.ones((side, side), np.uint8)
    # things before an open sky are nearer than what is behind them, but not than their own pixels farther inside
    inside = cv2.erode(np.where(known & ~beside, depth, np.float32(np.inf)), window, borderValue=np.inf)
    whole = np.where(np.isfinite(inside), inside, cv2.dilate(depth, window))
    around = cv2.boxFilter(known.astype(np.float32), -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
    judged = known & beside & (around > 2.5)
    return float((depth[judged] < 0.5 * whole[judged]).mean()) if judged.sum() >= 100 else None


LABELS = Rule("resized_labels", measure_labels, judge_labels)
SPARSE = Rule("resized_depth", measure_sparse, judge_sparse)
