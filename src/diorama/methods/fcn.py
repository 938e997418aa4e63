"""FCN-8s: fully convolutional networks for semantic segmentation, the scene parser that generated photos are scored by.

Long, Shelhamer, Darrell: CVPR 2015 (arXiv 1411.4038).

| section | function |
|---|---|
| 3.1 classifier as a convolution, 4.1 1x1 scores on the coarsest features | `FCNetwork.scores` |
| 4.2 scores of finer layers added to coarser ones upsampled x2: 32s -> 16s -> 8s | `FCNetwork.forward` |
| 3.3 in-network upsampling x8 to the pixels | `FCN.forward` |
| 4.3 softmax loss per pixel, SGD with momentum, doubled rate of biases | `FCN.losses`, `FCN.optimisers` |

Choices where this differs from the original:
all upsampling is bilinear, which is what the paper's deconvolutions start from and its last one stays at; the two others were learned
there. fc6 and fc7 (7x7 and 1x1 convolutions of 4096 channels with dropout, 120 of VGG16's 134 million parameters) are left out, since
timm's `features_only` ends before them: classes are scored on the last features themselves. timm's features of stride 8 and 16 are those
before a pooling (conv4_3, conv5_3 of VGG16), the paper's those after one (pool3, pool4). All three scores are trained at once, not
FCN-32s first. The image is padded to multiples of 32 by its last row and column, not by 100 zeros. The loss is the mean over labelled
pixels. Beyond the paper, all off by default: other backbones, balanced class weights, AdamW, the poly schedule, warm-up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from diorama.errors import ConfigError
from diorama.losses.segmentation import weighted_cross_entropy
from diorama.methods.base import Method, Stage, StepContext, Turn
from diorama.methods.fcn_config import FCNConfig
from diorama.nn.backbones import Backbone
from diorama.types import Prediction, Sample

STRIDES = (8, 16, 32)


class FCNetwork(nn.Module):
    """Backbone, and one 1x1 convolution per stride whose scores are added up coarse to fine."""

    def __init__(self, config: FCNConfig) -> None:
        super().__init__()
        self.backbone = Backbone(config.backbone, 32, config.pretrained, config.backbone_weights)
        strides = self.backbone.strides
        if missing := [stride for stride in STRIDES if stride not in strides]:
            raise ConfigError(f"backbone '{config.backbone}' has no features at stride {missing[0]}. Set model.backbone=vgg16 or a ResNet.")
        self.levels = [strides.index(stride) for stride in STRIDES]
        self.scores = nn.ModuleList(nn.Conv2d(self.backbone.channels[level], config.classes, 1) for level in self.levels)
        for score in self.scores:  # sec. 4.3: random scores were neither better nor faster
            nn.init.zeros_(score.weight)  # type: ignore[arg-type]
            nn.init.zeros_(score.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        """`(B, 3, H, W)` RGB in 0..1, sides multiples of 32 -> logits `(B, K, H / 8, W / 8)`."""
        features = self.backbone(image)
        eighth, sixteenth, coarsest = (score(features[level]) for score, level in zip(self.scores, self.levels, strict=True))
        fused: Tensor = eighth + upsampled(sixteenth + upsampled(coarsest, 2), 2)
        return fused


class FCN(Method):
    """FCN-8s with its loss and recipe; see `FCNConfig` for every switch."""

    needs: ClassVar[frozenset[str]] = frozenset({"image", "semantic"})
    config_class = FCNConfig
    citation = "Long, Shelhamer, Darrell: Fully convolutional networks for semantic segmentation. CVPR 2015."

    class_weight: Tensor

    def __init__(self, config: FCNConfig) -> None:
        super().__init__()
        self.config = config
        self.requires = self.needs
        self.network = FCNetwork(config)
        self.register_buffer("class_weight", torch.ones(config.classes), persistent=False)

    def forward(self, image: Tensor) -> Prediction:
        """`(B, 3, H, W)` RGB in 0..1, any size -> logits `(B, K, H, W)`."""
        height, width = image.shape[-2:]
        padded = F.pad(image, (0, (-width) % STRIDES[-1], 0, (-height) % STRIDES[-1]), mode="replicate")
        return Prediction(semantic_logits=upsampled(self.network(padded), STRIDES[0])[..., :height, :width])

    def losses(self, batch: Mapping[str, Sample], context: StepContext, turn: Turn) -> dict[str, Tensor]:
        """Cross entropy over the labelled pixels."""
        del context, turn  # one stage, one optimiser, one turn
        (sample,) = batch.values()
        logits = self(sample["image"].as_subclass(Tensor)).semantic_logits.float()
        weight = self.class_weight if self.config.class_weights != "none" else None
        return {"segmentation": weighted_cross_entropy(logits, sample["semantic"].as_subclass(Tensor), weight)}

    @property
    def stages(self) -> list[Stage]:
        """One stage."""
        config = self.config
        return [Stage("all", config.epochs, config.rate, ("segmentation",), config.schedule, warmup=config.warmup)]

    def optimisers(self) -> dict[str, Optimizer]:
        """SGD with biases at `bias_rate` of the rate, or AdamW; neither decays biases and norms."""
        config = self.config
        pretrained = config.pretrained_rate if config.pretrained or config.backbone_weights else 1.0
        groups: list[dict[str, Any]] = []
        for part, factor in ((self.network.backbone, pretrained), (self.network.scores, 1.0)):
            named = list(part.named_parameters())
            biases = [parameter for name, parameter in named if name.endswith("bias")]
            scales = [parameter for name, parameter in named if not name.endswith("bias") and parameter.ndim < 2]
            weights = [parameter for _, parameter in named if parameter.ndim > 1]
            doubled = config.bias_rate if config.optimiser == "sgd" else 1.0
            rows = ((weights, 1.0, config.weight_decay), (scales, 1.0, 0.0), (biases, doubled, 0.0))
            groups += [{"params": row, "rate_factor": factor * times, "weight_decay": decay} for row, times, decay in rows if row]
        if config.optimiser == "adamw":
            return {"all": torch.optim.AdamW(groups, lr=config.rate)}
        return {"all": torch.optim.SGD(groups, lr=config.rate, momentum=config.momentum)}

    def prepare(self, statistics: Mapping[str, Any]) -> None:
        """Class weights from the label counts of the training set, counted once; their mean is 1."""
        if self.config.class_weights == "balanced":
            counts = torch.as_tensor(statistics["class_counts"], dtype=torch.float64)
            weight = 1 / torch.log(1.1 + counts / counts.sum().clamp(min=1))
            self.class_weight.copy_(weight / weight.mean())


def upsampled(scores: Tensor, times: int) -> Tensor:
    """`(B, K, h, w)` -> `(B, K, times h, times w)`, bilinear."""
    return F.interpolate(scores, scale_factor=float(times), mode="bilinear", align_corners=False)
