"""The watches over adversarial training: spreads against NumPy, and a running mean that starts without a bias."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from diorama.nn.collapse import SIDE, CollapseWatch, VictoryWatch


def images(count: int, seed: int, size: int = 16) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def spread(seen: Tensor) -> float:
    """Mean over 8x8 pixels of the standard deviation over images of 16x16, blocks of 2x2 averaged."""
    blocks = seen.numpy().reshape(len(seen), 3, SIDE, 2, SIDE, 2).mean((3, 5))
    return float(blocks.std(0, ddof=1).mean())


def test_the_ratio_is_that_of_the_spreads_of_the_last_images() -> None:
    watch, given, made = CollapseWatch(size=10), images(24, 0), 0.3 * images(24, 1)
    for start in range(0, 24, 3):
        watch.add(given[start : start + 3], made[start : start + 3])
    assert watch.ratio() == pytest.approx(spread(made[-10:]) / spread(given[-10:]), rel=1e-4)


def test_nothing_is_said_before_half_of_the_images_and_of_equal_inputs() -> None:
    watch = CollapseWatch(size=10)
    watch.add(images(4, 0), images(4, 1))
    assert math.isnan(watch.ratio())
    watch.add(images(1, 2), images(1, 3))
    assert watch.ratio() == pytest.approx(1, abs=0.3)
    same = CollapseWatch(size=4)
    same.add(torch.ones(4, 3, 16, 16), images(4, 0))
    assert math.isnan(same.ratio())


def test_one_output_for_every_input_is_a_ratio_of_0() -> None:
    watch = CollapseWatch(size=6)
    watch.add(images(6, 0), images(1, 1).expand(6, -1, -1, -1))
    assert watch.ratio() == pytest.approx(0, abs=1e-6)


def test_sizes_and_channels_of_inputs_and_outputs_may_differ() -> None:
    """Depth of one channel from an image of three, at any size of at least one pixel, in half precision."""
    watch = CollapseWatch(size=4)
    watch.add(images(4, 0, 9), images(4, 1, 33)[:, :1].bfloat16())
    assert watch.ratio() > 0
    assert watch.state()["made"].dtype == torch.float32


def test_the_share_is_a_running_mean_of_right_judgements() -> None:
    watch, draw, values = VictoryWatch(steps=10), torch.Generator().manual_seed(0), []
    for _ in range(25):
        real, fake = (torch.randn(2, 1, 3, 3, generator=draw) for _ in range(2))
        watch.add(real, fake, 0.5)
        values.append(float(np.concatenate([(real > 0.5).numpy().ravel(), (fake <= 0.5).numpy().ravel()]).mean()))
    weights = np.array([0.9**age for age in range(24, -1, -1)])
    assert watch.share() == pytest.approx(float((weights * values).sum() / weights.sum()), rel=1e-5)


def test_the_share_of_an_eternal_winner_is_1_from_the_first_answer_on() -> None:
    watch, answers = VictoryWatch(steps=100), []
    for _ in range(60):
        watch.add(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), 0.5)
        answers.append(watch.share())
    silent = [share for share in answers if math.isnan(share)]
    assert len(silent) == 32  # 1 - 0.99^32 = 0.275, one step more is above 0.28
    assert answers[len(silent) :] == pytest.approx([1.0] * (60 - len(silent)))


def test_a_watch_goes_on_where_another_stopped() -> None:
    first, second = CollapseWatch(size=6), CollapseWatch(size=6)
    first.add(images(5, 0), images(5, 1))
    second.load(first.state())
    wins, later = VictoryWatch(steps=3), VictoryWatch(steps=3)
    wins.add(images(1, 0), images(1, 1), 0.5)
    later.load(wins.state())
    for watch in (first, second):
        watch.add(images(3, 2), images(3, 3))
    for victory in (wins, later):
        victory.add(images(1, 4), images(1, 5), 0.5)
    assert first.ratio() == second.ratio()
    assert wins.share() == later.share()
