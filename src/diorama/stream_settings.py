"""Section `streams` of a run: what a stream of the method reads where it is not simply the run's `data`. Imports no torch.

```yaml
streams:
  photos: {part: [0, 2]}               # the first of two contiguous parts of the run's training frames
  labels: {name: camvid, root: DIR}    # another data set: nothing is taken over from `data`
  scans: {name: kitti_lidar, root: DIR, depth_from: sparse_depth}    # its LiDAR returns are its `depth`
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from jsonargparse import ArgumentParser

from diorama import catalog
from diorama.errors import ConfigError
from diorama.parsing import parsed, plain

if TYPE_CHECKING:
    from diorama.data.base import SceneDataset

SECTION = "streams"
OWN: dict[str, Any] = {"part": tuple[int, int], "depth_from": Literal["sparse_depth"]}
"""Fields of a stream that are not those of its data set -> type; all of them may be left out."""


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


def read_streams(given: Given, dataset: str, data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Stream -> its settings: where it names a data set all of them, else those that differ from the run's `dataset` and `data`.

    Raises:
        ConfigError: a key does not exist, a value has the wrong type, or there is no such data set or part.
    """
    if not given.names:
        return {}
    own = {"name": dataset, **data}
    parser = _parser({stream: name or dataset for stream, name in given.names.items()})
    inherited = {SECTION: {stream: own for stream, name in given.names.items() if name is None}}
    found = parsed(parser, [inherited, *given.layers], given.words, [SECTION])[SECTION]
    return {stream: _own(stream, found[stream], {} if name else own) for stream, name in given.names.items()}


def opened(fields: Mapping[str, Any], split: str) -> SceneDataset:
    """The data set `fields["name"]` of these settings, whole, and as the fields of a stream among them say.

    Raises:
        DataError: files are missing, or there is no such split.
        ConfigError: it cannot be seen as the stream wants it.
    """
    kind = catalog.dataset(fields["name"])
    found: SceneDataset = kind(split=split, **{key: value for key, value in fields.items() if key != "name" and key not in OWN})
    if "depth_from" in fields:
        from diorama.data.mapped import DepthFrom

        found = DepthFrom(found)
    return found


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
        parser.add_class_arguments(catalog.dataset(name), key, skip={"split"}, instantiate=False)
    return parser


def _own(stream: str, fields: Mapping[str, Any], inherited: Mapping[str, Any]) -> dict[str, Any]:
    part = fields["part"]
    if part is not None and not 0 <= part[0] < part[1]:
        raise ConfigError(f"{SECTION}.{stream}.part is {list(part)}: give the number of the part, from 0, and how many there are: [0, 2].")
    same = {key for key, value in fields.items() if key in inherited and plain(value) == plain(inherited[key])}
    return {key: value for key, value in fields.items() if key not in same and not (key in OWN and value is None)}
