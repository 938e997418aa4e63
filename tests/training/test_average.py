"""The moving average, by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from diorama.training.average import MovingAverage


def set_to(layer: nn.Module, value: float) -> None:
    with torch.no_grad():
        layer.weight.fill_(value)  # type: ignore[operator]


@pytest.fixture
def layer() -> nn.Linear:
    layer = nn.Linear(1, 1, bias=False)
    set_to(layer, 1.0)
    return layer


def test_the_decay_rises_from_early_to_full(layer: nn.Linear) -> None:
    average = MovingAverage(layer, 0.25)
    expected = 1.0
    for update, value in enumerate((3.0, -2.0, 5.0, 7.0), 1):
        set_to(layer, value)
        average.update()
        decay = min(0.25, (1 + update) / (10 + update))  # 2/11, 3/12, then 0.25
        expected = decay * expected + (1 - decay) * value
        assert average.state["weight"].item() == pytest.approx(expected, rel=1e-6)


def test_counters_are_copied_and_running_statistics_averaged() -> None:
    norm = nn.BatchNorm1d(1)
    average = MovingAverage(norm, 0.5)
    norm(torch.tensor([[1.0], [3.0]]))
    average.update()
    assert average.state["num_batches_tracked"].item() == 1
    assert average.state["running_mean"].item() == pytest.approx(9 / 11 * 0.2)  # decay 2/11, batch mean 2, torch's momentum 0.1


def test_applied_only_inside_the_block_even_if_it_raises(layer: nn.Linear) -> None:
    average = MovingAverage(layer, 0.9)
    set_to(layer, 2.0)
    average.update()

    def look() -> None:
        with average.applied():
            assert layer.weight.item() == pytest.approx(2 / 11 + 2 * 9 / 11)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        look()
    assert layer.weight.item() == 2.0


def test_what_was_set_anew_starts_over_and_the_rest_stays() -> None:
    both = nn.ModuleDict({"one": nn.Linear(1, 1, bias=False), "other": nn.Linear(1, 1, bias=False)})
    for part in both.values():
        set_to(part, 1.0)
    average = MovingAverage(both, 0.9)
    for part in both.values():
        set_to(part, 12.0)
    average.update()
    assert average.state["other.weight"].item() == pytest.approx(10.0)  # decay 2/11
    set_to(both["one"], 4.0)
    average.restart(())
    assert average.updates == 1
    average.restart(("one.",))
    assert (average.state["one.weight"].item(), average.state["other.weight"].item()) == (4.0, pytest.approx(10.0))
    assert average.updates == 0
    MovingAverage(both, 0.0).restart(("one.",))


def test_decay_zero_is_off(layer: nn.Linear) -> None:
    average = MovingAverage(layer, 0.0)
    average.update()
    with average.applied():
        assert layer.weight.item() == 1.0
    assert average.state == {}


def test_a_saved_average_goes_on_as_if_it_had_not_stopped(layer: nn.Linear) -> None:
    through = MovingAverage(layer, 0.9)
    for value in (2.0, 3.0):
        set_to(layer, value)
        through.update()
    resumed = MovingAverage(layer, 0.9)
    resumed.load_state_dict(copy.deepcopy(through.state_dict()))
    set_to(layer, 4.0)
    through.update()
    resumed.update()
    assert torch.equal(through.state["weight"], resumed.state["weight"])
    assert resumed.updates == 3


def test_turned_on_at_a_resume_it_starts_from_the_weights_it_finds(layer: nn.Linear) -> None:
    average = MovingAverage(layer, 0.9)
    set_to(layer, 5.0)
    average.load_state_dict(MovingAverage(layer, 0.0).state_dict())
    assert average.state["weight"].item() == 5.0
    average.update()
    assert average.state["weight"].item() == 5.0


def test_an_average_of_another_module_is_refused(layer: nn.Linear) -> None:
    with pytest.raises(KeyError):
        MovingAverage(layer, 0.9).load_state_dict(MovingAverage(nn.BatchNorm1d(1), 0.9).state_dict() | {"state": {"other": torch.ones(1)}})
