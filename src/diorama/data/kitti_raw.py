"""KITTI's raw recordings, with the split of Eigen et al.: photos, stereo pairs, and LiDAR projected into the camera.

    DATE/calib_cam_to_cam.txt, DATE/calib_velo_to_cam.txt
    DATE/DATE_drive_NNNN_sync/{image_02,image_03}/data/FRAME.png (or .jpg), .../velodyne_points/data/FRAME.bin

The lists are facts of the split, `splits/eigen_*.txt`: a drive, then its frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from diorama.data import io
from diorama.data.kitti_base import PHOTOS, KittiDataset, Listing, depth_maps, drives, grouped, raw_root, read_map, require_cameras
from diorama.data.kitti_calibration import CAM_TO_CAM, VELO_TO_CAM, KittiCamera, read_camera, require_same_day, require_size
from diorama.data.kitti_velodyne import read_scan
from diorama.errors import ConfigError, DataError

_LISTS = {"train": "eigen_train", "val": "eigen_val", "test": "eigen_test", "test_improved": "eigen_test_improved"}
_FOLDERS = {"image": "image_{0:02d}", "right": "image_03", "velodyne": "velodyne_points"}


def read_list(name: str) -> list[tuple[str, int]]:
    """(drive, frame number) of each frame of `eigen_train` (22,600), `eigen_val` (888), `eigen_test` (697) or `eigen_test_improved` (652).

    Raises:
        ConfigError: there is no list of this name.
    """
    if name not in _LISTS.values():
        raise ConfigError(f"no frame list '{name}'. Choose one of {', '.join(_LISTS.values())}.")
    frames = []
    for line in (Path(__file__).parent / "splits" / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            drive, *ranges = line.split()
            for ends in ranges:
                first, _, last = ends.partition("-")
                frames += [(f"{drive}_sync", number) for number in range(int(first), int(last or first) + 1)]
    return frames


class KittiRaw(KittiDataset):
    """Frames of KITTI's raw recordings: image, right view, LiDAR as sparse depth or as truth, intrinsics, baseline.

    Args:
        root: the folder with the days, `2011_09_26/` and so on.
        split: Eigen's `train` (22,600 frames), `val` (888) and `test` (697); `test_improved`, the 652 of them that have an annotated
            depth map; `all`: every frame of every drive that is there.
        keys: what a frame holds, out of image, right, sparse_depth, depth, intrinsics, baseline; frames without one of these files are
            left out.
        truth: what `depth` is: the projected scan (`lidar`) or KITTI's annotated map (`improved`); None: improved for test_improved,
            else lidar.
        cameras: 2 (left), 3 (right) or both; `right` and `baseline` need 2 alone.
        crop: height and width [px] of the bottom, horizontally centred crop; None: native size.
        annotated: folder of the annotated maps, `data_depth_annotated` or what holds it; None: `root`.
    """

    name: ClassVar[str] = "kitti_raw"
    title: ClassVar[str] = "KITTI raw recordings, Eigen split"
    citation: ClassVar[str] = (
        "Geiger, Lenz, Stiller, Urtasun: Vision meets Robotics: The KITTI Dataset, IJRR 2013; split of Eigen, Puhrsch, Fergus: "
        "Depth Map Prediction from a Single Image using a Multi-Scale Deep Network, NIPS 2014"
    )
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test", "test_improved", "all")
    derived_splits: ClassVar[frozenset[str]] = frozenset({"test_improved", "all"})
    offers: ClassVar[frozenset[str]] = frozenset({"image", "right", "sparse_depth", "depth", "intrinsics", "baseline"})
    root_hint: ClassVar[str] = "the days with calib_*.txt and DATE_drive_NNNN_sync/{image_02, image_03, velodyne_points}/data"
    sources: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "image": ("image",),
        "right": ("right",),
        "sparse_depth": ("velodyne", "calibration"),
        "depth": ("velodyne", "calibration"),
        "intrinsics": ("calibration",),
        "baseline": ("calibration",),
    }

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        keys: Sequence[str] = ("image", "sparse_depth", "depth", "intrinsics"),
        truth: Literal["lidar", "improved"] | None = None,
        cameras: Sequence[int] = (2,),
        crop: tuple[int, int] | None = None,
        annotated: str | None = None,
    ) -> None:
        self.root, self.split = Path(root), split
        self._check_split()
        if truth not in ("lidar", "improved", None):
            raise ConfigError(f"kitti_raw: truth='{truth}'. Choose 'lidar' or 'improved'.")
        self.labels = None
        self.depth_source = truth or ("improved" if split == "test_improved" else "lidar")
        self.cameras = require_cameras(self.name, cameras)
        if self.cameras != (2,) and {"right", "baseline"} & set(keys):
            raise ConfigError("kitti_raw: 'right' and 'baseline' belong to the left camera. Use cameras: [2], or ask for fewer keys.")
        if self.depth_source == "improved":
            self.sources = {**self.sources, "depth": ("groundtruth",)}  # type: ignore[misc]
        self._annotated = self.root if annotated is None else Path(annotated)
        self._cameras: dict[tuple[Path, int], KittiCamera] = {}
        self._list(keys, keys, crop)

    def _wanted(self) -> set[str] | None:
        if self.split == "all":
            return None
        return {f"{drive}/image_0{camera}/{number:010d}" for drive, number in read_list(_LISTS[self.split]) for camera in self.cameras}

    def _listings(self) -> Mapping[str, Listing]:
        raw = raw_root(self.root)
        days = sorted(path for path in raw.glob("????_??_??") if path.is_dir())
        listings = {kind: Listing() for kind in ("image", "right", "velodyne", "calibration", "groundtruth")}
        if "groundtruth" in self._kinds:
            inner = self._annotated.parent if self._annotated.name == "data_depth_annotated" else self._annotated
            listings["groundtruth"] = depth_maps(inner, ("train", "val"), "groundtruth", self.cameras)
        annotated = grouped(listings["groundtruth"].ids)
        wanted = None if self.split == "all" else {drive for drive, _ in read_list(_LISTS[self.split])}
        for day in days:
            for drive in drives(day):
                if wanted is None or drive in wanted:
                    require_same_day(day, drive)
                    self._list_drive(listings, day, drive, annotated)
        return listings

    def _list_drive(self, listings: Mapping[str, Listing], day: Path, drive: str, annotated: Mapping[str, list[str]]) -> None:
        for camera in self.cameras:
            group = f"{drive}/image_0{camera}"
            ids = set(annotated.get(group, ()))
            for kind, folder in _FOLDERS.items():
                # a frame that is only a calibration still has to be known by its photo
                if kind in self._kinds or (kind == "image" and self._kinds == ["calibration"]):
                    suffixes = (".bin",) if kind == "velodyne" else PHOTOS
                    ids |= listings[kind].add(group, day / drive / folder.format(camera) / "data", suffixes)
            if all((day / name).is_file() for name in (CAM_TO_CAM, VELO_TO_CAM)):
                listings["calibration"].share(group, day, ids)

    def _camera(self, day: Path, number: int) -> KittiCamera:
        # a day has one calibration for thousands of frames
        if (day, number) not in self._cameras:
            self._cameras[day, number] = read_camera(day, number)
        return self._cameras[day, number]

    def _read(self, frame_id: str, paths: Mapping[str, Path]) -> dict[str, Any]:
        frame: dict[str, Any] = {key: io.read_image(paths[key]) for key in ("image", "right") if key in paths}
        if "groundtruth" in paths:
            frame["depth"] = read_map(paths["groundtruth"])
        if "calibration" not in paths:
            return frame
        camera = self._camera(paths["calibration"], int(frame_id.rpartition("/")[0][-1]))
        for key in ("image", "right"):
            if key in frame:
                require_size(camera, frame[key].shape[:2], paths[key])
        frame |= {"intrinsics": camera.intrinsics.copy(), "camera": camera}
        if camera.baseline is not None:
            frame["baseline"] = camera.baseline
        if "velodyne" in paths:
            size = next((frame[key].shape[:2] for key in ("image", "right") if key in frame), camera.size)
            if size is None:
                raise DataError(f"{paths['calibration'] / CAM_TO_CAM}: no image size in it. Ask for the key 'image' as well.")
            projected = read_scan(paths["velodyne"], camera, size)
            frame["sparse_depth"] = projected
            if self.depth_source == "lidar":
                frame["depth"] = projected.copy()
        return frame
