"""A U-Net of three levels with two heads: the least that a method has to say.

Ronneberger, Fischer, Brox: MICCAI 2015, with a depth head beside the classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW, Optimizer

from diorama.losses.depth import berhu
from diorama.losses.segmentation import weighted_cross_entropy
from diorama.methods.base import Method, Stage, StepContext, Turn
from diorama.types import Prediction, Sample
from diorama_example.small_unet_config import SmallUNetConfig


def block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class SmallUNet(Method):
    """Classes and depth of a photo; see `SmallUNetConfig`."""

    needs: ClassVar[frozenset[str]] = SmallUNetConfig.needs
    config_class: ClassVar[type[SmallUNetConfig]] = SmallUNetConfig
    citation: ClassVar[str] = "Ronneberger, Fischer, Brox: U-Net. MICCAI 2015."

    def __init__(self, config: SmallUNetConfig) -> None:
        super().__init__()
        self.config, self.requires = config, self.needs
        width = [config.channels * factor for factor in (1, 2, 4)]
        self.down = nn.ModuleList([block(3, width[0]), block(width[0], width[1]), block(width[1], width[2])])
        self.up = nn.ModuleList([block(width[2] + width[1], width[1]), block(width[1] + width[0], width[0])])
        self.semantic = nn.Conv2d(width[0], config.classes, 1)
        self.depth = nn.Conv2d(width[0], 1, 1)

    def forward(self, image: Tensor) -> Prediction:
        """RGB `(B, 3, H, W)` in 0..1, any size -> logits `(B, K, H, W)` and depth `(B, 1, H, W)` [m]."""
        first = self.down[0](image)
        second = self.down[1](F.max_pool2d(first, 2, ceil_mode=True))
        features = self.down[2](F.max_pool2d(second, 2, ceil_mode=True))
        for layer, finer in zip(self.up, (second, first), strict=True):
            larger = F.interpolate(features, size=finer.shape[-2:], mode="bilinear", align_corners=False)
            features = layer(torch.cat([larger, finer], 1))
        return Prediction(self.semantic(features), self.config.depth_cap * torch.sigmoid(self.depth(features)))

    def losses(self, batch: Mapping[str, Sample], context: StepContext, turn: Turn) -> dict[str, Tensor]:
        """Cross entropy and reversed Huber, each over the pixels that are known."""
        del context, turn
        sample = batch["main"]
        found = self(sample["image"].as_subclass(Tensor))
        semantic = weighted_cross_entropy(found.semantic_logits.float(), sample["semantic"].as_subclass(Tensor))
        return {"segmentation": semantic, "berhu": berhu(found.depth, sample["depth"])}

    @property
    def stages(self) -> list[Stage]:
        """One stage with a falling rate."""
        return [Stage("all", self.config.epochs, self.config.rate, ("segmentation", "berhu"), "poly")]

    def optimisers(self) -> dict[str, Optimizer]:
        """AdamW."""
        return {"all": AdamW([{"params": list(self.parameters()), "rate_factor": 1.0}], lr=self.config.rate)}
