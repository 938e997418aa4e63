"""The generator: its parameters counted by hand, any size, sec. IV-B's pooling by loops, instance norm, bfloat16, the exported graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from diorama.errors import ConfigError, ShapeError
from diorama.nn.generators import InstanceNorm, MultiScaleSpatialPooling, NarrowConv2d, ReflectionPad, ResNetGenerator, initialise


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 2 - 1


def weights(module: nn.Module) -> int:
    return sum(part.numel() for part in module.parameters())


def test_parameters_counted_by_hand() -> None:
    """No bias stands before an instance norm, which would take it away again; the last convolution and the pooling block have one."""
    around = 7 * 7 * 3 * 64 + 9 * 64 * 128 + 9 * 128 * 256 + 9 * 256 * 128 + 9 * 128 * 64 + 7 * 7 * 64 * 3 + 3
    block = 2 * 9 * 256 * 256
    assert weights(ResNetGenerator(3, 3)) == around + 6 * block == 7_833_987
    assert weights(ResNetGenerator(3, 3, blocks=9)) == around + 9 * block
    assert weights(ResNetGenerator(3, 3, pooling=(1, 4, 9))) == around + 6 * block + 9 * 268 * 64 + 64
    assert weights(ResNetGenerator(8, 1, blocks=9)) == around + 9 * block + 49 * 5 * 64 - 2 * (49 * 64 + 1)


def test_the_generator_is_the_chain_of_its_parts() -> None:
    """The same weights in torch's own layers, in the order of the paper."""
    torch.manual_seed(0)
    network = ResNetGenerator(3, 2, width=4, blocks=2).double()
    kernels = iter([part for part in network.parameters() if part.ndim == 4])
    image = random(2, 3, 16, 24, dtype=torch.float64)
    norm, pad, relu = nn.functional.instance_norm, nn.functional.pad, torch.relu

    def reflected(features: Tensor, pixels: int) -> Tensor:
        return pad(features, [pixels] * 4, mode="reflect")

    features = relu(norm(nn.functional.conv2d(reflected(image, 3), next(kernels))))
    for _ in range(2):
        features = relu(norm(nn.functional.conv2d(features, next(kernels), stride=2, padding=1)))
    assert features.shape == (2, 16, 4, 6)
    for _ in range(2):
        inner = relu(norm(nn.functional.conv2d(reflected(features, 1), next(kernels))))
        features = features + norm(nn.functional.conv2d(reflected(inner, 1), next(kernels)))
    for _ in range(2):
        features = relu(norm(nn.functional.conv_transpose2d(features, next(kernels), stride=2, padding=1, output_padding=1)))
    expected = torch.tanh(nn.functional.conv2d(reflected(features, 3), next(kernels), torch.zeros(2, dtype=torch.float64)))
    torch.testing.assert_close(network(image), expected)


@settings(max_examples=12, deadline=None)
@given(height=st.integers(9, 30), width=st.integers(9, 30), pooling=st.sampled_from([(), (1, 4, 9)]))
def test_every_size_comes_back(height: int, width: int, pooling: tuple[int, ...]) -> None:
    network = ResNetGenerator(4, 2, width=2, blocks=1, pooling=pooling)
    answer = network(random(1, 4, height, width))
    assert answer.shape == (1, 2, height, width)
    assert float(answer.detach().abs().max()) <= 1


def test_the_smallest_image_and_those_below() -> None:
    assert ResNetGenerator(3, 3, width=2, blocks=1)(random(1, 3, 8, 8)).shape == (1, 3, 8, 8)
    with pytest.raises(ShapeError, match="7 x 8 pixels are too small for a generator; use 8 x 8 or more"):
        ResNetGenerator(3, 3, width=2, blocks=1)(random(1, 3, 7, 8))
    with pytest.raises(ShapeError, match="8 x 8 pixels are fewer than the pooling kernel 9; use larger images"):
        ResNetGenerator(3, 3, width=2, blocks=1, pooling=(1, 4, 9))(random(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 0}, "a generator of 0 channels and 6 blocks; give at least 1 channel and 0 blocks"),
        ({"pooling": (1, 0)}, r"pooling kernels \[1, 0\]: give one or more sizes in pixels"),
        ({"pooling": (1,), "picture": 4}, "the pooling block should see 4 of 3 input channels; give 1 to 3"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ResNetGenerator(3, 3, **changes)


def pooled(features: np.ndarray, kernel: int) -> np.ndarray:
    """X times the means over squares, stretched so that the corner means lie on the corner pixels; loops over pixels."""
    channels, height, width = features.shape
    rows, columns = height // kernel, width // kernel
    means = np.zeros((channels, rows, columns))
    for row in range(rows):
        for column in range(columns):
            square = features[:, row * kernel : (row + 1) * kernel, column * kernel : (column + 1) * kernel]
            means[:, row, column] = square.mean((1, 2))
    out = np.zeros_like(features)
    for row in range(height):
        for column in range(width):
            y, x = row * (rows - 1) / (height - 1), column * (columns - 1) / (width - 1)
            top, left = min(int(y), max(rows - 2, 0)), min(int(x), max(columns - 2, 0))
            low, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            upper = (1 - (x - left)) * means[:, top, left] + (x - left) * means[:, top, right]
            lower = (1 - (x - left)) * means[:, low, left] + (x - left) * means[:, low, right]
            out[:, row, column] = features[:, row, column] * ((1 - (y - top)) * upper + (y - top) * lower)
    return out


@pytest.mark.parametrize("size", [(18, 27), (13, 22), (9, 11)])
def test_pooling_block_against_loops(size: tuple[int, int]) -> None:
    """Y_1, Y_4, Y_9 and X through the same 3x3 convolution, written out."""
    torch.manual_seed(1)
    block = MultiScaleSpatialPooling(2, 3).double()
    features = random(1, 2, *size, dtype=torch.float64)
    maps = np.concatenate([pooled(features[0].numpy(), kernel) for kernel in (1, 4, 9)] + [features[0].numpy()])
    wide = np.pad(maps, ((0, 0), (1, 1), (1, 1)))
    assert block.conv.bias is not None
    kernel, expected = block.conv.weight.detach().numpy(), block.conv.bias.detach().numpy()[:, None, None]
    for row in range(3):
        for column in range(3):
            shifted = wide[:, row : row + size[0], column : column + size[1]]
            expected = expected + np.einsum("oc,chw->ohw", kernel[:, :, row, column], shifted)
    np.testing.assert_allclose(block(features)[0].detach().numpy(), expected, atol=1e-12)


def test_pooling_by_one_squares() -> None:
    features = random(2, 3, 10, 12)
    torch.testing.assert_close(MultiScaleSpatialPooling(3, 1).scaled(features, 1), features**2)
    np.testing.assert_allclose(pooled(features[0].double().numpy(), 1), features[0].double().numpy() ** 2, atol=1e-12)


def test_pooling_block_sees_the_picture_alone() -> None:
    """Channels beyond `picture` reach the answer through the features only: with these cut off, they do nothing."""
    torch.manual_seed(0)
    network = ResNetGenerator(5, 2, width=2, blocks=1, pooling=(1, 4), picture=3)
    assert network.pooling is not None
    with torch.no_grad():
        for branch in range(3):
            network.pooling.conv.weight[:, branch * 5 : branch * 5 + 2] = 0
    first = random(1, 5, 16, 16)
    second = torch.cat((first[:, :3], random(1, 2, 16, 16, seed=5)), 1)
    third = torch.cat((random(1, 1, 16, 16, seed=6), first[:, 1:]), 1)
    assert torch.equal(network(first), network(second))
    assert not torch.equal(network(first), network(third))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("batch", [1, 3])
def test_instance_norm_is_that_of_each_image(batch: int, layout: torch.memory_format) -> None:
    features = (5 * random(batch, 4, 6, 7, dtype=torch.float64) + 2).contiguous(memory_format=layout).requires_grad_()
    mean, variance = features.mean((2, 3), keepdim=True), features.var((2, 3), correction=0, keepdim=True)
    expected = (features - mean) / (variance + 1e-5).sqrt()
    answer, weight = InstanceNorm()(features), random(batch, 4, 6, 7, seed=1, dtype=torch.float64)
    torch.testing.assert_close(answer, expected)
    (got,) = torch.autograd.grad((answer * weight).sum(), features)
    (should,) = torch.autograd.grad((expected * weight).sum(), features)
    torch.testing.assert_close(got, should)


def test_statistics_of_half_precision_features_are_exact() -> None:
    """A mean far from 0 takes digits away; what is lost is the rounding of the answer alone."""
    features = (3 * random(2, 4, 32, 32) + 50).bfloat16().contiguous(memory_format=torch.channels_last)
    exact = InstanceNorm()(features.double())
    answer = InstanceNorm()(features)
    assert answer.dtype == torch.bfloat16
    assert float((answer.double() - exact).abs().max()) <= 0.01


def test_narrow_convolution_is_the_stock_one() -> None:
    torch.manual_seed(0)
    narrow, features = NarrowConv2d(5, 3, 7).double(), random(2, 5, 12, 15, dtype=torch.float64).requires_grad_()
    answer, expected = narrow(features), nn.functional.conv2d(features, narrow.weight, narrow.bias)
    torch.testing.assert_close(answer, expected)
    toward = random(*expected.shape, seed=1, dtype=torch.float64)
    given_ = [features, narrow.weight, narrow.bias]
    got, should = (torch.autograd.grad((found * toward).sum(), given_) for found in (answer, expected))
    torch.testing.assert_close(got, should)


def test_padding_keeps_the_type_under_autocast() -> None:
    features = random(1, 2, 6, 6).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        padded = ReflectionPad(2)(features)
    assert padded.dtype == torch.bfloat16
    np.testing.assert_array_equal(padded.float().numpy(), np.pad(features.float().numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), "reflect"))


@pytest.mark.parametrize("outputs", [1, 3])
def test_bfloat16_answers_as_float32(outputs: int) -> None:
    torch.manual_seed(0)
    network = ResNetGenerator(3, outputs, width=8, blocks=2, pooling=(1, 4, 9))
    image = random(2, 3, 32, 40)
    exact = network(image)
    with torch.autocast("cpu", torch.bfloat16):
        answer = network(image)
    assert answer.dtype == torch.float32
    assert float((answer - exact).detach().abs().max()) < 0.05
    if outputs == 1:  # a depth map is not rounded to the 256 steps of bfloat16
        assert not torch.equal(torch.atanh(answer).bfloat16().float(), torch.atanh(answer))
        assert answer.unique().numel() > 0.9 * answer.numel()


def test_initial_weights() -> None:
    torch.manual_seed(0)
    network = ResNetGenerator(3, 3, width=16, pooling=(1, 4, 9))
    drawn = torch.cat([part.detach().flatten() for part in network.parameters() if part.ndim == 4])
    assert float(drawn.mean()) == pytest.approx(0, abs=4 * 0.02 / drawn.numel() ** 0.5)
    assert float(drawn.std()) == pytest.approx(0.02, rel=0.01)
    assert all(not part.detach().any() for part in network.parameters() if part.ndim == 1)
    layer = nn.Conv2d(40, 40, 5)
    initialise(layer)
    assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.02)


def test_exported_graph_answers_at_other_sizes(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="needs diorama[export]")
    pytest.importorskip("onnxscript", reason="needs diorama[export]")
    runtime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    network = ResNetGenerator(4, 2, width=4, blocks=1, pooling=(1, 4, 9)).eval()
    example, dim = torch.rand(2, 4, 32, 48), torch.export.Dim
    free = {0: dim("batch", min=1, max=64), 2: dim("height", min=16, max=4096), 3: dim("width", min=16, max=4096)}
    with torch.no_grad():
        traced = torch.export.export(network, (example,), dynamic_shapes=(free,), prefer_deferred_runtime_asserts_over_guards=True)
        program = torch.onnx.export(
            traced, (example,), input_names=["given"], dynamic_shapes=(free,), opset_version=18, dynamo=True, verbose=False
        )
    onnx.save(program.model_proto, tmp_path / "generator.onnx")
    session = runtime.InferenceSession(tmp_path / "generator.onnx", providers=["CPUExecutionProvider"])
    for batch, height, width in ((2, 32, 48), (1, 64, 40), (3, 37, 51), (1, 18, 29)):
        image = random(batch, 4, height, width, seed=height)
        (answer,) = session.run(None, {"given": image.numpy()})
        np.testing.assert_allclose(answer, network(image).detach().numpy(), atol=2e-5)
