"""Depth of one frame against its truth: exact sums that a frame table keeps, and the metrics that follow from summed sums."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.errors import ModelError, ShapeError
from diorama.evaluation.protocol import Better, Protocol

Float = NDArray[np.float64]

COUNTS = ("n", "relative", "delta1", "delta2", "delta3")
SUMS = ("sq", "abs", "log_sq", "log10", "abs_rel", "sq_rel", "sq_rel_squared", "inverse_sq", "inverse_abs")

METRICS: dict[str, tuple[str, Better]] = {
    "rmse": ("m", "lower"),
    "mae": ("m", "lower"),
    "abs_rel": ("1", "lower"),
    "sq_rel": ("m", "lower"),
    "sq_rel_squared": ("1", "lower"),
    "rmse_log": ("1", "lower"),
    "log10": ("1", "lower"),
    "irmse": ("1/km", "lower"),
    "imae": ("1/km", "lower"),
    "delta1": ("1", "higher"),
    "delta2": ("1", "higher"),
    "delta3": ("1", "higher"),
}
"""Name -> unit and direction. `sq_rel` divides by d, `sq_rel_squared` by d^2 (as CI-Net prints it)."""

RELATIVE = frozenset(METRICS) - {"rmse", "mae"}
"""What rests on truths above `Protocol.relative_floor` alone."""


def to_truth_size(depth: Any, size: tuple[int, int]) -> NDArray[np.float32]:
    """`(h, w)` or `(1, h, w)` predicted depth [m], tensor or array -> `(H, W)` float32, bilinear with half-pixel centres.

    Raises:
        ShapeError: there is more than one channel.
        ModelError: a value is not finite.
    """
    plane = as_array(depth)
    if plane.ndim == 3 and plane.shape[0] == 1:
        plane = plane[0]
    if plane.ndim != 2:
        raise ShapeError(f"predicted depth has shape {plane.shape}, expected (H, W) or (1, H, W). Pass one image at a time.")
    if not np.isfinite(plane).all():
        raise ModelError("the predicted depth has values that are not finite. Check the weights, or run in float32.")
    plane = np.ascontiguousarray(plane, np.float32)
    if plane.shape == size:
        return plane
    return np.asarray(cv2.resize(plane, (size[1], size[0]), interpolation=cv2.INTER_LINEAR), np.float32)


def as_array(value: Any) -> NDArray[Any]:
    """A torch tensor of any device and dtype, or an array -> NumPy."""
    if hasattr(value, "detach"):
        value = value.detach().float().cpu().numpy()
    return np.asarray(value)


def scale_factor(truth: NDArray[np.float32], predicted: NDArray[np.float32], valid: NDArray[np.bool_]) -> float:
    """median(truth) / median(prediction) over the valid pixels, 1 if there are none.

    Raises:
        ModelError: the median prediction is not positive.
    """
    if not valid.any():
        return 1.0
    middle = float(np.median(predicted[valid]))
    if middle <= 0:
        raise ModelError(f"the median predicted depth is {middle:g} m, so no scale can be aligned. Use align='none' or check the model.")
    return float(np.median(truth[valid])) / middle


def prepared(predicted: NDArray[np.float32], protocol: Protocol, factor: float = 1.0) -> Float:
    """The prediction as the protocol scores it: scaled by `factor` first, then clipped to [floor, cap]; float64."""
    return np.clip(predicted.astype(np.float64) * factor, protocol.floor, protocol.cap)


def depth_columns(
    truth: NDArray[np.float32], predicted: NDArray[np.float32], protocol: Protocol, factor: float | None = None
) -> dict[str, Any]:
    """Exact sums over the counted pixels of one frame, and its scale factor.

    Args:
        truth: `(H, W)` [m], 0 = unknown.
        predicted: `(H, W)` [m], already of the truth's size.
        protocol: says which pixels count, how the scale is aligned, and the clip.
        factor: scale of the prediction; None follows the protocol ("median" asks the frame itself, else 1).

    Raises:
        ShapeError: the two differ in size.
    """
    if truth.shape != predicted.shape:
        raise ShapeError(f"true depth is {truth.shape}, predicted {predicted.shape}. Resize the prediction with to_truth_size.")
    valid = protocol.valid(truth)
    if factor is None:
        factor = scale_factor(truth, predicted, valid) if protocol.align == "median" else 1.0
    d = truth[valid].astype(np.float64)
    p = prepared(predicted[valid], protocol, factor)
    return {**pixel_sums(d, p, protocol.relative_floor), "depth/scale": float(factor)}


def pixel_sums(d: Float, p: Float, relative_floor: float = 0.0) -> dict[str, Any]:
    """Counts and sums over truths `d` and predictions `p` [m], both positive and flat; those of `RELATIVE` where d > relative_floor."""
    error = p - d
    squared = error * error
    absolute = {"n": d.size, "sq": squared.sum(), "abs": np.abs(error).sum()}
    if relative_floor:
        above = d > relative_floor
        d, p, error, squared = d[above], p[above], error[above], squared[above]
    log_ratio = np.log(p) - np.log(d)
    # max(p/d, d/p) < 1.25^k, taken from the ratio itself: a logarithm would move values that lie on the threshold
    ratio = np.maximum(p / d, d / p)
    inverse = 1000.0 * (1.0 / p - 1.0 / d)
    sums = {
        "sq": absolute["sq"],
        "abs": absolute["abs"],
        "log_sq": (log_ratio * log_ratio).sum(),
        "log10": np.abs(log_ratio).sum() / np.log(10.0),
        "abs_rel": (np.abs(error) / d).sum(),
        "sq_rel": (squared / d).sum(),
        "sq_rel_squared": (squared / (d * d)).sum(),
        "inverse_sq": (inverse * inverse).sum(),
        "inverse_abs": np.abs(inverse).sum(),
    }
    counts = {"n": absolute["n"], "relative": d.size, **{f"delta{k}": int((ratio < 1.25**k).sum()) for k in (1, 2, 3)}}
    return {**{f"depth/{key}": int(counts[key]) for key in COUNTS}, **{f"depth/{key}": float(sums[key]) for key in SUMS}}


def depth_metrics(sums: Mapping[str, Float]) -> dict[str, Float]:
    """The metrics of `METRICS` from summed columns (names without "depth/"); any leading shape; nan where nothing was counted."""
    n, above = (np.asarray(sums[key], np.float64) for key in ("n", "relative"))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = {
            key: np.asarray(sums[key], np.float64) / (n if key in ("sq", "abs") else above)
            for key in (*COUNTS, *SUMS)
            if key not in ("n", "relative")
        }
    return {
        "rmse": np.sqrt(mean["sq"]),
        "mae": mean["abs"],
        "abs_rel": mean["abs_rel"],
        "sq_rel": mean["sq_rel"],
        "sq_rel_squared": mean["sq_rel_squared"],
        "rmse_log": np.sqrt(mean["log_sq"]),
        "log10": mean["log10"],
        "irmse": np.sqrt(mean["inverse_sq"]),
        "imae": mean["inverse_abs"],
        "delta1": mean["delta1"],
        "delta2": mean["delta2"],
        "delta3": mean["delta3"],
    }
