"""`diorama benchmark`: recipes x seeds -> one table with means, 95 % intervals and Delta M; goes on where it was stopped.

A benchmark is a YAML file:

```yaml
title: CI-Net, Table 1, on procedural rooms
base: ci_net/world_indoor        # a recipe, or a path
seeds: [0, 1, 2]
metrics: [miou, pixel_accuracy, rmse, delta1]
baselines: [semantics alone, depth alone]
rows:
  baseline: {model.sharing: none, model.scene_understanding: false}
  full: {}
```

With `parser: RUN` (or `--parser RUN`) rows whose models make photos of label maps carry what that model sees in them: columns
`parser_pixel_accuracy`, `parser_class_accuracy` and `parser_miou`.

With `domains: {STREAM: PROTOCOL or null}` every row is judged on the held-out frames of what these streams read, too: columns
`METRIC@STREAM`, and Delta M on each. `gains: [miou@STREAM, rmse@OTHER]` says which metrics Delta M is taken of, if not miou and rmse.

Every finished run leaves `OUT/ROW-seedN.json` with the settings that decided it; a run that has its file is not run again, one that was
stopped resumes from its checkpoint. Where the settings have changed since, the benchmark says so and runs again what `--renew` allows.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from diorama import recipes
from diorama.config import RunConfig, read_config
from diorama.data.io import replacing
from diorama.errors import ConfigError, TrainingError
from diorama.evaluation.delta import TASK_METRICS
from diorama.running.benchmark_tables import slug, write_tables
from diorama.running.renewal import missing_domain, outdated, stopped_outdated, with_settings
from diorama.training.run_folder import RunFolder

if TYPE_CHECKING:
    from diorama.running.parsed_rows import RowParser

logger = logging.getLogger("diorama")

KEYS = {"title", "base", "seeds", "metrics", "baselines", "rows", "budget", "parser", "domains", "gains"}


@dataclass(frozen=True)
class Benchmark:
    """What is compared.

    Args:
        title: heading of the table.
        base: recipe that every row starts from.
        rows: row name -> settings that differ, dotted keys.
        seeds: seeds of every row.
        metrics: columns of the table.
        baselines: names of the single-task rows that Delta M compares with; none: no Delta M.
        budget: a sentence on size, steps and machine, printed under the table.
        parser: a model that is asked what it sees in photos made of label maps; None: nothing is asked.
        domains: streams whose held-out frames every row is judged on, too -> protocol; None: that of the run, or the data set's first.
        gains: one metric per task, which Delta M is the mean gain of.
    """

    title: str
    base: str
    rows: dict[str, dict[str, Any]]
    seeds: tuple[int, ...] = (0, 1, 2)
    metrics: tuple[str, ...] = ("miou", "rmse")
    baselines: tuple[str, ...] = ()
    budget: str = field(default="")
    parser: str | None = None
    domains: dict[str, str | None] = field(default_factory=dict)
    gains: tuple[str, ...] = TASK_METRICS

    @classmethod
    def read(cls, path: str | Path) -> Benchmark:
        """The benchmark in a YAML file.

        Raises:
            ConfigError: it is missing, not YAML, or lacks a key.
        """
        path = Path(path)
        try:
            stored = yaml.safe_load(path.read_text())
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(
                f"{path}: cannot be read as YAML. Give the path of a benchmark file (recipes/*/benchmarks/*.yaml)."
            ) from error
        if not isinstance(stored, dict) or not {"title", "base", "rows"} <= set(stored) or not set(stored) <= KEYS:
            raise ConfigError(
                f"{path}: a benchmark has the keys title, base, rows and may have {', '.join(sorted(KEYS - {'title', 'base', 'rows'}))}."
            )
        values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()}
        found = cls(**values)
        missing = [name for name in found.baselines if name not in found.rows]
        if missing:
            raise ConfigError(f"{path}: baseline '{missing[0]}' is no row. Rows: {', '.join(found.rows)}.")
        return found


def run_benchmark(
    benchmark: Benchmark,
    out: str | Path,
    flags: Sequence[str] = (),
    *,
    rows: Sequence[str] = (),
    seeds: Sequence[int] = (),
    keep: bool = False,
    renew: bool = False,
    parser: str | None = None,
) -> Path:
    """Train and evaluate what has no result in `out` yet, then write table.md and runs.csv; their folder comes back.

    Args:
        benchmark: rows x seeds.
        out: folder of the results; run folders live in `out/runs` until their run is finished.
        flags: settings for all rows, as on the command line (`--data.root`, ...).
        rows: only these; empty: all.
        seeds: only these; empty: those of the benchmark.
        keep: keep checkpoints and model files of finished runs.
        renew: run again what was made with other settings than these.
        parser: instead of that of the benchmark.

    Raises:
        UserError: an unknown row, a setting that does not exist, a result of other settings, or a parser that there is not or that does not
            fit; told before anything is trained.
    """
    out = Path(out)
    unknown = [name for name in rows if name not in benchmark.rows]
    if unknown:
        raise ConfigError(f"no row '{unknown[0]}'. Rows: {', '.join(benchmark.rows)}.")
    # all configurations are read first: a typo in the last row should not cost the hours of the rows before it
    todo = [
        (name, seed, result_file(out, name, seed), read_config([*flags, "--seed", str(seed)], settings=row_settings(benchmark, name)))
        for seed in (seeds or benchmark.seeds)
        for name in (rows or benchmark.rows)
    ]
    stale = {target: how for _, _, target, config in todo if (how := _outdated(target, config, benchmark))}
    if stale and not renew:
        first, how = next(iter(stale.items()))
        others = f" ({len(stale) - 1} more are out of date)" if len(stale) > 1 else ""
        raise ConfigError(f"{first}: made with other settings: {how}{others}. Pass --renew to run it again, or choose another --out.")
    judge = _admitted(benchmark, {target: config for _, _, target, config in todo}, {target for target in stale if target.exists()}, parser)
    out.mkdir(parents=True, exist_ok=True)
    for number, (name, seed, target, config) in enumerate(todo, 1):
        folder = out / "runs" / target.stem
        if target.exists() and target not in stale:
            if judge:
                judge.add(target, folder, config)
            continue
        logger.info("run %d of %d: %s, seed %d", number, len(todo), name, seed)
        if stopped_outdated(folder, config):
            RunFolder(folder).discard()
        target.unlink(missing_ok=True)  # an old number must not stand in the tables beside new ones
        finished = train_once(config, folder)
        with replacing(target) as temporary:
            temporary.write_text(_result(benchmark, finished, config, judge), encoding="utf-8")
        if not keep:
            shutil.rmtree(finished)
        write_tables(benchmark, out)
    write_tables(benchmark, out)
    return out


def _admitted(benchmark: Benchmark, todo: Mapping[Path, RunConfig], stale: Collection[Path], parser: str | None) -> RowParser | None:
    """The parser that rows are judged by, if any, once it and all that is to be trained are known to be able to begin and to be judged.

    Raises:
        UserError: what is not.
    """
    from diorama.running.domain_scores import require_domains
    from diorama.running.origin import require_start
    from diorama.running.parsed_rows import RowParser

    begun = [config for target, config in todo.items() if target in stale or not target.exists()]
    for config in begun:
        require_start(config)
    require_domains(benchmark.domains, begun)
    named = parser or benchmark.parser
    if not named:
        return None
    judge = RowParser(named)
    judge.require(todo, stale)
    return judge


def _result(benchmark: Benchmark, finished: Path, config: RunConfig, judge: RowParser | None) -> str:
    """What is kept of a finished run: its numbers, the settings that decided them, and what a parser and other domains say."""
    from diorama.running.domain_scores import with_domains

    result = with_settings(finished / "metrics.json", config)
    result = judge.added(result, finished, config) if judge else result
    return with_domains(result, finished, config, benchmark.domains) if benchmark.domains else result


def result_file(out: Path, name: str, seed: int) -> Path:
    """Where the result of one run lies."""
    return out / f"{slug(name)}-seed{seed}.json"


def _outdated(target: Path, config: RunConfig, benchmark: Benchmark) -> str:
    """How the result, or the stopped run where there is none, differs from what `config` and `benchmark` ask; empty if it does not."""
    if target.exists():
        lacking = missing_domain(target, benchmark.domains)
        return outdated(target, config) or (f"not judged on '{lacking}'" if lacking else "")
    return stopped_outdated(target.parent / "runs" / target.stem, config)


def row_settings(benchmark: Benchmark, name: str) -> dict[str, Any]:
    """The base recipe with the settings of one row, as nested dictionaries."""
    settings: dict[str, Any] = recipes.read_yaml(recipes.find(benchmark.base))
    for key, value in benchmark.rows[name].items():
        place = settings
        *sections, leaf = key.split(".")
        for section in sections:
            place = place.setdefault(section, {})
        place[leaf] = value
    return settings


def train_once(config: RunConfig, folder: Path) -> Path:
    """The folder of a finished run; a run stopped there before goes on from its checkpoint."""
    from diorama.running.train import train

    run = RunFolder(folder)
    resumes = run.checkpoint.exists()
    if not resumes:
        run.discard()
        folder.mkdir(parents=True)
    with run.announced():
        if config.trainer.devices * config.trainer.nodes > 1:
            return _train_apart(config, run, resumes)
        return train(config, resume=folder if resumes else None)


def _train_apart(config: RunConfig, run: RunFolder, resumes: bool) -> Path:
    """As `train`, by a command of its own: the processes of a run start their command anew, which must not be the whole benchmark."""
    words = ["--resume", str(run.path)]
    if not resumes:
        file = run.path / "settings.yaml"
        file.write_text(config.to_yaml())
        words = ["--config", str(file)]
    status = subprocess.run([sys.executable, "-m", "diorama", "train", *words], stdout=subprocess.DEVNULL, check=False).returncode
    if status:
        raise TrainingError(f"the run in {run.path} ended with status {status}, see above. Mend that and start the benchmark again.")
    return run.path
