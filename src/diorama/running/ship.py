"""A run as a model folder that travels: fp16 safetensors and ONNX, config, model card. `python -m diorama.running.ship RUN OUT`."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from diorama import catalog
from diorama.config import RunConfig
from diorama.data.base import SceneDataset
from diorama.errors import ConfigError, DataError
from diorama.evaluation.points import points_text
from diorama.export.config import ModelConfig, input_keys
from diorama.export.export import export_method
from diorama.export.model_file import load_model, save_model
from diorama.running.notices import HEADLINES
from diorama.running.origin import chain, origin_of, told
from diorama.running.preparation import about
from diorama.running.renewal import flat
from diorama.training.average import MovingAverage
from diorama.training.checkpoint import load_checkpoint

CARD = """# {name}

{citation}

{purpose}

| | |
|---|---|
| network | `{method}`{backbone}, {millions:.1f} million parameters, fp16 weights computed in fp32 |
| input | {input} |
| training | {budget}, seed {seed} (one run) |{origins}
| data | {data}: {data_citation} |
| terms | {terms} |

{figures}
"""


def ship(run: str | Path, out: str | Path) -> Path:
    """The model folder `out` made from the run folder `run`; a run in progress gives the weights of its last checkpoint.

    Raises:
        ConfigError: `run` is no run folder.
        ModelError: its checkpoint is damaged, or the exported graph differs from torch.
    """
    run, out = Path(run), Path(out)
    if not (run / "config.yaml").is_file():
        raise ConfigError(f"{run}: no run folder (config.yaml is missing). Pass the folder that `diorama train` printed.")
    settings = yaml.safe_load((run / "config.yaml").read_text())
    settings["model"] |= {key: value for key, value in (("pretrained", False), ("backbone_weights", None)) if key in settings["model"]}
    config = RunConfig.from_dict(settings)
    dataset = catalog.dataset(config.dataset)
    method = catalog.method(config.method)(config.model)
    average = MovingAverage(method, config.trainer.ema)
    step, _ = load_checkpoint(run / "last.ckpt", name=config.method, method=method, average=average, optimisers={})
    frames = config.open_dataset("train")
    labels = frames.labels
    out.mkdir(parents=True, exist_ok=True)
    origin = origin_of(run, config)
    facts = {key: value for key, value in about(config, step, origin).items() if key != "config"}
    training = {**facts, **told(origin), "terms": dataset.terms, "citation": dataset.citation, **field_of_view(frames)}
    past = history(run)
    if past:
        training["history"] = past
    with average.applied():
        save_model(
            method.eval(),
            out / "model.safetensors",
            labels=labels,
            depth_cap=dataset.depth_cap,
            training=training,
            input_size=config.view.size,
            half=True,
        )
    stored, model_config = load_model(out / "model.safetensors")
    export_method(stored, model_config, out / "model.onnx", half=True)
    card = CARD.format(
        name=out.name,
        citation=method.citation,
        purpose=purpose(model_config),
        method=config.method,
        backbone=f" on `{facts['backbone']}`" if facts["backbone"] else "",
        millions=sum(parameter.numel() for parameter in method.parameters()) / 1e6,
        input=described_input(model_config, config),
        budget="; ".join(
            [facts["budget"], *(f"{when} with {', '.join(f'{key} {value}' for key, value in was.items())}" for when, was in past.items())]
        ),
        seed=config.seed,
        origins="".join(f"\n| started from | {sentence(origin)} |" for origin in chain(training)),
        data=dataset.title,
        data_citation=dataset.citation,
        terms=dataset.terms,
        figures=figures(run),
    )
    (out / "README.md").write_text(card)
    return out


def purpose(model: ModelConfig) -> str:
    """What the model makes of its input, in a sentence."""
    labels, depth = model["labels"], model["depth"]
    if "matched" in input_keys(model):
        return "How far each disparity of a matched pair is to be trusted (0..1), and the threshold for the whole map, from that map alone."
    gives = [f"semantics ({len(labels['classes'])} classes, `{labels['name']}`)"] if labels else []
    keys = input_keys(model)
    dense = "dense depth" if "sparse_depth" in keys else "metric depth"
    gives += [f"{dense} (up to {depth['cap']:g} m)"] if depth else []
    text = " and ".join(gives)
    given = "sparse depth map" if "image" not in keys else "photo and its sparse depth" if "sparse_depth" in keys else "photo"
    return f"{text[0].upper()}{text[1:]} of one {given}."


def described_input(model: ModelConfig, config: RunConfig) -> str:
    """What the network takes and what it was trained on."""
    height, width = config.view.window
    keys = input_keys(model)
    if "matched" in keys:
        return f"dense disparity of any size, pixels; trained on windows of {height}x{width}"
    if "sparse_depth" not in keys:
        return f"RGB of any size; trained at {config.view.size[0]}x{config.view.size[1]}"
    points = f" of {points_text(config.sparse)}" if config.sparse else ""
    maps = "RGB and sparse depth of one size, any; depth in metres" if "image" in keys else "sparse depth of any size, metres"
    return f"{maps}, 0 = unknown; trained on windows of {height}x{width}{points}"


def history(run: Path) -> dict[str, dict[str, Any]]:
    """Settings that a resume replaced: "until step N" -> the values before; empty for a run in one go."""
    now = flat(yaml.safe_load((run / "config.yaml").read_text()))
    found = {}
    for path in sorted(run.glob("config-until-*.yaml"), key=lambda path: int(path.stem.rpartition("-")[2])):
        before = flat(yaml.safe_load(path.read_text()))
        found[f"until step {path.stem.rpartition('-')[2]}"] = {key: value for key, value in before.items() if value != now.get(key)}
    return found


def sentence(origin: Mapping[str, Any]) -> str:
    """Which model a run started from, and how and on what that was trained."""
    said = origin["training"]
    facts = [said.get("budget"), f"seed {said['seed']}" if "seed" in said else None, f"on {said['data']}" if "data" in said else None]
    terms = f"; terms: {said['terms']}" if said.get("terms") else ""
    return f"`{origin['model']}` ({', '.join(fact for fact in facts if fact) or 'it does not say how it was trained'}{terms})"


def field_of_view(dataset: SceneDataset) -> dict[str, float]:
    """Angle of the training camera over the longer side [degrees], for point clouds of photos without intrinsics; empty if unknown."""
    frame = dataset.frame(0)
    if "intrinsics" not in frame:
        return {}
    longer_px = max(frame["image"].shape[:2])
    return {"field_of_view": round(math.degrees(2 * math.atan(longer_px / 2 / frame["intrinsics"][0, 0])), 1)}


def figures(run: Path) -> str:
    """The run's own evaluation as a table with its protocol, or that there is none."""
    try:
        stored: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    except FileNotFoundError:
        return "Not evaluated."
    except ValueError as error:
        raise DataError(f"{run / 'metrics.json'}: damaged. Evaluate the run again with `diorama evaluate {run}`.") from error
    names = [name for name in HEADLINES if name in stored["metrics"]]
    rows = [f"| {name} | {stored['metrics'][name]['value']:.4g} |" for name in names]
    protocol = stored["protocol"]
    said = f"Protocol `{protocol['name']}`, {protocol['dataset']} {protocol['split']}."
    return "\n".join(["| metric | value |", "|---|---|", *rows, "", said])


def main(words: Sequence[str]) -> int:
    """The command line: `python -m diorama.running.ship RUN OUT`."""
    if len(words) != 2:
        raise ConfigError("usage: python -m diorama.running.ship RUN OUT. RUN is a run folder, OUT the model folder to write.")
    sys.stdout.write(f"{ship(*words)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
