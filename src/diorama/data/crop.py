"""A window of a frame: the same rows and columns of every map, and the camera that sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

MAPS = (
    "image", "right", "semantic", "semantic_right", "depth", "sparse_depth", "disparity", "matched", "pseudo_depth", "pseudo_depth_right",
    "confidence", "confidence_right",
)  # fmt: skip
"""Keys of `Frame` that hold a value for every pixel."""


def extent(frame: Mapping[str, Any]) -> tuple[str, int, int] | None:
    """Name, height and width of the first map; None without one. All maps of a frame have one size."""
    key = next((key for key in MAPS if key in frame), None)
    return None if key is None else (key, int(frame[key].shape[0]), int(frame[key].shape[1]))


def cut(frame: Mapping[str, Any], top: int, left: int, size: tuple[int, int]) -> dict[str, Any]:
    """Rows `top` to `top + size[0]`, columns `left` to `left + size[1]` of every map; the principal point moves with them."""
    made = dict(frame)
    for key in MAPS:
        if key in made:
            made[key] = np.ascontiguousarray(made[key][top : top + size[0], left : left + size[1]])
    if "intrinsics" in made:
        made["intrinsics"] = np.array([[1.0, 0.0, -left], [0.0, 1.0, -top], [0.0, 0.0, 1.0]]) @ made["intrinsics"]
    return made
