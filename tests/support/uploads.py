"""The bytes that a user uploads, and those that come back."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def png(image: NDArray[Any]) -> bytes:
    """The bytes of a PNG of RGB or grey."""
    done, coded = cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image)
    assert done
    return coded.tobytes()


def npy(array: NDArray[Any]) -> bytes:
    """The bytes of an NPY file."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def decoded(body: bytes) -> NDArray[Any]:
    """What a PNG holds, RGB or grey."""
    image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image[..., ::-1] if image.ndim == 3 else image
