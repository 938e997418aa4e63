"""Files: exact round trips, independent decoders as oracles, and one line for every damaged file."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from diorama.data import io
from diorama.errors import DataError, ShapeError

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3)).astype(np.uint8)
DEPTH = np.array([[0, 0.5, 1.25], [2.0, 80.0, 255.0]], np.float32)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp"])
def test_lossless_images_come_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(RGB).save(path, lossless=True)
    assert np.array_equal(io.read_image(path), RGB)
    assert io.image_size(path) == (6, 9)


def test_written_png_is_rgb_for_another_decoder(tmp_path: Path) -> None:
    io.write_image(tmp_path / "new" / "folder" / "a.png", RGB)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "new/folder/a.png")), RGB)


def test_jpeg_round_trip_is_close(tmp_path: Path) -> None:
    smooth = cv2.resize(RGB, (64, 48), interpolation=cv2.INTER_CUBIC)
    io.write_image(tmp_path / "a.jpg", smooth, quality=95)
    assert np.abs(io.read_image(tmp_path / "a.jpg").astype(int) - smooth).mean() < 6


def test_grey_palette_alpha_and_16_bit_become_rgb(tmp_path: Path) -> None:
    grey = RGB[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert np.array_equal(io.read_image(tmp_path / "grey.png"), np.repeat(grey[..., None], 3, 2))
    Image.fromarray(np.dstack([RGB, np.full(RGB.shape[:2], 7, np.uint8)])).save(tmp_path / "alpha.png")
    assert np.array_equal(io.read_image(tmp_path / "alpha.png"), RGB)
    deep = np.array([[0, 128, 257, 32896, 65535]], np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    assert io.read_image(tmp_path / "deep.png")[0, :, 1].tolist() == [0, 0, 1, 128, 255]
    cv2.imwrite(str(tmp_path / "deep_rgb.png"), (RGB[..., ::-1].astype(np.uint16) * 257))
    assert np.array_equal(io.read_image(tmp_path / "deep_rgb.png"), RGB)
    Image.fromarray(RGB).quantize(4).save(tmp_path / "palette.png")
    assert np.array_equal(io.read_image(tmp_path / "palette.png"), np.asarray(Image.open(tmp_path / "palette.png").convert("RGB")))


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    smooth = cv2.resize(RGB, (48, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    Image.fromarray(smooth).save(tmp_path / "turned.jpg", quality=95, exif=exif)
    read = io.read_image(tmp_path / "turned.jpg")
    assert read.shape == (48, 32, 3)
    assert io.image_size(tmp_path / "turned.jpg") == (48, 32)
    assert np.abs(read.astype(int) - np.rot90(smooth, -1)).mean() < 8


@settings(max_examples=30, deadline=None)
@given(npst.arrays(np.uint16, (3, 4)))
def test_depth_png_holds_every_16_bit_value(tmp_path_factory: pytest.TempPathFactory, units: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("depth") / "d.png"
    assert io.write_depth_png(path, (units / 256).astype(np.float32), 256) == 0
    assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), units)
    assert np.array_equal(io.read_depth(path), (units / 256).astype(np.float32))


def test_depth_png_counts_clipped_pixels_and_records_its_scale(tmp_path: Path) -> None:
    depth = np.array([[0, 0.0001, 1.5, 255.99, 256.0, 900.0]], np.float32)
    assert io.write_depth_png(tmp_path / "d.png", depth, 256) == 3
    stored = cv2.imread(str(tmp_path / "d.png"), cv2.IMREAD_UNCHANGED)
    assert stored.tolist() == [[0, 1, 384, 65533, 65535, 65535]]
    assert Image.open(tmp_path / "d.png").text["depth_scale"] == "256"
    assert io.read_depth(tmp_path / "d.png", scale=1000)[0, 2] == np.float32(0.384)


def test_integer_depth_without_a_scale_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "d.png"), np.full((2, 2), 512, np.uint16))
    with pytest.raises(DataError, match=r"without a recorded scale. Save metres as float32 .*--data.depth_scale"):
        io.read_depth(tmp_path / "d.png")
    assert io.read_depth(tmp_path / "d.png", 256)[0, 0] == 2.0


@pytest.mark.parametrize("values", [np.ones((2, 2), bool), np.ones((2, 2), complex), np.full((2, 2), "x")])
def test_what_is_no_number_is_no_depth(values: np.ndarray, tmp_path: Path) -> None:
    io.write_npy(tmp_path / "d.npy", values)
    with pytest.raises(DataError, match=r"values of type .*, expected numbers. Save metres as float32"):
        io.read_depth(tmp_path / "d.npy")


@pytest.mark.filterwarnings("error")
def test_depth_beyond_float32_is_unknown(tmp_path: Path) -> None:
    io.write_npy(tmp_path / "d.npy", np.array([[1e300, 2.0]]))
    assert io.read_depth(tmp_path / "d.npy").tolist() == [[0.0, 2.0]]


def test_eight_bit_depth_is_refused_with_the_agreed_text(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "d.png"), np.full((2, 2), 9, np.uint8))
    with pytest.raises(DataError) as caught:
        io.read_depth(tmp_path / "d.png", 256)
    assert "d.png: 8-bit PNG, expected 16-bit depth (KITTI stores metres * 256). Pass --data.depth_scale" in str(caught.value)


@pytest.mark.parametrize("suffix", [".npy", ".pfm", ".h5", ".tif"])
def test_float_depth_is_metres_and_infinity_unknown(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"d{suffix}"
    depth = DEPTH.copy()
    depth[1, 2] = np.inf
    if suffix == ".npy":
        io.write_npy(path, depth)
    elif suffix == ".pfm":
        io.write_pfm(path, depth)
    elif suffix == ".tif":
        Image.fromarray(depth).save(path)
    else:
        with h5py.File(path, "w") as file:
            file["depth"] = depth[None]
    assert io.read_depth(path).tolist() == [[0, 0.5, 1.25], [2.0, 80.0, 0]]


def test_nan_and_negative_depth_are_counted(tmp_path: Path) -> None:
    io.write_npy(tmp_path / "d.npy", np.array([[np.nan, -1, 2], [np.nan, 1, 1]], np.float32))
    with pytest.raises(DataError, match=r"2 NaN, 1 negative of 6 depth values. Unknown depth is 0"):
        io.read_depth(tmp_path / "d.npy")
    with pytest.raises(DataError, match=r"1 NaN"):
        io.write_depth_png(tmp_path / "out.png", np.array([[np.nan]], np.float32))
    assert not (tmp_path / "out.png").exists()


@settings(max_examples=30, deadline=None)
@given(npst.arrays(np.float32, st.sampled_from([(3, 5), (1, 1), (4, 2, 3)]), elements=st.floats(width=32, allow_nan=False)), st.booleans())
def test_pfm_round_trip_in_both_byte_orders(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray, big: bool) -> None:
    path = tmp_path_factory.mktemp("pfm") / "v.pfm"
    io.write_pfm(path, values, big_endian=big)
    assert np.array_equal(io.read_pfm(path), values)
    by_cv = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(by_cv[..., ::-1] if values.ndim == 3 else by_cv, values)


def test_pfm_starts_at_the_bottom_row(tmp_path: Path) -> None:
    (tmp_path / "hand.pfm").write_bytes(b"Pf\n2 2\n1.0\n" + struct.pack(">4f", 1, 2, 3, 4))
    assert io.read_pfm(tmp_path / "hand.pfm").tolist() == [[3, 4], [1, 2]]


def test_label_files(tmp_path: Path) -> None:
    ids = np.array([[0, 1], [7, 255]], np.uint8)
    io.write_label_png(tmp_path / "l.png", ids)
    assert np.array_equal(cv2.imread(str(tmp_path / "l.png"), cv2.IMREAD_UNCHANGED), ids)
    assert np.array_equal(io.read_labels(tmp_path / "l.png"), ids)
    io.write_label_png(tmp_path / "deep.png", np.array([[0, 893]]))
    assert io.read_labels(tmp_path / "deep.png").tolist() == [[0, 893]]
    palette = Image.fromarray(ids, "P")
    palette.putpalette([i for k in range(256) for i in (k, 255 - k, 9)])
    palette.save(tmp_path / "p.png")
    assert np.array_equal(io.read_labels(tmp_path / "p.png"), ids)
    Image.fromarray(RGB).save(tmp_path / "rgb.png")
    assert io.is_colour(tmp_path / "rgb.png")
    assert not io.is_colour(tmp_path / "p.png")
    with pytest.raises(DataError, match=r"one label id per pixel"):
        io.read_labels(tmp_path / "rgb.png")


@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.95])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_truncated_images_are_one_line_errors(tmp_path: Path, suffix: str, keep: float) -> None:
    path = tmp_path / f"photo{suffix}"
    io.write_image(path, np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(DataError) as caught:
        io.read_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damage_inside_a_png_is_noticed(tmp_path: Path) -> None:
    io.write_depth_png(tmp_path / "d.png", np.random.default_rng(1).uniform(1, 9, (64, 64)).astype(np.float32))
    data = bytearray((tmp_path / "d.png").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "d.png").write_bytes(data)
    with pytest.raises(DataError, match=r"damaged"):
        io.read_depth(tmp_path / "d.png")


def test_other_damaged_files(tmp_path: Path) -> None:
    (tmp_path / "note.png").write_text("not an image")
    with pytest.raises(DataError, match=r"not an image"):
        io.read_image(tmp_path / "note.png")
    with pytest.raises(DataError, match=r"no such file"):
        io.read_image(tmp_path / "none.png")
    with pytest.raises(DataError, match=r"is a folder"):
        io.read_image(tmp_path)
    io.write_pfm(tmp_path / "d.pfm", DEPTH)
    (tmp_path / "d.pfm").write_bytes((tmp_path / "d.pfm").read_bytes()[:-4])
    with pytest.raises(DataError, match=r"truncated .20 of 24 bytes"):
        io.read_pfm(tmp_path / "d.pfm")
    (tmp_path / "e.pfm").write_bytes(b"P6\n2 2\n255\n")
    with pytest.raises(DataError, match=r"not a PFM file"):
        io.read_pfm(tmp_path / "e.pfm")
    io.write_npy(tmp_path / "d.npy", DEPTH)
    (tmp_path / "d.npy").write_bytes((tmp_path / "d.npy").read_bytes()[:-4])
    with pytest.raises(DataError, match=r"not a plain NPY array, or truncated"):
        io.read_depth(tmp_path / "d.npy")
    (tmp_path / "d.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(20))
    with pytest.raises(DataError, match=r"truncated"):
        io.read_depth(tmp_path / "d.h5")


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"not a plain NPY array"):
        io.read_depth(tmp_path / "evil.npy")


def test_pixel_limit_is_checked_before_decoding(tmp_path: Path) -> None:
    """A 30000 x 30000 header over no data at all: the answer is the limit, not the missing data."""
    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    (tmp_path / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    )
    with pytest.raises(DataError, match=r"limit of .* pixels"):
        io.read_image(tmp_path / "bomb.png")
    (tmp_path / "bomb.pfm").write_bytes(b"Pf\n40000 40000\n-1\n")
    with pytest.raises(DataError, match=r"40000x40000 is above the limit"):
        io.read_pfm(tmp_path / "bomb.pfm")


def test_a_small_limit_refuses_a_small_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    io.write_image(tmp_path / "a.png", RGB)
    io.write_npy(tmp_path / "a.npy", DEPTH)
    monkeypatch.setattr(io, "MAX_PIXELS", 5)
    with pytest.raises(DataError, match=r"9x6 is above the limit of 5 pixels"):
        io.read_image(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"3x2 is above the limit of 5 pixels"):
        io.read_npy(tmp_path / "a.npy")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")

    def interrupted() -> None:
        with io.replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match=r"stopped"):
        interrupted()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    with io.replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_wrong_arrays_and_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"uint8"):
        io.write_image(tmp_path / "a.png", RGB.astype(np.float32))
    with pytest.raises(ShapeError, match=r"ids in"):
        io.write_label_png(tmp_path / "a.png", np.array([[-1]]))
    with pytest.raises(ShapeError, match=r"PFM"):
        io.write_pfm(tmp_path / "a.pfm", np.zeros((2, 2, 2), np.float32))
    with pytest.raises(DataError, match=r"cannot write '.xyz' files"):
        io.write_image(tmp_path / "a.xyz", RGB)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write there"):
        io.write_image(tmp_path / "file" / "a.png", RGB)
    io.write_npy(tmp_path / "cube.npy", np.zeros((2, 3, 4), np.float32))
    with pytest.raises(DataError, match=r"expected .H, W."):
        io.read_depth(tmp_path / "cube.npy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cube.npy", "file"]
