"""SUN RGB-D in both layouts: MATLAB files written by SciPy and h5py, bit-turned depth worked out by hand, bad files."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from diorama.data import io
from diorama.data.check import check_dataset
from diorama.data.fixtures import write_sunrgbd
from diorama.data.labels import NYU40
from diorama.data.matlab_cells import read_strings
from diorama.data.sunrgbd import SUN37, SunRGBD, unrotated
from diorama.errors import ConfigError, DataError
from diorama.types import Frame

Make = Callable[..., Frame]

DISK = "/n/fs/sun3d/data/SUNRGBD/"
FRAMES = ("kv1/NYUdata/NYU0001", "kv1/NYUdata/NYU0002", "xtion/sun3ddata/brown/room_1/0001", "realsense/sa/0007")
TRAIN, TEST = (FRAMES[0], FRAMES[2]), (FRAMES[1], FRAMES[3])


@pytest.fixture
def official(tmp_path: Path, frame: Make) -> Path:
    scipy_io = pytest.importorskip("scipy.io")
    h5py = pytest.importorskip("h5py")
    toolbox = tmp_path / "SUNRGBDtoolbox"
    for name in ("traintestSUNRGBD", "Metadata"):
        (toolbox / name).mkdir(parents=True)
    for number, folder in enumerate(FRAMES):
        base = tmp_path / "SUNRGBD" / folder
        io.write_image(base / "image" / "000.jpg", frame(number)["image"], quality=100)
        millimetres = np.rint(frame(number)["depth"] * 1000).astype(np.uint16)
        turned = (millimetres << np.uint16(3)) | (millimetres >> np.uint16(13))
        io.write_label_png(base / "depth_bfx" / "000.png", turned, bits=16)
        io.write_label_png(base / "depth" / "000.png", np.where(np.arange(16) < 8, turned, 0).astype(np.uint16), bits=16)
        (base / "intrinsics.txt").write_text("20 0 7.5\n0 20 5.5\n0 0 1\n")

    def cells(folders: tuple[str, ...]) -> np.ndarray:
        made = np.empty((1, len(folders)), object)
        made[0] = [DISK + folder for folder in folders]
        return made

    scipy_io.savemat(toolbox / "traintestSUNRGBD" / "allsplit.mat", {"alltest": cells(TEST), "alltrain": cells(TRAIN)}, do_compression=True)
    # the numbering of the labels is that of SUNRGBDMeta: here the last frame comes first
    meta = np.zeros((1, 4), [("sequenceName", "O"), ("rgbpath", "O"), ("valid", "O")])
    for at, folder in enumerate(FRAMES[::-1]):
        meta[0, at] = ("x", f"{DISK}{folder}//image/000.jpg", 1.0)
    scipy_io.savemat(toolbox / "Metadata" / "SUNRGBDMeta.mat", {"SUNRGBDMeta": meta}, do_compression=True)
    with h5py.File(toolbox / "Metadata" / "SUNRGBD2Dseg.mat", "w") as file:
        references = file.create_dataset("SUNRGBD2Dseg/seglabel", (4, 1), h5py.ref_dtype)
        for at, number in enumerate((3, 2, 1, 0)):
            ids = frame(number, classes=37)["semantic"]
            file[f"#refs#/{at}"] = np.where(ids == 255, 0, ids + 1).astype(float).T
            references[at, 0] = file[f"#refs#/{at}"].ref
    return tmp_path


def test_official_layout_comes_back(official: Path, frame: Make) -> None:
    for split, numbers in (("train", (0, 2)), ("test", (3, 1))):
        dataset = SunRGBD(official, split)
        assert dataset.ids == sorted(FRAMES[number] for number in numbers)
        assert dataset.labels is SUN37
        for read in dataset:
            made = frame(FRAMES.index(read["meta"]["id"]), classes=37)
            assert np.array_equal(read["semantic"], made["semantic"])
            assert np.abs(read["depth"] - made["depth"]).max() <= 0.0005
            assert np.abs(read["image"].astype(int) - made["image"]).mean() < 30
            assert np.array_equal(read["intrinsics"], [[20, 0, 7.5], [0, 20, 5.5], [0, 0, 1]])
    assert check_dataset("sunrgbd", ["train", "test"], root=official) == []
    raw = SunRGBD(official, depth="raw")[0]["depth"]
    assert raw[:, 8:].max() == 0
    assert raw[:, :8].min() > 0
    copied = pickle.loads(pickle.dumps(dataset))
    assert np.array_equal(copied[0]["semantic"], dataset[0]["semantic"])


def test_labels_beside_the_frame_win(official: Path) -> None:
    own = official / "SUNRGBD" / FRAMES[0] / "label" / "label.npy"
    io.write_npy(own, np.full((12, 16), 37, np.uint8))
    assert (SunRGBD(official)[0]["semantic"] == 36).all()
    io.write_npy(own, np.full((12, 16), 38, np.uint8))
    with pytest.raises(DataError, match=r"label.npy: label id 38, expected 1..37"):
        SunRGBD(official)[0]


def test_bits_are_turned_back() -> None:
    # 1234 mm = 0b10011010010, left by three: 9872; 40000 mm = 0b1001110001000000, left by three: 0b1110001000000100 = 57860
    stored = np.array([[0, 9872, 57860]], np.uint16)
    assert np.allclose(unrotated(stored), [[0, 1.234, 40.0]])


def test_flattened_layout_comes_back(tmp_path: Path, frame: Make) -> None:
    write_sunrgbd([frame(k) for k in range(20)], tmp_path)
    write_sunrgbd([frame(20)], tmp_path, "test")
    train = SunRGBD(tmp_path)
    assert len(train) == 20
    assert train.provides == {"image", "semantic", "depth"} == set(train[0]) - {"meta"}
    made = frame(2)
    assert np.array_equal(train[2]["semantic"], np.where(made["semantic"] < 37, made["semantic"], 255))
    assert np.abs(train[2]["depth"] - np.minimum(made["depth"], 6.5535)).max() <= 0.00005 + 1e-6
    val, rest = SunRGBD(tmp_path, "val"), SunRGBD(tmp_path, "train_minus_val")
    assert sorted(val.ids + rest.ids) == train.ids
    (tmp_path / "depth" / "train" / "00000003.png").unlink()
    assert "1 frames lack a file (first: 000003)" in SunRGBD(tmp_path).check()[0]
    with pytest.raises(ConfigError, match="flattened layout has in-painted depth only"):
        SunRGBD(tmp_path, depth="raw")


def test_the_37_classes_are_the_first_of_the_40() -> None:
    assert len(SUN37) == 37
    assert SUN37.classes[0] == "wall"
    assert SUN37.classes[36] == "bag"
    assert SUN37.classes == NYU40.classes[:37]


def test_bad_roots_and_files(official: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Choose 'bfx' or 'raw'"):
        SunRGBD(official, depth="best")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"allsplit.mat: missing. Unpack SUNRGBDtoolbox.zip there"):
        SunRGBD(tmp_path / "none")
    io.write_label_png(official / "SUNRGBD" / FRAMES[0] / "depth_bfx" / "000.png", np.ones((12, 16), np.uint8))
    with pytest.raises(DataError, match="8-bit depth, expected 16-bit"):
        SunRGBD(official)[0]
    (official / "SUNRGBD" / FRAMES[2] / "intrinsics.txt").unlink()
    assert f"1 frames lack a file (first: {FRAMES[2]})" in SunRGBD(official).check()[0]
    meta = official / "SUNRGBDtoolbox" / "Metadata" / "SUNRGBDMeta.mat"
    with pytest.raises(DataError, match=r"no structures 'SUNRGBDMeta' with a field 'x'|damaged"):
        read_strings(meta, "SUNRGBDMeta", "x")
    with pytest.raises(DataError, match="no cells 'SUNRGBDMeta'. Get the official file"):
        read_strings(meta, "SUNRGBDMeta")
    meta.write_bytes(meta.read_bytes()[:200])
    with pytest.raises(DataError, match=r"SUNRGBDMeta.mat: (truncated or damaged|no structures)"):
        SunRGBD(official, "test")[0]
    meta.write_bytes(b"not MATLAB")
    with pytest.raises(DataError, match="not a MATLAB file of version 5"):
        SunRGBD(official, "test")[0]
