"""A contact sheet: photo, labels with their names, depth with a bar in metres, and whatever else a frame has. Pillow and NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from diorama.data import io
from diorama.data.base import SceneDataset
from diorama.data.cache import resize_image, resize_nearest
from diorama.data.labels import LabelSet
from diorama.data.ticks import even_ticks, log_ticks
from diorama.errors import ConfigError, DataError
from diorama.types import IGNORE, Frame

Picture = NDArray[np.uint8]

_PAPER, _INK, _FAINT, _UNKNOWN = (24, 26, 31), (233, 235, 240), (150, 155, 166), (52, 55, 62)
_GAP, _BAR, _HEAD = 8, 62, 30
_TICK_APART = 14.0
_TITLES = {
    "image": "image",
    "right": "right view",
    "semantic": "labels",
    "depth": "depth [m]",
    "sparse_depth": "sparse depth [m]",
    "disparity": "disparity [px]",
    "pseudo_depth": "pseudo depth [m]",
    "confidence": "confidence",
    "semantic_right": "labels of the right view",
}
_HEIGHTS = {"depth": "height [m]", "sparse_depth": "sparse height [m]", "pseudo_depth": "pseudo height [m]"}
_LABELS, _METRES, _SHARES = {"semantic", "semantic_right"}, ("depth", "sparse_depth", "pseudo_depth"), {"confidence"}


class Scale(NamedTuple):
    """How values become colours."""

    low: float
    high: float
    rising: bool = False
    """Whether high values are the bright ones."""
    linear: bool = False
    """Even steps in the value, else in its logarithm."""

    def parts(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values -> 0..1 from low to high."""
        if self.linear:
            return np.asarray((np.clip(values, self.low, self.high) - self.low) / max(self.high - self.low, 1e-6), np.float32)
        floor = max(self.low, 1e-3)
        return np.asarray(np.log(np.clip(values, floor, self.high) / floor) / max(np.log(self.high / floor), 1e-6), np.float32)

    def value(self, part: float) -> float:
        """The way back."""
        if self.linear:
            return self.low + part * (self.high - self.low)
        floor = max(self.low, 1e-3)
        return float(floor * (max(self.high, floor * 1.01) / floor) ** part)

    def ticks(self, most: int) -> list[float]:
        """Round values from low to high."""
        return even_ticks(self.low, self.high, most) if self.linear else log_ticks(max(self.low, 1e-3), self.high, most)


def plot(dataset: SceneDataset, out: str | Path, frames: int = 6, width: int = 320, *, overwrite: bool = False) -> Path:
    """Write a contact sheet of `frames` frames, evenly spread over the split: a row each, a column per key; returns `out`.

    Args:
        dataset: any data set.
        out: PNG or JPEG to write.
        frames: rows.
        width: pixels of one picture.
        overwrite: replace `out` if it is there.

    Raises:
        DataError: the data set is empty, or `out` cannot be written or exists already and `overwrite` is not set.
        ConfigError: no rows, or pictures too narrow to show anything.
    """
    if frames < 1 or width < 16:
        raise ConfigError(
            f"a sheet of {frames} rows of pictures {width} pixels wide. Choose --frames of 1 or more and --width of 16 or more."
        )
    if Path(out).exists() and not overwrite:
        raise DataError(f"{out} exists already. Pass --overwrite, or choose another --out.")
    if not len(dataset):
        raise DataError(f"{dataset.name} {dataset.split}: no frames to plot. Check the root folder.")
    chosen = np.linspace(0, len(dataset) - 1, min(frames, len(dataset))).round().astype(int)
    picked = [dataset[int(index)] for index in dict.fromkeys(chosen.tolist())]
    title = f"{dataset.title}, {dataset.split}: {len(dataset)} frame{'' if len(dataset) == 1 else 's'}"
    io.write_image(out, contact_sheet(picked, dataset.labels, width, title, dataset.depth_cap))
    return Path(out)


def contact_sheet(frames: list[Frame], labels: LabelSet | None, width: int = 320, title: str = "", depth_cap: float = np.inf) -> Picture:
    """`(h, w, 3)` RGB: one row per frame, its columns as in the first frame; a legend of the classes that occur below.

    Colours of depth end at the 99th percentile or `depth_cap` [m], whichever is nearer: near is bright, in even steps of the logarithm.
    Heights (frames that say so in `meta["height"]`) are brighter the higher, in even steps from the ground on.
    """
    keys = [key for key in _TITLES if key in frames[0]]
    heights = "height" in frames[0].get("meta", {})
    scales = {key: _scale(frames, key) for key in keys if key == "disparity"} | dict.fromkeys(_SHARES & set(keys), Scale(0, 1, linear=True))
    metres = [key for key in _METRES if key in keys]
    if metres:  # one scale, else they could not be compared
        scales |= dict.fromkeys(metres, _scale(frames, metres[0], depth_cap, heights=heights))
    rows = [_row(frame, keys, labels, width, scales) for frame in frames]
    total = max(row.shape[1] for row in rows)
    head = _head(keys, total, width, scales, title, _TITLES | (_HEIGHTS if heights else {}))
    parts = [head, *(part for row in rows for part in (row, _blank(_GAP, row.shape[1])))]
    if labels is not None and _LABELS & set(keys):
        present = np.zeros(256, np.int64)
        for values in (dict(frame).get(key) for frame in frames for key in sorted(_LABELS)):
            if values is not None:
                present += np.bincount(np.asarray(values).ravel(), minlength=256)
        parts.append(_legend(present, labels, total))
    return np.concatenate([_widened(part, total) for part in parts])


def _row(frame: Frame, keys: list[str], labels: LabelSet | None, width: int, scales: dict[str, Scale]) -> Picture:
    values: dict[str, Any] = dict(frame)
    shape = values[keys[0]].shape
    size = (max(1, round(shape[0] * width / shape[1])), width)
    cells = [_blank(size[0], _GAP)]
    for key in keys:
        if key not in values:
            cells.append(_blank(size[0], width))
        elif key in ("image", "right"):
            cells.append(resize_image(values[key], size))
        elif key in _LABELS:
            cells.append(_label_colours(resize_nearest(values[key], size), labels))
        elif key in _SHARES:
            cells.append(_share_colours(resize_nearest(values[key], size)))
            cells.append(_bar(size[0], scales[key], shares=True))
        else:
            cells.append(_value_colours(_shown(values[key], size, key), scales[key]))
            cells.append(_bar(size[0], scales[key]))
        cells.append(_blank(size[0], _GAP))
    return np.concatenate(cells, axis=1)


def _shown(values: NDArray[np.float32], size: tuple[int, int], key: str) -> NDArray[np.float32]:
    if key != "sparse_depth":
        return resize_nearest(values, size)
    # Single points vanish in a small picture: each becomes a 3x3 dot of the nearest depth.
    from diorama.data.cache import splat

    small = splat(values, size)
    near = cv2.erode(np.where(small > 0, small, np.float32(np.inf)), np.ones((3, 3), np.uint8))
    return np.where(np.isinf(near), 0, near).astype(np.float32)


def _label_colours(semantic: NDArray[np.uint8], labels: LabelSet | None) -> Picture:
    if labels is None:
        return np.repeat(semantic[..., None], 3, axis=2)
    coloured = labels.colour(semantic)
    coloured[semantic == IGNORE] = _UNKNOWN
    return coloured


def _scale(frames: list[Frame], key: str, cap: float = np.inf, *, heights: bool = False) -> Scale:
    low, high = _value_range(frames, key)
    if heights:
        return Scale(0.0, max(min(high, cap), 1.0), rising=True, linear=True)
    return Scale(low, max(min(high, cap), low * 1.01), rising=key == "disparity")


def _value_range(frames: list[Frame], key: str) -> tuple[float, float]:
    maps = [np.asarray(dict(frame)[key]) for frame in frames if key in frame]
    known = np.concatenate([values[values > 0][:: max(1, values.size // 20000)] for values in maps])
    if not known.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(known, (1, 99)))
    return low, max(high, low * 1.01)


def _value_colours(values: NDArray[np.float32], scale: Scale) -> Picture:
    """Unknown is grey."""
    part = scale.parts(values)
    level = (250 - 225 * (1 - part if scale.rising else part)).round().astype(np.uint8)
    coloured = np.asarray(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), np.uint8)[..., ::-1].copy()
    coloured[values <= 0] = _UNKNOWN
    return coloured


def _share_colours(values: NDArray[np.float32]) -> Picture:
    """0 is black, 1 is white, in even steps."""
    return (values.clip(0, 1) * np.float32(255)).round().astype(np.uint8)[..., None].repeat(3, axis=2)


def _bar(height: int, scale: Scale, *, shares: bool = False) -> Picture:
    canvas = Image.fromarray(_blank(height, _BAR))
    falling = scale.linear  # a plain amount grows upwards, depth away from the camera downwards
    places = np.linspace(0, 1, max(height - 12, 1))
    values = np.array([scale.value(1 - part if falling else part) for part in places], np.float32)
    column = (values if shares else np.maximum(values, 1e-6))[:, None].repeat(12, axis=1)  # 0 would be "unknown"
    canvas.paste(Image.fromarray(_share_colours(column) if shares else _value_colours(column, scale)), (4, 6))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=11)
    last = -_TICK_APART
    for value in sorted(scale.ticks(max(2, height // 32)), reverse=falling):
        part = float(scale.parts(np.array([value], np.float32))[0])
        y = 6 + (1 - part if falling else part) * (height - 13)
        if y - last < _TICK_APART:
            continue
        last = y
        draw.line((16, y, 19, y), fill=_INK)
        draw.text((22, y), f"{value:g}", font=font, fill=_INK, anchor="lm")
    return np.asarray(canvas)


def _head(keys: list[str], total: int, width: int, scales: dict[str, Scale], title: str, titles: dict[str, str]) -> Picture:
    canvas = Image.fromarray(_blank(_HEAD + (22 if title else 0), total))
    draw = ImageDraw.Draw(canvas)
    if title:
        draw.text((_GAP, 16), title, font=ImageFont.load_default(size=16), fill=_INK, anchor="lm")
    x = _GAP
    for key in keys:
        draw.text((x, canvas.height - 14), titles[key], font=ImageFont.load_default(size=13), fill=_FAINT, anchor="lm")
        x += width + _GAP + (_BAR if key in scales else 0)
    return np.asarray(canvas)


def _legend(present: NDArray[np.int64], labels: LabelSet, total: int) -> Picture:
    """Colour, name and share of every class that occurs, largest first, wrapped to the sheet's width."""
    font = ImageFont.load_default(size=13)
    order = [int(k) for k in np.argsort(-present[: len(labels)], kind="stable") if present[k]]
    share = present / max(1, present.sum())
    entries = [(labels.palette[k], f"{labels.classes[k]} {_percent(share[k])}") for k in order]
    if present[IGNORE]:
        entries.append((_UNKNOWN, f"no label {_percent(share[IGNORE])}"))
    places, x, y = [], _GAP, 6
    for colour, text in entries:
        needed = 20 + int(font.getlength(text)) + 18
        if x + needed > total and x > _GAP:
            x, y = _GAP, y + 22
        places.append((x, y, colour, text))
        x += needed
    canvas = Image.fromarray(_blank(y + 26, total))
    draw = ImageDraw.Draw(canvas)
    for x, y, colour, text in places:
        draw.rectangle((x, y + 2, x + 13, y + 15), fill=colour)
        draw.text((x + 20, y + 9), text, font=font, fill=_INK, anchor="lm")
    return np.asarray(canvas)


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "< 0.1%"


def _blank(height: int, width: int) -> Picture:
    return np.full((height, width, 3), _PAPER, np.uint8)


def _widened(part: Picture, width: int) -> Picture:
    return part if part.shape[1] == width else np.concatenate([part, _blank(part.shape[0], width - part.shape[1])], axis=1)
