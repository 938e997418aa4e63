"""`diorama data list | check | plot | make`: look at data before training on it. None of them needs torch."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from diorama import catalog
from diorama.errors import ConfigError
from diorama.flags import VerbParser, dataset_arguments

OVERVIEW = """usage: diorama data VERB [NAME] [options]

  list                 the data sets there are, what each provides, and its terms
  check NAME           what is missing or suspicious, a line each
  plot NAME            a contact sheet of image, labels and depth
  make NAME            store frames in the layout of a reader (procedural ones need no download)

NAME is a data set of `list`; its own arguments are --data.root DIR and so on: diorama data check NAME --help

example: diorama data check nyuv2 --data.root DIR --frames 50"""


def list_(words: Sequence[str]) -> int:
    """Print the data sets of the catalog."""
    VerbParser("data list", "The data sets there are.").read(words)
    from rich.console import Console
    from rich.table import Table

    from diorama.data.check import list_datasets

    table = Table("name", "what", "provides", "splits", "root", "terms", box=None, pad_edge=False)
    for row in list_datasets():
        table.add_row(row.name, row.title, ", ".join(row.provides), ", ".join(row.splits), row.root_hint or "none needed", row.terms)
    Console(width=None if sys.stdout.isatty() else 200, highlight=False, markup=False).print(table)
    return 0


def check(words: Sequence[str]) -> int:
    """Print what is missing or suspicious; 1 if there is an error among it."""

    def add(parser: ArgumentParser) -> None:
        parser.add_argument("--splits", type=list[str] | None, metavar="[SPLIT,...]", help="which; default: all it is published with")
        parser.add_argument("--frames", type=int | None, metavar="N", help="at most N of each split, evenly spread; default: all")
        parser.add_argument(
            "--all", action="store_true", help="measure every frame that is read, not 50 of each split (slower), and list every faulty one"
        )

    name, settings, own = _named("check", "What is missing or suspicious in a data set, a line each.", words, add)
    from rich.console import Console
    from rich.progress import Progress

    from diorama.data.check import check_dataset
    from diorama.data.overview import Overview, summary

    overviews: list[Overview] = []
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(f"check {name}")

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        findings = check_dataset(name, own["splits"], own["frames"], advance, own["all"], overviews, **settings)
    for finding in findings:
        print(finding)
    errors = sum(finding.level == "error" for finding in findings)
    for line in summary(overviews) if not errors else ():
        print(line)
    print(f"{name}: {errors} errors, {len(findings) - errors} warnings")
    return 1 if errors else 0


def plot(words: Sequence[str]) -> int:
    """Write a contact sheet."""

    def add(parser: ArgumentParser) -> None:
        parser.add_argument("--out", type=str | None, metavar="FILE", help="PNG or JPEG; default: NAME-SPLIT.jpg")
        parser.add_argument("--split", type=str, default="train")
        parser.add_argument("--frames", type=int, default=6, help="rows")
        parser.add_argument("--width", type=int, default=320, help="of one picture [px]")
        parser.add_argument("--pseudo", type=str | None, metavar="DIR", help="also what `diorama pseudo-label` made of these frames")
        parser.add_argument("--overwrite", action="store_true", help="replace an existing file")

    name, settings, own = _named("plot", "A contact sheet of image, labels and depth.", words, add)
    from diorama.data.sheet import plot as start

    out = Path(own["out"] or f"{name}-{own['split']}.jpg").expanduser()
    dataset = catalog.dataset(name)(split=own["split"], **settings)
    if own["pseudo"] is not None:
        from diorama.stereo.labelled import PseudoLabelled
        from diorama.stereo.pseudo_settings import Pseudo

        dataset = PseudoLabelled(dataset, Pseudo(own["pseudo"], threshold="none", missing="skip"))
    print(start(dataset, out, frames=own["frames"], width=own["width"], overwrite=own["overwrite"]))
    return 0


def make(words: Sequence[str]) -> int:
    """Store frames in the layout of a reader."""

    def add(parser: ArgumentParser) -> None:
        parser.add_argument("--out", type=str, required=True, metavar="DIR", help="folder of the new data set")
        parser.add_argument("--layout", type=str, default="folder", help="folder, or the name of a reader: nyuv2, kitti, ...")
        parser.add_argument("--split", type=str, default="train")
        parser.add_argument("--frames", type=int, default=16)

    name, settings, own = _named("make", "Store frames of a data set in the layout of a reader.", words, add)
    from diorama.data.fixtures import make as start

    out = Path(own["out"]).expanduser()
    written = start(name, out, own["layout"], own["frames"], own["split"], **settings)
    print(f"{len(written)} frames in {out}")
    return 0


VERBS: dict[str, Callable[[Sequence[str]], int]] = {"list": list_, "check": check, "plot": plot, "make": make}


def _named(
    verb: str, summary: str, words: Sequence[str], add: Callable[[ArgumentParser], None]
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Name, constructor arguments and the verb's own arguments.

    Raises:
        ConfigError: no such data set or argument, or a folder where its name or a flag belongs.
    """
    named = bool(words) and not words[0].startswith("-")
    name, rest = (words[0], words[1:]) if named else ("", words)
    if named and name not in catalog.names("datasets") and Path(name).is_dir():
        raise ConfigError(f"'{name}' is a folder: diorama data {verb} folder --data.root {shlex.quote(name)}")
    if named and rest and not rest[0].startswith("-") and catalog.dataset(name).root_hint:
        raise ConfigError(f"'{rest[0]}' needs its flag: diorama data {verb} {name} --data.root {shlex.quote(rest[0])}")
    if not named:
        summary += f" The files of NAME: --data.root DIR; all its arguments: diorama data {verb} NAME --help."
        summary += f" Example: diorama data {verb} folder --data.root my_rooms"
    return name, *dataset_arguments(f"data {verb} {name or 'NAME'}", summary, rest, add, name or None)
