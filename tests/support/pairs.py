"""Streets whose pseudo labels are exact: what a perfect matcher and a perfect teacher would say of both views."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from diorama.data.world.dataset import WorldStreet
from diorama.types import Frame


class LabelledStreets(WorldStreet):
    """Stereo pairs with true depth and labels of both views as their pseudo labels, trusted from left (0) to right (1)."""

    name: ClassVar[str] = "labelled_streets"

    def __init__(
        self, frames: int = 4, split: str = "train", size: tuple[int, int] = (32, 64), seed: int = 0, left_out: tuple[str, ...] = ()
    ) -> None:
        super().__init__(frames, split, size, "mixed", seed, None, True)
        pseudo = {"pseudo_depth", "pseudo_depth_right", "confidence", "confidence_right", "semantic_right"}
        self.left_out = left_out
        self.provides = (self.provides | pseudo) - set(left_out)

    def frame(self, index: int) -> Frame:
        """Frame number `index`."""
        left, right, _, _ = self.views(index)
        assert right is not None
        frame = super().frame(index)
        trust = np.tile(np.linspace(0, 1, self.size[1], dtype=np.float32), (self.size[0], 1))
        frame.update(
            pseudo_depth=left.depth, pseudo_depth_right=right.depth, confidence=trust, confidence_right=trust, semantic_right=right.semantic
        )
        for key in self.left_out:
            frame.pop(key, None)  # type: ignore[misc]
        return frame
