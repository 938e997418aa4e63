"""One function per verb: words -> checked arguments -> the function that does it. torch is imported last, by that function alone."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from diorama import catalog
from diorama.errors import ConfigError


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

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """The arguments in `words`.

        Raises:
            ConfigError: an unknown flag, a missing or a wrong value.
        """
        try:
            found, left = self.parse_known_args(list(words))
        except argparse.ArgumentError as error:
            self.error(str(error))
        if left:
            flag = left[0].partition("=")[0]
            close = difflib.get_close_matches(flag, self.flags, n=1) if flag.startswith("-") else []
            hint = f"did you mean '{close[0]}'?" if close else f"See `{self.prog} --help`."
            raise ConfigError(f"unknown {'flag' if flag.startswith('-') else 'argument'} '{flag}': {hint}")
        return found

    def error(self, message: str) -> NoReturn:
        """Say what argparse found wrong, as a `ConfigError`."""
        raise ConfigError(f"{message.rstrip('.')}. See `{self.prog} --help`.")


def train(words: Sequence[str]) -> int:
    """Train a method, or print a configuration or the fields of one."""
    from diorama import config, recipes

    words = list(words)
    for section in config.CHOICES:
        if (name := _take(words, f"--{section}.help")) is not None:
            print(config.fields_help(section, name))
            return 0
    if "--help" in words or "-h" in words:
        print(config.overview())
        return 0
    shown = "--print_config" in words
    resume = _take(words, "--resume")
    settings = recipes.read_yaml(_run_config(Path(resume))) if resume is not None else None
    run = config.read_config([word for word in words if word != "--print_config"], settings)
    if shown:
        print(run.to_yaml(), end="")
        return 0
    run.open_dataset("train")  # says what is missing before torch is imported
    from diorama.running.train import train as start

    start(run, None if resume is None else Path(resume))
    return 0


def predict(words: Sequence[str]) -> int:
    """Predict on photos; 1 if one of them had to be skipped."""
    parser = VerbParser(
        "predict",
        "Semantics and metric depth of photos: label PNG, 16-bit depth PNG, overlay, coloured point cloud and JSON for each.",
        "diorama predict photos/ --out results --save overlay depth",
    )
    parser.add_argument("source", help="a photo, a folder, a glob pattern in quotes, or a .txt list of paths")
    parser.add_argument("--model", default="ci_net-nyuv2", metavar="NAME", help="shipped model (see `diorama methods`), run folder or file")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the results; default: the next free runs/predict-N")
    parser.add_argument("--save", nargs="+", metavar="KIND", help="any of semantic depth json overlay ply panel; default: all but panel")
    parser.add_argument("--overwrite", action="store_true", help="replace results of an earlier run")
    parser.add_argument("--intrinsics", type=Path, metavar="FILE", help="camera matrix [px]: 9 numbers row by row, or fx fy cx cy")
    parser.add_argument("--field-of-view", type=float, metavar="DEGREES", help="over the longer side, instead of intrinsics")
    parser.add_argument("--backend", choices=("auto", "onnx", "torch"), default="auto")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, help="threads per photo; default: every core")
    options = vars(parser.read(words))
    if options["save"] is None:
        del options["save"]
    from diorama.running.predict import predict as start

    summary = start(**options)
    print(f"{len(summary.done)} of {len(summary.done) + len(summary.failed)} predicted in {summary.seconds:.1f} s: {summary.out}")
    for path, reason in summary.failed:
        print(f"skipped {reason if str(path) in reason else f'{path}: {reason}'}", file=sys.stderr)
    return summary.exit_status


def methods(words: Sequence[str]) -> int:
    """List methods with what they need, their recipes and the shipped models."""
    VerbParser("methods", "The methods there are, and the models that come with the package.").read(words)
    from rich.console import Console
    from rich.table import Table

    from diorama import config, recipes
    from diorama.prediction.predictor import list_models

    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    table = Table("method", "needs", "recipes", box=None, pad_edge=False)
    for name in catalog.names("methods"):
        kind = config.method_config(name)
        own = [recipe for recipe in recipes.names() if recipe.startswith(f"{name}/")]
        table.add_row(name, ", ".join(sorted(kind.needs)), ", ".join(own) or "none")
    console.print(table)
    models = Table("model", "method", "trained on", box=None, pad_edge=False)
    for name, found in list_models().items():
        models.add_row(name, found["method"], str(found["training"].get("data", "unknown")))
    console.print()
    console.print(models)
    console.print("\nFields of a method: diorama train --model.help NAME")
    return 0


def doctor(words: Sequence[str]) -> int:
    """Examine the machine; 1 if something will not work."""
    parser = VerbParser("doctor", "Examine versions, devices, threads, codecs, disk, memory and models, with a line of advice each.")
    parser.add_argument("--folder", type=Path, help="try this folder for space and write rights; default: the current one")
    folder = parser.read(words).folder
    from diorama.doctor import doctor as start

    return start(folder)


def _take(words: list[str], flag: str) -> str | None:
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


def _run_config(folder: Path) -> Path:
    """config.yaml of a run folder.

    Raises:
        ConfigError: there is no such folder, or it is none of a run.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        raise ConfigError(f"{folder}: holds no config.yaml. Give --resume the folder of a run, e.g. runs/ci_net-nyuv2-1.")
    return path
