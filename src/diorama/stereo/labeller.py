"""One pair in, its pseudo labels out: disparity, depth and confidence of both views, and what is to be remembered of the pair.

NumPy, OpenCV and, for a learned confidence, onnxruntime.
"""

from __future__ import annotations

import importlib
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.data.check import check_camera
from diorama.data.disparity import depth_from_disparity
from diorama.errors import ConfigError, DataError, UserError
from diorama.stereo.checks import LOOK_AGAIN, agreement, swapped, unrectified
from diorama.stereo.confidence import load_confidence
from diorama.stereo.consistency import Pair
from diorama.stereo.files import SUFFIXES, DisparityFolder
from diorama.stereo.labelling import Labelling
from diorama.stereo.matching import Matcher, Matching, match
from diorama.stereo.measures import cost_margin, left_right_confidence
from diorama.types import Frame

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

CLASSICAL = ("left_right", "cost_margin", "none")
BINS = 10
"""Of the confidence histogram, evenly over 0..1."""

_RIGHT = "_right"
_STILL, _MOSTLY = 0.5, 0.9  # px, share of pixels


class Labelled(NamedTuple):
    """What became of a pair."""

    maps: dict[str, NDArray[Any]]
    """Kind -> `(H, W)`."""
    record: dict[str, Any]
    """JSON types: tau, coverage, agreement, confidence, warnings, calibration."""


class Labeller:
    """Makes the pseudo labels of pairs.

    Args:
        labelling: how.

    Raises:
        ConfigError: no such matcher.
        ModelError: no such confidence.
        DataError: a folder of disparity that is none.
    """

    def __init__(self, labelling: Labelling) -> None:
        self.labelling = labelling
        self.seconds: defaultdict[str, float] = defaultdict(float)
        """Time spent on each step so far."""
        self._folders: dict[Path, tuple[DisparityFolder, frozenset[str]]] = {}
        self._matcher: Matching | None = None
        measures = labelling.confidence.split("*")
        self._measures = {name: None if name in CLASSICAL else load_confidence(name, threads=1) for name in measures}
        if labelling.matcher == "sgbm":
            self._matcher = labelling.sgbm
        elif is_callable_name(labelling.matcher):
            self._matcher = load_matcher(labelling.matcher)
        else:
            _require_files(Path(labelling.matcher))

    def __call__(self, frame: Frame, *, look: bool = True) -> Labelled:
        """The pseudo labels of a frame with `image` and `right`, and with `intrinsics` and `baseline` where they are needed.

        Args:
            frame: from a reader.
            look: whether to look if the views are rectified. Of a pair that hardly agrees that is looked at in any case.

        Raises:
            DataError: nothing was matched, or the calibration is missing or impossible.
            ShapeError: the views differ in size.
        """
        kinds = self.labelling.save
        started = time.perf_counter()
        pair, matcher = self._matched(frame)
        started = self._took("match", started)
        agreed = agreement(pair)
        left, right = frame["image"], frame["right"]
        found = {
            "still": _still(frame, pair),
            "unrectified": unrectified(left, right) if look or agreed < LOOK_AGAIN else None,
            "views": swapped(left, right, pair, matcher),
        }
        warnings = [{"kind": kind, "text": text} for kind, text in found.items() if text]
        warnings += [{"kind": "camera", "text": text} for _, text in check_camera(frame)]
        started = self._took("look", started)
        record: dict[str, Any] = {
            "size": list(frame["image"].shape[:2]),
            "coverage": _rounded(np.mean([(view.raw > 0).mean() for view in pair])),
            "agreement": _rounded(agreed),
        }
        if isinstance(matcher, Matcher):
            record["range_px"] = matcher.searched(frame["image"].shape[1])
        if "intrinsics" in frame and "baseline" in frame:
            record |= {"focal_px": float(frame["intrinsics"][0, 0]), "baseline": float(frame["baseline"])}
        maps: dict[str, NDArray[Any]] = {}
        for suffix, view in (("", pair.left), (_RIGHT, pair.right)):
            maps |= {f"disparity{suffix}": view.disparity, f"agrees{suffix}": view.agrees}
            if f"depth{suffix}" in kinds:
                maps[f"depth{suffix}"] = depth_from_disparity(view.disparity, *_camera(frame))
            if f"confidence{suffix}" in kinds:
                maps[f"confidence{suffix}"], record[f"tau{suffix}"] = self._confidence(frame, pair, matcher, right=bool(suffix))
        if "confidence" in maps:
            record["confidence"] = _rounded(maps["confidence"].mean(dtype=np.float64))
            record["histogram"] = histogram(maps["confidence"])
        self._took("confidence", started)
        return Labelled({kind: maps[kind] for kind in kinds if kind in maps}, {**record, "warnings": warnings})

    def _took(self, step: str, started: float) -> float:
        now = time.perf_counter()
        self.seconds[step] += now - started
        return now

    def _matched(self, frame: Frame) -> tuple[Pair, Matching | None]:
        """The pair, and what matched it; None for a folder."""
        labelling = self.labelling
        if self._matcher is None:
            folder, stem = self._file_of(frame)
            return folder.pair(stem, frame["image"].shape[:2], labelling.tolerance, labelling.fill or "missing"), None
        matcher = self._matcher
        if isinstance(matcher, Matcher) and labelling.min_depth is not None:
            matcher = matcher.for_camera(*_camera(frame), labelling.min_depth)
        return match(frame["image"], frame["right"], matcher, labelling.tolerance, labelling.fill or "inconsistent"), matcher

    def _file_of(self, frame: Frame) -> tuple[DisparityFolder, str]:
        """The folder and the stem of the disparity of a frame: by its image's name, else by its id, in the id's own folder if there."""
        frame_id = str(frame["meta"]["id"])
        group, _, last = frame_id.rpartition("/")
        root = Path(self.labelling.matcher)
        if group and (root / group).is_dir():  # drives that number their frames alike
            root = root / group
        if root not in self._folders:
            opened = DisparityFolder(root, self.labelling.disparity_scale)
            self._folders[root] = opened, frozenset(opened.ids)
        folder, known = self._folders[root]
        stems = (Path(str(frame["meta"]["path"])).stem, last, f"{last}_disparity")
        stem = next((stem for stem in stems if stem in known), last)
        if stem in known and root == Path(self.labelling.matcher) and not folder.belongs(stem, frame_id):
            raise DataError(
                f"{root}: no disparity of '{frame_id}', only one of that name in another folder. Match the pair, or leave it out."
            )
        return folder, stem

    def _confidence(self, frame: Frame, pair: Pair, matcher: Matching | None, *, right: bool) -> tuple[F32, float | None]:
        """`(H, W)` in 0..1 of a view, and the threshold of this image where the confidence says one."""
        measured = [self._measured(name, frame, pair, matcher, right=right) for name in self._measures]
        # the threshold of a network is that of its own confidence, not of a product
        return np.prod([one for one, _ in measured], axis=0, dtype=np.float32), measured[0][1] if len(measured) == 1 else None

    def _measured(self, name: str, frame: Frame, pair: Pair, matcher: Matching | None, *, right: bool) -> tuple[F32, float | None]:
        view, learned = pair.right if right else pair.left, self._measures[name]
        if learned is not None:
            return learned(view.disparity, mirror=right)
        if name == "left_right":
            return left_right_confidence(view), None
        range_px = matcher.searched(view.disparity.shape[1]) if isinstance(matcher, Matcher) else None
        return cost_margin(frame["image"], frame["right"], view.disparity, range_px=range_px, mirror=right), None


def is_callable_name(text: str) -> bool:
    """Whether this is `module:callable` (a drive letter of Windows is none)."""
    module, colon, name = text.partition(":")
    return bool(colon) and name.isidentifier() and all(part.isidentifier() for part in module.split("."))


def _require_files(folder: Path) -> None:
    """Return if this is a folder with disparity files."""
    if not folder.is_dir():
        raise ConfigError(f"no matcher '{folder}'. Give sgbm, a folder of disparity files, or module:callable.")
    if not any(path.suffix.lower() in SUFFIXES for path in folder.rglob("*")):
        raise DataError(f"{folder}: no disparity file ({', '.join(SUFFIXES)}). Point at the folder with the disparity files.")


def load_matcher(text: str) -> Matching:
    """The matcher `module:callable`; an error inside it becomes a `DataError` that names it.

    Raises:
        ConfigError: it cannot be imported, or is no callable.
    """
    module, _, name = text.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"matcher {text}: {error}. Put its module on PYTHONPATH, or install its package.") from error
    if not callable(found):
        raise ConfigError(f"matcher {text}: a {type(found).__name__}, expected a function (left, right) -> disparity. Correct the name.")
    chosen = cast("Callable[[U8, U8], Any]", found)

    def guarded(left: U8, right: U8) -> F32:
        try:
            return np.asarray(chosen(left, right), np.float32)
        except UserError:
            raise
        except Exception as error:
            said = " ".join(str(error).split())[:200]
            raise DataError(f"matcher {text} failed ({type(error).__name__}: {said}). Mend it, or leave the pair out.") from error

    return guarded


def _still(frame: Frame, pair: Pair) -> str | None:
    """A warning if hardly anything moves from one view to the other.

    Raises:
        DataError: the two are one picture.
    """
    share = float(np.mean((pair.left.raw > 0) & (pair.left.raw < _STILL)))
    if share < _MOSTLY:
        return None
    if np.array_equal(frame["image"], frame["right"]):
        raise DataError("both views are the same picture, so nothing has a disparity. Check the files of the right view.")
    return f"{share:.0%} of the pixels move by less than {_STILL:g} px between the views. Check that they are two cameras' of one moment."


def histogram(confidence: F32) -> list[int]:
    """How many pixels lie in each of `BINS` equal bins of 0..1; 1 belongs to the last one."""
    counts = [int(count) for count in np.asarray(cv2.calcHist([confidence], [0], None, [BINS], [0.0, 1.0])).reshape(-1)]
    return [*counts[:-1], confidence.size - sum(counts[:-1])]  # OpenCV leaves out the upper end


def _camera(frame: Frame) -> tuple[float, float]:
    """Focal length [px] and baseline [m]."""
    if "intrinsics" not in frame or "baseline" not in frame:
        raise DataError("no calibration, which depth needs. Add it, or leave depth out: --save disparity confidence agrees.")
    return float(frame["intrinsics"][0, 0]), float(frame["baseline"])


def _rounded(value: Any) -> float:
    return round(float(value), 6)
