"""What a method shows of itself while it trains: the same samples throughout, and a training that does not notice."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from diorama.config import RunConfig
from diorama.data.io import read_image
from diorama.errors import ConfigError, ShapeError
from diorama.running.sample_grid import LEAST_WIDTH, drawn, hand_over
from diorama.running.train import Training, train

Settings = Callable[..., dict[str, Any]]


def state(run: Path) -> dict[str, Any]:
    kept: dict[str, Any] = torch.load(run / "last.ckpt", weights_only=True)
    return kept


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if torch.is_tensor(one) else bool(one == other)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_samples_are_pictures_of_a_run_that_does_not_notice_them(ema: float, unpaired: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    original = sys.modules["unpaired"].Unpaired.samples

    def noted(self: Any, batch: Any) -> Any:
        shown = original(self, batch)
        asked.append(self.asked[-1])
        return shown

    monkeypatch.setattr(sys.modules["unpaired"].Unpaired, "samples", noted)
    with monkeypatch.context() as patch:
        patch.setattr(Training, "finish", lambda self, baselines=(): None)
        without = train(RunConfig.from_dict(unpaired(trainer={"ema": ema})))
    assert not (without / "samples").exists()
    run = train(RunConfig.from_dict(unpaired(trainer={"ema": ema, "samples_every": 2, "loggers": ["csv"]})))
    assert same(state(run), state(without))
    assert sorted(path.name for path in (run / "samples").iterdir()) == [f"step_000000{step}.png" for step in (2, 4, 6)]
    assert len(set(asked)) == 1, "the same samples throughout"
    assert len(asked[0].split(",")) == 4
    early, late = (read_image(run / "samples" / f"step_000000{step}.png").astype(int) for step in (2, 6))
    # four rows of two columns; the left one holds the photos, which stay
    assert early.shape == late.shape
    middle = early.shape[1] // 2
    assert (early[:, :middle] == late[:, :middle]).all()
    assert (early[:, middle:] != late[:, middle:]).any()
    page = (run / "report.html").read_text()
    assert "The same training samples throughout, here after 6 steps." in page


def test_the_averaged_weights_are_shown_where_there_are_any(unpaired: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[torch.Tensor] = []
    original = sys.modules["unpaired"].Unpaired.samples

    def noted(self: Any, batch: Any) -> Any:
        shown.append(self.judge.weight.detach().clone())
        return original(self, batch)

    monkeypatch.setattr(sys.modules["unpaired"].Unpaired, "samples", noted)
    run = train(RunConfig.from_dict(unpaired(trainer={"ema": 0.9})))
    assert len(shown) == 1, "at the end alone"
    assert torch.equal(shown[0], state(run)["average"]["state"]["judge.weight"])
    assert not torch.equal(shown[0], state(run)["model"]["judge.weight"])


def test_a_method_that_shows_nothing_leaves_nothing(settings: Settings) -> None:
    run = train(RunConfig.from_dict(settings(trainer={"steps": 2, "samples_every": 1})))
    assert not (run / "samples").exists()
    assert "The same training samples" not in (run / "report.html").read_text()


class Board:
    """What the writer of TensorBoard and the tracker of Weights & Biases take."""

    def __init__(self) -> None:
        self.got: list[tuple[Any, ...]] = []
        self.experiment = SimpleNamespace(add_image=self.add_image)

    def add_image(self, tag: str, image: Any, step: int, dataformats: str) -> None:
        self.got.append((tag, image.shape, step, dataformats))


class Track:
    def __init__(self) -> None:
        self.got: list[tuple[Any, ...]] = []

    def log_image(self, key: str, images: list[Any], step: int) -> None:
        self.got.append((key, images[0].shape, step))


def test_trackers_that_take_images_get_them() -> None:
    board, track, other = Board(), Track(), SimpleNamespace(experiment=object())
    for tracker in (board, track, other):
        hand_over(tracker, np.zeros((4, 5, 3), np.uint8), 7)
    assert board.got == [("samples", (4, 5, 3), 7, "HWC")]
    assert track.got == [("samples", (4, 5, 3), 7)]


def test_a_grid_has_a_row_for_each_sample_and_a_column_for_each_title() -> None:
    red = torch.tensor([1.0, 0, 0]).reshape(1, 3, 1, 1).expand(5, 3, 10, 200)
    grey = torch.full((5, 3, 10, 80), 0.5)
    grey[1] = float("nan")
    grey[2] = 7.0
    picture = drawn({"red": red, "grey": grey})
    assert picture is not None
    assert picture.dtype == np.uint8
    # gaps of 18 around, titles of 30 above: four rows, the narrow pictures twice as large
    assert picture.shape == (18 + 4 * (30 + 20 + 18), 18 + 200 + 18 + 160 + 18, 3)
    assert LEAST_WIDTH == 160
    rows = [18 + 30 + 5 + row * 68 for row in range(4)]
    assert [picture[row, 100].tolist() for row in rows] == [[255, 0, 0]] * 4
    assert [picture[row, 300].tolist() for row in rows] == [[128] * 3, [0] * 3, [255] * 3, [128] * 3]
    assert drawn({}) is None


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (3, 8, 8), (3, 3, 8, 8)])
def test_what_is_no_picture_is_told(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"samples 'second' have shape .*, expected \(2, 3, H, W\)"):
        drawn({"first": torch.zeros(2, 3, 8, 8), "second": torch.zeros(shape)})


def test_a_negative_interval_is_told(unpaired: Settings) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.samples_every is -1\. Set it to 0 or more\."):
        RunConfig.from_dict(unpaired(trainer={"samples_every": -1}))
