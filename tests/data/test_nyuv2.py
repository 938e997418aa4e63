"""NYUv2 from both layouts; what was written comes back, and the real files say what DATA says of them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from diorama.data import io
from diorama.data.fixtures import write_nyuv2, write_nyuv2_mat
from diorama.data.labels import NYU13, NYU40, NYU40_TO_NYU13
from diorama.data.matlab import write_mat
from diorama.data.nyuv2 import NYUv2, held_out, intrinsics
from diorama.errors import ConfigError, DataError
from diorama.types import Frame

Make = Callable[..., Frame]


@pytest.fixture
def folders(tmp_path: Path, frame: Make) -> Path:
    write_nyuv2([frame(k) for k in range(3)], tmp_path, "train")
    write_nyuv2([frame(k) for k in range(3, 5)], tmp_path, "test", first=3)
    return tmp_path


def test_plain_folders_come_back(folders: Path, frame: Make) -> None:
    dataset = NYUv2(folders, "test")
    assert dataset.ids == ["0003", "0004"]
    assert dataset.check() == []
    for index, number in enumerate((3, 4)):
        read, made = dataset[index], frame(number)
        assert np.array_equal(read["image"], made["image"])
        assert np.array_equal(read["semantic"], made["semantic"])
        assert np.abs(read["depth"] - made["depth"]).max() <= 0.0005
        assert read["meta"]["id"] == f"{number:04d}"
        assert dataset.provides == set(read) - {"meta"}


def test_official_mat_comes_back(tmp_path: Path, frame: Make) -> None:
    pytest.importorskip("h5py")
    frames = [frame(k) for k in range(5)]
    write_nyuv2_mat(frames[:3], frames[3:], tmp_path, raw_share=0.5)
    for root in (tmp_path, tmp_path / "nyu_depth_v2_labeled.mat"):
        train, test = NYUv2(root, "train"), NYUv2(root, "test")
        assert (train.ids, test.ids) == (["0000", "0001", "0002"], ["0003", "0004"])
        for dataset, made in ((train, frames[:3]), (test, frames[3:])):
            for read, expected in zip(dataset, made, strict=True):
                for key in ("image", "semantic", "depth"):
                    assert np.array_equal(read[key], expected[key]), key
    raw = NYUv2(tmp_path, "train", depth="raw")[0]["depth"]
    assert np.array_equal(raw[:6], frames[0]["depth"][:6])
    assert not raw[6:].any()


def test_mat_reader_travels_to_workers(tmp_path: Path, frame: Make) -> None:
    pytest.importorskip("h5py")
    write_nyuv2_mat([frame(0)], [frame(1)], tmp_path)
    dataset = NYUv2(tmp_path, "test")
    first = dataset[0]["image"]
    assert np.array_equal(pickle.loads(pickle.dumps(dataset))[0]["image"], first)


def test_mat_layout_says_what_is_missing(tmp_path: Path, frame: Make) -> None:
    h5py = pytest.importorskip("h5py")
    write_nyuv2_mat([frame(0)], [frame(1)], tmp_path)
    mapping = (tmp_path / "classMapping40.mat").read_bytes()
    (tmp_path / "classMapping40.mat").unlink()
    with pytest.raises(DataError, match=r"Put `classMapping40.mat`"):
        NYUv2(tmp_path, "train")[0]
    ready = np.stack([np.where(frame(k)["semantic"] == 255, 0, frame(k)["semantic"] + 1) for k in (0, 1)], axis=-1)
    write_mat(tmp_path / "labels40.mat", {"labels40": ready.astype(float)})
    assert np.array_equal(NYUv2(tmp_path, "test")[0]["semantic"], frame(1)["semantic"])
    (tmp_path / "classMapping40.mat").write_bytes(mapping)
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "a") as file:
        del file["rawDepths"]
    with pytest.raises(DataError, match=r"no array 'rawDepths'"):
        NYUv2(tmp_path, "train", depth="raw")[0]
    (tmp_path / "splits.mat").unlink()
    with pytest.raises(DataError, match=r"splits.mat: missing"):
        NYUv2(tmp_path, "train")


def test_thirteen_classes(folders: Path, frame: Make) -> None:
    dataset = NYUv2(folders, "train", classes=13)
    assert dataset.labels is NYU13
    assert np.array_equal(dataset[1]["semantic"], NYU40_TO_NYU13[frame(1)["semantic"]])
    (folders / "train" / "semantic13").mkdir()
    for number in range(3):
        io.write_label_png(folders / "train" / "semantic13" / f"{number:04d}.png", np.full((12, 16), 5, np.uint8))
    assert (NYUv2(folders, "train", classes=13)[1]["semantic"] == 4).all()


def test_intrinsics_put_the_same_ray_through_the_same_spot() -> None:
    full, half = intrinsics(480, 640), intrinsics(240, 320)
    assert half[0, 0] == pytest.approx(259.43, abs=0.005)
    assert half[1, 1] == pytest.approx(259.73, abs=0.01)
    assert half[0, 2] == pytest.approx(162.54, abs=0.005)
    assert half[1, 2] == pytest.approx(126.62, abs=0.005)
    # The centre of the small pixel (u, v) covers the corner of the four large ones: (2u + 0.5, 2v + 0.5).
    small = np.linalg.solve(half, [10, 20, 1])
    large = np.linalg.solve(full, [20.5, 40.5, 1])
    assert np.allclose(small, large, atol=1e-12)


def test_held_out_frames_are_whole_runs_and_a_tenth() -> None:
    ids = [f"{n:04d}" for n in range(1449) if n % 20 < 11]
    chosen = held_out(ids)
    assert chosen == held_out(ids[::-1])
    assert len(ids) * 0.08 < len(chosen) <= round(len(ids) * 0.1)
    runs = {int(frame_id) // 20 for frame_id in chosen}
    assert len(chosen) == 11 * len(runs)


def test_bad_arguments_and_folders(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no split 'tset'"):
        NYUv2(folders, "tset")
    with pytest.raises(ConfigError, match=r"Choose 40 or 13"):
        NYUv2(folders, classes=37)
    with pytest.raises(ConfigError, match=r"'filled' or 'raw'"):
        NYUv2(folders, depth="best")
    with pytest.raises(DataError, match=r"no such folder. Point --data.root"):
        NYUv2(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no images. nyuv2 needs nyu_depth_v2_labeled.mat"):
        NYUv2(tmp_path / "empty")


def test_bad_files_name_themselves(folders: Path) -> None:
    io.write_depth_png(folders / "train/depth/0000.png", np.ones((6, 8), np.float32), 1000)
    io.write_label_png(folders / "train/semantic40/0001.png", np.full((12, 16), 41, np.uint8))
    cv2.imwrite(str(folders / "train/depth/0002.png"), np.ones((12, 16), np.uint8))
    dataset = NYUv2(folders, "train")
    with pytest.raises(DataError, match=r"nyuv2 0000: sizes differ \(image 16x12, depth 8x6, semantic 16x12\)"):
        dataset[0]
    with pytest.raises(DataError, match=r"0001.png: label id 41, expected 1..40"):
        dataset[1]
    with pytest.raises(DataError, match=r"0002.png: 8-bit PNG, expected 16-bit depth"):
        dataset[2]
    (folders / "train/depth/0001.png").unlink()
    assert [text.split(": ")[1][:7] for text in dataset.check()] == ["missing"]


def test_real_frames(real_data: Path) -> None:
    sizes = {split: len(NYUv2(real_data / "nyuv2", split)) for split in ("train", "test", "val", "train_minus_val")}
    assert (sizes["train"], sizes["test"]) == (795, 654)
    assert sizes["val"] + sizes["train_minus_val"] == 795
    test = NYUv2(real_data / "nyuv2", "test")
    assert test.labels is NYU40
    read = test[0]
    assert read["image"].shape == (240, 320, 3)
    assert read["depth"].min() > 0.5
    assert read["depth"].max() < 10
    by_cv = cv2.imread(str(real_data / "nyuv2/test/semantic40/0000.png"), cv2.IMREAD_UNCHANGED).astype(int)
    assert np.array_equal(np.where(by_cv == 0, 255, by_cv - 1), read["semantic"])
    official = cv2.imread(str(real_data / "nyuv2/test/semantic13/0000.png"), cv2.IMREAD_UNCHANGED).astype(int)
    assert np.array_equal(np.where(official == 0, 255, official - 1), NYUv2(real_data / "nyuv2", "test", classes=13)[0]["semantic"])
