"""Beside the data that a benchmark's rows are judged on: held-out frames of each data set that they were trained on.

A metric of one of them is called `METRIC@STREAM`: `miou@labelled` is the mean IoU on the test frames of what the stream `labelled` reads.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from diorama.config import RunConfig
from diorama.errors import ConfigError, suggest
from diorama.running.benchmark_tables import column
from diorama.running.evaluate_file import evaluate
from diorama.running.preparation import evaluation_split, rules

logger = logging.getLogger("diorama")


def judged_on(config: RunConfig, domain: str, protocol: str | None) -> RunConfig:
    """The same run, judged on what its stream `domain` reads; under the first protocol of that data set, unless one is named.

    Raises:
        ConfigError: the run has no such stream.
    """
    if domain not in config.streams:
        which = f"The run has the streams {', '.join(config.streams)}." if config.streams else "The run has no section `streams`."
        raise ConfigError(f"benchmark: domain '{domain}' is no stream: {suggest(domain, config.streams)} {which}")
    same = config.streams[domain].get("name", config.dataset) == config.dataset
    judged = replace(config.evaluation, stream=domain, protocol=protocol or (config.evaluation.protocol if same else None))
    return replace(config, evaluation=judged)


def require_domains(domains: Mapping[str, str | None], configs: Iterable[RunConfig]) -> None:
    """Return if every run can be judged on every domain.

    Raises:
        UserError: a domain is no stream of a run, has no frames but those to train on, or not the classes of its protocol.
    """
    seen = []
    for config in configs:
        for domain, protocol in domains.items():
            judged = judged_on(config, domain, protocol)
            facts = (judged.data, judged.streams, judged.evaluation)
            if facts in seen:
                continue
            held_out = evaluation_split(judged)
            if held_out is None:
                raise ConfigError(f"domain '{domain}': its data set has no frames but those to train on. Leave it out of `domains`.")
            rules(judged, held_out)
            seen.append(facts)


def with_domains(text: str, run: Path, config: RunConfig, domains: Mapping[str, str | None]) -> str:
    """`text`, a result as JSON, with the numbers of the model in the folder `run` on each of `domains` that has truth of its tasks."""
    stored = json.loads(text)
    metrics: dict[str, Any] = dict(stored["metrics"])
    said: dict[str, Any] = {}
    for domain, protocol in domains.items():
        judged = judged_on(config, domain, protocol)
        held_out = evaluation_split(judged)
        assert held_out is not None  # require_domains has seen it
        task = getattr(config.model, "tasks", "both")
        if not held_out.provides & ({"semantic", "depth"} if task == "both" else {task}):
            said[domain] = None
            continue
        size = config.stream_view(domain).size if "view" in config.streams[domain] else None
        found = evaluate(run, held_out, rules(judged, held_out), size=size)
        metrics |= {column(name, domain): measured.to_dict() for name, measured in found.values.items()}
        said[domain] = found.protocol.to_dict()
        shown = [f"{name} {found[name]:.4g}" for name in ("miou", "rmse") if name in found.values]
        logger.info("on %s: %s", domain, ", ".join(shown))
    return json.dumps({**stored, "metrics": metrics, "domains": said}, indent=1) + "\n"
