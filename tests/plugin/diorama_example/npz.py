"""Frames in NumPy archives: `ROOT/{train,test}/*.npz` with image, semantic and depth."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import numpy as np

from diorama.data.base import SceneDataset
from diorama.data.labels import NYU13
from diorama.errors import DataError
from diorama.types import Frame


class Npz(SceneDataset):
    """Rooms with the 13 classes of NYU: image `(H, W, 3)` uint8, semantic `(H, W)` uint8 (255: none), depth `(H, W)` [m] (0: unknown).

    Args:
        root: the folder with `train` and `test`.
        split: `train` or `test`.
    """

    name: ClassVar[str] = "npz"
    title: ClassVar[str] = "Rooms in NumPy archives"
    citation: ClassVar[str] = "An example, not published"
    terms: ClassVar[str] = "none"
    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    depth_cap: ClassVar[float] = 10.0
    offers: ClassVar[frozenset[str]] = frozenset({"image", "semantic", "depth"})
    root_hint: ClassVar[str] = "{train,test}/*.npz"

    def __init__(self, root: str | Path, split: str = "train") -> None:
        self.root, self.split = Path(root), split
        self._check_split()
        self.labels, self.provides = NYU13, self.offers
        self._files = sorted((self.root / split).glob("*.npz"))
        self.ids = [path.stem for path in self._files]
        if not self.ids:
            raise DataError(f"{self.root / split}: no .npz files. Point --data.root at a folder with train/*.npz and test/*.npz.")

    def files(self) -> Iterable[Path]:
        """The archives of the split."""
        return self._files

    def frame(self, index: int) -> Frame:
        """Frame number `index`."""
        path = self._files[index]
        with np.load(path) as stored:
            return {
                "image": stored["image"],
                "semantic": stored["semantic"],
                "depth": stored["depth"],
                "meta": {"id": path.stem, "path": str(path), "split": self.split},
            }
