"""How far a confidence is from telling right disparities from wrong ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from diorama.errors import ShapeError
from diorama.nn.processes import shared_denominator


def right_disparity(matched: Tensor, truth: Tensor, tolerance: float = 3.0) -> tuple[Tensor, Tensor]:
    """Whether |matched - truth| <= tolerance, and where that can be said, both bool and of the shape of the two [px].

    It can be said where truth is known, occluded pixels included; where nothing was matched the answer is no.
    """
    known = truth > 0
    return known & (matched > 0) & ((matched - truth).abs() <= tolerance), known


def confidence_loss(logits: Tensor, right: Tensor, known: Tensor) -> Tensor:
    """Mean binary cross entropy of sigmoid(`logits`) against `right` over the `known` pixels; without one, 0 with a gradient of 0.

    Args:
        logits: `(B, 1, H, W)`.
        right: likewise, bool.
        known: likewise, bool.

    Raises:
        ShapeError: they differ in shape.
    """
    if not logits.shape == right.shape == known.shape:
        raise ShapeError(f"logits {tuple(logits.shape)}, labels {tuple(right.shape)}, mask {tuple(known.shape)}: bring them to one size.")
    with torch.autocast(logits.device.type, enabled=False):
        scores = logits if logits.dtype == torch.float64 else logits.float()
        each = F.binary_cross_entropy_with_logits(scores, right.to(scores), reduction="none")
        total = torch.where(known, each, torch.zeros_like(each)).sum()
        return total / shared_denominator(known.sum()).to(total)
