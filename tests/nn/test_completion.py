"""The fill inside the network: exact where depth is known, harmonic in between, at any density, size and precision."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diorama.nn.completion import Up, fill, spread


def points(height: int, width: int, share: float, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.where(
        torch.rand(2, 1, height, width, generator=draw) < share, 1 + 9 * torch.rand(2, 1, height, width, generator=draw), 0.0
    )


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 5), width=st.integers(1, 5), share=st.sampled_from([0.002, 0.02, 0.3, 1.0]), seed=st.integers(0, 99),
    scale=st.floats(0.1, 20),
)  # fmt: skip
def test_known_pixels_stay_and_the_rest_lies_between_them(height: int, width: int, share: float, seed: int, scale: float) -> None:
    sparse = points(16 * height, 16 * width, share, seed)
    filled = fill(sparse)
    assert filled.shape == sparse.shape
    for one, given_ in zip(filled, sparse, strict=True):
        known = given_ > 0
        if not known.any():
            assert float(one.abs().max()) == 0
            continue
        assert torch.equal(one[known], given_[known])
        assert float(one.min()) >= float(given_[known].min()) * (1 - 1e-5)
        assert float(one.max()) <= float(given_[known].max()) * (1 + 1e-5)
    torch.testing.assert_close(fill(sparse * scale), filled * scale, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("share", [0.001, 0.05])
def test_one_depth_fills_everything(share: float) -> None:
    sparse = torch.where(points(128, 96, share) > 0, 3.5, 0.0)
    assert all(bool((one > 0).any()) for one in sparse)
    torch.testing.assert_close(fill(sparse), torch.full_like(sparse, 3.5))


def test_a_mirrored_map_is_filled_alike() -> None:
    sparse = points(64, 128, 0.02)
    torch.testing.assert_close(fill(sparse.flip(-1)), fill(sparse).flip(-1))
    torch.testing.assert_close(fill(sparse.flip(-2)), fill(sparse).flip(-2))


def test_one_point_reaches_a_whole_image_however_far() -> None:
    sparse = torch.zeros(1, 1, 32, 2400)
    sparse[..., 5, 3] = 7.0
    torch.testing.assert_close(fill(sparse), torch.full_like(sparse, 7.0))


def test_unknown_cells_take_the_mean_of_the_nearest_surroundings() -> None:
    """Two known cells: next to one its value, two and more away from both the weights of the 3x3 sums of sums decide."""
    value, known = torch.zeros(1, 1, 1, 12), torch.zeros(1, 1, 1, 12)
    value[..., 0], value[..., 6], known[..., 0], known[..., 6] = 2.0, 8.0, 1.0, 1.0
    filled = spread(value, known)[0, 0, 0]
    assert filled[:2].tolist() == pytest.approx([2, 2])
    assert filled[5:8].tolist() == pytest.approx([8, 8, 8])
    # steps 1 and 2 reach three cells: cell 3 sees both through one path each, cells 2 and 4 one of them
    assert filled[2:5].tolist() == pytest.approx([2, 5, 8])
    # cells 9 reach cell 6 with steps 1 + 2, cells 10 and 11 with a step of 4 more, which also meets nothing nearer
    assert filled[9:].tolist() == pytest.approx([8, 8, 8])


def test_images_of_a_batch_do_not_meet() -> None:
    sparse = points(48, 64, 0.03)
    torch.testing.assert_close(fill(sparse)[1:], fill(sparse[1:]))


def test_a_slope_is_filled_better_than_by_the_nearest_point() -> None:
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    slope = (2 + 0.03 * rows + 0.02 * columns)[None, None]
    known = torch.rand(slope.shape, generator=torch.Generator().manual_seed(1)) < 0.01
    places = known[0, 0].nonzero().float()
    pixels = torch.stack((rows, columns), -1).reshape(-1, 2)
    nearest = slope[known][torch.cdist(pixels, places).argmin(1)].reshape(slope.shape)
    filled = fill(torch.where(known, slope, 0.0))
    inner = (..., slice(16, -16), slice(16, -16))
    error, simple = ((one - slope)[inner].square().mean().sqrt() for one in (filled, nearest))
    assert float(error) < 0.6 * float(simple)


def test_autocast_leaves_the_fill_in_full_precision() -> None:
    sparse = points(48, 64, 0.05)
    with torch.autocast("cpu", torch.bfloat16):
        filled = fill(sparse)
    assert filled.dtype == torch.float32
    assert torch.equal(filled, fill(sparse))


@pytest.mark.parametrize("kind", ["transposed", "bilinear"])
def test_upsampling_doubles_and_takes_skip_features(kind: str) -> None:
    up = Up(3, 4, kind, skip=2).eval()  # type: ignore[arg-type]
    features, skip = torch.rand(1, 3, 5, 7), torch.rand(1, 2, 10, 14)
    assert up(features, skip).shape == (1, 4, 10, 14)
    assert not torch.equal(up(features, skip), up(features, 2 * skip))
