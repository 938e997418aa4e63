"""Photos and points that a program holds: every form gives the pixels that were put into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from diorama.data import io
from diorama.errors import ConfigError, DataError, ShapeError
from diorama.prediction.arrays import as_photo, as_points, is_held
from diorama.prediction.inputs import read_photo, read_sparse_depth

PIXELS = np.array([[[0, 10, 255], [128, 64, 1]], [[7, 7, 7], [255, 255, 255]], [[1, 2, 3], [4, 5, 6]]], np.uint8)
"""(3, 2, 3): rows, columns and channels differ."""
GREY = PIXELS[..., 0]


def same(found: NDArray[np.uint8], expected: NDArray[np.uint8]) -> bool:
    return found.dtype == np.uint8 and np.array_equal(found, expected)


def test_forms_of_an_array_give_its_pixels() -> None:
    three = np.repeat(GREY[..., None], 3, 2)
    assert same(as_photo(PIXELS), PIXELS)
    assert same(as_photo(PIXELS[:, ::-1]), PIXELS[:, ::-1])
    assert same(as_photo(np.concatenate([PIXELS, GREY[..., None]], 2)), PIXELS)
    assert same(as_photo(GREY), three)
    assert same(as_photo(GREY[..., None]), three)
    assert same(as_photo(PIXELS.astype(np.uint16) * 257), PIXELS)
    assert same(as_photo(GREY.astype(np.int32) * 257), three)
    assert same(as_photo(PIXELS / 255), PIXELS)
    assert same(as_photo((PIXELS / 255).astype(np.float16)), PIXELS)
    assert same(as_photo(GREY > 100), three // 128 * 255)


def test_tensors_are_channels_first() -> None:
    torch = pytest.importorskip("torch")
    whole = torch.from_numpy(PIXELS.transpose(2, 0, 1).copy())
    assert same(as_photo(whole), PIXELS)
    assert same(as_photo(whole / 255), PIXELS)
    assert same(as_photo((whole / 255).requires_grad_()), PIXELS)
    assert is_held(whole)
    for wrong in (whole.transpose(0, 2)[:2], whole[0]):
        with pytest.raises(ShapeError, match=r"a tensor is \(3, H, W\)"):
            as_photo(wrong)
    metres = torch.tensor([[[0.0, 2.5]]])
    np.testing.assert_array_equal(read_sparse_depth(metres), [[0, 2.5]])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK", "YCbCr", "HSV", "P", "L", "LA", "1", "I;16"])
def test_pil_images_of_every_mode_are_photos(mode: str) -> None:
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    source = Image.merge("RGB", (grey, grey.transpose(Image.Transpose.ROTATE_90), grey))
    image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257) if mode == "I;16" else source.convert(mode)
    assert image.mode == mode
    expected = np.asarray(Image.merge("RGB", (grey, grey, grey)) if mode == "I;16" else image.convert("RGB"))
    assert same(as_photo(image), expected)


def test_a_pil_image_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to view
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        assert same(as_photo(image), np.rot90(PIXELS, -1))


def test_a_damaged_pil_image_is_one_line(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:900])
    with Image.open(tmp_path / "a.png") as image, pytest.raises(DataError, match="truncated or damaged") as error:
        as_photo(image)
    assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="holds floats"):
        as_photo(Image.new("F", (3, 3)))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (np.full((4, 4, 3), 1.5), "from 1.5 to 1.5"),
        (np.full((4, 4, 3), -0.1), "neither in 0..1 nor 8-bit"),
        (np.full((4, 4, 3), np.nan), "from nan"),
        (np.full((4, 4, 3), 70000), "from 70000"),
        (np.zeros((4, 4)), r"shape \(4, 4\)"),
        (np.zeros((4, 4, 5), np.uint8), "Give uint8"),
        (np.zeros((0, 4, 3), np.uint8), "Give uint8"),
        (np.zeros((2, 4, 4, 3), np.uint8), "Give uint8"),
        (np.zeros((4, 4, 3), np.complex64), "type complex64"),
    ],
)
def test_what_is_no_photo_is_refused(wrong: Any, says: str) -> None:
    with pytest.raises(ShapeError, match=says):
        read_photo(wrong)


def test_a_photo_above_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io, "MAX_PIXELS", 5)
    for large in (PIXELS, Image.fromarray(PIXELS)):
        with pytest.raises(DataError, match="above the limit of 5 pixels"):
            as_photo(large)


def test_points_of_a_pil_image_have_a_scale(tmp_path: Path) -> None:
    depth = np.array([[0, 2.0], [4.5, 0]], np.float32)
    io.write_depth_png(tmp_path / "own.png", depth, scale=1000)
    with Image.open(tmp_path / "own.png") as image:
        np.testing.assert_array_equal(as_points(image, None), depth)  # it says 1000 itself
    plain = Image.fromarray((depth * 256).astype(np.uint16))
    np.testing.assert_array_equal(as_points(plain, None), depth)
    np.testing.assert_array_equal(read_sparse_depth(plain, 128), depth * 2)
    np.testing.assert_array_equal(as_points(Image.fromarray(depth), None), depth)
    with pytest.raises(DataError, match="8 bits"):
        as_points(Image.new("L", (2, 2)), None)
    with pytest.raises(ConfigError, match="Leave it out"):
        read_sparse_depth(depth, 1000)
