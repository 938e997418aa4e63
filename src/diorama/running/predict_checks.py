"""What `diorama predict` refuses before the first photo, and the camera that it is given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diorama.errors import ConfigError, DataError
from diorama.prediction import mosaic
from diorama.prediction.mosaic import Tiling
from diorama.prediction.pointcloud import intrinsics_from_field_of_view
from diorama.prediction.predictor import Predictor
from diorama.prediction.sources import SourceImage
from diorama.prediction.stream import require_photos
from diorama.running import predict_video as videos

BY_THE_MODEL = Tiling()
"""Tiles as large as the model was trained at, of GeoTIFFs alone."""
_FLAGS = {"image": "--image", "sparse_depth": "--sparse-depth", "calibration": "--calibration"}


def camera_of(intrinsics: str | Path | NDArray[np.float64] | None, field_of_view: float | None) -> NDArray[np.float64] | None:
    """The `(3, 3)` camera matrix [px] that was given, read if it is a file.

    Raises:
        ConfigError: both are given, or an impossible angle.
        DataError: see `read_intrinsics`.
    """
    if field_of_view is not None:
        if intrinsics is not None:
            raise ConfigError("both intrinsics and a field of view are given. Give one of them.")
        intrinsics_from_field_of_view(1, 1, field_of_view)  # a wrong angle is not the fault of any photo
    return read_intrinsics(intrinsics) if isinstance(intrinsics, str | Path) else intrinsics


def read_intrinsics(path: str | Path) -> NDArray[np.float64]:
    """The `(3, 3)` camera matrix [px] in a text file of 9 numbers row by row, or of fx fy cx cy.

    Raises:
        DataError: the file is missing or holds something else.
    """
    try:
        numbers = np.array(Path(path).read_text(encoding="utf-8").replace(",", " ").split(), np.float64)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Give a text file with the camera matrix.") from error
    except ValueError as error:
        raise DataError(f"{path}: not numbers only. Write 9 numbers row by row, or fx fy cx cy, in pixels.") from error
    if numbers.size == 4:
        fx, fy, cx, cy = numbers
        numbers = np.array([fx, 0, cx, 0, fy, cy, 0, 0, 1])
    if numbers.size != 9 or not np.isfinite(numbers).all() or min(numbers[0], numbers[4]) <= 0:
        raise DataError(f"{path}: not a camera matrix. Write 9 numbers row by row, or fx fy cx cy, in pixels.")
    return numbers.reshape(3, 3)


def check_kinds(predictor: Predictor, kinds: Sequence[str]) -> None:
    """Return if the network says something of scenes, and not only what is not to be saved.

    Raises:
        ConfigError: it does not.
    """
    predictor.require_scenes()
    if list(kinds) == ["semantic"] and predictor.labels is None:
        raise ConfigError(f"{predictor.name} predicts no semantics to save. Choose among depth, json, overlay, ply and panel.")


def kinds_of_videos(
    predictor: Predictor, films: Sequence[Path], kinds: Sequence[str] | None, second: Mapping[str, str | Path]
) -> list[str]:
    """What is saved of each video, or camera.

    Raises:
        ConfigError: the model takes no photos, or not alone, or nothing of what is asked for is made of videos.
    """
    for path in films:
        require_photos(str(path), predictor.inputs[0], second)
    saved = [kind for kind in (videos.DEFAULT_SAVE if kinds is None else kinds) if kind != "panel"]
    if films and not saved:
        raise ConfigError(f"{films[0]}: of a video there is no panel. Save overlay, a video with photo, classes and depth side by side.")
    return saved


def tiles_of(predictor: Predictor, items: Iterable[SourceImage], kinds: Sequence[str], tiling: Tiling) -> dict[Path, int]:
    """The images that are predicted tile by tile, with the number of their tiles.

    Raises:
        ConfigError: tiles are asked for where there are none, or nothing of what is asked for is made of them.
    """
    if predictor.inputs != ("image",):
        if tiling != BY_THE_MODEL:
            raise ConfigError(f"{predictor.name} does not take photos alone, so nothing is tiled. Leave out --tile, --halo and the like.")
        return {}
    found = [item.path for item in items if tiling.tile is not None or mosaic.is_mosaic(item.path)]
    if not found:
        if tiling != BY_THE_MODEL:
            raise ConfigError("no image is a GeoTIFF, so nothing would be tiled. Pass --tile, the side of a tile, or leave out the rest.")
        return {}
    if not set(kinds) & mosaic.SUFFIXES.keys():
        raise ConfigError(f"{found[0]}: tile by tile there is no {' or '.join(kinds)}. Choose among {', '.join(mosaic.SUFFIXES)}.")
    tiling.plan((2**14, 2**14), predictor)  # a wrong tile is not the fault of any image
    return {path: mosaic.count_tiles(path, predictor, tiling) for path in found}


def check_second(
    predictor: Predictor,
    items: Sequence[SourceImage],
    second: Mapping[str, str | Path],
    calibration: str | Path | None,
    scale: float | None,
) -> None:
    """Refuse what nobody would look at: it would seem to have been used.

    Raises:
        ConfigError: the model, or the source, has no use for what is given.
        DataError: it is not there.
    """
    if scale is not None:
        _check_scaled(predictor, items, second)
    first = predictor.inputs[0]
    if first in second:
        flag = _FLAGS[first]
        raise ConfigError(
            f"{predictor.name} takes its {first.replace('_', ' ')} as the source. Leave out {flag}, or predict on {second[first]}."
        )
    if "sparse_depth" in second and "sparse_depth" not in predictor.inputs:
        raise ConfigError(f"{predictor.name} takes no sparse depth. Leave out --sparse-depth, or choose a completion (`diorama methods`).")
    for key, where in (*second.items(), ("calibration", calibration)):
        if where is not None and not Path(where).exists():
            raise DataError(f"{where}: no such file or folder. Check the path after {_FLAGS[key]}.")
    if calibration is None or "sparse_depth" in second:
        return
    if not any(item.path.suffix.lower() == ".bin" for item in items):
        raise ConfigError("--calibration is for raw scans (.bin), and there are none. Leave it out, or predict on the scans.")


def _check_scaled(predictor: Predictor, items: Iterable[SourceImage], second: Mapping[str, str | Path]) -> None:
    if "sparse_depth" not in predictor.inputs:
        raise ConfigError(f"{predictor.name} takes no sparse depth. Leave out --depth-scale, or choose a completion (`diorama methods`).")
    if "sparse_depth" not in second and all(item.path.suffix.lower() in (".bin", ".pfm") for item in items):
        raise ConfigError("--depth-scale is for whole numbers (16-bit PNG), and there are none: scans and PFM hold metres. Leave it out.")
