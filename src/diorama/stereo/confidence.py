"""Learned confidence of disparity without torch, and what is made of it: the soft and the hard threshold.

The network (`methods/ccnn.py`, exported to ONNX) looks at the disparity map alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diorama.errors import ConfigError, DataError, ModelError, ShapeError
from diorama.prediction.predictor import Predictor, load
from diorama.stereo.consistency import mirrored

F32 = NDArray[np.float32]

EPS = 10.0
"""Steepness of the soft threshold (Pseudo-MTL, sec. 3)."""
TAU = 0.5
"""The threshold of an image for which no network says one."""


class Confidence:
    """How far a disparity map is to be trusted, pixel by pixel.

    Args:
        predictor: a model of the method `ccnn`.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.name = predictor, predictor.name

    def __call__(self, disparity: F32, mirror: bool = False) -> tuple[F32, float | None]:
        """`(H, W)` confidence in 0..1, and the threshold of this image in 0..1; None from a network that was not taught one.

        Args:
            disparity: `(H, W)` [px], dense as `Pair.left.disparity`.
            mirror: it is that of the right view: the network, which has learned left views, sees it mirrored.

        Raises:
            ShapeError: not `(H, W)`.
            DataError: NaN, infinite or negative values.
        """
        if disparity.ndim != 2 or not disparity.size:
            raise ShapeError(f"disparity of shape {disparity.shape}. Give (H, W) in pixels.")
        if not (disparity.min() >= 0 and disparity.max() < np.inf):
            raise DataError("disparity has NaN, infinite or negative values. Fill them, or write 0 where nothing is known.")
        seen = np.asarray(mirrored(disparity) if mirror else disparity, np.float32)
        said = self.predictor.batch({"matched": seen[None, None]})
        confidence: F32 = said.confidence[0, 0]
        tau = None if said.threshold is None else float(said.threshold.reshape(-1)[0])
        return (mirrored(confidence) if mirror else confidence), tau


def load_confidence(
    source: str | Path,
    *,
    backend: Literal["auto", "onnx", "torch"] = "auto",
    device: str = "cpu",
    threads: int | None = None,
) -> Confidence:
    """The confidence network that `source` names: a shipped name (`ccnn-world_street`), a run or model folder, or a model file.

    Args:
        source: see `diorama.load`.
        backend: likewise.
        device: likewise.
        threads: threads per image; None takes every core.

    Raises:
        ModelError: no such model, or one that judges no disparity.
    """
    predictor = load(source, backend=backend, device=device, threads=threads)
    if predictor.inputs != ("matched",):
        raise ModelError(
            f"{predictor.name} is a model of '{predictor.config['method']}', "
            "which judges no disparity. Give one of ccnn, e.g. ccnn-world_street."
        )
    return Confidence(predictor)


def soft_threshold(confidence: F32, tau: float | None = None, eps: float = EPS) -> F32:
    """M = 1 / (1 + exp(-eps (C - tau))) in 0..1, the shape of `confidence`: 0.5 at the threshold.

    Args:
        confidence: C in 0..1.
        tau: threshold of the image; None: 0.5.
        eps: steepness.

    Raises:
        ConfigError: a threshold that is not finite, or a steepness that is not above 0.
    """
    return np.asarray(1 / (1 + np.exp(-eps * (confidence - np.float32(_checked(tau, eps))))), np.float32)


def hard_threshold(confidence: F32, tau: float | None = None) -> F32:
    """1 where C >= tau, else 0, the shape of `confidence`.

    Raises:
        ConfigError: a threshold that is not finite.
    """
    return np.asarray(confidence >= np.float32(_checked(tau)), np.float32)


def _checked(tau: float | None, eps: float = EPS) -> float:
    tau = TAU if tau is None else tau
    if not np.isfinite(tau) or not (0 < eps < np.inf):
        raise ConfigError(f"threshold {tau:g}, steepness {eps:g}. Give a finite threshold and a steepness above 0.")
    return tau
