"""GeoTIFFs of any size in, label and height GeoTIFFs of the same size and place out: windows are read, blended rows are written.

In memory are one strip of the image (`STRIP_PIXELS`), one row of tiles of the answer, and what `tiling.blended` keeps: none of it grows
with the number of rows.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diorama.data import io
from diorama.data.geotiff import SUFFIXES as GEOTIFF_SUFFIXES
from diorama.data.geotiff import Raster, Window, open_raster
from diorama.errors import ConfigError, DataError, UserError
from diorama.prediction.mosaic_writer import Answers
from diorama.prediction.predictor import Predictor
from diorama.prediction.tiling import DEFAULT_TILE, TilePlan, View, blended, plan_tiles

log = logging.getLogger("diorama")

SUFFIXES = {"semantic": ".semantic.tif", "depth": ".depth.tif", "json": ".json"}
"""What can be saved of a mosaic -> how its file is called behind the stem."""

STRIP_PIXELS = 2**23
"""Pixels of the image that are decoded at once."""


@dataclass(frozen=True)
class Tiling:
    """How images are cut and which of their numbers are colours.

    Raises:
        ConfigError: a value that cannot be one.
    """

    tile: int | None = None
    """Side of a tile [px]; None: the size the model was trained at, and only for GeoTIFFs and TIFFs above `io.MAX_PIXELS`."""
    halo: int | None = None
    """See `plan_tiles`."""
    batch: int = 1
    """Tiles that the network is given at once."""
    bands: tuple[int, ...] | None = None
    """Which bands, from 1, the model takes for red, green and blue; a fourth one is a mask, 0 where nothing is."""
    white: float | None = None
    """Value that is white, of files that are not 8-bit."""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"{self.batch} tiles at once. Choose 1 or more.")
        if self.bands is not None and (len(self.bands) not in (3, 4) or min(self.bands) < 1):
            given = " ".join(str(band) for band in self.bands)
            raise ConfigError(f"bands {given}: name three for red, green, blue, counted from 1, and perhaps a mask: --bands 1 2 3.")
        if self.white is not None and not 0 < self.white < math.inf:
            raise ConfigError(f"a white of {self.white:g}. Give the value that is white: 2047 (11 bits), 4095 (12), 65535 (16).")

    def plan(self, size: tuple[int, int], predictor: Predictor) -> TilePlan:
        """The tiles of an image of `size` for this model.

        Raises:
            ConfigError: see `plan_tiles`.
        """
        trained = predictor.config["input"].get("size") or (DEFAULT_TILE, DEFAULT_TILE)
        tile = (int(trained[0]), int(trained[1])) if self.tile is None else self.tile
        return plan_tiles(size, tile, self.halo, max(1, int(predictor.config["input"].get("multiple_of", 32))))


def is_mosaic(path: Path) -> bool:
    """Whether a file is predicted tile by tile unasked: a TIFF with a place on the ground, or one too large to be decoded at once."""
    if path.suffix.lower() not in GEOTIFF_SUFFIXES:
        return False
    if importlib.util.find_spec("rasterio") is None:
        log.warning("%s: read as a photo; a GeoTIFF keeps its place with rasterio: pip install 'diorama[geo]'", path)
        return False
    try:
        with open_raster(path) as raster:
            return raster.crs is not None or raster.resolution is not None or raster.size[0] * raster.size[1] > io.MAX_PIXELS
    except UserError:
        return False  # read as a photo it will be told what is wrong with it


class Mosaic:
    """An image that is read window by window; see `open_mosaic`."""

    def __init__(self, path: Path, size: tuple[int, int], decode: Callable[[Window], View]) -> None:
        self.path, self.size, self._decode = path, size, decode
        self.crs: Any = None
        self.transform: Any = None
        self.bands: tuple[int, ...] = (1, 2, 3)
        self._strip = Window(0, 0, 0, 0)
        self._held = View(np.zeros((0, 0, 3), np.uint8))

    def read(self, top: int, left: int, height: int, width: int) -> View:
        """`(height, width)` pixels. Reading from left to right decodes every row of the file once, whatever its layout."""
        strip = self._strip
        if (top, height) != (strip.top, strip.height) or left < strip.left or left + width > strip.left + strip.width:
            reach = min(self.size[1] - left, max(width, STRIP_PIXELS // height))
            strip = self._strip = Window(top, left, height, reach)
            self._held = self._decode(strip)
        part = np.s_[:, left - strip.left : left - strip.left + width]
        return View(self._held.image[part], None if self._held.valid is None else self._held.valid[part])


@contextmanager
def open_mosaic(path: Path, tiling: Tiling) -> Iterator[Mosaic]:
    """A TIFF from disk window by window, or a photo from memory.

    Raises:
        DataError: it cannot be read; which of its bands are colours, or what is white, is not said.
    """
    if path.suffix.lower() not in GEOTIFF_SUFFIXES:
        if tiling.bands is not None or tiling.white is not None:
            raise DataError(f"{path}: --bands and --white are for TIFF files. Leave them out.")
        photo = io.read_image(path)
        yield Mosaic(path, (photo.shape[0], photo.shape[1]), lambda at: View(photo[at.top : at.top + at.height, at.left :][:, : at.width]))
        return
    with open_raster(path) as raster:
        raster.require_whole()
        bands = _bands(raster, tiling)
        if raster.dtype != np.uint8 and tiling.white is None:
            raise DataError(
                f"{path}: {raster.dtype} values. Say which of them is white: --white 65535 (16 bits), 2047 (11), 1 (reflectance)."
            )
        mosaic = Mosaic(path, raster.size, lambda window: _view(raster, window, bands, tiling.white))
        mosaic.crs, mosaic.bands = raster.crs, bands
        mosaic.transform = None if raster.resolution is None else raster.transform
        yield mosaic


def _bands(raster: Raster, tiling: Tiling) -> tuple[int, ...]:
    if raster.paletted:
        raise DataError(f"{raster.path}: a palette, not colours. Expand it first: gdal_translate -expand rgb.")
    if tiling.bands is None:
        if raster.bands in (1, 3):
            return (1, 1, 1) if raster.bands == 1 else (1, 2, 3)
        raise DataError(
            f"{raster.path}: {raster.bands} bands. Say which the model takes for red, green and blue: --bands 1 2 3; "
            "a fourth names a mask that is 0 where nothing is."
        )
    if max(tiling.bands) > raster.bands:
        raise DataError(f"{raster.path}: has no band {max(tiling.bands)}, only {raster.bands}. Change --bands.")
    return tiling.bands


def _view(raster: Raster, window: Window, bands: tuple[int, ...], white: float | None) -> View:
    wanted = sorted(set(bands))  # of many bands the others need not be decoded
    values = raster.read(window, wanted)
    colours = values[..., [wanted.index(band) for band in bands[:3]]]
    valid = np.ones(colours.shape[:2], bool)
    if np.issubdtype(values.dtype, np.floating):
        valid &= np.isfinite(colours).all(2)
        colours = np.nan_to_num(colours, nan=0, posinf=0, neginf=0)
    if raster.nodata is not None:
        valid &= (colours != raster.nodata).any(2)
    if len(bands) == 4:
        valid &= values[..., wanted.index(bands[3])] > 0
    mask = raster.read_mask(window)
    if mask is not None:
        valid &= mask
    if white is not None:
        colours = (colours.astype(np.float32) * np.float32(255 / white)).round().clip(0, 255).astype(np.uint8)
    return View(np.asarray(colours, np.uint8), None if valid.all() else valid)


def count_tiles(path: Path, predictor: Predictor, tiling: Tiling) -> int:
    """How many tiles an image has; 1 if it cannot be read. Only the header of a TIFF is."""
    try:
        if path.suffix.lower() not in GEOTIFF_SUFFIXES:
            return len(tiling.plan(io.image_size(path), predictor))
        with open_raster(path) as raster:
            return len(tiling.plan(raster.size, predictor))
    except UserError:
        return 1


def predict_mosaic(
    predictor: Predictor, path: Path, targets: Mapping[str, Path], tiling: Tiling, advance: Callable[[], None] | None = None
) -> list[Path]:
    """Write what `targets` names of `semantic`, `depth` and `json` for one image; the written paths come back.

    Args:
        predictor: a model of photos.
        path: a TIFF, or a photo of at most `io.MAX_PIXELS`.
        targets: keys of `SUFFIXES` -> file; what the model does not predict is left out.
        tiling: how it is cut.
        advance: called after each tile.

    Raises:
        DataError: the image cannot be read or the results not written.
        ConfigError: see `plan_tiles`.
    """
    has = {"semantic": predictor.labels is not None, "depth": predictor.depth_cap is not None, "json": True}
    targets = {kind: target for kind, target in targets.items() if has[kind]}
    with open_mosaic(path, tiling) as mosaic:
        if mosaic.transform is not None and mosaic.crs is None:
            log.warning("%s: names no coordinate system, so neither do its results", path)
        plan = tiling.plan(mosaic.size, predictor)
        with ExitStack() as stack:
            answers = Answers(targets, mosaic.size, predictor.labels, (mosaic.crs, mosaic.transform), stack)
            for block in blended(predictor.batch, mosaic.read, plan, batch=tiling.batch, advance=advance):
                answers.add(block)
            answers.finish()
    if "json" in targets:
        files = {kind: target.name for kind, target in targets.items() if kind != "json"}
        record = _record(predictor, mosaic, plan, tiling) | {"files": files} | answers.summary()
        with io.replacing(targets["json"]) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return list(targets.values())


def _record(predictor: Predictor, mosaic: Mosaic, plan: TilePlan, tiling: Tiling) -> dict[str, Any]:
    """What the JSON file says of the model, the image and how it was cut; JSON types only."""
    crs, transform = mosaic.crs, mosaic.transform
    return {
        "model": predictor.described,
        "source": mosaic.path.name,
        "size": {"height": mosaic.size[0], "width": mosaic.size[1]},
        "tiles": {"count": len(plan), "height": plan.tile[0], "width": plan.tile[1], "halo": plan.halo},
        "bands": list(mosaic.bands),
        "white": tiling.white,
        "crs": None if crs is None else crs.to_string(),
        "transform": None if transform is None else [float(number) for number in tuple(transform)[:6]],
    }
