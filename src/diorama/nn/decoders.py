"""Decoder parts of CI-Net: the feature-sharing module and the unit it is compared with, upsampling, a light pyramid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diorama.nn.depthwise import speed_up_depthwise


def conv_bn_relu(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution without bias, batch norm, ReLU; same size at stride 1."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A depthwise separable convolution: 3x3 per channel, then 1x1, each with batch norm and ReLU."""
    return nn.Sequential(conv_bn_relu(inputs, inputs, 3, stride, groups=inputs), conv_bn_relu(inputs, outputs, 1))


class FeatureSharing(nn.Module):
    """The feature-sharing module FSM (CI-Net, Eq. 5): both features shaped by one small encoder-decoder and added back.

    Two stride-2 depthwise separable convolutions down, two bilinear upsamplings back, each followed by a separable one.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down1 = separable(2 * channels, channels, stride=2)
        self.down2 = separable(channels, channels, stride=2)
        self.up1 = separable(channels, channels)
        self.up2 = separable(channels, channels)
        self.to_depth = nn.Conv2d(channels, channels, 1)
        self.to_semantic = nn.Conv2d(channels, channels, 1)
        speed_up_depthwise(self)

    def allocate(self, depth: Tensor, semantic: Tensor) -> tuple[Tensor, Tensor]:
        """What is added to each branch (CI-Net, Eq. 14): two `(B, C, H, W)` maps from two."""
        half = self.down1(torch.cat((depth, semantic), 1))
        quarter = self.down2(half)
        half = self.up1(F.interpolate(quarter, size=half.shape[-2:], mode="bilinear", align_corners=False))
        shared = self.up2(F.interpolate(half, size=depth.shape[-2:], mode="bilinear", align_corners=False))
        return self.to_depth(shared), self.to_semantic(shared)

    def forward(self, depth: Tensor, semantic: Tensor) -> tuple[Tensor, Tensor]:
        """`(B, C, H, W)` features of both branches -> the same, shared (CI-Net, Eq. 5)."""
        to_depth, to_semantic = self.allocate(depth, semantic)
        return depth + to_depth, semantic + to_semantic


class LateralSharing(nn.Module):
    """The lateral sharing unit LSU that the paper compares with (CI-Net, Eq. 6; Jiao et al. 2018): sums of 1x1 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depth_to_depth = nn.Conv2d(channels, channels, 1)
        self.semantic_to_depth = nn.Conv2d(channels, channels, 1)
        self.depth_to_semantic = nn.Conv2d(channels, channels, 1)
        self.semantic_to_semantic = nn.Conv2d(channels, channels, 1)

    def allocate(self, depth: Tensor, semantic: Tensor) -> tuple[Tensor, Tensor]:
        """What is added to each branch (CI-Net, Eq. 14): two `(B, C, H, W)` maps from two."""
        to_depth = self.depth_to_depth(depth) + self.semantic_to_depth(semantic)
        to_semantic = self.depth_to_semantic(depth) + self.semantic_to_semantic(semantic)
        return to_depth, to_semantic

    def forward(self, depth: Tensor, semantic: Tensor) -> tuple[Tensor, Tensor]:
        """`(B, C, H, W)` features of both branches -> the same, shared (CI-Net, Eq. 6)."""
        to_depth, to_semantic = self.allocate(depth, semantic)
        return depth + to_depth, semantic + to_semantic


class Upsample(nn.Module):
    """One upsampling stage: bilinear x2, the skip features added if there are any, 3x3 convolution with batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, skip: int = 0) -> None:
        super().__init__()
        self.lateral = nn.Conv2d(skip, inputs, 1) if skip else None
        self.conv = conv_bn_relu(inputs, outputs)

    def forward(self, features: Tensor, skip: Tensor | None = None) -> Tensor:
        """`(B, C, H, W)` -> `(B, C', 2 H, 2 W)`."""
        features = F.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)
        if self.lateral is not None and skip is not None:
            features = features + self.lateral(skip)
        up: Tensor = self.conv(features)
        return up


class Pyramid(nn.Module):
    """Levels of strides 8, 16, 32 fused into stride 8, coarse to fine (Lin et al. 2017), with a global context at the top."""

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(count, width, 1, bias=False) for count in channels)
        self.context = nn.Conv2d(channels[-1], width, 1)
        self.smooth = nn.ModuleList(conv_bn_relu(width, width) for _ in channels[:-1])

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features finest first -> `(B, width, H / 8, W / 8)`."""
        top = self.laterals[-1](features[-1]) + self.context(features[-1].mean((2, 3), keepdim=True))
        for lateral, smooth, feature in zip(reversed(self.laterals[:-1]), reversed(self.smooth), reversed(features[:-1]), strict=True):
            top = smooth(lateral(feature) + F.interpolate(top, size=feature.shape[-2:], mode="bilinear", align_corners=False))
        fused: Tensor = top
        return fused
