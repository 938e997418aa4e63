"""Result files for the KITTI depth servers: written so that they are accepted, and checked before anybody uploads them.

The servers take a zip with one 16-bit grey PNG per test image in its root, metres * 256, 0 = no value, named by the number of the image:
0000000000.png to 0000000999.png for completion, to 0000000499.png for prediction from one image.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from numpy.typing import NDArray

from diorama.data.io import read_depth, replacing, write_depth_png
from diorama.errors import ConfigError, DataError, suggest

SCALE = 256.0
LARGEST = 500_000_000
"""Bytes that the servers take, all files of the zip together."""

PLAUSIBLE = (1.0, 100.0)
"""Median depth [m] of a street; outside of it the file was probably stored with another scale."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_NAMED = 3


@dataclass(frozen=True)
class Kind:
    """What a server expects."""

    title: str
    files: int
    size: tuple[int, int]
    """Height and width [px]."""

    @property
    def names(self) -> list[str]:
        """File names in the root of the zip."""
        return [f"{number:010d}.png" for number in range(self.files)]


KINDS = {
    "kitti_depth_completion": Kind("KITTI depth completion", 1000, (352, 1216)),
    "kitti_depth_prediction": Kind("KITTI single image depth prediction", 500, (352, 1216)),
}


@dataclass(frozen=True)
class Written:
    """What a submission holds."""

    path: Path
    files: int
    clipped: int
    """Pixels outside what the files can hold (1/256 m to 255.996 m), set to the nearest value."""


def kind_of(name: str) -> Kind:
    """The kind of submission called `name`.

    Raises:
        ConfigError: there is none.
    """
    if name not in KINDS:
        raise ConfigError(f"unknown submission '{name}': {suggest(name, KINDS)}")
    return KINDS[name]


def write_submission(path: str | Path, kind: str, depths: Iterable[tuple[str, NDArray[np.float32]]]) -> Written:
    """Write the predicted depths as a submission; nothing is left behind if one of them is not acceptable.

    Args:
        path: the zip to write.
        kind: one of `KINDS`.
        depths: (stem or file name of the test image, `(H, W)` depth [m]) for each test image, in any order.

    Raises:
        DataError: a depth of another size, not finite or not above 0, an unknown or repeated name, or images that are missing.
    """
    rules, path = kind_of(kind), Path(path)
    if path.suffix.lower() != ".zip":
        raise DataError(f"{path}: a submission is a zip. Choose a name that ends with .zip.")
    left, clipped = set(rules.names), 0
    with replacing(path) as temporary, tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:  # PNG is compressed already
            for stem, depth in depths:
                name = f"{stem.removesuffix('.png')}.png"
                if name not in left:
                    what = "is there twice" if name in rules.names else f"is no test image of {rules.title}"
                    raise DataError(f"{name} {what}. Pass each of {rules.names[0]} to {rules.names[-1]} once.")
                _require_depth(name, depth, rules)
                file = Path(folder) / name
                clipped += write_depth_png(file, depth, SCALE)
                archive.write(file, name)
                file.unlink()
                left.remove(name)
        if left:
            raise DataError(f"{path}: {_listed(sorted(left))} missing of {rules.files}. Predict every test image.")
    return Written(path, rules.files, clipped)


def _require_depth(name: str, depth: NDArray[np.float32], rules: Kind) -> None:
    if depth.shape != rules.size:
        raise DataError(f"{name}: depth of shape {depth.shape}, expected {rules.size}. Predict at the size of the test image.")
    if not np.isfinite(depth).all() or not (depth > 0).all():
        wrong = int((~np.isfinite(depth) | ~(depth > 0)).sum())
        raise DataError(f"{name}: {_counted(wrong, 'pixel')} not finite or not above 0 m. A submission needs a depth everywhere.")


def validate_submission(path: str | Path, kind: str, known: str | Path | None = None) -> list[str]:
    """What the server would refuse or misread, a sentence each that names the file; empty if all is well.

    Args:
        path: the zip, or a folder with what would be zipped.
        kind: one of `KINDS`.
        known: folder with depth PNGs of the same names (the sparse input, or the truth of another split). With it only pixels known there
            must have a depth, without it every pixel must.

    Raises:
        ConfigError: the kind is unknown.
    """
    rules, path = kind_of(kind), Path(path)
    try:
        with _opened(path) as files:
            return [*_wrong_names(files, rules), *_wrong_bytes(files), *_wrong_files(files, rules, Path(known) if known else None)]
    except DataError as error:
        return [str(error)]


class _Files:
    """Names and bytes of a folder or a zip alike."""

    def __init__(self, path: Path, archive: zipfile.ZipFile | None) -> None:
        self._path, self._archive = path, archive
        if archive is None:
            self.sizes = {file.relative_to(path).as_posix(): file.stat().st_size for file in sorted(path.rglob("*")) if file.is_file()}
            self.repeated: list[str] = []
        else:
            members = [member for member in archive.infolist() if not member.is_dir()]
            self.sizes = {member.filename: member.file_size for member in members}
            names = [member.filename for member in members]
            self.repeated = sorted({name for name in names if names.count(name) > 1}) if len(names) > len(self.sizes) else []

    def open(self, name: str) -> IO[bytes]:
        """The file called `name`, for reading."""
        return self._archive.open(name) if self._archive else (self._path / name).open("rb")


@contextmanager
def _opened(path: Path) -> Iterator[_Files]:
    if path.is_dir():
        yield _Files(path, None)
        return
    if not path.is_file():
        raise DataError(f"{path}: no such file or folder. Check the path.")
    try:
        with zipfile.ZipFile(path) as archive:
            yield _Files(path, archive)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{path}: no zip that can be read ({error}). Zip the PNG files again, without a password.") from error


def _wrong_names(files: _Files, rules: Kind) -> Iterator[str]:
    nested = sorted(name for name in files.sizes if "/" in name and PurePosixPath(name).name in rules.names)
    missing = sorted(set(rules.names) - set(files.sizes) - {PurePosixPath(name).name for name in nested})
    others = sorted(set(files.sizes) - set(rules.names) - set(nested))
    if nested:
        yield f"{_listed(nested)} in a folder of the zip. Zip the files themselves: they belong into its root."
    if missing:
        yield f"{_listed(missing)} missing of {rules.files}. Predict every test image."
    if others:
        yield f"{_listed(others)} not expected ({rules.names[0]} to {rules.names[-1]}). Take it out."
    if files.repeated:
        yield f"{_listed(files.repeated)} in the zip more than once. Zip the files again."


def _wrong_bytes(files: _Files) -> Iterator[str]:
    total = sum(files.sizes.values())
    if total > LARGEST:
        yield f"{total / 1e6:.0f} MB, the server takes {LARGEST / 1e6:.0f} MB. Store the PNG files with more compression."


def _wrong_files(files: _Files, rules: Kind, known: Path | None) -> Iterator[str]:
    expected = set(rules.names)
    with tempfile.TemporaryDirectory() as folder:
        for name in sorted(files.sizes):
            if PurePosixPath(name).name in expected:
                yield from _wrong_file(files, name, rules, Path(folder) / "file.png", known)


def _wrong_file(files: _Files, name: str, rules: Kind, copy: Path, known: Path | None) -> Iterator[str]:
    most = 4 * rules.size[0] * rules.size[1]  # no 16-bit PNG of this size is as large: never unpack what only claims to be one
    if files.sizes[name] > most:
        yield f"{name}: {files.sizes[name]} bytes, far above a 16-bit PNG of {_size(rules.size)}. Store it again."
        return
    try:
        with files.open(name) as source:
            content = source.read(most + 1)
        if not content.startswith(_SIGNATURE):
            raise DataError(f"{name}: no PNG file. Store it as 16-bit PNG.")
        copy.write_bytes(content)
        depth = read_depth(copy, SCALE)
        reference = read_depth(known / PurePosixPath(name).name, SCALE) if known else None
    except DataError as error:
        yield str(error).replace(str(copy), name)
        return
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
        yield f"{name}: cannot be unpacked ({error}). Zip the files again, without a password."
        return
    if depth.shape != rules.size:
        yield f"{name}: {_size(depth.shape)}, expected {_size(rules.size)} (height x width). Predict at the size of the test image."
        return
    if reference is not None and reference.shape != depth.shape:
        yield f"{name}: the known depth is {_size(reference.shape)}. Pass the folder that belongs to this submission."
        return
    yield from _wrong_depth(name, depth, reference)


def _wrong_depth(name: str, depth: NDArray[np.float32], reference: NDArray[np.float32] | None) -> Iterator[str]:
    empty = (depth <= 0) if reference is None else (depth <= 0) & (reference > 0)
    if empty.any():
        where = "" if reference is None else " where it is known"
        count = _counted(int(empty.sum()), "pixel")
        yield f"{name}: {count} without a depth (0){where}. The server would invent it: predict one everywhere."
    if (depth > 0).any():
        middle = float(np.median(depth[depth > 0]))
        if not PLAUSIBLE[0] <= middle <= PLAUSIBLE[1]:
            yield f"{name}: median depth {middle:.4g} m. Store metres * 256, and check that the unit is metres."
    full = int((depth >= 65535 / SCALE).sum())
    if full:
        count, most = _counted(full, "pixel"), 65535 / SCALE
        yield f"{name}: {count} at the largest value a file can hold ({most:.1f} m). Clip the prediction to what is seen."


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    return f"{', '.join(names[:_NAMED])}{f' and {more} more' if more > 0 else ''}: {_counted(len(names), 'file')}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"


def _size(size: tuple[int, ...]) -> str:
    return f"{size[0]}x{size[1]}"
