"""A data set with the pseudo labels that `diorama pseudo-label` made of it."""

from __future__ import annotations

import inspect
import json
import logging
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diorama import catalog
from diorama.data.base import SceneDataset, WrappedDataset
from diorama.data.disparity import depth_from_disparity
from diorama.data.labels import KNOWN_SETS, LabelSet
from diorama.errors import ConfigError, DataError, ShapeError
from diorama.parsing import plain
from diorama.stereo.confidence import hard_threshold, soft_threshold
from diorama.stereo.labelling import Labelling
from diorama.stereo.pseudo_folder import SETTINGS, PseudoFolder, fingerprint, read_settings
from diorama.stereo.pseudo_settings import Pseudo
from diorama.types import IGNORE, Frame

logger = logging.getLogger("diorama")
F32 = NDArray[np.float32]

_NAMED = 3
_PICTURED = ("rows", "crop", "size", "style", "seed")
"""Arguments of data sets that change what a frame shows while its id, and maybe its size, stays."""


class PseudoLabelled(WrappedDataset):
    """The frames of `dataset` with `pseudo_depth`, `confidence`, the same of the right view, and labels of a teacher.

    Depth [m] is that of the stored disparity [px] with the calibration of the frame; where the frame does not say it, with the one that
    was used when the labels were made. Confidence is thresholded as `pseudo` says, and 0 where there is no disparity.

    Args:
        dataset: whose frames were labelled, with the same settings.
        pseudo: which folder, and how it is read.

    Raises:
        DataError: the folder is none of pseudo labels, was made of another data set, or lacks a frame.
        ConfigError: the folder lacks what `pseudo` asks for, or its classes are not those of the data.
    """

    def __init__(self, dataset: SceneDataset, pseudo: Pseudo) -> None:
        super().__init__(dataset)
        self.pseudo, self._root = pseudo, Path(pseudo.root).expanduser()
        self._made = read_settings(self._root)
        made_of = self._made["data"]["name"]
        if made_of != dataset.name:
            raise DataError(f"{self._root}: pseudo labels of {made_of}, the data are {dataset.name}. Choose another pseudo.root.")
        stored = self._made.get("labels")
        taught = LabelSet(stored["name"], tuple(stored["classes"]), tuple(map(tuple, stored["palette"]))) if stored else None
        self._folder, self._print = PseudoFolder(self._root, dataset, taught), fingerprint(self._made)
        # what a cached copy depends on, as text: objects are no part of a fingerprint
        self.settings = (repr(pseudo), self._print)
        self._numbers = {frame_id: number for number, frame_id in enumerate(dataset.ids)}
        lacking = [frame_id for frame_id in self.ids if not self._folder.record_path(frame_id).is_file()]
        if lacking:
            more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
            said = f"{self._root}: no pseudo labels of {', '.join(lacking[:_NAMED])}{more}"
            if pseudo.missing == "error" or len(lacking) == len(self.ids):
                skip = " What it has to skip, leave out with --pseudo.missing skip." if len(lacking) < len(self.ids) else ""
                raise DataError(f"{said}. Run `{self._command()}`.{skip}")
            logger.info("%s: left out", said)
            self.ids = [frame_id for frame_id in self.ids if frame_id not in set(lacking)]
        self._kinds = frozenset(self._record(self.ids[0])["kinds"]) if self.ids else frozenset()
        self._require_same_pictures()
        self._views = [view for view in ("", "_right") if {f"disparity{view}", f"depth{view}"} & self._kinds]
        self._require(taught)
        self._left_labels = pseudo.labels == "pseudo" or (pseudo.labels == "auto" and "semantic" not in dataset.provides)
        keys = {f"{key}{view}" for key in ("pseudo_depth", "confidence") for view in self._views}
        if pseudo.labels != "truth":
            keys |= {"semantic_right"} & self._kinds
            if self._left_labels and "semantic" in self._kinds:
                keys |= {"semantic"}
                self.labels = taught
        self._keys = keys
        self.provides = dataset.provides | keys

    def files(self) -> Iterable[Path]:
        """The files of the data set behind, and those of the pseudo labels."""
        kinds = sorted(self._kinds)
        own = [path for id_ in self.ids for path in (*(self._folder.path(kind, id_) for kind in kinds), self._folder.record_path(id_))]
        return [*self.dataset.files(), self._root / SETTINGS, *own]

    def frame(self, index: int) -> Frame:
        """Frame number `index` with its pseudo labels.

        Raises:
            DataError: a file is missing or damaged, or was made with other settings.
            ShapeError: a pseudo label has not the size of its image.
        """
        frame_id = self.ids[index]
        found: dict[str, Any] = {**self.dataset.frame(self._numbers[frame_id])}
        record = self._record(frame_id)
        for view in self._views:
            size = _size(found, view)
            found[f"pseudo_depth{view}"] = depth = self._depth(frame_id, found, record, view, size)
            found[f"confidence{view}"] = np.where(depth > 0, self._confidence(frame_id, record, view, depth.shape), np.float32(0))
        for key in {"semantic", "semantic_right"} & self._keys:
            found[key] = self._semantic(frame_id, key, _size(found, key.removeprefix("semantic")))
        return found  # type: ignore[return-value]

    def _read(self, kind: str, frame_id: str, size: tuple[int, ...] | None) -> NDArray[Any]:
        values = self._folder.read(kind, frame_id)
        if size is not None and values.shape != size:
            raise ShapeError(
                f"{self._folder.path(kind, frame_id)}: {values.shape[1]}x{values.shape[0]}, its image {size[1]}x{size[0]}. Make the pseudo "
                "labels with the data settings of this run (crop, ...)."
            )
        return values

    def _depth(self, frame_id: str, frame: Mapping[str, Any], record: Mapping[str, Any], view: str, size: tuple[int, ...] | None) -> F32:
        if f"disparity{view}" not in self._kinds:
            return self._read(f"depth{view}", frame_id, size)
        focal_px = float(frame["intrinsics"][0, 0]) if "intrinsics" in frame else record.get("focal_px")
        baseline = frame.get("baseline", record.get("baseline"))
        if focal_px is None or baseline is None:
            raise DataError(f"{self.name} {frame_id}: no calibration, which turns disparity into depth. Ask for intrinsics and baseline.")
        return depth_from_disparity(self._read(f"disparity{view}", frame_id, size), float(focal_px), float(baseline))

    def _confidence(self, frame_id: str, record: Mapping[str, Any], view: str, size: tuple[int, ...]) -> F32:
        if f"confidence{view}" in self._kinds:
            raw: F32 = self._read(f"confidence{view}", frame_id, size)
            tau = record.get(f"tau{view}") if self.pseudo.tau is None else self.pseudo.tau
            if self.pseudo.threshold == "soft":
                raw = soft_threshold(raw, tau, self.pseudo.eps)
            elif self.pseudo.threshold == "hard":
                raw = hard_threshold(raw, tau)
        else:
            raw = np.ones(size, np.float32)
        return np.where(self._read(f"agrees{view}", frame_id, size), raw, np.float32(0)) if self.pseudo.check else raw

    def _semantic(self, frame_id: str, key: str, size: tuple[int, ...] | None) -> NDArray[np.uint8]:
        semantic: NDArray[np.uint8] = self._read(key, frame_id, size)
        if self.pseudo.semantic_tau > 0:
            sure = self._read(key.replace("semantic", "semantic_confidence"), frame_id, size)
            semantic = np.where(sure < self.pseudo.semantic_tau, np.uint8(IGNORE), semantic)
        return semantic

    def _record(self, frame_id: str) -> dict[str, Any]:
        record = self._folder.record(frame_id)
        if record is None or record.get("settings") != self._print:
            what = "no pseudo labels" if record is None else "pseudo labels made with other settings"
            raise DataError(f"{self._root}: {what} of {frame_id}. Run `{self._command()}`.")
        return record

    def _require(self, taught: LabelSet | None) -> None:
        """Return if the folder has what `pseudo` asks for."""
        wanted: dict[str, list[str]] = {}
        if self._views and self.pseudo.check:
            wanted["pseudo.check: false"] = [f"agrees{view}" for view in self._views]
        if self._views and self.pseudo.threshold != "none":
            wanted["pseudo.threshold: none (each pixel counts alike)"] = [f"confidence{view}" for view in self._views]
        if self.pseudo.labels == "pseudo":
            wanted["pseudo.labels: truth"] = ["semantic"]
        if self.pseudo.semantic_tau > 0:
            wanted["pseudo.semantic_tau: 0"] = [f"semantic_confidence{view}" for view in ("", "_right") if f"semantic{view}" in self._kinds]
        for way_out, kinds in wanted.items():
            for kind in kinds:
                if kind not in self._kinds:
                    raise ConfigError(f"{self._root}: holds no {kind}. Make it with --save, or set {way_out}.")
        if not self._kinds & {"disparity", "depth", "semantic", "semantic_right"}:
            raise ConfigError(f"{self._root}: holds neither disparity, depth nor semantic. Make them with --save.")
        own = self.dataset.labels
        if taught and own and self.pseudo.labels != "truth" and taught.classes != own.classes:
            raise ConfigError(
                f"{self._root}: its labels are {taught.name} ({len(taught)} classes), those of the data {own.name} ({len(own)}). Set "
                "pseudo.labels: truth, or make them again with --labels."
            )

    def _require_same_pictures(self) -> None:
        """Return if the frames show what they showed when they were labelled."""
        fields = self._fields()
        for key in _PICTURED:
            if key in fields and hasattr(self.dataset, key):
                then, now = self._made["data"].get(key, plain(fields[key].default)), plain(getattr(self.dataset, key))
                if then != now:
                    raise ConfigError(
                        f"{self._root}: labelled with data.{key} {json.dumps(then)}, now it is {json.dumps(now)}. Set data.{key} to "
                        "that, or label these frames into another folder."
                    )

    def _fields(self) -> Mapping[str, inspect.Parameter]:
        """Arguments of the data set."""
        return inspect.signature(catalog.dataset(self.name)).parameters if self.name in catalog.names("datasets") else {}

    def _command(self) -> str:
        """What makes the missing labels, with the settings of the folder."""
        words = ["diorama", "pseudo-label", "--data", self.name]
        words += ["--data.root", str(self.root)] if self.root else []
        fields = self._fields()
        for key, value in self._made["data"].items():
            if key in fields and value != plain(fields[key].default):
                words += [f"--data.{key}", json.dumps(value) if isinstance(value, list) else str(value)]
        words += ["--splits", self.split, "--out", str(self._root)]
        if teacher := self._made.get("teacher"):
            words += ["--teacher", str(teacher["source"])]
            words += ["--unmapped", "ignore"] if teacher.get("unmapped") == "ignore" else []
            words += ["--depth-unit", str(teacher["depth_unit"])] if teacher.get("depth_unit") else []
            name = self._made.get("labels", {}).get("name")
            words += ["--labels", str(name)] if name in {labels.name for labels in KNOWN_SETS} else []
        usual = Labelling().to_dict()
        for key, value in self._made.get("labelling", {}).items():
            if value != usual.get(key):
                words += [f"--{key.replace('_', '-')}", *(map(str, value) if isinstance(value, list) else [str(value)])]
        return shlex.join(words)


def _size(frame: Mapping[str, Any], view: str) -> tuple[int, ...] | None:
    """`(H, W)` of a view of the frame, None without its image."""
    image = frame.get("right" if view else "image")
    return None if image is None else tuple(image.shape[:2])
