"""Whatever is predicted on, one scene after the other, with the name that its results get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from diorama.errors import ConfigError, DataError, ShapeError
from diorama.prediction.predictor import Predictor
from diorama.prediction.stream import supplied
from diorama.prediction.video import write_video
from diorama.types import Prediction


def stems(predictor: Predictor, source: Any, **options: Any) -> list[str | None]:
    return [scene.stem for scene in predictor.predict(source, **options)]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Five frames of 24 x 32, ever brighter."""
    with write_video(tmp_path / "clip.mp4", 10) as video:
        for number in range(5):
            video.add(np.full((24, 32, 3), 50 * number, np.uint8))
    return tmp_path / "clip.mp4"


class Both:
    """Depth of a photo where points are given: the points, else 1 m."""

    def __init__(self, config: Any) -> None:
        self.config = {**config, "labels": None, "input": {"keys": ["image", "sparse_depth"], "size": None, "multiple_of": 1}}

    def __call__(self, inputs: Any) -> Prediction:
        points = inputs["sparse_depth"]
        return Prediction(depth=np.where(points > 0, points, 1 + inputs["image"][:, :1]))


def test_arrays_images_and_tensors_give_one_answer(predictor: Predictor, half_red: NDArray[np.uint8], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    Image.fromarray(half_red).save(tmp_path / "a.png")
    stack = np.stack([half_red, half_red])
    tensor = torch.from_numpy(half_red.transpose(2, 0, 1).copy())
    sources = (tmp_path / "a.png", str(tmp_path / "a.png"), half_red, Image.fromarray(half_red), tensor, tensor / 255, stack,
               torch.stack([tensor, tensor]), [half_red, tensor], (part for part in stack))  # fmt: skip
    counts = []
    for source in sources:
        scenes = list(predictor.predict(source))
        counts.append(len(scenes))
        for scene in scenes:
            assert scene.semantic is not None
            np.testing.assert_array_equal(scene.image, half_red)
            np.testing.assert_array_equal(scene.semantic, np.repeat([[0] * 48 + [1] * 48], 64, 0))
    assert counts == [1, 1, 1, 1, 1, 1, 2, 2, 2, 2]


def test_every_item_of_a_list_gets_a_name_of_its_own(predictor: Predictor, half_red: NDArray[np.uint8], clip: Path, tmp_path: Path) -> None:
    for name in ("x/a.png", "y/a.png", "y/b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(half_red).save(tmp_path / name)
    assert stems(predictor, half_red) == ["000000"]
    assert stems(predictor, [half_red, tmp_path / "x" / "a.png", str(tmp_path / "y"), half_red]) == ["000000", "a", "a_1", "b", "000003"]
    assert stems(predictor, [clip, clip], every=4) == ["clip_000000", "clip_000004", "clip_000000_1", "clip_000004_1"]
    out = tmp_path / "out"
    for scene in predictor.predict([tmp_path / "x", tmp_path / "y"]):
        scene.save(out, save="semantic")
    assert sorted(path.name for path in out.iterdir()) == ["a.semantic.png", "a_1.semantic.png", "b.semantic.png"]


def test_a_folder_is_saved_as_the_tree_that_it_is(predictor: Predictor, half_red: NDArray[np.uint8], tmp_path: Path) -> None:
    for name in ("in/a.png", "in/day/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(half_red).save(tmp_path / name)
    written = [path for scene in predictor.predict(tmp_path / "in") for path in scene.save(tmp_path / "out", save="depth")]
    assert [str(path.relative_to(tmp_path / "out")) for path in written] == ["a.depth.png", "day/a.depth.png"]


def test_frames_of_a_video_follow_each_other(predictor: Predictor, clip: Path, tmp_path: Path) -> None:
    scenes = list(predictor.predict(str(clip), every=2))
    assert [scene.frame for scene in scenes] == [0, 2, 4]
    assert [round(float(scene.image.mean()) / 50) for scene in scenes if scene.image is not None] == [0, 2, 4]
    assert scenes[1].path == clip
    names = [path.name for path in scenes[1].save(tmp_path / "out", save=("json", "semantic"))]
    assert names == ["clip_000002.semantic.png", "clip_000002.json"]
    assert '"frame": 2' in (tmp_path / "out" / "clip_000002.json").read_text()


def test_one_photo_is_read_at_a_time(predictor: Predictor, half_red: NDArray[np.uint8]) -> None:
    taken: list[int] = []

    def photos() -> Any:
        for number in range(3):
            taken.append(number)
            yield half_red

    scenes = predictor.predict(photos())
    assert taken == []
    next(scenes)
    assert taken == [0]


def test_a_camera_is_read_until_it_ends(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []

    class Camera:
        """Three red frames."""

        def __init__(self, number: int) -> None:
            opened.append(number)
            self.left = 3

        def isOpened(self) -> bool:  # noqa: N802
            return True

        def set(self, *_: float) -> bool:
            return False

        def get(self, what: int) -> float:
            return -1.0

        def grab(self) -> bool:
            self.left -= 1
            return self.left >= 0

        def retrieve(self) -> tuple[bool, NDArray[np.uint8]]:
            return True, np.tile(np.array([0, 0, 255], np.uint8), (20, 30, 1))

        def release(self) -> None:
            opened.append(-1)

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    scenes = list(predictor.predict("webcam:2"))
    assert opened == [2, -1]
    assert [scene.stem for scene in scenes] == ["webcam2_000000", "webcam2_000001", "webcam2_000002"]
    assert all(scene.semantic is not None and (scene.semantic == 1).all() for scene in scenes)


def test_points_go_with_photos_item_by_item(model: Any) -> None:
    both = Predictor(Both(model.config), "both", "by hand")
    photos, points = np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 8, 8), np.float32)
    points[0, 1, 1], points[1, 2, 2] = 3, 4
    for second in (points, list(points), (points[index] for index in range(2))):
        one, other = both.predict(photos, sparse_depth=second)
        assert one.depth is not None
        assert other.depth is not None
        assert (one.depth[1, 1], one.depth[2, 2], other.depth[2, 2]) == (3, 1, 4)
    (alone,) = both.predict(photos[0], sparse_depth=points[0])
    assert alone.depth is not None
    assert alone.depth[1, 1] == 3
    with pytest.raises(ShapeError, match="sparse_depth has 1 entries, the source more"):
        list(both.predict(list(photos), sparse_depth=[points[0]]))
    with pytest.raises(ShapeError, match="more entries than the source, 1"):
        list(both.predict([photos[0]], sparse_depth=list(points)))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ([], "an empty list"),
        (3.5, "a float is nothing to predict on"),
        (None, "a NoneType is nothing to predict on"),
        (-1, "nothing to predict on"),
        ([np.zeros((4, 4, 3), np.uint8), None], "a NoneType"),
    ],
)
def test_what_is_nothing_to_predict_on_says_what_is(predictor: Predictor, source: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        list(predictor.predict(source))


def test_videos_need_a_model_of_photos(model: Any, predictor: Predictor, clip: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the model takes sparse depth"):
        next(supplied(clip, "sparse_depth", {}))
    with pytest.raises(ConfigError, match="Choose a model of photos"):
        next(supplied(0, "sparse_depth", {}))
    both = Predictor(Both(model.config), "both", "by hand")
    with pytest.raises(ConfigError, match="sparse depth cannot go with a video"):
        next(both.predict(clip, sparse_depth=tmp_path))
    with pytest.raises(DataError, match="also takes 'sparse_depth'"):
        next(both.predict(clip))
    with pytest.raises(ConfigError, match="Choose 1 for all frames"):
        next(predictor.predict(clip, every=0))


def test_a_file_that_cannot_be_read_ends_the_loop_or_is_left_out(
    predictor: Predictor, half_red: NDArray[np.uint8], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(half_red).save(tmp_path / name)
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="b.png"):
        list(predictor.predict(tmp_path))
    assert [scene.stem for scene in predictor.predict(tmp_path, on_error="skip")] == ["a", "c"]
    assert caplog.text.count("skipped") == 1


def test_models_and_scenes_say_what_they_are(predictor: Predictor, half_red: NDArray[np.uint8], tmp_path: Path) -> None:
    assert repr(predictor) == "<Predictor toy: image -> 2 classes, depth up to 10 m (by hand)>"
    Image.fromarray(half_red).save(tmp_path / "a.png")
    (scene,) = predictor.predict(tmp_path / "a.png")
    assert repr(scene) == "<ScenePrediction a.png; 96 x 64; dark 50%, red 50%; 4 to 5 m>"
