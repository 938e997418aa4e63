"""Microsoft 7-Scenes: Kinect frames of seven rooms with camera poses, in the official layout or as flat folders.

    SCENE/seq-NN/frame-NNNNNN.{color.png,depth.png,pose.txt}, SCENE/{TrainSplit,TestSplit}.txt   (lines `sequence1`, ...)
    image/, depth/, pose/ with equal stems                                                       (one room, no lists)

Depth is 16-bit millimetres where 0 and 65535 are unknown. The pose is camera to world, 4x4, metres. Colour and depth come from two
cameras that are not registered to each other: edges of the two differ by some pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from diorama.data import io
from diorama.data.base import LeftOut, SceneDataset
from diorama.errors import DataError
from diorama.types import UNKNOWN_DEPTH, Frame

INTRINSICS_640X480 = (585.0, 585.0, 320.0, 240.0)
"""fx, fy, cx, cy [px] that the authors state for all rooms, pixel centres at integers."""

_UNKNOWN_MM = 65535
_LISTS = {"train": "TrainSplit.txt", "test": "TestSplit.txt"}
_TRAIN_SHARE = 0.8


def intrinsics(height: int, width: int) -> NDArray[np.float64]:
    """`(3, 3)` camera matrix [px] of the frames resized to height x width (cx' = s cx + (s - 1) / 2)."""
    fx, fy, cx, cy = INTRINSICS_640X480
    sx, sy = width / 640, height / 480
    return np.array([[sx * fx, 0.0, sx * cx + (sx - 1) / 2], [0.0, sy * fy, sy * cy + (sy - 1) / 2], [0.0, 0.0, 1.0]])


def read_depth(path: str | Path) -> NDArray[np.float32]:
    """`(H, W)` depth [m] of a 7-Scenes depth PNG: millimetres, 65535 (no return) becomes 0.

    Raises:
        DataError: the file is missing, damaged or 8-bit.
    """
    depth = io.read_depth(path, scale=1000.0)
    depth[depth >= np.float32(_UNKNOWN_MM / 1000)] = UNKNOWN_DEPTH
    return depth


def read_pose(path: str | Path) -> NDArray[np.float64]:
    """`(4, 4)` camera-to-world matrix [m] of a pose file.

    Raises:
        DataError: the file cannot be read, or holds no rigid 4x4 matrix.
    """
    try:
        numbers = [float(word) for word in Path(path).read_text().split()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no pose ({type(error).__name__}). Unpack the sequence again.") from error
    matrix = np.array(numbers)
    if matrix.size != 16 or not np.isfinite(matrix).all():
        raise DataError(f"{path}: {matrix.size} numbers, expected 16 finite ones row by row. Unpack the sequence again.")
    pose = matrix.reshape(4, 4)
    if not (np.allclose(pose[3], (0, 0, 0, 1)) and np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=0.01)):
        raise DataError(f"{path}: not a rotation and a shift. Unpack the sequence again.")
    return pose


class SevenScenes(SceneDataset):
    """7-Scenes frames: image, depth [m], intrinsics; the camera-to-world pose is `meta["pose"]` (4 rows of 4).

    Args:
        root: a room, the folder of the rooms, or a folder with image/, depth/ (and pose/).
        split: `train` or `test` by the lists of each room; of flat folders the first four fifths and the last one; `all` is both.
        scenes: which rooms of the folder of the rooms; None: all that are there.
    """

    name: ClassVar[str] = "sevenscenes"
    title: ClassVar[str] = "Microsoft 7-Scenes"
    citation: ClassVar[str] = (
        "Shotton, Glocker, Zach, Izadi, Criminisi, Fitzgibbon: Scene Coordinate Regression Forests for Camera Relocalization in "
        "RGB-D Images, CVPR 2013"
    )
    terms: ClassVar[str] = "non-commercial; cite the paper"
    splits: ClassVar[tuple[str, ...]] = ("train", "test", "all")
    derived_splits: ClassVar[frozenset[str]] = frozenset({"all"})
    depth_cap: ClassVar[float] = 10.0
    offers: ClassVar[frozenset[str]] = frozenset({"image", "depth", "intrinsics"})
    root_hint: ClassVar[str] = "SCENE/seq-NN/frame-NNNNNN.{color.png,depth.png,pose.txt} with TrainSplit.txt, or image/, depth/, pose/"
    root: Path

    def __init__(self, root: str | Path, split: str = "train", scenes: Sequence[str] | None = None) -> None:
        self.root, self.split = Path(root), split
        self._check_split()
        if not self.root.is_dir():
            raise DataError(f"{self.root}: no such folder. Point --data.root at {self.root_hint}.")
        self.labels = None
        self.provides = self.offers
        self._flat = (self.root / "image").is_dir()
        self._lacking: list[str] = []
        self.ids = self._flat_ids() if self._flat else [frame_id for room in self._rooms(scenes) for frame_id in self._room_ids(room)]
        if not self.ids:
            raise DataError(f"{self.root}: no {split} frames with image and depth. Point --data.root at {self.root_hint}.")

    def files(self) -> Iterable[Path]:
        """The image, depth and pose files of the split."""
        return [path for frame_id in self.ids for path in self._paths(frame_id) if path is not None]

    def check(self) -> list[str]:
        """Images without depth, which are left out."""
        if not self._lacking:
            return []
        return [LeftOut(f"{self.root}: {len(self._lacking)} images have no depth (first: {self._lacking[0]}) and are left out. Unpack it.")]

    def frame(self, index: int) -> Frame:
        """Frame number `index`: image, depth, intrinsics, meta with the pose, at native size (480x640 in the official files).

        Raises:
            DataError: a file is missing or damaged, or image and depth differ in size.
        """
        frame_id = self.ids[index]
        photo, depth, pose = self._paths(frame_id)
        frame: Frame = {
            "image": io.read_image(photo),
            "depth": read_depth(depth),
            "meta": {"id": frame_id, "path": str(photo), "split": self.split},
        }
        if pose is not None:
            frame["meta"]["pose"] = read_pose(pose).tolist()
        self._check_sizes(frame, frame_id)
        frame["intrinsics"] = intrinsics(*frame["depth"].shape)
        return frame

    def _paths(self, frame_id: str) -> tuple[Path, Path, Path | None]:
        if self._flat:
            photo = next(path for suffix in (".jpg", ".png") if (path := self.root / "image" / f"{frame_id}{suffix}").is_file())
            depth, pose = self.root / "depth" / f"{frame_id}.png", self.root / "pose" / f"{frame_id}.txt"
        else:
            base = self.root.parent / frame_id if self._one_room else self.root / frame_id
            photo, depth, pose = (base.with_name(f"{base.name}.{ending}") for ending in ("color.png", "depth.png", "pose.txt"))
        return photo, depth, pose if pose.is_file() else None

    def _flat_ids(self) -> list[str]:
        stems = sorted({path.stem for path in (self.root / "image").iterdir() if path.suffix in (".jpg", ".png")})
        self._lacking = [stem for stem in stems if not (self.root / "depth" / f"{stem}.png").is_file()]
        stems = sorted(set(stems) - set(self._lacking))
        # neighbours of one recording are alike: cut once instead of drawing
        cut = round(_TRAIN_SHARE * len(stems))
        return {"train": stems[:cut], "test": stems[cut:], "all": stems}[self.split]

    def _rooms(self, scenes: Sequence[str] | None) -> list[Path]:
        self._one_room = any(self.root.glob("seq-*")) or any((self.root / name).is_file() for name in _LISTS.values())
        if self._one_room:
            return [self.root]
        there = sorted(path for path in self.root.iterdir() if path.is_dir() and any(path.glob("seq-*")))
        names = [path.name for path in there]
        unknown = [name for name in scenes or () if name not in names]
        if unknown:
            raise DataError(f"{self.root}: no room '{unknown[0]}' with seq-NN folders (there: {', '.join(names) or 'none'}). Unpack it.")
        return [path for path in there if scenes is None or path.name in scenes]

    def _room_ids(self, room: Path) -> list[str]:
        found: list[str] = []
        for number in self._sequences(room):
            folder = room / f"seq-{number:02d}"
            if not folder.is_dir():
                raise DataError(f"{folder}: no such folder, though the lists of {room.name} name it. Unpack seq-{number:02d}.zip.")
            for photo in sorted(folder.glob("frame-*.color.png")):
                frame_id = f"{room.name}/{folder.name}/{photo.name.removesuffix('.color.png')}"
                has_depth = photo.with_name(photo.name.replace(".color.", ".depth.")).is_file()
                (found if has_depth else self._lacking).append(frame_id)
        return found

    def _sequences(self, room: Path) -> list[int]:
        numbers: list[int] = []
        for split in _LISTS if self.split == "all" else (self.split,):
            path = room / _LISTS[split]
            if not path.is_file():
                raise DataError(f"{path}: missing. Copy the list of the official archive, or choose --data.split all of flat folders.")
            for line in path.read_text().split():
                match = re.fullmatch(r"(?:sequence|seq-?)?0*(\d+)", line.strip())
                if match is None:
                    raise DataError(f"{path}: '{line}' names no sequence, expected sequence1, sequence2, ... Copy the official list.")
                numbers.append(int(match.group(1)))
        return sorted(numbers)
