"""Turns of a step, against two scalars moved by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from diorama.errors import TrainingError
from diorama.methods.base import Method, Stage, StepContext, Turn
from diorama.training.turns import freeze, take_turns

STAGE = Stage("all", 1, 1.0, ())


class Game(Method):
    """Two numbers: one turn minimises g d, the other d g; what each says may be left out by step."""

    def __init__(self, quiet: dict[str, tuple[int, ...]]) -> None:
        super().__init__()
        self.g, self.d, self.quiet = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(3.0)), quiet
        self.moving: list[tuple[bool, bool]] = []

    def forward(self, *inputs: Any, **named: Any) -> Any:
        raise NotImplementedError

    def losses(self, batch: Any, context: StepContext, turn: Turn) -> dict[str, Tensor]:
        self.moving.append((self.g.requires_grad, self.d.requires_grad))
        return {} if context.step in self.quiet.get(turn.name, ()) else {turn.name: self.g * self.d}

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"g": torch.optim.SGD([self.g], lr=1.0), "d": torch.optim.SGD([self.d], lr=0.5)}

    @property
    def stages(self) -> list[Stage]:
        return [STAGE]

    def turns(self, context: StepContext) -> list[Turn]:
        return [Turn("g", "g"), Turn("d", "d")]


@pytest.fixture
def play() -> Callable[..., tuple[Game, list[dict[str, float]]]]:
    def played(steps: int, accumulate: int = 1, **quiet: tuple[int, ...]) -> tuple[Game, list[dict[str, float]]]:
        fabric, game = Fabric(accelerator="cpu", devices=1), Game(quiet)
        made = game.optimisers()
        module = fabric.setup_module(game)
        module.mark_forward_method("losses")
        optimisers = {name: fabric.setup_optimizers(optimiser) for name, optimiser in made.items()}
        said = [
            take_turns(fabric, module, game, {}, StepContext(step, STAGE), optimisers, ids=["a"], accumulate=accumulate)
            for step in range(steps)
        ]
        return game, said

    return played


def test_each_turn_moves_its_own_parameter_by_its_own_gradient(play: Any) -> None:
    game, said = play(1)
    # g = 2 - 3; the second turn sees it, and nothing of the first turn's gradient for d is left: d = 3 - 0.5 * (-1)
    assert (game.g.item(), game.d.item()) == (-1.0, 3.5)
    assert said == [{"g": 6.0, "d": -3.0, "loss": 3.0}]
    assert game.moving == [(True, False), (False, True)]
    assert game.g.requires_grad
    assert game.d.requires_grad
    assert game.g.grad is None
    assert game.d.grad is None


def test_a_turn_without_terms_is_left_out(play: Any) -> None:
    game, said = play(1, d=(0,))
    assert (game.g.item(), game.d.item()) == (-1.0, 3.0)
    assert said == [{"g": 6.0, "loss": 6.0}]
    game, said = play(1, g=(0,))
    assert (game.g.item(), game.d.item()) == (2.0, 2.0)
    assert said == [{"d": 6.0, "loss": 6.0}]


def test_a_step_without_any_term_is_told(play: Any) -> None:
    with pytest.raises(TrainingError, match="step 0: no loss on frames a: "):
        play(1, g=(0,), d=(0,))


def test_accumulated_turns_average_and_a_part_counts_without_the_rest(play: Any) -> None:
    game, _ = play(2, accumulate=2)
    # both steps see g = 2, d = 3 in the first turn; in the second step the judge sees g = -1
    assert (game.g.item(), game.d.item()) == (-1.0, 3 - 0.5 * (2 - 1) / 2)
    game, _ = play(2, accumulate=2, d=(1,))
    assert game.d.item() == 3 - 0.5 * 2 / 2
    assert game.d.grad is None
    game, _ = play(2, accumulate=2, d=(0, 1))
    assert game.d.item() == 3.0
    assert game.d.grad is None


def test_what_a_stage_freezes_stays_frozen_in_every_turn(play: Any) -> None:
    game, _ = play(0)
    freeze(game, ("d",))
    assert (game.g.requires_grad, game.d.requires_grad) == (True, False)
    freeze(game, ())
    assert game.d.requires_grad
