"""One update: what moves, by how much, and what is refused."""

from __future__ import annotations

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from diorama.errors import TrainingError
from diorama.training.descend import descend


@pytest.fixture
def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


def line(fabric: Fabric, weights: list[float], rate: float = 1.0) -> tuple[nn.Module, object, nn.Linear]:
    """A linear map without bias as module, with its optimiser and the bare layer."""
    layer = nn.Linear(len(weights), 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([weights]))
    module, optimiser = fabric.setup(layer, torch.optim.SGD(layer.parameters(), lr=rate))
    return module, optimiser, layer


def test_the_sum_of_the_terms_is_what_descends(fabric: Fabric) -> None:
    module, optimiser, layer = line(fabric, [1.0, 2.0], rate=0.5)
    said = module(torch.tensor([[3.0, 4.0]])).sum()
    total = descend(fabric, module, {"a": said, "b": 2 * said}, optimiser, ids=["x"], step=0)
    assert total.item() == pytest.approx(3 * 11)
    # gradient 3 * (3, 4), rate 0.5
    assert layer.weight.tolist() == [[1 - 4.5, 2 - 6.0]]
    assert layer.weight.grad is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_term_that_is_not_finite_names_the_frames_and_moves_nothing(fabric: Fabric, value: float) -> None:
    module, optimiser, layer = line(fabric, [1.0, 2.0])
    said = module(torch.ones(1, 2)).sum()
    with pytest.raises(TrainingError, match=r"step 7: pair = -?(nan|inf) on frames room_3, room_9\..*trainer\.clip_norm") as caught:
        descend(fabric, module, {"berhu": said, "pair": said * value}, optimiser, ids=["room_3", "room_9"], step=7)
    assert "berhu" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert layer.weight.tolist() == [[1.0, 2.0]]
    assert layer.weight.grad is None


def test_no_term_at_all_is_told(fabric: Fabric) -> None:
    module, optimiser, _ = line(fabric, [1.0])
    with pytest.raises(TrainingError, match="no loss"):
        descend(fabric, module, {}, optimiser, ids=["a"], step=0)


@pytest.mark.parametrize(("clip", "length"), [(0.0, 5.0), (1.0, 1.0), (20.0, 5.0)])
def test_clipping_limits_the_norm_and_keeps_the_direction(fabric: Fabric, clip: float, length: float) -> None:
    module, optimiser, layer = line(fabric, [0.0, 0.0])
    descend(fabric, module, {"a": module(torch.tensor([[3.0, 4.0]])).sum()}, optimiser, ids=["x"], step=0, clip_norm=clip)
    moved = -layer.weight.detach()[0]
    assert moved.norm().item() == pytest.approx(length, rel=1e-5)
    assert (moved / moved.norm()).tolist() == pytest.approx([0.6, 0.8], rel=1e-5)


def test_accumulated_steps_move_as_the_mean_over_the_larger_batch(fabric: Fabric) -> None:
    images, truth = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.arange(6.0)

    def loss(module: nn.Module, rows: slice) -> dict[str, Tensor]:
        return {"mse": (module(images[rows])[:, 0] - truth[rows]).square().mean()}

    whole, optimiser, expected = line(fabric, [0.3, -0.2, 0.1], rate=0.05)
    descend(fabric, whole, loss(whole, slice(None)), optimiser, ids=[], step=0)
    parts, optimiser, layer = line(fabric, [0.3, -0.2, 0.1], rate=0.05)
    for step in range(3):
        assert layer.weight.tolist() == [pytest.approx([0.3, -0.2, 0.1])]
        descend(fabric, parts, loss(parts, slice(2 * step, 2 * step + 2)), optimiser, ids=[], step=step, accumulate=3)
    assert torch.allclose(layer.weight, expected.weight, rtol=1e-6)
    assert not torch.allclose(layer.weight, torch.tensor([[0.3, -0.2, 0.1]]))


def test_clipping_acts_on_the_average_and_not_on_its_parts(fabric: Fabric) -> None:
    module, optimiser, layer = line(fabric, [0.0, 0.0])
    for step, image in enumerate(([8.0, 0.0], [-8.0, 2.0])):
        descend(fabric, module, {"a": module(torch.tensor([image])).sum()}, optimiser, ids=[], step=step, clip_norm=10.0, accumulate=2)
    # the mean (0, 1) is below the limit, although both parts are of length 8
    assert layer.weight[0].tolist() == pytest.approx([0.0, -1.0])
