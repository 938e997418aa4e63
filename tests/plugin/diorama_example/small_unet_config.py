"""Settings of the small U-Net. Imports no torch, so that help and checks answer at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from diorama.errors import ConfigError


@dataclass(frozen=True)
class SmallUNetConfig:
    """Configuration of `small_unet`.

    Args:
        classes: semantic classes K.
        depth_cap: farthest depth that is predicted [m].
        channels: of the first layer; each further one has twice as many.
        rate: learning rate.
        epochs: length of the training.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"image", "semantic", "depth"})
    tasks: ClassVar[str] = "both"

    classes: int = 13
    depth_cap: float = 10.0
    channels: int = 16
    rate: float = 3e-3
    epochs: float = 10

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise ConfigError(f"model.channels is {self.channels}: give 1 or more.")
