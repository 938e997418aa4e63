"""KITTI depth completion, raw recordings and the benchmarks: what was written comes back, lists count right, bad files are named."""

from __future__ import annotations

import logging
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from diorama import catalog
from diorama.data import io
from diorama.data.check import check_dataset
from diorama.data.fixtures import make
from diorama.data.kitti import Kitti, KittiLidar
from diorama.data.kitti_base import cropped
from diorama.data.kitti_benchmark import KittiObject, KittiSemantics, KittiStereo, held_out
from diorama.data.kitti_fixtures import (
    DAY,
    DRIVE,
    write_kitti,
    write_kitti_object,
    write_kitti_raw,
    write_kitti_semantics,
    write_kitti_stereo,
)
from diorama.data.kitti_raw import KittiRaw, read_list
from diorama.data.labels import CITYSCAPES19
from diorama.data.scan import Lidar
from diorama.errors import ConfigError, DataError, ShapeError
from diorama.types import Frame

Make = Callable[..., Frame]


@pytest.fixture
def street(frame: Make) -> Callable[[int], Frame]:
    """Frames with a sparse scan: every third column of the depth."""

    def made(number: int) -> Frame:
        one = frame(number, classes=19, stereo=True)
        one["sparse_depth"] = np.where(np.arange(16) % 3 == 1, one["depth"], 0).astype(np.float32)
        return one

    return made


@pytest.fixture
def completion(tmp_path: Path, street: Callable[[int], Frame]) -> Path:
    write_kitti([street(k) for k in range(3)], tmp_path, "train")
    write_kitti([street(k) for k in range(3, 5)], tmp_path, "val")
    write_kitti([street(k) for k in range(5, 7)], tmp_path, "val_selection")
    write_kitti([street(7)], tmp_path, "test")
    return tmp_path


def same(read: Frame, made: Frame, keys: tuple[str, ...] = ("image", "sparse_depth", "depth", "intrinsics")) -> None:
    assert set(read) == {*keys, "meta"}
    for key in keys:
        # depths of the fixture are multiples of 1/8: exact in files of 1/256
        assert np.allclose(read[key], made[key], rtol=0, atol=2e-5), key  # type: ignore[literal-required]


def test_official_layouts_come_back(completion: Path, street: Callable[[int], Frame]) -> None:
    train = Kitti(completion)
    assert train.ids == [f"{DRIVE}/image_02/{k:010d}" for k in (5, 6, 7)]
    for number, read in enumerate(train):
        same(read, street(number))
    for split, first in (("val", 3), ("val_selection", 5)):
        for number, read in enumerate(Kitti(completion, split), first):
            same(read, street(number))
    assert Kitti(completion, "val_selection").ids[0] == f"{DRIVE}_image_0000000000_image_02"
    test = Kitti(completion, "test")
    assert test.ids == ["0000000000"]
    assert test.provides == {"image", "sparse_depth", "intrinsics"}
    same(test[0], street(7), ("image", "sparse_depth", "intrinsics"))
    assert check_dataset("kitti", ["train", "val", "val_selection", "test"], root=completion) == []
    assert pickle.loads(pickle.dumps(train))[1]["meta"] == train[1]["meta"]
    assert all(path.is_file() for path in train.files())


def test_archives_unpacked_into_one_folder_and_a_raw_folder_elsewhere(completion: Path, tmp_path: Path) -> None:
    merged = tmp_path / "depth" / "train" / DRIVE
    for part in ("data_depth_velodyne", "data_depth_annotated"):
        shutil.copytree(completion / part / "train" / DRIVE, merged, dirs_exist_ok=True)
    shutil.move(completion / DAY, tmp_path / "photos" / DAY)
    assert np.array_equal(
        Kitti(tmp_path / "depth", raw=str(tmp_path / "photos"))[1]["sparse_depth"],
        Kitti(completion, keys=["sparse_depth"])[1]["sparse_depth"],
    )
    assert Kitti(tmp_path / "depth", keys=["sparse_depth", "depth"]).provides == {"sparse_depth", "depth"}
    with pytest.raises(DataError, match=r"no train frame of kitti has all it needs \(files: groundtruth 3, image 0, .*fewer --data.keys"):
        Kitti(tmp_path / "depth")
    with pytest.raises(DataError, match=r"nowhere: no such folder. Point --data.raw"):
        Kitti(tmp_path / "depth", raw="nowhere")


def test_both_cameras_are_frames_of_their_own(completion: Path) -> None:
    for part, kind in (("data_depth_velodyne", "velodyne_raw"), ("data_depth_annotated", "groundtruth")):
        folder = completion / part / "train" / DRIVE / "proj_depth" / kind
        shutil.copytree(folder / "image_02", folder / "image_03")
    shutil.copytree(completion / DAY / DRIVE / "image_02", completion / DAY / DRIVE / "image_03")
    both = Kitti(completion)
    assert [frame_id.split("/")[1] for frame_id in both.ids] == ["image_02"] * 3 + ["image_03"] * 3
    assert Kitti(completion, cameras=[3]).ids == both.ids[3:]
    assert both[3]["intrinsics"].shape == (3, 3)
    with pytest.raises(ConfigError, match="Choose 2 .left colour., 3 .right colour. or both"):
        Kitti(completion, cameras=[1])


def test_the_crop_takes_the_bottom_and_the_middle(completion: Path) -> None:
    whole, cut = Kitti(completion)[0], Kitti(completion, crop=(8, 11))[0]
    # 12x16 -> rows 4..11, columns 2..12 (16 - 11 = 5, half of it is 2)
    for key in ("image", "sparse_depth", "depth"):
        assert np.array_equal(cut[key], whole[key][4:12, 2:13]), key  # type: ignore[literal-required]
    assert np.allclose(whole["intrinsics"] - cut["intrinsics"], [[0, 0, 2], [0, 0, 4], [0, 0, 0]])
    with pytest.raises(ShapeError, match="16x12, smaller than the crop 17x12. Choose a smaller crop"):
        Kitti(completion, crop=(12, 17))[0]
    with pytest.raises(ConfigError, match="Give height and width in pixels"):
        Kitti(completion, crop=(0, 4))
    with pytest.raises(ShapeError, match="intrinsics without a map"):
        cropped({"intrinsics": np.eye(3)}, (2, 2))


def test_frames_that_lack_a_file_are_left_out_and_told(completion: Path) -> None:
    (completion / DAY / DRIVE / "image_02" / "data" / "0000000006.png").unlink()
    dataset = Kitti(completion)
    assert [frame_id[-1] for frame_id in dataset.ids] == ["5", "7"]
    assert dataset.check() == [
        f"{completion}: 1 train frames lack image (first: {DRIVE}/image_02/0000000006) and are left out. Unpack it, or name fewer keys."
    ]


def test_bad_depth_files_are_named(completion: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = completion / "data_depth_velodyne" / "train" / DRIVE / "proj_depth" / "velodyne_raw" / "image_02"
    io.write_depth_png(folder / "0000000005.png", np.ones((6, 8), np.float32), 256)
    cv2.imwrite(str(folder / "0000000006.png"), np.ones((12, 16), np.uint8))
    io.write_depth_png(folder / "0000000007.png", np.full((12, 16), 12.0, np.float32), 5000)  # far too many units a metre
    dataset = Kitti(completion)
    with pytest.raises(DataError, match=r"8x6, but the calibration is for 16x12"):
        dataset[0]
    with pytest.raises(DataError, match=r"sizes differ \(.*sparse_depth 8x6"):
        Kitti(completion, keys=["image", "sparse_depth"])[0]
    with pytest.raises(DataError, match=r"0000000006.png: 8-bit PNG, expected 16-bit depth \(KITTI stores metres \* 256\)"):
        dataset[1]
    with caplog.at_level(logging.WARNING, logger="diorama"):
        assert dataset[2]["sparse_depth"].max() > 200
        assert dataset[2]["sparse_depth"].max() > 200
    assert caplog.text.count("millimetres? KITTI stores metres * 256") == 1
    assert any("median depth 234.4 m" in text for text in dataset.check())


def test_bad_arguments(completion: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="kitti: no split 'eigen'"):
        Kitti(completion, "eigen")
    with pytest.raises(ConfigError, match="unknown key 'sparse': did you mean 'sparse_depth'"):
        Kitti(completion, keys=["sparse"])
    with pytest.raises(ConfigError, match="keys is empty. Name one of"):
        Kitti(completion, keys=[])
    with pytest.raises(DataError, match="no such folder. Point --data.root at data_depth_velodyne"):
        Kitti(tmp_path / "none")


def test_flat_folders_are_cut_in_order(completion: Path, tmp_path: Path, street: Callable[[int], Frame]) -> None:
    write_kitti([street(k % 4) for k in range(20)], tmp_path / "flat", "test")
    flat = tmp_path / "flat" / "depth_selection" / "test_depth_completion_anonymous"
    parts = {split: KittiLidar(flat, split) for split in KittiLidar.splits}
    assert [len(parts[split]) for split in ("train", "val", "test", "all")] == [14, 3, 3, 20]
    assert parts["train"].ids + parts["val"].ids + parts["test"].ids == parts["all"].ids
    same(parts["val"][0], street(14 % 4), ("image", "sparse_depth", "intrinsics"))
    selection = KittiLidar(completion / "depth_selection" / "val_selection_cropped", "all")
    assert selection.provides == {"image", "sparse_depth", "depth", "intrinsics"}
    with pytest.raises(DataError, match="no train frame of kitti_lidar"):
        KittiLidar(tmp_path)


@pytest.mark.parametrize(("name", "frames", "drives"), [("eigen_train", 22600, 33), ("eigen_val", 888, 33), ("eigen_test", 697, 28)])
def test_eigen_lists_count_right(name: str, frames: int, drives: int) -> None:
    found = read_list(name)
    assert len(found) == len(set(found)) == frames
    assert len({drive for drive, _ in found}) == drives


def test_eigen_lists_do_not_overlap_and_the_improved_ones_are_a_part() -> None:
    train, val, test, improved = (set(read_list(f"eigen_{name}")) for name in ("train", "val", "test", "test_improved"))
    assert len(improved) == 652
    assert improved < test
    assert not train & val
    assert not {drive for drive, _ in train | val} & {drive for drive, _ in test}
    # the annotation leaves out the first five frames of a drive
    assert all(number >= 5 for _, number in improved)
    assert ("2011_09_26_drive_0002_sync", 69) in improved
    with pytest.raises(ConfigError, match="no frame list 'zhou'"):
        read_list("zhou")


def test_raw_recordings_come_back(tmp_path: Path, street: Callable[[int], Frame]) -> None:
    frames = [street(k) for k in range(4)]
    write_kitti_raw(frames, tmp_path)
    keys = ("image", "right", "sparse_depth", "depth", "intrinsics", "baseline")
    every = KittiRaw(tmp_path, "all", keys=keys)
    assert every.ids == [f"{DRIVE}/image_02/{k:010d}" for k in range(4)]
    for read, made in zip(every, frames, strict=True):
        same(read, {**made, "depth": made["sparse_depth"]}, keys)
    # drive 1 of the first day is in Eigen's training list from frame 1 on, but for frame 3
    train = KittiRaw(tmp_path)
    assert [frame_id[-1] for frame_id in train.ids] == ["1", "2"]
    assert "lack calibration" in train.check()[0]
    assert KittiRaw(tmp_path, "all", keys=["intrinsics"])[0]["intrinsics"].shape == (3, 3)
    with pytest.raises(DataError, match="no test frame of kitti_raw"):
        KittiRaw(tmp_path, "test")
    with pytest.raises(ConfigError, match=r"Use cameras: \[2\]"):
        KittiRaw(tmp_path, "all", keys=["right"], cameras=[2, 3])
    with pytest.raises(ConfigError, match="Choose 'lidar' or 'improved'"):
        KittiRaw(tmp_path, truth="best")  # type: ignore[arg-type]


def test_raw_photos_with_the_annotated_truth(completion: Path, tmp_path: Path, street: Callable[[int], Frame]) -> None:
    write_kitti_raw([street(k) for k in range(8)], tmp_path / "photos")
    for annotated in (completion, completion / "data_depth_annotated"):
        dataset = KittiRaw(tmp_path / "photos", "all", keys=["image", "depth"], truth="improved", annotated=str(annotated))
        assert [frame_id[-1] for frame_id in dataset.ids] == ["5", "6", "7"]
        assert np.array_equal(dataset[0]["image"], street(5)["image"])
        assert np.array_equal(dataset[0]["depth"], street(0)["depth"])
    only = KittiRaw(tmp_path / "photos", "all", keys=["depth", "intrinsics"], truth="improved", annotated=str(completion))
    assert only.provides == set(only[0]) - {"meta"}


def test_raw_calibration_of_another_day(tmp_path: Path, street: Callable[[int], Frame]) -> None:
    write_kitti_raw([street(0)], tmp_path)
    scan = tmp_path / DAY / DRIVE / "velodyne_points" / "data" / "0000000000.bin"
    scan.write_bytes(scan.read_bytes()[:-3])
    dataset = KittiRaw(tmp_path, "all")
    with pytest.raises(DataError, match=r"0000000000.bin: \d+ bytes, expected a multiple of 16"):
        dataset[0]
    io.write_image(tmp_path / DAY / DRIVE / "image_02" / "data" / "0000000000.png", np.zeros((12, 15, 3), np.uint8))
    with pytest.raises(DataError, match=r"15x12, but the calibration is for 16x12: of another day\?"):
        dataset[0]
    (tmp_path / DAY).rename(tmp_path / "2011_09_28")
    with pytest.raises(DataError, match="calibration of another day .*Use the files of 2011_09_26"):
        KittiRaw(tmp_path, "all")


def test_object_frames_come_back(tmp_path: Path, street: Callable[[int], Frame]) -> None:
    frames = [street(k) for k in range(2)]
    write_kitti_object(frames, tmp_path)
    keys = ("image", "right", "sparse_depth", "intrinsics", "baseline")
    for read, made in zip(KittiObject(tmp_path, keys=keys), frames, strict=True):
        same(read, made, keys)
    assert KittiObject(tmp_path, keys=["sparse_depth"]).provides == {"sparse_depth"}
    assert set(KittiObject(tmp_path, keys=["sparse_depth"])[0]) == {"sparse_depth", "meta"}
    (tmp_path / "training" / "calib" / "000001.txt").unlink()
    dataset = KittiObject(tmp_path)
    assert dataset.ids == ["000000"]
    assert "1 train frames lack calib (first: 000001)" in dataset.check()[0]


def test_semantics_come_back(tmp_path: Path, street: Callable[[int], Frame]) -> None:
    frames = [street(k) for k in range(30)]
    write_kitti_semantics(frames, tmp_path)
    write_kitti_semantics(frames[:1], tmp_path, "test")
    dataset = KittiSemantics(tmp_path)
    assert dataset.labels is CITYSCAPES19
    assert np.array_equal(dataset[3]["semantic"], frames[3]["semantic"])
    assert len(np.unique(KittiSemantics(tmp_path, classes=7)[0]["semantic"])) == 8
    test = KittiSemantics(tmp_path, "test")
    assert test.provides == {"image"}
    assert test.labels is None
    val, rest = KittiSemantics(tmp_path, "val"), KittiSemantics(tmp_path, "train_minus_val")
    assert sorted(val.ids + rest.ids) == dataset.ids
    assert 0 < len(val) < 8
    assert all(held_out(frame_id) for frame_id in val.ids)
    cv2.imwrite(str(tmp_path / "training" / "semantic" / "000000_10.png"), np.full((12, 16), 40, np.uint8))
    with pytest.raises(DataError, match=r"label id 40, expected Cityscapes ids 0..33"):
        dataset[0]
    with pytest.raises(ConfigError, match="Choose 19 or 7"):
        KittiSemantics(tmp_path, classes=11)
    with pytest.raises(DataError, match="Choose layout=folder"):
        write_kitti_semantics(frames, tmp_path, labels=None)


def test_stereo_comes_back(tmp_path: Path, street: Callable[[int], Frame]) -> None:
    frames = [street(k) for k in range(2)]
    write_kitti_stereo(frames, tmp_path)
    write_kitti_stereo(frames[:1], tmp_path, "test")
    dataset = KittiStereo(tmp_path)
    assert dataset.ids == ["000000", "000001"]
    for read, made in zip(dataset, frames, strict=True):
        # fx 20 px, baseline 0.5 m: disparity 10 / depth, stored in steps of 1/256
        assert np.abs(read["disparity"] - np.divide(10, made["depth"], where=made["depth"] > 0, out=np.zeros((12, 16)))).max() <= 1 / 512
        assert (np.abs(read["depth"] - made["depth"]) <= made["depth"] ** 2 / 10 / 256).all()
        assert np.array_equal(read["right"], made["right"])
        assert read["baseline"] == pytest.approx(0.5)
    assert KittiStereo(tmp_path, "test").provides == {"image", "right", "intrinsics", "baseline"}
    with pytest.raises(DataError, match=r"disparity 0, "):
        KittiStereo(tmp_path, disparity="noc")
    with pytest.raises(ConfigError, match="Choose 'occ' or 'noc'"):
        KittiStereo(tmp_path, disparity="all")  # type: ignore[arg-type]
    (tmp_path / "training" / "calib_cam_to_cam" / "000000.txt").write_text("P_rect_02: 20 0 7.5 0 0 20 5.5 0 0 0 1 0\n")
    with pytest.raises(DataError, match="no 'P_rect_03'"):
        dataset[0]


def test_writers_refuse_what_a_layout_cannot_hold(tmp_path: Path, frame: Make, street: Callable[[int], Frame]) -> None:
    with pytest.raises(DataError, match="layout kitti needs 'sparse_depth', frame scene 0 has none"):
        write_kitti([frame(0)], tmp_path)
    del (made := street(0))["right"]
    with pytest.raises(DataError, match="layout kitti_stereo needs 'right'"):
        write_kitti_stereo([made], tmp_path)


def test_cameras_that_differ_become_days(tmp_path: Path, street: Callable[[int], Frame]) -> None:
    frames = [street(k) for k in range(3)]
    frames[1]["intrinsics"] = frames[1]["intrinsics"] * [[2], [2], [1]]
    write_kitti_raw(frames, tmp_path)
    dataset = KittiRaw(tmp_path, "all")
    assert len(dataset) == 3
    # the days sort the frames: two of the first camera, then the one of the second
    for read, number in zip(dataset, (0, 2, 1), strict=True):
        same(read, {**frames[number], "depth": frames[number]["sparse_depth"]})


@pytest.mark.parametrize("layout", ["kitti", "kitti_raw", "kitti_object", "kitti_stereo", "kitti_semantics"])
def test_procedural_streets_can_be_stored(tmp_path: Path, layout: str) -> None:
    settings = {"size": (48, 96), "stereo": layout == "kitti_stereo"}
    assert len(make("world_street", tmp_path / "set", layout, 2, "train", **settings)) == 2
    dataset = catalog.dataset(layout)(tmp_path / "set", "all" if layout == "kitti_raw" else "train")
    images = sorted(frame["image"].tobytes() for frame in catalog.dataset("world_street")(frames=2, split="train", **settings))
    assert sorted(frame["image"].tobytes() for frame in dataset) == images
    # rendered depth goes on where a scanner ends
    assert [text for text in dataset.check() if " depth: " not in text] == []


def test_frames_know_their_scanner(completion: Path, tmp_path: Path, street: Callable[[int], Frame]) -> None:
    write_kitti_object([street(0)], tmp_path / "object")
    for frame in (Kitti(completion)[0], KittiObject(tmp_path / "object")[0]):
        lidar = Lidar.from_meta(frame["meta"])
        assert lidar is not None
        # the writer puts the scanner 0.08 m above and 0.27 m behind the camera, looking the same way
        assert np.allclose(lidar.origin, (0, -0.08, -0.27))
        assert np.allclose(lidar.axes, ((0, 0, 1), (-1, 0, 0), (0, -1, 0)))


def test_real_frames(real_data: Path) -> None:
    lidar = KittiLidar(real_data / "kitti_lidar", "all")
    assert len(lidar) == 58
    read = lidar[10]
    assert read["image"].shape == (352, 1216, 3)
    assert 0.03 < (read["sparse_depth"] > 0).mean() < 0.06
    assert lidar.check() == []
    # the flat folder holds the object frames cropped: photo (JPEG), scan and camera agree with the original ones
    cut = KittiObject(real_data / "kitti_object", crop=(352, 1216))
    for index in range(2):
        original, stored = cut[index], lidar[index]
        assert stored["meta"]["id"] == f"object_{original['meta']['id']}"
        assert np.abs(original["sparse_depth"] - stored["sparse_depth"]).max() < 0.003
        assert np.allclose(original["intrinsics"], stored["intrinsics"])
        away = [np.abs(np.roll(original["image"], shift, 1).astype(int) - stored["image"]).mean() for shift in (-1, 0, 1)]
        assert np.argmin(away) == 1
        assert away[1] < 6
