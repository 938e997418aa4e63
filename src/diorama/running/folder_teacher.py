"""A teacher that reads what something else made: label maps, confidence and depth by frame id. NumPy only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diorama.data import io
from diorama.data.labels import CITYSCAPES7, CITYSCAPES19, CITYSCAPES34_TO_7, CITYSCAPES34_TO_19, LabelSet, convert
from diorama.errors import DataError, ShapeError
from diorama.running.taught import DepthUnit, Taught, View
from diorama.stereo.files import of_frame
from diorama.types import IGNORE

CONFIDENCE_SCALE = 65535
"""Values of a 16-bit confidence PNG that make 1."""

_SEMANTIC = (".semantic.png", "_gtFine_labelIds.png", "_gtCoarse_labelIds.png", ".png")
_CONFIDENCE = (".confidence.png", ".confidence.npy")
_DEPTH = (".depth.png", ".depth.npy", ".depth.pfm")


class FolderTeacher:
    """Label maps, confidence and depth that something else made, found by frame id.

    Below `DIR/left` and `DIR/right` (or below `DIR` itself for left views alone), anywhere, by the whole id or
    its last part (in no folder of another frame):

    | file | holds |
    |---|---|
    | `ID.png`, `ID.semantic.png` | 8-bit train ids of the data set, 255 = ignore; a colour image is decoded by its palette |
    | `ID_gtFine_labelIds.png` | official ids of Cityscapes |
    | `ID.confidence.png`, `.npy` | 16-bit, 65535 = 1; floats 0..1. Without it labelled pixels have confidence 1 |
    | `ID.depth.png`, `.npy`, `.pfm` | 16-bit at its recorded scale, else metres * 256; floats |

    A view without a folder is taught nothing; so the output of `diorama predict --out DIR/left` can be read as it is.

    Args:
        root: the folder.
        labels: what the ids mean; None: nothing is known of them, only depth is read.
        depth_unit: see `load_teacher`.

    Raises:
        DataError: neither label maps nor depth in it, or two files of one id.
    """

    def __init__(self, root: str | Path, labels: LabelSet | None = None, depth_unit: DepthUnit = "m") -> None:
        self.root, self.name = Path(root), Path(root).name
        views = {view: self.root / view for view in ("left", "right") if (self.root / view).is_dir()}
        views = views or {"left": self.root}
        self._semantic = {view: _Files(folder, _SEMANTIC) for view, folder in views.items()} if labels is not None else {}
        self._confidence = {view: _Files(folder, _CONFIDENCE) for view, folder in views.items()}
        self._depth = {view: _Files(folder, _DEPTH) for view, folder in views.items()}
        has_depth, has_labels = any(self._depth.values()), any(self._semantic.values())
        if not (has_depth or has_labels):
            raise DataError(
                f"{self.root}: neither a model nor {'label maps (ID.png) or ' if labels else ''}depth (ID.depth.png) in it. "
                "Give a model, or a folder with left/ID.png and right/ID.png."
            )
        self.labels = labels if has_labels else None
        self.depth_unit: DepthUnit | None = depth_unit if has_depth else None

    def __call__(self, image: NDArray[np.uint8], frame_id: str, view: View = "left") -> Taught:
        """What the files say of the photo.

        Raises:
            DataError: there is no file for this frame though its view has a folder, or it is damaged.
            ShapeError: a file is not as large as the photo.
        """
        size = (image.shape[0], image.shape[1])
        semantic = confidence = depth = None
        if self._semantic.get(view):
            path = self._file(self._semantic[view], frame_id, f"{view} label map")
            semantic = _fits(path, self._read(path), size)
            sure = self._confidence[view].of(frame_id)
            confidence = np.ones(size, np.float32) if sure is None else _fits(sure, _read_confidence(sure), size)
            confidence = np.where(semantic == IGNORE, np.float32(0), confidence)
        if self._depth.get(view):
            path = self._file(self._depth[view], frame_id, f"{view} depth")
            depth = _fits(path, io.read_depth(path, unrecorded=256.0), size)
        return Taught(semantic, confidence, depth)

    def _file(self, files: _Files, frame_id: str, what: str) -> Path:
        path = files.of(frame_id)
        if path is None:
            raise DataError(f"{self.root}: no {what} of '{frame_id}'. Add the file, or leave the frame out.")
        return path

    def _read(self, path: Path) -> NDArray[np.uint8]:
        assert self.labels is not None
        if path.name.endswith("_labelIds.png"):
            table = {CITYSCAPES19.classes: CITYSCAPES34_TO_19, CITYSCAPES7.classes: CITYSCAPES34_TO_7}.get(self.labels.classes)
            if table is None:
                raise DataError(f"{path}: ids of Cityscapes, the data has the label set '{self.labels.name}'. Store train ids as ID.png.")
            return convert(io.read_labels(path), table)
        if io.is_colour(path):
            return self.labels.decode(io.read_image(path))
        ids = io.read_labels(path)
        wrong = ids[(ids >= len(self.labels)) & (ids != IGNORE)]
        if wrong.size:
            raise DataError(
                f"{path}: label id {wrong.max()}, '{self.labels.name}' has {len(self.labels)} classes (0..{len(self.labels) - 1}, 255 = "
                "ignore). Store train ids of the data set."
            )
        return ids.astype(np.uint8)


class _Files:
    """The files below `folder` that have one of `endings`, by frame id.

    Args:
        folder: the files of one view.
        endings: what follows the id.

    Raises:
        DataError: two files of one id.
    """

    def __init__(self, folder: Path, endings: tuple[str, ...]) -> None:
        others = tuple(ending for ending in (*_SEMANTIC, *_CONFIDENCE, *_DEPTH, ".overlay.png", ".panel.png") if ending != ".png")
        self.folder = folder
        self._by_id: dict[str, Path] = {}
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
            ending = next((ending for ending in endings if path.name.endswith(ending)), None)
            if ending is None or (ending == ".png" and path.name.endswith(others)):
                continue
            key = path.relative_to(folder).as_posix()[: -len(ending)]
            if key in self._by_id:
                raise DataError(f"{path}: the same frame as {self._by_id[key].name}. Keep one file per frame.")
            self._by_id[key] = path
        self._by_last: dict[str, list[Path]] = {}
        for key, path in self._by_id.items():
            self._by_last.setdefault(key.rsplit("/", 1)[-1], []).append(path)

    def __len__(self) -> int:
        return len(self._by_id)

    def of(self, frame_id: str) -> Path | None:
        """The file of the whole id, else the only one of its last part, unless its folders are those of another frame."""
        if frame_id in self._by_id:
            return self._by_id[frame_id]
        alike = self._by_last.get(frame_id.rsplit("/", 1)[-1], [])
        return alike[0] if len(alike) == 1 and of_frame(alike[0].relative_to(self.folder).parent.parts, frame_id) else None


def _read_confidence(path: Path) -> NDArray[np.float32]:
    values = io.read_npy(path) if path.suffix == ".npy" else io.read_labels(path)
    if path.suffix != ".npy" and values.dtype != np.uint16:
        raise DataError(f"{path}: 8-bit confidence, expected 16-bit (65535 = 1). Save it as 16-bit PNG.")
    confidence = values.astype(np.float32) / np.float32(1 if path.suffix == ".npy" else CONFIDENCE_SCALE)
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise DataError(f"{path}: confidence outside of 0..1. Save probabilities.")
    return confidence


def _fits(path: Path, values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    if values.shape != size:
        raise ShapeError(f"{path}: {values.shape}, the photo is {size}. Store it at the size of the photo.")
    return values
