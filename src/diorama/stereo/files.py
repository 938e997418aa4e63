"""Disparity files: 16-bit PNG on the scale of KITTI or Cityscapes, PFM and NPY, one by one or as a folder. NumPy and OpenCV only.

| encoding | a PNG holds | unknown |
|---|---|---|
| kitti | disparity [px] * 256 | 0 |
| cityscapes | disparity [px] * 256 + 1 | 0 |
| a number | disparity [px] * that number (Middlebury 2003: 4), 8-bit files too, for reading | 0 |

PFM and NPY hold pixels as floats; there 0, negative, infinite and NaN are unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from diorama.data import io
from diorama.data.disparity import disparity_of_png
from diorama.errors import ConfigError, DataError, ShapeError
from diorama.stereo.consistency import Fill, Pair, checked, known_only, other_view

F32 = NDArray[np.float32]
Encoding = Literal["kitti", "cityscapes"]

SUFFIXES = (".png", ".pgm", ".pfm", ".npy")
_UNITS = 256
_LEAST = {"kitti": 1, "cityscapes": 2}  # the first value of a file that means more than 0 pixels
_LAST = 65535


def read_disparity(path: str | Path, encoding: Encoding | float = "kitti") -> F32:
    """`(H, W)` disparity [px], 0 = unknown.

    Raises:
        DataError: missing, damaged, 8-bit without a number as `encoding`, not `(H, W)`, or without one known value.
        ConfigError: an unknown encoding.
    """
    path = Path(path)
    _check_encoding(encoding)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path}: no disparity file. Give one of {', '.join(SUFFIXES)}.")
    if suffix in (".pfm", ".npy"):
        values: NDArray[Any] = io.read_pfm(path) if suffix == ".pfm" else io.read_npy(path)
        if not np.issubdtype(values.dtype, np.floating):
            raise DataError(f"{path}: values of type {values.dtype}, expected pixels. Save disparity as float32.")
    else:
        values = _decoded(path, encoding)
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    if values.ndim != 2:
        raise DataError(f"{path}: disparity of shape {values.shape}, expected (H, W). Save one channel.")
    disparity = known_only(values)
    if not disparity.any():
        negative = " All of it is negative: save the disparity, not the flow." if values.size and (values < 0).any() else ""
        raise DataError(f"{path}: not one known disparity (above 0 and below the width).{negative} Take the pair out, or match it again.")
    return disparity


def _decoded(path: Path, encoding: Encoding | float) -> NDArray[np.floating[Any]]:
    stored = io.read_labels(path)
    if not isinstance(encoding, str):
        return stored / np.float64(encoding)
    if stored.dtype != np.uint16:
        raise DataError(
            f"{path}: 8-bit disparity, expected 16-bit ({encoding}: disparity * 256{' + 1' if encoding == 'cityscapes' else ''}). "
            "Save it as 16-bit PNG, or pass its scale as a number if 8 bits are meant (Middlebury 2003: 4)."
        )
    return disparity_of_png(stored, encoding)


def write_disparity(path: str | Path, disparity: F32, encoding: Encoding = "kitti") -> int:
    """Store `(H, W)` disparity [px], 0 = unknown, as PNG in `encoding`, PFM or NPY, by suffix; returns how many pixels were clipped.

    A PNG has steps of 1/256 px and ends at 256 px; a known disparity never turns into "unknown".

    Raises:
        ShapeError: not `(H, W)`.
        DataError: NaN, infinite or negative values, an unknown suffix, or the folder cannot be written.
        ConfigError: an unknown encoding.
    """
    path = Path(path)
    _check_encoding(encoding)
    if disparity.ndim != 2:
        raise ShapeError(f"{path}: disparity of shape {disparity.shape}, expected (H, W). Save one view at a time.")
    if disparity.size and not (disparity.min() >= 0 and disparity.max() < np.inf):
        raise DataError(f"{path}: disparity with NaN, infinite or negative values. Unknown disparity is 0: replace them before saving.")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        io.write_npy(path, disparity.astype(np.float32))
    elif suffix == ".pfm":
        io.write_pfm(path, disparity.astype(np.float32))
    elif suffix == ".png":
        known = disparity > 0
        units = np.rint(disparity * np.float32(_UNITS)) + np.float32(encoding == "cityscapes")
        stored = np.where(known, units.clip(_LEAST[encoding], _LAST), np.float32(0))
        io.write_label_png(path, stored.astype(np.uint16), bits=16, smooth=True)
        return int((known & (stored != units)).sum())
    else:
        raise DataError(f"{path}: disparity is not written as '{suffix}'. Choose .png, .pfm or .npy.")
    return 0


def _check_encoding(encoding: Encoding | float) -> None:
    if isinstance(encoding, str) and encoding not in _LEAST:
        raise ConfigError(f"disparity encoding '{encoding}'. Choose kitti, cityscapes, or a number that the values are divided by.")
    if not isinstance(encoding, str) and not encoding > 0:
        raise ConfigError(f"disparity scale {encoding}. Choose a positive number.")


class DisparityFolder:
    """The disparity of another matcher, found by the stem of the left image anywhere below a folder.

    With subfolders `left` and `right` of equal stems both views are taken from there; otherwise all files are left views and the right
    one is what they mean for it (`other_view`).

    Args:
        root: the folder.
        encoding: how its PNG files are to be read.

    Raises:
        DataError: no such folder, no disparity file in it, or two files of one stem.
    """

    def __init__(self, root: str | Path, encoding: Encoding | float = "kitti") -> None:
        _check_encoding(encoding)
        self.root, self.encoding = Path(root), encoding
        both = (self.root / "left").is_dir() and (self.root / "right").is_dir()
        self._left = _by_stem(self.root / "left" if both else self.root)
        self._right = _by_stem(self.root / "right") if both else {}

    @property
    def ids(self) -> list[str]:
        """Stems that have a left view."""
        return sorted(self._left)

    def belongs(self, stem: str, frame_id: str) -> bool:
        """Whether the folders that the left view of this stem lies in are not those of another frame, see `of_frame`."""
        return of_frame(self._left[stem].relative_to(self.root).parent.parts[bool(self._right) :], frame_id)

    def pair(self, stem: str, shape: tuple[int, int], tolerance: float = 1.0, fill: Fill = "missing") -> Pair:
        """Both views of the pair whose left image `(H, W)` of `shape` has this stem, checked against each other.

        Raises:
            DataError: no file of that stem, a right one missing, or what `read_disparity` refuses.
            ShapeError: a file is not as large as the image.
        """
        wanted = [self._left] + ([self._right] if self._right else [])
        views = []
        for side, files in zip(("left", "right"), wanted, strict=False):
            if stem not in files:
                raise DataError(f"{self.root}: no {side} disparity '{stem}'. Match that pair, or leave it out.")
            disparity = read_disparity(files[stem], self.encoding)
            if disparity.shape != tuple(shape):
                found, own = (f"{size[1]}x{size[0]}" for size in (disparity.shape, shape))
                raise ShapeError(f"{files[stem]}: disparity {found}, image {own}. Match the images at their own size.")
            views.append(disparity)
        return checked(views[0], views[1] if len(views) == 2 else other_view(views[0]), tolerance, fill)


def of_frame(folders: Sequence[str], frame_id: str) -> bool:
    """Whether a file with the name of a frame is that frame's: the folders of one are, in their order, among those of the other.

    Drives number their frames alike: `drive_2/0003.png` is no file of the frame `drive_1/0003`, but `0003.png` may be one.
    """
    own = frame_id.split("/")[:-1]
    return _among(folders, own) or _among(own, folders)


def _among(some: Sequence[str], others: Sequence[str]) -> bool:
    rest = iter(others)
    return all(one in rest for one in some)


def _by_stem(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder. Point at the folder with the disparity files.")
    found: dict[str, Path] = {}
    for path in sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")):
        if path.stem in found:
            raise DataError(f"{path}: the same name as {found[path.stem]}. Keep one file per left image.")
        found[path.stem] = path
    if not found:
        raise DataError(f"{root}: no disparity file ({', '.join(SUFFIXES)}). Point at the folder with the disparity files.")
    return found
