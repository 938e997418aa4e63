"""Words of a command -> arguments, for verbs that configure no run; wrong words get a `ConfigError` with the nearest right one."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from diorama import catalog
from diorama.errors import ConfigError
from diorama.parsing import reworded


class VerbParser(argparse.ArgumentParser):
    """argparse that raises `ConfigError` with the nearest flag instead of leaving the process.

    Args:
        verb: as typed, e.g. "data check".
        summary: what `--help` says first.
        example: a whole command, shown last.
    """

    def __init__(self, verb: str, summary: str, example: str = "") -> None:
        self.flags: list[str] = []
        super().__init__(
            prog=f"diorama {verb}",
            description=summary,
            epilog=f"example: {example}" if example else None,
            allow_abbrev=False,
            exit_on_error=False,
        )

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        """As argparse has it; remembers the flags for suggestions."""
        self.flags += [name for name in names if name.startswith("--")]
        return super().add_argument(*names, **settings)

    def read_known(self, words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
        """The arguments in `words`, and the words that are none of this parser's.

        Raises:
            ConfigError: a missing or a wrong value.
        """
        try:
            return self.parse_known_args(list(words))
        except argparse.ArgumentError as error:
            self.error(str(error))

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """The arguments in `words`.

        Raises:
            ConfigError: an unknown flag, a missing or a wrong value.
        """
        found, left = self.read_known(words)
        if left:
            flag = left[0].partition("=")[0]
            close = difflib.get_close_matches(flag, self.flags, n=1) if flag.startswith("-") else []
            hint = f"did you mean '{close[0]}'?" if close else f"See `{self.prog} --help`."
            raise ConfigError(f"unknown {'flag' if flag.startswith('-') else 'argument'} '{flag}': {hint}")
        return found

    def error(self, message: str) -> NoReturn:
        """Say what argparse found wrong, as a `ConfigError`."""
        raise ConfigError(f"{message.rstrip('.')}. See `{self.prog} --help`.")


def dataset_arguments(
    verb: str,
    summary: str,
    words: Sequence[str],
    add: Callable[[ArgumentParser], None],
    name: str | None,
    given: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The constructor arguments of data set `name` (`--data.root DIR ...`, `split` excepted) and the verb's own arguments in `words`.

    `--help` among the words prints the help and leaves.

    Args:
        verb: as typed, e.g. "data check nyuv2".
        summary: what `--help` says first.
        words: flags and values.
        add: adds the verb's own arguments.
        name: catalog name; None only where `words` ask for help.
        given: constructor arguments that hold where `words` say nothing.

    Raises:
        ConfigError: an unknown data set or flag, a missing or a wrong value.
    """
    if name is None and not {"-h", "--help"} & set(words):
        known = ", ".join(catalog.names("datasets"))
        raise ConfigError(f"diorama {verb} needs a data set ({known}). See `diorama {verb} --help`.")
    parser = ArgumentParser(prog=f"diorama {verb}", description=summary, exit_on_error=False, allow_abbrev=False, print_config=None)
    add(parser)
    if name is not None:
        parser.add_class_arguments(catalog.dataset(name), "data", skip={"split"}, instantiate=False)
    layers = [f"--given={yaml.safe_dump({'data': dict(given)}, default_flow_style=True, width=sys.maxsize)}"] if given else []
    parser.add_argument("--given", action="config", help=argparse.SUPPRESS)
    try:
        parsed = parser.parse_args([*layers, *words]).as_dict()
    except ArgumentError as error:
        givable = {*parser.get_defaults(skip_validation=True).keys()} - {"given"}
        raise ConfigError(reworded(str(error), givable, f"diorama {verb}")) from error
    del parsed["given"]
    return dict(parsed.pop("data", {})), parsed


def take(words: list[str], flag: str) -> str | None:
    """Remove `flag VALUE` or `flag=VALUE` from `words`; the value, None if it is not there.

    Raises:
        ConfigError: the flag has no value.
    """
    for position, word in enumerate(words):
        key, equals, value = word.partition("=")
        if key != flag:
            continue
        if not equals and position + 1 == len(words):
            raise ConfigError(f"{flag} has no value. Write {flag} VALUE.")
        found = value if equals else words[position + 1]
        del words[position : position + (1 if equals else 2)]
        return found
    return None


def run_config(folder: Path) -> Path:
    """config.yaml of a run folder.

    Raises:
        ConfigError: there is no such folder, or it is none of a run.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        raise ConfigError(f"{folder}: holds no config.yaml. Give --resume the folder of a run, e.g. runs/ci_net-nyuv2-1.")
    return path
