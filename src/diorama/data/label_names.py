"""Classes of one model or data set -> train ids of a label set, by their names. NumPy only.

Two names are one class if they are equal once case and punctuation are set aside, or if `SYNONYMS` says so; a name may list several
("car, auto"). Where two label sets have an official conversion (19 -> 7 classes of Cityscapes, 40 -> 13 of NYU), it goes first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diorama.data.labels import CITYSCAPES7, CITYSCAPES19, NYU13, NYU40, LabelSet, conversion, convert, mapping
from diorama.types import IGNORE

SYNONYMS: tuple[frozenset[str], ...] = tuple(
    frozenset(names)
    for names in (
        ("traffic sign", "sign", "street sign", "sign symbol", "trafficsign"),
        ("traffic light", "stoplight", "traffic signal", "trafficlight"),
        ("sidewalk", "pavement", "footpath"),
        ("vegetation", "tree", "trees"),
        ("person", "pedestrian", "people"),
        ("rider", "bicyclist", "cyclist"),
        ("motorcycle", "motorbike", "minibike"),
        ("bicycle", "bike"),
        ("car", "auto", "automobile"),
        ("truck", "lorry"),
        ("terrain", "grass"),
        ("sofa", "couch"),
        ("television", "tv", "television receiver", "tvmonitor"),
        ("refrigerator", "fridge", "icebox"),
        ("bookshelf", "bookcase"),
        ("books", "book"),
        ("night stand", "nightstand"),
        ("floor mat", "rug", "carpet"),
        ("picture", "painting"),
        ("window", "windowpane"),
        ("blinds", "blind"),
        ("bathtub", "bathing tub", "tub"),
        ("shelves", "shelf"),
        ("pillow", "cushion"),
        ("dresser", "chest of drawers"),
    )
)
"""Names that data sets use for one thing, as `plain_name` writes them."""

_BY_WAY_OF = ((CITYSCAPES7, CITYSCAPES19), (NYU13, NYU40))


@dataclass(frozen=True)
class ByName:
    """How classes map to a label set."""

    table: NDArray[np.uint8]
    """`(256,)` class number -> train id; 255 where there is none."""
    unmapped: tuple[str, ...]
    """Classes that the label set does not have."""
    unsaid: tuple[str, ...]
    """Classes of the label set that no class maps to."""


def plain_name(name: str) -> str:
    """Lower case, words parted by single blanks: "Traffic_Sign" -> "traffic sign"."""
    return " ".join(re.split(r"[\W_]+", name.casefold())).strip()


def spellings(name: str) -> list[str]:
    """The plain names that `name` lists: ADE20K writes "car, auto, automobile" and "door;double door"."""
    return [plain for part in re.split(r"[,;/]", name) if (plain := plain_name(part))]


def by_class_name(classes: Sequence[str], labels: LabelSet) -> ByName:
    """Map `classes`, in the order of their numbers, to `labels`: by an official conversion, else name by name.

    An equal name goes before a synonym; of several listed names only the first may be one ("signboard, sign" is no traffic sign), and
    the label set must have one class of that group. Classes that the set itself does not have are looked up in the finer set that it is
    made of, so that "truck" is a vehicle among seven categories.
    """
    official = conversion(tuple(classes), labels.classes)
    if official is not None:
        found = {number: int(official[number]) for number in range(len(classes))}
    else:
        own = _found(classes, labels)
        for coarse, fine in _BY_WAY_OF:
            if coarse.classes == labels.classes:
                table = conversion(fine.classes, coarse.classes)
                assert table is not None
                finer = {number: int(convert(np.array([k], np.uint8), table)[0]) for number, k in _found(classes, fine).items()}
                own = {**finer, **own}
        found = own
    said = {train_id for train_id in found.values() if train_id != IGNORE}
    return ByName(
        table=mapping(found),
        unmapped=() if official is not None else tuple(name for number, name in enumerate(classes) if number not in found),
        unsaid=tuple(name for train_id, name in enumerate(labels.classes) if train_id not in said),
    )


def _found(classes: Sequence[str], labels: LabelSet) -> dict[int, int]:
    """Class number -> train id of the classes that `labels` has."""
    exact = {plain_name(name): train_id for train_id, name in enumerate(labels.classes)}
    alike: dict[str, int] = {}
    for group in SYNONYMS:
        members = sorted({exact[name] for name in group if name in exact})
        if len(members) == 1:
            alike.update(dict.fromkeys(group, members[0]))
    found: dict[int, int] = {}
    for number, name in enumerate(classes):
        names = spellings(name)
        hits = [exact[plain] for plain in names if plain in exact] + [alike[plain] for plain in names[:1] if plain in alike]
        if hits:
            found[number] = hits[0]
    return found
