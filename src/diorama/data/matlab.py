"""Arrays of MATLAB files, old (version 5: `splits.mat`, `classMapping40.mat`) and new (7.3 is HDF5). NumPy; h5py when needed.

Version 5 is read here rather than by scipy: the data sets need plain numeric arrays only, and the light install has no scipy.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diorama.data.io import replacing
from diorama.errors import DataError

_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
MATRIX, COMPRESSED = 14, 15
_DOUBLE_CLASS = 6
_NUMERIC_CLASSES = range(6, 16)
MAX_BYTES = 1 << 30


def read_mat(path: str | Path, name: str) -> NDArray[Any]:
    """The numeric array called `name`, with MATLAB's shape (a row vector is `(1, n)`), from either kind of file.

    Raises:
        DataError: the file is missing or damaged, or has no such array.
    """
    path = Path(path)
    if is_hdf5(path):
        return np.ascontiguousarray(read_hdf5(path, name).T)
    arrays = _version5(path)
    if name not in arrays:
        raise DataError(f"{path}: no numeric array '{name}' (it has {', '.join(sorted(arrays)) or 'none'}). Get the official file.")
    return arrays[name]


def write_mat(path: str | Path, arrays: dict[str, NDArray[np.float64]]) -> None:
    """Store matrices of doubles as a MATLAB 5 file, without compression (what `splits.mat` is)."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(b"MATLAB 5.0 MAT-file, written by diorama".ljust(124) + struct.pack("<H", 0x0100) + b"IM")
        for name, array in arrays.items():
            values = np.atleast_2d(np.asarray(array, np.float64))
            parts = (
                (6, struct.pack("<II", _DOUBLE_CLASS, 0)),
                (5, struct.pack(f"<{values.ndim}i", *values.shape)),
                (1, name.encode("latin-1")),
                (9, values.tobytes(order="F")),
            )
            body = b"".join(struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8) for kind, data in parts)
            file.write(struct.pack("<II", MATRIX, len(body)) + body)


def is_hdf5(path: Path) -> bool:
    """Whether the file is HDF5 (MATLAB 7.3 writes a block of text before the signature).

    Raises:
        DataError: the file is missing.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file. Check the path.")
    with path.open("rb") as file:
        start = file.read(1024)
    return any(start[offset : offset + 8] == b"\x89HDF\r\n\x1a\n" for offset in (0, 512))


def open_hdf5(path: str | Path) -> Any:
    """An open `h5py.File` (use it as a context manager).

    Raises:
        DataError: h5py is not installed, or the file is missing or damaged.
    """
    try:
        import h5py
    except ImportError as error:
        raise DataError(f"{path}: HDF5 files need h5py. Install it: pip install 'diorama[train]'.") from error
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file. Check the path.")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path}: not an HDF5 file, or truncated. Copy or download the file again.") from error


def read_hdf5(path: str | Path, key: str) -> NDArray[Any]:
    """The whole array `key` of an HDF5 file, in the file's own order of axes.

    Raises:
        DataError: the file is missing or damaged, or has no such array.
    """
    with open_hdf5(path) as file:
        found = file.get(key)
        if found is None or not hasattr(found, "shape"):
            raise DataError(f"{path}: no array '{key}' (it has {', '.join(sorted(file)) or 'none'}). Name one of these.")
        try:
            return np.asarray(found[()])
        except OSError as error:
            raise DataError(f"{path}: array '{key}' is damaged. Copy or download the file again.") from error


def _version5(path: Path) -> dict[str, NDArray[Any]]:
    data = path.read_bytes()
    if not data.startswith(b"MATLAB 5.0") or len(data) < 128 or data[126:128] not in (b"IM", b"MI"):
        raise DataError(f"{path}: not a MATLAB file of version 5 or 7.3. Save it with `save -v7` or download it again.")
    order = "<" if data[126:128] == b"IM" else ">"
    arrays: dict[str, NDArray[Any]] = {}
    try:
        for kind, body in elements(data[128:], order):
            if kind == COMPRESSED:
                inflater = zlib.decompressobj()
                kind, body = next(elements(inflater.decompress(body, MAX_BYTES), order))
            if kind == MATRIX:
                arrays.update(_matrix(body, order))
    except (struct.error, zlib.error, ValueError, StopIteration, KeyError) as error:
        raise DataError(f"{path}: truncated or damaged MATLAB file. Copy or download the file again.") from error
    return arrays


def elements(data: bytes, order: str) -> Any:
    """(type, bytes) of each element; a small element keeps its length in the upper half of the type word."""
    at = 0
    while at + 8 <= len(data):
        word, length = struct.unpack_from(order + "II", data, at)
        if word >> 16:
            kind, length, start, step = word & 0xFFFF, word >> 16, at + 4, 8
        else:
            kind, start = word, at + 8
            step = 8 + (length if kind == COMPRESSED else length + (-length) % 8)
        if start + length > len(data):
            raise ValueError("an element is longer than the file")
        yield kind, data[start : start + length]
        at += step


def _matrix(body: bytes, order: str) -> dict[str, NDArray[Any]]:
    """{name: array} of one real numeric matrix; cells, texts and structures give nothing."""
    parts = list(elements(body, order))
    if len(parts) < 4 or parts[0][1][0 if order == "<" else 3] not in _NUMERIC_CLASSES:
        return {}
    shape = np.frombuffer(parts[1][1], order + "i4")
    kind, numbers = parts[3]
    values = np.frombuffer(numbers, order + _NUMBERS[kind])
    return {parts[2][1].decode("latin-1"): values.reshape(tuple(int(n) for n in shape), order="F").astype(_NUMBERS[kind])}
