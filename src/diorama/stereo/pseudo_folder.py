"""The folder of pseudo labels: where each kind of file of each frame lies, how it is encoded, what is remembered of a frame.

    OUT/KIND/SPLIT/ID.png      a kind of KINDS; or where the data set's official layout keeps such a file, in its encoding
    OUT/SPLIT.frames/ID.json   what is known of the frame; written last, so a frame that has it is complete
    OUT/pseudo.json            the settings that all frames are made with

No file is ever half-written: each comes into being under another name in its folder and is renamed. NumPy and OpenCV only.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diorama.data import io
from diorama.data.base import SceneDataset
from diorama.data.labels import CITYSCAPES19, CITYSCAPES19_TO_34, CITYSCAPES34_TO_19, LabelSet, convert
from diorama.errors import ConfigError, DataError, suggest
from diorama.stereo.files import read_disparity, write_disparity

FORMAT = 1
SETTINGS = "pseudo.json"
DEPTH_SCALE = 256.0
_FULL = 65535
_TEMPORARY = re.compile(r"\.(.+)-[a-z0-9_]{8}\.(?:png|json)")

_LEFT = {
    "disparity": "kitti",
    "depth": "metres",
    "confidence": "share",
    "agrees": "flag",
    "semantic": "train_ids",
    "semantic_confidence": "share",
    "teacher_depth": "metres",
}
KINDS = {f"{kind}{view}": encoding for view in ("", "_right") for kind, encoding in _LEFT.items()}
"""Kind of file -> encoding. kitti: 16-bit, pixels * 256. metres: 16-bit, m * 256. share: 16-bit, 0..1 * 65535. flag: 8-bit, 0 or 255."""


class PseudoFolder:
    """The pseudo labels of one split of a data set.

    Args:
        root: the folder; it need not exist.
        dataset: whose frames they are; its `official_place` decides where it has one.
        labels: of the semantics; official places are for the official classes only.
    """

    def __init__(self, root: str | Path, dataset: SceneDataset, labels: LabelSet | None = None) -> None:
        self.root, self.dataset, self.labels = Path(root), dataset, labels

    def path(self, kind: str, frame_id: str) -> Path:
        """Where the file of this kind lies."""
        return self._place(kind, frame_id)[0]

    def _place(self, kind: str, frame_id: str) -> tuple[Path, str]:
        official = self.dataset.official_place(kind, frame_id)
        if official is not None and (official[1] != "label_ids" or (self.labels and self.labels.classes == CITYSCAPES19.classes)):
            return self.root / official[0], official[1]
        return self.root / kind / self.dataset.split / f"{frame_id}.png", KINDS[kind]

    def write(self, kind: str, frame_id: str, values: NDArray[Any]) -> int:
        """Store one map of a frame; returns how many pixels were beyond what the file can hold and were clipped.

        Args:
            kind: one of `KINDS`.
            frame_id: of the frame.
            values: `(H, W)`: float32 pixels, metres or shares, bool flags, or uint8 train ids.

        Raises:
            DataError: values that no file holds, or the folder cannot be written.
        """
        path, encoding = self._place(kind, frame_id)
        if encoding in ("kitti", "cityscapes"):
            return write_disparity(path, values, encoding)  # type: ignore[arg-type]
        if encoding == "metres":
            return io.write_depth_png(path, values, DEPTH_SCALE)
        if encoding == "share":
            if not (values.min() >= 0 and values.max() <= 1):
                raise DataError(f"{path}: {kind} outside 0..1. Mend what measures it.")
            io.write_label_png(path, np.rint(values * np.float32(_FULL)).astype(np.uint16), bits=16)
        elif encoding == "flag":
            io.write_label_png(path, values.astype(np.uint8) * np.uint8(255))
        else:
            io.write_label_png(path, convert(values, CITYSCAPES19_TO_34) if encoding == "label_ids" else values)
        return 0

    def read(self, kind: str, frame_id: str) -> NDArray[Any]:
        """What `write` stored: exact for flags and train ids, else within half a step of the file.

        Raises:
            DataError: the file is missing or damaged.
        """
        path, encoding = self._place(kind, frame_id)
        if encoding in ("kitti", "cityscapes"):
            return read_disparity(path, encoding)  # type: ignore[arg-type]
        if encoding == "metres":
            return io.read_depth(path, DEPTH_SCALE)
        stored = io.read_labels(path)
        if encoding == "share":
            if stored.dtype != np.uint16:
                raise DataError(f"{path}: 8-bit, expected 16-bit shares (1 = {_FULL}). Make the pseudo labels again.")
            return stored.astype(np.float32) / np.float32(_FULL)
        if encoding == "flag":
            return np.asarray(stored > 0)
        return convert(stored.astype(np.uint8), CITYSCAPES34_TO_19) if encoding == "label_ids" else stored.astype(np.uint8)

    def record_path(self, frame_id: str) -> Path:
        """Where the record of a frame lies."""
        return self.root / f"{self.dataset.split}.frames" / f"{frame_id}.json"

    def record(self, frame_id: str) -> dict[str, Any] | None:
        """What is remembered of a frame; None if it is not complete.

        Raises:
            DataError: the record is damaged.
        """
        path = self.record_path(frame_id)
        return _read_json(path) if path.is_file() else None

    def keep(self, frame_id: str, record: Mapping[str, Any]) -> None:
        """Remember a frame, after all its files were written."""
        write_json(self.record_path(frame_id), record)

    def clean(self, frame_ids: Iterable[str], kinds: Iterable[str]) -> int:
        """Remove what a killed process left of these frames: temporary files beside their places. Returns how many."""
        stems: dict[Path, set[str]] = {}
        kinds = tuple(kinds)
        for frame_id in frame_ids:
            for path in (*(self.path(kind, frame_id) for kind in kinds), self.record_path(frame_id)):
                stems.setdefault(path.parent, set()).add(path.stem)
        removed = 0
        for folder, known in stems.items():
            for path in folder.iterdir() if folder.is_dir() else ():
                found = _TEMPORARY.fullmatch(path.name)
                if found and found[1] in known:
                    path.unlink(missing_ok=True)
                    removed += 1
        return removed


def check_kinds(kinds: Iterable[str]) -> tuple[str, ...]:
    """`kinds` in the order of `KINDS`, once each.

    Raises:
        ConfigError: an unknown kind, or none.
    """
    wanted = set(kinds)
    for kind in wanted:
        if kind not in KINDS:
            raise ConfigError(f"unknown kind '{kind}' to save: {suggest(kind, KINDS)}")
    if not wanted:
        raise ConfigError(f"nothing to save. Name some of {', '.join(KINDS)}.")
    return tuple(kind for kind in KINDS if kind in wanted)


def begin(root: Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> str:
    """Store `settings` in a new folder, or check that they are those of the folder; returns their fingerprint.

    Args:
        root: the folder of pseudo labels.
        settings: nested, JSON types.
        overwrite: other settings replace those of the folder; frames that were made with them are made again.

    Raises:
        DataError: the folder was made with other settings, or holds files that are no pseudo labels.
    """
    path = root / SETTINGS
    if root.exists() and not root.is_dir():
        raise DataError(f"{root}: a file, not a folder. Choose another --out.")
    if path.is_file():
        there = _read_json(path)
        differ = differences(there, settings)
        if differ and not overwrite:
            listed = "; ".join(differ[:3]) + (f"; and {len(differ) - 3} more" if len(differ) > 3 else "")
            raise DataError(f"{root}: made with other settings ({listed}). Use those, choose another --out, or renew it with --overwrite.")
        if not differ:
            return fingerprint(settings)
    elif taken := [kind for kind in (*KINDS, "gtFine", "gtCoarse", "leftImg8bit") if (root / kind).exists()]:
        raise DataError(f"{root / taken[0]}: exists, and {SETTINGS} does not: no folder of pseudo labels. Choose another --out.")
    write_json(path, settings)
    return fingerprint(settings)


def read_settings(root: str | Path) -> dict[str, Any]:
    """The settings that the folder of pseudo labels was made with.

    Raises:
        DataError: there is no such folder, or it is of a newer diorama.
    """
    path = Path(root) / SETTINGS
    if not path.is_file():
        raise DataError(f"{path}: no such file, so no folder of pseudo labels. Make one with `diorama pseudo-label`.")
    settings = _read_json(path)
    if int(settings.get("format", 0)) > FORMAT:
        raise DataError(f"{path}: format {settings['format']}, this diorama knows {FORMAT}. Update diorama.")
    return settings


def fingerprint(settings: Mapping[str, Any]) -> str:
    """A short hash of settings, which each record carries."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def differences(there: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What two nested settings do not share, as `key old -> new`, in order."""
    found = []
    for key in sorted({*there, *now}):
        old, new = there.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key} {json.dumps(old)} -> {json.dumps(new)}")
    return found


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Store JSON, sorted, whole or not at all."""
    with io.replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({type(error).__name__}). Remove it, and run `diorama pseudo-label` again.") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: not what pseudo-label writes. Remove it, and run `diorama pseudo-label` again.")
    return found
