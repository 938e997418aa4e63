"""`diorama predict`: photos or sparse depth to label maps, depth maps, overlays, point clouds and JSON.

GeoTIFFs of any size become GeoTIFFs, tile by tile; videos become videos. One bad file does not stop the rest. In this process, in
several, in parts on several machines, or on a ray cluster; a run that was broken off goes on with `resume`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diorama.errors import DataError
from diorama.prediction.ground import quiet
from diorama.prediction.inputs import check_scale
from diorama.prediction.mosaic import Tiling
from diorama.prediction.predictor import Predictor, load
from diorama.prediction.result import DEFAULT_SAVE, check_save
from diorama.prediction.sources import SourceImage, camera_number, find_images
from diorama.prediction.video import check_every
from diorama.running import predict_video as videos
from diorama.running.alone import alone
from diorama.running.predict_checks import BY_THE_MODEL, camera_of, check_kinds, check_second, kinds_of_videos, read_intrinsics, tiles_of
from diorama.running.predict_job import Files, How, Job
from diorama.running.predict_spread import ALONE, Parts, everywhere, in_many, one_by_one
from diorama.running.predict_targets import clean, divided
from diorama.running.predict_video import Frames
from diorama.running.progress import frames_bar
from diorama.running.spread import Done

__all__ = ["Parts", "PredictSummary", "next_run_folder", "predict", "read_intrinsics"]

log = logging.getLogger("diorama")

RUNS = Path("runs")
ALL_FRAMES = Frames()


@dataclass
class PredictSummary:
    """What a run of `predict` did."""

    out: Path
    done: list[Path] = field(default_factory=list)
    """Photos that were predicted."""
    kept: list[Path] = field(default_factory=list)
    """Photos all of whose results were there already."""
    failed: list[tuple[Path, str]] = field(default_factory=list)
    """Photos that were skipped and why, a line each."""
    seconds: float = 0.0
    made: list[tuple[PurePath, tuple[str, ...]]] = field(default_factory=list, repr=False)
    """Of each photo of `done` its stem below `out`, and the suffixes of its results."""

    @property
    def written(self) -> list[Path]:
        """The results, in the order in which they were written."""
        return [self.out / f"{stem}{suffix}" for stem, suffixes in self.made for suffix in suffixes]

    @property
    def exit_status(self) -> int:
        """0 if every photo was predicted, 1 if one was skipped."""
        return 1 if self.failed else 0


def predict(
    model: str | Path | Predictor,
    source: str | Path | int | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    image: str | Path | None = None,
    sparse_depth: str | Path | None = None,
    depth_scale: float | None = None,
    calibration: str | Path | None = None,
    save: Iterable[str] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    intrinsics: str | Path | NDArray[np.float64] | None = None,
    field_of_view: float | None = None,
    backend: str = "auto",
    device: str = "cpu",
    threads: int | None = None,
    tiling: Tiling = BY_THE_MODEL,
    frames: Frames = ALL_FRAMES,
    parts: Parts = ALONE,
    progress: bool = True,
) -> PredictSummary:
    """Predict on every photo, video or sparse depth map of `source`; results go below `out`, the source's folder tree mirrored.

    Args:
        model: a shipped name, a model file or folder, or a loaded `Predictor`.
        source: a photo (for networks that take sparse depth first: a depth map), a video, a folder, a glob pattern, a .txt list of paths,
            or several of them; or a camera (`0`, `"webcam:0"`), which is read until Ctrl-C.
        image: photos of the same places, a folder paired by file name or one file; they colour what comes out of sparse depth.
        sparse_depth: points of the same places, likewise, for networks that take both.
        depth_scale: file units of sparse depth to the metre (1000: millimetres); None: what a file records, else 256.
        out: folder of the results; None takes the next free `runs/predict-N`.
        calibration: of raw scans (.bin): the folder of the day, one file, or a folder with one per scan.
        save: any of semantic, depth, json, overlay, ply, panel; None: all but panel, of videos json and overlay.
        overwrite: replace results of an earlier run.
        resume: keep photos all of whose results are there, make the others.
        intrinsics: camera matrix of the photos [px] as an array or a text file of 9 (row by row) or 4 (fx fy cx cy) numbers.
        field_of_view: instead of intrinsics, the angle over the photo's longer side [degrees].
        backend: see `diorama.load`.
        device: see `diorama.load`.
        threads: see `diorama.load`; of several processes each has one.
        tiling: how GeoTIFFs are cut into tiles; with a side of tiles, photos are, too, and their results are TIFFs.
        frames: which frames of videos.
        parts: in which processes, on which machines, and which part of the files.
        progress: show a progress bar when it takes longer than two seconds.

    Raises:
        DataError: nothing to predict on, `out` is a file, or results exist already and neither `overwrite` nor `resume` is set.
        ConfigError: an unknown kind in `save` or nothing but one that the model lacks, an impossible camera, depth scale or tile, or
            what the model, the source or other settings have no use for.
        ModelError: the model cannot be loaded.
        WorkerDiedError: one of several processes was ended from outside.
    """
    second = {key: where for key, where in (("image", image), ("sparse_depth", sparse_depth)) if where is not None}
    points = {"depth_scale": depth_scale, "calibration": calibration}
    camera = {"intrinsics": camera_of(intrinsics, field_of_view), "field_of_view": field_of_view}
    how = {"backend": backend, "device": device, "threads": threads}
    asked = _Asked(model, source, out, second, points, camera, None if save is None else check_save(save), how, tiling, frames, parts)
    return _predicted(asked, overwrite=overwrite, resume=resume, progress=progress)


@dataclass(frozen=True)
class _Asked:
    """What `predict` was given; see there, and `Job`."""

    model: str | Path | Predictor
    source: str | Path | int | Sequence[str | Path]
    out: str | Path | None
    second: dict[str, str | Path]
    points: dict[str, Any]
    camera: dict[str, Any]
    save: list[str] | None
    how: dict[str, Any]
    """Arguments of `load`, but for the model."""
    tiling: Tiling
    frames: Frames
    parts: Parts

    @property
    def sources(self) -> list[Path]:
        """What was named as the source."""
        return [Path(str(one)) for one in (self.source if isinstance(self.source, list | tuple) else (self.source,))]


def _predicted(asked: _Asked, *, overwrite: bool, resume: bool, progress: bool) -> PredictSummary:
    started = time.monotonic()
    check_scale(asked.points["depth_scale"])
    check_every(asked.frames.every, asked.frames.most)
    number, parts = camera_number(asked.source), asked.parts
    parts.check(asked.out, overwrite=overwrite, resume=resume)
    if parts.many:
        parts.check_many(asked.model, asked.how["device"], number)
    folder = _out_folder(asked.out, asked.sources)
    # where a ray job is begun there may be no GPU
    here = {**asked.how, "device": "cpu"} if parts.engine == "ray" else asked.how
    predictor = asked.model if isinstance(asked.model, Predictor) else load(asked.model, **here)
    job, files, tiles = _checked(asked, predictor, folder, number)
    files = files.part(parts.shard)
    summary = PredictSummary(folder)
    with ExitStack() as stack:
        if parts.many or resume or parts.shard[1] > 1:
            stack.enter_context(alone(folder, f"predict-{parts.shard[0]}-of-{parts.shard[1]}", "the same predictions"))
            clean(files, job)
        files, summary.kept = divided(files, job, predictor, overwrite=overwrite, resume=resume)
        if parts.many:
            stack.callback(clean, files, job)
        total = len(files) if parts.many else sum(_length(item.path, files, tiles, job) for item in files.items)
        advance = stack.enter_context(frames_bar("predict", total, started, shown=progress))
        model = {"source": everywhere(asked.model), **asked.how}
        _collect(files, in_many(parts, model, job, files, advance) if parts.many else one_by_one(predictor, job, files, advance), summary)
    summary.seconds = time.monotonic() - started
    return summary


def _checked(asked: _Asked, predictor: Predictor, folder: Path, number: int | None) -> tuple[Job, Files, dict[Path, int]]:
    """What is done, with which files, and of those that go tile by tile how many tiles they have."""
    kinds = check_save(DEFAULT_SAVE) if asked.save is None else asked.save
    check_kinds(predictor, kinds)
    items = _items(asked.sources, number, folder, predictor.inputs[0])
    films = [item.path for item in items if item.is_video or number is not None]
    of_videos = kinds_of_videos(predictor, films, asked.save, asked.second)
    ways: dict[Path, How] = dict.fromkeys(films, "video")
    with quiet(item.path for item in items):
        tiles = tiles_of(predictor, (item for item in items if item.path not in ways), kinds, asked.tiling)
    ways |= dict.fromkeys(tiles, "tiles")
    check_second(predictor, items, asked.second, asked.points["calibration"], asked.points["depth_scale"])
    job = Job(folder, kinds, of_videos, asked.second, asked.points, asked.camera, asked.tiling, asked.frames, number)
    return job, Files(items, ways), tiles


def _length(path: Path, files: Files, tiles: Mapping[Path, int], job: Job) -> int:
    """Photos, tiles or frames of a file."""
    if files.ways.get(path) != "video":
        return tiles.get(path, 1)
    return videos.count_frames(path, job.frames) if job.number is None else job.frames.most or 1


def _collect(files: Files, results: Iterable[Done], summary: PredictSummary) -> None:
    """Note what was done; what is wrong with a file is told, and it is skipped."""
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}  # a million photos have the same kinds of results
    for number, suffixes, why in results:
        item = files.items[number]
        if suffixes is None:
            summary.failed.append((item.path, why))
            log.warning("skipped %s", why if str(item.path) in why else f"{item.path}: {why}")
        else:
            summary.done.append(item.path)
            summary.made.append((item.stem, shared.setdefault(tuple(suffixes), tuple(suffixes))))


def _out_folder(out: str | Path | None, sources: Sequence[Path]) -> Path:
    folder = next_run_folder() if out is None else Path(out)
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: a file, not a folder. Choose another --out.")
    if folder.is_dir() and any(source.is_dir() and folder.samefile(source) for source in sources):
        raise DataError(f"{folder}: the output folder is the source folder. Choose another --out, so that results are not read as photos.")
    return folder


def next_run_folder() -> Path:
    """The first `runs/predict-N` that does not exist, N from 1."""
    number = 1
    while (RUNS / f"predict-{number}").exists():
        number += 1
    return RUNS / f"predict-{number}"


def _items(sources: Sequence[Path], number: int | None, folder: Path, kind: str) -> list[SourceImage]:
    """The files, or the camera of that number under a name of its own."""
    if number is not None:
        return [SourceImage(Path(f"webcam{number}"), PurePath(f"webcam{number}"))]
    without = folder if any(_below(folder, source) for source in sources) else None
    return find_images(sources if len(sources) > 1 else sources[0], without=without, kind=kind)


def _below(folder: Path, source: Path) -> bool:
    return folder.is_dir() and source.is_dir() and folder.resolve().is_relative_to(source.resolve())
