"""Decoder parts: sizes, what they start from, and what the equations ask of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from diorama.nn.decoders import FeatureSharing, LateralSharing, Pyramid, Upsample, conv_bn_relu, separable


@settings(max_examples=15, deadline=None)
@given(height=st.integers(4, 13), width=st.integers(4, 13))
@pytest.mark.parametrize("unit", [FeatureSharing, LateralSharing])
def test_sharing_adds_what_it_allocates_at_any_size(unit: type[FeatureSharing | LateralSharing], height: int, width: int) -> None:
    sharing = unit(4).eval()
    depth, semantic = torch.randn(2, 4, height, width), torch.randn(2, 4, height, width)
    with torch.no_grad():
        given_depth, given_semantic = sharing.allocate(depth, semantic)
        new_depth, new_semantic = sharing(depth, semantic)
    assert torch.equal(new_depth, depth + given_depth)
    assert torch.equal(new_semantic, semantic + given_semantic)
    assert given_depth.shape == given_semantic.shape == depth.shape


def test_the_lateral_unit_is_four_products() -> None:
    sharing = LateralSharing(3)
    depth, semantic = torch.randn(1, 3, 2, 2), torch.randn(1, 3, 2, 2)
    matrix = {name: part.weight[:, :, 0, 0] for name, part in sharing.named_children()}
    bias = {name: part.bias for name, part in sharing.named_children()}
    at = (0, slice(None), 1, 0)
    expected = (
        matrix["depth_to_depth"] @ depth[at]
        + matrix["semantic_to_depth"] @ semantic[at]
        + bias["depth_to_depth"]
        + bias["semantic_to_depth"]
    )
    assert torch.allclose(sharing.allocate(depth, semantic)[0][at], expected, atol=1e-6)
    expected = (
        matrix["semantic_to_semantic"] @ semantic[at]
        + matrix["depth_to_semantic"] @ depth[at]
        + bias["semantic_to_semantic"]
        + bias["depth_to_semantic"]
    )
    assert torch.allclose(sharing.allocate(depth, semantic)[1][at], expected, atol=1e-6)


@pytest.mark.parametrize("unit", [FeatureSharing, LateralSharing])
def test_each_branch_hears_the_other(unit: type[FeatureSharing | LateralSharing]) -> None:
    torch.manual_seed(0)  # some weights of four channels leave a ReLU nothing to pass on
    sharing = unit(4).eval()
    depth, semantic = (torch.randn(1, 4, 8, 8, requires_grad=True) for _ in range(2))
    sharing(depth, semantic)[0].sum().backward()
    assert semantic.grad is not None
    assert semantic.grad.abs().sum() > 0


def test_the_sharing_module_sees_a_quarter_of_the_size_and_separable_layers() -> None:
    """Sec. 3.3: two stride-2 depthwise separable convolutions down, two upsamplings back."""
    sharing, sizes = FeatureSharing(4), {}
    for name in ("down1", "down2", "up1", "up2"):
        getattr(sharing, name).register_forward_hook(lambda _m, _i, out, name=name: sizes.update({name: tuple(out.shape[1:])}))
    sharing.allocate(torch.randn(2, 4, 16, 24), torch.randn(2, 4, 16, 24))
    assert sizes == {"down1": (4, 8, 12), "down2": (4, 4, 6), "up1": (4, 8, 12), "up2": (4, 16, 24)}
    layer = separable(6, 5, stride=2)
    convolutions = [(part.kernel_size, part.groups, part.stride) for part in layer.modules() if isinstance(part, nn.Conv2d)]
    assert convolutions == [((3, 3), 6, (2, 2)), ((1, 1), 1, (1, 1))]
    assert sum(parameter.numel() for parameter in layer.parameters()) == 6 * 9 + 2 * 6 + 6 * 5 + 2 * 5


def test_upsampling_doubles_and_adds_the_skip_before_its_convolution() -> None:
    up = Upsample(3, 5, skip=2).eval()
    features, skip = torch.randn(1, 3, 4, 6), torch.randn(1, 2, 8, 12)
    doubled = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
    assert up.lateral is not None
    with torch.no_grad():
        assert torch.allclose(up(features, skip), up.conv(doubled + up.lateral(skip)))
        assert torch.allclose(up(features), up.conv(doubled))
    assert up(features).shape == (1, 5, 8, 12)
    assert Upsample(3, 5).lateral is None


def test_a_block_is_convolution_norm_and_rectifier_without_a_bias() -> None:
    block = conv_bn_relu(2, 3, kernel=5, stride=2)
    said = block(torch.randn(4, 2, 9, 9))
    assert said.shape == (4, 3, 5, 5)
    assert said.min() == 0
    assert block[0].bias is None


def test_the_pyramid_fuses_odd_sizes_at_the_finest() -> None:
    pyramid = Pyramid((3, 4, 5), 8).eval()
    levels = [torch.randn(2, 3, 9, 13), torch.randn(2, 4, 5, 7), torch.randn(2, 5, 3, 4)]
    assert pyramid(levels).shape == (2, 8, 9, 13)


def test_every_level_and_the_global_context_reach_the_answer() -> None:
    pyramid = Pyramid((3, 4, 5), 8).eval()
    levels = [torch.randn(1, channels, size, size, requires_grad=True) for channels, size in ((3, 16), (4, 8), (5, 4))]
    pyramid(levels)[0, :, 0, 0].sum().backward()
    for level in levels:
        assert level.grad is not None
        assert level.grad.abs().sum() > 0
    # a corner of the answer depends on the opposite corner of the coarsest level through the mean alone
    far = levels[2].grad
    assert far is not None
    assert far[0, :, 3, 3].abs().sum() > 0
