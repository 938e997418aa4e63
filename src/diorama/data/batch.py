"""Frames to tensors and samples to batches."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision import tv_tensors

from diorama.data.crop import extent
from diorama.data.mapped import SPARSE_KEYS
from diorama.errors import DataError, ShapeError
from diorama.tensors import Confidence, Depth, Disparity, Intrinsics, SparseDepth
from diorama.types import Frame, Sample

_MAPS = {
    "depth": Depth, "sparse_depth": SparseDepth, "pseudo_depth": Depth, "pseudo_depth_right": Depth, "disparity": Disparity,
    "matched": Disparity, "confidence": Confidence, "confidence_right": Confidence,
}  # fmt: skip


def to_sample(frame: Frame, keys: Collection[str] | None = None) -> Sample:
    """The tensors of `frame` at its own size: RGB in 0..1, labels int64, maps float32 `(1, H, W)`; only `keys` (None: all), plus `meta`.

    Raises:
        DataError: a wanted key is missing from the frame, or a map has values that are no distance.
    """
    name = frame.get("meta", {}).get("id", "frame")
    wanted = [key for key in frame if key != "meta"] if keys is None else [key for key in keys if key != "meta"]
    sample: dict[str, Any] = {}
    for key in wanted:
        if key not in frame:
            raise DataError(f"{name}: no '{key}' in this frame. Run `diorama data check` on the data set, or do not ask for '{key}'.")
        value: Any = frame[key]  # type: ignore[literal-required]
        if key in ("image", "right"):
            pixels = torch.from_numpy(np.ascontiguousarray(value)).permute(2, 0, 1)
            sample[key] = tv_tensors.Image(pixels.to(torch.float32).div_(255))
        elif key in ("semantic", "semantic_right"):
            sample[key] = tv_tensors.Mask(torch.from_numpy(np.ascontiguousarray(value)).to(torch.int64))
        elif key in _MAPS:
            kind = SparseDepth if key in frame.get("meta", {}).get(SPARSE_KEYS, ()) else _MAPS[key]
            sample[key] = kind(torch.from_numpy(_checked(np.array(value, np.float32), key, name))[None])
        elif key == "intrinsics":
            sample[key] = Intrinsics(value, canvas_size=_frame_size(frame))
        else:
            sample[key] = torch.tensor(value, dtype=torch.int64 if key == "domain" else torch.float32)
    sample["meta"] = dict(frame.get("meta", {}))
    return cast("Sample", sample)


def _checked(values: NDArray[np.float32], key: str, name: str) -> NDArray[np.float32]:
    # comparisons with NaN are false, so the two extremes find NaN, infinity and negative values in two passes
    if values.size and not (values.min() >= 0 and values.max() < np.inf):
        raise DataError(f"{name}: '{key}' has NaN, infinite or negative values. Write 0 where the value is unknown.")
    if key in ("confidence", "confidence_right") and values.size and values.max() > 1:
        raise DataError(f"{name}: '{key}' reaches {values.max():g}, trust lies in 0..1. Divide by the largest value of its file format.")
    return values


def _frame_size(frame: Frame) -> tuple[int, int]:
    found = extent(frame)
    if found is None:
        raise DataError("a frame with intrinsics but no image. Ask for the key 'image' as well.")
    return found[1:]


def collate(samples: Sequence[Sample]) -> Sample:
    """One batch: each key stacked along a new first axis as plain tensors, `meta` a list.

    Raises:
        DataError: the samples do not have the same keys (a missing label would silently vanish for the whole batch).
        ShapeError: they differ in size.
    """
    first, batch = samples[0], dict[str, Any]()
    for sample in samples:
        if sample.keys() != first.keys():
            odd = sorted(sample.keys() ^ first.keys())
            raise DataError(f"{_id(sample)} and {_id(first)} do not have the same keys ({', '.join(odd)}). Put them in two sources.")
    for key in first:
        values = [sample[key] for sample in samples]  # type: ignore[literal-required]
        if key == "meta":
            batch[key] = values
            continue
        shapes = {tuple(value.shape) for value in values}
        if len(shapes) > 1:
            raise ShapeError(f"'{key}' of {_id(first)} and others differ in shape ({shapes}). Use a transform that fixes the size.")
        batch[key] = torch.stack([value.as_subclass(Tensor) for value in values])
    return cast("Sample", batch)


def _id(sample: Sample) -> str:
    return str(sample.get("meta", {}).get("id", "a sample"))


def move(batch: Mapping[str, Sample], device: torch.device | str, channels_last: bool = True) -> dict[str, Sample]:
    """`batch` on `device`; pictures in channels-last memory where `channels_last`. `meta` stays."""
    moved: dict[str, Sample] = {}
    for source, sample in batch.items():
        parts: dict[str, Any] = {}
        for key, value in sample.items():
            if not isinstance(value, Tensor):
                parts[key] = value
            elif value.ndim == 4 and channels_last:
                parts[key] = value.to(device, non_blocking=True, memory_format=torch.channels_last)
            else:
                parts[key] = value.to(device, non_blocking=True)
        moved[source] = cast("Sample", parts)
    return moved
