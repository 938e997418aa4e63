"""Label ids of another convention: masks of 0 and 255, void stored as class 0, colours or grey values stored as ids, ids that nobody
listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diorama.data.defects.rule import LEAST_SIDE, Rule, Verdict, first, some
from diorama.data.labels import LabelSet
from diorama.types import IGNORE, Frame

_BORDERS = 50
_IGNORED = 0.9
_FEW = 3


class Ids(NamedTuple):
    """Figures of one label map."""

    classes: int
    """Of the label set; 0: nobody says."""
    beyond: tuple[int, ...]
    """Ids that are no class, 255 apart."""
    only_0: bool
    """No other id occurs, 255 apart."""
    ignored: float
    """Share of pixels without a class."""
    seams: int
    """Borders of two regions that lead through a strip of class 0."""
    borders: int
    """Borders of two regions, neither of them class 0, with and without such a strip."""


def measure(frame: Frame, labels: LabelSet | None) -> Ids | None:
    """Ids, ignored share and seams of class 0."""
    if "semantic" not in frame:
        return None
    semantic, classes = frame["semantic"], len(labels) if labels is not None else 0
    counts = np.bincount(semantic.ravel().astype(np.int64), minlength=256)
    there = np.flatnonzero(counts[:IGNORE])
    beyond = tuple(there[there >= classes].tolist()) if classes else ()
    seams = np.zeros(2, np.int64)
    if min(semantic.shape) >= LEAST_SIDE:
        seams = np.array([_seams(semantic), _seams(semantic.T)]).sum(0)
    return Ids(classes, beyond, not there.any(), float(counts[IGNORE] / semantic.size), int(seams[0]), int(seams[1]))


def judge(sample: Sequence[Ids]) -> Verdict | None:
    """Error where ids are no classes, or one of two is 255; warning where class 0 only parts the others, or hardly anything has a class."""
    count, classes = len(sample), sample[0].classes
    wrong = [bool(one.beyond) for one in sample]
    if any(wrong):
        ids = sorted({number for one in sample for number in one.beyond})
        listed = ", ".join(map(str, ids[:6])) + (", ..." if len(ids) > 6 else "")
        cause = "is 0 void, and every id one too high?" if ids == [classes] else "are they colours, grey values or raw ids?"
        text = f"ids {listed} in {sum(wrong)} of {count} frames, there are {classes} classes (0..{classes - 1}, 255 = ignore):"
        return Verdict("error", f"{text} {cause} Convert the label maps, or list their ids in `ids` (folder).", first(wrong))
    # In one or two frames the second class may just be out of sight.
    if count >= _FEW and classes == 2 and all(one.only_0 for one in sample) and some([0 < one.ignored < 1 for one in sample], 0.5):
        text = f"255 means 'ignore' and is the only value besides 0 in all of {count} frames: write `ids: [0, 255]` in dataset.yaml"
        return Verdict("error", f"{text} (folder), or store the second class as 1.", 0)
    void = [one.seams > 0.8 * max(one.borders, _BORDERS) for one in sample]
    if some(void, 0.5):
        share = sum(one.seams for one in sample) / sum(one.borders for one in sample)
        text = f"class 0 is the strip between the others on {share:.0%} of their borders, in {sum(void)} of {count} frames: is 0 void, and"
        return Verdict("warning", f"{text} every id one too high? Compare with `diorama data plot`, and shift the ids.", first(void))
    empty = [one.ignored > _IGNORED for one in sample]
    if some(empty, 0.5):
        text = f"{float(np.median([one.ignored for one in sample])):.0%} of the pixels are ignored in the middle frame of {count}:"
        return Verdict(
            "warning", f"{text} do the ids in the files belong to these classes? Compare with `diorama data plot`.", first(empty)
        )
    return None


def _seams(semantic: NDArray[np.uint8]) -> tuple[int, int]:
    """(borders of two different regions with a strip of class 0 between them, these and the borders without)."""
    widest = max(3, semantic.shape[1] // 50)
    ends = np.full((len(semantic), 1), IGNORE, np.int64)
    flat = np.concatenate([semantic, ends], 1).ravel()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1])
    length, value = np.diff(np.append(starts, flat.size)), flat[starts]
    region = (value != IGNORE) & (value != 0)
    direct = region[:-1] & region[1:]
    strip = region[:-2] & region[2:] & (value[1:-1] == 0) & (length[1:-1] <= widest) & (value[:-2] != value[2:])
    return int(strip.sum()), int(strip.sum() + direct.sum())


IDS = Rule("label_ids", measure, judge)
