"""Figs. 7 and 8 of CI-Net for any model and frame: what a position attends to, and what the sharing units add."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diorama.data.base import SceneDataset
from diorama.data.batch import to_sample
from diorama.data.cache import resize_frame
from diorama.data.io import write_image
from diorama.errors import ModelError
from diorama.export.model_file import load_model
from diorama.methods.ci_net import STRIDE, CINet, labels_at, pad_to
from diorama.prediction.render import grid, tile
from diorama.types import IGNORE

Picture = NDArray[np.uint8]


def load_ci_net(path: str | Path) -> tuple[CINet, tuple[int, int] | None]:
    """A trained CI-Net in evaluation mode and the (height, width) it was trained at.

    Raises:
        ModelError: the file holds another method.
    """
    method, config = load_model(path)
    if not isinstance(method, CINet):
        raise ModelError(f"{path}: a model of '{config['method']}'. These figures are CI-Net's: pass one trained with model.name=ci_net.")
    size: Any = config["input"].get("size")
    return method.eval(), (int(size[0]), int(size[1])) if size else None


def attention_figure(path: str | Path, dataset: SceneDataset, index: int, out: str | Path, positions: int = 2) -> Path:
    """Write Fig. 7: the image, and for each marked position the ideal and the predicted attention, 0 black to 1 white.

    Args:
        path: model file or run folder of a CI-Net with SUM.
        dataset: with labels.
        index: frame.
        out: PNG to write.
        positions: how many positions, at the centres of the frame's largest classes.

    Raises:
        ModelError: another method, or trained without SUM.
    """
    method, size = load_ci_net(path)
    frame = dataset.frame(index)
    if size:
        frame = resize_frame(frame, size)
    sample = to_sample(frame, ("image", "semantic"))
    image = sample["image"].as_subclass(torch.Tensor)[None]
    labels = labels_at(sample["semantic"][None], STRIDE, pad_to(image, 32).shape[-2:])[0].numpy()
    tiles = []
    for row, column in central_positions(labels, positions):
        with torch.inference_mode():
            predicted = method.attention_map(image, (row, column))[0].float().numpy()
        ideal = ((labels == labels[row, column]) & (labels != IGNORE)).astype(np.float32)
        marked = frame["image"].copy()
        _cross(marked, row * STRIDE + STRIDE // 2, column * STRIDE + STRIDE // 2)
        height, width = marked.shape[:2]
        for title, values in (("ideal attention", ideal), ("predicted attention", predicted)):
            grey = np.kron(values, np.ones((STRIDE, STRIDE), np.float32))[:height, :width]
            picture = np.repeat((grey * 255).astype(np.uint8)[..., None], 3, axis=2)
            tiles.append(tile(picture, title))
        tiles.insert(-2, tile(marked, "position"))
    write_image(out, grid(tiles, 3))
    return Path(out)


def sharing_figure(path: str | Path, dataset: SceneDataset, index: int, out: str | Path) -> Path:
    """Write Fig. 8: what each sharing unit adds to either branch (CI-Net, Eq. 14), summed over channels and scaled to 0..1.

    Args:
        path: model file or run folder of a CI-Net with FSM or LSU.
        dataset: any with images.
        index: frame.
        out: PNG to write.

    Raises:
        ModelError: another method, or trained without a sharing unit.
    """
    method, size = load_ci_net(path)
    frame = dataset.frame(index)
    if size:
        frame = resize_frame(frame, size)
    image = to_sample(frame, ("image",))["image"].as_subclass(torch.Tensor)[None]
    with torch.inference_mode():
        added = method.allocated(image)
    height, width = frame["image"].shape[:2]
    tiles = [tile(frame["image"], "image")]
    for level, parts in enumerate(added, 1):
        for task in ("semantic", "depth"):
            values = parts[task][0].float().sum(0).numpy()
            values = (values - values.min()) / max(float(np.ptp(values)), 1e-12)
            cell = -(-max(height, width) // max(values.shape))
            grey = np.kron(values, np.ones((cell, cell), np.float32))[:height, :width]
            tiles.append(tile(np.repeat((grey * 255).astype(np.uint8)[..., None], 3, axis=2), f"added to {task}, unit {level}"))
    write_image(out, grid(tiles, 3))
    return Path(out)


def central_positions(labels: NDArray[Any], count: int) -> list[tuple[int, int]]:
    """Row and column of the labelled position nearest to the middle of each of the `count` most frequent classes."""
    classes, sizes = np.unique(labels[labels != IGNORE], return_counts=True)
    found = []
    for name in classes[np.argsort(-sizes)][:count]:
        where = np.argwhere(labels == name)
        middle = where.mean(0)
        row, column = where[np.argmin(np.square(where - middle).sum(1))]
        found.append((int(row), int(column)))
    return found


def _cross(picture: Picture, row: int, column: int, arm: int = 7) -> None:
    picture[max(row - arm, 0) : row + arm + 1, max(column - 1, 0) : column + 2] = (255, 0, 0)
    picture[max(row - 1, 0) : row + 2, max(column - arm, 0) : column + arm + 1] = (255, 0, 0)
