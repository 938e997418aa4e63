"""Numbers that all training processes must agree on, so that N processes minimise the same loss as one.

DDP averages gradients over the processes. A masked mean therefore divides by (sum of all denominators) / world size, and a
constant taken from the data (a maximum error) is the maximum over all processes.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def _together() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def widest(device: torch.device) -> torch.dtype:
    """The type for sums over many elements: float64, float32 on devices that have no float64 (Apple's)."""
    return torch.float32 if device.type == "mps" else torch.float64


def shared_denominator(count: Tensor | int) -> Tensor:
    """The denominator of a masked mean: `count` summed over all processes / their number, at least one over their number.

    Args:
        count: `()` how many elements this process contributes; every process must call, also with 0.

    Returns:
        `()` float64, detached, never 0: the sum over an empty mask divided by it is 0.
    """
    total = torch.as_tensor(count).detach().to(torch.int64).clone()
    world = 1
    if _together():
        world = dist.get_world_size()
        dist.all_reduce(total, op=dist.ReduceOp.SUM)
    return total.clamp_min(1).to(widest(total.device)) / world


def shared_maximum(value: Tensor) -> Tensor:
    """The largest `value` `()` of all processes, detached; every process must call."""
    largest = value.detach().clone()
    if _together():
        dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return largest


def shared_weight(weight: Tensor) -> Tensor:
    """The denominator of a weighted mean: the sum `weight` `()` over all processes / their number, detached; 1 in place of 0.

    Every process must call, also with 0.
    """
    total = weight.detach().to(widest(weight.device)).clone()
    world = 1
    if _together():
        world = dist.get_world_size()
        dist.all_reduce(total, op=dist.ReduceOp.SUM)
    return torch.where(total > 0, total, torch.ones_like(total)) / world


def shared_mean(value: Tensor) -> Tensor:
    """The mean of `value` `()` over all processes, detached; every process must call."""
    total = value.detach().clone()
    if _together():
        dist.all_reduce(total, op=dist.ReduceOp.SUM)
        total /= dist.get_world_size()
    return total
