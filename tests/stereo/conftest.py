from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

U8 = NDArray[np.uint8]


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> None:
    cv2.setNumThreads(1)


def texture(height: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    """Smooth random grey levels `(H, W)` that fractions of a pixel can be read from."""
    noise = np.random.default_rng(seed).standard_normal((height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.2)
    return np.clip(128 + 45 * smooth / smooth.std(), 0, 255).astype(np.float32)


def warped(height: int, width: int, disparity: NDArray[np.float32], seed: int = 0) -> tuple[U8, U8]:
    """A pair `(H, W, 3)`: left pixel x shows what right pixel x - disparity(y, x) shows, by cubic sampling of one texture."""
    margin = 16
    right = texture(height, width + 2 * margin, seed)
    x = np.arange(width, dtype=np.float32) + margin - disparity
    y = np.repeat(np.arange(height, dtype=np.float32)[:, None], width, 1)
    left = cv2.remap(right, x.astype(np.float32), y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    pair = (np.clip(np.rint(view), 0, 255).astype(np.uint8)[..., None].repeat(3, 2) for view in (left, right[:, margin : margin + width]))
    return next(pair), next(pair)


@pytest.fixture
def make_pair():  # type: ignore[no-untyped-def]
    return warped
