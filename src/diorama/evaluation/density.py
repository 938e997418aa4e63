"""Where the depth error is by how many input points are near: the local density around each counted pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.errors import ShapeError
from diorama.evaluation.breakdown import intervals
from diorama.evaluation.table import FrameTable

Float = NDArray[np.float64]

RADIUS = 16
"""Half the side of the square window that points are counted in [px]: 33x33 hold about 8 of 500 points, about 40 of a 64-line scan."""

EDGES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 1.0)
"""Of the density ranges, as share of the window's pixels; a window without a point has a range of its own."""

VALUES = ("n", "sq", "abs", "relative", "abs_rel")


def local_density(points: NDArray[np.float32], radius: int = RADIUS) -> Float:
    """`(H, W)` share of pixels with a point in the window around each pixel; what of a window lies outside the image does not count.

    Args:
        points: `(H, W)` sparse depth [m], 0 = unknown.
        radius: the window has `2 * radius + 1` rows and columns.
    """
    known = (points > 0).astype(np.float64)
    side = (2 * radius + 1, 2 * radius + 1)
    border = cv2.BORDER_CONSTANT  # zeros
    inside = cv2.boxFilter(np.ones_like(known), -1, side, normalize=False, borderType=border)
    # sums of ones are whole numbers: rounding takes away what the running sums of the filter leave
    return np.rint(cv2.boxFilter(known, -1, side, normalize=False, borderType=border)) / np.rint(inside)


def density_columns(
    truth: NDArray[np.float32], predicted: Float, valid: NDArray[np.bool_], points: NDArray[np.float32], relative_floor: float = 0.0
) -> dict[str, Any]:
    """Sums of one frame by density range: `density/VALUE` of shape `(len(EDGES),)`; the first range is "no point in the window".

    Args:
        truth: `(H, W)` [m].
        predicted: `(H, W)` [m], as the protocol scores it (aligned and clipped).
        valid: `(H, W)` the pixels that the protocol counts.
        points: `(H, W)` the network's input [m], 0 = unknown.
        relative_floor: metres that the truth must be above for errors in parts of it.

    Raises:
        ShapeError: points and truth differ in size.
    """
    if points.shape != truth.shape:
        raise ShapeError(f"input points are {points.shape}, the truth {truth.shape}. Bring both to one size.")
    d, p, density = truth[valid].astype(np.float64), predicted[valid], local_density(points)[valid]
    span = np.where(density > 0, np.clip(np.searchsorted(EDGES[1:-1], density, side="right"), 0, len(EDGES) - 2) + 1, 0)
    error, above = np.abs(p - d), d > relative_floor
    cells = len(EDGES)
    values: dict[str, NDArray[Any]] = {
        "n": np.bincount(span, minlength=cells),
        "sq": np.bincount(span, error * error, cells),
        "abs": np.bincount(span, error, cells),
        "relative": np.bincount(span[above], minlength=cells),
        "abs_rel": np.bincount(span[above], error[above] / d[above], cells),
    }
    shares = {"density/known": int(np.count_nonzero(points)), "density/pixels": points.size}
    return {**{f"density/{key}": values[key] for key in VALUES}, **shares}


def range_names(edges: Sequence[float] = EDGES) -> list[str]:
    """`none`, `0-0.5 %`, `0.5-1 %`, ..."""
    return ["none", *(f"{100 * low:g}-{100 * high:g} %" for low, high in pairwise(edges))]


@dataclass(frozen=True)
class DensityBreakdown:
    """Depth error by local density of the input points, one entry for each of `range_names()`."""

    counts: NDArray[np.int64]
    rmse: Float
    mae: Float
    abs_rel: Float
    rmse_interval: Float
    """`(ranges, 2)` 95 % bootstrap interval over images; nan where it cannot be had."""
    share: float
    """Part of all pixels that have a point, over the whole split."""
    points: float
    """Mean number of points of a frame."""

    def rows(self) -> list[dict[str, Any]]:
        """The ranges with pixels, a dict each, as density.csv holds them."""
        return [
            {
                "points_near": name, "pixels": int(self.counts[k]), "rmse_m": float(self.rmse[k]),
                "rmse_low": float(self.rmse_interval[k, 0]), "rmse_high": float(self.rmse_interval[k, 1]), "mae_m": float(self.mae[k]),
                "abs_rel": float(self.abs_rel[k]),
            }
            for k, name in enumerate(range_names())
            if self.counts[k]
        ]  # fmt: skip


def density_breakdown(table: FrameTable, draws: int = 200) -> DensityBreakdown | None:
    """The table summed over frames with bootstrap intervals over images; None if no frame has depth and points.

    Args:
        table: merged rows with the columns of `density_columns`.
        draws: bootstrap draws; 0 leaves the intervals out.
    """
    if "density/n" not in table or not table["density/n"].any():
        return None
    parts = {key: table[f"density/{key}"] for key in VALUES}
    total = {key: part.sum(axis=0) for key, part in parts.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = {key: total[key] / total["relative" if key == "abs_rel" else "n"] for key in VALUES if key not in ("n", "relative")}
    known, pixels = table["density/known"], table["density/pixels"]
    some = pixels > 0
    return DensityBreakdown(
        counts=total["n"], rmse=np.sqrt(mean["sq"]), mae=mean["abs"], abs_rel=mean["abs_rel"],
        rmse_interval=intervals(parts["n"], parts["sq"], draws), share=float(known.sum() / pixels.sum()),
        points=float(known[some].mean()),
    )  # fmt: skip
