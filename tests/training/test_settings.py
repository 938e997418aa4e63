"""Trainer settings that cannot work are told before anything starts."""

from __future__ import annotations

import pytest

from diorama.errors import ConfigError
from diorama.training.settings import Trainer


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0),
        ("accumulate", 0),
        ("devices", 0),
        ("nodes", -1),
        ("log_every", 0),
        ("workers", -1),
        ("threads", -2),
        ("clip_norm", -0.5),
        ("checkpoint_every", -1),
        ("evaluate_every", -1.0),
        ("steps", 0),
        ("ema", 1.0),
        ("ema", -0.1),
    ],
)
def test_a_setting_out_of_its_range_names_its_key(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"trainer\.{name} is .*\bSet ") as caught:
        Trainer(**{name: value})
    assert "\n" not in str(caught.value)


def test_the_smallest_allowed_values_are_accepted() -> None:
    least = Trainer(batch_size=1, accumulate=1, steps=1, workers=0, clip_norm=0.0, ema=0.0, checkpoint_every=0, evaluate_every=0)
    assert (least.batch_size, least.steps, least.workers) == (1, 1, 0)
