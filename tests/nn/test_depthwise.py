"""The fast depthwise path against torch's own convolution: same answers, same gradients, same names."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import Conv2dSame
from torch import Tensor, nn

from diorama.nn import depthwise
from diorama.nn.depthwise import speed_up_depthwise

CHANNELS = 6


def pair(kernel: int, stride: int, same: bool, padding: int | None = None) -> tuple[nn.Conv2d, nn.Conv2d]:
    """A stock depthwise convolution and its fast twin."""
    kind, pad = (Conv2dSame, 0) if same else (nn.Conv2d, kernel // 2 if padding is None else padding)
    stock = kind(CHANNELS, CHANNELS, kernel, stride, pad, groups=CHANNELS, bias=False)
    fast = copy.deepcopy(stock)
    assert speed_up_depthwise(nn.ModuleList([fast])) == 1
    return stock, fast


def answers(layer: nn.Conv2d, image: Tensor, direction: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Answer, the direction it is differentiated along, gradient to the image and to the weight."""
    image = image.clone().requires_grad_()
    layer.weight.grad = None
    answer = layer(image)
    direction = torch.linspace(-1, 1, answer.numel(), dtype=answer.dtype).reshape(answer.shape) if direction is None else direction
    answer.backward(direction)
    assert image.grad is not None
    assert layer.weight.grad is not None
    return answer.detach(), direction, image.grad, layer.weight.grad


def close(one: Tensor, other: Tensor, relative: float) -> bool:
    """Largest difference against the largest value of `other`."""
    assert one.shape == other.shape
    return bool((one.double() - other.double()).abs().max() <= relative * other.double().abs().max())


@settings(max_examples=40, deadline=None)
@given(
    kernel=st.sampled_from([1, 3, 5, 7]),
    stride=st.sampled_from([1, 2, 3]),
    same=st.booleans(),
    height=st.integers(7, 20),
    width=st.integers(7, 20),
    channels_last=st.booleans(),
)
def test_float32_equals_the_stock_path(kernel: int, stride: int, same: bool, height: int, width: int, channels_last: bool) -> None:
    stock, fast = pair(kernel, stride, same)
    image = torch.randn(2, CHANNELS, height, width, generator=torch.Generator().manual_seed(height * 31 + width))
    if channels_last:
        image = image.contiguous(memory_format=torch.channels_last)
    expected, direction, to_image, to_weight = answers(stock, image)
    found, _, image_grad, weight_grad = answers(fast, image, direction)
    assert close(found, expected, 1e-5)
    assert close(image_grad, to_image, 1e-5)
    assert close(weight_grad, to_weight, 1e-5)


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_explicit_padding(padding: int, stride: int) -> None:
    stock, fast = pair(3, stride, same=False, padding=padding)
    image = torch.randn(1, CHANNELS, 9, 12)
    expected, direction, to_image, to_weight = answers(stock, image)
    found, _, image_grad, weight_grad = answers(fast, image, direction)
    assert close(found, expected, 1e-5)
    assert close(image_grad, to_image, 1e-5)
    assert close(weight_grad, to_weight, 1e-5)


@pytest.mark.parametrize(("kernel", "stride", "same"), [(3, 1, False), (3, 2, True), (5, 2, False), (5, 1, True)])
def test_bf16_is_as_close_to_float64_as_bf16_allows(kernel: int, stride: int, same: bool) -> None:
    stock, fast = pair(kernel, stride, same)
    image = torch.randn(2, CHANNELS, 17, 15)
    exact = copy.deepcopy(stock).double()
    with torch.autocast("cpu", torch.bfloat16):
        found, direction, image_grad, weight_grad = answers(fast, image)
    assert found.dtype == torch.bfloat16
    assert weight_grad.dtype == torch.float32
    expected, _, to_image, to_weight = answers(exact, image.double(), direction.double())
    # 8 bits of significand, sums of up to 25 products of two rounded factors
    assert close(found, expected, 2e-2)
    assert close(image_grad, to_image, 2e-2)
    assert close(weight_grad, to_weight, 2e-2)


def test_names_and_weights_stay() -> None:
    stock, fast = pair(3, 2, same=True)
    assert fast.state_dict().keys() == stock.state_dict().keys() == {"weight"}
    assert torch.equal(fast.weight, stock.weight)
    stock.load_state_dict(fast.state_dict())
    assert torch.equal(copy.deepcopy(fast).weight, fast.weight)


def test_only_what_the_path_can_do_is_changed() -> None:
    kept = [
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 8, 3, groups=4),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, groups=4),  # has a bias
        nn.Conv2d(4, 4, 3, groups=4, bias=False, dilation=2),
        nn.Conv2d(4, 4, 3, groups=4, bias=False, stride=(1, 2)),
        nn.Conv2d(4, 4, 3, groups=4, bias=False, padding="same"),
        nn.Conv2d(4, 4, 3, groups=4, bias=False, padding=1, padding_mode="reflect"),
        nn.Conv1d(4, 4, 3, groups=4, bias=False),
    ]
    types = [type(layer) for layer in kept]
    assert speed_up_depthwise(nn.ModuleList(kept)) == 0
    assert [type(layer) for layer in kept] == types
    taken = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4, bias=False))
    assert speed_up_depthwise(taken) == 1
    assert speed_up_depthwise(taken) == 0


def test_inference_double_precision_and_export_take_the_stock_path(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused(torch.autograd.Function):
        @staticmethod
        def apply(*_: object) -> None:
            raise AssertionError("the fast path was taken")

    monkeypatch.setattr(depthwise, "_Depthwise", Refused)
    stock, fast = pair(3, 2, same=False)
    image = torch.randn(1, CHANNELS, 8, 9)
    with pytest.raises(AssertionError, match="fast path"):
        fast(image)
    with torch.no_grad():
        assert torch.equal(fast(image), stock(image))
    assert torch.equal(copy.deepcopy(fast).double()(image.double()), copy.deepcopy(stock).double()(image.double()))
    assert torch.equal(fast.eval()(image), stock.eval()(image))
    exported = torch.export.export(nn.Sequential(fast).eval(), (image,))
    assert "aten.conv2d" in str(exported.graph)
    assert torch.equal(exported.module()(image), stock(image))
