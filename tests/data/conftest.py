"""Frames made of formulas, for readers and writers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from diorama.types import Frame


def make_frame(number: int, classes: int = 40, size: tuple[int, int] = (12, 16), stereo: bool = False) -> Frame:
    """Colours, labels and depth that differ in every pixel and frame; one pixel is unlabelled, one has no depth."""
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows * 9 + number, columns * 7 + number, rows + columns * 3], axis=-1).astype(np.uint8)
    semantic = ((rows * width + columns + number) % classes).astype(np.uint8)
    semantic[0, 0] = 255
    depth = (1.0 + 0.125 * rows + 0.25 * columns + 0.5 * number).astype(np.float32)
    depth[height // 2, width // 2] = 0
    matrix = np.array([[width * 1.25, 0, width / 2 - 0.5], [0, width * 1.25, height / 2 - 0.5], [0, 0, 1]])
    frame: Frame = {"image": image, "semantic": semantic, "depth": depth, "intrinsics": matrix, "meta": {"id": f"scene {number}"}}
    if stereo:
        frame["right"] = np.roll(image, -1, axis=1)
        frame["baseline"] = 0.5
    return frame


@pytest.fixture
def frame() -> Callable[..., Frame]:
    return make_frame


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("DIORAMA_CACHE", str(tmp_path_factory.mktemp("cache")))
