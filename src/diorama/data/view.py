"""How the network sees a frame: its size and what training varies. Torch-free, so that configurations parse without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from diorama.errors import ConfigError

SMALLEST = 32
"""Pixels that a side must have at least to be learnt from: every network here ends in features at a 32nd of its size or pads to that."""


@dataclass(frozen=True)
class View:
    """Size of the network's input and the strengths of the augmentation; by default nothing is varied.

    Every frame is first brought to `size` (evaluation stops there). Training then magnifies it by a factor from `zoom`, turns it by up
    to `rotate` degrees, cuts a window of size `crop` at a random place, mirrors it with probability `flip` and shifts its colours.
    """

    size: tuple[int, int] = (240, 320)
    """Height and width [px] that the whole frame is resized to."""
    crop: tuple[int, int] | None = None
    """Height and width [px] of the training window; None: `size`."""
    zoom: tuple[float, float] = (1.0, 1.0)
    """Range of the magnification (log-uniform)."""
    zoom_changes: Literal["depth", "intrinsics"] = "depth"
    """What a magnification by z means: depth / z seen by the same camera (for networks that see no intrinsics), or focal length * z."""
    flip: float = 0.0
    """Probability of a mirror. A stereo pair also swaps its views, which asks for labels of both views or of none."""
    rotate: float = 0.0
    """Largest turn [degrees]; uncovered corners become unlabelled. Not for stereo pairs."""
    colour: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Strengths of brightness, contrast, saturation (factor in 1 - s .. 1 + s) and hue (turn of -s .. s, 0.5 = half the circle)."""
    cache: bool = False
    """Keep decoded frames at `size` on disk."""

    def __post_init__(self) -> None:
        for name in ("size", "crop"):
            extent = getattr(self, name)
            if extent is not None and (len(extent) != 2 or min(extent) < 1):
                raise ConfigError(f"view.{name} is {list(extent)}: give height and width in pixels, e.g. [240, 320].")
        if len(self.zoom) != 2 or not 0 < self.zoom[0] <= self.zoom[1]:
            raise ConfigError(f"view.zoom is {list(self.zoom)}: give two rising factors above 0, e.g. [0.9, 1.6].")
        if not 0 <= self.flip <= 1:
            raise ConfigError(f"view.flip is {self.flip}: give a probability between 0 and 1.")
        if not 0 <= self.rotate <= 45:
            raise ConfigError(f"view.rotate is {self.rotate}: give degrees between 0 and 45.")
        if self.zoom_changes not in ("depth", "intrinsics"):
            raise ConfigError(f"view.zoom_changes is '{self.zoom_changes}': choose depth or intrinsics.")
        if len(self.colour) != 4 or not all(0 <= s <= 1 for s in self.colour[:3]) or not 0 <= self.colour[3] <= 0.5:
            raise ConfigError(f"view.colour is {list(self.colour)}: give brightness, contrast, saturation (0 to 1) and hue (0 to 0.5).")

    def require_smallest(self) -> None:
        """Return if a network can learn from views of this size; smaller ones are for looking at data.

        Raises:
            ConfigError: a side of `size` or `crop` is below 32 pixels.
        """
        for name, extent in (("size", self.size), ("crop", self.crop)):
            if extent is not None and min(extent) < SMALLEST:
                raise ConfigError(f"view.{name} is {list(extent)}: networks need at least {SMALLEST} pixels a side. Set e.g. [240, 320].")

    @property
    def window(self) -> tuple[int, int]:
        """Height and width of a training sample [px]."""
        return self.crop or self.size
