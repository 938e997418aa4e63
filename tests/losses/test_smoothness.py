"""Depth and smoothness losses of generated depth: masks, slopes, guides and bad input; their equations are in tests/papers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diorama.errors import ShapeError
from diorama.losses.smoothness import semantic_guided_smoothness, sparse_depth_loss


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_unknown_sparse_depth_does_not_count() -> None:
    sparse = (20 * random(2, 1, 9, 9)).clamp_min(0)
    depth = (5 + random(2, 1, 9, 9, seed=1)).requires_grad_()
    value = sparse_depth_loss(depth, sparse)
    (gradient,) = torch.autograd.grad(value, depth)
    assert torch.equal(gradient != 0, sparse > 0)
    torch.testing.assert_close(sparse_depth_loss(depth.detach().masked_fill(sparse == 0, math.nan), sparse), value.detach())


def test_no_sparse_depth_is_zero_with_a_gradient_of_zero() -> None:
    depth = random(1, 1, 4, 4).requires_grad_()
    value = sparse_depth_loss(depth, torch.zeros(1, 1, 4, 4))
    (gradient,) = torch.autograd.grad(value, depth)
    assert float(value.detach()) == 0
    assert not gradient.any()


@settings(max_examples=25, deadline=None)
@given(slope_x=st.floats(-2, 2), slope_y=st.floats(-2, 2), seed=st.integers(0, 99))
def test_a_plane_costs_nothing(slope_x: float, slope_y: float, seed: int) -> None:
    rows, columns = torch.meshgrid(torch.arange(7.0), torch.arange(9.0), indexing="ij")
    plane = (30 + slope_x * columns + slope_y * rows).double()[None, None]
    assert float(semantic_guided_smoothness(plane, random(1, 3, 7, 9, seed=seed))) == pytest.approx(0, abs=1e-5)


def test_a_flat_guide_gates_nothing_and_costs_scale_with_depth() -> None:
    depth, flat = random(2, 1, 8, 8), torch.zeros(2, 3, 8, 8)
    plain = depth.diff(n=2, dim=3).abs().mean() + depth.diff(n=2, dim=2).abs().mean()
    torch.testing.assert_close(semantic_guided_smoothness(depth, flat), plain)
    torch.testing.assert_close(semantic_guided_smoothness(40 * depth, flat), 40 * plain)
    assert semantic_guided_smoothness(depth, random(2, 3, 8, 8, seed=1)) < plain


def test_train_ids_gate_by_label_edges() -> None:
    """With the gate shut at every edge, only bends inside a label count: of 0 0 9 9 9 at depth 0 0 9 9 18 the last one."""
    depth = torch.tensor([0.0, 0, 9, 9, 18]).expand(1, 1, 3, 5)
    labels = torch.tensor([4.0, 4, 5, 5, 5]).expand(1, 1, 3, 5)
    # bends 9 at x = 1 (edge to its right), -9 at x = 2, 9 at x = 3
    assert float(semantic_guided_smoothness(depth, labels, edge_scale=100)) == pytest.approx((0 + 9 + 9) / 3)


def test_the_guide_is_a_constant() -> None:
    depth, guide = random(1, 1, 5, 5).requires_grad_(), random(1, 3, 5, 5, seed=1).requires_grad_()
    semantic_guided_smoothness(depth, guide).backward()
    assert depth.grad is not None
    assert guide.grad is None


def test_metres_keep_their_digits_under_autocast() -> None:
    depth, guide = (50 + random(1, 1, 9, 9)).bfloat16(), random(1, 3, 9, 9, seed=1).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = semantic_guided_smoothness(depth, guide), sparse_depth_loss(depth, depth.float() + 0.01)
    assert [value.dtype for value in found] == [torch.float32, torch.float32]
    torch.testing.assert_close(found[0], semantic_guided_smoothness(depth.float(), guide.float()))
    assert float(found[1]) == pytest.approx(1e-4, rel=0.01)


def test_bad_sizes() -> None:
    with pytest.raises(ShapeError, match="resize one"):
        semantic_guided_smoothness(random(1, 1, 5, 5), random(1, 3, 5, 6))
    with pytest.raises(ShapeError, match="2 x 5 pixels have no second difference; use 3 x 3 or more"):
        semantic_guided_smoothness(random(1, 1, 2, 5), random(1, 3, 2, 5))
    with pytest.raises(ShapeError, match="resize the prediction to the truth"):
        sparse_depth_loss(random(1, 1, 4, 4), random(1, 1, 4, 5))
