"""KITTI depth completion in its official layouts.

    data_depth_velodyne/{train,val}/DRIVE/proj_depth/velodyne_raw/image_0{2,3}/FRAME.png
    data_depth_annotated/{train,val}/DRIVE/proj_depth/groundtruth/image_0{2,3}/FRAME.png
    DATE/DRIVE/image_0{2,3}/data/FRAME.png, DATE/calib_cam_to_cam.txt           (raw recordings, also in raw/ or at `raw`)
    depth_selection/{val_selection_cropped,test_depth_completion_anonymous,test_depth_prediction_anonymous}/
        {image,velodyne_raw,groundtruth_depth,intrinsics}

The two archives of depth maps hold `train/` and `val/`; unpacked into one folder (`train/DRIVE/proj_depth/...`) they are read as well.
`KittiLidar` reads one flat folder of that last kind with frames of your own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from diorama.data import io
from diorama.data.folder import read_camera as read_intrinsics
from diorama.data.kitti_base import PHOTOS, KittiDataset, Listing, depth_maps, grouped, raw_root, read_map, require_cameras
from diorama.data.kitti_calibration import CAM_TO_CAM, VELO_TO_CAM, read_camera, require_size

_SELECTIONS = {
    "val_selection": "val_selection_cropped",
    "test": "test_depth_completion_anonymous",
    "test_prediction": "test_depth_prediction_anonymous",
}
_IMAGE = "_sync_image_"
_KEYS = {
    "test": ("image", "sparse_depth", "intrinsics"),
    "test_prediction": ("image", "intrinsics"),
}


class Kitti(KittiDataset):
    """KITTI depth completion: image, projected LiDAR, annotated depth (semi-dense), intrinsics.

    Args:
        root: the folder with the official folders (see the module).
        split: `train` (85,898 frames of both cameras), `val` (6,852), `val_selection` (1,000, cropped), `test` (1,000, no truth),
            `test_prediction` (500, the image alone).
        keys: what a frame holds, out of image, sparse_depth, depth, intrinsics; frames without one of these files are left out.
            None: all that the split is published with. Without the raw recordings: [sparse_depth, depth].
        cameras: 2 (left), 3 (right) or both; for train and val.
        crop: height and width [px] of the bottom, horizontally centred crop, e.g. [352, 1216]; None: native size.
        raw: folder of the raw recordings if it is neither `root` nor `root/raw`.
    """

    name: ClassVar[str] = "kitti"
    title: ClassVar[str] = "KITTI depth completion"
    citation: ClassVar[str] = (
        "Uhrig, Schneider, Schneider, Franke, Brox, Geiger: Sparsity Invariant CNNs, 3DV 2017; "
        "Geiger, Lenz, Stiller, Urtasun: Vision meets Robotics: The KITTI Dataset, IJRR 2013"
    )
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "val_selection", "test", "test_prediction")
    offers: ClassVar[frozenset[str]] = frozenset({"image", "sparse_depth", "depth", "intrinsics"})
    root_hint: ClassVar[str] = "data_depth_velodyne, data_depth_annotated, depth_selection and the raw DATE/DRIVE folders"
    sources: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "image": ("image",),
        "sparse_depth": ("velodyne_raw",),
        "depth": ("groundtruth",),
        "intrinsics": ("intrinsics",),
    }

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        keys: Sequence[str] | None = None,
        cameras: Sequence[int] = (2, 3),
        crop: tuple[int, int] | None = None,
        raw: str | None = None,
    ) -> None:
        self.root, self.split, self._raw = Path(root), split, raw
        self._check_split()
        self.labels = None
        self.cameras = require_cameras(self.name, cameras)
        self._list(keys, _KEYS.get(split, ("image", "sparse_depth", "depth", "intrinsics")), crop)

    def _listings(self) -> Mapping[str, Listing]:
        if self.split in _SELECTIONS:
            name = _SELECTIONS[self.split]
            places = (self.root / "depth_selection" / name, self.root / "data_depth_selection" / "depth_selection" / name)
            return flat_listings(next((place for place in places if place.is_dir()), self.root / name))
        maps = {kind: depth_maps(self.root, [self.split], kind, self.cameras) for kind in ("velodyne_raw", "groundtruth")}
        photos, calibration = Listing(), Listing()
        raw = raw_root(self.root, self._raw)
        known = maps["velodyne_raw"].ids | maps["groundtruth"].ids
        for group, ids in grouped(known).items():
            drive, _, camera = group.partition("/")
            photos.add(group, raw / drive[:10] / drive / camera / "data", PHOTOS)
            calibration.share(group, raw / drive[:10] / CAM_TO_CAM, ids)
        photos.ids &= known  # the depth maps lack the first and last five photos of every drive
        return {**maps, "image": photos, "intrinsics": calibration}

    def _read(self, frame_id: str, paths: Mapping[str, Path]) -> dict[str, Any]:
        frame = read_flat(paths)
        if "intrinsics" in paths and self.split not in _SELECTIONS:
            day = paths["intrinsics"].parent
            known = day if (day / VELO_TO_CAM).is_file() else paths["intrinsics"]
            camera = read_camera(known, int(frame_id.rpartition("/")[0][-1]))
            for key in ("image", "sparse_depth"):
                if key in frame:
                    require_size(camera, frame[key].shape[:2], paths["image" if key == "image" else "velodyne_raw"])
            frame |= {"intrinsics": camera.intrinsics, "camera": camera}
        return frame


class KittiLidar(KittiDataset):
    """One flat folder of LiDAR frames: `image/`, `velodyne_raw/` (16-bit PNG, metres * 256), `intrinsics/`, `groundtruth_depth/`.

    Frames of a drive resemble their neighbours, so the split cuts the sorted names twice instead of drawing: the first 70 % are train,
    the next 15 % val, the rest test.

    Args:
        root: the folder with `velodyne_raw/` and the others.
        split: `train`, `val`, `test` or `all`.
        keys: what a frame holds, out of image, sparse_depth, depth, intrinsics. None: every folder that is there.
        crop: height and width [px] of the bottom, horizontally centred crop; None: native size.
    """

    name: ClassVar[str] = "kitti_lidar"
    title: ClassVar[str] = "LiDAR frames in one flat folder"
    citation: ClassVar[str] = "Geiger, Lenz, Stiller, Urtasun: Vision meets Robotics: The KITTI Dataset, IJRR 2013 (or your own frames)"
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test", "all")
    derived_splits: ClassVar[frozenset[str]] = frozenset({"all"})
    offers: ClassVar[frozenset[str]] = Kitti.offers
    root_hint: ClassVar[str] = "velodyne_raw/ with image/, intrinsics/ and groundtruth_depth/ beside it, one stem each"
    sources: ClassVar[Mapping[str, tuple[str, ...]]] = Kitti.sources

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        keys: Sequence[str] | None = None,
        crop: tuple[int, int] | None = None,
    ) -> None:
        self.root, self.split = Path(root), split
        self._check_split()
        self.labels = None
        self._listed = flat_listings(self.root)
        there = [key for key, (kind,) in self.sources.items() if self._listed[kind].ids]
        self._list(keys, there or ("sparse_depth",), crop)

    def _listings(self) -> Mapping[str, Listing]:
        return self._listed

    def _wanted(self) -> set[str] | None:
        stems = sorted(set().union(*(listing.ids for listing in self._listed.values())))
        first, second = round(0.7 * len(stems)), round(0.85 * len(stems))
        parts = {"train": stems[:first], "val": stems[first:second], "test": stems[second:], "all": stems}
        return set(parts[self.split])

    def _read(self, frame_id: str, paths: Mapping[str, Path]) -> dict[str, Any]:  # noqa: ARG002
        return read_flat(paths)


def flat_listings(folder: Path) -> dict[str, Listing]:
    """The files of a flat folder (`depth_selection/*` or your own) by the stem of the image."""
    listings = {kind: Listing() for kind in ("image", "velodyne_raw", "groundtruth", "intrinsics")}
    listings["image"].add("", folder / "image", PHOTOS)
    listings["intrinsics"].add("", folder / "intrinsics", (".txt",))
    # val_selection_cropped: DRIVE_image_FRAME_image_02 goes with DRIVE_velodyne_raw_FRAME_image_02 and DRIVE_groundtruth_depth_...
    for kind, name in (("velodyne_raw", "velodyne_raw"), ("groundtruth", "groundtruth_depth")):
        listings[kind].add("", folder / name, (".png",), (_IMAGE, f"_sync_{name}_"))
    return listings


def read_flat(paths: Mapping[str, Path]) -> dict[str, Any]:
    """What the files of a frame hold: image, sparse_depth, depth, and intrinsics where they are a text of 9 numbers."""
    frame: dict[str, Any] = {}
    if "image" in paths:
        frame["image"] = io.read_image(paths["image"])
    if "velodyne_raw" in paths:
        frame["sparse_depth"] = read_map(paths["velodyne_raw"])
    if "groundtruth" in paths:
        frame["depth"] = read_map(paths["groundtruth"])
    if "intrinsics" in paths and paths["intrinsics"].name != CAM_TO_CAM:
        frame["intrinsics"] = read_intrinsics(paths["intrinsics"])[0]
    return frame
