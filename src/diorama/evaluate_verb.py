"""`diorama evaluate`: words -> model, data set and protocol; what a run folder knows need not be said again."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from diorama import catalog, recipes
from diorama.data.base import SceneDataset
from diorama.data.sparsify import Sparsify
from diorama.errors import ConfigError, DataError
from diorama.evaluation.protocols import PROTOCOLS, Protocol, by_name
from diorama.flags import dataset_arguments, take

logger = logging.getLogger("diorama")

SUMMARY = """Measure a model on a data set under a named protocol; writes metrics.json, CSV files and report.html.

MODEL comes first: a shipped model (see `diorama methods`), a run folder or a model file. The data set is named with --data NAME, its
arguments with --data.root DIR and so on; of a run folder neither they nor the protocol need be said again. A network of sparse depth is
given the points that the protocol prescribes, else those of the data, else of --sparse.points N and so on (`diorama train --help`).
With --parser MODEL is judged the other way round: it makes photos of the label maps, and what the parser sees in them is measured."""


def evaluate_model_file(words: Sequence[str]) -> int:
    """Evaluate as `words` say and print the numbers."""
    rest = list(words)
    model = rest.pop(0) if rest and not rest[0].startswith("-") else None
    stored = _run_settings(Path(model)) if model is not None else {}
    named = take(rest, "--data")
    name = named or stored.get("data", {}).get("name")
    given = {} if named else {key: value for key, value in stored.get("data", {}).items() if key != "name"}
    if not {"-h", "--help"} & set(rest):
        if model is None:
            raise ConfigError("which model? Name it first: diorama evaluate ci_net-nyuv2 --data nyuv2 --data.root DIR.")
        if name is None:
            from diorama.prediction.predictor import find_model

            find_model(model)
            raise ConfigError(f"on which data? Add --data NAME ({', '.join(catalog.names('datasets'))}).")
    drawn = any(word.startswith("--sparse.") for word in rest)
    settings, own = dataset_arguments("evaluate MODEL", SUMMARY, rest, _add_with_points if drawn else _add, name, given)
    points = own.get("sparse") or (None if named else stored.get("sparse"))
    protocol = own["protocol"] or stored.get("evaluation", {}).get("protocol")
    rules = by_name(protocol) if protocol else next((rule for rule in PROTOCOLS.values() if rule.dataset == name), None)
    judged = {} if named else stored.get("evaluation", {})
    if drawn and rules is not None and rules.sparse:
        raise ConfigError(f"protocol {rules.name} says which points are given, so --sparse.* changes nothing. Leave one of them out.")
    if drawn and own["parser"]:
        raise ConfigError("photos are made of label maps, not of points, so --sparse.* changes nothing. Leave it out, or --parser.")
    judge: Any = str(model)
    if own["against"] and own["parser"]:
        raise ConfigError("--parser judges semantics, --against compares depth. Leave one of them out.")
    if drawn or own["against"]:
        from diorama.prediction.predictor import load

        judge = load(str(model), backend=own["backend"], device=own["device"])
        if own["against"] and judge.inputs != ("image",):
            raise ConfigError(f"{judge.name} takes {' and '.join(judge.inputs)}; --against compares networks of a photo. Leave it out.")
        if drawn and "sparse_depth" not in judge.inputs:
            raise ConfigError(f"{judge.name} takes no sparse depth, so --sparse.* changes nothing. Leave it out, or choose a completion.")
    split = own["split"] or judged.get("split")
    flip = bool(judged.get("flip")) if own["flip"] is None else own["flip"]
    dataset = catalog.dataset(name)(split=split, **settings) if split else _held_out(name, settings, rules.split if rules else "test")
    from diorama.running.evaluate_file import evaluate

    out = Path(own["out"]).expanduser() if own["out"] else _default_out(str(model), translated=own["parser"] is not None)
    found = evaluate(
        judge, dataset, protocol, parser=own["parser"], out=out, flip=flip, align=own["align"],
        sparse=Sparsify(**points) if points else None, size=own["size"], batch_size=own["batch_size"],
        baselines=own["baselines"], backend=own["backend"], device=own["device"], overwrite=own["overwrite"],
    )  # fmt: skip
    for measured in found.values.values():
        print(f"{measured.name:<20} {measured.value:.4f} {measured.unit}".rstrip())
    print(f"protocol {found.protocol.name}: {found.protocol.sentence()}")
    print(out / "report.html")
    if own["against"]:
        _against(judge, dataset, found.protocol, own, out)
    return 0


def _against(judge: Any, dataset: SceneDataset, protocol: Protocol, own: Mapping[str, Any], out: Path) -> None:
    """Compare with the pseudo labels of `--against` and print what was found, a line for each group of pixels."""
    from diorama.running.against_teacher import against_teacher, write_against

    size = own["size"] or judge.config["input"].get("size")
    found = against_teacher(
        judge.batch, dataset, own["against"], protocol, size=tuple(size) if size else None, batch_size=own["batch_size"]
    )
    print(f"{'teacher by':<12} {'':<16} {'pixels':>10}  Abs Rel model - teacher [95 %]")
    for group in found.groups:
        values, (low, high) = group.values, group.intervals["difference_abs_rel"]
        print(
            f"{group.by:<12} {group.name:<16} {group.pixels:>10}  {values['model_abs_rel']:.4f} - {values['teacher_abs_rel']:.4f} = "
            f"{values['difference_abs_rel']:+.4f} [{low:+.4f}, {high:+.4f}]"
        )
    print(*write_against(found, out), sep="\n")


def _add(parser: ArgumentParser) -> None:
    parser.add_argument("--protocol", type=str | None, metavar="NAME", help="rules of the numbers; default: first of the data set")
    parser.add_argument("--list-protocols", action="store_true", help="print every protocol and stop")
    parser.add_argument(
        "--parser", type=str | None, metavar="MODEL", help="that judges the photos which a translating model makes of labels"
    )
    parser.add_argument("--against", type=str | None, metavar="DIR", help="pseudo labels of these frames, to compare their depth with")
    parser.add_argument("--split", type=str | None, help="default: that of the protocol, else test, else val")
    parser.add_argument(
        "--flip", type=bool | None, help="average with the prediction on the mirrored image; default: as the run, else false"
    )
    parser.add_argument("--align", type=str, default="none", help="fit the scale of each image (median) or of all (median_global)")
    parser.add_argument("--size", type=tuple[int, int] | None, metavar="[H,W]", help="that the network sees; default: as trained")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--baselines", type=list[str], default=[], metavar="[DIR,...]", help="single-task evaluations, for Delta M")
    parser.add_argument(
        "--out",
        type=str | None,
        metavar="DIR",
        help="default: evaluation/ in the run folder, else runs/evaluate-MODEL; -translated if parsed",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the results of an earlier evaluation")
    parser.add_argument("--device", type=str, default="cpu", help="cpu or cuda")
    parser.add_argument("--backend", type=str, default="auto", help="auto, onnx or torch")


def _held_out(name: str, settings: Mapping[str, Any], first: str) -> SceneDataset:
    """The split `first` of the data set, or test, or val, whichever is there: what a training is judged on.

    Raises:
        DataError: none of them is there.
    """
    kind = catalog.dataset(name)
    wanted = [split for split in dict.fromkeys((first, "test", "val")) if split in kind.splits]
    refused: list[DataError] = []
    for split in wanted:
        try:
            dataset: SceneDataset = kind(split=split, **settings)
        except DataError as error:
            refused.append(error)
            continue
        if refused:
            logger.warning("evaluated on '%s', since '%s' is not there: %s", split, wanted[0], refused[0])
        return dataset
    present = [split for split in kind.splits if split not in wanted and _opens(kind, split, settings)]
    if not present:
        raise refused[0]
    lacking, there = " or ".join(wanted), ", ".join(present)
    raise DataError(f"{name} has no {lacking} frames here, but {there} ({refused[0]}) Pass --split {present[0]} to evaluate on it.")


def _opens(kind: Any, split: str, settings: Mapping[str, Any]) -> bool:
    try:
        kind(split=split, **settings)
    except DataError:
        return False
    return True


def _add_with_points(parser: ArgumentParser) -> None:
    _add(parser)
    parser.add_class_arguments(Sparsify, "sparse")


def _run_settings(model: Path) -> dict[str, Any]:
    """The configuration of the run that wrote `model`; empty if it lies in no run folder."""
    folder = model if model.is_dir() else model.parent
    path = folder / "config.yaml"
    return recipes.read_yaml(path) if path.is_file() and model.exists() else {}


def _default_out(model: str, *, translated: bool) -> Path:
    path, suffix = Path(model), "-translated" if translated else ""
    if path.exists():
        return (path if path.is_dir() else path.parent) / f"evaluation{suffix}"
    return Path("runs") / f"evaluate-{model}{suffix}"
