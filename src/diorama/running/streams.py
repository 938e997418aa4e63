"""The streams of a run: what each stream of the method reads, which part of it, and under which keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from diorama.config import RunConfig
from diorama.data.base import SceneDataset, WrappedDataset
from diorama.data.cache import CachedDataset
from diorama.data.labels import LabelSet
from diorama.data.loader import Source
from diorama.data.redraw import Redrawn
from diorama.data.sparsify import Sparsify
from diorama.data.transforms import train_transform
from diorama.errors import ConfigError, suggest
from diorama.methods.base import Method
from diorama.parsing import plain
from diorama.stereo.matched import with_matched
from diorama.types import Frame, Sample


class Stretch(WrappedDataset):
    """Frames `start` to `stop` of `dataset`, in their order."""

    def __init__(self, dataset: SceneDataset, start: int, stop: int) -> None:
        super().__init__(dataset)
        self.start = start
        self.ids = dataset.ids[start:stop]

    def frame(self, index: int) -> Frame:
        """Frame number `index` of the stretch."""
        return self.dataset.frame(self.start + range(len(self.ids))[index])


@dataclass(frozen=True)
class Stream:
    """The training frames of one stream.

    Args:
        whole: the data set as opened, or cached.
        needs: keys of `Sample` that the method asks of the stream.
        part: number of the contiguous part that is read, and how many parts there are.
    """

    whole: SceneDataset
    needs: frozenset[str]
    part: tuple[int, int] = (0, 1)

    @property
    def dataset(self) -> SceneDataset:
        """The frames that are read."""
        number, parts = self.part
        if parts == 1:
            return self.whole
        return Stretch(self.whole, number * len(self.whole) // parts, (number + 1) * len(self.whole) // parts)

    def keys(self, rules: Sparsify | None) -> frozenset[str]:
        """What is read of each frame: `needs`, with the depth and the camera that points are drawn from by `rules`."""
        if rules is None or "sparse_depth" not in self.needs:
            return self.needs
        made = {"sparse_depth", "depth"} if rules.withhold else {"sparse_depth"}
        return (self.needs - made) | {rules.key(self.whole.provides)} | rules.needs


def open_streams(config: RunConfig, method: Method) -> dict[str, Stream]:
    """Every stream of `method` with its training frames.

    Where the run says nothing of streams, each of several reads a part of its own: what belongs together never meets.

    Raises:
        ConfigError: the run names a stream that the method lacks, or a part has no frame.
        DataError: files are missing.
    """
    wanted = method.streams
    for name in config.streams:
        if name not in wanted:
            which = f"stream{'s' if len(wanted) > 1 else ''} {' and '.join(wanted)}"
            raise ConfigError(f"no stream '{name}': {config.method} has the {which}; {suggest(name, wanted)}")
    opened: dict[str, SceneDataset] = {}
    streams = {}
    for number, (name, needs) in enumerate(wanted.items()):
        settings = dict(config.streams.get(name, {}))
        part = settings.pop("part", (number, len(wanted)) if not config.streams else (0, 1))
        key = json.dumps(plain(settings), sort_keys=True, default=str)
        if key not in opened:
            opened[key] = config.open_training(name)
        whole = with_matched(opened[key], needs, keep=needs)
        streams[name] = Stream(whole, frozenset(needs), (int(part[0]), int(part[1])))
        if len(whole) and not len(streams[name].dataset):
            raise ConfigError(
                f"stream '{name}': {whole.name} has {len(whole)} frames, too few for {part[1]} parts. Set streams.{name}.part."
            )
    return streams


def cached(streams: Mapping[str, Stream], size: tuple[int, int]) -> dict[str, Stream]:
    """The streams with their data kept at `size` (H, W); what two of them share is kept once."""
    kept: dict[int, SceneDataset] = {}
    for stream in streams.values():
        if id(stream.whole) not in kept:
            kept[id(stream.whole)] = CachedDataset(stream.whole, size)
    return {name: replace(stream, whole=kept[id(stream.whole)]) for name, stream in streams.items()}


def sources(config: RunConfig, streams: Mapping[str, Stream]) -> dict[str, Source]:
    """What the loader serves a step from."""
    return {
        name: Source(
            stream.dataset,
            _transform(config, stream),
            config.trainer.batch_size,
            tuple(sorted(stream.keys(config.sparse))),
        )
        for name, stream in streams.items()
    }


def _transform(config: RunConfig, stream: Stream) -> Callable[[Sample], Sample]:
    """What training applies to each sample of `stream`; where it takes points, windows without any are drawn again."""
    if "sparse_depth" not in stream.needs:
        return train_transform(config.view)
    rules = config.sparse
    # where rules share out a scan, all of it may go into the input now and then
    known = {"sparse_depth"} if rules is not None and rules.withhold else stream.needs & {"sparse_depth", "depth"}
    return Redrawn(train_transform(config.view, rules), sorted(known))


@dataclass(frozen=True)
class Material:
    """What a model file says of the data that it was trained on."""

    name: str
    labels: LabelSet | None
    learnt: bool
    """Whether the labels were learnt from; if not, a model that this one started from may know better."""
    depth_cap: float
    terms: str


def material(config: RunConfig, streams: Mapping[str, Stream]) -> Material:
    """Names and terms of all data sets; the labels and the depth of those that were learnt from."""
    data = {config.streams.get(name, {}).get("name", config.dataset): stream.whole for name, stream in streams.items()}
    first, *others = data.values()
    labelled = [stream.whole for stream in streams.values() if "semantic" in stream.needs]
    measured = [stream.whole for stream in streams.values() if stream.needs & {"depth", "sparse_depth"}]
    return Material(
        name=" + ".join(data),
        labels=(labelled or [first])[0].labels,
        learnt=bool(labelled),
        depth_cap=(measured or [first])[0].depth_cap,
        terms=". ".join(f"{name}: {one.terms}" for name, one in data.items()) if others else first.terms,
    )
