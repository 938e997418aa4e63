"""Classes by name: spellings, synonyms, the seven categories by way of the nineteen classes."""

from __future__ import annotations

import numpy as np

from diorama.data import labels
from diorama.data.label_names import SYNONYMS, by_class_name, plain_name, spellings


def test_names_are_compared_without_case_and_punctuation() -> None:
    assert plain_name(" Traffic_Sign ") == "traffic sign"
    assert spellings("car, auto;motor-car") == ["car", "auto", "motor car"]
    names = [name.upper().replace(" ", "_") for name in labels.CITYSCAPES19.classes]
    found = by_class_name(names, labels.CITYSCAPES19)
    assert found.table[:19].tolist() == list(range(19))
    assert set(found.table[19:]) == {255}
    assert found.unmapped == found.unsaid == ()


def test_synonyms_and_what_is_left_over() -> None:
    found = by_class_name(["pedestrian", "tree", "minibike, motorbike", "signboard, sign", "zebra"], labels.CITYSCAPES19)
    classes = labels.CITYSCAPES19.classes
    assert found.table[:3].tolist() == [classes.index("person"), classes.index("vegetation"), classes.index("motorcycle")]
    assert found.table[3:5].tolist() == [255, 255]
    assert found.unmapped == ("signboard, sign", "zebra")
    assert "road" in found.unsaid and "person" not in found.unsaid
    assert all(plain_name(name) == name for group in SYNONYMS for name in group)


def test_streets_of_one_data_set_in_the_words_of_another() -> None:
    found = by_class_name(labels.CITYSCAPES19.classes, labels.CAMVID11)
    said = {name: int(found.table[k]) for k, name in enumerate(labels.CITYSCAPES19.classes)}
    theirs = labels.CAMVID11.classes.index
    assert said["sidewalk"] == theirs("pavement") and said["traffic sign"] == theirs("sign") and said["rider"] == theirs("bicyclist")
    assert set(found.unmapped) == {"wall", "traffic light", "terrain", "truck", "bus", "train", "motorcycle", "bicycle"}
    assert found.unsaid == ()


def test_an_official_conversion_goes_first() -> None:
    found = by_class_name(labels.CITYSCAPES19.classes, labels.CITYSCAPES7)
    assert np.array_equal(found.table, labels.CITYSCAPES19_TO_7)
    found = by_class_name(labels.SUN37.classes, labels.NYU13)
    assert found.table[:37].tolist() == labels.NYU40_TO_NYU13[:37].tolist()


def test_categories_are_found_through_their_classes() -> None:
    found = by_class_name(["Tree", "Truck", "sky", "vehicle", "lamp"], labels.CITYSCAPES7)
    names = labels.CITYSCAPES7.classes
    assert [names[k] for k in found.table[:4]] == ["nature", "vehicle", "sky", "vehicle"]
    assert found.unmapped == ("lamp",)
