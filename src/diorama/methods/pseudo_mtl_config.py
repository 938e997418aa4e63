"""Every switch of Pseudo-MTL, with the paper's value as the default. Imports no torch, so that help and checks answer at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from diorama.errors import ConfigError


@dataclass(frozen=True)
class PseudoMTLConfig:
    """Configuration of `pseudo_mtl`.

    Args:
        classes: semantic classes K (19 or 7 for Cityscapes).
        backbone: any timm backbone that offers `features_only`; the paper has "the convolutional layers of the VGG network" (sec. 3.1).
        pretrained: load timm's ImageNet weights (needs the network or timm's cache). `backbone_weights` goes first.
        backbone_weights: a file of backbone weights (.pth, .pt, .safetensors) in timm's, torchvision's or another order-compatible naming.
        upsampling: "unpool" puts features back where the encoder pooled them from (VGG only); "bilinear" goes with any backbone.
        skip: add the encoder's features of each size in the decoders (not in the paper; helps light backbones).
        head_stride: stride of the decoders' answers, which are then resized to the image; 1 mirrors the encoder to its end.
        warp: b of G(a; b), Tables 4 and 5: "pseudo" depth, or "predicted" depth, through which the gradient flows.
        use_confidence: C of (1) and (4)-(10); false counts every pixel with pseudo depth alike. Not with warp=predicted (sec. 4.4).
        right_labels: whether there are labels of the right view; without them (2) has the left view alone, (9) and (10) a half each.
        semantic_across: L_s,lr (8).
        semantic_views: L_s,l and L_s,r (9, 10).
        depth_consistency: L_d,c (3).
        alpha_d, alpha_s: weights of (1) and (2) in L_S, sec. 4.2.
        depth_weights: alpha_d,lr, alpha_d,l, alpha_d,r of (3), sec. 4.2.
        semantic_weights: alpha_s,lr, alpha_s,l, alpha_s,r of (7), sec. 4.2.
        weighting: "fixed" weights; "uncertainty" or "dwa" on top of them (not in the paper). A task has its loss in both views and across.
        dwa_steps: steps that "dwa" averages over.
        depth_consistency_gain: factor of (3): 1 as printed; 80 is (3) in metres while (1) is in depth / 80.
        detach_warped: in (4) and (8) the prediction warped from the other view is a constant (not in the paper).
        occlusion: leave pixels out of (4)-(10) that the other view sees nearer by this part of their depth; 0, as the paper: none.
        max_depth: metres that (1) and (3) divide by; pseudo depth beyond counts as this far (the paper's cap of 80 m).
        depth_scale: metres that an output of 1 means; near the median depth of the data.
        pretrain_epochs: epochs of E + Ds, then of E + Dd, sec. 4.2; 0 goes on from a pretrained run given as trainer.start_from.
        joint_epochs: epochs of the whole network, sec. 4.2.
        pretrain_rate, joint_rate: learning rates, sec. 4.2.
        pretrain_schedule, joint_schedule: "tenth" divides the rate by 10 every `tenth_every` epochs, as sec. 4.2 does in the joint stage.
        tenth_every: epochs, sec. 4.2.
        pretrained_rate: rate of the encoder over that of the decoders (the paper has 1).
        weight_decay: 0 makes it the paper's Adam (beta1 0.9).
        warmup: part of each stage in which the rate rises from 0 (not in the paper).
        gradient_log: at logged steps of the joint stage, note each loss's share of the gradient that reaches the shared encoder.
    """

    needs: ClassVar[frozenset[str]] = frozenset(
        {
            "image", "right", "semantic", "semantic_right", "pseudo_depth", "pseudo_depth_right", "confidence", "confidence_right",
            "intrinsics", "baseline",
        }
    )  # fmt: skip
    """Keys of `Sample` that the whole method trains on; here, so that `diorama methods` answers without torch."""

    meanings: ClassVar[dict[str, str]] = {"depth_scale": "network.depth.", "upsampling": "network.semantic."}
    """Settings that no shape shows -> beginning of the names of the weights that mean something else under another value."""

    classes: int = 19
    backbone: str = "vgg16"
    pretrained: bool = True
    backbone_weights: str | None = None
    upsampling: Literal["unpool", "bilinear"] = "unpool"
    skip: bool = False
    head_stride: Literal[1, 2, 4] = 1
    warp: Literal["pseudo", "predicted"] = "pseudo"
    use_confidence: bool = True
    right_labels: bool = True
    semantic_across: bool = True
    semantic_views: bool = True
    depth_consistency: bool = True
    alpha_d: float = 850.0
    alpha_s: float = 2.5
    depth_weights: tuple[float, float, float] = (0.5, 1.0, 1.0)
    semantic_weights: tuple[float, float, float] = (0.5, 1.5, 1.5)
    weighting: Literal["fixed", "uncertainty", "dwa"] = "fixed"
    dwa_steps: int = 100
    depth_consistency_gain: float = 1.0
    detach_warped: bool = False
    occlusion: float = 0.0
    max_depth: float = 80.0
    depth_scale: float = 10.0
    pretrain_epochs: float = 30
    joint_epochs: float = 20
    pretrain_rate: float = 1e-4
    joint_rate: float = 1e-5
    pretrain_schedule: Literal["constant", "tenth", "poly", "cosine"] = "constant"
    joint_schedule: Literal["constant", "tenth", "poly", "cosine"] = "tenth"
    tenth_every: float = 10.0
    pretrained_rate: float = 1.0
    weight_decay: float = 0.0
    warmup: float = 0.0
    gradient_log: bool = True

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise ConfigError(f"model.classes is {self.classes}: semantics needs at least 2 classes.")
        if self.warp == "predicted" and self.use_confidence:
            raise ConfigError(
                "model.warp=predicted moves with the network, confidence is that of the pseudo depth: set model.use_confidence=false."
            )
        if min(self.pretrain_epochs, self.joint_epochs) < 0 or not self.pretrain_epochs + self.joint_epochs:
            raise ConfigError(
                f"model.pretrain_epochs is {self.pretrain_epochs}, model.joint_epochs {self.joint_epochs}: one must be above 0, none below."
            )
        for name in ("max_depth", "depth_scale", "tenth_every", "pretrain_rate", "joint_rate"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"model.{name} is {getattr(self, name)}. Set it above 0.")
        if not 0 <= self.occlusion < 1:
            raise ConfigError(f"model.occlusion is {self.occlusion}: give a part of the depth, e.g. 0.05, or 0 to leave none out.")

    @property
    def consistent(self) -> bool:
        """Whether any loss looks across the views."""
        return self.semantic_across or self.semantic_views or self.depth_consistency

    @property
    def tasks(self) -> str:
        """What is predicted: always "both"."""
        return "both"
