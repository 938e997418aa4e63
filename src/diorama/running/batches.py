"""A data set in batches of images, with what a model says about each frame. NumPy only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.data.base import SceneDataset
from diorama.evaluation.depth import as_array
from diorama.types import Frame, Prediction

Predict = Callable[[NDArray[np.float32]], Prediction]
"""float32 RGB `(B, 3, h, w)` in 0..1 -> `Prediction` of arrays or tensors."""

Single = tuple[NDArray[Any] | None, NDArray[Any] | None, NDArray[Any] | None]
"""Logits (K, h, w), depth (1, h, w) and uncertainty (1, h, w) of one image."""


class PredictedFrames:
    """Calling it with frame numbers yields (number, frame, prediction) in that order; images of one size go into one batch.

    Args:
        dataset: read frame by frame.
        size: `(h, w)` of the network image; None: as stored.
        batch_size: images per call of `predict`.
        flip: average with the prediction on the mirrored image.
        predict: see `Predict`.
    """

    def __init__(self, dataset: SceneDataset, size: tuple[int, int] | None, batch_size: int, flip: bool, predict: Predict) -> None:
        self.dataset, self.size, self.flip, self.predict = dataset, size, flip, predict
        self.batch_size = min(batch_size, len(dataset))

    def __call__(self, frames: Sequence[int]) -> Iterator[tuple[int, Frame, Single]]:
        """Frame by frame: its number, what is stored of it and what the model says about it."""
        group: list[tuple[int, Frame, NDArray[np.float32]]] = []
        for number in frames:
            frame = self.dataset.frame(number)
            image = network_image(frame["image"], self.size)
            if group and (len(group) == self.batch_size or group[0][2].shape != image.shape):
                yield from self._run(group, fill=False)
                group = []
            group.append((number, frame, image))
        if group:
            yield from self._run(group, fill=True)

    def _run(self, group: list[tuple[int, Frame, NDArray[np.float32]]], fill: bool) -> Iterator[tuple[int, Frame, Single]]:
        images = [image for _, _, image in group]
        if fill:
            # kernels may round differently at another batch size, and every shard ends with a short batch
            images += [images[-1]] * (self.batch_size - len(images))
        batch = np.stack(images)
        outputs = self._outputs(batch, len(group))
        for row, (number, frame, _) in enumerate(group):
            yield number, frame, (_row(outputs[0], row), _row(outputs[1], row), _row(outputs[2], row))

    def _outputs(self, batch: NDArray[np.float32], count: int) -> Single:
        said = self.predict(batch)
        plain = tuple(_first(part, count) for part in (said.semantic_logits, said.depth, said.uncertainty))
        if not self.flip:
            return plain[0], plain[1], plain[2]
        said = self.predict(np.ascontiguousarray(batch[..., ::-1]))
        mirrored = tuple(_first(part, count) for part in (said.semantic_logits, said.depth, said.uncertainty))
        both = [None if a is None or b is None else (a + b[..., ::-1]) / 2 for a, b in zip(plain, mirrored, strict=True)]
        return both[0], both[1], both[2]


def network_image(image: NDArray[np.uint8], size: tuple[int, int] | None) -> NDArray[np.float32]:
    """`(H, W, 3)` uint8 RGB -> `(3, h, w)` float32 in 0..1; area-averaged when shrinking, bilinear when enlarging."""
    if size is not None and image.shape[:2] != tuple(size):
        shrinks = size[0] <= image.shape[0] and size[1] <= image.shape[1]
        image = np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), np.uint8)
    return np.ascontiguousarray(image.transpose(2, 0, 1), np.float32) / np.float32(255.0)


def _first(part: Any, count: int) -> NDArray[Any] | None:
    return None if part is None else as_array(part)[:count]


def _row(part: NDArray[Any] | None, row: int) -> NDArray[Any] | None:
    return None if part is None else part[row]
