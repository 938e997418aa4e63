"""Networks that judge a disparity map by the map alone, and one that says how sure is sure enough.

| network | source | layers |
|---|---|---|
| `ccnn` | Poggi, Mattoccia: Learning from scratch a confidence measure. BMVC 2016 | 4 x (3x3, 64, ReLU), 1x1 100, 1x1 100, 1x1 1 |
| `choi` | the network that Choi et al. (arXiv 2009.12840) call CCNN | 9x9, 7x7, 5x5, 3x3 (64, norm, ReLU), 1x1 1 |
| `ThresNet` | Choi et al., adaptive confidence thresholding | 9x9, 7x7, 5x5, 3x3 (64, stride 2, norm, ReLU), mean, linear |

A confidence network is valid convolutions throughout: its answer at a pixel depends on the square of `2 halo + 1` pixels around it and on
nothing else, so a window gives what the whole map gives, and patches need not be cut out to train on.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Kind = Literal["ccnn", "choi"]

KERNELS = (9, 7, 5, 3)
SCALE_PX = 255.0
"""Disparity that the network sees as 1."""
DIFFERENCE_PX = 4.0
"""Difference between neighbours that a first layer of `start_from_differences` sees as 1."""
STRIPS = 4
"""A map is judged in so many bands of rows, one after the other: less memory, the same answer. Constant, so that it can be exported."""


class ConfidenceNetwork(nn.Module):
    """Disparity [px] -> logits of "right"; see the table for the two kinds."""

    def __init__(self, kind: Kind = "ccnn", width: int = 64) -> None:
        super().__init__()
        kernels = KERNELS if kind == "choi" else (3, 3, 3, 3)
        self.halo = sum(kernel // 2 for kernel in kernels)
        """How far beyond a pixel the network looks [px]."""
        layers: list[nn.Module] = []
        before = 1
        for kernel in kernels:
            layers += [nn.Conv2d(before, width, kernel, bias=kind == "ccnn")]
            layers += [nn.ReLU()] if kind == "ccnn" else [nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        if kind == "ccnn":
            layers += [nn.Conv2d(width, 100, 1), nn.ReLU(), nn.Conv2d(100, 100, 1), nn.ReLU()]
            before = 100
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, 1, 1))

    def start_from_differences(self) -> None:
        """He initialisation, a first layer that sees differences between neighbours, of `DIFFERENCE_PX` as 1, and logits of 0.

        Of 1/255 a pixel, what tells a wrong disparity from a right one is a thousandth of what both have in common, and networks that
        start from the usual weights learn for long what the share of right pixels is and nothing else. What can be learned is the same.
        """
        convolutions = [layer for layer in self.layers if isinstance(layer, nn.Conv2d)]
        for layer in convolutions:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        first = convolutions[0].weight
        with torch.no_grad():
            first.sub_(first.mean((-2, -1), keepdim=True)).mul_(SCALE_PX / DIFFERENCE_PX)
        nn.init.zeros_(convolutions[-1].weight)

    def valid(self, disparity: Tensor) -> Tensor:
        """`(B, 1, H, W)` [px] -> logits `(B, 1, H - 2 halo, W - 2 halo)`: those of the pixels whose whole surroundings are seen."""
        with torch.autocast(disparity.device.type, enabled=False):  # bf16 would round a disparity of 100 px to half a pixel
            first = self.layers[0](disparity.to(self.layers[0].weight.dtype) / SCALE_PX)  # type: ignore[arg-type]
        logits: Tensor = self.layers[1:](first)
        return logits

    def forward(self, disparity: Tensor) -> Tensor:
        """`(B, 1, H, W)` [px] -> logits `(B, 1, H, W)`; beyond the border the map goes on as its last row and column."""
        height, halo = disparity.shape[-2], self.halo
        rows = (height + STRIPS - 1) // STRIPS
        padded = F.pad(disparity, (halo, halo, halo, halo + STRIPS * rows - height), mode="replicate")
        bands = [self.valid(padded[:, :, band * rows : (band + 1) * rows + 2 * halo]) for band in range(STRIPS)]
        return torch.cat(bands, -2)[:, :, :height]


class ThresNet(nn.Module):
    """Confidence map -> the threshold tau of each image, in 0..1 (Choi et al., sec. 3.2)."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, kernel in zip((1, width, width, width), KERNELS, strict=True):
            layers += [nn.Conv2d(before, width, kernel, stride=2, padding=kernel // 2, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(width, 1)

    def forward(self, confidence: Tensor) -> Tensor:
        """`(B, 1, H, W)` in 0..1 -> tau `(B, 1, 1, 1)`."""
        features = self.layers(confidence).mean((-2, -1))
        return torch.sigmoid(self.last(features))[..., None, None]
