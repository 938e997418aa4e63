"""Networks of confidence: what they see, by gradients; that windows, bands and whole maps agree; layers against the papers."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from diorama.nn.ccnn import KERNELS, ConfidenceNetwork, Kind, ThresNet


def network(kind: Kind, seed: int = 0) -> ConfidenceNetwork:
    """One whose norms have seen something and whose weights let gradients through."""
    torch.manual_seed(seed)
    made = ConfidenceNetwork(kind).double().eval()
    for layer in made.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return made


@pytest.mark.parametrize(("kind", "side"), [("ccnn", 9), ("choi", 21)])
def test_receptive_field_by_gradients(kind: Kind, side: int) -> None:
    made = network(kind)
    disparity = (30 * torch.rand(1, 1, 40, 44, dtype=torch.float64)).requires_grad_()
    made(disparity)[0, 0, 20, 22].backward()  # type: ignore[no-untyped-call]
    assert disparity.grad is not None
    rows, columns = torch.nonzero(disparity.grad[0, 0], as_tuple=True)
    half = side // 2
    assert made.halo == half
    assert (int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())) == (20 - half, 20 + half, 22 - half, 22 + half)


@pytest.mark.parametrize("kind", ["ccnn", "choi"])
@pytest.mark.parametrize("size", [(37, 29), (40, 44), (2, 3)])
def test_bands_give_the_answer_of_the_padded_whole(kind: Kind, size: tuple[int, int]) -> None:
    made = network(kind)
    disparity = 60 * torch.rand(2, 1, *size, dtype=torch.float64)
    padded = F.pad(disparity, (made.halo,) * 4, mode="replicate")
    with torch.no_grad():
        torch.testing.assert_close(made(disparity), made.layers(padded / 255), rtol=1e-10, atol=1e-12)


def test_a_window_gives_what_the_whole_map_gives() -> None:
    made = network("ccnn")
    disparity = 60 * torch.rand(1, 1, 33, 41, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(made.valid(disparity[:, :, 5:20, 7:30]), made(disparity)[:, :, 9:16, 11:26], rtol=1e-10, atol=1e-12)


def test_layers_are_those_of_the_paper() -> None:
    shapes = [tuple(layer.weight.shape) for layer in ConfidenceNetwork().layers if isinstance(layer, nn.Conv2d)]
    assert shapes == [(64, 1, 3, 3), *[(64, 64, 3, 3)] * 3, (100, 64, 1, 1), (100, 100, 1, 1), (1, 100, 1, 1)]
    assert [layer.weight.shape[-1] for layer in ConfidenceNetwork("choi").layers if isinstance(layer, nn.Conv2d)] == [9, 7, 5, 3, 1]
    layers = [layer for layer in ThresNet().layers if isinstance(layer, nn.Conv2d)]
    assert [(layer.kernel_size[0], layer.stride[0], layer.out_channels) for layer in layers] == [(kernel, 2, 64) for kernel in KERNELS]


@pytest.mark.parametrize("kind", ["ccnn", "choi"])
def test_starting_from_differences_forgets_how_near_a_plane_is(kind: Kind) -> None:
    made = network(kind).train()
    made.start_from_differences()
    torch.nn.init.normal_(made.layers[-1].weight)  # type: ignore[arg-type]
    disparity = 60 * torch.rand(1, 1, 30, 30, dtype=torch.float64)
    torch.testing.assert_close(made.valid(disparity), made.valid(disparity + 100), rtol=1e-7, atol=1e-7)
    made.start_from_differences()
    assert not made.valid(disparity).any()


def test_bf16_still_sees_a_sixteenth_of_a_pixel_in_a_hundred() -> None:
    made = network("ccnn").float()
    made.start_from_differences()
    torch.nn.init.normal_(made.layers[-1].weight)  # type: ignore[arg-type]
    disparity = torch.full((1, 1, 12, 12), 100.0)
    disparity[..., 6, 6] += 1 / 16
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert made.valid(disparity).float().std() > 1e-3


def test_thresholds_lie_between_0_and_1_one_for_each_image() -> None:
    torch.manual_seed(0)
    made = ThresNet().eval()
    confidence = torch.rand(3, 1, 37, 50)
    tau = made(confidence)
    assert tau.shape == (3, 1, 1, 1)
    assert ((tau > 0) & (tau < 1)).all()
    torch.testing.assert_close(made(confidence[1:2]), tau[1:2])
