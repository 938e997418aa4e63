"""FCN-8s against the paper's own deconvolutions, written out, and losses worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diorama.data.labels import CAMVID11
from diorama.errors import ConfigError
from diorama.export.eager import EagerModel
from diorama.export.export import export, trial_inputs
from diorama.export.model_file import load_model, save_model
from diorama.export.runtime import OnnxModel
from diorama.methods.base import Stage, StepContext, Turn
from diorama.methods.fcn import FCN
from diorama.methods.fcn_config import FCNConfig
from diorama.prediction.predictor import load

CONTEXT = StepContext(0, Stage("all", 1, 0.1, ("segmentation",)), [0, 1])


def made(seed: int = 0, zero: bool = False, **changes: Any) -> FCN:
    """The smallest FCN; unless `zero`, its scores are drawn, since those it starts with are all 0."""
    torch.manual_seed(seed)
    method = FCN(FCNConfig(**{"classes": 5, "backbone": "test_resnet", "pretrained": False, **changes})).eval()
    if not zero:
        for score in method.network.scores:
            nn.init.normal_(cast("Tensor", score.weight), std=0.3)
            nn.init.normal_(cast("Tensor", score.bias))
    return method


def deconvolved(scores: Tensor, times: int) -> Tensor:
    """The paper's upsampling layer with the weights it starts from: a transposed convolution with a bilinear kernel, class by class."""
    side, classes = 2 * times, scores.shape[1]
    ramp = torch.tensor([1 - abs((place + 0.5) / times - 1) for place in range(side)], dtype=scores.dtype)
    kernel = torch.outer(ramp, ramp).expand(classes, 1, side, side)
    edged = F.pad(scores, (1, 1, 1, 1), mode="replicate")
    grown = F.conv_transpose2d(edged, kernel, stride=times, padding=times // 2, groups=classes)
    return grown[..., times:-times, times:-times]


@pytest.mark.parametrize("backbone", ["test_resnet", "vgg11"])
def test_scores_are_upsampled_and_added_as_in_the_paper(backbone: str) -> None:
    method = made(backbone=backbone).double()
    image = torch.rand(2, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        features = [part for part in method.network.backbone(image) if image.shape[-1] // part.shape[-1] in (8, 16, 32)]
        rows = zip(features, method.network.scores, strict=True)
        scores = [
            torch.einsum("kc,bchw->bkhw", cast("Tensor", score.weight)[..., 0, 0], part) + cast("Tensor", score.bias)[:, None, None]
            for part, score in rows
        ]
        expected = deconvolved(scores[0] + deconvolved(scores[1] + deconvolved(scores[2], 2), 2), 8)
        found = method(image).semantic_logits
    assert [part.shape[-1] for part in features] == [12, 6, 3]
    assert found.shape == (2, 5, 64, 96)
    torch.testing.assert_close(found, expected)


def test_vgg16_has_the_strides_of_the_paper() -> None:
    network = FCN(FCNConfig(pretrained=False)).network
    assert network.backbone.strides == (4, 8, 16, 32)
    assert [cast("Tensor", score.weight).shape[:2] for score in network.scores] == [(19, 512)] * 3
    assert sum(parameter.numel() for parameter in network.backbone.parameters()) == 14_714_688  # VGG16 without its classifier


def test_odd_sizes_see_the_last_row_and_column_repeated() -> None:
    method, image = made(), torch.rand(1, 3, 45, 67)
    by_hand = torch.cat([image, image[:, :, -1:].expand(-1, -1, 19, -1)], 2)
    by_hand = torch.cat([by_hand, by_hand[..., -1:].expand(-1, -1, -1, 29)], 3)
    with torch.no_grad():
        said = method(image)
        assert said.depth is None
        assert said.semantic_logits.shape == (1, 5, 45, 67)
        torch.testing.assert_close(said.semantic_logits, method(by_hand).semantic_logits[..., :45, :67])


def test_training_starts_undecided_and_learns() -> None:
    method = made(zero=True, optimiser="adamw", rate=0.01)
    drawn = torch.Generator().manual_seed(3)
    semantic = torch.randint(0, 5, (2, 2, 3), generator=drawn).repeat_interleave(32, 1).repeat_interleave(32, 2)
    image = (semantic[:, None] / 5).repeat(1, 3, 1, 1) + 0.02 * torch.rand((2, 3, 64, 96), generator=drawn)
    semantic[:, :5] = 255
    batch: Any = {"main": {"image": image, "semantic": semantic}}
    optimiser, said = method.optimisers()["all"], []
    method.train()
    for _ in range(25):
        terms = method.losses(batch, CONTEXT, Turn())
        assert set(terms) == {"segmentation"}
        optimiser.zero_grad()
        terms["segmentation"].backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        said.append(float(terms["segmentation"].detach()))
    assert said[0] == pytest.approx(math.log(5), rel=1e-6)
    assert said[-1] < 0.5 * said[0]


def test_balanced_weights_are_those_of_the_shares() -> None:
    """Shares .6, .3, .1 and two absent classes: 1 / log(1.1 + share), mean 1; the loss at equal scores is log 5 times the weight."""
    raw = [1 / math.log(1.1 + share) for share in (0.6, 0.3, 0.1, 0, 0)]
    expected = [5 * value / sum(raw) for value in raw]
    for kind in ("balanced", "none"):
        method = made(zero=True, class_weights=kind)
        method.prepare({"class_counts": [60, 30, 10, 0, 0]})
        batch: Any = {"main": {"image": torch.rand(1, 3, 32, 32), "semantic": torch.full((1, 32, 32), 2)}}
        found = float(method.losses(batch, CONTEXT, Turn())["segmentation"].detach())
        assert found == pytest.approx(math.log(5) * (expected[2] if kind == "balanced" else 1), rel=1e-5)


def test_a_batch_without_labels_moves_nothing() -> None:
    method = made()
    batch: Any = {"main": {"image": torch.rand(1, 3, 32, 32), "semantic": torch.full((1, 32, 32), 255)}}
    loss = method.losses(batch, CONTEXT, Turn())["segmentation"]
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in method.parameters())


def test_every_parameter_is_in_one_group_and_biases_go_twice_as_fast() -> None:
    method = made()
    groups = method.optimisers()["all"].param_groups
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    rates = {names[id(parameter)]: (group["rate_factor"], group["weight_decay"]) for group in groups for parameter in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(names) == len(rates)
    assert rates["network.scores.0.weight"] == (1.0, 5e-4)
    assert rates["network.scores.0.bias"] == (2.0, 0.0)
    assert rates["network.backbone.features.conv1.0.weight"] == (1.0, 5e-4)
    assert rates["network.backbone.features.conv1.1.weight"] == (1.0, 0.0)
    assert {group["rate_factor"] for group in made(optimiser="adamw").optimisers()["all"].param_groups} == {1.0}
    (stage,) = made(schedule="poly", epochs=7, rate=0.5).stages
    assert (stage.epochs, stage.rate, stage.schedule) == (7, 0.5, "poly")


def test_the_onnx_file_answers_as_torch_beyond_the_size_of_the_trace(tmp_path: Path) -> None:
    method = made(classes=len(CAMVID11))
    config = save_model(method, tmp_path / "model.safetensors", labels=CAMVID11, depth_cap=80.0, training={}, input_size=(96, 128))
    assert config["labels"] is not None
    assert (config["depth"], config["labels"]["classes"]) == (None, list(CAMVID11.classes))
    report = export(tmp_path)
    assert report.agreement is not None
    assert report.agreement > 0.999
    trained, _ = load_model(tmp_path)
    inputs = trial_inputs(["image"], 2, 229, 301)
    expected = EagerModel(trained, config)(inputs).semantic_logits
    np.testing.assert_allclose(OnnxModel(report.path, threads=1)(inputs).semantic_logits, expected, atol=1e-3)
    scene = load(tmp_path, threads=1).scene(np.zeros((70, 90, 3), np.uint8))
    assert scene.semantic is not None
    assert (scene.semantic.shape, scene.depth) == ((70, 90), None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": 1}, "needs at least 2 classes"),
        ({"epochs": 0}, "must be above 0"),
        ({"backbone": "nowhere"}, "unknown backbone"),
        ({"backbone": "test_vit"}, "no features at stride 8. Set model.backbone"),
    ],
)
def test_wrong_settings_are_told(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        made(**change)
