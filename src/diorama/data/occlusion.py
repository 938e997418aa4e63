"""Returns that the camera cannot see, and returns withheld as truth where there is no other. NumPy and OpenCV.

A LiDAR above the camera looks over the edges of near things: the background it hits there is drawn into the image on top of the
foreground. Such returns are wrong depth for those pixels, as input and as truth.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.data import patterns
from diorama.data.scan import KITTI, Lidar, Returns, nearest_line, returns, scan_lines
from diorama.errors import ConfigError
from diorama.types import UNKNOWN_DEPTH

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

NEARER = 0.9
"""What hides a return is at most this share of its depth: a slanted surface does not hide itself."""
ROUNDING = 0.25
"""How far a nearer return may be drawn below, as a share of the distance of two lines: its surface goes on up to the next line."""
LOST = 1.6
"""A shot is missing where two neighbours on a line are more than this many usual steps apart."""
REACH = 1.25
"""How far a surface is taken to go on to a side where shots are missing [degrees of azimuth]: glass and dark paint return few."""


def occluded(sparse: F32, intrinsics: NDArray[np.float64], lidar: Lidar = KITTI) -> Mask:
    """`(H, W)` mask of returns seen through the foreground: a nearer surface was scanned below it, but not drawn below it.

    Between scanner and camera the order of two returns on one vertical changes only if the camera sees the nearer one in front of
    the other. Nearer returns are looked for in the columns they are drawn in, which holds their shift to the side too, on as many
    lines as the height of the scanner above the camera can shift them. A return stands for the columns half a step to either side,
    or up to the next return of its line where shots are missing, `REACH` at most. (Below the camera: scanned above, drawn at or below.)

    Args:
        sparse: `(H, W)` [m], 0 = unknown, of one scan.
        intrinsics: `(3, 3)` [px].
        lidar: the scanner that made `sparse`.
    """
    found = returns(sparse, intrinsics, lidar)
    hidden = np.zeros(sparse.shape, bool)
    if not len(found.v):
        return hidden
    line = nearest_line(found, lidar)[0].astype(np.int64)
    height = max(lidar.heights, key=lambda h: abs(h - lidar.origin[1])) - lidar.origin[1]
    down = 1 if height >= 0 else -1
    total = len(lidar.elevations)
    gap = np.radians(np.median(-np.diff(lidar.elevations))) if total > 1 else np.pi
    slack = ROUNDING * gap * intrinsics[1, 1]
    # two pixels are off by half a row each
    shift = abs(height) / found.depth.min() + (slack + 1) / intrinsics[1, 1]
    reach = min(int(np.ceil(shift / gap)), total - 1) if height else 0
    depth, row = _by_line(found, line, intrinsics, (total, sparse.shape[1]))
    mask = np.zeros(len(found.v), bool)
    limit, lowest = NEARER * found.depth, down * found.v + slack
    for away in range(1, reach + 1):
        other = line + down * away
        cell = other.clip(0, total - 1) * sparse.shape[1] + found.u
        mask |= (depth.take(cell) < limit) & (down * row.take(cell) <= lowest) & (other >= 0) & (other < total)
    hidden[found.v, found.u] = mask
    return hidden


def _by_line(
    found: Returns, line: NDArray[np.int64], intrinsics: NDArray[np.float64], size: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Depth [m] (infinite where there is none) and row of the nearest return that stands for each `(line, column)`."""
    before, after = _widths(found, line, intrinsics)
    far_first = np.argsort(-found.depth, kind="stable")
    counts = (before + 1 + after)[far_first]
    which = np.repeat(far_first, counts)
    aside = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts) - before[which]
    column = found.u[which] + aside
    inside = (column >= 0) & (column < size[1])
    which, column = which[inside], column[inside]
    depth, row = np.full(size, np.inf), np.zeros(size, np.int64)
    # the nearest return of a cell is written last
    depth[line[which], column] = found.depth[which]
    row[line[which], column] = found.v[which]
    return depth, row


def _widths(found: Returns, line: NDArray[np.int64], intrinsics: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many columns to its left and right each return stands for: half a step, or up to the next return where shots are missing."""
    order = np.lexsort((found.azimuth, line))
    step = np.diff(found.azimuth[order])
    same = np.diff(line[order]) == 0
    usual = min(float(np.median(step[same])), REACH) if same.any() else 0.0
    step[~same] = REACH
    missing = np.where(step > LOST * usual, step.clip(max=REACH), 0)
    across = ((found.u[order] - intrinsics[0, 2]) / intrinsics[0, 0]) ** 2 + 1
    pixels = np.radians(intrinsics[0, 0] * across)
    half = np.maximum(np.rint(usual / 2 * pixels), 1)
    missing = np.pad(missing, 1, constant_values=REACH)
    before, after = np.empty(len(order), np.int64), np.empty(len(order), np.int64)
    before[order] = np.maximum(missing[:-1] * pixels - 1, half)
    after[order] = np.maximum(missing[1:] * pixels - 1, half)
    return before, after


def beyond_minimum(sparse: F32, window: int = 9, ratio: float = 1.1) -> Mask:
    """`(H, W)` mask of returns more than `ratio` times as far as the nearest one within `window` x `window` pixels.

    Needs no scanner, but takes many visible returns beside near things away as well: for comparison with `occluded`.
    """
    filled = np.where(sparse > 0, sparse, np.float32(np.inf))
    nearest = cv2.erode(filled, np.ones((window, window), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=np.inf)
    return np.asarray((sparse > 0) & (sparse > np.float32(ratio) * nearest))


class Withheld(NamedTuple):
    """A scan divided into what a completion gets and what it is asked for, each `(H, W)`."""

    sparse: F32
    """Input [m], 0 = unknown."""
    target: F32
    """Withheld returns [m], 0 = nothing asked here."""
    unoccluded: Mask
    """Targets that the camera sees, judged by the whole scan."""
    covered: Mask
    """Targets below the top input point of their part of the image: above it a completion extrapolates."""


def withhold(
    sparse: F32,
    how: Literal["random", "lines"] = "random",
    share: float = 0.2,
    seed: int = 0,
    *,
    intrinsics: NDArray[np.float64] | None = None,
    lidar: Lidar = KITTI,
    clean: bool = True,
    aside: int = 8,
) -> Withheld:
    """A scan without a `share` of its returns, and those returns as the target.

    Args:
        sparse: `(H, W)` [m], 0 = unknown.
        how: `random` returns, exactly `round(share * n)`; or whole scan `lines`, every fifth if `share` is 0.2 (the third, eighth, ...).
        share: above 0, below 1.
        seed: of this frame (`sparsify.frame_seed`); decides which returns are `random`.
        intrinsics: `(3, 3)` [px].
        lidar: the scanner that made `sparse`.
        clean: remove occluded returns from the input, judged by the input alone.
        aside: columns to either side [px] in which the top input point of `covered` is looked for.

    Raises:
        ConfigError: `how` or `share` is not one of the above, or there are no intrinsics.
    """
    if how not in ("random", "lines"):
        raise ConfigError(f"how='{how}': choose random or lines.")
    if not 0 < share < 1:
        raise ConfigError(f"share={share}: give the share of withheld returns, above 0 and below 1.")
    if intrinsics is None:
        raise ConfigError("withheld returns need the camera. Use a data set with intrinsics.")
    asked = np.zeros(sparse.shape, bool)
    if how == "random":
        places = np.flatnonzero(sparse)
        asked.ravel()[patterns.some(places, round(share * len(places)), np.random.default_rng(seed % 2**64))] = True
    else:
        every = max(round(1 / share), 2)
        asked = scan_lines(sparse, intrinsics, lidar) % every == every // 2
        asked &= sparse > 0
    given = np.where(asked, np.float32(UNKNOWN_DEPTH), sparse)
    if clean:
        given[occluded(given, intrinsics, lidar)] = UNKNOWN_DEPTH
    target = np.where(asked, sparse, np.float32(UNKNOWN_DEPTH))
    return Withheld(given, target, asked & ~occluded(sparse, intrinsics, lidar), asked & _below_top(given, aside))


def _below_top(sparse: F32, aside: int) -> Mask:
    """`(H, W)` pixels at or below the highest known pixel within `aside` columns; none where no such column has one."""
    known = sparse > 0
    first = np.where(known.any(0), known.argmax(0), sparse.shape[0]).astype(np.float32)[None]
    top = cv2.erode(first, np.ones((1, 2 * aside + 1), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=float(sparse.shape[0]))
    return np.asarray(np.arange(sparse.shape[0])[:, None] >= top)
