"""Augment one 240x320 sample: torchvision's stock chain against `train_transform`, on one thread, in turns.

    python benchmarks/transforms.py [--repeats 200]

Both zoom 0.9 to 1.6, turn up to 4 degrees, crop, mirror and shift colours of image, labels and depth. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch
import torchvision
from torchvision import tv_tensors
from torchvision.transforms import v2

from diorama.data.loader import seeded, to_sample
from diorama.data.transforms import train_transform
from diorama.data.view import View
from diorama.tensors import Depth
from diorama.types import Frame, Sample

COLOUR = (0.3, 0.3, 0.3, 0.05)


def frame(height: int, width: int) -> Frame:
    """A smooth picture with labels and depth."""
    draw = np.random.default_rng(0)
    small = draw.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    return {
        "image": cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC),
        "semantic": draw.integers(0, 40, (height, width), dtype=np.uint8),
        "depth": draw.uniform(0.5, 9.5, (height, width)).astype(np.float32),
        "intrinsics": np.array([[0.8 * width, 0, width / 2], [0, 0.8 * width, height / 2], [0, 0, 1]]),
        "meta": {"id": "benchmark"},
    }


def stock(size: tuple[int, int], *, jitter: v2.Transform) -> v2.Transform:
    """The chain a user of torchvision writes (depth is not divided by the zoom there)."""
    fill = {tv_tensors.Mask: 255, Depth: 0, "others": 0}
    return v2.Compose([
        v2.ScaleJitter(size, scale_range=(0.9, 1.6)),
        v2.RandomRotation(4, interpolation=v2.InterpolationMode.BILINEAR, fill=fill),
        v2.RandomCrop(size, pad_if_needed=True, fill=fill),
        v2.RandomHorizontalFlip(0.5),
        jitter,
    ])  # fmt: skip


def milliseconds(candidates: dict[str, Callable[[Sample], Sample]], sample: Sample, repeats: int) -> dict[str, list[float]]:
    """Time per call of each candidate, measured in turns so that all meet the same load."""
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    for repeat in range(repeats + 3):
        for name, run in candidates.items():
            with seeded(repeat):
                start = time.perf_counter()
                run(sample)
                taken[name].append(1000 * (time.perf_counter() - start))
    return {name: times[3:] for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=200)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    size = (240, 320)
    plain, colour = (View(size, zoom=(0.9, 1.6), flip=0.5, rotate=4, colour=c) for c in ((0.0,) * 4, COLOUR))
    candidates = {
        "stock_geometry": stock(size, jitter=v2.Identity()),
        "ours_geometry": train_transform(plain),
        "stock": stock(size, jitter=v2.ColorJitter(*COLOUR)),
        "ours": train_transform(colour),
    }
    times = milliseconds(candidates, to_sample(frame(*size)), repeats)
    street = milliseconds({"ours_1024x2048_to_256x512": train_transform(View((256, 512), zoom=(0.9, 1.6), flip=0.5, colour=COLOUR))},
                          to_sample(frame(1024, 2048)), max(5, repeats // 10))  # fmt: skip
    middle = {name: statistics.median(values) for name, values in {**times, **street}.items()}
    print(json.dumps({
        "benchmark": "transforms", "size": list(size), "repeats": repeats, "threads": 1,
        "median_ms": {name: round(value, 3) for name, value in middle.items()},
        "p90_ms": {name: round(float(np.quantile(values, 0.9)), 3) for name, values in {**times, **street}.items()},
        "speedup": round(middle["stock"] / middle["ours"], 2),
        "speedup_geometry": round(middle["stock_geometry"] / middle["ours_geometry"], 2),
        "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__, "cv2": cv2.__version__, "numpy": np.__version__},
    }))  # fmt: skip


if __name__ == "__main__":
    main()
