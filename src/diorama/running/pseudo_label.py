"""`diorama pseudo-label`: disparity, metric depth and confidence of every stereo pair of a data set, semantics from a teacher.

Parallel over frames, on one machine or in shards over many; a stopped or killed run goes on where it stood. One bad frame does not
stop the rest.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from diorama import catalog
from diorama.data.labels import LabelSet, by_name
from diorama.errors import ConfigError, DataError
from diorama.parsing import plain
from diorama.running.alone import alone
from diorama.running.pairs import Frames, open_images, open_pairs
from diorama.running.progress import frames_bar
from diorama.running.pseudo_pool import Done, Task, spread
from diorama.running.pseudo_summary import figures
from diorama.running.pseudo_worker import Job
from diorama.running.spread import Engine, check_shard
from diorama.stereo.labeller import Labeller
from diorama.stereo.labelling import Labelling
from diorama.stereo.pseudo_folder import FORMAT, PseudoFolder, begin, write_json

log = logging.getLogger("diorama")

TEACHER_KINDS = tuple(
    f"{kind}{view}" for view in ("", "_right") for kind in ("semantic", "semantic_confidence", "teacher_depth")
)  # fmt: skip
"""What only a teacher gives."""

_NOT_SETTINGS = ("root", "keys", "raw", "annotated", "frames")


@dataclass
class LabelSummary:
    """What a run of `pseudo_label` did."""

    out: Path
    made: int = 0
    """Frames that were labelled now."""
    kept: int = 0
    """Frames that were complete already."""
    failed: dict[str, str] = field(default_factory=dict)
    """`SPLIT/ID` of each frame that was skipped -> why."""
    seconds: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)
    """See `pseudo_summary.figures`; also in summary.json."""

    @property
    def exit_status(self) -> int:
        """0 if every frame has its labels, 1 if one was skipped."""
        return 1 if self.failed else 0


def pseudo_label(
    name: str,
    out: str | Path,
    *,
    data: Mapping[str, Any] | None = None,
    splits: Sequence[str] = ("train",),
    labelling: Labelling | None = None,
    teacher: str | None = None,
    labels: str | None = None,
    unmapped: Literal["refuse", "ignore"] = "refuse",
    depth_unit: Literal["m", "relative", "inverse"] | None = None,
    workers: int | None = None,
    shard: tuple[int, int] = (1, 1),
    overwrite: bool = False,
    limit: int | None = None,
    engine: Engine = "processes",
    progress: bool = True,
) -> LabelSummary:
    """Label the pairs of a data set into the folder `out` (layout: `stereo.pseudo_folder`).

    Args:
        name: data set of the catalog.
        out: folder of the pseudo labels; a run with the same settings goes on in it.
        data: constructor arguments of the data set, `split` and `keys` excepted.
        splits: which.
        labelling: how; None: `Labelling()`.
        teacher: of semantics and depth, see `running.teachers.load_teacher`.
        labels: name of the label set that the teacher's classes are brought to; None: that of the data set, else the teacher's own.
        unmapped: see `load_teacher`.
        depth_unit: see `load_teacher`.
        workers: processes; None: as many as there are cores, under ray in the whole cluster.
        shard: (i, n): every n-th frame from the i-th on, i from 1: n machines that share `out` divide the work.
        overwrite: make frames again that are complete, and take other settings than the folder was made with.
        limit: only the first so many frames of each split.
        engine: processes of this machine, or a `ray.data` job (extra `ray`).
        progress: show a bar when it takes longer than two seconds.

    Raises:
        ConfigError: the data set has no pairs or no calibration, or settings contradict each other.
        DataError: files are missing, `out` was made with other settings, or it is the data set itself.
        WorkerDiedError: a process was ended from outside.
    """
    started = time.monotonic()
    labelling, data, out = labelling or Labelling(), dict(data or {}), Path(out)
    _check(shard, limit, workers, splits)
    stereo = _wants_stereo(labelling.save, teacher)
    frames = {split: _frames(name, split, data, labelling, stereo=stereo, teacher=teacher) for split in splits}
    asked: dict[str, Any] | None = None if teacher is None else {"source": teacher, "unmapped": unmapped, "depth_unit": depth_unit}
    label_set = _labels(labels, frames, labelling.save, asked)
    if asked is not None:
        asked["labels"] = label_set
    _check_out(out, frames)
    if stereo:
        Labeller(labelling)  # says what is wrong with matcher and confidence before anything is written
    settings = _settings(name, data, labelling, teacher, label_set, asked, stereo=stereo)
    with alone(out, f"pseudo-label-{shard[0]}-of-{shard[1]}", "the same pseudo labels"):
        print_of = begin(out, settings, overwrite=overwrite)
        job = Job(out, {split: part.dataset for split, part in frames.items()}, labelling, stereo, print_of, label_set, asked)
        summary = LabelSummary(out)
        tasks, records = _tasks(job, frames, shard, limit, summary, overwrite=overwrite)
        count, results = spread(engine, job, tasks, workers)
        log.info("%d frames to label, %d complete; %d at a time", len(tasks), summary.kept, count)
        if stereo and tasks:
            log.info("%s", labelling.searched)
        with frames_bar("pseudo-label", len(tasks), started, shown=progress) as advance:
            records += _label(results, job, summary, advance)
        summary.figures = figures(records, summary.failed)
        write_json(out / ("summary.json" if shard[1] == 1 else f"summary-{shard[0]}-of-{shard[1]}.json"), summary.figures)
    summary.seconds = time.monotonic() - started
    return summary


def _label(results: Iterator[Done], job: Job, summary: LabelSummary, advance: Callable[[str], None]) -> list[dict[str, Any]]:
    """The records of the frames that become complete; skipped ones and the first warning of each kind are told."""
    records: list[dict[str, Any]] = []
    said: set[str] = set()
    for (split, index), record, why in results:
        frame_id = job.datasets[split].ids[index]
        if record is None:
            summary.failed[f"{split}/{frame_id}"] = why
            log.warning("skipped %s: %s", frame_id, why.removeprefix(f"{frame_id}: "))
        else:
            records.append(record)
            summary.made += 1
            _warn(record, said)
        advance(frame_id)
    return records


def _check(shard: tuple[int, int], limit: int | None, workers: int | None, splits: Sequence[str]) -> None:
    check_shard(shard)
    for flag, value in (("--limit", limit), ("--workers", workers)):
        if value is not None and value < 1:
            raise ConfigError(f"{flag} {value}. Choose 1 or more.")
    if not splits or len(set(splits)) < len(splits):
        raise ConfigError(f"splits {', '.join(splits) or 'none'}. Name each split once.")


def _check_out(out: Path, frames: Mapping[str, Frames]) -> None:
    for root in {part.dataset.root for part in frames.values()} - {None}:
        if out.is_dir() and out.samefile(str(root)):
            raise DataError(f"{out}: the data set itself, whose files pseudo labels would replace. Choose another --out.")


def _wants_stereo(save: Collection[str], teacher: str | None) -> bool:
    """Whether pairs are matched.

    Raises:
        ConfigError: a teacher's kinds are to be saved without a teacher.
    """
    taught = [kind for kind in save if kind in TEACHER_KINDS]
    if taught and teacher is None:
        raise ConfigError(f"{taught[0]} is to be saved, which comes from a teacher. Name one with --teacher.")
    return len(taught) < len(save)


def _frames(name: str, split: str, data: Mapping[str, Any], labelling: Labelling, *, stereo: bool, teacher: str | None) -> Frames:
    if stereo:
        fitted = teacher is not None and any(kind.startswith("teacher_depth") for kind in labelling.save)
        return open_pairs(name, split, data, camera=labelling.needs_camera or fitted)
    extra = ["right"] if any(kind.endswith("_right") for kind in labelling.save) else []
    if "teacher_depth" in labelling.save and "sparse_depth" in catalog.dataset(name).offers:
        extra.append("sparse_depth")
    return open_images(name, split, data, extra)


def _labels(named: str | None, frames: Mapping[str, Frames], save: Collection[str], teacher: Mapping[str, Any] | None) -> LabelSet | None:
    """Label set of the teacher's semantics; None without a teacher or without semantics."""
    if teacher is None:
        return None
    saved = any(kind.startswith("semantic") for kind in save)
    wanted = by_name(named) if named else next(iter(frames.values())).dataset.vocabulary if saved else None
    from diorama.running.teachers import load_teacher

    found: LabelSet | None = load_teacher(labels=wanted, **teacher).labels
    return found


def _settings(
    name: str,
    data: Mapping[str, Any],
    labelling: Labelling,
    teacher: str | None,
    labels: LabelSet | None,
    asked: Mapping[str, Any] | None,
    *,
    stereo: bool,
) -> dict[str, Any]:
    """What all frames of a folder are made with, JSON types. Where the files lie is no part of it: shards may see another path."""
    found: dict[str, Any] = {
        "format": FORMAT,
        "data": {"name": name, **{key: value for key, value in data.items() if key not in _NOT_SETTINGS}},
        "labelling": labelling.to_dict() if stereo else {"save": list(labelling.save)},
    }
    if labels is not None:
        found["labels"] = {"name": labels.name, "classes": labels.classes, "palette": labels.palette}
    if asked is not None:
        found["teacher"] = {"source": teacher, **{key: asked[key] for key in ("unmapped", "depth_unit")}}
    made = plain(found)
    assert isinstance(made, dict)
    return made


def _tasks(
    job: Job, frames: Mapping[str, Frames], shard: tuple[int, int], limit: int | None, summary: LabelSummary, *, overwrite: bool
) -> tuple[list[Task], list[dict[str, Any]]]:
    """The frames of this shard that are still to be labelled, and the records of those that are complete; what is left over is removed."""
    chosen = [(split, frame_id) for split, part in frames.items() for frame_id in part.ids[:limit]][shard[0] - 1 :: shard[1]]
    numbers = {split: {frame_id: number for number, frame_id in enumerate(part.dataset.ids)} for split, part in frames.items()}
    tasks, records = [], []
    for split, frame_id in chosen:
        if frame_id in frames[split].lacking:
            summary.failed[f"{split}/{frame_id}"] = frames[split].lacking[frame_id]
            log.warning("skipped %s", frames[split].lacking[frame_id])
            continue
        folder = PseudoFolder(job.out, frames[split].dataset, job.labels)
        record = None if overwrite else folder.record(frame_id)
        whole = record is not None and record["settings"] == job.fingerprint
        if record is not None and whole and all(folder.path(kind, frame_id).is_file() for kind in record["kinds"]):
            records.append(record)
        else:
            tasks.append((split, numbers[split][frame_id]))
    for split, part in frames.items():
        mine = [part.dataset.ids[index] for other, index in tasks if other == split]
        PseudoFolder(job.out, part.dataset, job.labels).clean(mine, job.labelling.save)
    summary.kept = len(records)
    return tasks, records


def _warn(record: Mapping[str, Any], said: set[str]) -> None:
    """Tell the first warning of each kind; the records have them all."""
    for warning in record["warnings"]:
        if warning["kind"] not in said:
            said.add(warning["kind"])
            log.warning("%s: %s (said once; the records name the other frames)", record["id"], warning["text"])
