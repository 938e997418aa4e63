"""Pictures of a prediction: classes over the photo, depth in colour with its scale in metres. NumPy, OpenCV and Pillow only."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from diorama.data.labels import LabelSet
from diorama.data.ticks import even_ticks
from diorama.types import IGNORE

Picture = NDArray[np.uint8]

BACKGROUND = (24, 26, 31)
_INK = (233, 235, 240)
_FAINT = (150, 155, 166)
_UNKNOWN = (52, 55, 62)
_DARKEST = 26
_STRIP_PIXELS = 2**20
_RIM = np.array((20, 20, 24), np.float32)
_ALL_IDS = np.arange(256, dtype=np.uint8)[None]
_FADED = (np.arange(256) * 0.6).round().astype(np.uint8)
_LINED = (np.arange(256) * 0.35 + 255 * 0.65).round().astype(np.uint8)
_MIN_NAMED = 0.012
"""Regions smaller than this part of the picture get no name written on them."""


def depth_range(depth: NDArray[np.float32]) -> tuple[float, float]:
    """(near, far) in metres between which a map is coloured: its 1st and 99th percentile, at least 1 % apart."""
    known = depth[np.isfinite(depth) & (depth > 0)]
    if not known.size:
        return 0.0, 1.0
    near, far = (float(v) for v in np.percentile(known, (1, 99)))
    return near, max(far, near * 1.01 + 1e-6)


def depth_colours(depth: NDArray[np.float32], near: float, far: float) -> Picture:
    """`(H, W)` metres -> `(H, W, 3)` RGB: near is bright yellow, far is dark violet, even steps in log depth; unknown is grey.

    The logarithm shows a metre nearby as clearly as the same part of the distance far away.
    """
    known = np.isfinite(depth) & (depth > 0)
    low, high = math.log(max(near, 1e-3)), math.log(max(far, near * 1.001, 1.001e-3))
    part = (high - np.log(np.where(known, np.clip(depth, near, far), far).clip(1e-3))) / (high - low)
    # The darkest colours of the map are left out: nothing can be told apart in them.
    level = (_DARKEST + np.clip(part, 0, 1) * (250 - _DARKEST)).round().astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    colours[~known] = _UNKNOWN
    return cast("Picture", colours)


def thickened(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sparse `(H, W)` depth [m], 0 = unknown, with every point 3 pixels wide so that it can be seen; the nearest one wins."""
    far = np.finfo(np.float32).max
    near = cv2.erode(np.where(points > 0, points, far), np.ones((3, 3), np.uint8))
    return np.where(near < far, near, np.float32(0)).astype(np.float32)


def overlay(image: Picture, semantic: NDArray[np.uint8], labels: LabelSet, *, opacity: float = 0.55, names: bool = True) -> Picture:
    """`(H, W, 3)` RGB: the photo under its class colours, thin lines between classes, names on the larger regions."""
    found = np.empty_like(image)
    lines = _boundaries(semantic, max(1, round(max(semantic.shape) / 900)))
    rows = max(1, _STRIP_PIXELS // image.shape[1])
    for top in range(0, len(image), rows):  # what floats a large photo makes are never there all at once
        part = np.s_[top : top + rows]
        found[part] = _tinted(image[part], semantic[part], lines[part], labels, opacity)
    return _write_names(found, semantic, labels) if names else found


def _tinted(image: Picture, semantic: NDArray[np.uint8], lines: NDArray[np.bool_], labels: LabelSet, opacity: float) -> Picture:
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    # The photo keeps half of its colour: full colour under a tint misleads about the class.
    base = cv2.addWeighted(image, 0.5, grey, 0.5, 0)
    mixed = cast("Picture", cv2.addWeighted(base, 1 - opacity, cv2.LUT(cv2.merge([semantic] * 3), labels.colour(_ALL_IDS)), opacity, 0))
    unknown = semantic == IGNORE
    mixed[unknown] = _FADED[base[unknown]]
    mixed[lines] = _LINED[mixed[lines]]
    return mixed


def legend(semantic: NDArray[np.uint8], labels: LabelSet, width: int, *, rows: int = 2) -> Picture:
    """`(h, width, 3)` RGB: colour, name and share of the classes in the picture, largest first, as many as fit into `rows`."""
    font = ImageFont.load_default(size=13)
    canvas = Image.new("RGB", (width, 22 * rows + 4), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    x, row = 0, 0
    for index, part in class_shares(semantic, len(labels)):
        text = f"{labels.classes[index]} {part:.0%}" if part >= 0.005 else labels.classes[index]
        needed = 18 + math.ceil(draw.textlength(text, font=font)) + 16
        if x + needed > width:
            x, row = 0, row + 1
        if row == rows:
            break
        y = row * 22 + 4
        draw.rounded_rectangle((x, y + 2, x + 12, y + 14), 3, fill=labels.palette[index])
        draw.text((x + 18, y + 8), text, font=font, fill=_INK, anchor="lm")
        x += needed
    return np.array(canvas)


def colour_bar(near: float, far: float, width: int) -> Picture:
    """`(48, width, 3)` RGB: the colours of `depth_colours` from near to far with metres under them, even steps in metres."""
    canvas = Image.new("RGB", (width, 48), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=13)
    metres = np.linspace(near, far, width, dtype=np.float32)
    canvas.paste(Image.fromarray(depth_colours(np.repeat(metres[None], 12, 0), near, far)), (0, 6))
    for value in even_ticks(near, far):
        x = (value - near) / (far - near) * (width - 1)
        text = f"{value:g} m"
        half = draw.textlength(text, font=font) / 2
        draw.line((x, 18, x, 23), fill=_FAINT)
        draw.text((min(max(x, half), width - half), 33), text, font=font, fill=_INK, anchor="mm")
    return np.array(canvas)


def tile(picture: Picture, title: str, footer: Picture | None = None, *, note: str = "") -> Picture:
    """`picture` with a title line above (and a fainter `note` at its right end) and `footer` of the same width below."""
    width = picture.shape[1]
    head = Image.new("RGB", (width, 30), BACKGROUND)
    draw = ImageDraw.Draw(head)
    draw.text((0, 15), title, font=ImageFont.load_default(size=16), fill=_INK, anchor="lm")
    if note:
        draw.text((width, 15), note, font=ImageFont.load_default(size=13), fill=_FAINT, anchor="rm")
    return np.concatenate([np.array(head), picture, *([] if footer is None else [footer])], 0)


def grid(tiles: list[Picture], columns: int, *, gap: int = 18) -> Picture:
    """The tiles row by row on a dark ground; tiles of one row are aligned at their top."""
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    widths = [max(row[c].shape[1] for row in rows if c < len(row)) for c in range(min(columns, len(tiles)))]
    heights = [max(t.shape[0] for t in row) for row in rows]
    canvas = np.empty((sum(heights) + gap * (len(rows) + 1), sum(widths) + gap * (len(widths) + 1), 3), np.uint8)
    canvas[:] = BACKGROUND
    y = gap
    for row, height in zip(rows, heights, strict=True):
        x = gap
        for picture, width in zip(row, widths, strict=False):
            canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
            x += width + gap
        y += height + gap
    return canvas


def fit(picture: Picture, width: int, height: int) -> Picture:
    """`picture` scaled to lie within width x height, its shape kept."""
    scale = min(width / picture.shape[1], height / picture.shape[0])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return cast("Picture", cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC))


def resized(picture: Picture, width: int, height: int) -> Picture:
    """`picture` at exactly this size, whatever its shape."""
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def fit_labels(semantic: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """`(height, width)` train ids, nearest neighbour."""
    return cast("NDArray[np.uint8]", cv2.resize(semantic, (width, height), interpolation=cv2.INTER_NEAREST))


def class_shares(semantic: NDArray[np.uint8], classes: int) -> list[tuple[int, float]]:
    """(train id, part of all pixels) of the classes that occur, largest first."""
    counts = np.bincount(semantic.ravel(), minlength=256)[:classes]
    order = np.argsort(-counts, kind="stable")
    return [(int(i), float(counts[i]) / semantic.size) for i in order if counts[i]]


def _boundaries(semantic: NDArray[np.uint8], thickness: int) -> NDArray[np.bool_]:
    edge = np.zeros(semantic.shape, np.uint8)
    edge[:, 1:] |= semantic[:, 1:] != semantic[:, :-1]
    edge[1:] |= semantic[1:] != semantic[:-1]
    if thickness > 1:
        edge = cast("Picture", cv2.dilate(edge, np.ones((thickness, thickness), np.uint8)))
    return edge.astype(np.bool_)


def _write_names(picture: Picture, semantic: NDArray[np.uint8], labels: LabelSet) -> Picture:
    """Each class's name at the innermost point of its largest region, where it fits and covers no other name."""
    height, width = semantic.shape
    size = max(11, round(0.026 * math.sqrt(height * width)))
    # Regions are found on a small map: the place of a name needs no more.
    scale = min(1.0, 160 / max(height, width))
    small = cv2.resize(semantic, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_NEAREST)
    taken: list[tuple[float, float, float, float]] = []
    for index, part in class_shares(semantic, len(labels)):
        if part < _MIN_NAMED:
            break
        place = _innermost(small == index)
        if place is None:
            continue
        x, y, room = (value / scale for value in place)
        rim, ink = _written(labels.classes[index], size)
        tall, wide = ink.shape
        left, top = round(x - wide / 2), round(y - tall / 2)
        left += max(-left, 0) - max(left + wide - width, 0)
        box = (left, top, left + wide, top + tall)
        if room < tall * 0.5 or left < 0 or top < 0 or top + tall > height or any(_overlap(box, other) for other in taken):
            continue
        taken.append(box)
        under = picture[top : top + tall, left : left + wide]
        under[:] = (under + (_RIM - under) * rim[..., None]).round()
        under[:] = (under + (np.float32(255) - under) * ink[..., None]).round()
    return picture


@lru_cache(maxsize=1024)
def _written(text: str, size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How much of each pixel is rim and ink of `text`, `(h, w)` in 0..1 each."""
    font = ImageFont.load_default(size=size)
    left, top, right, bottom = font.getbbox(text, stroke_width=2)
    masks = []
    for stroke in (2, 0):
        canvas = Image.new("L", (math.ceil(right - left) + 4, math.ceil(bottom - top) + 2))
        ImageDraw.Draw(canvas).text((2 - left, 1 - top), text, font=font, fill=255, stroke_width=stroke, stroke_fill=255)
        masks.append(np.asarray(canvas, np.float32) / np.float32(255))
    return masks[0], masks[1]


def _innermost(mask: NDArray[np.bool_]) -> tuple[float, float, float] | None:
    """(x, y, distance to the border) of the point of the largest region that lies deepest inside; None if it is tiny."""
    count, regions, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count < 2:
        return None
    largest = 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))
    if statistics[largest, cv2.CC_STAT_AREA] < _MIN_NAMED * mask.size:
        return None
    inside = np.pad((regions == largest).astype(np.uint8), 1)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(int(np.argmax(distance)), distance.shape)
    return float(x), float(y), float(distance[y, x])


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
