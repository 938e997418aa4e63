"""What a run is: method, data, view, trainer, evaluation, seed, output. YAML and flags in, one plain `RunConfig` out.

Imports no torch. Values are checked by jsonargparse against the typed constructors; what is wrong comes back as one line
that names the key and, for a key that does not exist, the nearest one that does.
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jsonargparse import ArgumentParser, set_parsing_settings

from diorama import catalog, recipes, stream_settings
from diorama.data.sparsify import Sparsify
from diorama.data.view import View
from diorama.errors import ConfigError, suggest
from diorama.parsing import parsed, plain
from diorama.stereo.pseudo_settings import Pseudo
from diorama.training.settings import Trainer

if TYPE_CHECKING:
    from diorama.data.base import SceneDataset

CHOICES = {"model": "method", "data": "data set"}
"""Sections that name something of the catalog and hold its fields."""


@dataclass(frozen=True)
class Evaluation:
    """How a trained model is judged.

    Args:
        protocol: name from `diorama evaluate --list-protocols`; None takes the first one of the data set.
        split: what is evaluated; None: test, or val of a data set whose test labels are not public.
        flip: average with the prediction on the mirrored image; named in the protocol.
        stream: the model is judged on frames of what this stream reads, instead of `data`.
    """

    protocol: str | None = None
    split: str | None = None
    flip: bool = False
    stream: str | None = None


SETTINGS: dict[str, type[Any]] = {"view": View, "trainer": Trainer, "evaluation": Evaluation}
"""Sections that are the same for every method and data set."""

OPTIONAL: dict[str, type[Any]] = {"sparse": Sparsify, "pseudo": Pseudo}
"""Sections that are not there unless a file or a flag names them."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run. `config.yaml` of a run folder is its `to_dict()`."""

    method: str
    """Catalog name, `model.name` in YAML."""
    model: Any
    """The method's own config dataclass, e.g. `CINetConfig`."""
    dataset: str
    """Catalog name, `data.name` in YAML."""
    data: dict[str, Any]
    """Constructor arguments of the data set, `split` excepted."""
    view: View = field(default_factory=View)
    trainer: Trainer = field(default_factory=Trainer)
    evaluation: Evaluation = field(default_factory=Evaluation)
    sparse: Sparsify | None = None
    """Which points of its depth a network of sparse depth is given; None: the sparse depth that the data have."""
    pseudo: Pseudo | None = None
    """Which pseudo labels of stereo pairs the training reads; None: none."""
    streams: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What each stream of the method reads: fields of `data` that differ for it, or a data set of its own by `name`; and how it reads it:
    the fields of `stream_settings.OWN` and its `view`."""
    seed: int = 0
    """Decides weights, order, augmentation and random pixels."""
    out: Path = Path("runs")
    """Where the run folder `<method>-<data>-<n>` is made."""

    def to_dict(self) -> dict[str, Any]:
        """Nested dictionary of JSON types; `from_dict` reads it back."""
        settings = {
            "model": {"name": self.method, **dataclasses.asdict(self.model)},
            "data": {"name": self.dataset, **self.data},
            **{name: dataclasses.asdict(getattr(self, name)) for name in SETTINGS},
            **{name: dataclasses.asdict(getattr(self, name)) for name in OPTIONAL if getattr(self, name) is not None},
            **({stream_settings.SECTION: self.streams} if self.streams else {}),
            "seed": self.seed,
            "out": self.out,
        }
        found = plain(settings)
        assert isinstance(found, dict)
        return found

    def to_yaml(self) -> str:
        """The text of `config.yaml`."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> RunConfig:
        """The run that nested `settings` describe; what is absent takes its default.

        Raises:
            ConfigError: a key does not exist, a value has the wrong type, the method or data set is unknown or not named.
        """
        return read_config([], settings=settings)

    def open_dataset(self, split: str, stream: str | None = None) -> SceneDataset:
        """The data set of this run, or the one that `stream` reads as it sees it, whole.

        Raises:
            DataError: files are missing, or there is no such split.
            ConfigError: the stream cannot see it so.
        """
        fields = self._fields(stream)
        if parts := stream_settings.members(fields):
            return _joined([self.open_dataset(split, part) for part in parts])
        return stream_settings.seen_as(stream_settings.opened(fields, split), fields, self._open_data)

    def open_training(self, stream: str | None = None) -> SceneDataset:
        """What is trained on: the training frames of `open_dataset`, with the pseudo labels of the run's own data set.

        Raises:
            DataError: files are missing, or a frame has no pseudo label.
            ConfigError: the pseudo labels lack what the run asks of them, or the stream cannot see its data so.
        """
        fields = self._fields(stream)
        if parts := stream_settings.members(fields):
            return _joined([self.open_training(part) for part in parts])
        opened = stream_settings.opened(fields, fields.get("split", "train"))
        if self.pseudo is not None and "name" not in self.streams.get(stream or "", {}):
            from diorama.stereo.labelled import PseudoLabelled

            opened = PseudoLabelled(opened, self.pseudo)
        return stream_settings.seen_as(opened, fields, self._open_data)

    def stream_view(self, stream: str | None) -> View:
        """How frames of `stream` are seen and varied: the run's view, with what the stream says of it."""
        return dataclasses.replace(self.view, **self.streams.get(stream or "", {}).get("view", {}))

    def _fields(self, stream: str | None) -> dict[str, Any]:
        own = self.streams.get(stream or "", {})
        return own if "name" in own else {"name": self.dataset, **self.data, **own}

    def _open_data(self) -> SceneDataset:
        return stream_settings.opened({"name": self.dataset, **self.data}, "train")


def _joined(parts: Sequence[SceneDataset]) -> SceneDataset:
    from diorama.data.mapped import Joined

    return Joined(parts)


def method_config(name: str) -> type[Any]:
    """The config dataclass of a method: class `X` in module `m` has its `XConfig` in module `m_config`, which imports no torch.

    Raises:
        ConfigError: no such method, or the package that brings it has no such config.
    """
    known = catalog.names("methods")
    if name not in known:
        raise ConfigError(f"unknown method '{name}': {suggest(name, known)} See `diorama methods`.")
    module, _, attribute = known[name].partition(":")
    return catalog.resolve(name, f"{module}_config:{attribute}Config")


def read_config(flags: Sequence[str], settings: Mapping[str, Any] | None = None) -> RunConfig:
    """The run that `flags` (`--config FILE`, `--model NAME`, `--trainer.devices 4`, ...) and nested `settings` describe.

    Flags go before files, later files before earlier ones, all of them before defaults; `settings` count as the last file.

    Raises:
        ConfigError: a key does not exist, a value has the wrong type, the method or data set is unknown or not named.
    """
    layers, rest = _split_files(flags)
    if settings is not None:
        layers.append(recipes.checked(settings, "settings"))
    streams, layers, rest = stream_settings.taken(layers, rest)
    names = {section: _name_of(section, rest, layers) for section in CHOICES}
    _require_fitting(layers, names)
    optional = [name for name in OPTIONAL if any(name in layer for layer in layers) or any(word.startswith(f"--{name}.") for word in rest)]
    parser = build_parser(names["model"], names["data"], optional)
    run = _assembled(parsed(parser, layers, rest, (*OPTIONAL, stream_settings.SECTION)))
    return dataclasses.replace(run, streams=stream_settings.read_streams(streams, run.dataset, run.data, run.view))


def build_parser(method: str | None, dataset: str | None, optional: Iterable[str] = OPTIONAL) -> ArgumentParser:
    """The parser of a run's settings, with the fields of `method` and `dataset` where they are named and the sections `optional`.

    Raises:
        ConfigError: no such method or data set.
    """
    parser = ArgumentParser(prog="diorama train", add_help=False, exit_on_error=False, allow_abbrev=False, print_config=None)
    parser.add_argument("--config", action="config", help="YAML file or name of a recipe, e.g. ci_net/nyuv2; may be repeated")
    parser.add_argument("--model.name", metavar="NAME", help=f"method: {', '.join(catalog.names('methods'))}; fields: --model.help NAME")
    parser.add_argument("--data.name", metavar="NAME", help=f"data set: {', '.join(catalog.names('datasets'))}; fields: --data.help NAME")
    parser.add_argument("--seed", type=int, default=0, help="decides weights, order, augmentation and random pixels")
    parser.add_argument("--out", type=str, default="runs", metavar="DIR", help="where the run folder <method>-<data>-<n> is made")
    if method is not None:
        parser.add_class_arguments(method_config(method), "model")
    if dataset is not None:
        parser.add_class_arguments(catalog.dataset(dataset), "data", skip={"split"}, instantiate=False)
    for section, settings in {**SETTINGS, **{name: OPTIONAL[name] for name in optional}}.items():
        parser.add_class_arguments(settings, section)
    return parser


def overview() -> str:
    """What `diorama train --help` prints: everything but the fields of the methods and data sets."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = build_parser(None, None)
    parser.usage = "diorama train [--config FILE] [--model NAME] [--data NAME] [--SECTION.KEY VALUE ...]"
    notes = (
        "also:\n"
        "  --resume DIR          go on with the stopped run in this folder\n"
        "  --print_config        print the whole configuration as YAML and stop; --config reads it back\n"
        "  --streams.NAME.FIELD  what one stream of a method reads: a field of the data set, name of another one, part, view.FIELD,\n"
        f"                        {', '.join(field for field in stream_settings.OWN if field != 'part')}\n"
        "  --model.help NAME     the fields of a method\n"
        "  --data.help NAME      the fields of a data set\n"
        "  --debug               show the traceback of an error\n\n"
        "example: diorama train --config ci_net/nyuv2 --data.root DIR --trainer.batch_size 4"
    )
    return f"{parser.format_help()}\n{notes}"


def fields_help(section: str, name: str) -> str:
    """The fields of a method (`section` "model") or data set ("data"), a paragraph each, as `--model.help NAME` prints them.

    Raises:
        ConfigError: no such method or data set.
    """
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog=f"diorama train --{section} {name}", usage="%(prog)s [--FIELD VALUE ...]", add_help=False)
    if section == "model":
        parser.add_class_arguments(method_config(name), section)
    else:
        parser.add_class_arguments(catalog.dataset(name), section, skip={"split"}, instantiate=False)
    return str(parser.format_help())


def _split_files(flags: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """The contents of the files among `flags`, and the other flags with `--model NAME` spelled out as `--model.name NAME`."""
    layers: list[dict[str, Any]] = []
    rest: list[str] = []
    words = iter(flags)
    for word in words:
        key, equals, value = word.partition("=")
        if key == "--config":
            layers.append(recipes.read_yaml(recipes.find(value if equals else next(words, ""))))
        elif key.removeprefix("--") in CHOICES and key.startswith("--"):
            rest.append(f"{key}.name{equals}{value}")
        else:
            rest.append(word)
    return layers, rest


def _name_of(section: str, flags: Sequence[str], layers: Sequence[Mapping[str, Any]]) -> str:
    """The method or data set that was chosen last: by flag, else by file."""
    names = [layer[section]["name"] for layer in layers if "name" in layer.get(section, {})]
    flag = f"--{section}.name"
    for position, word in enumerate(flags):
        if word == flag and position + 1 < len(flags):
            names.append(flags[position + 1])
        elif word.startswith(f"{flag}="):
            names.append(word.partition("=")[2])
    if not names:
        what, known = CHOICES[section], ", ".join(catalog.names(f"{CHOICES[section].replace(' ', '')}s"))
        raise ConfigError(
            f"no {what} was named. Add --{section} NAME (known: {known}) or a recipe with --config (ci_net/finetune for own frames)."
        )
    return str(names[-1])


def _require_fitting(layers: Iterable[Mapping[str, Any]], names: Mapping[str, str]) -> None:
    """Return if what the files say of one method or data set has a meaning for the one that was chosen after all.

    Raises:
        ConfigError: a key is only known to the one that the file names.
    """
    for layer, (section, name) in itertools.product(layers, names.items()):
        said = layer.get(section, {})
        if said.get("name", name) == name or name not in catalog.names(f"{CHOICES[section].replace(' ', '')}s"):
            continue
        kind = method_config(name) if section == "model" else catalog.dataset(name)
        if lacking := [key for key in said if key != "name" and key not in inspect.signature(kind).parameters]:
            raise ConfigError(
                f"--{section} {name}: the recipe is for {said['name']}, whose {section}.{lacking[0]} {name} does not have. Choose a recipe "
                f"of {name}, or copy this one and write your own `{section}:` section."
            )


def _assembled(values: dict[str, Any]) -> RunConfig:
    """The parsed values as dataclasses; each checks its own values."""
    model, data = dict(values["model"]), dict(values["data"])
    method, dataset = str(model.pop("name")), str(data.pop("name"))
    return RunConfig(
        method=method,
        model=method_config(method)(**model),
        dataset=dataset,
        data=data,
        seed=values["seed"],
        out=Path(values["out"]).expanduser(),
        **{section: settings(**values[section]) for section, settings in {**SETTINGS, **OPTIONAL}.items() if section in values},
    )
