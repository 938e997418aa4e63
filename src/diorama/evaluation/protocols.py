"""How a number is computed, as an object that every number carries: two numbers of different protocols do not compare.

A protocol names the data set and split, where the truth comes from, crop, cap, floor, scale alignment, aggregation, classes and the
resize rule. Order of the rules on depth: truth <= `truth_floor` or >= `cap` is excluded, then what lies outside the crop; predictions
are aligned in scale first (if at all), then clipped to [`floor`, `cap`].
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from diorama.errors import ProtocolError, suggest

Better = Literal["higher", "lower"]

Crop = tuple[float, float, float, float]
"""Top, bottom, left, right as parts of height and width."""

CROPS: dict[str, Crop] = {
    "none": (0.0, 1.0, 0.0, 1.0),
    "eigen_nyu": (45 / 480, 471 / 480, 41 / 640, 601 / 640),
    "garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229),
    "eigen_kitti": (0.3324324, 0.91351351, 0.0359477, 0.96405229),
}

_KITTI = ("garg", "eigen_kitti")
_NO_COMPARISON = {"name"}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The rules behind a number. Depth in metres; the crop concerns depth only, semantics are counted on the whole image."""

    name: str
    dataset: str
    split: str
    truth: str
    """Where the ground truth comes from, e.g. "in-filled depth"."""
    unit: str = "m"
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

    def __post_init__(self) -> None:
        if self.crop not in CROPS:
            raise ProtocolError(f"unknown crop '{self.crop}': {suggest(self.crop, CROPS)}")
        if self.align not in ("none", "median", "median_global"):
            raise ProtocolError(f"unknown scale alignment '{self.align}'. Choose none, median or median_global.")
        if self.aggregation not in ("pooled", "per_image"):
            raise ProtocolError(f"unknown aggregation '{self.aggregation}'. Choose pooled or per_image.")
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
        """Rows and columns of the crop in an image of this size.

        The KITTI crops truncate as the published code does; the NYUv2 crop keeps the pixels whose centre lies inside, which is
        exactly [45:471, 41:601] at 480x640.
        """
        top, bottom, left, right = CROPS[self.crop]
        if self.crop in _KITTI:
            return slice(int(top * height), int(bottom * height)), slice(int(left * width), int(right * width))
        return slice(_centre(top * height), _centre(bottom * height)), slice(_centre(left * width), _centre(right * width))

    def valid(self, depth: NDArray[np.float32]) -> NDArray[np.bool_]:
        """`(H, W)` mask of the true depth [m] that counts: finite, inside (truth_floor, cap) and inside the crop."""
        inside = np.zeros(depth.shape, bool)
        rows, columns = self.region(*depth.shape)
        inside[rows, columns] = True
        known: NDArray[np.bool_] = inside & (depth > self.truth_floor) & (depth < self.cap)
        return known

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
        """The protocol that `to_dict` wrote.

        Raises:
            ProtocolError: a field is missing or unknown, so the number is of another version of the rules.
        """
        known = {field.name for field in fields(cls)}
        if set(stored) != known:
            wrong = ", ".join(sorted(set(stored) ^ known))
            raise ProtocolError(f"the stored protocol has other fields ({wrong}). Evaluate the model again with this version.")
        return cls(**{**stored, "cap": math.inf if stored["cap"] is None else stored["cap"]})

    def facts(self) -> list[tuple[str, str]]:
        """What decides the number, for people: (what, how) in the order of the rules."""
        frames = f", {self.frames} frames" if self.frames is not None else ""
        size = f", {self.truth_size}" if self.truth_size != "native" else ""
        top, bottom, left, right = CROPS[self.crop]
        crop = "none" if self.crop == "none" else f"{self.crop}: rows {top:.4f}..{bottom:.4f}, columns {left:.4f}..{right:.4f}"
        return [
            ("data", f"{self.dataset} {self.split}{frames}"),
            ("truth", self.truth + size),
            ("counted", f"{self.truth_floor:g} < depth < {self.cap:g} {self.unit}"),
            ("crop", crop),
            ("scale alignment", self.align),
            ("clip", f"predictions to [{self.floor:g}, {self.cap:g}] {self.unit}, after alignment"),
            ("depth", "pooled over all pixels" if self.aggregation == "pooled" else "mean of per-image values"),
            ("semantics", f"one confusion matrix, {self.classes} classes" if self.classes else "one confusion matrix, classes of the data"),
            ("resize", self.resize),
            ("flip averaging", "on" if self.flip else "off"),
        ]

    def sentence(self) -> str:
        """The facts in one line."""
        return "; ".join(f"{what}: {how}" for what, how in self.facts()) + "."


def _centre(edge: float) -> int:
    """First pixel whose centre (index + 1/2) is not before `edge`."""
    return math.ceil(edge - 0.5 - 1e-9)


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


def _registry(protocols: Iterable[Protocol]) -> dict[str, Protocol]:
    return {protocol.name: protocol for protocol in protocols}


def _nyuv2(suffix: str, classes: int) -> list[Protocol]:
    pooled = Protocol(
        name=f"nyuv2_pooled{suffix}", dataset="nyuv2", split="test", truth="in-filled depth and labels of the labelled set",
        cap=10.0, floor=0.1, classes=classes,
    )  # fmt: skip
    return [pooled, replace(pooled, name=f"nyuv2_eigen{suffix}", crop="eigen_nyu", aggregation="per_image")]


def _kitti(name: str, truth: str) -> list[Protocol]:
    garg = Protocol(name=name, dataset="kitti", split="eigen_test", truth=truth, crop="garg", cap=80.0, aggregation="per_image")
    return [garg, replace(garg, name=f"{name}_crop_eigen", crop="eigen_kitti")]


def _cityscapes(classes: int) -> Protocol:
    return Protocol(
        name=f"cityscapes{classes}", dataset="cityscapes", split="val", classes=classes, cap=80.0,
        truth="fine labels; depth = baseline * fx / disparity with each image's camera file; hood rows included",
    )  # fmt: skip


PROTOCOLS = _registry(
    [
        *_nyuv2("", 40),
        *_nyuv2("_13", 13),
        *_kitti("kitti_eigen_raw", "raw LiDAR (697 images)"),
        *_kitti("kitti_eigen_improved", "improved depth maps (652 images)"),
        _cityscapes(19),
        _cityscapes(7),
        Protocol(name="world_indoor", dataset="world_indoor", split="test", truth="exact, rendered", cap=10.0, floor=0.1, classes=13),
        Protocol(name="world_street", dataset="world_street", split="test", truth="exact, rendered", cap=80.0, classes=19),
        Protocol(name="camvid11", dataset="camvid", split="test", truth="labels, void ignored", classes=11),
        Protocol(name="folder", dataset="folder", split="test", truth="as stored"),
    ]
)


def by_name(name: str, **changes: Any) -> Protocol:
    """The protocol called `name`, e.g. `nyuv2_pooled`, with `changes` as in `Protocol.vary`.

    Raises:
        ProtocolError: there is none of this name, or a change is not possible.
    """
    if name not in PROTOCOLS:
        raise ProtocolError(f"unknown protocol '{name}': {suggest(name, PROTOCOLS)} See `diorama evaluate --list-protocols`.")
    return PROTOCOLS[name].vary(**changes)


def list_protocols() -> dict[str, str]:
    """Every protocol name -> the sentence that describes it."""
    return {name: protocol.sentence() for name, protocol in PROTOCOLS.items()}
