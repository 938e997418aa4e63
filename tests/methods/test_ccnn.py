"""CCNN and ThresNet: losses by hand, what each stage moves, learning on a map whose wrong half can be seen, and the exported file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diorama.errors import ConfigError, ShapeError
from diorama.export.export import export
from diorama.export.model_file import load_model, save_model
from diorama.losses.confidence import confidence_loss, right_disparity
from diorama.methods.base import Stage, StepContext, Turn
from diorama.methods.ccnn import CCNN
from diorama.methods.ccnn_config import CCNNConfig
from diorama.stereo.confidence import load_confidence
from diorama.training.plan import Plan
from diorama.training.turns import freeze


def made(seed: int = 0, **changes: Any) -> CCNN:
    torch.manual_seed(seed)
    return CCNN(CCNNConfig(**changes))


def context(method: CCNN, stage: int = 0) -> StepContext:
    return StepContext(0, method.stages[stage], [0])


def batch(count: int = 2, height: int = 40, width: int = 48) -> dict[str, Any]:
    """A smooth plane on the left, on the right jumps of 20 px; the first rows have no truth."""
    drawn = torch.Generator().manual_seed(1)
    truth = (20 + 0.1 * torch.arange(width, dtype=torch.float32)).repeat(count, 1, height, 1)
    matched = truth + 0.1 * torch.rand(truth.shape, generator=drawn)
    matched[..., width // 2 :] += 20 * (torch.rand((count, 1, height, width - width // 2), generator=drawn) - 0.5)
    truth[:, :, :12] = 0
    return {"main": {"matched": matched, "disparity": truth, "meta": [{}] * count}}


def test_labels_by_hand() -> None:
    matched, truth = torch.tensor([[5.0, 13.0, 13.5, 2.0, 0.0]]), torch.tensor([[0.0, 10.0, 10.0, 4.0, 2.0]])
    right, known = right_disparity(matched, truth)
    assert right.tolist() == [[False, True, False, True, False]]
    assert known.tolist() == [[False, True, True, True, True]]


def test_loss_by_hand() -> None:
    logits = torch.tensor([[[[0.0, math.log(3), 50.0]]]], requires_grad=True)
    right = torch.tensor([[[[True, False, False]]]])
    known = torch.tensor([[[[True, True, False]]]])
    loss = confidence_loss(logits, right, known)
    assert loss.item() == pytest.approx((math.log(2) + math.log(4)) / 2)
    none = confidence_loss(logits, right, torch.zeros_like(known))
    none.backward()  # type: ignore[no-untyped-call]
    assert none.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()
    with pytest.raises(ShapeError, match="bring them to one size"):
        confidence_loss(logits, right, known[..., :2])


def test_only_pixels_whose_surroundings_are_seen_count() -> None:
    method, sample = made(), batch()
    terms = method.losses(sample, context(method), Turn())
    # rewritten with the whole padded map: the inner window of it, known rows only
    matched, truth = sample["main"]["matched"], sample["main"]["disparity"]
    with torch.no_grad():
        logits = method.ccnn(matched)[:, :, 4:-4, 4:-4]
    known, right = truth[:, :, 4:-4, 4:-4] > 0, (matched - truth).abs()[:, :, 4:-4, 4:-4] <= 3
    chance = torch.sigmoid(logits)
    expected = -torch.where(right, chance, 1 - chance).log()[known].mean()
    assert set(terms) == {"confidence"}
    assert terms["confidence"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_threshold_is_taught_through_the_soft_threshold() -> None:
    method, sample = made(eps=7.0).eval(), batch()
    terms = method.losses(sample, context(method, 1), Turn())
    with torch.no_grad():
        confidence = torch.sigmoid(method.ccnn.valid(sample["main"]["matched"]))
        assert method.thresnet is not None
        soft = 1 / (1 + torch.exp(-7.0 * (confidence - method.thresnet(confidence))))
    right, known = right_disparity(sample["main"]["matched"][:, :, 4:-4, 4:-4], sample["main"]["disparity"][:, :, 4:-4, 4:-4])
    expected = -torch.where(right, soft, 1 - soft).log()[known].mean()
    assert set(terms) == {"threshold"}
    assert terms["threshold"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("network", ["ccnn", "choi"])
def test_each_stage_moves_its_own_network(network: str) -> None:
    method, sample = made(network=network, optimiser="adam"), batch()
    for number, (moving, resting) in enumerate((("ccnn", "thresnet"), ("thresnet", "ccnn"))):
        where = context(method, number)
        freeze(method, where.stage.freeze)
        (turn,) = method.turns(where)
        before = {name: value.clone() for name, value in method.state_dict().items()}
        optimiser = method.optimisers()[turn.optimiser]
        sum(method.losses(sample, where, turn).values()).backward()  # type: ignore[union-attr]
        optimiser.step()
        changed = {name.partition(".")[0] for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
        assert changed == {moving}, resting


def test_the_rate_falls_to_a_tenth_at_epoch_10_of_14() -> None:
    plan = Plan(made().stages, epoch_steps=3)
    assert [round(plan.rate(step), 6) for step in (0, 29, 30, 41)] == [0.003, 0.003, 0.0003, 0.0003]
    assert (plan.stage(41).name, plan.stage(42).name, plan.total) == ("ccnn", "threshold", 3 * 18)
    assert [stage.schedule for stage in made(schedule="cosine").stages] == ["cosine", "constant"]


def test_it_learns_what_can_be_seen() -> None:
    method, sample = made(start="differences", optimiser="adam", rate=2e-3), batch()
    where, optimiser = context(method), method.optimisers()["ccnn"]
    said = []
    for _ in range(40):
        loss = method.losses(sample, where, Turn())["confidence"]
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        said.append(loss.item())
    assert said[0] == pytest.approx(math.log(2), rel=1e-5)
    assert said[-1] < 0.5 * said[0]
    with torch.no_grad():
        confidence = method(sample["main"]["matched"]).confidence
    assert confidence[..., :18].mean() > confidence[..., 30:].mean() + 0.3


def test_the_exported_file_judges_as_torch_does(tmp_path: Path) -> None:
    method = made(start="differences").eval()
    torch.nn.init.normal_(method.ccnn.layers[-1].weight, std=0.05)  # type: ignore[arg-type]
    config = save_model(method, tmp_path / "model.safetensors", labels=None, depth_cap=80.0, training={}, input_size=(96, 128))
    assert (config["labels"], config["depth"], config["input"]["keys"], config["input"]["size"]) == (None, None, ["matched"], None)
    report = export(tmp_path)
    assert set(report.parity) == {"confidence", "threshold"}
    assert max(report.parity.values()) < 1e-3
    disparity = np.random.default_rng(0).uniform(0, 60, (123, 201)).astype(np.float32)
    for backend in ("onnx", "torch"):
        judge = load_confidence(tmp_path, backend=backend, threads=1)  # type: ignore[arg-type]
        confidence, tau = judge(disparity)
        with torch.no_grad():
            expected = load_model(tmp_path)[0](torch.from_numpy(disparity)[None, None])
        np.testing.assert_allclose(confidence, expected.confidence[0, 0], atol=2e-4)
        assert tau == pytest.approx(float(expected.threshold), abs=1e-4)
        assert 0 <= confidence.min() < confidence.max() <= 1


def test_without_thresnet_there_is_no_threshold() -> None:
    method = made(threshold_epochs=0)
    assert method.thresnet is None
    assert method(torch.rand(1, 1, 16, 16)).threshold is None
    assert set(method.optimisers()) == {"ccnn"}
    assert Plan(method.stages, 1).total == 14


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tolerance": 0}, "all must be above 0"),
        ({"epochs": 0, "threshold_epochs": 0}, "one of them above 0"),
        ({"decay_epoch": 0}, "give an epoch above 0"),
    ],
)
def test_wrong_settings_are_told(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        made(**change)


def test_stages_are_told_apart_by_their_losses() -> None:
    method = made()
    assert method.turns(StepContext(0, Stage("x", 1, 0.1, ("threshold",)), [])) == [Turn("threshold", "threshold")]
