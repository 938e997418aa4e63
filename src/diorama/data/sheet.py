"""A contact sheet: photo, labels with their names, depth with a bar in metres, and whatever else a frame has. Pillow and NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from diorama.data import io
from diorama.data.base import SceneDataset
from diorama.data.cache import resize_image, resize_nearest
from diorama.data.labels import LabelSet
from diorama.errors import ConfigError, DataError
from diorama.types import IGNORE, Frame

Picture = NDArray[np.uint8]

_PAPER, _INK, _FAINT, _UNKNOWN = (24, 26, 31), (233, 235, 240), (150, 155, 166), (52, 55, 62)
_GAP, _BAR, _HEAD = 8, 62, 30
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
_LABELS, _METRES, _SHARES = {"semantic", "semantic_right"}, ("depth", "sparse_depth", "pseudo_depth"), {"confidence"}


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

    Colours of depth end at the 99th percentile or `depth_cap` [m], whichever is nearer.
    """
    keys = [key for key in _TITLES if key in frames[0]]
    lows_highs: dict[str, tuple[float, float]] = {key: _value_range(frames, key) for key in (*_METRES, "disparity") if key in keys}
    shown_metres = [key for key in _METRES if key in lows_highs]
    for key in shown_metres:
        low, high = lows_highs[key]
        lows_highs[key] = low, max(min(high, depth_cap), low * 1.01)
    for key in shown_metres:  # one scale, else they could not be compared
        lows_highs[key] = lows_highs[shown_metres[0]]
    lows_highs |= dict.fromkeys(_SHARES & set(keys), (0.0, 1.0))
    rows = [_row(frame, keys, labels, width, lows_highs) for frame in frames]
    total = max(row.shape[1] for row in rows)
    head = _head(keys, total, width, lows_highs, title)
    parts = [head, *(part for row in rows for part in (row, _blank(_GAP, row.shape[1])))]
    if labels is not None and _LABELS & set(keys):
        present = np.zeros(256, np.int64)
        for values in (dict(frame).get(key) for frame in frames for key in sorted(_LABELS)):
            if values is not None:
                present += np.bincount(np.asarray(values).ravel(), minlength=256)
        parts.append(_legend(present, labels, total))
    return np.concatenate([_widened(part, total) for part in parts])


def _row(frame: Frame, keys: list[str], labels: LabelSet | None, width: int, ranges: dict[str, tuple[float, float]]) -> Picture:
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
            cells.append(_bar(size[0], *ranges[key], shares=True))
        else:
            near_is_high = key == "disparity"
            cells.append(_value_colours(_shown(values[key], size, key), *ranges[key], near_is_high))
            cells.append(_bar(size[0], *ranges[key], near_is_high))
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


def _value_range(frames: list[Frame], key: str) -> tuple[float, float]:
    maps = [np.asarray(dict(frame)[key]) for frame in frames if key in frame]
    known = np.concatenate([values[values > 0][:: max(1, values.size // 20000)] for values in maps])
    if not known.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(known, (1, 99)))
    return low, max(high, low * 1.01)


def _value_colours(values: NDArray[np.float32], low: float, high: float, near_is_high: bool = False) -> Picture:
    """Near is bright, far is dark, even steps in the logarithm; unknown is grey."""
    floor = max(low, 1e-3)
    part = np.log(np.clip(values, floor, high) / floor) / max(np.log(high / floor), 1e-6)
    level = (250 - 225 * (1 - part if near_is_high else part)).round().astype(np.uint8)
    coloured = np.asarray(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), np.uint8)[..., ::-1].copy()
    coloured[values <= 0] = _UNKNOWN
    return coloured


def _share_colours(values: NDArray[np.float32]) -> Picture:
    """0 is black, 1 is white, in even steps."""
    return (values.clip(0, 1) * np.float32(255)).round().astype(np.uint8)[..., None].repeat(3, axis=2)


def _bar(height: int, low: float, high: float, near_is_high: bool = False, *, shares: bool = False) -> Picture:
    canvas = Image.fromarray(_blank(height, _BAR))
    steps, floor = max(height - 12, 1), max(low, 1e-3)
    scale = np.linspace(1, 0, steps) if shares else np.geomspace(floor, max(high, floor * 1.01), steps)
    column = scale.astype(np.float32)[:, None].repeat(12, axis=1)
    canvas.paste(Image.fromarray(_share_colours(column) if shares else _value_colours(column, low, high, near_is_high)), (4, 6))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=11)
    ticks = max(2, min(5, height // 32))
    for part in np.linspace(0, 1, ticks):
        y = 6 + part * (height - 13)
        value = 1 - part if shares else floor * (high / floor) ** part
        draw.line((16, y, 19, y), fill=_INK)
        draw.text((22, y), f"{value:.2f}" if value < 10 else f"{value:.0f}", font=font, fill=_INK, anchor="lm")
    return np.asarray(canvas)


def _head(keys: list[str], total: int, width: int, ranges: dict[str, tuple[float, float]], title: str) -> Picture:
    canvas = Image.fromarray(_blank(_HEAD + (22 if title else 0), total))
    draw = ImageDraw.Draw(canvas)
    if title:
        draw.text((_GAP, 16), title, font=ImageFont.load_default(size=16), fill=_INK, anchor="lm")
    x = _GAP
    for key in keys:
        draw.text((x, canvas.height - 14), _TITLES[key], font=ImageFont.load_default(size=13), fill=_FAINT, anchor="lm")
        x += width + _GAP + (_BAR if key in ranges else 0)
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
