"""What a training says of its own accord: of labels and depth that can hardly be meant, and in the end how good it is."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from diorama.evaluation import confidence
from diorama.evaluation.protocols import Measured
from diorama.running.evaluate import Evaluation
from diorama.types import Sample

logger = logging.getLogger("diorama")

HEADLINES = ("miou", "pixel_accuracy", "rmse", "abs_rel", "delta1", *confidence.METRICS)
"""Metrics that a line or a model card has room for, as far as there are any."""
_MOST = 3
_LITTLE = 20
"""A label set of so few classes is somebody's own, and each of them should occur."""


def tell_classes(counts: Sequence[int], classes: Sequence[str]) -> None:
    """Warn of classes that no training pixel has, where that can hardly be meant."""
    absent = [str(name) for name, count in zip(classes, counts, strict=False) if not count]
    if absent and (len(classes) <= _LITTLE or len(absent) == len(classes) - 1):
        names = ", ".join(absent[:_MOST]) + (", ..." if len(absent) > _MOST else "")
        logger.warning(
            "%d of %d classes never occur in the training labels (%s): see `diorama data check`", len(absent), len(classes), names
        )


def tell_units(batch: Mapping[str, Sample], cap: float) -> None:
    """Warn where half of the first depths lie beyond what the data set calls its farthest [m]: they are hardly metres."""
    for name, sample in batch.items():
        for key in ("depth", "sparse_depth"):
            if key in sample:
                depth = sample[key].as_subclass(Tensor)
                known = depth[depth > 0]
                if known.numel() and (median := float(torch.median(known))) > cap:
                    logger.warning(
                        "%s of %s is %.0f m in the median, and %g m is the farthest: in another unit? See `diorama data check`",
                        key, name, median, cap,
                    )  # fmt: skip


def tell_result(found: Evaluation, run: Path) -> None:
    """A line with the figures, and where the report is."""
    said = ", ".join(_figure(found.values[name]) for name in HEADLINES if name in found.values)
    logger.info("%s (protocol %s); pictures and breakdowns: %s", said, found.protocol.name, run / "report.html")


def _figure(measured: Measured) -> str:
    return f"{measured.name} {measured.value:.3f}" + (f" {measured.unit}" if measured.unit != "1" else "")
