"""Pseudo-MTL: every row of Tables 4 and 5, what each switch asks for and moves, stages, gradients, graphs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pairs import LabelledStreets

from diorama import recipes
from diorama.data.batch import collate, to_sample
from diorama.data.labels import CITYSCAPES19
from diorama.errors import ConfigError, TrainingError
from diorama.export.eager import EagerModel
from diorama.export.export import export, trial_inputs
from diorama.export.model_file import load_model, save_model
from diorama.export.runtime import OnnxModel
from diorama.methods.base import Stage, StepContext, Turn
from diorama.methods.pseudo_mtl import PseudoMTL, gradient_shares
from diorama.methods.pseudo_mtl_config import PseudoMTLConfig
from diorama.training.turns import freeze

SMALL: dict[str, Any] = {"classes": 19, "backbone": "test_resnet", "upsampling": "bilinear", "pretrained": False, "head_stride": 2}
TABLE = recipes.read_yaml(recipes.find("pseudo_mtl/benchmarks/table4_world"))
NO_C = {"use_confidence": False}
OFF = {"semantic_across": False, "semantic_views": False, "depth_consistency": False}


def made(**changes: Any) -> PseudoMTL:
    torch.manual_seed(0)
    return PseudoMTL(PseudoMTLConfig(**{**SMALL, **changes}))


@pytest.fixture(scope="module")
def streets() -> dict[str, Any]:
    """Two labelled pairs as a batch."""
    data = LabelledStreets(2)
    return {"main": collate([to_sample(data[number]) for number in (0, 1)])}


def at(method: PseudoMTL, stage: str = "joint", logs: bool = False) -> StepContext:
    return StepContext(0, next(one for one in method.stages if one.name == stage), [0, 1], logs)


def terms_of(method: PseudoMTL, batch: dict[str, Any], stage: str = "joint") -> dict[str, torch.Tensor]:
    return method.losses(batch, at(method, stage), Turn())


@pytest.mark.parametrize("row", TABLE["rows"])
def test_every_row_of_table_4_takes_a_step_with_its_terms(row: str, streets: dict[str, Any]) -> None:
    changes = {key.removeprefix("model."): value for key, value in TABLE["rows"][row].items()}
    method = made(**changes)
    config = method.config
    terms = terms_of(method, streets)
    expected = {"segmentation", "depth"}
    expected |= {"semantic_across"} if config.semantic_across else set()
    expected |= {"semantic_left", "semantic_right"} if config.semantic_views else set()
    expected |= {"depth_across", "depth_left", "depth_right"} if config.depth_consistency else set()
    assert set(terms) == expected
    assert all(torch.isfinite(term) and term > 0 for term in terms.values())
    sum(terms.values()).backward()
    assert all(parameter.grad is not None and torch.isfinite(parameter.grad).all() for parameter in method.parameters())


def test_the_rows_are_those_of_the_paper() -> None:
    """b, C, L_s,lr, L_s,l/L_s,r and L_d,c of the thirteen rows, as Table 4 ticks them; L_d,c also in metres."""
    ticks = [
        "p----", "d-x--", "d--x-", "d-xx-", "p-x--", "p--x-", "p-xx-", "pC---", "pCx--", "pC-x-", "pCxx-", "pC--x", "pCxxx",
    ]  # fmt: skip
    found = []
    for changes in TABLE["rows"].values():
        config = PseudoMTLConfig(**{**SMALL, **{key.removeprefix("model."): value for key, value in changes.items()}})
        flags = (("C", config.use_confidence), ("x", config.semantic_across), ("x", config.semantic_views), ("x", config.depth_consistency))
        found.append(("d" if config.warp == "predicted" else "p") + "".join(sign if on else "-" for sign, on in flags))
    assert found[:13] == ticks
    assert found[13:] == ["pC--x", "pCxxx"]
    assert [changes.get("model.depth_consistency_gain") for changes in list(TABLE["rows"].values())[13:]] == [80, 80]


@pytest.mark.parametrize(
    ("changes", "left_out"),
    [
        ({}, set()),
        (NO_C, {"confidence", "confidence_right"}),
        ({"right_labels": False}, {"semantic_right"}),
        (OFF, {"intrinsics", "baseline"}),
        ({**OFF, **NO_C}, {"intrinsics", "baseline", "confidence", "confidence_right"}),
    ],
)
def test_what_a_configuration_needs_is_what_it_reads(changes: dict[str, Any], left_out: set[str], streets: dict[str, Any]) -> None:
    method = made(**changes)
    assert method.requires == PseudoMTL.needs - left_out
    read = {"main": {key: value for key, value in streets["main"].items() if key in method.requires | {"meta"}}}
    assert terms_of(method, read)


def test_without_right_labels_each_half_that_needs_them_is_left_out(streets: dict[str, Any]) -> None:
    both, left = made(), made(right_labels=False)
    with_right, without = terms_of(both, streets), terms_of(left, streets)
    for name in ("segmentation", "semantic_left", "semantic_right"):
        assert 0 < without[name].item() < with_right[name].item()
    assert without["semantic_across"].item() == with_right["semantic_across"].item()
    unlabelled = {"main": {**streets["main"], "semantic_right": torch.full_like(streets["main"]["semantic_right"], 255)}}
    ignored = terms_of(both, unlabelled)
    for name, value in ignored.items():
        assert value.item() == pytest.approx(without[name].item(), rel=1e-6)


def test_the_gain_and_the_weights_multiply(streets: dict[str, Any]) -> None:
    plain, other = terms_of(made(), streets), terms_of(made(depth_consistency_gain=80, alpha_d=1, alpha_s=1), streets)
    for name in ("depth_across", "depth_left", "depth_right"):
        assert other[name].item() == pytest.approx(80 * plain[name].item(), rel=1e-5)
    assert plain["depth"].item() == pytest.approx(850 * other["depth"].item(), rel=1e-5)
    assert plain["segmentation"].item() == pytest.approx(2.5 * other["segmentation"].item(), rel=1e-5)


def test_task_weights_multiply_what_a_task_loses_in_and_across_the_views(streets: dict[str, Any]) -> None:
    plain, method = terms_of(made(), streets), made(weighting="uncertainty")
    with torch.no_grad():
        method.weighting.log_variance["depth"].fill_(-math.log(3.0))
        method.weighting.log_variance["semantic"].fill_(math.log(2.0))
    found = terms_of(method, streets)
    assert set(found) == {*plain, "log_variance"}
    ratios = {name: float(found[name].detach() / term.detach()) for name, term in plain.items()}
    assert ratios == pytest.approx({name: 3.0 if name.startswith("depth") else 0.5 for name in plain}, rel=1e-5)
    assert float(terms_of(method, streets, "depth")["log_variance"].detach()) == pytest.approx(-math.log(3.0))
    learned = {id(one) for one in method.weighting.parameters()}
    (groups,) = (optimiser.param_groups for optimiser in method.optimisers().values())
    assert [group["weight_decay"] for group in groups if {id(one) for one in group["params"]} & learned] == [0.0]
    # losses that fall by half and stay: their ratios are 1/2 and 1
    method = made(weighting="dwa", dwa_steps=1)
    terms_of(method, streets)
    method.weighting.means.copy_(torch.tensor([[1.0, 1.0], [2.0, 1.0]]))
    share = math.exp(0.25) / (math.exp(0.25) + math.exp(0.5))
    assert method.gauges() == pytest.approx({"weight_semantic": 2 * share, "weight_depth": 2 - 2 * share})


def test_only_a_warp_by_predicted_depth_lets_semantics_move_depth(streets: dict[str, Any]) -> None:
    """The gradient through the sampling grid is the comparison of Tables 4 and 5."""
    for warp, moves in (("pseudo", False), ("predicted", True)):
        method = made(warp=warp, **NO_C, depth_consistency=False)
        terms = terms_of(method, streets)
        sum(terms[name] for name in ("semantic_across", "semantic_left", "semantic_right")).backward()
        gradient = method.network.depth.head.weight.grad
        assert (gradient is not None and bool(gradient.abs().sum() > 0)) == moves


def test_a_constant_warped_prediction_gets_no_gradient(streets: dict[str, Any]) -> None:
    """(8) and (4) alone; with only the left view trusted, the right view's prediction is a target."""
    one_sided = {"main": {**streets["main"], "confidence_right": torch.zeros_like(streets["main"]["confidence_right"])}}
    for constant in (False, True):
        method = made(detach_warped=constant)
        seen: dict[str, torch.Tensor] = {}
        inner = method.network.semantic.head
        inner.register_forward_hook(lambda _, given, answer, seen=seen: seen.update(answer=answer) or answer.retain_grad())
        terms_of(method, one_sided)["semantic_across"].backward()
        left, right = seen["answer"].grad.chunk(2)
        assert left.abs().sum() > 0
        assert (right.abs().sum() == 0) == constant


def test_occluded_pixels_are_left_out(streets: dict[str, Any]) -> None:
    method = made(occlusion=0.05)
    sample = streets["main"]
    pseudo = method_views(sample)
    _, every = made().warps(sample, pseudo, pseudo, made().trust(sample, pseudo))
    _, visible = method.warps(sample, pseudo, pseudo, method.trust(sample, pseudo))
    for one, other in zip(every, visible, strict=True):
        kept = other > 0
        assert torch.equal(one[kept], other[kept])
        assert 0.7 < float(kept.sum() / (one > 0).sum()) < 1


def method_views(sample: dict[str, Any]) -> Any:
    from diorama.losses.cross_view import Views

    return Views(sample["pseudo_depth"].as_subclass(torch.Tensor), sample["pseudo_depth_right"].as_subclass(torch.Tensor))


def test_exact_pseudo_labels_agree_across_the_views(streets: dict[str, Any]) -> None:
    """Left pixels warped by their depth meet the right view's depth and label, but for what is occluded and for edges."""
    method = made(occlusion=0.05)
    sample = streets["main"]
    pseudo = method_views(sample)
    warps, weight = method.warps(sample, pseudo, pseudo, method.trust(sample, pseudo))
    for side in (0, 1):
        counts = (weight[side] > 0) & warps[side].whole(pseudo[1 - side] > 0)
        error = (warps[side](pseudo[1 - side]) - pseudo[side]).abs() / pseudo[side].clamp(min=1)
        assert float(error[counts].median()) < 0.02
    labels = sample["semantic"].as_subclass(torch.Tensor), sample["semantic_right"].as_subclass(torch.Tensor)
    for side in (0, 1):
        nearest = torch.where(warps[side].part < 0.5, warps[side].first, warps[side].second)
        there = labels[1 - side][:, None].gather(-1, nearest)
        counts = (weight[side] > 0) & (there != 255) & (labels[side][:, None] != 255)
        assert float((there == labels[side][:, None])[counts].float().mean()) > 0.9


@pytest.mark.parametrize(
    "missing", [("semantic", "semantic_right"), ("pseudo_depth", "pseudo_depth_right"), ("confidence", "confidence_right")]
)
def test_a_term_without_its_truth_is_zero_and_not_a_number_never(missing: tuple[str, ...], streets: dict[str, Any]) -> None:
    empty = {key: torch.full_like(streets["main"][key], 255 if "semantic" in key else 0) for key in missing}
    method = made()
    terms = terms_of(method, {"main": {**streets["main"], **empty}})
    gone = {"segmentation"} if "semantic" in missing else {"depth", "depth_across", "depth_left", "depth_right", "semantic_across"}
    assert all(terms[name].item() == 0 for name in gone)
    sum(terms.values()).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in method.parameters() if parameter.grad is not None)


def test_a_batch_without_any_truth_has_no_term(streets: dict[str, Any]) -> None:
    keys = ("semantic", "semantic_right", "confidence", "confidence_right")
    empty = {key: torch.full_like(streets["main"][key], 255 if "semantic" in key else 0) for key in keys}
    method = made()
    assert terms_of(method, {"main": {**streets["main"], **empty}}) == {}
    assert terms_of(method, {"main": {**streets["main"], **empty}}, "depth") == {}


def test_the_stages_of_the_paper() -> None:
    stages = made().stages
    assert [(one.name, one.epochs, one.rate, one.schedule) for one in stages] == [
        ("semantic", 30, 1e-4, "constant"), ("depth", 30, 1e-4, "constant"), ("joint", 20, 1e-5, "tenth"),
    ]  # fmt: skip
    assert stages[2].losses == ("segmentation", "depth", "depth_consistency", "semantic_consistency")
    assert [one.name for one in made(pretrain_epochs=0).stages] == ["joint"]
    assert [one.name for one in made(joint_epochs=0).stages] == ["semantic", "depth"]
    assert made(**OFF).stages[2].losses == ("segmentation", "depth")


def test_each_pretraining_moves_its_decoder_and_begins_with_the_same_encoder(streets: dict[str, Any]) -> None:
    method = made(pretrain_rate=1e-3)
    optimiser = method.optimisers()["all"]
    first = {key: value.clone() for key, value in method.state_dict().items()}

    def moved() -> set[str]:
        return {key.split(".")[1] for key, value in method.state_dict().items() if not torch.equal(value, first[key])}

    for name, entered, after in (("semantic", set(), {"backbone", "semantic"}), ("depth", {"semantic"}, {"backbone", "semantic", "depth"})):
        stage = next(one for one in method.stages if one.name == name)
        freeze(method, stage.freeze)
        assert method.enter(stage) == (("network.backbone.",) if name == "depth" else ())
        assert moved() == entered
        semantic = {key: value.clone() for key, value in method.network.semantic.state_dict().items()}
        for _ in range(2):
            sum(terms_of(method, streets, name).values()).backward()
            optimiser.step()
            optimiser.zero_grad()
        assert moved() == after
        if name == "depth":  # neither weights nor the statistics of its norms
            assert all(torch.equal(value, semantic[key]) for key, value in method.network.semantic.state_dict().items())


def test_a_process_without_the_first_weights_is_told() -> None:
    with pytest.raises(TrainingError, match="as many processes as the run began with"):
        made().enter(Stage("depth", 1, 1e-4, ()))


def test_memory_goes_round() -> None:
    method, other = made(), made()
    method.enter(method.stages[0])
    kept = {key: value.clone() for key, value in method.memory().items()}
    torch.nn.init.zeros_(method.network.backbone.features.conv1[0].weight)
    other.recall(method.memory())
    other.enter(other.stages[1])
    assert all(torch.equal(value, kept[key]) for key, value in other.network.backbone.state_dict().items())
    assert other.memory() == {}


def test_gradient_shares_by_hand(streets: dict[str, Any]) -> None:
    features = [torch.tensor([3.0, 4.0], requires_grad=True), torch.zeros(2, requires_grad=True)]
    losses = {
        "one": features[0].square().sum() / 2,
        "other": 5 * features[1].sum() + 0 * features[0].sum(),
        "none": torch.zeros(()) * features[0].sum(),
    }
    # norms 5, 5 sqrt 2 and 0
    assert gradient_shares(losses, features) == pytest.approx({"one": 1 / (1 + 2**0.5), "other": 2**0.5 / (1 + 2**0.5), "none": 0.0})
    method = made()
    method.losses(streets, at(method, logs=False), Turn())
    assert method.gauges() == {}
    method.losses(streets, at(method, logs=True), Turn())
    assert set(method.gauges()) == {f"gradient_{name}" for name in ("segmentation", "depth", "depth_consistency", "semantic_consistency")}
    assert sum(method.gauges().values()) == pytest.approx(1)


def test_ten_steps_bring_the_loss_down(streets: dict[str, Any]) -> None:
    method = made(pretrain_rate=3e-3)
    optimiser, totals = method.optimisers()["all"], []
    for _ in range(10):
        total = sum(terms_of(method, streets).values())
        total.backward()
        optimiser.step()
        optimiser.zero_grad()
        totals.append(total.item())
    assert totals[-1] < 0.6 * totals[0]


def test_every_parameter_is_in_one_group() -> None:
    method = made(pretrained_rate=0.25, weight_decay=0.01)
    groups = method.optimisers()["all"].param_groups
    assert sum(len(group["params"]) for group in groups) == len(list(method.parameters()))
    assert {(group["rate_factor"], group["weight_decay"]) for group in groups} == {(0.25, 0.01), (0.25, 0.0), (1.0, 0.01), (1.0, 0.0)}
    assert made().optimisers()["all"].defaults["betas"] == (0.9, 0.999)


def test_what_settings_decide_of_the_weights_is_in_the_decoders() -> None:
    names = [name for name, _ in made().named_parameters()]
    for prefix in PseudoMTLConfig.meanings.values():
        meant = [name for name in names if name.startswith(prefix)]
        assert meant
        assert not any("backbone" in name for name in meant)  # which any method may bring


@pytest.mark.parametrize("changes", [{}, {"backbone": "vgg11", "upsampling": "unpool", "head_stride": 1}], ids=["bilinear", "unpool"])
def test_the_onnx_file_answers_as_torch_beyond_the_size_of_the_trace(changes: dict[str, Any], tmp_path: Path) -> None:
    method = made(**changes)
    save_model(method, tmp_path / "model.safetensors", labels=CITYSCAPES19, depth_cap=80.0, training={}, input_size=(32, 64))
    report = export(tmp_path)
    assert report.agreement is not None
    assert report.agreement > 0.999
    trained, config = load_model(tmp_path)
    inputs = trial_inputs(["image"], 2, 75, 131)
    expected, found = EagerModel(trained, config)(inputs), OnnxModel(report.path, threads=1)(inputs)
    np.testing.assert_allclose(found.semantic_logits, expected.semantic_logits, atol=2e-3)
    np.testing.assert_allclose(found.depth, expected.depth, rtol=2e-3)
    assert found.depth.shape == (2, 1, 75, 131)
    assert (found.depth > 0).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": 1}, "needs at least 2 classes"),
        ({"warp": "predicted"}, "model.use_confidence=false"),
        ({"pretrain_epochs": 0, "joint_epochs": 0}, "one must be above 0"),
        ({"joint_epochs": -1}, "none below"),
        ({"max_depth": 0}, "model.max_depth is 0"),
        ({"occlusion": 1.5}, "model.occlusion"),
        ({"upsampling": "unpool"}, "no 2x2 max pooling to undo: set model.upsampling=bilinear"),
        ({"backbone": "nowhere"}, "unknown backbone"),
    ],
)
def test_wrong_settings_are_told(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        made(**change)


def test_recipes_of_the_paper_have_its_numbers() -> None:
    for name, size in (("cityscapes", [96, 256]), ("kitti", [192, 480])):
        recipe = yaml.safe_load(recipes.find(f"pseudo_mtl/{name}").read_text(encoding="utf-8"))
        assert recipe["view"]["size"] == size
        assert PseudoMTLConfig(**{key: value for key, value in recipe["model"].items() if key != "name"}) == PseudoMTLConfig()
