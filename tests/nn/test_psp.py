"""The decoders of SemiMTL against torch's own pooling, plain means, and sizes counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from diorama.errors import ConfigError
from diorama.nn.psp import DepthDecoder, PSPDecoder, PyramidPooling, bin_means


@pytest.mark.parametrize("size", [(6, 12), (7, 5), (32, 64), (3, 4), (1, 1)])
@pytest.mark.parametrize("bins", [1, 2, 3, 6])
def test_means_over_cells_are_those_of_torch(size: tuple[int, int], bins: int) -> None:
    features = torch.rand(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    mine, theirs = bin_means(features, bins), F.adaptive_avg_pool2d(features, bins)
    torch.testing.assert_close(mine, theirs)
    weight = torch.arange(mine.numel(), dtype=torch.float64).reshape(mine.shape)
    (one,), (other,) = (torch.autograd.grad((answer * weight).sum(), features) for answer in (mine, theirs))
    torch.testing.assert_close(one, other)


def test_the_level_of_one_cell_is_the_mean_everywhere() -> None:
    pooling = PyramidPooling(4, (1,)).eval()
    features = torch.rand(1, 4, 5, 6)
    kernel = pooling.levels[0][0].weight[:, :, 0, 0]
    expected = (kernel @ features.mean((2, 3))[0] / (1 + 1e-5) ** 0.5).relu()
    out = pooling(features)
    torch.testing.assert_close(out[:, :4], features)
    torch.testing.assert_close(out[0, 4:], expected[:, None, None].expand(4, 5, 6))


def test_parameters_counted_by_hand() -> None:
    decoder = PSPDecoder(2048, 19)
    pooled = 4 * (2048 * 512 + 2 * 512)
    assert sum(part.numel() for part in decoder.parameters()) == pooled + 9 * 4096 * 512 + 2 * 512 + 512 * 19 + 19
    decoder = DepthDecoder(8, (6, 4))
    assert sum(part.numel() for part in decoder.parameters()) == 9 * 8 * 6 + 12 + 9 * 6 * 4 + 8 + 9 * 4 + 1


@pytest.mark.parametrize(("widths", "times"), [((8,), 1), ((8, 6), 2), ((8, 6, 4), 4)])
def test_sizes(widths: tuple[int, ...], times: int) -> None:
    features = torch.rand(2, 12, 5, 7)
    assert DepthDecoder(12, widths)(features).shape == (2, 1, 5 * times, 7 * times)
    assert PSPDecoder(12, 3, width=8)(features).shape == (2, 3, 5, 7)


def test_every_answer_sees_the_whole_image() -> None:
    features = torch.rand(1, 8, 9, 12, requires_grad=True)
    (gradient,) = torch.autograd.grad(PSPDecoder(8, 2, width=8).eval()(features)[0, 0, 0, 0], features)
    assert bool((gradient != 0).any(1).all())


def test_what_makes_no_decoder_is_told() -> None:
    for bins in ((), (0, 1), (1, 2, 3)):
        with pytest.raises(ConfigError, match=r"such as \[1, 2, 3, 6\]\."):
            PyramidPooling(2, bins)
    with pytest.raises(ConfigError, match="without convolutions"):
        DepthDecoder(4, ())
