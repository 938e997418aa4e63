"""A model whose answer can be worked out by hand, and the bytes that a user uploads to it."""

from __future__ import annotations

import io
import threading
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.export.config import ModelConfig
from diorama.types import Inputs, Prediction


class RedModel:
    """Class 1 where red is above one half, depth = 4 + green metres. Waits for `go`, which is set unless a test clears it."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.asked = 0
        self.config: ModelConfig = {
            "format": 1,
            "method": "toy",
            "diorama": "0.1.0",
            "init": {},
            "labels": {"name": "toy2", "classes": ["dark", "red"], "palette": [[10, 20, 30], [200, 30, 40]]},
            "depth": {"cap": 10.0, "unit": "m"},
            "input": {"size": [64, 96], "multiple_of": 32},
            "training": {"data": "none"},
            "export": {},
        }

    def __call__(self, inputs: Inputs) -> Prediction:
        self.asked += 1
        assert self.go.wait(20)
        red, green = inputs["image"][:, 0], inputs["image"][:, 1]
        return Prediction(semantic_logits=np.stack([np.full_like(red, 0.5), red], 1), depth=4 + green[:, None])


def half_red() -> NDArray[np.uint8]:
    """(64, 96, 3), the model's own size: the right half is red, green is 51 (0.2) everywhere, so depth is 4.2 m."""
    image = np.zeros((64, 96, 3), np.uint8)
    image[:, 48:, 0] = 255
    image[..., 1] = 51
    return image


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
