"""What trains networks and discriminators that tell domains apart: class 0 is the ground truth, class k predictions on data set k."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from diorama.errors import ShapeError
from diorama.nn.processes import shared_denominator
from diorama.types import IGNORE

Mode = Literal["m1", "m2", "m3"]
TRUTH = 0
"""The domain of the ground truth."""


def domain_loss(scores: Tensor, domains: Sequence[int], mask: Tensor | None = None) -> Tensor:
    """Mean over pixels of -log of the probability that a map is of one of `domains` (SemiMTL, Eqs. 2 and 3).

    One domain is the cross entropy of (2); domain 0 for a prediction on labelled data is (3). Without a pixel, 0 with a gradient of 0.

    Choice: the mean over the pixels that count, not their sum; pixels without a label or depth leave it.

    Args:
        scores: `(B, D, H, W)` of the discriminator, before the softmax.
        domains: of 0..D - 1, what the map is or shall pass for.
        mask: `(B, 1, H, W)`, > 0 where a pixel counts; by default everywhere.

    Raises:
        ShapeError: a domain that there is no score for, or a mask of another size.
    """
    if not domains or min(domains) < 0 or max(domains) >= scores.shape[1]:
        raise ShapeError(f"domains {list(domains)} of {scores.shape[1]}; give some of 0..{scores.shape[1] - 1}.")
    if mask is not None and mask.shape != (len(scores), 1, *scores.shape[2:]):
        raise ShapeError(f"mask {tuple(mask.shape)} for scores {tuple(scores.shape)}; give a mask (B, 1, H, W).")
    scores = scores if scores.dtype == torch.float64 else scores.float()
    each = scores.logsumexp(1, keepdim=True) - scores[:, list(domains)].logsumexp(1, keepdim=True)
    if mask is not None:
        each = each[mask.as_subclass(Tensor) > 0]
    return each.sum() / shared_denominator(each.numel()).to(each)


def inter_domains(mode: Mode, own: int, labelled: Sequence[int], domains: int) -> tuple[int, ...]:
    """What predictions on a data set without labels shall pass for, to be given to `domain_loss` (SemiMTL, Eqs. 4-6).

    "m1": predictions on labelled data (4); "m2": the ground truth (5); "m3": anything but predictions on their own data set (6).

    Choice: class k is data set k, as in Algorithm 1, in place of the fixed classes 1 and 2; of several labelled sets, (4) takes the sum
    of their probabilities.

    Args:
        mode: of the alignment.
        own: domain of the data set, 1..K.
        labelled: domains of the data sets that are labelled for the task.
        domains: K + 1.
    """
    if mode == "m1":
        return tuple(labelled)
    if mode == "m2":
        return (TRUTH,)
    return tuple(domain for domain in range(domains) if domain != own)


def discriminator_loss(shown: Sequence[tuple[Tensor, int, Tensor | None]]) -> Tensor:
    """Sum of the cross entropies of everything that a discriminator was shown in a step (SemiMTL, Eq. 9).

    Choice: one summand for the ground truth of each labelled data set.

    Args:
        shown: scores `(B, D, H, W)`, the domain that the map is of, mask `(B, 1, H, W)` or None; see `domain_loss`.
    """
    return torch.stack([domain_loss(scores, (domain,), mask) for scores, domain, mask in shown]).sum()


def label_planes(semantic: Tensor, classes: int, smoothing: float = 0.0) -> Tensor:
    """Label maps as a discriminator is shown them: `(B, K, H, W)`, one-hot, 0 in all classes where there is no label.

    Args:
        semantic: `(B, H, W)` int64 train ids, 255 = ignore.
        classes: K.
        smoothing: share of each pixel that is spread evenly over all classes, so that 0 and 1 alone do not tell truth from softmax.
    """
    labelled = semantic != IGNORE
    planes = F.one_hot(torch.where(labelled, semantic, 0), classes).movedim(-1, 1).float()
    return (planes * (1 - smoothing) + smoothing / classes) * labelled[:, None]
