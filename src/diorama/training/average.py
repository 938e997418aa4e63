"""Moving average of the weights, the copy that is evaluated and saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn


class MovingAverage:
    """Exponential moving average of all floating tensors of a module's state.

    Early averages would remember the initialisation: the decay starts at 0.1 and rises to `decay` as (1 + n) / (10 + n).

    Args:
        module: whose weights are followed.
        decay: 0 turns the average off; `applied` then changes nothing.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay, self.updates = module, decay, 0
        self.state = {key: value.detach().clone() for key, value in module.state_dict().items()} if decay else {}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        if not self.decay:
            return
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for key, value in self.module.state_dict().items():
            if value.dtype.is_floating_point:
                self.state[key].lerp_(value, 1 - decay)
            else:
                self.state[key].copy_(value)

    @torch.no_grad()
    def restart(self, prefixes: tuple[str, ...]) -> None:
        """Forget the past of tensors whose names begin with one of `prefixes`: they were set anew; the decay rises again from 0.1."""
        if not self.decay or not prefixes:
            return
        self.updates = 0
        for key, value in self.module.state_dict().items():
            if key.startswith(prefixes):
                self.state[key].copy_(value)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module holds the average inside the block and its own weights after it."""
        if not self.decay:
            yield
            return
        own = {key: value.detach().clone() for key, value in self.module.state_dict().items()}
        self.module.load_state_dict(self.state)
        try:
            yield
        finally:
            self.module.load_state_dict(own)

    def state_dict(self) -> dict[str, Tensor | int | dict[str, Tensor]]:
        """What a checkpoint keeps."""
        return {"updates": self.updates, "state": self.state}

    def load_state_dict(self, saved: dict[str, object]) -> None:
        """Take up a saved average; one that was saved without an average starts from the module's weights.

        Raises:
            KeyError: saved from another module.
        """
        if not self.decay:
            return
        state: Any = saved["state"]
        self.updates = int(cast("Any", saved["updates"]))
        source = state or self.module.state_dict()
        self.state = {key: source[key].detach().clone().to(value.device) for key, value in self.state.items()}
