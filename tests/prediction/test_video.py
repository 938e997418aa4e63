"""Videos read and written a frame at a time: turned, cut off, of odd size, interrupted, or no videos at all."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from diorama.errors import ConfigError, DataError, ShapeError
from diorama.prediction.panels import Panels
from diorama.prediction.predictor import Predictor
from diorama.prediction.video import Video, open_video, write_video


def bright(number: int, height: int = 47, width: int = 63) -> NDArray[np.uint8]:
    """A grey of 6 * number with a green square at the upper left."""
    frame = np.full((height, width, 3), 6 * number, np.uint8)
    frame[:20, :20] = (0, 255, 0)
    return frame


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """40 frames at 12.5 per second."""
    with write_video(tmp_path / "clip.mp4", 12.5) as video:
        for number in range(40):
            video.add(bright(number))
    return tmp_path / "clip.mp4"


def written(path: Path, *frames: NDArray[np.uint8] | BaseException | type[BaseException]) -> None:
    """A video of these frames; an error among them comes up in the middle."""
    with write_video(path, 10) as video:
        for frame in frames:
            if not isinstance(frame, np.ndarray):
                raise frame
            video.add(frame)


def turned(path: Path) -> Path:
    """The video with the note that it is to be shown turned clockwise by 90 degrees: the matrix in its track header."""
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 4 + 4 + 20 + 16  # behind version and flags, times and ids, layer and volume
    assert struct.unpack(">9i", data[at : at + 36]) == (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    data[at : at + 36] = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    path.with_name("turned.mp4").write_bytes(data)
    return path.with_name("turned.mp4")


def test_frames_come_as_they_were_written(clip: Path) -> None:
    with open_video(clip) as video:
        assert (video.fps, video.count) == (12.5, 40)
        found = list(video.frames())
    assert [number for number, _ in found] == list(range(40))
    assert {frame.shape for _, frame in found} == {(48, 64, 3)}  # odd sides are made even
    for number, frame in found:
        assert abs(int(frame[40, 40].mean()) - 6 * number) <= 8
        assert frame[5, 5, 1] > 200 > 60 > frame[5, 5, 0]


def test_every_third_frame_and_no_more_than_asked(clip: Path) -> None:
    with open_video(clip) as video:
        assert [number for number, _ in video.frames(3)] == list(range(0, 40, 3))
    with open_video(clip) as video:
        assert [number for number, _ in video.frames(3, most=2)] == [0, 3]
        for every, most in ((0, None), (1, 0)):
            with pytest.raises(ConfigError, match="Choose 1"):
                next(video.frames(every, most))


def test_samples_are_spread_over_the_whole(clip: Path) -> None:
    with open_video(clip) as video:
        levels = [int(frame[40, 40, 0]) for frame in video.samples()]
    assert len(levels) == 9
    np.testing.assert_allclose(levels, 6 * np.array([0, 5, 10, 15, 20, 24, 29, 34, 39]), atol=8)


def test_a_turned_video_is_seen_upright(clip: Path) -> None:
    with open_video(turned(clip)) as video:
        _, frame = next(video.frames())
    assert frame.shape == (64, 48, 3)
    assert frame[5, -5, 1] > 200  # what was upper left is upper right
    assert frame[5, 5, 1] < 60


def test_a_video_that_is_cut_off_gives_what_is_left(
    clip: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    data = clip.read_bytes()
    (clip.parent / "holes.mp4").write_bytes(data[:2000] + bytes(len(data) // 2) + data[2000 + len(data) // 2 :])
    with open_video(clip.parent / "holes.mp4") as video:
        assert 0 < len(list(video.frames())) < 40
    assert "cut off, or damaged" in caplog.text
    (clip.parent / "cut.mp4").write_bytes(data[:2000])
    with pytest.raises(DataError, match="no video that can be decoded"), open_video(clip.parent / "cut.mp4"):
        pass
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "an empty file"),
        (b"#EXTM3U\nhttp://127.0.0.1:9/a.ts\n", "not a video"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "not a video"),
        (b"\0\0\0\x18ftypisom" + bytes(100), "no video that can be decoded"),
        (None, "no such file"),
    ],
)
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(DataError, match=says) as error, open_video(tmp_path / "a.mp4"):
        pass
    assert "\n" not in str(error.value)


def test_a_camera_that_is_not_there_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="no camera 987 can be opened"), open_video(987):
        pass
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, DataError("bad"), SystemExit(143)])
def test_an_interrupted_video_leaves_nothing(tmp_path: Path, stop: BaseException | type[BaseException]) -> None:
    (tmp_path / "a.mp4").write_bytes(b"earlier")
    with pytest.raises((KeyboardInterrupt, DataError, SystemExit)):
        written(tmp_path / "a.mp4", bright(1), stop)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"earlier"


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = Video.__init__

    def short(self: Video, *words: object) -> None:
        frames(self, *words)  # type: ignore[arg-type]
        self.count = 1

    monkeypatch.setattr(Video, "__init__", short)
    with pytest.raises(DataError, match="1 of 2 frames arrived"):
        written(tmp_path / "a.mp4", bright(0), bright(1))
    assert list(tmp_path.iterdir()) == []


def test_frames_of_two_sizes_are_no_video(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="Give frames of one size"):
        written(tmp_path / "a.mp4", bright(0), bright(0, 30, 30))


@pytest.mark.parametrize("fps", [0.5, 29.97, 240.0])
def test_the_speed_is_kept(tmp_path: Path, fps: float) -> None:
    with write_video(tmp_path / "a.mp4", fps) as video:
        for number in range(3):
            video.add(bright(number))
    with open_video(tmp_path / "a.mp4") as found:
        assert found.fps == pytest.approx(fps, rel=1e-3)


def test_one_scale_holds_for_all_frames(predictor: Predictor, half_red: NDArray[np.uint8]) -> None:
    """Depth is 4 + green: a frame of one depth has one colour, whatever else is in it, and the scale is that of all samples."""
    dark, light = np.zeros_like(half_red), np.full_like(half_red, 255)
    seen = [predictor.scene(photo) for photo in (dark, light)]
    panels = Panels(seen, tile=240)
    assert panels.range == pytest.approx((4, 5), abs=0.06)  # at least 1 % apart
    assert panels.size == (160, 240)
    drawn = [panels.draw(predictor.scene(photo)) for photo in (dark, light, half_red)]
    assert {picture.shape for picture in drawn} == {drawn[0].shape}
    row = 18 + 30 + 80  # a gap, a title, half of the picture
    column = 3 * 18 + 2 * 240
    near, far = (picture[row, column + 120] for picture in drawn[:2])
    assert np.abs(near.astype(int) - far).max() > 100
    np.testing.assert_allclose(drawn[2][18 + 30 + 1, column + 120], near, atol=12)  # the upper rim of the third is as near
    camera = Panels(seen[:1], ends=False)
    assert camera.range == pytest.approx((4 / 1.25, 4.04 * 1.25), rel=0.01)
    with pytest.raises(ConfigError, match="no frame was seen"):
        Panels([])
