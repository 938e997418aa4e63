"""Writers: any street frames -> KITTI's official layouts. For tests without the real sets, and for `diorama data make`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diorama.data import io
from diorama.data.kitti_calibration import CAM_TO_CAM, VELO_TO_CAM
from diorama.data.kitti_velodyne import write_points
from diorama.data.labels import CITYSCAPES19, CITYSCAPES19_TO_34, LabelSet, convert
from diorama.errors import DataError
from diorama.types import Frame

DAY = "2011_09_26"
DRIVE = f"{DAY}_drive_0001_sync"
_BASELINE_M = 0.54
_FIRST = {"val": 500, "test": 1000}  # one drive serves every split

SCANNER_TO_CAMERA = np.array([[0.0, -1.0, 0.0, 0.0], [0.0, 0.0, -1.0, -0.08], [1.0, 0.0, 0.0, -0.27]])
"""`(3, 4)`: the scanner 0.27 m behind and 0.08 m above the camera, axes exactly turned."""


def write_kitti(frames: Iterable[Frame], out: str | Path, split: str = "train", labels: LabelSet | None = None) -> list[Path]:  # noqa: ARG001
    """Store frames as KITTI depth completion; returns the depth maps of the scanner.

    `train` and `val` become a drive of depth maps and its raw photos for each camera; `val_selection` and `test` flat folders.

    Raises:
        DataError: a frame lacks an image, sparse_depth, depth or intrinsics.
    """
    out, written = Path(out), []
    flat = {"val_selection": "val_selection_cropped", "test": "test_depth_completion_anonymous"}.get(split)
    cameras: list[NDArray[np.float64]] = []
    for number, frame in enumerate(frames, 5):
        _require(frame, ("image", "sparse_depth", "depth", "intrinsics"), "kitti")
        if flat is None:
            day, drive = _recording(frame, cameras)
            stem = f"{_FIRST.get(split, 0) + number:010d}"
            _write_rig(out / day, frame)
            io.write_image(out / day / drive / "image_02" / "data" / f"{stem}.png", frame["image"])
            places = {
                "sparse_depth": out / "data_depth_velodyne" / split / drive / "proj_depth" / "velodyne_raw" / "image_02" / f"{stem}.png",
                "depth": out / "data_depth_annotated" / split / drive / "proj_depth" / "groundtruth" / "image_02" / f"{stem}.png",
            }
        else:
            folder, stem = out / "depth_selection" / flat, f"{number - 5:010d}"
            names = {kind: f"{DRIVE}_{kind}_{stem}_image_02" if split == "val_selection" else stem for kind in _KINDS}
            io.write_image(folder / "image" / f"{names['image']}.png", frame["image"])
            _write_text(folder / "intrinsics" / f"{names['image']}.txt", " ".join(f"{value:.6e}" for value in frame["intrinsics"].ravel()))
            places = {"sparse_depth": folder / "velodyne_raw" / f"{names['velodyne_raw']}.png"}
            if split == "val_selection":
                places["depth"] = folder / "groundtruth_depth" / f"{names['groundtruth_depth']}.png"
        for key, path in places.items():
            io.write_depth_png(path, frame[key], 256)  # type: ignore[literal-required]
        written.append(places["sparse_depth"])
    return written


_KINDS = ("image", "velodyne_raw", "groundtruth_depth")


def write_kitti_raw(frames: Iterable[Frame], out: str | Path, split: str = "train", labels: LabelSet | None = None) -> list[Path]:  # noqa: ARG001
    """Store frames as raw recordings, a drive for each camera: photos and scans (of `sparse_depth`, else of `depth`); returns the photos.

    Raises:
        DataError: a frame lacks an image or intrinsics.
    """
    out, written = Path(out), []
    cameras: list[NDArray[np.float64]] = []
    for number, frame in enumerate(frames, _FIRST.get(split, 0)):
        _require(frame, ("image", "intrinsics"), "kitti_raw")
        day, name = _recording(frame, cameras)
        _write_rig(out / day, frame)
        stem, drive = f"{number:010d}", out / day / name
        written.append(drive / "image_02" / "data" / f"{stem}.png")
        io.write_image(written[-1], frame["image"])
        if "right" in frame:
            io.write_image(drive / "image_03" / "data" / f"{stem}.png", frame["right"])
        write_points(drive / "velodyne_points" / "data" / f"{stem}.bin", scanned(frame))
    return written


def write_kitti_object(frames: Iterable[Frame], out: str | Path, split: str = "train", labels: LabelSet | None = None) -> list[Path]:  # noqa: ARG001
    """Store frames as the object benchmark: image_2, image_3, velodyne, calib; returns the images."""
    base, written = Path(out) / ("testing" if split == "test" else "training"), []
    for number, frame in enumerate(frames):
        _require(frame, ("image", "intrinsics"), "kitti_object")
        stem = f"{number:06d}"
        written.append(base / "image_2" / f"{stem}.png")
        io.write_image(written[-1], frame["image"])
        if "right" in frame:
            io.write_image(base / "image_3" / f"{stem}.png", frame["right"])
        write_points(base / "velodyne" / f"{stem}.bin", scanned(frame))
        values = {f"P{camera}": matrix for camera, matrix in _projections(frame).items()}
        values |= {"R0_rect": np.eye(3), "Tr_velo_to_cam": SCANNER_TO_CAMERA}
        _write_values(base / "calib" / f"{stem}.txt", values)
    return written


def write_kitti_semantics(
    frames: Iterable[Frame], out: str | Path, split: str = "train", labels: LabelSet | None = CITYSCAPES19
) -> list[Path]:
    """Store frames as KITTI semantics: image_2 and, but for test, semantic (Cityscapes label ids); returns the images.

    Raises:
        DataError: the labels are not Cityscapes' 19 classes.
    """
    if labels is None or labels.name != CITYSCAPES19.name:
        raise DataError("kitti_semantics stores the 19 classes of Cityscapes. Choose layout=folder for other labels.")
    base, written = Path(out) / ("testing" if split == "test" else "training"), []
    for number, frame in enumerate(frames):
        _require(frame, ("image", "semantic"), "kitti_semantics")
        written.append(base / "image_2" / f"{number:06d}_10.png")
        io.write_image(written[-1], frame["image"])
        if split != "test":
            io.write_label_png(base / "semantic" / f"{number:06d}_10.png", convert(frame["semantic"], CITYSCAPES19_TO_34))
    return written


def write_kitti_stereo(frames: Iterable[Frame], out: str | Path, split: str = "train", labels: LabelSet | None = None) -> list[Path]:  # noqa: ARG001
    """Store frames as stereo 2015: pairs, calibration and, but for test, disparity (of `depth` if there is none); returns the images."""
    base, written = Path(out) / ("testing" if split == "test" else "training"), []
    for number, frame in enumerate(frames):
        _require(frame, ("image", "right", "intrinsics", "baseline"), "kitti_stereo")
        written.append(base / "image_2" / f"{number:06d}_10.png")
        io.write_image(written[-1], frame["image"])
        io.write_image(base / "image_3" / f"{number:06d}_10.png", frame["right"])
        _write_values(base / "calib_cam_to_cam" / f"{number:06d}.txt", {f"P_rect_0{c}": m for c, m in _projections(frame).items()})
        if split != "test":
            depth = frame["depth"]
            shift = frame["baseline"] * frame["intrinsics"][0, 0]
            disparity = frame.get("disparity", np.where(depth > 0, shift / np.where(depth > 0, depth, 1), 0).astype(np.float32))
            io.write_depth_png(base / "disp_occ_0" / f"{number:06d}_10.png", disparity, 256)
    return written


def scanned(frame: Frame) -> NDArray[np.float32]:
    """`(N, 4)` points of a scanner at `SCANNER_TO_CAMERA` that project onto the known pixels of `sparse_depth`, else `depth`."""
    depth = frame["sparse_depth"] if "sparse_depth" in frame else frame["depth"]
    rows, columns = np.nonzero(depth)
    along = depth[rows, columns].astype(np.float64)
    # the devkit counts pixels from 1: the middle of pixel 0 lies at 1
    rays = np.stack([columns + 1.0, rows + 1.0, np.ones(len(rows))]) * along
    camera = np.linalg.solve(frame["intrinsics"], rays)
    points = SCANNER_TO_CAMERA[:, :3].T @ (camera - SCANNER_TO_CAMERA[:, 3:])
    return np.concatenate([points, np.full((1, len(rows)), 0.5)]).T.astype(np.float32)


def _projections(frame: Frame) -> dict[int, NDArray[np.float64]]:
    left = np.hstack([frame["intrinsics"], np.zeros((3, 1))])
    right = left.copy()
    right[0, 3] = -frame["intrinsics"][0, 0] * frame.get("baseline", _BASELINE_M)
    return {2: left, 3: right}


def _write_rig(day: Path, frame: Frame) -> None:
    height, width = frame["image"].shape[:2]
    values: dict[str, Any] = {"R_rect_00": np.eye(3)}
    for camera, matrix in _projections(frame).items():
        values |= {f"S_rect_0{camera}": np.array([width, height]), f"P_rect_0{camera}": matrix}
    _write_values(day / CAM_TO_CAM, values)
    _write_values(day / VELO_TO_CAM, {"R": SCANNER_TO_CAMERA[:, :3], "T": SCANNER_TO_CAMERA[:, 3]})


def _recording(frame: Frame, cameras: list[NDArray[np.float64]]) -> tuple[str, str]:
    """Day and drive for a frame: each camera needs a day of its own, because a day has one calibration."""
    known = next((at for at, matrix in enumerate(cameras) if np.allclose(matrix, frame["intrinsics"])), len(cameras))
    if known == len(cameras):
        cameras.append(frame["intrinsics"])
    day = DAY if known == 0 else f"{2012 + known // 300:04d}_{1 + known % 300 // 25:02d}_{1 + known % 25:02d}"
    return day, f"{day}_drive_0001_sync"


def _require(frame: Mapping[str, Any], keys: tuple[str, ...], layout: str) -> None:
    lacking = [key for key in keys if key not in frame]
    if lacking:
        raise DataError(f"layout {layout} needs '{lacking[0]}', frame {frame.get('meta', {}).get('id')} has none. Choose layout=folder.")


def _write_values(path: Path, values: Mapping[str, NDArray[np.float64]]) -> None:
    _write_text(path, "\n".join(f"{name}: {' '.join(f'{value:.12e}' for value in numbers.ravel())}" for name, numbers in values.items()))


def _write_text(path: Path, text: str) -> None:
    with io.replacing(path) as temporary:
        temporary.write_text(text + "\n")
