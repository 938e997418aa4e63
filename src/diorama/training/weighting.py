"""How much each task counts in a loss of several: fixed, learned or averaged weights, for any method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from diorama.errors import ConfigError
from diorama.nn.processes import shared_mean

Kind = Literal["fixed", "uncertainty", "dwa"]


class Weighting(nn.Module):
    """Losses of the tasks -> the terms whose sum is minimised.

    - "fixed": w_t L_t (SemiMTL, Eq. 1).
    - "uncertainty": exp(-s_t) w_t L_t + s_t with a learned s_t that starts at 0 (Kendall et al. 2018).
    - "dwa", dynamic weight average: lambda_t w_t L_t with lambda_t = T exp(r_t / 2) / sum_i exp(r_i / 2) for T tasks, r_t the mean loss of
      the last period over that of the one before; 1 in the first two periods (Liu et al. 2019, temperature 2).

    What is learned are parameters, what is averaged buffers: both are in checkpoints, and averages are those of all processes. A loss may
    be of several terms.

    Args:
        weights: w_t by task.
        kind: of the three.
        period: steps that "dwa" averages over (an epoch in the original).
        temperature: of "dwa"; larger makes the weights more alike.
        learned: where the s_t live that "uncertainty" learns, if a method keeps them under a name of its own; filled here.

    Raises:
        ConfigError: no task, a weight below 0, a period below 1, or a temperature that is not above 0.
    """

    sums: Tensor
    counts: Tensor
    means: Tensor

    def __init__(
        self,
        weights: Mapping[str, float],
        kind: Kind = "fixed",
        period: int = 100,
        temperature: float = 2.0,
        learned: nn.ParameterDict | None = None,
    ) -> None:
        super().__init__()
        if not weights or min(weights.values()) < 0 or period < 1 or temperature <= 0:
            raise ConfigError(
                f"task weights {dict(weights)}, period {period}, temperature {temperature}: give weights from 0, the others above 0."
            )
        self.weights, self.kind, self.period, self.temperature = dict(weights), kind, period, temperature
        begun = {task: nn.Parameter(torch.zeros(())) for task in weights} if kind == "uncertainty" else {}
        self.log_variance: Mapping[str, Tensor] = nn.ParameterDict(begun) if learned is None else begun  # type: ignore[assignment]
        if learned is not None:
            learned.update(begun)
        if kind == "dwa":
            self.register_buffer("sums", torch.zeros(len(weights)))
            self.register_buffer("counts", torch.zeros(len(weights), dtype=torch.int64))
            self.register_buffer("means", torch.zeros(2, len(weights)))  # of the last period and of the one before; 0 = not yet

    def factors(self) -> dict[str, Tensor | float]:
        """What each loss is multiplied by now."""
        if self.kind == "uncertainty":
            return {task: weight * torch.exp(-self.log_variance[task]) for task, weight in self.weights.items()}
        if self.kind == "dwa" and bool((self.means > 0).all()):
            shares = torch.softmax(self.means[0] / self.means[1] / self.temperature, 0) * len(self.weights)
            return {task: weight * share for (task, weight), share in zip(self.weights.items(), shares, strict=True)}
        return dict(self.weights)

    def forward(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weighted losses by task, and under "uncertainty" the sum of their s as `log_variance`. A task that is absent plays no part."""
        return self._weighted(losses, {task: task for task in losses})

    def balance(self, terms: Mapping[str, Tensor], task_terms: Mapping[str, str]) -> dict[str, Tensor]:
        """`terms` with those of tasks weighted as by `forward`, after which the sum of each task's is observed; see `observe`.

        Args:
            terms: by name.
            task_terms: name of a term -> its task; a term that is not there stays as it is.
        """
        weighted = self._weighted(terms, task_terms)
        losses: dict[str, list[Tensor]] = {}
        for name, term in terms.items():
            if name in task_terms:
                losses.setdefault(task_terms[name], []).append(term)
        self.observe({task: torch.stack(parts).sum() for task, parts in losses.items()})
        return weighted

    def _weighted(self, terms: Mapping[str, Tensor], task_terms: Mapping[str, str]) -> dict[str, Tensor]:
        factors = self.factors()
        weighted = {name: factors[task_terms[name]] * term if name in task_terms else term for name, term in terms.items()}
        tasks = dict.fromkeys(task_terms[name] for name in terms if name in task_terms)
        if self.kind == "uncertainty" and tasks:
            weighted["log_variance"] = torch.stack([self.log_variance[task] for task in tasks]).sum()
        return weighted

    def gauges(self) -> dict[str, float]:
        """What each task counts as `weight_TASK`, where that moves."""
        if self.kind == "fixed":
            return {}
        return {f"weight_{task}": float(torch.as_tensor(factor).detach()) for task, factor in self.factors().items()}

    def observe(self, losses: Mapping[str, Tensor]) -> None:
        """Take the unweighted losses of a step into the averages of "dwa"; at its end a period becomes the last one.

        Every process must call, with the same tasks. A period ends after `period` losses of each task.
        """
        if self.kind != "dwa":
            return
        for place, task in enumerate(self.weights):
            if task in losses:
                self.sums[place] += shared_mean(losses[task])
                self.counts[place] += 1
        if bool((self.counts >= self.period).all()):
            self.means.copy_(torch.stack((self.sums / self.counts, self.means[0])))
            self.sums.zero_()
            self.counts.zero_()
