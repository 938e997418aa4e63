from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from diorama.data import io
from diorama.data.cityscapes import read_disparity as read_official
from diorama.data.kitti_base import read_map
from diorama.errors import ConfigError, DataError, ShapeError
from diorama.stereo.files import DisparityFolder, read_disparity, write_disparity


def disparity(seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    values = draw.uniform(0.1, 250, (24, 300)).astype(np.float32)
    values[draw.random(values.shape) < 0.2] = 0
    return values


@pytest.mark.parametrize(("name", "encoding", "error"), [
    ("a.png", "kitti", 1 / 512), ("a.png", "cityscapes", 1 / 512), ("a.pfm", "kitti", 0), ("a.npy", "kitti", 0),
])  # fmt: skip
def test_round_trip(tmp_path: Path, name: str, encoding, error: float) -> None:
    values = disparity()
    assert write_disparity(tmp_path / name, values, encoding) == 0
    again = read_disparity(tmp_path / name, encoding)
    assert again.dtype == np.float32
    np.testing.assert_array_equal(again == 0, values == 0)
    assert np.abs(again - values).max() <= error
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_numbers_in_the_file(tmp_path: Path) -> None:
    values = np.zeros((1, 400), np.float32)
    values[0, :4] = (0, 1, 2.5, 300)
    for encoding, stored in (("kitti", [0, 256, 640, 65535]), ("cityscapes", [0, 257, 641, 65535])):
        assert write_disparity(tmp_path / "a.png", values, encoding) == 1
        written = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
        assert written.dtype == np.uint16 and written[0, :4].tolist() == stored


def test_the_readers_of_the_data_sets_agree(tmp_path: Path) -> None:
    values = disparity(1)
    write_disparity(tmp_path / "k.png", values, "kitti")
    write_disparity(tmp_path / "c.png", values, "cityscapes")
    np.testing.assert_array_equal(read_map(tmp_path / "k.png"), read_disparity(tmp_path / "k.png", "kitti"))
    np.testing.assert_array_equal(read_official(tmp_path / "c.png"), read_disparity(tmp_path / "c.png", "cityscapes"))


def test_a_known_disparity_stays_known(tmp_path: Path) -> None:
    values = np.full((2, 4), 1e-4, np.float32)
    for encoding in ("kitti", "cityscapes"):
        assert write_disparity(tmp_path / "a.png", values, encoding) == 8
        assert (read_disparity(tmp_path / "a.png", encoding) == 1 / 256).all()


def test_odd_floats_are_unknown(tmp_path: Path) -> None:
    values = np.array([[1.5, np.inf, np.nan, -2, 0]] * 2, np.float32)
    np.save(tmp_path / "a.npy", values[..., None])
    io.write_pfm(tmp_path / "a.pfm", values, big_endian=True)
    for name in ("a.npy", "a.pfm"):
        assert read_disparity(tmp_path / name).tolist() == [[1.5, 0, 0, 0, 0]] * 2


def test_eight_bits_only_with_a_scale(tmp_path: Path) -> None:
    io.write_label_png(tmp_path / "a.png", np.array([[0, 8, 20] * 4], np.uint8))
    for encoding in ("kitti", "cityscapes"):
        with pytest.raises(DataError, match=r"8-bit disparity.*Save it as 16-bit"):
            read_disparity(tmp_path / "a.png", encoding)
    assert read_disparity(tmp_path / "a.png", 4.0)[0, :3].tolist() == [0, 2, 5]


def test_what_is_no_disparity(tmp_path: Path) -> None:
    write = {
        "zero.npy": np.zeros((3, 4), np.float32),
        "flow.npy": np.full((3, 4), -2, np.float32),
        "ids.npy": np.ones((3, 4), np.int64),
        "many.npy": np.ones((3, 4, 2), np.float32),
    }
    for name, values in write.items():
        np.save(tmp_path / name, values)
    io.write_label_png(tmp_path / "zero.png", np.zeros((3, 4), np.uint16), bits=16)
    (tmp_path / "half.pfm").write_bytes(b"Pf\n4 3\n-1.0\n1234")
    (tmp_path / "a.exr").write_bytes(b"")
    for name, words in {
        "zero.npy": "not one known disparity.*Take the pair out", "zero.png": "not one known", "flow.npy": "negative", "ids.npy": "float32",
        "many.npy": "one channel", "half.pfm": "truncated", "a.exr": "no disparity file", "none.png": "no such file",
    }.items():  # fmt: skip
        with pytest.raises(DataError, match=words):
            read_disparity(tmp_path / name)


def test_what_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="replace them"):
        write_disparity(tmp_path / "a.png", np.array([[np.nan, 1]], np.float32))
    with pytest.raises(ShapeError, match="one view"):
        write_disparity(tmp_path / "a.png", np.ones((1, 2, 3), np.float32))
    with pytest.raises(DataError, match=r"Choose \.png"):
        write_disparity(tmp_path / "a.jpg", np.ones((1, 2), np.float32))
    with pytest.raises(ConfigError, match="Choose kitti"):
        write_disparity(tmp_path / "a.png", np.ones((1, 2), np.float32), "sintel")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="positive"):
        read_disparity(tmp_path / "a.png", 0)
    assert not list(tmp_path.iterdir())


def test_folder_of_both_views(tmp_path: Path) -> None:
    plane = np.full((4, 12), 2, np.float32)
    for side in ("left", "right"):
        write_disparity(tmp_path / side / "city" / "one.png", plane)
    folder = DisparityFolder(tmp_path)
    assert folder.ids == ["one"]
    pair = folder.pair("one", (4, 12))
    assert pair.left.agrees.tolist() == [[False] * 2 + [True] * 10] * 4
    assert pair.right.agrees.tolist() == [[True] * 10 + [False] * 2] * 4
    (tmp_path / "right" / "city" / "one.png").rename(tmp_path / "right" / "two.png")
    with pytest.raises(DataError, match="no right disparity 'one'"):
        DisparityFolder(tmp_path).pair("one", (4, 12))


def test_folder_of_left_views(tmp_path: Path) -> None:
    write_disparity(tmp_path / "one.pfm", np.array([[1, 1, 1, 1, 4, 4, 1, 1]], np.float32))
    pair = DisparityFolder(tmp_path).pair("one", (1, 8))
    assert pair.left.disparity.tolist() == [[1, 1, 1, 1, 4, 4, 1, 1]]
    assert pair.left.agrees.tolist() == [[False] * 3 + [True] * 5]
    assert pair.right.raw.tolist() == [[4, 4, 1, 0, 0, 1, 1, 0]]
    assert pair.right.disparity.tolist() == [[4, 4, 1, 1, 1, 1, 1, 1]]


def test_folders_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        DisparityFolder(tmp_path / "none")
    with pytest.raises(DataError, match="no disparity file"):
        DisparityFolder(tmp_path)
    write_disparity(tmp_path / "a" / "one.npy", np.ones((2, 3), np.float32))
    with pytest.raises(ShapeError, match="their own size"):
        DisparityFolder(tmp_path).pair("one", (4, 6))
    with pytest.raises(DataError, match="no left disparity 'two'"):
        DisparityFolder(tmp_path).pair("two", (2, 3))
    write_disparity(tmp_path / "b" / "one.npy", np.ones((2, 3), np.float32))
    with pytest.raises(DataError, match="same name"):
        DisparityFolder(tmp_path)
