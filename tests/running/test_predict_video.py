"""Videos and cameras through `predict`: one video of all frames, or whatever else is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import toy
from numpy.typing import NDArray

from diorama.cli import main
from diorama.errors import ConfigError, DataError
from diorama.prediction.predictor import Predictor, list_models
from diorama.prediction.video import open_video, write_video
from diorama.running.predict import predict
from diorama.running.predict_video import Frames


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(toy.RedModel(toy.toy_config([32, 48])), "red", "by hand")


def frame(number: int) -> NDArray[np.uint8]:
    """Green rises from frame to frame; the right half is red."""
    picture = np.zeros((33, 49, 3), np.uint8)
    picture[..., 1], picture[:, 24:, 0] = 25 * number, 255
    return picture


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Ten frames at 20 per second."""
    (tmp_path / "in").mkdir()
    with write_video(tmp_path / "in" / "clip.mp4", 20) as video:
        for number in range(10):
            video.add(frame(number))
    return tmp_path / "in" / "clip.mp4"


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_a_video_becomes_a_video_and_a_record(predictor: Predictor, clip: Path, tmp_path: Path) -> None:
    summary = predict(predictor, clip, tmp_path / "out")
    assert files(tmp_path / "out") == {"clip.overlay.mp4", "clip.json"}
    assert summary.exit_status == 0
    assert {path.name for path in summary.written} == {"clip.overlay.mp4", "clip.json"}
    with open_video(tmp_path / "out" / "clip.overlay.mp4") as video:
        found = list(video.frames())
        assert (video.fps, len(found)) == (20, 10)
    assert all(side % 2 == 0 for side in found[0][1].shape[:2])
    assert found[0][1].shape[1] >= 3 * 240
    record = json.loads((tmp_path / "out" / "clip.json").read_text())
    assert record["frames"] | {"predicted_per_second": 0} == {"predicted": 10, "every": 1, "in_file": 10, "predicted_per_second": 0}
    near, far = record["depth"]["colours"]
    assert near == pytest.approx(4, abs=0.04)
    assert far == pytest.approx(4 + 225 / 255, abs=0.05)
    assert record["semantic"]["shares"]["red"] == pytest.approx(0.52, abs=0.03)


def test_every_third_frame_keeps_the_length_in_time(predictor: Predictor, clip: Path, tmp_path: Path) -> None:
    predict(predictor, clip, tmp_path / "out", frames=Frames(every=3), save=("overlay",))
    with open_video(tmp_path / "out" / "clip.overlay.mp4") as video:
        assert (video.count, round(video.fps, 2)) == (4, 6.67)
    predict(predictor, clip, tmp_path / "few", frames=Frames(every=2, most=3), save=("depth", "json"))
    assert files(tmp_path / "few") == {"clip.json", "clip/000000.depth.png", "clip/000002.depth.png", "clip/000004.depth.png"}
    depth = cv2.imread(str(tmp_path / "few" / "clip" / "000004.depth.png"), cv2.IMREAD_UNCHANGED)
    assert depth is not None
    assert np.median(depth) / 256 == pytest.approx(4 + 100 / 255, abs=0.04)


def test_a_folder_holds_photos_and_videos(predictor: Predictor, clip: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(clip.parent / "a.png"), frame(3))
    (clip.parent / "bad.mp4").write_bytes(b"\0\0\0\x18ftypisom")
    summary = predict(predictor, clip.parent, tmp_path / "out")
    assert {path.name for path in summary.done} == {"a.png", "clip.mp4"}
    ((bad, said),) = summary.failed
    assert (bad.name, "no video that can be decoded" in said) == ("bad.mp4", True)
    assert {"clip.overlay.mp4", "a.semantic.png", "a.ply"} <= files(tmp_path / "out")
    with pytest.raises(DataError, match="exist already"):
        predict(predictor, clip, tmp_path / "out")


def test_an_interrupted_run_leaves_no_half_video(predictor: Predictor, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner, seen = Predictor.scene, []

    def scene(self: Predictor, *words: Any, **options: Any) -> Any:
        seen.append(words)
        if len(seen) == 14:  # behind the samples
            raise KeyboardInterrupt
        return inner(self, *words, **options)

    monkeypatch.setattr(Predictor, "scene", scene)
    with pytest.raises(KeyboardInterrupt):
        predict(predictor, clip, tmp_path / "out")
    assert files(tmp_path / "out") == set()


def test_a_camera_is_recorded_until_ctrl_c(predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Camera:
        """Frames without end; the user stops at the fifth."""

        def __init__(self, number: int) -> None:
            self.number = 0

        def isOpened(self) -> bool:  # noqa: N802
            return True

        def set(self, *_: float) -> bool:
            return False

        def get(self, what: int) -> float:
            return 0.0

        def grab(self) -> bool:
            self.number += 1
            if self.number == 6:
                raise KeyboardInterrupt
            return True

        def retrieve(self) -> tuple[bool, NDArray[np.uint8]]:
            return True, frame(self.number)[..., ::-1]

        def release(self) -> None:
            pass

    real = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda source, *rest: Camera(source) if isinstance(source, int) else real(source, *rest))
    summary = predict(predictor, "webcam:0", tmp_path / "out")
    assert summary.exit_status == 0
    record = json.loads((tmp_path / "out" / "webcam0.json").read_text())
    assert (record["frames"]["predicted"], record["source"]) == (4, "camera 0")  # the first one fixed the colours
    with open_video(tmp_path / "out" / "webcam0.overlay.mp4") as video:
        assert video.count == 4
    predict(predictor, 0, tmp_path / "two", frames=Frames(most=2))
    assert json.loads((tmp_path / "two" / "webcam0.json").read_text())["frames"]["predicted"] == 2


def test_what_a_video_cannot_have_is_refused(predictor: Predictor, clip: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="of a video there is no panel"):
        predict(predictor, clip, tmp_path / "out", save=("panel",))
    with pytest.raises(ConfigError, match="cannot go with a video"):
        predict(predictor, clip, tmp_path / "out", image=tmp_path)
    with pytest.raises(ConfigError, match="Choose 1 for all frames"):
        predict(predictor, clip, tmp_path / "out", frames=Frames(every=0))
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif("ci_net-nyuv2" not in list_models(), reason="the shipped model is not there")
def test_the_shell_predicts_on_a_video(clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["predict", str(clip), "--out", str(tmp_path / "out"), "--every", "5", "--frames", "2", "--threads", "1"]
    assert main(words) == 0
    said = capfd.readouterr()
    assert said.out.startswith("1 of 1 predicted")
    assert "clip.mp4: 2 frames" in said.err
    assert main(["predict", "webcam:987", "--out", str(tmp_path / "none"), "--threads", "1"]) == 1
    assert capfd.readouterr().err.count("\n") == 1
