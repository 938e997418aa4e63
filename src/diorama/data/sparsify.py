"""Sparse depth from dense or raw depth: points, scan lines, holes, lost returns, noise, a misplaced scanner. NumPy and OpenCV.

`sparsify(depth, rules, seed)` is a pure function, the same in training and in evaluation. Its steps draw from streams of their own:
the points of a frame stay where they are when noise is switched on, and the 200 points of a seed are among its 500.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.data import patterns, scan
from diorama.data.occlusion import occluded
from diorama.data.scan import Lidar
from diorama.errors import ConfigError, ShapeError
from diorama.types import UNKNOWN_DEPTH

F32 = NDArray[np.float32]

NEAREST = 0.01
"""No noise brings a return nearer than this [m]: 0 would mean unknown."""

_COUNT, _POINTS, _HOLES, _DROP, _NOISE, _OUTLIERS, _MOVE = range(7)


@dataclass(frozen=True)
class Sparsify:
    """Which pixels of a depth map stay known, and what goes wrong with them; by default 500 random points, exact.

    The steps in their order: occluded returns go, `pattern` chooses pixels, `holes` and `drop` take some away, then noise, outliers and a
    misplaced scanner change what is left. A map that is sparse already is thinned in the same way.
    """

    pattern: Literal["all", "random", "grid", "lines", "corners"] = "random"
    """`all` known pixels, `random` ones, a regular `grid`, scan `lines`, or `corners` of the image (ORB; needs the image)."""
    source: Literal["auto", "depth", "sparse_depth"] = "auto"
    """The map that is thinned; `auto`: the data set's own `sparse_depth` if it has one, else its `depth`."""
    points: int | tuple[int, int] = 500
    """How many for `random`, `grid` (about) and `corners` (at most); two numbers: drawn for each frame, log-uniformly between them."""
    lines: int | tuple[int, ...] = 64
    """How many of the scanner's lines for `lines`, evenly spaced; several numbers: one of them is drawn for each frame."""
    scanner: Literal["camera", "kitti"] = "camera"
    """Whose lines: 64 over the field of view, seen from the `camera`; or those of the 64-beam scanner beside the cameras of `kitti`."""
    unoccluded: bool = False
    """Remove background returns that the scanner sees past the foreground (`occlusion.occluded`); for scans, not for `camera`."""
    step: float = 0.17
    """Angle [degrees] between two shots of a line where a dense map is scanned; 0: every column."""
    holes: float = 0.0
    """Share of the image's area, 0 to 0.95, where nothing is known, in blobs."""
    hole_size: float = 0.2
    """Distance between blobs as a share of the image's shorter side."""
    drop: float | tuple[float, float] = 0.0
    """Share of the returns that are lost, 0 to 1; two numbers: drawn for each frame between them."""
    noise: float = 0.0
    """Standard deviation of the depth [m]."""
    relative_noise: float = 0.0
    """Standard deviation as a share of the depth, added in quadrature."""
    outliers: float = 0.0
    """Share of the returns, 0 to 1, that get any depth between the frame's nearest and farthest instead of their own."""
    shift: float = 0.0
    """How far [m] the scanner is from where the calibration says; the direction is drawn for each frame. Needs the intrinsics."""
    turn: float = 0.0
    """How far [degrees] it is turned, about an axis drawn for each frame. Needs the intrinsics."""
    withhold: bool = False
    """Where there is no truth but the scan: what the rules take out of it becomes the depth to learn (see `drawn`)."""

    def __post_init__(self) -> None:
        if self.pattern not in ("all", "random", "grid", "lines", "corners"):
            raise ConfigError(f"sparse.pattern is '{self.pattern}': choose all, random, grid, lines or corners.")
        if self.source not in ("auto", "depth", "sparse_depth"):
            raise ConfigError(f"sparse.source is '{self.source}': choose auto, depth or sparse_depth.")
        if self.scanner not in ("camera", "kitti"):
            raise ConfigError(f"sparse.scanner is '{self.scanner}': choose camera or kitti.")
        if self.unoccluded and self.scanner == "camera":
            raise ConfigError("sparse.unoccluded has no meaning for a scanner in the camera's place. Set sparse.scanner=kitti.")
        if self.withhold and self.source == "depth":
            raise ConfigError("sparse.withhold divides a scan into input and truth, so sparse.source cannot be depth. Leave one out.")
        points, lines, drop = _numbers(self.points), _numbers(self.lines), _numbers(self.drop)
        if self.withhold and self.pattern == "all" and not self.holes and not any(drop):
            raise ConfigError("sparse.withhold with all points leaves nothing to learn. Set sparse.drop=0.2, or sparse.pattern=lines.")
        if len(points) not in (1, 2) or not 1 <= points[0] <= points[-1]:
            raise ConfigError(f"sparse.points is {self.points}: give a number of at least 1, or two rising ones, e.g. [50, 5000].")
        if not lines or not all(1 <= n <= 64 for n in lines):
            raise ConfigError(f"sparse.lines is {self.lines}: give numbers between 1 and 64, e.g. 16 or [64, 32, 16].")
        if len(drop) not in (1, 2) or not 0 <= drop[0] <= drop[-1] <= 1:
            raise ConfigError(f"sparse.drop is {self.drop}: give a share between 0 and 1, or two rising ones, e.g. [0.0, 0.9].")
        if not 0 <= self.outliers <= 1:
            raise ConfigError(f"sparse.outliers is {self.outliers}: give a share between 0 and 1.")
        if not 0 <= self.holes <= 0.95:
            raise ConfigError(f"sparse.holes is {self.holes}: give a share of the area between 0 and 0.95.")
        if not 0 < self.hole_size <= 1:
            raise ConfigError(f"sparse.hole_size is {self.hole_size}: give a share of the shorter side above 0, at most 1.")
        for name in ("noise", "relative_noise", "shift", "turn", "step"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ConfigError(f"sparse.{name} is {getattr(self, name)}: give a number of at least 0.")

    @property
    def needs(self) -> frozenset[str]:
        """Keys of `Frame` that `sparsify` must know beside the depth."""
        return frozenset({"intrinsics"} if self.needs_intrinsics else ()) | frozenset({"image"} if self.pattern == "corners" else ())

    @property
    def needs_intrinsics(self) -> bool:
        """Whether `sparsify` must know the camera."""
        return self.pattern == "lines" or self.unoccluded or self.shift > 0 or self.turn > 0

    def key(self, provided: Collection[str]) -> Literal["depth", "sparse_depth"]:
        """Which of the keys `provided` by a data set is thinned.

        Raises:
            ConfigError: the one that `source` asks for, or with `auto` either, is not among them.
        """
        source = "sparse_depth" if self.withhold else self.source
        wanted: tuple[Literal["depth", "sparse_depth"], ...] = ("sparse_depth", "depth") if source == "auto" else (source,)
        for key in wanted:
            if key in provided:
                return key
        raise ConfigError(f"sparse depth is made of '{wanted[-1]}', which this data set lacks. Use one with depth: `diorama data list`.")


_Number = TypeVar("_Number", int, float)


def _numbers(value: _Number | tuple[_Number, ...]) -> tuple[_Number, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def frame_seed(seed: int, frame_id: str) -> int:
    """A number of 63 bits for one frame: the same on every machine, whatever the order or the number of frames."""
    return int.from_bytes(hashlib.sha256(f"{seed} {frame_id}".encode()).digest()[:8], "big") >> 1


def sparsify(
    depth: F32,
    rules: Sparsify,
    seed: int,
    *,
    intrinsics: NDArray[np.float64] | None = None,
    image: NDArray[np.uint8] | None = None,
    lidar: Lidar | None = None,
    scanned: bool | None = None,
) -> F32:
    """`(H, W)` sparse depth [m], 0 = unknown: what `rules` leave of `depth`.

    Args:
        depth: `(H, W)` [m], 0 = unknown; dense, or sparse already.
        rules: see `Sparsify`.
        seed: of this frame (`frame_seed`) or sample; everything random is a function of it.
        intrinsics: `(3, 3)` [px], pixel centres at integers; for scan lines, occlusion and a misplaced scanner.
        image: `(H, W, 3)` RGB; for corners.
        lidar: where the scanner of this frame stands, if it is not that of `rules.scanner`.
        scanned: whether `depth` is a scan, whose lines are thinned, rather than a dense map that is scanned; None: seen from `depth`.

    Raises:
        ConfigError: the rules need intrinsics or an image that are not given.
        ShapeError: `depth` is not `(H, W)`.
    """
    if depth.ndim != 2:
        raise ShapeError(f"depth has shape {depth.shape}, expected (H, W). Pass one map without a channel axis.")
    if rules.needs_intrinsics and intrinsics is None:
        raise ConfigError("these sparse rules need the camera. Use a data set with intrinsics, or sparse.pattern=random.")
    if rules.pattern == "corners" and image is None:
        raise ConfigError("sparse.pattern=corners needs the image. Use a data set with images, or sparse.pattern=random.")
    sparse = np.array(depth, np.float32)
    if rules.unoccluded and intrinsics is not None:
        sparse[occluded(sparse, intrinsics, lidar or scan.KITTI)] = UNKNOWN_DEPTH
    sparse = _chosen(sparse, rules, seed, intrinsics, image, lidar, scanned)
    if rules.holes > 0:
        sparse[patterns.blobs(sparse.shape, rules.holes, rules.hole_size, _random(seed, _HOLES))] = UNKNOWN_DEPTH
    _drop(sparse, rules, _random(seed, _DROP))
    _disturb(sparse, rules, seed)
    if (rules.shift > 0 or rules.turn > 0) and intrinsics is not None:
        sparse = scan.moved(sparse, intrinsics, *_misplacement(rules, _random(seed, _MOVE)))
    return sparse


def drawn(
    depth: F32,
    rules: Sparsify,
    seed: int,
    **known: Any,
) -> dict[str, F32]:
    """What a sample gets by `rules`, under its keys: `sparse_depth`, and with `rules.withhold` also `depth`.

    That depth is the scan where `sparse_depth` is empty. With `rules.unoccluded` neither of the two holds returns that the camera
    cannot see. Arguments, those of `known` included, and errors are those of `sparsify`.
    """
    if not rules.withhold:
        return {"sparse_depth": sparsify(depth, rules, seed, **known)}
    whole = sparsify(depth, Sparsify(pattern="all", scanner=rules.scanner, unoccluded=rules.unoccluded), seed, **known)
    sparse = sparsify(whole, replace(rules, unoccluded=False), seed, **known)
    return {"sparse_depth": sparse, "depth": np.where(sparse > 0, np.float32(UNKNOWN_DEPTH), whole)}


def _random(seed: int, part: int) -> np.random.Generator:
    return np.random.default_rng([seed % 2**64, part])


def _chosen(
    depth: F32,
    rules: Sparsify,
    seed: int,
    intrinsics: NDArray[np.float64] | None,
    image: NDArray[np.uint8] | None,
    lidar: Lidar | None,
    scanned: bool | None,
) -> F32:
    """The pixels of the pattern."""
    if rules.pattern == "all":
        return depth
    counts = _random(seed, _COUNT)
    if rules.pattern == "lines":
        assert intrinsics is not None  # `sparsify` has asked for them
        lines = int(counts.choice(np.array(_numbers(rules.lines))))
        known = lidar or (scan.KITTI if rules.scanner == "kitti" else scan.camera_lidar(intrinsics, depth.shape))
        return scan.thinned(depth, intrinsics, lines, known, rules.step, scanned)
    low, high = min(_numbers(rules.points)), max(_numbers(rules.points))
    count = low if low == high else round(np.exp(counts.uniform(np.log(low), np.log(high))))
    if rules.pattern == "random":
        places = patterns.some(np.flatnonzero(depth), count, _random(seed, _POINTS))
    elif rules.pattern == "grid":
        places = patterns.grid(depth, count)
    else:
        assert image is not None
        places = patterns.corners(depth, count, image)
    sparse = np.zeros_like(depth)
    sparse.ravel()[places] = depth.ravel()[places]
    return sparse


def _drop(sparse: F32, rules: Sparsify, random: np.random.Generator) -> None:
    drop = _numbers(rules.drop)
    share = drop[0] if drop[0] == drop[-1] else random.uniform(drop[0], drop[-1])
    if share > 0:
        places = np.flatnonzero(sparse)
        sparse.ravel()[patterns.some(places, round(share * len(places)), random)] = UNKNOWN_DEPTH


def _disturb(sparse: F32, rules: Sparsify, seed: int) -> None:
    """Noise and outliers, in place."""
    places = np.flatnonzero(sparse)
    if not len(places):
        return
    true = sparse.ravel()[places]
    if rules.noise > 0 or rules.relative_noise > 0:
        absolute, relative = _random(seed, _NOISE).standard_normal((2, len(places)), np.float32)
        noisy = true + np.float32(rules.noise) * absolute + np.float32(rules.relative_noise) * true * relative
        sparse.ravel()[places] = np.maximum(noisy, np.float32(NEAREST))
    if rules.outliers > 0:
        random = _random(seed, _OUTLIERS)
        wrong = patterns.some(places, round(rules.outliers * len(places)), random)
        sparse.ravel()[wrong] = random.uniform(true.min(), true.max(), len(wrong))


def _misplacement(rules: Sparsify, random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotation `(3, 3)` and translation `(3,)` [m] of the given sizes in directions uniform on the sphere."""
    directions = random.standard_normal((2, 3))
    axis, way = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    rotation = np.asarray(cv2.Rodrigues(axis * np.radians(rules.turn))[0], np.float64)
    return rotation, way * rules.shift
