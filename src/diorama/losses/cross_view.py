"""How well depth and labels of a stereo pair agree: with pseudo depth and labels of each view, and with each other across the views.

Maps are `(B, 1, H, W)`, weights 0 where a pixel does not count (no pseudo depth, no trust, out of view). A weight map that is 0 everywhere
gives 0 with a gradient of 0. The unit of depth is the caller's: Pseudo-MTL has depth / 80.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from diorama.errors import ShapeError
from diorama.losses.segmentation import weighted_cross_entropy
from diorama.nn.processes import shared_weight
from diorama.nn.warp import Warp
from diorama.types import IGNORE

SMALLEST_PROBABILITY = 1e-6


class Views(NamedTuple):
    """One map of each view of a pair."""

    left: Tensor
    right: Tensor


class Weights(NamedTuple):
    """What the terms (3) and (7) weigh: across the views, the left view, the right view."""

    across: float
    left: float
    right: float


def weighted_mean(cost: Tensor, weight: Tensor) -> Tensor:
    """Sum of `weight` * `cost` over sum of `weight`, both `(B, 1, H, W)`; 0 with a gradient of 0 where all weights are 0.

    Raises:
        ShapeError: the two differ in shape.
    """
    if cost.shape != weight.shape:
        raise ShapeError(f"cost {tuple(cost.shape)} and weight {tuple(weight.shape)} differ; give both as (B, 1, H, W).")
    weight = weight.to(cost.dtype)
    total = torch.where(weight > 0, weight * cost, torch.zeros_like(cost)).sum()
    return total / shared_weight(weight.sum()).to(total)


def regression(weight: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Lreg: mean absolute difference of two depth maps, weighted by confidence (Pseudo-MTL, Eq. 1).

    Choice: Z is the sum of the weights over the batch, of all processes; where it is 0 the loss is 0.
    """
    return weighted_mean((precise(first) - precise(second)).abs(), weight)


def depth_regression(weight: Views, depth: Views, pseudo: Views) -> Tensor:
    """L_d: how far the depth of both views is from their pseudo depth (Pseudo-MTL, Eq. 1)."""
    return regression(weight.left, depth.left, pseudo.left) + regression(weight.right, depth.right, pseudo.right)


def segmentation(logits: Views, semantic: Tensor, semantic_right: Tensor | None) -> Tensor:
    """L_s: cross entropy of both views over their labelled pixels (Pseudo-MTL, Eq. 2).

    Choice: each view is divided by its own labelled pixels; without labels of the right view the left one counts alone.

    Args:
        logits: `(B, K, H, W)` each.
        semantic: `(B, H, W)` train ids of the left view, 255 = ignore.
        semantic_right: the same of the right view, or None.
    """
    loss = weighted_cross_entropy(logits.left, semantic)
    return loss if semantic_right is None else loss + weighted_cross_entropy(logits.right, semantic_right)


def depth_consistency(across: Tensor, left: Tensor, right: Tensor, weights: Weights, gain: float = 1.0) -> dict[str, Tensor]:
    """The weighted terms of L_d,c under their names; their sum is the loss (Pseudo-MTL, Eq. 3).

    Choice: `gain` multiplies all three: 1 is as printed, 80 is (3) in metres while (1) is in depth / 80.
    """
    return {
        "depth_across": gain * weights.across * across,
        "depth_left": gain * weights.left * left,
        "depth_right": gain * weights.right * right,
    }


def depth_across(weight: Views, depth: Views, warped: Views) -> Tensor:
    """L_d,lr: the predicted depth of each view against that of the other view warped into it (Pseudo-MTL, Eq. 4).

    Args:
        weight: confidence where both views see the pixel, else 0.
        depth: d_l and d_r.
        warped: G(d_r; b_l) in the left view, G(d_l; b_r) in the right one.
    """
    return regression(weight.left, depth.left, warped.left) + regression(weight.right, warped.right, depth.right)


def depth_of_view(weight: Tensor, pseudo: Tensor, depth: Tensor, warped: Tensor, warped_pseudo: Tensor, weight_pseudo: Tensor) -> Tensor:
    """L_d,l or L_d,r: one view's pseudo depth against the other's prediction warped, and the other way (Pseudo-MTL, Eqs. 5 and 6).

    Choice: the second terms are read with the superscript that print lost: Lreg(C_l, d_l, G(d_r^pgt; d_l^pgt)), (6) mirrored.

    Args:
        weight: confidence of the view where both see the pixel, else 0.
        pseudo: pseudo depth of the view.
        depth: predicted depth of the view.
        warped: predicted depth of the other view, warped into this one.
        warped_pseudo: pseudo depth of the other view, warped into this one.
        weight_pseudo: `weight`, 0 also where the other view has no pseudo depth to warp.
    """
    return regression(weight, pseudo, warped) + regression(weight_pseudo, depth, warped_pseudo)


def soft_cross_entropy(target: Tensor, log_prediction: Tensor) -> Tensor:
    """H(target, prediction) of every pixel, `(B, 1, H, W)`, of probabilities and log probabilities `(B, K, H, W)`."""
    return -(target * log_prediction).sum(1, keepdim=True)


def log_clamped(probability: Tensor) -> Tensor:
    """Log of probabilities, of those below 1e-6 as if they were that; their gradient is then 0."""
    return probability.clamp_min(SMALLEST_PROBABILITY).log()


def semantic_consistency(across: Tensor | None, left: Tensor | None, right: Tensor | None, weights: Weights) -> dict[str, Tensor]:
    """The weighted terms of L_s,c under their names, without those that are None; their sum is the loss (Pseudo-MTL, Eq. 7)."""
    named = (("semantic_across", weights.across, across), ("semantic_left", weights.left, left), ("semantic_right", weights.right, right))
    return {name: weight * term for name, weight, term in named if term is not None}


def semantic_across(weight: Views, log_own: Views, warped: Views) -> Tensor:
    """L_s,lr: class probabilities of each view against those of the other view warped into it (Pseudo-MTL, Eq. 8).

    Choice: 1/2 [H(p, q) + H(q, p)] per view, divided by the sum of the confidence over the pixels that both views see.

    Args:
        weight: confidence where both views see the pixel, else 0.
        log_own: `(B, K, H, W)` log probabilities of s_l and s_r.
        warped: `(B, K, H, W)` probabilities G(s_r; b_l) in the left view, G(s_l; b_r) in the right one.
    """
    return torch.stack(
        [
            weighted_mean((soft_cross_entropy(own.exp(), log_clamped(other)) + soft_cross_entropy(other, own)) / 2, w)
            for w, own, other in zip(weight, log_own, warped, strict=True)
        ]
    ).sum()


def semantic_of_view(
    weight: Tensor, log_own: Tensor, warped: Tensor, labels: Tensor | None, other_labels: Tensor | None, warp: Warp
) -> Tensor | None:
    """L_s,l or L_s,r: labels against the other view's classes warped, its labels warped against the classes (Pseudo-MTL, Eqs. 9-10).

    Choice: labels are always the target of H; labels warp as one-hot maps, bilinear, where all that is blended is labelled; without
    labels of a view the half that needs them is left out. Each half is divided by the sum of its confidence.

    Args:
        weight: `(B, 1, H, W)` confidence of the view where both see the pixel, else 0.
        log_own: `(B, K, H, W)` log probabilities of the view.
        warped: `(B, K, H, W)` probabilities of the other view, warped into this one.
        labels: `(B, H, W)` train ids of the view, 255 = ignore.
        other_labels: the same of the other view.
        warp: into this view.

    Returns:
        None without any labels.
    """
    halves = []
    if labels is not None:
        # H(one-hot, q) is the log of one class; the other classes need not be looked at
        halves.append(weighted_mean(-log_clamped(_of_class(warped, labels[:, None])), weight * (labels[:, None] != IGNORE)))
    if other_labels is not None:
        other = other_labels[:, None]
        # a blend of two one-hot maps times log p is the blend of two log probabilities
        near, far = (_of_class(log_own, other.gather(-1, index)) for index in (warp.first, warp.second))
        part = warp.part.to(near.dtype)
        halves.append(weighted_mean(-(near + part * (far - near)), weight * warp.whole(other != IGNORE)))
    return torch.stack(halves).sum() if halves else None


def _of_class(values: Tensor, labels: Tensor) -> Tensor:
    """`(B, K, H, W)` at the classes `labels` `(B, 1, H, W)`; class 0 where ignored (such pixels have weight 0)."""
    return values.gather(1, torch.where(labels == IGNORE, torch.zeros_like(labels), labels))


def precise(values: Tensor) -> Tensor:
    """`values` in float32 or better: losses keep their digits under autocast."""
    return values if values.dtype == torch.float64 else values.float()
