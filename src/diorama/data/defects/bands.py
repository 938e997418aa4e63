"""Near infrared, red, green in the place of red, green, blue. Plants are brightest in near infrared, and no redder than green: in IRRG
their first band leads and the third is at least the second, where red roofs have more of the second. In RGB the second leads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from diorama.data.defects.rule import Rule, Verdict, first, ids_of, is_aerial, some
from diorama.data.labels import LabelSet
from diorama.types import Frame

_PLANTS = frozenset({"low vegetation", "tree", "vegetation", "grass", "lawn", "forest"})
_LEAST = {True: 0.15, False: 0.05}
"""Share of pixels with the colours of one kind, of those labelled as plants, and of all."""
_SIDE = 256


class Colours(NamedTuple):
    """Figures of one frame."""

    declared: str
    """`rgb` or `irrg`, as the frame says; empty if it does not."""
    infrared: float
    """Share of pixels with the colours of plants in IRRG."""
    green: float
    """Share of pixels with the colours of plants in RGB."""
    labelled: bool
    """Shares of the pixels labelled as plants, not of all."""

    @property
    def kind(self) -> str:
        """`irrg`, `rgb`, or empty where the colours do not tell."""
        least = _LEAST[self.labelled]
        if self.infrared > least and self.infrared > 2 * self.green:
            return "irrg"
        return "rgb" if self.green > least and self.green > 3 * self.infrared else ""


def measure(frame: Frame, labels: LabelSet | None) -> Colours | None:
    """Shares of the two kinds of colour in a frame seen from above, over its plants where they are labelled."""
    if "image" not in frame or not is_aerial(frame, labels):
        return None
    image = frame["image"]
    size = tuple(max(1, round(side * min(1, _SIDE / max(image.shape[:2])))) for side in image.shape[1::-1])
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    one, two, three = small[..., 0], small[..., 1], small[..., 2]
    lit = small.mean(-1) > 25
    infrared = lit & (one > 1.15 * np.maximum(two, three)) & (three >= 0.95 * two)
    green = lit & (two > 1.06 * one) & (two > 1.06 * three)
    where = np.ones(small.shape[:2], np.bool_)
    ids = ids_of(labels, _PLANTS)
    if ids and "semantic" in frame:
        plants = np.isin(cv2.resize(frame["semantic"], size, interpolation=cv2.INTER_NEAREST), ids)
        where = plants if plants.mean() > 0.02 else where
    labelled = not bool(where.all())
    bands = str(frame.get("meta", {}).get("bands", ""))
    return Colours(bands, float(infrared[where].mean()), float(green[where].mean()), labelled)


def judge(sample: Sequence[Colours]) -> Verdict | None:
    """Error where the bands are others than the frames say; warning where they say nothing and look like IRRG, or are mixed."""
    kinds = [one.kind for one in sample]
    wrong = [bool(one.declared and kind and kind != one.declared) for one, kind in zip(sample, kinds, strict=True)]
    if some(wrong, 0.25):
        at = first(wrong)
        text = f"the bands are said to be {sample[at].declared.upper()}, the colours are those of {kinds[at].upper()}"
        return Verdict("error", f"{text} in {sum(wrong)} of {len(sample)} frames ({_figures(sample[at])}). Choose the other files.", at)
    silent = [not one.declared and kind == "irrg" for one, kind in zip(sample, kinds, strict=True)]
    if some(silent, 0.25):
        at = first(silent)
        text = f"the colours are those of infrared, red, green, not RGB, in {sum(silent)} of {len(sample)} frames ({_figures(sample[at])})."
        return Verdict("warning", f"{text} Mix them with no RGB set, and use no weights trained on RGB without fine-tuning.", at)
    return None


def _figures(one: Colours) -> str:
    where = "of the plants" if one.labelled else "of the pixels"
    return f"first band leads on {one.infrared:.0%} {where}, green on {one.green:.0%}"


BANDS = Rule("bands", measure, judge)
