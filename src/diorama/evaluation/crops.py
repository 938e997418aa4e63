"""The crops of published protocols: by parts of the image, or a window of fixed size that is cut once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from diorama.errors import ProtocolError, suggest

Parts = tuple[float, float, float, float]
"""Top, bottom, left, right as parts of height and width."""


@dataclass(frozen=True)
class Window:
    """A crop of fixed size, horizontally centred. An image that has its size already stays whole: it is cut once."""

    height: int
    width: int
    rows: Literal["bottom", "middle"]
    of: tuple[tuple[int, int], ...] = ()
    """Sizes `(H, W)` it may be cut from; empty: any that holds it."""


CROPS: dict[str, Parts | Window] = {
    "none": (0.0, 1.0, 0.0, 1.0),
    "eigen_nyu": (45 / 480, 471 / 480, 41 / 640, 601 / 640),
    "garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229),
    "eigen_kitti": (0.3324324, 0.91351351, 0.0359477, 0.96405229),
    "kitti_352x1216": Window(352, 1216, "bottom"),
    "nyu_228x304": Window(228, 304, "middle", of=((240, 320),)),
}

_TRUNCATED = ("garg", "eigen_kitti")


def require_known(name: str) -> None:
    """Return if there is such a crop.

    Raises:
        ProtocolError: with the nearest name.
    """
    if name not in CROPS:
        raise ProtocolError(f"unknown crop '{name}': {suggest(name, CROPS)}")


def region(name: str, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of crop `name` in an image of this size.

    The KITTI crops by parts truncate as the published code does; the NYUv2 crop keeps the pixels whose centre lies inside, which is
    exactly [45:471, 41:601] at 480x640. A window begins at column (W - w) / 2, rounded down, and at row H - h or (H - h) / 2.

    Raises:
        ProtocolError: a window is not cut from images of this size.
    """
    crop = CROPS[name]
    if isinstance(crop, Window):
        return _window(name, crop, height, width)
    top, bottom, left, right = crop
    if name in _TRUNCATED:
        return slice(int(top * height), int(bottom * height)), slice(int(left * width), int(right * width))
    return slice(_centre(top * height), _centre(bottom * height)), slice(_centre(left * width), _centre(right * width))


def describe(name: str) -> str:
    """The crop in words, with its numbers."""
    crop = CROPS[name]
    if isinstance(crop, Window):
        source = " or ".join(f"{height}x{width}" for height, width in crop.of)
        return f"{name}: {crop.rows} rows, middle columns{f' of {source}' if source else ''}, once"
    top, bottom, left, right = crop
    return "none" if name == "none" else f"{name}: rows {top:.4f}..{bottom:.4f}, columns {left:.4f}..{right:.4f}"


def _window(name: str, crop: Window, height: int, width: int) -> tuple[slice, slice]:
    size = (height, width)
    if size != (crop.height, crop.width):
        if crop.of and size not in crop.of:
            source = " or ".join(f"{rows}x{columns}" for rows, columns in crop.of)
            raise ProtocolError(f"crop '{name}' is cut from {source}, the truth has {height}x{width}. Bring the data to that size first.")
        if height < crop.height or width < crop.width:
            raise ProtocolError(f"crop '{name}' does not fit into {height}x{width}. Evaluate at native size, or with another protocol.")
    top = height - crop.height if crop.rows == "bottom" else (height - crop.height) // 2
    left = (width - crop.width) // 2
    return slice(top, top + crop.height), slice(left, left + crop.width)


def _centre(edge: float) -> int:
    """First pixel whose centre (index + 1/2) is not before `edge`."""
    return math.ceil(edge - 0.5 - 1e-9)
