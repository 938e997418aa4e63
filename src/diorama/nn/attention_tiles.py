"""Supervised attention in tiles: values, loss and gradients without an N x N map in memory.

With z_ij = q_i . k_j and the ideal map A = M M^T of the one-hot labels M (n classes),

    sum_ij BCE(z_ij, A_ij) = sum_ij softplus(z_ij) - sum_c (sum_i M_ic q_i) . (sum_j M_jc k_j)

so A is never formed, and softplus, sigmoid and the product with the values need one tile of query rows at a time. Within an
image the labelled positions are moved to the front: the pairs that count for the loss are then the corner of the map, a
slice of every tile instead of a mask.

Large sums are kept in float64: at |z| of 10 to 20 the difference above would lose its digits in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from diorama.nn.processes import shared_denominator, widest
from diorama.types import IGNORE

EPSILON = 1e-6
"""Added to the sum of a row of attention before dividing by it."""

# Measured: two tiles of 2 MiB stay in the cache and keep the matrix products busy; a GPU wants more work per launch.
_TILE = 1024, 512
_TILE_GPU = 4096, 8192
_LABELS = 256
_GROUP = 64


class _Image(NamedTuple):
    """One image with its labelled positions in front."""

    q: Tensor  # (N, d)
    k: Tensor  # (N, d)
    v: Tensor  # (N, dv), dv = 0 for the loss alone
    labels: Tensor  # (n,) of the labelled positions
    order: Tensor | None  # (N,) where each position came from; None: as it was

    def take(self, rows: Tensor) -> Tensor:
        """`rows` `(N, ...)` brought into the order of this image."""
        return rows if self.order is None else rows.index_select(0, self.order)

    def put(self, out: Tensor, rows: Tensor) -> None:
        """Write `rows` `(N, ...)` back into `out` in the original order."""
        if self.order is None:
            out.copy_(rows)
        else:
            out[self.order] = rows.to(out.dtype)


def _exact(tensor: Tensor) -> Tensor:
    """`(N, d)` in one block and at least float32: under autocast the map would lose the digits that its sums need."""
    return (tensor if tensor.dtype == torch.float64 else tensor.float()).contiguous()


def _image(q: Tensor, k: Tensor, v: Tensor, labels: Tensor | None) -> _Image:
    if labels is None:
        return _Image(_exact(q), _exact(k), _exact(v), torch.empty(0, dtype=torch.long, device=q.device), None)
    labels = labels.as_subclass(Tensor).long()
    ignored = labels == IGNORE
    if not bool(ignored.any()):
        return _Image(_exact(q), _exact(k), _exact(v), labels, None)
    order = ignored.int().argsort(stable=True)
    front = labels.index_select(0, order)[: int((~ignored).sum())]
    q, k, v = (_exact(tensor).index_select(0, order) for tensor in (q, k, v))
    return _Image(q, k, v, front, order)


class _Tile(NamedTuple):
    """A rectangle of the map."""

    rows: slice
    keys: slice
    pairs: int  # how many of its keys, from the left, count for the loss


def _blocks(count: int, front: int, step: int) -> list[slice]:
    """`count` positions cut into slices of at most `step`, none of them across `front`."""
    ends = ((0, front), (front, count))
    return [slice(first, min(first + step, stop)) for start, stop in ends for first in range(start, stop, step)]


def _tiles(count: int, labelled: int, device: torch.device) -> Iterator[_Tile]:
    """Rectangles that cover the map: rows outside, keys inside, none across the border of the labelled positions."""
    height, width = _TILE if device.type == "cpu" else _TILE_GPU
    keys = _blocks(count, labelled, width)
    for rows in _blocks(count, labelled, height):
        for columns in keys:
            counts = rows.start < labelled and columns.start < labelled
            yield _Tile(rows, columns, columns.stop - columns.start if counts else 0)


class _Buffers:
    """Room for tiles, taken once per image and not once per operation and tile."""

    def __init__(self, image: _Image, number: int) -> None:
        height, width = _TILE if image.q.device.type == "cpu" else _TILE_GPU
        count = len(image.q)
        self._room = image.q.new_empty(number, min(height, count) * min(width, count))

    def __call__(self, tile: _Tile) -> list[Tensor]:
        height, width = tile.rows.stop - tile.rows.start, tile.keys.stop - tile.keys.start
        return [room[: height * width].view(height, width) for room in self._room]


def _softplus_sum(z: Tensor, s: Tensor) -> Tensor:
    """The sum of softplus(z) in float64, from z and s = sigmoid(z); overwrites z.

    softplus(z) = max(z, 0) - log max(s, 1 - s). The argument of the logarithm lies in 0.5..1, so 64 of them are multiplied
    before one is taken: a third of the time of softplus itself.
    """
    wide = widest(z.device)
    total = z.clamp_min_(0).sum(1).sum(dtype=wide)
    torch.sub(s.new_ones(()), s, out=z)
    torch.maximum(z, s, out=z)
    whole = z.shape[1] // _GROUP * _GROUP
    total -= z[:, :whole].reshape(len(z), whole // _GROUP, _GROUP).prod(-1).log_().sum(dtype=wide)
    return total - z[:, whole:].prod(-1).log_().sum(dtype=wide)


def _class_part(image: _Image) -> tuple[Tensor, Tensor, Tensor]:
    """The sum of z over the pairs of one class, float64, and its gradients for q and k at the labelled positions."""
    n = len(image.labels)
    queries, keys = (
        rows.new_zeros(_LABELS, rows.shape[1], dtype=widest(rows.device)).index_add_(0, image.labels, rows[:n].to(widest(rows.device)))
        for rows in (image.q, image.k)
    )
    return (queries * keys).sum(), keys[image.labels].to(image.q), queries[image.labels].to(image.q)


def _loss_with_gradients(image: _Image) -> tuple[Tensor, Tensor, Tensor]:
    """The summed cross entropy of one image, float64, and its gradients for q and k `(N, d)`, in one pass."""
    n, (count, width) = len(image.labels), image.q.shape
    same, keys, queries = _class_part(image)
    total = -same
    # Gradients of keys are summed as (d, N): the product with the tile then needs no transposed copy of it.
    dq, dk = torch.zeros_like(image.q), image.k.new_zeros(width, count)
    buffers = _Buffers(image, 2)
    for tile in _tiles(n, n, image.q.device):
        z, s = buffers(tile)
        q, k = image.q[tile.rows], image.k[tile.keys]
        torch.sigmoid(torch.mm(q, k.t(), out=z), out=s)
        total += _softplus_sum(z, s)
        dq[tile.rows].addmm_(s, k)
        dk[:, tile.keys].addmm_(q.t(), s)
    dk = dk.t()
    dq[:n] -= keys
    dk[:n] -= queries
    return total, dq, dk


def _forward(image: _Image, normalise: str) -> tuple[Tensor, Tensor, Tensor]:
    """Attended values `(N, dv)`, what each row was divided by `(N, 1)`, the summed cross entropy in float64; of one image."""
    count = len(image.q)
    divisor = image.q.new_full((count, 1), {"row": EPSILON, "n": float(count)}.get(normalise, 1.0))
    attended = torch.zeros_like(image.v)
    total = -_class_part(image)[0]
    buffers = _Buffers(image, 2)
    for tile in _tiles(count, len(image.labels), image.q.device):
        z, s = buffers(tile)
        torch.sigmoid(torch.mm(image.q[tile.rows], image.k[tile.keys].t(), out=z), out=s)
        if tile.pairs:
            total += _softplus_sum(z, s)
        if normalise == "row":
            divisor[tile.rows] += s.sum(1, keepdim=True)
        attended[tile.rows].addmm_(s, image.v[tile.keys])
    return attended / divisor, divisor, total


def _backward(image: _Image, attended: Tensor, divisor: Tensor, outer: Tensor, scale: Tensor, row: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients for q, k, v of one image.

    With g_i = dL/dY_i / r_i the gradient at the map is dL/dz_ij = s (1 - s) (g_i . v_j - g_i . y_i), the last term only where
    rows are divided by their own sum r_i; a pair that counts for the loss adds scale * (s - A_ij).
    """
    n, (count, width) = len(image.labels), image.q.shape
    grad = outer / divisor
    shift = -(grad * attended).sum(1, keepdim=True) if row else torch.zeros_like(divisor)
    dq, dk, dv = torch.zeros_like(image.q), image.k.new_zeros(width, count), image.v.new_zeros(image.v.shape[1], count)
    buffers = _Buffers(image, 2)
    for tile in _tiles(count, n, image.q.device):
        z, s = buffers(tile)
        q, k, g = image.q[tile.rows], image.k[tile.keys], grad[tile.rows]
        torch.sigmoid(torch.mm(q, k.t(), out=z), out=s)
        dv[:, tile.keys].addmm_(g.t(), s)
        dz = torch.addmm(shift[tile.rows], g, image.v[tile.keys].t(), out=z)
        dz.addcmul_(s, dz, value=-1)
        if tile.pairs:
            dz += scale
        dz *= s
        dq[tile.rows].addmm_(dz, k)
        dk[:, tile.keys].addmm_(q.t(), dz)
    dk = dk.t()
    _, keys, queries = _class_part(image)
    dq[:n] -= scale * keys
    dk[:n] -= scale * queries
    return dq, dk, dv.t()


class AttentionLoss(torch.autograd.Function):
    """`(q, k, labels) -> loss`, see `attention.attention_loss`.

    The gradients of q and k are formed in the forward pass: one map less than recomputing it.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, labels: Tensor) -> Tensor:
        """The mean binary cross entropy `()` over pairs of labelled positions."""
        with torch.autocast(q.device.type, enabled=False):
            total = q.new_zeros((), dtype=widest(q.device))
            dq, dk = torch.empty_like(q, dtype=_exact(q[:0]).dtype), torch.empty_like(k, dtype=_exact(k[:0]).dtype)
            for b in range(len(q)):
                image = _image(q[b], k[b], k[b, :, :0], labels[b])
                cost, grad_q, grad_k = _loss_with_gradients(image)
                total += cost
                image.put(dq[b], grad_q)
                image.put(dk[b], grad_k)
            pairs = shared_denominator((labels != IGNORE).sum(1).square().sum())
            ctx.save_for_backward(dq, dk, pairs)
            ctx.dtypes = q.dtype, k.dtype
            return (total / pairs).to(dq.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of q and k."""
        dq, dk, pairs = ctx.saved_tensors
        scale = (outer / pairs).to(dq.dtype)
        return (dq * scale).to(ctx.dtypes[0]), (dk * scale).to(ctx.dtypes[1]), None


class SupervisedAttention(torch.autograd.Function):
    """`(q, k, v, labels or None, normalise) -> (attended values, loss)`, see `attention.supervised_attention`.

    The backward pass forms the map again: with the values 7 products of map size, against 9 if the gradients of the loss
    were stored.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, labels: Tensor | None, normalise: str) -> tuple[Tensor, Tensor]:
        """The attended values `(B, N, dv)` in the type of `v` and the loss `()`."""
        ctx.set_materialize_grads(False)
        with torch.autocast(q.device.type, enabled=False):
            total = q.new_zeros((), dtype=widest(q.device))
            exact = _exact(q[:0]).dtype
            attended, divisor = torch.empty_like(v, dtype=exact), q.new_empty(*q.shape[:2], 1, dtype=exact)
            for b in range(len(q)):
                image = _image(q[b], k[b], v[b], None if labels is None else labels[b])
                rows, divisors, cost = _forward(image, normalise)
                total += cost
                image.put(attended[b], rows)
                image.put(divisor[b], divisors)
            pairs = total.new_ones(())
            if labels is not None:
                pairs = shared_denominator((labels != IGNORE).sum(1).square().sum())
            ctx.save_for_backward(q, k, v, labels, attended, divisor, pairs)
            ctx.row = normalise == "row"
            return attended.to(v.dtype), (total / pairs).to(exact)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor | None, outer_loss: Tensor | None) -> tuple[Tensor | None, ...]:
        """Gradients of q, k and v."""
        q, k, v, labels, attended, divisor, pairs = ctx.saved_tensors
        with torch.autocast(q.device.type, enabled=False):
            outer = torch.zeros_like(attended) if outer is None else outer.to(attended.dtype)
            if outer_loss is None:
                outer_loss = pairs.new_zeros(())
            scale = (outer_loss / pairs).to(attended.dtype)
            grads = [torch.empty_like(tensor) for tensor in (q, k, v)]
            for b in range(len(q)):
                image = _image(q[b], k[b], v[b], None if labels is None else labels[b])
                rows, divisors, slopes = (image.take(rows[b]) for rows in (attended, divisor, outer))
                for grad, found in zip(grads, _backward(image, rows, divisors, slopes, scale, ctx.row), strict=True):
                    image.put(grad[b], found)
        return *grads, None, None
