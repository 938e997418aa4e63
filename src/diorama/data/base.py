"""What every data set is: a list of frames, what they provide, and a check that says what is missing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from diorama.data.labels import LabelSet
from diorama.errors import ConfigError, DataError, suggest
from diorama.types import Frame

_LEFT_VIEW = ("image", "semantic", "depth", "sparse_depth", "disparity", "matched", "pseudo_depth", "confidence")


class LeftOut(str):
    """What `check` says of frames that are left out: it stops nothing."""

    __slots__ = ()


class SceneDataset(ABC):
    """Frames by number, in NumPy and at native size; no torch, so that `data check` and `data plot` answer at once.

    A subclass sets the class attributes, fills `ids` in `__init__` and reads one frame in `frame`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    citation: ClassVar[str]
    terms: ClassVar[str]
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    depth_cap: ClassVar[float] = 80.0
    """Metres; what lies beyond is unknown to an evaluation."""

    offers: ClassVar[frozenset[str]] = frozenset()
    """Keys that some setting of it can provide (`provides` is what this one has)."""
    root_hint: ClassVar[str] = ""
    """What `root` has to be; empty if the data set needs no files."""
    derived_splits: ClassVar[frozenset[str]] = frozenset()
    """Splits that are made of frames of another one on purpose."""

    root: Path | None
    split: str
    ids: list[str]
    provides: frozenset[str]
    """Keys of `Frame` that every frame of this split has."""
    labels: LabelSet | None
    """The label set of `semantic`, None if there are no labels."""

    @property
    def vocabulary(self) -> LabelSet | None:
        """The label set that labels of these frames have, whether they are read or not; None if nobody says."""
        return self.labels

    @abstractmethod
    def frame(self, index: int) -> Frame:
        """Frame number `index` at native size."""

    def files(self) -> Iterable[Path]:
        """The files behind this split, without looking whether they exist: a cached copy is stale once one of them changes."""
        return ()

    def check(self) -> list[str]:
        """What is missing or suspicious, a sentence each that ends with what to do (`LeftOut`: and stops nothing); empty if all is well."""
        return []

    def official_place(self, kind: str, frame_id: str) -> tuple[str, str] | None:  # noqa: ARG002
        """Where the official layout keeps a pseudo label of this kind (`stereo.pseudo_folder.KINDS`): path from the root, and encoding.

        None: it has no place for it. Encodings: kitti, cityscapes (disparity), label_ids (Cityscapes' ids 0..33).
        """
        return None

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Frame:
        return self.frame(index)

    def __iter__(self) -> Iterator[Frame]:
        return (self.frame(index) for index in range(len(self)))

    def _check_sizes(self, frame: Frame, frame_id: str) -> None:
        """Everything that belongs to the left view must have one size: a silent resize would hide a mixed-up file."""
        sizes = {key: np.asarray(value).shape[:2] for key, value in frame.items() if key in _LEFT_VIEW}
        if len(set(sizes.values())) > 1:
            listed = ", ".join(f"{key} {width}x{height}" for key, (height, width) in sizes.items())
            raise DataError(
                f"{self.name} {frame_id}: sizes differ ({listed}). Store them all at one size, or take the frame out of the set."
            )

    def _check_keys(self, keys: Iterable[str], known: Iterable[str]) -> None:
        """Return if `keys` names some of `known`, and nothing else."""
        asked, known = list(keys), list(known)
        for key in asked:
            if key not in known:
                raise ConfigError(f"{self.name}: unknown key '{key}': {suggest(key, known)}")
        if not asked:
            raise ConfigError(f"{self.name}: keys is empty. Name one of {', '.join(known)}.")

    def _check_split(self) -> None:
        if self.split not in self.splits:
            raise DataError(f"{self.name}: no split '{self.split}'. Choose one of {', '.join(self.splits)}.")


class WrappedDataset(SceneDataset):
    """Another data set whose frames are changed on the way: what it is called, has and cites stays that of `dataset`."""

    def __init__(self, dataset: SceneDataset) -> None:
        kept = ("name", "title", "citation", "terms", "splits", "depth_cap", "offers", "root", "split", "ids", "provides", "labels")
        self.__dict__.update({key: getattr(dataset, key) for key in kept})
        if hasattr(dataset, "truth"):  # where its truth is not the protocol's usual one
            self.truth = dataset.truth
        self.dataset = dataset

    def files(self) -> Iterable[Path]:
        """The files of the data set behind."""
        return self.dataset.files()

    def check(self) -> list[str]:
        """What the data set behind finds."""
        return self.dataset.check()

    def official_place(self, kind: str, frame_id: str) -> tuple[str, str] | None:
        """The place that the data set behind names."""
        return self.dataset.official_place(kind, frame_id)
