"""YAML files of runs: found by path or, among those that come with the package, by name. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from diorama.errors import ConfigError, suggest

SECTIONS = ("model", "data", "view", "trainer", "evaluation")


def find(name: str) -> Path:
    """The YAML file called `name`: a path, or the name of a recipe that comes with the package (`ci_net/nyuv2`).

    Raises:
        ConfigError: neither exists.
    """
    if not name:
        raise ConfigError("--config has no value. Give a YAML file or the name of a recipe, e.g. --config ci_net/nyuv2.")
    path = Path(name).expanduser()
    if path.is_file():
        return path
    known = names() | names(benchmarks=True)
    recipe = path.with_suffix("").as_posix().removeprefix("recipes/")
    if recipe in known:
        return known[recipe]
    raise ConfigError(f"{name}: no such file and no recipe of this name; {suggest(recipe, known)}")


def names(*, benchmarks: bool = False) -> dict[str, Path]:
    """Name -> file of the recipes that come with the package, e.g. `ci_net/nyuv2`; or of the benchmarks, `ci_net/benchmarks/table1`."""
    here = Path(__file__).resolve().parent
    for folder in (here / "recipes", here.parents[1] / "recipes"):  # installed, source tree
        if folder.is_dir():
            files = (path for path in sorted(folder.rglob("*.yaml")) if (path.parent.name == "benchmarks") == benchmarks)
            return {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}
    return {}


def read_yaml(path: Path) -> dict[str, Any]:
    """The settings in a YAML file.

    Raises:
        ConfigError: not readable as YAML, or not a mapping of sections.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not readable as YAML ({' '.join(str(error).split())}). Check the indentation there.") from error
    return checked({} if content is None else content, str(path))


def checked(settings: object, where: str) -> dict[str, Any]:
    """`settings` if they are a mapping whose sections are mappings.

    Raises:
        ConfigError: they are not; the text names the place.
    """
    if not isinstance(settings, Mapping):
        raise ConfigError(f"{where}: holds no mapping. Write sections such as `model:` and `data:` with their keys below.")
    for section in SECTIONS:
        if section in settings and not isinstance(settings[section], Mapping):
            example = "{name: ...}" if section in ("model", "data") else "{key: value}"
            raise ConfigError(f"{where}: {section} is {settings[section]!r}. Write it as a mapping: `{section}: {example}`.")
    return dict(settings)
