"""Windows of sparse maps that hold nothing: drawn again, as often as it may help, so that one of them does not end a training."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, cast

from torch import Tensor

from diorama.tensors import Depth
from diorama.types import Sample

TRIES = 20
"""Draws of one sample; where 1 window in 10 is empty, 20 are so once in 10^20 samples."""


class Redrawn:
    """`transform`, applied to the same sample again while a depth map among `keys` comes out without a known pixel.

    The draws go on in the generator that the first one started from, so the sample stays a function of its seed. `meta["redrawn"]` counts
    those beyond the first; `meta["empty"]` says of one that stayed empty whether all of the "frame" is, or each "window" drawn of it.

    Args:
        transform: random numbers from torch's global generator.
        keys: of `Sample`; maps that a method cannot do without.
    """

    def __init__(self, transform: Callable[[Sample], Sample], keys: Collection[str]) -> None:
        self.transform, self.keys = transform, tuple(keys)

    def __call__(self, sample: Sample) -> Sample:
        """The sample, with what is said in its `meta` where something is to be said."""
        found: dict[str, Any] = dict(self.transform(sample))
        if self._full(found):
            return cast("Sample", found)
        maps = [value for value in sample.values() if isinstance(value, Depth)]
        redrawn, empty = 0, any(not _known(value) for value in maps)
        while not empty and redrawn + 1 < TRIES and not self._full(found):
            found, redrawn = dict(self.transform(sample)), redrawn + 1
        said = {} if self._full(found) else {"empty": "frame" if empty else "window"}
        return cast("Sample", {**found, "meta": {**found.get("meta", {}), "redrawn": redrawn, **said}})

    def _full(self, sample: dict[str, Any]) -> bool:
        return all(_known(sample[key]) for key in self.keys)


def _known(depth: Tensor) -> bool:
    return bool((depth.as_subclass(Tensor) > 0).any())
