"""What trains a pair of generators and their discriminators: judgements, cycles, structural similarity."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from diorama.errors import ShapeError
from diorama.nn.processes import shared_denominator

Adversary = Literal["lsgan", "log"]

SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
"""Pixels and standard deviation [px] of the Gaussian window."""

_STABLE_MEAN, _STABLE_SPREAD = 0.01**2, 0.03**2
_UNKNOWN = -1.0


def _float(tensor: Tensor) -> Tensor:
    """A plain tensor in float32 or better: sums keep their digits under autocast, and tv_tensors lose their class."""
    tensor = tensor.as_subclass(Tensor)
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _pair(image: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
    if image.shape != back.shape or image.ndim != 4:
        raise ShapeError(f"images {tuple(image.shape)} and {tuple(back.shape)} must both be (B, C, H, W); crop or resize one to the other.")
    return _float(image), _float(back)


def _known(mask: Tensor, image: Tensor) -> Tensor:
    """`mask` as bool of the shape of `image`."""
    if mask.ndim != 4 or mask.shape[1] not in (1, image.shape[1]) or mask.shape[::2] != image.shape[::2] or mask.shape[3] != image.shape[3]:
        raise ShapeError(f"mask {tuple(mask.shape)} for images {tuple(image.shape)}; give a mask (B, 1, H, W).")
    return (mask.as_subclass(Tensor) > 0).expand_as(image)


def discriminator_loss(real: Tensor, fake: Tensor, kind: Adversary = "lsgan") -> Tensor:
    """Half of how far judgements are from 1 on real and from 0 on generated images (Multi-task GANs, Eq. 3).

    "lsgan": the mean square; "log": the mean cross entropy, minus half of the printed objective.

    Choice: least squares by default, as CycleGAN does, the printed logarithm by option, with judgements as logits; both halved. The
    generator of the printed loss is the non-saturating one.

    Args:
        real: `(B, 1, H', W')` judgements of real images, unbounded.
        fake: `(B, 1, H', W')` judgements of generated images.
        kind: "lsgan" or "log".
    """
    real, fake = _float(real), _float(fake)
    if kind == "log":
        return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2
    return ((real - 1).square().mean() + fake.square().mean()) / 2


def generator_loss(judged: Tensor, kind: Adversary = "lsgan") -> Tensor:
    """How far judgements of generated images are from 1, which generators minimise (Multi-task GANs, Eq. 3).

    "lsgan": the mean square; "log": the mean of -log D, the non-saturating form.

    Args:
        judged: `(B, 1, H', W')` judgements of generated images, unbounded.
        kind: "lsgan" or "log".
    """
    judged = _float(judged)
    return F.softplus(-judged).mean() if kind == "log" else (judged - 1).square().mean()


def cycle_loss(image: Tensor, back: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean absolute difference of an image and what came back from both generators (Multi-task GANs, Eq. 4).

    One direction; Eq. 4 is the sum of both. Where nothing is known the loss is 0 with a gradient of 0.

    Choice: the mean over pixels and channels; of sparse and semi-dense depth, over the known pixels.

    Args:
        image: `(B, C, H, W)`.
        back: `(B, C, H, W)`.
        mask: `(B, 1, H, W)`, > 0 where known; by default everywhere.

    Raises:
        ShapeError: the sizes differ.
    """
    image, back = _pair(image, back)
    if mask is None:
        return (back - image).abs().mean()
    known = _known(mask, image)
    error = (back[known] - image[known]).abs()
    return error.sum() / shared_denominator(error.numel()).to(error)


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Structural similarity `(B,)` of images in -1..1, 1 where equal; differentiable, in float32 or better (Wang et al. 2004).

    Images are mapped to 0..1; 11x11 Gaussian windows of sigma 1.5 that lie inside the image; the mean over windows and channels.

    Args:
        first: `(B, C, H, W)`.
        second: `(B, C, H, W)`.

    Raises:
        ShapeError: the sizes differ, or a side is shorter than 11 pixels.
    """
    first, second = _pair(first, second)
    if min(first.shape[-2:]) < SSIM_WINDOW:
        raise ShapeError(f"{first.shape[-2]} x {first.shape[-1]} pixels are fewer than the window of SSIM; use 11 x 11 or more.")
    a, b = first / 2, second / 2  # of 0..1 less a half: spreads are differences of squares, which small values keep exact
    maps = torch.cat((a, b, a * a, b * b, a * b), 1)
    offsets = torch.arange(SSIM_WINDOW, dtype=a.dtype, device=a.device) - SSIM_WINDOW // 2
    window = torch.exp(-offsets.square() / (2 * SSIM_SIGMA**2))
    window = (window / window.sum()).repeat(maps.shape[1], 1, 1, 1)
    with torch.autocast(a.device.type, enabled=False):
        means = F.conv2d(maps, window.transpose(2, 3), groups=maps.shape[1])
        means = F.conv2d(means, window, groups=maps.shape[1])
    mean_a, mean_b, square_a, square_b, product = means.chunk(5, 1)
    spread = square_a - mean_a.square() + square_b - mean_b.square()
    shared = product - mean_a * mean_b
    mean_a, mean_b = mean_a + 0.5, mean_b + 0.5
    levels = (2 * mean_a * mean_b + _STABLE_MEAN) / (mean_a.square() + mean_b.square() + _STABLE_MEAN)
    return (levels * (2 * shared + _STABLE_SPREAD) / (spread + _STABLE_SPREAD)).flatten(1).mean(1)


def structure_loss(image: Tensor, back: Tensor, mask: Tensor | None = None) -> Tensor:
    """1 - SSIM of an image and what came back from both generators, mean over the batch (Multi-task GANs, Eq. 5).

    One direction; Eq. 5 is the sum of both.

    Choice: see `ssim` for window and range; of sparse and semi-dense depth the unknown pixels are -1 in both.

    Args:
        image: `(B, C, H, W)` in -1..1.
        back: `(B, C, H, W)` in -1..1.
        mask: `(B, 1, H, W)`, > 0 where known; by default everywhere.

    Raises:
        ShapeError: the sizes differ, or a side is shorter than 11 pixels.
    """
    image, back = _pair(image, back)
    if mask is not None:
        known = _known(mask, image)
        image, back = (part.masked_fill(~known, _UNKNOWN) for part in (image, back))
    return 1 - ssim(image, back).mean()
