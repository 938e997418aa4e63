"""What a training shows: means of its losses, anew with each stage."""

from __future__ import annotations

import logging

import pytest

from diorama.running.progress import TrainingProgress


def test_the_mean_of_a_loss_begins_anew_with_a_stage(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "diorama")
    progress = TrainingProgress(4, 0)
    progress.advance("depth", {"loss": 100.0}, 1.0)
    progress.advance("depth", {"loss": 200.0}, 1.0)
    assert progress.smooth == {"loss": pytest.approx(0.95 * 100 + 0.05 * 200)}
    progress.advance("joint", {"loss": 3.0}, 1.0)
    progress.advance("joint", {"loss": 5.0}, 1.0)
    assert "step 4 of 4, stage joint, 1.0 images/s: loss 3.100" in caplog.text
