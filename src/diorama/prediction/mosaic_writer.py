"""The answer to a mosaic as files: rows of blocks -> GeoTIFFs of train ids and metres, their statistics and the JSON record."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from diorama.data.geotiff import RasterWriter, Window
from diorama.data.labels import LabelSet
from diorama.prediction.tiling import Block
from diorama.types import IGNORE, UNKNOWN_DEPTH

BLOCK = 256
"""Rows that are written at once: those of a block of the file."""


class DescribedWriter(RasterWriter):
    """A `RasterWriter` whose band carries what viewers ask for first."""

    def describe(self, statistics: Mapping[str, float]) -> None:
        """Store the statistics of the one band under GDAL's names, e.g. {"MINIMUM": 0.1}."""
        self._target.update_tags(1, **{f"STATISTICS_{name}": f"{value:.9g}" for name, value in statistics.items()})


class Rows:
    """Blocks from left to right, written as whole rows, `BLOCK` at once, so that no block of the file is compressed twice."""

    def __init__(self, writer: RasterWriter) -> None:
        self.writer, self.written = writer, 0
        self._waiting: NDArray[Any] = np.zeros((0, writer.size[1]), writer.dtype)
        self._row = self._waiting

    def add(self, block: Block, values: NDArray[Any]) -> None:
        """Put the `(h, w)` values of `block` in their place."""
        if block.left == 0:
            self._row = np.empty((block.size[0], self.writer.size[1]), self.writer.dtype)
        end = block.left + block.size[1]
        self._row[:, block.left : end] = values
        if end == self.writer.size[1]:
            self._waiting = np.concatenate([self._waiting, self._row])
            self._write(len(self._waiting) // BLOCK * BLOCK)

    def finish(self) -> None:
        """Write what is left."""
        self._write(len(self._waiting))

    def _write(self, count: int) -> None:
        for top in range(0, count, BLOCK):
            part = self._waiting[top : min(top + BLOCK, count)]
            self.writer.write(Window(self.written, 0, *part.shape), part)
            self.written += len(part)
        self._waiting = self._waiting[count:].copy()


class Statistics:
    """Number, range, mean and deviation of the known values of a map that is seen in parts."""

    def __init__(self) -> None:
        self.count, self.least, self.most, self._mean, self._squares = 0, np.inf, -np.inf, 0.0, 0.0

    def add(self, values: NDArray[np.float32]) -> None:
        """Count the values of one part in, any shape (Chan's update of mean and squared deviations)."""
        if not values.size:
            return
        self.least, self.most = min(self.least, float(values.min())), max(self.most, float(values.max()))
        mean, total = float(values.mean(dtype=np.float64)), self.count + values.size
        squares = float(((values.astype(np.float64) - mean) ** 2).sum())
        self._squares += squares + (mean - self._mean) ** 2 * self.count * values.size / total
        self._mean += (mean - self._mean) * values.size / total
        self.count = total

    def named(self, pixels: int) -> dict[str, float]:
        """The statistics under GDAL's names; `pixels` is the size of the map. Empty without a value."""
        if not self.count:
            return {}
        deviation = (self._squares / self.count) ** 0.5
        found = {"MINIMUM": self.least, "MAXIMUM": self.most, "MEAN": self._mean, "STDDEV": deviation}
        return found | {"VALID_PERCENT": 100 * self.count / pixels}


class Answers:
    """The files of one mosaic while they are written.

    Args:
        targets: `semantic` and `depth` -> file, each if it is wanted.
        size: rows and columns.
        labels: of the model.
        place: crs and transform.
        stack: closes the files; on an error none of them stays.
    """

    def __init__(
        self, targets: Mapping[str, Path], size: tuple[int, int], labels: LabelSet | None, place: tuple[Any, Any], stack: ExitStack
    ) -> None:
        self.size, self.labels = size, labels
        self.counts = np.zeros(256, np.int64)
        self.metres = Statistics()

        def opened(kind: str, dtype: DTypeLike, nodata: float, **options: Any) -> tuple[DescribedWriter, Rows]:
            writer = stack.enter_context(DescribedWriter(targets[kind], size, 1, dtype, *place, nodata=nodata, **options))
            return writer, Rows(writer)

        self._semantic = opened("semantic", np.uint8, IGNORE, palette=labels.palette) if labels and "semantic" in targets else None
        self._depth = opened("depth", np.float32, UNKNOWN_DEPTH, tags={"unit": "m"}) if "depth" in targets else None

    def add(self, block: Block) -> None:
        """Write one block."""
        if self._semantic is not None:
            classes = np.full(block.size, IGNORE, np.uint8)
            if block.probabilities is not None and self.labels is not None:
                classes = block.probabilities.argmax(0).astype(np.uint8)
                classes[classes >= len(self.labels)] = IGNORE
                if block.valid is not None:
                    classes[~block.valid] = IGNORE
            self.counts += np.bincount(classes.ravel(), minlength=256)
            self._semantic[1].add(block, classes)
        if self._depth is not None:
            depth = np.full(block.size, UNKNOWN_DEPTH, np.float32) if block.depth is None else block.depth
            if block.valid is not None:
                depth = np.where(block.valid, depth, np.float32(UNKNOWN_DEPTH))
            self.metres.add(depth[depth > 0])
            self._depth[1].add(block, depth)

    def finish(self) -> None:
        """Write the last rows and the statistics."""
        for opened in (self._semantic, self._depth):
            if opened is not None:
                opened[1].finish()
        if self._depth is not None:
            self._depth[0].describe(self.metres.named(self.size[0] * self.size[1]))

    def summary(self) -> dict[str, Any]:
        """What the JSON record says of the maps that were written."""
        found: dict[str, Any] = {}
        if self._semantic is not None and self.labels is not None:
            known = max(1, int(self.counts[:IGNORE].sum()))
            shares = {name: round(int(self.counts[index]) / known, 5) for index, name in enumerate(self.labels.classes)}
            found["semantic"] = {
                "label_set": self.labels.name,
                "classes": list(self.labels.classes),
                "ignore": IGNORE,
                "shares": {name: share for name, share in sorted(shares.items(), key=lambda item: -item[1]) if share},
            }
        if self._depth is not None:
            statistics = self.metres.named(self.size[0] * self.size[1])
            found["depth"] = {
                "unit": "m",
                "rule": f"metres, float32; {UNKNOWN_DEPTH:g} = no value",
                **{name.lower(): round(value, 4) for name, value in statistics.items()},
            }
        return found
