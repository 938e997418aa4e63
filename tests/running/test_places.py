"""Errors by class and distance: every number by a plain loop, which classes are shown, the files and the command."""

from __future__ import annotations

import csv
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from diorama.cli import main
from diorama.data.base import SceneDataset
from diorama.data.labels import LabelSet
from diorama.data.sparsify import Sparsify
from diorama.errors import DataError
from diorama.evaluation.breakdown import Breakdown
from diorama.evaluation.protocols import by_name
from diorama.running.places import ALL, STREET_CLASSES, by_place, place_rows, shown_classes, write_places
from diorama.types import Frame, Inputs, Prediction

NAMES = ("sky", "pole", "vegetation", "car", "building", "traffic sign", "road", "rider")
RULES = by_name("world_street", cap=80.0, classes=len(NAMES))


class Stripes(SceneDataset):
    """Depth rises by a metre per column from 1 m, classes change from row to row; the last row has no label, sky no depth."""

    name, title, citation, terms = "stripes", "Stripes", "none", "none"

    def __init__(self, frames: int = 3, names: tuple[str, ...] = NAMES) -> None:
        self.root, self.split = None, "test"
        self.labels = LabelSet("stripes", names, tuple((k, k, k) for k in range(len(names)))) if names else None
        self.ids = [f"stripe{number}" for number in range(frames)]
        self.provides = frozenset({"depth", "sparse_depth", *(("semantic",) if names else ())})

    def frame(self, index: int) -> Frame:
        depth = np.tile(np.arange(1, 89, dtype=np.float32), (9, 1))
        depth[0] = 0
        sparse = np.where(np.random.default_rng(index).random(depth.shape) < 0.3, depth, np.float32(0))
        found = Frame(depth=depth, sparse_depth=sparse, meta={"id": self.ids[index]})
        if self.labels:
            found["semantic"] = np.tile(np.array([*range(8), 255], np.uint8)[:, None], (1, 88))
        return found


def too_far(inputs: Inputs) -> Prediction:
    """A metre per row too far, 2 m more in the second frame of a batch."""
    points = inputs["sparse_depth"]
    row, column = np.mgrid[0:9, 1:89].astype(np.float32)
    return Prediction(depth=np.stack([column + row + 2 * (number == 1) for number in range(len(points))])[:, None].astype(np.float32))


def found_of(frames: int = 3, names: tuple[str, ...] = NAMES) -> Breakdown:
    return by_place(too_far, Stripes(frames, names), RULES if names else by_name("folder", cap=80.0), Sparsify("all"), progress=False)


def test_every_number_is_that_of_a_plain_loop() -> None:
    sums: dict[tuple[str, str], list[float]] = {}
    for number in range(3):
        for row in range(1, 9):
            for distance in range(1, 80):  # 80 m itself is beyond the cap
                far = min(distance + row + 2 * (number == 1), 80)
                span = f"{distance // 20 * 20}-{distance // 20 * 20 + 20} m"
                name = NAMES[row] if row < 8 else "unlabelled"
                for place in ((name, span), (name, ALL), (ALL, span)):
                    sums.setdefault(place, []).append((far - distance) ** 2)
    rows = {(row["class"], row["range"]): row for row in place_rows({"far": found_of()}) if row["pixels"]}
    assert rows.keys() == sums.keys()
    for place, squares in sums.items():
        assert rows[place]["pixels"] == len(squares)
        assert rows[place]["rmse_m"] == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-6)
        assert rows[place]["model"] == "far"
    low, high = (rows["car", ALL][key] for key in ("rmse_low", "rmse_high"))
    assert low < rows["car", ALL]["rmse_m"] < high


def test_the_classes_of_papers_are_shown_where_they_occur() -> None:
    assert shown_classes(found_of()) == list(STREET_CLASSES)
    others = tuple(f"class {k}" for k in range(8))
    # class 0 has no depth; the others have the same number of pixels
    assert shown_classes(found_of(names=others)) == [f"class {k}" for k in range(1, 7)]
    assert shown_classes(found_of(names=())) == []


def test_it_is_written_with_and_without_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for names in (NAMES, ()):
        table, chart = write_places({"one": found_of(names=names), "two": found_of(names=names)}, tmp_path / "out")
        rows = list(csv.DictReader(table.read_text().splitlines()))
        assert {row["model"] for row in rows} == {"one", "two"}
        assert [row["range"] for row in rows[:4]] == ["0-20 m", "20-40 m", "40-60 m", "60-80 m"]
        assert {"car", "traffic sign"} <= {row["class"] for row in rows} or not names
        assert ET.parse(chart).getroot().tag.endswith("svg")
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    assert write_places({"one": found_of()}, tmp_path / "bare") == [tmp_path / "bare" / "places.csv"]


def test_nothing_to_count_is_told() -> None:
    class Empty(Stripes):
        def frame(self, index: int) -> Frame:
            found = super().frame(index)
            found["depth"] = np.zeros_like(found["depth"])
            return found

    with pytest.raises(DataError):
        by_place(too_far, Empty(1), RULES, Sparsify("all"), progress=False)


def test_the_command_writes_them_for_several_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    street = ["--data", "world_street", "--data.frames", "2", "--data.size", "[48,96]", "--data.stereo", "false"]
    words = ["sweep", "linear", "nearest", *street, "--axes", "[class and distance]", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["places.csv", "places.svg"]
    printed = capsys.readouterr().out
    assert all(part in printed for part in ("linear", "nearest", "road", "20-40 m"))
    assert main(words) == 2
    assert "places.csv exists already. Pass --overwrite" in capsys.readouterr().err
