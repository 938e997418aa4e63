"""Label sets: class names, palettes and conversions (5 / 6 / 7 / 11 / 13 / 19 / 37 / 40 classes).

A conversion is a look-up table of 256 train ids, so that `convert` is one indexing and 255 (ignore) stays 255.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diorama.errors import ConfigError, DataError, ShapeError, suggest
from diorama.types import IGNORE

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class LabelSet:
    """The classes behind train ids 0..K-1; 255 is never a class."""

    name: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]

    def __len__(self) -> int:
        return len(self.classes)

    def colour(self, semantic: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """`(H, W)` train ids -> `(H, W, 3)` RGB; ignored pixels are black."""
        table = np.zeros((256, 3), np.uint8)
        table[: len(self)] = self.palette
        return table[semantic]

    def decode(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """`(H, W, 3)` RGB -> `(H, W)` train ids of the nearest palette colour (L2); exact black is ignore.

        The inverse of `colour`. Ties go to the lower train id.

        Raises:
            ShapeError: `image` has no last axis of three colours.
        """
        if image.ndim < 1 or image.shape[-1] != 3:
            raise ShapeError(f"a colour-coded label map has shape (H, W, 3), not {image.shape}: pass an RGB image.")
        pixels = image.astype(np.int32)
        best = np.full(image.shape[:-1], np.iinfo(np.int32).max, np.int32)
        semantic = np.full(image.shape[:-1], IGNORE, np.uint8)
        for train_id, colour in enumerate(self.palette):
            distance = ((pixels - np.asarray(colour, np.int32)) ** 2).sum(-1, dtype=np.int32)
            nearer = distance < best
            np.copyto(best, distance, where=nearer)
            semantic[nearer] = train_id
        semantic[(pixels == 0).all(-1)] = IGNORE
        return semantic


def _set(name: str, rows: tuple[tuple[str, Colour], ...]) -> LabelSet:
    return LabelSet(name, tuple(row[0] for row in rows), tuple(row[1] for row in rows))


NYU40 = _set(
    "nyu40",
    (
        ("wall", (174, 178, 186)),
        ("floor", (140, 106, 74)),
        ("cabinet", (171, 172, 110)),
        ("bed", (49, 143, 242)),
        ("chair", (233, 40, 108)),
        ("sofa", (158, 40, 116)),
        ("table", (244, 115, 46)),
        ("door", (33, 108, 126)),
        ("window", (36, 194, 244)),
        ("bookshelf", (170, 99, 31)),
        ("picture", (238, 211, 56)),
        ("counter", (245, 190, 125)),
        ("blinds", (142, 235, 243)),
        ("desk", (150, 46, 33)),
        ("shelves", (156, 81, 99)),
        ("curtain", (31, 170, 170)),
        ("dresser", (227, 154, 31)),
        ("pillow", (176, 178, 243)),
        ("mirror", (42, 242, 215)),
        ("floor mat", (76, 90, 37)),
        ("clothes", (245, 141, 145)),
        ("ceiling", (226, 222, 208)),
        ("books", (124, 37, 161)),
        ("refrigerator", (136, 196, 160)),
        ("television", (46, 74, 151)),
        ("paper", (245, 182, 210)),
        ("towel", (244, 157, 233)),
        ("shower curtain", (42, 244, 160)),
        ("box", (114, 134, 31)),
        ("whiteboard", (194, 233, 144)),
        ("person", (230, 60, 66)),
        ("night stand", (95, 68, 109)),
        ("toilet", (179, 129, 245)),
        ("sink", (47, 85, 207)),
        ("lamp", (158, 199, 48)),
        ("bathtub", (224, 88, 204)),
        ("bag", (234, 107, 162)),
        ("other structure", (37, 121, 84)),
        ("other furniture", (31, 121, 33)),
        ("other prop", (41, 181, 68)),
    ),
)
"""NYU Depth v2, 40 classes (Gupta et al., CVPR 2013): train id 0..39 is NYU40 id 1..40."""

NYU13 = _set(
    "nyu13",
    (
        ("bed", (49, 143, 242)),
        ("books", (124, 37, 161)),
        ("ceiling", (226, 222, 208)),
        ("chair", (233, 40, 108)),
        ("floor", (140, 106, 74)),
        ("furniture", (227, 154, 31)),
        ("objects", (41, 181, 68)),
        ("picture", (238, 211, 56)),
        ("sofa", (158, 40, 116)),
        ("table", (244, 115, 46)),
        ("tv", (46, 74, 151)),
        ("wall", (174, 178, 186)),
        ("window", (36, 194, 244)),
    ),
)
"""NYU Depth v2, 13 classes (Couprie et al., ICLR 2013): train id 0..12 is id 1..13 of the official files."""

CITYSCAPES19 = _set(
    "cityscapes19",
    (
        ("road", (128, 64, 128)),
        ("sidewalk", (244, 35, 232)),
        ("building", (70, 70, 70)),
        ("wall", (102, 102, 156)),
        ("fence", (190, 153, 153)),
        ("pole", (153, 153, 153)),
        ("traffic light", (250, 170, 30)),
        ("traffic sign", (220, 220, 0)),
        ("vegetation", (107, 142, 35)),
        ("terrain", (152, 251, 152)),
        ("sky", (70, 130, 180)),
        ("person", (220, 20, 60)),
        ("rider", (255, 0, 0)),
        ("car", (0, 0, 142)),
        ("truck", (0, 0, 70)),
        ("bus", (0, 60, 100)),
        ("train", (0, 80, 100)),
        ("motorcycle", (0, 0, 230)),
        ("bicycle", (119, 11, 32)),
    ),
)
"""Cityscapes, the 19 evaluated classes with the official colours (Cordts et al., CVPR 2016)."""

CITYSCAPES7 = _set(
    "cityscapes7",
    (
        ("flat", (128, 64, 128)),
        ("construction", (70, 70, 70)),
        ("object", (220, 220, 0)),
        ("nature", (107, 142, 35)),
        ("sky", (70, 130, 180)),
        ("human", (220, 20, 60)),
        ("vehicle", (0, 0, 142)),
    ),
)
"""Cityscapes, the seven categories; each has the official colour of its commonest class."""

CAMVID11 = _set(
    "camvid11",
    (
        ("sky", (128, 128, 128)),
        ("building", (128, 0, 0)),
        ("pole", (192, 192, 128)),
        ("road", (128, 64, 128)),
        ("pavement", (60, 40, 222)),
        ("tree", (128, 128, 0)),
        ("sign", (192, 128, 128)),
        ("fence", (64, 64, 128)),
        ("car", (64, 0, 128)),
        ("pedestrian", (64, 64, 0)),
        ("bicyclist", (0, 128, 192)),
    ),
)
"""CamVid with the 11 classes and colours of SegNet (Badrinarayanan et al., 2017); 11 in the files is void."""

SUN37 = LabelSet("sun37", NYU40.classes[:37], NYU40.palette[:37])
"""The 37 classes are the first 37 of NYU40, in the same order."""

ISPRS6 = _set(
    "isprs6",
    (
        ("impervious surface", (255, 255, 255)),
        ("building", (0, 0, 255)),
        ("low vegetation", (0, 255, 255)),
        ("tree", (0, 255, 0)),
        ("car", (255, 255, 0)),
        ("clutter", (255, 0, 0)),
    ),
)
"""ISPRS 2D semantic labelling, Potsdam and Vaihingen, with the official colours; clutter is also called background."""

ISPRS5 = LabelSet("isprs5", ISPRS6.classes[:5], ISPRS6.palette[:5])
"""The five classes without clutter, which many papers report."""

KNOWN_SETS = (NYU40, SUN37, NYU13, CITYSCAPES19, CITYSCAPES7, CAMVID11, ISPRS6, ISPRS5)
_BY_NAME = {labels.name: labels for labels in KNOWN_SETS}


def mapping(pairs: dict[int, int]) -> NDArray[np.uint8]:
    """A conversion table `(256,)` from `{from: to}`; whatever is not named becomes 255 (ignore)."""
    table = np.full(256, IGNORE, np.uint8)
    for source, target in pairs.items():
        table[source] = target
    table.setflags(write=False)
    return table


SUN37_IDS = mapping({number: number - 1 for number in range(1, 38)})
"""File id 1..37 (0 = void) -> train id 0..36."""

NYU40_IDS = mapping({number: number - 1 for number in range(1, 41)})
"""File id 1..40 (0 = void) -> train id 0..39."""

NYU13_IDS = mapping({number: number - 1 for number in range(1, 14)})
"""File id 1..13 (0 = void) -> train id 0..12."""

_NYU13_OF_40 = {
    "bed": ("bed",),
    "books": ("books",),
    "ceiling": ("ceiling",),
    "chair": ("chair",),
    "floor": ("floor", "floor mat"),
    "furniture": ("cabinet", "bookshelf", "counter", "dresser", "shelves", "refrigerator", "night stand", "other furniture"),
    "objects": (
        *("pillow", "mirror", "clothes", "paper", "towel", "shower curtain", "box", "whiteboard", "person", "toilet", "sink"),
        *("lamp", "bathtub", "bag", "other structure", "other prop"),
    ),
    "picture": ("picture",),
    "sofa": ("sofa",),
    "table": ("table", "desk"),
    "tv": ("television",),
    "wall": ("wall", "door"),
    "window": ("window", "blinds", "curtain"),
}
NYU40_TO_NYU13 = mapping(
    {NYU40.classes.index(name): NYU13.classes.index(parent) for parent, members in _NYU13_OF_40.items() for name in members}
)
"""Train ids 0..39 -> 0..12; agrees with every pixel of the official 13-class test maps."""

_LABEL_ID_OF_19 = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
CITYSCAPES34_TO_19 = mapping({label_id: train_id for train_id, label_id in enumerate(_LABEL_ID_OF_19)})
"""labelId 0..33 of the gtFine files -> train id 0..18; the classes that are not evaluated become 255."""

CITYSCAPES19_TO_34 = mapping({**dict(enumerate(_LABEL_ID_OF_19)), IGNORE: 0})
"""Train id -> labelId for submissions; ignored pixels become 0, "unlabeled"."""

_FIRST_LABEL_ID_OF_7 = ((7, 11), (11, 17), (17, 21), (21, 23), (23, 24), (24, 26), (26, 34))
CITYSCAPES34_TO_7 = mapping(
    {label_id: train_id for train_id, (first, end) in enumerate(_FIRST_LABEL_ID_OF_7) for label_id in range(first, end)}
)
"""labelId -> category 0..6. All members of a category count, evaluated or not (parking is flat, guard rail construction)."""

CITYSCAPES19_TO_7 = mapping({train_id: int(CITYSCAPES34_TO_7[label_id]) for train_id, label_id in enumerate(_LABEL_ID_OF_19)})
"""Train id of 19 -> train id of the seven categories."""

CAMVID11_IDS = mapping({number: number for number in range(11)})
"""File id 0..10 -> the same train id, 11 (void) -> 255."""

ISPRS6_TO_5 = mapping({number: number for number in range(5)})
"""Train id 0..4 -> the same, clutter -> 255 (ignore)."""


def inverse(table: NDArray[np.uint8], void: int) -> NDArray[np.uint8]:
    """The way back through an id table: train id -> the lowest file id that has it; ignored pixels become `void`."""
    lowest = {int(train_id): file_id for file_id, train_id in reversed(list(enumerate(table))) if train_id != IGNORE}
    return mapping({**lowest, IGNORE: void})


CITYSCAPES7_TO_34 = inverse(CITYSCAPES34_TO_7, 0)
"""Category -> labelId of its first class (road, building, pole, vegetation, sky, person, car), ignored pixels -> 0."""

CAMVID11_TO_IDS = inverse(CAMVID11_IDS, 11)
"""Train id -> the same file id, ignored pixels -> 11 (void)."""

_CONVERSIONS = (
    (CITYSCAPES19, CITYSCAPES7, CITYSCAPES19_TO_7),
    (NYU40, NYU13, NYU40_TO_NYU13),
    (SUN37, NYU13, NYU40_TO_NYU13),
    (ISPRS6, ISPRS5, ISPRS6_TO_5),
)


def conversion(source: tuple[str, ...], target: tuple[str, ...]) -> NDArray[np.uint8] | None:
    """The table from the train ids of `source` classes to those of `target` classes, if this module has one or the two are equal."""
    if source == target:
        return mapping({number: number for number in range(len(source))})
    found = (table for old, new, table in _CONVERSIONS if (old.classes, new.classes) == (source, target))
    return next(found, None)


def convert(semantic: NDArray[np.uint8], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`(H, W)` ids -> `(H, W)` ids through a conversion table of this module, e.g. `NYU40_TO_NYU13`.

    Raises:
        DataError: an id is above 255 (the file is not a label map of this data set).
    """
    if semantic.dtype != np.uint8 and semantic.size and (semantic.max() > IGNORE or semantic.min() < 0):
        raise DataError(
            f"label ids run from {semantic.min()} to {semantic.max()}, expected 0..255: is this an instance or raw-label file? "
            "Choose the label maps of the data set."
        )
    return table[semantic]


def distinct_palette(count: int) -> tuple[Colour, ...]:
    """`count` different colours (up to 255), none of them black, for classes that come without a palette."""
    colours: list[Colour] = [*NYU40.palette[3:], *NYU40.palette[:3]]
    candidates = ((r, g, b) for b in range(40, 256, 30) for g in range(40, 256, 30) for r in range(40, 256, 30))
    while len(colours) < count:
        colour = next(candidates)
        if colour not in colours:
            colours.append(colour)
    return tuple(colours[:count])


def by_name(name: str) -> LabelSet:
    """The label set called `name`: nyu40, nyu13, cityscapes19, cityscapes7, camvid11, isprs6, isprs5.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in _BY_NAME:
        raise ConfigError(f"unknown label set '{name}': {suggest(name, _BY_NAME)}")
    return _BY_NAME[name]
