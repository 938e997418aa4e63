"""Which points of a data set a network of sparse depth is given when it is judged: the protocol's, else the run's own, else the data's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from diorama.data.base import SceneDataset, WrappedDataset
from diorama.data.cache import CachedDataset
from diorama.data.sparse_dataset import SparseDataset
from diorama.data.sparsify import Sparsify
from diorama.errors import ConfigError
from diorama.evaluation.points import points_text
from diorama.evaluation.protocols import Protocol
from diorama.evaluation.withheld import named
from diorama.running.withheld import WithheldDataset
from diorama.stereo.matched import with_matched
from diorama.types import Frame

NYUV2_SIZE, NYUV2_CROP = (240, 320), (228, 304)
"""Size the frames of `nyuv2_completion_500` are halved to, and the middle of it that counts [px]."""

_NYUV2_POINTS = {points_text(Sparsify(points=count), 0, NYUV2_CROP): Sparsify(points=count) for count in (500, 200, 50)}


def with_points(dataset: SceneDataset, protocol: Protocol, inputs: Sequence[str], own: Sparsify | None = None) -> SceneDataset:
    """`dataset` with the `sparse_depth` or `matched` disparity that a network of `inputs` is judged with; itself if it takes neither.

    Args:
        dataset: as opened.
        protocol: its `sparse` says which points, if it prescribes any.
        inputs: what the network takes.
        own: the rules to draw points by where the protocol prescribes none; seeded per frame.

    Raises:
        ConfigError: the data have neither sparse depth nor depth to draw points of, or nothing says how to draw them; or no pairs to match.
    """
    dataset = with_matched(dataset, inputs)
    if "sparse_depth" not in inputs or isinstance(dataset, SparseDataset):
        return dataset
    if (withheld := named(protocol.name)) is not None:
        return WithheldDataset(dataset, withheld[0], targets=withheld[1])
    if "depth" not in dataset.provides and (protocol.sparse in _NYUV2_POINTS or "sparse_depth" not in dataset.provides):
        raise ConfigError(f"{dataset.name} has no depth to draw points of. Choose data with depth: `diorama data list`.")
    if protocol.sparse in _NYUV2_POINTS:
        first = dataset.frame(0)["depth"] if len(dataset) else None
        if first is not None and first.shape != NYUV2_SIZE:
            dataset = CachedDataset(dataset, NYUV2_SIZE)
        return SparseDataset(dataset, _NYUV2_POINTS[protocol.sparse], seed=0, crop=NYUV2_CROP)
    if own is not None:
        # returns taken out of a scan stand for truth only where there is no other
        own = replace(own, withhold=own.withhold and "depth" not in dataset.provides)
        return SparseDataset(dataset, own, seed=0)
    if "sparse_depth" not in dataset.provides:
        fitting = [name for name in ("nyuv2_completion_500",) if dataset.name == "nyuv2"]
        hint = f"Choose --protocol {fitting[0]}" if fitting else "Draw points of its depth, e.g. --sparse.points 500"
        raise ConfigError(f"{dataset.name} has no sparse depth for this network. {hint}.")
    return dataset


class Part(WrappedDataset):
    """`count` frames of `dataset`, evenly spaced."""

    def __init__(self, dataset: SceneDataset, count: int) -> None:
        if count < 1:
            raise ConfigError(f"{count} frames. Choose 1 or more.")
        super().__init__(dataset)
        self._places = [index * len(dataset) // count for index in range(count)] if count < len(dataset) else list(range(len(dataset)))
        self.ids = [dataset.ids[place] for place in self._places]

    def frame(self, index: int) -> Frame:
        """Frame number `index` of the part."""
        return self.dataset.frame(self._places[index])


def sweep_frames(dataset: SceneDataset, protocol: Protocol, count: int | None = None) -> tuple[SceneDataset, tuple[int, int] | None]:
    """The frames that a sweep reads anew for every setting, `count` of them, and the crop (H, W) that points are drawn in."""
    given = with_points(dataset, protocol, ("sparse_depth",), Sparsify(pattern="all"))
    crop = given.crop if isinstance(given, SparseDataset) else None
    frames = given.dataset if isinstance(given, SparseDataset) else given
    return (frames if count is None else Part(frames, count)), crop
