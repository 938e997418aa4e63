"""Pictures of the same few samples throughout a run: what a method shows of itself, a row per sample and a column per title."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from diorama.data.io import write_image
from diorama.data.loader import Source, StepLoader, move
from diorama.errors import ShapeError
from diorama.methods.base import Method
from diorama.prediction.render import grid, tile
from diorama.training.average import MovingAverage
from diorama.training.setup import in_precision
from diorama.types import Sample

ROWS = 4
LEAST_WIDTH = 160
"""Narrower pictures are enlarged by whole factors [px], so that titles have room."""
FOLDER = "samples"


class SampleGrids:
    """Writes `samples/step_0000100.png` of a run; nothing where the method shows nothing, and in the first process alone.

    Args:
        method: the network; what it shows is asked for in evaluation mode, without gradients.
        average: its averaged weights, which are shown if there are any.
        sources: what the samples are drawn from, as in training; the same ones whenever the run is stopped and resumed.
        run: the run's folder.
        seed: of the run.
        every: steps between two pictures; 0: only those that are asked for.
    """

    def __init__(
        self, method: Method, average: MovingAverage, sources: Mapping[str, Source], run: Path, seed: int = 0, every: int = 0
    ) -> None:
        self.method, self.average, self.folder, self.every = method, average, run / FOLDER, every
        self.sources, self.seed = sources, seed
        self.shows = type(method).samples is not Method.samples
        self.batch: dict[str, Sample] | None = None

    def due(self, step: int) -> bool:
        """Whether a picture belongs to `step`."""
        return bool(self.shows and self.every and step % self.every == 0)

    def write(self, fabric: Fabric, step: int, *, channels_last: bool = False) -> Path | None:
        """The picture of the weights as they are after `step` steps; also handed to trackers that take images.

        Raises:
            ShapeError: the method shows something else than pictures.
        """
        if not (self.shows and fabric.is_global_zero):
            return None
        batch = in_precision(fabric, move(self._samples(), fabric.device, channels_last))
        with self.average.applied(), torch.no_grad(), fabric.autocast():
            picture = drawn(_shown(self.method, batch))
        if picture is None:
            return None
        path = self.folder / f"step_{step:07d}.png"
        write_image(path, picture)
        for tracker in fabric.loggers:
            hand_over(tracker, picture, step)
        return path

    def _samples(self) -> dict[str, Sample]:
        if self.batch is None:
            few = {name: replace(source, batch_size=ROWS) for name, source in self.sources.items()}
            self.batch = next(iter(StepLoader(few, self.seed)))
        return self.batch


def drawn(columns: Mapping[str, Tensor]) -> NDArray[np.uint8] | None:
    """`{title: (B, 3, H, W) in 0..1}` as one picture, the first `ROWS` samples a row each; None without a column.

    Raises:
        ShapeError: a column is no batch of RGB pictures, or has another number of samples than the first.
    """
    if not columns:
        return None
    count = len(next(iter(columns.values())))
    for title, pictures in columns.items():
        if pictures.ndim != 4 or pictures.shape[1] != 3 or len(pictures) != count:
            raise ShapeError(
                f"samples '{title}' have shape {tuple(pictures.shape)}, expected ({count}, 3, H, W). Mend the method's samples."
            )
    rows = min(count, ROWS)
    tiles = [tile(_enlarged(_bytes(pictures[row])), title) for row in range(rows) for title, pictures in columns.items()]
    return grid(tiles, len(columns))


def _shown(method: Method, batch: Mapping[str, Sample]) -> dict[str, Tensor]:
    modes = {module: module.training for module in method.modules()}
    method.eval()
    try:
        return method.samples(batch)
    finally:
        for module, training in modes.items():  # one by one: train() would also set those that the method keeps still
            module.training = training


def _bytes(picture: Tensor) -> NDArray[np.uint8]:
    values = picture.detach().float().nan_to_num().clamp(0, 1).mul(255).round()
    return np.asarray(values.permute(1, 2, 0).cpu().numpy(), np.uint8)


def _enlarged(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    factor = -(-LEAST_WIDTH // picture.shape[1])
    return picture.repeat(factor, 0).repeat(factor, 1)


def hand_over(tracker: Any, picture: NDArray[np.uint8], step: int) -> None:
    """Give the picture to a tracker that takes images: TensorBoard or Weights & Biases."""
    if hasattr(tracker, "log_image"):
        tracker.log_image(FOLDER, [picture], step=step)
    elif hasattr(getattr(tracker, "experiment", None), "add_image"):
        tracker.experiment.add_image(FOLDER, picture, step, dataformats="HWC")
