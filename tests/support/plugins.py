"""A package beside diorama, as if it were installed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from diorama import catalog


def offer(monkeypatch: pytest.MonkeyPatch, folder: Path, points: Mapping[str, Mapping[str, str]]) -> None:
    """Let the modules of `folder` be found, and group -> name -> `module:Class` be their entry points."""
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(catalog, "entry_points", lambda group: [EntryPoint(*pair, group) for pair in points.get(group, {}).items()])
