"""`diorama predict` end to end (read, infer, write) by torch, onnxruntime and OpenVINO, taking turns on the same photos.

    python benchmarks/predict.py --data DIR [--model ci_net-nyuv2] [--images 200] [--threads 2] [--files DIR]

DIR is NYUv2 (or name another data set by --dataset): its test photos are predicted, its labels and depth judge every engine. OpenVINO
files are exported first, into --files, where later runs find them. Prints a table on stderr and, last, one JSON object: images per
second, the ratio to eager torch (median over turns, with the least and the largest), where the time goes, mIoU and RMSE.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2

from diorama import catalog
from diorama.data.base import SceneDataset, WrappedDataset
from diorama.errors import ModelError
from diorama.export.export import export
from diorama.prediction import predictor as predicting
from diorama.prediction.predictor import WEIGHTS, Predictor, list_models, load
from diorama.prediction.result import DEFAULT_SAVE, ScenePrediction
from diorama.running.evaluate_file import evaluate
from diorama.running.predict import predict
from diorama.running.trials import trial_on

EAGER = "eager fp32"
RATIO = 3.0
ALLOWED = {"miou_points": 1.0, "rmse_percent": 2.0}


class EveryNth(WrappedDataset):
    """Some frames of a data set, evenly chosen."""

    def __init__(self, dataset: SceneDataset, count: int) -> None:
        super().__init__(dataset)
        self.numbers = [round(place * (len(dataset) - 1) / max(1, count - 1)) for place in range(min(count, len(dataset)))]
        self.ids = [dataset.ids[number] for number in self.numbers]

    def __len__(self) -> int:
        return len(self.numbers)

    def frame(self, index: int) -> Any:
        """Frame number `index` of the chosen ones."""
        return self.dataset.frame(self.numbers[index])


def words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--dataset", default="nyuv2", metavar="NAME")
    parser.add_argument("--model", default="ci_net-nyuv2")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--turn", type=int, default=20, help="photos that an engine predicts before the next one has its turn")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--files", type=Path, metavar="DIR", help="keeps the exported files; default: a temporary folder")
    parser.add_argument("--judged", type=int, metavar="N", help="judge on every k-th frame, N in all; 0: not at all; default: on all")
    parser.add_argument("--calibration-frames", type=int, default=300)
    parser.add_argument("--save", nargs="+", default=DEFAULT_SAVE, help="as of `diorama predict`; default: all but panel")
    return parser.parse_args()


def engines(source: Path, files: Path, asked: argparse.Namespace, judging: SceneDataset) -> tuple[dict[str, Predictor], dict[str, str]]:
    """Name -> the model run by that engine, and what could not be made."""
    found = {EAGER: load(source, backend="torch", threads=asked.threads)}
    refused = {}
    onnx = source if source.is_dir() and (source / "model.onnx").is_file() else files / "model.onnx"
    if onnx.suffix and not onnx.is_file():
        export(source, onnx)
    found["onnxruntime"] = load(onnx, backend="onnx", threads=asked.threads)
    calibrating = catalog.dataset(asked.dataset)(asked.data, split="train")
    for precision in ("fp32", "bf16", "int8"):
        name, target = f"openvino {precision}", files / f"{precision}.xml"
        try:
            if not target.is_file():
                print(f"exporting {target}", file=sys.stderr)
                trial = None
                if precision == "int8":
                    trial = lambda config: trial_on(  # noqa: E731
                        config, judging, calibrating, frames=asked.calibration_frames, progress=False
                    )
                export(source, target, format="openvino", precision=precision, trial=trial)
            found[name] = load(target, threads=asked.threads)
        except ModelError as error:
            refused[name] = str(error)
    return found, refused


def take_turns(
    models: dict[str, Predictor], photos: list[Path], turn: int, save: list[str], scratch: Path
) -> dict[str, list[tuple[float, float]]]:
    """Name -> (seconds, CPU seconds) per photo of each turn; every engine sees the same photos, the first one changes from turn to turn."""
    spent: dict[str, list[tuple[float, float]]] = defaultdict(list)
    lists = []
    for number, first in enumerate(range(0, len(photos), turn)):
        path = scratch / f"turn{number}.txt"
        path.write_text("\n".join(str(photo) for photo in photos[first : first + turn]))
        lists.append((path, len(photos[first : first + turn])))
    names = list(models)
    kinds = {"save": save, "overwrite": True, "progress": False}
    for name in names:  # compiles, fills caches
        predict(models[name], photos[0], scratch / "out" / name.replace(" ", "_"), **kinds)
    for number, (path, count) in enumerate(lists):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            wall, processor = time.perf_counter(), time.process_time()
            summary = predict(models[name], path, scratch / "out" / name.replace(" ", "_"), **kinds)
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            if len(summary.done) != count:
                raise SystemExit(f"{name}: {summary.failed[0][1]}")
            spent[name].append((wall / count, processor / count))
        print(f"turn {number + 1} of {len(lists)}", file=sys.stderr)
    return spent


def stages(model: Predictor, photos: list[Path], save: list[str], folder: Path) -> dict[str, float]:
    """CPU milliseconds per photo: reading, the network, what makes maps of its answer, and each kind of file that is written."""
    spent: dict[str, float] = defaultdict(float)

    def timed(name: str, function: Any) -> Any:
        def run(*given: Any, **named: Any) -> Any:
            started = time.process_time()
            try:
                return function(*given, **named)
            finally:
                spent[name] += time.process_time() - started

        return run

    network, read = model.model, predicting.read_photo
    model.model, predicting.read_photo = timed("network", network), timed("read", read)
    try:
        scenes = [timed("maps", model.scene)(photo) for photo in photos]
    finally:
        model.model, predicting.read_photo = network, read
    spent["maps"] -= spent["network"] + spent["read"]
    for kind in save:
        written = timed(kind, ScenePrediction.save)
        for scene in scenes:
            written(scene, folder, save=[kind])
    return {name: round(1000 * seconds / len(photos), 2) for name, seconds in spent.items()}


def accuracy(model: Predictor, dataset: SceneDataset) -> dict[str, float]:
    """What `diorama evaluate` says: mIoU and RMSE."""
    found = evaluate(model, dataset, batch_size=1, progress=False)
    return {name: round(found[name], 5) for name in ("miou", "rmse") if name in found.values}


def main() -> None:
    asked = words()
    cv2.setNumThreads(asked.threads)
    source = WEIGHTS / asked.model if asked.model in list_models() else Path(asked.model)
    test = catalog.dataset(asked.dataset)(asked.data, split="test")
    judging = test if asked.judged is None else EveryNth(test, max(1, asked.judged))
    photos = sorted(path for path in test.files() if path.parent.name == "image")[: asked.images]
    save = list(asked.save)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        files = asked.files or scratch / "files"
        files.mkdir(parents=True, exist_ok=True)
        models, refused = engines(source, files, asked, judging)
        spent = take_turns(models, photos, asked.turn, save, scratch)
        rows: dict[str, dict[str, Any]] = {}
        for name, model in models.items():
            ratios = [eager[0] / own[0] for eager, own in zip(spent[EAGER], spent[name], strict=True)]
            processor = [eager[1] / own[1] for eager, own in zip(spent[EAGER], spent[name], strict=True)]
            rows[name] = {
                "images_per_s": round(1 / statistics.median(wall for wall, _ in spent[name]), 2),
                "ratio": [round(value, 2) for value in (statistics.median(ratios), min(ratios), max(ratios))],
                "cpu_ms_per_image": round(1000 * statistics.median(used for _, used in spent[name]), 1),
                "cpu_ratio": round(statistics.median(processor), 2),
                "stages_cpu_ms": stages(model, photos[:20], save, scratch / "stages"),
            }
            if asked.judged != 0:
                rows[name] |= accuracy(model, judging)
                rows[name]["loss"] = lost(rows[EAGER], rows[name])
            print(f"{name:<14} {json.dumps(rows[name])}", file=sys.stderr)
    fitting = [name for name, row in rows.items() if all(value <= ALLOWED[key] for key, value in row.get("loss", {}).items())]
    best = max(fitting, key=lambda name: rows[name]["ratio"][0])
    versions = {name: version(name) for name in ("numpy", "onnxruntime", "openvino", "nncf", "torch", "opencv-python-headless")}
    found = {
        "model": asked.model,
        "images": len(photos),
        "threads": asked.threads,
        "frames_judged": 0 if asked.judged == 0 else len(judging),
        "save": save,
        "wanted": {"ratio": RATIO, **ALLOWED},
        "best": best,
        "reached": rows[best]["ratio"][0] >= RATIO,
        "engines": rows,
        "refused": refused,
        "versions": {"python": platform.python_version(), **versions},
    }
    print(json.dumps(found))


def lost(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """mIoU in points and RMSE in percent."""
    return {
        "miou_points": round(100 * (before["miou"] - after["miou"]), 3),
        "rmse_percent": round(100 * (after["rmse"] / before["rmse"] - 1), 3),
    }


if __name__ == "__main__":
    main()
