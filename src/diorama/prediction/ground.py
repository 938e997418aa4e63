"""A GeoTIFF that fits into memory as one `ScenePrediction`, tile by tile as `mosaic` writes larger ones to disk."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from diorama.data import io
from diorama.data.geotiff import SUFFIXES
from diorama.errors import DataError
from diorama.prediction.result import ScenePrediction
from diorama.types import IGNORE, UNKNOWN_DEPTH

if TYPE_CHECKING:
    from diorama.prediction.predictor import Predictor


def quiet(paths: Iterable[Path]) -> AbstractContextManager[Any]:
    """GDAL keeps its own lines about TIFFs for itself: what is wrong with a file is said once, in our words."""
    if any(path.suffix.lower() in SUFFIXES for path in paths) and importlib.util.find_spec("rasterio") is not None:
        import rasterio

        return cast("AbstractContextManager[Any]", rasterio.Env())
    return nullcontext()


def is_ground(path: Path) -> bool:
    """Whether a file is predicted tile by tile; see `mosaic.is_mosaic`."""
    from diorama.prediction.mosaic import is_mosaic

    with quiet([path]):
        return is_mosaic(path)


def ground_scene(
    predictor: Predictor, path: Path, intrinsics: NDArray[np.float64] | None = None, field_of_view: float | None = None
) -> ScenePrediction:
    """Classes and depth, or heights, of a GeoTIFF at its own size; nothing is resized, pixels without a value have none.

    Args:
        predictor: a model of photos.
        path: a TIFF of three bands, or one, with 8 bits; others need `diorama.predict` with its `Tiling`.
        intrinsics: see `Predictor.scene`.
        field_of_view: see `Predictor.scene`.

    Raises:
        DataError: it cannot be read, has other bands, or more pixels than are held in memory.
    """
    from diorama.prediction.mosaic import Tiling, open_mosaic
    from diorama.prediction.tiling import blended

    tiling = Tiling()
    with quiet([path]), open_mosaic(path, tiling) as mosaic:
        height, width = mosaic.size
        if height * width > io.MAX_PIXELS:
            raise DataError(f"{path}: {width}x{height} is too large for memory. Write it tile by tile: diorama.predict(model, path, out).")
        semantic = np.full(mosaic.size, IGNORE, np.uint8) if predictor.labels is not None else None
        depth = np.full(mosaic.size, UNKNOWN_DEPTH, np.float32) if predictor.depth_cap is not None else None
        plan = tiling.plan(mosaic.size, predictor)
        for block in blended(predictor.batch, mosaic.read, plan):
            part = np.s_[block.top : block.top + block.size[0], block.left : block.left + block.size[1]]
            valid = np.ones(block.size, np.bool_) if block.valid is None else block.valid
            if semantic is not None and predictor.labels is not None and block.probabilities is not None:
                classes = block.probabilities.argmax(0)
                semantic[part] = np.where(valid & (classes < len(predictor.labels)), classes, IGNORE)
            if depth is not None and block.depth is not None:
                depth[part] = np.where(valid, block.depth, UNKNOWN_DEPTH)
        image = mosaic.read(0, 0, height, width).image
    camera, assumed = predictor.camera(height, width, intrinsics, field_of_view)
    return ScenePrediction(
        image=image,
        semantic=semantic,
        depth=depth,
        labels=predictor.labels,
        intrinsics=camera,
        intrinsics_assumed=assumed,
        working_size=plan.tile,
        model=predictor.described,
        path=path,
    )
