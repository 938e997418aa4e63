"""Numbers beside a scale of colours are round, few and inside."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from diorama.data.ticks import even_ticks, log_ticks


@settings(max_examples=60, deadline=None)
@given(st.floats(0.01, 200), st.floats(1.02, 50))
def test_ticks_are_few_even_and_inside(near: float, ratio: float) -> None:
    far = near * ratio
    ticks = even_ticks(near, far)
    assert 2 <= len(ticks) <= 7
    assert all(near - 1e-6 <= tick <= far + 1e-6 for tick in ticks)
    assert np.ptp(np.diff(ticks)) < 1e-5


def test_a_logarithmic_scale_has_the_numbers_of_a_logarithmic_ruler() -> None:
    assert log_ticks(3.84, 80) == [5, 10, 20, 50]
    assert log_ticks(0.5, 3) == [0.5, 1, 2]


def test_a_short_logarithmic_scale_has_even_numbers() -> None:
    assert log_ticks(1.57, 6.09, 4) == [2, 4, 6]
    assert log_ticks(20, 21, 2) == [20, 20.5, 21]


def test_one_value_has_itself() -> None:
    assert even_ticks(3, 3) == [3]
