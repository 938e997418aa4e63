"""CamVid with 11 classes, in SegNet's layout (`train/*.png`, `trainannot/*.png`) or as `train/{image,semantic}/`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from diorama.data import io
from diorama.data.base import SceneDataset
from diorama.data.labels import CAMVID11, CAMVID11_IDS, convert
from diorama.errors import DataError
from diorama.types import Frame

_VOID = 11


class CamVid(SceneDataset):
    """CamVid frames: image and semantic (11 classes; 11 in the files is void).

    Args:
        root: the folder with `train`, `val`, `test` (and `trainannot`, ... in SegNet's layout).
        split: `train` (367 frames), `val` (101) or `test` (233).
    """

    name: ClassVar[str] = "camvid"
    title: ClassVar[str] = "CamVid (SegNet's 11 classes)"
    citation: ClassVar[str] = (
        "Brostow, Fauqueur, Cipolla: Semantic Object Classes in Video, Pattern Recognition Letters 2009; "
        "classes and split of Badrinarayanan, Kendall, Cipolla: SegNet, PAMI 2017"
    )
    terms: ClassVar[str] = "CC BY-NC; cite the papers"
    offers: ClassVar[frozenset[str]] = frozenset({"image", "semantic"})
    root_hint: ClassVar[str] = "{train,val,test} + {train,val,test}annot, or {train,val,test}/{image,semantic}"
    root: Path

    def __init__(self, root: str | Path, split: str = "train") -> None:
        self.root, self.split = Path(root), split
        self._check_split()
        self.labels = CAMVID11
        self.provides = self.offers
        plain = (self.root / split / "image").is_dir()
        self._images = self.root / split / "image" if plain else self.root / split
        self._labels = self.root / split / "semantic" if plain else self.root / f"{split}annot"
        for folder in (self._images, self._labels):
            if not folder.is_dir():
                raise DataError(
                    f"{folder}: no such folder. camvid needs {split}/ and {split}annot/, or {split}/image and {split}/semantic."
                )
        self._files = {path.stem: path for path in sorted(self._images.iterdir()) if path.suffix.lower() in io.IMAGE_SUFFIXES}
        self.ids = list(self._files)
        if not self.ids:
            raise DataError(f"{self._images}: no images. Unpack CamVid there, or point --data.root elsewhere.")

    def files(self) -> Iterable[Path]:
        """The image and label files of the split."""
        return [path for frame_id in self.ids for path in (self._files[frame_id], self._label_path(frame_id))]

    def check(self) -> list[str]:
        """Images without a label map."""
        return [f"{path}: missing. Copy it, or remove the image." for path in self.files() if not path.is_file()]

    def frame(self, index: int) -> Frame:
        """Frame number `index`: image, semantic, meta at native size (360x480 in the official files).

        Raises:
            DataError: a file is missing or damaged, or the two differ in size.
        """
        frame_id = self.ids[index]
        path = self._label_path(frame_id)
        ids = io.read_labels(path)
        wrong = ids[(ids > _VOID) & (ids != 255)]
        if wrong.size:
            raise DataError(f"{path}: label id {wrong.max()}, expected 0..10 and 11 = void. Use SegNet's 11-class maps.")
        frame: Frame = {
            "image": io.read_image(self._files[frame_id]),
            "semantic": convert(ids, CAMVID11_IDS),
            "meta": {"id": frame_id, "path": str(self._files[frame_id]), "split": self.split},
        }
        self._check_sizes(frame, frame_id)
        return frame

    def _label_path(self, frame_id: str) -> Path:
        return self._labels / f"{frame_id}.png"
