"""Decoders of SemiMTL: pyramid pooling for semantics, convolutions and upsampling for depth."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diorama.errors import ConfigError
from diorama.nn.decoders import Upsample, conv_bn_relu

BINS = (1, 2, 3, 6)


def bin_means(features: Tensor, bins: int) -> Tensor:
    """`(B, C, H, W)` -> `(B, C, bins, bins)`, the mean over each cell: `adaptive_avg_pool2d` as two products, which exports for any size.

    Cell i runs from floor(i H / bins) to ceil((i + 1) H / bins); neighbours share a pixel where H is no multiple of `bins`.
    """
    rows, columns = (_shares(length, bins, features) for length in features.shape[-2:])
    return rows @ features @ columns.mT


def _shares(length: int, bins: int, like: Tensor) -> Tensor:
    """`(bins, length)`: row i weighs the pixels of cell i alike, their sum is 1."""
    cells = torch.arange(bins, device=like.device)[:, None]
    start, stop = (cells * length) // bins, ((cells + 1) * length + bins - 1) // bins
    pixels = torch.arange(length, device=like.device)[None]
    inside = ((pixels >= start) & (pixels < stop)).to(like.dtype)
    return inside / (stop - start).to(like.dtype)


class PyramidPooling(nn.Module):
    """The features beside their means over 1x1, 2x2, 3x3 and 6x6 cells, each mean through a 1x1 convolution (Zhao et al. 2017).

    Args:
        channels: of the features; every level adds `channels // len(bins)`.
        bins: cells per side, a level each.

    Raises:
        ConfigError: no level, one without a cell, or more levels than channels.
    """

    def __init__(self, channels: int, bins: Sequence[int] = BINS) -> None:
        super().__init__()
        if not bins or min(bins) < 1 or len(bins) > channels:
            raise ConfigError(f"pyramid bins {list(bins)} for {channels} channels: give numbers of cells, such as [1, 2, 3, 6].")
        self.bins = tuple(bins)
        width = channels // len(bins)
        self.levels = nn.ModuleList(conv_bn_relu(channels, width, 1) for _ in bins)
        self.channels = channels + len(bins) * width

    def forward(self, features: Tensor) -> Tensor:
        """`(B, C, H, W)` -> `(B, C + levels * (C // levels), H, W)`."""
        parts = [features]
        for bins, level in zip(self.bins, self.levels, strict=True):
            parts.append(F.interpolate(level(bin_means(features, bins)), size=features.shape[-2:], mode="bilinear", align_corners=False))
        return torch.cat(parts, 1)


class PSPDecoder(nn.Module):
    """Pyramid pooling, a 3x3 convolution with batch norm and ReLU, dropout, and one score per class (sec. 3.4; Zhao et al. 2017).

    Args:
        channels: of the encoder's features.
        classes: scores per pixel.
        width: channels between the two convolutions.
        bins: cells per side of each level.
        dropout: share of the channels that are dropped in training.
    """

    def __init__(self, channels: int, classes: int, width: int = 512, bins: Sequence[int] = BINS, dropout: float = 0.1) -> None:
        super().__init__()
        self.pooling = PyramidPooling(channels, bins)
        self.conv = conv_bn_relu(self.pooling.channels, width)
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, features: Tensor) -> Tensor:
        """`(B, C, H, W)` -> scores `(B, K, H, W)` of the same size."""
        scores: Tensor = self.head(self.dropout(self.conv(self.pooling(features))))
        return scores


class DepthDecoder(nn.Module):
    """A 3x3 convolution, then upsampling by 2 with a 3x3 convolution for each further width, then one value per pixel (sec. 3.4).

    Args:
        channels: of the encoder's features.
        widths: channels after each convolution; the answer is 2^(widths - 1) times as large as the features.

    Raises:
        ConfigError: no width.
    """

    def __init__(self, channels: int, widths: Sequence[int] = (256, 128, 64)) -> None:
        super().__init__()
        if not widths:
            raise ConfigError("a depth decoder without convolutions. Give one or more widths, such as [256, 128, 64].")
        self.enter = conv_bn_relu(channels, widths[0])
        self.up = nn.ModuleList(Upsample(before, after) for before, after in pairwise(widths))
        self.head = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """`(B, C, H, W)` -> unbounded values `(B, 1, s H, s W)` with s = 2^(widths - 1)."""
        features = self.enter(features)
        for stage in self.up:
            features = stage(features)
        values: Tensor = self.head(features)
        return values
