"""How far depth features and semantic features disagree about where neighbours are alike."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diorama.errors import ShapeError
from diorama.nn.processes import shared_denominator
from diorama.types import IGNORE


class FeatureVariance(nn.Module):
    """The learned sigma^2 of one feature map in the Mahalanobis similarity (CI-Net, Eq. 7).

    Called without arguments it returns sigma^2 `()`: C at the start, kept within [0.1 C, 10 C]. Without the bounds a growing
    sigma makes all features alike, which is a trivial minimum of the loss.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.log_ratio = nn.Parameter(torch.zeros(()))

    def forward(self) -> Tensor:
        """sigma^2 `()`, positive."""
        limit = math.log(10.0)
        # Beyond the bounds the value stands still but the gradient passes, else the parameter could never come back.
        bounded = self.log_ratio + (self.log_ratio.clamp(-limit, limit) - self.log_ratio).detach()
        return self.channels * bounded.exp()


def mahalanobis_similarity(first: Tensor, second: Tensor, variance: Tensor | float) -> Tensor:
    """`exp(-|first - second|^2 / (2 sigma^2))` `(...)` of two sets of features `(..., C)`: 1 = alike (CI-Net, Eq. 7)."""
    return torch.exp((first - second).square().sum(-1) / (-2 * variance))


def _class_edges(semantic: Tensor, offsets: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Flat indices `(P,)`, `(P,)` of all pixel pairs `offset` apart along x or y whose labels are known and differ."""
    batch, height, width = semantic.shape
    index = torch.arange(semantic.numel(), device=semantic.device).view(batch, height, width)
    firsts, seconds = [index.new_zeros(0)], [index.new_zeros(0)]
    for dim, length in ((1, height), (2, width)):
        for offset in offsets:
            if offset >= length:
                continue
            near, far = semantic.narrow(dim, 0, length - offset), semantic.narrow(dim, offset, length - offset)
            edge = (near != far) & (near != IGNORE) & (far != IGNORE)
            firsts.append(index.narrow(dim, 0, length - offset)[edge])
            seconds.append(index.narrow(dim, offset, length - offset)[edge])
    return torch.cat(firsts), torch.cat(seconds)


def _pixels(features: Tensor) -> Tensor:
    """`(B, C, H, W)` -> `(B H W, C)`."""
    return features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])


def consistency_loss(
    depth_features: Tensor,
    semantic_features: Tensor,
    semantic: Tensor,
    depth_variance: Tensor | float,
    semantic_variance: Tensor | float,
    offsets: tuple[int, ...] = (1, 2),
) -> Tensor:
    """Mean |D(depth features) - D(semantic features)| over neighbours of different class (CI-Net, Eq. 7).

    D is `mahalanobis_similarity`. The eight comparisons per pixel (offsets 1 and 2 in four directions) meet each pair from
    both ends with equal value, so each pair is computed once. Pairs of one class (psi = 0), pairs that leave the image and
    pairs that touch an ignored pixel do not count; without any pair the loss is 0 with a gradient of 0. Only the pairs that
    count are gathered: they are a few per cent of all.

    Choice: the mean over pairs with psi = 1; sigma^2 is one learned number per feature map within [0.1 C, 10 C].

    Args:
        depth_features: `(B, C, H, W)`.
        semantic_features: `(B, C', H, W)`.
        semantic: `(B, H', W')` train ids, 255 = ignore; another size than the features' is resized to the nearest label.
        depth_variance: sigma^2 of the depth features, see `FeatureVariance`.
        semantic_variance: sigma^2 of the semantic features.
        offsets: how far apart the compared pixels are [px].

    Raises:
        ShapeError: the features differ in batch, height or width.
    """
    size = depth_features.shape[2:]
    if size != semantic_features.shape[2:] or len({len(depth_features), len(semantic_features), len(semantic)}) > 1:
        raise ShapeError(
            f"depth features {tuple(depth_features.shape)}, semantic features {tuple(semantic_features.shape)} and labels"
            f" {tuple(semantic.shape)} differ in batch or size; take features of one decoder level."
        )
    labels = semantic.as_subclass(Tensor)
    if labels.shape[1:] != size:
        labels = F.interpolate(labels[:, None].float(), size, mode="nearest-exact")[:, 0].to(semantic.dtype)
    first, second = _class_edges(labels, offsets)
    similarity = []
    with torch.autocast(depth_features.device.type, enabled=False):
        for features, variance in ((depth_features, depth_variance), (semantic_features, semantic_variance)):
            flat = _pixels(features)
            ends = [flat.index_select(0, index) for index in (first, second)]
            if flat.dtype != torch.float64:
                ends = [end.float() for end in ends]
            similarity.append(mahalanobis_similarity(ends[0], ends[1], variance))
        difference = (similarity[0] - similarity[1]).abs()
        return difference.sum() / shared_denominator(difference.numel()).to(difference)
