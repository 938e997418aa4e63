"""What a benchmark has found, as a table with means and 95 % intervals and as one line per run."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diorama.data.io import replacing
from diorama.errors import DataError
from diorama.evaluation.delta import TASK_METRICS, Run, delta_m
from diorama.evaluation.protocol import Protocol
from diorama.evaluation.resample import t_interval
from diorama.running.translate import PARSED

if TYPE_CHECKING:
    from diorama.running.benchmark import Benchmark


def finished_runs(benchmark: Benchmark, out: Path) -> dict[str, list[Run]]:
    """Every finished run by row, in the order of the benchmark; rows without one are left out."""
    found: dict[str, list[Run]] = {}
    for name in benchmark.rows:
        files = sorted(out.glob(f"{slug(name)}-seed*.json"), key=lambda path: int(path.stem.rpartition("seed")[2]))
        if files:
            found[name] = [Run.read(file) for file in files]
    return found


def write_tables(benchmark: Benchmark, out: Path) -> None:
    """table.md (mean and 95 % interval per row) and runs.csv (every run) from the finished runs in `out`."""
    found = finished_runs(benchmark, out)
    parsers = sorted({str(run.model["parser"]) for runs in found.values() for run in runs if run.model.get("parser")})
    metrics = [*benchmark.metrics, *(name for name in PARSED if parsers and name not in benchmark.metrics)]
    known = {metric for runs in found.values() for run in runs for metric in run.values}
    metrics += [name for domain in benchmark.domains for metric in benchmark.metrics if (name := column(metric, domain)) in known]
    # where there are domains, the gain on each and over all of them
    gains = {column("Delta M", domain): [column(name, domain) for name in TASK_METRICS] for domain in benchmark.domains}
    gains = _told(benchmark, found, {**gains, "Delta M": list(benchmark.gains)}) if benchmark.baselines else {}
    columns = ["row", "seeds", *metrics, *gains]
    lines = [f"# {benchmark.title}", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, runs in found.items():
        cells = [_cell([run.values.get(metric, math.nan) for run in runs]) for metric in metrics]
        cells += [_delta(benchmark, found, name, names) for names in gains.values()]
        lines.append(f"| {name} | {len(runs)} | {' | '.join(cells)} |")
    if found:
        lines += ["", f"Protocol: {next(iter(found.values()))[0].protocol.sentence()}", _budgets(found)]
    lines += [f"@{domain}: {sentence}" for domain in benchmark.domains if (sentence := _judged(out, domain))]
    if parsers:
        lines += [f"parser_*: what {' and '.join(parsers)} sees in photos that the models make of the label maps of these frames."]
    lines += [benchmark.budget, "Mean and 95 % t-interval over seeds; a row of one seed is one run.", ""]
    with replacing(out / "table.md") as path:
        Path(path).write_text("\n".join(line for line in lines if line is not None))
    with replacing(out / "runs.csv") as path, Path(path).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "seed", *metrics, "protocol", "budget", "backbone", *(["parser"] if parsers else [])])
        for name, runs in found.items():
            for run in runs:
                values = [f"{run.values[metric]:.6g}" if metric in run.values else "" for metric in metrics]
                facts = [run.protocol.name, *(run.model.get(key) for key in ("budget", "backbone", *(["parser"] if parsers else [])))]
                writer.writerow([name, run.model.get("seed"), *values, *facts])


def _budgets(found: Mapping[str, list[Run]]) -> str:
    """How long the rows were trained: one sentence, with the rows by budget where they differ."""
    rows: dict[str, list[str]] = {}
    for name, runs in found.items():
        backbone = f", backbone {runs[0].model['backbone']}" if runs[0].model.get("backbone") else ""
        rows.setdefault(f"{runs[0].model.get('budget')}{backbone}", []).append(name)
    if len(rows) == 1:
        return f"Budget of every row: {next(iter(rows))}."
    said = [f"{budget} ({', '.join(names)})" for budget, names in rows.items()]
    return f"Budgets: {'; '.join(said)}."


def _told(benchmark: Benchmark, found: Mapping[str, list[Run]], gains: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The columns of `gains` of which a run has all metrics, and the last one: a data set without a task has no gain of its own."""
    last = list(gains)[-1]
    runs = [run for name, row in found.items() if name not in benchmark.baselines for run in row]
    return {title: names for title, names in gains.items() if title == last or any(set(names) <= set(run.values) for run in runs)}


def _judged(out: Path, domain: str) -> str:
    """The protocol that the runs in `out` are judged by on `domain`; empty without a run.

    Raises:
        ProtocolError: they are not all judged by the same.
    """
    found = [json.loads(path.read_text(encoding="utf-8")).get("domains", {}) for path in sorted(out.glob("*-seed*.json"))]
    protocols = [Protocol.from_dict(domains[domain]) for domains in found if domains.get(domain)]
    for other in protocols[1:]:
        protocols[0].require_same(other)
    return protocols[0].sentence() if protocols else ""


def _delta(benchmark: Benchmark, found: Mapping[str, list[Run]], name: str, metrics: Sequence[str]) -> str:
    """Delta M in `metrics` of a joint row over the single-task rows with the same seeds."""
    if not benchmark.baselines or name in benchmark.baselines or any(base not in found for base in benchmark.baselines):
        return ""
    seeds = set.intersection(*({run.model.get("seed") for run in found[row]} for row in (name, *benchmark.baselines)))
    if not seeds:
        return ""
    shared = {row: [run for run in found[row] if run.model.get("seed") in seeds] for row in (name, *benchmark.baselines)}
    try:
        return delta_m(shared[name], [run for base in benchmark.baselines for run in shared[base]], metrics).sentence()
    except DataError:
        return ""


def _cell(values: Sequence[float]) -> str:
    values = [value for value in values if not math.isnan(value)]
    if not values:
        return ""
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return f"{mean:.4g}"
    interval = t_interval(values)
    return f"{mean:.4g} ± {(interval[1] - interval[0]) / 2:.2g}" if interval else f"{mean:.4g}"


def column(metric: str, domain: str) -> str:
    """What `metric` on `domain` is called in results and tables."""
    return f"{metric}@{domain}"


def slug(name: str) -> str:
    """The name of a row in the names of files."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
