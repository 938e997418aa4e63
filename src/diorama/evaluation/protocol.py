"""How a number is computed, as an object that every number carries: two numbers of different protocols do not compare.

A protocol names the data set and split, where the truth comes from, crop, cap, floor, scale alignment, aggregation, classes, the
resize rule and, where points are the input, which points. Order of the rules on depth: truth <= `truth_floor` or >= `cap` is excluded,
then what lies outside the crop; predictions are aligned in scale first (if at all), then clipped to [`floor`, `cap`].
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from diorama.errors import ProtocolError, suggest
from diorama.evaluation import crops

Better = Literal["higher", "lower"]

UNITS = {"m": 1.0, "mm": 1000.0}
"""Unit that lengths are reported in -> how many of them make a metre."""

_NO_COMPARISON = {"name"}
_LATER = {
    "sparse": "", "parsed_by": "", "frame_size": "", "tolerance_px": 0.0, "relative_floor": 0.0, "height_floor": 0.0, "height_scale": 0.0,
}  # fmt: skip
"""Fields that came after the first version, with the value of a number stored before."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The rules behind a number. Depth in metres; the crop concerns depth only, semantics are counted on the whole image."""

    name: str
    dataset: str
    split: str
    truth: str
    """Where the ground truth comes from, e.g. "in-filled depth"."""
    unit: str = "m"
    """Of the reported lengths, "m" or "mm"; bounds are metres whatever it is."""
    crop: str = "none"
    cap: float = 80.0
    truth_floor: float = 1e-3
    floor: float = 1e-3
    """Predictions are clipped to [floor, cap]; inverse and log metrics depend on it."""
    align: Literal["none", "median", "median_global"] = "none"
    """Scale of the predictions: as they are, times median(truth) / median(prediction) of each image, or times the median of those
    factors over the data set."""
    aggregation: Literal["pooled", "per_image"] = "pooled"
    """Depth over all pixels of the split, or the mean of the images' own values. Semantics always come from one confusion matrix."""
    classes: int | None = None
    """Number of classes; None: whatever the data set has."""
    resize: str = "predictions to the truth's size, logits and depth bilinear"
    flip: bool = False
    """Mean with the prediction on the mirrored image."""
    truth_size: str = "native"
    """Filled in by an evaluation: HxW of the truth, or "mixed"."""
    frames: int | None = None
    """Filled in by an evaluation: the number of frames in the split."""
    sparse: str = ""
    """Where points are the input: which, as `points.points_text` writes it; empty: none, or all that the data have."""
    parsed_by: str = ""
    """Where photos made of the label maps are judged: the parser whose answer is compared with the maps; empty: nothing is made."""
    frame_size: str = ""
    """HxW that whole frames are brought to before anything else, labels and depth by the nearest pixel; empty: as stored."""
    tolerance_px: float = 0.0
    """Where the confidence of disparity is judged: largest difference of a right disparity from the truth; 0: it is not judged."""
    relative_floor: float = 0.0
    """Metres that the truth must be above for errors in parts of it, logarithms, inverses and deltas: they are undefined at height 0."""
    height_floor: float = 0.0
    """Metres that depth holds where a height is 0 or less, see `data.height`; 0: depth is a distance, not a height."""
    height_scale: float = 0.0
    """Metres that are 1.0 where heights are normalised to [0, 1]; the numbers themselves are of metres."""

    def __post_init__(self) -> None:
        crops.require_known(self.crop)
        if self.unit not in UNITS:
            raise ProtocolError(f"unknown unit '{self.unit}'. Choose {' or '.join(UNITS)}.")
        if self.align not in ("none", "median", "median_global"):
            raise ProtocolError(f"unknown scale alignment '{self.align}'. Choose none, median or median_global.")
        if self.aggregation not in ("pooled", "per_image"):
            raise ProtocolError(f"unknown aggregation '{self.aggregation}'. Choose pooled or per_image.")
        if self.frame_size and not re.fullmatch(r"[1-9]\d*x[1-9]\d*", self.frame_size):
            raise ProtocolError(f"frame size '{self.frame_size}'. Write height and width like 128x256, or leave it out.")
        if not 0 < self.floor < self.cap:
            raise ProtocolError(f"floor {self.floor} m and cap {self.cap} m: choose 0 < floor < cap.")

    def vary(self, **changes: Any) -> Protocol:
        """The same protocol with `changes`, which show in its name: `nyuv2_pooled+flip`, `kitti_eigen_raw+cap=50`.

        Raises:
            ProtocolError: a field does not exist, or its value is none of the allowed ones.
        """
        known = [field.name for field in fields(self)]
        for key in changes:
            if key not in known:
                raise ProtocolError(f"a protocol has no field '{key}': {suggest(key, known)}")
        changes = {key: value for key, value in changes.items() if value != getattr(self, key)}
        said = {"flip": "+flip", "align": f"+{changes.get('align')}"}
        suffix = "".join(said.get(key, f"+{key}={value}") for key, value in changes.items() if key != "name")
        return replace(self, **{"name": self.name + suffix, **changes})

    def region(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of the crop in an image of this size, see `crops.region`."""
        return crops.region(self.crop, height, width)

    def valid(self, depth: NDArray[np.float32]) -> NDArray[np.bool_]:
        """`(H, W)` mask of the true depth [m] that counts: finite, inside (truth_floor, cap) and inside the crop."""
        inside = np.zeros(depth.shape, bool)
        rows, columns = self.region(*depth.shape)
        inside[rows, columns] = True
        known: NDArray[np.bool_] = inside & (depth > self.truth_floor) & (depth < self.cap)
        return known

    def given(self, points: str) -> Protocol:
        """The protocol of data whose input points are `points` (see `points.points_text`).

        Raises:
            ProtocolError: it asks for other points.
        """
        if self.sparse and points != self.sparse:
            raise ProtocolError(
                f"protocol '{self.name}' has the input '{self.sparse}', the data give '{points or 'what they have'}'. "
                "Draw the points by its rule, or choose another protocol (`diorama evaluate --list-protocols`)."
            )
        return replace(self, sparse=points)

    def differences(self, other: Protocol) -> list[str]:
        """What differs between two protocols, `field: a != b` each; the name does not count."""
        pairs = ((field.name, getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return [f"{key}: {a!r} != {b!r}" for key, a, b in pairs if a != b and key not in _NO_COMPARISON]

    def require_same(self, other: Protocol) -> None:
        """Return if the two may be compared.

        Raises:
            ProtocolError: they differ; the text names the fields.
        """
        found = self.differences(other)
        if found:
            raise ProtocolError(
                f"'{self.name}' and '{other.name}' are different protocols ({'; '.join(found)}). "
                "Evaluate both under one protocol before comparing."
            )

    def to_dict(self) -> dict[str, Any]:
        """JSON types only; an infinite cap becomes null."""
        return {key: None if isinstance(value, float) and math.isinf(value) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Protocol:
        """The protocol that `to_dict` wrote; what came later than it is as it was then.

        Raises:
            ProtocolError: a field is missing or unknown, so the number is of another version of the rules.
        """
        stored = {**_LATER, **stored}
        known = {field.name for field in fields(cls)}
        if set(stored) != known:
            wrong = ", ".join(sorted(set(stored) ^ known))
            raise ProtocolError(f"the stored protocol has other fields ({wrong}). Evaluate the model again with this version.")
        return cls(**{**stored, "cap": math.inf if stored["cap"] is None else stored["cap"]})

    def facts(self) -> list[tuple[str, str]]:
        """What decides the number, for people: (what, how) in the order of the rules."""
        frames = f", {self.frames} frames" if self.frames is not None else ""
        size = f", {self.truth_size}" if self.truth_size != "native" else ""
        if self.tolerance_px:
            return [
                ("data", f"{self.dataset} {self.split}{frames}"),
                ("truth", self.truth + size),
                ("right", f"a disparity within {self.tolerance_px:g} px of the truth"),
                ("counted", "pixels of known disparity, occluded ones too"),
                ("confidence", "mean of per-image values"),
                ("flip averaging", "on" if self.flip else "off"),
            ]
        return [
            ("data", f"{self.dataset} {self.split}{frames}"),
            ("truth", self.truth + size),
            *([("input points", self.sparse)] if self.sparse else []),
            *([("frames", f"whole frames at {self.frame_size}, labels and depth by the nearest pixel")] if self.frame_size else []),
            *([("judged", f"photos made of the label maps, as {self.parsed_by} parses them")] if self.parsed_by else []),
            ("counted", f"{self.truth_floor:g} < depth < {self.cap:g} m"),
            ("crop", crops.describe(self.crop)),
            ("scale alignment", self.align),
            ("clip", f"predictions to [{self.floor:g}, {self.cap:g}] m, after alignment"),
            *self._heights(),
            ("depth", "pooled over all pixels" if self.aggregation == "pooled" else "mean of per-image values"),
            ("semantics", f"one confusion matrix, {self.classes} classes" if self.classes else "one confusion matrix, classes of the data"),
            ("resize", self.resize),
            ("flip averaging", "on" if self.flip else "off"),
            *([("lengths", f"in {self.unit}")] if self.unit != "m" else []),
        ]

    def _heights(self) -> list[tuple[str, str]]:
        found = []
        if self.height_floor:
            normalised = f"; {self.height_scale:g} m are 1 where heights are normalised" if self.height_scale else ""
            found.append(("heights", f"depth is height, 0 and below stored as {self.height_floor:g} m{normalised}"))
        if self.relative_floor:
            found.append(("relative", f"errors / d, logarithms, inverses and deltas where the truth is above {self.relative_floor:g} m"))
        return found

    def sentence(self) -> str:
        """The facts in one line."""
        return "; ".join(f"{what}: {how}" for what, how in self.facts()) + "."


@dataclass(frozen=True)
class Measured:
    """A number with all that is needed to understand it. `<`, `>` and `-` refuse a number of another metric or protocol."""

    name: str
    value: float
    unit: str
    better: Better
    frames: int
    protocol: Protocol
    interval: tuple[float, float] | None = None
    """95 % bootstrap interval over images."""

    def require_comparable(self, other: Measured) -> None:
        """Return if the two numbers may be compared.

        Raises:
            ProtocolError: another metric, or another protocol (the text names the fields that differ).
        """
        if (self.name, self.unit) != (other.name, other.unit):
            raise ProtocolError(f"{self.name} [{self.unit}] and {other.name} [{other.unit}] are different metrics. Compare equal ones.")
        self.protocol.require_same(other.protocol)

    def better_than(self, other: Measured) -> bool:
        """Whether this number is the better one of the two.

        Raises:
            ProtocolError: see `require_comparable`.
        """
        self.require_comparable(other)
        return self.value > other.value if self.better == "higher" else self.value < other.value

    def __sub__(self, other: Measured) -> float:
        self.require_comparable(other)
        return self.value - other.value

    def __lt__(self, other: Measured) -> bool:
        self.require_comparable(other)
        return self.value < other.value

    def __gt__(self, other: Measured) -> bool:
        self.require_comparable(other)
        return self.value > other.value

    def to_dict(self) -> dict[str, Any]:
        """The entry of this number in metrics.json (its protocol is written once beside all of them)."""
        value = self.value if math.isfinite(self.value) else None
        interval = list(self.interval) if self.interval else None
        return {"value": value, "unit": self.unit, "better": self.better, "interval": interval, "frames": self.frames}
