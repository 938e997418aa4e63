"""Settings of the majority class. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from diorama.errors import ConfigError


@dataclass(frozen=True)
class MajorityConfig:
    """Configuration of `majority`.

    Args:
        classes: semantic classes K.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"semantic"})
    """Keys of `Sample` that the method trains on."""
    tasks: ClassVar[str] = "semantic"

    classes: int = 19

    def __post_init__(self) -> None:
        if not 2 <= self.classes <= 254:
            raise ConfigError(f"model.classes is {self.classes}: give the number of classes, 2 to 254.")
