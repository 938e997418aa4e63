"""How far completed depth is from the known depth and a reconstructed image from the real one; how well an uncertainty fits its errors."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from diorama.errors import ShapeError
from diorama.losses.depth import known
from diorama.nn.processes import shared_denominator

Norm = Literal["l2", "l1", "rmse"]
Likelihood = Literal["laplace", "gaussian"]

_LEAST_SQUARE_M2 = 1e-8

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey value (ITU-R BT.601)."""


def _float(tensor: Tensor) -> Tensor:
    """A plain tensor in float32 or better: sums keep their digits under autocast, and tv_tensors lose their class."""
    tensor = tensor.as_subclass(Tensor)
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _check(prediction: Tensor, truth: Tensor, what: str) -> None:
    if prediction.shape != truth.shape or prediction.ndim != 4 or prediction.shape[1] != 1:
        raise ShapeError(
            f"predicted {what} {tuple(prediction.shape)} and true {what} {tuple(truth.shape)} must both be (B, 1, H, W);"
            " resize the prediction to the truth."
        )


def grey(image: Tensor) -> Tensor:
    """`(B, 1, H, W)` grey values in 0..255 of `(B, 3, H, W)` RGB in 0..1 (BT.601).

    Raises:
        ShapeError: `image` has not three channels.
    """
    if image.ndim != 4 or image.shape[1] != 3:
        raise ShapeError(f"image {tuple(image.shape)}, expected (B, 3, H, W) RGB; stack a grey image three times.")
    image = _float(image)
    return 255 * (image * image.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


def completion_loss(prediction: Tensor, depth: Tensor, norm: Norm = "l2") -> Tensor:
    """Mean squared error [m^2] over the pixels of known depth (Image reconstruction, Eq. 13); `norm="l1"`: mean absolute error [m].

    `norm="rmse"` is the mean of the root mean squared errors [m] of the frames, as benchmarks score it: a hard frame does not outweigh
    the others by the square of its error. Without a known pixel the loss is 0 with a gradient of 0.

    Choice: depth in metres; N_1 counts the known pixels of the batch; "l1" is the second variant of Table 1.

    Args:
        prediction: `(B, 1, H, W)` [m].
        depth: `(B, 1, H, W)` [m], 0 = unknown.
        norm: "l2", "l1" or "rmse".

    Raises:
        ShapeError: the maps differ in size.
    """
    _check(prediction, depth, "depth")
    valid, prediction = known(depth), _float(prediction)
    if norm == "rmse":
        error = torch.where(valid, prediction, 0) - torch.where(valid, depth.as_subclass(Tensor), 0).to(prediction)
        count = valid.flatten(1).sum(1)
        frames = (error.flatten(1).square().sum(1) / count.clamp_min(1) + _LEAST_SQUARE_M2).sqrt() * (count > 0)
        return frames.sum() / shared_denominator((count > 0).sum()).to(frames)
    # the selection stands before the subtraction: 0 times the gradient of an unknown pixel could still be NaN
    error = prediction[valid] - _float(depth).to(prediction)[valid]
    cost = error.square() if norm == "l2" else error.abs()
    return cost.sum() / shared_denominator(error.numel()).to(cost)


def reconstruction_loss(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Mean squared error of grey values over all pixels (Image reconstruction, Eq. 14).

    Choice: grey values are 0..255 (BT.601): only at that scale a weight of 1e-4 makes sense beside depth in metres.

    Args:
        reconstruction: `(B, 1, H, W)` grey values, 0..255.
        image: `(B, 3, H, W)` RGB in 0..1.

    Raises:
        ShapeError: the two differ in batch, height or width, or `image` is not RGB.
    """
    truth = grey(image)
    _check(reconstruction, truth, "grey image")
    reconstruction = _float(reconstruction)
    squared = (reconstruction - truth.to(reconstruction)).square()
    return squared.sum() / shared_denominator(squared.numel()).to(squared)


def uncertainty_loss(prediction: Tensor, depth: Tensor, uncertainty: Tensor, likelihood: Likelihood = "laplace") -> Tensor:
    """Mean negative log-likelihood of the errors under the predicted uncertainty, less constants; over the pixels of known depth.

    "laplace": |e| / u + log u, least at u = |e|, so u is the expected absolute error; "gaussian": e^2 / (2 u^2) + log u, so u is the
    standard deviation. The errors are constants here: depth is trained by its own loss, whatever this one weighs.
    Without a known pixel the loss is 0 with a gradient of 0.

    Args:
        prediction: `(B, 1, H, W)` [m].
        depth: `(B, 1, H, W)` [m], 0 = unknown.
        uncertainty: `(B, 1, H, W)` [m], > 0.
        likelihood: "laplace" or "gaussian".

    Raises:
        ShapeError: the maps differ in size.
    """
    _check(prediction, depth, "depth")
    _check(uncertainty, depth, "uncertainty")
    valid, uncertainty = known(depth), _float(uncertainty)
    spread = uncertainty[valid]
    error = (_float(prediction).detach()[valid] - _float(depth)[valid]).to(spread)
    fit = error.abs() / spread if likelihood == "laplace" else (error / spread).square() / 2
    cost = fit + spread.log()
    return cost.sum() / shared_denominator(cost.numel()).to(cost)
