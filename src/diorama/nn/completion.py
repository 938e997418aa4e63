"""Parts of networks that complete sparse depth: multi-kernel encoder, feature extractors, feature sharing, decoder, a fill by pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diorama.nn.decoders import conv_bn_relu

Upsampling = Literal["transposed", "bilinear"]

STRIDE = 16
"""The encoder's output has a sixteenth of the resolution of its input."""

_LEVELS = 5
_SURROUNDINGS = 6
_SWEEPS = 4


def fill(sparse: Tensor) -> Tensor:
    """Every pixel of `(B, 1, H, W)` sparse depth [m, 0 = unknown], filled from the known ones; these keep their values.

    Push and pull: means of the known depth over cells of 2, 4, 8 and 16 pixels; unknown cells of 16 pixels take the mean of known ones
    in ever wider surroundings; then, coarse to fine, unknown cells take the bilinear value of the coarser level and are smoothed by four
    sweeps of the mean of their four neighbours. Only pooling, shifts and sums in float32, so the exported graph holds it.
    An image without a known pixel comes back as 0.

    Args:
        sparse: sizes are multiples of 16.
    """
    sparse = sparse.float()
    levels = [(sparse, (sparse > 0).to(sparse.dtype))]
    while len(levels) < _LEVELS:
        value, known = levels[-1]
        total, share = F.avg_pool2d(value * known, 2), F.avg_pool2d(known, 2)
        levels.append((total / share.clamp_min(1e-6), (share > 0).to(share.dtype)))
    filled = smoothed(spread(*levels[-1]), *levels[-1])
    for value, known in reversed(levels[:-1]):
        finer = F.interpolate(filled, scale_factor=2.0, mode="bilinear", align_corners=False)
        filled = smoothed(value * known + (1 - known) * finer, value, known)
    return filled


def surroundings(filled: Tensor) -> Tensor:
    """Mean depth [m] around every pixel of a fill `(B, 1, H, W)`, over about 80 pixels, at least 0.1 m; sizes are multiples of 16."""
    coarse = F.pad(F.avg_pool2d(filled, STRIDE), (2, 2, 2, 2), mode="replicate")
    mean = F.avg_pool2d(coarse, 5, stride=1)
    return F.interpolate(mean, scale_factor=float(STRIDE), mode="bilinear", align_corners=False).clamp_min(0.1)


def spread(value: Tensor, known: Tensor) -> Tensor:
    """`value` where `known` is 1, elsewhere the mean of the known values in the nearest of six surroundings, each three times as wide."""
    filled, found = value * known, known
    total, share = filled, known
    for level in range(_SURROUNDINGS):
        total, share = (_box(part, 2**level) for part in (total, share))
        fresh = (1 - found) * (share > 0).to(share.dtype)
        filled = filled + fresh * total / share.clamp_min(1e-12)
        found = found + fresh
    # the widest surroundings reach 63 cells, a thousand pixels; what lies beyond takes the mean of everything
    mean = (value * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp_min(1)
    return filled + (1 - found) * mean


def smoothed(filled: Tensor, value: Tensor, known: Tensor) -> Tensor:
    """`filled` after four sweeps of the mean of the four neighbours, with `value` held where `known` is 1."""
    held, free = value * known, 1 - known
    for _ in range(_SWEEPS):
        ringed = F.pad(filled, (1, 1, 1, 1), mode="replicate")
        mean = (ringed[..., :-2, 1:-1] + ringed[..., 2:, 1:-1] + ringed[..., 1:-1, :-2] + ringed[..., 1:-1, 2:]) / 4
        filled = held + free * mean
    return filled


def _box(values: Tensor, step: int) -> Tensor:
    """A ninth of the sum over 3x3 values that lie `step` apart; beyond the border are zeros."""
    wide = F.pad(values, (step, step, 0, 0))
    row = (wide[..., : -2 * step] + wide[..., step:-step] + wide[..., 2 * step :]) / 3
    high = F.pad(row, (0, 0, step, step))
    return (high[..., : -2 * step, :] + high[..., step:-step, :] + high[..., 2 * step :, :]) / 3


class Residual(nn.Module):
    """Two 3x3 convolutions whose result is added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv_bn_relu(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, features: Tensor) -> Tensor:
        """`(B, C, H, W)` -> the same size."""
        return F.relu(features + self.second(self.first(features)))


class MultiKernelEncoder(nn.Module):
    """The feature encoder F: one branch per kernel size, four stride-2 convolutions each, concatenated (sec. 3.2).

    Args:
        inputs: channels of the input.
        kernels: odd kernel sizes, one branch each.
        channels: channels of one branch at 1/2, 1/4, 1/8 and 1/16.
        blocks: residual blocks after every convolution (0 in the paper).
    """

    def __init__(self, inputs: int, kernels: Sequence[int], channels: Sequence[int], blocks: int = 0) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.ModuleList(
                nn.Sequential(conv_bn_relu(before, after, kernel, stride=2), *(Residual(after) for _ in range(blocks)))
                for before, after in pairwise((inputs, *channels))
            )
            for kernel in kernels
        )
        self.channels = [len(kernels) * count for count in channels]

    def forward(self, given: Tensor) -> list[Tensor]:
        """`(B, C, H, W)` -> features at 1/2, 1/4, 1/8 and 1/16, of all branches side by side; the last one is f_0."""
        found = []
        for branch in self.branches:
            features, levels = given, []
            for stage in cast("nn.ModuleList", branch):
                features = stage(features)
                levels.append(features)
            found.append(levels)
        return [torch.cat(levels, 1) for levels in zip(*found, strict=True)]


class Up(nn.Module):
    """Phi: twice the resolution, then batch norm and ReLU; skip features are added before the norm.

    "transposed" is a 4x4 transposed convolution; "bilinear" is a 3x3 convolution followed by bilinear upsampling.
    """

    def __init__(self, inputs: int, outputs: int, kind: Upsampling = "transposed", skip: int = 0, blocks: int = 0) -> None:
        super().__init__()
        self.kind = kind
        if kind == "transposed":
            self.conv: nn.Module = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
        else:
            self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.lateral = nn.Conv2d(skip, outputs, 1, bias=False) if skip else None
        self.norm = nn.BatchNorm2d(outputs)
        self.blocks = nn.Sequential(*(Residual(outputs) for _ in range(blocks)))

    def forward(self, features: Tensor, skip: Tensor | None = None) -> Tensor:
        """`(B, C, H, W)` -> `(B, C', 2 H, 2 W)`."""
        up: Tensor = self.conv(features)
        if self.kind == "bilinear":
            up = F.interpolate(up, scale_factor=2.0, mode="bilinear", align_corners=False)
        if self.lateral is not None and skip is not None:
            up = up + self.lateral(skip)
        found: Tensor = self.blocks(F.relu(self.norm(up)))
        return found


class Extractor(nn.Module):
    """G_d1 or G_r1: f(n) = Phi(f(n - 1)) from f_0 at 1/16 to f(N_t) at 1/2 (Image reconstruction, Eqs. 8-10).

    Args:
        inputs: channels of f_0.
        channels: channels of f(1), ..., f(N_t).
        kind: how Phi upsamples.
        skips: channels of the encoder's features at the resolution of each f(n); empty: no skip (the paper).
        blocks: residual blocks after every Phi (0 in the paper).
    """

    def __init__(
        self, inputs: int, channels: Sequence[int], kind: Upsampling = "transposed", skips: Sequence[int] = (), blocks: int = 0
    ) -> None:
        super().__init__()
        steps = pairwise((inputs, *channels))
        skips = skips or [0] * len(channels)
        self.stages = nn.ModuleList(Up(before, after, kind, skip, blocks) for (before, after), skip in zip(steps, skips, strict=True))

    def forward(self, first: Tensor, skips: Sequence[Tensor] = (), count: int | None = None) -> list[Tensor]:
        """f(1), ..., f(count) from f_0; `skips` are the encoder's features at 1/8, 1/4, 1/2; by default all N_t."""
        found: list[Tensor] = []
        features = first
        for number, stage in enumerate(self.stages if count is None else list(self.stages)[:count]):
            features = stage(features, skips[number] if skips else None)
            found.append(features)
        return found


class Sharing(nn.Module):
    """The feature sharing module: depth and image features summed level by level (Image reconstruction, Eqs. 8-10).

    Choice: Phi is the transposed convolution of the extractors, so that the sizes match.

    Args:
        channels: channels of f(1), ..., f(N_t).
        kind: how Phi upsamples.
    """

    def __init__(self, channels: Sequence[int], kind: Upsampling = "transposed") -> None:
        super().__init__()
        self.stages = nn.ModuleList(Up(before, after, kind) for before, after in pairwise(channels))

    def forward(self, depth: Sequence[Tensor], image: Sequence[Tensor]) -> Tensor:
        """f_s(N_t) from f_d(1), ..., f_d(N_t - 1) and f_r(1), ..., f_r(N_t - 1); what both have beyond is not looked at."""
        shared = depth[0] + image[0]
        for number, stage in enumerate(self.stages, start=1):
            shared = stage(shared)
            if number < len(self.stages):
                shared = shared + depth[number] + image[number]
        return shared


class Decoder(nn.Module):
    """G_d2 or G_r2: features at 1/2 -> `outputs` linear maps at 1/1."""

    def __init__(self, inputs: int, channels: int, outputs: int, kind: Upsampling = "transposed") -> None:
        super().__init__()
        self.up = Up(inputs, channels, kind)
        self.head = nn.Conv2d(channels, outputs, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """`(B, C, H / 2, W / 2)` -> `(B, outputs, H, W)`; float32 under autocast, which would round metres to three digits."""
        up: Tensor = self.up(features)
        found: Tensor
        if torch.is_autocast_enabled(up.device.type):
            with torch.autocast(up.device.type, enabled=False):
                found = self.head(up.float())
        else:
            found = self.head(up)
        return found
