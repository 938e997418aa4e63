"""G(a; b) against loops over pixels, shifts by whole columns, and numerical gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diorama.data.batch import collate, to_sample
from diorama.data.cityscapes import Cityscapes
from diorama.data.transforms import eval_transform
from diorama.data.view import View
from diorama.errors import ShapeError
from diorama.nn.warp import Warp, find, unoccluded

TIMES = torch.tensor([12.0])


def by_loops(values: np.ndarray, depth: np.ndarray, times: float, right: bool) -> tuple[np.ndarray, np.ndarray]:
    """`(C, H, W)` values of the other view -> the same in the view of `depth` `(H, W)`, and where it is seen."""
    channels, height, width = values.shape
    made, seen = np.zeros((channels, height, width)), np.zeros((height, width), bool)
    for v in range(height):
        for u in range(width):
            if not (np.isfinite(depth[v, u]) and depth[v, u] > 0):
                continue
            x = u + times / depth[v, u] if right else u - times / depth[v, u]
            if not -1e-3 <= x <= width - 1 + 1e-3:
                continue
            seen[v, u] = True
            made[:, v, u] = [np.interp(x, np.arange(width), values[c, v]) for c in range(channels)]
    return made, seen


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.booleans(), st.integers(1, 9))
def test_every_pixel_is_interpolated_where_its_depth_says(seed: int, right: bool, width: int) -> None:
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(3, 2, width))
    depth = draw.uniform(0.2, 30, (2, width)) * (draw.random((2, width)) < 0.8)
    expected, seen = by_loops(values, depth, 12.0, right)
    warp = find(torch.tensor(depth)[None, None], TIMES.double(), right)
    np.testing.assert_allclose(warp(torch.tensor(values)[None])[0], expected, atol=1e-9)
    assert np.array_equal(warp.seen[0, 0], seen)


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("shift", [1, 3, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_whole_columns_are_copied(right: bool, shift: int, dtype: torch.dtype) -> None:
    values = torch.rand(1, 2, 3, 16, generator=torch.Generator().manual_seed(shift)).to(dtype)
    warp = find(torch.full((1, 1, 3, 16), 12.0 / shift), TIMES, right)
    warped = warp(values)
    expected = torch.zeros(1, 2, 3, 16, dtype=warped.dtype)
    if right:
        expected[..., :-shift] = values[..., shift:].to(warped.dtype)
    else:
        expected[..., shift:] = values[..., :-shift].to(warped.dtype)
    torch.testing.assert_close(warped, expected, rtol=1e-5, atol=1e-5)
    assert int(warp.seen.sum()) == 3 * (16 - shift)


def test_there_and_back_is_where_it_began() -> None:
    """A slanted wall seen by both views: the left view warped into the right one and back keeps its own columns."""
    width, times = 200, torch.tensor([60.0], dtype=torch.float64)
    u = torch.arange(width, dtype=torch.float64)
    # disparity 8 + 0.05 x_l; the right view sees column x_l at x_r = x_l - disparity
    left = (times / (8 + 0.05 * u)).expand(1, 1, 4, width)
    right = (times / (8 + 0.05 * (u + 8) / 0.95)).expand(1, 1, 4, width)
    column = u.expand(1, 1, 4, width)
    back = find(left, times)(find(right, times, right=True)(column))
    inner = slice(20, 180)
    torch.testing.assert_close(back[..., inner], column[..., inner], rtol=0, atol=1e-9)
    # a rectified pair keeps the depth
    torch.testing.assert_close(find(left, times)(right)[..., inner], left[..., inner], rtol=1e-4, atol=0)


def test_columns_keep_their_digits_under_bfloat16() -> None:
    """A ramp of 1000 columns: bfloat16 would tell 1 of 4 of them apart."""
    values = torch.arange(1000.0).expand(1, 1, 1, 1000)
    with torch.autocast("cpu", torch.bfloat16):
        warped = find(torch.full((1, 1, 1, 1000), 12.0 / 5.5), TIMES)(values)
    assert warped.dtype == torch.float32
    torch.testing.assert_close(warped[0, 0, 0, 6:], torch.arange(6.0, 1000) - 5.5, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("right", [False, True])
def test_gradients_of_values_and_depth_are_right(right: bool) -> None:
    draw = torch.Generator().manual_seed(3)
    values = torch.rand(2, 3, 2, 8, generator=draw, dtype=torch.float64, requires_grad=True)
    # disparities between whole numbers, where the interpolation has no kink
    disparity = torch.randint(0, 4, (2, 1, 2, 8), generator=draw) + 0.2 + 0.6 * torch.rand(2, 1, 2, 8, generator=draw, dtype=torch.float64)
    times = torch.tensor([12.0, 7.0], dtype=torch.float64)
    depth = (times[:, None, None, None] / disparity).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: find(b, times, right)(a), (values, depth), eps=1e-6)


@pytest.mark.parametrize("bad", [0.0, -3.0, float("nan"), float("inf"), 1e-30, 1e-45])
def test_depth_that_is_no_depth_divides_nothing(bad: float) -> None:
    depth = torch.tensor([[[[bad, 4.0, bad, 6.0, bad, bad, 12.0, bad]]]], requires_grad=True)
    values = torch.rand(1, 2, 1, 8, requires_grad=True)
    warp = find(depth, TIMES)
    warped = warp(values)
    assert warp.seen.flatten().tolist() == [False, False, False, True, False, False, True, False]
    assert (warped[..., ~warp.seen.flatten()] == 0).all()
    warped.square().sum().backward()
    assert torch.isfinite(values.grad).all()
    assert torch.isfinite(depth.grad).all()
    assert depth.grad.flatten()[[0, 2, 4, 5, 7]].abs().sum() == 0


def test_nothing_seen_gives_zero_with_a_gradient_of_zero() -> None:
    depth, values = torch.zeros(1, 1, 2, 4, requires_grad=True), torch.rand(1, 1, 2, 4, requires_grad=True)
    warped = find(depth, TIMES)(values)
    warped.sum().backward()
    assert warped.abs().sum() == values.grad.abs().sum() == depth.grad.abs().sum() == 0


def test_each_pair_has_its_own_calibration() -> None:
    values, depth = torch.arange(10.0).expand(2, 1, 1, 10), torch.full((2, 1, 1, 10), 4.0)
    warped = find(depth, torch.tensor([8.0, 12.0]))(values)
    assert warped[:, 0, 0, 7].tolist() == [5.0, 4.0]


def test_a_place_is_whole_if_all_that_is_blended_is_known() -> None:
    """Disparity 1.5 blends columns u - 2 and u - 1, disparity 1 takes column u - 1 alone."""
    known = torch.tensor([True, True, False, True, True, True])[None, None, None]
    half = find(torch.full((1, 1, 1, 6), 8.0), TIMES).whole(known)
    assert half.flatten().tolist() == [False, False, True, False, False, True]
    one = find(torch.full((1, 1, 1, 6), 12.0), TIMES).whole(known)
    assert one.flatten().tolist() == [False, True, True, False, True, True]


def test_what_the_other_view_sees_nearer_is_occluded() -> None:
    """A wall at 12 m, in the right view a post at 4 m in columns 3 and 4: the left view's pixels 4 and 5 look behind it."""
    own = torch.full((1, 1, 1, 8), 12.0)
    other = own.clone()
    other[..., 3:5] = 4.0
    warp = find(own, TIMES)
    visible = unoccluded(own, warp(other), 0.05) & warp.seen
    assert visible.flatten().tolist() == [False, True, True, True, False, False, True, True]


def test_sizes_that_do_not_fit_are_told() -> None:
    warp = find(torch.ones(2, 1, 3, 4), torch.ones(2))
    assert isinstance(warp, Warp)
    for values in (torch.rand(2, 1, 3, 5), torch.rand(1, 1, 3, 4), torch.rand(2, 3, 4)):
        with pytest.raises(ShapeError, match="resize them to the depth"):
            warp(values)
    for depth, times in (
        (torch.ones(2, 3, 4), torch.ones(2)),
        (torch.ones(2, 1, 3, 4), torch.ones(1)),
        (torch.ones(2, 2, 3, 4), torch.ones(2)),
    ):
        with pytest.raises(ShapeError, match=r"give \(B, 1, H, W\) and \(B,\)"):
            find(depth, times)


def grid_sampled(values: Tensor, depth: Tensor, times: Tensor) -> Tensor:
    """The same by torch's own sampler, an independent implementation."""
    width, height = depth.shape[-1], depth.shape[-2]
    x = torch.arange(width) - (times[:, None, None, None] / depth)[:, 0]
    y = torch.arange(height)[:, None].expand(height, width)
    grid = torch.stack([2 * x / (width - 1) - 1, (2 * y / (height - 1) - 1).expand_as(x)], -1)
    return torch.nn.functional.grid_sample(values, grid.to(values), align_corners=True)


def test_torch_samples_the_same() -> None:
    draw = torch.Generator().manual_seed(0)
    values, depth = (
        torch.rand(2, 3, 6, 40, generator=draw, dtype=torch.float64),
        2 + 20 * torch.rand(2, 1, 6, 40, generator=draw, dtype=torch.float64),
    )
    times = torch.tensor([12.0, 30.0], dtype=torch.float64)
    warp = find(depth, times)
    seen = warp.seen.expand(values.shape)
    assert seen.any()
    torch.testing.assert_close(warp(values)[seen], grid_sampled(values, depth, times)[seen])


@pytest.mark.parametrize("size", [(1024, 2048), (192, 512)])
def test_real_pairs_meet_by_their_official_depth(size: tuple[int, int], real_data: Path) -> None:
    """The right photos of two Cityscapes pairs, warped into the left view, look like the left ones; also resized."""
    frames = Cityscapes(real_data / "cityscapes", "train", keys=("image", "right", "depth", "intrinsics", "baseline"))
    fit = eval_transform(View(size))
    batch = collate([fit(to_sample(frames[number])) for number in range(len(frames))])
    warp = find(batch["depth"], batch["intrinsics"][:, 0, 0] * batch["baseline"])
    steps = (batch["image"][..., 2:] - batch["image"][..., :-2]).abs()
    # on a plain road every shift looks alike
    counts = warp.seen & (torch.nn.functional.pad(steps, (1, 1)) > 0.1)
    there, here = (float((view - batch["image"]).abs()[counts].median()) for view in (warp(batch["right"]), batch["right"]))
    assert float(warp.seen.float().mean()) > 0.6
    assert there < 0.4 * here
