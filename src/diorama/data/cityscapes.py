"""Cityscapes in its official layout: `TYPE/SPLIT/CITY/CITY_SEQ_FRAME_TYPE.png` for each of these types.

`leftImg8bit`, `rightImg8bit`, `gtFine` (labelIds; `gtCoarse` for train_extra), `disparity` (16-bit), `camera` (JSON).
A disparity file holds 0 = unknown, else p = disparity * 256 + 1; depth = baseline * fx / disparity with the camera of that image.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from diorama.data import io
from diorama.data.base import LeftOut, SceneDataset
from diorama.data.crop import cut, extent
from diorama.data.disparity import depth_from_disparity, disparity_of_png
from diorama.data.labels import CITYSCAPES7, CITYSCAPES19, CITYSCAPES34_TO_7, CITYSCAPES34_TO_19, LabelSet, convert
from diorama.errors import ConfigError, DataError
from diorama.types import IGNORE, Frame

KEYS = {
    "image": ("leftImg8bit",),
    "right": ("rightImg8bit",),
    "semantic": ("gtFine",),
    "disparity": ("disparity",),
    "depth": ("disparity", "camera"),
    "intrinsics": ("camera",),
    "baseline": ("camera",),
}
"""Key of a frame -> the folders it is made from."""

_ENDINGS = {
    "leftImg8bit": "leftImg8bit.png",
    "rightImg8bit": "rightImg8bit.png",
    "gtFine": "gtFine_labelIds.png",
    "gtCoarse": "gtCoarse_labelIds.png",
    "disparity": "disparity.png",
    "camera": "camera.json",
}
_LAST_LABEL_ID = 33


def read_disparity(path: str | Path) -> NDArray[np.float32]:
    """`(H, W)` disparity [px] of an official disparity PNG: (p - 1) / 256 where p > 0; 0 = unknown.

    Raises:
        DataError: the file is missing, damaged or not 16-bit.
    """
    stored = io.read_labels(path)
    if stored.dtype != np.uint16:
        raise DataError(f"{path}: 8-bit disparity, expected 16-bit (disparity * 256 + 1). Use the official disparity package.")
    return disparity_of_png(stored, "cityscapes")


def read_camera(path: str | Path) -> tuple[NDArray[np.float64], float]:
    """`(3, 3)` camera matrix [px] and baseline [m] of an official camera JSON.

    Raises:
        DataError: the file is missing, no JSON, or lacks a value.
    """
    try:
        camera = json.loads(Path(path).read_text())
        inside = camera["intrinsic"]
        fx, fy, cx, cy = (float(inside[name]) for name in ("fx", "fy", "u0", "v0"))
        baseline = float(camera["extrinsic"]["baseline"])
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Unpack the official camera package.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: no Cityscapes camera file ({type(error).__name__}: {error}). Unpack the official camera package."
        ) from error
    if fx <= 0 or fy <= 0 or baseline <= 0:
        raise DataError(f"{path}: focal length or baseline is not positive. Unpack the official camera package.")
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]), baseline


def read_label_ids(path: str | Path, classes: int, files: str, called: str = "Cityscapes ids") -> NDArray[np.uint8]:
    """`(H, W)` train ids of the 19 classes or the 7 categories, 255 = ignore, of a map of Cityscapes' label ids.

    Args:
        path: 0..33; license plates are -1, which an 8-bit file holds as 255.
        classes: 19 or 7.
        files: where such maps lie, for an error.
        called: what the data set calls the ids, for an error.

    Raises:
        DataError: the file is missing or damaged, or holds another id.
    """
    ids = io.read_labels(path)
    wrong = ids[(ids > _LAST_LABEL_ID) & (ids != IGNORE)]
    if wrong.size:
        raise DataError(f"{path}: label id {wrong.max()}, expected {called} 0..{_LAST_LABEL_ID}. Use {files}.")
    return convert(ids.astype(np.uint8), CITYSCAPES34_TO_19 if classes == 19 else CITYSCAPES34_TO_7)


class Cityscapes(SceneDataset):
    """Cityscapes frames with the keys that are asked for; frames without one of these files are left out.

    Args:
        root: the folder that holds `leftImg8bit/` and its siblings.
        split: `train`, `val`, `test` or `train_extra` (coarse labels).
        classes: 19 (the evaluated classes) or 7 (categories).
        keys: what a frame holds, out of image, right, semantic, disparity, depth, intrinsics, baseline.
        rows: first row and the one after the last that are kept, e.g. [0, 768] without the bonnet of the car; None: all.
    """

    name: ClassVar[str] = "cityscapes"
    title: ClassVar[str] = "Cityscapes"
    citation: ClassVar[str] = "Cordts et al.: The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016"
    terms: ClassVar[str] = "non-commercial, no redistribution; register at cityscapes-dataset.com"
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test", "train_extra")
    depth_cap: ClassVar[float] = 80.0
    offers: ClassVar[frozenset[str]] = frozenset(KEYS)
    root_hint: ClassVar[str] = "{leftImg8bit, rightImg8bit, gtFine, disparity, camera}/{train, val, test}/CITY"
    root: Path

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        classes: int = 19,
        keys: Sequence[str] = ("image", "semantic", "depth", "intrinsics", "baseline"),
        rows: tuple[int, int] | None = None,
    ) -> None:
        self.root, self.split, self.classes, self.keys = Path(root), split, classes, tuple(keys)
        self._check_split()
        if classes not in (19, 7):
            raise ConfigError(f"cityscapes: classes={classes}. Choose 19 or 7.")
        if rows is not None and (len(rows) != 2 or not 0 <= rows[0] < rows[1]):
            raise ConfigError(f"cityscapes: rows={list(rows)}. Give the first row and the one after the last, e.g. [0, 768].")
        self.rows = None if rows is None else (int(rows[0]), int(rows[1]))
        if self.rows is not None:
            kept = f"rows {self.rows[0]} to {self.rows[1] - 1}"
            self.truth = f"fine labels; depth = baseline * fx / disparity with each image's camera file; {kept}"
        self._check_keys(self.keys, KEYS)
        self.provides = frozenset(self.keys)
        self.labels = self.vocabulary if "semantic" in self.keys else None
        folders = {folder for key in self.keys for folder in KEYS[key]}
        self._folders = sorted(folder.replace("gtFine", self._label_folder) for folder in folders)
        found = {folder: self._ids_of(folder) for folder in self._folders}
        self.ids = sorted(set.intersection(*found.values()))
        self._left_out = {folder: sorted(set.union(*found.values()) - ids) for folder, ids in found.items()}
        if not self.ids:
            counts = ", ".join(f"{folder} {len(ids)}" for folder, ids in found.items())
            raise DataError(
                f"{self.root}: no {split} frame has all of {', '.join(self._folders)} (files: {counts}). Unpack the missing ones."
            )

    @property
    def vocabulary(self) -> LabelSet:
        """The 19 classes, or the 7 categories."""
        return CITYSCAPES19 if self.classes == 19 else CITYSCAPES7

    def files(self) -> Iterable[Path]:
        """Every file that a frame is made from."""
        return [self._path(folder, frame_id) for frame_id in self.ids for folder in self._folders]

    def check(self) -> list[str]:
        """How many frames were left out for want of which file."""
        return [
            LeftOut(
                f"{self.root / folder / self.split}: {len(ids)} frames lack {_ENDINGS[folder]} (first: {ids[0]}) and are left out. "
                "Unpack them, or ask for fewer keys."
            )
            for folder, ids in self._left_out.items()
            if ids
        ]

    def frame(self, index: int) -> Frame:
        """Frame number `index` with the keys asked for, at native size (1024x2048 in the official files) or the rows asked for.

        Raises:
            DataError: a file is damaged, the sizes of one frame differ, or it has not all of the rows.
        """
        frame_id = self.ids[index]
        frame: dict[str, Any] = {}
        if "image" in self.keys:
            frame["image"] = io.read_image(self._path("leftImg8bit", frame_id))
        if "right" in self.keys:
            frame["right"] = io.read_image(self._path("rightImg8bit", frame_id))
        if "semantic" in self.keys:
            frame["semantic"] = self._semantic(frame_id)
        if "disparity" in self._folders:
            disparity = read_disparity(self._path("disparity", frame_id))
            if "disparity" in self.keys:
                frame["disparity"] = disparity
        if "camera" in self._folders:
            matrix, baseline = read_camera(self._path("camera", frame_id))
            made: dict[str, Any] = {"intrinsics": matrix, "baseline": baseline}
            if "depth" in self.keys:
                made["depth"] = depth_from_disparity(disparity, matrix[0, 0], baseline)
            frame.update({key: value for key, value in made.items() if key in self.keys})
        frame["meta"] = {"id": frame_id, "path": str(self._path(self._folders[-1], frame_id)), "split": self.split}
        if "image" in self.keys:
            frame["meta"]["path"] = str(self._path("leftImg8bit", frame_id))
        self._check_sizes(frame, frame_id)  # type: ignore[arg-type]
        return self._cut(frame, frame_id)  # type: ignore[return-value]

    def _cut(self, frame: dict[str, Any], frame_id: str) -> dict[str, Any]:
        whole = extent(frame)
        if self.rows is None or whole is None:
            return frame
        first, end = self.rows
        if end > whole[1]:
            raise DataError(f"cityscapes {frame_id}: {whole[1]} rows, rows={list(self.rows)} asks for more. Choose fewer.")
        return cut(frame, first, 0, (end - first, whole[2]))

    def official_place(self, kind: str, frame_id: str) -> tuple[str, str] | None:
        """Disparity in `disparity/`; labels where they are read from, unless they are the 7 categories, which no label id stands for."""
        if kind not in ("disparity", "semantic") or (kind == "semantic" and self.classes != 19):
            return None
        folder = kind if kind == "disparity" else self._label_folder
        return self._path(folder, frame_id).relative_to(self.root).as_posix(), "cityscapes" if kind == "disparity" else "label_ids"

    @property
    def _label_folder(self) -> str:
        return "gtCoarse" if self.split == "train_extra" else "gtFine"

    def _semantic(self, frame_id: str) -> NDArray[np.uint8]:
        path = self._path(self._label_folder, frame_id)
        return read_label_ids(path, self.classes, "the *_labelIds.png files", "labelIds")

    def _ids_of(self, folder: str) -> set[str]:
        ending = f"_{_ENDINGS[folder]}"
        base = self.root / folder / self.split
        if not base.is_dir():
            raise DataError(f"{base}: no such folder. Point --data.root at the folder that holds {folder}/, or ask for fewer keys.")
        return {path.name[: -len(ending)] for path in base.glob(f"*/*{ending}")}

    def _path(self, folder: str, frame_id: str) -> Path:
        return self.root / folder / self.split / frame_id.rsplit("_", 2)[0] / f"{frame_id}_{_ENDINGS[folder]}"
