"""Procedural cities from the air as a data set: image, 6 ISPRS classes and height above ground; frames of any size, drawn in windows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from diorama.data import geotiff, io
from diorama.data.base import SceneDataset
from diorama.data.geotiff import Window
from diorama.data.height import HEIGHT_SCALE, depth_of_height, height_meta
from diorama.data.labels import ISPRS6
from diorama.data.world import style
from diorama.data.world.aerial import BANDS, AerialCity, AerialView
from diorama.data.world.aerial_style import AERIAL
from diorama.errors import ConfigError, suggest
from diorama.types import Frame

CRS = "EPSG:25833"
_ORIGIN = 400_000.0, 5_800_000.0  # easting and northing of the grid's pixel (0, 0): plausible, and nowhere in particular
_TILE = 1024
_CITIES_PER_SPLIT = 1_000_000


class WorldAerial(SceneDataset):
    """Cities from straight above, drawn on the fly: image, 6 classes, height above ground (key `depth`, see `diorama.data.height`).

    Each frame is another city of its kind: its own plan, direction of streets, sun and exposure.

    Args:
        frames: how many frames the split has; train, val and test never share a city.
        split: `train`, `val` or `test`.
        size: height and width [px]; `windows` draws frames that are larger than memory.
        city: `a` (closed rows of high houses, leafless trees, low sun), `b` (small houses, green gardens, marked streets) or
            `mixed` (each in turn).
        gsd: ground sampling distance [m], the side of a pixel.
        bands: `rgb`, or `irrg` (near infrared, red, green).
        seed: another seed is another world.
        root: not used; the frames need no files.
    """

    name: ClassVar[str] = "world_aerial"
    title: ClassVar[str] = "Procedural cities from the air, 6 classes"
    citation: ClassVar[str] = "Procedural scenes of this package; nothing to cite."
    terms: ClassVar[str] = "Apache-2.0, as the package that draws them."
    offers: ClassVar[frozenset[str]] = frozenset({"image", "semantic", "depth", "domain"})
    depth_cap: ClassVar[float] = HEIGHT_SCALE
    styles: ClassVar[tuple[str, ...]] = tuple(AERIAL)
    labels = ISPRS6

    def __init__(
        self,
        frames: int = 200,
        split: str = "train",
        size: tuple[int, int] = (512, 512),
        city: str = "mixed",
        gsd: float = 0.09,
        bands: str = "rgb",
        seed: int = 0,
        root: str | Path | None = None,
    ) -> None:
        self.root, self.split, self.seed, self.city, self.gsd, self.bands = Path(root) if root else None, split, seed, city, gsd, bands
        self._check_split()
        if not 1 <= frames <= _CITIES_PER_SPLIT:
            raise ConfigError(f"{self.name}: {frames} frames. Pass --data.frames of 1 to {_CITIES_PER_SPLIT}.")
        if min(size) < 16:
            raise ConfigError(f"{self.name}: size {tuple(size)} is too small. Pass --data.size [height, width] of at least 16.")
        if not 0.02 <= gsd <= 2:
            raise ConfigError(f"{self.name}: {gsd} metres a pixel. Pass --data.gsd of 0.02 to 2.")
        if bands not in BANDS:
            raise ConfigError(f"{self.name}: unknown bands '{bands}': {suggest(bands, BANDS)}")
        if seed < 0:
            raise ConfigError(f"{self.name}: seed {seed} is negative. Pass --data.seed of at least 0.")
        self.size = int(size[0]), int(size[1])
        style.choose(city, self.styles, 0)
        self.ids = [f"{split}_{seed}_{index:05d}" for index in range(frames)]
        self.provides = self.offers

    def place(self, index: int) -> tuple[AerialCity, int, int]:
        """The city of frame `index`, and the frame's first row and column on the city's endless grid."""
        number = (self.seed * len(self.splits) + self.splits.index(self.split)) * _CITIES_PER_SPLIT + index
        name = style.choose(self.city, self.styles, index)
        top, left = np.random.default_rng([number, 31]).integers(-2000, 2000, 2).tolist()
        return AerialCity(name, number, self.gsd, self.bands), top, left

    def window(self, index: int, window: Window | tuple[int, int, int, int]) -> AerialView:
        """What frame `index` shows in the rectangle (top, left, height, width): the same pixels as in any other window of it."""
        city, top, left = self.place(index)
        return city.draw(top + window[0], left + window[1], window[2], window[3])

    def transform(self, index: int) -> tuple[float, float, float, float, float, float]:
        """The six numbers (a, b, c, d, e, f) that lead from (column, row) of frame `index` to easting and northing in `CRS`."""
        _, top, left = self.place(index)
        # pixel centres lie on the grid, a transform speaks of corners
        return self.gsd, 0.0, _ORIGIN[0] + (left - 0.5) * self.gsd, 0.0, -self.gsd, _ORIGIN[1] - (top - 0.5) * self.gsd

    def frame(self, index: int) -> Frame:
        """Frame number `index`: image, semantic, depth (height above ground), domain (the city's number).

        Raises:
            DataError: it has more than `io.MAX_PIXELS` pixels.
        """
        io.check_pixels(f"{self.name} {self.ids[index]}", self.size[1], self.size[0])
        view = self.window(index, (0, 0, *self.size))
        name = style.choose(self.city, self.styles, index)
        return Frame(
            image=view.image,
            semantic=view.semantic,
            depth=depth_of_height(view.height),
            domain=self.styles.index(name),
            meta={
                "id": self.ids[index],
                "path": f"{self.name}/{name}/{self.ids[index]}",
                "split": self.split,
                "style": name,
                "gsd": self.gsd,
                "bands": self.bands,
                "height": height_meta(),
                "crs": CRS,
                "transform": list(self.transform(index)),
            },
        )

    def windows(self, index: int, tile: int = _TILE) -> Iterator[tuple[Window, AerialView]]:
        """The whole frame `index` in windows of `tile` x `tile` pixels, row by row, one in memory at a time."""
        return ((window, self.window(index, window)) for window in geotiff.windows(self.size, tile))

    def write_geotiff(self, index: int, folder: str | Path) -> list[Path]:
        """Store frame `index` as ID.tif, ID.semantic.tif (train ids) and ID.height.tif (metres, float32), window by window.

        Raises:
            DataError: rasterio is not installed, or the folder cannot be written.
        """
        return _write(self, index, Path(folder))


def _write(dataset: WorldAerial, index: int, folder: Path) -> list[Path]:
    transform, stem, unit = dataset.transform(index), dataset.ids[index], {"unit": "m above ground"}
    paths = [folder / f"{stem}.tif", folder / f"{stem}.semantic.tif", folder / f"{stem}.height.tif"]
    with (
        geotiff.RasterWriter(paths[0], dataset.size, 3, np.uint8, CRS, transform, tags={"bands": dataset.bands}) as image,
        geotiff.RasterWriter(paths[1], dataset.size, 1, np.uint8, CRS, transform, palette=ISPRS6.palette) as semantic,
        geotiff.RasterWriter(paths[2], dataset.size, 1, np.float32, CRS, transform, tags=unit) as height,
    ):
        for window, view in dataset.windows(index, _TILE):
            parts: tuple[NDArray[Any], ...] = view.image, view.semantic, view.height
            for writer, part in zip((image, semantic, height), parts, strict=True):
                writer.write(window, part)
    return paths
