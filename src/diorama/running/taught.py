"""What a teacher is and says of a photo, and how its classes are brought to those of the data. NumPy only."""

from __future__ import annotations

import logging
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from diorama.data.label_names import by_class_name
from diorama.data.labels import KNOWN_SETS, LabelSet, distinct_palette, mapping
from diorama.errors import ModelError
from diorama.evaluation.depth import to_truth_size
from diorama.types import IGNORE

log = logging.getLogger("diorama")

View = Literal["left", "right"]
DepthUnit = Literal["m", "relative", "inverse"]
"""Metres; or a depth that `fit_relative` still has to scale, larger = farther (`relative`) or larger = nearer (`inverse`)."""
Unmapped = Literal["refuse", "ignore"]


class Taught(NamedTuple):
    """What a teacher says of one photo, all `(H, W)` of it; None: it does not say."""

    semantic: NDArray[np.uint8] | None = None
    """Train ids of the teacher's `labels`, 255 = ignore."""
    semantic_confidence: NDArray[np.float32] | None = None
    """0..1, 0 where `semantic` is 255."""
    depth: NDArray[np.float32] | None = None
    """In the teacher's `depth_unit`; of metres 0 = unknown."""


class Teacher(Protocol):
    """A photo in, labels out."""

    name: str
    labels: LabelSet | None
    """Of `Taught.semantic`; None without semantics."""
    depth_unit: DepthUnit | None
    """Of `Taught.depth`; None without depth."""

    def __call__(self, image: NDArray[np.uint8], frame_id: str, view: View = "left") -> Taught:
        """What it says of `(H, W, 3)` uint8 RGB, the `view` of frame `frame_id`."""


def fitted(
    name: str, classes: tuple[str, ...], own: LabelSet | None, labels: LabelSet | None, unmapped: Unmapped
) -> tuple[LabelSet, NDArray[np.uint8]]:
    """The label set that a teacher's answers are brought to, and the table `(256,)` class number -> train id.

    Raises:
        ModelError: too many classes, none of them is in `labels`, or some are not and `unmapped` is "refuse".
    """
    if len(classes) > IGNORE:
        raise ModelError(f"{name} has {len(classes)} classes, train ids are 8-bit. Choose a teacher with at most {IGNORE}.")
    if labels is None:
        known = next((labels for labels in KNOWN_SETS if labels.classes == classes), None)
        return own or known or LabelSet(name, classes, distinct_palette(len(classes))), mapping({k: k for k in range(len(classes))})
    found = by_class_name(classes, labels)
    if len(found.unsaid) == len(labels):
        raise ModelError(
            f"{name} knows none of the classes of '{labels.name}' ({_listed(labels.classes)}), but {_listed(classes)}. "
            "Choose a teacher of this kind of scene."
        )
    if found.unmapped and unmapped == "refuse":
        raise ModelError(
            f"{name}: {len(found.unmapped)} of its {len(classes)} classes are not in '{labels.name}': {_listed(found.unmapped)}. "
            "Ignore their pixels with --unmapped ignore, or choose another teacher."
        )
    if found.unmapped:
        lost = ", ".join(found.unmapped)
        log.warning("%s: pixels of %d classes that '%s' lacks are ignored: %s", name, len(found.unmapped), labels.name, lost)
    if found.unsaid:
        log.warning("%s never says %s of '%s'", name, ", ".join(found.unsaid), labels.name)
    return labels, found.table


def labelled(
    logits: NDArray[np.float32], table: NDArray[np.uint8], size: tuple[int, int], *, scores: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """`(K, h, w)` logits -> `(H, W)` train ids and the probability 0..1 of each, bilinear to `size` before the softmax.

    Classes that `table` sends to one train id add up; a class without one stays a rival, and where it wins the pixel is ignored. Class by
    class: K resized maps of a large photo would not fit into memory. Ties go to the lower train id.

    Args:
        logits: of the teacher's classes.
        table: `(256,)` class number -> train id.
        size: of the photo.
        scores: they are masses >= 0 rather than logits (mask classification), shares of their sum where that is above 1.
    """
    highest = np.full(size, -np.inf, np.float32)
    if not scores:
        for plane in logits:
            np.maximum(highest, to_truth_size(plane, size), out=highest)
    groups: dict[tuple[int, int], list[int]] = {}
    for number in range(len(logits)):
        target = int(table[number])
        groups.setdefault((target, number if target == IGNORE else 0), []).append(number)
    best, total = np.zeros(size, np.float32), np.zeros(size, np.float32)
    semantic = np.full(size, IGNORE, np.uint8)
    for (target, _), members in sorted(groups.items()):
        mass = np.zeros(size, np.float32)
        for number in members:
            plane = to_truth_size(logits[number], size)
            mass += plane.clip(min=0) if scores else np.exp(plane - highest)
        total += mass
        higher = mass > best
        np.copyto(semantic, np.uint8(target), where=higher)
        np.maximum(best, mass, out=best)
    confidence = best / (np.maximum(total, 1) if scores else total)
    return semantic, np.where(semantic == IGNORE, np.float32(0), confidence)


def _listed(names: tuple[str, ...], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
