"""Heights above ground in the key `depth`: the one place that says how.

Readers, losses, metrics and files know one map of metres, `depth`, whose 0 means "unknown". A height of 0 is known: it is the
ground. So a known height is stored as at least `HEIGHT_FLOOR`, 8 mm, less than any surface model resolves; 0 stays "unknown".
The floor is two units of a 16-bit depth PNG (256 a metre), so that files return it as it is. Relative errors
of heights are taken above 0.1 m only, so that the floor enters none of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diorama.types import UNKNOWN_DEPTH

HEIGHT_FLOOR = 1 / 128
"""Metres: what `depth` holds for the ground and for whatever lies below it."""

HEIGHT_SCALE = 40.0
"""Metres that are 1.0 where heights are normalised to [0, 1]; one constant for all data sets, so that their units stay equal."""


def depth_of_height(height_m: NDArray[Any], known: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
    """`(H, W)` heights [m], known where finite (and where `known`) -> `depth`: at least `HEIGHT_FLOOR`, 0 = unknown."""
    found = np.isfinite(height_m) if known is None else known & np.isfinite(height_m)
    return np.where(found, np.maximum(np.where(found, height_m, 0), HEIGHT_FLOOR), UNKNOWN_DEPTH).astype(np.float32)


def height_of_depth(depth: NDArray[Any]) -> NDArray[np.float32]:
    """`depth` (any shape, metres) -> heights [m]: the floor becomes 0 again, unknown becomes NaN."""
    return np.where(depth > 0, np.where(depth > HEIGHT_FLOOR, depth, 0), np.nan).astype(np.float32)


def height_meta() -> dict[str, Any]:
    """What a frame's `meta["height"]` tells of its `depth`: unit, floor and the scale of normalised heights."""
    return {"unit": "m above ground", "floor_m": HEIGHT_FLOOR, "scale_m": HEIGHT_SCALE}
