"""Which results of `diorama predict` are there already: what is refused, what is kept, and what a killed process has left.

Folders are listed once each, so that a million photos do not take five million questions to a file system over the net.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from diorama.errors import DataError
from diorama.prediction.predictor import Predictor
from diorama.prediction.result import SUFFIXES
from diorama.prediction.sources import SourceImage
from diorama.running.predict_job import Files, How, Job

_TEMPORARY = re.compile(r"\.(.+)-[a-z0-9_]{8}(\.[a-z0-9]+)")
"""What `data.io.replacing` calls a file before it is whole: its stem and its suffix."""
_OF_A_FRAME = re.compile(rf"\d{{6}}({'|'.join(re.escape(suffix) for suffix in SUFFIXES.values())})")
_SAME = ("name", "method", "data")
"""What two results have to say alike of their models to be of one run."""


class Listing:
    """Which files there are; each folder is read once."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}

    def __contains__(self, path: str) -> bool:
        folder, name = os.path.split(path)
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(os.listdir(folder or "."))  # noqa: PTH208 (names, not paths: there may be millions)
            except OSError:
                self._names[folder] = frozenset()
        return name in self._names[folder]


def divided(files: Files, job: Job, predictor: Predictor, *, overwrite: bool, resume: bool) -> tuple[Files, list[Path]]:
    """The files to predict on, and with `resume` those of which all results are there.

    Refused before the first one, so that no run stops half-way over a file that was there before.

    Raises:
        DataError: a result would replace a source; results exist and neither `overwrite` nor `resume` is set; those that would be kept
            are of another model.
    """
    if not job.out.is_dir():
        return files, []
    there = Listing()
    taken: list[str] = []
    kept: list[SourceImage] = []
    left: list[SourceImage] = []
    for item in files.items:
        how = files.how(item)
        stem, suffixes = os.path.join(job.out, item.stem), job.suffixes(how)  # noqa: PTH118 (five paths each, of a million)
        taken += [path for suffix in dict.fromkeys(suffixes.values()) if (path := f"{stem}{suffix}") in there]
        (kept if resume and _whole(stem, suffixes, how, predictor, there) else left).append(item)
    if taken:
        _check_sources(files.items, taken)
    if taken and not overwrite and not resume:
        more = f" and {len(taken) - 1} more exist" if len(taken) > 1 else " exists"
        raise DataError(f"{taken[0]}{more} already. Pass --overwrite, --resume to make what is missing, or choose another --out.")
    if kept and "json" in job.suffixes(files.how(kept[0])):
        _check_model(job.out / f"{kept[0].stem}.json", predictor)
    return Files(left, files.ways), [item.path for item in kept]


def _whole(stem: str, suffixes: Mapping[str, str], how: How, predictor: Predictor, there: Listing) -> bool:
    """Whether all results of a file are there; of a folder with a file per frame only the JSON beside it, written last, tells."""
    lacks = {"semantic": predictor.labels is None, "depth": predictor.depth_cap is None, "ply": predictor.depth_cap is None}
    if how == "video":
        return ("json" in suffixes or "" not in suffixes.values()) and all(f"{stem}{suffix}" in there for suffix in suffixes.values())
    return all(f"{stem}{suffix}" in there for kind, suffix in suffixes.items() if not lacks.get(kind))


def _check_sources(items: Iterable[SourceImage], taken: Iterable[str]) -> None:
    folders: dict[str, str] = {}

    def real(path: str) -> str:
        """As `os.path.realpath`, which would ask for every folder of every path."""
        folder, name = os.path.split(os.path.abspath(path))  # noqa: PTH100 (resolve() asks, too)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        return os.path.realpath(path) if os.path.islink(path) else os.path.join(folders[folder], name)  # noqa: PTH114, PTH118

    sources = {real(str(item.path)) for item in items}
    for path in taken:
        if real(path) in sources:
            raise DataError(f"{path}: a result would replace this photo. Choose another --out.")


def _check_model(path: Path, predictor: Predictor) -> None:
    try:
        made_by = json.loads(path.read_text(encoding="utf-8"))["model"]
        differs = [key for key in _SAME if made_by.get(key) != predictor.described[key]]
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise DataError(f"{path}: not what predict writes ({type(error).__name__}). Remove it, or choose another --out.") from error
    if differs:
        old, new = made_by.get(differs[0]), predictor.described[differs[0]]
        raise DataError(f"{path}: made by a model of {differs[0]} {old}, not {new}. Choose another --out, or renew all with --overwrite.")


def clean(files: Files, job: Job) -> int:
    """Remove what killed processes left of these files: temporary ones beside their results. Returns how many."""
    found: dict[str, list[str]] = {}
    of_frames: list[str] = []
    seen: set[str] = set()
    for folder, stem, how in _places(files, job):
        if folder not in seen:
            seen.add(folder)
            for path, name in _temporaries(folder):
                found.setdefault(os.path.join(folder, name), []).append(path)  # noqa: PTH118
        if how == "video":
            of_frames += [path for path, name in _temporaries(stem) if _OF_A_FRAME.fullmatch(name)]
    if found:
        for _, stem, how in _places(files, job):
            for suffix in job.suffixes(how).values():
                of_frames += found.pop(f"{stem}{suffix}", [])
    for path in of_frames:
        Path(path).unlink(missing_ok=True)
    return len(of_frames)


def _places(files: Files, job: Job) -> Iterator[tuple[str, str, How]]:
    """Folder of the results of each file, their path without suffix, and how they are made."""
    for item in files.items:
        stem = os.path.join(job.out, item.stem)  # noqa: PTH118
        yield os.path.dirname(stem), stem, files.how(item)  # noqa: PTH120


def _temporaries(folder: str) -> list[tuple[str, str]]:
    """(path, name that it was to get) of temporary files in a folder."""
    try:
        names = os.listdir(folder)  # noqa: PTH208
    except OSError:
        return []
    matched = ((name, _TEMPORARY.fullmatch(name)) for name in names if name.startswith("."))
    return [(os.path.join(folder, name), f"{match[1]}{match[2]}") for name, match in matched if match]  # noqa: PTH118
