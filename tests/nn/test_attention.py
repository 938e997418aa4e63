"""Attention in tiles against the plain form, its gradients, its memory, and its export."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from diorama.errors import ShapeError
from diorama.nn import attention_tiles
from diorama.nn.attention import (
    attend,
    attend_plain,
    attend_truth,
    attention_loss,
    attention_loss_plain,
    ideal_attention,
    supervised_attention,
)

SUPERVISED = attention_tiles.SupervisedAttention.apply


def inputs(
    images: int, count: int, width: int, values: int, *, dtype: torch.dtype, largest: float = 4.0, ignored: float = 0.3, seed: int = 0
) -> tuple[list[Tensor], Tensor]:
    """q, k, v that ask for gradients, |q . k| reaching `largest`, and labels of 4 classes of which a part is ignored."""
    draw = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(images, count, size, generator=draw, dtype=torch.float64) for size in (width, width, values))
    q = q * (largest / (q @ k.mT).abs().max())
    labels = torch.randint(0, 4, (images, count), generator=draw)
    labels[torch.rand(images, count, generator=draw) < ignored] = 255
    return [tensor.to(dtype).requires_grad_() for tensor in (q, k, v)], labels


def results(form: str, tensors: list[Tensor], labels: Tensor, normalise: str) -> list[Tensor]:
    """Values, loss and the gradients of a mixture of both."""
    q, k, v = tensors
    if form == "plain":
        attended, loss = attend_plain(q, k, v, normalise), attention_loss_plain(q, k, labels)
    else:
        attended, loss = supervised_attention(q, k, v, labels, normalise)
    slope = torch.randn(attended.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(attended)
    gradients = torch.autograd.grad((attended * slope).sum() + 50 * loss, tensors)
    return [attended.detach(), loss.detach(), *gradients]


def worst(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest difference, each tensor in units of its own largest entry (of 1 at least)."""
    return max(float((a.double() - b.double()).abs().max() / b.abs().max().clamp_min(1)) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("normalise", ["row", "n", "none"])
@pytest.mark.parametrize("ignored", [0.0, 0.3])
@pytest.mark.parametrize(
    ("dtype", "largest", "tolerance"),
    [(torch.float32, 1.0, 1e-5), (torch.float32, 20.0, 1e-5), (torch.float64, 1.0, 1e-10), (torch.float64, 20.0, 1e-10)],
)
def test_tiles_equal_the_plain_form(
    normalise: str, ignored: float, dtype: torch.dtype, largest: float, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two images of 333 positions: several tiles in both directions, the last of them not full."""
    monkeypatch.setattr(attention_tiles, "_TILE", (64, 128))
    tensors, labels = inputs(2, 333, 9, 5, dtype=dtype, largest=largest, ignored=ignored)
    exact = [tensor.detach().double().requires_grad_() for tensor in tensors]
    expected = results("plain", exact, labels, normalise)
    assert worst(results("tiles", tensors, labels, normalise), expected) < tolerance


@settings(max_examples=25, deadline=None)
@given(
    images=st.integers(1, 3),
    count=st.integers(1, 40),
    width=st.integers(1, 5),
    values=st.integers(1, 4),
    ignored=st.sampled_from([0.0, 0.5, 1.0]),
    normalise=st.sampled_from(["row", "n", "none"]),
    tile=st.sampled_from([(1, 1), (3, 7), (8, 5), (64, 64)]),
    seed=st.integers(0, 99),
)
def test_any_size_and_tile_gives_the_same(
    images: int, count: int, width: int, values: int, ignored: float, normalise: str, tile: tuple[int, int], seed: int
) -> None:
    tensors, labels = inputs(images, count, width, values, dtype=torch.float64, ignored=ignored, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention_tiles, "_TILE", tile)
        found = results("tiles", tensors, labels, normalise)
        q, k, _ = tensors
        alone = attention_loss(q, k, labels)
        alone_gradients = torch.autograd.grad(alone, (q, k))
    assert worst(found, results("plain", tensors, labels, normalise)) < 1e-10
    plain = attention_loss_plain(q, k, labels)
    assert worst([alone.detach(), *alone_gradients], [plain.detach(), *torch.autograd.grad(plain, (q, k))]) < 1e-10


@pytest.mark.parametrize("normalise", ["row", "n", "none"])
def test_gradients_agree_with_finite_differences(normalise: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_tiles, "_TILE", (4, 3))
    tensors, labels = inputs(2, 7, 3, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda q, k, v: SUPERVISED(q, k, v, labels, normalise), tensors)
    assert torch.autograd.gradcheck(lambda q, k, v: SUPERVISED(q, k, v, None, normalise)[0], tensors)
    assert torch.autograd.gradcheck(lambda q, k: attention_loss(q, k, labels), tensors[:2])
    assert torch.autograd.gradcheck(lambda v: attend_truth(v, labels, 4, normalise), tensors[2:])


def test_sum_of_softplus_keeps_its_digits() -> None:
    """All labels alike and z = +20: the loss is softplus(-20) = 2e-9, the difference of two sums of about 2e7."""
    q = torch.full((1, 1024, 1), 20.0)
    loss = attention_loss(q, torch.ones_like(q), torch.zeros(1, 1024, dtype=torch.long))
    assert 0 <= float(loss) < 1e-6


def test_saturated_scores_stay_finite() -> None:
    tensors, labels = inputs(1, 70, 3, 2, dtype=torch.float32, largest=5e4)
    found = results("tiles", tensors, labels, "row")
    assert all(bool(torch.isfinite(tensor).all()) for tensor in found)


def test_images_do_not_look_into_each_other() -> None:
    tensors, labels = inputs(2, 50, 4, 3, dtype=torch.float64)
    together = supervised_attention(*tensors, labels)[0]
    torch.testing.assert_close(together[1:], supervised_attention(*(tensor[1:] for tensor in tensors), labels[1:])[0])
    together[0].sum().backward()
    assert all(float(tensor.grad[1].abs().max()) == 0 for tensor in tensors)


@pytest.mark.parametrize("labels", [None, torch.full((2, 20), 255)])
def test_without_labels_the_loss_is_zero_with_zero_gradient(labels: Tensor | None) -> None:
    (q, k, v), _ = inputs(2, 20, 4, 3, dtype=torch.float32)
    attended, loss = supervised_attention(q, k, v, labels)
    assert float(loss.detach()) == 0
    loss.backward(retain_graph=True)
    assert all(float(tensor.grad.abs().max()) == 0 for tensor in (q, k, v))
    torch.testing.assert_close(attended, attend_plain(q, k, v))


def test_bfloat16_inputs_give_the_answer_of_their_values_in_float32() -> None:
    tensors, labels = inputs(2, 150, 8, 4, dtype=torch.bfloat16)
    exact = [tensor.detach().float().requires_grad_() for tensor in tensors]
    found, expected = results("tiles", tensors, labels, "row"), results("tiles", exact, labels, "row")
    assert found[0].dtype == torch.bfloat16
    assert found[1].dtype == torch.float32
    assert [gradient.dtype for gradient in found[2:]] == [torch.bfloat16] * 3
    torch.testing.assert_close(found[1], expected[1])
    assert worst(found, expected) < 1e-2


def test_autocast_leaves_the_map_in_float32() -> None:
    tensors, labels = inputs(1, 150, 8, 4, dtype=torch.float32, largest=15.0)
    expected = results("tiles", tensors, labels, "row")
    with torch.autocast("cpu", torch.bfloat16):
        found = results("tiles", tensors, labels, "row")
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_no_map_is_kept_or_formed() -> None:
    """8000 positions: the map would take 256 MB."""
    (q, k, v), labels = inputs(1, 200, 2, 2, dtype=torch.float32)
    q, k, v = (tensor.detach().repeat(1, 40, 1).requires_grad_() for tensor in (q, k, v))
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        attended, loss = supervised_attention(q, k, v, labels.repeat(1, 40))
        (attended.sum() + loss).backward()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024)
    assert max(kept) <= 8000 * 2
    assert grown < 100e6
    assert q.grad is not None


@pytest.mark.parametrize("normalise", ["row", "n", "none"])
def test_truth_equals_the_ideal_map(normalise: str) -> None:
    (_, _, v), labels = inputs(3, 33, 2, 4, dtype=torch.float64)
    ideal = ideal_attention(labels, 4).double()
    divisor = {"row": ideal.sum(-1, keepdim=True) + 1e-6, "n": 33.0, "none": 1.0}[normalise]
    torch.testing.assert_close(attend_truth(v, labels, 4, normalise), ideal @ v / divisor)


@pytest.mark.parametrize("count", [1, 5, 8, 37])
@pytest.mark.parametrize("normalise", ["row", "n", "none"])
def test_constant_number_of_tiles_equals_the_plain_form(count: int, normalise: str) -> None:
    (q, k, v), _ = inputs(2, count, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(attend(q, k, v, normalise, parts=8), attend_plain(q, k, v, normalise))


class _Module(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        """Attention of a feature map with itself, as in a network."""
        rows = features.flatten(2).mT
        return attend(rows, rows, rows, parts=4).mT.reshape(features.shape)


def test_export_serves_sizes_larger_than_the_traced_one(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path, draw = tmp_path / "attention.onnx", torch.Generator().manual_seed(0)
    dim = torch.export.Dim
    program = torch.onnx.export(
        _Module().eval(),
        (torch.randn(1, 6, 7, 9, generator=draw),),
        dynamo=True,
        input_names=["features"],
        dynamic_shapes=({2: dim("h", min=2, max=4096), 3: dim("w", min=2, max=4096)},),
        verbose=False,
    )
    assert program is not None
    program.save(path)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for height, width in ((7, 9), (2, 3), (31, 43), (60, 80)):
        features = torch.randn(1, 6, height, width, generator=draw) * 0.5
        rows = features.flatten(2).mT
        expected = attend_plain(rows, rows, rows).mT.reshape(features.shape)
        (found,) = session.run(None, {"features": features.numpy()})
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_inputs_of_different_size_are_refused() -> None:
    (q, k, v), labels = inputs(1, 6, 3, 2, dtype=torch.float32)
    for call in (
        lambda: supervised_attention(q, k[:, :5], v, labels),
        lambda: supervised_attention(q, k, v[:, :5], labels),
        lambda: supervised_attention(q, k[..., :2], v, labels),
        lambda: attention_loss(q, k, labels[:, :5]),
        lambda: attend_truth(v, labels[:, :5], 4),
    ):
        with pytest.raises(ShapeError, match="resize the labels"):
            call()
