"""The streams of a run: what each stream of the method reads, which part of it, and under which keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from diorama.config import RunConfig
from diorama.data.base import SceneDataset, WrappedDataset
from diorama.data.cache import CachedDataset
from diorama.data.labels import LabelSet
from diorama.data.loader import Source
from diorama.data.mapped import Joined
from diorama.data.redraw import Redrawn
from diorama.data.sparsify import Sparsify
from diorama.data.transforms import train_transform
from diorama.data.view import View
from diorama.errors import ConfigError, suggest
from diorama.methods.base import Method
from diorama.parsing import plain
from diorama.stereo.matched import with_matched
from diorama.stream_settings import members
from diorama.types import Frame, Sample

_NOT_FRAMES = ("part", "batch_size", "view")
"""Settings of a stream that do not decide which data set it reads."""


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
        whole: the data set as opened, or cached; of a stream that is made of others all of them.
        needs: keys of `Sample` that the method asks of the stream.
        part: number of the contiguous part that is read, and how many parts there are.
        view: how its frames are seen and varied.
        batch_size: samples of a step and process.
        parts: entry of the section `streams` -> the stream that it would be, of a stream that is made of others.
        shares: weight of each of `parts` in the samples; empty: each frame counts once.
    """

    whole: SceneDataset
    needs: frozenset[str]
    part: tuple[int, int] = (0, 1)
    view: View = field(default_factory=View)
    batch_size: int = 1
    parts: Mapping[str, Stream] = field(default_factory=dict)
    shares: tuple[float, ...] = ()

    @property
    def dataset(self) -> SceneDataset:
        """The frames that are read."""
        if self.parts:
            return Joined([part.dataset for part in self.parts.values()])
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

    def leaves(self, name: str) -> dict[str, Stream]:
        """Entry of the section `streams` -> stream, of what this one, called `name`, is made of; itself if it is not."""
        return dict(self.parts) or {name: self}


def open_streams(config: RunConfig, method: Method) -> dict[str, Stream]:
    """Every stream of `method` with its training frames.

    Where the run says nothing of streams, each of several reads a part of its own: what belongs together never meets.

    Raises:
        ConfigError: the run names a stream that the method lacks, or a part has no frame.
        DataError: files are missing.
    """
    wanted = method.streams
    used = {part for name in wanted for part in members(config.streams.get(name, {}))}
    for name in config.streams:
        if name not in {*wanted, *used}:
            which = f"stream{'s' if len(wanted) > 1 else ''} {' and '.join(wanted)}"
            raise ConfigError(f"no stream '{name}': {config.method} has the {which}; {suggest(name, wanted)}")
    opened: dict[str, SceneDataset] = {}

    def one(name: str, number: int, needs: frozenset[str], settings: Mapping[str, Any]) -> Stream:
        part = settings.get("part", (number, len(wanted)) if not config.streams else (0, 1))
        key = json.dumps(plain({key: value for key, value in settings.items() if key not in _NOT_FRAMES}), sort_keys=True, default=str)
        if key not in opened:
            opened[key] = config.open_training(name)
        whole = with_matched(opened[key], needs, keep=needs)
        batch_size = settings.get("batch_size", config.trainer.batch_size)
        found = Stream(whole, needs, (int(part[0]), int(part[1])), config.stream_view(name), batch_size)
        if not len(whole):
            raise ConfigError(f"stream '{name}': {whole.name} ({whole.split}) has no frame. Check its root and split.")
        if not len(found.dataset):
            raise ConfigError(
                f"stream '{name}': {whole.name} has {len(whole)} frames, too few for {part[1]} parts. Set streams.{name}.part."
            )
        return found

    streams = {}
    for number, (name, needs) in enumerate(wanted.items()):
        settings = config.streams.get(name, {})
        if made_of := members(settings):
            parts = {part: one(part, number, frozenset(needs), config.streams[part]) for part in made_of}
            streams[name] = _mixed(parts, frozenset(needs), list(made_of.values()), config, name)
        else:
            streams[name] = one(name, number, frozenset(needs), settings)
    return streams


def _mixed(parts: Mapping[str, Stream], needs: frozenset[str], shares: Sequence[float | None], config: RunConfig, name: str) -> Stream:
    batch_size = config.streams[name].get("batch_size", config.trainer.batch_size)
    known = tuple(share for share in shares if share is not None)
    whole = Joined([part.whole for part in parts.values()])
    if "semantic" in needs and whole.conflict:
        raise ConfigError(f"stream '{name}': {whole.conflict}")
    return Stream(whole, needs, view=config.stream_view(name), batch_size=batch_size, parts=parts, shares=known)


def cached(streams: Mapping[str, Stream]) -> dict[str, Stream]:
    """The streams with their data kept at the size of their view; what two of them share is kept once."""
    kept: dict[tuple[int, tuple[int, int]], SceneDataset] = {}

    def one(stream: Stream, size: tuple[int, int]) -> Stream:
        if stream.parts:
            parts = {name: one(part, size) for name, part in stream.parts.items()}
            return replace(stream, parts=parts, whole=Joined([part.whole for part in parts.values()]))
        key = (id(stream.whole), size)
        if key not in kept:
            kept[key] = CachedDataset(stream.whole, size)
        return replace(stream, whole=kept[key])

    return {name: one(stream, stream.view.size) for name, stream in streams.items()}


def sources(config: RunConfig, streams: Mapping[str, Stream]) -> dict[str, Source]:
    """What the loader serves a step from."""
    return {
        name: Source(
            stream.dataset,
            _transform(config, stream),
            stream.batch_size,
            tuple(sorted(stream.keys(config.sparse))),
            tuple((len(part.dataset), share) for part, share in zip(stream.parts.values(), stream.shares, strict=bool(stream.shares))),
        )
        for name, stream in streams.items()
    }


def _transform(config: RunConfig, stream: Stream) -> Callable[[Sample], Sample]:
    """What training applies to each sample of `stream`; where it takes points, windows without any are drawn again."""
    if "sparse_depth" not in stream.needs:
        return train_transform(stream.view)
    rules = config.sparse
    # where rules share out a scan, all of it may go into the input now and then
    known = {"sparse_depth"} if rules is not None and rules.withhold else stream.needs & {"sparse_depth", "depth"}
    return Redrawn(train_transform(stream.view, rules), sorted(known))


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
    leaves = {name: leaf for stream, read in streams.items() for name, leaf in read.leaves(stream).items()}
    data = {config.streams.get(name, {}).get("name", config.dataset): leaf.whole for name, leaf in leaves.items()}
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
