"""Middlebury stereo: rectified pairs with dense disparity, a folder for each scene, every edition as it is unpacked.

| edition | left, right | disparity of the left view | unknown |
|---|---|---|---|
| 2001, 2003 | im2, im6 (.ppm, .png) | disp2 (.pgm, .png), 8-bit: pixels * scale | 0 |
| 2005, 2006 | view1, view5 (.png) | disp1 (.png), 8-bit: pixels * scale | 0 |
| 2014, 2021 | im0, im1 (.png) | disp0 (.pfm), pixels | infinite |

The scale of the 8-bit files depends on the size that was downloaded: 1 at full size, 2 at half, 3 at a third (2005, 2006), 4 at a quarter
(2003: cones and teddy of 450x375), 8 for 2001.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from diorama.data import io
from diorama.data.base import LeftOut, SceneDataset
from diorama.errors import ConfigError, DataError, suggest
from diorama.types import Frame

_PHOTOS, _EIGHT_BIT = (".png", ".ppm", ".jpg"), (".png", ".pgm")
_EDITIONS: tuple[Mapping[str, tuple[str, tuple[str, ...]]], ...] = (
    {"image": ("im0", _PHOTOS), "right": ("im1", _PHOTOS), "disparity": ("disp0", (".pfm",))},
    {"image": ("im2", _PHOTOS), "right": ("im6", _PHOTOS), "disparity": ("disp2", _EIGHT_BIT)},
    {"image": ("view1", _PHOTOS), "right": ("view5", _PHOTOS), "disparity": ("disp1", _EIGHT_BIT)},
)


class Middlebury(SceneDataset):
    """Middlebury pairs: image, right view, disparity [px] of occluded pixels too. No metric depth: editions before 2014 have no camera.

    Args:
        root: the folder of the scene folders, or one of them.
        split: `all`, or `train` and `test` as `held_out` parts them; the data set has no split of its own.
        held_out: scenes that make up `test`; the rest is `train`.
        scale: what an 8-bit disparity file is divided by, see the table of the module. PFM holds pixels.
    """

    name: ClassVar[str] = "middlebury"
    title: ClassVar[str] = "Middlebury stereo"
    citation: ClassVar[str] = (
        "Scharstein, Szeliski: High-Accuracy Stereo Depth Maps Using Structured Light, CVPR 2003; of later editions also Scharstein "
        "et al.: High-Resolution Stereo Datasets with Subpixel-Accurate Ground Truth, GCPR 2014"
    )
    terms: ClassVar[str] = "research; cite the paper of the edition"
    splits: ClassVar[tuple[str, ...]] = ("train", "test", "all")
    derived_splits: ClassVar[frozenset[str]] = frozenset({"all"})
    offers: ClassVar[frozenset[str]] = frozenset({"image", "right", "disparity"})
    root_hint: ClassVar[str] = "SCENE/{im2, im6, disp2}, SCENE/{view1, view5, disp1} or SCENE/{im0, im1, disp0.pfm}"
    root: Path

    def __init__(self, root: str | Path, split: str = "all", held_out: Sequence[str] = (), scale: float = 4.0) -> None:
        self.root, self.split, self.held_out, self.scale = Path(root), split, tuple(held_out), scale
        self._check_split()
        if not 0 < scale < np.inf:
            raise ConfigError(
                f"middlebury: scale {scale}. Give what 8-bit disparities are divided by, e.g. 4 (2003 at a quarter of the size)."
            )
        if not self.root.is_dir():
            raise DataError(f"{self.root}: no such folder. Point --data.root at {self.root_hint}.")
        self.labels = None
        self.provides = self.offers
        self._lacking: list[str] = []
        self._scenes = {folder.name: paths for folder in self._folders() if (paths := self._found(folder))}
        if not self._scenes:
            raise DataError(f"{self.root}: no scene with both views and disparity. Point --data.root at {self.root_hint}.")
        if unknown := sorted(set(held_out) - set(self._scenes)):
            raise DataError(f"{self.root}: no scene '{unknown[0]}' to hold out: {suggest(unknown[0], self._scenes)}")
        self.ids = [name for name in sorted(self._scenes) if split == "all" or (name in held_out) == (split == "test")]
        if not self.ids:
            raise DataError(f"{self.root}: no {split} scene. Name the scenes of 'test' with --data.held_out, or take the split 'all'.")

    def files(self) -> Iterable[Path]:
        """Both views and the disparity of every scene."""
        return [path for name in self.ids for path in self._scenes[name].values()]

    def check(self) -> list[str]:
        """Scenes of which a file is missing, which are left out."""
        if not self._lacking:
            return []
        return [
            LeftOut(
                f"{self.root}: {len(self._lacking)} scenes lack a file (first: {self._lacking[0]}) and are left out. Unpack them again."
            )
        ]

    def frame(self, index: int) -> Frame:
        """Scene number `index` at native size.

        Raises:
            DataError: a file is damaged, or the three differ in size.
        """
        name = self.ids[index]
        paths = self._scenes[name]
        frame: Frame = {
            "image": io.read_image(paths["image"]),
            "right": io.read_image(paths["right"]),
            "disparity": self._disparity(paths["disparity"]),
            "meta": {"id": name, "path": str(paths["image"]), "split": self.split},
        }
        self._check_sizes(frame, name)
        if frame["right"].shape != frame["image"].shape:
            raise DataError(
                f"{paths['right']}: {frame['right'].shape[:2]}, the left view {frame['image'].shape[:2]}. Download one size of both."
            )
        return frame

    def _disparity(self, path: Path) -> NDArray[np.float32]:
        stored = io.read_pfm(path) if path.suffix == ".pfm" else io.read_labels(path) / np.float32(self.scale)
        if stored.ndim != 2:
            raise DataError(f"{path}: disparity of shape {stored.shape}, expected (H, W). Download it again.")
        return np.where(np.isfinite(stored) & (stored > 0), stored, 0).astype(np.float32)

    def _folders(self) -> list[Path]:
        return (
            [self.root]
            if any(self.root.glob("im[012].*")) or any(self.root.glob("view1.*"))
            else sorted(filter(Path.is_dir, self.root.iterdir()))
        )

    def _found(self, folder: Path) -> dict[str, Path]:
        """Key -> file of a scene; empty if it is none."""
        lacking: list[str] = []  # scenes of 2001 and 2003 come with nine views, among them im0 and im1
        for edition in _EDITIONS:
            paths = {
                key: path
                for key, (stem, suffixes) in edition.items()
                for suffix in suffixes
                if (path := folder / f"{stem}{suffix}").is_file()
            }
            if len(paths) == len(edition):
                return paths
            if paths:
                lacking.append(f"{folder.name}, {' and '.join(sorted(set(edition) - set(paths)))}")
        self._lacking += lacking[:1]
        return {}
