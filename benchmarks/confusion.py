"""Confusion matrix of 1024x2048 label images with 19 classes, one thread: diorama against torchmetrics, equal counts, one paired run.

    python benchmarks/confusion.py [--repeats 15]

Prints a table, then one JSON object with every figure and the versions used. Labels are coherent patches as in street scenes, a tenth
is ignored, a fifth is predicted wrong. A round times every row once, in turn. Times are CPU times of the one thread: on a machine that
also does other things the clock on the wall would compare the other things.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import torch
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex
from torchmetrics.segmentation import MeanIoU

from diorama.evaluation.semantics import class_iou, class_sums, classes_of, confusion
from diorama.types import IGNORE

HEIGHT, WIDTH, CLASSES = 1024, 2048, 19


def scene(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted train ids, uint8 `(H, W)`."""
    generator = np.random.default_rng(seed)

    def patches(cell: int) -> np.ndarray:
        coarse = generator.integers(0, CLASSES, (HEIGHT // cell, WIDTH // cell), dtype=np.uint8)
        return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)

    def mask(part: float) -> np.ndarray:
        coarse = (generator.random((HEIGHT // 32, WIDTH // 32)) < part).astype(np.uint8)
        return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST).astype(bool)

    truth = patches(64)
    predicted = np.where(mask(0.2), patches(32), truth)
    truth[mask(0.1)] = IGNORE
    return truth, predicted


def rounds(rows: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """CPU seconds per row, `repeats` rounds after one to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for turn in range(repeats + 1):
        for name, run in rows.items():
            began = time.process_time()
            run()
            if turn:
                seconds[name].append(time.process_time() - began)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    truth, predicted = scene()
    # torchmetrics is given what it takes without a conversion: int64 tensors with a batch axis
    target, guess = torch.from_numpy(truth).long()[None], torch.from_numpy(predicted).long()[None]
    matrix = MulticlassConfusionMatrix(CLASSES, ignore_index=IGNORE)
    matrix_unchecked = MulticlassConfusionMatrix(CLASSES, ignore_index=IGNORE, validate_args=False)
    jaccard = MulticlassJaccardIndex(CLASSES, ignore_index=IGNORE)
    mean_iou = MeanIoU(CLASSES, input_format="index")
    shown = torch.where(target == IGNORE, guess, target)  # MeanIoU cannot ignore: it is given a truth without void

    ours = confusion(truth, predicted, CLASSES)
    theirs = matrix(guess, target).numpy()
    assert np.array_equal(ours[:, :CLASSES], theirs), "the counts differ"
    assert ours[:, CLASSES].sum() == 0
    assert ours.sum() == (truth != IGNORE).sum()
    iou = float(class_iou(*class_sums(ours)).mean())
    assert abs(iou - float(jaccard(guess, target))) < 1e-6, "the mean IoU differs"

    seconds = rounds(
        {
            "diorama": lambda: confusion(truth, predicted, CLASSES),
            "torchmetrics MulticlassConfusionMatrix": lambda: matrix.update(guess, target),
            "torchmetrics MulticlassConfusionMatrix, validate_args=False": lambda: matrix_unchecked.update(guess, target),
            "torchmetrics MulticlassJaccardIndex": lambda: jaccard.update(guess, target),
            "torchmetrics MeanIoU (segmentation)": lambda: mean_iou.update(guess, shown),
        },
        repeats,
    )
    logits = torch.from_numpy(np.random.default_rng(1).standard_normal((CLASSES, HEIGHT, WIDTH), dtype=np.float32))
    assert np.array_equal(classes_of(logits, (HEIGHT, WIDTH)), logits.argmax(0).numpy())
    argmax = rounds({"diorama classes_of": lambda: classes_of(logits, (HEIGHT, WIDTH)), "torch argmax": lambda: logits.argmax(0)}, repeats)

    figures = {name: row for group in (seconds, argmax) for name, row in _figures(group).items()}
    for name, row in figures.items():
        print(f"{name:62s} {row['median_ms']:8.2f} ms  {row['times_slower']:6.1f}x  (rounds {row['least']:.1f}x to {row['most']:.1f}x)")
    default = figures["torchmetrics MulticlassConfusionMatrix"]
    packages = ("diorama", "numpy", "torch", "torchmetrics", "opencv-python-headless")
    result = {
        "benchmark": "confusion", "height": HEIGHT, "width": WIDTH, "classes": CLASSES, "threads": 1, "time": "cpu", "repeats": repeats,
        "equal_counts": True, "mean_iou": iou, "speedup_over_default": default["times_slower"], "rows": figures,
        "versions": {package: version(package) for package in packages},
    }  # fmt: skip
    print(json.dumps(result))


def _figures(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Median milliseconds of each row and how many times slower it is than the first one of its round."""
    first = next(iter(seconds.values()))
    found = {}
    for name, times in seconds.items():
        ratios = [other / base for other, base in zip(times, first, strict=True)]
        found[name] = {
            "median_ms": round(1000 * statistics.median(times), 3),
            "times_slower": round(statistics.median(ratios), 2),
            "least": round(min(ratios), 2),
            "most": round(max(ratios), 2),
        }
    return found


if __name__ == "__main__":
    main()
