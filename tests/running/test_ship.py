"""A run becomes a model folder that predicts without torch and tells how it was made; the figures of CI-Net."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml

import diorama
from diorama.config import RunConfig
from diorama.data.world.dataset import WorldIndoor
from diorama.errors import ConfigError, ModelError
from diorama.running.ci_net_figures import attention_figure, central_positions, load_ci_net, sharing_figure
from diorama.running.ship import described_input, figures, history, main, purpose, ship
from diorama.running.train import train

Settings = Callable[..., dict[str, Any]]


@pytest.fixture
def run(settings: Settings) -> Path:
    return train(RunConfig.from_dict(settings(trainer={"steps": 2, "ema": 0.5})))


@pytest.mark.slow
def test_a_shipped_folder_predicts_and_tells_how_it_was_made(run: Path, tmp_path: Path) -> None:
    before = yaml.safe_load((run / "config.yaml").read_text())
    before["model"]["alpha"] = 0.25
    (run / "config-until-1.yaml").write_text(yaml.safe_dump(before))
    folder = ship(run, tmp_path / "rooms")
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "model.onnx", "config.json", "README.md"}
    training = json.loads((folder / "config.json").read_text())["training"]
    assert training["history"] == {"until step 1": {"model.alpha": 0.25}}
    camera = WorldIndoor(frames=6, size=(32, 48), stereo=False).frame(0)["intrinsics"]
    assert training["field_of_view"] == pytest.approx(math.degrees(2 * math.atan(24 / camera[0, 0])), abs=0.06)
    card = (folder / "README.md").read_text()
    assert "until step 1 with model.alpha 0.25" in card
    assert "| miou |" in card
    assert "seed 0 (one run)" in card
    photo = WorldIndoor(frames=2, split="test", size=(40, 70), stereo=False).frame(0)["image"]
    one, other = (diorama.load(folder, backend=backend).scene(photo) for backend in ("onnx", "torch"))
    assert one.depth.shape == (40, 70)
    np.testing.assert_allclose(one.depth, other.depth, rtol=1e-3)


@pytest.mark.parametrize(
    ("keys", "of", "takes"),
    [
        (["image"], "metric depth (up to 80 m) of one photo.", "RGB of any size; trained at 32x48"),
        (["sparse_depth"], "dense depth (up to 80 m) of one sparse depth map.", "sparse depth of any size, metres, 0 = unknown; "),
        (["image", "sparse_depth"], "dense depth (up to 80 m) of one photo and its sparse depth.", "RGB and sparse depth of one size"),
    ],
)
def test_a_card_says_what_the_network_takes(keys: list[str], of: str, takes: str, settings: Settings) -> None:
    model: Any = {"labels": None, "depth": {"cap": 80.0, "unit": "m"}, "input": {"keys": keys}}
    assert purpose(model) == of[0].upper() + of[1:]
    assert described_input(model, RunConfig.from_dict(settings(view={"size": [32, 48]}))).startswith(takes)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no run folder.*Pass the folder"):
        ship(tmp_path, tmp_path / "out")
    with pytest.raises(ConfigError, match="usage"):
        main(["one"])


def test_history_names_only_what_changed(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("model: {alpha: 2.0, beta: 1.0}\nseed: 0\n")
    (tmp_path / "config-until-30.yaml").write_text("model: {alpha: 1.0, beta: 1.0}\nseed: 0\n")
    (tmp_path / "config-until-4.yaml").write_text("model: {alpha: 2.0, beta: 3.0}\nseed: 0\n")
    assert list(history(tmp_path).items()) == [("until step 4", {"model.beta": 3.0}), ("until step 30", {"model.alpha": 1.0})]
    assert figures(tmp_path) == "Not evaluated."


def test_positions_are_labelled_and_of_the_largest_classes() -> None:
    labels = np.full((4, 6), 255)
    labels[:, :3], labels[1:3, 4] = 7, 2
    assert [int(labels[place]) for place in central_positions(labels, 2)] == [7, 2]
    assert central_positions(labels, 1)[0] in {(1, 1), (2, 1)}


def test_the_figures_are_drawn_from_the_network(run: Path, tmp_path: Path) -> None:
    rooms = WorldIndoor(frames=2, split="test", size=(32, 48), stereo=False)
    for number, path in enumerate(
        (attention_figure(run, rooms, 0, tmp_path / "attention.png", positions=2), sharing_figure(run, rooms, 0, tmp_path / "sharing.png"))
    ):
        picture = cv2.imread(str(path))
        assert picture is not None
        assert picture.std() > 1, number
    method, size = load_ci_net(run)
    assert size == (32, 48)
    image = torch.from_numpy(rooms.frame(0)["image"].astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.inference_mode():
        added = method.allocated(image)
        seen = method.attention_map(image, (1, 2))
    assert [set(level) for level in added] == [{"depth", "semantic"}] * method.config.upsampling
    assert seen.shape == (1, 4, 8)  # 32x48, padded to 32x64, at stride 8
    assert 0 <= float(seen.min()) <= float(seen.max()) <= 1


def test_figures_of_a_network_without_the_parts_are_refused(settings: Settings, tmp_path: Path) -> None:
    bare = {"scene_understanding": False, "sharing": "none", "consistency": False}
    run = train(RunConfig.from_dict(settings(model=bare, trainer={"steps": 1})))
    rooms = WorldIndoor(frames=2, split="test", size=(32, 48), stereo=False)
    with pytest.raises(ModelError, match="no attention"):
        attention_figure(run, rooms, 0, tmp_path / "attention.png")
    with pytest.raises(ModelError, match="shares no features"):
        sharing_figure(run, rooms, 0, tmp_path / "sharing.png")
