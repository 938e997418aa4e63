"""`diorama export`: words -> model, format, and the real frames on which a rounded file is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diorama import catalog, recipes
from diorama.errors import ConfigError, DataError, ModelError
from diorama.evaluation.protocols import PROTOCOLS, by_name
from diorama.flags import VerbParser, dataset_arguments

if TYPE_CHECKING:
    from diorama.data.base import SceneDataset
    from diorama.export.config import ModelConfig
    from diorama.export.trial import Trial

_SUMMARY = """Write a model for use without torch, compared with torch before it is kept. With --data NAME and its arguments
(--data.root DIR ...) its accuracy on real frames is measured before and after, and a file that loses too much is not written; int8 needs
that. Of a run folder the data need not be said again."""


def export_model(words: Sequence[str]) -> int:
    """Export as `words` say and print what was measured."""
    parser = VerbParser("export", _SUMMARY, "diorama export ci_net-nyuv2 --format openvino --precision int8 --data nyuv2 --data.root DIR")
    parser.add_argument("source", type=Path, help="a .safetensors model file, the run or model folder that holds one, or a shipped model")
    parser.add_argument("--format", choices=("onnx", "openvino"), default="onnx", help="default: onnx")
    parser.add_argument(
        "--precision",
        choices=("fp32", "fp16", "bf16", "int8"),
        default="fp32",
        help="fp16 halves the file; bf16 and int8 are faster, of openvino only; default: fp32",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: model.onnx or model.xml beside the source; shipped: NAME.onnx")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.add_argument("--data", metavar="NAME", help="data set that judges, with its arguments --data.root DIR and so on")
    parser.add_argument("--protocol", metavar="NAME", help="rules of the numbers; default: as of the run, else the first of the data set")
    parser.add_argument("--split", help="that judges; default: that of the protocol, else test, else val")
    parser.add_argument("--calibration-split", default="train", metavar="SPLIT", help="that int8 is fitted to; default: train")
    parser.add_argument("--calibration-frames", type=int, default=300, metavar="N", help="at most so many of it; default: 300")
    parser.add_argument(
        "--max-loss",
        type=float,
        nargs=2,
        default=(1.0, 2.0),
        metavar=("POINTS", "PERCENT"),
        help="of mIoU, and of RMSE; a file that loses more is not written; default: 1 2",
    )
    own, of_data = _split(words)
    options = vars(parser.read(own))
    judged = {name: options.pop(name) for name in ("data", "protocol", "split", "calibration_split", "calibration_frames", "max_loss")}
    from diorama.prediction.predictor import list_models

    stored = _run_settings(options["source"])
    if not options["source"].exists() or str(options["source"]) in list_models():  # a shipped name goes before a path
        _shipped_source(options)
    trial = _trial(judged, of_data, stored, wanted=options["precision"] == "int8")
    from diorama.export.export import export

    if trial is not None:
        options["trial"] = trial
    report = export(**options)
    print(f"{report.path}: {report.megabytes:.1f} MB, {report.precision}; largest difference to torch: {report.parity}")
    for name, lost in ((report.accuracy or {}).get("loss", {})).items():
        before, after = (report.accuracy[when][name] for when in ("before", "after"))  # type: ignore[index]
        print(f"{name} {before:.4f} -> {after:.4f} ({lost['value']:+.2f} {lost['unit']} lost, {lost['allowed']:g} allowed)")
    return 0


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The verb's own words, and those of the data set (`--data.*`)."""
    own: list[str] = []
    of_data: list[str] = []
    follows = False
    for word in words:
        if word.startswith("--data."):
            of_data.append(word)
            follows = "=" not in word
        elif follows:
            of_data.append(word)
            follows = False
        else:
            own.append(word)
    return own, of_data


def _trial(
    judged: Mapping[str, Any], of_data: Sequence[str], stored: Mapping[str, Any], *, wanted: bool
) -> Callable[[ModelConfig], Trial] | None:
    """What makes the trial once the model is known; None where no data set is named and none is wanted.

    Raises:
        ConfigError: arguments of a data set that is not named, or that it does not know.
        DataError: a split is not there.
    """
    name = judged["data"] or (stored.get("data", {}).get("name") if wanted or of_data else None)
    if name is None:
        if of_data:
            raise ConfigError(f"{of_data[0]} of which data set? Add --data NAME ({', '.join(catalog.names('datasets'))}).")
        return None
    own_run = judged["data"] is None
    given = {key: value for key, value in stored.get("data", {}).items() if key != "name"} if own_run else {}
    settings, _ = dataset_arguments("export MODEL", "Arguments of the data set.", of_data, lambda _: None, name, given)
    protocol = judged["protocol"] or (stored.get("evaluation", {}).get("protocol") if own_run else None)
    rules = by_name(protocol) if protocol else next((rule for rule in PROTOCOLS.values() if rule.dataset == name), None)
    judging = _opened(name, settings, [judged["split"]] if judged["split"] else [rules.split if rules else "test", "test", "val"])
    calibrating = _opened(name, settings, [judged["calibration_split"]])
    points = stored.get("sparse") if own_run else None

    def make(config: ModelConfig) -> Trial:
        from diorama.data.sparsify import Sparsify
        from diorama.running.trials import trial_on

        return trial_on(
            config, judging, calibrating, protocol, frames=judged["calibration_frames"], sparse=Sparsify(**points) if points else None,
            max_points=judged["max_loss"][0], max_percent=judged["max_loss"][1],
        )  # fmt: skip

    return make


def _opened(name: str, settings: Mapping[str, Any], splits: Sequence[str]) -> SceneDataset:
    """The first of the splits that is there.

    Raises:
        DataError: none is.
    """
    kind, refused = catalog.dataset(name), None
    for split in dict.fromkeys(splits):
        if split in kind.splits or len(splits) == 1:
            try:
                found: SceneDataset = kind(split=split, **settings)
            except DataError as error:
                refused = refused or error
            else:
                return found
    raise refused or DataError(f"{name} has no split {' or '.join(splits)}. Choose among {', '.join(kind.splits)}.")


def _run_settings(source: Path) -> dict[str, Any]:
    """The configuration of the run that wrote the model; empty if it lies in no run folder."""
    path = (source if source.is_dir() else source.parent) / "config.yaml"
    return recipes.read_yaml(path) if path.is_file() and source.exists() else {}


def _shipped_source(options: dict[str, Any]) -> None:
    """Replace the name of a shipped model by its file; what is written goes into the current folder, not into the package.

    Raises:
        ConfigError: neither a shipped model nor a path.
        ModelError: the model comes as ONNX only.
    """
    from diorama.completion.model import COMPLETIONS
    from diorama.prediction.predictor import WEIGHTS, list_models

    name, models = str(options["source"]), list_models()
    if name in COMPLETIONS:
        raise ConfigError(f"{name} is no network, so there is nothing to export. Choose among {', '.join(models) or 'trained models'}.")
    if name not in models:
        shipped = f" or a shipped model ({', '.join(models)})" if models else ""
        raise ConfigError(f"{name}: no such file or folder. Give a run folder, a .safetensors file{shipped}.")
    folder = WEIGHTS / name
    if not (folder / "model.safetensors").is_file():
        raise ModelError(f"{name} comes as ONNX only, so it needs no export. Copy {folder / 'model.onnx'}.")
    ending = {"onnx": ".onnx", "openvino": ".xml"}[options["format"]]
    options["source"], options["out"] = folder / "model.safetensors", options["out"] or Path(f"{name}{ending}")
