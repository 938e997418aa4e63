"""NYU Depth v2, labelled set: 1449 rooms with 40 (or 13) classes and Kinect depth.

Two layouts are read as they are:

- the official download: `nyu_depth_v2_labeled.mat` (HDF5: images, depths, rawDepths, labels with 894 raw classes) and
  `splits.mat`, with `classMapping40.mat` (894 -> 40 classes) or `labels40.mat` beside them;
- plain folders `{train,test}/{image,depth,semantic40}`: depth 16-bit PNG [mm], semantic40 ids 1..40 with 0 = void; optional
  `semantic13` (official 13-class maps) and `depth_raw`.

File ids are the 0-based index in the labelled file, four digits, in both layouts.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from diorama.data import io
from diorama.data.base import SceneDataset
from diorama.data.labels import NYU13, NYU13_IDS, NYU40, NYU40_IDS, NYU40_TO_NYU13, convert
from diorama.data.matlab import open_hdf5, read_mat
from diorama.errors import ConfigError, DataError
from diorama.types import Frame

LABELLED_FILE = "nyu_depth_v2_labeled.mat"
INTRINSICS_640X480 = (518.857901, 519.469611, 325.582449, 253.736166)
"""fx, fy, cx, cy [px] of the RGB camera in the official toolbox (camera_params.m), pixel centres at integers."""

_MAPPING_HINT = (
    "the labels in it have 894 raw classes. Put `classMapping40.mat` (array mapClass, 894 -> 40; Gupta et al., CVPR 2013, "
    "e.g. in the repository ankurhanda/nyuv2-meta-data) beside it."
)


def intrinsics(height: int, width: int) -> NDArray[np.float64]:
    """`(3, 3)` camera matrix [px] of the RGB images resized to height x width (cx' = s cx + (s - 1) / 2)."""
    fx, fy, cx, cy = INTRINSICS_640X480
    sx, sy = width / 640, height / 480
    return np.array([[sx * fx, 0.0, sx * cx + (sx - 1) / 2], [0.0, sy * fy, sy * cy + (sy - 1) / 2], [0.0, 0.0, 1.0]])


def held_out(ids: list[str], fraction: float = 0.1) -> list[str]:
    """About a tenth of the training ids for validation, whole runs of neighbouring ids (one room is filmed in a run).

    The choice is a pure function of the ids (runs ordered by a hash), the same on every machine.
    """
    runs: list[list[str]] = []
    for frame_id in sorted(ids, key=int):
        if runs and int(frame_id) == int(runs[-1][-1]) + 1:
            runs[-1].append(frame_id)
        else:
            runs.append([frame_id])
    runs.sort(key=lambda run: hashlib.sha256(f"nyuv2 val {run[0]}".encode()).hexdigest())
    wanted = round(fraction * len(ids))
    chosen: list[str] = []
    for run in runs:
        if len(chosen) + len(run) <= wanted:
            chosen += run
    return sorted(chosen)


class NYUv2(SceneDataset):
    """NYU Depth v2 labelled frames: image, semantic (40 or 13 classes), depth [m], intrinsics.

    Args:
        root: folder with the official files or the plain folders (see the module), or the .mat file itself.
        split: `train` (795 frames), `test` (654); `val` is a tenth of train, `train_minus_val` the rest of it.
        classes: 40, or 13 (official 13-class maps where the folder has them, else converted from the 40).
        depth: `filled` (in-painted, what joint papers train and report on) or `raw` (0 = unknown).
    """

    name: ClassVar[str] = "nyuv2"
    title: ClassVar[str] = "NYU Depth v2, labelled"
    citation: ClassVar[str] = "Silberman, Hoiem, Kohli, Fergus: Indoor Segmentation and Support Inference from RGBD Images, ECCV 2012"
    terms: ClassVar[str] = "research use; cite the paper"
    splits: ClassVar[tuple[str, ...]] = ("train", "test", "val", "train_minus_val")
    depth_cap: ClassVar[float] = 10.0
    offers: ClassVar[frozenset[str]] = frozenset({"image", "semantic", "depth", "intrinsics"})
    root_hint: ClassVar[str] = f"{LABELLED_FILE} + splits.mat + classMapping40.mat, or {{train,test}}/{{image,depth,semantic40}}"
    derived_splits: ClassVar[frozenset[str]] = frozenset({"val", "train_minus_val"})

    root: Path

    def __init__(self, root: str | Path, split: str = "train", classes: int = 40, depth: Literal["filled", "raw"] = "filled") -> None:
        self.root, self.split, self.classes, self.depth = Path(root), split, classes, depth
        self._check_split()
        if classes not in (40, 13):
            raise ConfigError(f"nyuv2: classes={classes}. Choose 40 or 13.")
        if depth not in ("filled", "raw"):
            raise ConfigError(f"nyuv2: depth='{depth}'. Choose 'filled' or 'raw'.")
        self.labels = NYU40 if classes == 40 else NYU13
        self.provides = self.offers
        self._mat = next((path for path in (self.root, self.root / LABELLED_FILE) if path.suffix == ".mat" and path.is_file()), None)
        self._folder = self.root / ("test" if split == "test" else "train")
        ids = self._mat_ids(self._mat) if self._mat else self._folder_ids()
        if split in ("val", "train_minus_val"):
            val = set(held_out(ids))
            ids = [frame_id for frame_id in ids if (frame_id in val) == (split == "val")]
        self.ids = ids
        self._handle: tuple[int, Any] | None = None
        self._tables: dict[str, NDArray[Any]] = {}

    def files(self) -> Iterable[Path]:
        """The .mat files, or the image, depth and label files of the split."""
        if self._mat:
            return [path for path in sorted(self._mat.parent.glob("*.mat")) if path.is_file()]
        return [path for frame_id in self.ids for path in self._paths(frame_id).values()]

    def check(self) -> list[str]:
        """Files that a frame of this split lacks."""
        missing = [path for path in self.files() if not path.is_file()]
        return [f"{path}: missing. Copy it, or remove the frame's other files." for path in missing]

    def frame(self, index: int) -> Frame:
        """Frame number `index`: image, semantic, depth, intrinsics, meta at native size.

        Raises:
            DataError: a file is missing or damaged, or the three differ in size.
        """
        frame_id = self.ids[index]
        frame = self._mat_frame(self._mat, int(frame_id)) if self._mat else self._folder_frame(frame_id)
        self._check_sizes(frame, frame_id)
        height, width = frame["image"].shape[:2]
        frame["intrinsics"] = intrinsics(height, width)
        return frame

    def _folder_ids(self) -> list[str]:
        if not self.root.is_dir():
            raise DataError(f"{self.root}: no such folder. Point --data.root at the folder with train/ and test/ or with {LABELLED_FILE}.")
        images = self._folder / "image"
        ids = sorted(path.stem for path in images.glob("*") if path.suffix in io.IMAGE_SUFFIXES) if images.is_dir() else []
        if not ids:
            raise DataError(f"{images}: no images. nyuv2 needs {LABELLED_FILE} + splits.mat, or {{train,test}}/{{image,depth,semantic40}}.")
        if not all(frame_id.isdecimal() for frame_id in ids):
            odd = next(frame_id for frame_id in ids if not frame_id.isdecimal())
            raise DataError(f"{images}: '{odd}' is no index of the labelled file. Name the files 0000..1448, or use data.name=folder.")
        return ids

    def _paths(self, frame_id: str) -> dict[str, Path]:
        official13 = self.classes == 13 and (self._folder / "semantic13").is_dir()
        jpeg = self._folder / "image" / f"{frame_id}.jpg"
        return {
            "image": jpeg if jpeg.is_file() else jpeg.with_suffix(".png"),
            "depth": self._folder / ("depth" if self.depth == "filled" else "depth_raw") / f"{frame_id}.png",
            "semantic": self._folder / ("semantic13" if official13 else "semantic40") / f"{frame_id}.png",
        }

    def _folder_frame(self, frame_id: str) -> Frame:
        paths = self._paths(frame_id)
        ids = io.read_labels(paths["semantic"])
        if paths["semantic"].parent.name == "semantic13":
            semantic = self._train_ids(ids, 13, paths["semantic"])
        else:
            semantic = self._train_ids(ids, 40, paths["semantic"])
            semantic = convert(semantic, NYU40_TO_NYU13) if self.classes == 13 else semantic
        return {
            "image": io.read_image(paths["image"]),
            "depth": io.read_depth(paths["depth"], scale=1000.0),
            "semantic": semantic,
            "meta": {"id": frame_id, "path": str(paths["image"]), "split": self.split},
        }

    def _train_ids(self, ids: NDArray[Any], highest: int, where: str | Path) -> NDArray[np.uint8]:
        if ids.size and ids.max() > highest:
            raise DataError(f"{where}: label id {ids.max()}, expected 1..{highest} and 0 = void. Choose the {highest}-class maps.")
        return convert(ids.astype(np.uint8), NYU40_IDS if highest == 40 else NYU13_IDS)

    def _mat_ids(self, mat: Path) -> list[str]:
        splits = mat.parent / "splits.mat"
        if not splits.is_file():
            raise DataError(f"{splits}: missing. Put the official splits.mat (trainNdxs, testNdxs) beside {mat.name}.")
        numbers = read_mat(splits, "testNdxs" if self.split == "test" else "trainNdxs").ravel()
        return [f"{int(number) - 1:04d}" for number in sorted(numbers)]

    def _open(self, mat: Path) -> Any:
        # An HDF5 handle must not be shared with forked workers: each process opens its own.
        if self._handle is None or self._handle[0] != os.getpid():
            self._handle = (os.getpid(), open_hdf5(mat))
        return self._handle[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None}

    def _mat_frame(self, mat: Path, number: int) -> Frame:
        file = self._open(mat)
        key = "depths" if self.depth == "filled" else "rawDepths"
        lacking = [name for name in ("images", "labels", key) if name not in file]
        if lacking:
            raise DataError(f"{mat}: no array '{lacking[0]}'. Download the official labelled file again.")
        if number >= len(file["images"]):
            raise DataError(f"{mat}: {len(file['images'])} frames, but splits.mat names frame {number + 1}. Use the files of one release.")
        try:
            image, depth, raw = (file[name][number] for name in ("images", key, "labels"))
        except OSError as error:
            raise DataError(f"{mat}: frame {number} is damaged. Download the file again.") from error
        semantic = self._train_ids(self._to_40(mat, raw.T, number), 40, mat)
        return {
            "image": np.ascontiguousarray(image.transpose(2, 1, 0)),
            "depth": io.check_depth(np.ascontiguousarray(depth.T, np.float32), f"{mat} frame {number}"),
            "semantic": convert(semantic, NYU40_TO_NYU13) if self.classes == 13 else semantic,
            "meta": {"id": f"{number:04d}", "path": str(mat), "split": self.split},
        }

    def _to_40(self, mat: Path, raw: NDArray[Any], number: int) -> NDArray[Any]:
        """Raw labels `(H, W)` 0..894 -> NYU40 ids 0..40, by the mapping file or the ready maps beside the .mat."""
        mapping, ready = mat.parent / "classMapping40.mat", mat.parent / "labels40.mat"
        if mapping.is_file():
            if "mapClass" not in self._tables:
                self._tables["mapClass"] = np.concatenate([[0], read_mat(mapping, "mapClass").ravel()]).astype(np.uint8)
            table = self._tables["mapClass"]
            if raw.max() >= len(table):
                raise DataError(f"{mapping}: maps {len(table) - 1} classes, the labels have {raw.max()}. Use the official mapping of 894.")
            return np.asarray(table[raw])
        if ready.is_file():
            if "labels40" not in self._tables:
                self._tables["labels40"] = read_mat(ready, "labels40")
            return np.asarray(self._tables["labels40"][..., number])
        raise DataError(f"{mat}: {_MAPPING_HINT}")
