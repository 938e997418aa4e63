"""The panels of a frame in a report as images inside the page: photo, class colours, metric depth, errors, colour bars."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diorama.data.labels import LabelSet
from diorama.data.ticks import even_ticks
from diorama.prediction.render import depth_colours, depth_range, thickened
from diorama.running.examples import Example
from diorama.types import IGNORE

Picture = NDArray[np.uint8]

WIDTH = 480
"""Panels are shrunk to this width [px]: a page of 18 frames stays below 10 MB."""

_UNCOUNTED = (222, 224, 228)
_MISS = (214, 39, 56)
_ERROR_STOPS = np.array([(247, 246, 242), (253, 205, 137), (240, 115, 62), (189, 24, 58), (79, 6, 62)], np.float64)


@dataclass(frozen=True)
class Panel:
    """One picture with its caption."""

    title: str
    source: str
    """Data URI."""


@dataclass(frozen=True)
class Bar:
    """A colour bar: its picture and (position in percent, text) of its ticks."""

    source: str
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Strip:
    """Everything shown of one frame."""

    name: str
    why: str
    values: tuple[tuple[str, str], ...]
    panels: tuple[Panel, ...]
    depth_bar: Bar | None
    error_bar: Bar | None


def strip(example: Example, labels: LabelSet | None, error_top: float, photo: str = "Image") -> Strip:
    """The panels of one frame: photo, true, predicted and wrong classes, then true and predicted depth and its error.

    Args:
        example: the frame.
        labels: colours of the classes.
        error_top: absolute depth error [m] of the darkest colour, one for the whole page.
        photo: caption of the photo.
    """
    panels = [] if example.image is None else [Panel(photo, data_uri(_shrunk(example.image), photo=True))]
    if example.sparse_depth is not None:
        dots = thickened(example.sparse_depth)
        panels.append(Panel("Known depth", data_uri(_shrunk(depth_colours(dots, *depth_range(example.sparse_depth))), photo=True)))
    depth_bar = error_bar = None
    if labels is not None and example.semantic is not None and example.predicted_semantic is not None:
        truth, found = _shrunk(example.semantic, nearest=True), _shrunk(example.predicted_semantic, nearest=True)
        picture = np.zeros((*truth.shape, 3), np.uint8) if example.image is None else example.image
        grey = _shrunk(_resized(picture, example.semantic.shape))
        panels += [
            Panel("Semantics, truth", data_uri(labels.colour(truth))),
            Panel("Semantics, predicted", data_uri(labels.colour(found))),
            Panel("Wrong pixels", data_uri(misses(grey, truth, found), photo=True)),
        ]
    if example.depth is not None and example.predicted_depth is not None and example.valid is not None:
        near, far = depth_range(example.depth)
        known = np.where(example.valid, example.depth, 0).astype(np.float32)
        error = np.where(example.valid, np.abs(example.predicted_depth - example.depth), np.nan)
        panels += [
            Panel("Depth, truth", data_uri(depth_colours(_shrunk(known, nearest=True), near, far), photo=True)),
            Panel("Depth, predicted", data_uri(depth_colours(_shrunk(example.predicted_depth.astype(np.float32)), near, far), photo=True)),
            Panel("Absolute depth error", data_uri(error_colours(_shrunk(error, nearest=True), error_top), photo=True)),
        ]
        depth_bar, error_bar = _depth_bar(near, far), _error_bar(error_top)
    shown = (("miou", "mIoU"), ("pixel_accuracy", "pixel accuracy"), ("rmse", "RMSE"), ("abs_rel", "abs rel"), ("delta1", "δ1"))
    values = tuple(
        (label, f"{example.values[key]:.3f}" + (" m" if key == "rmse" else ""))
        for key, label in shown
        if key in example.values and np.isfinite(example.values[key])
    )
    return Strip(example.name, example.why, values, tuple(panels), depth_bar, error_bar)


def error_top(examples: list[Example]) -> float:
    """The depth error [m] at the dark end of the colour bar: the 98th percentile over all shown frames, rounded up to two digits."""
    errors = [
        np.abs(one.predicted_depth - one.depth)[one.valid]
        for one in examples
        if one.depth is not None and one.predicted_depth is not None and one.valid is not None and one.valid.any()
    ]
    if not errors:
        return 1.0
    top = max(float(np.quantile(np.concatenate(errors), 0.98)), 1e-3)
    step = 10.0 ** (np.floor(np.log10(top)) - 1)
    return float(np.ceil(top / step) * step)


def misses(image: Picture, truth: NDArray[np.uint8], found: NDArray[np.uint8]) -> Picture:
    """`(H, W, 3)`: wrong pixels red over a pale photo, pixels without a label light grey."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64)[..., None]
    base = np.repeat(110 + grey * 0.5, 3, axis=2)
    wrong = (truth != found) & (truth != IGNORE)
    base[wrong] = base[wrong] * 0.25 + np.array(_MISS) * 0.75
    base[truth == IGNORE] = _UNCOUNTED
    return base.round().astype(np.uint8)


def error_colours(error: NDArray[np.float64], top: float) -> Picture:
    """`(H, W)` metres -> `(H, W, 3)`: pale is right, dark red is `top` or more, nan is grey."""
    known = np.isfinite(error)
    place = np.clip(np.where(known, error, 0) / top, 0, 1) * (len(_ERROR_STOPS) - 1)
    stops = np.arange(len(_ERROR_STOPS))
    colours = np.stack([np.interp(place, stops, _ERROR_STOPS[:, channel]) for channel in range(3)], axis=-1)
    colours[~known] = _UNCOUNTED
    return colours.round().astype(np.uint8)


def data_uri(picture: Picture, photo: bool = False) -> str:
    """The picture inside a page: JPEG for photos and smooth maps, PNG for flat colours."""
    buffer = io.BytesIO()
    if photo:
        Image.fromarray(picture).save(buffer, "JPEG", quality=88)
    else:
        Image.fromarray(picture).quantize(256).save(buffer, "PNG", optimize=True)
    kind = "jpeg" if photo else "png"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _depth_bar(near: float, far: float) -> Bar:
    ramp = np.geomspace(max(near, 1e-3), max(far, 2e-3), 240, dtype=np.float32)
    low, high = np.log(ramp[0]), np.log(ramp[-1])
    values = even_ticks(float(ramp[0]), float(ramp[-1]), 8)
    ticks = [(float(100 * (np.log(value) - low) / (high - low)), f"{value:.4g}") for value in values]
    return Bar(data_uri(depth_colours(np.tile(ramp, (8, 1)), near, far)), _spaced(ticks))


def _error_bar(top: float) -> Bar:
    ramp = np.tile(np.linspace(0, top, 240), (8, 1))
    texts = [f"{top * part:.2g}" for part in (0, 0.25, 0.5, 0.75)] + [f"≥ {top:.2g}"]
    return Bar(data_uri(error_colours(ramp, top)), tuple((25.0 * at, text) for at, text in enumerate(texts)))


def _spaced(ticks: list[tuple[float, str]], least: float = 11.0) -> tuple[tuple[float, str], ...]:
    kept: list[tuple[float, str]] = []
    for tick in ticks:
        if not kept or tick[0] - kept[-1][0] >= least:
            kept.append(tick)
    return tuple(kept)


def _resized(picture: Picture, size: tuple[int, ...]) -> Picture:
    return np.asarray(cv2.resize(picture, (size[1], size[0]), interpolation=cv2.INTER_AREA), np.uint8)


def _shrunk(picture: NDArray, nearest: bool = False) -> NDArray:  # type: ignore[type-arg]
    height, width = picture.shape[:2]
    if width <= WIDTH:
        return picture
    size = (WIDTH, max(1, round(height * WIDTH / width)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST if nearest else cv2.INTER_AREA))
