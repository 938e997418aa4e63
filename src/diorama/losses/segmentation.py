"""How far class scores are from the labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from diorama.errors import ShapeError
from diorama.nn.processes import shared_denominator
from diorama.types import IGNORE


def weighted_cross_entropy(logits: Tensor, semantic: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean cross entropy over the labelled pixels, each weighted by its class (CI-Net, Eq. 12).

    Divided so, rare classes raise the loss instead of only shifting it. Without a labelled pixel the loss is 0 with a gradient of 0.

    Choice: divided by the labelled pixels, not by the sum of their weights; weights are counted once on the training set.

    Args:
        logits: `(B, K, H, W)` class scores before the softmax.
        semantic: `(B, H, W)` int64 train ids, 255 = ignore.
        weight: `(K,)` weight per class, see `class_weights`; None weighs all alike.

    Raises:
        ShapeError: the two differ in batch, height or width, or `weight` has not K entries.
    """
    if logits.shape[:1] + logits.shape[2:] != semantic.shape:
        raise ShapeError(
            f"class scores {tuple(logits.shape)} and labels {tuple(semantic.shape)} differ in size; resize the scores to the labels."
        )
    if weight is not None and weight.shape != logits.shape[1:2]:
        raise ShapeError(f"{weight.numel()} class weights for {logits.shape[1]} classes; count the classes of this label set.")
    with torch.autocast(logits.device.type, enabled=False):
        scores = logits if logits.dtype == torch.float64 else logits.float()
        weight = None if weight is None else weight.to(scores)
        total = F.cross_entropy(scores, semantic, weight=weight, ignore_index=IGNORE, reduction="sum")
        return total / shared_denominator((semantic != IGNORE).sum()).to(total)


def class_weights(counts: Tensor) -> Tensor:
    """`(K,)` weights `(N_total - N_c) / N_total` from the pixels per class of the training set `counts` `(K,)` (CI-Net, Eq. 12).

    A training set without labels weighs every class 1.
    """
    counts = counts.to(torch.float64)
    total = counts.sum()
    return ((total - counts) / total).float() if total > 0 else torch.ones_like(counts, dtype=torch.float32)
