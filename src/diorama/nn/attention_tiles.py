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

from diorama.nn.processes import shared_denominator
from diorama.types import IGNORE

EPSILON = 1e-6
"""Added to the sum of a row of attention before dividing by it."""

_ROWS = 64
_CUDA_TILE = 1 << 25
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
    """float32 at least: under autocast the map would lose the digits that its sums need."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


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


def _tiles(count: int, labelled: int, device: torch.device) -> Iterator[tuple[slice, int]]:
    """Slices of query rows, and how many keys of each count for the loss: all labelled ones or none."""
    # Small tiles stay in the processor's cache; a GPU wants enough work per launch.
    step = _ROWS if device.type == "cpu" else max(_ROWS, _CUDA_TILE // max(count, 1))
    for start, stop, pairs in ((0, labelled, labelled), (labelled, count, 0)):
        for row in range(start, stop, step):
            yield slice(row, min(row + step, stop)), pairs


class _Buffers:
    """Room for three tiles, taken once per image and not once per operation and tile."""

    def __init__(self, image: _Image) -> None:
        count = len(image.q)
        rows = max((tile.stop - tile.start for tile, _ in _tiles(count, len(image.labels), image.q.device)), default=0)
        self._room = image.q.new_empty(3, rows, count)

    def __call__(self, tile: slice) -> tuple[Tensor, Tensor, Tensor]:
        first, second, third = self._room[:, : tile.stop - tile.start]
        return first, second, third


def _softplus_sum(z: Tensor, s: Tensor, room: Tensor) -> Tensor:
    """The sum of softplus(z) in float64, from z and s = sigmoid(z).

    softplus(z) = max(z, 0) - log max(s, 1 - s). The second argument lies in 0.5..1, so 64 of them can be multiplied before
    one logarithm is taken: a third of the time of softplus itself.
    """
    total = torch.clamp_min(z, 0, out=room).sum(1).sum(dtype=torch.float64)
    nearer = torch.maximum(torch.sub(s.new_ones(()), s, out=room), s, out=room)
    for block in torch.split(nearer, _GROUP):
        total -= block.prod(0).log_().sum(dtype=torch.float64)
    return total


def _class_part(image: _Image) -> tuple[Tensor, Tensor, Tensor]:
    """The sum of z over the pairs of one class, float64, and its gradients for q and k at the labelled positions."""
    n = len(image.labels)
    queries, keys = (
        rows.new_zeros(_LABELS, rows.shape[1], dtype=torch.float64).index_add_(0, image.labels, rows[:n].double())
        for rows in (image.q, image.k)
    )
    return (queries * keys).sum(), keys[image.labels].to(image.q), queries[image.labels].to(image.q)


def _loss_with_gradients(image: _Image) -> tuple[Tensor, Tensor, Tensor]:
    """The summed cross entropy of one image, float64, and its gradients for q and k `(N, d)`, in one pass."""
    n = len(image.labels)
    same, keys, queries = _class_part(image)
    total = -same
    dq, dk = torch.zeros_like(image.q), torch.zeros_like(image.k.t())
    buffers = _Buffers(image)
    for tile, pairs in _tiles(n, n, image.q.device):
        z, s, room = (buffer[:, :pairs] for buffer in buffers(tile))
        q, k = image.q[tile], image.k[:pairs]
        torch.sigmoid(torch.mm(q, k.t(), out=z), out=s)
        total += _softplus_sum(z, s, room)
        torch.mm(s, k, out=dq[tile])
        dk[:, :pairs].addmm_(q.t(), s)
    dq[:n] -= keys
    dk = dk.t().contiguous()
    dk[:n] -= queries
    return total, dq, dk


def _forward(image: _Image, normalise: str) -> tuple[Tensor, Tensor, Tensor]:
    """Attended values `(N, dv)`, what each row was divided by `(N, 1)`, the summed cross entropy in float64; of one image."""
    count = len(image.q)
    divisor = image.q.new_full((count, 1), float(count) if normalise == "n" else 1.0)
    attended = torch.empty_like(image.v)
    total = -_class_part(image)[0]
    buffers = _Buffers(image)
    for tile, pairs in _tiles(count, len(image.labels), image.q.device):
        z, s, room = buffers(tile)
        torch.sigmoid(torch.mm(image.q[tile], image.k.t(), out=z), out=s)
        if pairs:
            total += _softplus_sum(z[:, :pairs], s[:, :pairs], room[:, :pairs])
        if normalise == "row":
            divisor[tile] = s.sum(1, keepdim=True) + EPSILON
        torch.mm(s, image.v, out=attended[tile])
    return attended / divisor, divisor, total


def _backward(image: _Image, attended: Tensor, divisor: Tensor, outer: Tensor, scale: Tensor, row: bool) -> tuple[Tensor, ...]:
    """Gradients for q, k, v of one image.

    With g_i = dL/dY_i / r_i the gradient at the map is dL/dz_ij = s (1 - s) (g_i . v_j - g_i . y_i), the last term only where
    rows are divided by their own sum r_i; a pair that counts for the loss adds scale * (s - A_ij).
    """
    n = len(image.labels)
    grad = outer / divisor
    shift = -(grad * attended).sum(1, keepdim=True) if row else torch.zeros_like(divisor)
    dq, dk, dv = torch.zeros_like(image.q), torch.zeros_like(image.k.t()), torch.zeros_like(image.v.t())
    buffers = _Buffers(image)
    for tile, pairs in _tiles(len(image.q), n, image.q.device):
        z, s, room = buffers(tile)
        q = image.q[tile]
        torch.sigmoid(torch.mm(q, image.k.t(), out=z), out=s)
        dv.addmm_(grad[tile].t(), s)
        dz = torch.addmm(shift[tile], grad[tile], image.v.t(), out=room)
        dz.addcmul_(s, dz, value=-1)
        if pairs:
            dz[:, :pairs] += scale
        dz *= s
        torch.mm(dz, image.k, out=dq[tile])
        dk.addmm_(q.t(), dz)
    dk = dk.t().contiguous()
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
            total = q.new_zeros((), dtype=torch.float64)
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
            total = q.new_zeros((), dtype=torch.float64)
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
            return attended.to(v.dtype, copy=True), (total / pairs).to(exact)

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
                for grad, rows in zip(grads, _backward(image, rows, divisors, slopes, scale, ctx.row), strict=True):
                    image.put(grad[b], rows)
        return *grads, None, None
