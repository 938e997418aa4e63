"""What all losses share: what is unknown does not count, nothing known gives 0 with a gradient of 0, sums stay in float32."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diorama.errors import ShapeError
from diorama.losses.consistency import consistency_loss
from diorama.losses.depth import berhu, depth_loss, draw_pixels, known, normal_loss, pair_loss
from diorama.losses.segmentation import class_weights, weighted_cross_entropy

DEPTH_LOSSES = {
    "berhu": berhu,
    "pair": lambda prediction, depth: pair_loss(prediction, depth, [3] * len(depth), 40),
    "normal": normal_loss,
}


def maps(seed: int = 0, height: int = 12, width: int = 15) -> tuple[Tensor, Tensor]:
    """Predicted and known depth of two images; a patch and single pixels are unknown."""
    draw = torch.Generator().manual_seed(seed)
    prediction, depth = (torch.rand(2, 1, height, width, generator=draw) * 8 + 0.5 for _ in range(2))
    depth[0, :, 3:6, 2:9] = 0
    depth[torch.rand(depth.shape, generator=draw) < 0.05] = 0
    return prediction.requires_grad_(), depth


@pytest.mark.parametrize("loss", DEPTH_LOSSES.values(), ids=DEPTH_LOSSES)
def test_unknown_depth_does_not_count(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Whatever is predicted where depth is unknown, NaN included, moves neither the loss nor a gradient."""
    prediction, depth = maps()
    value = loss(prediction, depth)
    (gradient,) = torch.autograd.grad(value, prediction)
    assert value > 0
    spoilt = prediction.detach().where(known(depth), torch.nan).requires_grad_()
    assert float(gradient[~known(depth)].abs().max()) == 0
    spoilt_value = loss(spoilt, depth)
    (spoilt_gradient,) = torch.autograd.grad(spoilt_value, spoilt)
    assert float(spoilt_value.detach()) == pytest.approx(float(value.detach()), rel=1e-6)
    torch.testing.assert_close(spoilt_gradient, gradient)


@pytest.mark.parametrize("unknown", [0.0, float("nan"), float("inf"), -1.0])
def test_no_known_depth_gives_zero_and_zero_gradient(unknown: float) -> None:
    prediction, depth = maps()
    total = sum(depth_loss(prediction, torch.full_like(depth, unknown), [0, 1]).values())
    total.backward()
    assert float(total.detach()) == 0
    assert float(prediction.grad.abs().max()) == 0


def test_one_known_pixel_makes_no_pair_and_no_normal() -> None:
    prediction, depth = maps()
    depth = torch.zeros_like(depth)
    depth[0, 0, 4, 4] = 2
    terms = depth_loss(prediction, depth, [0, 1])
    assert float(terms["pair"].detach()) == float(terms["normal"].detach()) == 0
    assert float(terms["berhu"].detach()) > 0


def test_perfect_depth_costs_nothing() -> None:
    _, depth = maps()
    prediction = depth.clone().requires_grad_()
    total = sum(depth_loss(prediction, depth, [0, 1]).values())
    total.backward()
    assert float(total.detach()) == pytest.approx(0, abs=1e-5)
    assert bool(torch.isfinite(prediction.grad).all())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), shift=st.floats(-0.4, 5), scale=st.floats(0.1, 10))
def test_depth_losses_follow_shifts_and_scales(seed: int, shift: float, scale: float) -> None:
    """BerHu and pair scale with the unit; pair and normal do not see a common shift of the prediction."""
    prediction, depth = (tensor.detach().double() for tensor in maps(seed))
    pair, normal = DEPTH_LOSSES["pair"], DEPTH_LOSSES["normal"]
    assert float(berhu(prediction * scale, depth * scale)) == pytest.approx(scale * float(berhu(prediction, depth)), rel=1e-9)
    assert float(pair(prediction * scale, depth * scale)) == pytest.approx(scale * float(pair(prediction, depth)), rel=1e-9)
    assert float(pair(prediction + shift, depth)) == pytest.approx(float(pair(prediction, depth)), rel=1e-9)
    assert float(normal(prediction + shift, depth)) == pytest.approx(float(normal(prediction, depth)), rel=1e-9)


def test_berhu_counts_only_the_given_pixels() -> None:
    prediction, depth = torch.tensor([[[[1.0, 5.0]]]]), torch.tensor([[[[2.0, 3.0]]]])
    only_first = torch.tensor([[[[True, False]]]])
    assert float(berhu(prediction, depth, only_first)) == pytest.approx((1 + 0.04) / 0.4)  # alone it is the largest error


def test_drawn_pixels_depend_on_the_seed_alone() -> None:
    valid = torch.rand(30, 30, generator=torch.Generator().manual_seed(1)) < 0.7
    torch.manual_seed(1)
    first = draw_pixels(valid, 5, 100)
    state = torch.random.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(first, draw_pixels(valid, 5, 100))
    assert not torch.equal(first, draw_pixels(valid, 6, 100))
    assert len(set(first.tolist())) == 100
    assert bool(valid.flatten()[first].all())
    torch.manual_seed(1)
    assert torch.equal(state, torch.random.get_rng_state())


def test_only_ignored_labels_give_zero_and_zero_gradient() -> None:
    logits = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = weighted_cross_entropy(logits, torch.full((2, 3, 3), 255), torch.rand(4))
    loss.backward()
    assert float(loss.detach()) == 0
    assert float(logits.grad.abs().max()) == 0


def test_class_weights_of_an_unlabelled_training_set_are_one() -> None:
    assert class_weights(torch.zeros(3)).tolist() == [1, 1, 1]
    torch.testing.assert_close(class_weights(torch.tensor([1, 1, 2])), torch.tensor([0.75, 0.75, 0.5]))


def test_consistency_of_one_class_is_zero_with_zero_gradient() -> None:
    features = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    variance = torch.tensor(3.0, requires_grad=True)
    loss = consistency_loss(features, features * 2, torch.zeros(1, 4, 4, dtype=torch.long), variance, variance)
    loss.backward()
    assert float(loss.detach()) == 0
    assert float(features.grad.abs().max()) == 0
    assert float(variance.grad) == 0


def test_consistency_takes_the_nearest_labels() -> None:
    """Labels at twice the size: each feature takes the label in the middle of its 2x2 cell."""
    draw = torch.Generator().manual_seed(0)
    depth_features, semantic_features = (torch.randn(1, 3, 4, 5, generator=draw) for _ in range(2))
    small = torch.randint(0, 3, (1, 4, 5), generator=draw)
    large = small.repeat_interleave(2, 1).repeat_interleave(2, 2)
    values = [float(consistency_loss(depth_features, semantic_features, labels, 3.0, 3.0)) for labels in (small, large)]
    assert values[0] == pytest.approx(values[1])
    assert values[0] > 0


def test_offsets_beyond_the_image_have_no_pairs() -> None:
    features = torch.randn(1, 2, 1, 2, generator=torch.Generator().manual_seed(0))
    one = consistency_loss(features, features * 3, torch.tensor([[[0, 1]]]), 2.0, 2.0, offsets=(1,))
    assert float(consistency_loss(features, features * 3, torch.tensor([[[0, 1]]]), 2.0, 2.0, offsets=(1, 2, 9))) == pytest.approx(
        float(one)
    )


def test_losses_keep_float32_under_autocast() -> None:
    prediction, depth = maps()
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(2, 4, 12, 15, generator=draw)
    logits, semantic = torch.randn(2, 5, 12, 15, generator=draw), torch.randint(0, 5, (2, 12, 15), generator=draw)

    def all_losses() -> list[Tensor]:
        return [
            *depth_loss(prediction, depth, [0, 1]).values(),
            weighted_cross_entropy(logits, semantic, torch.rand(5, generator=torch.Generator().manual_seed(1))),
            consistency_loss(features, logits, semantic, 4.0, 5.0),
        ]

    expected = all_losses()
    with torch.autocast("cpu", torch.bfloat16):
        found = all_losses()
    assert all(torch.equal(a, b) and a.dtype == torch.float32 for a, b in zip(found, expected, strict=True))
    half = berhu(prediction.to(torch.bfloat16), depth)
    assert half.dtype == torch.float32


def test_inputs_of_different_size_are_refused() -> None:
    prediction, depth = maps()
    labels = torch.zeros(2, 12, 15, dtype=torch.long)
    features = torch.zeros(2, 3, 12, 15)
    calls: list[Callable[[], object]] = [
        lambda: berhu(prediction, depth[..., :5]),
        lambda: normal_loss(prediction[:, 0], depth[:, 0]),
        lambda: pair_loss(prediction, depth, [1]),
        lambda: weighted_cross_entropy(features, labels[:, :5]),
        lambda: weighted_cross_entropy(features, labels, torch.ones(4)),
        lambda: consistency_loss(features, features[..., :5], labels, 1.0, 1.0),
        lambda: consistency_loss(features, features, labels[:1], 1.0, 1.0),
    ]
    for call in calls:
        with pytest.raises(ShapeError, match=r"; \w+"):
            call()
