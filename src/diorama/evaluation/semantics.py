"""Semantics of one frame against its truth: a confusion matrix, and the metrics that follow from a summed one."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.errors import DataError, ModelError, ShapeError
from diorama.evaluation.depth import as_array
from diorama.evaluation.protocol import Better
from diorama.types import IGNORE

METRICS: dict[str, tuple[str, Better]] = {
    "miou": ("1", "higher"),
    "pixel_accuracy": ("1", "higher"),
    "class_accuracy": ("1", "higher"),
    "class_accuracy_all": ("1", "higher"),
}
"""`class_accuracy` is the mean over classes that occur in the truth (the FCN score), `_all` counts the others as 0."""

Float = NDArray[np.float64]
Labels = NDArray[np.uint8]

_EXACT = 1 << 23  # pixels per histogram: well inside what float32 counts exactly
_BLOCK = 1 << 16  # pixels compared at a time: the running maximum stays in the cache


def classes_of(logits: Any, size: tuple[int, int]) -> Labels:
    """`(K, h, w)` logits, tensor or array -> `(H, W)` uint8 train ids of the largest one, after bilinear resizing to `size`.

    Compares class after class into one uint8 image: an argmax over 19x1024x2048 costs more than the metric, and no
    K x H x W array is made when the logits are smaller than the truth. The first of equal classes wins, as in argmax.

    Raises:
        ShapeError: not `(K, h, w)` with at most 255 classes.
        ModelError: a logit is nan.
    """
    planes = as_array(logits)
    if planes.ndim != 3 or not 1 <= planes.shape[0] <= IGNORE:
        raise ShapeError(f"semantic logits have shape {planes.shape}, expected (K, H, W) with K <= {IGNORE}. Pass one image at a time.")
    planes = np.ascontiguousarray(planes, np.float32)
    if planes.shape[1:] == size:
        best, ids = _largest(planes.reshape(len(planes), -1))
    else:
        best, ids = _largest_resized(planes, size)
    if np.isnan(best).any():
        raise ModelError("the predicted semantic logits have values that are not numbers. Check the weights, or run in float32.")
    return ids.reshape(size)


def _largest(planes: NDArray[np.float32]) -> tuple[NDArray[np.float32], Labels]:
    pixels = planes.shape[1]
    best, ids = np.empty(pixels, np.float32), np.zeros(pixels, np.uint8)
    larger = np.empty(min(_BLOCK, pixels), bool)
    for start in range(0, pixels, _BLOCK):
        stop = min(start + _BLOCK, pixels)
        block, into, mask = best[start:stop], ids[start:stop], larger[: stop - start]
        np.copyto(block, planes[0, start:stop])
        for k in range(1, len(planes)):
            np.greater(planes[k, start:stop], block, out=mask)
            np.putmask(into, mask, np.uint8(k))
            np.maximum(block, planes[k, start:stop], out=block)
    return best, ids


def _largest_resized(planes: NDArray[np.float32], size: tuple[int, int]) -> tuple[NDArray[np.float32], Labels]:
    best, ids = np.empty(0, np.float32), np.zeros(size, np.uint8)
    for k, plane in enumerate(planes):
        resized = cv2.resize(plane, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
        if k == 0:
            best = resized
            continue
        np.putmask(ids, resized > best, np.uint8(k))
        np.maximum(best, resized, out=best)
    return best, ids


def confusion(truth: Labels, predicted: Labels, classes: int) -> NDArray[np.int64]:
    """`(K, K + 1)` counts [truth, prediction]; the last column holds predictions of no class; ignored truth is not counted.

    Both label images are uint8 of equal size; 255 is "ignore". One histogram of the pairs, nothing masked or multiplied: ignored and
    stray truth falls into rows of its own.

    Raises:
        ShapeError: the two differ in size or are not uint8.
        DataError: the truth has a train id that is no class.
    """
    if truth.shape != predicted.shape or truth.dtype != np.uint8 or predicted.dtype != np.uint8:
        raise ShapeError(
            f"truth {truth.dtype}{truth.shape} and prediction {predicted.dtype}{predicted.shape}: pass two uint8 label images of one size."
        )
    if predicted.size and int(predicted.max()) > classes:
        predicted = np.minimum(predicted, np.uint8(classes))
    counts = _pair_counts(truth, predicted, classes + 1)
    stray = np.flatnonzero(counts[classes:IGNORE].any(axis=1)) + classes
    if stray.size:
        raise DataError(f"the truth has train id {stray[0]}, the label set ends at {classes - 1}. Check the label set of the data.")
    return counts[:classes]


def _pair_counts(truth: Labels, predicted: Labels, columns: int) -> NDArray[np.int64]:
    """`(256, columns)` how often each pair of values occurs; all of `predicted` is below `columns`.

    OpenCV reads the bytes as they are, at half the cost of np.bincount, which needs them joined and widened to int64. It answers in
    float32, exact up to 2^24: hence the pieces. A table of 256 x 256 would be mapped by the system anew each time, which costs more
    than the counting.
    """
    counts = np.zeros((256, columns), np.int64)
    first, second = truth.reshape(-1, 1), predicted.reshape(-1, 1)
    for start in range(0, truth.size, _EXACT):
        pieces = [first[start : start + _EXACT], second[start : start + _EXACT]]
        counts += cv2.calcHist(pieces, [0, 1], None, [256, columns], [0, 256, 0, columns]).astype(np.int64)
    return counts


def class_sums(matrix: NDArray[Any]) -> tuple[Float, Float, Float]:
    """Hits, true pixels and predicted pixels per class, `(..., K)` each, from `(..., K, K + 1)`."""
    hits = np.diagonal(matrix, axis1=-2, axis2=-1).astype(np.float64)
    return hits, matrix.sum(axis=-1).astype(np.float64), matrix[..., :-1].sum(axis=-2).astype(np.float64)


def class_iou(hits: Float, true: Float, predicted: Float) -> Float:
    """Intersection over union per class; nan for a class that neither truth nor prediction has."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return hits / (true + predicted - hits)


def class_accuracy(hits: Float, true: Float) -> Float:
    """TP / (TP + FN) per class, a predicted "ignore" being a miss; nan for a class that the truth does not have."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return hits / true


def semantic_metrics(hits: Float, true: Float, predicted: Float) -> dict[str, Float]:
    """The metrics of `METRICS` from class sums `(..., K)`; nan where nothing was counted."""
    iou, accuracy = class_iou(hits, true, predicted), class_accuracy(hits, true)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "miou": np.nansum(iou, axis=-1) / np.isfinite(iou).sum(axis=-1),
            "pixel_accuracy": hits.sum(axis=-1) / true.sum(axis=-1),
            "class_accuracy": np.nansum(accuracy, axis=-1) / np.isfinite(accuracy).sum(axis=-1),
            "class_accuracy_all": np.nansum(accuracy, axis=-1) / accuracy.shape[-1],
        }
