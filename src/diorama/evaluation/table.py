"""The per-frame table behind every number: one row per frame, so that any number of processes gives the same bits.

Rows are gathered over processes, sorted by frame number and only then summed. The same table feeds per-image protocols, intervals,
best and worst frames. It lives on the CPU in int64 and float64, outside any module.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diorama.errors import DataError

Column = NDArray[Any]


class FrameTable:
    """Rows of (frame number, id, columns); a column holds an int64 or float64 scalar or array per frame."""

    def __init__(self) -> None:
        self._frames: list[int] = []
        self._ids: list[str] = []
        self._rows: list[dict[str, Column]] = []

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, frame: int, name: str, columns: Mapping[str, Any]) -> None:
        """Append one frame; integers become int64, other numbers float64. A column that a frame lacks reads as zeros."""
        self._frames.append(int(frame))
        self._ids.append(name)
        self._rows.append({key: _exact(value) for key, value in columns.items()})

    @property
    def frames(self) -> NDArray[np.int64]:
        """Frame numbers, in the order of the rows."""
        return np.array(self._frames, np.int64)

    @property
    def ids(self) -> list[str]:
        """Ids of the frames, in the order of the rows."""
        return list(self._ids)

    @property
    def names(self) -> list[str]:
        """Names of the columns that any row has."""
        return list(dict.fromkeys(name for row in self._rows for name in row))

    def __contains__(self, name: str) -> bool:
        return any(name in row for row in self._rows)

    def __getitem__(self, name: str) -> Column:
        """Column `name`, stacked over frames: `(n, ...)`.

        Raises:
            KeyError: no row has it.
        """
        like = next((row[name] for row in self._rows if name in row), None)
        if like is None:
            raise KeyError(name)
        return np.stack([row.get(name, np.zeros_like(like)) for row in self._rows])

    def save(self, path: str | Path) -> None:
        """Write the table as a compressed .npz that `load` reads back without pickling."""
        columns: dict[str, Any] = {f"column/{name}": self[name] for name in self.names}
        np.savez_compressed(path, frames=self.frames, ids=np.array(self._ids, dtype=np.str_), **columns)

    @classmethod
    def load(cls, path: str | Path) -> FrameTable:
        """The table that `save` wrote.

        Raises:
            DataError: the file is missing or no such table.
        """
        table = cls()
        try:
            with np.load(path, allow_pickle=False) as stored:
                columns = {key.removeprefix("column/"): stored[key] for key in stored.files if key.startswith("column/")}
                for row, (frame, name) in enumerate(zip(stored["frames"], stored["ids"], strict=True)):
                    table.add(int(frame), str(name), {key: column[row] for key, column in columns.items()})
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{path}: no table of frames ({error}). Evaluate the model again.") from error
        return table


def merge(tables: Iterable[FrameTable]) -> FrameTable:
    """One table of all rows, sorted by frame number, whatever the order and number of `tables`.

    Raises:
        DataError: a frame is there twice (a sampler that pads its shards counts frames twice).
    """
    whole = FrameTable()
    rows = [row for table in tables for row in zip(table._frames, table._ids, table._rows, strict=True)]
    for frame, name, columns in sorted(rows, key=lambda row: row[0]):
        if whole._frames and whole._frames[-1] == frame:
            raise DataError(f"frame {frame} ({name}) was counted twice. Shard with range(rank, n, world), without padding.")
        whole.add(frame, name, columns)
    return whole


def _exact(value: Any) -> Column:
    array = np.asarray(value)
    return array.astype(np.int64 if array.dtype.kind in "iub" else np.float64)
