"""Encoder-decoders after SegNet: the decoder mirrors the encoder and puts its features back where the encoder's pooling took them from.

Badrinarayanan, Kendall, Cipolla: SegNet, PAMI 2017. The places are found again from the features before each pooling, so the encoder may
be any network that pools 2x2 (the VGGs of timm). Other backbones have nothing to put back: their decoder upsamples bilinearly.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diorama.nn.backbones import Backbone
from diorama.nn.decoders import conv_bn_relu

Upsampling = Literal["unpool", "bilinear"]


def pooled_from(features: Tensor) -> Tensor:
    """`(B, C, 4, H / 2, W / 2)` bool: which pixel of each 2x2 cell a max pooling takes, the first one where several are largest."""
    unshuffled = F.pixel_unshuffle(features, 2)
    cells = unshuffled.view(-1, features.shape[1], 4, *unshuffled.shape[2:])
    largest = cells.amax(2, keepdim=True) == cells
    taken = [largest[:, :, 0]]
    free = ~taken[0]
    for place in range(1, 4):
        taken.append(largest[:, :, place] & free)
        free = free & ~largest[:, :, place]
    return torch.stack(taken, 2)


def unpool(features: Tensor, taken: Tensor) -> Tensor:
    """`(B, C, h, w)` -> `(B, C, 2 h, 2 w)`: each value at the pixel of its cell that `taken` `(B, C, 4, h, w)` names, 0 at the others."""
    return F.pixel_shuffle((features.unsqueeze(2) * taken.to(features.dtype)).flatten(1, 2), 2)


def pools(encoder: Backbone) -> bool:
    """Whether `encoder` halves its features by 2x2 max pooling alone, at every stride from 1 on."""
    layers = list(encoder.features.modules())
    strided = any(isinstance(layer, nn.Conv2d) and layer.stride != (1, 1) for layer in layers)
    poolings = [layer for layer in layers if isinstance(layer, nn.MaxPool2d)]
    return not strided and len(poolings) == len(encoder.strides) - 1 and encoder.strides[0] == 1


def convolutions(encoder: Backbone) -> list[int]:
    """Convolutions of an encoder that `pools`, between one pooling and the next."""
    counts = [0]
    for layer in encoder.features.modules():
        if isinstance(layer, nn.MaxPool2d):
            counts.append(0)
        counts[-1] += isinstance(layer, nn.Conv2d)
    return counts[:-1]


class Rise(nn.Module):
    """One stage of the decoder: features of half the size put back or blended up, skip features added if there are any, convolutions."""

    def __init__(self, inputs: int, outputs: int, layers: int, skip: int = 0) -> None:
        super().__init__()
        self.lateral = nn.Conv2d(skip, inputs, 1) if skip else None
        widths = [inputs] * layers + [outputs]
        self.layers = nn.Sequential(*(conv_bn_relu(a, b) for a, b in pairwise(widths)))

    def forward(self, features: Tensor, skip: Tensor | None = None, taken: Tensor | None = None) -> Tensor:
        """`(B, C, h, w)` -> `(B, C', 2 h, 2 w)`."""
        if taken is not None:
            features = unpool(features, taken)
        else:
            features = F.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)
        if self.lateral is not None and skip is not None:
            features = features + self.lateral(skip)
        up: Tensor = self.layers(features)
        return up


class SegDecoder(nn.Module):
    """A decoder that mirrors `encoder`, stage by stage, with a 3x3 convolution at its end that answers.

    Args:
        encoder: with features from stride 1 or 2 on.
        outputs: channels of the answer.
        skip: add the encoder's features of each size through a 1x1 convolution.
        finest: stride of the answer; the stages below it are left out.
    """

    def __init__(self, encoder: Backbone, outputs: int, skip: bool = False, finest: int = 1) -> None:
        super().__init__()
        channels, pooling = encoder.channels, pools(encoder)
        # the features after a pooling have the channels, and the places, of those before it
        widths = list(reversed(channels[:-1] if pooling else channels))
        counts = list(reversed(convolutions(encoder))) if pooling else [1] * len(widths)
        stages: list[Rise] = []
        stride, here = encoder.strides[-1], widths[0]
        while stride > finest:
            stride //= 2
            number = len(stages)
            there = widths[min(number + 1, len(widths) - 1)]
            beside = dict(zip(encoder.strides, channels, strict=True)).get(stride, 0) if skip else 0
            stages.append(Rise(here, there, counts[min(number, len(counts) - 1)], beside))
            here = there
        self.stages = nn.ModuleList(stages)
        self.head = nn.Conv2d(here, outputs, 3, padding=1)

    def forward(self, features: Sequence[Tensor], taken: Sequence[Tensor] | None = None) -> Tensor:
        """Features of the encoder, finest first -> `(B, outputs, H / finest, W / finest)`.

        Args:
            features: of the encoder.
            taken: what `pooled_from` says of each of them but the last; None: bilinear.
        """
        answer = features[-1]
        for number, stage in enumerate(self.stages):
            level = len(features) - 2 - number
            skip = features[level] if level >= 0 else None
            answer = stage(answer, skip, taken[level] if taken is not None else None)
        found: Tensor = self.head(answer)
        return found
