"""`diorama pseudo-label`: words -> data set, matcher, confidence and teacher -> the folder of pseudo labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from diorama import catalog
from diorama.errors import ConfigError
from diorama.flags import dataset_arguments, take

SUMMARY = """Disparity, metric depth and confidence of every stereo pair of a data set; semantics and depth of a teacher where one is named.

The data set is named with --data NAME (or NAME:ROOT), its arguments with --data.root DIR and so on. A run that was stopped, even by
kill -9, goes on with the same command. Read back by `diorama train --pseudo.root DIR`. Exit status 1 if a frame was skipped."""

_OPTIONS = ("matcher", "range_px", "min_depth", "block", "uniqueness", "speckle", "tolerance", "fill", "confidence")
_OF_TEACHER = {"labels": None, "unmapped": "refuse", "depth_unit": None}


def pseudo_label_data(words: Sequence[str]) -> int:
    """Label as `words` say and print the summary; 1 if a frame was skipped."""
    rest = list(words)
    named = take(rest, "--data")
    name, _, root = (named or "").partition(":")
    if named is None and not {"-h", "--help"} & set(rest):
        raise ConfigError(f"on which data? Add --data NAME ({', '.join(catalog.names('datasets'))}) and --data.root DIR.")
    settings, own = dataset_arguments("pseudo-label", SUMMARY, rest, _add, name or None, {"root": root} if root else None)
    if own["out"] is None:
        raise ConfigError("where to? Add --out DIR, the folder of the pseudo labels.")
    from diorama.running.pseudo_label import TEACHER_KINDS, pseudo_label
    from diorama.running.pseudo_summary import text
    from diorama.running.spread import read_shard
    from diorama.stereo.labelling import STEREO_KINDS, Labelling

    if own["teacher"] is None and (given := [key for key, usual in _OF_TEACHER.items() if own[key] != usual]):
        raise ConfigError(f"--{given[0].replace('_', '-')} is of a teacher, and there is none. Name one with --teacher, or leave it out.")
    asked: dict[str, Any] = {key: own[key] for key in _OPTIONS}
    save = own["save"] or (*STEREO_KINDS, *(TEACHER_KINDS if own["teacher"] else ()))
    labelling = Labelling(**asked, disparity_scale=_scale(own["disparity_scale"]), save=tuple(save))
    summary = pseudo_label(
        name, Path(own["out"]).expanduser(), data=settings, splits=own["splits"], labelling=labelling, teacher=own["teacher"],
        labels=own["labels"], unmapped=own["unmapped"], depth_unit=own["depth_unit"], workers=own["workers"],
        shard=read_shard(own["shard"]), overwrite=own["overwrite"], limit=own["limit"], engine=own["engine"],
    )  # fmt: skip
    print("\n".join(text(summary.figures)))
    there = f", {summary.kept} were there already" if summary.kept else ""
    skipped = f", {len(summary.failed)} skipped" if summary.failed else ""
    print(f"{summary.made} labelled in {summary.seconds:.1f} s{there}{skipped}: {summary.out}")
    return summary.exit_status


def _add(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=str | None, metavar="DIR", help="folder of the pseudo labels")
    parser.add_argument("--splits", type=str, nargs="+", default=["train"], metavar="SPLIT")
    parser.add_argument("--matcher", type=str, default="sgbm", help="sgbm, a folder of disparity files, or module:callable")
    parser.add_argument("--range-px", type=int | None, metavar="N", help="disparities that sgbm searches; default: an eighth of the width")
    parser.add_argument("--min-depth", type=float | None, metavar="M", help="nearest thing [m]: search as far as the calibration says")
    parser.add_argument("--block", type=int, default=5, help="window of sgbm [px], odd")
    parser.add_argument("--uniqueness", type=int, default=0, help="of sgbm: how far the second best lies above the best [percent]")
    parser.add_argument("--speckle", type=int, default=200, help="of sgbm: regions of at most so many pixels are not known")
    parser.add_argument("--disparity-scale", type=str, default="kitti", metavar="S", help="of a folder: kitti, cityscapes, units per pixel")
    parser.add_argument("--tolerance", type=float, default=1.0, metavar="PX", help="how far the views may differ where they agree")
    parser.add_argument("--fill", type=str | None, metavar="WHAT", help="what neighbours replace: inconsistent, or missing (of a folder)")
    parser.add_argument("--confidence", type=str, default="cost_margin", help="cost_margin, left_right, a ccnn model, products A*B, none")
    parser.add_argument("--save", type=str, nargs="+", metavar="KIND", help="disparity depth confidence agrees semantic ..., also *_right")
    parser.add_argument("--teacher", type=str | None, metavar="SOURCE", help="of semantics and depth: a model, a folder, or hf:MODEL")
    parser.add_argument("--labels", type=str | None, metavar="NAME", help="label set of the teacher's classes; default: that of the data")
    parser.add_argument("--unmapped", type=str, default="refuse", help="classes that the label set lacks: refuse or ignore")
    parser.add_argument("--depth-unit", type=str | None, help="of the teacher's depth: m, relative or inverse")
    parser.add_argument("--workers", type=int | None, metavar="N", help="processes of one thread each; default: every core")
    parser.add_argument("--shard", type=str, default="1/1", metavar="I/N", help="the I-th of N parts: one machine each, one --out")
    parser.add_argument("--limit", type=int | None, metavar="N", help="only the first N frames of each split")
    parser.add_argument("--engine", type=str, default="processes", help="processes of this machine, or ray")
    parser.add_argument("--overwrite", action="store_true", help="make complete frames again, also with other settings")


def _scale(text: str) -> Any:
    """kitti, cityscapes or a number."""
    if text in ("kitti", "cityscapes"):
        return text
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ConfigError(f"--disparity-scale '{text}'. Choose kitti, cityscapes, or file units per pixel, e.g. 4 for Middlebury 2003.")
    return number
