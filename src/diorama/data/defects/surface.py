"""A surface model (heights above sea level) taken for heights above ground: the ground is not near 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from diorama.data.defects.rule import Rule, Verdict, first, is_aerial, some
from diorama.data.labels import LabelSet
from diorama.types import Frame

_GROUND = frozenset({"impervious surface", "low vegetation", "road", "grass", "lawn", "ground"})
_RAISED_M = {True: 2.0, False: 5.0}
"""Metres that the ground may lie above 0 where labels say what ground is, and where its lowest twentieth is taken for it."""


class Ground(NamedTuple):
    """Figures of one frame."""

    level: float
    """Metres: the median of the ground classes, else the 5th percentile."""
    labelled: bool


def measure(frame: Frame, labels: LabelSet | None) -> Ground | None:
    """Where the ground lies in a frame of heights."""
    if "depth" not in frame or not is_aerial(frame, labels):
        return None
    heights = frame["depth"]
    known = heights > 0
    if not known.any():
        return None
    ids = [number for number, name in enumerate(labels.classes) if name in _GROUND] if labels is not None else []
    if ids and "semantic" in frame:
        ground = known & np.isin(frame["semantic"], ids)
        if ground.mean() > 0.02:
            return Ground(float(np.median(heights[ground])), True)
    return Ground(float(np.percentile(heights[known], 5)), False)


def judge(sample: Sequence[Ground]) -> Verdict | None:
    """Error where the ground lies metres above 0 in a fifth of the frames."""
    raised = [one.level > _RAISED_M[one.labelled] for one in sample]
    if not some(raised, 0.2):
        return None
    level = float(np.median([one.level for one, wrong in zip(sample, raised, strict=True) if wrong]))
    what = "the ground classes lie" if sample[first(raised)].labelled else "19 of 20 heights lie"
    text = f"{what} at {level:.1f} m or above in {sum(raised)} of {len(sample)} frames: a DSM, not heights above ground?"
    return Verdict("error", f"{text} Give the normalised heights (nDSM).", first(raised))


SURFACE = Rule("dsm", measure, judge)
