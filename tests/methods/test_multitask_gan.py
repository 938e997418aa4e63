"""Multi-task GANs as a whole: every row of both tables takes a step, terms are those of (1) and (6), nothing is generated twice."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diorama.data.labels import CAMVID11
from diorama.errors import ConfigError, TrainingError
from diorama.export.graph import to_onnx
from diorama.methods.base import Stage, StepContext, Turn
from diorama.methods.multitask_gan import MultitaskGAN, _nearness
from diorama.methods.multitask_gan_config import MultitaskGANConfig
from diorama.methods.translation import filled
from diorama.nn.discriminators import ImageBuffer
from diorama.training.turns import alone

SMALL: dict[str, Any] = {"classes": 11, "width": 4, "semantic_blocks": 1, "depth_blocks": 1}
GENERATORS, DISCRIMINATORS = Turn("generators", "generators"), Turn("discriminators", "discriminators")
TABLE_1: dict[str, dict[str, Any]] = {
    "CycleGAN": {"pooling": (), "structure_weight": 0.0},
    "+MSSP": {"structure_weight": 0.0},
    "+Lrec": {"pooling": ()},
    "Total": {},
    "log": {"gan_loss": "log"},
    "GcGAN-rot": {"pooling": (), "structure_weight": 0.0, "consistency": "rotation"},
    "GcGAN-vf": {"pooling": (), "structure_weight": 0.0, "consistency": "flip"},
}
TABLE_2: dict[str, dict[str, Any]] = {
    "RGB, Ld + smooth RGB": {"semantic_input": False, "smooth_guide": "rgb"},
    "semantic": {"depth_weight": 0.0, "smooth_weight": 0.0},
    "semantic, Ld": {"smooth_weight": 0.0},
    "semantic, smooth semantic": {"depth_weight": 0.0},
    "semantic, Ld + smooth RGB": {"smooth_guide": "rgb"},
    "semantic, Ld + smooth semantic": {},
    "semantic, Ld + smooth label edges": {"smooth_guide": "labels"},
    "filled": {"dense": "filled"},
    "tanh": {"depth_unit": "tanh"},
    "joint": {"branch": "joint"},
}


def made(**changes: Any) -> MultitaskGAN:
    torch.manual_seed(0)
    method = MultitaskGAN(MultitaskGANConfig(**{**SMALL, **changes}))
    method.prepare({"palette": CAMVID11.palette})
    return method


def depth_method(**changes: Any) -> MultitaskGAN:
    method = made(**{"branch": "depth", **changes})
    method.semantic_steps += 1  # as loaded from a trained semantic branch
    return method


def context(step: int = 0, count: int = 4) -> StepContext:
    return StepContext(step, Stage("gan", 1, 2e-4, ()), [100 * step + number for number in range(count)])


def batch(size: int = 64, step: int = 0) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(step)
    image = torch.rand(4, 3, size, size, generator=draw)
    labels = torch.randint(0, 11, (1, size // 8, size // 8), generator=draw).repeat_interleave(8, 1).repeat_interleave(8, 2)
    labels[:, :3, :3] = 255
    depth = 5 + 40 * torch.rand(2, 1, size, size, generator=draw)
    known = torch.rand(2, 1, size, size, generator=draw) < 0.2
    return {
        "photos": {"image": image[:1]},
        "labels": {"semantic": labels},
        "sparse": {"image": image[2:3], "sparse_depth": depth[:1] * known[:1]},
        "dense": {"image": image[3:], "depth": depth[1:], "sparse_depth": depth[1:] * known[1:]},
    }


def step(method: MultitaskGAN, given: dict[str, Any], number: int = 0) -> dict[str, Tensor]:
    terms = {**method.losses(given, context(number), GENERATORS)}
    return terms | method.losses(given, context(number), DISCRIMINATORS)


@pytest.mark.parametrize("row", TABLE_1)
def test_every_row_of_table_1_takes_steps_that_move_all_of_its_parts(row: str) -> None:
    method = made(**TABLE_1[row])
    optimisers = method.optimisers()
    before = {name: value.clone() for name, value in method.named_parameters()}
    for turn in method.turns(context()):
        terms = method.losses(batch(), context(), turn)
        sum(terms.values(), torch.zeros(())).backward()
        optimisers[turn.optimiser].step()
        optimisers[turn.optimiser].zero_grad()
    still = [name for name, value in method.named_parameters() if torch.equal(value, before[name])]
    # biases that an instance norm takes away again get a gradient of rounding alone, if at all
    assert not [name for name in still if name.endswith("weight")]


@pytest.mark.parametrize("row", TABLE_2)
def test_every_row_of_table_2_takes_a_step_with_its_terms(row: str) -> None:
    method = depth_method(**TABLE_2[row])
    terms = step(method, batch())
    assert all(torch.isfinite(term) for term in terms.values())
    config = method.config
    assert ("depth" in terms) == bool(config.depth_weight)
    assert ("smooth" in terms) == bool(config.smooth_weight)
    assert ("cycle" in terms) == (config.branch == "joint")


class Scaled(nn.Module):
    """A generator that multiplies all channels, or one of them, and counts the images it is given."""

    def __init__(self, factor: float, channel: int | None = None) -> None:
        super().__init__()
        self.factor, self.chosen, self.images = nn.Parameter(torch.tensor(factor)), channel, 0

    def forward(self, x: Tensor) -> Tensor:
        self.images += len(x)
        return self.factor * (x if self.chosen is None else x[:, self.chosen : self.chosen + 1])


class Judge(nn.Module):
    """A judge that answers the mean of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x.mean((1, 2, 3))


def stubbed() -> MultitaskGAN:
    method = made(structure_weight=0.0, buffer=0)
    method.semantic.to_labels, method.semantic.to_photos = Scaled(0.5), Scaled(0.25)
    method.semantic.judges = nn.ModuleDict({"labels": Judge(), "photos": Judge()})
    return method


def test_the_semantic_terms_are_those_of_equation_1_by_hand() -> None:
    method, given = stubbed(), batch()
    photos = 2 * given["photos"]["image"] - 1
    labels = method.semantic.palette.encode(given["labels"]["semantic"])
    terms = method.losses(given, context(), GENERATORS)
    terms = {name: term.detach() for name, term in terms.items()}
    # least squares: (D(G(x)) - 1)^2 with D the mean and Gs, Fs factors of 1/2 and 1/4; the cycle returns an eighth of everything
    assert float(terms["gan_labels"]) == pytest.approx(float((0.5 * photos).mean() - 1) ** 2, rel=1e-5)
    assert float(terms["gan_photos"]) == pytest.approx(float((0.25 * labels).mean() - 1) ** 2, rel=1e-5)
    assert float(terms["cycle"]) == pytest.approx(10 * 0.875 * float(photos.abs().mean() + labels.abs().mean()), rel=1e-5)
    assert set(terms) == {"gan_labels", "gan_photos", "cycle"}
    judged = {name: term.detach() for name, term in method.losses(given, context(), DISCRIMINATORS).items()}
    real, fake = float(labels.mean()), float((0.5 * photos).mean())
    assert float(judged["judge_labels"]) == pytest.approx(((real - 1) ** 2 + fake**2) / 2, rel=1e-5)
    assert set(judged) == {"judge_labels", "judge_photos"}


def test_each_generator_runs_once_per_image_and_judges_see_what_was_stored() -> None:
    method, given = stubbed(), batch()
    step(method, given)
    # one photo and one label map there, and what came of them back
    assert (method.semantic.to_labels.images, method.semantic.to_photos.images) == (2, 2)


def test_a_turn_leaves_no_gradient_in_the_other_networks() -> None:
    method, given = made(), batch()
    optimisers = method.optimisers()
    for turn, resting in ((GENERATORS, "discriminators"), (DISCRIMINATORS, "generators")):
        with alone(method, optimisers[turn.optimiser], 2):
            sum(method.losses(given, context(), turn).values(), torch.zeros(())).backward()
        assert all(one.grad is None for group in optimisers[resting].param_groups for one in group["params"])
        assert any(one.grad is not None for group in optimisers[turn.optimiser].param_groups for one in group["params"])
        method.zero_grad(set_to_none=True)


def depth_stubbed(**changes: Any) -> MultitaskGAN:
    method = depth_method(semantic_input=False, smooth_guide="rgb", depth_structure_weight=0.0, buffer=0, **changes)
    method.depth.densify, method.depth.thin = Scaled(0.5, 3), Scaled(0.5, 3)
    method.depth.judges = nn.ModuleDict({"dense": Judge(), "sparse": Judge()})
    return method


def test_the_depth_terms_are_those_of_equation_6_by_hand() -> None:
    method, given = depth_stubbed(smooth_weight=0.0), batch()
    terms = method.losses(given, context(), GENERATORS)
    x, y = given["sparse"]["sparse_depth"], given["dense"]["depth"]
    pattern, known = given["dense"]["sparse_depth"] > 0, x > 0
    coded = x / 40 - 1  # -1 where unknown
    made_dense = 0.5 * coded
    assert float(terms["depth"].detach()) == pytest.approx(0.5 * float(((40 * (made_dense + 1) - x)[known] ** 2).mean()), rel=1e-5)
    back = 0.25 * coded
    made_sparse = torch.where(pattern, 0.5 * (y / 40 - 1), -1.0)
    again = 0.5 * made_sparse
    cycle = (back - coded)[known].abs().mean() + (again - (y / 40 - 1)).abs().mean()
    assert float(terms["depth_cycle"]) == pytest.approx(10 * float(cycle), rel=1e-5)
    assert float(terms["gan_dense"]) == pytest.approx(float((made_dense.mean() - 1) ** 2), rel=1e-5)
    assert float(terms["gan_sparse"]) == pytest.approx(float((made_sparse.mean() - 1) ** 2), rel=1e-5)
    assert method.depth.densify.images == 2 and method.depth.thin.images == 2


def test_judges_of_depth_see_the_same_holes_in_made_and_real_maps() -> None:
    method, given = depth_stubbed(), batch()
    given["dense"]["depth"][:, :, :20] = 0
    method.losses(given, context(), GENERATORS)
    assert torch.equal(method.depth._made["dense"] == -1, (given["dense"]["depth"] == 0) | (method.depth._made["dense"] == -1))
    assert bool((method.depth._made["dense"][:, :, :20] == -1).all())
    assert bool((method.depth._made["sparse"][given["dense"]["sparse_depth"] == 0] == -1).all())


def test_dense_truth_never_supervises_the_sparse_frame_pairwise() -> None:
    method, given = depth_stubbed(), batch()
    first = method.losses(given, context(), GENERATORS)
    given["dense"]["depth"] = given["dense"]["depth"] + 7
    second = method.losses(given, context(), GENERATORS)
    for name in ("depth", "smooth", "gan_dense"):
        assert float(first[name].detach()) == float(second[name].detach())


def test_a_unit_of_tanh_is_the_printed_sum_forty_and_sixteen_hundred_times_weaker() -> None:
    metres, tanh = (depth_stubbed(depth_unit=unit).losses(batch(), context(), GENERATORS) for unit in ("m", "tanh"))
    assert float(metres["depth"] / tanh["depth"]) == pytest.approx(1600, rel=1e-4)
    assert float(metres["smooth"] / tanh["smooth"]) == pytest.approx(40, rel=1e-4)


def test_the_depth_branch_leaves_the_semantic_one_alone_and_joint_training_does_not() -> None:
    for branch, moves in (("depth", False), ("joint", True)):
        method = depth_method(branch=branch)
        given = batch()
        terms = method.losses(given, context(), GENERATORS)
        (terms["depth"] + terms["smooth"]).backward()
        moved = [p for p in method.semantic.to_labels.parameters() if p.grad is not None and bool(p.grad.any())]
        assert bool(moved) == moves
        assert (method.stages[0].freeze == ()) == moves


def test_the_terms_that_are_of_a_task_are_those_that_are_not_adversarial() -> None:
    """Where both branches learn at once; apart there is one task."""
    method = made(branch="joint")
    terms = set(method.losses(batch(), context(), GENERATORS))
    assert {name for name in terms if not name.startswith("gan_")} == set(method.task_terms) - {"geometry"}
    assert set(method.task_terms.values()) == {"semantic", "depth"}
    assert set(made().task_terms.values()) == {"semantic"}


def test_smoothness_by_label_edges_asks_nothing_across_them() -> None:
    method = depth_method(smooth_guide="labels", smooth_weight=1.0)
    halves = torch.zeros(2, dtype=torch.int64).repeat_interleave(32)[None, None].repeat(2, 64, 1)
    halves[..., 32:] = 3
    method.semantic.to_labels = nn.Module()
    method.semantic.to_labels.forward = lambda photos: method.semantic.palette.encode(halves)  # type: ignore[method-assign]
    step_at = torch.full((1, 1, 64, 64), -1.0)
    terms = []
    for column in (32, 20):  # a step of depth where the classes meet, and one inside a class
        depth = step_at.clone()
        depth[..., column:] = 0.5
        method.depth.densify.forward = lambda given, depth=depth: depth.expand(len(given), -1, -1, -1)  # type: ignore[method-assign]
        terms.append(float(method.losses(batch(), context(), GENERATORS)["smooth"].detach()))
    # second differences of a step act at two pixels, one of which takes its guide's step inside a class
    assert terms[0] < 0.51 * terms[1]


def test_a_depth_branch_without_a_trained_semantic_branch_is_refused() -> None:
    with pytest.raises(TrainingError, match="start_from"):
        made(branch="depth").losses(batch(), context(), GENERATORS)


def test_empty_sparse_maps_are_told_by_stream() -> None:
    for stream, key in (("sparse", "sparse_depth"), ("dense", "depth"), ("dense", "sparse_depth")):
        given = batch()
        given[stream][key] = torch.zeros_like(given[stream][key])
        with pytest.raises(TrainingError, match=f"stream '{stream}' has no known depth"):
            depth_method().losses(given, context(), GENERATORS)


def test_windows_drawn_again_are_told_at_the_1st_10th_and_100th(caplog: pytest.LogCaptureFixture) -> None:
    method, told = depth_method(), []
    for number, redrawn in enumerate((0, 3, 6, 1, 2, 88, 0, 1)):  # 0, 3, 9, 10, 12, 100, 100, 101 so far
        given = batch()
        given["dense"]["meta"] = [{"id": f"frame {number}", "redrawn": redrawn}]
        method.losses(given, context(), GENERATORS)
        told.append(len(caplog.records))
    assert told == [0, 1, 1, 2, 2, 3, 3, 3]
    assert "drawn again: 10 so far, last of frame frame 3" in caplog.messages[1]


def test_a_quarter_turn_of_a_wide_image_works() -> None:
    method = made(**TABLE_1["GcGAN-rot"])
    given = {"photos": {"image": torch.rand(1, 3, 64, 96)}, "labels": {"semantic": torch.randint(0, 11, (1, 64, 96))}}
    assert torch.isfinite(torch.stack(list(step(method, given).values()))).all()
    corner = torch.zeros(1, 1, 2, 3)
    corner[0, 0, 0, 0] = 1  # top left goes to top right
    assert method.semantic.moved(corner)[0, 0].tolist() == [[0, 1], [0, 0], [0, 0]]


def test_the_prediction_is_the_nearest_colour_and_black_is_ignore() -> None:
    method = made()
    colours = torch.tensor([*CAMVID11.palette, (0, 0, 0)], dtype=torch.float32) / 255
    method.semantic.to_labels = nn.Identity()
    answer = method(colours.T[None, :, :, None]).semantic_logits
    assert answer.shape == (1, 12, 12, 1)
    assert answer.argmax(1).flatten().tolist() == list(range(12))


def test_depth_comes_out_in_metres_and_never_below_the_smallest() -> None:
    method = depth_method().eval()
    method.depth.densify = Scaled(1.0, 6)
    sparse = torch.tensor([0.0, 20.0, 40.0, 75.0, 120.0]).reshape(1, 1, 1, 5).repeat(1, 1, 40, 8)
    answer = method(torch.rand(1, 3, 40, 40), sparse)
    assert answer.depth[0, 0, 0, :5].tolist() == pytest.approx([0.9, 20, 40, 75, 80], rel=1e-5)
    assert answer.semantic_logits is not None
    assert depth_method(semantic_input=False, smooth_guide="rgb").eval()(torch.rand(1, 3, 40, 40), torch.rand(1, 1, 40, 40))[0] is None


def test_translate_makes_photos_of_labels() -> None:
    photo = made().translate(torch.tensor([[[0, 1], [255, 3]]]).repeat_interleave(16, 1).repeat_interleave(16, 2))
    assert photo.shape == (1, 3, 32, 32)
    assert 0 <= float(photo.min()) <= float(photo.max()) <= 1


@pytest.mark.parametrize(("changes", "inputs"), [({}, ["image"]), ({"branch": "depth"}, ["image", "sparse_depth"])])
def test_the_exported_graph_holds_generators_of_one_direction_only(changes: dict[str, Any], inputs: list[str]) -> None:
    pytest.importorskip("onnxruntime")
    import onnxruntime

    method = (depth_method if changes else made)(**changes).eval()
    graph = to_onnx(method)
    names = {initialiser.name for initialiser in graph.graph.initializer}
    assert not any("to_photos" in name or "judges" in name or "thin" in name for name in names)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [given.name for given in session.get_inputs()] == inputs
    image, sparse = torch.rand(1, 3, 111, 150), 30 * torch.rand(1, 1, 111, 150)
    given = {"image": image.numpy(), "sparse_depth": sparse.numpy()}
    found = session.run(None, {name: given[name] for name in inputs})
    with torch.no_grad():
        wanted = [part.numpy() for part in method(image, *([sparse] if changes else [])) if part is not None]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)


def test_a_collapse_and_a_victory_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    method = made()
    for number in range(64):
        method.semantic.collapse["labels"].add(torch.rand(1, 3, 32, 32) * number / 32, torch.ones(1, 3, 32, 32))
        method.semantic.collapse["photos"].add(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32))
        method.semantic.victory["photos"].add(torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), 0.5)
    figures = method.gauges()
    method.gauges()
    assert figures["spread_labels"] == 0
    assert figures["spread_photos"] == pytest.approx(1, abs=0.2)
    assert figures["right_photos"] == 1
    told = [record.message for record in caplog.records]
    assert len(told) == 2
    assert "mode collapse" in told[0] and "never wrong" in told[1]


def test_no_two_buffers_of_a_joint_training_draw_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    method, asked = made(branch="joint"), []
    monkeypatch.setattr(ImageBuffer, "exchange", lambda self, images, seeds: asked.append((self.stream, *seeds)) or images)
    step(method, batch(), 7)
    assert len(asked) == len(set(asked)) == 4
    alone, seen = depth_method(), len(asked)
    given = {name: sample for name, sample in batch().items() if name in ("sparse", "dense")}
    alone.losses(given, context(7, 2), GENERATORS)
    alone.losses(given, context(7, 2), DISCRIMINATORS)
    assert asked[seen:] == [(0, 700), (1, 700)]


def test_memory_goes_round() -> None:
    method, other = made(), made()
    for number in range(3):
        step(method, batch(step=number), number)
    other.load_state_dict(method.state_dict())
    other.recall(method.memory())
    for number in range(3, 6):
        one, two = (step(each, batch(step=number), number) for each in (method, other))
        assert {name: float(value) for name, value in one.items()} == {name: float(value) for name, value in two.items()}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"consistency": "flip"}, "structure_weight=0"),
        ({"branch": "depth", "semantic_input": False}, "smooth_guide=rgb"),
        ({"branch": "joint", "semantic_input": False, "smooth_guide": "rgb"}, "two trainings"),
        ({"cycle_weight": -1.0}, "negative"),
        ({"min_depth": 90.0}, "min_depth"),
        ({"classes": 1}, "classes"),
        ({"pooling": (0,)}, "pooling"),
    ],
)
def test_settings_that_make_no_sense_say_what_to_do(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        MultitaskGANConfig(**changes)


def test_samples_show_both_directions() -> None:
    shown = made().samples(batch())
    assert list(shown) == ["photo", "labels made", "photo back", "labels", "photo made", "labels back"]
    assert all(image.shape == (1, 3, 64, 64) and 0 <= float(image.min()) <= float(image.max()) <= 1 for image in shown.values())
    assert "dense depth made" in depth_method().samples(batch())
    near, far = _nearness(torch.tensor([2.0, 40.0, 0.0]).reshape(1, 1, 1, 3))[0, 0, 0, :2].tolist()
    assert near > far > 0


def test_filling_takes_any_size_and_keeps_what_is_known() -> None:
    sparse = torch.zeros(1, 1, 37, 53)
    sparse[0, 0, 5, 7], sparse[0, 0, 30, 40] = 10.0, 20.0
    dense = filled(sparse)
    assert dense.shape == sparse.shape
    assert float(dense[0, 0, 5, 7]) == 10 and float(dense[0, 0, 30, 40]) == 20
    assert math.isclose(float(dense.min()), 10, rel_tol=1e-4) and float(dense.max()) <= 20 + 1e-4
