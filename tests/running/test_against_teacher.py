"""A model against its teacher with planted errors: every number by a plain loop, intervals, files, the command, and what is refused."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest
import toy
from numpy.typing import NDArray

from diorama.cli import main
from diorama.data.base import SceneDataset
from diorama.errors import ConfigError, DataError
from diorama.evaluation.protocols import by_name
from diorama.prediction import predictor
from diorama.running.against_teacher import ALL, CONFIDENCE, FILES, SILENT, VIEWS, Against, against_teacher, write_against
from diorama.stereo.pseudo_folder import PseudoFolder, begin
from diorama.types import Frame, Inputs, Prediction

RULES = by_name("folder", cap=80.0)
SIZE = (24, 40)


class Street(SceneDataset):
    """Depth rises by a metre per row from 1 m; the first column has none. The image's red channel is the row, its green the frame."""

    name, title, citation, terms = "street", "Street", "none", "none"
    splits = ("test",)

    def __init__(self, frames: int = 6) -> None:
        self.root, self.split, self.labels = None, "test", None
        self.ids = [f"town/{number}" for number in range(frames)]
        self.provides = frozenset({"image", "depth"})

    def frame(self, index: int) -> Frame:
        row = np.arange(SIZE[0])[:, None] * np.ones((1, SIZE[1]), int)
        image = np.stack([row, np.full_like(row, index), 0 * row], -1).astype(np.uint8)
        depth = (row + 1).astype(np.float32)
        depth[:, 0] = 0
        return Frame(image=image, depth=depth, meta={"id": self.ids[index]})


def confidence(index: int) -> NDArray[np.float32]:
    """0.05, 0.15, ... 0.95 over the columns, the last ones exactly 1."""
    levels = (np.arange(SIZE[1]) // 4).clip(max=9) / 10 + 0.05
    levels[-2:] = 1.0
    return np.tile(levels.astype(np.float32), (SIZE[0], 1))


def taught(index: int) -> NDArray[np.float32]:
    """The unsurer, the farther off: up to 40 % too far; the last row is not matched."""
    depth = Street().frame(index)["depth"]
    truth = np.where(depth > 0, depth, 1)
    found = (truth * (1 + 0.4 * (1 - confidence(index)) * (1 + 0.1 * index))).astype(np.float32)
    found[-1] = 0
    return found


def agrees(index: int) -> NDArray[np.bool_]:
    return confidence(index) > 0.3


def predict(inputs: Inputs) -> Prediction:
    """A tenth too near everywhere."""
    row = np.round(inputs["image"][:, :1] * 255)
    return Prediction(depth=(0.9 * (row + 1)).astype(np.float32))


def labelled(root: Path, frames: int = 6, kinds: tuple[str, ...] = ("depth", "confidence", "agrees")) -> Path:
    dataset = Street(frames)
    prints = begin(root, {"format": 1, "data": {"name": "street"}, "labelling": {}})
    folder = PseudoFolder(root, dataset)
    for index, frame_id in enumerate(dataset.ids):
        for kind, make in (("depth", taught), ("confidence", confidence), ("agrees", agrees)):
            if kind in kinds:
                folder.write(kind, frame_id, make(index))
        folder.keep(frame_id, {"id": frame_id, "split": "test", "settings": prints, "kinds": list(kinds), "warnings": []})
    return root


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Against:
    return against_teacher(predict, Street(), labelled(tmp_path_factory.mktemp("pseudo") / "p"), RULES, progress=False, draws=200)


def test_every_number_is_that_of_a_plain_loop(found: Against) -> None:
    sums: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for index in range(6):
        # what the 16-bit files hold: depth in steps of 1/256 m
        teacher = np.round(taught(index).astype(float) * 256) / 256
        for row, column in np.ndindex(SIZE):
            if column == 0:
                continue
            d, model = float(row + 1), 0.9 * (row + 1)
            level = min(int(confidence(index)[row, column] * 10 + 1e-4), 9)
            spoken = teacher[row, column] > 0
            groups = [(SILENT, SILENT)]
            if spoken:
                views = "views agree" if agrees(index)[row, column] else "views disagree"
                groups = [(CONFIDENCE, f"{level / 10:.3g}-{(level + 1) / 10:.3g}"), (VIEWS, views), (ALL, ALL)]
            for group in groups:
                sums.setdefault(group, []).append((d, model, teacher[row, column]))
    assert {(group.by, group.name) for group in found.groups} == sums.keys()
    assert found.frames == 6
    for group in found.groups:
        pixels = sums[group.by, group.name]
        assert (group.pixels, group.frames) == (len(pixels), 6)
        for place, who in ((1, "model"), (2, "teacher")):
            if group.by == SILENT and who == "teacher":
                assert math.isnan(group.values["teacher_abs_rel"]) and math.isnan(group.values["difference_rmse"])
                continue
            abs_rel = sum(abs(pixel[place] - pixel[0]) / pixel[0] for pixel in pixels) / len(pixels)
            rmse = math.sqrt(sum((pixel[place] - pixel[0]) ** 2 for pixel in pixels) / len(pixels))
            assert group.values[f"{who}_abs_rel"] == pytest.approx(abs_rel, rel=1e-5)
            assert group.values[f"{who}_rmse"] == pytest.approx(rmse, rel=1e-5)


def test_the_model_is_better_exactly_where_the_planted_teacher_is_unsure(found: Against) -> None:
    # the teacher's own error is 0.4 (1 - C) (1 + frame / 10), 0.5 (1 - C) over the six frames; the model's is 0.1 everywhere
    for group in found.of(CONFIDENCE):
        middle = (float(group.name.split("-")[0]) + float(group.name.split("-")[1])) / 2
        low, high = group.intervals["difference_abs_rel"]
        assert low <= group.values["difference_abs_rel"] <= high
        if middle < 0.7:
            assert high < 0, group
        if middle > 0.87:
            assert low > 0, group
    agree, disagree = found.of(VIEWS)
    assert agree.values["difference_abs_rel"] > disagree.values["difference_abs_rel"]
    low, high = found.of(ALL)[0].intervals["model_abs_rel"]
    assert low == pytest.approx(0.1, rel=1e-5) and high == pytest.approx(0.1, rel=1e-5)  # the same in every frame
    low, high = found.of(ALL)[0].intervals["teacher_abs_rel"]
    assert high - low > 0.01


def test_the_files(found: Against, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, vector, pixels = write_against(found, tmp_path)
    assert [path.name for path in (table, vector, pixels)] == list(FILES)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == len(found.groups)
    first = found.of(CONFIDENCE)[0]
    assert rows[0]["by"] == CONFIDENCE and int(rows[0]["pixels"]) == first.pixels
    assert float(rows[0]["difference_abs_rel"]) == pytest.approx(first.values["difference_abs_rel"], rel=1e-8)
    assert rows[-1]["by"] == SILENT and rows[-1]["teacher_rmse"] == ""
    assert ET.parse(vector).getroot().tag.endswith("svg")
    image = cv2.imread(str(pixels))
    assert image is not None and image.shape[1] > 1000 and image.std() > 10
    again = write_against(found, tmp_path / "again")
    assert again[1].read_bytes() == vector.read_bytes()
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    monkeypatch.delitem(__import__("sys").modules, "diorama.running.against_chart", raising=False)
    assert write_against(found, tmp_path / "bare") == [tmp_path / "bare" / FILES[0]]


def test_one_frame_has_no_interval_and_no_confidence_no_bins(tmp_path: Path) -> None:
    root = labelled(tmp_path / "one", 1, ("depth", "agrees"))
    found = against_teacher(predict, Street(1), root, RULES, progress=False)
    assert {group.by for group in found.groups} == {VIEWS, ALL, SILENT}
    assert all(math.isnan(end) for group in found.groups for span in group.intervals.values() for end in span)
    assert len(write_against(found, tmp_path)) == 3


def test_a_group_of_one_frame_has_no_interval(tmp_path: Path) -> None:
    class Known(Street):
        """Only the second frame has depth in its last columns, where the teacher is surest."""

        def frame(self, index: int) -> Frame:
            found = super().frame(index)
            if index != 1:
                found["depth"][:, 36:] = 0
            return found

    found = against_teacher(predict, Known(3), labelled(tmp_path / "p", 3), RULES, progress=False, draws=50)
    sure, unsure = found.of(CONFIDENCE)[-1], found.of(CONFIDENCE)[0]
    assert (sure.frames, unsure.frames) == (1, 3)
    assert math.isnan(sure.intervals["teacher_rmse"][0]) and math.isfinite(unsure.intervals["teacher_rmse"][0])


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder of pseudo labels"):
        against_teacher(predict, Street(), tmp_path, RULES, progress=False)
    root = labelled(tmp_path / "few", 2)
    with pytest.raises(DataError, match=r"no pseudo labels of town/2, town/3, town/4 and 1 more. Run"):
        against_teacher(predict, Street(), root, RULES, progress=False)
    bare = labelled(tmp_path / "bare", 2, ("depth",))
    with pytest.raises(DataError, match="holds no depth with its confidence or agreement"):
        against_teacher(predict, Street(2), bare, RULES, progress=False)
    with pytest.raises(ConfigError, match="stereo depth is metres"):
        against_teacher(predict, Street(2), root, RULES.vary(align="median"), progress=False)
    with pytest.raises(ConfigError, match="stereo depth is metres"):
        against_teacher(predict, Street(2), root, "cityscapes7_mtan", progress=False)
    with pytest.raises(ConfigError, match="0 bins"):
        against_teacher(predict, Street(2), root, RULES, progress=False, bins=0)
    with pytest.raises(DataError, match="town/0: no predicted depth"):
        against_teacher(lambda inputs: Prediction(), Street(2), root, RULES, progress=False)


def test_the_command_compares_a_model_with_the_pseudo_labels_of_its_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    twenty = toy.SameModel(toy.toy_config([48, 96], classes=(), cap=80.0), depth=20)
    monkeypatch.setattr(predictor, "load", lambda *_, **__: predictor.Predictor(twenty, "twenty", "test"))
    street = ["--data", "world_street", "--data.frames", "2", "--data.size", "[48,96]"]
    assert main(["pseudo-label", *street, "--splits", "test", "--out", str(tmp_path / "pseudo"), "--workers", "1"]) == 0
    words = ["evaluate", "twenty", *street, "--against", str(tmp_path / "pseudo"), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "views disagree" in said and "Abs Rel model - teacher" in said and FILES[2] in said
    rows = {row["group"]: row for row in csv.DictReader((tmp_path / "out" / FILES[0]).read_text().splitlines())}
    # the teacher is stereo on rendered streets: far better than a constant where its views agree
    assert float(rows["views agree"]["teacher_abs_rel"]) < 0.5 * float(rows["views agree"]["model_abs_rel"])
    assert main([*words, "--overwrite", "--parser", "fcn"]) == 2
    assert "--against compares depth" in capsys.readouterr().err
    twenty.config["input"]["keys"] = ["sparse_depth"]
    assert main([*words, "--overwrite"]) == 2
    assert "twenty takes sparse_depth; --against compares networks of a photo" in capsys.readouterr().err
