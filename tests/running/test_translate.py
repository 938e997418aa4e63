"""Label -> image scored by a parser, on pairs of models whose photos and answers are known pixel by pixel."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diorama import catalog
from diorama.cli import main
from diorama.data.base import SceneDataset
from diorama.data.labels import LabelSet
from diorama.errors import ConfigError, DataError, ModelError, ProtocolError
from diorama.evaluation.protocols import Protocol
from diorama.export.model_file import save_model
from diorama.methods.base import Method
from diorama.prediction.predictor import Predictor
from diorama.running.evaluate_file import evaluate
from diorama.running.records import metrics_dict
from diorama.running.translate import Translator, load_translator, parser_id
from diorama.types import Frame, Inputs, Prediction

STEP = 20
"""Grey values between two classes: class k is painted (k + 1) * STEP, ignored pixels are black."""
LABELS = LabelSet("toy3", ("floor", "wall", "chair"), ((200, 0, 0), (0, 200, 0), (0, 0, 200)))
ROOMS = {"frames": 3, "size": [48, 64], "stereo": False}


@dataclass(frozen=True)
class PainterConfig:
    """Configuration of `Painter`."""

    tasks: str = "semantic"


class Painter(Method):
    """Paints each class in its own grey, and reads classes off their grey; remembers what it was asked to paint."""

    needs: ClassVar[frozenset[str]] = frozenset({"image"})
    config_class = PainterConfig
    citation = "none"
    translates: ClassVar[bool] = True

    def __init__(self, config: PainterConfig) -> None:
        super().__init__()
        self.config = config
        self.step = nn.Parameter(torch.tensor(STEP / 255))
        self.asked: list[Tensor] = []

    def translate(self, semantic: Tensor) -> Tensor:
        self.asked.append(semantic)
        grey = torch.where(semantic == 255, 0, semantic + 1) * self.step
        return grey[:, None].expand(-1, 3, -1, -1)

    def forward(self, image: Tensor) -> Prediction:
        kinds = torch.arange(1, 14, device=image.device)[None, :, None, None]
        return Prediction(semantic_logits=-(image[:, :1] / self.step - kinds).abs())

    def losses(self, batch: Any, context: Any, turn: Any) -> dict[str, Tensor]:
        return {}

    def optimisers(self) -> dict[str, Any]:
        return {}

    @property
    def stages(self) -> list[Any]:
        return []


class Labeller(Painter):
    """Only reads."""

    translates = False


class Blind(Painter):
    """Paints nothing that is a number."""

    def translate(self, semantic: Tensor) -> Tensor:
        return super().translate(semantic) * float("nan")


class Reader:
    """A parser: reads the class off the grey; `says` changes what it answers to a class."""

    def __init__(self, size: tuple[int, int] | None = None, says: dict[int, int] | None = None, labels: LabelSet | None = LABELS) -> None:
        self.says, self.sizes = says or {}, list[tuple[int, ...]]()
        told = (
            None if labels is None else {"name": labels.name, "classes": list(labels.classes), "palette": [list(c) for c in labels.palette]}
        )
        self.config: Any = {
            "format": 1, "method": "fcn", "diorama": "0.1.0", "init": {"backbone": "none", "seed": len(self.says)}, "labels": told,
            "depth": None, "input": {"size": size, "multiple_of": 1}, "training": {"data": "toy"}, "export": {},
        }  # fmt: skip

    def __call__(self, inputs: Inputs) -> Prediction:
        image = inputs["image"]
        self.sizes.append(image.shape[2:])
        kinds = np.round(image[:, 0] * 255 / STEP).astype(int) - 1
        said = np.vectorize(lambda kind: self.says.get(kind, kind))(kinds)
        return Prediction((said[:, None] == np.arange(3)[None, :, None, None]).astype(np.float32))


class Maps(SceneDataset):
    """Two label maps of 8x12 in blocks of 4x4; the photos are noise that plays no part."""

    name, title, citation, terms = "maps", "Maps", "none", "none"
    BLOCKS = (((0, 0, 1), (2, 1, 255)), ((0, 2, 2), (2, 255, 1)))

    def __init__(self, labels: LabelSet | None = LABELS) -> None:
        self.root, self.split, self.labels = None, "test", labels
        self.ids, self.provides = ["a", "b"], frozenset({"image", "semantic"})

    def frame(self, index: int) -> Frame:
        ids = np.array(self.BLOCKS[index], np.uint8).repeat(4, 0).repeat(4, 1)
        noise = np.random.default_rng(index).integers(0, 255, (8, 12, 3)).astype(np.uint8)
        return Frame(image=noise, semantic=ids, meta={"id": self.ids[index]})


@pytest.fixture(autouse=True)
def _in_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Painter, Labeller, Blind):
        monkeypatch.setitem(catalog.METHODS, kind.__name__.lower(), f"{kind.__module__}:{kind.__name__}")


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """A model folder of a method of this file."""

    def made(kind: type[Painter] = Painter, size: tuple[int, int] | None = None, labels: LabelSet = LABELS) -> Path:
        folder = tmp_path / kind.__name__.lower()
        save_model(kind(PainterConfig()), folder / "model.safetensors", labels=labels, depth_cap=None, training={}, input_size=size)
        return folder

    return made


def parser(**settings: Any) -> Predictor:
    return Predictor(Reader(**settings), "reader", "test")


@pytest.mark.parametrize("size", [None, (8, 12), (4, 6), (16, 24)])
def test_a_perfect_pair_scores_one(size: tuple[int, int] | None, saved: Callable[..., Path]) -> None:
    """At half the size too: between block centres a bilinear score of one class stays the largest up to the block's own edge."""
    translator, judge = load_translator(saved(size=size)), parser(size=size)
    found = evaluate(translator, Maps(), parser=judge, progress=False)
    for name in ("pixel_accuracy", "class_accuracy", "miou"):
        assert found[name] == 1.0
    # 12 blocks of 16 pixels, two of them ignored: classes 0, 1, 2 have 3, 3, 4 blocks
    assert found.confusion is not None
    assert found.confusion[:, :3].tolist() == [[48, 0, 0], [0, 48, 0], [0, 0, 64]]
    seen = size or (8, 12)
    asked = translator._method.asked
    assert {(tuple(part.shape), part.dtype) for part in asked} == {((1, *seen), torch.int64)}
    assert set(torch.cat(asked).flatten().tolist()) == {0, 1, 2, 255}
    assert isinstance(judge.model, Reader)
    assert set(judge.model.sizes) == {seen}


def test_photos_of_one_size_are_parsed_at_another(saved: Callable[..., Path]) -> None:
    """Averages over 2x2 pixels of a block are the block's own grey, so that a parser of half the size still reads every class."""
    judge = parser(size=(4, 6))
    found = evaluate(load_translator(saved(size=(8, 12))), Maps(), parser=judge, progress=False)
    assert isinstance(judge.model, Reader)
    assert set(judge.model.sizes) == {(4, 6)}
    assert found["pixel_accuracy"] == 1.0


def test_a_parser_that_takes_floor_for_wall_gives_the_table_worked_out_by_hand(saved: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = evaluate(saved(size=(8, 12)), Maps(), parser=parser(says={0: 1}), out=out, progress=False)
    assert found.confusion is not None
    assert found.confusion[:, :3].tolist() == [[0, 48, 0], [0, 48, 0], [0, 0, 64]]
    assert found["pixel_accuracy"] == pytest.approx((48 + 64) / 160)
    assert found["class_accuracy"] == pytest.approx(2 / 3)
    assert found["miou"] == pytest.approx((0 + 48 / 96 + 1) / 3)
    stored = json.loads((out / "metrics.json").read_text())
    assert [row["iou"] for row in stored["classes"]] == [0, 0.5, 1]
    assert (stored["model"]["name"], stored["model"]["method"], stored["model"]["parser_name"]) == ("painter", "painter", "reader")
    assert stored["protocol"]["parsed_by"] == parser_id(parser(says={0: 1}))
    page = (out / "report.html").read_text()
    assert "Generated photo" in page
    assert "photos made of the label maps, as reader@" in page


def test_numbers_of_different_judges_do_not_compare(saved: Callable[..., Path]) -> None:
    rules = Protocol(name="maps3", dataset="maps", split="test", truth="drawn", classes=3)
    translator = load_translator(saved())
    plain = evaluate(parser(), Maps(), rules, progress=False)
    one, same, other = (evaluate(translator, Maps(), rules, parser=parser(says=says), progress=False) for says in ({}, {}, {0: 1}))
    assert one.protocol.name == f"maps3+parsed_by={parser_id(parser())}"
    assert one.values["miou"] - same.values["miou"] == 0
    for wrong in (plain, other):
        with pytest.raises(ProtocolError, match="parsed_by"):
            one.values["miou"].require_comparable(wrong.values["miou"])
    flipped = evaluate(translator, Maps(), rules, parser=parser(), flip=True, progress=False)
    assert "+flip" in flipped.protocol.name
    assert flipped["miou"] == 1.0
    # what was stored before parsers were known is of photos that a camera took
    before = metrics_dict(plain)["protocol"]
    del before["parsed_by"]
    assert not Protocol.from_dict(before).differences(plain.protocol)


def test_every_file_of_a_parser_has_one_identity() -> None:
    both = [Reader(), Reader()]
    both[1].config["export"], both[1].config["diorama"] = {"opset": 18}, "9.9"
    first, second = (parser_id(Predictor(model, "reader", "test")) for model in both)
    assert first == second
    both[1].config["training"] = {"data": "toy", "seed": 1}
    assert parser_id(Predictor(both[1], "reader", "test")) != first


def test_what_does_not_go_together_is_told(saved: Callable[..., Path], tmp_path: Path) -> None:
    painter, other = saved(), LabelSet("toy3b", ("floor", "wall", "table"), LABELS.palette)

    def refused(model: Any, kind: type[Exception], said: str, **settings: Any) -> None:
        given = {"dataset": Maps(), "parser": parser(), **settings}
        with pytest.raises(kind, match=said) as caught:
            evaluate(model, given.pop("dataset"), **given, out=tmp_path / "out", progress=False)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()

    refused(saved(Labeller), ModelError, r"labeller \(method labeller\) makes no photos of label maps\. Give .* or leave out --parser")
    refused("linear", ModelError, r"linear \(method completion\) makes no photos")
    refused(parser(), ModelError, "was loaded to label photos. Give the path")
    refused(saved(Blind), ModelError, "values that are no numbers. Train it again")
    refused(painter, ModelError, "the parser reader predicts no semantics. Give", parser=parser(labels=None))
    refused(painter, ModelError, "the parser linear predicts no semantics", parser="linear")
    refused(
        painter,
        ModelError,
        r"parser reader has other classes than maps \(table for chair\)\. Give .* trained on toy3",
        parser=parser(labels=other),
    )
    refused(painter, DataError, "maps has no label maps to make photos of. Choose", dataset=Maps(labels=None))
    refused(painter, ConfigError, "Leave out --size", size=(8, 12))
    refused(load_translator(painter), ConfigError, "only a parser can judge", parser=None)
    refused(painter / "nowhere.safetensors", ModelError, "no such file")
    refused(saved(labels=other), ModelError, r"the model painter has other classes than maps \(table for chair\)")
    model = tmp_path / "model.onnx"
    model.write_bytes(b"graph")
    refused(model, ModelError, r"an ONNX file makes no photos of label maps\. Give the model\.safetensors")
    two = LabelSet("toy2", LABELS.classes[:2], LABELS.palette[:2])
    refused(painter, ModelError, r"\(2 classes for 3\)", parser=parser(labels=two))


def test_a_parser_of_photos_and_points_is_refused(saved: Callable[..., Path]) -> None:
    both = Reader()
    both.config["input"]["keys"] = ["image", "sparse_depth"]
    with pytest.raises(ModelError, match="takes image, sparse_depth. Give one that takes a photo alone"):
        evaluate(saved(), Maps(), parser=Predictor(both, "reader", "test"), progress=False)


def test_the_verb_translates_parses_and_scores(saved: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rooms = catalog.dataset("world_indoor")(split="test", **ROOMS)
    assert isinstance(rooms.labels, LabelSet)
    painter, reader = saved(size=(48, 64), labels=rooms.labels), saved(Labeller, size=(48, 64), labels=rooms.labels)
    words = ["evaluate", str(painter), "--data", "world_indoor", "--data.frames", "3", "--data.size", "[48,64]", "--data.stereo", "false"]
    assert main([*words, "--parser", str(reader)]) == 0
    shown = capsys.readouterr().out
    assert "pixel_accuracy       1.0000" in shown
    assert "protocol world_indoor+parsed_by=labeller@" in shown
    assert "judged: photos made of the label maps, as labeller@" in shown
    # beside the ordinary evaluation of the same run, not over it
    assert (painter / "evaluation-translated" / "report.html").is_file()
    assert not (painter / "evaluation").exists()
    assert main([*words, "--parser", str(reader), "--sparse.points", "5", "--out", str(tmp_path / "out")]) == 2
    assert "--sparse.* changes nothing. Leave it out" in capsys.readouterr().err
    assert main([*words, "--parser", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_photos_are_clipped_and_rounded_to_eight_bits(saved: Callable[..., Path]) -> None:
    translator = load_translator(saved())
    assert isinstance(translator, Translator)
    with torch.no_grad():
        translator._method.step.fill_(0.1)
    photo = translator(np.array([[0, 2], [12, 255]], np.uint8))
    # .1 and .3 of 255 are 25.5 and 76.5: halves go to the even number, give or take float32; 1.3 is clipped
    assert photo.dtype == np.uint8
    assert photo[1].tolist() == [[255] * 3, [0] * 3]
    assert photo[0, 0, 0] in (25, 26)
    assert photo[0, 1, 0] in (76, 77)
