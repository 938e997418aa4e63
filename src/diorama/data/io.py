"""The place that decodes and encodes image, label and depth files (MATLAB files: `matlab.py`). NumPy only, no torch.

A file is never trusted: its size is read from the header before anything is decoded (`MAX_PIXELS`), NPY files are never
unpickled, and a truncated file is an error rather than a half-grey image. A file is never half-written: see `replacing`.

Depth is metres as float32, 0 = unknown. Integer files hold metres * scale; float files hold metres.
A depth PNG written here records its scale in a PNG text chunk, `depth_scale`, which `read_depth` honours.
"""

from __future__ import annotations

import os
import struct
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from diorama.errors import DataError, ShapeError, one_line
from diorama.types import UNKNOWN_DEPTH

MAX_PIXELS = int(os.environ.get("DIORAMA_MAX_PIXELS", 89_478_485))
"""Largest image that is decoded, H * W (Pillow's own limit, 256 MiB of RGB); environment: DIORAMA_MAX_PIXELS."""

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
DEPTH_SUFFIXES = (".png", ".npy", ".pfm", ".h5", ".hdf5", ".tif", ".tiff", ".pgm")

# Pillow also knows formats that start programs (EPS) or are never photos: they stay closed.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM")
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, IndexError, OverflowError)
_UINT16_MAX = 65535
_NO_SCALE = "Save metres as float32 (.npy), or of a data set pass --data.depth_scale (256: KITTI, 1000: millimetres)."
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
_PLAIN, _SMOOTH = [*_PNG, 19, 8], [*_PNG, 19, 16]  # 19: filter, 8: none, 16: differences along the row; all in turn take twice the time
SHALLOW = frozenset({"1", "L", "P", "LA", "RGB", "RGBA", "PA"})  # Pillow's modes of at most 8 bits: no depth


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """The image with only its header read; whatever is wrong with the file comes out as a `DataError`."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: {'is a folder, expected a file' if path.is_dir() else 'no such file'}. Check the path.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of large images and of cut-off TIFFs: both are errors below
            with Image.open(path, formats=_FORMATS) as image:
                check_pixels(path, image.width, image.height)
                if image.format == "PNG" and not _ends_as_png(path):
                    raise DataError(f"{path}: truncated (the end of the PNG is missing). Copy or download the file again.")
                yield image
    except DataError:
        raise
    except UnidentifiedImageError as error:
        size = path.stat().st_size
        what = "an empty file" if size == 0 else "not an image that diorama reads (PNG, JPEG, WebP, BMP, TIFF, PPM), or damaged"
        raise DataError(f"{path}: {what}. Replace the file or take it out of the set.") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: far above the limit of {MAX_PIXELS} pixels. Cut it into tiles or set DIORAMA_MAX_PIXELS.") from error
    except DAMAGE as error:
        raise DataError(f"{path}: truncated or damaged ({one_line(error)}). Copy or download the file again.") from error


def _ends_as_png(path: Path) -> bool:
    # Pillow is content once it has the last row, even where the checksums behind it are cut off.
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        return b"IEND" in file.read()


def check_pixels(path: str | Path, width: int, height: int) -> None:
    """Return if an image of this size may be decoded.

    Raises:
        DataError: it has more than `MAX_PIXELS` pixels.
    """
    if width * height > MAX_PIXELS:
        raise DataError(f"{path}: {width}x{height} is above the limit of {MAX_PIXELS} pixels. Cut it into tiles or set DIORAMA_MAX_PIXELS.")


def image_size(path: str | Path) -> tuple[int, int]:
    """`(H, W)` of an image file, from its header alone (an EXIF rotation is taken into account).

    Raises:
        DataError: the file is missing, no image, or above `MAX_PIXELS`.
    """
    with _opened(path) as image:
        quarter_turn = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        return (image.width, image.height) if quarter_turn else (image.height, image.width)


def is_colour(path: str | Path) -> bool:
    """Whether an image file holds colours rather than one number (or palette index) per pixel; reads its header only.

    Raises:
        DataError: the file is missing or no image.
    """
    with _opened(path) as image:
        return image.mode not in ("1", "L", "P", "I", "F") and not image.mode.startswith("I;")


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """`(H, W, 3)` RGB of any photo: grey, 16-bit, palette and RGBA files become 8-bit RGB, an EXIF rotation is applied.

    Raises:
        DataError: the file is missing, no image, truncated, or above `MAX_PIXELS`.
    """
    with _opened(path) as image:
        turned = ImageOps.exif_transpose(image)
        if turned.mode == "F":
            raise DataError(f"{path}: a float image is no photo. Save it as 8-bit RGB, or pass it as depth.")
        if turned.mode.startswith("I"):
            grey = np.asarray(turned).astype(np.int64).clip(0, _UINT16_MAX)
            return np.repeat(((grey * 255 + _UINT16_MAX // 2) // _UINT16_MAX).astype(np.uint8)[..., None], 3, axis=2)
        return np.array(turned.convert("RGB"))


def read_labels(path: str | Path) -> NDArray[Any]:
    """`(H, W)` label ids as the file holds them: uint8 (grey, palette or 1-bit PNG) or uint16.

    Raises:
        DataError: the file is missing, damaged or a colour image.
    """
    with _opened(path) as image:
        if image.mode in ("L", "P"):
            return np.array(image)
        if image.mode == "1":
            return np.array(image).astype(np.uint8)
        if image.mode.startswith("I"):
            ids = np.array(image)
            return ids if ids.dtype == np.uint16 else ids.clip(0, _UINT16_MAX).astype(np.uint16)
        raise DataError(
            f"{path}: a colour image ({image.mode}), expected one label id per pixel. "
            "Decode it with a palette (`LabelSet.decode`, or `palette` in dataset.yaml)."
        )


def read_depth(path: str | Path, scale: float | None = None, key: str = "depth", unrecorded: float | None = None) -> NDArray[np.float32]:
    """`(H, W)` depth [m], 0 = unknown, from a 16-bit PNG or TIFF, NPY, PFM or HDF5 file.

    Args:
        path: the file; its suffix decides the format.
        scale: integers of the file are metres * scale (256: KITTI, 1000: millimetres). None: what the PNG itself records.
            Float files (NPY, PFM, TIFF, HDF5) hold metres, where infinity is unknown.
        key: name of the array in an HDF5 file.
        unrecorded: the scale of a PNG that records none.

    Raises:
        DataError: missing, damaged, 8-bit, without a known scale, not two-dimensional, NaN or negative.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        values = read_npy(path)
    elif suffix == ".pfm":
        values = read_pfm(path)
    elif suffix in (".h5", ".hdf5"):
        from diorama.data.matlab import read_hdf5

        values = read_hdf5(path, key)
    else:
        values, recorded = _read_depth_image(path)
        scale = next((value for value in (scale, recorded, unrecorded) if value is not None), None)
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    if values.ndim != 2:
        raise DataError(f"{path}: depth of shape {values.shape}, expected (H, W). Save one channel.")
    if np.issubdtype(values.dtype, np.floating):
        with np.errstate(over="ignore"):  # beyond float32 is infinite, so unknown
            depth = values.astype(np.float32)
    elif not np.issubdtype(values.dtype, np.integer):
        raise DataError(f"{path}: values of type {values.dtype}, expected numbers. Save metres as float32.")
    elif scale is None:
        raise DataError(f"{path}: whole numbers without a recorded scale. {_NO_SCALE}")
    else:
        depth = (values / np.float64(scale)).astype(np.float32)
    depth[np.isposinf(depth)] = UNKNOWN_DEPTH
    return check_depth(depth, str(path))


def depth_mode(path: str | Path) -> tuple[str, float | None]:
    """Pillow's mode of a depth image ("I;16", "F", "L", ...) and the scale that it records, if any; reads its header only.

    Raises:
        DataError: the file is missing or no image, or the recorded scale is no number.
    """
    with _opened(path) as image:
        return image.mode, recorded_scale(image, path)


def _read_depth_image(path: Path) -> tuple[NDArray[Any], float | None]:
    with _opened(path) as image:
        if image.mode in SHALLOW:
            kind = f"{8 if image.mode != '1' else 1}-bit {image.format}"
            raise DataError(
                f"{path}: {kind}, expected 16-bit depth (KITTI stores metres * 256). Pass --data.depth_scale with 16-bit files."
            )
        return np.array(image), recorded_scale(image, path)


def recorded_scale(image: Image.Image, path: str | Path) -> float | None:
    """The scale that a depth image records, if any; `path` names it in the error."""
    recorded = image.info.get("depth_scale")
    try:
        return None if recorded is None else float(recorded)
    except ValueError as error:
        raise DataError(f"{path}: recorded depth_scale '{recorded}' is no number. {_NO_SCALE}") from error


def check_depth(depth: NDArray[np.float32], where: str) -> NDArray[np.float32]:
    """`depth` itself if every value is finite and not negative; `where` names it in the error.

    Raises:
        DataError: with the number of NaN, infinite and negative values.
    """
    faults = {
        "NaN": int(np.isnan(depth).sum()),
        "infinite": int(np.isinf(depth).sum()),
        "negative": int((depth < 0).sum()),
    }
    if any(faults.values()):
        counted = ", ".join(f"{count} {what}" for what, count in faults.items() if count)
        raise DataError(f"{where}: {counted} of {depth.size} depth values. Unknown depth is 0: replace them by 0 before saving.")
    return depth


def read_npy(path: str | Path) -> NDArray[Any]:
    """The array of an NPY file; a pickled one is refused, its size is checked before it is read.

    Raises:
        DataError: the file is missing, damaged, pickled or too large.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file. Check the path.")
    try:
        lazy = np.load(path, mmap_mode="r", allow_pickle=False)
    except DAMAGE as error:
        raise DataError(f"{path}: not a plain NPY array, or truncated ({one_line(error)}). Save it with numpy.save.") from error
    check_pixels(path, int(lazy.shape[-1]) if lazy.ndim else 1, lazy.size // max(1, lazy.shape[-1] if lazy.ndim else 1))
    return np.array(lazy)


def read_pfm(path: str | Path) -> NDArray[np.float32]:
    """`(H, W)` or `(H, W, 3)` floats of a PFM file, top row first, either byte order.

    Raises:
        DataError: the file is missing, not PFM, truncated or too large.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file. Check the path.")
    with path.open("rb") as file:
        kind = file.readline(16).strip()
        try:
            width, height = (int(word) for word in file.readline(64).split())
            order = float(file.readline(64))
        except ValueError as error:
            raise DataError(f"{path}: not a PFM file (its header is '{kind!r}'). Save it as PFM or 16-bit PNG.") from error
        if kind not in (b"Pf", b"PF") or width < 1 or height < 1:
            raise DataError(f"{path}: not a PFM file (its header is '{kind!r}'). Save it as PFM or 16-bit PNG.")
        check_pixels(path, width, height)
        channels = 3 if kind == b"PF" else 1
        count = width * height * channels
        data = file.read(count * 4)
    if len(data) < count * 4:
        raise DataError(f"{path}: truncated ({len(data)} of {count * 4} bytes). Copy or download the file again.")
    values = np.frombuffer(data, "<f4" if order < 0 else ">f4").astype(np.float32)
    shape = (height, width, 3) if channels == 3 else (height, width)
    return np.ascontiguousarray(values.reshape(shape)[::-1])


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path in the same folder that becomes `path` if the block succeeds and vanishes if it does not.

    The suffix is kept (encoders look at it); missing parent folders are made.

    Raises:
        DataError: the folder cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise DataError(f"{path}: cannot write there ({error.strerror}). Choose another output folder.") from error
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files for the owner alone; a result has the rights that any new file gets here.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _write_bytes(path: str | Path, data: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def _encoded(path: str | Path, array: NDArray[Any], options: list[int]) -> bytes:
    suffix = Path(path).suffix.lower()
    try:
        done, data = cv2.imencode(suffix, np.ascontiguousarray(array), options)
    except cv2.error as error:
        raise DataError(f"{path}: cannot write '{suffix}' files. Choose .png or .jpg.") from error
    if not done:
        raise DataError(f"{path}: encoding as '{suffix}' failed. Choose .png or .jpg.")
    return bytes(data)


def write_image(path: str | Path, image: NDArray[np.uint8], quality: int = 95) -> None:
    """Store `(H, W, 3)` RGB or `(H, W)` grey uint8 as PNG, JPEG (with `quality`), WebP, BMP or TIFF, by suffix.

    Raises:
        ShapeError: `image` is neither.
        DataError: the suffix is unknown or the folder cannot be written.
    """
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise ShapeError(f"{path}: an image is uint8 (H, W, 3), not {image.dtype} {image.shape}. Convert it first.")
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if Path(path).suffix.lower() in (".jpg", ".jpeg") else []
    _write_bytes(path, _encoded(path, image if image.ndim == 2 else image[..., ::-1], options))


def write_label_png(path: str | Path, semantic: NDArray[Any], bits: int = 8, smooth: bool = False) -> None:
    """Store `(H, W)` ids as a grey PNG of 8 bits (16 if asked for, or if an id needs it); `smooth`: neighbours differ little.

    Raises:
        ShapeError: not two-dimensional, not whole numbers, or outside 0..65535.
    """
    least, most = (semantic.min(), semantic.max()) if semantic.size else (0, 0)
    if semantic.ndim != 2 or not np.issubdtype(semantic.dtype, np.integer) or not 0 <= least <= most <= _UINT16_MAX:
        raise ShapeError(f"{path}: a label map is (H, W) ids in 0..65535, not {semantic.dtype} {semantic.shape}. Convert it first.")
    narrow = np.uint8 if bits == 8 and most <= 255 else np.uint16
    _write_bytes(path, _encoded(path, semantic.astype(narrow, copy=False), _SMOOTH if smooth else _PLAIN))


def write_depth_png(path: str | Path, depth: NDArray[np.float32], scale: float = 256.0) -> int:
    """Store `(H, W)` depth [m] as uint16 `round(depth * scale)` with the scale in the PNG; returns how many pixels were clipped.

    0 stays 0 (unknown). A known depth is clipped to 1..65535 file units, so that it never turns into "unknown".

    Raises:
        DataError: NaN, infinite or negative depth.
    """
    check_depth(depth, str(path))
    if depth.ndim != 2:
        raise ShapeError(f"{path}: depth of shape {depth.shape}, expected (H, W). Save one image at a time.")
    known = depth > 0
    units = np.rint(depth.astype(np.float64) * scale)
    clipped = int((known & ((units < 1) | (units > _UINT16_MAX))).sum())
    stored = np.where(known, units.clip(1, _UINT16_MAX), 0).astype(np.uint16)
    _write_bytes(path, _with_text(_encoded(path, stored, _SMOOTH), "depth_scale", f"{scale:g}"))
    return clipped


def _with_text(png: bytes, key: str, value: str) -> bytes:
    """The PNG with one tEXt chunk behind its header (8 bytes of signature + 25 of IHDR)."""
    body = b"tEXt" + key.encode("latin-1") + b"\0" + value.encode("latin-1")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:33] + chunk + png[33:]


def write_npy(path: str | Path, array: NDArray[Any]) -> None:
    """Store an array as NPY (never pickled)."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def write_pfm(path: str | Path, values: NDArray[np.float32], big_endian: bool = False) -> None:
    """Store `(H, W)` or `(H, W, 3)` floats as PFM, in either byte order.

    Raises:
        ShapeError: another shape.
    """
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] != 3):
        raise ShapeError(f"{path}: PFM holds (H, W) or (H, W, 3), not {values.shape}. Save one channel.")
    kind, order = ("PF" if values.ndim == 3 else "Pf"), ("1.0" if big_endian else "-1.0")
    header = f"{kind}\n{values.shape[1]} {values.shape[0]}\n{order}\n".encode()
    _write_bytes(path, header + values[::-1].astype(">f4" if big_endian else "<f4").tobytes())
