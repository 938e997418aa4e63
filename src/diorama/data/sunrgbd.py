"""SUN RGB-D: 10,335 frames of four depth cameras with 37 classes.

Two layouts are read as they are:

- the official one: `SUNRGBD/SENSOR/.../FRAME/{image/*.jpg, depth_bfx/*.png, depth/*.png, intrinsics.txt}` and `SUNRGBDtoolbox/`
  (`traintestSUNRGBD/allsplit.mat`, `Metadata/SUNRGBDMeta.mat`, `Metadata/SUNRGBD2Dseg.mat`: h5py). A frame's labels are taken from
  `label/label.npy` in its folder where that is there (it spares the 2D file, which is slow to open);
- the flattened one: `image/{train,test}/img-NNNNNN.jpg`, `depth/{train,test}/NNNNNNNN.png` (metres * 10000),
  `label37/{train,test}/img37labels-NNNNNN.png`; it has no intrinsics.

Official depth PNGs hold millimetres turned left by three bits: metres = (v >> 3 | v << 13) / 1000 in 16 bits. Nothing is capped
(the toolbox caps at 8 m). Labels 1..37 become train ids 0..36, 0 is void.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from diorama.data import io
from diorama.data.base import LeftOut, SceneDataset
from diorama.data.folder import read_camera
from diorama.data.labels import SUN37, SUN37_IDS, convert
from diorama.data.matlab import open_hdf5
from diorama.data.matlab_cells import read_strings
from diorama.errors import ConfigError, DataError
from diorama.types import Frame

_TOOLBOX = "SUNRGBDtoolbox"
_SPLIT_FILE, _META_FILE, _LABEL_FILE = "traintestSUNRGBD/allsplit.mat", "Metadata/SUNRGBDMeta.mat", "Metadata/SUNRGBD2Dseg.mat"
_FLAT_SCALE = 10000.0


def unrotated(stored: NDArray[np.uint16]) -> NDArray[np.float32]:
    """`(H, W)` depth [m] of the official 16-bit values: (v >> 3 | v << 13) / 1000; 0 stays unknown."""
    millimetres = (stored >> np.uint16(3)) | (stored << np.uint16(13))
    return (millimetres / np.float64(1000)).astype(np.float32)


class SunRGBD(SceneDataset):
    """SUN RGB-D frames: image, semantic (37 classes), depth [m], and intrinsics in the official layout.

    Args:
        root: the folder with `SUNRGBD/` and `SUNRGBDtoolbox/`, or with `image/`, `depth/` and `label37/`.
        split: `train` (5,285 frames), `test` (5,050); `val` is about a tenth of train, rooms kept together, `train_minus_val` the rest.
        depth: `bfx` (in-painted, what papers report on) or `raw` (0 = unknown); official layout only.
    """

    name: ClassVar[str] = "sunrgbd"
    title: ClassVar[str] = "SUN RGB-D"
    citation: ClassVar[str] = "Song, Lichtenberg, Xiao: SUN RGB-D: A RGB-D Scene Understanding Benchmark Suite, CVPR 2015"
    terms: ClassVar[str] = "research use; cite the paper and the four sets it is made from"
    splits: ClassVar[tuple[str, ...]] = ("train", "test", "val", "train_minus_val")
    derived_splits: ClassVar[frozenset[str]] = frozenset({"val", "train_minus_val"})
    depth_cap: ClassVar[float] = 10.0
    offers: ClassVar[frozenset[str]] = frozenset({"image", "semantic", "depth", "intrinsics"})
    root_hint: ClassVar[str] = "SUNRGBD/ + SUNRGBDtoolbox/, or {image, depth, label37}/{train, test}"
    root: Path

    def __init__(self, root: str | Path, split: str = "train", depth: Literal["bfx", "raw"] = "bfx") -> None:
        self.root, self.split, self.depth = Path(root), split, depth
        self._check_split()
        if depth not in ("bfx", "raw"):
            raise ConfigError(f"sunrgbd: depth='{depth}'. Choose 'bfx' or 'raw'.")
        self.labels = SUN37
        self._flat = (self.root / "label37").is_dir()
        if self._flat and depth == "raw":
            raise ConfigError("sunrgbd: the flattened layout has in-painted depth only. Choose depth='bfx'.")
        self.provides = self.offers - {"intrinsics"} if self._flat else self.offers
        self._part = "test" if split == "test" else "train"
        self._handle: tuple[int, Any] | None = None
        self._numbers: dict[str, int] = {}
        listed = self._flat_ids() if self._flat else self._official_ids()
        if split in ("val", "train_minus_val"):
            listed = [frame_id for frame_id in listed if _held_out(frame_id) == (split == "val")]
        self.ids = sorted(frame_id for frame_id in listed if self._complete(frame_id))
        self._lacking = sorted(set(listed) - set(self.ids))
        if not self.ids:
            raise DataError(f"{self.root}: none of {len(listed)} {split} frames is there. Unpack {self.root_hint}.")

    def files(self) -> Iterable[Path]:
        """The image, depth and label files of the split."""
        if self._flat:
            return [path for frame_id in self.ids for path in self._flat_paths(frame_id)]
        own = [path for frame_id in self.ids for path in self._official_paths(frame_id)]
        return [*own, self.root / _TOOLBOX / _LABEL_FILE]

    def check(self) -> list[str]:
        """How many frames of the list are not there."""
        if not self._lacking:
            return []
        return [LeftOut(f"{self.root}: {len(self._lacking)} frames lack a file (first: {self._lacking[0]}) and are left out. Unpack them.")]

    def frame(self, index: int) -> Frame:
        """Frame number `index`: image, semantic, depth, meta (and intrinsics) at native size, which differs between the cameras.

        Raises:
            DataError: a file is missing or damaged, a label is above 37, or the sizes differ.
        """
        frame_id = self.ids[index]
        frame: Frame = {}
        if self._flat:
            photo, depth, label = self._flat_paths(frame_id)
            frame["depth"] = io.read_depth(depth, _FLAT_SCALE)
            ids = io.read_labels(label)
        else:
            photo, depth, camera = self._official_paths(frame_id)
            stored = io.read_labels(depth)
            if stored.dtype != np.uint16:
                raise DataError(f"{depth}: 8-bit depth, expected 16-bit. Unpack the official archive again.")
            frame["depth"] = unrotated(stored)
            frame["intrinsics"] = read_camera(camera)[0]
            ids, label = self._official_labels(frame_id)
        if ids.size and ids.max() > len(SUN37):
            raise DataError(f"{label}: label id {ids.max()}, expected 1..37 and 0 = void. Use the 37-class labels.")
        frame["image"] = io.read_image(photo)
        frame["semantic"] = convert(ids.astype(np.uint8), SUN37_IDS)
        frame["meta"] = {"id": frame_id, "path": str(photo), "split": self.split}
        self._check_sizes(frame, frame_id)
        return frame

    def _complete(self, frame_id: str) -> bool:
        try:
            return all(path.is_file() for path in (self._flat_paths(frame_id) if self._flat else self._official_paths(frame_id)))
        except DataError:
            return False

    # the flattened layout: one number names the three files

    def _flat_ids(self) -> list[str]:
        folder = self.root / "label37" / self._part
        found = (re.search(r"(\d+)$", path.stem) for path in folder.glob("*.png"))
        ids = [f"{int(match.group(1)):06d}" for match in found if match]
        if not ids:
            raise DataError(f"{folder}: no label maps. sunrgbd needs {self.root_hint}.")
        return ids

    def _flat_paths(self, frame_id: str) -> tuple[Path, ...]:
        names = {"image": f"img-{frame_id}.jpg", "depth": f"{int(frame_id):08d}.png", "label37": f"img37labels-{frame_id}.png"}
        return tuple(self.root / folder / self._part / name for folder, name in names.items())

    # the official layout: a folder names the frame

    def _official_ids(self) -> list[str]:
        path = self.root / _TOOLBOX / _SPLIT_FILE
        if not path.is_file():
            raise DataError(f"{path}: missing. Unpack SUNRGBDtoolbox.zip there; sunrgbd needs {self.root_hint}.")
        return [_frame_id(text) for text in read_strings(path, "alltest" if self._part == "test" else "alltrain")]

    def _official_paths(self, frame_id: str) -> tuple[Path, ...]:
        folder = self.root / "SUNRGBD" / frame_id
        depths = "depth_bfx" if self.depth == "bfx" else "depth"
        return _only(folder / "image", ".jpg"), _only(folder / depths, ".png"), folder / "intrinsics.txt"

    def _official_labels(self, frame_id: str) -> tuple[NDArray[Any], Path]:
        own = self.root / "SUNRGBD" / frame_id / "label" / "label.npy"
        if own.is_file():
            return io.read_npy(own), own
        path, meta = self.root / _TOOLBOX / _LABEL_FILE, self.root / _TOOLBOX / _META_FILE
        if not self._numbers:
            texts = read_strings(meta, "SUNRGBDMeta", "rgbpath")
            self._numbers = {_frame_id(text.rpartition("/image/")[0]): number for number, text in enumerate(texts)}
        if frame_id not in self._numbers:
            raise DataError(f"{meta}: no frame {frame_id}. Use the files of one release of SUNRGBDtoolbox.")
        # an HDF5 handle must not be shared with forked workers: each process opens its own
        if self._handle is None or self._handle[0] != os.getpid():
            self._handle = (os.getpid(), open_hdf5(path))
        file = self._handle[1]
        try:
            return np.asarray(file[file["SUNRGBD2Dseg/seglabel"][self._numbers[frame_id], 0]][()]).T, path
        except (KeyError, OSError, ValueError, IndexError) as error:
            raise DataError(f"{path}: no labels of frame {frame_id}. Download SUNRGBDtoolbox.zip again.") from error

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None}


def _frame_id(path: str) -> str:
    """`.../SUNRGBD/kv1/NYUdata/NYU0001` of the authors' disk -> `kv1/NYUdata/NYU0001`."""
    return "/".join(part for part in path.rpartition("SUNRGBD/")[2].split("/") if part)


def _only(folder: Path, suffix: str) -> Path:
    """The one file of a folder.

    Raises:
        DataError: there is none.
    """
    found = sorted(folder.glob(f"*{suffix}")) if folder.is_dir() else []
    if not found:
        raise DataError(f"{folder}: no {suffix} file. Unpack SUNRGBD.zip again.")
    return found[0]


def _held_out(frame_id: str) -> bool:
    """Whether a training frame is kept for validation: by a hash of its room where the path names one, else of the frame."""
    parts = frame_id.split("/")
    room = "/".join(parts[:-1]) if len(parts) > 3 else frame_id
    return int(hashlib.sha256(f"sunrgbd val {room}".encode()).hexdigest()[:8], 16) % 10 == 0
