"""Synscapes in its official layout: `img/{rgb,class,depth}/N.{png,png,exr}` and `meta/N.json`, N = 1 to 25000.

Classes are Cityscapes label ids; depth is metres in the channel Z, where the sky lies beyond a kilometre and is unknown (0).
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
from diorama.data.cityscapes import read_label_ids
from diorama.data.exr import read_exr
from diorama.data.labels import CITYSCAPES7, CITYSCAPES19
from diorama.errors import ConfigError, DataError
from diorama.types import UNKNOWN_DEPTH, Frame

PLACES = {"image": ("img/rgb", ".png"), "semantic": ("img/class", ".png"), "depth": ("img/depth", ".exr"), "intrinsics": ("meta", ".json")}
"""Key of a frame -> folder and suffix of its files."""

NUMBERS = {"train": range(1, 20_001), "val": range(20_001, 21_001), "test": range(21_001, 25_001)}
"""The first 20,000 frames, the next 1,000, the last 4,000."""

_SKY_M = 1000.0
_LAST_LABEL_ID = 33


def read_camera(path: str | Path) -> NDArray[np.float64]:
    """`(3, 3)` camera matrix [px] of a meta file.

    Raises:
        DataError: the file is missing, no JSON, or lacks a value.
    """
    try:
        inside = json.loads(Path(path).read_text())["camera"]["intrinsic"]
        fx, fy, cx, cy = (float(inside[name]) for name in ("fx", "fy", "u0", "v0"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Unpack the official meta folder.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: no Synscapes meta file ({type(error).__name__}: {error}). Unpack the official meta folder.") from error
    if fx <= 0 or fy <= 0:
        raise DataError(f"{path}: focal length is not positive. Unpack the official meta folder.")
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


class Synscapes(SceneDataset):
    """Rendered street scenes: image, semantic, depth and intrinsics as far as asked for; frames without one of the files are left out.

    Args:
        root: the folder that holds `img/` and `meta/`.
        split: `train` (frames 1 to 20,000), `val` (to 21,000) or `test` (to 25,000), consecutive.
        classes: 19 (the evaluated classes of Cityscapes) or 7 (its categories).
        keys: what a frame holds, out of image, semantic, depth (needs the extra `exr`), intrinsics.
    """

    name: ClassVar[str] = "synscapes"
    title: ClassVar[str] = "Synscapes"
    citation: ClassVar[str] = (
        "Wrenninge, Unger: Synscapes: A Photorealistic Synthetic Dataset for Street Scene Parsing, arXiv:1810.08705, 2018"
    )
    terms: ClassVar[str] = "non-commercial research; request it from its authors"
    splits: ClassVar[tuple[str, ...]] = tuple(NUMBERS)
    depth_cap: ClassVar[float] = 80.0
    offers: ClassVar[frozenset[str]] = frozenset(PLACES)
    root_hint: ClassVar[str] = "img/{rgb, class, depth}, meta"
    root: Path

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        classes: int = 19,
        keys: Sequence[str] = ("image", "semantic", "depth"),
    ) -> None:
        self.root, self.split, self.classes, self.keys = Path(root), split, classes, tuple(keys)
        self._check_split()
        if classes not in (19, 7):
            raise ConfigError(f"synscapes: classes={classes}. Choose 19 or 7.")
        self._check_keys(self.keys, PLACES)
        self.provides = frozenset(self.keys)
        self.labels = (CITYSCAPES19 if classes == 19 else CITYSCAPES7) if "semantic" in self.keys else None
        found = {key: self._numbers(key) for key in self.keys}
        every, complete = set.union(*found.values()), set.intersection(*found.values())
        self.ids = [str(number) for number in sorted(complete)]
        self._left_out = {key: sorted(every - numbers) for key, numbers in found.items()}
        if not self.ids:
            counts = ", ".join(f"{PLACES[key][0]} {len(numbers)}" for key, numbers in found.items())
            raise DataError(f"{self.root}: no {split} frame has all of {', '.join(self.keys)} (files: {counts}). Unpack the missing ones.")

    def _numbers(self, key: str) -> set[int]:
        folder, suffix = PLACES[key]
        if not (self.root / folder).is_dir():
            raise DataError(f"{self.root / folder}: no such folder. Point --data.root at the folder that holds it, or ask for fewer keys.")
        numbers = {int(path.stem) for path in (self.root / folder).glob(f"*{suffix}") if path.stem.isdecimal()}
        return numbers & set(NUMBERS[self.split])

    def _path(self, key: str, frame_id: str) -> Path:
        folder, suffix = PLACES[key]
        return self.root / folder / f"{frame_id}{suffix}"

    def files(self) -> Iterable[Path]:
        """Every file that a frame is made from."""
        return [self._path(key, frame_id) for frame_id in self.ids for key in self.keys]

    def check(self) -> list[str]:
        """How many frames were left out for want of which file."""
        return [
            LeftOut(
                f"{self.root / PLACES[key][0]}: {len(numbers)} {self.split} frames have no file there (first: {numbers[0]}) "
                "and are left out. Unpack them, or ask for fewer keys."
            )
            for key, numbers in self._left_out.items()
            if numbers
        ]

    def frame(self, index: int) -> Frame:
        """Frame number `index` with the keys asked for, at native size (720x1440 in the official files).

        Raises:
            DataError: a file is damaged, or the sizes of one frame differ.
        """
        frame_id = self.ids[index]
        frame: dict[str, Any] = {}
        if "image" in self.keys:
            frame["image"] = io.read_image(self._path("image", frame_id))
        if "semantic" in self.keys:
            frame["semantic"] = read_label_ids(self._path("semantic", frame_id), self.classes, "the files of img/class")
        if "depth" in self.keys:
            path = self._path("depth", frame_id)
            depth = read_exr(path)
            depth[depth > _SKY_M] = UNKNOWN_DEPTH
            frame["depth"] = io.check_depth(depth, str(path))
        if "intrinsics" in self.keys:
            frame["intrinsics"] = read_camera(self._path("intrinsics", frame_id))
        frame["meta"] = {"id": frame_id, "path": str(self._path(self.keys[0], frame_id)), "split": self.split}
        self._check_sizes(frame, frame_id)  # type: ignore[arg-type]
        return frame  # type: ignore[return-value]
