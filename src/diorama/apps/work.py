"""Uploaded files -> one `ScenePrediction`, within limits. A stereo pair becomes the points that a completion takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diorama.apps.limits import Limits
from diorama.data import io
from diorama.data.disparity import depth_from_disparity
from diorama.errors import ConfigError, DataError, ShapeError, UserError
from diorama.prediction.inputs import read_photo, read_sparse_depth
from diorama.prediction.predictor import Predictor
from diorama.prediction.result import ScenePrediction
from diorama.stereo.checks import swapped, unrectified
from diorama.stereo.matching import match

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
DEPTH_SUFFIXES = (".png", ".tif", ".tiff", ".npy", ".pfm")
SUFFIXES: Mapping[str, tuple[str, ...]] = {"image": PHOTO_SUFFIXES, "right": PHOTO_SUFFIXES, "sparse_depth": DEPTH_SUFFIXES}
"""What can be uploaded -> the files it may come in."""

NAMES = {"image": "a photo", "sparse_depth": "sparse depth", "right": "the right view of a stereo pair"}


@dataclass(frozen=True)
class Upload:
    """What a user gave of one place."""

    image: Path | None = None
    sparse_depth: Path | None = None
    right: Path | None = None
    """The right view of a rectified pair whose left view is `image`."""
    focal_px: float | None = None
    """Of the rectified pair, at its own size."""
    baseline: float | None = None
    """Between the two cameras [m]."""
    depth_scale: float | None = None
    """File units of sparse depth to the metre."""
    field_of_view: float | None = None
    """Over the longer side [degrees]; only the point cloud uses it."""

    @property
    def files(self) -> dict[str, Path]:
        """What there is, by its key."""
        found = {"image": self.image, "sparse_depth": self.sparse_depth, "right": self.right}
        return {key: path for key, path in found.items() if path is not None}


def predict_upload(predictor: Predictor, upload: Upload, limits: Limits) -> ScenePrediction:
    """What the network sees in `upload`, at its own size. Errors call the files by their names, and tell no folder of this machine.

    Raises:
        DataError: a file is missing or cannot be read; `TooLargeError` if it has too many pixels.
        ConfigError: something is given that the network does not take, or a stereo pair without its camera.
        ShapeError: photo and points, or the two views, differ in size.
    """
    try:
        return _predicted(predictor, upload, limits)
    except UserError as error:
        said = str(error)
        for path in upload.files.values():
            said = said.replace(str(path), path.name)
        raise type(error)(said) from error


def _predicted(predictor: Predictor, upload: Upload, limits: Limits) -> ScenePrediction:
    files, takes = upload.files, predictor.inputs
    for key, path in files.items():
        if path.suffix.lower() not in SUFFIXES[key]:
            raise DataError(f"{path.name}: no {NAMES[key].split(' ', 1)[-1]} file. Give one of {' '.join(SUFFIXES[key])}.")
        limits.check_pixels(*_size(path), path.name)
    if "sparse_depth" not in takes and (beyond := files.keys() & {"sparse_depth", "right"}):
        raise ConfigError(f"{predictor.name} looks at the photo alone. Leave out {NAMES[min(beyond)]}, or choose a completion.")
    points: Path | NDArray[np.float32] | None = upload.sparse_depth
    focal_px = None
    if upload.right is not None:
        if upload.sparse_depth is not None:
            raise ConfigError("both sparse depth and a stereo pair are given. Give one of them.")
        limits.check_work(*_size(upload.right))
        points, focal_px = _points_of_pair(upload, predictor.depth_cap or float("inf")), upload.focal_px
    given: dict[str, Any] = {"image": upload.image, "sparse_depth": points}
    if missing := [key for key in takes if given.get(key) is None]:
        more = " (or a stereo pair)" if missing[0] == "sparse_depth" else ""
        raise DataError(f"{predictor.name} takes {NAMES[missing[0]]}{more}, which is not given. Add it, or choose another model.")
    first = given.pop(takes[0])
    size = first.shape if isinstance(first, np.ndarray) else _size(first)
    limits.check_work(*predictor.working_size(*size))
    others: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if isinstance(points, Path):
        others["depth_scale"] = upload.depth_scale
    if focal_px is not None:
        others["intrinsics"] = np.array([[focal_px, 0, (size[1] - 1) / 2], [0, focal_px, (size[0] - 1) / 2], [0, 0, 1]])
    elif upload.field_of_view is not None:
        others["field_of_view"] = upload.field_of_view
    return predictor.scene(first, **others)


def _size(path: Path) -> tuple[int, int]:
    """(H, W); of image files from the header alone. The others are no larger in memory than on disk, and that is limited before."""
    readers = {".npy": io.read_npy, ".pfm": io.read_pfm}
    suffix = path.suffix.lower()
    if suffix not in readers:
        return io.image_size(path)
    shape = np.squeeze(readers[suffix](path)).shape
    if len(shape) != 2:
        raise ShapeError(f"{path.name}: an array of shape {shape}, expected depth (H, W). Save one channel in metres, 0 = unknown.")
    return shape[0], shape[1]


def _points_of_pair(upload: Upload, cap: float) -> NDArray[np.float32]:
    """`(H, W)` depth [m] of the pixels in whose disparity both views agree, 0 elsewhere and beyond `cap`."""
    if upload.image is None:
        raise DataError("the right view is given without the left one. Give the left view as the photo.")
    if upload.focal_px is None or upload.baseline is None:
        raise ConfigError("a stereo pair gives metres only with its camera. Give the focal length [px] and the baseline [m].")
    if not (0 < upload.focal_px < float("inf") and 0 < upload.baseline < float("inf")):
        raise ConfigError(f"focal length {upload.focal_px:g} px, baseline {upload.baseline:g} m. Give numbers above 0.")
    assert upload.right is not None
    left, right = read_photo(upload.image), read_photo(upload.right)
    if left.shape != right.shape:
        raise ShapeError(f"left view {left.shape[:2]} and right view {right.shape[:2]} differ in size. Give a rectified pair.")
    pair = match(left, right)
    if said := unrectified(left, right) or swapped(left, right, pair):
        raise DataError(f"stereo pair: {said}")
    agreed = np.where(pair.left.agrees, pair.left.disparity, 0).astype(np.float32)
    depth = depth_from_disparity(agreed, upload.focal_px, upload.baseline)
    depth[depth > cap] = 0
    return read_sparse_depth(depth)
