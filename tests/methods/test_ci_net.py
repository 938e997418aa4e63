"""CI-Net as a whole: every row of its tables trains and predicts, and its loss is the sum that Eq. (13) says."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diorama.errors import ConfigError, ModelError
from diorama.losses.consistency import consistency_loss
from diorama.losses.depth import berhu, normal_loss, pair_loss
from diorama.methods.base import StepContext, Turn
from diorama.methods.ci_net import CINet, labels_at, pad_to
from diorama.methods.ci_net_config import CINetConfig
from diorama.nn.attention import ideal_attention

Make = Callable[..., CINet]
Batch = Callable[..., dict[str, Any]]
Context = Callable[..., StepContext]
ALONE = {"scene_understanding": False, "sharing": "none", "consistency": False}
ROWS: dict[str, dict[str, Any]] = {
    "semantics alone": {"tasks": "semantic", **ALONE},
    "depth alone": {"tasks": "depth", **ALONE},
    "baseline": ALONE,
    "SUM": {"sharing": "none", "consistency": False},
    "FSM": {"scene_understanding": False, "consistency": False},
    "SUM + FSM": {"consistency": False},
    "all": {},
    "LSU": {"scene_understanding": False, "sharing": "lsu", "consistency": False},
}
"""Tables 1 and 2 and the two single-task rows."""
DEPTH, SEMANTIC = {"berhu", "pair", "normal"}, {"segmentation"}


def step(method: CINet, optimiser: torch.optim.Optimizer, batch: dict[str, Any], context: StepContext) -> dict[str, float]:
    terms = method.losses(batch, context, Turn())
    optimiser.zero_grad()
    torch.stack(list(terms.values())).sum().backward()
    optimiser.step()
    return {name: float(value.detach()) for name, value in terms.items()}


@pytest.mark.parametrize("stride", [8, 32])
@pytest.mark.parametrize("row", ROWS)
def test_every_row_of_the_tables_trains_and_predicts_at_odd_sizes(
    row: str, stride: int, make: Make, batch: Batch, context: Context
) -> None:
    method = make(output_stride=stride, stage_rates=(1e-3,) * 3, **ROWS[row])
    optimiser = method.optimisers()["all"]
    before = {name: value.clone() for name, value in method.named_parameters()}
    named = []
    for stage in ("truth", "all"):
        said = step(method, optimiser, batch(), context(stage))
        assert all(math.isfinite(value) for value in said.values())
        named.append(set(said))
    expected = (DEPTH if method.config.depth else set()) | (SEMANTIC if method.config.semantic else set())
    attention = {"attention"} if method.config.scene_understanding else set()
    consistency = {"consistency"} if method.config.consistency else set()
    assert named == [expected, expected | attention | consistency]
    still = [name for name, value in method.named_parameters() if torch.equal(value, before[name])]
    assert [name for name in still if "log_ratio" not in name] == []

    method.eval()
    with torch.no_grad():
        said = method(batch(1, 45, 67)["main"]["image"])
    if method.config.depth:
        assert said.depth.shape == (1, 1, 45, 67)
        assert torch.isfinite(said.depth).all()
        assert said.depth.min() > 0
    else:
        assert said.depth is None
    if method.config.semantic:
        assert said.semantic_logits.shape == (1, 5, 45, 67)
        assert torch.isfinite(said.semantic_logits).all()
    else:
        assert said.semantic_logits is None


@pytest.mark.parametrize(
    "change",
    [
        {"loss_at": "head"}, {"skip": True}, {"upsampling": 3}, {"consistency_at": "all"}, {"weighting": "uncertainty"},
        {"weighting": "dwa", "dwa_steps": 1},
    ],
)  # fmt: skip
def test_every_switch_trains_in_every_stage(change: dict[str, Any], make: Make, batch: Batch, context: Context) -> None:
    method = make(**change)
    optimiser = method.optimisers()["all"]
    for stage in ("truth", "predicted", "all"):
        said = step(method, optimiser, batch(height=45, width=67), context(stage))
        assert all(math.isfinite(value) for value in said.values())
        expected = DEPTH | SEMANTIC | {"truth": set(), "predicted": {"attention"}, "all": {"attention", "consistency"}}[stage]
        assert set(said) == expected | ({"log_variance"} if change.get("weighting") == "uncertainty" else set())
    assert set(method.gauges()) == ({"weight_depth", "weight_semantic"} if "weighting" in change else set())


def test_task_weights_multiply_the_terms_of_their_task(make: Make, batch: Batch, context: Context) -> None:
    """Attention and consistency are of both tasks, and stay; names in files stay what they were."""
    plain = make().losses(batch(), context("all"), Turn())
    method = make(weighting="uncertainty")
    assert [key for key in method.state_dict() if "log_variance" in key] == ["task_log_variance.depth", "task_log_variance.semantic"]
    with torch.no_grad():
        method.task_log_variance["depth"].fill_(-math.log(3.0))
        method.task_log_variance["semantic"].fill_(math.log(2.0))
    found = method.losses(batch(), context("all"), Turn())
    factors = {"berhu": 3.0, "pair": 3.0, "normal": 3.0, "segmentation": 0.5, "attention": 1.0, "consistency": 1.0}
    assert {name: float(found[name].detach() / plain[name].detach()) for name in plain} == pytest.approx(factors, rel=1e-5)
    assert float(found["log_variance"].detach()) == pytest.approx(math.log(2.0) - math.log(3.0))


def captured(method: CINet, module: nn.Module) -> list[tuple[Any, Any]]:
    seen: list[tuple[Any, Any]] = []
    module.register_forward_hook(lambda _, inputs, output: seen.append((inputs, output)))
    return seen


def test_the_first_stage_attends_with_the_truth(make: Make, batch: Batch, context: Context) -> None:
    """Eqs. (2), (3): Y = A V / row sum + X with the ideal A; queries and keys play no part; no label, no partner."""
    method = make().eval()
    assert method.network.context is not None
    seen = captured(method, method.network.context)
    said = [method.losses(batch(), context("truth"), Turn())]
    with torch.no_grad():
        method.network.context.query.weight.mul_(-3)
        method.network.context.key.bias.add_(1)
    said.append(method.losses(batch(), context("truth"), Turn()))
    assert all(torch.equal(said[0][name], said[1][name]) for name in said[0])
    assert torch.equal(seen[0][1][0], seen[1][1][0])

    (features, labels, _), (context_added, loss) = seen[0]
    values = method.network.context.value(features).flatten(2).mT
    attention = ideal_attention(labels, 5)
    expected = attention @ values / (attention.sum(-1, keepdim=True) + 1e-6)
    assert torch.allclose(context_added, features + expected.mT.reshape(features.shape), atol=1e-5)
    assert loss == 0
    ignored = (labels == 255)[:, None].expand_as(features)
    assert ignored.any()
    assert torch.equal(context_added[ignored], features[ignored])


def test_queries_matter_from_the_second_stage_on_and_always_in_prediction(make: Make, batch: Batch, context: Context) -> None:
    method = make().eval()
    assert method.network.context is not None
    image = batch()["main"]["image"]
    before = (method.losses(batch(), context("predicted"), Turn())["segmentation"], method(image).depth)
    with torch.no_grad():
        method.network.context.query.weight.mul_(-1000)
    after = (method.losses(batch(), context("predicted"), Turn())["segmentation"], method(image).depth)
    # the ideal attention would have left every bit as it was
    assert not torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])


def test_queries_get_no_gradient_in_the_first_stage(make: Make, batch: Batch, context: Context) -> None:
    method = make()
    assert method.network.context is not None
    torch.stack(list(method.losses(batch(), context("truth"), Turn()).values())).sum().backward()
    assert method.network.context.query.weight.grad is None
    assert method.network.context.value.weight.grad is not None


def test_the_terms_sum_to_the_total_of_the_paper(make: Make, batch: Batch, context: Context) -> None:
    """Eq. (13): alpha (L_berhu + lambda L_pair + mu L_normal) + attention + beta L_consistency + gamma L_semantic."""
    weights = {"alpha": 1.5, "beta": 4.0, "gamma": 0.25, "pair_weight": 0.5, "normal_weight": 3.0, "attention_weight": 2.0}
    method = make(**weights).eval()
    assert method.network.context is not None
    assert method.variances is not None
    attended = captured(method, method.network.context)
    entered = {task: captured(method, method.network.branches[task].head) for task in ("depth", "semantic")}
    sample = batch()["main"]
    terms = method.losses({"main": sample}, context("all"), Turn())
    said = method(sample["image"])
    # stages 2 and 3 use the predicted attention, as prediction does: the maps are those of forward
    depth, truth, labels = said.depth, sample["depth"], sample["semantic"]
    expected = {
        "berhu": 1.5 * berhu(depth, truth),
        "pair": 1.5 * 0.5 * pair_loss(depth, truth, [0, 1], 30),
        "normal": 1.5 * 3.0 * normal_loss(depth, truth),
        "attention": 2.0 * attended[0][1][1],
    }
    # Eq. (12) by hand: mean over labelled pixels, no counts were prepared, so all weights are 1
    known = labels != 255
    log_likelihood = said.semantic_logits.log_softmax(1).gather(1, labels.where(known, 0)[:, None])[:, 0]
    expected["segmentation"] = -0.25 * log_likelihood[known].mean()
    features = [entered[task][0][0][0] for task in ("depth", "semantic")]
    # features of stride 4 of the image padded to 64 columns; the centre of a cell decides, the padding has no label
    centres = torch.cat((labels, labels.new_full((2, 32, 16), 255)), 2)[:, 2::4, 2::4]
    expected["consistency"] = 4.0 * consistency_loss(features[0], features[1], centres, 8.0, 8.0)
    assert set(terms) == set(expected)
    for name, value in expected.items():
        assert float(value.detach()) > 0, name
        assert torch.allclose(terms[name], value, rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize(
    ("key", "unknown", "empty"), [("depth", 0, DEPTH), ("semantic", 255, {"segmentation", "attention", "consistency"})]
)
def test_a_term_without_its_ground_truth_is_zero_and_not_a_number_never(
    key: str, unknown: int, empty: set[str], make: Make, batch: Batch, context: Context
) -> None:
    method = make()
    sample = batch()["main"]
    sample[key].fill_(unknown)  # type: ignore[literal-required]
    terms = method.losses({"main": sample}, context("all"), Turn())
    assert {name for name, value in terms.items() if float(value.detach()) == 0} == empty
    torch.stack([terms[name] for name in sorted(empty)]).sum().backward(retain_graph=True)
    gradients = [parameter.grad for parameter in method.parameters() if parameter.grad is not None]
    assert gradients
    assert all(bool((gradient == 0).all()) for gradient in gradients)


def test_a_batch_without_any_ground_truth_has_no_term(make: Make, batch: Batch, context: Context) -> None:
    sample = batch()["main"]
    sample["depth"].zero_()
    sample["semantic"].fill_(255)
    assert make().losses({"main": sample}, context("all"), Turn()) == {}


def test_pixels_without_depth_do_not_count(make: Make, batch: Batch, context: Context) -> None:
    method = make(**ROWS["depth alone"]).eval()
    assert method.requires == {"image", "depth"}
    sample = batch()["main"]
    del sample["semantic"]
    first = method.losses({"main": sample}, context("truth"), Turn())
    assert set(first) == DEPTH
    # infinity stands for nothing known as well
    sample["depth"] = sample["depth"].where(sample["depth"] > 0, torch.inf)
    second = method.losses({"main": sample}, context("truth"), Turn())
    assert all(torch.equal(first[name], second[name]) for name in DEPTH)


@pytest.mark.parametrize(
    ("change", "needed"),
    [
        ({}, {"image", "semantic", "depth"}),
        (ROWS["semantics alone"], {"image", "semantic"}),
        (ROWS["depth alone"], {"image", "depth"}),
        ({**ROWS["depth alone"], "scene_understanding": True}, {"image", "semantic", "depth"}),
    ],
)
def test_what_a_configuration_needs(change: dict[str, Any], needed: set[str], make: Make) -> None:
    assert make(**change).requires == needed


@pytest.mark.parametrize(("name", "sizes"), [("sgd", [1, 1]), ("adamw", [2, 2])])
def test_pretrained_layers_learn_at_a_tenth(name: str, sizes: list[int], make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    method = make(optimiser=name, weight_decay=0.125)
    # as if the backbone had come with weights
    object.__setattr__(method.config, "backbone_weights", "file.pth")
    groups = method.optimisers()["all"].param_groups
    backbone = {id(parameter) for parameter in method.network.backbone.parameters()}
    seen: list[int] = []
    for group in groups:
        members = {id(parameter) for parameter in group["params"]}
        assert members <= backbone or not members & backbone
        assert group["rate_factor"] == (0.1 if members <= backbone else 1.0)
        without = name == "adamw" and all(parameter.ndim < 2 for parameter in group["params"])
        assert group["weight_decay"] == (0.0 if without else 0.125)
        assert name == "sgd" or len({parameter.ndim < 2 for parameter in group["params"]}) == 1
        seen += members
    assert sorted(seen) == sorted(id(parameter) for parameter in method.parameters())
    assert len(groups) == sum(sizes)


def test_without_weights_all_layers_learn_alike(make: Make) -> None:
    assert {group["rate_factor"] for group in make().optimisers()["all"].param_groups} == {1.0}


def test_class_weights_of_the_paper_and_balanced(make: Make) -> None:
    counts = [50, 30, 20, 0, 0]
    method = make()
    method.prepare({"class_counts": counts})
    assert method.class_weight.tolist() == pytest.approx([0.5, 0.7, 0.8, 1.0, 1.0])
    method = make(class_weights="balanced")
    method.prepare({"class_counts": counts})
    raw = [1 / math.log(1.1 + count / 100) for count in counts]
    assert method.class_weight.tolist() == pytest.approx([value / (sum(raw) / 5) for value in raw], rel=1e-6)
    method = make(class_weights="none")
    method.prepare({"class_counts": counts})
    assert method.class_weight.tolist() == [1.0] * 5


def test_class_weights_enter_the_loss(make: Make, batch: Batch, context: Context) -> None:
    method = make(**ROWS["semantics alone"], gamma=1.0).eval()
    sample = batch()["main"]
    sample["semantic"][:] = 255
    sample["semantic"][:, 10, 10] = 2
    plain = method.losses({"main": sample}, context("truth"), Turn())["segmentation"]
    method.prepare({"class_counts": [0, 0, 75, 25, 0]})
    assert torch.allclose(method.losses({"main": sample}, context("truth"), Turn())["segmentation"], 0.25 * plain)


def test_the_stages_of_the_paper() -> None:
    stages = CINet.stages.fget(type("Bare", (), {"config": CINetConfig()})())  # type: ignore[attr-defined]
    assert [(stage.epochs, stage.rate, stage.schedule) for stage in stages] == [
        (300, 6e-4, "constant"), (200, 2e-4, "constant"), (200, 2e-4, "poly"),
    ]  # fmt: skip
    assert [("attention" in stage.losses, "consistency" in stage.losses) for stage in stages] == [
        (False, False), (True, False), (True, True),
    ]  # fmt: skip


def test_stages_without_epochs_are_left_out(make: Make) -> None:
    assert [stage.name for stage in make(stage_epochs=(0, 2, 0)).stages] == ["predicted"]


def test_thirty_steps_on_four_frames_bring_the_loss_down_the_same_way_each_time(make: Make, batch: Batch, context: Context) -> None:
    def trained(steps: int) -> list[float]:
        method = make(seed=3, optimiser="adamw", stage_rates=(3e-3,) * 3)
        optimiser = method.optimisers()["all"]
        return [sum(step(method, optimiser, batch(4), context("all", 4)).values()) for _ in range(steps)]

    first = trained(30)
    assert sum(first[-5:]) < 0.6 * sum(first[:5])
    assert first[:6] == trained(6)


def test_attention_maps_are_sigmoids_of_one_position(make: Make, batch: Batch) -> None:
    method = make().eval()
    assert method.network.context is not None
    image = batch(2, 45, 67)["main"]["image"]
    with torch.no_grad():
        said = method.attention_map(image, (3, 5))
        features, _ = method.network.extract(pad_to(image, 32))
        query, key = (part(features).flatten(2) for part in (method.network.context.query, method.network.context.key))
        row = 3 * 12 + 5
        expected = torch.einsum("bc,bcn->bn", query[..., row], key).sigmoid().reshape(2, 8, 12)
    assert torch.allclose(said, expected, atol=1e-6)
    with pytest.raises(ModelError, match=r"no attention: it was trained with model\.scene_understanding=false"):
        make(**ALONE).attention_map(image, (0, 0))


def test_padding_repeats_the_edge_up_to_the_multiple() -> None:
    image = torch.arange(6.0).reshape(1, 1, 2, 3)
    padded = pad_to(image, 4)
    assert padded[0, 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]]
    assert pad_to(padded, 4).shape == (1, 1, 4, 4)


def test_labels_at_a_stride_are_those_of_the_cell_centres() -> None:
    labels = torch.arange(5 * 6).reshape(1, 5, 6)
    assert labels_at(labels, 4, (8, 8)).tolist() == [[[14, 255], [255, 255]]]
    assert labels_at(labels, 2, (8, 8))[0, 0].tolist() == [7, 9, 11, 255]
    depth = torch.ones(1, 1, 5, 6)
    assert labels_at(depth, 4, (8, 8), 0.0).tolist() == [[[[1, 0], [0, 0]]]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": 1}, "at least 2 classes"),
        ({"tasks": "depth"}, r"set model\.sharing=none and model\.consistency=false"),
        ({"tasks": "semantic", "sharing": "none"}, r"model\.consistency=false"),
        ({"consistency_at": "all", "sharing": "none"}, "needs a sharing unit"),
        ({"stage_epochs": (0, 0, 0)}, r"stage_epochs"),
        ({"stage_epochs": (1, -1, 0)}, r"stage_epochs"),
    ],
)
def test_contradicting_settings_are_told(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        CINetConfig(**change)


def test_the_state_dict_keeps_its_names(make: Make) -> None:
    """Model files and checkpoints are read by these names: a change breaks every stored model."""
    names = set(make(skip=True, context_width=12, output_stride=8).state_dict())
    for name in (
        "network.backbone.features.conv1.0.weight",
        "network.reduce.0.weight",
        "network.context.query.weight",
        "network.context.value.bias",
        "network.sharing.0.down1.0.0.weight",
        "network.sharing.0.to_semantic.bias",
        "network.branches.depth.enter.0.weight",
        "network.branches.semantic.up.0.lateral.weight",
        "network.branches.semantic.up.0.conv.0.weight",
        "network.branches.depth.head.bias",
        "variances.0.depth.log_ratio",
    ):
        assert name in names, name
    assert not {name for name in names if "class_weight" in name or name.endswith(("backbone.mean", "backbone.std"))}
    light = set(make().state_dict())
    assert {"network.pyramid.laterals.0.weight", "network.pyramid.context.weight", "network.pyramid.smooth.1.0.weight"} <= light


def test_depth_is_positive_whatever_the_head_says(make: Make) -> None:
    said = make(depth_scale=2.5).metres(torch.tensor([-1e4, -5.0, 0.0, 7.0]))
    assert said.min() > 0
    assert said[2].item() == pytest.approx(2.5 * math.log(2) + 1e-3, rel=1e-6)
    assert isinstance(said, Tensor)
