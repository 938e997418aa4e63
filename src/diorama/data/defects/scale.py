"""Depth in another unit than metres: the median depth, and how far below the camera the lowest quarter of the frame lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from diorama.data.defects.rule import Rule, Verdict, cleaned, first, is_aerial, main_depth, some
from diorama.data.labels import LabelSet
from diorama.types import Frame

_FAR_M = 400.0
"""A median depth beyond this is no scene: the longest stereo and LiDAR ranges end before. Nor is it a height above ground."""
_NEAR_M = 0.05
_HIGH_M, _LOW_M = 3.0, {"": 0.05, "room": 0.05, "street": 0.5}
"""Cameras on cars are 0.9 to 2.5 m above what the lowest quarter of their frames shows, in hands 0.2 to 1.5 m."""
_ROOM_M = 0.8, 8.0
"""Median depth of rooms."""
_FOCAL_PER_WIDTH = 0.8
_UNSURE = 1.5
"""How far such a guessed focal length may be off."""
_PLACES = {"room": {"floor", "wall"}, "street": {"road", "sky"}}
"""Classes that say where a set was taken."""
_UNITS = (("millimetres", 1000.0), ("centimetres", 100.0), ("1/256 m", 256.0))


class Scale(NamedTuple):
    """Figures of one frame."""

    key: str
    median: float
    """Metres; of heights the 95th percentile."""
    below: float
    """Metres below the camera, the median over the lowest quarter of the rows; NaN where too little is known, and for heights."""
    sure: bool
    """The camera is known."""
    place: str
    """`room` or `street` where the classes say so, and no drone took it; else empty."""
    heights: bool


def measure(frame: Frame, labels: LabelSet | None) -> Scale | None:
    """Median depth and camera height of a frame with depth or sparse depth."""
    found = main_depth(frame)
    if found is None or not (found[1] > 0).any():
        return None
    key, depth = found
    height, width = depth.shape
    known = depth[depth > 0]
    if key == "depth" and is_aerial(frame, labels):
        return Scale(key, float(np.percentile(known, 95)), np.nan, False, "", True)
    matrix = frame.get("intrinsics")
    focal, middle = (_FOCAL_PER_WIDTH * width, (height - 1) / 2) if matrix is None else (float(matrix[1, 1]), float(matrix[1, 2]))
    start = height - height // 4
    rows, columns = np.nonzero(cleaned(depth[start:]))
    below = (rows + start - middle) / max(focal, 1e-6) * depth[start:][rows, columns]
    place = next((place for place, classes in _PLACES.items() if labels is not None and classes <= set(labels.classes)), "")
    at = float(np.median(below)) if len(below) >= 50 else np.nan
    return Scale(key, float(np.median(known)), at, matrix is not None, place, False)


def judge(sample: Sequence[Scale]) -> Verdict | None:
    """Error where no scene is so large; warning where a camera would hang in the air, touch the ground, or where all is tiny."""
    key, count = sample[0].key, len(sample)
    if sample[0].heights:
        huge = [one.heights and one.median > _FAR_M for one in sample]
        if not some(huge):
            return None
        text = f"95 % of the heights lie below {_middle(sample, huge):.0f} m only, in {sum(huge)} of {count} frames: centimetres or "
        return Verdict("error", f"{text}millimetres read as metres? Set the scale of the height files.", first(huge))
    huge = [one.median > _FAR_M or bool(one.place and one.median > 60 and one.below > 20) for one in sample]
    if some(huge):
        return Verdict("error", f"{_units(sample, huge, key)} Set the depth scale (folder: depth_scale or depth_unit).", first(huge))
    lifted = [one.median > 60 and one.below > 20 for one in sample]
    if some(lifted):
        text = f"{_units(sample, lifted, key)} Set the depth scale (folder: depth_scale or depth_unit), unless a drone took them."
        return Verdict("warning", text, first(lifted))
    tiny = [one.median < _NEAR_M for one in sample]
    if some(tiny):
        text = f"median {key} is {_middle(sample, tiny):.4f} m in {sum(tiny)} of {count} frames: a scale too large, or kilometres?"
        return Verdict("warning", f"{text} Set the depth scale (1000 for millimetres, 1 for metres), unless everything is that near.")
    return _camera_height(sample) or _room(sample)


def _camera_height(sample: Sequence[Scale]) -> Verdict | None:
    heights = [one.below for one in sample if np.isfinite(one.below)]
    if len(heights) < max(1, len(sample) / 2):
        return None
    slack = 1.0 if sample[0].sure else _UNSURE
    height, key = float(np.median(heights)), sample[0].key
    if _LOW_M[sample[0].place] / slack <= height <= _HIGH_M * slack:
        return None
    if height > 0:
        seen = f"by {key}{' and camera' if sample[0].sure else ''}, what the lowest rows show lies {height:.2g} m below the camera"
        asked = "is the depth scale (1000 for millimetres, 256 for KITTI), the focal length or the baseline wrong by a factor?"
        return Verdict("warning", f"{seen}: {asked} Check them, unless the camera really was so {'high' if height > 1 else 'near'}.")
    return None


def _room(sample: Sequence[Scale]) -> Verdict | None:
    median = float(np.median([one.median for one in sample]))
    if sample[0].place != "room" or _ROOM_M[0] <= median <= _ROOM_M[1]:
        return None
    text = f"median {sample[0].key} of these rooms is {median:.2g} m: is the depth scale wrong by a factor?"
    return Verdict(
        "warning", f"{text} Check it (1000 for millimetres, 256 for KITTI), unless they really are so {'large' if median > 1 else 'near'}."
    )


def _units(sample: Sequence[Scale], bad: Sequence[bool], key: str) -> str:
    """What the median would be in the units that would make it a scene."""
    median = _middle(sample, bad)
    below = [one.below for one, wrong in zip(sample, bad, strict=True) if wrong and np.isfinite(one.below)]
    height = float(np.median(below)) if below else np.nan
    fits = [
        (name, factor)
        for name, factor in _UNITS
        if 0.3 <= median / factor <= 80 and not height / factor > _HIGH_M * _UNSURE and not height / factor < _LOW_M[""]
    ]
    said = f"median {key} is {median:.0f} m in {sum(map(bool, bad))} of {len(sample)} frames"
    if not fits:
        return f"{said}: which unit is that?"
    listed = ", or ".join(f"{name} read as metres ({median / factor:.1f} m)" for name, factor in fits)
    return f"{said}: {listed}?"


def _middle(sample: Sequence[Scale], bad: Sequence[bool]) -> float:
    return float(np.median([one.median for one, wrong in zip(sample, bad, strict=True) if wrong]))


SCALE = Rule("scale", measure, judge)
