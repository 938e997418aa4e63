"""KITTI's benchmarks of single frames: object detection, semantics and stereo 2015, each in its own `training/` and `testing/`.

The test frames have no public truth, so `val` is a tenth of the training frames, drawn by a hash of the frame's number, and
`train_minus_val` the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from diorama.data import io
from diorama.data.cityscapes import read_label_ids
from diorama.data.disparity import depth_from_disparity
from diorama.data.kitti_base import PHOTOS, KittiDataset, Listing, read_map
from diorama.data.kitti_calibration import read_camera
from diorama.data.kitti_velodyne import read_scan
from diorama.data.labels import CITYSCAPES7, CITYSCAPES19
from diorama.errors import ConfigError, DataError

_LAST_LABEL_ID = 33


def held_out(frame_id: str) -> bool:
    """Whether a training frame is one of the tenth kept for validation; a pure function of its number."""
    return int(hashlib.sha256(f"kitti val {frame_id.partition('_')[0]}".encode()).hexdigest()[:8], 16) % 10 == 0


class KittiBenchmark(KittiDataset):
    """Frames of `training/` or `testing/`, matched by file stem."""

    splits: ClassVar[tuple[str, ...]] = ("train", "test", "val", "train_minus_val")
    derived_splits: ClassVar[frozenset[str]] = frozenset({"val", "train_minus_val"})
    folders: ClassVar[Mapping[str, tuple[str, tuple[str, ...]]]]
    """Kind of file -> (folder, suffixes)."""
    unlabelled: ClassVar[frozenset[str]]
    """Keys that the test frames do not have."""

    def _open(self, root: str | Path, split: str, keys: Sequence[str] | None, crop: tuple[int, int] | None) -> None:
        self.root, self.split = Path(root), split
        self._check_split()
        public = [key for key in self.sources if split != "test" or key not in self.unlabelled]
        self._list(keys, public, crop)

    def _listings(self) -> Mapping[str, Listing]:
        base = self.root / ("testing" if self.split == "test" else "training")
        listings = {kind: Listing() for kind in self.folders}
        for kind, (folder, suffixes) in self.folders.items():
            if kind in self._kinds:
                listings[kind].add("", base / folder, suffixes)
        return listings

    def _wanted(self) -> set[str] | None:
        if self.split not in ("val", "train_minus_val"):
            return None
        ids = set().union(*(self._files[kind].ids for kind in self._kinds))
        return {frame_id for frame_id in ids if held_out(frame_id) == (self.split == "val")}


class KittiObject(KittiBenchmark):
    """KITTI object frames: image, right view, LiDAR projected into the left colour camera, intrinsics, baseline. The boxes are not read.

    Args:
        root: the folder with `training/` and `testing/`, each with image_2, velodyne, calib (and image_3).
        split: `train` (7,481 frames), `test` (7,518); `val` is a tenth of train, `train_minus_val` the rest of it.
        keys: what a frame holds, out of image, right, sparse_depth, intrinsics, baseline; frames without one of these files are left out.
        crop: height and width [px] of the bottom, horizontally centred crop; None: native size.
    """

    name: ClassVar[str] = "kitti_object"
    title: ClassVar[str] = "KITTI object detection"
    citation: ClassVar[str] = "Geiger, Lenz, Urtasun: Are we ready for Autonomous Driving? The KITTI Vision Benchmark Suite, CVPR 2012"
    offers: ClassVar[frozenset[str]] = frozenset({"image", "right", "sparse_depth", "intrinsics", "baseline"})
    root_hint: ClassVar[str] = "{training, testing}/{image_2, velodyne, calib}"
    sources: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "image": ("image",),
        "right": ("right",),
        "sparse_depth": ("image", "velodyne", "calib"),
        "intrinsics": ("calib",),
        "baseline": ("calib",),
    }
    folders: ClassVar[Mapping[str, tuple[str, tuple[str, ...]]]] = {
        "image": ("image_2", PHOTOS),
        "right": ("image_3", PHOTOS),
        "velodyne": ("velodyne", (".bin",)),
        "calib": ("calib", (".txt",)),
    }
    unlabelled: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        keys: Sequence[str] = ("image", "sparse_depth", "intrinsics"),
        crop: tuple[int, int] | None = None,
    ) -> None:
        self.labels = None
        self._open(root, split, keys, crop)

    def _read(self, frame_id: str, paths: Mapping[str, Path]) -> dict[str, Any]:  # noqa: ARG002
        frame: dict[str, Any] = {}
        if "image" in self.keys:
            frame["image"] = io.read_image(paths["image"])
        if "right" in paths:
            frame["right"] = io.read_image(paths["right"])
        if "calib" in paths:
            camera = read_camera(paths["calib"])
            frame |= {"intrinsics": camera.intrinsics, "baseline": camera.baseline, "camera": camera}
            if "velodyne" in paths:
                frame["sparse_depth"] = read_scan(paths["velodyne"], camera, io.image_size(paths["image"]))
        return frame


class KittiSemantics(KittiBenchmark):
    """KITTI semantics: image and labels, 19 Cityscapes classes (or the 7 categories).

    Args:
        root: the folder with `training/{image_2,semantic}` and `testing/image_2`.
        split: `train` (200 frames), `test` (200, no labels); `val` is a tenth of train, `train_minus_val` the rest of it.
        classes: 19 or 7.
        crop: height and width [px] of the bottom, horizontally centred crop; None: native size.
    """

    name: ClassVar[str] = "kitti_semantics"
    title: ClassVar[str] = "KITTI semantics"
    citation: ClassVar[str] = (
        "Alhaija, Mustikovela, Mescheder, Geiger, Rother: Augmented Reality Meets Computer Vision: Efficient Data Generation for Urban "
        "Driving Scenes, IJCV 2018"
    )
    offers: ClassVar[frozenset[str]] = frozenset({"image", "semantic"})
    root_hint: ClassVar[str] = "training/{image_2, semantic} and testing/image_2"
    sources: ClassVar[Mapping[str, tuple[str, ...]]] = {"image": ("image",), "semantic": ("semantic",)}
    folders: ClassVar[Mapping[str, tuple[str, tuple[str, ...]]]] = {
        "image": ("image_2", PHOTOS),
        "semantic": ("semantic", (".png",)),
    }
    unlabelled: ClassVar[frozenset[str]] = frozenset({"semantic"})

    def __init__(self, root: str | Path, split: str = "train", classes: int = 19, crop: tuple[int, int] | None = None) -> None:
        if classes not in (19, 7):
            raise ConfigError(f"kitti_semantics: classes={classes}. Choose 19 or 7.")
        self.classes = classes
        self._open(root, split, None, crop)
        self.labels = None if split == "test" else CITYSCAPES19 if classes == 19 else CITYSCAPES7

    def _read(self, frame_id: str, paths: Mapping[str, Path]) -> dict[str, Any]:  # noqa: ARG002
        frame: dict[str, Any] = {"image": io.read_image(paths["image"])}
        if "semantic" in paths:
            frame["semantic"] = read_label_ids(paths["semantic"], self.classes, "the files of semantic/")
        return frame


class KittiStereo(KittiBenchmark):
    """KITTI stereo 2015: rectified pairs, disparity [px], the depth [m] it means, intrinsics, baseline. The first of each two frames.

    Args:
        root: the folder with `training/` and `testing/`, each with image_2, image_3, calib_cam_to_cam (and disp_occ_0).
        split: `train` (200 frames), `test` (200, no disparity); `val` is a tenth of train, `train_minus_val` the rest of it.
        keys: what a frame holds, out of image, right, disparity, depth, intrinsics, baseline; frames without one of these files are
            left out. None: all that the split is published with.
        disparity: `occ` (all pixels) or `noc` (those seen in both views).
        crop: height and width [px] of the bottom, horizontally centred crop; None: native size.
    """

    name: ClassVar[str] = "kitti_stereo"
    title: ClassVar[str] = "KITTI stereo 2015"
    citation: ClassVar[str] = "Menze, Geiger: Object Scene Flow for Autonomous Vehicles, CVPR 2015"
    offers: ClassVar[frozenset[str]] = frozenset({"image", "right", "disparity", "depth", "intrinsics", "baseline"})
    root_hint: ClassVar[str] = "{training, testing}/{image_2, image_3, disp_occ_0, calib_cam_to_cam}"
    sources: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "image": ("image",),
        "right": ("right",),
        "disparity": ("disparity",),
        "depth": ("disparity", "calib"),
        "intrinsics": ("calib",),
        "baseline": ("calib",),
    }
    unlabelled: ClassVar[frozenset[str]] = frozenset({"disparity", "depth"})
    scanned: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        keys: Sequence[str] | None = None,
        disparity: Literal["occ", "noc"] = "occ",
        crop: tuple[int, int] | None = None,
    ) -> None:
        if disparity not in ("occ", "noc"):
            raise ConfigError(f"kitti_stereo: disparity='{disparity}'. Choose 'occ' or 'noc'.")
        self.labels = None
        self.folders = {  # type: ignore[misc]
            "image": ("image_2", ("_10.png", "_10.jpg")),
            "right": ("image_3", ("_10.png", "_10.jpg")),
            "disparity": (f"disp_{disparity}_0", ("_10.png",)),
            "calib": ("calib_cam_to_cam", (".txt",)),
        }
        self._open(root, split, keys, crop)

    def official_place(self, kind: str, frame_id: str) -> tuple[str, str] | None:
        """Disparity in `disp_occ_0/` (or `disp_noc_0/`)."""
        folder, (ending,) = self.folders["disparity"]
        base = "testing" if self.split == "test" else "training"
        return (f"{base}/{folder}/{frame_id}{ending}", "kitti") if kind == "disparity" else None

    def _read(self, frame_id: str, paths: Mapping[str, Path]) -> dict[str, Any]:  # noqa: ARG002
        frame: dict[str, Any] = {key: io.read_image(paths[key]) for key in ("image", "right") if key in paths}
        if "disparity" in paths:
            frame["disparity"] = read_map(paths["disparity"])
        if "calib" in paths:
            camera = read_camera(paths["calib"])
            if camera.baseline is None:
                raise DataError(f"{paths['calib']}: no 'P_rect_03'. Unpack the calibration of stereo 2015 again.")
            frame |= {"intrinsics": camera.intrinsics, "baseline": camera.baseline}
            if "disparity" in frame:
                frame["depth"] = depth_from_disparity(frame["disparity"], camera.intrinsics[0, 0], camera.baseline)
        return frame
