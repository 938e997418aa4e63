"""The numbered equations of Multi-task GANs against numbers worked out by hand or by plain loops over pixels."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from diorama.losses.adversarial import cycle_loss, discriminator_loss, generator_loss, ssim, structure_loss
from diorama.losses.smoothness import semantic_guided_smoothness, sparse_depth_loss

VEGETATION, BUILDING = (107, 142, 35), (70, 70, 70)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def row(*values: float) -> Tensor:
    """Three equal lines of `values` as a map `(1, 1, 3, W)`."""
    return torch.tensor(values, dtype=torch.float64).expand(1, 1, 3, -1)


def test_least_squares_by_hand() -> None:
    """Multi-task GANs, Eq. 3: judgements 0.5 and 1 of real, 0.5 and -1 of generated images, squares to 1 and to 0, halved."""
    real, fake = torch.tensor([[[[0.5, 1.0]]]]), torch.tensor([[[[0.5, -1.0]]]])
    assert float(discriminator_loss(real, fake)) == pytest.approx(((0.25 + 0) / 2 + (0.25 + 1) / 2) / 2)
    assert float(generator_loss(fake)) == pytest.approx((0.25 + 4) / 2)


def test_logarithm_is_the_printed_objective() -> None:
    """Multi-task GANs, Eq. 3: log D(y) + log(1 - D(G(x))) with D the sigmoid of the judgement, and torch's own cross entropy."""
    real, fake = 3 * random(2, 1, 4, 5), 3 * random(2, 1, 4, 5, seed=1)
    printed = torch.sigmoid(real).log().mean() + (1 - torch.sigmoid(fake)).log().mean()
    torch.testing.assert_close(discriminator_loss(real, fake, "log"), -printed / 2)
    entropy = F.binary_cross_entropy_with_logits
    torch.testing.assert_close(
        discriminator_loss(real, fake, "log"), (entropy(real, torch.ones_like(real)) + entropy(fake, torch.zeros_like(fake))) / 2
    )
    torch.testing.assert_close(generator_loss(fake, "log"), entropy(fake, torch.ones_like(fake)))
    torch.testing.assert_close(generator_loss(fake, "log"), -torch.sigmoid(fake).log().mean())


def test_cycle_by_hand() -> None:
    """Multi-task GANs, Eq. 4: differences 0.5, 1, 0 and 0.1, then the last two unknown."""
    image = torch.tensor([[[[0.5, -1.0], [0.2, 0.3]]]])
    back = torch.tensor([[[[1.0, 0.0], [0.2, 0.4]]]])
    assert float(cycle_loss(image, back)) == pytest.approx(1.6 / 4)
    assert float(cycle_loss(image, back, torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]]))) == pytest.approx(1.5 / 2)


def windows(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """SSIM of two planes in 0..1 by loops: 121 weights, every window inside, C1 = 0.01^2, C2 = 0.03^2."""
    weights = np.array([[math.exp(-(y * y + x * x) / (2 * 1.5**2)) for x in range(-5, 6)] for y in range(-5, 6)])
    weights /= weights.sum()
    found = []
    for top in range(first.shape[0] - 10):
        for left in range(first.shape[1] - 10):
            a, b = (plane[top : top + 11, left : left + 11] for plane in (first, second))
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            spread_a, spread_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
            shared = (weights * (a - mean_a) * (b - mean_b)).sum()
            levels = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
            found.append(levels * (2 * shared + 9e-4) / (spread_a + spread_b + 9e-4))
    return float(np.mean(found))


def test_structure_against_loops() -> None:
    """Multi-task GANs, Eq. 5: 1 - SSIM, with SSIM summed up window by window; equal images have an SSIM of 1."""
    image = random(2, 3, 14, 17)
    back = 0.6 * image + 0.4 * random(2, 3, 14, 17, seed=1)
    expected = [
        np.mean([windows((a.numpy() + 1) / 2, (b.numpy() + 1) / 2) for a, b in zip(one, other, strict=True)])
        for one, other in zip(image, back, strict=True)
    ]
    np.testing.assert_allclose(ssim(image, back).numpy(), expected, rtol=1e-9)
    assert float(structure_loss(image, back)) == pytest.approx(1 - float(np.mean(expected)))
    torch.testing.assert_close(ssim(image, image), torch.ones(2, dtype=torch.float64))
    assert float(structure_loss(image, image)) == pytest.approx(0, abs=1e-12)


def test_structure_of_sparse_maps() -> None:
    """Multi-task GANs, Eq. 5: unknown pixels are -1 in both maps, whatever stands there."""
    image, back, known = random(1, 1, 15, 16), random(1, 1, 15, 16, seed=1), (random(1, 1, 15, 16, seed=2) > 0).double()
    first, second = ((known * (part + 1) - 1).numpy()[0, 0] for part in (image, back))
    expected = 1 - windows((first + 1) / 2, (second + 1) / 2)
    assert float(structure_loss(image, back, known)) == pytest.approx(expected)
    there = back.masked_fill(known == 0, math.nan)
    assert float(structure_loss(image, there, known)) == pytest.approx(expected)


def test_depth_at_known_pixels_by_hand() -> None:
    """Multi-task GANs, Eq. 7: two of four pixels are known, 2 m and 1 m off."""
    sparse = torch.tensor([[[[10.0, 0.0], [0.0, 4.0]]]])
    depth = torch.tensor([[[[12.0, 70.0], [0.1, 3.0]]]])
    assert float(sparse_depth_loss(depth, sparse)) == pytest.approx((4 + 1) / 2)


def test_smoothness_by_hand() -> None:
    """Multi-task GANs, Eq. 8: a depth row 1 2 4 4 3 bends by 1, -2, -1; the guide steps by 0.5 after its third pixel."""
    depth, guide = row(1, 2, 4, 4, 3), row(0, 0, 0, 0.5, 0.5)
    assert float(semantic_guided_smoothness(depth, guide)) == pytest.approx((1 + 2 * math.exp(-0.5) + 1) / 3)
    assert float(semantic_guided_smoothness(depth, guide, edge_scale=10)) == pytest.approx((1 + 2 * math.exp(-5) + 1) / 3)
    assert float(semantic_guided_smoothness(depth, -guide)) == pytest.approx((1 + 2 * math.exp(-0.5) + 1) / 3)
    assert float(semantic_guided_smoothness(depth.mT, guide.mT)) == pytest.approx((1 + 2 * math.exp(-0.5) + 1) / 3)


def test_smoothness_against_loops() -> None:
    """Multi-task GANs, Eq. 8: both axes, several channels, two frames, pixel by pixel."""
    depth, guide = 10 * random(2, 1, 6, 8), random(2, 3, 6, 8, seed=1)
    d, g = depth.numpy()[:, 0], guide.numpy()
    along_x, along_y = [], []
    for frame in range(2):
        for y in range(6):
            for x in range(8):
                if 0 < x < 7:
                    step = np.abs(g[frame, :, y, x + 1] - g[frame, :, y, x]).mean()
                    along_x.append(abs(d[frame, y, x + 1] - 2 * d[frame, y, x] + d[frame, y, x - 1]) * math.exp(-step))
                if 0 < y < 5:
                    step = np.abs(g[frame, :, y + 1, x] - g[frame, :, y, x]).mean()
                    along_y.append(abs(d[frame, y + 1, x] - 2 * d[frame, y, x] + d[frame, y - 1, x]) * math.exp(-step))
    assert float(semantic_guided_smoothness(depth, guide)) == pytest.approx(np.mean(along_x) + np.mean(along_y))


@pytest.mark.parametrize(("edge_scale", "gate"), [(1.0, 0.69), (10.0, 0.02)])
def test_gate_between_vegetation_and_building(edge_scale: float, gate: float) -> None:
    """Multi-task GANs, Eq. 8: (37 + 72 + 35) / 127.5 / 3 is the step between the two colours; the gate is its exponential."""
    guide = torch.tensor([VEGETATION, VEGETATION, BUILDING], dtype=torch.float64).T[None, :, None].expand(1, 3, 3, 3) / 127.5 - 1
    depth = row(5, 5, 6)
    cost = float(semantic_guided_smoothness(depth, guide, edge_scale))
    assert cost == pytest.approx(math.exp(-edge_scale * 144 / 127.5 / 3))
    assert cost == pytest.approx(gate, abs=0.005)


LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "discriminator": lambda x: discriminator_loss(x, x * x),
    "discriminator log": lambda x: discriminator_loss(x, x * x, "log"),
    "generator": generator_loss,
    "generator log": lambda x: generator_loss(x, "log"),
    "cycle": lambda x: cycle_loss(random(1, 1, 12, 13, seed=5), x, (random(1, 1, 12, 13, seed=6) > 0).double()),
    "structure": lambda x: structure_loss(random(1, 1, 12, 13, seed=5), x, (random(1, 1, 12, 13, seed=6) > -0.5).double()),
    "depth": lambda x: sparse_depth_loss(x, random(1, 1, 12, 13, seed=5).clamp_min(0)),
    "smoothness": lambda x: semantic_guided_smoothness(x, random(1, 3, 12, 13, seed=5)),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_gradients(loss: Callable[[Tensor], Tensor]) -> None:
    assert torch.autograd.gradcheck(loss, (random(1, 1, 12, 13).requires_grad_(),))
