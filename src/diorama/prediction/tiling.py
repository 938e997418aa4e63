"""Images larger than memory: tiles with their surroundings through a network, blended into one seamless answer, row by row.

Neighbouring tiles share three margins (`halo`). In the outer one of each the network lacks context: it is thrown away. Across the middle
one the answers are mixed with cosine weights that sum to 1. So the tiled answer is that of the whole image wherever the network
sees no farther than `halo`, and changes smoothly where it does. No tile is resized: a pixel keeps its size on the ground.

Classes are mixed as probabilities: between two tiles that disagree the surer one wins, but none by the mere size of its logits.
Depth is mixed in metres: heights reach 0, where a logarithm ends, and of two answers the mean in metres has the least squared error.

A row of tiles is in memory as far as the next row still adds to it: `halo` rows of the image (`blended`), never the image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diorama.errors import ConfigError, ShapeError
from diorama.types import Inputs, Prediction

DEFAULT_TILE = 512
"""Rows and columns of a tile where the model does not say what it was trained on."""

HALO_PART = 8
"""By default the halo is the tile's shorter side divided by this."""


class Span(NamedTuple):
    """One tile along one axis, in pixels of the padded image."""

    start: int
    """The network sees [start, stop) ..."""
    stop: int
    first: int
    """... and is believed in [first, last)."""
    last: int
    weights: NDArray[np.float32]
    """`(last - first,)`: how much; over all tiles the weights of a pixel sum to 1."""


@dataclass(frozen=True)
class TilePlan:
    """Where the tiles of an image lie; see `plan_tiles`."""

    size: tuple[int, int]
    """Rows and columns of the image."""
    tile: tuple[int, int]
    """Rows and columns of what the network is given."""
    halo: int
    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)


class View(NamedTuple):
    """What was read of one tile."""

    image: NDArray[np.uint8]
    """`(h, w, 3)` RGB."""
    valid: NDArray[np.bool_] | None = None
    """`(h, w)`: whether there is anything; None: everywhere."""


class Block(NamedTuple):
    """A finished part of the answer."""

    top: int
    left: int
    size: tuple[int, int]
    probabilities: NDArray[np.float32] | None
    """`(K, h, w)`; None if the network has no classes, or where nothing of the image is valid so far."""
    depth: NDArray[np.float32] | None
    """`(h, w)` metres; likewise."""
    valid: NDArray[np.bool_] | None
    """`(h, w)`; None: everywhere."""


Reader = Callable[[int, int, int, int], View]
"""(top, left, height, width), all inside the image -> what is there."""


def plan_tiles(size: tuple[int, int], tile: int | tuple[int, int], halo: int | None = None, multiple: int = 1) -> TilePlan:
    """The tiles of an image of `size`, evenly spread. Side and place of each are multiples of `multiple`, the network's stride.

    An image whose sides are no such multiples is padded by reflection at its lower and right border; one that is smaller than a
    tile gets a smaller tile.

    Args:
        size: rows and columns of the image.
        tile: side of a tile, or its rows and columns; rounded up to a multiple.
        halo: pixels at the rim of a tile that are thrown away, and as many that are blended; None: an eighth of the shorter side.
        multiple: what the sides that the network is given must be divisible by.

    Raises:
        ConfigError: a tile or halo that cannot be one, or a tile with no room between its halos.
    """
    tile = (tile, tile) if isinstance(tile, int) else tile
    if min(tile) < 1:
        raise ConfigError(f"tiles of {tile[0]}x{tile[1]} pixels. Choose at least {multiple}, better the size the model was trained at.")
    if min(size) < 1:
        raise ShapeError(f"an image of {size[0]}x{size[1]} pixels has nothing to predict on. Give one with pixels.")
    sides = [math.ceil(side / multiple) * multiple for side in tile]
    halo = min(sides) // HALO_PART if halo is None else halo
    if halo < 0:
        raise ConfigError(f"a halo of {halo} pixels. Choose 0 or more.")
    padded = [math.ceil(length / multiple) * multiple for length in size]
    for length, side in zip(padded, sides, strict=True):
        if length > side and side - 3 * halo < multiple:
            raise ConfigError(
                f"a halo of {halo} pixels leaves no room in a tile of {side}: three halos and {multiple} more must fit. "
                f"Choose a halo of at most {(side - multiple) // 3}, or a larger tile."
            )
    fitted = min(sides[0], padded[0]), min(sides[1], padded[1])
    rows, columns = (_spans(length, side, halo, multiple) for length, side in zip(padded, fitted, strict=True))
    return TilePlan((size[0], size[1]), fitted, halo, rows, columns)


def _spans(length: int, side: int, halo: int, multiple: int) -> tuple[Span, ...]:
    """The tiles of `side` pixels along an axis of `length`; both, and where each starts, are multiples of `multiple`."""
    if length <= side:
        return (Span(0, length, 0, length, np.ones(length, np.float32)),)
    stride = (side - 3 * halo) // multiple * multiple
    count = math.ceil((length - side) / stride) + 1
    starts = [index * (length - side) // (count - 1) // multiple * multiple for index in range(count)]
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(halo) + 0.5) / max(halo, 1))
    bounds, raw, total = [], [], np.zeros(length)
    for start in starts:
        first = start + halo if start else 0
        last = start + side - halo if start + side < length else length
        weights = np.ones(last - first)
        if start:
            weights[:halo] *= ramp
        if last < length:
            weights[len(weights) - halo :] *= ramp[::-1]
        bounds.append((start, start + side, first, last))
        raw.append(weights)
        total[first:last] += weights
    # evenly spread tiles may share more than three halos
    return tuple(
        Span(*bound, (weights / total[bound[2] : bound[3]]).astype(np.float32)) for bound, weights in zip(bounds, raw, strict=True)
    )


def blended(
    model: Callable[[Inputs], Prediction],
    read: Reader,
    plan: TilePlan,
    *,
    batch: int = 1,
    advance: Callable[[], None] | None = None,
) -> Iterator[Block]:
    """The answer to an image, block after block, from left to right and from top to bottom; together they are the image once.

    Between two rows of tiles the sums of those rows of the image are kept that both see: `(K + 1, halo, W)` floats, more where the
    tiles share more. Tiles in which nothing is valid are not shown to the network.

    Args:
        model: `{"image": (B, 3, h, w)}` in 0..1 -> `Prediction` of arrays of the same size.
        read: gives a window of the image.
        plan: where the tiles lie.
        batch: tiles that the network is given at once.
        advance: called after each tile.

    Raises:
        ConfigError: a batch below 1.
        ShapeError: the network answers at another size.
    """
    if batch < 1:
        raise ConfigError(f"{batch} tiles at once. Choose 1 or more.")
    carried: NDArray[np.float32] | None = None
    channels: tuple[int, bool] | None = None
    columns = tuple(zip(plan.columns, _ends(plan.columns), strict=True))
    for row, end in zip(plan.rows, _ends(plan.rows), strict=True):
        sums = _Sums(row, end - row.first, plan.columns[-1].last, carried)
        for index in range(0, len(columns), batch):
            some = columns[index : index + batch]
            views = [_view(read, plan, row, column) for column, _ in some]
            answers, channels = _answers(model, views, channels)
            for (column, right), view, answer in zip(some, views, answers, strict=True):
                done = None if channels is None else sums.add(column, right - column.first, answer, sum(channels))
                yield _block(plan, row, column, (end - row.first, right - column.first), done, channels, view)
                if advance is not None:
                    advance()
        carried = sums.kept


def _ends(spans: Sequence[Span]) -> list[int]:
    """Where the pixels end that no later tile adds to."""
    return [*(span.first for span in spans[1:]), spans[-1].last]


class _Sums:
    """The weighted sums of one row of tiles, from left to right.

    Args:
        row: where its tiles lie.
        ready: rows of them that the next row of tiles does not add to.
        width: of the image.
        carried: `(C, n, width)` what the row above left of its last n rows, which are the first n of this one.
    """

    def __init__(self, row: Span, ready: int, width: int, carried: NDArray[np.float32] | None) -> None:
        self.row, self.ready, self.width, self.carried = row, ready, width, carried
        self.kept: NDArray[np.float32] | None = None
        """`(C, n, width)` what the next row of tiles adds to."""
        self._left: NDArray[np.float32] | None = None

    def add(self, column: Span, done: int, answer: NDArray[np.float32] | None, channels: int) -> NDArray[np.float32]:
        """`(channels, ready, done)` sums that are complete with the answer to the tile at `column`."""
        row, first = self.row, column.first
        sums = np.zeros((channels, row.last - row.first, column.last - first), np.float32)
        if self._left is not None:
            sums[:, :, : self._left.shape[2]] = self._left
        if answer is not None:
            believed = answer[:, row.first - row.start : row.last - row.start, first - column.start : column.last - column.start]
            sums += believed * (row.weights[:, None] * column.weights)
        self._left, sums = sums[:, :, done:].copy(), sums[:, :, :done]
        if self.carried is not None:
            sums[:, : self.carried.shape[1]] += self.carried[:, :, first : first + done]
        if self.kept is None:
            self.kept = np.zeros((channels, row.last - row.first - self.ready, self.width), np.float32)
        self.kept[:, :, first : first + done] = sums[:, self.ready :]
        return sums[:, : self.ready]


def _view(read: Reader, plan: TilePlan, row: Span, column: Span) -> View:
    """What the network sees of one tile, padded by reflection where the tile reaches beyond the image."""
    height, width = min(row.stop, plan.size[0]) - row.start, min(column.stop, plan.size[1]) - column.start
    view = read(row.start, column.start, height, width)
    beyond = (0, plan.tile[0] - height), (0, plan.tile[1] - width)
    if any(after for _, after in beyond):
        return View(np.pad(view.image, (*beyond, (0, 0)), "symmetric"), view.valid)
    return view


def _answers(
    model: Callable[[Inputs], Prediction], views: list[View], channels: tuple[int, bool] | None
) -> tuple[list[NDArray[np.float32] | None], tuple[int, bool] | None]:
    """Per tile `(K + 1, h, w)` probabilities and depth [m], None where nothing is valid; and how many of each there are."""
    asked = [index for index, view in enumerate(views) if view.valid is None or view.valid.any()]
    found: list[NDArray[np.float32] | None] = [None] * len(views)
    if not asked:
        return found, channels
    images = np.stack([views[index].image for index in asked]).transpose(0, 3, 1, 2)
    answer = model({"image": np.ascontiguousarray(images, np.float32) / np.float32(255)})
    parts = [] if answer.semantic_logits is None else [softmax(answer.semantic_logits)]
    channels = (parts[0].shape[1] if parts else 0), answer.depth is not None
    if answer.depth is not None:
        parts.append(np.asarray(answer.depth, np.float32))
    for part in parts:
        if part.shape[2:] != images.shape[2:]:
            raise ShapeError(
                f"the model answers to a tile of {images.shape[2:]} with {part.shape[2:]} pixels. Use one that keeps the size."
            )
    for place, index in enumerate(asked):
        found[index] = np.concatenate([part[place] for part in parts])
    return found, channels


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """`(B, K, H, W)` logits -> probabilities that sum to 1 over K."""
    powers = np.asarray(logits, np.float32)
    powers = np.exp(powers - powers.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), np.float32)


def _block(
    plan: TilePlan,
    row: Span,
    column: Span,
    done: tuple[int, int],
    sums: NDArray[np.float32] | None,
    channels: tuple[int, bool] | None,
    view: View,
) -> Block:
    """The first `done` rows and columns that tile (row, column) is believed in, without what lies beyond the image."""
    height, width = min(done[0], plan.size[0] - row.first), min(done[1], plan.size[1] - column.first)
    y, x = row.first - row.start, column.first - column.start
    valid = None if view.valid is None else view.valid[y : y + height, x : x + width]
    probabilities = depth = None
    if sums is not None and channels is not None:
        whole = sums[:, :height, :width]
        probabilities = whole[: channels[0]] if channels[0] else None
        depth = whole[-1] if channels[1] else None
    return Block(row.first, column.first, (height, width), probabilities, depth, valid)
