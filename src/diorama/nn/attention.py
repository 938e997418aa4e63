"""Attention between all positions of a feature map, supervised by which positions share a class (CI-Net, Eqs. 1 to 4).

`q`, `k`, `v` are `(B, N, d)`, one row per position; `labels` are `(B, N)` train ids at the same positions, 255 = ignore.
Attention is the sigmoid of q . k, without 1 / sqrt(d), and never looks from one image of the batch into another.

| form | for |
|---|---|
| `attend_plain`, `attention_loss_plain`, `ideal_attention` | plots and oracles: as printed, with the N x N map in memory |
| `supervised_attention`, `attention_loss` | training: in tiles, see `attention_tiles` |
| `attend_truth` | training on the ideal map: by sums over the classes |
| `attend` | inference and export: a constant number of tiles of any size |
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from diorama.errors import ShapeError
from diorama.nn.attention_tiles import EPSILON, AttentionLoss, SupervisedAttention
from diorama.types import IGNORE

Normalise = Literal["row", "n", "none"]
"""What the sum over positions is divided by: its own weights plus 1e-6, the number of positions N, or nothing (as printed)."""


def attention_map(q: Tensor, k: Tensor) -> Tensor:
    """The predicted attention `(B, N, N)` in 0..1, row = query: sigmoid(q k^T) (CI-Net, Eq. 1).

    Choice: the sigmoid of the text, not the softmax drawn in Fig. 2; no 1 / sqrt(d).
    """
    return torch.sigmoid(q @ k.transpose(-1, -2))


def ideal_attention(semantic_small: Tensor, classes: int) -> Tensor:
    """`(B, N, N)` float32, 1 where two positions share a class, else 0: M M^T of the one-hot labels M (CI-Net, Eq. 3).

    Args:
        semantic_small: `(B, H, W)` or `(B, N)` train ids; 255 shares no class with any position, itself included.
        classes: C.
    """
    labels = semantic_small.flatten(1).long()
    one_hot = F.one_hot(labels.where(labels != IGNORE, classes), classes + 1)[..., :classes].float()
    return one_hot @ one_hot.transpose(1, 2)


def apply_attention(attention: Tensor, v: Tensor, normalise: Normalise) -> Tensor:
    """The attended values `(B, N, dv)`, before the skip connection (CI-Net, Eq. 2), from a map `(B, N, N)`.

    Choice: divided by the sum of each row + 1e-6 by default, since a sum over up to N values would drown X; "none" is as printed.
    """
    attended = attention @ v
    if normalise == "row":
        return attended / (attention.sum(-1, keepdim=True) + EPSILON)
    return attended / attention.shape[-1] if normalise == "n" else attended


def attend_plain(q: Tensor, k: Tensor, v: Tensor, normalise: Normalise = "row") -> Tensor:
    """The attended values `(B, N, dv)`, before the skip connection, as printed (CI-Net, Eqs. 1 and 2)."""
    return apply_attention(attention_map(q, k), v, normalise)


def attention_loss_plain(q: Tensor, k: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross entropy between predicted and ideal attention over pairs of labelled positions (CI-Net, Eq. 4).

    Choice: the equation is damaged in print; the mean over pairs of one image whose positions both have a label.
    """
    same = (labels[:, :, None] == labels[:, None, :]).to(q.dtype)
    labelled = labels != IGNORE
    pairs = labelled[:, :, None] & labelled[:, None, :]
    cost = F.binary_cross_entropy_with_logits(q @ k.transpose(1, 2), same, reduction="none")
    return torch.where(pairs, cost, 0.0).sum() / pairs.sum().clamp_min(1)


def _check(q: Tensor, k: Tensor, v: Tensor | None, labels: Tensor | None) -> None:
    sizes = {tensor.shape[:2] for tensor in (q, k, v, labels) if tensor is not None}
    if len(sizes) > 1 or q.shape != k.shape:
        raise ShapeError(
            f"queries {tuple(q.shape)}, keys {tuple(k.shape)}, values {None if v is None else tuple(v.shape)} and labels"
            f" {None if labels is None else tuple(labels.shape)} must share (B, N); resize the labels to the features."
        )


def supervised_attention(q: Tensor, k: Tensor, v: Tensor, labels: Tensor | None, normalise: Normalise = "row") -> tuple[Tensor, Tensor]:
    """The attended values and the attention loss, without an N x N map in memory (CI-Net, Eqs. 1, 2 and 4).

    Args:
        q: `(B, N, d)`.
        k: `(B, N, d)`.
        v: `(B, N, dv)`.
        labels: `(B, N)` train ids, 255 = ignore; None: no supervision, the loss is 0.
        normalise: see `Normalise`.

    Returns:
        `(B, N, dv)` in the type of `v`, before the skip connection, over all positions; and `()` float32 (float64 for
        float64 queries), the mean binary cross entropy over pairs of labelled positions of one image, 0 if there is none.

    Raises:
        ShapeError: the inputs differ in B or N, or queries and keys in d.
    """
    _check(q, k, v, labels)
    attended, loss = SupervisedAttention.apply(q, k, v, labels, normalise)
    return attended, loss


def attention_loss(q: Tensor, k: Tensor, labels: Tensor) -> Tensor:
    """The attention loss alone, see `supervised_attention`; its gradient is formed in the same pass (CI-Net, Eq. 4).

    Raises:
        ShapeError: the inputs differ in B or N, or queries and keys in d.
    """
    _check(q, k, None, labels)
    loss: Tensor = AttentionLoss.apply(q, k, labels)
    return loss


def attend_truth(v: Tensor, labels: Tensor, classes: int, normalise: Normalise = "row") -> Tensor:
    """The values attended with the ideal map, `(B, N, dv)` in the type of `v`: M (M^T v), by class sums (CI-Net, Eqs. 2, 3).

    With "row" each position gets the mean value of its class. A position without a label has no partner and gets 0, so that
    the skip connection leaves its features as they are.

    Args:
        v: `(B, N, dv)`.
        labels: `(B, N)` train ids, 255 = ignore.
        classes: C.
        normalise: see `Normalise`.

    Raises:
        ShapeError: the inputs differ in B or N.
    """
    _check(v, v, None, labels)
    values = v if v.dtype == torch.float64 else v.float()
    index = labels.as_subclass(Tensor).long()
    index = index.where(index != IGNORE, classes)[..., None]
    sums = values.new_zeros(len(v), classes + 1, v.shape[2]).scatter_add(1, index.expand_as(values), values)
    counts = values.new_zeros(len(v), classes + 1, 1).scatter_add(1, index, torch.ones_like(values[..., :1]))
    if normalise == "row":
        sums = sums / (counts + EPSILON)
    elif normalise == "n":
        sums = sums / v.shape[1]
    attended = sums.gather(1, index.expand_as(values))
    return torch.where(index == classes, 0.0, attended).to(v.dtype)


def attend(q: Tensor, k: Tensor, v: Tensor, normalise: Normalise = "row", parts: int = 8) -> Tensor:
    """The attended values `(B, N, dv)`, before the skip connection, for inference and export (CI-Net, Eqs. 1 and 2).

    The queries are cut into a constant number of tiles whose size follows N, so that an exported graph serves any N; one
    tile of attention, `(B, N / parts, N)`, is in memory at a time.

    Args:
        q: `(B, N, d)`.
        k: `(B, N, d)`.
        v: `(B, N, dv)`.
        normalise: see `Normalise`.
        parts: number of query tiles.
    """
    batch, count, width = q.shape
    rows = (count + parts - 1) // parts
    tiles = F.pad(q, (0, 0, 0, rows * parts - count)).reshape(batch, parts, rows, width)
    attended = [attend_plain(tiles[:, part], k, v, normalise) for part in range(parts)]
    return torch.cat(attended, 1)[:, :count]
