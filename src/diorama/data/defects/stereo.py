"""Depth that does not fit its pair: a wrong baseline, focal length, depth scale or disparity scale, measured against what the two views
show (semi-global matching) and against the disparity that is given. A wrong factor is the same everywhere; noise is not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.data.defects.rule import Rule, Verdict, cleaned
from diorama.data.disparity import disparity_from_depth
from diorama.data.labels import LabelSet
from diorama.types import Frame

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

_WIDTH = 512
"""Pairs are matched at most so wide [px]: exact enough for a factor."""
_LEAST_WIDTH = 128
_LEAST_PX = 2.0
_LEAST_SHARE = 0.05
_FEW = 0.15
"""Share of the pixels that a matcher finds in a pair that is none; in pairs it finds half and more."""
_TOLERANCE = math.log(1.05)
_TIGHT, _LOOSE = 0.08, 0.4
"""Median absolute deviation of the logarithm of the ratio: one factor explains all; nothing fits."""


class Fit(NamedTuple):
    """Figures of one pair."""

    expected: str
    """What was compared with the disparity: `depth` (with its camera) or `disparity`."""
    share: float
    """Pixels that could be compared, of all."""
    ratio: float
    """Median log of expected over found disparity."""
    spread: float
    """Median absolute deviation of that log."""
    inverse: float
    """The same, were the expected values the inverse of what they are."""
    swapped: bool
    """The views match well only if exchanged."""
    baseline: float
    """Metres; 0 if there is none."""


def measure_given(frame: Frame, labels: LabelSet | None) -> Fit | None:  # noqa: ARG001
    """Depth with its camera against the disparity of the same frame."""
    expected = _expected(frame)
    if "disparity" not in frame or expected is None or expected[0] != "depth":
        return None
    return _compare(expected, cleaned(frame["disparity"]), 0.0, frame)


def measure_views(frame: Frame, labels: LabelSet | None) -> Fit | None:  # noqa: ARG001
    """Depth with its camera, else disparity, against what a matcher sees in the pair."""
    expected = _expected(frame)
    if "image" not in frame or "right" not in frame or expected is None:
        return None
    left, right = frame["image"], frame["right"]
    if left.shape != right.shape or left.shape[1] < _LEAST_WIDTH:
        return None
    scale = min(1.0, _WIDTH / left.shape[1])
    size = round(left.shape[1] * scale), round(left.shape[0] * scale)
    views = [np.asarray(cv2.resize(view, size, interpolation=cv2.INTER_AREA), np.uint8) for view in (left, right)]
    found = _matched(views[0], views[1])
    small = cv2.resize(expected[1], size, interpolation=cv2.INTER_NEAREST) * np.float32(scale)
    fit = _compare((expected[0], small), found, _LEAST_PX, frame)
    matched = float((found > 0).mean())
    if fit is not None and matched >= _FEW and fit.spread <= _LOOSE:
        return fit
    other = _matched(views[1], views[0])
    exchanged = _compare((expected[0], small), other, _LEAST_PX, frame)
    swapped = (matched < _FEW and (other > 0).mean() > 2 * _FEW) or (exchanged is not None and exchanged.spread < _TIGHT)
    return (fit or Fit(expected[0], 0.0, 0.0, np.inf, np.inf, False, 0.0))._replace(swapped=bool(swapped))


def judge_given(sample: Sequence[Fit]) -> Verdict | None:
    """Error where one factor lies between depth and disparity, or one is the inverse of what it should be."""
    return _judge(sample, "the disparity of the same frames")


def judge_views(sample: Sequence[Fit]) -> Verdict | None:
    """Error where one factor lies between the depth and what the views show, or the views are exchanged; warning where nothing fits."""
    swapped = [fit.swapped for fit in sample]
    if sum(swapped) > len(sample) / 2:
        return Verdict("error", f"the views of {sum(swapped)} of {len(sample)} pairs match only if exchanged. Swap left and right.")
    found = _judge(sample, "what the two views show")
    if found is not None:
        return found
    loose = [fit for fit in sample if fit.share > _LEAST_SHARE and fit.spread > _LOOSE]
    if len(loose) > len(sample) / 2:
        spread = float(np.median([fit.spread for fit in loose]))
        text = f"{sample[0].expected} does not fit the pairs: off by a factor of {math.exp(spread):.1f} either way in {len(loose)} of"
        return Verdict("warning", f"{text} {len(sample)}. Check that depth, left and right belong to the same moment, and are rectified.")
    return None


def _judge(sample: Sequence[Fit], other: str) -> Verdict | None:
    compared = [fit for fit in sample if fit.share > _LEAST_SHARE]
    if not compared:
        return None
    count = len(compared)
    inverse = [fit for fit in compared if fit.inverse < min(_TIGHT * 2, 0.5 * fit.spread)]
    if len(inverse) > count / 2:
        what = "depth is disparity" if compared[0].expected == "depth" else "disparity is depth"
        text = f"{what}: it rises where {other} rises, in {len(inverse)} of {count} frames" if what[:5] == "depth" else what
        return Verdict("error", f"{text}. Convert it: depth = focal length * baseline / disparity.")
    off = [fit for fit in compared if fit.spread < _TIGHT and abs(fit.ratio) > _TOLERANCE]
    if len(off) <= count / 2:
        return None
    ratio = math.exp(float(np.median([fit.ratio for fit in off])))
    if off[0].expected == "disparity":
        return Verdict("error", f"disparity is {ratio:.3g} times {other}, in {len(off)} of {count} pairs. Set the disparity scale.")
    base = float(np.median([fit.baseline for fit in off]))
    text = f"by depth and camera, points shift {ratio:.3g} times as far as by {other}, in {len(off)} of {count} frames"
    return Verdict("error", f"{text}: a baseline of {base / ratio:.3g} m would fit, {base:.3g} m is given. Mend it, or the scale of depth.")


def _expected(frame: Frame) -> tuple[str, F32] | None:
    """Disparity [px] that depth and camera predict, else the one that is given."""
    if "depth" in frame and "intrinsics" in frame and "baseline" in frame and "height" not in frame.get("meta", {}):
        focal, baseline = float(frame["intrinsics"][0, 0]), float(frame["baseline"])
        if focal > 0 and baseline > 0:
            return "depth", disparity_from_depth(cleaned(frame["depth"]), focal, baseline)
    return ("disparity", cleaned(frame["disparity"])) if "disparity" in frame else None


def _compare(expected: tuple[str, F32], found: F32, least: float, frame: Frame) -> Fit | None:
    key, values = expected
    both = (values > 0) & (found > least)
    if both.sum() < 500:
        return None
    should, does = np.log(values[both].astype(np.float64)), np.log(found[both].astype(np.float64))
    base = float(frame.get("baseline", 0.0))
    return Fit(key, float(both.mean()), float(np.median(should - does)), _deviation(should - does), _deviation(should + does), False, base)


def _deviation(values: NDArray[np.float64]) -> float:
    return float(np.median(np.abs(values - np.median(values))))


def _matched(left: U8, right: U8) -> F32:
    """`(H, W)` disparity [px] of the left view where the right view agrees, else 0."""
    one, other = _sgbm(left, right), _sgbm(right[:, ::-1], left[:, ::-1])[:, ::-1]
    columns = np.arange(left.shape[1]) - np.rint(one).astype(int)
    back = np.take_along_axis(other, columns.clip(0, left.shape[1] - 1), 1)
    return np.where((one > 0) & (columns >= 0) & (np.abs(one - back) < 1), one, 0).astype(np.float32)


def _sgbm(left: U8, right: U8) -> F32:
    searched = 16 * math.ceil(left.shape[1] / 64)
    window = 25 * 3
    matcher = cv2.StereoSGBM.create(
        0, searched, 5, 16 * window, 64 * window, -1, 63, 5, 100, 1, cv2.StereoSGBM_MODE_SGBM_3WAY
    )  # as in `diorama.stereo.matching`, which is a room above this one
    wide = [cv2.copyMakeBorder(np.ascontiguousarray(view), 0, 0, searched, 0, cv2.BORDER_REPLICATE) for view in (left, right)]
    return np.asarray(matcher.compute(wide[0], wide[1])[:, searched:] / np.float32(16), np.float32)


GIVEN = Rule("calibration", measure_given, judge_given)
VIEWS = Rule("pair", measure_views, judge_views, limit=8)
