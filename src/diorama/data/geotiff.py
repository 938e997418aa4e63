"""Rasters with a place on the ground, window by window: GeoTIFF in and out through rasterio (extra `geo`). NumPy, no torch.

An image may be larger than memory: `Raster.read` decodes one window, `RasterWriter.write` encodes one, and GDAL's block
cache is held to `CACHE_MB`. A raster without a CRS is read like any other: `crs` is None, and what is written from it has none.
Like every file of this project a raster is written under a temporary name and moved into place when it is complete: GDAL says nothing
of a disk that fills up while a file is closed, so it is looked at first.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from diorama.data import io
from diorama.errors import DataError, ShapeError

CACHE_MB = 64
"""Decoded blocks that GDAL keeps while rasters are open."""

BLOCK_BYTES = 2**29
"""A file whose blocks are larger when decoded is not read: one of them would have to be in memory."""

SUFFIXES = (".tif", ".tiff")
_BLOCK = 256
# By the first bytes. A VRT would name other files, some drivers fetch from the network: they stay closed.
_DRIVERS = {b"II*\0": "GTiff", b"MM\0*": "GTiff", b"II+\0": "GTiff", b"MM\0+": "GTiff", b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG"}
_FLOATS = ("float16", "float32", "float64")


class Window(NamedTuple):
    """A rectangle of pixels: first row and column, number of rows and columns."""

    top: int
    left: int
    height: int
    width: int


def windows(size: tuple[int, int], tile: int) -> Iterator[Window]:
    """The windows of `tile` rows and columns that cover `size` (H, W) without overlap, row by row; the last ones are smaller."""
    for top in range(0, size[0], tile):
        for left in range(0, size[1], tile):
            yield Window(top, left, min(tile, size[0] - top), min(tile, size[1] - left))


def _rasterio(path: str | Path) -> Any:
    try:
        import rasterio
    except ImportError as error:
        raise DataError(f"{path}: GeoTIFF files need rasterio. Install it: pip install 'diorama[geo]'.") from error
    return rasterio


def _interleaved(source: Any) -> bool:
    """Whether a block holds all bands, not one of them."""
    return source.interleaving is not None and source.interleaving.name == "pixel"


def _damaged(path: str | Path, why: str) -> DataError:
    return DataError(f"{path}: not a GeoTIFF, or truncated or damaged ({why}). Copy or download the file again.")


def _unwritten(path: str | Path, why: str) -> DataError:
    free = shutil.disk_usage(Path(path).parent).free / 2**20
    return DataError(f"{path}: cannot be written ({why}; {free:.0f} MB are free there). Make room, or choose another output folder.")


@contextmanager
def _gdal(path: str | Path, failed: Callable[[str | Path, str], DataError] = _damaged) -> Iterator[Any]:
    """rasterio with a bounded cache; whatever is wrong with the file at `path` comes out as the `DataError` that `failed` words."""
    import warnings

    rasterio = _rasterio(path)
    from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError

    try:
        with (
            warnings.catch_warnings(),
            rasterio.Env(GDAL_CACHEMAX=CACHE_MB, GDAL_PAM_ENABLED="NO", GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"),
        ):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            yield rasterio
    except (RasterioIOError, RasterioError) as error:
        raise failed(path, _one_line(error)) from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def _crs(path: Path, crs: Any) -> Any:
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    try:
        with _gdal(path):
            return CRS.from_user_input(crs)
    except (CRSError, DataError, ValueError) as error:
        raise DataError(f"{path}: '{crs}' is no coordinate system. Pass e.g. 'EPSG:25833'.") from error


def _inside(path: Path, size: tuple[int, int], window: Window) -> Any:
    from rasterio.windows import Window as Rectangle

    top, left, height, width = window
    if min(top, left) < 0 or min(height, width) < 1 or top + height > size[0] or left + width > size[1]:
        raise ShapeError(f"{path}: window {tuple(window)} is not inside {size[0]}x{size[1]} pixels. Cut it at the border.")
    return Rectangle(left, top, width, height)


class Raster:
    """An open raster; see `open_raster`. Nothing is decoded before `read`."""

    def __init__(self, path: Path, source: Any) -> None:
        self.path, self._source = path, source
        self.size: tuple[int, int] = (source.height, source.width)
        """Rows and columns."""
        self.bands: int = source.count
        self.paletted: bool = source.count == 1 and source.colorinterp[0].name == "palette"
        """Whether its values are places in a table of colours."""
        self.dtype: np.dtype[Any] = np.dtype(source.dtypes[0])
        self.crs: Any = source.crs
        """`rasterio.crs.CRS`, None if the file names none."""
        self.transform: Any = source.transform
        """`affine.Affine`: (column, row) of a pixel's upper left corner -> ground coordinates; the identity if the file has none."""
        self.nodata: float | None = source.nodata
        self.tags: dict[str, str] = dict(source.tags())
        flags = {flag.name for flag in source.mask_flag_enums[0]}
        self._masked = "per_dataset" in flags and "alpha" not in flags

    @property
    def resolution(self) -> tuple[float, float] | None:
        """Rows and columns: ground units (of `crs`) that a pixel spans; None if the file has no transform."""
        if self.transform.is_identity:
            return None
        a, b, _, d, e, _ = tuple(self.transform)[:6]
        return math.hypot(b, e), math.hypot(a, d)

    def read(self, window: Window | tuple[int, int, int, int] | None = None, bands: Sequence[int] | None = None) -> NDArray[Any]:
        """`(h, w, c)` values as stored of (top, left, height, width), of the whole raster if None; of `bands`, from 1, all if None.

        Raises:
            ShapeError: the window reaches beyond the raster.
            DataError: it has more than `io.MAX_PIXELS` pixels, or the file is damaged there.
        """
        rectangle = self._asked(window)
        with _gdal(self.path):
            values = self._source.read(None if bands is None else list(bands), window=rectangle)
        return np.ascontiguousarray(values.transpose(1, 2, 0))

    def read_mask(self, window: Window | tuple[int, int, int, int] | None = None) -> NDArray[np.bool_] | None:
        """`(h, w)` where the mask inside the file says that there is something; None if it has none.

        Nodata values and bands of transparency are no such mask. It raises what `read` does.
        """
        if not self._masked:
            return None
        rectangle = self._asked(window)
        with _gdal(self.path):
            return np.asarray(self._source.read_masks(1, window=rectangle) > 0)

    def require_whole(self) -> None:
        """Return if every block of the file is in it; otherwise it would be told when a window reaches there.

        Raises:
            DataError: the file is cut off.
        """
        with _gdal(self.path):
            if self._source.driver == "GTiff" and any(end > self.path.stat().st_size for end in _block_ends(self._source)):
                raise _damaged(self.path, "blocks beyond the end of the file")

    def _asked(self, window: Window | tuple[int, int, int, int] | None) -> Any:
        asked = Window(0, 0, *self.size) if window is None else Window(*(int(number) for number in window))
        rectangle = _inside(self.path, self.size, asked)
        io.check_pixels(self.path, asked.width, asked.height)
        return rectangle


@contextmanager
def open_raster(path: str | Path) -> Iterator[Raster]:
    """A GeoTIFF (or PNG, JPEG) to be read window by window.

    Raises:
        DataError: rasterio is not installed; the file is missing, not a raster, damaged, or stored in blocks that are too large.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: {'is a folder, expected a file' if path.is_dir() else 'no such file'}. Check the path.")
    with path.open("rb") as file:
        start = file.read(4)
    driver = next((name for magic, name in _DRIVERS.items() if start.startswith(magic)), None)
    if driver is None:
        raise DataError(f"{path}: not a GeoTIFF, PNG or JPEG, or damaged. Copy or download the file again.")
    # `_gdal` surrounds opening and reading one by one: around the whole block it would take the caller's own errors for damage.
    with ExitStack() as stack:
        with _gdal(path) as rasterio:
            source = stack.enter_context(rasterio.open(path, driver=driver))
        if len(set(source.dtypes)) > 1:
            raise DataError(f"{path}: bands of different types ({', '.join(source.dtypes)}). Store one type of number per file.")
        rows, columns = source.block_shapes[0]
        held = rows * columns * np.dtype(source.dtypes[0]).itemsize * (source.count if _interleaved(source) else 1)
        if held > BLOCK_BYTES:
            raise DataError(
                f"{path}: blocks of {rows}x{columns} pixels, each {held / 2**20:.0f} MB in memory. "
                "Rewrite it in tiles: gdal_translate -co TILED=YES -co BIGTIFF=IF_SAFER."
            )
        yield Raster(path, source)


class RasterWriter:
    """A new GeoTIFF, written window by window in any order; a context manager. It is at `path` once the block has succeeded.

    Windows that start at multiples of 256 and end there (or at the border) are compressed once; others cost time and space.

    Args:
        path: where the file goes; a suffix of .tif or .tiff.
        size: rows and columns.
        bands: channels of what is written.
        dtype: type of its numbers.
        crs: anything that rasterio takes for a coordinate system ("EPSG:25833", a CRS), or None.
        transform: `affine.Affine` or its six numbers (a, b, c, d, e, f); None: no place on the ground.
        nodata: value that means "unknown".
        tiled: blocks of 256 x 256 (else rows).
        compressed: lossless (deflate).
        tags: texts to store, e.g. {"unit": "m"}.
        palette: colours of the values 0.. of one uint8 band, for viewers.

    Raises:
        DataError: rasterio is not installed, the suffix is another, or the folder cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        size: tuple[int, int],
        bands: int,
        dtype: DTypeLike,
        crs: Any = None,
        transform: Any = None,
        nodata: float | None = None,
        tiled: bool = True,
        compressed: bool = True,
        tags: dict[str, str] | None = None,
        palette: tuple[tuple[int, int, int], ...] | None = None,
    ) -> None:
        self.path, self.size, self.bands, self.dtype = Path(path), (int(size[0]), int(size[1])), bands, np.dtype(dtype)
        if self.path.suffix.lower() not in SUFFIXES:
            raise DataError(f"{path}: a raster is written as GeoTIFF. Name it .tif.")
        if min(*self.size, bands) < 1:
            raise ShapeError(f"{path}: {self.size[0]}x{self.size[1]} pixels of {bands} bands cannot be written. Give at least 1 of each.")
        self._options: dict[str, Any] = {"nodata": nodata, "BIGTIFF": "IF_SAFER", "interleave": "pixel"}
        if tiled:
            self._options |= {"tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK}
        if compressed:
            # the low bits of floats are noise: more effort makes them 4 % smaller and takes 2.5 times as long
            predictor, effort = (3, 1) if self.dtype.name in _FLOATS else (2, 6)
            self._options |= {"compress": "deflate", "zlevel": effort} | ({} if palette is not None else {"predictor": predictor})
        self._place = crs, transform
        self._tags, self._palette = tags or {}, palette
        self._stack = ExitStack()
        self._target: Any = None

    def __enter__(self) -> Self:
        _rasterio(self.path)
        from affine import Affine

        crs, transform = self._place
        options = self._options | ({} if crs is None else {"crs": _crs(self.path, crs)})
        if transform is not None:
            options["transform"] = transform if isinstance(transform, Affine) else Affine(*transform[:6])
        with ExitStack() as stack:
            temporary = stack.enter_context(io.replacing(self.path))
            stack.push(lambda kind, *_: _check_whole(self.path, temporary) if kind is None else None)
            with _gdal(self.path, _unwritten) as rasterio:
                height, width = self.size
                self._target = stack.enter_context(
                    rasterio.open(temporary, "w", driver="GTiff", height=height, width=width, count=self.bands, dtype=self.dtype, **options)
                )
                self._target.update_tags(**self._tags)
                if self._palette is not None:
                    self._target.write_colormap(1, {number: (*colour, 255) for number, colour in enumerate(self._palette)})
            self._stack = stack.pop_all()
        return self

    def write(self, window: Window | tuple[int, int, int, int], values: NDArray[Any]) -> None:
        """Store `(h, w, c)` values (`(h, w)` of one band) at (top, left, height, width).

        Raises:
            ShapeError: another shape or type of number, or the window reaches beyond the raster.
            DataError: the disk is full.
        """
        asked = Window(*(int(number) for number in window))
        rectangle = _inside(self.path, self.size, asked)
        whole = values[..., None] if values.ndim == 2 else values
        if whole.shape != (asked.height, asked.width, self.bands) or whole.dtype != self.dtype:
            raise ShapeError(
                f"{self.path}: {whole.dtype} {whole.shape} for a window of {self.dtype} {(asked.height, asked.width, self.bands)}. "
                "Pass what the window holds."
            )
        with _gdal(self.path, _unwritten):
            self._target.write(whole.transpose(2, 0, 1), window=rectangle)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with _gdal(self.path, _unwritten) if error is None else ExitStack():
            self._stack.__exit__(kind, error, trace)


def _check_whole(path: Path, temporary: Path) -> None:
    """Return if every block of the GeoTIFF `temporary`, which will be at `path`, is inside the file."""
    last = temporary.stat().st_size
    with _gdal(path, _unwritten) as rasterio, rasterio.open(temporary, driver="GTiff") as file:
        if any(end == 0 or end > last for end in _block_ends(file)):
            raise _unwritten(path, f"it ends after {last} bytes")


def _block_ends(source: Any) -> Iterator[int]:
    """Where each block of an open GeoTIFF ends in the file, 0 for one that is not there."""
    rows, columns = source.block_shapes[0]
    for band in (1,) if _interleaved(source) else range(1, source.count + 1):
        for y in range(math.ceil(source.height / rows)):
            for x in range(math.ceil(source.width / columns)):
                first, size = (source.get_tag_item(f"BLOCK_{what}_{x}_{y}", "TIFF", bidx=band) for what in ("OFFSET", "SIZE"))
                yield 0 if first is None else int(first) + int(size)


def write_raster(
    path: str | Path,
    values: NDArray[Any] | Iterable[tuple[Window, NDArray[Any]]],
    crs: Any = None,
    transform: Any = None,
    nodata: float | None = None,
    tiled: bool = True,
    compressed: bool = True,
    size: tuple[int, int] | None = None,
    tags: dict[str, str] | None = None,
    palette: tuple[tuple[int, int, int], ...] | None = None,
) -> None:
    """Store `(H, W, C)` or `(H, W)` values, or an iterator of (window, values) of a raster of `size`, as one GeoTIFF.

    The other arguments are those of `RasterWriter`. An iterator is drawn from one item at a time.

    Raises:
        ShapeError: an iterator without `size`, an empty one, or a window of another shape or type.
        DataError: as `RasterWriter`.
    """
    if isinstance(values, np.ndarray):
        size = (values.shape[0], values.shape[1])
        values = [(Window(0, 0, *size), values)]
    if size is None:
        raise ShapeError(f"{path}: windows of a raster of unknown size. Pass size=(height, width).")
    parts = iter(values)
    first = next(parts, None)
    if first is None:
        raise ShapeError(f"{path}: no window to write. Pass at least one.")
    bands = 1 if first[1].ndim == 2 else first[1].shape[2]
    with RasterWriter(path, size, bands, first[1].dtype, crs, transform, nodata, tiled, compressed, tags, palette) as writer:
        writer.write(*first)
        for window, part in parts:
            writer.write(window, part)
