"""What generated depth must fulfil by itself: agree with the sparse depth, bend only where semantics change."""

from __future__ import annotations

import torch
from torch import Tensor

from diorama.errors import ShapeError
from diorama.losses.reconstruction import completion_loss


def sparse_depth_loss(depth: Tensor, sparse: Tensor) -> Tensor:
    """Mean squared error [m^2] of dense depth at the pixels of known sparse depth (Multi-task GANs, Eq. 7).

    Without a known pixel the loss is 0 with a gradient of 0.

    Choice: the mean in place of the sum, in metres, converted from the generator's -1..1: in its units it would be 1600 times smaller.

    Args:
        depth: `(B, 1, H, W)` generated depth [m].
        sparse: `(B, 1, H, W)` [m], 0 = unknown.

    Raises:
        ShapeError: the maps differ in size.
    """
    return completion_loss(depth, sparse)


def _float(tensor: Tensor) -> Tensor:
    tensor = tensor.as_subclass(Tensor)
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def semantic_guided_smoothness(depth: Tensor, guide: Tensor, edge_scale: float = 1.0) -> Tensor:
    """Mean second-order depth change [m], damped where the guide changes (Multi-task GANs, Eq. 8).

    Along x a pixel costs |d(x+1) - 2 d(x) + d(x-1)| * exp(-edge_scale * |g(x+1) - g(x)|), along y alike.

    Choice: per axis the absolute second difference of depth in metres, gated by the first forward difference of the guide, absolute, mean
    over channels, detached; the mean over pixels in place of the sum, x and y added. At a step from vegetation to building the gate is
    only 0.69 as printed (`edge_scale` 1); 10 closes it to 0.02.

    Args:
        depth: `(B, 1, H, W)` generated depth [m].
        guide: `(B, C, H, W)` in -1..1, the generated semantic image or the photo. Train ids `(B, 1, H, W)` as numbers with an
            `edge_scale` of 100 gate by label edges.
        edge_scale: how fast the gate closes.

    Raises:
        ShapeError: the two differ in batch, height or width, or are smaller than 3 pixels.
    """
    if (
        depth.ndim != 4
        or depth.shape[1] != 1
        or guide.ndim != 4
        or depth.shape[::2] != guide.shape[::2]
        or depth.shape[3] != guide.shape[3]
    ):
        raise ShapeError(f"depth {tuple(depth.shape)} must be (B, 1, H, W) and its guide {tuple(guide.shape)} (B, C, H, W); resize one.")
    if min(depth.shape[-2:]) < 3:
        raise ShapeError(f"{depth.shape[-2]} x {depth.shape[-1]} pixels have no second difference; use 3 x 3 or more.")
    depth, guide = _float(depth), _float(guide).detach()
    cost = depth.new_zeros(())
    for axis in (2, 3):
        bend = depth.diff(n=2, dim=axis).abs()
        # the forward difference at the middle pixel of the three
        step = guide.diff(dim=axis).narrow(axis, 1, bend.shape[axis])
        cost = cost + (bend * torch.exp(-edge_scale * step.abs().mean(1, keepdim=True).to(bend))).mean()
    return cost
