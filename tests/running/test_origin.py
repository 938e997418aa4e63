"""A run that starts from a trained model takes its weights over, and says so wherever the result is described."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from diorama.config import RunConfig, read_config
from diorama.data.world.dataset import WorldIndoor
from diorama.errors import ConfigError, ModelError
from diorama.export.config import read_config as read_model_config
from diorama.export.model_file import save_model
from diorama.methods.ci_net import CINet
from diorama.prediction.predictor import find_model
from diorama.recipes import find, read_yaml
from diorama.running import train as loop
from diorama.running.origin import FILE, begin_with, origin_of
from diorama.running.ship import ship
from diorama.running.train import StoppedError, Training, train

Settings = Callable[..., dict[str, Any]]
HEAD = "network.branches.semantic.head"


@pytest.fixture
def trained(settings: Settings, tmp_path: Path) -> Path:
    """A model folder called `rooms` with weights of its own and an origin of its own."""
    torch.manual_seed(99)
    method = CINet(RunConfig.from_dict(settings()).model)
    first = {"model": "ideas", "method": "ci_net", "training": {"data": "sketches", "terms": "public", "budget": "1 step of 1 at 32x48"}}
    facts = {"data": "world_indoor", "terms": "none", "budget": "7 steps of 2 at 32x48", "seed": 3, "started_from": first}
    labels = WorldIndoor(frames=1, size=(32, 48)).labels
    save_model(method, tmp_path / "rooms" / "model.safetensors", labels=labels, depth_cap=10.0, training=facts, input_size=(32, 48))
    return tmp_path / "rooms"


def small(settings: Settings, **sections: Any) -> CINet:
    return CINet(RunConfig.from_dict(settings(**sections)).model)


def test_every_weight_is_taken_over(trained: Path, settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    method, expected = small(settings), load_file(trained / "model.safetensors")
    assert not torch.equal(method.state_dict()[f"{HEAD}.weight"], expected[f"{HEAD}.weight"])
    with caplog.at_level(logging.INFO, "diorama"):
        begin_with(method, str(trained))
    assert f"starts from {trained}; new: nothing" in caplog.text
    found = method.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_the_head_of_other_classes_starts_new_and_is_named(trained: Path, settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    method, expected = small(settings, model={"classes": 5}), load_file(trained / "model.safetensors")
    before = {name: value.clone() for name, value in method.state_dict().items()}
    with caplog.at_level(logging.INFO, "diorama"):
        begin_with(method, str(trained / "model.safetensors"))
    found = method.state_dict()
    new = [name for name, value in found.items() if value.shape != expected[name].shape]
    assert f"{HEAD}.weight" in new
    assert {name.rpartition(".")[0] or name for name in new} == set(caplog.messages[-1].partition("new: ")[2].split(", "))
    assert all(torch.equal(found[name], before[name] if name in new else expected[name]) for name in found)


def test_a_model_of_which_nothing_fits_is_refused(trained: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    method = small(settings)
    monkeypatch.setattr(method, "state_dict", lambda: {"other": torch.zeros(1)})
    with pytest.raises(ModelError, match=r"rooms: no weight fits the new model\. Take a model of the same method and backbone"):
        begin_with(method, str(trained))
    config = RunConfig.from_dict(settings(trainer={"start_from": "ci_net-nyuv3"}))
    with pytest.raises(ModelError, match="did you mean 'ci_net-nyuv2'"):
        train(config)
    assert not config.out.exists()


def test_the_recipe_for_own_data_takes_all_but_the_heads_of_the_shipped_model(caplog: pytest.LogCaptureFixture) -> None:
    config = read_config(["--data.root", "x", "--model.classes", "3"], read_yaml(find("ci_net/finetune")))
    assert config.trainer.start_from == "ci_net-nyuv2"
    method = CINet(config.model)
    with caplog.at_level(logging.INFO, "diorama"):
        begin_with(method, config.trainer.start_from)
    assert set(caplog.messages[-1].partition("new: ")[2].split(", ")) == {HEAD}
    shipped = load_file(find_model("ci_net-nyuv2") / "model.safetensors")
    name = "network.branches.depth.head.weight"
    assert torch.equal(method.state_dict()[name], shipped[name].float())


def test_the_run_its_model_and_its_card_say_where_it_started(trained: Path, settings: Settings, tmp_path: Path) -> None:
    run = train(RunConfig.from_dict(settings(trainer={"steps": 1, "start_from": str(trained)})))
    shutil.rmtree(trained)  # what is told must not depend on a file that may be gone
    told = read_model_config(run)["training"]["started_from"]
    assert (told["model"], told["training"]["budget"]) == ("rooms", "7 steps of 2 at 32x48")
    assert told["training"]["started_from"]["model"] == "ideas"
    assert json.loads((run / "metrics.json").read_text())["model"]["budget"] == "1 steps of 2 at 32x48 from rooms"
    folder = ship(run, tmp_path / "shipped")
    assert json.loads((folder / "config.json").read_text())["training"]["started_from"] == told
    card = (folder / "README.md").read_text()
    assert "| started from | `rooms` (7 steps of 2 at 32x48, seed 3, on world_indoor; terms: none) |\n" in card
    assert "| started from | `ideas` (1 step of 1 at 32x48, on sketches; terms: public) |\n" in card
    assert str(tmp_path) not in card


def test_a_resume_reads_the_first_model_no_more(trained: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Training, "finish", lambda self, baselines=(): None)
    config = RunConfig.from_dict(settings(trainer={"steps": 3, "start_from": str(trained)}))
    whole = train(config)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "agreed", lambda fabric, flag: 15)
        with pytest.raises(StoppedError):
            train(config)
    run = whole.with_name("ci_net-world_indoor-2")
    shutil.rmtree(trained)
    train(RunConfig.from_dict(yaml.safe_load((run / "config.yaml").read_text())), resume=run)
    one, other = (torch.load(path / "last.ckpt", weights_only=True) for path in (whole, run))
    assert one["step"] == other["step"] == 3
    assert all(torch.equal(value, other["model"][name]) for name, value in one["model"].items())
    origin = origin_of(run, config)
    assert origin is not None
    assert origin["training"]["seed"] == 3
    for start in ("ci_net-nyuv2", None):
        with pytest.raises(ConfigError, match=r"goes on from its checkpoint\. Leave"):
            train(RunConfig.from_dict(settings(trainer={"start_from": start})), resume=run)


def test_a_run_that_kept_nothing_still_names_its_start(trained: Path, settings: Settings, tmp_path: Path) -> None:
    config = RunConfig.from_dict(settings(trainer={"start_from": str(trained)}))
    found = origin_of(tmp_path, config)
    assert found is not None
    assert found["training"]["seed"] == 3
    shutil.rmtree(trained)
    assert origin_of(tmp_path, config) == {"model": "rooms", "method": "ci_net", "training": {}}
    assert origin_of(tmp_path, RunConfig.from_dict(settings())) is None
    assert not (tmp_path / FILE).exists()
