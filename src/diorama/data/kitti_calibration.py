"""KITTI's calibration files -> camera matrices and the projection of LiDAR points.

Two forms are read: a day's folder of the raw recordings (`calib_cam_to_cam.txt`, `calib_velo_to_cam.txt`) and the one file per frame
of the object benchmark (`P0`..`P3`, `R0_rect`, `Tr_velo_to_cam`). Cameras 0 and 1 are grey, 2 (left) and 3 (right) are the colour pair.

A point of the scanner, x = (x, y, z, 1) in metres (forward, left, up), is seen at P R T x = (w u, w v, w): T takes it to camera 0,
R to the rectified camera 0, P to the image. w is the depth [m] along the axis of the camera that P belongs to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diorama.errors import ConfigError, DataError

F64 = NDArray[np.float64]

CAM_TO_CAM, VELO_TO_CAM = "calib_cam_to_cam.txt", "calib_velo_to_cam.txt"

_DAY = re.compile(r"\d{4}_\d{2}_\d{2}")
_RIGHT_OF = {0: 1, 2: 3}
_ORTHOGONAL = 1e-3


@dataclass(frozen=True)
class KittiCamera:
    """One rectified camera of the car."""

    intrinsics: F64
    """`(3, 3)` [px]."""
    projection: F64 | None
    """`(3, 4)`: scanner coordinates [m], homogeneous -> (w u, w v, w). None if the file says nothing of the scanner."""
    baseline: float | None
    """Metres to the right camera of the pair; None for a right camera."""
    size: tuple[int, int] | None
    """`(H, W)` of its rectified images; None if the file does not say."""

    @property
    def scanner_to_camera(self) -> F64 | None:
        """`(3, 4)`: scanner coordinates [m], homogeneous -> this camera's right, down, forward [m]; None as `projection`."""
        return None if self.projection is None else np.asarray(np.linalg.solve(self.intrinsics, self.projection), np.float64)


def read_camera(path: str | Path, camera: int = 2) -> KittiCamera:
    """The camera of a day's raw folder, of a `calib_cam_to_cam.txt` (no scanner), or of a file of the object benchmark.

    Raises:
        ConfigError: `camera` is none of 0..3.
        DataError: a file is missing or damaged, or lacks a matrix.
    """
    if camera not in range(4):
        raise ConfigError(f"KITTI has no camera {camera}. Choose 2 (left colour), 3 (right colour), 0 or 1 (grey).")
    path = Path(path)
    if path.is_dir():
        rig, scanner = read_values(path / CAM_TO_CAM), read_values(path / VELO_TO_CAM)
        rotation, shift = _numbers(scanner, "R", (3, 3), path / VELO_TO_CAM), _numbers(scanner, "T", (3, 1), path / VELO_TO_CAM)
        return _camera(rig, "P_rect_0", "R_rect_00", np.hstack([rotation, shift]), camera, path / CAM_TO_CAM)
    values = read_values(path)
    if f"P_rect_0{camera}" in values:
        return _camera(values, "P_rect_0", "R_rect_00", None, camera, path)
    return _camera(values, "P", "R0_rect", _numbers(values, "Tr_velo_to_cam", (3, 4), path), camera, path)


def read_values(path: str | Path) -> dict[str, F64]:
    """The numbers behind each `name:` of a calibration file; lines that hold no numbers (dates) are left out.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        lines = Path(path).read_text().splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Unpack KITTI's calibration files there.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file. Unpack KITTI's calibration files again.") from error
    found = {}
    for line in lines:
        name, _, rest = line.partition(":")
        try:
            found[name.strip()] = np.array([float(word) for word in rest.split()])
        except ValueError:
            continue
    return found


def require_same_day(calibration: str | Path, recording: str | Path) -> None:
    """Return unless the names of the two paths tell two different days of recording (2011_09_26, ...): each has its own calibration.

    Raises:
        DataError: they do.
    """
    days = [_DAY.findall(str(path)) for path in (calibration, recording)]
    if days[0] and days[1] and days[0][-1] != days[1][-1]:
        raise DataError(f"{recording}: calibration of another day ({calibration}). Use the files of {days[1][-1]}.")


def require_size(camera: KittiCamera, size: tuple[int, int], where: str | Path) -> None:
    """Return if images of `size` `(H, W)` can be those of this calibration (rectified sizes differ from day to day).

    Raises:
        DataError: the calibration is for another size; `where` names the image.
    """
    if camera.size is not None and camera.size != size:
        height, width = camera.size
        raise DataError(
            f"{where}: {size[1]}x{size[0]}, but the calibration is for {width}x{height}: of another day? Use the calibration of this drive."
        )


def _camera(values: dict[str, F64], prefix: str, rectify: str, scanner: F64 | None, camera: int, path: Path) -> KittiCamera:
    matrix = _numbers(values, f"{prefix}{camera}", (3, 4), path)
    if not (matrix[0, 0] > 0 and matrix[1, 1] > 0):
        raise DataError(f"{path}: focal lengths of camera {camera} are not positive. Unpack KITTI's calibration files again.")
    projection = baseline = size = None
    if scanner is not None:
        rotation = _numbers(values, rectify, (3, 3), path)
        for name, turn in ((rectify, rotation), ("scanner to camera", scanner[:, :3])):
            if not np.allclose(turn @ turn.T, np.eye(3), atol=_ORTHOGONAL):
                raise DataError(f"{path}: '{name}' is no rotation. Unpack KITTI's calibration files again.")
        projection = matrix[:, :3] @ rotation @ scanner
        projection[:, 3] += matrix[:, 3]
    right = _RIGHT_OF.get(camera)
    if right is not None and f"{prefix}{right}" in values:
        baseline = float(_offset(matrix) - _offset(_numbers(values, f"{prefix}{right}", (3, 4), path)))
    if (extent := values.get(f"S_rect_0{camera}")) is not None and len(extent) == 2:
        size = (round(extent[1]), round(extent[0]))
    return KittiCamera(matrix[:, :3].copy(), projection, baseline, size)


def _offset(matrix: F64) -> np.float64:
    """Where camera 0 lies on the x axis of this camera [m]: the translation t of P = K [I | t]."""
    return np.float64(np.linalg.solve(matrix[:, :3], matrix[:, 3])[0])


def _numbers(values: dict[str, F64], name: str, shape: tuple[int, int], path: Path) -> F64:
    found = values.get(name)
    if found is None or found.size != shape[0] * shape[1] or not np.isfinite(found).all():
        what = "no" if found is None else "damaged numbers behind"
        raise DataError(f"{path}: {what} '{name}:'. Unpack KITTI's calibration files again.")
    return found.reshape(shape)
