"""`diorama pseudo-label` against a loop that calls semi-global matching once per pair, and where its time goes.

    python benchmarks/pseudo_label.py [--pairs 100] [--rounds 3] [--workers 2] [--size 375 1242] [--model ccnn-world_street]

Procedural street pairs are written as PNG in Cityscapes' layout once (a dozen, then copies). Then, in turns:

- `loop`: one process reads both views and calls OpenCV's matcher (the same settings) on the left one. Nothing else.
- `matching`: the same without reading: the pairs lie in memory.
- `pseudo_label`: the whole pipeline without a network, as the verb runs it, its start and end included: read, match both ways,
  check, left-right confidence, write disparity, confidence and check of both views and depth.

Times are by the wall, medians over the rounds; ratios are medians of the ratios within a round, which other work on the machine moves
less. Then one process labels some pairs step by step (read, match, look, confidence, write), with left-right confidence, the cost
margin and the network (`--model`; eager, ONNX and, if installed, OpenVINO in bf16), best of the rounds per pair. Prints, last, one JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

from diorama.data.cityscapes import Cityscapes
from diorama.data.fixtures import make
from diorama.errors import UserError
from diorama.running.pseudo_label import pseudo_label
from diorama.running.pseudo_worker import Job, Worker
from diorama.stereo.consistency import checked, mirrored
from diorama.stereo.labelling import Labelling
from diorama.stereo.matching import Matcher

LEFT_RIGHT = Labelling(confidence="left_right")
LIMIT = 1.5
"""The pipeline takes at most so many times the wall time of the loop."""

DRAWN = 12
"""Pairs that differ; more are copies of their files."""

KEYS = ("image", "right", "intrinsics", "baseline")


def repeat(root: Path, pairs: int) -> None:
    """Copy the drawn pairs under new names until there are `pairs`: drawing costs more than matching."""
    drawn = sorted(path for path in root.rglob("*") if path.is_file())
    for number in range(DRAWN, pairs):
        for path in drawn:
            if f"_{number % DRAWN:06d}_" in path.name.removeprefix("diorama_000000"):
                shutil.copy(path, path.with_name(path.name.replace(f"000000_{number % DRAWN:06d}", f"000000_{number:06d}", 1)))


def stock(width: int) -> Any:
    """OpenCV's matcher with the settings of `Matcher`."""
    usual, window = Matcher(), 3 * Matcher().block ** 2
    return cv2.StereoSGBM.create(
        0, usual.searched(width), usual.block, usual.p1 * window, usual.p2 * window, -1, usual.contrast, usual.uniqueness, usual.speckle,
        usual.speckle_range, cv2.StereoSGBM_MODE_SGBM_3WAY,
    )  # fmt: skip


def cpu() -> float:
    """Seconds of processor time of this process and of those that it has waited for."""
    spent = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)


def loop(dataset: Cityscapes) -> float:
    """Seconds of reading and matching every pair once."""
    began = time.perf_counter()
    for frame_id in dataset.ids:
        left, right = (
            cv2.imread(str(dataset.root / kind / "train" / "diorama" / f"{frame_id}_{kind}.png"))
            for kind in ("leftImg8bit", "rightImg8bit")
        )
        stock(left.shape[1]).compute(left, right)
    return time.perf_counter() - began


def matching(pairs: list[tuple[Any, Any]]) -> float:
    """Seconds of matching alone, per pair."""
    began = time.perf_counter()
    for left, right in pairs:
        stock(left.shape[1]).compute(left, right)
    return (time.perf_counter() - began) / len(pairs)


def verb(root: Path, out: Path, workers: int) -> float:
    """Seconds of `diorama pseudo-label` from its call to its end."""
    shutil.rmtree(out, ignore_errors=True)
    began = time.perf_counter()
    summary = pseudo_label("cityscapes", out, data={"root": str(root)}, labelling=LEFT_RIGHT, workers=workers, progress=False)
    spent = time.perf_counter() - began
    assert not summary.failed
    return spent


def steps(dataset: Cityscapes, labelling: Labelling, out: Path, count: int, rounds: int) -> dict[str, float]:
    """Milliseconds per pair and step in one process, the least of the rounds."""
    found: dict[str, float] = {}
    for _ in range(rounds):
        shutil.rmtree(out, ignore_errors=True)  # some file systems wait for the disk where a file is replaced
        worker = Worker(Job(out, {"train": dataset}, labelling, True, "timing"))
        assert worker.labeller is not None
        worker.label("train", 0)  # what is set up at the first frame is no cost of a frame
        worker.seconds.clear()
        worker.labeller.seconds.clear()
        for index in range(1, count + 1):
            worker.label("train", index)
        once = {step: 1000 * seconds / count for step, seconds in {**worker.seconds, **worker.labeller.seconds}.items()}
        found = {step: min(value, found.get(step, value)) for step, value in once.items()}
    return {**found, "whole": sum(found.values())}


def inside_match(dataset: Cityscapes, rounds: int) -> dict[str, float]:
    """Milliseconds of the parts of matching."""
    frame = dataset[0]
    left, right, matcher = frame["image"], frame["right"], Matcher()
    views = matcher(left, right), mirrored(matcher(mirrored(right), mirrored(left)))
    parts: dict[str, Callable[[], Any]] = {
        "one_view": lambda: matcher(left, right),
        "check_and_fill": lambda: checked(*views),
    }
    return {name: 1000 * min(_timed(part) for _ in range(max(3, rounds))) for name, part in parts.items()}


def _timed(part: Callable[[], Any]) -> float:
    began = time.perf_counter()
    part()
    return time.perf_counter() - began


def networks(model: str, shape: tuple[int, int], rounds: int) -> dict[str, Any]:
    """Milliseconds per disparity map of the confidence network: eager, ONNX, OpenVINO bf16; a pair has two of them."""
    from diorama.stereo.confidence import load_confidence

    disparity = np.random.default_rng(0).uniform(1, 100, shape).astype(np.float32)
    found: dict[str, Any] = {"model": model}
    for backend in ("torch", "onnx"):
        try:
            confidence = load_confidence(model, backend=backend, threads=1)  # type: ignore[arg-type]
        except (UserError, ImportError) as error:
            found[backend] = f"not measured: {error}"
            continue
        confidence(disparity)
        found[backend] = 1000 * min(_timed(lambda run=confidence: run(disparity)) for _ in range(rounds))  # type: ignore[misc]
    found["openvino_bf16"] = _openvino(model, disparity, rounds)
    return found


def _openvino(model: str, disparity: np.ndarray, rounds: int) -> float | str:
    try:
        import openvino
    except ImportError:
        return "not measured: openvino is not installed"
    from diorama.prediction.predictor import WEIGHTS

    path = next(
        (
            path
            for path in (WEIGHTS / model / "model.onnx", Path(model) / "model.onnx", Path(model))
            if path.suffix == ".onnx" and path.is_file()
        ),
        None,
    )
    if path is None:
        return f"not measured: no model.onnx of {model}"
    settings = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(openvino.Core().read_model(path), "CPU", settings)
    given = disparity[None, None]
    compiled(given)
    return 1000 * min(_timed(lambda: compiled(given)) for _ in range(rounds))


def main(argv: list[str] | None = None) -> int:
    """Measure, print tables and then the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--size", type=int, nargs=2, default=[375, 1242])
    parser.add_argument("--step-pairs", type=int, default=8, help="pairs of the table of steps")
    parser.add_argument("--model", help="a confidence network to time as well")
    options = parser.parse_args(argv)
    logging.getLogger("diorama").setLevel(logging.ERROR)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder) / "city", Path(folder) / "out"
        make("world_street", root, "cityscapes", min(options.pairs, DRAWN), "train", size=tuple(options.size))
        repeat(root, options.pairs)
        result = measure(root, out, options)
    print(json.dumps(result))
    return 0


def measure(root: Path, out: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Every figure."""
    dataset = Cityscapes(root, keys=KEYS)
    views = [(frame["image"][..., ::-1].copy(), frame["right"][..., ::-1].copy()) for frame in (dataset[index] for index in range(4))]
    rounds: dict[str, list[float]] = {"loop": [], "matching": [], "pseudo_label": []}
    processor: dict[str, list[float]] = {"loop": [], "pseudo_label": []}
    for number in range(options.rounds):
        runs = [("loop", lambda: loop(dataset) / len(dataset)), ("pseudo_label", lambda: verb(root, out, options.workers) / len(dataset))]
        for name, run in runs if number % 2 == 0 else runs[::-1]:
            before = cpu()
            rounds[name].append(run())
            processor[name].append((cpu() - before) / len(dataset))
        rounds["matching"].append(matching(views))
    files = [path.stat().st_size for path in out.rglob("*.png")]
    ratio = statistics.median(one / other for one, other in zip(rounds["pseudo_label"], rounds["loop"], strict=True))
    strict = statistics.median(one / other for one, other in zip(rounds["pseudo_label"], rounds["matching"], strict=True))
    result: dict[str, Any] = {
        "benchmark": "pseudo_label", "pairs": len(dataset), "size": options.size, "workers": options.workers, "rounds": options.rounds,
        **{f"{name}_ms_per_pair": 1000 * statistics.median(values) for name, values in rounds.items()},
        **{f"{name}_cpu_ms_per_pair": 1000 * statistics.median(values) for name, values in processor.items()},
        "times_the_loop": ratio, "times_matching_alone": strict, "limit": LIMIT, "within_limit": ratio <= LIMIT,
        "kib_per_pair": sum(files) / len(dataset) / 1024,
    }  # fmt: skip
    print(
        f"per pair: loop {result['loop_ms_per_pair']:.0f} ms (matching alone {result['matching_ms_per_pair']:.0f}), pseudo-label with "
        f"{options.workers} processes {result['pseudo_label_ms_per_pair']:.0f} ms: {ratio:.2f}x the loop, {strict:.2f}x matching alone; "
        f"processor time {result['loop_cpu_ms_per_pair']:.0f} and {result['pseudo_label_cpu_ms_per_pair']:.0f} ms",
        flush=True,
    )
    count = min(options.step_pairs, len(dataset) - 1)
    kinds = ["left_right", "cost_margin", *([options.model] if options.model else [])]
    result["steps_ms"] = {}
    for kind in kinds:
        table = steps(dataset, Labelling(confidence=kind), out, count, options.rounds)
        result["steps_ms"][kind] = {step: round(value, 2) for step, value in table.items()}
        print(f"{kind:<20}" + "  ".join(f"{step} {value:.1f}" for step, value in table.items()), flush=True)
    result["steps_ms"]["inside_match"] = {name: round(value, 2) for name, value in inside_match(dataset, options.rounds).items()}
    print("inside match        " + "  ".join(f"{name} {value:.1f}" for name, value in result["steps_ms"]["inside_match"].items()))
    if options.model:
        result["network_ms_per_map"] = networks(options.model, tuple(options.size), options.rounds)
        print(f"network, a map      {result['network_ms_per_map']}")
    result["versions"] = {"python": platform.python_version(), "numpy": np.__version__, "opencv": cv2.__version__}
    return result


if __name__ == "__main__":
    raise SystemExit(main())
