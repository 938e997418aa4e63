"""Thresholds by hand, the right view by mirroring, and what is refused; the network itself is tested beside its method."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from diorama.errors import ConfigError, DataError, ModelError, ShapeError
from diorama.prediction.predictor import list_models
from diorama.stereo.confidence import Confidence, hard_threshold, load_confidence, soft_threshold
from diorama.types import Inputs, Prediction


class Planted:
    """Stands for a predictor: confidence falls from left to right, whatever it is given."""

    name = "planted"

    def __init__(self, tau: float | None = 0.25) -> None:
        self.tau, self.seen = tau, np.zeros(0, np.float32)

    def batch(self, inputs: Inputs) -> Prediction:
        self.seen = np.asarray(inputs["matched"])
        height, width = self.seen.shape[-2:]
        fall = np.broadcast_to(np.linspace(1, 0, width, dtype=np.float32), (1, 1, height, width))
        return Prediction(confidence=fall, threshold=None if self.tau is None else np.full((1, 1, 1, 1), self.tau, np.float32))


def judge(tau: float | None = 0.25) -> tuple[Confidence, Planted]:
    planted: Any = Planted(tau)
    return Confidence(planted), planted


def test_soft_and_hard_threshold_by_hand() -> None:
    confidence = np.array([[0.5, 0.7, 0.2]], np.float32)
    expected = [0.5, 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(3))]
    np.testing.assert_allclose(soft_threshold(confidence)[0], expected, rtol=1e-5)
    np.testing.assert_allclose(soft_threshold(confidence, 0.7, 5)[0, 1], 0.5)
    assert hard_threshold(confidence).tolist() == [[1, 1, 0]]
    assert hard_threshold(confidence, 0.6).tolist() == [[0, 1, 0]]
    assert soft_threshold(confidence).dtype == hard_threshold(confidence).dtype == np.float32
    for tau, eps in ((math.nan, 10), (0.5, 0), (0.5, math.inf)):
        with pytest.raises(ConfigError, match="Give a finite threshold and a steepness above 0"):
            soft_threshold(confidence, tau, eps)


def test_the_right_view_is_seen_mirrored() -> None:
    confidence, planted = judge()
    disparity = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    left, tau = confidence(disparity)
    np.testing.assert_array_equal(planted.seen[0, 0], disparity)
    right, _ = confidence(disparity, mirror=True)
    np.testing.assert_array_equal(planted.seen[0, 0], disparity[:, ::-1])
    np.testing.assert_array_equal(right, left[:, ::-1])
    assert right.flags.c_contiguous
    assert tau == 0.25
    assert judge(None)[0](disparity)[1] is None


def test_bad_input() -> None:
    confidence, _ = judge()
    with pytest.raises(ShapeError, match=r"Give \(H, W\) in pixels"):
        confidence(np.ones((1, 4, 4), np.float32))
    for wrong in (np.nan, np.inf, -1):
        with pytest.raises(DataError, match="NaN, infinite or negative"):
            confidence(np.full((4, 4), wrong, np.float32))
    with pytest.raises(ModelError, match="unknown model"):
        load_confidence("ccnn-nowhere")
    with pytest.raises(ModelError, match="judges no disparity. Give one of ccnn"):
        load_confidence("linear")


@pytest.mark.skipif("ccnn-world_street" not in list_models(), reason="the shipped model is not there")
def test_the_shipped_model_trusts_a_plane_more_than_noise() -> None:
    draw = np.random.default_rng(0)
    disparity = np.full((60, 160), 12, np.float32) + draw.normal(0, 0.1, (60, 160)).astype(np.float32)
    disparity += np.linspace(0, 3, 160, dtype=np.float32)
    disparity[:, 80:] += draw.choice([0, 15], (60, 80)).astype(np.float32)
    confidence, tau = load_confidence("ccnn-world_street", threads=1)(disparity)
    assert confidence[:, 8:72].mean() > confidence[:, 88:].mean() + 0.2
    assert tau is not None
    assert 0 < tau < 1
