"""Data sets seen in another way: returns that serve as depth, labels in another label set, several data sets as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from diorama.data.base import SceneDataset
from diorama.data.batch import to_sample
from diorama.data.cache import fingerprint, resize_frame
from diorama.data.labels import CAMVID11, CITYSCAPES19, LabelSet
from diorama.data.mapped import DepthFrom, Joined, Relabelled, unknown_classes
from diorama.data.transforms import train_transform
from diorama.data.view import View
from diorama.errors import ConfigError
from diorama.tensors import SparseDepth

SHAPES = LabelSet("shapes", ("Ball", "box_1", "cone"), ((1, 0, 0), (2, 0, 0), (3, 0, 0)))
SOLIDS = LabelSet("solids", ("cone", "cube", "ball", "ring"), ((1, 0, 0), (2, 0, 0), (3, 0, 0), (4, 0, 0)))


class Toy(SceneDataset):
    """Frames of 6x8 whose values say which they are."""

    name = "toy"
    title = citation = "toy"
    terms = "free"
    root = None

    def __init__(
        self, count: int = 3, keys: Sequence[str] = ("image", "semantic", "sparse_depth"), labels: LabelSet | None = SHAPES
    ) -> None:
        self.split, self.provides, self.labels = "train", frozenset(keys), labels
        self.ids = [f"toy{number}" for number in range(count)]

    def frame(self, index: int) -> Any:
        points = np.zeros((6, 8), np.float32)
        points[1, 2], points[1, 3], points[4, 7] = 5 + index, 3 + index, 9
        made = {
            "image": np.full((6, 8, 3), 10 * index, np.uint8),
            "semantic": np.tile(np.array([0, 1, 2, 255], np.uint8), (6, 2)),
            "sparse_depth": points,
            "depth": points + 1,
        }
        return {**{key: made[key] for key in sorted(self.provides)}, "meta": {"id": self.ids[index]}}


def test_sparse_depth_serves_as_depth() -> None:
    seen = DepthFrom(Toy())
    assert seen.provides == {"image", "semantic", "depth"}
    assert (seen[1]["depth"] == Toy()[1]["sparse_depth"]).all()
    assert "sparse_depth" not in seen[1]


@pytest.mark.parametrize("size", [(3, 4), (2, 2), (6, 8), (12, 16)])
def test_returns_that_serve_as_depth_move_one_by_one(size: tuple[int, int]) -> None:
    """Where three returns are, the nearest of them stays: by hand, a pixel after the other."""
    expected = np.zeros(size, np.float32)
    for (row, column), metres in {(1, 2): 6.0, (1, 3): 4.0, (4, 7): 9.0}.items():
        place = int((row + 0.5) * size[0] / 6), int((column + 0.5) * size[1] / 8)
        expected[place] = min(metres, expected[place] or np.inf)
    frame = DepthFrom(Toy())[1]
    assert (resize_frame(frame, size)["depth"] == expected).all()
    sample = train_transform(View(size))(to_sample(frame, ("image", "depth")))
    assert isinstance(sample["depth"], SparseDepth)
    assert sorted(sample["depth"][sample["depth"] > 0].tolist()) == sorted(expected[expected > 0].tolist())


def test_what_cannot_serve_as_depth_is_told() -> None:
    with pytest.raises(ConfigError, match=r"toy \(train\) has no 'sparse_depth' to take as depth\. Leave out depth_from\."):
        DepthFrom(Toy(keys=("image",)))
    with pytest.raises(ConfigError, match=r"has 'depth' beside 'sparse_depth'\. Leave out depth_from, or leave depth out of `keys`\."):
        DepthFrom(Toy(keys=("image", "depth", "sparse_depth")))


def test_labels_become_those_of_equal_names_and_of_what_is_said() -> None:
    """Ball is ball (2) and cone is cone (0) by name; box_1 is nobody, until it is said to be a cube (1)."""
    seen = Relabelled(Toy(), SOLIDS)
    assert seen[0]["semantic"][0].tolist() == [2, 255, 0, 255] * 2
    assert (seen.labels, seen.vocabulary, seen.unknown) == (SOLIDS, SOLIDS, [1, 3])
    said = Relabelled(Toy(), SOLIDS, {"Box 1": "cube", "cone": "ignore"})
    assert said[0]["semantic"][0].tolist() == [2, 1, 255, 255] * 2
    assert unknown_classes(said) == [0, 3]


def test_labels_of_camvid_as_those_of_cityscapes() -> None:
    """Pavement is the sidewalk, a tree vegetation, a sign a traffic sign, a pedestrian a person, a bicyclist a rider."""
    found = Relabelled(Toy(labels=CAMVID11), CITYSCAPES19)
    named = {old: CITYSCAPES19.classes[new] for old, new in zip(CAMVID11.classes, found.becomes, strict=True)}
    assert named == {
        "sky": "sky", "building": "building", "pole": "pole", "road": "road", "pavement": "sidewalk", "tree": "vegetation",
        "sign": "traffic sign", "fence": "fence", "car": "car", "pedestrian": "person", "bicyclist": "rider",
    }  # fmt: skip
    lacking = {"wall", "traffic light", "terrain", "truck", "bus", "train", "motorcycle", "bicycle"}
    assert {CITYSCAPES19.classes[number] for number in found.unknown} == lacking


def test_a_cached_copy_depends_on_what_labels_become() -> None:
    prints = {fingerprint(Relabelled(Toy(), SOLIDS, names), (6, 8)) for names in (None, {"box_1": "cube"}, {"box_1": "ring"})}
    assert len(prints) == 3


@pytest.mark.parametrize(
    ("labels", "names", "said"),
    [
        (None, {}, r"toy \(train\) has no labels to convert to solids\. Leave out label_set\."),
        (SHAPES, {"Bal": "ring"}, r"class_names: 'Bal' is no class of shapes: did you mean 'Ball'\?"),
        (SHAPES, {"Ball": "ignor"}, r"class_names: 'ignor' is no class of solids: did you mean 'ignore'\?"),
        (SHAPES, {"Ball": "pyramid"}, r"class_names: 'pyramid' is no class of solids: Known: ball, cone, cube, ignore, ring\."),
        (CAMVID11, {}, r"label spaces do not overlap: toy has sky, .*, \.\.\., solids has cone, .*e\.g\. class_names: \{sky: cone\}\."),
    ],
)
def test_labels_that_cannot_be_converted_are_told(labels: LabelSet | None, names: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        Relabelled(Toy(labels=labels), SOLIDS, names)
    assert "\n" not in str(caught.value)


def test_several_data_sets_are_read_one_after_the_other() -> None:
    first, second = Toy(2), Toy(3, keys=("image", "depth"))
    joined = Joined([first, second])
    assert joined.ids == [*first.ids, *second.ids]
    assert (len(joined), joined.name, joined.provides, joined.labels) == (5, "toy+toy", {"image"}, None)
    assert [frame["meta"]["id"] for frame in joined] == joined.ids
    assert [int(frame["image"][0, 0, 0]) for frame in joined] == [0, 10, 0, 10, 20]
    assert joined[-1]["meta"]["id"] == "toy2"
    with pytest.raises(IndexError):
        joined.frame(5)


def test_data_sets_of_two_label_sets_are_not_one() -> None:
    apart = Joined([Toy(), Toy(labels=SOLIDS)])
    assert (apart.provides, apart.labels) == ({"image", "sparse_depth"}, None)
    assert apart.conflict == "toy has shapes and toy has solids: labels of one stream are of one label set. Convert them with label_set."
    together = Joined([Relabelled(Toy(), SOLIDS), Relabelled(Toy(), SOLIDS, {"box_1": "ring", "cone": "cube"}), Toy(labels=SOLIDS)])
    assert (together.labels, together.conflict) == (SOLIDS, "")
    assert unknown_classes(Joined(together.members[:2])) == []
    assert unknown_classes(Joined([together.members[0]] * 2)) == [1, 3]
    assert unknown_classes(together) == []
    with pytest.raises(ConfigError, match=r"toy\+toy: no key that all of them have"):
        Joined([Toy(keys=("image",)), Toy(keys=("depth",))])
