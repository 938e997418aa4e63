"""Videos and cameras frame by frame, and videos written frame by frame: one frame at a time is in memory, whatever the length."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.data.io import check_pixels, replacing
from diorama.errors import ConfigError, DataError, ShapeError

log = logging.getLogger("diorama")

DEFAULT_FPS = 25.0
"""Frames per second of a video or camera that does not say."""

_SAMPLES = 9
_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip", b"pnot"}


class Video:
    """An open video or camera; see `open_video`.

    Args:
        capture: OpenCV's reader.
        name: how errors call it.
        path: of the file; None of a camera.
    """

    def __init__(self, capture: Any, name: str, path: Path | None) -> None:
        self._capture, self.name, self.path = capture, name, path
        fps, count = (float(capture.get(what)) for what in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT))
        self.fps = fps if math.isfinite(fps) and 0.1 <= fps <= 1000 else DEFAULT_FPS
        """Frames per second, as the file says."""
        self.count = int(count) if path is not None and math.isfinite(count) and 0 < count < 1e9 else None
        """How many frames the file says that it has; None: it does not say, or it is a camera."""

    def frames(self, every: int = 1, most: int | None = None) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Number, from 0, and `(H, W, 3)` RGB of every `every`-th frame, turned as the file says.

        Args:
            every: 1 gives all frames.
            most: stop after so many; None: at the end.

        Raises:
            ConfigError: `every` or `most` is below 1.
            DataError: there is no frame, or a frame is too large.
        """
        check_every(every, most)
        number = given = 0
        while (most is None or given < most) and self._capture.grab():
            if number % every == 0:
                frame = self._decoded()
                if frame is None:
                    break
                yield number, frame
                given += 1
            number += 1
        if not given:
            raise DataError(f"{self.name}: no frame can be read. {self._advice()}")
        if (most is None or given < most) and self.count is not None and number < self.count - max(2, self.count // 50):
            log.warning("%s: ends after %d of %d frames: cut off, or damaged", self.name, number, self.count)

    def samples(self, most: int = _SAMPLES) -> Iterator[NDArray[np.uint8]]:
        """Frames spread evenly over a file, to see how near and far it looks; the first one alone if its length is unknown.

        The frames that `frames` gives are then no longer those from the beginning: open the file again for them.
        """
        for number in sorted({round(number) for number in np.linspace(0, (self.count or 1) - 1, most)}):
            if number:
                self._capture.set(cv2.CAP_PROP_POS_FRAMES, number)
            if self._capture.grab() and (frame := self._decoded()) is not None:
                yield frame

    def _decoded(self) -> NDArray[np.uint8] | None:
        good, frame = self._capture.retrieve()
        if not good or frame is None or not frame.size:
            return None
        check_pixels(self.name, frame.shape[1], frame.shape[0])
        return cast("NDArray[np.uint8]", cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB if frame.ndim == 2 else cv2.COLOR_BGR2RGB))

    def _advice(self) -> str:
        if self.path is None:
            return "Close what else uses the camera."
        return f"Play it to see whether it is damaged, or convert it: ffmpeg -i {self.path.name} whole.mp4."


def check_every(every: int, most: int | None = None) -> None:
    """Return if every `every`-th frame, and at most `most`, can be read.

    Raises:
        ConfigError: one of them is below 1.
    """
    if every < 1:
        raise ConfigError(f"every {every}th frame. Choose 1 for all frames, 2 for every other one.")
    if most is not None and most < 1:
        raise ConfigError(f"{most} frames. Choose 1 or more.")


@contextmanager
def open_video(source: str | Path | int) -> Iterator[Video]:
    """The video file, or the camera of that number.

    Raises:
        DataError: no such file or camera, or it is no video that can be decoded.
    """
    if isinstance(source, int):
        name, path = f"camera {source}", None
        with _silent():
            capture = cv2.VideoCapture(source)
        wrong = f"no camera {source} can be opened. Connect it, give another number (webcam:0 is the first), or give a video file."
    else:
        path = Path(source)
        name, wrong = str(path), f"{path}: no video that can be decoded, or damaged. Play it, or convert it with ffmpeg to .mp4."
        _check_magic(path)
        with _silent():  # a name is never taken for a pattern of many images: FFmpeg alone is asked
            capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened():
            raise DataError(wrong)
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        yield Video(capture, name, path)
    finally:
        capture.release()


def _check_magic(path: Path) -> None:
    """Refuse what only has the name of a video: FFmpeg would open a playlist, and the files and addresses that it names."""
    if not path.is_file():
        raise DataError(f"{path}: {'is a folder, expected a video' if path.is_dir() else 'no such file'}. Check the path.")
    with path.open("rb") as file:
        start = file.read(12)
    riff = start[:4] == b"RIFF" and start[8:] == b"AVI "
    if not (start[4:8] in _BOXES or riff or start[:4] == b"\x1aE\xdf\xa3" or start[:4] == b"GIF8"):
        what = "an empty file" if not start else "not a video (MP4, MOV, AVI, MKV, WebM, GIF), whatever its name says"
        raise DataError(f"{path}: {what}. Replace it, or convert it with ffmpeg to .mp4.")


@contextmanager
def _silent() -> Iterator[None]:
    """What is wrong is said once, in our words: OpenCV and FFmpeg keep theirs for themselves."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read when FFmpeg is first used
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


class VideoWriter:
    """A video that is being written; see `write_video`.

    Args:
        path: where OpenCV writes.
        fps: frames per second.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps, self.count = path, fps, 0
        self._writer: Any = None
        self._size = (0, 0)

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Append `(H, W, 3)` RGB; an odd row or column is repeated, because codecs halve the colours.

        Raises:
            ShapeError: not of the size of the first one.
            DataError: the video cannot be written.
        """
        if self._writer is None:
            self._size = picture.shape[0], picture.shape[1]
            height, width = (side + side % 2 for side in self._size)
            with _silent():
                code = cv2.VideoWriter.fourcc(*"mp4v")
                self._writer = cv2.VideoWriter(str(self.path), cv2.CAP_FFMPEG, code, self.fps, (width, height))
            if not self._writer.isOpened():
                raise DataError(f"{self.path}: the video cannot be written. Check the free space and the rights of the folder.")
        if picture.shape[:2] != self._size:
            raise ShapeError(f"a frame of {picture.shape[:2]} in a video of {self._size}. Give frames of one size.")
        even = np.pad(picture, ((0, self._size[0] % 2), (0, self._size[1] % 2), (0, 0)), "edge")
        self._writer.write(cv2.cvtColor(even, cv2.COLOR_RGB2BGR))
        self.count += 1

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()


@contextmanager
def write_video(path: str | Path, fps: float) -> Iterator[VideoWriter]:
    """An .mp4 (MPEG-4 part 2) that is `path` once the block has succeeded; an error or Ctrl-C leaves nothing.

    Args:
        path: ends with .mp4.
        fps: frames per second; what players cannot show is brought to 1/10..240.

    Raises:
        DataError: it cannot be written, or fewer frames arrived in it than were given (no space left).
    """
    with replacing(path) as temporary:
        writer = VideoWriter(temporary, min(max(fps, 0.1), 240.0))
        try:
            yield writer
        finally:
            writer.close()
        with open_video(temporary) as written:
            if written.count != writer.count:
                raise DataError(f"{path}: {written.count} of {writer.count} frames arrived. Check the free space.")
