"""Frames at training size, made once and kept on disk as memory-mapped arrays: decoding and shrinking cost 50x a read.

Rules of `resize_frame`: RGB is area-averaged, labels, dense depth and confidence take the nearest pixel, sparse depth is
splatted (the nearest to the camera wins), metric depth keeps its values, disparity scales with the width, intrinsics scale with
pixel centres at integers.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.data.base import SceneDataset, WrappedDataset
from diorama.data.mapped import SPARSE_KEYS
from diorama.errors import DataError
from diorama.types import Frame

FORMAT = 1
"""Raised whenever the stored arrays or the resize rules change: older caches are then left alone and rebuilt."""
_NEAREST = {"semantic", "semantic_right", "depth", "pseudo_depth", "pseudo_depth_right", "confidence", "confidence_right"}

_log = logging.getLogger("diorama.data")


def cache_folder() -> Path:
    """Where caches live: $DIORAMA_CACHE, else $XDG_CACHE_HOME/diorama, else ~/.cache/diorama."""
    chosen = os.environ.get("DIORAMA_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "diorama"


def resize_intrinsics(matrix: NDArray[np.float64], old: tuple[int, int], new: tuple[int, int]) -> NDArray[np.float64]:
    """`(3, 3)` camera matrix [px] after a resize from `old` to `new` (H, W): fx' = s fx, cx' = s cx + (s - 1) / 2."""
    sy, sx = new[0] / old[0], new[1] / old[1]
    return np.array([[sx, 0.0, (sx - 1) / 2], [0.0, sy, (sy - 1) / 2], [0.0, 0.0, 1.0]]) @ matrix


def resize_nearest(values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """`(H, W)` -> `size`, each pixel from the old pixel under its centre."""
    rows, columns = (np.arange(new) * 2 + 1 for new in size)
    rows, columns = rows * values.shape[0] // (2 * size[0]), columns * values.shape[1] // (2 * size[1])
    return np.ascontiguousarray(values[rows[:, None], columns[None]])


def resize_image(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """`(H, W, 3)` -> `size`: averaged over areas where it shrinks, bilinear where it grows."""
    shrinks = size[0] <= image.shape[0] and size[1] <= image.shape[1]
    resized = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)


def splat(depth: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Sparse `(H, W)` depth [m], 0 = unknown -> `size`: every point moves to the pixel that covers it, the nearest depth wins."""
    rows, columns = np.nonzero(depth)
    target = np.full(size, np.inf, np.float32)
    where = ((rows * 2 + 1) * size[0] // (2 * depth.shape[0]), (columns * 2 + 1) * size[1] // (2 * depth.shape[1]))
    np.minimum.at(target, where, depth[rows, columns])
    target[np.isinf(target)] = 0
    return target


def resize_frame(frame: Frame, size: tuple[int, int]) -> Frame:
    """The frame at `size` (H, W) by the rules of this module; `meta` gains `native_size`."""
    values: dict[str, Any] = dict(frame)
    old = next((values[key].shape[:2] for key in ("image", "semantic", "depth", "sparse_depth") if key in values), None)
    if old is None:
        raise DataError("a frame without image, semantic and depth has no size. Check the data set's `provides`.")
    resized = {**values, "meta": {**values.get("meta", {}), "native_size": [int(n) for n in old]}}
    sparse = {"sparse_depth", *resized["meta"].get(SPARSE_KEYS, ())}
    for key, value in values.items():
        if key in ("image", "right"):
            resized[key] = resize_image(value, size)
        elif key in sparse:
            resized[key] = splat(value, size)
        elif key in _NEAREST:
            resized[key] = resize_nearest(value, size)
        elif key in ("disparity", "matched"):
            resized[key] = resize_nearest(value, size) * np.float32(size[1] / old[1])
        elif key == "intrinsics":
            resized[key] = resize_intrinsics(value, old, size)
    return resized  # type: ignore[return-value]


class CachedDataset(WrappedDataset):
    """A data set whose frames were resized once to `size` (H, W) and are read from memory-mapped arrays.

    The cache is keyed by the data set's name, settings, ids, files (count, sizes, times) and reader, so that a changed
    file or reader makes a new one. Two processes that start at once build it once. Keys outside `provides` are dropped.
    """

    def __init__(self, dataset: SceneDataset, size: tuple[int, int], folder: str | Path | None = None) -> None:
        super().__init__(dataset)
        self.size = (int(size[0]), int(size[1]))
        key = fingerprint(dataset, self.size)
        self.folder = Path(folder or cache_folder()) / f"{dataset.name}-{dataset.split}-{self.size[0]}x{self.size[1]}-{key[:16]}"
        with _lock(self.folder):
            if not (self.folder / "meta.json").is_file():
                _build(dataset, self.size, self.folder)
        self._meta: list[dict[str, Any]] = json.loads((self.folder / "meta.json").read_text())
        self._arrays: dict[str, NDArray[Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        # A memory map would be pickled as a copy of all frames.
        return {**self.__dict__, "_arrays": {}}

    def frame(self, index: int) -> Frame:
        """Frame number `index` at `size`; the arrays are copies that may be written to."""
        if not self._arrays:
            self._arrays = {key: np.load(self.folder / f"{key}.npy", mmap_mode="r") for key in sorted(self.provides)}
        frame: dict[str, Any] = {key: np.array(stored[index]) for key, stored in self._arrays.items()}
        for key, kind in (("baseline", float), ("domain", int)):
            if key in frame:
                frame[key] = kind(frame[key])
        frame["meta"] = dict(self._meta[index])
        return frame  # type: ignore[return-value]


def fingerprint(dataset: SceneDataset, size: tuple[int, int]) -> str:
    """A hash of everything a cached copy depends on."""
    source = Path(inspect.getfile(type(dataset)))
    files = [path for path in dataset.files() if path.is_file()]
    # Without files the frames come from the code of the reader's whole folder (procedural scenes).
    code = [source] if files else sorted(source.parent.glob("*.py"))
    facts = {
        "format": FORMAT,
        "name": dataset.name,
        "root": str(dataset.root.resolve()) if dataset.root else None,
        "split": dataset.split,
        "size": size,
        "ids": dataset.ids,
        "labels": [dataset.labels.name, dataset.labels.classes] if dataset.labels else None,
        "provides": sorted(dataset.provides),
        "settings": {key: value for key, value in sorted(vars(dataset).items()) if _is_setting(key, value)},
        "files": [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files],
        "code": [hashlib.sha256(path.read_bytes()).hexdigest() for path in code],
    }
    if isinstance(dataset, WrappedDataset):  # what is behind has settings and code of its own
        facts["behind"] = fingerprint(dataset.dataset, size)
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()


def _is_setting(key: str, value: object) -> bool:
    """Whether an attribute says how the frames are made (an object's repr may hold its address: never the same twice)."""
    plain = (str, int, float, bool, type(None))
    many = isinstance(value, (list, tuple)) and all(isinstance(part, plain) for part in value)
    return not key.startswith("_") and key != "ids" and (isinstance(value, plain) or many)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """One builder at a time; the system lets go of the lock when its process ends, however that happens."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        file = (folder.parent / f".{folder.name}.lock").open("w")
    except OSError as error:
        raise DataError(f"{folder.parent}: cannot write the cache there ({error.strerror}). Set DIORAMA_CACHE.") from error
    with file:
        try:
            import fcntl
        except ImportError:  # Windows: both build, the second finds the folder there and drops its own
            yield
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _new_array(path: Path, first: NDArray[Any], count: int) -> NDArray[Any]:
    # A memory map on a full disk ends the process with SIGBUS instead of an error: ask before.
    free = shutil.disk_usage(path.parent).free
    if first.nbytes * count > free:
        raise DataError(
            f"{path.parent.parent}: the cache needs {first.nbytes * count >> 20} MiB, {free >> 20} are free. Move it with DIORAMA_CACHE."
        )
    return np.lib.format.open_memmap(path, "w+", first.dtype, (count, *first.shape))


def _build(dataset: SceneDataset, size: tuple[int, int], folder: Path) -> None:
    """Write every frame into a temporary folder beside `folder` and rename it when all is there."""
    _log.info("caching %d frames of %s %s at %dx%d in %s", len(dataset), dataset.name, dataset.split, *size, folder)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    arrays: dict[str, NDArray[Any]] = {}
    meta = []
    try:
        for index in range(len(dataset)):
            frame = resize_frame(dataset[index], size)
            lacking = dataset.provides - set(frame)
            if lacking:
                raise DataError(f"{dataset.name}: frame {dataset.ids[index]} has no '{min(lacking)}'. Run `diorama data check`.")
            for key in dataset.provides:
                value = np.asarray(frame[key])  # type: ignore[literal-required]
                if key not in arrays:
                    arrays[key] = _new_array(temporary / f"{key}.npy", value, len(dataset))
                arrays[key][index] = value
            meta.append(frame["meta"])
            if (index + 1) % 500 == 0:
                _log.info("cached %d of %d frames", index + 1, len(dataset))
        for stored in arrays.values():
            stored.flush()  # type: ignore[attr-defined]
        (temporary / "meta.json").write_text(json.dumps(meta, default=str))
        temporary.chmod(0o755)
        try:
            temporary.rename(folder)
        except OSError:
            if not (folder / "meta.json").is_file():
                raise
    except OSError as error:
        raise DataError(f"{folder}: cannot write the cache ({error.strerror}). Free some space or set DIORAMA_CACHE.") from error
    finally:
        arrays.clear()
        shutil.rmtree(temporary, ignore_errors=True)
