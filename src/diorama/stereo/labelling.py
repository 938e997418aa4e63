"""How pairs are labelled: the settings that all frames of a folder of pseudo labels share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from diorama.errors import ConfigError
from diorama.stereo.consistency import Fill
from diorama.stereo.files import Encoding
from diorama.stereo.matching import Matcher
from diorama.stereo.pseudo_folder import check_kinds

STEREO_KINDS = ("disparity", "disparity_right", "depth", "confidence", "confidence_right", "agrees", "agrees_right")
"""What is saved of a pair unless something else is asked for."""


@dataclass(frozen=True)
class Labelling:
    """How pairs are labelled: what `pseudo.json` says of a folder.

    Raises:
        ConfigError: a value is impossible, or two contradict each other.
    """

    matcher: str = "sgbm"
    """`sgbm`, a folder of disparity files, or module and name of a callable with a colon between (see `stereo.matching`)."""
    range_px: int | None = None
    """Disparities that `sgbm` searches, 0 up to this [px]; None: an eighth of the width, or what `min_depth` says."""
    min_depth: float | None = None
    """The nearest thing [m]: `sgbm` searches as far as that moves, by the calibration of each image."""
    block: int = 5
    uniqueness: int = 0
    speckle: int = 200
    """Options of `sgbm`, see `stereo.matching.Matcher`."""
    tolerance: float = 1.0
    """How far the two views may differ where they agree [px]."""
    fill: Fill | None = None
    """What the neighbours in the row replace, see `consistency.checked`; None: inconsistent, of a folder missing."""
    disparity_scale: Encoding | float = "kitti"
    """Of PNG files in a folder of disparity: kitti, cityscapes, or file units per pixel."""
    confidence: str = "cost_margin"
    """`left_right`, `cost_margin`, `none`, a model of `ccnn` by its shipped name, run folder or file, or a product: `cost_margin*MODEL`."""
    save: tuple[str, ...] = STEREO_KINDS

    def __post_init__(self) -> None:
        kinds = check_kinds(self.save)
        if self.confidence == "none" and self.save != STEREO_KINDS and any(kind.startswith("confidence") for kind in kinds):
            raise ConfigError("confidence is to be saved, but --confidence is none. Leave one of the two out.")
        if self.confidence == "none":
            kinds = tuple(kind for kind in kinds if not kind.startswith("confidence"))
        object.__setattr__(self, "save", kinds)
        if "" in (parts := self.confidence.split("*")) or ("none" in parts and len(parts) > 1):
            raise ConfigError(f"--confidence {self.confidence}. Multiply measures or models by name, e.g. cost_margin*ccnn-world_street.")
        if self.range_px is not None and self.min_depth is not None:
            raise ConfigError("--range-px and --min-depth both say how far is searched. Give one of them.")
        if self.min_depth is not None and not 0 < self.min_depth < float("inf"):
            raise ConfigError(f"--min-depth {self.min_depth}. Give the distance of the nearest thing in metres, above 0.")
        if not 0 < self.tolerance < float("inf"):
            raise ConfigError(f"--tolerance {self.tolerance}. Choose a positive number of pixels.")
        if self.fill not in (None, "inconsistent", "missing"):
            raise ConfigError(f"--fill {self.fill}. Choose inconsistent or missing.")
        if self.matcher != "sgbm" and self.sgbm != Matcher():
            raise ConfigError(f"--range-px, --block, --uniqueness, --speckle are of sgbm, the matcher is {self.matcher}. Leave them out.")
        if self.matcher != "sgbm" and self.min_depth is not None:
            raise ConfigError(f"--min-depth is of sgbm, the matcher is {self.matcher}. Leave it out.")

    @property
    def sgbm(self) -> Matcher:
        """The matcher with its options."""
        return Matcher(range_px=self.range_px, block=self.block, uniqueness=self.uniqueness, speckle=self.speckle)

    @property
    def needs_camera(self) -> bool:
        """Whether intrinsics and baseline of each image are used."""
        return self.min_depth is not None or "depth" in self.save or "depth_right" in self.save

    @property
    def searched(self) -> str:
        """How far is searched, and why: a line for the log."""
        if self.matcher != "sgbm":
            return f"disparity comes from {self.matcher}"
        if self.range_px is not None:
            return f"disparity is searched up to {self.range_px} px, as --range-px says"
        if self.min_depth is not None:
            return f"disparity is searched as far as a thing at {self.min_depth:g} m moves, by the calibration of each image"
        return "disparity is searched up to an eighth of the width; --min-depth or --range-px say otherwise"

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return {**dataclasses.asdict(self), "save": list(self.save)}
