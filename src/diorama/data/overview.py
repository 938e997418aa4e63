"""What the frames of a split hold, in a line: how many, how large, shares of the classes, how far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diorama.data.base import SceneDataset
from diorama.data.defects.rule import is_aerial, main_depth
from diorama.data.defects.twins import Print, fingerprint
from diorama.types import IGNORE, Frame

_NAMED = 8
"""Classes that a line names, the largest first."""
_PER_FRAME = 1000
"""Depths of a frame that the percentiles are taken from."""


class Overview:
    """Adds up the frames of one split: call `look` for each that is read; `str` is the line."""

    def __init__(self, dataset: SceneDataset) -> None:
        self.dataset = dataset
        self.read = 0
        self.sizes: Counter[str] = Counter()
        """`WIDTHxHEIGHT` -> frames."""
        self.pixels: NDArray[np.int64] = np.zeros(256, np.int64)
        """Of each label id."""
        self.prints: list[Print] = []
        """Of the frames, for `twins.shared_pictures`."""
        self._depths: dict[str, list[NDArray[np.float32]]] = {}

    def look(self, frame: Frame, frame_id: str, sampled: bool) -> None:
        """Add a frame; only of sampled ones the depth."""
        self.read += 1
        shape = next((frame[key].shape for key in ("image", "semantic", "depth", "sparse_depth") if key in frame), None)
        if shape is not None:
            self.sizes[f"{shape[1]}x{shape[0]}"] += 1
        if "semantic" in frame:
            self.pixels += np.bincount(frame["semantic"].ravel(), minlength=256)
        if (mark := fingerprint(frame, frame_id)) is not None:
            self.prints.append(mark)
        found = main_depth(frame) if sampled else None
        if found is not None:
            known = found[1][found[1] > 0]
            name = "height" if found[0] == "depth" and is_aerial(frame, self.dataset.labels) else found[0].replace("_", " ")
            self._depths.setdefault(name, []).append(known[:: max(1, known.size // _PER_FRAME)])

    def __str__(self) -> str:
        read = f" ({self.read} read)" if self.read < len(self.dataset) else ""
        sizes = " and ".join(f"{size} ({count})" if len(self.sizes) > 1 else size for size, count in self.sizes.most_common(2))
        more = f" and {len(self.sizes) - 2} more sizes" if len(self.sizes) > 2 else ""
        parts = [f"{len(self.dataset)} frames{read}", sizes + more, self._classes()]
        for name, depths in self._depths.items():
            values = np.concatenate(depths)
            if values.size:
                low, middle, high = np.percentile(values, (5, 50, 95))
                parts.append(f"{name} {low:.2f}, {middle:.2f}, {high:.2f} m (5, 50, 95 %)")
        return f"{self.dataset.split}: {'; '.join(part for part in parts if part)}"

    def _classes(self) -> str:
        labels, labelled = self.dataset.labels, self.pixels[:IGNORE].sum()
        if labels is None or not labelled:
            return ""
        shares = self.pixels[: len(labels)] / labelled
        largest = np.argsort(-shares, kind="stable")[:_NAMED]
        named = [f"{labels.classes[number]} {shares[number]:.1%}" for number in largest]
        more = [f"{len(labels) - _NAMED} more {1 - shares[largest].sum():.1%}"] if len(labels) > _NAMED else []
        ignored = self.pixels[IGNORE] / self.pixels.sum()
        return f"{', '.join([*named, *more])}{f' ({ignored:.1%} of the pixels ignored)' if ignored else ''}"


def summary(overviews: Sequence[Overview]) -> list[str]:
    """A line for each split, and one that says how the frames were divided if nobody said so."""
    division = next((getattr(one.dataset, "division", "") for one in overviews), "")
    counts = " / ".join(f"{len(one.dataset)} {one.dataset.split}" for one in overviews)
    return [*map(str, overviews), *([f"{division}, {counts}"] if division else [])]
