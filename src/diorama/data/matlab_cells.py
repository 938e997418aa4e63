"""Texts of MATLAB 5 files: cells of strings, and one text field of an array of structures. Standard library only."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from diorama.data.matlab import COMPRESSED, MATRIX, MAX_BYTES, elements
from diorama.errors import DataError

_CELL, _STRUCTURE, _TEXT = 1, 2, 4
_DAMAGE = (struct.error, zlib.error, ValueError, StopIteration, KeyError, IndexError, UnicodeDecodeError)


def read_strings(path: str | Path, name: str, field: str | None = None) -> list[str]:
    """The strings of the cell array `name`, or of `field` in each element of the array of structures `name`, in MATLAB's order.

    Raises:
        DataError: the file is missing, damaged or of another version, or has nothing of that name and kind.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file. Check the path.")
    data = path.read_bytes()
    if not data.startswith(b"MATLAB 5.0") or data[126:128] != b"IM":
        raise DataError(f"{path}: not a MATLAB file of version 5. Save it with `save -v7` or download it again.")
    try:
        for kind, body in elements(data[128:], "<"):
            if kind == COMPRESSED:
                kind, body = next(elements(zlib.decompressobj().decompress(body, MAX_BYTES), "<"))
            if kind == MATRIX:
                parts = (part for _, part in elements(body, "<"))
                found = next(parts)[0], next(parts) and next(parts).decode("latin-1")
                if found[1] == name and found[0] == (_STRUCTURE if field else _CELL):
                    return list(_fields(parts, field) if field else map(_text, parts))
    except _DAMAGE as error:
        raise DataError(f"{path}: truncated or damaged MATLAB file. Copy or download the file again.") from error
    what = f"structures '{name}' with a field '{field}'" if field else f"cells '{name}'"
    raise DataError(f"{path}: no {what}. Get the official file.")


def _fields(parts: Iterator[bytes], field: str) -> Iterator[str]:
    """`parts` behind the name: length of a field name, the names, then every field of every element in turn."""
    (length,) = struct.unpack("<i", next(parts))
    listed = next(parts)
    names = [listed[at : at + length].split(b"\0")[0].decode("latin-1") for at in range(0, len(listed), length)]
    wanted = names.index(field)
    return (_text(body) for at, body in enumerate(parts) if at % len(names) == wanted)


def _text(body: bytes) -> str:
    parts = list(elements(body, "<"))
    if parts[0][1][0] != _TEXT:
        raise ValueError("not a text")
    if len(parts) < 4:
        return ""
    kind: int = parts[3][0]
    data: bytes = parts[3][1]
    return data.decode("utf-16-le" if kind in (4, 17) else "utf-8")  # 4 and 17: words of 16 bits
