"""Delta M: what joint learning gains over single-task models of the same backbone, data and budget, under the same protocol."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diorama.errors import DataError, ProtocolError
from diorama.evaluation import metrics, resample
from diorama.evaluation.protocol import Better, Protocol
from diorama.evaluation.table import FrameTable

TASK_METRICS = ("miou", "rmse")
COMPARED = ("backbone", "data", "budget")
"""What a run says about its model and what must be equal; each is any JSON value."""


@dataclass(frozen=True)
class Run:
    """A stored evaluation: what the model was, its protocol and its numbers."""

    name: str
    model: dict[str, Any]
    protocol: Protocol
    values: dict[str, float]
    better: dict[str, Better]
    rows: FrameTable | None = None
    """The per-frame table if it is there, for intervals over images."""
    domains: dict[str, Protocol] = field(default_factory=dict)
    """Data sets that it was judged on besides -> protocol; their metrics are called `METRIC@DATA SET`."""

    @classmethod
    def read(cls, path: str | Path) -> Run:
        """The run that left `path` (metrics.json or its folder); frames.npz beside it is taken along.

        Raises:
            DataError: the file is missing or not the metrics of an evaluation.
        """
        file = Path(path)
        file = file / "metrics.json" if file.is_dir() else file
        try:
            stored = json.loads(file.read_text())
            found, rules, model = stored["metrics"], Protocol.from_dict(stored["protocol"]), dict(stored["model"])
            values = {name: float(entry["value"]) for name, entry in found.items() if entry["value"] is not None}
            better = {name: entry["better"] for name, entry in found.items()}
            domains = {name: Protocol.from_dict(entry) for name, entry in stored.get("domains", {}).items() if entry}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{file}: not the metrics of an evaluation ({error!r}). Pass a metrics.json that `diorama evaluate` wrote."
            ) from error
        rows = file.with_name("frames.npz")
        return cls(str(file), model, rules, values, better, FrameTable.load(rows) if rows.is_file() else None, domains)

    def judged_by(self, metric: str) -> Protocol | None:
        """The protocol of `metric`; None of a data set that the run was not judged on."""
        domain = metric.partition("@")[2]
        return self.domains.get(domain) if domain else self.protocol


@dataclass(frozen=True)
class DeltaM:
    """Relative gain over the single-task baselines; 0.05 is 5 % better on the mean over tasks."""

    value: float
    interval: tuple[float, float] | None
    over: str
    """What the interval is over: "seeds", "images" or "" without one."""
    runs: int
    tasks: dict[str, float]
    """The gain per metric."""

    def sentence(self) -> str:
        """The value as people read it: `+3.1 % [+1.0, +5.2] over 3 seeds`."""
        text = f"{100 * self.value:+.1f} %"
        if self.interval:
            text += f" [{100 * self.interval[0]:+.1f}, {100 * self.interval[1]:+.1f}]"
        return text + (
            f", 95 % over {self.runs} seeds" if self.over == "seeds" else ", one run" + (", 95 % over images" if self.over else "")
        )


def gain(value: float, baseline: float, better: Better) -> float:
    """(-1)^(lower is better) (M - M_b) / M_b (SemiMTL, Eq. 10): positive means better than the baseline."""
    return (value - baseline) / baseline * (1.0 if better == "higher" else -1.0)


def delta_m(runs: Sequence[Run], baselines: Sequence[Run], names: Sequence[str] = TASK_METRICS) -> DeltaM:
    """1/T sum of `gain` over the tasks (SemiMTL, Eq. 10), mean over seeds with a 95 % t-interval; for one run one over images.

    Runs and baselines are paired by seed where both have the same seeds; otherwise each run is held against the mean baseline.

    Args:
        runs: one or more seeds of the joint model.
        baselines: single-task runs; each has the metric of one task only.
        names: one metric per task.

    Raises:
        ProtocolError: a baseline has another backbone, data set, budget or protocol, does not say them, or is no single-task model.
        DataError: a task has no baseline, or a run lacks a metric.
    """
    groups = _by_task(runs, baselines, names)
    tasks: dict[str, list[float]] = {}
    for name in names:
        pairs = _paired(runs, groups[name])
        tasks[name] = [gain(run.values[name], _mean([base.values[name] for base in against]), run.better[name]) for run, against in pairs]
    each = [_mean([tasks[name][row] for name in names]) for row in range(len(runs))]
    means = {name: _mean(gains) for name, gains in tasks.items()}
    if len(runs) > 1:
        return DeltaM(_mean(each), resample.t_interval(each), "seeds", len(runs), means)
    span = _over_images(runs[0], groups)
    return DeltaM(each[0], span, "images" if span else "", 1, means)


def _by_task(runs: Sequence[Run], baselines: Sequence[Run], names: Sequence[str]) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = {name: [] for name in names}
    for base in baselines:
        has = [name for name in names if name in base.values]
        if len(has) != 1:
            raise ProtocolError(f"{base.name}: has {' and '.join(has) or 'none'} of {', '.join(names)}. A baseline is a model of one task.")
        for run in runs:
            require_equal_terms(run, base, has)
        groups[has[0]].append(base)
    for name, group in groups.items():
        if not group:
            raise DataError(f"no single-task baseline has {name}. Train one for that task and pass its metrics.json.")
        for run in runs:
            if name not in run.values:
                raise DataError(f"{run.name}: has no {name}, so Delta M cannot be had. Evaluate a model of all tasks.")
    return groups


def require_equal_terms(run: Run, base: Run, names: Sequence[str] = TASK_METRICS) -> None:
    """Return if the two were trained on equal terms, and `names` of both measured by the same protocols.

    Raises:
        ProtocolError: backbone, data, budget or protocol differ, or one of the two does not say.
    """
    for name in names:
        ours, theirs = run.judged_by(name), base.judged_by(name)
        if ours is not None and theirs is not None:
            ours.require_same(theirs)
    for key in COMPARED:
        ours, theirs = run.model.get(key), base.model.get(key)
        if ours is None or theirs is None:
            silent = run.name if ours is None else base.name
            raise ProtocolError(f"{silent}: does not say its {key}. Write model.{key} into its metrics.json, or train it again.")
        if ours != theirs:
            raise ProtocolError(f"{base.name}: {key} is {theirs!r}, the joint model has {ours!r}. Train the baseline on equal terms.")


def _paired(runs: Sequence[Run], baselines: Sequence[Run]) -> list[tuple[Run, list[Run]]]:
    seeds = {base.model.get("seed"): base for base in baselines}
    if None not in seeds and len(seeds) == len(baselines) and {run.model.get("seed") for run in runs} == set(seeds):
        return [(run, [seeds[run.model.get("seed")]]) for run in runs]
    return [(run, list(baselines)) for run in runs]


def _over_images(run: Run, groups: Mapping[str, Sequence[Run]]) -> tuple[float, float] | None:
    """Bootstrap interval with the same images drawn for the run and its baselines; None if their tables are not of the same frames."""
    everyone = [run, *(base for group in groups.values() for base in group)]
    tables = [member.rows for member in everyone]
    first = tables[0]
    if first is None or len(first) < 2 or any(table is None or table.ids != first.ids for table in tables):
        return None
    weights = resample.weights(len(first))
    drawn = [metrics.weighted(table, member.protocol, weights) for table, member in zip(tables, everyone, strict=True) if table is not None]
    total, at = np.zeros(len(weights)), 1
    for name, group in groups.items():
        base = np.mean([drawn[at + row][name] for row in range(len(group))], axis=0)
        at += len(group)
        total += (drawn[0][name] - base) / base * (1.0 if run.better[name] == "higher" else -1.0)
    return resample.interval(total / len(groups))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
