"""Image reconstruction as a whole: every row of its tables trains and predicts, any density and size, and exports without dead weight."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from diorama.errors import ConfigError, ModelError, ShapeError
from diorama.export.graph import to_onnx
from diorama.losses.reconstruction import completion_loss, grey, reconstruction_loss, uncertainty_loss
from diorama.methods.base import Stage, StepContext, Turn
from diorama.methods.image_reconstruction import ImageReconstruction, padded_points
from diorama.methods.image_reconstruction_config import ImageReconstructionConfig
from diorama.nn.completion import fill

SMALL: dict[str, Any] = {
    "channels": (4, 4, 8, 8),
    "extractor_channels": (8, 4, 4),
    "decoder_channels": 4,
    "kernels": (3, 5),
    "min_depth": 0.1,
}
ROWS: dict[str, dict[str, Any]] = {
    "B": {"image": False, "sharing": False},
    "B+I": {"sharing": False},
    "B+I+S": {},
    "B+I+S, image loss off": {"image_weight": 0.0},
    "l1": {"depth_norm": "l1"},
    "rmse": {"depth_norm": "rmse"},
    "ours": {"residual": True, "mask": True, "skip": True, "blocks": 1, "upsampling": "bilinear", "image": False, "sharing": False},
    "all": {
        "residual": True, "mask": True, "skip": True, "blocks": 1, "upsampling": "bilinear", "uncertainty": "laplace", "classes": 5,
    },
    "gaussian": {"uncertainty": "gaussian"},
    "half width": {"width": 0.5},
}  # fmt: skip
"""Tables 1 and 2, the control, and what goes beyond the paper."""
CONTEXT = StepContext(0, Stage("all", 1, 0.001, ()), [0, 1])


def made(**changes: Any) -> ImageReconstruction:
    torch.manual_seed(0)
    return ImageReconstruction(ImageReconstructionConfig(**{**SMALL, **changes}))


def scattered(height: int = 45, width: int = 67, share: float = 0.1, count: int = 2) -> Tensor:
    draw = torch.Generator().manual_seed(5)
    known = torch.rand(count, 1, height, width, generator=draw) < share
    return torch.where(known, 1 + 4 * torch.rand(count, 1, height, width, generator=draw), 0.0)


def batch(**changes: Any) -> dict[str, Any]:
    """Stripes of tilted planes with points of them, a picture and labels in blocks; some pixels are unknown."""
    draw = torch.Generator().manual_seed(7)
    rows, columns = torch.meshgrid(torch.arange(45), torch.arange(67), indexing="ij")
    depth = (1 + 0.05 * rows + 0.02 * columns + 2.0 * (columns // 12 % 2)).repeat(2, 1, 1, 1)
    sparse = torch.where(torch.rand(depth.shape, generator=draw) < 0.1, depth, 0.0)
    depth[..., -5:] = 0
    semantic = ((rows // 8 + columns // 16) % 5).repeat(2, 1, 1)
    semantic[:, :4] = 255
    image = torch.rand(2, 3, 45, 67, generator=draw)
    return {"main": {"image": image, "sparse_depth": sparse, "depth": depth, "semantic": semantic, "meta": [{}, {}], **changes}}


def step(method: ImageReconstruction, optimiser: torch.optim.Optimizer, given: dict[str, Any]) -> dict[str, float]:
    terms = method.losses(given, CONTEXT, Turn())
    optimiser.zero_grad()
    torch.stack(list(terms.values())).sum().backward()
    optimiser.step()
    return {name: float(value.detach()) for name, value in terms.items()}


@pytest.mark.parametrize("row", ROWS)
def test_every_row_trains_and_predicts_at_odd_sizes(row: str) -> None:
    method = made(**ROWS[row])
    config, optimiser = method.config, method.optimisers()["all"]
    before = {name: value.clone() for name, value in method.named_parameters()}
    first = step(method, optimiser, batch())
    for _ in range(3):
        said = step(method, optimiser, batch())
    assert said["depth"] < first["depth"]
    assert all(math.isfinite(value) for value in said.values())
    expected = {"depth"} | ({"image"} if config.image and config.image_weight else set())
    assert set(said) == expected | ({"uncertainty"} if config.uncertainty != "none" else set()) | (
        {"segmentation"} if config.classes else set()
    )
    still = {name for name, value in method.named_parameters() if torch.equal(value, before[name])}
    # without the image loss nothing learns what only the image decoder looks at
    unseen = {name for name in before if name.startswith(("network.image_decoder.", "network.image_extractor.stages.2."))}
    assert still == (unseen if row == "B+I+S, image loss off" else set())

    method.eval()
    with torch.no_grad():
        found = method(scattered(37, 50, count=1))
    assert found.depth.shape == (1, 1, 37, 50)
    assert torch.isfinite(found.depth).all()
    assert found.depth.min() >= np.float32(0.1)
    assert found.reconstruction is None
    assert (found.semantic_logits.shape if config.classes else found.semantic_logits) == ((1, 5, 37, 50) if config.classes else None)
    if config.uncertainty == "none":
        assert found.uncertainty is None
    else:
        assert found.uncertainty.shape == (1, 1, 37, 50)
        assert found.uncertainty.min() > 0


def test_the_answer_is_linear_in_training_and_clamped_in_prediction() -> None:
    method = made(image=False, sharing=False).eval()
    torch.nn.init.constant_(method.network.depth_decoder.head.weight, 0.0)
    torch.nn.init.constant_(method.network.depth_decoder.head.bias, -3.0)
    given = batch()
    assert torch.equal(method(given["main"]["sparse_depth"]).depth, torch.full((2, 1, 45, 67), 0.1))
    truth = given["main"]["depth"]
    expected = (truth[truth > 0] + 3).square().mean()
    torch.testing.assert_close(method.losses(given, CONTEXT, Turn())["depth"], expected)


def test_an_output_of_one_means_what_the_scales_say() -> None:
    method = made(depth_scale=10.0, grey_scale=64.0, uncertainty="laplace").eval()
    assert method.network.image_decoder is not None
    for decoder in (method.network.depth_decoder, method.network.image_decoder):
        torch.nn.init.constant_(decoder.head.weight, 0.0)
        torch.nn.init.constant_(decoder.head.bias, 1.5)
    found = method(scattered())
    assert torch.equal(found.depth, torch.full((2, 1, 45, 67), 15.0))
    torch.testing.assert_close(found.uncertainty, torch.full((2, 1, 45, 67), 10 * math.log(1 + math.exp(1.5)) + 1e-3))
    assert torch.equal(method.reconstruct(scattered()), torch.full((2, 1, 45, 67), 96.0))


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.05, 1.0])
def test_any_density_is_answered(share: float) -> None:
    for changes in (ROWS["B+I+S"], ROWS["all"]):
        found = made(**changes).eval()(scattered(share=share))
        assert torch.isfinite(found.depth).all()
        assert found.depth.min() >= np.float32(0.1)


def test_an_untrained_residual_is_the_fill_and_keeps_known_pixels() -> None:
    sparse = scattered()
    found = made(**ROWS["ours"]).eval()(sparse).depth
    known = sparse > 0
    torch.testing.assert_close(found[known], sparse[known])
    assert found.min() >= sparse[known].min() - 1e-5
    assert found.max() <= sparse[known].max() + 1e-5


def test_a_residual_scales_with_its_input() -> None:
    method = made(**ROWS["ours"], uncertainty="gaussian").eval()
    torch.nn.init.normal_(method.network.depth_decoder.head.weight, std=0.05, generator=torch.Generator().manual_seed(0))
    sparse = scattered()
    one, other = method(sparse), method(3 * sparse)
    assert not torch.allclose(one.depth, fill(padded_points(sparse))[..., :45, :67], rtol=1e-2)
    torch.testing.assert_close(other.depth, 3 * one.depth, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(other.uncertainty - 1e-3, 3 * (one.uncertainty - 1e-3), rtol=1e-4, atol=1e-4)


def test_what_is_no_positive_number_is_unknown() -> None:
    sparse = scattered()
    spoilt = sparse.clone()
    places = (sparse == 0).nonzero()[:4]
    for place, value in zip(places, (float("nan"), -1.0, float("inf"), float("-inf")), strict=True):
        spoilt[tuple(place)] = value
    method = made(mask=True).eval()
    assert torch.equal(method(spoilt).depth, method(sparse).depth)
    assert padded_points(sparse).shape == (2, 1, 48, 80)


@pytest.mark.parametrize("row", ["B", "B+I+S, image loss off", "all"])
@pytest.mark.parametrize("unknown", [0.0, math.nan, -2.0])
def test_without_known_depth_the_loss_is_zero_with_zero_gradient(row: str, unknown: float) -> None:
    method = made(**ROWS[row])
    given = batch(depth=torch.full((2, 1, 45, 67), unknown), semantic=torch.full((2, 45, 67), 255))
    terms = method.losses(given, CONTEXT, Turn())
    if row != "all":
        assert terms == {}
        return
    assert set(terms) == {"depth", "uncertainty", "segmentation", "image"}
    silent = [terms.pop(name) for name in ("depth", "uncertainty", "segmentation")]
    assert [float(value.detach()) for value in silent] == [0, 0, 0]
    torch.stack(silent).sum().backward()
    gradients = [parameter.grad for parameter in method.parameters() if parameter.grad is not None]
    assert gradients
    assert all(bool((gradient == 0).all()) for gradient in gradients)


def test_task_weights_are_of_depth_semantics_and_the_image() -> None:
    changes = {**ROWS["all"], "uncertainty": "none"}
    plain = made(**changes).losses(batch(), CONTEXT, Turn())
    method = made(**changes, weighting="uncertainty")
    with torch.no_grad():
        for task, weight in {"depth": 3.0, "semantic": 0.5, "image": 2.0}.items():
            method.weighting.log_variance[task].fill_(-math.log(weight))
    found = method.losses(batch(), CONTEXT, Turn())
    ratios = {name: float(found[name].detach() / term.detach()) for name, term in plain.items()}
    assert ratios == pytest.approx({"depth": 3.0, "segmentation": 0.5, "image": 2.0}, rel=1e-5)
    assert set(method.gauges()) == {"weight_depth", "weight_semantic", "weight_image"}
    with pytest.raises(ConfigError, match=r"a loss below 0, which model\.uncertainty=laplace has\. Set model\.weighting to dwa"):
        made(uncertainty="laplace", weighting="uncertainty")


def test_pixels_without_depth_do_not_count() -> None:
    method = made().eval()
    given = batch()
    first = method.losses(given, CONTEXT, Turn())["depth"]
    truth = given["main"]["depth"]
    again = method.losses(batch(depth=truth.where(truth > 0, math.inf)), CONTEXT, Turn())["depth"]
    assert torch.equal(first, again)


def test_known_depth_decides_a_masked_mean_of_two_unequal_images() -> None:
    depth = torch.zeros(2, 1, 2, 2)
    depth[0, 0, 0, 0], depth[1] = 1.0, 2.0
    prediction = torch.zeros(2, 1, 2, 2, requires_grad=True)
    loss = completion_loss(prediction, depth)
    loss.backward()
    assert float(loss.detach()) == pytest.approx((1 + 4 * 4) / 5)
    assert prediction.grad is not None
    assert prediction.grad[0, 0].tolist() == [[pytest.approx(-2 / 5), 0], [0, 0]]


def test_the_mean_of_the_frames_rmse_by_hand() -> None:
    """Errors 3 and 4 m in one frame, 2 m in the next, none known in the third: (sqrt(12.5) + 2) / 2."""
    depth = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]).reshape(3, 1, 1, 2)
    prediction = torch.tensor([[4.0, 5.0], [3.0, math.nan], [math.nan, 7.0]]).reshape(3, 1, 1, 2).requires_grad_()
    loss = completion_loss(prediction, depth, "rmse")
    loss.backward()
    assert float(loss.detach()) == pytest.approx((math.sqrt(12.5) + 2) / 2)
    assert prediction.grad is not None
    expected = [3 / 2 / math.sqrt(12.5) / 2, 4 / 2 / math.sqrt(12.5) / 2, 0.5, 0, 0, 0]
    assert prediction.grad.flatten().tolist() == pytest.approx(expected)
    prediction.grad = None
    completion_loss(prediction, torch.zeros_like(depth), "rmse").backward()
    assert prediction.grad.abs().max() == 0
    exact = torch.ones(1, 1, 1, 2, requires_grad=True)
    completion_loss(exact, torch.ones(1, 1, 1, 2), "rmse").backward()
    assert exact.grad is not None
    assert exact.grad.abs().max() == 0


@pytest.mark.parametrize(("likelihood", "expected"), [("laplace", 2 / 0.5 + math.log(0.5)), ("gaussian", 4 / 0.25 / 2 + math.log(0.5))])
def test_uncertainty_loss_by_hand(likelihood: Any, expected: float) -> None:
    depth, prediction = torch.tensor([[[[3.0, 0.0]]]]), torch.tensor([[[[5.0, 9.0]]]], requires_grad=True)
    loss = uncertainty_loss(prediction, depth, torch.full((1, 1, 1, 2), 0.5), likelihood)
    assert float(loss) == pytest.approx(expected)
    assert not loss.requires_grad, "depth is not trained by it"


@pytest.mark.parametrize("likelihood", ["laplace", "gaussian"])
def test_uncertainty_is_least_costly_at_the_spread_of_the_errors(likelihood: Any) -> None:
    """Errors of one spread: the best constant is their mean absolute value (Laplace) or their root mean square (Gaussian)."""
    error = torch.linspace(-1.7, 2.9, 64, dtype=torch.float64).reshape(1, 1, 8, 8)
    depth = torch.full_like(error, 4.0)
    best = float(error.abs().mean() if likelihood == "laplace" else error.square().mean().sqrt())
    cost = [float(uncertainty_loss(depth + error, depth, torch.full_like(depth, best * factor), likelihood)) for factor in (0.97, 1, 1.03)]
    assert cost[1] < min(cost[0], cost[2])


def test_maps_of_other_sizes_are_refused() -> None:
    one, other = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 5)
    with pytest.raises(ShapeError, match="resize the prediction"):
        completion_loss(one, other)
    with pytest.raises(ShapeError, match="resize the prediction"):
        reconstruction_loss(one, torch.ones(1, 3, 4, 5))
    with pytest.raises(ShapeError, match="resize the prediction"):
        uncertainty_loss(one, one, other)
    with pytest.raises(ShapeError, match="stack a grey image"):
        grey(one)


@pytest.mark.parametrize(
    ("row", "needed"),
    [
        ("B", {"sparse_depth", "depth"}),
        ("B+I", {"sparse_depth", "depth", "image"}),
        ("B+I+S, image loss off", {"sparse_depth", "depth"}),
        ("all", {"sparse_depth", "depth", "image", "semantic"}),
    ],
)
def test_what_a_configuration_needs(row: str, needed: set[str]) -> None:
    assert made(**ROWS[row]).requires == needed


def test_the_control_is_the_network_of_the_paper() -> None:
    paper, control = made(), made(image_weight=0.0)
    assert [(name, value.shape) for name, value in paper.state_dict().items()] == [
        (name, value.shape) for name, value in control.state_dict().items()
    ]
    sparse = scattered()
    assert torch.equal(paper.eval()(sparse).depth, control.eval()(sparse).depth)


def test_the_image_and_the_features_can_be_looked_at() -> None:
    method = made().eval()
    seen = method.reconstruct(scattered())
    assert seen.shape == (2, 1, 45, 67)
    assert 0 <= float(seen.detach().min()) <= float(seen.detach().max()) <= 255
    assert {name: tuple(value.shape) for name, value in method.last_features(scattered()).items()} == dict.fromkeys(
        ("depth", "image", "shared"), (2, 4, 24, 40)
    )
    assert set(made(**ROWS["B"]).last_features(scattered())) == {"depth"}
    for row in ("B", "B+I+S, image loss off"):
        with pytest.raises(ModelError, match="reconstructs no image"):
            made(**ROWS[row]).reconstruct(scattered())


def test_width_multiplies_the_channels() -> None:
    wide, narrow = made(width=2.0).network, made(width=0.25).network
    assert (wide.encoder.channels, narrow.encoder.channels) == ([16, 16, 32, 32], [2, 2, 4, 4])
    assert (wide.depth_decoder.head.in_channels, narrow.depth_decoder.head.in_channels) == (8, 1)


def test_the_recipe_of_the_paper() -> None:
    method = ImageReconstruction(ImageReconstructionConfig())
    (stage,) = method.stages
    assert (stage.rate, stage.schedule, stage.halve_every) == (1e-3, "halving", 5)
    assert isinstance(method.optimisers()["all"], torch.optim.Adam)
    assert (method.config.depth_weight, method.config.image_weight, method.config.kernels) == (1, 1e-4, (3, 5, 7, 9))


def test_every_parameter_is_optimised_once_and_norms_are_not_decayed() -> None:
    method = made(optimiser="adamw", weight_decay=0.125)
    groups = method.optimisers()["all"].param_groups
    seen = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(seen) == sorted(id(parameter) for parameter in method.parameters())
    assert all((group["weight_decay"] == 0) == all(p.ndim == 1 for p in group["params"]) for group in groups)


def test_labels_weigh_by_their_class() -> None:
    method = made(classes=4)
    method.prepare({"class_counts": [60, 30, 10, 0]})
    torch.testing.assert_close(method.class_weight, torch.tensor([0.4, 0.7, 0.9, 1.0]))
    method = made()
    method.prepare({"class_counts": []})
    assert method.class_weight.numel() == 0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"image": False}, "model.sharing=false"),
        ({"kernels": ()}, "odd kernel sizes"),
        ({"kernels": (3, 4)}, "odd kernel sizes"),
        ({"width": 0.0}, "without channels"),
        ({"width": 0.01}, "without channels"),
        ({"min_depth": 0.0}, "above 0 m"),
        ({"depth_scale": 0.0}, "above 0"),
        ({"grey_scale": -1.0}, "above 0"),
        ({"blocks": -1}, "0 or more"),
        ({"classes": 1}, "at least 2 classes"),
        ({"image_weight": -1.0}, "negative weight"),
        ({"epochs": 0}, "above 0"),
        ({"halve_every": 0.0}, "above 0"),
    ],
)
def test_a_wrong_configuration_is_told(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        ImageReconstructionConfig(**changes)


def test_a_configuration_says_whether_it_has_semantics() -> None:
    assert ImageReconstructionConfig().tasks == "depth"
    assert ImageReconstructionConfig(classes=5).tasks == "both"
    assert "tasks" not in dataclasses.asdict(ImageReconstructionConfig())


@pytest.mark.slow
@pytest.mark.parametrize("row", ["B+I", "B+I+S", "ours"])
def test_the_exported_graph_answers_alike_at_any_size_and_holds_no_unused_weight(row: str) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    method = made(**ROWS[row]).eval()
    torch.nn.init.normal_(method.network.depth_decoder.head.weight, generator=torch.Generator().manual_seed(0))
    graph = to_onnx(method)
    used = {name for node in graph.graph.node for name in node.input}
    held = {weight.name for weight in graph.graph.initializer}
    assert held <= used
    dead = ("image_decoder", "image_extractor.stages.2") if row == "B+I+S" else ("image_",)
    assert not [name for name in held if any(part in name for part in dead)]
    session = runtime.InferenceSession(graph.SerializeToString())
    for height, width, share in ((37, 50, 0.1), (228, 304, 0.007), (64, 333, 0.0)):
        sparse = scattered(height, width, share)
        (found,) = session.run(None, {"sparse_depth": sparse.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(found, method(sparse).depth.numpy(), rtol=1e-4, atol=1e-4)
