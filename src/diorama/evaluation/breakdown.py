"""Where the depth error is: semantic class x distance range x boundary band, with bootstrap intervals over images.

Every counted pixel falls into exactly one cell, so counts and squared errors add up to those of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.errors import ConfigError
from diorama.evaluation import resample
from diorama.evaluation.table import FrameTable
from diorama.types import IGNORE

Float = NDArray[np.float64]

BANDS = ("interior", "boundary")
VALUES = ("n", "sq", "abs", "relative", "abs_rel", "correct")

_INDOOR = (0.0, 1.0, 2.0, 3.0, 5.0, 10.0)
_STREET = (0.0, 5.0, 10.0, 20.0, 40.0, 60.0, 80.0)

STREET_RANGES = (0.0, 20.0, 40.0, 60.0, 80.0)
"""The coarser ranges [m] that completion papers report on streets."""


def ranges_for(cap: float) -> tuple[float, ...]:
    """Edges [m] of the distance ranges: rooms up to 10 m, streets beyond; the last range ends at the cap."""
    edges = _INDOOR if cap <= 10.0 else _STREET
    inner = tuple(edge for edge in edges if edge < cap)
    return (*inner, cap)


def boundary(semantic: NDArray[np.uint8], radius: int) -> NDArray[np.bool_]:
    """`(H, W)` mask of the pixels that have another train id (void included) within `radius` pixels, rows and columns alike."""
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    near: NDArray[np.bool_] = cv2.dilate(semantic, kernel) != cv2.erode(semantic, kernel)
    return near


def boundary_radius(height: int) -> int:
    """Width of the boundary band [px]: one percent of the image height, at least 2."""
    return max(2, round(0.01 * height))


def breakdown_columns(
    truth: NDArray[np.float32],
    predicted: Float,
    valid: NDArray[np.bool_],
    semantic: NDArray[np.uint8] | None,
    found: NDArray[np.uint8] | None,
    classes: int,
    edges: Sequence[float],
    relative_floor: float = 0.0,
) -> dict[str, Any]:
    """Sums of one frame by cell: `breakdown/VALUE` of shape `(classes + 1, ranges, 2)`; the last class is "unlabelled".

    Args:
        truth: `(H, W)` [m].
        predicted: `(H, W)` [m], as the protocol scores it (aligned and clipped).
        valid: `(H, W)` the pixels that the protocol counts.
        semantic: `(H, W)` true train ids, None if there are none (one class, no band).
        found: `(H, W)` predicted train ids, None if there are none.
        classes: number of classes.
        edges: of the distance ranges [m], increasing; beyond the last edge counts to the last range.
        relative_floor: metres that the truth must be above for errors in parts of it.
    """
    shape = (classes + 1, len(edges) - 1, len(BANDS))
    cells = int(np.prod(shape))
    d, p = truth[valid].astype(np.float64), predicted[valid]
    span = np.clip(np.searchsorted(np.asarray(edges[1:-1], np.float64), d, side="right"), 0, shape[1] - 1)
    if semantic is None:
        kind, band = np.full(d.size, classes), np.zeros(d.size, np.int64)
    else:
        kind = np.minimum(semantic[valid].astype(np.int64), classes)
        band = boundary(semantic, boundary_radius(len(semantic)))[valid].astype(np.int64)
    cell = (kind * shape[1] + span) * shape[2] + band
    error, above = np.abs(p - d), d > relative_floor
    right = (semantic[valid] == found[valid]) & (semantic[valid] != IGNORE) if semantic is not None and found is not None else None
    values: dict[str, NDArray[Any]] = {
        "n": np.bincount(cell, minlength=cells),
        "sq": np.bincount(cell, error * error, cells),
        "abs": np.bincount(cell, error, cells),
        "relative": np.bincount(cell[above], minlength=cells),
        "abs_rel": np.bincount(cell[above], error[above] / d[above], cells),
        "correct": np.bincount(cell[right], minlength=cells) if right is not None else np.zeros(cells, np.int64),
    }
    return {f"breakdown/{key}": values[key].reshape(shape) for key in VALUES}


@dataclass(frozen=True)
class Breakdown:
    """The summed table and its intervals; axes of every array: class (the last is "unlabelled"), range, band."""

    classes: tuple[str, ...]
    edges: tuple[float, ...]
    counts: NDArray[np.int64]
    rmse: Float
    mae: Float
    abs_rel: Float
    accuracy: Float
    """Pixel accuracy of the semantics among the pixels with depth; nan without semantics."""
    rmse_interval: Float
    """`(..., 2)` 95 % bootstrap interval over images; nan where it cannot be had."""
    range_interval: Float
    """`(ranges, 2, 2)`, over all classes."""
    distance_interval: Float
    """`(ranges, 2)`, over all classes and both bands."""
    class_interval: Float
    """`(classes + 1, 2)`, over all ranges and bands."""

    def range_names(self) -> list[str]:
        """`0-1 m`, `1-2 m`, ..."""
        return [f"{low:g}-{high:g} m" for low, high in zip(self.edges, self.edges[1:], strict=False)]

    def rows(self) -> list[dict[str, Any]]:
        """The cells with pixels, a dict each, as breakdown.csv holds them."""
        names, spans = (*self.classes, "unlabelled"), self.range_names()
        found = []
        for kind, span, band in zip(*np.nonzero(self.counts), strict=True):
            at = (kind, span, band)
            low, high = self.rmse_interval[at]
            found.append(
                {
                    "class": names[kind], "range": spans[span], "band": BANDS[band], "pixels": int(self.counts[at]),
                    "rmse_m": float(self.rmse[at]), "rmse_low": float(low), "rmse_high": float(high),
                    "mae_m": float(self.mae[at]), "abs_rel": float(self.abs_rel[at]), "accuracy": float(self.accuracy[at]),
                }
            )  # fmt: skip
        return found

    def marginal(self, axes: tuple[int, ...]) -> tuple[Float, NDArray[np.int64]]:
        """RMSE [m] and counts after adding up `axes` (0 class, 1 range, 2 band); nan where there are no pixels."""
        counts = self.counts.sum(axis=axes)
        squares = np.nan_to_num(np.square(self.rmse) * self.counts).sum(axis=axes)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.sqrt(squares / counts), counts


def breakdown(
    table: FrameTable, classes: Sequence[str], edges: Sequence[float], draws: int = 200, into: Sequence[float] | None = None
) -> Breakdown | None:
    """The table summed over frames with bootstrap intervals over images; None if no frame has depth.

    Args:
        table: merged rows with the columns of `breakdown_columns`.
        classes: names of the train ids.
        edges: of the distance ranges [m], those the columns were made with.
        draws: bootstrap draws; 0 leaves the intervals out.
        into: coarser ranges made of whole ones, e.g. `STREET_RANGES`; what lies outside of them is left out.

    Raises:
        ConfigError: an edge of `into` is none of `edges`.
    """
    if "breakdown/n" not in table or not table["breakdown/n"].any():
        return None
    parts = {key: table[f"breakdown/{key}"] for key in VALUES}
    if into is not None:
        parts, edges = {key: _joined(part, edges, into) for key, part in parts.items()}, into
    total = {key: part.sum(axis=0) for key, part in parts.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = {key: total[key] / total["relative" if key == "abs_rel" else "n"] for key in VALUES if key not in ("n", "relative")}
    labelled = np.ones(total["n"].shape, bool)
    labelled[-1] = False
    accuracy = np.where(labelled & bool(total["correct"].any()), mean["correct"], np.nan)
    return Breakdown(
        classes=tuple(classes), edges=tuple(edges), counts=total["n"], rmse=np.sqrt(mean["sq"]), mae=mean["abs"],
        abs_rel=mean["abs_rel"], accuracy=accuracy, rmse_interval=intervals(parts["n"], parts["sq"], draws),
        range_interval=intervals(parts["n"].sum(axis=1), parts["sq"].sum(axis=1), draws),
        distance_interval=intervals(parts["n"].sum(axis=(1, 3)), parts["sq"].sum(axis=(1, 3)), draws),
        class_interval=intervals(parts["n"].sum(axis=(2, 3)), parts["sq"].sum(axis=(2, 3)), draws),
    )  # fmt: skip


def _joined(part: NDArray[Any], edges: Sequence[float], into: Sequence[float]) -> NDArray[Any]:
    """`(frames, classes + 1, ranges, 2)` with the ranges between two edges of `into` added up."""
    missing = [edge for edge in into if edge not in edges]
    if missing:
        raise ConfigError(f"{missing[0]:g} m is no edge of the distance ranges. Choose among {', '.join(f'{edge:g}' for edge in edges)}.")
    places = [list(edges).index(edge) for edge in into]
    return np.stack([part[:, :, low:high].sum(axis=2) for low, high in pairwise(places)], axis=2)


def intervals(counts: NDArray[np.int64], squares: Float, draws: int) -> Float:
    """`(..., 2)` 95 % bootstrap intervals over images of the RMSE, from `(images, ...)` counts and sums of squares; nan without one."""
    images, shape = len(counts), counts.shape[1:]
    if images < 2 or not draws:
        return np.full((*shape, 2), np.nan)
    weights = resample.weights(images, draws)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = np.sqrt((weights @ squares.reshape(images, -1)) / (weights @ counts.reshape(images, -1).astype(np.float64)))
    bounds = np.full((drawn.shape[1], 2), np.nan)
    some = np.isfinite(drawn).all(axis=0)
    if some.any():
        bounds[some] = np.quantile(drawn[:, some], [0.025, 0.975], axis=0).T
    return bounds.reshape(*shape, 2)
