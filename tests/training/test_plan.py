"""Stages over steps, against rates worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from diorama.errors import ConfigError
from diorama.methods.base import Stage
from diorama.training.plan import Plan


def stage(name: str, epochs: float, rate: float = 0.1, **more: object) -> Stage:
    return Stage(name, epochs, rate, ("depth",), **more)  # type: ignore[arg-type]


def test_every_step_belongs_to_the_stage_of_its_epoch() -> None:
    plan = Plan([stage("a", 2), stage("b", 0.5), stage("c", 1)], epoch_steps=4)
    assert plan.total == 8 + 2 + 4
    assert [plan.stage(step).name for step in range(14)] == ["a"] * 8 + ["b"] * 2 + ["c"] * 4
    assert [step for step in range(14) if plan.enters(step)] == [8, 10]


def test_a_stage_without_epochs_has_no_step_and_one_with_few_has_at_least_one() -> None:
    plan = Plan([stage("none", 0), stage("short", 0.01), stage("rest", 1)], epoch_steps=3)
    assert [plan.stage(step).name for step in range(plan.total)] == ["short", "rest", "rest", "rest"]


def test_no_stage_at_all_is_told() -> None:
    with pytest.raises(ConfigError, match=r"stage_epochs"):
        Plan([stage("none", 0)], epoch_steps=3)


def test_a_constant_rate_stays() -> None:
    plan = Plan([stage("a", 1, 6e-4), stage("b", 1, 2e-4)], epoch_steps=5)
    assert [plan.rate(step) for step in range(10)] == [6e-4] * 5 + [2e-4] * 5


def test_poly_falls_with_power_nine_tenths() -> None:
    plan = Plan([stage("a", 1), stage("b", 1, 0.2, schedule="poly")], epoch_steps=10)
    assert plan.rate(10) == pytest.approx(0.2)
    assert plan.rate(15) == pytest.approx(0.2 * 0.5**0.9)
    assert plan.rate(19) == pytest.approx(0.2 * 0.1**0.9)


def test_cosine_is_half_way_down_in_the_middle() -> None:
    plan = Plan([stage("a", 2, 0.3, schedule="cosine")], epoch_steps=4)
    assert plan.rate(0) == pytest.approx(0.3)
    assert plan.rate(4) == pytest.approx(0.15)
    assert plan.rate(2) == pytest.approx(0.3 * (1 + math.sqrt(0.5)) / 2)


def test_flat_linear_stays_for_half_of_its_stage_and_would_be_zero_at_its_end() -> None:
    plan = Plan([stage("a", 1), stage("b", 2, 2e-4, schedule="flat_linear")], epoch_steps=5)
    # ten steps: the sixth is the last at full rate, then a fifth less each
    expected = [2e-4] * 6 + [1.6e-4, 1.2e-4, 0.8e-4, 0.4e-4]
    assert [plan.rate(step) for step in range(5, 15)] == pytest.approx(expected)


def test_halving_halves_after_every_so_many_epochs_of_its_stage() -> None:
    plan = Plan([stage("a", 1), stage("b", 5, 0.8, schedule="halving", halve_every=2)], epoch_steps=3)
    assert [plan.rate(step) for step in range(3, 18)] == [0.8] * 6 + [0.4] * 6 + [0.2] * 3


def test_tenth_divides_by_ten_after_every_so_many_epochs_of_its_stage() -> None:
    plan = Plan([stage("a", 1), stage("b", 5, 1e-5, schedule="tenth", tenth_every=2)], epoch_steps=3)
    assert [plan.rate(step) for step in range(3, 18)] == pytest.approx([1e-5] * 6 + [1e-6] * 6 + [1e-7] * 3)


def test_warm_up_rises_in_equal_steps_then_follows_the_schedule() -> None:
    plan = Plan([stage("a", 1, 1.0, warmup=0.4), stage("b", 1, 1.0, schedule="poly", warmup=0.2)], epoch_steps=10)
    assert [plan.rate(step) for step in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert plan.rate(10) == pytest.approx(0.5)
    assert plan.rate(11) == pytest.approx(0.9**0.9)


def test_a_steady_rate_knows_no_schedule() -> None:
    steady, falling = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
    optimiser = torch.optim.SGD([{"params": [steady], "steady_rate": 1e-4}, {"params": [falling]}], lr=9.0)
    plan = Plan([stage("a", 1, 0.5, schedule="poly"), stage("b", 1, 0.25)], epoch_steps=2)
    for step, rate in enumerate((0.5, 0.5 * 0.5**0.9, 0.25, 0.25)):
        plan.apply(step, [optimiser])
        assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([1e-4, rate])


def test_rates_follow_the_factor_of_their_group_and_momentum_is_forgotten_on_entering_a_stage() -> None:
    old, new = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
    optimiser = torch.optim.SGD([{"params": [old], "rate_factor": 0.1}, {"params": [new]}], lr=9.0, momentum=0.9)
    plan = Plan([stage("a", 1, 0.5), stage("b", 1, 0.25)], epoch_steps=2)
    moved = []
    for step in range(4):
        plan.apply(step, [optimiser])
        assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([0.05 if step < 2 else 0.025, 0.5 if step < 2 else 0.25])
        old.grad, new.grad = torch.ones(1), torch.ones(1)
        before = new.item()
        optimiser.step()
        moved.append(before - new.item())
    # velocities 1, 1.9, then 1, 1.9 again because the new stage starts without momentum
    assert moved == pytest.approx([0.5, 0.95, 0.25, 0.475])
