"""The majority class: what it answers is counted, not learned, and a run of it has the share of that class for its accuracy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from diorama import catalog
from diorama.config import RunConfig
from diorama.errors import ConfigError
from diorama.methods.base import Stage, StepContext, Turn
from diorama.methods.majority import Majority
from diorama.methods.majority_config import MajorityConfig
from diorama.prediction.predictor import load
from diorama.running.train import train
from diorama.types import IGNORE

STREETS = {"frames": 4, "size": [32, 48], "stereo": False}


def test_the_scores_are_logarithms_of_shares_and_minimise_the_loss() -> None:
    method = Majority(MajorityConfig(classes=4))
    labels = torch.tensor([0] * 2 + [1] * 6 + [3] * 4 + [IGNORE] * 4).reshape(1, 4, 4)
    counts = [2_000_000, 6_000_000, 0, 4_000_000]
    method.prepare({"class_counts": counts})
    shares = torch.softmax(method(torch.rand(2, 3, 5, 6)).semantic_logits, 1)
    assert shares.shape == (2, 4, 5, 6)
    np.testing.assert_allclose(shares[1, :, 2, 3].detach(), [1 / 6, 1 / 2, 0, 1 / 3], atol=1e-6)
    context = StepContext(0, Stage("count", 1, 1e-9, ()), [0])
    (loss,) = method.losses({"main": {"semantic": labels}}, context, Turn("all", "all")).values()
    entropy = -sum(share * np.log(share) for share in (1 / 6, 1 / 2, 1 / 3))
    assert float(loss.detach()) == pytest.approx(entropy, rel=1e-5)
    loss.backward()
    assert float(method.scores.grad.abs().max()) < 1e-5


def test_a_run_scores_the_share_of_the_most_frequent_class(tmp_path: Path) -> None:
    settings = {
        "model": {"name": "majority", "classes": 19},
        "data": {"name": "world_street", **STREETS},
        "view": {"size": [32, 48], "cache": False},
        "trainer": {"batch_size": 2, "accelerator": "cpu", "threads": 1, "workers": 0},
        "out": str(tmp_path),
    }
    run = train(RunConfig.from_dict(settings))
    streets = {split: catalog.dataset("world_street")(split=split, **STREETS) for split in ("train", "test")}
    known = {
        split: np.concatenate([frame["semantic"][frame["semantic"] != IGNORE] for frame in dataset]) for split, dataset in streets.items()
    }
    common = int(np.bincount(known["train"]).argmax())
    metrics = json.loads((run / "metrics.json").read_text())["metrics"]
    share = float((known["test"] == common).mean())
    assert metrics["pixel_accuracy"]["value"] == pytest.approx(share)
    assert metrics["class_accuracy"]["value"] == pytest.approx(1 / len(np.unique(known["test"])))
    photo = np.zeros((40, 60, 3), np.uint8)
    assert (load(run).scene(photo).semantic == common).all()


@pytest.mark.parametrize("classes", [1, 255])
def test_numbers_of_classes_that_make_no_sense(classes: int) -> None:
    with pytest.raises(ConfigError, match=f"model.classes is {classes}: give the number of classes, 2 to 254"):
        MajorityConfig(classes=classes)
