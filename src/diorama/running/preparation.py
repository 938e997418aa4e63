"""Around a training: what is checked before it, how processes start, what is said of it, and what short memory is told as."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric

from diorama import catalog
from diorama.config import RunConfig
from diorama.data.base import SceneDataset
from diorama.data.loader import require
from diorama.data.transforms import require_movable
from diorama.errors import ConfigError, DataError, ProtocolError, TrainingError, suggest
from diorama.evaluation.delta import Run
from diorama.evaluation.protocols import Protocol, by_name
from diorama.running.evaluate_file import CONFIDENCE, default_protocol
from diorama.running.label_spaces import check_labels, check_one_space
from diorama.running.origin import require_start
from diorama.running.streams import Stream
from diorama.stream_settings import members
from diorama.training.run_folder import RunFolder
from diorama.training.setup import build_fabric
from diorama.types import IGNORE

logger = logging.getLogger("diorama")


def check(config: RunConfig, streams: Mapping[str, Stream], baselines: Sequence[str | Path]) -> None:
    """Return if data, model, evaluation and baselines go together; after the training would be too late to tell.

    Raises:
        UserError: what does not.
    """
    for name, stream in streams.items():
        several = len(streams) > 1
        reader = f"{config.method} (stream '{name}')" if several else config.method
        check_stream(config, reader, stream, f" (--streams.{name}.name NAME)" if several else "")
        check_labels(config, name, stream)
        stream.view.require_smallest()
    config.view.require_smallest()
    require_start(config)
    for baseline in baselines:
        Run.read(baseline)
    held_out = evaluation_split(config)
    if held_out is None:
        logger.warning("%s has no frames but those to train on: the model will not be evaluated", config.dataset)
    else:
        rules(config, held_out)
        task = getattr(config.model, "tasks", "both")
        if task in ("semantic", "depth") and task not in held_out.provides and held_out.provides & {"semantic", "depth"}:
            raise ConfigError(
                f"{held_out.name} ({held_out.split}), which the model is judged on, has no '{task}', its only task. Set evaluation.stream "
                "to a stream that has it."
            )
        classes, labels = getattr(config.model, "classes", None), held_out.labels
        if labels and classes not in (None, len(labels)) and getattr(config.model, "tasks", "both") != "depth":
            where = f"{held_out.name} ({held_out.split}), which the model is judged on,"
            raise ConfigError(f"model.classes is {classes}, {where} has {len(labels)} classes. Choose data of one label set.")
    check_one_space(streams, held_out)


def check_stream(config: RunConfig, reader: str, stream: Stream, how: str = "") -> None:
    """Return if the data of `stream` have what it needs; `reader` is who needs it, `how` says how to choose other data.

    Raises:
        ConfigError: a key is missing, the view cannot vary such samples, or the model has another number of classes.
    """
    dataset = stream.dataset
    if "sparse_depth" in stream.needs - dataset.provides and "depth" in dataset.provides and config.sparse is None:
        raise ConfigError(f"{reader} needs 'sparse_depth'; {dataset.name} has dense depth. Draw points of it: --sparse.points 500.")
    require(reader, stream.keys(config.sparse), dataset, how)
    require_movable(stream.view, stream.keys(config.sparse))
    classes, labels = getattr(config.model, "classes", None), dataset.labels
    if "semantic" in stream.needs and labels and classes not in (None, len(labels)):
        raise ConfigError(f"model.classes is {classes}, {dataset.name} has {len(labels)} classes. Set model.classes={len(labels)}.")


def launch(config: RunConfig, run: RunFolder) -> tuple[Fabric, RunFolder]:
    """All processes started, and the folder they share."""
    with run.announced():
        fabric = build_fabric(config.trainer, run)
        fabric.launch()
    shared = RunFolder(fabric.broadcast(str(run.path)))
    if shared.path != run.path:  # started by torchrun or a cluster: every process had made its own
        with suppress(OSError):
            run.path.rmdir()
    return fabric, shared


@contextmanager
def advised(config: RunConfig) -> Iterator[None]:
    """Inside, running out of memory is told as what to change.

    Raises:
        TrainingError: memory was short, a process that reads data died, or a batch is too small for its norm.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise TrainingError(_memory_advice(config)) from error
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise TrainingError("batch norm sees a single value: set trainer.batch_size=2 or more, or a larger view.size or crop.") from error
    except RuntimeError as error:
        text = str(error)
        if "can't allocate memory" in text or "out of memory" in text:
            raise TrainingError(_memory_advice(config)) from error
        if "DataLoader worker" in text:
            raise TrainingError(
                "a process that reads data was ended, most often because memory or /dev/shm was full. Set trainer.workers=0 or to fewer."
            ) from error
        raise


def evaluation_split(config: RunConfig) -> SceneDataset | None:
    """The test frames, or the validation frames where there are no test frames; None without either.

    Raises:
        ConfigError: `evaluation.stream` names no stream of the run.
        DataError: the split that was asked for is not there.
    """
    stream = config.evaluation.stream
    if stream is not None and stream not in config.streams:
        raise ConfigError(f"evaluation.stream is '{stream}': {suggest(stream, config.streams)} It is one of the section `streams`.")
    entry = next(iter(members(config.streams.get(stream or "", {}))), stream)
    name = config.streams.get(entry or "", {}).get("name", config.dataset)
    if config.evaluation.split:
        return config.open_dataset(config.evaluation.split, stream)
    for split in ("test", "val"):
        if split in catalog.dataset(name).splits:
            try:
                return config.open_dataset(split, stream)
            except DataError as error:
                logger.debug("not evaluated on '%s': %s", split, error)
    return None


def rules(config: RunConfig, held_out: SceneDataset) -> Protocol:
    """The protocol that the run is judged by.

    Raises:
        ProtocolError: no such protocol, or it is for another number of classes.
    """
    named = config.evaluation.protocol
    judges = getattr(config.model, "tasks", "both") == "confidence"
    chosen = by_name(named or CONFIDENCE) if named or judges else default_protocol(held_out)
    if held_out.labels and chosen.classes not in (None, len(held_out.labels)):
        raise ProtocolError(
            f"protocol '{chosen.name}' has {chosen.classes} classes, {held_out.name} was loaded with {len(held_out.labels)}. "
            "Set evaluation.protocol (`diorama evaluate --list-protocols`)."
        )
    return chosen.vary(flip=True) if config.evaluation.flip else chosen


def about(config: RunConfig, steps: int, origin: Mapping[str, Any] | None = None, data: str | None = None) -> dict[str, Any]:
    """What metrics.json says of a model: enough for Delta M to refuse a baseline of another kind.

    Args:
        config: the run.
        steps: that it took.
        origin: the model it started from, as `origin_of` tells; named in the budget, since a run that starts there has had more.
        data: what it was trained on; None: the run's data set.
    """
    processes = config.trainer.devices * config.trainer.nodes
    parts = {part for fields in config.streams.values() for part in members(fields)}
    entries = [fields for name, fields in config.streams.items() if name not in parts] or [{}]
    sizes = {processes * fields.get("batch_size", config.trainer.batch_size) for fields in entries}
    images = " to ".join(str(size) for size in sorted({min(sizes), max(sizes)}))
    return {
        "method": config.method,
        "tasks": getattr(config.model, "tasks", "both"),
        "backbone": getattr(config.model, "backbone", None),
        "data": data or config.dataset,
        "budget": f"{steps} steps of {images} at {config.view.window[0]}x{config.view.window[1]}"
        + (f" from {origin['model']}" if origin else ""),
        "seed": config.seed,
        "config": config.to_dict()["model"],
    }


def class_counts(streams: Mapping[str, Stream], classes: int) -> list[int]:
    """Labelled pixels of every class over all streams with labels; raises what `count_labels` raises."""
    counts = [count_labels(stream.dataset, classes, stream.needs) for stream in streams.values() if "semantic" in stream.needs]
    return [sum(numbers) for numbers in zip(*counts, strict=True)]


def count_labels(dataset: SceneDataset, classes: int, needs: Collection[str] = ("semantic", "depth")) -> list[int]:
    """Labelled pixels of every class over the whole training set.

    Raises:
        TrainingError: a label that the model has no class for, or no frame with a label or, where depth is needed, with a depth.
    """
    counts, known = np.zeros(256, np.int64), 0
    for frame in dataset:
        counts += np.bincount(frame["semantic"].reshape(-1), minlength=256)
        known += int((frame["depth"] > 0).any()) if "depth" in frame and "depth" in needs else 1
    if not counts[:IGNORE].any() or not known:
        what = "known depth" if counts[:IGNORE].any() else "labelled pixel"
        raise TrainingError(f"{dataset.name} has no {what} in any of {len(dataset)} frames. Look at them with `diorama data check`.")
    beyond = [number for number in range(classes, IGNORE) if counts[number]]
    if beyond:
        raise TrainingError(
            f"label {beyond[0]} occurs in {dataset.name} but the model has {classes} classes. Set model.classes={max(beyond) + 1}."
        )
    return [int(count) for count in counts[:classes]]


def _memory_advice(config: RunConfig) -> str:
    return (
        f"out of memory at batch size {config.trainer.batch_size} and {config.view.window[0]}x{config.view.window[1]}. Three knobs: "
        "trainer.batch_size (with trainer.accumulate for the same gradient), view.crop or view.size, trainer.precision=bf16-mixed."
    )
