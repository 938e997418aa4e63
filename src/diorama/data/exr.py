"""One channel of OpenEXR files through the format's own library (extra `exr`): OpenCV's wheels are built without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diorama.data import io
from diorama.errors import DataError, ShapeError

_DAMAGE = (RuntimeError, ValueError, TypeError, OSError)


def _library(path: str | Path) -> Any:
    try:
        import OpenEXR
    except ImportError as error:
        raise DataError(f"{path}: EXR files need OpenEXR. Install it: pip install 'diorama[exr]'.") from error
    return OpenEXR


def read_exr(path: str | Path, channel: str = "Z") -> NDArray[np.float32]:
    """`(H, W)` values of one channel, float32.

    Raises:
        DataError: OpenEXR is not installed; the file is missing, damaged, too large or has no such channel.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file. Check the path.")
    library = _library(path)
    try:
        with library.File(str(path), header_only=True) as header:
            first, last = header.header()["dataWindow"]
        width, height = (int(last[axis]) - int(first[axis]) + 1 for axis in (0, 1))
        io.check_pixels(path, width, height)
        with library.File(str(path), separate_channels=True) as file:
            channels = file.channels()
            names = sorted(channels)
            values = np.array(channels[channel].pixels, np.float32) if channel in channels else None
    except _DAMAGE as error:
        raise DataError(f"{path}: not an EXR image, or truncated or damaged. Copy or download the file again.") from error
    if values is None or values.shape != (height, width):
        raise DataError(f"{path}: no channel '{channel}' (it has {', '.join(names)}). Use the file that the data set ships.")
    return values


def write_exr(path: str | Path, values: NDArray[np.float32], channel: str = "Z") -> None:
    """Store `(H, W)` float32 as one channel, losslessly compressed.

    Raises:
        ShapeError: another shape or type.
        DataError: OpenEXR is not installed, or the folder cannot be written.
    """
    if values.ndim != 2 or values.dtype != np.float32:
        raise ShapeError(f"{path}: an EXR channel is float32 (H, W), not {values.dtype} {values.shape}. Convert it first.")
    library = _library(path)
    header = {"compression": library.ZIP_COMPRESSION, "type": library.scanlineimage}
    with io.replacing(path) as temporary:
        library.File(header, {channel: np.ascontiguousarray(values)}).write(str(temporary))
