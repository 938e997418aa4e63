"""Unpooling against torch's own, decoders that mirror their encoders, and graphs of any size."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from diorama.nn.backbones import Backbone
from diorama.nn.segnet import SegDecoder, convolutions, pooled_from, pools, unpool


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("ties", [False, True])
def test_unpooling_is_that_of_torch(ties: bool, dtype: torch.dtype) -> None:
    """Also where several pixels of a cell are largest, as the zeros after a ReLU are."""
    draw = torch.Generator().manual_seed(1)
    before = torch.randn(2, 5, 12, 20, generator=draw)
    before = (before.round().clamp(min=0) if ties else before).to(dtype)
    pooled, index = F.max_pool2d(before.float(), 2, return_indices=True)
    values = torch.randn(pooled.shape, generator=draw)
    expected = nn.MaxUnpool2d(2)(values, index)
    assert torch.equal(unpool(values, pooled_from(before)), expected)
    assert torch.equal(unpool(values.contiguous(memory_format=torch.channels_last), pooled_from(before)), expected)
    assert (pooled_from(before).sum(2) == 1).all()


def test_a_cell_by_hand() -> None:
    before = torch.tensor([[[[1.0, 5.0, 2.0, 2.0], [3.0, 4.0, 2.0, 2.0]]]])
    assert unpool(torch.tensor([[[[7.0, 8.0]]]]), pooled_from(before)).tolist() == [[[[0, 7, 8, 0], [0, 0, 0, 0]]]]


def test_the_gradient_goes_to_the_pixel_that_was_taken() -> None:
    before, values = torch.rand(1, 3, 4, 6, dtype=torch.float64), torch.rand(1, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: unpool(x, pooled_from(before)), values)


def test_vgg16_is_mirrored_convolution_by_convolution() -> None:
    encoder = Backbone("vgg16", finest=1)
    assert encoder.strides == (1, 2, 4, 8, 16, 32)
    assert pools(encoder)
    assert convolutions(encoder) == [2, 2, 3, 3, 3]
    there = [(layer.in_channels, layer.out_channels) for layer in encoder.features.modules() if isinstance(layer, nn.Conv2d)]
    back = [
        (layer.out_channels, layer.in_channels)
        for stage in SegDecoder(encoder, 19).stages
        for layer in stage.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    # the first convolution takes RGB, the last of the decoder gives what the head answers from
    assert back[::-1] == [(64, 64), *there[1:]]


def test_features_are_those_before_each_pooling() -> None:
    encoder = Backbone("vgg11", finest=1).eval()
    with torch.no_grad():
        features = encoder(torch.rand(1, 3, 64, 32))
    assert torch.equal(features[-1], F.max_pool2d(features[-2], 2))


@pytest.mark.parametrize("finest", [1, 2, 4])
@pytest.mark.parametrize(("backbone", "skip"), [("vgg11", False), ("test_resnet", True), ("test_resnet", False), ("test_convnext", True)])
def test_any_backbone_is_mirrored(backbone: str, skip: bool, finest: int) -> None:
    encoder = Backbone(backbone, finest=1)
    assert pools(encoder) == (backbone == "vgg11")
    decoder = SegDecoder(encoder, 7, skip, finest)
    features = encoder(torch.rand(2, 3, 64, 96))
    taken = [pooled_from(one) for one in features[:-1]] if pools(encoder) else None
    answer = decoder(features, taken)
    assert answer.shape == (2, 7, 64 // finest, 96 // finest)
    answer.square().sum().backward()
    assert all(parameter.grad is not None for parameter in decoder.parameters())
