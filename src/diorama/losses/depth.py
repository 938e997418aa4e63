"""How far a depth map is from the known depth: value, relative distance, surface normal. Depth is in metres, 0 = unknown."""

from __future__ import annotations

import torch
from torch import Tensor

from diorama.errors import ShapeError
from diorama.nn.processes import shared_denominator, shared_maximum
from diorama.types import UNKNOWN_DEPTH

_SMALLEST_THRESHOLD_M = 1e-6


def _check(prediction: Tensor, depth: Tensor) -> None:
    if prediction.shape != depth.shape or prediction.ndim != 4 or prediction.shape[1] != 1:
        raise ShapeError(
            f"predicted depth {tuple(prediction.shape)} and known depth {tuple(depth.shape)} must both be (B, 1, H, W);"
            " resize the prediction to the truth."
        )


def _plain(prediction: Tensor) -> Tensor:
    """A plain tensor in float32 or better: losses keep their digits under autocast, and tv_tensors lose their class."""
    prediction = prediction.as_subclass(Tensor)
    return prediction if prediction.dtype == torch.float64 else prediction.float()


def known(depth: Tensor) -> Tensor:
    """Where `depth` has a value: finite and not `UNKNOWN_DEPTH`; same shape, bool."""
    depth = depth.as_subclass(Tensor)
    return torch.isfinite(depth) & (depth > UNKNOWN_DEPTH)


def berhu(prediction: Tensor, depth: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean reversed Huber loss [m]: |e| up to c, (e^2 + c^2) / (2 c) above (CI-Net, Eq. 8).

    c is a fifth of the largest absolute error over the valid pixels of the batch (of all processes), detached. Without a
    valid pixel the loss is 0 with a gradient of 0.

    Choice: the mean over valid pixels; c is a constant for the gradient and never below 1e-6 m.

    Args:
        prediction: `(B, 1, H, W)` [m].
        depth: `(B, 1, H, W)` [m], 0 = unknown.
        valid: `(B, 1, H, W)` bool, the pixels that count; by default those with a known depth.

    Raises:
        ShapeError: the maps differ in size.
    """
    _check(prediction, depth)
    valid = known(depth) if valid is None else valid & known(depth)
    prediction = _plain(prediction)
    # The selection stands before the subtraction: 0 times the gradient of an unknown pixel could still be NaN.
    error = (prediction[valid] - depth.as_subclass(Tensor).to(prediction)[valid]).abs()
    largest = error.max() if error.numel() else error.new_zeros(())
    threshold = (0.2 * shared_maximum(largest)).clamp_min(_SMALLEST_THRESHOLD_M)
    loss = torch.where(error <= threshold, error, (error.square() + threshold.square()) / (2 * threshold))
    return loss.sum() / shared_denominator(error.numel()).to(loss)


def draw_pixels(valid: Tensor, seed: int, pixels: int) -> Tensor:
    """Flat indices of random different valid pixels of one image, drawn from `seed`.

    Args:
        valid: any shape, bool.
        seed: of this sample; the draw does not touch the global random state.
        pixels: how many; all valid ones if there are fewer.
    """
    indices = valid.flatten().nonzero().squeeze(1)
    if indices.numel() <= pixels:
        return indices
    chosen = torch.randperm(indices.numel(), generator=torch.Generator().manual_seed(seed))[:pixels]
    return indices[chosen.to(indices.device)]


def pair_loss(prediction: Tensor, depth: Tensor, sample_seed: list[int], pixels: int = 500) -> Tensor:
    """Mean difference [m] between predicted and known depth steps over all pairs of random pixels (CI-Net, Eq. 9).

    With e = known - predicted depth a pair costs |e_p - e_q|. In ascending order e_k is the larger one of k pairs and the
    smaller one of n - 1 - k, so sorting gives the sum over all pairs without forming them.

    Choice: the mean over all pairs of 500 known pixels per image, drawn anew for every sample and step.

    Args:
        prediction: `(B, 1, H, W)` [m].
        depth: `(B, 1, H, W)` [m], 0 = unknown.
        sample_seed: one seed per image: the pixels of an image depend on nothing else.
        pixels: how many known pixels are drawn per image (the paper's 500).

    Raises:
        ShapeError: the maps differ in size, or there is not one seed per image.
    """
    _check(prediction, depth)
    if len(sample_seed) != len(depth):
        raise ShapeError(f"{len(sample_seed)} seeds for {len(depth)} images; give one seed per image.")
    prediction, valid = _plain(prediction), known(depth)
    depth = depth.as_subclass(Tensor).to(prediction)
    total, pairs = prediction[:0].sum(), 0  # an empty sum: 0 that still has a gradient
    for image, (guess, truth, seed) in enumerate(zip(prediction, depth, sample_seed, strict=True)):
        chosen = draw_pixels(valid[image], seed, pixels)
        n = chosen.numel()
        error, _ = (truth.flatten()[chosen] - guess.flatten()[chosen]).sort()
        rank = torch.arange(n, device=error.device, dtype=error.dtype)
        total = total + ((2 * rank - (n - 1)) * error).sum()
        pairs += n * (n - 1) // 2
    return total / shared_denominator(pairs).to(total)


def surface_slope(depth: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences of depth along x and y [m/px] at the inner pixels: two `(B, 1, H - 2, W - 2)` maps."""
    along_x = (depth[..., 1:-1, 2:] - depth[..., 1:-1, :-2]) / 2
    along_y = (depth[..., 2:, 1:-1] - depth[..., :-2, 1:-1]) / 2
    return along_x, along_y


def normal_loss(prediction: Tensor, depth: Tensor) -> Tensor:
    """Mean of 1 - cos(angle between predicted and known normal), normals (-dx, -dy, 1) (CI-Net, Eq. 10).

    Slopes are central differences in metres per pixel of the training size. A pixel counts where its depth and that of its
    four neighbours are known; none leaves 0 with a gradient of 0.

    Choice: central differences of depth itself, not of points in space; the mean over pixels with known neighbours.

    Args:
        prediction: `(B, 1, H, W)` [m].
        depth: `(B, 1, H, W)` [m], 0 = unknown.

    Raises:
        ShapeError: the maps differ in size.
    """
    _check(prediction, depth)
    prediction = _plain(prediction)
    depth = depth.as_subclass(Tensor).to(prediction)
    has = known(depth)
    valid = has[..., 1:-1, 1:-1] & has[..., 1:-1, 2:] & has[..., 1:-1, :-2] & has[..., 2:, 1:-1] & has[..., :-2, 1:-1]
    guess_x, guess_y = (slope[valid] for slope in surface_slope(prediction))
    true_x, true_y = (slope[valid] for slope in surface_slope(depth))
    dot = guess_x * true_x + guess_y * true_y + 1
    lengths = ((guess_x.square() + guess_y.square() + 1) * (true_x.square() + true_y.square() + 1)).sqrt()
    return (1 - dot / lengths).sum() / shared_denominator(dot.numel()).to(prediction)


def depth_loss(
    prediction: Tensor,
    depth: Tensor,
    sample_seed: list[int],
    *,
    pair_weight: float = 1.0,
    normal_weight: float = 5.0,
    pixels: int = 500,
) -> dict[str, Tensor]:
    """The weighted terms `berhu`, `pair` and `normal`; their sum is the depth loss (CI-Net, Eq. 11).

    Args:
        prediction: `(B, 1, H, W)` [m].
        depth: `(B, 1, H, W)` [m], 0 = unknown.
        sample_seed: one seed per image, for the pixels of `pair_loss`.
        pair_weight: lambda; the paper's 1.
        normal_weight: mu; the paper's 5.
        pixels: drawn per image for `pair_loss`.

    Raises:
        ShapeError: the maps differ in size, or there is not one seed per image.
    """
    return {
        "berhu": berhu(prediction, depth),
        "pair": pair_weight * pair_loss(prediction, depth, sample_seed, pixels),
        "normal": normal_weight * normal_loss(prediction, depth),
    }
