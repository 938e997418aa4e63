"""One function per verb: words -> checked arguments -> the function that does it. torch is imported last, by that function alone."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from diorama import catalog, recipes
from diorama.errors import ConfigError, suggest
from diorama.flags import VerbParser, run_config, take

logger = logging.getLogger("diorama")

_FEW = 20
"""Photos that somebody looks at one by one."""


def quickstart(words: Sequence[str]) -> int:
    """Make rooms, train, compare with single tasks, predict and report."""
    parser = VerbParser(
        "quickstart",
        "Draw procedural rooms, train CI-Net and its two single-task baselines on them, compare, predict on unseen rooms, and report.",
        "diorama quickstart --out first_try",
    )
    parser.add_argument("--out", type=Path, default=Path("quickstart"), metavar="DIR", help="folder of everything that is made")
    parser.add_argument("--frames", type=int, nargs=2, metavar=("TRAIN", "TEST"), help="how many rooms to train on and to judge on")
    parser.add_argument("--epochs", type=float, default=1.0, metavar="FACTOR", help="on the recipe's epochs; below 1 for a trial")
    parser.add_argument("--overwrite", action="store_true", help="remove what an earlier quickstart left in DIR")
    options = {key: value for key, value in vars(parser.read(words)).items() if value is not None}
    if "frames" in options:
        options["frames"] = tuple(options["frames"])
    from diorama.running.quickstart import quickstart as start

    print(start(**options))
    return 0


def train(words: Sequence[str]) -> int:
    """Train a method, or print a configuration or the fields of one."""
    from diorama import config

    words = list(words)
    for section in config.CHOICES:
        if (name := take(words, f"--{section}.help")) is not None:
            print(config.fields_help(section, name))
            return 0
    if "--help" in words or "-h" in words:
        print(config.overview())
        return 0
    shown = "--print_config" in words
    resume = take(words, "--resume")
    settings = recipes.read_yaml(run_config(Path(resume))) if resume is not None else None
    run = config.read_config([word for word in words if word != "--print_config"], settings)
    if shown:
        print(run.to_yaml(), end="")
        return 0
    run.open_dataset("train") if run.streams else run.open_training()  # says what is missing before torch is imported
    for stream in run.streams:
        run.open_training(stream)
    from diorama.running.train import train as start
    from diorama.training.setup import is_first

    folder = start(run, None if resume is None else Path(resume))
    if is_first():
        print(folder)
    return 0


def predict(words: Sequence[str]) -> int:
    """Predict on photos; 1 if one of them had to be skipped."""
    parser = VerbParser(
        "predict",
        "Semantics and metric depth of photos, or dense depth of sparse: label PNG, 16-bit depth PNG, overlay, coloured point cloud, JSON. "
        "GeoTIFFs of any size go tile by tile into GeoTIFFs of the same place; a video becomes a video of photo, classes and depth.",
        "diorama predict photos/ --out results --save overlay depth",
    )
    _add_of_predict(parser)
    options = vars(parser.read(words))
    from diorama.prediction.mosaic import Tiling
    from diorama.prediction.sources import is_address
    from diorama.running.predict import Parts
    from diorama.running.predict import predict as start
    from diorama.running.predict_video import Frames
    from diorama.running.spread import read_shard

    options["source"] = options["source"] if len(options["source"]) > 1 else options["source"][0]
    options["parts"] = Parts(options.pop("engine"), options.pop("workers"), read_shard(options.pop("shard")))
    cut = {name: options.pop(name) for name in ("tile", "halo", "batch", "white")}
    bands = options.pop("bands")
    options["tiling"] = Tiling(**cut, bands=None if bands is None else tuple(bands))
    options["frames"] = Frames(options.pop("every"), options.pop("frames"))
    with ExitStack() as stack:
        if is_address(options["source"]):
            from diorama.running.download import downloaded

            if options["parts"].engine == "ray":
                raise ConfigError("--engine ray reads files that all machines see. Download the file, and give its path.")
            options["source"] = stack.enter_context(downloaded(options["source"]))
        summary = start(**options)
    there = f", {len(summary.kept)} were there already" if summary.kept else ""
    skipped = f", {len(summary.failed)} skipped" if summary.failed else ""
    asked = len(summary.done) + len(summary.failed)
    if options["save"] is None and 0 < len(summary.done) <= _FEW:
        logger.info("photo, classes, depth and points in one picture of each: --save panel")
    print(f"{len(summary.done)} of {asked} predicted in {summary.seconds:.1f} s{there}{skipped}: {summary.out}")
    return summary.exit_status


def _add_of_predict(parser: VerbParser) -> None:
    parser.add_argument(
        "source",
        nargs="+",
        help="photos (or sparse depth maps), videos, folders, globs in quotes, a .txt list, a camera (webcam:0), or http(s)://...",
    )
    parser.add_argument(
        "--model", default=catalog.DEFAULT_MODEL, metavar="NAME", help="shipped model (see `diorama methods`), run folder, file"
    )
    parser.add_argument("--image", type=Path, metavar="DIR", help="photos that go with sparse depth, paired by file name (or one file)")
    parser.add_argument("--sparse-depth", type=Path, metavar="DIR", help="sparse depth that goes with photos, for models that take both")
    parser.add_argument(
        "--depth-scale",
        type=float,
        metavar="S",
        help="sparse depth is metres * S: 1000 for millimetres; default: what a PNG says, else 256",
    )
    parser.add_argument(
        "--calibration", type=Path, metavar="PATH", help="of raw .bin scans: the day's folder, a file, or one file per scan"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the results; default: the next free runs/predict-N")
    parser.add_argument(
        "--save",
        nargs="+",
        metavar="KIND",
        help="any of semantic depth json overlay ply panel; default: all but panel, of videos json and overlay",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace results of an earlier run")
    parser.add_argument("--resume", action="store_true", help="keep photos all of whose results are there, make the others")
    parser.add_argument("--intrinsics", type=Path, metavar="FILE", help="camera matrix [px]: 9 numbers row by row, or fx fy cx cy")
    parser.add_argument("--field-of-view", type=float, metavar="DEGREES", help="angle over the photo's longer side, instead of intrinsics")
    parser.add_argument("--backend", choices=("auto", "onnx", "openvino", "torch"), default="auto")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, help="threads per photo; default: every core")
    parser.add_argument("--tile", type=int, metavar="PX", help="side of the tiles of a GeoTIFF; default: what the model was trained at")
    parser.add_argument("--halo", type=int, metavar="PX", help="rim of a tile that is thrown away, and width of the blend; default: tile/8")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="tiles at once; default: 1")
    parser.add_argument("--bands", type=int, nargs="+", metavar="N", help="bands that are red, green, blue (from 1), and perhaps a mask")
    parser.add_argument("--white", type=float, metavar="V", help="the value that is white, of TIFFs that are not 8-bit")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every Nth frame of videos; default: 1, all")
    parser.add_argument("--frames", type=int, metavar="N", help="stop after N frames of a video; default: its end, of a camera Ctrl-C")
    parser.add_argument("--engine", default="processes", help="processes of this machine, or ray: all machines of a cluster")
    parser.add_argument("--workers", type=int, metavar="N", help="processes of one thread each; default: one with all; ray: one per device")
    parser.add_argument("--shard", default="1/1", metavar="I/N", help="the I-th of N parts: one machine each, one --out")


def evaluate(words: Sequence[str]) -> int:
    """Measure a model on a data set, or list the protocols."""
    from diorama.evaluation.protocols import list_protocols

    if "--list-protocols" in words:
        print("\n".join(f"{name}: {rules}" for name, rules in list_protocols().items()))
        return 0
    from diorama.evaluate_verb import evaluate_model_file

    return evaluate_model_file(words)


def sweep(words: Sequence[str]) -> int:
    """Score completions of sparse depth over many settings of their input."""
    from diorama.completion_verbs import sweep_models

    return sweep_models(words)


def submit(words: Sequence[str]) -> int:
    """Write or check a result file of a KITTI depth server."""
    from diorama.completion_verbs import submit_results

    return submit_results(words)


def pseudo_label(words: Sequence[str]) -> int:
    """Label the stereo pairs of a data set; 1 if one of them had to be skipped."""
    from diorama.pseudo_verb import pseudo_label_data

    return pseudo_label_data(words)


def export(words: Sequence[str]) -> int:
    """Write a model for use without torch, compared with torch before it is kept."""
    from diorama.export_verb import export_model

    return export_model(words)


def benchmark(words: Sequence[str]) -> int:
    """Train and evaluate rows x seeds, and write their table."""
    parser = VerbParser(
        "benchmark",
        "Rows x seeds -> table.md with means and 95 % intervals, and runs.csv. What is finished is not run again. "
        "Other flags are settings of all rows, as of `diorama train`.",
        "diorama benchmark ci_net/benchmarks/table1_world --seeds 0 1 2 --out runs/table1",
    )
    known = ", ".join(recipes.names(benchmarks=True)) or "none"
    parser.add_argument("file", help=f"a benchmark that comes with the package ({known}) or a YAML file")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the results; default: runs/benchmark-NAME")
    parser.add_argument("--rows", nargs="+", default=[], metavar="ROW", help="only these; default: all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[], metavar="N", help="only these; default: those of the benchmark")
    parser.add_argument("--keep", action="store_true", help="keep checkpoints and models of finished runs")
    parser.add_argument("--parser", metavar="MODEL", help="what it sees in photos that rows make of label maps fills columns parser_*")
    parser.add_argument("--renew", action="store_true", help="run again what was made with other settings")
    options, flags = parser.read_known(words)
    path = recipes.find(options.file)
    from diorama.running.benchmark import Benchmark, run_benchmark

    out = options.out or Path("runs") / f"benchmark-{path.stem}"
    asked = {name: getattr(options, name) for name in ("rows", "seeds", "keep", "renew", "parser")}
    folder = run_benchmark(Benchmark.read(path), out, flags, **asked)
    print((folder / "table.md").read_text(encoding="utf-8"))
    return 0


def demo(words: Sequence[str]) -> int:
    """Show the page until it is stopped."""
    from diorama.apps_verbs import show_page

    return show_page(words)


def serve(words: Sequence[str]) -> int:
    """Answer over HTTP until stopped."""
    from diorama.apps_verbs import answer_requests

    return answer_requests(words)


def data(words: Sequence[str]) -> int:
    """List, check, plot or make data sets."""
    from diorama import data_verbs

    if not words or words[0] in ("-h", "--help"):
        print(data_verbs.OVERVIEW)
        return 0
    if words[0] not in data_verbs.VERBS:
        raise ConfigError(f"unknown verb 'data {words[0]}': {suggest(words[0], data_verbs.VERBS)} See `diorama data --help`.")
    return data_verbs.VERBS[words[0]](words[1:])


def methods(words: Sequence[str]) -> int:
    """List methods with what they need, their recipes and the shipped models."""
    VerbParser("methods", "The methods there are, and the models that come with the package.").read(words)
    from rich.console import Console
    from rich.table import Table

    from diorama import config
    from diorama.completion.model import COMPLETIONS
    from diorama.prediction.predictor import list_models

    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False, markup=False)
    table = Table("method", "needs", "recipes", box=None, pad_edge=False)
    for name in catalog.names("methods"):
        kind = config.method_config(name)
        own = [recipe for recipe in recipes.names() if recipe.startswith(f"{name}/")]
        table.add_row(name, ", ".join(sorted(kind.needs)), ", ".join(own) or "none")
    console.print(table)
    models = Table("model", "method", "trained on", box=None, pad_edge=False)
    for name, found in list_models().items():
        models.add_row(name, found["method"], str(found["training"].get("data", "unknown")))
    console.print()
    console.print(models)
    console.print(f"\nCompletions of sparse depth that need no training, for --model: {', '.join(COMPLETIONS)}")
    console.print("Fields of a method: diorama train --model.help NAME")
    return 0


def doctor(words: Sequence[str]) -> int:
    """Examine the machine; 1 if something will not work."""
    parser = VerbParser("doctor", "Examine versions, devices, threads, codecs, disk, memory and models, with a line of advice each.")
    parser.add_argument("--folder", type=Path, help="try this folder for space and write rights; default: the current one")
    folder = parser.read(words).folder
    from diorama.doctor import doctor as start

    return start(folder)
