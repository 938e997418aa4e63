"""CCNN and ThresNet: how far each disparity of a matched pair can be trusted, learned from pairs with known disparity.

Poggi, Mattoccia: Learning from scratch a confidence measure. BMVC 2016. Choi et al.: Adaptive confidence thresholding for monocular depth
estimation. ICCV 2021 (arXiv 2009.12840). Pseudo-MTL takes both as they are.

| formula | function |
|---|---|
| C = CCNN(d / 255), 9x9 pixels each | `ConfidenceNetwork.valid` |
| right = [abs(d - d_gt) <= 3 px] | `losses.confidence.right_disparity` |
| BCE(C, right) | `losses.confidence.confidence_loss` |
| tau = ThresNet(C), M = 1 / (1 + exp(-eps (C - tau))) | `CCNN.losses` |
| BCE(M, right), CCNN frozen | `CCNN.losses` |

Choices where this differs from the papers: windows of whole maps instead of single patches (the network is fully convolutional: the same
loss over more, neighbouring, pixels per step). Truth of occluded pixels counts: what was filled in there is to be recognised. Choi et al.
train ThresNet inside their depth network; here it learns from the labels of CCNN. The norms of a frozen "choi" network
keep their statistics. Full maps go on beyond the border as their last row and column.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from diorama.losses.confidence import confidence_loss, right_disparity
from diorama.methods.base import Method, Stage, StepContext, Turn
from diorama.methods.ccnn_config import CCNNConfig
from diorama.nn.ccnn import ConfidenceNetwork, ThresNet
from diorama.types import Prediction, Sample


class CCNN(Method):
    """Confidence of matched disparity and a threshold for each image; see `CCNNConfig` for every switch."""

    needs: ClassVar[frozenset[str]] = CCNNConfig.needs
    inputs: ClassVar[tuple[str, ...]] = ("matched",)
    config_class = CCNNConfig
    citation = "Poggi, Mattoccia: Learning from scratch a confidence measure. BMVC 2016."

    def __init__(self, config: CCNNConfig) -> None:
        super().__init__()
        self.config = config
        self.requires = self.needs
        self.ccnn = ConfidenceNetwork(config.network)
        if config.start == "differences":
            self.ccnn.start_from_differences()
        self.thresnet = ThresNet() if config.threshold_epochs else None

    def forward(self, matched: Tensor) -> Prediction:
        """`(B, 1, H, W)` disparity [px], dense, any size -> confidence `(B, 1, H, W)` and threshold `(B, 1, 1, 1)`, both in 0..1."""
        confidence = torch.sigmoid(self.ccnn(matched).float())
        return Prediction(confidence=confidence, threshold=None if self.thresnet is None else self.thresnet(confidence))

    def losses(self, batch: Mapping[str, Sample], context: StepContext, turn: Turn) -> dict[str, Tensor]:
        """Binary cross entropy of the confidence, then of the soft threshold; over the pixels whose surroundings are inside the window."""
        del turn  # one turn
        (sample,) = batch.values()
        matched, truth = (sample[key].as_subclass(Tensor) for key in ("matched", "disparity"))
        inside = (..., *(slice(self.ccnn.halo, side - self.ccnn.halo) for side in matched.shape[-2:]))
        right, known = right_disparity(matched[inside], truth[inside], self.config.tolerance)
        if "threshold" not in context.stage.losses or self.thresnet is None:
            return {"confidence": confidence_loss(self.ccnn.valid(matched), right, known)}
        self.ccnn.eval()
        with torch.no_grad():
            confidence = torch.sigmoid(self.ccnn.valid(matched).float())
        self.ccnn.train(self.training)
        return {"threshold": confidence_loss(self.config.eps * (confidence - self.thresnet(confidence).float()), right, known)}

    @property
    def stages(self) -> list[Stage]:
        """CCNN, then ThresNet with CCNN frozen."""
        config = self.config
        schedule: Literal["tenth", "cosine"] = "tenth" if config.schedule == "step" else "cosine"
        first = Stage("ccnn", config.epochs, config.rate, ("confidence",), schedule, freeze=("thresnet",), tenth_every=config.decay_epoch)
        return [first, Stage("threshold", config.threshold_epochs, config.threshold_rate, ("threshold",), freeze=("ccnn",))]

    def optimisers(self) -> dict[str, Optimizer]:
        """SGD or Adam for CCNN, Adam for ThresNet."""
        config = self.config
        groups: list[dict[str, Any]] = [{"params": list(self.ccnn.parameters()), "rate_factor": 1.0}]
        found: dict[str, Optimizer] = {
            "ccnn": torch.optim.Adam(groups, lr=config.rate)
            if config.optimiser == "adam"
            else torch.optim.SGD(groups, lr=config.rate, momentum=config.momentum)
        }
        if self.thresnet is not None:
            own: list[dict[str, Any]] = [{"params": list(self.thresnet.parameters()), "rate_factor": 1.0}]
            found["threshold"] = torch.optim.Adam(own, lr=config.threshold_rate)
        return found

    def turns(self, context: StepContext) -> list[Turn]:
        """The network of the stage."""
        name = "threshold" if "threshold" in context.stage.losses else "ccnn"
        return [Turn(name, name)]
