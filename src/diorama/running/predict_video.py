"""A video, or what a camera sees, as a video of photo, classes and depth side by side, one frame in memory at a time."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diorama.data.io import replacing
from diorama.errors import UserError
from diorama.prediction.panels import Panels
from diorama.prediction.predictor import Predictor
from diorama.prediction.result import ScenePrediction
from diorama.prediction.video import Video, open_video, write_video

log = logging.getLogger("diorama")

SUFFIXES = {"overlay": ".overlay.mp4", "json": ".json"}
"""What there is one file of, behind the stem; of the other kinds there is one file per frame in a folder of that name."""

DEFAULT_SAVE = ("json", "overlay")


@dataclass(frozen=True)
class Frames:
    """Which frames are looked at.

    Args:
        every: 1 for all, 2 for every other one.
        most: stop after so many; None: at the end, or of a camera at Ctrl-C.
    """

    every: int = 1
    most: int | None = None

    def of(self, count: int | None) -> int | None:
        """How many of `count` frames these are; None if nobody knows."""
        found = None if count is None else -(-count // self.every)
        return self.most if found is None else min(found, self.most or found)


def count_frames(path: Path, frames: Frames) -> int:
    """How many frames of a file will be predicted, as it says itself; 1 if it does not, or cannot be read."""
    try:
        with open_video(path) as video:
            return frames.of(video.count) or 1
    except UserError:
        return 1


def predict_video(
    predictor: Predictor,
    source: Path | int,
    out: Path,
    stem: str,
    kinds: Sequence[str],
    frames: Frames,
    camera: Mapping[str, Any],
    advance: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write what `kinds` names of one video; the written files come back, of kinds with a file per frame their folder.

    Depth has one colour scale: that of nine frames spread over the file, or of a camera's first one and somewhat more.

    Args:
        predictor: a model of photos.
        source: the file, or the number of a camera, which is read until Ctrl-C.
        out: folder of the results.
        stem: what they are called.
        kinds: of `result.SUFFIXES`, without panel.
        frames: which frames.
        camera: `intrinsics` or `field_of_view`, see `Predictor.scene`.
        advance: called after each frame with what to say of it.

    Raises:
        DataError: the video cannot be read, or a result not written.
    """
    with open_video(source) as video:
        seen = video.samples()
        panels = Panels((predictor.scene(frame, **camera) for frame in seen), ends=video.path is not None) if "overlay" in kinds else None
        if video.path is None:
            return _written(predictor, video, out, stem, kinds, frames, camera, panels, advance)
    with open_video(source) as video:
        return _written(predictor, video, out, stem, kinds, frames, camera, panels, advance)


def _written(
    predictor: Predictor,
    video: Video,
    out: Path,
    stem: str,
    kinds: Sequence[str],
    frames: Frames,
    camera: Mapping[str, Any],
    panels: Panels | None,
    advance: Callable[[str], None] | None,
) -> list[Path]:
    single = [kind for kind in kinds if kind not in SUFFIXES]
    told = _Told()
    started = time.monotonic()
    with ExitStack() as stack:
        written = [] if panels is None else [out / f"{stem}{SUFFIXES['overlay']}"]
        film = stack.enter_context(write_video(written[0], video.fps / frames.every)) if written else None
        try:
            for number, frame in video.frames(frames.every, frames.most):
                scene = predictor.scene(frame, **camera)
                if film is not None and panels is not None:
                    film.add(panels.draw(scene))
                if single:
                    scene.save(out / stem, f"{number:06d}", single)
                told.add(scene)
                if advance is not None:
                    advance(f"{stem} {told.count / (time.monotonic() - started):.1f} frames/s")
        except KeyboardInterrupt:
            if video.path is not None or not told.count:  # it is the way to end the video of a camera
                raise
    seconds = time.monotonic() - started
    log.info("%s: %d frames, %.1f per second", video.name, told.count, told.count / seconds)
    written += [out / stem] if single else []
    if "json" in kinds:
        record = told.record(predictor, video, frames, panels, round(told.count / seconds, 2))
        record["files"] = {"overlay": written[0].name} if panels is not None else {}
        record["files"] |= dict.fromkeys(single, f"{Path(stem).name}/")
        written.append(out / f"{stem}{SUFFIXES['json']}")
        with replacing(written[-1]) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return written


class _Told:
    """What is counted over all frames."""

    def __init__(self) -> None:
        self.count = 0
        self.last: ScenePrediction | None = None
        self._pixels = np.zeros(256, np.int64)
        self._least, self._most = np.inf, 0.0

    def add(self, scene: ScenePrediction) -> None:
        """Count one frame in; of its maps nothing but sums is kept."""
        self.count += 1
        self.last = scene
        if scene.semantic is not None:
            self._pixels += np.bincount(scene.semantic.ravel(), minlength=256)
        if scene.depth is not None and (scene.depth > 0).any():
            median = float(np.median(scene.depth[scene.depth > 0]))
            self._least, self._most = min(self._least, median), max(self._most, median)

    def record(self, predictor: Predictor, video: Video, frames: Frames, panels: Panels | None, speed: float) -> dict[str, Any]:
        """The JSON file of the video; JSON types only."""
        assert self.last is not None
        height, width = self.last.size
        found: dict[str, Any] = {
            "model": predictor.described,
            "source": video.name if video.path is None else video.path.name,
            "size": {"height": height, "width": width},
            "input_size": {"height": self.last.working_size[0], "width": self.last.working_size[1]},
            "frames_per_second": round(video.fps, 3),
            "frames": {"predicted": self.count, "every": frames.every, "in_file": video.count, "predicted_per_second": speed},
        }
        if predictor.labels is not None:
            known = max(1, int(self._pixels[: len(predictor.labels)].sum()))
            order = np.argsort(-self._pixels[: len(predictor.labels)], kind="stable")
            found["semantic"] = {
                "label_set": predictor.labels.name,
                "classes": list(predictor.labels.classes),
                "shares": {predictor.labels.classes[i]: round(int(self._pixels[i]) / known, 5) for i in order if self._pixels[i]},
            }
        if self._most > 0:
            found["depth"] = {
                "unit": "m",
                "medians": {"least": round(float(self._least), 4), "most": round(self._most, 4)},
                "colours": None if panels is None or panels.range is None else [round(end, 4) for end in panels.range],
            }
        return found
