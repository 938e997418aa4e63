"""Label maps as colour images that a generator can draw, and colour images as scores of classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diorama.errors import ConfigError, DataError, ShapeError
from diorama.types import IGNORE

BLACK = (0, 0, 0)
"""The colour of ignored pixels, as in `LabelSet.colour`."""


class Palette(nn.Module):
    """K class colours and, last, the black of ignored pixels, as values in -1..1.

    `colours` is the buffer `(K + 1, 3)`.

    Args:
        colours: RGB in 0..255 of train ids 0..K-1, as `LabelSet.palette`.

    Raises:
        ConfigError: there is no colour, one is not three values in 0..255, or two are equal (black is taken).
    """

    colours: Tensor

    def __init__(self, colours: Sequence[tuple[int, int, int]]) -> None:
        super().__init__()
        if not colours:
            raise ConfigError("a palette without colours; give one RGB colour per class.")
        named: dict[tuple[int, ...], str] = {}
        for name, colour in [("ignore", BLACK), *((f"class {number}", tuple(colour)) for number, colour in enumerate(colours))]:
            if len(colour) != 3 or min(colour) < 0 or max(colour) > 255:
                raise ConfigError(f"colour {colour} of {name}; give three values in 0..255.")
            if colour in named:
                raise ConfigError(f"{named[colour]} and {name} share the colour {colour}; give every class its own, none of them black.")
            named[colour] = name
        self.register_buffer("colours", torch.tensor([*colours, BLACK], dtype=torch.float32) / 127.5 - 1)

    def encode(self, semantic: Tensor) -> Tensor:
        """`(B, H, W)` train ids, 255 = ignore -> `(B, 3, H, W)` colours in -1..1.

        Raises:
            ShapeError: `semantic` is not `(B, H, W)`.
            DataError: a train id has no colour.
        """
        if semantic.ndim != 3:
            raise ShapeError(f"label maps {tuple(semantic.shape)}, expected (B, H, W); add the missing dimension or take the channel away.")
        semantic, last = semantic.as_subclass(Tensor).long(), len(self.colours) - 1
        ignored = semantic == IGNORE
        strange = semantic[((semantic >= last) | (semantic < 0)) & ~ignored]
        if strange.numel():
            raise DataError(f"train id {int(strange[0])} in a label map, the palette has 0..{last - 1}; use the label set of the data.")
        return self.colours[semantic.masked_fill(ignored, last)].movedim(-1, 1).contiguous()

    def logits(self, image: Tensor) -> Tensor:
        """Minus the squared distance of every pixel of `(B, 3, H, W)` to the colours: `(B, K + 1, H, W)` in float32, the last is ignore.

        The largest is the class of the nearest colour. Distances are those of values in -1..1.

        Raises:
            ShapeError: `image` is not `(B, 3, H, W)`.
        """
        if image.ndim != 4 or image.shape[1] != 3:
            raise ShapeError(f"image {tuple(image.shape)}, expected (B, 3, H, W) colours; pass the output of a semantic generator.")
        image = image.to(self.colours.dtype)
        # channel by channel and exact: the expanded product cancels, and autocast would round it
        red, green, blue = ((image[:, channel : channel + 1] - self.colours[:, channel].view(1, -1, 1, 1)).square() for channel in range(3))
        return -(red + green + blue)

    def forward(self, image: Tensor) -> Tensor:
        """As `logits`."""
        return self.logits(image)
