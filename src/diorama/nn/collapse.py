"""Whether an adversarial training still learns: outputs that no longer differ, discriminators that are never wrong."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

SIDE = 8
"""Images are compared at SIDE x SIDE pixels."""


class CollapseWatch:
    """Whether outputs differ as their inputs do, over the last `size` images.

    Mode collapse is one output for every input: the spread of the outputs falls towards 0 while that of the inputs stays.
    """

    def __init__(self, size: int = 64) -> None:
        self.size = size
        self._given, self._made = torch.empty(0), torch.empty(0)

    def add(self, given: Tensor, made: Tensor) -> None:
        """Take note of `(B, C, H, W)` inputs and the outputs made of them."""
        self._given, self._made = self._kept(self._given, given), self._kept(self._made, made)

    def _kept(self, seen: Tensor, images: Tensor) -> Tensor:
        small = F.adaptive_avg_pool2d(images.detach().float(), SIDE).flatten(1).cpu()
        return torch.cat([seen, small])[-self.size :] if seen.numel() else small[-self.size :]

    def ratio(self) -> float:
        """Spread of the outputs over that of the inputs: standard deviations over the images, their mean over the pixels; nan at first."""
        if len(self._made) < self.size // 2:
            return math.nan
        spread = float(self._given.std(0).mean())
        return float(self._made.std(0).mean()) / spread if spread > 0 else math.nan

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return {"given": self._given, "made": self._made}

    def load(self, state: dict[str, Tensor]) -> None:
        """Put `state` back."""
        self._given, self._made = state["given"], state["made"]


class VictoryWatch:
    """Share of patches that a discriminator judges rightly, averaged over about `steps` steps; 1 leaves its generator nothing to learn."""

    def __init__(self, steps: int = 100) -> None:
        self.steps = steps
        self._share = torch.zeros(2)  # running mean and its weight

    def add(self, real: Tensor, fake: Tensor, threshold: float) -> None:
        """Take note of the judgements of real and generated images; above `threshold` means real."""
        right = (torch.cat([(real > threshold).flatten(), (fake <= threshold).flatten()])).float().mean().detach().cpu()
        self._share = self._share + (torch.stack([right, torch.ones(())]) - self._share) / self.steps

    def share(self) -> float:
        """0 to 1; nan before a third of the steps."""
        right, weight = self._share.tolist()
        return right / weight if weight > 0.28 else math.nan

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return {"share": self._share}

    def load(self, state: dict[str, Tensor]) -> None:
        """Put `state` back."""
        self._share = state["share"]
