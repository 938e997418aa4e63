"""SemiMTL as a whole: every compared row takes steps, absent tasks teach nothing, discriminators see what each row says they see."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from diorama.errors import ConfigError, TrainingError
from diorama.export.graph import to_onnx
from diorama.methods.base import Stage, StepContext, Turn
from diorama.methods.semi_mtl import SemiMTL
from diorama.methods.semi_mtl_config import SemiMTLConfig
from diorama.training.average import MovingAverage
from diorama.training.plan import Plan
from diorama.training.turns import alone

SMALL: dict[str, Any] = {
    "classes": 3, "backbone": "test_resnet", "output_stride": 32, "pretrained": False, "width": 8, "depth_widths": (8, 6), "judge_width": 2,
}  # fmt: skip
ROWS: dict[str, dict[str, Any]] = {
    "STL seg": {"tasks": "semantic", "alignment": "none"},
    "STL depth": {"tasks": "depth", "alignment": "none"},
    "DA seg": {"tasks": "semantic", "alignment": "adapt"},
    "DA depth": {"tasks": "depth", "alignment": "adapt"},
    "DA depth, truth": {"tasks": "depth", "alignment": "adapt_truth"},
    "JTL": {"alignment": "none"},
    "SemiSD": {"alignment": "binary"},
    "SemiMTL (M1)": {"alignment": "m1"},
    "SemiMTL": {},
    "SemiMTL (M3)": {"alignment": "m3"},
    "per data set": {"generator_update": "per_dataset"},
    "uncertainty": {"weighting": "uncertainty"},
    "dwa": {"weighting": "dwa", "dwa_steps": 1},
    "smoothed": {"truth_smoothing": 0.1},
    "norms per domain": {"norm": "per_domain"},
}
GENERATOR, JUDGES = Turn("generator", "generator"), Turn("judges", "judges")


def made(**changes: Any) -> SemiMTL:
    torch.manual_seed(0)
    return SemiMTL(SemiMTLConfig(**{**SMALL, **changes}))


def context(step: int = 0, logs: bool = True) -> StepContext:
    return StepContext(step, Stage("all", 1, 0.01, ()), [10 * step + number for number in range(6)], logs)


def batch(height: int = 32, width: int = 48, seed: int = 0) -> dict[str, Any]:
    """Labels without the first four rows in one data set, depth without the last five columns in the other."""
    draw = torch.Generator().manual_seed(seed)
    semantic = torch.randint(0, 3, (2, height // 8, width // 8), generator=draw).repeat_interleave(8, 1).repeat_interleave(8, 2)
    semantic[:, :4] = 255
    depth = 2 + 60 * torch.rand(2, 1, height, width, generator=draw)
    depth[..., -5:] = 0
    images = torch.rand(2, 2, 3, height, width, generator=draw)
    return {"labelled": {"image": images[0], "semantic": semantic}, "measured": {"image": images[1], "depth": depth}}


@pytest.mark.parametrize("row", ROWS)
def test_every_row_takes_steps_that_move_all_of_its_parts(row: str) -> None:
    method = made(**ROWS[row])
    optimisers = method.optimisers()
    assert set(method.streams) == {"labelled", "measured"}
    before = {name: value.clone() for name, value in method.named_parameters()}
    for step in range(3):
        for turn in method.turns(context(step)):
            with alone(method, optimisers[turn.optimiser], len(optimisers)):
                terms = method.losses(batch(seed=step), context(step), turn)
                if not terms:
                    continue
                assert all(bool(torch.isfinite(term)) for term in terms.values())
                torch.stack([term.float() for term in terms.values()]).sum().backward()
            optimisers[turn.optimiser].step()
            optimisers[turn.optimiser].zero_grad()
    still = [name for name, value in method.named_parameters() if torch.equal(value, before[name])]
    assert still == []
    gauges = method.gauges()
    assert {name for name in gauges if name.startswith("right_")} == {f"right_{task}" for task in method.judges}
    assert all(0 <= gauges[name] <= 1 for name in gauges if name.startswith("right_"))
    answer = method.eval()(batch()["labelled"]["image"])
    assert (answer.semantic_logits is None) == ("semantic" not in method.config.active)
    assert (answer.depth is None) == ("depth" not in method.config.active)


def gradients(method: SemiMTL, names: list[str], given: dict[str, Any]) -> dict[str, Tensor | None]:
    method.zero_grad(set_to_none=True)
    torch.stack(list(method.generator_terms(given, names, context()).values())).sum().backward()
    return {name: value.grad for name, value in method.named_parameters()}


@pytest.mark.parametrize("norm", ["shared", "per_domain"])
@pytest.mark.parametrize(("name", "other"), [("labelled", "depth"), ("measured", "semantic")])
def test_the_supervised_gradient_of_an_absent_task_is_exactly_zero(name: str, other: str, norm: str) -> None:
    found = gradients(made(alignment="none", norm=norm), [name], batch())
    absent = [grad for key, grad in found.items() if key.startswith(f"network.{other}.")]
    assert absent
    assert all(grad is None for grad in absent)
    assert any(bool(grad.any()) for key, grad in found.items() if key.startswith("network.backbone."))
    # with discriminators that count 0 every part is asked, and the part of the absent task gets nothing
    found = gradients(made(intra_weight=0.0, inter_weight=0.0, norm=norm), [name], batch())
    absent = [grad for key, grad in found.items() if key.startswith(f"network.{other}.")]
    assert not any(bool(grad.any()) for grad in absent)


def taught(steps: int = 3, **changes: Any) -> SemiMTL:
    """After some steps on the network alone."""
    method = made(**changes)
    optimiser = method.optimisers()["generator"]
    for step in range(steps):
        torch.manual_seed(step)
        torch.stack(list(method.losses(batch(seed=step), context(step), GENERATOR).values())).sum().backward()
        optimiser.step()
        optimiser.zero_grad()
    return method


def seen(method: SemiMTL) -> Tensor:
    """Logits in evaluation mode: untrained depth is as far as it can be."""
    found: Tensor = method.eval()(batch(seed=9)["labelled"]["image"]).semantic_logits
    return found.detach()


def test_norms_per_domain_train_alike_and_answer_with_the_statistics_of_choice() -> None:
    """Parameters are the same bits; only what evaluation normalises with is a choice."""
    shared, mixed = taught(), taught(norm="per_domain")
    assert all(torch.equal(one, other) for one, other in zip(shared.parameters(), mixed.parameters(), strict=True))
    answers = [seen(shared), seen(mixed)]
    for number, name in enumerate(("labelled", "measured"), 1):
        chosen = taught(norm="per_domain", norm_domain=name)
        norm = next(module for module in chosen.modules() if isinstance(module, torch.nn.BatchNorm2d))
        assert torch.equal(norm.running_mean, getattr(norm, f"domain{number}_mean"))
        answers.append(seen(chosen))
    assert not any(torch.equal(one, other) for place, one in enumerate(answers) for other in answers[:place])


def test_norms_per_domain_take_up_a_model_of_either_kind() -> None:
    shared, mixed = taught(), taught(norm="per_domain")
    begun = made(norm="per_domain")
    begun.load_state_dict(shared.state_dict(), strict=False)
    assert torch.equal(seen(begun), seen(shared))
    # a model of two statistics is evaluated with those that its configuration says
    chosen = made(norm="per_domain", norm_domain="measured")
    chosen.load_state_dict(mixed.state_dict())
    expected = seen(taught(norm="per_domain", norm_domain="measured"))
    assert torch.equal(seen(chosen), expected)
    assert not torch.equal(seen(mixed), expected)
    with MovingAverage(chosen, 0.5).applied():
        assert torch.equal(seen(chosen), expected)


def test_labels_that_a_data_set_is_not_said_to_teach_are_never_read() -> None:
    given, more = batch(), batch()
    more["labelled"]["depth"] = torch.full((2, 1, 32, 48), torch.nan)
    more["measured"]["semantic"] = torch.zeros(2, 32, 48, dtype=torch.int64)
    one, other = (made().losses(each, context(), GENERATOR) for each in (given, more))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_holes_of_the_truth_are_holes_of_predictions_of_both_data_sets() -> None:
    method = made()
    method.losses(batch(), context(), GENERATOR)
    assert set(method._shown["semantic"]) == {"labelled", "labelled truth", "measured"}
    for maps, _, mask in method._shown["semantic"].values():
        assert not bool(maps[:, :, :4].any())
        assert mask is not None
        assert torch.equal(mask[0, 0, :, 0], torch.arange(32) >= 4)
        torch.testing.assert_close(maps[:, :, 4:].sum(1), torch.ones(2, 28, 48))
    assert not any(bool(maps[..., -5:].any()) for maps, _, _ in method._shown["depth"].values())
    method = made(mask_void=False)
    method.losses(batch(), context(), GENERATOR)
    maps, _, mask = method._shown["semantic"]["labelled"]
    assert mask is None
    torch.testing.assert_close(maps.sum(1), torch.ones(2, 32, 48))


def test_holes_are_borrowed_from_the_same_place_of_a_labelled_data_set() -> None:
    """Sample i from sample i; seeds 4 and 5 of the third stream pick the first and the second of the two that have labels."""
    given = batch()
    given["labelled"]["semantic"][1] = 255
    method = made()
    own = method.counting("semantic", "labelled", given, context())
    assert [bool(mask.any()) for mask in own] == [True, False]
    assert torch.equal(method.counting("semantic", "measured", given, context()), own)
    sets: dict[str, Any] = {"a": ["semantic"], "b": ["semantic"], "c": ["depth"]}
    full = {"image": given["labelled"]["image"], "semantic": torch.zeros(2, 32, 48, dtype=torch.int64)}
    samples = {"a": given["labelled"], "b": full, "c": given["measured"]}
    found = made(sets=sets).counting("semantic", "c", samples, context())
    assert torch.equal(found[0], own[0])
    assert bool(found[1].all())


def test_holes_are_borrowed_across_batches_and_windows_of_other_sizes() -> None:
    """Of two labelled samples, the second without a label, the first serves places 0 to 2 of five and the second 3 and 4."""
    given = batch()
    given["labelled"]["semantic"][1] = 255
    samples = {"labelled": given["labelled"], "measured": {"image": torch.zeros(5, 3, 16, 24), "depth": torch.ones(5, 1, 16, 24)}}
    seven = dataclasses.replace(context(), sample_seed=list(range(7)))
    found = made().counting("semantic", "measured", samples, seven)
    assert found.shape == (5, 1, 16, 24)
    assert [bool(mask.any()) for mask in found] == [True, True, True, False, False]
    single = {"labelled": samples["labelled"], "measured": {"image": torch.zeros(1, 3, 32, 48), "depth": torch.ones(1, 1, 32, 48)}}
    assert bool(made().counting("semantic", "measured", single, seven).any())


def test_three_data_sets_one_without_labels_and_one_with_both() -> None:
    sets: dict[str, Any] = {"photos": [], "both": ["semantic", "depth"], "labelled": ["semantic"]}
    method = made(sets=sets)
    assert list(method.streams) == ["both", "labelled", "photos"], "whatever the order in a file"
    assert method.streams == {"both": {"image", "semantic", "depth"}, "labelled": {"image", "semantic"}, "photos": {"image"}}
    assert method.judges["depth"].body[-1].out_channels == 4
    given = batch()
    samples = {
        "both": {**given["labelled"], **given["measured"]},
        "labelled": given["labelled"],
        "photos": {"image": given["labelled"]["image"]},
    }
    terms = method.losses(samples, context(), GENERATOR)
    assert set(terms) == {"semantic", "depth", "intra_semantic", "intra_depth", "inter_semantic", "inter_depth"}
    assert {task: set(entries) for task, entries in method._shown.items()} == {
        "semantic": {"both", "both truth", "labelled", "labelled truth", "photos"},
        "depth": {"both", "both truth", "labelled", "photos"},
    }
    assert [domain for _, domain, _ in method._shown["depth"].values()] == [0, 1, 2, 3]


def test_classes_that_a_data_set_does_not_know_are_left_alone() -> None:
    method = made(alignment="none", tasks="semantic", absent={"labelled": [2]})
    given = batch()
    labels = given["labelled"]["semantic"]
    labels[labels == 2] = 1
    logits = torch.randn(2, 3, 32, 48, requires_grad=True)
    loss = method.supervised_loss("semantic", logits, "labelled", given["labelled"])
    torch.testing.assert_close(loss, F.cross_entropy(logits[:, :2], labels, ignore_index=255))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert not bool(gradient[:, 2].any())
    assert bool(gradient[:, 0].any())
    labels[0, 8, 8] = 2
    with pytest.raises(TrainingError, match=r"has a label of the classes \[2\] that model.absent.labelled says it lacks"):
        method.supervised_loss("semantic", logits, "labelled", given["labelled"])


@pytest.mark.parametrize(
    ("unit", "scale", "answer", "metres"), [("inverse", 1.0, 0.25, 4.0), ("inverse", 5.0, 0.25, 20.0), ("linear", 10.0, 0.25, 2.5)]
)
def test_depth_by_hand(unit: str, scale: float, answer: float, metres: float) -> None:
    method = made(depth_unit=unit, depth_scale=scale, max_depth=50.0)
    assert float(method.metres(torch.tensor(answer))) == pytest.approx(metres)
    assert float(method.regressed(torch.tensor(metres))) == pytest.approx(answer)
    assert float(method.metres(torch.tensor(-1.0))) == pytest.approx(50.0 if unit == "inverse" else 1e-3)
    assert method.regressed(torch.tensor([0.0, 500.0])).tolist() == pytest.approx([0.0, float(method.regressed(torch.tensor(50.0)))])


def test_a_step_without_labels_has_no_terms_unless_something_is_aligned() -> None:
    given = batch()
    given["labelled"]["semantic"][:] = 255
    given["measured"]["depth"][:] = 0
    assert made(alignment="none").losses(given, context(), GENERATOR) == {}
    terms = made().losses(given, context(), GENERATOR)
    assert {name: float(term.detach()) for name, term in terms.items()} == dict.fromkeys(terms, 0.0)


def test_the_rate_of_the_discriminators_stays() -> None:
    method = made(epochs=2, judge_rate=3e-4)
    optimisers, plan = method.optimisers(), Plan(method.stages, 5)
    for step in (0, 4, 9):
        plan.apply(step, list(optimisers.values()))
        assert [group["lr"] for group in optimisers["judges"].param_groups] == [3e-4]
        (rate,) = {group["lr"] for group in optimisers["generator"].param_groups}
        assert rate == pytest.approx(0.01 * (1 - step / 10) ** 0.9)
    assert optimisers["judges"].param_groups[0]["betas"] == (0.9, 0.99)


@pytest.mark.parametrize(("stride", "norm"), [pytest.param(8, "shared", marks=pytest.mark.slow), (32, "per_domain")])
def test_the_exported_graph_answers_alike_at_other_sizes(stride: int, norm: str) -> None:
    backbone = {"output_stride": stride, "backbone": "resnet18" if stride == 8 else "test_resnet"}
    method = taught(1, **backbone, norm=norm).eval()
    session = onnxruntime.InferenceSession(to_onnx(method).SerializeToString())
    for size in ((64, 96), (80, 72)):
        image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            expected = method(image)
        found = session.run(None, {session.get_inputs()[0].name: image.numpy()})
        for one, other in zip(found, (expected.semantic_logits, expected.depth), strict=True):
            np.testing.assert_allclose(one, other.numpy(), rtol=1e-3, atol=1e-4)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"sets": {"labelled": ["semantic"], "photos": []}}, r"no data set teaches depth.*or set model\.tasks\."),
    ({"sets": {"a.b": ["semantic", "depth"]}}, "Give a name without a dot"),
    ({"sets": {"one": ["semantic", "semantic", "depth"]}}, "each task once"),
    ({"sets": {"one": ["semantic", "depth"]}, "alignment": "adapt"}, r"nothing is to be adapted.*set model\.alignment\."),
    ({"absent": {"measured": [1]}}, "Name one of model.sets that has labels"),
    ({"absent": {"labelled": [0, 1, 2]}}, r"give some, not all, of the classes 0\.\.2\."),
    ({"classes": 1}, "at least 2 classes"),
    ({"depth_scale": 0.0}, "Set it above 0"),
    ({"truth_smoothing": 1.0}, "give a share below 1"),
    ({"norm_domain": "labelled"}, r"name one of labelled, measured, and set model\.norm=per_domain\."),
    ({"norm": "per_domain", "norm_domain": "photos"}, "norm_domain is 'photos': name one of labelled, measured"),
]


@pytest.mark.parametrize(("changes", "said"), WRONG, ids=str)
def test_settings_that_do_not_go_together_are_told(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SemiMTLConfig(**{**SMALL, **changes})
