"""Truth where there is none but the scan itself: returns withheld from the input, and which of them are counted.

Background returns that the scanner sees past the foreground are wrong for the pixels they are drawn at: counting them rewards predicting
them. Above the top input point nothing is known, and that part dominates the error. Both are therefore reported beside all targets.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diorama.data.occlusion import Withheld
from diorama.types import UNKNOWN_DEPTH

How = Literal["random", "lines"]
HOW: tuple[How, ...] = ("random", "lines")

SHARE = 0.2
"""Of the returns, or of the scan lines, that is withheld."""

TARGETS = {
    "": "all of them",
    "_unoccluded": "those that the camera sees",
    "_below": "those below the top input point",
    "_unoccluded_below": "those that the camera sees, below the top input point",
}
"""Which withheld returns are counted: end of a protocol's name -> words."""


def named(protocol: str) -> tuple[How, str] | None:
    """What is withheld and which targets are counted under the protocol of this name; None if it is of another kind."""
    kinds: dict[str, tuple[How, str]] = {f"kitti_withheld_{how}{end}": (how, end) for how in HOW for end in TARGETS}
    return kinds.get(protocol)


def counted(parts: Withheld) -> dict[str, NDArray[np.float32]]:
    """For each of `TARGETS` the withheld returns that it counts, `(H, W)` [m], 0 = not asked."""
    masks = {
        "": np.ones(parts.target.shape, bool),
        "_unoccluded": parts.unoccluded,
        "_below": parts.covered,
        "_unoccluded_below": parts.unoccluded & parts.covered,
    }
    return {end: np.where(masks[end], parts.target, np.float32(UNKNOWN_DEPTH)) for end in TARGETS}


def truth_text(how: How, targets: str, share: float = SHARE, seed: int = 0) -> str:
    """Where the truth comes from, in the words of a protocol."""
    what = f"{100 * share:g} % of the returns at random, seed {seed}" if how == "random" else f"one scan line in {max(round(1 / share), 2)}"
    return f"withheld from the input: {what}; counted: {TARGETS[targets]}"


def input_text(clean: bool = True) -> str:
    """What the network is given, in the words of a protocol."""
    return "the other returns, without those that the camera cannot see, judged by themselves" if clean else "the other returns as they are"
