"""Speed and memory of `diorama predict` on one large GeoTIFF, given or made: pixels per second and the largest resident size.

    python benchmarks/tiles.py --side 20000 --model RUN
    python benchmarks/tiles.py --image mosaic.tif --model RUN --tile 1024

Prints, last, one JSON object. `before_mb` is what the process held with the model loaded and nothing predicted; the model `pixels`
answers from each pixel's own colour, so that what is measured is everything but a network.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from diorama.data.geotiff import Window, open_raster, windows, write_raster
from diorama.export.config import ModelConfig
from diorama.prediction.mosaic import Tiling
from diorama.prediction.predictor import Predictor, load
from diorama.running.predict import predict
from diorama.types import Inputs, Prediction
from memory import peak, resident

CLASSES = 6
METRES_PER_PIXEL = 0.09


class Pixels:
    """Six classes by brightness, and a height of 1 + 20 * green metres."""

    def __init__(self) -> None:
        self.config: ModelConfig = {
            "format": 1,
            "method": "pixels",
            "diorama": version("diorama"),
            "init": {},
            "labels": {
                "name": "levels",
                "classes": [f"level {index}" for index in range(CLASSES)],
                "palette": [[40 * index] * 3 for index in range(CLASSES)],
            },
            "depth": {"cap": 21.0, "unit": "m"},
            "input": {"size": [512, 512], "multiple_of": 32},
            "training": {},
            "export": {},
        }

    def __call__(self, inputs: Inputs) -> Prediction:
        """Logits that are largest at the level nearest to the brightness, and metres."""
        image = inputs["image"]
        levels = np.linspace(0, 1, CLASSES, dtype=np.float32)[:, None, None]
        return Prediction(-20 * (image.mean(1, keepdims=True) - levels) ** 2, 1 + 20 * image[:, 1:2])


def ground(side: int) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
    """`side` x `side` pixels of coloured hills with grain, window by window."""
    random = np.random.default_rng(0)
    for window in windows((side, side), 512):
        y, x = np.ogrid[window.top : window.top + window.height, window.left : window.left + window.width]
        waves = [np.sin(y / 137) * np.cos(x / 223), np.sin(x / 151 + y / 290), np.cos((x + y) / 370)]
        grain = random.integers(0, 8, (window.height, window.width, 3))
        yield window, (124 + 120 * np.stack(np.broadcast_arrays(*waves), 2) + grain).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=2000, help="rows and columns of the image that is made")
    parser.add_argument("--image", type=Path, help="take this GeoTIFF instead")
    parser.add_argument("--model", default="pixels", help="as of `diorama predict`, or pixels")
    parser.add_argument("--out", type=Path, help="keep the image and its results here")
    parser.add_argument("--tile", type=int)
    parser.add_argument("--halo", type=int)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--bands", type=int, nargs="+")
    parser.add_argument("--white", type=float)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    bands = None if arguments.bands is None else tuple(arguments.bands)
    tiling = Tiling(arguments.tile, arguments.halo, arguments.batch, bands, arguments.white)
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.out or Path(scratch)
        path = arguments.image or folder / "mosaic.tif"
        if arguments.image is None:
            place = (METRES_PER_PIXEL, 0.0, 366976.0, 0.0, -METRES_PER_PIXEL, 5808280.0)
            write_raster(path, ground(arguments.side), "EPSG:25833", place, size=(arguments.side, arguments.side))
        if arguments.model == "pixels":
            predictor = Predictor(Pixels(), "pixels", "numpy")
        else:
            predictor = load(arguments.model, device=arguments.device, threads=arguments.threads)
        with open_raster(path) as raster:
            size = raster.size
        before, started, spent = resident("VmRSS"), time.perf_counter(), time.process_time()
        summary = predict(predictor, path, folder / "results", tiling=tiling, overwrite=True)
        seconds, spent = time.perf_counter() - started, time.process_time() - spent
        if summary.failed:
            raise SystemExit(summary.failed[0][1])
        record = json.loads((folder / "results" / f"{path.stem}.json").read_text())
    pixels = size[0] * size[1]
    found = {
        "size": size,
        "model": arguments.model,
        "tiles": record["tiles"],
        "batch": arguments.batch,
        "threads": arguments.threads,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(spent, 2),
        "pixels_per_s": round(pixels / seconds),
        "before_mb": None if before is None else round(before / 2**20),
        "peak_mb": round(peak() / 2**20),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("numpy", "rasterio", "onnxruntime")}},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
