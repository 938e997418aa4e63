"""A data set in batches of images, with what a model says about each frame. NumPy only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from diorama.data.base import SceneDataset
from diorama.errors import DataError
from diorama.evaluation.depth import as_array
from diorama.prediction.inputs import prepared
from diorama.types import Frame, Inputs, Prediction

Predict = Callable[[Inputs], Prediction]
"""`Inputs`, `(B, C, h, w)` each -> `Prediction` of arrays or tensors."""

Single = tuple[NDArray[Any] | None, NDArray[Any] | None, NDArray[Any] | None, NDArray[Any] | None, NDArray[Any] | None]
"""Logits (K, h, w), depth, uncertainty and confidence (1, h, w) and threshold (1, 1, 1) of one image."""


class PredictedFrames:
    """Calling it with frame numbers yields (number, frame, prediction) in that order; inputs of one size go into one batch.

    Args:
        dataset: read frame by frame.
        size: `(h, w)` that the network sees; None: as stored.
        batch_size: images per call of `predict`.
        flip: average with the prediction on the mirrored image.
        predict: see `Predict`.
        keys: what `predict` is given of each frame.
    """

    def __init__(
        self, dataset: SceneDataset, size: tuple[int, int] | None, batch_size: int, flip: bool, predict: Predict, keys: Sequence[str]
    ) -> None:
        self.dataset, self.size, self.flip, self.predict, self.keys = dataset, size, flip, predict, keys
        self.batch_size = min(batch_size, len(dataset))

    def __call__(self, frames: Sequence[int]) -> Iterator[tuple[int, Frame, Single]]:
        """Frame by frame: its number, what is stored of it and what the model says about it."""
        group: list[tuple[int, Frame, dict[str, NDArray[np.float32]]]] = []
        for number in frames:
            frame = self.dataset.frame(number)
            inputs = network_inputs(frame, self.keys, self.size)
            if group and (len(group) == self.batch_size or _shapes(group[0][2]) != _shapes(inputs)):
                yield from self._run(group, fill=False)
                group = []
            group.append((number, frame, inputs))
        if group:
            yield from self._run(group, fill=True)

    def _run(self, group: list[tuple[int, Frame, dict[str, NDArray[np.float32]]]], fill: bool) -> Iterator[tuple[int, Frame, Single]]:
        rows = [inputs for _, _, inputs in group]
        if fill:
            # kernels may round differently at another batch size, and every shard ends with a short batch
            rows += [rows[-1]] * (self.batch_size - len(rows))
        batch = {key: np.stack([row[key] for row in rows]) for key in self.keys}
        outputs = self._outputs(batch, len(group))
        for row, (number, frame, _) in enumerate(group):
            yield number, frame, cast("Single", tuple(_row(part, row) for part in outputs))

    def _outputs(self, batch: Inputs, count: int) -> Single:
        said = self.predict(batch)
        plain = cast("Single", tuple(_first(part, count) for part in _parts(said)))
        if not self.flip:
            return plain
        said = self.predict({key: np.ascontiguousarray(part[..., ::-1]) for key, part in batch.items()})
        mirrored = (_first(part, count) for part in _parts(said))
        pairs = zip(plain, mirrored, strict=True)
        return cast("Single", tuple(None if one is None or other is None else (one + other[..., ::-1]) / 2 for one, other in pairs))


def network_inputs(frame: Frame, keys: Sequence[str], size: tuple[int, int] | None) -> dict[str, NDArray[np.float32]]:
    """What a network is given of `frame`: key -> `(C, h, w)`, as `diorama predict` prepares it.

    Raises:
        DataError: the frame lacks a key.
    """
    found: dict[str, NDArray[np.float32]] = {}
    for key in keys:
        if key not in frame:
            name = frame.get("meta", {}).get("id", "a frame")
            raise DataError(f"{name} has no '{key}', which the model needs. Choose data that provides it: `diorama data list`.")
        value: NDArray[Any] = frame[key]  # type: ignore[literal-required]
        found[key] = prepared(key, value, size or (value.shape[0], value.shape[1]))[0]
    return found


def network_image(image: NDArray[np.uint8], size: tuple[int, int] | None) -> NDArray[np.float32]:
    """`(H, W, 3)` uint8 RGB -> `(3, h, w)` float32 in 0..1; area-averaged when shrinking, bilinear when enlarging."""
    found: NDArray[np.float32] = prepared("image", image, size or (image.shape[0], image.shape[1]))[0]
    return found


def _shapes(inputs: Mapping[str, NDArray[np.float32]]) -> list[tuple[int, ...]]:
    return [part.shape for part in inputs.values()]


def _parts(said: Prediction) -> tuple[Any, ...]:
    return said.semantic_logits, said.depth, said.uncertainty, said.confidence, said.threshold


def _first(part: Any, count: int) -> NDArray[Any] | None:
    return None if part is None else as_array(part)[:count]


def _row(part: NDArray[Any] | None, row: int) -> NDArray[Any] | None:
    return None if part is None else part[row]
