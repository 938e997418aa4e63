"""A model and a data set -> an evaluation under a named protocol, with its report on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diorama.data.base import SceneDataset
from diorama.data.sparsify import Sparsify
from diorama.errors import ConfigError, DataError, ModelError
from diorama.evaluation.delta import Run
from diorama.evaluation.protocols import PROTOCOLS, Protocol, by_name
from diorama.evaluation.withheld import named
from diorama.prediction.predictor import Predictor, load
from diorama.running.evaluate import Evaluation, evaluate_model
from diorama.running.points import with_points
from diorama.running.records import earlier_results
from diorama.running.report import write_report
from diorama.running.translate import Translator, load_translator, parser_id, translated
from diorama.running.withheld import evaluate_withheld

CONFIDENCE = "confidence_3px"
"""The protocol of networks that judge disparity where none is named."""


def evaluate(
    model: str | Path | Predictor | Translator,
    dataset: SceneDataset,
    protocol: str | Protocol | None = None,
    *,
    parser: str | Path | Predictor | None = None,
    out: str | Path | None = None,
    sparse: Sparsify | None = None,
    flip: bool = False,
    align: str = "none",
    size: tuple[int, int] | None = None,
    batch_size: int = 8,
    baselines: Sequence[str | Path] = (),
    examples: int = 2,
    backend: str = "auto",
    device: str = "cpu",
    overwrite: bool = False,
    progress: bool = True,
) -> Evaluation:
    """Measure `model` on every frame of `dataset`; with `out` also metrics.json, CSV files and report.html there.

    Args:
        model: a shipped name, a run or model folder, a model file, or a loaded `Predictor`; with a `parser` a loaded `Translator`.
        dataset: an opened data set.
        protocol: or its name; None takes the first one of the data set with its number of classes.
        parser: likewise, a model that labels photos: `model` makes photos of the label maps, and what the parser sees in them is compared
            with the maps; shows in the protocol's name.
        out: folder for the report.
        sparse: how points are drawn for a network of sparse depth where neither protocol nor data say it.
        flip: average with the prediction on the mirrored image; shows in the protocol's name.
        align: scale of the predicted depth, as in `Protocol`: "median" fits each image to its truth; shows in the protocol's name.
        size: (height, width) [px] that the network sees; None: what it was trained at, else the image's own.
        batch_size: images per call of the network.
        baselines: metrics.json files (or their folders) of single-task runs, for Delta M.
        examples: best, median and worst frames of the report, per task.
        backend: see `diorama.load`.
        device: see `diorama.load`.
        overwrite: replace the results of an earlier evaluation in `out`.
        progress: draw a progress bar.

    Raises:
        ConfigError: a size below 1, or a size or a mirrored image under a protocol that knows neither.
        ProtocolError: no such protocol, or it does not fit the data or the baselines.
        ModelError: a model cannot be loaded, makes no photos of label maps, or has other classes than the data.
        DataError: there is nothing to score against, or `out` holds results already and `overwrite` is not set.
    """
    _check_free(out, overwrite=overwrite)
    _check_readable(batch_size, size, baselines)
    rules = _rules(dataset, protocol, flip=flip, align=align)
    predictor = _loaded(model, backend, device) if parser is None else _loaded(parser, backend, device)
    rules = _rules(dataset, CONFIDENCE, flip=flip, align=align) if protocol is None and predictor.inputs == ("matched",) else rules
    facts = model_facts(predictor)
    if parser is not None:
        translator = load_translator(model, device=device)
        dataset, rules = translated(dataset, translator, predictor), rules.vary(parsed_by=parser_id(predictor))
        facts = {**model_facts(translator), **{f"parser_{key}": value for key, value in facts.items()}}
    _check_asked(rules, predictor, dataset, size=size)
    shared: dict[str, Any] = {"inputs": predictor.inputs, "batch_size": batch_size, "progress": progress}
    if withheld := named(rules.name):
        how, targets = withheld
        found = evaluate_withheld(predictor.batch, dataset, how, **shared)[targets]
    else:
        given = with_points(dataset, rules, predictor.inputs, sparse)
        shown = examples if out is not None else 0
        found = evaluate_model(predictor.batch, given, rules, size=size or _trained_size(predictor), examples=shown, **shared)
    if out is not None:
        for path in earlier_results(out):  # an evaluation without labels writes no confusion.csv over the old one
            path.unlink()
        write_report(found, out, model=facts, baselines=baselines, run=Path(out).parent)
    return found


def _loaded(model: str | Path | Predictor | Translator, backend: str, device: str) -> Predictor:
    if isinstance(model, Translator):
        raise ConfigError(f"{model.name} makes photos of label maps, which only a parser can judge. Pass parser=.")
    return model if isinstance(model, Predictor) else load(model, backend=backend, device=device)  # type: ignore[arg-type]


def _rules(dataset: SceneDataset, protocol: str | Protocol | None, *, flip: bool, align: str) -> Protocol:
    """The protocol with what was asked for beside it, which its name then says."""
    rules = default_protocol(dataset) if protocol is None else by_name(protocol) if isinstance(protocol, str) else protocol
    if align != "none" and named(rules.name):
        raise ConfigError(f"{rules.name} counts depth as it is predicted. Leave out --align, or choose a protocol with dense truth.")
    if flip and named(rules.name):
        raise ConfigError(f"{rules.name} gives scans as they are, not mirrored. Leave out --flip, or say --flip false.")
    rules = rules.vary(flip=True) if flip else rules
    return rules.vary(align=align) if align != "none" else rules


def _check_asked(rules: Protocol, predictor: Predictor, dataset: SceneDataset, *, size: tuple[int, int] | None) -> None:
    """Return if protocol and model know what is asked of them.

    Raises:
        ConfigError: a size where scans are seen as they are or for two models, or a model without points judged on withheld ones.
        ModelError: it has other classes than the data.
    """
    if rules.align != "none" and rules.parsed_by:
        raise ConfigError("photos are made of label maps, so there is no depth to fit. Leave out --align, or --parser.")
    if rules.align != "none" and predictor.depth_cap is None:
        raise ConfigError(f"{predictor.name} predicts no depth whose scale could be fitted. Leave out --align.")
    if rules.align != "none" and "depth" not in dataset.provides:
        raise ConfigError(f"{dataset.name} has no depth to fit a scale to. Leave out --align, or choose data with depth.")
    if rules.parsed_by and size is not None:
        raise ConfigError("with a parser, both models see what they were trained at. Leave out --size.")
    withheld, takes_points = named(rules.name), "sparse_depth" in predictor.inputs
    if withheld and size is not None:
        raise ConfigError(f"{rules.name} gives scans as they are, not resized. Leave out --size.")
    if withheld and not takes_points:
        raise ConfigError(f"{rules.name} judges what is made of the other returns; {predictor.name} takes none. Choose a completion.")
    if takes_points and size is not None:
        raise ConfigError(f"{predictor.name} sees sparse depth at its own size: resizing would lose points. Leave out --size.")
    if predictor.labels is not None and dataset.labels is not None and len(predictor.labels) != len(dataset.labels):
        raise ModelError(
            f"the model has {len(predictor.labels)} classes, the truth {len(dataset.labels)}. Evaluate it on its own label set."
        )


def _check_readable(batch_size: int, size: tuple[int, int] | None, baselines: Sequence[str | Path]) -> None:
    if batch_size < 1 or (size is not None and min(size) < 1):
        raise ConfigError(f"batch size {batch_size} and network size {size}. Choose 1 or more for each.")
    for baseline in baselines:
        Run.read(baseline)  # after the evaluation would be too late to tell


def _trained_size(predictor: Predictor) -> tuple[int, int] | None:
    """(height, width) that images are resized to; None for sparse depth, which no model file gives a size."""
    trained = predictor.config["input"].get("size")
    return (int(trained[0]), int(trained[1])) if trained else None


def _check_free(out: str | Path | None, *, overwrite: bool) -> None:
    if out is None:
        return
    there = earlier_results(out)
    if there and not overwrite:
        raise DataError(f"{there[0]} exists already. Pass --overwrite, or choose another --out.")
    if Path(out).exists() and not Path(out).is_dir():
        raise DataError(f"{out}: a file, not a folder. Choose another --out.")


def default_protocol(dataset: SceneDataset) -> Protocol:
    """The first protocol of this data set with its number of classes, of its split before others; `folder`, which takes any, without."""
    classes = len(dataset.labels) if dataset.labels is not None else None
    own = [protocol for protocol in PROTOCOLS.values() if protocol.dataset == dataset.name and protocol.classes in (classes, None)]
    return next((protocol for protocol in own if protocol.split == dataset.split), next(iter(own), PROTOCOLS["folder"]))


def model_facts(predictor: Predictor | Translator) -> dict[str, Any]:
    """What the report says of a model, and what Delta M compares: name, method, backbone, training data and budget."""
    config = predictor.config
    training = config["training"]
    return {
        "name": predictor.name,
        "method": config["method"],
        "backbone": config["init"].get("backbone"),
        "backend": predictor.backend,
        **{key: training[key] for key in ("data", "budget", "seed") if key in training},
    }
