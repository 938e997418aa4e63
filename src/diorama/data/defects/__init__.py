"""The data doctor: rules that find defects which leave every file readable. Each is a small pure function of a sample of frames.

Adding one: a file with `measure` (frame -> figures) and `judge` (figures of the sample -> verdict), and a line in `RULES`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from diorama.data.defects.bands import BANDS
from diorama.data.defects.ids import IDS
from diorama.data.defects.inverse import INVERSE
from diorama.data.defects.resized import LABELS, SPARSE
from diorama.data.defects.rule import Finding, Rule
from diorama.data.defects.scale import SCALE
from diorama.data.defects.stereo import GIVEN, VIEWS
from diorama.data.defects.surface import SURFACE
from diorama.data.labels import LabelSet
from diorama.types import Frame

RULES: tuple[Rule, ...] = (SCALE, INVERSE, GIVEN, VIEWS, SURFACE, BANDS, SPARSE, LABELS, IDS)
"""In the order of their findings. Frames in two splits are found by `twins`, which looks at all of them."""

_EXPLAINS = {"disparity": {"scale", "calibration", "pair", "resized_depth"}, "calibration": {"pair"}, "resized_depth": {"scale"}}
"""What a rule finds -> rules that would only find the same once more."""


class Examination:
    """The rules over the frames of one split: call `look` for each frame of a sample of `count`, then `findings`."""

    def __init__(self, labels: LabelSet | None, count: int, rules: tuple[Rule, ...] = RULES) -> None:
        self.labels, self.rules = labels, rules
        self._wanted = {rule.name: set(np.linspace(0, count - 1, min(count, rule.limit or count)).round().tolist()) for rule in rules}
        self._figures: dict[str, list[Any]] = {rule.name: [] for rule in rules}
        self._ids: dict[str, list[str]] = {rule.name: [] for rule in rules}

    def look(self, number: int, frame_id: str, frame: Frame) -> None:
        """Measure frame `number` of the sample."""
        for rule in self.rules:
            figures = rule.measure(frame, self.labels) if number in self._wanted[rule.name] else None
            if figures is not None:
                self._figures[rule.name].append(figures)
                self._ids[rule.name].append(frame_id)

    def findings(self, split: str) -> list[Finding]:
        """What the rules find in what was looked at, without what another finding explains."""
        found: dict[str, Finding] = {}
        for rule in self.rules:
            verdict = rule.judge(self._figures[rule.name]) if self._figures[rule.name] else None
            if verdict is not None:
                frame_id = "" if verdict.at is None else self._ids[rule.name][verdict.at]
                found[rule.name] = Finding(verdict.level, split, frame_id, verdict.text, rule.name)
        explained = {name for rule in found for name in _EXPLAINS.get(rule, set())}
        return [finding for name, finding in found.items() if name not in explained]
