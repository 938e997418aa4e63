"""Whether the label maps of a run's streams, and of the frames that it is judged on, mean the same classes by the same numbers."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from diorama.config import RunConfig
from diorama.data.base import SceneDataset
from diorama.data.label_names import by_class_name
from diorama.data.labels import LabelSet
from diorama.data.mapped import unknown_classes
from diorama.errors import ConfigError
from diorama.running.streams import Stream
from diorama.types import IGNORE

logger = logging.getLogger("diorama")


def check_one_space(streams: Mapping[str, Stream], held_out: SceneDataset | None) -> None:
    """Return if all labels are of one label space, as far as names tell; where only some names differ, that is told.

    Another number of classes is told elsewhere.

    Raises:
        ConfigError: two data sets have no class in common.
    """
    known = {
        f"stream '{name}' ({stream.whole.name})": stream.whole.labels for name, stream in streams.items() if "semantic" in stream.needs
    }
    if held_out is not None:
        known[f"{held_out.name} ({held_out.split}), which the model is judged on,"] = held_out.labels
    labelled = [(name, labels) for name, labels in known.items() if labels is not None]
    for name, other in labelled[1:]:
        first, labels = labelled[0]
        if len(other) != len(labels):
            continue
        same = by_class_name(other.classes, labels).table[: len(other)]
        if (same == IGNORE).all():
            raise ConfigError(
                f"label spaces do not overlap: {first} has {labels.name} ({labels.classes[0]}, ...), {name} has {other.name} "
                f"({other.classes[0]}, ...). Choose data of one label set, or convert labels with label_set and class_names."
            )
        moved = np.flatnonzero(same != np.arange(len(other)))
        if moved.size:
            logger.warning(
                "class %d is '%s' in %s and '%s' in %s: convert labels with label_set if they mean something else",
                *(moved[0], labels.classes[moved[0]], first, other.classes[moved[0]], name),
            )


def check_labels(config: RunConfig, name: str, stream: Stream) -> None:
    """Return if the method knows which classes the converted labels of stream `name` never mean.

    A stream that is made of several data sets has one such list: told where they differ.

    Raises:
        ConfigError: `model.absent` does not name them.
    """
    absent, labels = getattr(config.model, "absent", None), stream.whole.labels
    if absent is None or labels is None or "semantic" not in stream.needs:
        return
    unknown = unknown_classes(stream.whole)
    if missing := [number for number in unknown if number not in absent.get(name, ())]:
        raise ConfigError(
            f"stream '{name}': labels of {stream.whole.name} never mean {_named(missing, labels)}, and would teach to unlearn it. "
            f"Set model.absent.{name}={unknown}, or say in streams.{name}.class_names which class does."
        )
    for part, read in stream.parts.items():
        if lacking := [number for number in unknown_classes(read.whole) if number not in unknown]:
            logger.warning(
                "stream '%s': labels of '%s' never mean %s, those of others do: better a stream of its own, with model.absent",
                *(name, part, _named(lacking, labels)),
            )


def _named(numbers: list[int], labels: LabelSet) -> str:
    return ", ".join(labels.classes[number] for number in numbers)
