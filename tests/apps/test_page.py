"""Behind the page: what the viewer is given, the points as glTF, the archive, the models, the examples. Needs no gradio."""

from __future__ import annotations

import base64
import json
import struct
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from toy import WaitingModel
from uploads import decoded

from diorama.apps import viewer
from diorama.apps.examples import draw
from diorama.apps.glb import write_glb
from diorama.apps.limits import Gate, Limits
from diorama.apps.negotiation import wanted_format
from diorama.apps.page import Page, nearer
from diorama.apps.shelf import Shelf
from diorama.apps.work import Upload
from diorama.data import io
from diorama.errors import ConfigError, ModelError
from diorama.prediction.pointcloud import PointCloud
from diorama.prediction.predictor import Predictor


class OneModel(Shelf):
    """A shelf with the toy model alone."""

    def __init__(self, predictor: Predictor) -> None:
        self.first, self._predictor = "toy", predictor

    def __getitem__(self, name: str) -> Predictor:
        if name != "toy":
            raise ModelError(f"unknown model '{name}'. Take toy.")
        return self._predictor


@pytest.fixture
def page(predictor: Predictor, tmp_path: Path) -> Page:
    folder = tmp_path / "page"
    folder.mkdir()
    return Page(OneModel(predictor), Limits(seconds=20), folder)


def unpacked(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), kind)


def test_the_viewer_is_given_what_every_pixel_is(page: Page, photo: Path) -> None:
    shown = page.predict("toy", Upload(photo))
    scene = json.loads(shown.viewer)
    assert scene["view"] == scene["size"] == [64, 96]
    assert [one["kind"] for one in scene["panes"]] == ["semantic", "depth"]
    assert (unpacked(scene["semantic"], "u1").reshape(64, 96) == (np.arange(96) >= 48)).all()
    assert (unpacked(scene["depth"], "<u2") == round(4.2 * 256)).all()
    assert [(one["name"], one["share"]) for one in scene["classes"]] == [("dark", 0.5), ("red", 0.5)]
    coloured = decoded(base64.b64decode(scene["coloured"].removeprefix("data:image/png;base64,")))
    assert coloured.shape == (64, 96, 3)
    assert len(scene["stops"]) == 32 and all(len(stop) == 7 for stop in scene["stops"])


def test_large_photos_are_sampled_not_mixed(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer, "LARGEST_SIDE", 256)
    path = tmp_path / "large.png"
    image = np.zeros((300, 480, 3), np.uint8)
    image[:, 240:, 0] = 255
    io.write_image(path, image)
    scene = json.loads(page.predict("toy", Upload(path)).viewer)
    assert scene["view"] == [160, 256]
    ids = unpacked(scene["semantic"], "u1").reshape(160, 256)
    assert set(np.unique(ids)) == {0, 1}
    assert ids[:, :124].max() == 0 and ids[:, 132:].min() == 1


def test_the_archive_holds_every_output(page: Page, photo: Path) -> None:
    archive = page.predict("toy", Upload(photo)).archive
    assert archive is not None and Path(archive).name == "half_red.zip"
    with zipfile.ZipFile(archive) as found:
        assert {"half_red.semantic.png", "half_red.depth.png", "half_red.json", "half_red.ply"} <= set(found.namelist())
        depth = cv2.imdecode(np.frombuffer(found.read("half_red.depth.png"), np.uint8), cv2.IMREAD_UNCHANGED)
        assert (depth == round(4.2 * 256)).all()


def test_old_results_are_removed(page: Page, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diorama.apps.page._KEPT", 2)
    first = page.predict("toy", Upload(photo)).archive
    for _ in range(2):
        last = page.predict("toy", Upload(photo)).archive
    assert first and last and not Path(first).exists() and Path(last).exists()


def test_what_is_wrong_is_shown_in_a_sentence(page: Page, model: WaitingModel, photo: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    shown = page.predict("toy", Upload(text))
    assert json.loads(shown.viewer)["problem"].startswith("notes.txt: no photo file. Give one of")
    assert shown.cloud is shown.archive is None
    assert "unknown model" in json.loads(page.predict("other", Upload(photo)).viewer)["problem"].lower()
    page.gate = Gate(Limits(seconds=0.05))
    model.go.clear()
    assert json.loads(page.predict("toy", Upload(photo)).viewer)["title"] == "Busy"
    model.go.set()


def test_glb_is_gltf_with_a_square_for_each_point(tmp_path: Path) -> None:
    path = tmp_path / "points.glb"
    cloud = PointCloud(np.array([[1, 2, 3], [0, 0, 5]], np.float32), np.array([[255, 0, 188], [0, 0, 0]], np.uint8), None)
    write_glb(path, cloud, np.array([2, 4], np.float32))
    body = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", body)
    assert (magic, version, length) == (b"glTF", 2, len(body))
    size, kind = struct.unpack_from("<I4s", body, 12)
    document = json.loads(body[20 : 20 + size])
    assert kind == b"JSON" and size % 4 == 0
    data = body[28 + size :]
    assert document["buffers"][0]["byteLength"] == len(data)
    views = [data[view["byteOffset"] :][: view["byteLength"]] for view in document["bufferViews"]]
    points = np.frombuffer(views[0], "<f4").reshape(2, 4, 3)
    assert points.mean(1).tolist() == [[1, -2, -3], [0, 0, -5]]
    assert np.ptp(points, axis=1).tolist() == [[2, 2, 0], [4, 4, 0]]
    colours = np.frombuffer(views[1], "<u2").reshape(2, 4, 4)
    assert colours[0, 3].tolist() == [65535, 0, 32957, 65535]  # ((188 / 255 + 0.055) / 1.055) ** 2.4 * 65535
    assert np.frombuffer(views[2], "<u4").tolist() == [0, 1, 2, 0, 2, 3, 4, 5, 6, 4, 6, 7]
    assert document["accessors"][0]["min"] == [-2, -3, -5]


def test_far_points_are_not_shown() -> None:
    points = np.zeros((5, 3), np.float32)
    points[:, 2] = [1, 2, 3, 9, 9.1]  # the median is 3
    assert nearer(PointCloud(points, np.zeros((5, 3), np.uint8), None)).points[:, 2].tolist() == [1, 2, 3, 9]
    assert not len(nearer(PointCloud(points[:0], np.zeros((0, 3), np.uint8), None)).points)


def test_the_shelf_offers_models_that_see_scenes_and_runs(tmp_path: Path) -> None:
    run, other = tmp_path / "mine-1", tmp_path / "unfinished"
    run.mkdir()
    other.mkdir()
    (run / "model.onnx").write_bytes(b"damaged")
    shelf = Shelf("nearest", tmp_path)
    assert shelf.names[0] == "nearest"
    assert str(run) in shelf.names and str(other) not in shelf.names
    assert "ccnn-world_street" not in shelf.names
    assert shelf.takes("ci_net-nyuv2") == ("image",)
    assert shelf.about("ci_net-nyuv2") == "takes a photo, 40 classes, depth up to 10 m, trained on nyuv2"
    assert shelf.about("nearest").endswith("needs no training")
    assert shelf["nearest"] is shelf["nearest"]
    with pytest.raises(ModelError, match="unknown model 'nearst': did you mean 'nearest'"):
        shelf["nearst"]
    with pytest.raises(ModelError):
        shelf[str(run)]
    with pytest.raises(ConfigError, match="judges matched disparity"):
        Shelf("ccnn-world_street", tmp_path)


def test_only_three_models_stay_loaded(tmp_path: Path) -> None:
    shelf = Shelf("nearest", tmp_path)
    first = shelf["nearest"]
    for name in ("linear", "morphological", "linear_morphological"):
        assert shelf[name].name == name
    assert shelf["nearest"] is not first


def test_examples_fit_their_models(tmp_path: Path) -> None:
    rooms = draw(tmp_path, "ci_net-nyuv2", rooms=(0,), size=(48, 64))
    assert [one.title for one in rooms] == ["Room 1", "Street, LiDAR", "Street, stereo"]
    assert io.read_image(rooms[0].image).shape == (48, 64, 3)
    lidar, pair = rooms[1:]
    assert lidar.sparse_depth is not None and (io.read_depth(lidar.sparse_depth) > 0).sum() > 1000
    assert pair.right is not None and pair.focal_px and pair.baseline == 0.22
    assert draw(tmp_path, None, rooms=(0,), size=(48, 64))[0].title == "Street, LiDAR"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (None, "json"),
        ("image/png", "png"),
        ("IMAGE/PNG", "png"),
        ("application/*;q=0.2, image/*", "png"),
        ("image/png;q=x", None),
        (",;", None),
    ],
)
def test_accept_headers(accept: str | None, wanted: str | None) -> None:
    assert wanted_format(accept) == wanted


def test_the_pages_own_files_load_nothing_from_elsewhere() -> None:
    for name in ("viewer.html", "viewer.js", "viewer.css", "page.css"):
        assert "://" not in viewer.asset(name)
        assert "<script" not in viewer.asset(name)
