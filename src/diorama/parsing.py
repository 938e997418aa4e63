"""jsonargparse's side of a configuration: nested settings and flags in, checked values out, what is wrong as one line."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from diorama.errors import ConfigError, suggest


def parsed(
    parser: ArgumentParser, layers: Iterable[Mapping[str, Any]], words: Sequence[str], sections: Iterable[str] = ()
) -> dict[str, Any]:
    """The values of `layers` (later before earlier) and of the flags `words`, which go before them all, as `parser` reads them.

    Args:
        parser: its argument `--config` takes a layer.
        layers: nested settings.
        words: flags and values.
        sections: that exist beside those of `parser`, for suggestions.

    Raises:
        ConfigError: a key does not exist, or a value has the wrong type.
    """
    try:
        found = parser.parse_args([*(f"--config={_as_text(layer)}" for layer in layers), *words])
    except ArgumentError as error:
        known = parser.get_defaults(skip_validation=True).keys()
        raise ConfigError(reworded(str(error), known, sections=sections)) from error
    return dict(found.as_dict())


def reworded(message: str, known: Iterable[str], command: str = "diorama train", sections: Iterable[str] = ()) -> str:
    """jsonargparse's `message` as one line that ends with what to do.

    An unknown key comes in three wordings: as a flag, inside a section of a file, at the top of a file.
    """
    message = " ".join(message.split())
    known, others = list(known), set(sections)
    if found := re.match(r"unrecognized arguments: (?:--)?([^\s=]+)", message, re.IGNORECASE):
        return _unknown_key(found[1], known, others)
    if found := re.search(r"Group '([^']+)' does not accept (?:option|nested key) '([^']+)'", message):
        return _unknown_key(f"{found[1]}.{found[2]}", known, others)
    if found := re.search(r"Option '([^']+)' is not accepted", message):
        return _unknown_key(found[1], known, others)
    if found := re.search(r"arguments are required: (.+)", message):
        first = found[1].split(",")[0].strip()
        return f"{first} is missing. Set it in the YAML file or with --{first} VALUE."
    if found := re.search(r'Parser key "([^"]+)": Expected an? (.+)\. Got value: (.*)', message):
        expected = re.sub(r"<class '([^']+)'>|typing\.", lambda kind: kind[1] or "", found[2])
        return f"{found[1]} is {found[3]!r}, expected {expected}. Correct it in the YAML file or with --{found[1]} VALUE."
    return f"{message.rstrip('.')}. See `{command} --help`."


def _unknown_key(key: str, known: Sequence[str], others: set[str]) -> str:
    """What to say of a key that does not exist: the nearest one of its own section, else the section, else the nearest one anywhere."""
    section, _, leaf = key.rpartition(".")
    tops = others | {name.partition(".")[0] for name in known if "." in name}
    siblings = [name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == section]
    if section and not siblings:
        return f"unknown section '{section}': {suggest(section, tops)}"
    if close := difflib.get_close_matches(leaf, siblings, n=1):
        return f"unknown key '{leaf}'{f' in {section}' if section else ''}: did you mean '{close[0]}'?"
    leaves = {name.rpartition(".")[2]: name for name in known}
    if close := difflib.get_close_matches(leaf, leaves, n=1):
        return f"unknown key '{key}': did you mean '{leaves[close[0]]}'?"
    return f"unknown key '{key}'. Known here: {', '.join(sorted(siblings if section else {*siblings, *tops}))}."


def plain(value: Any) -> Any:
    """`value` in JSON types: tuples become lists, paths text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _as_text(layer: Mapping[str, Any]) -> str:
    """`layer` as one line of YAML, which jsonargparse reads where it expects a file."""
    return yaml.safe_dump(plain(layer), default_flow_style=True, width=sys.maxsize, allow_unicode=True)
