"""Section `streams` of a run: what a stream of the method reads where it is not simply the run's `data`. Imports no torch.

```yaml
streams:
  photos: {part: [0, 2]}               # the first of two contiguous parts of the run's training frames
  labels: {name: camvid, root: DIR}    # another data set: nothing is taken over from `data`
  scans: {name: kitti_lidar, root: DIR, depth_from: sparse_depth}    # its LiDAR returns are its `depth`
  rooms: {of: {nyu: 3, office: 1}}     # three of four samples are of the entry `nyu`, one is of `office`
```
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from jsonargparse import ArgumentParser

from diorama import catalog
from diorama.data.view import View
from diorama.errors import ConfigError, suggest
from diorama.parsing import parsed, plain

if TYPE_CHECKING:
    from diorama.data.base import SceneDataset

SECTION = "streams"
OWN: dict[str, Any] = {
    "split": str,
    "part": tuple[int, int],
    "depth_from": Literal["sparse_depth"],
    "label_set": str,
    "class_names": dict[str, str],
    "of": dict[str, float] | list[str],
    "batch_size": int,
}
"""Fields of a stream that are not those of its data set -> type; all of them may be left out.

split: of the training frames, instead of train. part: number of the contiguous part that is read, and how many there are.
depth_from: key that serves as depth. label_set: the label set that labels are converted to, `data`: that of the run's data.
class_names: class -> class of that set, or ignore, where names do not say it. of: entries of the section that the stream is made of, with
the share of each in the samples, or without: each frame counts once. batch_size: samples per step and process, instead of
trainer.batch_size. Beside these `view`: what differs from the run's view.
"""
DATA = "data"
_STEP = ("batch_size", "view")
"""Fields that belong to a stream as a whole."""


@dataclass
class Given:
    """What files and flags say of streams."""

    layers: list[dict[str, Any]] = field(default_factory=list)
    """`{"streams": {stream: {field: value}}}`, later ones before earlier ones."""
    words: list[str] = field(default_factory=list)
    """`--streams.NAME.FIELD` and its value."""
    names: dict[str, str | None] = field(default_factory=dict)
    """Stream -> the data set it names, None: that of the run."""


def taken(layers: Sequence[Mapping[str, Any]], words: Sequence[str]) -> tuple[Given, list[dict[str, Any]], list[str]]:
    """What `layers` and `words` say of streams, and both without it.

    Raises:
        ConfigError: the section or a stream is no mapping, or a flag names no field.
    """
    given, rest = Given(), []
    for layer in layers:
        if SECTION in layer:
            section = _checked(layer[SECTION])
            given.layers.append({SECTION: section})
            for stream, fields in section.items():
                given.names[stream] = fields.get("name", given.names.get(stream))
    upcoming = iter(words)
    for word in upcoming:
        if not word.startswith(f"--{SECTION}."):
            rest.append(word)
            continue
        key, equals, value = word.partition("=")
        _, stream, *place = key.split(".")
        if not place:
            raise ConfigError(f"{key} names no field. Write --{SECTION}.{stream or 'NAME'}.FIELD VALUE, e.g. .part '[0, 2]'.")
        if not equals and (value := next(upcoming, "")) == "":
            raise ConfigError(f"{key} has no value. Write {key} VALUE.")
        given.words += [key, value]
        given.names[stream] = value if place == ["name"] else given.names.get(stream)
    return given, [{key: value for key, value in layer.items() if key != SECTION} for layer in layers], rest


def read_streams(given: Given, dataset: str, data: Mapping[str, Any], view: View) -> dict[str, dict[str, Any]]:
    """Stream -> its settings: where it names a data set all of them, else those that differ from the run's `dataset` and `data`.

    Of its `view` only what differs from the run's.

    Raises:
        ConfigError: a key does not exist, a value has the wrong type or range, or there is no such data set, part or entry.
    """
    if not given.names:
        return {}
    own, seen = {"name": dataset, **data}, {key: value for key, value in dataclasses.asdict(view).items() if key != "cache"}
    parser = _parser({stream: name or dataset for stream, name in given.names.items()})
    inherited = {SECTION: {stream: {**({} if name else own), "view": seen} for stream, name in given.names.items()}}
    found = parsed(parser, [inherited, *given.layers], given.words, [SECTION])[SECTION]
    streams = {}
    for stream, name in given.names.items():
        changed = {key: value for key, value in found[stream].pop("view").items() if plain(value) != plain(seen[key])}
        streams[stream] = _own(stream, found[stream], {} if name else own) | ({"view": changed} if changed else {})
        with _told(stream):
            dataclasses.replace(view, **changed)
    for stream, fields in streams.items():
        if "of" in fields:
            _check_members(stream, fields, streams)
    return streams


def members(fields: Mapping[str, Any]) -> dict[str, float | None]:
    """Entries that a stream with these fields is made of -> share of its samples, None: as many as it has frames; empty without `of`."""
    named = fields.get("of", ())
    # files keep no order of keys
    return dict(sorted(named.items())) if isinstance(named, Mapping) else dict.fromkeys(named)


def opened(fields: Mapping[str, Any], split: str) -> SceneDataset:
    """The data set `fields["name"]` with these settings, whole and as it is; fields of a stream among them are passed over.

    Raises:
        DataError: files are missing, or there is no such split.
    """
    kind = catalog.dataset(fields["name"])
    others = {"name", "view", *OWN}
    found: SceneDataset = kind(split=split, **{key: value for key, value in fields.items() if key not in others})
    return found


def seen_as(dataset: SceneDataset, fields: Mapping[str, Any], data: Callable[[], SceneDataset]) -> SceneDataset:
    """`dataset` as the fields of a stream want to see it: depth of something else, labels in another label set.

    Args:
        dataset: opened.
        fields: of the stream.
        data: opens the run's own data, where labels are converted to theirs.

    Raises:
        ConfigError: it cannot be seen so.
    """
    from diorama.data.labels import by_name
    from diorama.data.mapped import DepthFrom, Relabelled

    if "depth_from" in fields:
        dataset = DepthFrom(dataset)
    if "label_set" in fields:
        labels = data().vocabulary if fields["label_set"] == DATA else by_name(fields["label_set"])
        if labels is None:
            raise ConfigError("label_set is 'data', but the run's data have no labels. Name a label set, e.g. cityscapes19.")
        dataset = Relabelled(dataset, labels, fields.get("class_names"))
    return dataset


def _checked(section: object) -> dict[str, dict[str, Any]]:
    """The section with every stream as a mapping; one without a field stands for the run's data as they are."""
    if not isinstance(section, Mapping):
        raise ConfigError(f"{SECTION} is {section!r}. Write it as a mapping of streams: `{SECTION}: {{NAME: {{part: [0, 2]}}}}`.")
    for stream, fields in section.items():
        if not isinstance(fields, Mapping | None):
            raise ConfigError(f"{SECTION}.{stream} is {fields!r}. Write it as a mapping: `{stream}: {{part: [0, 2]}}`.")
    return {str(stream): dict(fields or {}) for stream, fields in section.items()}


def _parser(names: Mapping[str, str]) -> ArgumentParser:
    parser = ArgumentParser(prog="diorama train", add_help=False, exit_on_error=False, allow_abbrev=False, print_config=None)
    parser.add_argument("--config", action="config")
    for stream, name in names.items():
        key = f"{SECTION}.{stream}"
        parser.add_argument(f"--{key}.name", type=str)
        for own, kind in OWN.items():
            parser.add_argument(f"--{key}.{own}", type=kind)
        parser.add_class_arguments(View, f"{key}.view", skip={"cache"}, instantiate=False)
        parser.add_class_arguments(catalog.dataset(name), key, skip={"split"}, instantiate=False)
    return parser


def _own(stream: str, fields: Mapping[str, Any], inherited: Mapping[str, Any]) -> dict[str, Any]:
    part, size, key = fields["part"], fields["batch_size"], f"{SECTION}.{stream}"
    if part is not None and not 0 <= part[0] < part[1]:
        raise ConfigError(f"{key}.part is {list(part)}: give the number of the part, from 0, and how many there are: [0, 2].")
    if size is not None and size < 1:
        raise ConfigError(f"{key}.batch_size is {size}. Set it to 1 or more.")
    if fields["class_names"] is not None and fields["label_set"] is None:
        raise ConfigError(f"{key} has class_names but no label_set. Name the label set that they belong to, or `data`: that of the run.")
    same = {key for key, value in fields.items() if key in inherited and plain(value) == plain(inherited[key])}
    return {key: value for key, value in fields.items() if key not in same and not (key in OWN and value is None)}


def _check_members(stream: str, fields: Mapping[str, Any], streams: Mapping[str, Mapping[str, Any]]) -> None:
    """Return if `stream` is made of other entries that can be parts of it, and of nothing else."""
    key, made_of = f"{SECTION}.{stream}", members(fields)
    if others := sorted(set(fields) - {"of", *_STEP}):
        raise ConfigError(f"{key} has `of` and '{others[0]}'. Say it of the entries that it is made of: {', '.join(made_of)}.")
    if not made_of:
        raise ConfigError(f"{key}.of is empty. Name entries of the section `{SECTION}`.")
    for name, share in made_of.items():
        if name not in streams or "of" in streams[name]:
            known = [one for one, others in streams.items() if "of" not in others]
            raise ConfigError(f"{key}.of names '{name}', which is no entry with data of its own: {suggest(name, known)}")
        if share is not None and not 0 < share < float("inf"):
            raise ConfigError(f"{key}.of has {name}: {share}. Give a share above 0; of 3 and 1 three samples in four are of the first.")
        if steps := [field for field in _STEP if field in streams[name]]:
            raise ConfigError(f"{SECTION}.{name} is a part of '{stream}' and cannot have a {steps[0]} of its own. Set it in {key}.")


@contextmanager
def _told(stream: str) -> Iterator[None]:
    """Inside, what is wrong with a view is told as that of `stream`."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{SECTION}.{stream}.{error}") from None
