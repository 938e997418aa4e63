"""What a training shows: means of its losses, anew with each stage."""

from __future__ import annotations

import io
import logging
import re

import pytest
from rich.console import Console

from diorama.running import progress as module
from diorama.running.progress import TrainingProgress


def test_the_mean_of_a_loss_begins_anew_with_a_stage(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "diorama")
    progress = TrainingProgress(4, 0)
    progress.advance("depth", {"loss": 100.0}, 1.0)
    progress.advance("depth", {"loss": 200.0}, 1.0)
    assert progress.smooth == {"loss": pytest.approx(0.95 * 100 + 0.05 * 200)}
    progress.advance("joint", {"loss": 3.0}, 1.0)
    progress.advance("joint", {"loss": 5.0}, 1.0)
    assert "step 4 of 4, stage joint, 1.0 images/s, 0 s left: loss 3.100" in caplog.text


@pytest.mark.parametrize(("width", "shown"), [(72, ""), (80, "loss 2.500"), (130, "berhu 1.500  segmentation 1.000  loss 2.500")])
def test_step_and_time_left_are_shown_whole_at_any_width(monkeypatch: pytest.MonkeyPatch, width: int, shown: str) -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=width, color_system=None)
    monkeypatch.setattr(module, "Console", lambda **_: console)
    with TrainingProgress(1400, 3) as progress:
        progress.advance("predicted", {"berhu": 1.5, "segmentation": 1.0, "loss": 2.5}, 107.5)
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.getvalue()).strip().splitlines()[-1].split("\r")[-1]
    assert len(last) <= width and "…" not in last
    assert re.fullmatch(r"predicted .+ 4/1400 107\.5 images/s \S+ left \S+ *" + shown + " *", last)


@pytest.mark.parametrize(("seconds", "said"), [(12, "12 s"), (600, "10 min"), (54_000, "15.0 h")])
def test_the_time_left_is_said_as_people_say_it(seconds: float, said: str) -> None:
    assert module._duration(seconds) == said
