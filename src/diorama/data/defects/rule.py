"""What a rule of the data doctor is: a measurement of one frame, and a verdict over a sample of frames. Both are pure functions."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diorama.data.labels import LabelSet
from diorama.types import Frame

Level = Literal["error", "warning"]

LEAST_SIDE = 48
"""Pixels; smaller frames have too little structure to be judged by their geometry."""

_GROUND_M = 0.02
_AERIAL = ("isprs6", "isprs5")


@dataclass(frozen=True)
class Finding:
    """One fault. `error`: training or evaluation would stop or be wrong; `warning`: worth a look."""

    level: Level
    split: str
    frame: str
    text: str
    rule: str = ""
    """The rule of `defects.RULES` that found it; empty: the reader, or the check of single frames."""

    def __str__(self) -> str:
        where = " ".join(word for word in (self.split, self.frame) if word and word not in self.text)
        return f"{self.level}: {where}: {self.text}" if where else f"{self.level}: {self.text}"


class Verdict(NamedTuple):
    """What a rule found in a sample."""

    level: Level
    text: str
    """What was seen, in figures, and what to do about it."""
    at: int | None = None
    """Which of the measurements shows it first."""


class Rule(NamedTuple):
    """One kind of defect."""

    name: str
    measure: Callable[[Frame, LabelSet | None], Any]
    """Frame and label set -> figures; None: the rule does not apply to this frame."""
    judge: Callable[[Sequence[Any]], Verdict | None]
    """The figures of a sample (at least one) -> verdict; None: nothing wrong."""
    limit: int | None = None
    """At most so many frames are measured, for rules that take long."""


def some(bad: Sequence[bool] | NDArray[np.bool_], share: float = 0.1) -> bool:
    """Whether so many of the frames are bad that it is no odd one: a tenth, at least one."""
    return sum(map(bool, bad)) >= max(1.0, share * len(bad))


def first(bad: Sequence[bool] | NDArray[np.bool_]) -> int:
    """The place of the first bad one."""
    return int(np.flatnonzero(np.asarray(bad))[0])


def main_depth(frame: Frame) -> tuple[str, NDArray[np.float32]] | None:
    """Name and `(H, W)` metres (0 = unknown, also where not finite) of the frame's depth, else of its sparse depth."""
    for key in ("depth", "sparse_depth"):
        if key in frame:
            return key, cleaned(frame[key])
    return None


def cleaned(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """The map with 0 where it is not finite or negative."""
    return np.where(np.isfinite(depth) & (depth > 0), depth, 0).astype(np.float32)


def is_aerial(frame: Frame, labels: LabelSet | None) -> bool:
    """Whether a frame is seen from straight above: it says so, has the ISPRS classes, or its `depth` is heights above the ground."""
    meta = frame.get("meta", {})
    if "height" in meta or "bands" in meta or (labels is not None and labels.name in _AERIAL):
        return True
    if labels is not None and set(labels.classes) & {"impervious surface", "low vegetation"}:
        return True
    return "depth" in frame and has_ground(frame["depth"])


def ids_of(labels: LabelSet | None, names: Container[str]) -> list[int]:
    """Train ids of the classes of these names; without labels there are none."""
    return [number for number, name in enumerate(labels.classes) if name in names] if labels is not None else []


def has_ground(depth: NDArray[np.float32]) -> bool:
    """Whether a map holds heights: a tenth of it within 2 cm of zero, though some of it lies above a metre. No camera sees depth so."""
    known = depth[depth > 0]
    return bool(known.size and (known <= _GROUND_M).mean() > 0.1 and (known > 1).mean() > 0.005)
