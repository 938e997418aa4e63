"""What the KITTI readers share: which files make a frame, the bottom crop, and what is odd about them."""

from __future__ import annotations

import logging
import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from diorama.data import io
from diorama.data.base import LeftOut, SceneDataset
from diorama.data.crop import cut, extent
from diorama.data.kitti_calibration import KittiCamera
from diorama.data.kitti_velodyne import implausible
from diorama.data.scan import kitti_lidar
from diorama.errors import ConfigError, DataError, ShapeError
from diorama.types import Frame

_log = logging.getLogger("diorama.data")

DEPTH_SCALE = 256.0
"""Integers of KITTI's depth and disparity files are metres (pixels) * 256."""

BENCHMARK_CROP = (352, 1216)
"""Height and width [px] of the cropped frames of the depth benchmark: every day's images are larger."""

PHOTOS = (".png", ".jpg")
"""Suffixes of photos; many keep the raw recordings as JPEG."""

_DRIVE = re.compile(r"\d{4}_\d{2}_\d{2}_drive_\d{4}_sync")
_LOOKED_AT = 5


class Listing:
    """Files of one kind by frame id, `GROUP/STEM` or a bare stem; kept as folders, so that 90,000 frames stay small."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self._groups: dict[str, list[tuple[Path, str, tuple[str, str]]]] = {}

    def add(self, group: str, folder: Path, suffixes: Sequence[str] = (".png",), written: tuple[str, str] = ("", "")) -> set[str]:
        """List the files of `folder` under `group` (empty: bare stems) and return their ids.

        `written` is (part of the id, what stands in the file name instead). The first suffix that occurs counts.
        """
        if not folder.is_dir():
            return set()
        for suffix in suffixes:
            stems = [path.name.removesuffix(suffix) for path in folder.iterdir() if path.name.endswith(suffix) and path.name[0] != "."]
            if stems:
                part, stands = written
                ids = {f"{group}/{stem}" if group else stem.replace(stands, part, 1) if stands else stem for stem in stems}
                self.ids |= ids
                self._groups.setdefault(group, []).append((folder, suffix, written))
                return ids
        return set()

    def share(self, group: str, path: Path, ids: Iterable[str]) -> None:
        """One file (or folder) for all `ids` of `group`, if it is there."""
        if path.exists():
            self.ids |= set(ids)
            self._groups[group] = [(path, "", ("", ""))]

    def path(self, frame_id: str) -> Path:
        """The file of a frame."""
        group, _, stem = frame_id.rpartition("/")
        places = self._groups[group]
        paths = (
            folder / f"{stem.replace(part, stands, 1) if part else stem}{suffix}" if suffix else folder
            for folder, suffix, (part, stands) in places
        )
        # a drive that is unpacked in parts lies in several folders
        return next(paths) if len(places) == 1 else next((path for path in paths if path.exists()), places[0][0] / stem)


class KittiDataset(SceneDataset):
    """A reader whose frames are made from listed files; a subclass lists them and says how a frame is made."""

    sources: ClassVar[Mapping[str, tuple[str, ...]]]
    """Key of a frame -> the kinds of file it is made from."""
    scanned: ClassVar[tuple[str, ...]] = ("sparse_depth", "depth")
    """Keys that come from a LiDAR, whose reach is known."""
    terms: ClassVar[str] = "CC BY-NC-SA 3.0; cite the paper"
    depth_cap: ClassVar[float] = 80.0
    root: Path

    def _list(self, keys: Sequence[str] | None, default: Sequence[str], crop: Sequence[int] | None) -> None:
        """Choose the keys, list their files, keep the frames that have all of them."""
        self.keys = tuple(default if keys is None else keys)
        self._check_keys(self.keys, self.sources)
        if crop is not None and (len(crop) != 2 or min(crop) < 1):
            raise ConfigError(f"{self.name}: crop is {list(crop)}. Give height and width in pixels, e.g. [352, 1216].")
        if not self.root.is_dir():
            raise DataError(f"{self.root}: no such folder. Point --data.root at {self.root_hint}.")
        self.crop = None if crop is None else (int(crop[0]), int(crop[1]))
        self.provides = frozenset(self.keys)
        self._kinds = sorted({kind for key in self.keys for kind in self.sources[key]})
        self._files = self._listings()
        found = {kind: self._files[kind].ids for kind in self._kinds}
        wanted = self._wanted()
        self.ids = sorted(set.intersection(*found.values()) if wanted is None else set.intersection(wanted, *found.values()))
        union = set().union(*found.values()) if wanted is None else wanted
        self._left_out = {kind: sorted(union - ids) for kind, ids in found.items()}
        self._warned = False
        if not self.ids:
            counts = ", ".join(f"{kind} {len(ids)}" for kind, ids in found.items())
            raise DataError(
                f"{self.root}: no {self.split} frame of {self.name} has all it needs (files: {counts}). Unpack {self.root_hint}, or name "
                "fewer --data.keys."
            )

    @abstractmethod
    def _listings(self) -> Mapping[str, Listing]:
        """Kind of file -> its listing; every kind in `self._kinds`."""

    def _wanted(self) -> set[str] | None:
        """The ids of the split, None: whatever is there."""
        return None

    @abstractmethod
    def _read(self, frame_id: str, paths: Mapping[str, Path]) -> dict[str, Any]:
        """The keys of the frame from its files, at native size; and `camera`, the calibration of the scanner, where it is known."""

    def files(self) -> Iterable[Path]:
        """Every file that a frame is made from."""
        paths = (self._files[kind].path(frame_id) for frame_id in self.ids for kind in self._kinds)
        return list(dict.fromkeys(path for path in paths))

    def check(self) -> list[str]:
        """How many frames were left out for want of which file, and depths in implausible units among the first to last frame."""
        found: list[str] = [
            LeftOut(
                f"{self.root}: {len(ids)} {self.split} frames lack {kind} (first: {ids[0]}) and are left out. "
                "Unpack it, or name fewer keys."
            )
            for kind, ids in self._left_out.items()
            if ids
        ]
        for index in np.unique(np.linspace(0, len(self) - 1, _LOOKED_AT).round().astype(int)):
            try:
                found += self._odd(self._made(self.ids[index]), self.ids[index])
            except DataError:
                continue  # damage is told frame by frame
        return found

    def frame(self, index: int) -> Frame:
        """Frame number `index`: the keys asked for and meta, cropped if `crop` says so.

        Raises:
            DataError: a file is missing or damaged, sizes differ, the calibration is another day's, or no return is in view.
        """
        frame_id = self.ids[index]
        frame = self._made(frame_id)
        if not self._warned and (odd := self._odd(frame, frame_id)):
            self._warned = True
            _log.warning("%s (said once)", odd[0])
        return frame

    def _made(self, frame_id: str) -> Frame:
        paths = {kind: self._files[kind].path(frame_id) for kind in self._kinds}
        frame = self._read(frame_id, paths)
        camera: KittiCamera | None = frame.pop("camera", None)
        frame = {key: value for key, value in frame.items() if key in self.provides}
        self._check_sizes(frame, frame_id)  # type: ignore[arg-type]
        if self.crop is not None:
            frame = cropped(frame, self.crop, f"{self.name} {frame_id}")
        first = paths.get("image", next(iter(paths.values())))
        frame["meta"] = {"id": frame_id, "path": str(first), "split": self.split}
        if "sparse_depth" in frame and camera is not None and camera.scanner_to_camera is not None:
            frame["meta"]["lidar"] = kitti_lidar(camera.scanner_to_camera).to_meta()
        return frame  # type: ignore[return-value]

    def _odd(self, frame: Frame, frame_id: str) -> list[str]:
        values: Mapping[str, Any] = frame
        texts = ((key, implausible(values[key])) for key in self.scanned if key in values)
        return [f"{self.name} {frame_id}: {key}: {text}" for key, text in texts if text]


def cropped(frame: Mapping[str, Any], size: tuple[int, int], where: str = "frame") -> dict[str, Any]:
    """The bottom `size` `(H, W)` of every map, horizontally centred as in the depth benchmark; intrinsics move with it.

    Rows start at H - size[0], columns at (W - size[1]) // 2. Other keys stay as they are.

    Raises:
        ShapeError: a map is smaller than `size`, or there is no map beside the intrinsics.
    """
    found = extent(frame)
    if found is None:
        raise ShapeError(f"{where}: intrinsics without a map cannot be cropped. Ask for 'image' or 'sparse_depth' as well.")
    key, height, width = found
    if height < size[0] or width < size[1]:
        raise ShapeError(f"{where}: {key} is {width}x{height}, smaller than the crop {size[1]}x{size[0]}. Choose a smaller crop.")
    return cut(frame, height - size[0], (width - size[1]) // 2, size)


def grouped(ids: Iterable[str]) -> dict[str, list[str]]:
    """`GROUP/STEM` ids by group, in order."""
    found: dict[str, list[str]] = {}
    for frame_id in sorted(ids):
        found.setdefault(frame_id.rpartition("/")[0], []).append(frame_id)
    return found


def drives(folder: Path) -> list[str]:
    """Names of the drives (`2011_09_26_drive_0001_sync`) in a folder; empty if it is not there."""
    return sorted(path.name for path in folder.iterdir() if _DRIVE.fullmatch(path.name)) if folder.is_dir() else []


def depth_maps(root: Path, splits: Sequence[str], kind: str, cameras: Sequence[int]) -> Listing:
    """`proj_depth/{kind}` of every drive below `data_depth_velodyne/SPLIT`, `data_depth_annotated/SPLIT` or `SPLIT` itself."""
    listing = Listing()
    for split in splits:
        for base in (root / "data_depth_velodyne" / split, root / "data_depth_annotated" / split, root / split):
            for drive in drives(base):
                for camera in cameras:
                    listing.add(f"{drive}/image_0{camera}", base / drive / "proj_depth" / kind / f"image_0{camera}")
    return listing


def raw_root(root: Path, raw: str | Path | None = None) -> Path:
    """The folder of the raw recordings (`2011_09_26/...`): `raw` itself if given, else `root` or a usual folder in it."""
    if raw is not None:
        if not Path(raw).is_dir():
            raise DataError(f"{raw}: no such folder. Point --data.raw at the folder with 2011_09_26/ and the other days.")
        return Path(raw)
    places = (root, root / "raw", root / "raw_data", root / "kitti_raw")
    return next((place for place in places if place.is_dir() and any(place.glob("????_??_??"))), root)


def read_map(path: Path) -> NDArray[np.float32]:
    """`(H, W)` depth [m] or disparity [px] of a 16-bit KITTI PNG, 0 = unknown."""
    return io.read_depth(path, DEPTH_SCALE)


def require_cameras(name: str, cameras: Sequence[int]) -> tuple[int, ...]:
    """`cameras` as a tuple.

    Raises:
        ConfigError: one is neither 2 nor 3, or there is none.
    """
    chosen = tuple(dict.fromkeys(int(camera) for camera in cameras))
    if not chosen or not set(chosen) <= {2, 3}:
        raise ConfigError(f"{name}: cameras is {list(cameras)}. Choose 2 (left colour), 3 (right colour) or both.")
    return chosen
