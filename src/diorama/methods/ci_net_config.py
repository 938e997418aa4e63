"""Every switch of CI-Net, with the paper's value as the default. Imports no torch, so that help and checks answer at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from diorama.errors import ConfigError

Schedule = Literal["constant", "poly", "cosine"]


@dataclass(frozen=True)
class CINetConfig:
    """Configuration of `ci_net`.

    Args:
        classes: semantic classes K (40 for NYUv2, 37 for SUN RGB-D, 19 for Cityscapes).
        tasks: "both", or one alone: the single-task rows that Delta M compares with.
        backbone: any timm backbone that offers `features_only`.
        output_stride: 8 dilates the last two stages (sec. 3.1); 32 keeps a backbone without dilation and fuses its
            levels into stride-8 features by a feature pyramid (for CPUs and phones; not in the paper).
        pretrained: load timm's ImageNet weights (needs the network or timm's cache). `backbone_weights` goes first.
        backbone_weights: a file of backbone weights (.pth, .pt, .safetensors) in timm's, torchvision's or another order-compatible naming.
        width: channels of each task's features at stride 8 (not given in the paper).
        decoder_widths: channels after each of the three upsampling stages (not given in the paper).
        upsampling: how many of the stages upsample by 2; the heads' answer is resized to the image for the rest.
        skip: add the backbone's stride-4 features after the first upsampling (not in the paper; helps light backbones).
        scene_understanding: the SUM of sec. 3.2.
        attention_width: channels of query and key (not given in the paper).
        context_width: channels of X in the SUM; 0 takes the backbone's own (sec. 3.2).
        normalise: what divides (2): "row" the row sum, "n" the number of positions, "none" as printed.
        sharing: "fsm" (5), "lsu" (6) or "none" before each upsampling stage.
        consistency: the loss (7).
        consistency_at: "last" compares the features before the heads, "all" those after every sharing unit.
        alpha, beta, gamma: weights of depth, consistency and segmentation losses in (13), sec. 4.2.
        pair_weight, normal_weight: lambda and mu in (11), sec. 4.2.
        pair_pixels: random pixels per image in (9), sec. 4.2.
        attention_weight: weight of (4) in (13); the paper has 1.
        class_weights: "paper" is omega of (12); "balanced" is 1 / log(1.1 + share of the class); "none".
        loss_at: "image" compares answers resized to the image; "head" compares at the heads' own size with the nearest labels and depth
            (not in the paper; several times cheaper with few upsamplings).
        weighting: "fixed" weights of (13); "uncertainty" or "dwa" on top of them (not in the paper).
        dwa_steps: steps that "dwa" averages over.
        depth_scale: metres that an output of 1 means; near the median depth of the data.
        optimiser: "sgd" is the paper's; "adamw" for short schedules.
        momentum, weight_decay: sec. 4.2.
        pretrained_rate: rate of pretrained layers over that of new ones, sec. 4.2.
        stage_epochs, stage_rates, stage_schedules: the three stages of sec. 4.2 (values for NYUv2); a stage of 0 epochs is left out.
        warmup: part of each stage in which the rate rises from 0 (not in the paper).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"image", "semantic", "depth"})
    """Keys of `Sample` that the whole method trains on; here, so that `diorama methods` answers without torch."""

    classes: int = 40
    tasks: Literal["both", "semantic", "depth"] = "both"
    backbone: str = "resnet101"
    output_stride: Literal[8, 32] = 8
    pretrained: bool = True
    backbone_weights: str | None = None
    width: int = 256
    decoder_widths: tuple[int, int, int] = (128, 64, 32)
    upsampling: Literal[1, 2, 3] = 3
    skip: bool = False
    scene_understanding: bool = True
    attention_width: int = 64
    context_width: int = 512
    normalise: Literal["row", "n", "none"] = "row"
    sharing: Literal["fsm", "lsu", "none"] = "fsm"
    consistency: bool = True
    consistency_at: Literal["last", "all"] = "last"
    alpha: float = 1.0
    beta: float = 5.0
    gamma: float = 0.3
    pair_weight: float = 1.0
    normal_weight: float = 5.0
    pair_pixels: int = 500
    attention_weight: float = 1.0
    class_weights: Literal["paper", "balanced", "none"] = "paper"
    loss_at: Literal["image", "head"] = "image"
    weighting: Literal["fixed", "uncertainty", "dwa"] = "fixed"
    dwa_steps: int = 100
    depth_scale: float = 1.0
    optimiser: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    pretrained_rate: float = 0.1
    stage_epochs: tuple[float, float, float] = (300, 200, 200)
    stage_rates: tuple[float, float, float] = (6e-4, 2e-4, 2e-4)
    stage_schedules: tuple[Schedule, Schedule, Schedule] = ("constant", "constant", "poly")
    warmup: float = 0.0

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise ConfigError(f"model.classes is {self.classes}: semantics needs at least 2 classes.")
        if self.tasks != "both" and (self.sharing != "none" or self.consistency):
            raise ConfigError(f"model.tasks={self.tasks} has one branch: set model.sharing=none and model.consistency=false.")
        if self.consistency_at == "all" and self.sharing == "none":
            raise ConfigError("model.consistency_at=all needs a sharing unit: set model.sharing to fsm or lsu.")
        if not any(self.stage_epochs) or min(self.stage_epochs) < 0:
            raise ConfigError(f"model.stage_epochs is {self.stage_epochs}: at least one must be positive and none negative.")

    @property
    def semantic(self) -> bool:
        """Whether there is a branch for semantics."""
        return self.tasks in ("both", "semantic")

    @property
    def depth(self) -> bool:
        """Whether there is a branch for depth."""
        return self.tasks in ("both", "depth")
