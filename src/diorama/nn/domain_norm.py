"""Batch norms that keep running statistics of each domain, beside those that they answer with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

KEPT = ("running_mean", "running_var")


class DomainNorms:
    """Running statistics per domain for every batch norm of `network` (Chang et al., CVPR 2019, without scales and shifts of their own).

    They lie in the norms themselves, as buffers `domain1_mean`, `domain1_var` and so on, and are so in checkpoints and model files. While
    a domain is trained on, each norm normalises with the statistics of the batch, as ever, and keeps them for that domain. The plain
    `running_mean` and `running_var`, which evaluation and exported graphs use, are what `settle` makes of the domains'.

    Args:
        network: whose batch norms get the buffers.
        domains: how many.
    """

    def __init__(self, network: nn.Module, domains: int) -> None:
        self.network, self.domains = network, domains
        for _, norm in self._norms():
            for kept in KEPT:
                for number in range(1, domains + 1):
                    norm.register_buffer(self._name(number, kept), torch.empty_like(cast("Tensor", getattr(norm, kept))))
        self.begin()

    @staticmethod
    def _name(domain: int, kept: str) -> str:
        return f"domain{domain}_{kept.removeprefix('running_')}"

    def _norms(self) -> Iterator[tuple[str, nn.Module]]:
        for name, module in self.network.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
                yield name, module

    def __call__(self, domain: int, *inputs: Any) -> Any:
        """What the network answers with the statistics of `domain`, counted from 1; in training these take in the batch."""
        own = {f"{name}.{kept}": getattr(norm, self._name(domain, kept)) for name, norm in self._norms() for kept in KEPT}
        return functional_call(self.network, own, inputs)

    @torch.no_grad()
    def begin(self) -> None:
        """Every domain takes up the plain statistics."""
        for _, norm in self._norms():
            for kept in KEPT:
                for number in range(1, self.domains + 1):
                    getattr(norm, self._name(number, kept)).copy_(getattr(norm, kept))

    @torch.no_grad()
    def settle(self, domain: int | None = None) -> None:
        """Make the statistics of `domain`, or the mean over domains, the plain ones."""
        numbers = range(1, self.domains + 1) if domain is None else [domain]
        for _, norm in self._norms():
            for kept in KEPT:
                found = [cast("Tensor", getattr(norm, self._name(number, kept))) for number in numbers]
                cast("Tensor", getattr(norm, kept)).copy_(torch.stack(found).mean(0))
