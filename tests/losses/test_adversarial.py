"""Adversarial, cycle and structure losses: masks, precision and bad input; their equations are in tests/papers."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diorama.errors import ShapeError
from diorama.losses.adversarial import cycle_loss, discriminator_loss, generator_loss, ssim, structure_loss


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("loss", [cycle_loss, structure_loss])
def test_unknown_pixels_do_not_count(loss: Callable[..., Tensor]) -> None:
    """Whatever stands where the mask is 0, NaN included, moves neither the loss nor a gradient."""
    image, back, mask = random(2, 3, 16, 18), random(2, 3, 16, 18, seed=1).requires_grad_(), (random(2, 1, 16, 18, seed=2) > 0).float()
    value = loss(image, back, mask)
    (gradient,) = torch.autograd.grad(value, back)
    hidden = (mask == 0).expand_as(image)
    assert gradient[~hidden].abs().sum() > 0
    assert not gradient[hidden].any()
    torch.testing.assert_close(loss(image.masked_fill(hidden, math.nan), back.detach().masked_fill(hidden, math.inf), mask), value.detach())


@pytest.mark.parametrize("loss", [cycle_loss, structure_loss])
def test_nothing_known_is_zero_with_a_gradient_of_zero(loss: Callable[..., Tensor]) -> None:
    back = random(1, 1, 12, 12).requires_grad_()
    value = loss(random(1, 1, 12, 12, seed=1), back, torch.zeros(1, 1, 12, 12))
    (gradient,) = torch.autograd.grad(value, back)
    assert float(value.detach()) == pytest.approx(0, abs=1e-6)
    assert not gradient.any()


@pytest.mark.parametrize("loss", [cycle_loss, structure_loss])
def test_a_full_mask_changes_nothing(loss: Callable[..., Tensor]) -> None:
    image, back = random(2, 3, 13, 14), random(2, 3, 13, 14, seed=1)
    torch.testing.assert_close(loss(image, back, torch.ones(2, 1, 13, 14)), loss(image, back))


@settings(max_examples=25, deadline=None)
@given(height=st.integers(11, 24), width=st.integers(11, 24), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_similarity_is_symmetric_and_at_most_one(height: int, width: int, share: float, seed: int) -> None:
    first = random(2, 2, height, width, seed=seed)
    second = share * first + (1 - share) * random(2, 2, height, width, seed=seed + 1)
    found = ssim(first, second)
    torch.testing.assert_close(found, ssim(second, first))
    assert float(found.max()) <= 1 + 1e-5
    torch.testing.assert_close(ssim(first, first), torch.ones(2))
    assert float(ssim(first, -first).max()) < 0.5


def test_similarity_of_flat_images_by_hand() -> None:
    """Without structure only the levels count: 0.25 and 0.75 in 0..1."""
    expected = (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4)
    dark, bright = torch.full((1, 1, 12, 12), -0.5), torch.full((1, 1, 12, 12), 0.5)
    assert float(ssim(dark, bright)) == pytest.approx(expected, rel=1e-4)
    assert float(ssim(dark.double(), bright.double())) == pytest.approx(expected, rel=1e-9)


def test_similarity_is_of_each_image() -> None:
    first, second = random(3, 3, 12, 12), random(3, 3, 12, 12, seed=1)
    torch.testing.assert_close(ssim(first, second)[1:2], ssim(first[1:2], second[1:2]))


def test_all_stay_float32_under_autocast() -> None:
    image, back = random(1, 3, 32, 32), random(1, 3, 32, 32, seed=1)
    judged = random(1, 1, 4, 4).bfloat16()
    exact = [ssim(image, back)[0], cycle_loss(image, back), structure_loss(image, back), generator_loss(judged.float())]
    with torch.autocast("cpu", torch.bfloat16):
        found = [ssim(image, back)[0], cycle_loss(image, back), structure_loss(image, back), generator_loss(judged)]
        assert discriminator_loss(judged, judged, "log").dtype == torch.float32
    assert all(value.dtype == torch.float32 for value in found)
    torch.testing.assert_close(found, exact)
    assert ssim(image.bfloat16(), back.bfloat16()).dtype == torch.float32


def test_confident_judgements_stay_finite() -> None:
    """The logarithm of a sigmoid would be -inf; at 500 the loss is 500."""
    sure = torch.full((1, 1, 2, 2), 500.0)
    assert float(generator_loss(-sure, "log")) == pytest.approx(500)
    assert float(discriminator_loss(-sure, sure, "log")) == pytest.approx(500)
    assert float(discriminator_loss(sure, -sure, "log")) == pytest.approx(0)


def test_bad_sizes() -> None:
    with pytest.raises(ShapeError, match=r"must both be \(B, C, H, W\); crop or resize one to the other"):
        cycle_loss(random(1, 3, 8, 8), random(1, 1, 8, 8))
    with pytest.raises(ShapeError, match="10 x 12 pixels are fewer than the window of SSIM; use 11 x 11 or more"):
        ssim(random(1, 3, 10, 12), random(1, 3, 10, 12))
    with pytest.raises(ShapeError, match=r"give a mask \(B, 1, H, W\)"):
        structure_loss(random(1, 3, 12, 12), random(1, 3, 12, 12), torch.ones(1, 12, 12))
