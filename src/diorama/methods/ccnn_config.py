"""Every switch of CCNN and ThresNet, with the papers' values as the defaults. Imports no torch, so that help and checks answer at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from diorama.errors import ConfigError


@dataclass(frozen=True)
class CCNNConfig:
    """Configuration of `ccnn`.

    Args:
        network: "ccnn" is that of Poggi and Mattoccia (3x3 convolutions, looks at 9x9 pixels); "choi" is the network that Choi et al. call
            CCNN (9x9, 7x7, 5x5 and 3x3 with norms, looks at 21x21).
        start: weights before the first step; "plain" are torch's own, "differences" let the first layer see differences between neighbours
            (`ConfidenceNetwork.start_from_differences`; not in the papers).
        tolerance: a disparity is right if it differs from the truth by at most this [px].
        eps: steepness of the soft threshold that ThresNet is trained through.
        epochs: length of the first stage, CCNN alone.
        decay_epoch: epochs after which "step" divides the rate by 10.
        rate: learning rate of CCNN.
        schedule: "step" is the paper's; "cosine" falls to 0 at the end of the stage.
        optimiser: "sgd" is the paper's; "adam" needs far fewer steps.
        momentum: of SGD.
        threshold_epochs: length of the second stage, ThresNet alone with CCNN frozen; 0 builds no ThresNet (the paper does not say).
        threshold_rate: learning rate of ThresNet, Adam (Choi et al. train it inside their depth network at 1e-4).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"matched", "disparity"})
    """Keys of `Sample` that the whole method trains on; here, so that `diorama methods` answers without torch."""
    tasks: ClassVar[str] = "confidence"

    network: Literal["ccnn", "choi"] = "ccnn"
    start: Literal["plain", "differences"] = "plain"
    tolerance: float = 3.0
    eps: float = 10.0
    epochs: float = 14
    decay_epoch: float = 10
    rate: float = 3e-3
    schedule: Literal["step", "cosine"] = "step"
    optimiser: Literal["sgd", "adam"] = "sgd"
    momentum: float = 0.0
    threshold_epochs: float = 4
    threshold_rate: float = 1e-4

    def __post_init__(self) -> None:
        if min(self.tolerance, self.eps, self.rate, self.threshold_rate) <= 0:
            raise ConfigError(
                f"model.tolerance={self.tolerance}, model.eps={self.eps}, model.rate={self.rate}, "
                f"model.threshold_rate={self.threshold_rate}: all must be above 0."
            )
        if self.epochs < 0 or self.threshold_epochs < 0 or not self.epochs + self.threshold_epochs:
            raise ConfigError(
                f"model.epochs={self.epochs}, model.threshold_epochs={self.threshold_epochs}: give 0 or more, and one of them above 0."
            )
        if self.decay_epoch <= 0:
            raise ConfigError(f"model.decay_epoch is {self.decay_epoch}: give an epoch above 0; from model.epochs on it changes nothing.")
