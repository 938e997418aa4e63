"""`diorama predict`: photos or sparse depth to label maps, depth maps, overlays, point clouds and JSON.

GeoTIFFs of any size become GeoTIFFs, tile by tile; videos become videos. One bad file does not stop the rest.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diorama.errors import ConfigError, DataError, UserError
from diorama.prediction import mosaic
from diorama.prediction.ground import quiet
from diorama.prediction.inputs import check_scale
from diorama.prediction.mosaic import Tiling
from diorama.prediction.pointcloud import intrinsics_from_field_of_view
from diorama.prediction.predictor import Predictor, load
from diorama.prediction.result import DEFAULT_SAVE, SUFFIXES, check_save
from diorama.prediction.sources import SourceImage, camera_number, find_images, partner
from diorama.prediction.stream import require_photos
from diorama.prediction.video import check_every
from diorama.running import predict_video as videos
from diorama.running.predict_video import Frames
from diorama.running.progress import frames_bar

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

log = logging.getLogger("diorama")

RUNS = Path("runs")
BY_THE_MODEL = Tiling()
"""Tiles as large as the model was trained at, of GeoTIFFs alone."""
ALL_FRAMES = Frames()
_FLAGS = {"image": "--image", "sparse_depth": "--sparse-depth", "calibration": "--calibration"}


@dataclass
class PredictSummary:
    """What a run of `predict` did."""

    out: Path
    done: list[Path] = field(default_factory=list)
    """Photos that were predicted."""
    written: list[Path] = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)
    """Photos that were skipped and why, a line each."""
    seconds: float = 0.0

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
    intrinsics: str | Path | NDArray[np.float64] | None = None,
    field_of_view: float | None = None,
    backend: str = "auto",
    device: str = "cpu",
    threads: int | None = None,
    tiling: Tiling = BY_THE_MODEL,
    frames: Frames = ALL_FRAMES,
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
        intrinsics: camera matrix of the photos [px] as an array or a text file of 9 (row by row) or 4 (fx fy cx cy) numbers.
        field_of_view: instead of intrinsics, the angle over the photo's longer side [degrees].
        backend: see `diorama.load`.
        device: see `diorama.load`.
        threads: see `diorama.load`.
        tiling: how GeoTIFFs are cut into tiles; with a side of tiles, photos are, too, and their results are TIFFs.
        frames: which frames of videos.
        progress: show a progress bar when it takes longer than two seconds.

    Raises:
        DataError: nothing to predict on, `out` is a file, or results exist already and `overwrite` is not set.
        ConfigError: an unknown kind in `save` or nothing but one that the model lacks, an impossible field of view,
            an impossible depth scale or tile, both of intrinsics and field of view, or what the model or the source has no use for.
        ModelError: the model cannot be loaded.
    """
    started = time.monotonic()
    kinds = check_save(DEFAULT_SAVE if save is None else save)
    check_scale(depth_scale)
    check_every(frames.every, frames.most)
    camera: dict[str, Any] = {"intrinsics": _camera(intrinsics, field_of_view), "field_of_view": field_of_view}
    path, number = Path(str(source)), camera_number(source)
    folder = _out_folder(out, path)
    predictor = model if isinstance(model, Predictor) else load(model, backend=backend, device=device, threads=threads)  # type: ignore[arg-type]
    _check_kinds(predictor, kinds)
    items = _items(path, number, folder, predictor.inputs[0])
    second = {key: where for key, where in (("image", image), ("sparse_depth", sparse_depth)) if where is not None}
    films = _films(predictor, items, number, None if save is None else kinds, second)
    with quiet(item.path for item in items):
        tiled = _tiled(predictor, [item for item in items if item.path not in films], kinds, tiling)
    targets = _targets(items, folder, kinds, tiled, overwrite=overwrite, films=films)
    _check_second(predictor, items, second, calibration, depth_scale)
    points = {"depth_scale": depth_scale, "calibration": calibration}
    job = _Job(predictor, folder, kinds, second, points, camera, targets, tiled, films, tiling, frames, number)
    parts = tiled | {path: frames.most or 1 if number is not None else videos.count_frames(path, frames) for path in films}
    bar = frames_bar("predict", sum(parts.get(item.path, 1) for item in items), started, shown=progress)
    return _each(items, job.one, PredictSummary(folder), bar, started)


@dataclass(frozen=True)
class _Job:
    """What is done with each file."""

    predictor: Predictor
    out: Path
    kinds: list[str]
    second: dict[str, str | Path]
    points: dict[str, Any]
    camera: dict[str, Any]
    targets: dict[Path, dict[str, Path]]
    tiled: Container[Path]
    films: dict[Path, list[str]]
    tiling: Tiling
    frames: Frames
    number: int | None
    """Of the camera, if it is one."""

    def one(self, item: SourceImage, advance: Callable[[str], None]) -> list[Path]:
        """Predict on `item`, and write."""
        if item.path in self.films:
            origin, kinds = item.path if self.number is None else self.number, self.films[item.path]
            return videos.predict_video(self.predictor, origin, self.out, str(item.stem), kinds, self.frames, self.camera, advance)
        name = item.path.name
        if item.path in self.tiled:
            with quiet([item.path]):
                return mosaic.predict_mosaic(self.predictor, item.path, self.targets[item.path], self.tiling, partial(advance, name))
        others: dict[str, Any] = {key: partner(item, where, key) for key, where in self.second.items()}
        written = self.predictor.scene(item.path, **others, **self.points, **self.camera).save(self.out, str(item.stem), self.kinds)
        advance(name)
        return written


def _each(
    items: list[SourceImage],
    one: Callable[[SourceImage, Callable[[str], None]], list[Path]],
    summary: PredictSummary,
    bar: AbstractContextManager[Callable[[str], None]],
    started: float,
) -> PredictSummary:
    """Do one after the other; what is wrong with one is told, and it is skipped."""
    with bar as advance:
        for item in items:
            try:
                summary.written += one(item, advance)
                summary.done.append(item.path)
            except UserError as error:
                summary.failed.append((item.path, str(error)))
                log.warning("skipped %s", error if str(item.path) in str(error) else f"{item.path}: {error}")
                advance(item.path.name)
    summary.seconds = time.monotonic() - started
    return summary


def _camera(intrinsics: str | Path | NDArray[np.float64] | None, field_of_view: float | None) -> NDArray[np.float64] | None:
    if field_of_view is not None:
        if intrinsics is not None:
            raise ConfigError("both intrinsics and a field of view are given. Give one of them.")
        intrinsics_from_field_of_view(1, 1, field_of_view)  # a wrong angle is not the fault of any photo
    return read_intrinsics(intrinsics) if isinstance(intrinsics, str | Path) else intrinsics


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


def read_intrinsics(path: str | Path) -> NDArray[np.float64]:
    """The `(3, 3)` camera matrix [px] in a text file of 9 numbers row by row, or of fx fy cx cy.

    Raises:
        DataError: the file is missing or holds something else.
    """
    try:
        numbers = np.array(Path(path).read_text(encoding="utf-8").replace(",", " ").split(), np.float64)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Give a text file with the camera matrix.") from error
    except ValueError as error:
        raise DataError(f"{path}: not numbers only. Write 9 numbers row by row, or fx fy cx cy, in pixels.") from error
    if numbers.size == 4:
        fx, fy, cx, cy = numbers
        numbers = np.array([fx, 0, cx, 0, fy, cy, 0, 0, 1])
    if numbers.size != 9 or not np.isfinite(numbers).all() or min(numbers[0], numbers[4]) <= 0:
        raise DataError(f"{path}: not a camera matrix. Write 9 numbers row by row, or fx fy cx cy, in pixels.")
    return numbers.reshape(3, 3)


def _items(path: Path, number: int | None, folder: Path, kind: str) -> list[SourceImage]:
    """The files, or the camera of that number under a name of its own."""
    if number is not None:
        return [SourceImage(Path(f"webcam{number}"), PurePath(f"webcam{number}"))]
    return find_images(path, without=folder if _below(folder, path) else None, kind=kind)


def _films(
    predictor: Predictor, items: list[SourceImage], number: int | None, kinds: Sequence[str] | None, second: dict[str, str | Path]
) -> dict[Path, list[str]]:
    """The videos, or the camera of that number, and what is saved of each."""
    found = [item.path for item in items if item.is_video or number is not None]
    for path in found:
        require_photos(str(path), predictor.inputs[0], second)
    saved = [kind for kind in (videos.DEFAULT_SAVE if kinds is None else kinds) if kind != "panel"]
    if found and not saved:
        raise ConfigError(f"{found[0]}: of a video there is no panel. Save overlay, a video with photo, classes and depth side by side.")
    return dict.fromkeys(found, saved)


def _tiled(predictor: Predictor, items: list[SourceImage], kinds: list[str], tiling: Tiling) -> dict[Path, int]:
    """The images that are predicted tile by tile, with the number of their tiles."""
    if predictor.inputs != ("image",):
        if tiling != BY_THE_MODEL:
            raise ConfigError(f"{predictor.name} does not take photos alone, so nothing is tiled. Leave out --tile, --halo and the like.")
        return {}
    found = [item.path for item in items if tiling.tile is not None or mosaic.is_mosaic(item.path)]
    if not found:
        if tiling != BY_THE_MODEL:
            raise ConfigError("no image is a GeoTIFF, so nothing would be tiled. Pass --tile, the side of a tile, or leave out the rest.")
        return {}
    if not set(kinds) & mosaic.SUFFIXES.keys():
        raise ConfigError(f"{found[0]}: tile by tile there is no {' or '.join(kinds)}. Choose among {', '.join(mosaic.SUFFIXES)}.")
    tiling.plan((2**14, 2**14), predictor)  # a wrong tile is not the fault of any image
    return {path: mosaic.count_tiles(path, predictor, tiling) for path in found}


def _targets(
    items: list[SourceImage],
    out: Path,
    kinds: list[str],
    tiled: Container[Path],
    *,
    overwrite: bool,
    films: Mapping[Path, Sequence[str]],
) -> dict[Path, dict[str, Path]]:
    """What is written of each image; refused before the first one, so that no run stops half-way over a file that was there before."""
    targets: dict[Path, dict[str, Path]] = {}
    for item in items:
        if item.path in films:  # kinds with a file per frame: their folder
            targets[item.path] = {kind: out / f"{item.stem}{videos.SUFFIXES.get(kind, '')}" for kind in films[item.path]}
            continue
        suffixes = mosaic.SUFFIXES if item.path in tiled else SUFFIXES
        targets[item.path] = {kind: out / f"{item.stem}{suffixes[kind]}" for kind in kinds if kind in suffixes}
    sources = {path.resolve() for path in targets}
    existing = [target for some in targets.values() for target in some.values() if target.exists()]
    for target in existing:
        if target.resolve() in sources:
            raise DataError(f"{target}: a result would replace this photo. Choose another --out.")
    if existing and not overwrite:
        more = f" and {len(existing) - 1} more exist" if len(existing) > 1 else " exists"
        raise DataError(f"{existing[0]}{more} already. Pass --overwrite, or choose another --out.")
    return targets


def _check_kinds(predictor: Predictor, kinds: list[str]) -> None:
    """Return if the network says something of scenes, and not only what is not to be saved."""
    predictor.require_scenes()
    if kinds == ["semantic"] and predictor.labels is None:
        raise ConfigError(f"{predictor.name} predicts no semantics to save. Choose among depth, json, overlay, ply and panel.")


def _check_second(
    predictor: Predictor, items: list[SourceImage], second: dict[str, str | Path], calibration: str | Path | None, scale: float | None
) -> None:
    """Refuse what nobody would look at: it would seem to have been used."""
    if scale is not None:
        _check_scaled(predictor, items, second)
    first = predictor.inputs[0]
    if first in second:
        flag = _FLAGS[first]
        raise ConfigError(
            f"{predictor.name} takes its {first.replace('_', ' ')} as the source. Leave out {flag}, or predict on {second[first]}."
        )
    if "sparse_depth" in second and "sparse_depth" not in predictor.inputs:
        raise ConfigError(f"{predictor.name} takes no sparse depth. Leave out --sparse-depth, or choose a completion (`diorama methods`).")
    for key, where in (*second.items(), ("calibration", calibration)):
        if where is not None and not Path(where).exists():
            raise DataError(f"{where}: no such file or folder. Check the path after {_FLAGS[key]}.")
    if calibration is None or "sparse_depth" in second:
        return
    if not any(item.path.suffix.lower() == ".bin" for item in items):
        raise ConfigError("--calibration is for raw scans (.bin), and there are none. Leave it out, or predict on the scans.")


def _check_scaled(predictor: Predictor, items: list[SourceImage], second: dict[str, str | Path]) -> None:
    if "sparse_depth" not in predictor.inputs:
        raise ConfigError(f"{predictor.name} takes no sparse depth. Leave out --depth-scale, or choose a completion (`diorama methods`).")
    if "sparse_depth" not in second and all(item.path.suffix.lower() in (".bin", ".pfm") for item in items):
        raise ConfigError("--depth-scale is for whole numbers (16-bit PNG), and there are none: scans and PFM hold metres. Leave it out.")


def _below(folder: Path, source: Path) -> bool:
    return folder.is_dir() and source.is_dir() and folder.resolve().is_relative_to(source.resolve())
