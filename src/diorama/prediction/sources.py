"""What a user points at (a photo, a video, a folder, a pattern, a list) as an ordered list of files with their place in the output tree."""

from __future__ import annotations

import glob
import logging
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from diorama.errors import DataError

log = logging.getLogger("diorama")

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
DEPTH_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".npy", ".pfm", ".bin"})
VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".gif"})
_SUFFIXES = {"image": IMAGE_SUFFIXES | VIDEO_SUFFIXES, "sparse_depth": DEPTH_SUFFIXES}
"""What a network takes -> the files it may come in."""
_MAX_LISTED = 1_000_000
_CAMERAS_OWN = frozenset({".heic", ".heif", ".avif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw"})
"""Photos that nothing here decodes."""


@dataclass(frozen=True)
class SourceImage:
    """One image to predict on."""

    path: Path
    stem: PurePath
    """Output files are OUT/`stem`.semantic.png and so on: the source's own tree, mirrored."""

    @property
    def is_video(self) -> bool:
        """Whether it is a video, by its suffix."""
        return is_video(self.path)


def is_video(path: Path) -> bool:
    """Whether a file is a video, by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def camera_number(source: object) -> int | None:
    """The number of the camera that `source` names (`0`, `"0"`, `"webcam:0"`, `"webcam"`); None if it names none, or a file."""
    if isinstance(source, int) and not isinstance(source, bool):
        return source if source >= 0 else None
    if not isinstance(source, str) or (named := re.fullmatch(r"(?:webcam:?)?(\d{0,3})", source)) is None or Path(source).exists():
        return None
    return int(named[1] or 0) if source else None


def is_address(source: object) -> bool:
    """Whether `source` is an address on the net rather than a path."""
    return isinstance(source, str | Path) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(source)) is not None


def find_images(source: str | Path | Sequence[str | Path], *, without: Path | None = None, kind: str = "image") -> list[SourceImage]:
    """The images and videos, or depth maps, that `source` stands for, in order, each with its place in the mirrored tree.

    A folder is searched with all its subfolders, sorted by path, hidden files left out. A list (.txt) keeps its order; its paths are
    relative to the list's folder. Two images of one folder that differ only in their suffix keep it in their stem
    (`a.jpg`, `a.png` -> `a.jpg.semantic.png`, `a.png.semantic.png`), so that neither overwrites the other.

    Args:
        source: a file, a folder, a glob pattern (`**` included) or a .txt list with one path per line; or several of them.
        kind: what a file has to be, "image" or "sparse_depth".
        without: a folder to leave out, the output folder of an earlier run inside the source.

    Raises:
        DataError: nothing is there, or it is of a kind that cannot be predicted on.
    """
    if not isinstance(source, str | Path):
        several = [item.path for one in source for item in find_images(one, without=without, kind=kind)]
        return _with_stems(several, _common_folder(several))
    text, path, suffixes = str(source), Path(source), _SUFFIXES[kind]
    what = "image" if kind == "image" else "depth map"
    if is_address(source):
        raise DataError(f"{text}: addresses are opened by `diorama predict` alone. Download the file and give its path.")
    if path.is_dir():
        files, root = _in_folder(path, suffixes), path
        if not files:
            raise DataError(f"{path}: no {what} in this folder or below ({_kinds(suffixes)}). Give a folder with {what}s.")
    elif path.is_file():
        if path.suffix.lower() == ".txt":
            files = _listed(path, suffixes)
            root = _common_folder(files)
        else:
            _check_kind(path, suffixes)
            files, root = [path], path.parent
    elif glob.has_magic(text):
        files = sorted(Path(hit) for hit in glob.iglob(text, recursive=True) if _is_kind(Path(hit), suffixes))  # noqa: PTH207 (absolute patterns)
        if not files:
            raise DataError(f"{text}: the pattern matches no {what} ({_kinds(suffixes)}). Quote it, and check it with `ls`.")
        root = _common_folder(files)
    else:
        raise DataError(
            f"{text}: no such file or folder. Give {'an' if kind == 'image' else 'a'} {what}, a folder, a pattern in quotes or a .txt list."
        )
    if without is not None:
        left = [file for file in files if not _inside(file, without)]
        if not left:
            raise DataError(f"{text}: every {what} lies in the output folder {without}. Choose another output folder.")
        files = left
    return _with_stems(files, root)


def _with_stems(files: list[Path], root: Path) -> list[SourceImage]:
    names = [PurePath(os.path.relpath(_absolute(file), _absolute(root))) for file in files]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{twice[0]}: listed {names.count(twice[0])} times. Remove the repeated lines.")
    # Lower case, because two stems that differ in case are one file on macOS and Windows.
    counts = Counter(str(name.with_suffix("")).lower() for name in names)
    return [
        SourceImage(file, name if counts[str(name.with_suffix("")).lower()] > 1 else name.with_suffix(""))
        for file, name in zip(files, names, strict=True)
    ]


def partner(item: SourceImage, where: str | Path, kind: str = "image") -> Path:
    """The file that belongs to `item`: `where` itself, or the one in the folder `where` that has its place in the tree and its name.

    Of a KITTI pair `..._velodyne_raw_...` and `..._image_...` count as one name.

    Args:
        item: what it belongs to.
        where: a file or a folder.
        kind: what it has to be, "image" or "sparse_depth"; others of the same name, and `item` itself, are passed over.

    Raises:
        DataError: there is none.
    """
    where = Path(where)
    if where.is_file():
        return where
    place, own = where / item.stem.parent, _absolute(item.path)
    stem = item.stem.name
    names = {stem, item.path.stem, stem.replace("velodyne_raw", "image"), stem.replace("_image_", "_velodyne_raw_", 1)}
    there = place.iterdir() if place.is_dir() else ()
    suffixes = _SUFFIXES[kind] - VIDEO_SUFFIXES
    found = sorted(path for path in there if path.stem in names and _is_kind(path, suffixes) and _absolute(path) != own)
    if not found:
        what = "photo" if kind == "image" else "depth map"
        raise DataError(
            f"{item.path}: no {what} called {item.stem.name} in {place}. Give a folder with one file of the same name for each."
        )
    return found[0]


def _in_folder(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    found: list[Path] = []
    others: Counter[str] = Counter()
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(where) / name for name in names if not name.startswith(".") and _is_kind(Path(name), suffixes)]
        others.update(suffix for name in names if (suffix := Path(name).suffix.lower()) in _CAMERAS_OWN)
    if others:
        log.warning("%s: %d files left out (%s). Convert them to JPEG or PNG first", folder, others.total(), " ".join(sorted(others)))
    return sorted(found)


def _listed(path: Path, suffixes: frozenset[str]) -> list[Path]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file. A list has one image path per line, UTF-8.") from error
    files = [path.parent / line for line in lines if line and not line.startswith("#")]
    if not files:
        raise DataError(f"{path}: the list is empty. Write one image path per line.")
    if len(files) > _MAX_LISTED:
        raise DataError(f"{path}: {len(files)} lines. Split the list into parts of at most {_MAX_LISTED}.")
    for file in files:
        _check_kind(file, suffixes)
    return files


def _common_folder(files: list[Path]) -> Path:
    try:
        return Path(os.path.commonpath([_absolute(file.parent) for file in files]))
    except ValueError as error:
        raise DataError(f"{files[0]} and {files[-1]} lie on different drives. Predict on each drive by itself.") from error


def _absolute(path: Path) -> str:
    # Not resolve(): a link to a photo elsewhere keeps its place in the tree.
    return os.path.abspath(path)  # noqa: PTH100


def _check_kind(path: Path, suffixes: frozenset[str]) -> None:
    suffix = path.suffix.lower()
    if suffix in suffixes:
        return
    if suffix in VIDEO_SUFFIXES:
        raise DataError(f"{path}: a video, but the model takes sparse depth. Choose a model of photos (`diorama methods`).")
    if suffix in _CAMERAS_OWN:
        raise DataError(f"{path}: {suffix} is not read. Convert it to JPEG or PNG first, e.g. by `magick {path.name} {path.stem}.jpg`.")
    what = "image" if suffixes is _SUFFIXES["image"] else "depth"
    raise DataError(f"{path}: '{suffix or path.name}' is no {what} kind. Give one of {_kinds(suffixes)}, a folder or a .txt list.")


def _is_kind(path: Path, suffixes: frozenset[str]) -> bool:
    return path.suffix.lower() in suffixes


def _inside(file: Path, folder: Path) -> bool:
    return file.resolve().is_relative_to(folder.resolve())


def _kinds(suffixes: frozenset[str]) -> str:
    return " ".join(sorted(suffix[1:] for suffix in suffixes))
