"""A trained model against the pseudo labels that it learned from: is it better than its teacher where the teacher is unsure?

Both are judged on the same pixels: true depth that the protocol counts, where the teacher says something. The errors come by the teacher's
own confidence and by whether its two views agree, as CSV file and plot.

```python
found = against_teacher(predictor.batch, dataset, "pseudo/", "world_street", size=(96, 256))
write_against(found, "runs/pseudo_mtl-world-1/evaluation")
```
"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diorama.data.base import SceneDataset
from diorama.data.io import replacing
from diorama.errors import ConfigError, DataError, ShapeError
from diorama.evaluation import resample
from diorama.evaluation.depth import prepared, to_truth_size
from diorama.evaluation.protocols import Protocol, by_name
from diorama.evaluation.table import FrameTable
from diorama.running.batches import Predict, PredictedFrames
from diorama.running.progress import frames_bar
from diorama.running.resized import resized
from diorama.stereo.labelled import PseudoLabelled
from diorama.stereo.pseudo_folder import PseudoFolder
from diorama.stereo.pseudo_settings import Pseudo
from diorama.types import Frame

Float = NDArray[np.float64]

FILES = ("against_teacher.csv", "against_teacher.svg", "against_teacher.png")

CONFIDENCE, VIEWS, ALL, SILENT = "confidence", "views", "all", "no teacher"
"""What pixels are told apart by; the last are those where the teacher says nothing, which `all` leaves out."""

METRICS = {"abs_rel": "1", "rmse": "m"}
"""What is measured, with its unit; over all pixels of a group."""

_AGREE = ("views agree", "views disagree")  # disagree: occluded in the other view, or mismatched


@dataclass(frozen=True)
class Compared:
    """One group of pixels."""

    by: str
    """`CONFIDENCE`, `VIEWS`, `ALL` or `SILENT`."""
    name: str
    pixels: int
    frames: int
    """Frames that have such pixels."""
    values: dict[str, float]
    """`model_abs_rel`, `teacher_abs_rel`, `difference_abs_rel` (model - teacher), the same of rmse; nan where there is none."""
    intervals: dict[str, tuple[float, float]]
    """95 % bootstrap intervals over frames; nan without one. That of the difference draws the frames of both together."""


@dataclass(frozen=True)
class Against:
    """What `against_teacher` found."""

    groups: list[Compared]
    protocol: Protocol
    frames: int

    def of(self, by: str) -> list[Compared]:
        """The groups that are told apart by this."""
        return [group for group in self.groups if group.by == by]


def against_teacher(
    predict: Predict,
    dataset: SceneDataset,
    pseudo: str | Path,
    protocol: Protocol | str,
    *,
    inputs: Sequence[str] = ("image",),
    size: tuple[int, int] | None = None,
    batch_size: int = 8,
    bins: int = 10,
    draws: int = 1000,
    progress: bool = True,
) -> Against:
    """The errors of `predict` and of its teacher, by the teacher's confidence and by the agreement of its views.

    Args:
        predict: see `evaluate_model`.
        dataset: with depth as truth; its split has to be labelled too (`diorama pseudo-label --splits test`).
        pseudo: folder of pseudo labels with disparity or depth, and confidence or agreement.
        protocol: or its name; says which pixels count and how depth is clipped, of both.
        inputs: keys of the frames that `predict` is given.
        size: `(h, w)` that the network sees; None: as stored.
        batch_size: frames per call of `predict`.
        bins: parts of the confidence, evenly over 0..1.
        draws: bootstrap draws for the intervals; 0 leaves them out.
        progress: draw a progress bar.

    Raises:
        ConfigError: fewer than one bin, or a protocol that aligns scales or resizes frames.
        DataError: there are no pseudo labels of these frames, neither confidence nor agreement, no true depth, or none is predicted.
    """
    rules = by_name(protocol) if isinstance(protocol, str) else protocol
    if bins < 1:
        raise ConfigError(f"{bins} bins of confidence. Choose 1 or more.")
    if rules.align != "none" or resized(dataset, rules) is not dataset:
        raise ConfigError(f"stereo depth is metres at the size of its image, '{rules.name}' changes that. Choose another protocol.")
    taught = PseudoLabelled(dataset, Pseudo(str(pseudo), threshold="none", labels="truth"))
    folder = PseudoFolder(Path(pseudo).expanduser(), dataset)
    record = folder.record(dataset.ids[0]) if len(dataset) else None
    kinds = set(record["kinds"]) if record else set()
    if "pseudo_depth" not in taught.provides or not kinds & {"confidence", "agrees"}:
        raise DataError(f"{pseudo}: holds no depth with its confidence or agreement. Make them with `diorama pseudo-label --save`.")
    reader, table = PredictedFrames(taught, size, batch_size, rules.flip, predict, inputs), FrameTable()
    with frames_bar("comparing", len(taught), time.monotonic(), shown=progress) as advance:
        for number, frame, said in reader(range(len(taught))):
            frame_id = taught.ids[number]
            if said[1] is None or "depth" not in frame:
                raise DataError(f"{dataset.name} {frame_id}: no {'predicted' if said[1] is None else 'true'} depth to compare.")
            agrees = folder.read("agrees", frame_id) if "agrees" in kinds else None
            table.add(number, frame_id, _columns(frame, to_truth_size(said[1], frame["depth"].shape), agrees, rules, bins))
            advance(frame_id)
    if not len(table) or not table["n"].any():
        raise DataError(f"{dataset.name} {dataset.split}: no pixel with a known depth. Look at the frames with `diorama data check`.")
    groups = _compared(table, _names(bins, confidence="confidence" in kinds, agreement="agrees" in kinds), draws)
    return Against(groups, rules, len(table))


def _names(bins: int, *, confidence: bool, agreement: bool) -> list[tuple[str, str] | None]:
    """By what and which, of each column of the table; None: it is not known and left out."""
    edges = np.linspace(0, 1, bins + 1)
    parts = [f"{low:.3g}-{high:.3g}" for low, high in pairwise(edges)]
    return [
        *((CONFIDENCE, part) if confidence else None for part in parts),
        *((VIEWS, name) if agreement else None for name in _AGREE),
        (ALL, ALL),
        (SILENT, SILENT),
    ]


def _columns(frame: Frame, predicted: NDArray[np.float32], agrees: NDArray[np.bool_] | None, rules: Protocol, bins: int) -> dict[str, Any]:
    """Sums of one frame by group: pixels `n`, and of model and teacher the sums of relative and of squared errors."""
    truth, taught = frame["depth"], frame["pseudo_depth"]
    if taught.shape != truth.shape:
        raise ShapeError(f"{frame['meta']['id']}: depth {truth.shape}, pseudo depth {taught.shape}. Open the data as it was labelled.")
    valid = rules.valid(truth)
    spoken = taught[valid] > 0
    level = np.minimum((frame["confidence"][valid] * bins).astype(np.int64), bins - 1)
    same = np.zeros(spoken.shape, bool) if agrees is None else agrees[valid]
    inside = [*(spoken & (level == part) for part in range(bins)), spoken & same, spoken & ~same, spoken, ~spoken]
    d = truth[valid].astype(np.float64)
    found: dict[str, Any] = {"n": np.array([part.sum() for part in inside], np.int64)}
    for name, values in (("model", predicted), ("teacher", taught)):
        error = np.abs(prepared(values[valid], rules) - d)
        for key, each in (("abs_rel", error / d), ("rmse", error * error)):
            found[f"{name}/{key}"] = np.array([each[part].sum() for part in inside], np.float64)
    found["teacher/abs_rel"][-1] = found["teacher/rmse"][-1] = np.nan  # where it says nothing it has no error
    return found


def _compared(table: FrameTable, names: list[tuple[str, str] | None], draws: int) -> list[Compared]:
    """The groups with pixels."""
    once = _measured(table, np.ones((1, len(table))))
    drawn = _measured(table, resample.weights(len(table), draws)) if draws and len(table) > 1 else {}
    counts, nothing = table["n"], (math.nan, math.nan)
    found = []
    for place, name in enumerate(names):
        if name is None or not counts[:, place].any():
            continue
        several = (counts[:, place] > 0).sum() > 1  # one frame drawn again and again would look certain
        spans = {key: (several and resample.interval(values[:, place])) or nothing for key, values in drawn.items()}
        found.append(
            Compared(
                by=name[0], name=name[1], pixels=int(counts[:, place].sum()), frames=int((counts[:, place] > 0).sum()),
                values={key: float(values[0, place]) for key, values in once.items()},
                intervals=spans or dict.fromkeys(once, nothing),
            )
        )  # fmt: skip
    return found


def _measured(table: FrameTable, weights: Float) -> dict[str, Float]:
    """Name -> `(draws, groups)`, of frames counted as `weights` `(draws, frames)` says."""
    with np.errstate(divide="ignore", invalid="ignore"):
        counts = weights @ table["n"].astype(np.float64)
        found = {f"{who}_{key}": (weights @ table[f"{who}/{key}"]) / counts for who in ("model", "teacher") for key in METRICS}
    found = {key: np.sqrt(values) if key.endswith("rmse") else values for key, values in found.items()}
    return {**found, **{f"difference_{key}": found[f"model_{key}"] - found[f"teacher_{key}"] for key in METRICS}}


def write_against(found: Against, folder: str | Path) -> list[Path]:
    """Write against_teacher.csv and, where matplotlib is installed, the plot as .svg and .png into `folder`; returns the paths."""
    out, text = Path(folder), io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    measured = [f"{who}_{key}" for key in METRICS for who in ("model", "teacher", "difference")]
    writer.writerow(["by", "group", "pixels", "frames", *(f"{key}{end}" for key in measured for end in ("", "_low", "_high"))])
    for group in found.groups:
        numbers = [value for key in measured for value in (group.values[key], *group.intervals[key])]
        writer.writerow([group.by, group.name, group.pixels, group.frames, *("" if math.isnan(v) else f"{v:.9g}" for v in numbers)])
    written = [out / FILES[0]]
    with replacing(written[0]) as temporary:
        temporary.write_text(text.getvalue())
    try:
        from diorama.running.against_chart import chart_files

        charts = chart_files(found)
    except ImportError:
        return written
    for name, content in zip(FILES[1:], charts, strict=True):
        written.append(out / name)
        with replacing(written[-1]) as temporary:
            temporary.write_bytes(content)
    return written
