"""Whether what a benchmark finds in its folder was made with the settings that hold now."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from diorama import recipes
from diorama.config import RunConfig
from diorama.errors import DataError

PLACES = frozenset({"out", "data.root"})
STREAM_ROOT = re.compile(r"streams\.[^.]+\.root")
MACHINE = frozenset(
    {
        f"trainer.{name}"
        for name in ("accelerator", "threads", "workers", "log_every", "checkpoint_every", "evaluate_every", "samples_every", "loggers")
    }
    | {"view.cache", "trainer.channels_last"}
)
"""Settings that change where and how fast a run goes, not what it finds."""
FILES = frozenset({"model.backbone_weights", "trainer.start_from"})
"""Paths that differ from machine to machine; their last part tells what they are."""


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def decisive(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What of a run's nested settings decides its numbers, with dotted keys."""
    found = {key: value for key, value in flat(settings).items() if key not in PLACES | MACHINE and not STREAM_ROOT.fullmatch(key)}
    return {key: Path(value).name if key in FILES and value else value for key, value in found.items()}


def with_settings(metrics: Path, config: RunConfig) -> str:
    """The text of metrics.json with the settings that decided it."""
    return json.dumps({**json.loads(metrics.read_text(encoding="utf-8")), "settings": decisive(config.to_dict())}, indent=1) + "\n"


def outdated(result: Path, config: RunConfig) -> str:
    """How the settings of a stored result differ from `config`: "trainer.steps was 100, is 200"; empty if they do not.

    A result without settings, as earlier versions wrote it, is held against what it says of its model.

    Raises:
        DataError: `result` is no result of a benchmark.
    """
    try:
        stored = json.loads(result.read_text(encoding="utf-8"))
        model = stored["model"]
        then = stored.get("settings")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{result}: no result of a benchmark ({error!r}). Remove it to run its row again.") from error
    if then is not None:
        return differences(then, decisive(config.to_dict()))
    known = {"model": model.get("config"), "data.name": model.get("data"), "seed": model.get("seed")}
    then, now = decisive({key: value for key, value in known.items() if value is not None}), decisive(config.to_dict())
    return differences(then, {key: value for key, value in now.items() if key in then})


def missing_domain(result: Path, domains: Iterable[str]) -> str:
    """The first of `domains` that the file of a finished run has no numbers of; empty if it has all."""
    known = json.loads(result.read_text(encoding="utf-8")).get("domains", {})
    return next((domain for domain in domains if domain not in known), "")


def stopped_outdated(run: Path, config: RunConfig) -> str:
    """The same of a run that was stopped and has a checkpoint in the folder `run`."""
    file = run / "config.yaml"
    return differences(decisive(recipes.read_yaml(file)), decisive(config.to_dict())) if file.is_file() else ""


def _told(key: str, sections: list[set[str]]) -> bool:
    """Whether a key that one side lacks is a difference; a stream's settings are all said, so any of them is."""
    section = key.partition(".")[0]
    return section == "streams" or not all(section in side for side in sections)


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What changed, in words; a single key that one side lacks came with another version, a whole section was set or left out."""
    sections = [{key.partition(".")[0] for key in side} for side in (then, now)]
    changed = [
        f"{key} was {then.get(key)}, is {now.get(key)}"
        for key in dict.fromkeys((*then, *now))
        if (then[key] != now[key] if key in then and key in now else _told(key, sections))
    ]
    return ", ".join(changed)
