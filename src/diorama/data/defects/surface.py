"""A surface model (heights above sea level) taken for heights above ground: the ground is not near 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from diorama.data.defects.rule import Rule, Verdict, first, ids_of, is_aerial, some
from diorama.data.labels import LabelSet
from diorama.types import Frame

_GROUND = frozenset({"impervious surface", "low vegetation", "road", "grass", "lawn", "ground"})
_RAISED_M = {True: 2.0, False: 5.0}
"""Metres that the ground may lie above 0 where labels say what ground is, and where its lowest twentieth is taken for it."""


_LOWEST_M = 1.0
"""Metres; heights above ground come lower than that in all but a few frames, heights above sea level seldom."""


class Ground(NamedTuple):
    """Figures of one frame."""

    level: float
    """Metres: the median of the ground classes, else the same as `lowest`."""
    lowest: float
    """Metres: the 5th percentile of all."""
    labelled: bool


def measure(frame: Frame, labels: LabelSet | None) -> Ground | None:
    """Where the ground lies in a frame of heights."""
    if "depth" not in frame or not is_aerial(frame, labels):
        return None
    heights = frame["depth"]
    known = heights > 0
    if not known.any():
        return None
    lowest = float(np.percentile(heights[known], 5))
    ids = ids_of(labels, _GROUND)
    if ids and "semantic" in frame:
        ground = known & np.isin(frame["semantic"], ids)
        if ground.mean() > 0.02:
            return Ground(float(np.median(heights[ground])), lowest, True)
    return Ground(lowest, lowest, False)


def judge(sample: Sequence[Ground]) -> Verdict | None:
    """Error where the ground lies metres above 0 in a fifth of the frames; warning where only what is labelled as ground does."""
    raised = [one.level > _RAISED_M[one.labelled] and one.lowest > _LOWEST_M for one in sample]
    if not some(raised, 0.2):
        return _labels_aloft(sample)
    level = float(np.median([one.level for one, wrong in zip(sample, raised, strict=True) if wrong]))
    what = "the ground classes lie" if sample[first(raised)].labelled else "19 of 20 heights lie"
    text = f"{what} at {level:.1f} m or above in {sum(raised)} of {len(sample)} frames: a DSM, not heights above ground?"
    return Verdict("error", f"{text} Give the normalised heights (nDSM).", first(raised))


def _labels_aloft(sample: Sequence[Ground]) -> Verdict | None:
    aloft = [one.labelled and one.level > _RAISED_M[True] for one in sample]
    if not some(aloft, 0.5):
        return None
    level = float(np.median([one.level for one, wrong in zip(sample, aloft, strict=True) if wrong]))
    text = f"what is labelled as ground lies {level:.1f} m above the ground in {sum(aloft)} of {len(sample)} frames: are the label ids"
    return Verdict("warning", f"{text} shifted, or labels and heights of different places? Compare with `diorama data plot`.", first(aloft))


SURFACE = Rule("dsm", measure, judge)
