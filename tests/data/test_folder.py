"""The user's own folders: layout, splits, dataset.yaml, and what a mistake in them is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from diorama.data import io
from diorama.data.fixtures import write_folder
from diorama.data.folder import Folder, IncompleteError
from diorama.data.labels import CITYSCAPES19, NYU13, LabelSet
from diorama.errors import ConfigError, DataError
from diorama.types import Frame

Make = Callable[..., Frame]
THREE = LabelSet("three", ("road", "car", "tree"), ((128, 64, 128), (0, 0, 142), (107, 142, 35)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two frames, everything as flat folders."""
    for stem, value in (("a", 1), ("b", 2)):
        io.write_image(tmp_path / "images" / f"{stem}.png", np.full((4, 6, 3), value, np.uint8))
        io.write_label_png(tmp_path / "semantic" / f"{stem}.png", np.full((4, 6), value, np.uint8))
        io.write_npy(tmp_path / "depth" / f"{stem}.npy", np.full((4, 6), value / 2, np.float32))
    (tmp_path / "dataset.yaml").write_text("classes: [road, car, tree]\n")
    return tmp_path


def test_written_frames_come_back_with_their_camera(tmp_path: Path, frame: Make) -> None:
    frames = [frame(k, classes=13, stereo=True) for k in range(3)]
    for made in frames:
        made["sparse_depth"] = made["depth"] * (made["depth"] > 3)
    write_folder(frames, tmp_path, "train", NYU13)
    write_folder(frames[:1], tmp_path, "test", NYU13)
    dataset = Folder(tmp_path, "train")
    assert dataset.provides == {"image", "right", "semantic", "depth", "sparse_depth", "intrinsics", "baseline"}
    assert dataset.labels.classes == NYU13.classes
    assert dataset.labels.palette == NYU13.palette
    for read, made in zip(dataset, frames, strict=True):
        for key in ("image", "right", "semantic", "intrinsics"):
            assert np.array_equal(read[key], made[key]), key
        for key in ("depth", "sparse_depth"):
            assert np.abs(read[key] - made[key]).max() <= 1 / 512
        assert read["baseline"] == made["baseline"]
    assert Folder(tmp_path, "test").ids == ["scene_0"]


def test_split_folders_may_be_outside_or_inside(tmp_path: Path) -> None:
    for layout in ("{split}/images", "images/{split}"):
        home = tmp_path / layout[:2].strip("{/")
        for split, stems in (("train", "abc"), ("val", "d")):
            for stem in stems:
                io.write_image(home / layout.format(split=split) / f"{stem}.png", np.zeros((2, 2, 3), np.uint8))
        assert Folder(home, "train").ids == ["a", "b", "c"]
        assert Folder(home, "val").ids == ["d"]
        assert Folder(home, "all").ids == ["a", "b", "c", "d"]
        with pytest.raises(DataError, match=r"no files for split 'test'"):
            Folder(home, "test")


def test_split_lists(root: Path) -> None:
    (root / "train.txt").write_text("a\n")
    (root / "val.txt").write_text("images/b.png\n\n")
    assert Folder(root, "train").ids == ["a"]
    assert Folder(root, "val").ids == ["b"]
    assert Folder(root, "val").division == ""
    with pytest.raises(DataError, match=r"test.txt: missing"):
        Folder(root, "test")


def test_undivided_frames_are_drawn_by_their_stem(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    picture = cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))[1].tobytes()
    for number in range(120):
        (tmp_path / "images" / f"{number}.png").write_bytes(picture)
    parts = {split: set(Folder(tmp_path, split).ids) for split in ("train", "val", "test")}
    assert sum(len(ids) for ids in parts.values()) == len(set.union(*parts.values())) == 120
    assert 3 < len(parts["val"]) < 25
    assert "split by a hash" in Folder(tmp_path, "val").division
    assert Folder(tmp_path, "all").division == ""
    assert 3 < len(parts["test"]) < 25
    for number in range(120, 140):
        (tmp_path / "images" / f"{number}.png").write_bytes(picture)
    assert parts["test"] <= set(Folder(tmp_path, "test").ids)


def test_incomplete_folders_are_an_error_until_keys_are_named(root: Path) -> None:
    (root / "semantic" / "b.png").unlink()
    with pytest.raises(IncompleteError, match=r"semantic has 1 of 2 all frames \(first without: b\)") as caught:
        Folder(root, "all")
    assert str(caught.value).endswith("leave such frames out: --data.keys [image,semantic,depth]")
    assert Folder(root, "all", keys=("image", "semantic", "depth")).ids == ["a"]
    dataset = Folder(root, "all", keys=("image", "semantic"))
    assert dataset.ids == ["a"]
    assert dataset.check() == [f"{root}: 1 frames have no semantic (first: b) and are left out. Add the files."]
    assert Folder(root, "all", keys=("image", "depth")).ids == ["a", "b"]


@pytest.mark.parametrize("lists", [False, True])
def test_labels_that_are_named_after_their_image_are_told_its_name(root: Path, lists: bool) -> None:
    for stem in "ab":
        (root / "semantic" / f"{stem}.png").rename(root / "semantic" / f"{stem}_mask.png")
    for split in ("train", "val") if lists else ():
        (root / f"{split}.txt").write_text("a\nb\n")
    told = r"2 of 2 semantic files have no image of that stem: name semantic/a_mask.png a.png, and the others likewise\.$"
    for split in ("train", "val") if lists else ("all", "train"):  # a hash puts a and a_mask into different splits
        with pytest.raises(IncompleteError, match=told):
            Folder(root, split)
    (root / "semantic" / "a_mask.png").rename(root / "semantic" / "a.png")
    with pytest.raises(IncompleteError, match=r"1 of 2 semantic files have no image of that stem: name semantic/b_mask.png b.png\.$"):
        Folder(root, "train" if lists else "all")
    (root / "semantic" / "b_mask.png").rename(root / "semantic" / "b.png")
    assert Folder(root, "train" if lists else "all").provides == {"image", "semantic", "depth"}


def test_a_number_that_begins_like_another_is_not_its_name(tmp_path: Path) -> None:
    for name in ("images/1.png", "semantic/1.png", "images/2.png", "semantic/20.png"):
        io.write_label_png(tmp_path / name, np.zeros((4, 6), np.uint8))
    with pytest.raises(IncompleteError, match=r"image has 2 of 3 all frames \(first without: 20\)"):
        Folder(tmp_path, "all")


def test_labels_alone_are_a_data_set(root: Path) -> None:
    read = Folder(root, "all", keys=("semantic",))[1]
    assert set(read) == {"semantic", "meta"}
    assert (read["semantic"] == 2).all()


@pytest.mark.parametrize(
    ("settings", "arguments", "expected"),
    [
        ("depth_scale: 256", {}, 4.0),
        ("depth_unit: mm", {}, 1.024),
        ("depth_unit: cm", {"depth_scale": 4.0}, 2.56),
        ("depth_scale: 1", {"depth_scale": 1000.0, "depth_unit": "ft"}, 1.024 * 0.3048),
    ],
)
def test_depth_scale_and_unit(root: Path, settings: str, arguments: dict[str, object], expected: float) -> None:
    for stem in "ab":
        cv2.imwrite(str(root / "depth" / f"{stem}.png"), np.full((4, 6), 1024, np.uint16))
        (root / "depth" / f"{stem}.npy").unlink()
    (root / "dataset.yaml").write_text(f"classes: [road, car, tree]\n{settings}\n")
    assert Folder(root, "all", **arguments)[0]["depth"] == pytest.approx(expected, rel=1e-6)


def test_depth_from_disparity_and_camera(root: Path) -> None:
    for path in (root / "depth").iterdir():
        path.unlink()
    (root / "disparity").mkdir()
    for stem in "ab":
        cv2.imwrite(str(root / "disparity" / f"{stem}.png"), np.full((4, 6), 2560, np.uint16))
    (root / "dataset.yaml").write_text(
        "labels: nyu13\nbaseline: 0.5\ndisparity_scale: 256\nintrinsics: [[100, 0, 3], [0, 100, 2], [0, 0, 1]]\n"
    )
    read = Folder(root, "all")[0]
    assert (read["disparity"] == 10).all()
    assert (read["depth"] == 5).all()


def test_file_ids_and_colour_coded_labels(root: Path) -> None:
    (root / "dataset.yaml").write_text("classes: [road, car, tree]\nids: [2, 7, 9]\n")
    dataset = Folder(root, "all")
    assert (dataset[0]["semantic"] == 255).all()
    assert (dataset[1]["semantic"] == 0).all()
    semantic = (np.arange(24) % 4).reshape(4, 6).astype(np.uint8)
    semantic[semantic == 3] = 255
    io.write_image(root / "semantic" / "a.png", THREE.colour(semantic))
    palette = [list(colour) for colour in THREE.palette]
    (root / "dataset.yaml").write_text(f"classes: [road, car, tree]\npalette: {palette}\n")
    assert np.array_equal(Folder(root, "all")[0]["semantic"], semantic)
    (root / "dataset.yaml").write_text("classes: [road, car, tree]\n")
    with pytest.raises(DataError, match=r"colour-coded label map"):
        Folder(root, "all")[0]


def test_colours_that_no_class_has_are_the_nearest_or_an_error(root: Path) -> None:
    image = THREE.colour(np.array([[0, 1, 2, 255, 0, 1]] * 4, np.uint8))
    image[0, :3], image[1, 0] = (120, 60, 120), (1, 1, 139)  # off road, off car
    io.write_image(root / "semantic" / "a.png", image)
    text = f"classes: [road, car, tree]\npalette: {[list(colour) for colour in THREE.palette]}\n"
    (root / "dataset.yaml").write_text(text)
    expected = np.array([[0, 1, 2, 255, 0, 1]] * 4, np.uint8)
    expected[0, :3], expected[1, 0] = 0, 1
    for given in ({}, {"colours": "nearest"}):
        assert np.array_equal(Folder(root, "all", **given)[0]["semantic"], expected)
    told = r"a.png: 3 pixels have the colour \(120, 60, 120\), which is no class of .* \(and 1 more such colours\). Mend .*nearest\.$"
    with pytest.raises(DataError, match=told):
        Folder(root, "all", colours="exact")[0]
    (root / "dataset.yaml").write_text(text + "colours: exact\n")
    with pytest.raises(DataError, match=told):
        Folder(root, "all")[0]
    assert np.array_equal(Folder(root, "all", colours="nearest")[0]["semantic"], expected)
    io.write_image(root / "semantic" / "a.png", THREE.colour(expected))
    assert np.array_equal(Folder(root, "all")[0]["semantic"], expected)


@pytest.mark.parametrize("colours", [[[1, 2, 3], [4, 5, 6], [1, 2, 3]], [[1, 2, 3], [0, 0, 0], [4, 5, 6]]])
def test_colours_that_are_not_distinct_decode_nothing(colours: list[list[int]], root: Path) -> None:
    (root / "dataset.yaml").write_text(f"classes: [road, car, tree]\npalette: {colours}\n")
    assert (Folder(root, "all")[1]["semantic"] == 2).all()  # ids need no colours
    io.write_image(root / "semantic" / "a.png", np.full((4, 6, 3), (4, 5, 6), np.uint8))
    with pytest.raises(DataError, match=r"a.png: two classes share a colour, or one is black, which means ignore. Mend `palette`"):
        Folder(root, "all")[0]


def test_known_label_sets(root: Path) -> None:
    (root / "dataset.yaml").unlink()
    assert Folder(root, "all", labels="cityscapes19").labels is CITYSCAPES19
    with pytest.raises(ConfigError, match=r"semantic/ without class names. Write `classes"):
        Folder(root, "all")


def test_labels_out_of_range(root: Path) -> None:
    io.write_label_png(root / "semantic" / "b.png", np.array([[255, 3]] * 4, np.uint8).repeat(3, 1))
    with pytest.raises(DataError, match=r"b.png: label id 3 out of range, .* has 3 classes \(0..2, 255 = ignore\)"):
        Folder(root, "all")[1]


def test_damaged_frames_name_themselves(root: Path) -> None:
    io.write_npy(root / "depth" / "a.npy", np.full((4, 6), np.nan, np.float32))
    io.write_npy(root / "depth" / "b.npy", np.ones((5, 6), np.float32))
    dataset = Folder(root, "all")
    with pytest.raises(DataError, match=r"a.npy: 24 NaN of 24"):
        dataset[0]
    with pytest.raises(DataError, match=r"folder b: sizes differ \(.*depth 6x5"):
        dataset[1]
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(root / "images" / "b.png")
    data = (root / "images" / "b.png").read_bytes()
    (root / "images" / "b.png").write_bytes(data[: len(data) - 20])
    with pytest.raises(DataError, match=r"b.png: truncated"):
        dataset[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("clases: [a]", "unknown key 'clases': did you mean 'classes'"),
        ("- a", "expected `key: value` lines"),
        ("classes: [a", "not valid YAML"),
        ("classes: [a, b]\npalette: [[1, 2, 3]]", "palette needs 2 colours"),
        ("classes: [a, b]\nids: [1]", "ids needs 2 whole numbers"),
        ("classes: [a]\ndepth_scale: no", "depth_scale is False, expected a positive number"),
        ("classes: [a]\ncolours: any", "colours is 'any'. Choose one of nearest, exact"),
        ("classes: [a]\ndepth_unit: inch", "unknown depth_unit 'inch'"),
        ("classes: [a]\nintrinsics: {fx: 1}", "intrinsics needs numbers"),
        ("classes: [a]\nintrinsics: [1, 2]", "intrinsics is .2,."),
        ("labels: nyu14", "unknown label set 'nyu14'"),
    ],
)
def test_mistakes_in_dataset_yaml(root: Path, text: str, expected: str) -> None:
    (root / "dataset.yaml").write_text(text)
    with pytest.raises(ConfigError, match=expected) as caught:
        Folder(root, "all")
    assert "\n" not in str(caught.value)


def test_bad_folders(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder"):
        Folder(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"Put them in images/, right/"):
        Folder(tmp_path / "empty", "all")
    with pytest.raises(ConfigError, match=r"did you mean 'image'"):
        Folder(root, "all", keys=("images",))
    with pytest.raises(DataError, match=r"no right files"):
        Folder(root, "all", keys=("right",))
    io.write_image(root / "images" / "a.jpg", np.zeros((4, 6, 3), np.uint8))
    with pytest.raises(DataError, match=r"same stem"):
        Folder(root, "all")


def test_every_frame_may_have_its_own_camera(tmp_path: Path, frame: Make) -> None:
    other = frame(1, stereo=True)
    other["intrinsics"] = other["intrinsics"] * [[2], [2], [1]]
    other["baseline"] = 0.25
    write_folder([frame(0, stereo=True), other], tmp_path)
    read = Folder(tmp_path, "train", keys=("image", "intrinsics"))
    assert read.provides == {"image", "intrinsics", "baseline"}
    assert np.array_equal(read[0]["intrinsics"], frame(0)["intrinsics"])
    assert np.array_equal(read[1]["intrinsics"], other["intrinsics"])
    assert [one["baseline"] for one in read] == [0.5, 0.25]


def test_camera_files(root: Path) -> None:
    (root / "intrinsics").mkdir()
    (root / "intrinsics" / "a.txt").write_text("721.5 0 609.6\n0 721.6 172.9\n0 0 1\n")
    (root / "intrinsics" / "b.txt").write_text("721.5, 721.6, 609.6, 172.9")
    dataset = Folder(root, "all")
    assert dataset[0]["intrinsics"].tolist() == dataset[1]["intrinsics"].tolist() == [[721.5, 0, 609.6], [0, 721.6, 172.9], [0, 0, 1]]
    for text, expected in (("1 2 3", "3 numbers, expected fx fy cx cy"), ("f=3", "no camera"), ("", "0 numbers")):
        (root / "intrinsics" / "b.txt").write_text(text)
        with pytest.raises(DataError, match=expected):
            dataset[1]


def test_one_camera_for_all_may_be_asked_for_as_any_key(root: Path) -> None:
    keys = ["image", "intrinsics", "baseline"]
    with pytest.raises(DataError, match="no intrinsics files .* say `intrinsics` and `baseline` of all frames in dataset.yaml"):
        Folder(root, "all", keys=keys)
    camera = "classes: [road, car, tree]\nintrinsics: {fx: 5, fy: 5, cx: 2.5, cy: 1.5}\n"
    (root / "dataset.yaml").write_text(camera)
    with pytest.raises(DataError, match="no baseline. Write `baseline: METRES`"):
        Folder(root, "all", keys=keys)
    (root / "dataset.yaml").write_text(camera + "baseline: 0.5\n")
    dataset = Folder(root, "all", keys=keys)
    assert dataset.provides == set(keys)
    assert dataset[0]["baseline"] == 0.5
    assert dataset[0]["intrinsics"].tolist() == [[5, 0, 2.5], [0, 5, 1.5], [0, 0, 1]]
