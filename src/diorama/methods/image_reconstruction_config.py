"""Every switch of image reconstruction, with the paper's value as the default. Imports no torch, so that help and checks answer at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from diorama.errors import ConfigError


@dataclass(frozen=True)
class ImageReconstructionConfig:
    """Configuration of `image_reconstruction`.

    The rows of Table 2: B is `image=false`, B+I is `sharing=false`, B+I+S is the default. The row that the paper lacks, the network of
    B+I+S without its image loss, is `image_weight=0`.

    Args:
        image: the image reconstruction module G_img of sec. 3.2; without it there is nothing to share.
        sharing: the feature sharing module (8)-(11).
        kernels: kernel size of each branch of the encoder, sec. 3.2.
        channels: channels of one branch at 1/2, 1/4, 1/8 and 1/16 (the layer table of the paper is not at hand).
        extractor_channels: channels of f(1), f(2), f(3) at 1/8, 1/4 and 1/2 (likewise).
        decoder_channels: channels of the decoders at 1/1 (likewise).
        width: factor on all of these channels.
        depth_norm: "l2" is (13); "l1" is the second variant of Table 1; "rmse" is the mean of the frames' RMSE (not in the paper).
        depth_weight, image_weight: w_dpt and w_img of (15), sec. 4.1, for depth in metres and grey values 0..255.
        min_depth: smallest depth that is predicted [m]; 0.9 for KITTI, 0.1 for NYUv2. Losses see the network's linear answer.
        depth_scale, grey_scale: metres and grey values that an output of 1 means (1 in the paper). Adam moves every weight by about its
            rate per step, so a short training does not reach answers of 30 m or 100 grey values without.
        mask: which pixels are known, as a second input channel (not in the paper).
        residual: predict what is missing to a fill by a pyramid of means, computed inside the network, as a share of the mean depth
            around; the network then sees points and fill relative to that mean, so its answer scales with its input (not in the paper).
        skip: add the encoder's features to those of the extractors at 1/8, 1/4 and 1/2 (not in the paper).
        blocks: residual blocks of two 3x3 convolutions after every stage of encoder and extractors (not in the paper).
        upsampling: "transposed" convolutions are the paper's; "bilinear" is a 3x3 convolution before bilinear upsampling.
        uncertainty: predict how far off depth is [m]: "laplace" the expected absolute error, "gaussian" the standard deviation
            (not in the paper).
        uncertainty_weight: weight of the negative log-likelihood.
        classes: semantic classes K that the depth features are also decoded into; 0 builds no such head (not in the paper).
        semantic_weight: weight of the class-weighted cross entropy.
        weighting: "fixed" weights; "uncertainty" or "dwa" on top of them, of depth, semantics and the image (not in the paper).
        dwa_steps: steps that "dwa" averages over.
        optimiser: "adam" is the paper's; "adamw" decouples `weight_decay`.
        rate: learning rate at the start, sec. 4.1.
        schedule: "halving" is the paper's: half the rate every `halve_every` epochs; "cosine" falls to 0 at the end.
        halve_every: epochs, sec. 4.1.
        epochs: length of the training (not given in the paper).
        warmup: part of the training in which the rate rises from 0 (not in the paper).
        weight_decay: not in the paper.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"image", "sparse_depth", "depth"})
    """Keys of `Sample` that the whole method trains on; here, so that `diorama methods` answers without torch."""

    image: bool = True
    sharing: bool = True
    kernels: tuple[int, ...] = (3, 5, 7, 9)
    channels: tuple[int, int, int, int] = (16, 32, 64, 128)
    extractor_channels: tuple[int, int, int] = (128, 64, 32)
    decoder_channels: int = 16
    width: float = 1.0
    depth_norm: Literal["l2", "l1", "rmse"] = "l2"
    depth_weight: float = 1.0
    image_weight: float = 1e-4
    min_depth: float = 0.9
    depth_scale: float = 1.0
    grey_scale: float = 1.0
    mask: bool = False
    residual: bool = False
    skip: bool = False
    blocks: int = 0
    upsampling: Literal["transposed", "bilinear"] = "transposed"
    uncertainty: Literal["none", "laplace", "gaussian"] = "none"
    uncertainty_weight: float = 0.1
    classes: int = 0
    semantic_weight: float = 0.1
    weighting: Literal["fixed", "uncertainty", "dwa"] = "fixed"
    dwa_steps: int = 100
    optimiser: Literal["adam", "adamw"] = "adam"
    rate: float = 1e-3
    schedule: Literal["halving", "cosine", "constant"] = "halving"
    halve_every: float = 5.0
    epochs: float = 30
    warmup: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.sharing and not self.image:
            raise ConfigError("model.sharing shares features of depth and image: set model.sharing=false, or model.image=true.")
        if not self.kernels or any(kernel < 1 or kernel % 2 == 0 for kernel in self.kernels):
            raise ConfigError(f"model.kernels is {list(self.kernels)}: give one or more odd kernel sizes, e.g. [3, 5, 7, 9].")
        if self.width <= 0 or min(*self.channels, *self.extractor_channels, self.decoder_channels) * self.width < 1:
            raise ConfigError(f"model.width={self.width} leaves a layer without channels. Raise it, or the channels.")
        if self.min_depth <= 0:
            raise ConfigError(f"model.min_depth is {self.min_depth}: give a distance above 0 m, e.g. 0.1.")
        if min(self.depth_scale, self.grey_scale) <= 0:
            raise ConfigError(f"model.depth_scale={self.depth_scale}, model.grey_scale={self.grey_scale}: both must be above 0.")
        if self.blocks < 0:
            raise ConfigError(f"model.blocks is {self.blocks}: give 0 or more.")
        if self.classes < 0 or self.classes == 1:
            raise ConfigError(f"model.classes is {self.classes}: semantics needs at least 2 classes, 0 turns it off.")
        if min(self.depth_weight, self.image_weight, self.uncertainty_weight, self.semantic_weight) < 0:
            raise ConfigError("a loss has a negative weight. Set model.*_weight to 0 or more.")
        if self.weighting == "uncertainty" and self.uncertainty != "none":
            raise ConfigError(
                f"model.weighting=uncertainty grows without end on a loss below 0, which model.uncertainty={self.uncertainty} has. "
                "Set model.weighting to dwa or fixed."
            )
        if self.epochs <= 0 or self.halve_every <= 0:
            raise ConfigError(f"model.epochs={self.epochs}, model.halve_every={self.halve_every}: both must be above 0.")

    @property
    def tasks(self) -> str:
        """What is predicted: "depth", or "both" with semantics."""
        return "both" if self.classes else "depth"

    def scaled(self, channels: int) -> int:
        """`channels` times `width`."""
        return max(1, round(channels * self.width))
