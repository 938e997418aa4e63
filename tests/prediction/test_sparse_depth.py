"""Networks that take sparse depth, or both: what they are given, how files are paired, and what is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from diorama.data import io
from diorama.data.kitti_velodyne import write_points
from diorama.errors import ConfigError, DataError, ShapeError
from diorama.prediction.inputs import read_photo, read_sparse_depth
from diorama.prediction.predictor import Predictor
from diorama.prediction.render import thickened
from diorama.prediction.sources import SourceImage, find_images, partner
from diorama.running.predict import predict
from diorama.types import Inputs, Prediction


@dataclass
class Doubled:
    """Answers twice the known depth plus 1 m everywhere, and keeps what it was given."""

    keys: tuple[str, ...] = ("sparse_depth",)
    seen: list[Inputs] = field(default_factory=list)

    @property
    def config(self) -> Any:
        return {
            "format": 1, "method": "doubled", "diorama": "0", "init": {}, "labels": None, "depth": {"cap": 80.0, "unit": "m"},
            "input": {"keys": list(self.keys), "size": [32, 32], "multiple_of": 32}, "training": {}, "export": {},
        }  # fmt: skip

    def __call__(self, inputs: Inputs) -> Prediction:
        self.seen.append(inputs)
        return Prediction(depth=2 * inputs["sparse_depth"] + 1)


def points(height: int = 40, width: int = 70) -> np.ndarray:
    depth = np.zeros((height, width), np.float32)
    depth[3, 5], depth[20, 60] = 4.0, 16.5
    return depth


def test_sparse_depth_is_seen_at_its_own_size_and_answered_in_metres() -> None:
    net = Doubled()
    scene = Predictor(net, "doubled", "none").scene(points())
    assert list(net.seen[0]) == ["sparse_depth"]
    assert net.seen[0]["sparse_depth"].shape == (1, 1, 40, 70)
    assert scene.size == scene.working_size == (40, 70)
    assert scene.depth is not None
    assert (scene.depth[3, 5], scene.depth[20, 60], scene.depth[0, 0]) == (9.0, 34.0, 1.0)
    assert scene.image is None
    assert scene.picture.shape == (40, 70, 3)
    assert scene.plot().mode == "RGB"
    assert len(scene.point_cloud().points) > 0


def test_a_network_of_both_gets_both_at_one_size() -> None:
    net = Doubled(("image", "sparse_depth"))
    model = Predictor(net, "doubled", "none")
    image = np.full((40, 70, 3), 51, np.uint8)
    scene = model.scene(image, sparse_depth=points())
    assert list(net.seen[0]) == ["image", "sparse_depth"]
    assert net.seen[0]["image"].shape == (1, 3, 40, 70)
    assert np.allclose(net.seen[0]["image"], 0.2)
    assert scene.sparse_depth is not None
    with pytest.raises(DataError, match="also takes 'sparse_depth'"):
        model.scene(image)
    with pytest.raises(ShapeError, match="differ in size"):
        model.scene(image, sparse_depth=points(40, 71))


def test_files_keep_their_scale(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "kitti.png"), (points() * 256).astype(np.uint16))
    io.write_depth_png(tmp_path / "own.png", points(), scale=1000)
    io.write_npy(tmp_path / "plain.npy", points())
    for name in ("kitti.png", "own.png", "plain.npy"):
        np.testing.assert_allclose(read_sparse_depth(tmp_path / name), points(), atol=1e-3)


def test_what_is_no_sparse_depth_is_refused(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "eight.png"), np.ones((4, 4), np.uint8))
    assert cv2.imwrite(str(tmp_path / "empty.png"), np.zeros((4, 4), np.uint16))
    cases = [
        (tmp_path / "eight.png", DataError, "16"),
        (tmp_path / "empty.png", DataError, "no pixel has a depth"),
        (points() * 1000, DataError, "Divide millimetres by 1000"),
        (np.where(points() > 0, np.nan, 0).astype(np.float32), DataError, "(?i)nan"),
        (np.zeros((3, 4, 5), np.float32), ShapeError, "Give floats"),
        (np.ones((4, 4), np.uint8), ShapeError, "Give floats"),
    ]
    for given, error, text in cases:
        with pytest.raises(error, match=text):
            read_sparse_depth(given)


def stored(path: Path, scale: float) -> Path:
    """`points` as whole numbers, without a note of their scale."""
    assert cv2.imwrite(str(path), np.rint(points() * scale).astype(np.uint16))
    return path


def test_a_scale_says_how_many_file_units_are_a_metre(tmp_path: Path) -> None:
    model = Predictor(Doubled(), "doubled", "none")
    for scale in (1000, 100, 256.5):
        predict(model, stored(tmp_path / "a.png", scale), tmp_path / "out", depth_scale=scale, overwrite=True, progress=False)
        said = json.loads((tmp_path / "out" / "a.json").read_text())["sparse_depth"]
        assert said == {"unit": "m", "scale": scale, "rule": f"metres = value / {scale:g}; 0 = unknown", "points": 2}
        np.testing.assert_allclose(io.read_depth(tmp_path / "out" / "a.depth.png"), 2 * points() + 1, atol=1 / 50)
    # as KITTI has it unless the file or the user says another
    assert read_sparse_depth(stored(tmp_path / "a.png", 256))[3, 5] == 4
    io.write_depth_png(tmp_path / "own.png", points(), scale=1000)
    scene = model.scene(tmp_path / "own.png")
    assert scene.summary(files={})["sparse_depth"]["scale"] == 1000
    assert model.scene(tmp_path / "own.png", depth_scale=500).sparse_depth[3, 5] == 8  # type: ignore[index]
    assert model.scene(points()).summary(files={})["sparse_depth"]["scale"] is None
    np.save(tmp_path / "whole.npy", np.rint(points() * 1000).astype(np.int32))
    (scene,) = model.predict(tmp_path / "whole.npy", depth_scale=1000)
    assert (scene.sparse_depth == points()).all()  # type: ignore[union-attr]


def test_the_scale_is_that_of_the_points_beside_a_photo_too(tmp_path: Path) -> None:
    io.write_image(tmp_path / "a.jpg", np.full((40, 70, 3), 90, np.uint8))
    (tmp_path / "points").mkdir()
    stored(tmp_path / "points" / "a.png", 1000)
    net = Doubled(("image", "sparse_depth"))
    model, both = Predictor(net, "doubled", "none"), {"sparse_depth": tmp_path / "points", "depth_scale": 1000.0}
    predict(model, tmp_path / "a.jpg", tmp_path / "out", **both, progress=False)  # type: ignore[arg-type]
    assert net.seen[-1]["sparse_depth"].max() == 16.5
    assert json.loads((tmp_path / "out" / "a.json").read_text())["sparse_depth"]["scale"] == 1000


@pytest.mark.parametrize(
    ("keys", "name", "scale", "said"),
    [
        (("sparse_depth",), "a.png", 0.0, "a depth scale of 0. Give how many file units are a metre"),
        (("sparse_depth",), "a.png", -256.0, "a depth scale of -256"),
        (("sparse_depth",), "a.png", float("nan"), "a depth scale of nan"),
        (("sparse_depth",), "a.png", float("inf"), "a depth scale of inf"),
        (("sparse_depth",), "a.pfm", 1000.0, "scans and PFM hold metres. Leave it out"),
        (("image",), "a.png", 1000.0, "takes no sparse depth. Leave out --depth-scale"),
    ],
)
def test_an_impossible_or_useless_scale_is_refused(keys: tuple[str, ...], name: str, scale: float, said: str, tmp_path: Path) -> None:
    stored(tmp_path / "a.png", 256)
    io.write_pfm(tmp_path / "a.pfm", points())
    with pytest.raises(ConfigError, match=said):
        predict(Predictor(Doubled(keys), "doubled", "none"), tmp_path / name, tmp_path / "out", depth_scale=scale, progress=False)
    assert not (tmp_path / "out").exists()


def test_a_scale_that_does_not_fit_the_file_skips_it(tmp_path: Path) -> None:
    stored(tmp_path / "a.png", 256)
    io.write_npy(tmp_path / "b.npy", points())
    model = Predictor(Doubled(), "doubled", "none")
    cases = [
        ("a.png", 1.0, "a.png: the median depth is 2624 m, so these are no metres. 1 to the metre is not its scale"),
        ("a.png", 1e6, "0.0026 m: 1e\\+06 to the metre is not its scale. Pass --depth-scale"),
        ("b.npy", 1000.0, "b.npy: holds metres \\(floats\\), so a depth scale changes nothing. Leave out --depth-scale"),
    ]
    for name, scale, said in cases:
        with pytest.raises(DataError, match=said):
            model.scene(tmp_path / name, depth_scale=scale)
    summary = predict(model, tmp_path, tmp_path / "out", depth_scale=256, progress=False)
    assert [path.name for path in summary.done] == ["a.png"]
    assert "Leave out --depth-scale" in summary.failed[0][1]
    with pytest.raises(ConfigError, match="an array of sparse depth holds metres"):
        model.scene(points(), depth_scale=1000)


def test_eight_bits_are_explained(tmp_path: Path) -> None:
    for name, picture in (("grey.png", np.full((4, 4), 9, np.uint8)), ("colours.png", np.full((4, 4, 3), 9, np.uint8))):
        assert cv2.imwrite(str(tmp_path / name), picture)
        with pytest.raises(
            DataError, match=r"an 8-bit image, but sparse depth has 16 bits. At 256 .* 255, would be 0.996 m.*as 16-bit PNG"
        ):
            read_sparse_depth(tmp_path / name)
        with pytest.raises(DataError, match=r"At 10 to the metre its largest value, 255, would be 25.5 m"):
            read_sparse_depth(tmp_path / name, 10)


def test_predict_goes_on_after_a_bad_map_and_pairs_photos(tmp_path: Path) -> None:
    raw, photos = tmp_path / "velodyne_raw", tmp_path / "photos"
    raw.mkdir()
    photos.mkdir()
    io.write_depth_png(raw / "a_velodyne_raw_1.png", points())
    io.write_depth_png(raw / "b.png", points())
    assert cv2.imwrite(str(raw / "c.png"), np.zeros((40, 70), np.uint16))
    for name in ("a_image_1.jpg", "b.jpg", "c.jpg"):
        io.write_image(photos / name, np.full((40, 70, 3), 90, np.uint8))
    summary = predict(Predictor(Doubled(), "doubled", "none"), raw, tmp_path / "out", image=photos, progress=False)
    assert [path.name for path in summary.done] == ["a_velodyne_raw_1.png", "b.png"]
    assert [(path.name, "no pixel has a depth" in why) for path, why in summary.failed] == [("c.png", True)]
    assert io.read_depth(tmp_path / "out" / "b.depth.png")[20, 60] == 34.0
    assert (tmp_path / "out" / "b.ply").exists()
    (photos / "b.jpg").unlink()
    again = predict(Predictor(Doubled(), "doubled", "none"), raw / "b.png", tmp_path / "two", image=photos, progress=False)
    assert "no photo called b in" in again.failed[0][1]


def test_a_partner_may_be_one_file_or_lie_in_the_same_place_of_the_tree(tmp_path: Path) -> None:
    (tmp_path / "two" / "sub").mkdir(parents=True)
    (tmp_path / "two" / "sub" / "x.png").touch()
    item = SourceImage(tmp_path / "one" / "sub" / "x.npy", Path("sub/x"))
    assert partner(item, tmp_path / "two") == tmp_path / "two" / "sub" / "x.png"
    assert partner(item, tmp_path / "two" / "sub" / "x.png") == tmp_path / "two" / "sub" / "x.png"
    with pytest.raises(DataError, match="no depth kind"):
        find_images(_touched(tmp_path / "clip.jpg"), kind="sparse_depth")


def test_a_partner_is_of_the_right_kind_and_never_the_file_itself(tmp_path: Path) -> None:
    for name in ("x.png", "x.json", "x.txt", "x.webp"):
        (tmp_path / name).touch()
    item = SourceImage(tmp_path / "x.png", Path("x"))
    assert partner(item, tmp_path) == tmp_path / "x.webp"
    with pytest.raises(DataError, match="no depth map called x"):
        partner(item, tmp_path, "sparse_depth")


@pytest.mark.parametrize(
    ("keys", "given", "error", "said"),
    [
        (("sparse_depth",), {"sparse_depth": "."}, ConfigError, "takes its sparse depth as the source. Leave out --sparse-depth"),
        (("image",), {"image": "."}, ConfigError, "takes its image as the source. Leave out --image"),
        (("image",), {"sparse_depth": "."}, ConfigError, "takes no sparse depth. Leave out --sparse-depth"),
        (("sparse_depth",), {"image": "nowhere"}, DataError, "nowhere: no such file or folder. Check the path after --image"),
        (("sparse_depth",), {"calibration": "."}, ConfigError, r"for raw scans \(.bin\), and there are none. Leave it out"),
    ],
)
def test_what_nobody_would_look_at_is_refused(
    keys: tuple[str, ...], given: dict[str, Any], error: type[Exception], said: str, tmp_path: Path
) -> None:
    io.write_depth_png(tmp_path / "a.png", points())
    with pytest.raises(error, match=said):
        predict(Predictor(Doubled(keys), "doubled", "none"), tmp_path / "a.png", tmp_path / "out", **given, progress=False)
    assert not (tmp_path / "out").exists()


def test_sparse_depth_is_no_photo_but_a_grey_one_is(tmp_path: Path) -> None:
    io.write_depth_png(tmp_path / "points.png", points())
    with pytest.raises(DataError, match=r"not a photo. Choose a completion"):
        read_photo(tmp_path / "points.png")
    for name, grey in (("dark8.png", np.zeros((9, 8), np.uint8)), ("grey16.png", np.full((9, 8), 5140, np.uint16))):
        assert cv2.imwrite(str(tmp_path / name), grey)
        assert set(read_photo(tmp_path / name).ravel()) == {int(grey[0, 0]) // 257}


def test_dense_depth_is_no_photo_but_a_photo_of_sixteen_bits_is(tmp_path: Path) -> None:
    row, column = np.mgrid[0:30, 0:40]
    depth = (3 + 0.2 * row + 0.1 * column).astype(np.float32)
    for name, units in (("kitti.png", depth * 256), ("millimetres.png", depth * 1000), ("millimetres.tif", depth * 1000)):
        assert cv2.imwrite(str(tmp_path / name), units.astype(np.uint16))
        with pytest.raises(DataError, match=rf"{name}: dense depth \(16-bit grey\), not a photo. Give the photo"):
            read_photo(tmp_path / name)
    # whoever wrote its scale into the file meant depth, however far
    io.write_depth_png(tmp_path / "own.png", depth * 18)
    with pytest.raises(DataError, match="dense depth"):
        read_photo(tmp_path / "own.png")
    photo = np.random.default_rng(0).integers(0, 65536, (30, 40)).astype(np.uint16)
    for name, grey in (("scanned.png", photo), ("spread.png", (photo // 1024).astype(np.uint16) * 257)):
        assert cv2.imwrite(str(tmp_path / name), grey)
        assert read_photo(tmp_path / name).shape == (30, 40, 3)
    summary = predict(Predictor(Doubled(("image",)), "doubled", "none"), tmp_path / "kitti.png", tmp_path / "out", progress=False)
    assert "not a photo" in summary.failed[0][1]
    assert summary.exit_status == 1


def test_a_prediction_that_would_write_nothing_does_not_begin(tmp_path: Path) -> None:
    io.write_depth_png(tmp_path / "a.png", points())
    model = Predictor(Doubled(), "doubled", "none")
    with pytest.raises(ConfigError, match="doubled predicts no semantics to save. Choose among depth"):
        predict(model, tmp_path / "a.png", tmp_path / "out", save=["semantic"], progress=False)
    with pytest.raises(DataError, match=r"a.png: a file, not a folder. Choose another --out"):
        predict(model, tmp_path / "a.png", tmp_path / "a.png", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_thick_points_show_the_nearest() -> None:
    depth = np.zeros((5, 7), np.float32)
    depth[2, 2], depth[2, 4] = 9, 3
    thick = thickened(depth)
    assert thick[2, 3] == 3
    assert (thick > 0).sum() == 15
    assert not thickened(np.zeros((4, 4), np.float32)).any()


def _touched(path: Path) -> Path:
    path.touch()
    return path


CALIBRATION = """P0: 50 0 32 0 0 50 16 0 0 0 1 0
P1: 50 0 32 -27 0 50 16 0 0 0 1 0
P2: 50 0 32 0 0 50 16 0 0 0 1 0
P3: 50 0 32 -27 0 50 16 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0
"""
"""A camera where the scanner is, looking along the scanner's x axis: (x, y, z) is drawn at u = 32 - 50 y / x, v = 16 - 50 z / x."""


def test_raw_scans_are_seen_through_their_calibration(tmp_path: Path) -> None:
    scan = np.array([[10, -2, 1, 0.5], [20, -4, 2, 0.5], [5, 1, -0.5, 0.5], [-10, 0, 0, 0.5]], np.float32)
    (tmp_path / "velodyne").mkdir()
    write_points(tmp_path / "velodyne" / "7.bin", scan)
    (tmp_path / "calib").mkdir()
    (tmp_path / "calib" / "7.txt").write_text(CALIBRATION)
    (tmp_path / "photos").mkdir()
    io.write_image(tmp_path / "photos" / "7.png", np.zeros((32, 64, 3), np.uint8))
    model = Predictor(Doubled(), "doubled", "none")
    (scene,) = model.predict(tmp_path / "velodyne", image=tmp_path / "photos", calibration=tmp_path / "calib")
    assert scene.sparse_depth is not None
    # the two points on one ray leave the nearer one; the devkit's pixels begin at 1: u = 42 - 1, v = 11 - 1 and u = 22 - 1, v = 21 - 1
    assert {tuple(place): scene.sparse_depth[tuple(place)] for place in np.argwhere(scene.sparse_depth)} == {(10, 41): 10, (20, 21): 5}
    assert scene.intrinsics[0, 0] == 50
    assert not scene.intrinsics_assumed
    photos, calibration = {"image": tmp_path / "photos"}, {"calibration": tmp_path / "calib"}
    for missing, text in ((photos, "needs its calibration"), (calibration, "Pass the photo")):
        with pytest.raises(DataError, match=text):
            next(model.predict(tmp_path / "velodyne", **missing))


def test_the_panel_of_a_long_narrow_frame_is_drawn() -> None:
    scene = Predictor(Doubled(), "doubled", "none").scene(np.full((370, 1224), 7, np.float32), image=np.zeros((370, 1224, 3), np.uint8))
    assert scene.plot().width > 1200
