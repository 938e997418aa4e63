"""Label sets: official tables as they are published, conversions on real files, palettes that can be read back."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from diorama.data import labels
from diorama.errors import ConfigError, DataError, ShapeError

SETS = (labels.NYU40, labels.NYU13, labels.CITYSCAPES19, labels.CITYSCAPES7, labels.CAMVID11)

# mapClass of the official class13Mapping.mat: NYU40 id 1..40 -> 13-class id 1..13.
OFFICIAL_40_TO_13 = (
    *(12, 5, 6, 1, 4, 9, 10, 12, 13, 6, 8, 6, 13, 10, 6, 13, 6, 7, 7, 5),
    *(7, 3, 2, 6, 11, 7, 7, 7, 7, 7, 7, 6, 7, 7, 7, 7, 7, 7, 6, 7),
)

# id, category, train id of the official table of Cityscapes (trainId 255 and -1 both mean "not evaluated").
OFFICIAL_CITYSCAPES = (
    *((0, 0, 255), (1, 0, 255), (2, 0, 255), (3, 0, 255), (4, 0, 255), (5, 0, 255), (6, 0, 255), (7, 1, 0), (8, 1, 1), (9, 1, 255)),
    *((10, 1, 255), (11, 2, 2), (12, 2, 3), (13, 2, 4), (14, 2, 255), (15, 2, 255), (16, 2, 255), (17, 3, 5), (18, 3, 255)),
    *((19, 3, 6), (20, 3, 7), (21, 4, 8), (22, 4, 9), (23, 5, 10), (24, 6, 11), (25, 6, 12), (26, 7, 13), (27, 7, 14), (28, 7, 15)),
    *((29, 7, 255), (30, 7, 255), (31, 7, 16), (32, 7, 17), (33, 7, 18)),
)


@pytest.mark.parametrize("label_set", SETS, ids=lambda s: s.name)
def test_names_and_palettes_fit_and_differ(label_set: labels.LabelSet) -> None:
    assert len(label_set) == int("".join(c for c in label_set.name if c.isdigit()))
    assert len(label_set.palette) == len(label_set.classes) == len(set(label_set.classes)) == len(set(label_set.palette))
    assert labels.by_name(label_set.name) is label_set
    assert (0, 0, 0) not in label_set.palette


@pytest.mark.parametrize("label_set", SETS[:2], ids=lambda s: s.name)
def test_our_own_palettes_can_be_told_apart(label_set: labels.LabelSet) -> None:
    lab = cv2.cvtColor(np.float32([label_set.palette]) / 255, cv2.COLOR_RGB2LAB)[0]
    assert min(np.linalg.norm(a - b) for a, b in combinations(lab, 2)) > 15  # a difference of 2 is just visible


def test_nyu_40_to_13_is_the_official_table() -> None:
    ours = labels.convert(np.arange(40, dtype=np.uint8), labels.NYU40_TO_NYU13)
    assert (ours + 1).tolist() == list(OFFICIAL_40_TO_13)


def test_nyu_40_to_13_agrees_with_every_official_test_map(real_data: Path) -> None:
    folder = real_data / "nyuv2" / "test"
    names = sorted(path.name for path in (folder / "semantic13").iterdir())
    assert len(names) == 654
    differ = 0
    for name in names:
        ids40 = np.asarray(Image.open(folder / "semantic40" / name))
        official = np.asarray(Image.open(folder / "semantic13" / name))
        ours = labels.convert(labels.convert(ids40, labels.NYU40_IDS), labels.NYU40_TO_NYU13)
        labelled = ids40 > 0
        differ += int((ours[labelled] + 1 != official[labelled]).sum())
        # Class 40 was merged into void in these 40-class maps: it can only be "objects" (7) in the 13-class ones.
        assert set(np.unique(official[~labelled])) <= {0, 7}
    assert differ == 0


def test_nyu13_json_beside_the_data_agrees(real_data: Path) -> None:
    table = json.loads((real_data / "nyuv2" / "nyu40_minus1_to_13.json").read_text())
    assert [name.lower() for name in table["names13"][1:]] == list(labels.NYU13.classes)
    for number, target in table["labels40_id_to_13"].items():
        if target:
            assert labels.NYU40_TO_NYU13[int(number)] == target - 1


def test_cityscapes_tables_are_the_official_ones() -> None:
    ids = np.arange(34, dtype=np.uint8)
    assert labels.convert(ids, labels.CITYSCAPES34_TO_19).tolist() == [train_id for _, _, train_id in OFFICIAL_CITYSCAPES]
    assert labels.convert(ids, labels.CITYSCAPES34_TO_7).tolist() == [
        category - 1 if category else 255 for _, category, _ in OFFICIAL_CITYSCAPES
    ]


def test_cityscapes_conversions_commute_and_invert() -> None:
    train_ids = np.array([*range(19), 255], np.uint8)
    files = labels.convert(train_ids, labels.CITYSCAPES19_TO_34)
    assert labels.convert(files, labels.CITYSCAPES34_TO_19).tolist() == train_ids.tolist()
    assert labels.convert(files, labels.CITYSCAPES34_TO_7).tolist() == labels.convert(train_ids, labels.CITYSCAPES19_TO_7).tolist()
    assert files[-1] == 0


def test_official_files_can_be_written_and_read_back() -> None:
    for classes, to_file, from_file in (
        (19, labels.CITYSCAPES19_TO_34, labels.CITYSCAPES34_TO_19),
        (7, labels.CITYSCAPES7_TO_34, labels.CITYSCAPES34_TO_7),
        (11, labels.CAMVID11_TO_IDS, labels.CAMVID11_IDS),
    ):
        train_ids = np.array([*range(classes), 255], np.uint8)
        assert labels.convert(labels.convert(train_ids, to_file), from_file).tolist() == train_ids.tolist()
    # of the official table: road, building, pole, vegetation, sky, person, car; void is "unlabeled" there and 11 at CamVid
    assert labels.CITYSCAPES7_TO_34[[*range(7), 255]].tolist() == [7, 11, 17, 21, 23, 24, 26, 0]
    assert labels.CAMVID11_TO_IDS[[0, 10, 255]].tolist() == [0, 10, 11]
    for table, void in ((labels.NYU40_IDS, 0), (labels.NYU13_IDS, 0), (labels.CITYSCAPES34_TO_19, 0)):
        back = labels.inverse(table, void)
        known = np.flatnonzero(table != 255)
        assert labels.convert(labels.convert(known.astype(np.uint8), table), back).tolist() == known.tolist()


def test_conversions_between_label_sets() -> None:
    assert labels.conversion(labels.CITYSCAPES19.classes, labels.CITYSCAPES7.classes) is labels.CITYSCAPES19_TO_7
    assert labels.conversion(labels.CITYSCAPES7.classes, labels.CITYSCAPES19.classes) is None
    same = labels.conversion(labels.NYU13.classes, labels.NYU13.classes)
    assert same is not None and same[:13].tolist() == list(range(13)) and same[13] == 255


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(SETS), npst.arrays(np.uint8, (5, 7)))
def test_colours_decode_to_the_same_train_ids(label_set: labels.LabelSet, ids: np.ndarray) -> None:
    semantic = np.where(ids % 50 < len(label_set), ids % 50, 255).astype(np.uint8)
    assert np.array_equal(label_set.decode(label_set.colour(semantic)), semantic)


@settings(max_examples=25, deadline=None)
@given(npst.arrays(np.uint8, (4, 3, 3)))
def test_decode_takes_the_nearest_palette_colour(image: np.ndarray) -> None:
    decoded = labels.CAMVID11.decode(image)
    palette = np.array(labels.CAMVID11.palette, float)
    for row, column in np.ndindex(4, 3):
        pixel = image[row, column].astype(float)
        expected = int(np.argmin(((palette - pixel) ** 2).sum(1))) if pixel.any() else 255
        assert decoded[row, column] == expected


def test_ignore_survives_every_conversion() -> None:
    ignored = np.full((2, 2), 255, np.uint8)
    for table in (labels.NYU40_TO_NYU13, labels.CITYSCAPES34_TO_19, labels.CITYSCAPES34_TO_7, labels.CITYSCAPES19_TO_7, labels.NYU40_IDS):
        assert (labels.convert(ignored, table) == 255).all()


def test_errors_say_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'nyu40'"):
        labels.by_name("nyu4O")
    with pytest.raises(DataError, match=r"0 to 3000"):
        labels.convert(np.array([[0, 3000]], np.uint16), labels.NYU40_IDS)
    with pytest.raises(ShapeError, match=r"RGB"):
        labels.NYU13.decode(np.zeros((2, 2), np.uint8))


def test_distinct_palette_has_no_twins() -> None:
    palette = labels.distinct_palette(200)
    assert len(set(palette)) == 200
    assert (0, 0, 0) not in palette
