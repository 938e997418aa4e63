"""The other direction of a benchmark's rows: photos that its models make of label maps, as a scene parser sees them."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from diorama import catalog
from diorama.config import RunConfig
from diorama.data.io import replacing
from diorama.errors import ConfigError
from diorama.prediction.predictor import load
from diorama.running.evaluate_file import evaluate
from diorama.running.preparation import evaluation_split, rules
from diorama.running.translate import PARSED, parser_id, require_parser

logger = logging.getLogger("diorama")


class RowParser:
    """A parser, asked what it sees in the photos that finished runs make of the label maps they are judged on.

    Args:
        source: as of `diorama evaluate --parser`: a shipped name, a run or model folder, or a model file.

    Raises:
        ModelError: there is no such model.
    """

    def __init__(self, source: str) -> None:
        self.predictor = load(source)
        self.id = parser_id(self.predictor)

    def require(self, todo: Mapping[Path, RunConfig], stale: Collection[Path]) -> None:
        """Return if at least one run makes photos, the parser knows the classes of all that do, and no numbers of two parsers would mix.

        Args:
            todo: results, finished or to come, with their settings.
            stale: results that are run again.

        Raises:
            UserError: what does not fit, before anything is trained.
        """
        asked = {target: config for target, config in todo.items() if translates(config)}
        if not asked:
            raise ConfigError("no row makes photos of label maps for a parser to judge. Leave out the parser, or choose rows that do.")
        seen: list[Any] = []
        for target, config in asked.items():
            judged = {key: config.to_dict().get(key) for key in ("data", "evaluation")}
            if judged not in seen:
                held_out = evaluation_split(config)
                if held_out is None:
                    raise ConfigError(
                        f"{config.dataset} has no frames but those to train on, so none to make photos of. Choose other data."
                    )
                require_parser(held_out, self.predictor)
                seen.append(judged)
            finished = target.exists() and target not in stale
            if finished and _parser(target) not in ("", self.id) and not _kept(target):
                raise ConfigError(f"{target}: judged by {_parser(target)}, and its run was not kept. Remove the file to run it again.")

    def add(self, result: Path, run: Path, config: RunConfig) -> None:
        """Put what the parser sees into the file `result` of a finished run, if it is not in there; a run that was not kept is told."""
        if not translates(config) or _parser(result) == self.id:
            return
        if not _kept(result):
            logger.warning("%s: its run was not kept, so no parser can judge its photos. Remove the file to run it again", result)
            return
        text = self.added(result.read_text(encoding="utf-8"), run, config)
        with replacing(result) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def added(self, text: str, run: Path, config: RunConfig) -> str:
        """`text`, a result as JSON, with what the parser sees in the photos of the model in the folder `run`."""
        held_out = evaluation_split(config) if translates(config) else None
        if held_out is None:
            return text
        found = evaluate(run, held_out, rules(config, held_out), parser=self.predictor)
        stored = json.loads(text)
        said = {name: found.values[name.removeprefix("parser_")].to_dict() for name in PARSED}
        model = {**stored["model"], "parser": self.id}
        return json.dumps({**stored, "metrics": {**stored["metrics"], **said}, "model": model}, indent=1) + "\n"


def translates(config: RunConfig) -> bool:
    """Whether the run ends with a model that makes photos of label maps."""
    return bool(getattr(catalog.method(config.method), "translates", False)) and getattr(config.model, "tasks", "both") != "depth"


def _parser(result: Path) -> str:
    """The parser that a result has numbers of; empty without."""
    return str(json.loads(result.read_text(encoding="utf-8"))["model"].get("parser") or "")


def _kept(result: Path) -> bool:
    """Whether the model of a result is still there."""
    return (result.parent / "runs" / result.stem / "model.safetensors").is_file()
