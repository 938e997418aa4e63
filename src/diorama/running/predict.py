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
from diorama.running.predict_checks import BY_THE_MODEL, camera_of, check_kinds, check_second, kinds_of_videos, read_intrinsics, tiles_of
from diorama.running.predict_job import How, Job
from diorama.running.predict_spread import Parts, check_many, check_parts, everywhere, in_many, one_by_one
from diorama.running.predict_targets import clean, divided
from diorama.running.predict_video import Frames
from diorama.running.progress import frames_bar
from diorama.running.spread import Done, Engine, Share
from diorama.stereo.pseudo_folder import alone

__all__ = ["PredictSummary", "next_run_folder", "predict", "read_intrinsics"]

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
    source: str | Path | int,
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
    engine: Engine = "processes",
    workers: int | None = None,
    shard: tuple[int, int] = (1, 1),
    progress: bool = True,
) -> PredictSummary:
    """Predict on every photo, video or sparse depth map of `source`; results go below `out`, the source's folder tree mirrored.

    Args:
        model: a shipped name, a model file or folder, or a loaded `Predictor`.
        source: a photo (for networks that take sparse depth first: a depth map), a video, a folder, a glob pattern, a .txt list of paths,
            or a camera (`0`, `"webcam:0"`), which is read until Ctrl-C.
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
        device: see `diorama.load`; under ray, "cuda" gives each actor a GPU of its own.
        threads: see `diorama.load`; of several processes each has one.
        tiling: how GeoTIFFs are cut into tiles; with a side of tiles, photos are, too, and their results are TIFFs.
        frames: which frames of videos.
        engine: processes of this machine, or a `ray.data` job (extra `ray`), whose machines all see source and `out` under these paths.
        workers: processes, or actors; None: this process alone, or an actor for each device of the cluster.
        shard: (i, n): every n-th file from the i-th on, i from 1: n machines that share `out` divide the work.
        progress: show a progress bar when it takes longer than two seconds.

    Raises:
        DataError: nothing to predict on, `out` is a file, or results exist already and neither `overwrite` nor `resume` is set.
        ConfigError: an unknown kind in `save` or nothing but one that the model lacks, an impossible field of view,
            an impossible depth scale or tile, both of intrinsics and field of view, or what the model, the source or the engine has no
            use for.
        ModelError: the model cannot be loaded.
        WorkerDiedError: one of several processes was ended from outside.
    """
    started = time.monotonic()
    kinds = check_save(DEFAULT_SAVE if save is None else save)
    check_scale(depth_scale)
    check_every(frames.every, frames.most)
    camera: dict[str, Any] = {"intrinsics": camera_of(intrinsics, field_of_view), "field_of_view": field_of_view}
    path, number = Path(str(source)), camera_number(source)
    many = engine == "ray" or (workers or 1) > 1
    check_parts(engine, workers, shard, out, overwrite=overwrite, resume=resume)
    if many:
        check_many(model, engine, device, number)
    folder = _out_folder(out, path)
    how = {"backend": backend, "device": device, "threads": threads}
    predictor = model if isinstance(model, Predictor) else load(model, **_here(how, engine))
    check_kinds(predictor, kinds)
    items = _items(path, number, folder, predictor.inputs[0])
    second = {key: where for key, where in (("image", image), ("sparse_depth", sparse_depth)) if where is not None}
    films = [item.path for item in items if item.is_video or number is not None]
    of_videos = kinds_of_videos(predictor, films, None if save is None else kinds, second)
    ways: dict[Path, How] = dict.fromkeys(films, "video")
    with quiet(item.path for item in items):
        tiles = tiles_of(predictor, (item for item in items if item.path not in ways), kinds, tiling)
    ways |= dict.fromkeys(tiles, "tiles")
    points = {"depth_scale": depth_scale, "calibration": calibration}
    job = Job(folder, kinds, of_videos, second, points, camera, tiling, frames, number)
    check_second(predictor, items, second, calibration, depth_scale)
    items = items[shard[0] - 1 :: shard[1]]
    parts = Parts(engine, workers, Share(threads or 1, gpu=device.startswith("cuda")), {"source": everywhere(model), **how})
    summary = PredictSummary(folder)
    with ExitStack() as stack:
        if many or resume or shard[1] > 1:
            stack.enter_context(alone(folder, f"predict-{shard[0]}-of-{shard[1]}", "the same predictions"))
            clean(items, ways, job)
        left, kept = divided(items, ways, job, predictor, overwrite=overwrite, resume=resume)
        summary.kept = [item.path for item in kept]
        if many:
            stack.callback(clean, left, ways, job)
        total = len(left) if many else sum(_length(item.path, ways, tiles, frames, number) for item in left)
        with frames_bar("predict", total, started, shown=progress) as advance:
            results = in_many(parts, job, left, ways, advance) if many else one_by_one(predictor, job, left, ways, advance)
            _collect(left, results, summary)
    summary.seconds = time.monotonic() - started
    return summary


def _length(path: Path, ways: Mapping[Path, How], tiles: Mapping[Path, int], frames: Frames, number: int | None) -> int:
    """Photos, tiles or frames of a file."""
    if ways.get(path) != "video":
        return tiles.get(path, 1)
    return videos.count_frames(path, frames) if number is None else frames.most or 1


def _collect(items: Sequence[SourceImage], results: Iterable[Done], summary: PredictSummary) -> None:
    """Note what was done; what is wrong with a file is told, and it is skipped."""
    for number, suffixes, why in results:
        item = items[number]
        if suffixes is None:
            summary.failed.append((item.path, why))
            log.warning("skipped %s", why if str(item.path) in why else f"{item.path}: {why}")
        else:
            summary.done.append(item.path)
            summary.made.append((item.stem, _SHARED.setdefault(tuple(suffixes), tuple(suffixes))))


_SHARED: dict[tuple[str, ...], tuple[str, ...]] = {}
"""One tuple for all photos with the same kinds of results."""


def _here(how: Mapping[str, Any], engine: Engine) -> dict[str, Any]:
    """How this process loads the model; where a ray job is begun there may be no GPU."""
    return {**how, "device": "cpu"} if engine == "ray" else dict(how)


def _out_folder(out: str | Path | None, source: Path) -> Path:
    folder = next_run_folder() if out is None else Path(out)
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: a file, not a folder. Choose another --out.")
    if folder.is_dir() and source.is_dir() and folder.samefile(source):
        raise DataError(f"{folder}: the output folder is the source folder. Choose another --out, so that results are not read as photos.")
    return folder


def next_run_folder() -> Path:
    """The first `runs/predict-N` that does not exist, N from 1."""
    number = 1
    while (RUNS / f"predict-{number}").exists():
        number += 1
    return RUNS / f"predict-{number}"


def _items(path: Path, number: int | None, folder: Path, kind: str) -> list[SourceImage]:
    """The files, or the camera of that number under a name of its own."""
    if number is not None:
        return [SourceImage(Path(f"webcam{number}"), PurePath(f"webcam{number}"))]
    return find_images(path, without=folder if _below(folder, path) else None, kind=kind)


def _below(folder: Path, source: Path) -> bool:
    return folder.is_dir() and source.is_dir() and folder.resolve().is_relative_to(source.resolve())
