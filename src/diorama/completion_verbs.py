"""`diorama sweep` and `diorama submit`: how a completion degrades, and result files for the KITTI depth servers."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jsonargparse import ArgumentParser
from numpy.typing import NDArray

from diorama import catalog
from diorama.data.sparsify import Sparsify
from diorama.errors import ConfigError, DataError
from diorama.evaluation.protocols import by_name
from diorama.evaluation.submission import KINDS, kind_of, validate_submission, write_submission
from diorama.flags import dataset_arguments, take

if TYPE_CHECKING:
    from diorama.data.base import SceneDataset
    from diorama.prediction.predictor import Predictor

SWEEP = """How completions degrade with fewer points, other patterns, noise and a misplaced scanner: sweep.csv and sweep.svg. Where they
err, by class (of data with labels) and by distance: places.csv and places.svg, the axis 'class and distance'.

MODEL comes first, several if they are to share the plot: shipped models, completions (`linear`), run folders or files."""

SUBMIT = """Write the result file for a KITTI depth server, or check one.

diorama submit MODEL --data.root KITTI --out results.zip    predicts every test image, writes the zip and checks it
diorama submit results.zip --check                          names each fault of a zip or a folder; exit status 1 if there is one"""

_SPLITS = {"kitti_depth_completion": "test", "kitti_depth_prediction": "test_prediction"}


def sweep_models(words: Sequence[str]) -> int:
    """Sweep as `words` say, print a line for each setting and write the table and the plot."""
    rest = list(words)
    models = []
    while rest and not rest[0].startswith("-"):
        models.append(rest.pop(0))
    name = take(rest, "--data")
    if not {"-h", "--help"} & set(rest) and (not models or name is None):
        raise ConfigError("name models and data: diorama sweep linear runs/mine --data nyuv2 --data.root DIR.")
    settings, own = dataset_arguments("sweep MODEL ...", SWEEP, rest, _sweep_flags, name)
    asked = axis_names(own["axes"] or "")
    from diorama.prediction.predictor import load
    from diorama.running.evaluate_file import default_protocol
    from diorama.running.places import ALL, FILES, PLACES, by_place, place_rows, write_places
    from diorama.running.points import sweep_frames
    from diorama.running.sweep import standard_settings, sweep, write_sweep

    out = Path(own["out"]).expanduser()
    _check_free(out, ("sweep.csv", FILES[0]), overwrite=own["overwrite"])
    protocol = by_name(own["protocol"]) if own["protocol"] else None
    dataset = catalog.dataset(str(name))(split=own["split"] or (protocol.split if protocol else "test"), **settings)
    rules = protocol or default_protocol(dataset)
    frames, crop = sweep_frames(dataset, rules, own["frames"])
    allowed = standard_settings(frames)
    axes = [*dict.fromkeys(setting.axis for setting in allowed), PLACES]
    wanted = {_axis(word, axes) for word in asked} or set(axes)
    chosen = [setting for setting in allowed if setting.axis in wanted]
    names = [Path(model).name for model in models]
    # two files called model.onnx are told apart by their paths
    predictors = {model if names.count(short) > 1 else short: load(model) for model, short in zip(models, names, strict=True)}
    for predictor in predictors.values():
        _require_points(predictor)
    if own["batch_size"] < 1:
        raise ConfigError(f"batch size {own['batch_size']}. Choose 1 or more.")
    rows, places = [], {}
    base = Sparsify(pattern="all") if "sparse_depth" in frames.provides else Sparsify(points=500)
    for model, predictor in predictors.items():
        asking: dict[str, Any] = {
            "inputs": predictor.inputs,
            "crop": crop,
            "batch_size": own["batch_size"],
            "progress": sys.stdout.isatty(),
        }
        if chosen:
            rows += sweep(predictor.batch, frames, rules, chosen, model=model, **asking)
        if PLACES in wanted:
            places[model] = by_place(predictor.batch, frames, rules, base, **asking)
    for row in rows:
        print(f"{row.model:<24} {row.axis:<28} {row.setting:>14} {row.points:9.1f} points   rmse {row.values['rmse']:.4f} {row.unit}")
    for place in place_rows(places):
        if ALL in (place["class"], place["range"]) and place["pixels"]:
            print(
                f"{place['model']:<24} {place['class']:<28} {place['range']:>14} {place['pixels']:9} pixels   rmse {place['rmse_m']:.4f} m"
            )
    written = [*(write_sweep(rows, out) if rows else ()), *(write_places(places, out) if places else ())]
    print("\n".join(str(path) for path in written))
    return 0


def _check_free(out: Path, names: Sequence[str], *, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: a file, not a folder. Choose another --out.")
    for name in names:
        if (out / name).exists() and not overwrite:
            raise DataError(f"{out / name} exists already. Pass --overwrite, or choose another --out.")


def axis_names(text: str) -> list[str]:
    """The names in `[points,depth noise [m]]`: brackets around them all and quotes are optional, commas within brackets part nothing.

    Raises:
        ConfigError: a bracket is left open or closed twice, or a name is empty.
    """
    parts, depth = [""], 0
    inner = text.strip()
    if inner.startswith("[") and inner.endswith("]"):
        inner = inner[1:-1]
    for letter in inner:
        depth += (letter == "[") - (letter == "]")
        if depth < 0:
            break
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    names = [part.strip().strip("'\"").strip() for part in parts]
    if depth or (inner.strip() and not all(names)):
        raise ConfigError(f"--axes '{text}' is no list of names. Write them as in --axes '[points,depth noise [m]]'.")
    return [name for name in names if name]


def _axis(word: str, axes: Sequence[str]) -> str:
    """The axis that `word` means: its name, with or without the unit in brackets."""
    short = {axis.partition(" [")[0].lower(): axis for axis in axes}
    found = word if word in axes else short.get(word.lower())
    if found is None:
        raise ConfigError(f"'{word}' is no axis of these data. Choose among {', '.join(axes)}.")
    return found


def submit_results(words: Sequence[str]) -> int:
    """Write or check a submission as `words` say; 1 if a check finds faults."""
    rest = list(words)
    source = rest.pop(0) if rest and not rest[0].startswith("-") else None
    if source is None and not {"-h", "--help"} & set(rest):
        raise ConfigError("which model, or which file? diorama submit MODEL --data.root KITTI --out results.zip, or FILE --check.")
    check = "--check" in rest
    settings, own = dataset_arguments("submit MODEL|FILE", SUBMIT, rest, _submit_flags, "kitti", {"root": "."} if check else None)
    kind = str(own["kind"])
    kind_of(kind)
    if check:
        for path, role in ((source, "the submission to check"), (own["known"], "--known")):
            if path is not None and not Path(path).exists():
                raise DataError(f"{path}: no such file or folder. Check the path of {role}.")
        return _report(validate_submission(str(source), kind, own["known"]))
    if not own["out"]:
        raise ConfigError("where to? Add --out results.zip.")
    from diorama.prediction.predictor import load

    predictor = load(str(source))
    dataset = catalog.dataset("kitti")(split=_SPLITS[kind], **settings)
    written = write_submission(own["out"], kind, _depths(predictor, dataset))
    print(f"{written.files} images, {written.clipped} pixels clipped: {written.path}")
    return _report(validate_submission(written.path, kind))


def _depths(predictor: Predictor, dataset: SceneDataset) -> Iterator[tuple[str, NDArray[np.float32]]]:
    from rich.progress import track

    from diorama.running.batches import network_inputs

    for index in track(range(len(dataset)), "predicting", transient=True):
        frame = dataset.frame(index)
        inputs = {key: part[None] for key, part in network_inputs(frame, predictor.inputs, None).items()}
        depth = predictor.batch(inputs).depth
        if depth is None:
            raise ConfigError(f"{predictor.name} predicts no depth. Choose a model with a depth output.")
        yield Path(dataset.ids[index]).name, np.asarray(depth[0, 0], np.float32)


def _report(faults: list[str]) -> int:
    print("\n".join(faults) if faults else "no fault found")
    return 1 if faults else 0


def _require_points(predictor: Predictor) -> None:
    if "sparse_depth" not in predictor.inputs:
        raise ConfigError(f"{predictor.name} takes no sparse depth, so there are no points to vary. Choose a completion.")


def _sweep_flags(parser: ArgumentParser) -> None:
    parser.add_argument("--protocol", type=str | None, metavar="NAME", help="rules of the numbers; default: first of the data set")
    parser.add_argument("--split", type=str | None, help="default: that of the protocol")
    parser.add_argument("--frames", type=int | None, help="only so many frames, evenly spaced")
    parser.add_argument(
        "--axes", type=str | None, metavar="[NAME,...]", help="only these, e.g. '[points,depth noise]'; default: all that the data allow"
    )
    parser.add_argument("--out", type=str, default="runs/sweep", metavar="DIR", help="folder of sweep.csv and sweep.svg")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier sweep")


def _submit_flags(parser: ArgumentParser) -> None:
    parser.add_argument("--kind", type=str, default="kitti_depth_completion", help=" or ".join(KINDS))
    parser.add_argument("--out", type=str | None, metavar="FILE", help="the zip to write")
    parser.add_argument("--check", action="store_true", help="check a zip or a folder instead")
    parser.add_argument("--known", type=str | None, metavar="DIR", help="with --check: depth is only asked for where these PNGs have some")
