"""A data set of a few made-up frames and models whose every answer is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from diorama.data.base import SceneDataset
from diorama.data.labels import LabelSet
from diorama.types import Frame, Inputs, Prediction

CLASSES = 5


class Toy(SceneDataset):
    """Patches of classes; depth = 1 + class + noise, a tenth of it unknown; the red channel holds the class times 30."""

    name, title, citation, terms = "toy", "Toy", "none", "none"

    def __init__(self, frames: int = 11, height: int = 48, width: int = 64, without: frozenset[str] = frozenset()) -> None:
        self.root, self.split, self.without = None, "test", without
        self.ids = [f"frame{number:03d}" for number in range(frames)]
        self.provides = frozenset({"image", "semantic", "depth"}) - without
        self.labels = LabelSet("toy", tuple(f"class{k}" for k in range(CLASSES)), tuple((40 * k, 80, 255 - 40 * k) for k in range(CLASSES)))
        self.height, self.width = height, width

    def frame(self, index: int) -> Frame:
        generator = np.random.default_rng(index)
        coarse = generator.integers(0, CLASSES + 1, (self.height // 8, self.width // 8))
        ids = np.where(coarse == CLASSES, 255, coarse).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        depth = (1 + np.minimum(ids, 4) + generator.random(ids.shape)).astype(np.float32)
        depth[generator.random(ids.shape) < 0.1] = 0
        image = np.stack([np.minimum(ids, 4) * 30, generator.integers(0, 255, ids.shape), ids // 2], axis=-1).astype(np.uint8)
        frame = Frame(image=image, semantic=ids, depth=depth, meta={"id": self.ids[index]})
        return Frame(**{key: value for key, value in frame.items() if key not in self.without})  # type: ignore[typeddict-item]


def _predict(inputs: Inputs) -> Prediction:
    """Reads the class off the red channel, confuses 0 and 1 where the green one is bright, and answers depth = 1.5 + class."""
    images = inputs["image"]
    kind = np.round(images[:, 0] * 255 / 30)
    said = np.where((images[:, 1] > 0.8) & (kind < 2), 1 - kind, kind)
    logits = -np.abs(said[:, None] - np.arange(CLASSES, dtype=np.float32)[None, :, None, None])
    return Prediction(logits.astype(np.float32), (1.5 + kind[:, None]).astype(np.float32))


@pytest.fixture(scope="session")
def toy() -> type[Toy]:
    return Toy


@pytest.fixture(scope="session")
def predict() -> Callable[[Inputs], Prediction]:
    return _predict
