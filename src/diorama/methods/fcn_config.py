"""Every switch of FCN, with the paper's value as the default. Imports no torch, so that help and checks answer at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from diorama.errors import ConfigError


@dataclass(frozen=True)
class FCNConfig:
    """Configuration of `fcn`.

    Args:
        classes: semantic classes K (11 for CamVid, 19 for Cityscapes).
        backbone: any timm backbone that offers `features_only` with features at strides 8, 16 and 32; the paper's best is VGG16.
        pretrained: load timm's ImageNet weights (needs the network or timm's cache). `backbone_weights` goes first.
        backbone_weights: a file of backbone weights (.pth, .pt, .safetensors) in timm's, torchvision's or another order-compatible naming.
        class_weights: "none" is the paper's (sec. 4.3 found balancing unnecessary); "balanced" is 1 / log(1.1 + share of the class).
        optimiser: "sgd" is the paper's; "adamw" for short schedules (it is Adam at weight_decay=0).
        rate: learning rate, sec. 4.3 for VGG16.
        schedule: "constant" is the paper's; "poly" falls to 0 with power 0.9.
        momentum, weight_decay: sec. 4.3.
        bias_rate: rate of biases over that of weights under SGD, sec. 4.3.
        pretrained_rate: rate of pretrained layers over that of new ones; 1 as in sec. 4.3.
        epochs: length of the training; the paper says that it took at least this (sec. 4.1).
        warmup: part of the training in which the rate rises from 0 (not in the paper).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"image", "semantic"})
    """Keys of `Sample` that the whole method trains on; here, so that `diorama methods` answers without torch."""

    classes: int = 19
    backbone: str = "vgg16"
    pretrained: bool = True
    backbone_weights: str | None = None
    class_weights: Literal["none", "balanced"] = "none"
    optimiser: Literal["sgd", "adamw"] = "sgd"
    rate: float = 1e-4
    schedule: Literal["constant", "poly"] = "constant"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    bias_rate: float = 2.0
    pretrained_rate: float = 1.0
    epochs: float = 175
    warmup: float = 0.0

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise ConfigError(f"model.classes is {self.classes}: semantics needs at least 2 classes.")
        if self.epochs <= 0 or self.rate <= 0:
            raise ConfigError(f"model.epochs={self.epochs}, model.rate={self.rate}: both must be above 0.")

    @property
    def tasks(self) -> str:
        """What is predicted: always "semantic"."""
        return "semantic"
