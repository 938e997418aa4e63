"""CPU time of the completions that need no training, on one thread: a LiDAR frame of 352x1216 and a room with 500 points.

    python benchmarks/completion.py [--repeats 15] [--depth FILE]

Prints a table, then one JSON object with every figure and the versions used. The LiDAR frame is drawn here: 64 scan lines over a road,
walls and boxes, 4 % of the pixels; `--depth` takes a sparse depth PNG (metres * 256) in its place. A round times every row once, in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

from diorama.completion.model import COMPLETIONS
from diorama.data import io

TARGET_MS = {"linear": 100.0}
"""What a LiDAR frame may cost at most, by row."""


def lidar(height: int = 352, width: int = 1216, seed: int = 0) -> np.ndarray:
    """`(H, W)` metres, 0 = unknown: returns on 64 slightly bent lines over the lower 85 % of the frame, every third one lost."""
    draw = np.random.default_rng(seed)
    row, column = np.indices((height, width))
    horizon = 0.45 * height
    depth = np.where(row > horizon, 1.65 * 720 / np.maximum(row - horizon, 1), 60.0).clip(4, 60)
    for _ in range(12):
        left, top, distance = draw.integers(0, width - 80), draw.integers(60, 200), draw.uniform(6, 40)
        box = (np.abs(column - left - 40) < 40) & (np.abs(row - top - 40) < 60)
        depth = np.where(box & (depth > distance), distance, depth)
    sparse = np.zeros((height, width), np.float32)
    across = np.arange(width)
    for line in np.linspace(0.15 * height, height - 3, 64):
        at = across[draw.random(width) < 0.21]
        rows = np.rint(line + 2 * np.cos(at / width * np.pi)).astype(int).clip(0, height - 1)
        sparse[rows, at] = depth[rows, at]
    return sparse


def room(seed: int = 0) -> np.ndarray:
    """`(228, 304)` metres with 500 known points, 0 = unknown."""
    draw = np.random.default_rng(seed)
    sparse = np.zeros((228, 304), np.float32)
    sparse.flat[draw.choice(sparse.size, 500, replace=False)] = draw.uniform(1, 9, 500)
    return sparse


def measure(sparse: np.ndarray, repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds of CPU per row, `repeats` rounds after one to warm up."""
    spent: dict[str, list[float]] = {name: [] for name in COMPLETIONS}
    for turn in range(repeats + 1):
        for name, complete in COMPLETIONS.items():
            began = time.process_time()
            complete(sparse)
            if turn:
                spent[name].append(1000 * (time.process_time() - began))
    return {name: {"median_ms": round(statistics.median(all_), 2), "best_ms": round(min(all_), 2)} for name, all_ in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--depth", type=Path, help="sparse depth PNG, metres * 256, instead of the drawn LiDAR frame")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    frames = {"lidar": io.read_depth(options.depth, scale=256.0) if options.depth else lidar(), "room": room()}
    result: dict[str, Any] = {
        "benchmark": "completion",
        "threads": 1,
        "time": "cpu",
        "repeats": options.repeats,
        "drawn": not options.depth,
    }
    for kind, sparse in frames.items():
        rows = measure(sparse, options.repeats)
        result[kind] = {"height": sparse.shape[0], "width": sparse.shape[1], "points": int((sparse > 0).sum()), "rows": rows}
        for name, row in rows.items():
            print(f"{kind:6s} {name:22s} median {row['median_ms']:7.2f} ms  best {row['best_ms']:7.2f} ms", flush=True)
    result["within_target"] = {name: result["lidar"]["rows"][name]["best_ms"] <= limit for name, limit in TARGET_MS.items()}
    result["versions"] = {package: version(package) for package in ("diorama", "numpy", "opencv-python-headless")}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
