"""Section `pseudo` of a run: which pseudo labels a training reads and how far it trusts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from diorama.errors import ConfigError


@dataclass(frozen=True)
class Pseudo:
    """Pseudo labels of the training frames, made by `diorama pseudo-label`. An evaluation never sees them.

    Args:
        root: the folder, `--out` of `diorama pseudo-label`.
        threshold: what becomes of the confidence C: `soft` gives 1 / (1 + exp(-eps (C - tau))), `hard` 1 where C >= tau and 0 elsewhere,
            `none` C itself.
        eps: steepness of the soft threshold.
        tau: threshold in 0..1; None: that of the image where its confidence network says one, else 0.5.
        check: no confidence at all where the left-right check fails.
        labels: `semantic` from the data set (truth), from the folder (pseudo), or from the folder where the data set has none (auto);
            `semantic_right` comes from the folder unless it is truth.
        semantic_tau: pseudo labels whose own confidence is below are ignored.
        missing: a frame without pseudo labels is an "error", or left out ("skip"): those that `diorama pseudo-label` had to skip.

    Raises:
        ConfigError: a value is impossible.
    """

    root: str
    threshold: Literal["soft", "hard", "none"] = "soft"
    eps: float = 10.0
    tau: float | None = None
    check: bool = False
    labels: Literal["auto", "pseudo", "truth"] = "auto"
    semantic_tau: float = 0.0
    missing: Literal["error", "skip"] = "error"

    def __post_init__(self) -> None:
        choices = {"threshold": ("soft", "hard", "none"), "labels": ("auto", "pseudo", "truth"), "missing": ("error", "skip")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(f"pseudo.{name} is '{getattr(self, name)}'. Choose {', '.join(allowed[:-1])} or {allowed[-1]}.")
        if not 0 < self.eps < float("inf"):
            raise ConfigError(f"pseudo.eps is {self.eps}. Choose a number above 0; the paper has 10.")
        for name in ("tau", "semantic_tau"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"pseudo.{name} is {value}. Choose a confidence in 0..1.")
        if not self.root:
            raise ConfigError("pseudo.root is empty. Give the folder that `diorama pseudo-label --out` wrote.")
