"""Confidence of disparity on real pairs: the shipped CCNN against the left-right difference and the matching cost margin.

    python benchmarks/confidence.py [--data DIR] [--model NAME_OR_FOLDER] [--half]

DIR holds `cityscapes` (left, right, official disparity) and `middlebury/cones`. One thread. Prints a table, then one JSON object with every
figure and the versions used.

AUC is the chance that a right pixel is surer than a wrong one; AUSE the area under the share of wrong pixels among the surest, above the
least that it can be. What is judged is the dense map that pseudo labels hold: OpenCV's matcher, left-right check, filled. A pixel is right
if it lies within 3 px (and 1 px) of the truth; occluded pixels count where the truth is known. `unfilled` judges what the matcher found,
holes being wrong and of confidence 0 in every row. `--half` matches the Cityscapes pairs at half their size as well.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

from diorama.data import io
from diorama.data.middlebury import Middlebury
from diorama.evaluation.confidence import bad_pixel_area, disparity_ause, least_area, roc_auc
from diorama.stereo.confidence import load_confidence
from diorama.stereo.files import read_disparity
from diorama.stereo.matching import match
from diorama.stereo.measures import cost_margin, left_right_confidence

CITIES = {"aachen": "aachen_000001_000019", "cologne": "cologne_000088_000019"}
ROWS = ("ccnn", "left_right", "cost_margin", "ccnn*cost_margin", "cost_margin*left_right", "ccnn*cost_margin*left_right")
"""What is compared: each measure alone, and products of them."""
Pictures = tuple[np.ndarray, np.ndarray, np.ndarray]


def pairs(root: Path, half: bool) -> dict[str, Pictures]:
    """Name -> left, right and true disparity [px]."""
    found: dict[str, Pictures] = {}
    for city, stem in CITIES.items():
        folder = root / "cityscapes"
        left, right = (
            io.read_image(next((folder / kind / "train" / city).glob(f"{stem}_{kind}.*"))) for kind in ("leftImg8bit", "rightImg8bit")
        )
        truth = read_disparity(folder / "disparity" / "train" / city / f"{stem}_disparity.png", "cityscapes")
        found[city] = left, right, truth
        if half:
            small = (truth.shape[1] // 2, truth.shape[0] // 2)
            views = (cv2.resize(view, small, interpolation=cv2.INTER_AREA) for view in (left, right))
            found[f"{city}, half size"] = next(views), next(views), truth[::2, ::2] / 2
    cones = Middlebury(root / "middlebury")[0]
    found["cones"] = cones["image"], cones["right"], cones["disparity"]
    return found


def judged(name: str, pictures: Pictures, judge: Any) -> dict[str, Any]:
    """Every figure of one pair."""
    left, right, truth = pictures
    view, known = match(left, right).left, truth > 0
    began = time.process_time()
    learned, tau = judge(view.disparity)
    seconds = time.process_time() - began
    found: dict[str, Any] = {
        "pair": name,
        "size": list(truth.shape),
        "known": int(known.sum()),
        "tau": tau,
        "ccnn_cpu_s": round(seconds, 2),
    }
    maps = {"filled": view.disparity, "unfilled": view.raw}
    for kind, disparity in maps.items():
        single = {
            "ccnn": np.where(disparity > 0, learned, 0),
            "left_right": left_right_confidence(view),
            "cost_margin": cost_margin(left, right, disparity),
        }
        rows = {name: np.prod([single[part] for part in name.split("*")], axis=0) for name in ROWS}
        error = np.abs(disparity[known].astype(np.float64) - truth[known])
        for tolerance in (3, 1):
            fine = (error <= tolerance) & (disparity[known] > 0)
            found[f"{kind}_{tolerance}px"] = {
                "right": round(float(fine.mean()), 4),
                "least_area": round(least_area(fine), 5),
                **{
                    row: {
                        "auc": round(roc_auc(values[known].astype(np.float64), fine), 4),
                        "area": round(bad_pixel_area(values[known].astype(np.float64), fine), 5),
                    }
                    for row, values in rows.items()
                },
            }
        for row, values in rows.items():
            found[f"{kind}_3px"][row]["ause_px"] = round(disparity_ause(error, values[known].astype(np.float64)), 3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DIORAMA_DATA", "../shared/data")))
    parser.add_argument("--model", default="ccnn-world_street")
    parser.add_argument("--half", action="store_true")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    judge = load_confidence(options.model, threads=1)
    rows = [judged(name, pictures, judge) for name, pictures in pairs(options.data, options.half).items()]
    for kind in ("filled_3px", "filled_1px", "unfilled_3px", "unfilled_1px"):
        print(f"\n{kind:<30}" + "".join(f"{found['pair']:>26}" for found in rows))
        print(f"{'right':<30}" + "".join(f"{found[kind]['right']:>26.4f}" for found in rows))
        for row in ROWS:
            parts = [(found[kind][row], found[kind]["least_area"]) for found in rows]
            cells = (f"AUC {part['auc']:.3f} AUSE {part['area'] - least:.4f}" for part, least in parts)
            print(f"{row:<30}" + "".join(f"{cell:>26}" for cell in cells))
    packages = {package: version(package) for package in ("diorama", "numpy", "opencv-python-headless", "onnxruntime")}
    print(json.dumps({"benchmark": "confidence", "model": judge.name, "threads": 1, "pairs": rows, "versions": packages}))


if __name__ == "__main__":
    main()
