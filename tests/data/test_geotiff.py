"""Rasters with a place on the ground: round trips, windows, bad files."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diorama.data import geotiff, io
from diorama.data.geotiff import RasterWriter, Window, open_raster, windows, write_raster
from diorama.errors import DataError, ShapeError

rasterio = pytest.importorskip("rasterio")
PLACE = rasterio.Affine(0.09, 0.0, 366976.0, 0.0, -0.09, 5808280.0)
RANDOM = np.random.default_rng(0)


def _values(dtype: str, bands: int = 3, size: tuple[int, int] = (70, 531)) -> np.ndarray:
    return (RANDOM.random((*size, bands)) * 250).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize("bands", [1, 4])
def test_values_and_place_survive(tmp_path: Path, dtype: str, bands: int) -> None:
    values = _values(dtype, bands)
    write_raster(tmp_path / "a.tif", values, "EPSG:25833", PLACE, nodata=7, tags={"unit": "m"})
    with open_raster(tmp_path / "a.tif") as raster:
        assert (raster.size, raster.bands, raster.dtype) == ((70, 531), bands, np.dtype(dtype))
        assert raster.crs.to_epsg() == 25833 and raster.transform == PLACE
        assert raster.nodata == 7 and raster.tags["unit"] == "m"
        assert raster.resolution == pytest.approx((0.09, 0.09))
        np.testing.assert_array_equal(raster.read(), values)


def test_rasterio_itself_reads_the_same(tmp_path: Path) -> None:
    values = _values("float32", 2)
    write_raster(tmp_path / "a.tif", values, 25833, tuple(PLACE), tiled=False, compressed=False)
    with rasterio.open(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.read(), values.transpose(2, 0, 1))
        assert file.crs.to_epsg() == 25833 and file.transform == PLACE and file.compression is None


def test_what_rasterio_wrote_is_read(tmp_path: Path) -> None:
    values = _values("uint16", 2)
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", height=70, width=531, count=2, dtype="uint16", interleave="band", transform=PLACE
    ) as file:
        file.write(values.transpose(2, 0, 1))
    with open_raster(tmp_path / "a.tif") as raster:
        np.testing.assert_array_equal(raster.read((3, 400, 60, 131)), values[3:63, 400:531])


@pytest.mark.parametrize("tile", [1000, 256, 100])
def test_windows_are_cut_from_the_whole(tmp_path: Path, tile: int) -> None:
    values = _values("uint8", size=(523, 611))
    covered = np.zeros(values.shape[:2], int)
    write_raster(
        tmp_path / "a.tif",
        ((w, values[w.top : w.top + w.height, w.left : w.left + w.width]) for w in windows((523, 611), tile)),
        size=(523, 611),
    )
    with open_raster(tmp_path / "a.tif") as raster:
        for window in windows(raster.size, tile):
            top, left, height, width = window
            covered[top : top + height, left : left + width] += 1
            np.testing.assert_array_equal(raster.read(window), values[top : top + height, left : left + width])
    assert (covered == 1).all()


def test_without_a_place_it_is_read_and_written_without_one(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    write_raster(tmp_path / "a.tif", _values("uint8"))
    with open_raster(tmp_path / "a.tif") as raster:
        assert raster.crs is None and raster.transform.is_identity and raster.resolution is None and raster.nodata is None
    assert not recwarn.list


def test_photos_are_rasters_too(tmp_path: Path) -> None:
    image = _values("uint8")
    io.write_image(tmp_path / "a.png", image)
    with open_raster(tmp_path / "a.png") as raster:
        np.testing.assert_array_equal(raster.read(Window(5, 6, 7, 8)), image[5:12, 6:14])


def test_label_maps_carry_their_colours(tmp_path: Path) -> None:
    labels = _values("uint8", 1)[..., 0] % 2
    write_raster(tmp_path / "a.tif", labels, palette=((255, 0, 0), (0, 0, 255)))
    with Image.open(tmp_path / "a.tif") as image:
        np.testing.assert_array_equal(np.asarray(image.convert("RGB"))[..., 2] == 255, labels == 1)


def test_a_failed_file_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"old")

    def parts() -> Iterator[tuple[Window, np.ndarray]]:
        yield Window(0, 0, 4, 9), np.zeros((4, 9), np.uint8)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_raster(tmp_path / "a.tif", parts(), size=(9, 9))
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"] and (tmp_path / "a.tif").read_bytes() == b"old"
    with pytest.raises(ShapeError, match="no window to write"):
        write_raster(tmp_path / "b.tif", iter([]), size=(4, 4))
    assert not (tmp_path / "b.tif").exists()


@pytest.mark.parametrize("missing", [200_000, 300, 1])
def test_a_full_disk_is_told_even_where_gdal_keeps_silent(tmp_path: Path, missing: int) -> None:
    """A limit on the size of files stands for the disk. GDAL tells of blocks that do not fit, not of the directory behind them."""
    resource = pytest.importorskip("resource")
    values = _values("uint8", size=(600, 500))
    write_raster(tmp_path / "whole.tif", values, "EPSG:25833", PLACE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "whole.tif").stat().st_size - missing, hard))
        with pytest.raises(DataError, match=r"a\.tif: cannot be written .*MB are free there.*Make room, or choose another output folder"):
            write_raster(tmp_path / "a.tif", values, "EPSG:25833", PLACE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert [path.name for path in tmp_path.iterdir()] == ["whole.tif"]


@pytest.mark.parametrize(("size", "start"), [((256, 256), b"II*\0"), ((24_000, 24_000), b"II+\0")])
def test_files_that_may_exceed_four_gigabytes_are_big_tiffs(tmp_path: Path, size: tuple[int, int], start: bytes) -> None:
    seen = []

    def parts() -> Iterator[tuple[Window, np.ndarray]]:
        yield Window(0, 0, 256, 256), np.ones((256, 256), np.float32)
        (path,) = tmp_path.iterdir()
        with path.open("rb") as file:
            seen.append(file.read(4))
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_raster(tmp_path / "a.tif", parts(), size=size)
    assert seen == [start] and list(tmp_path.iterdir()) == []


def test_some_bands_alone(tmp_path: Path) -> None:
    values = _values("uint16", 5)
    write_raster(tmp_path / "a.tif", values)
    with open_raster(tmp_path / "a.tif") as raster:
        np.testing.assert_array_equal(raster.read((3, 4, 60, 500), bands=(4, 1)), values[3:63, 4:504][..., [3, 0]])
        assert raster.read_mask() is None


def test_a_mask_inside_the_file_is_read(tmp_path: Path) -> None:
    values, there = _values("uint8"), RANDOM.random((70, 531)) > 0.5
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", height=70, width=531, count=3, dtype="uint8", transform=PLACE) as file,
    ):
        file.write(values.transpose(2, 0, 1))
        file.write_mask(there)
    with open_raster(tmp_path / "a.tif") as raster:
        np.testing.assert_array_equal(raster.read_mask((5, 6, 50, 400)), there[5:55, 6:406])
        np.testing.assert_array_equal(raster.read(), values)


def test_blocks_that_do_not_fit_into_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_raster(tmp_path / "a.tif", _values("uint16"))
    monkeypatch.setattr(geotiff, "BLOCK_BYTES", 256 * 256 * 3 * 2 - 1)
    with (
        pytest.raises(DataError, match="blocks of 256x256 pixels, each 0 MB in memory. Rewrite it in tiles: gdal_translate"),
        open_raster(tmp_path / "a.tif"),
    ):
        pass
    monkeypatch.setattr(geotiff, "BLOCK_BYTES", 256 * 256 * 3 * 2)
    with open_raster(tmp_path / "a.tif") as raster:
        assert raster.bands == 3


def test_a_callers_own_error_passes_through(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", _values("uint8"))
    with pytest.raises(OSError, match="mine"), open_raster(tmp_path / "a.tif"):
        raise OSError("mine")


def test_bad_windows_are_named(tmp_path: Path) -> None:
    with RasterWriter(tmp_path / "a.tif", (10, 20), 3, "uint8") as writer:
        writer.write((0, 0, 10, 20), _values("uint8", size=(10, 20)))
        with pytest.raises(ShapeError, match="Pass what the window holds"):
            writer.write((0, 0, 5, 5), np.zeros((5, 5, 2), np.uint8))
        with pytest.raises(ShapeError, match="Pass what the window holds"):
            writer.write((0, 0, 5, 5), np.zeros((5, 5, 3), np.float32))
        with pytest.raises(ShapeError, match="is not inside 10x20"):
            writer.write((8, 0, 5, 5), np.zeros((5, 5, 3), np.uint8))
    with open_raster(tmp_path / "a.tif") as raster:
        for window in ((-1, 0, 2, 2), (0, 19, 2, 2), (0, 0, 0, 2)):
            with pytest.raises(ShapeError, match="Cut it at the border"):
                raster.read(window)


def test_bad_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_raster(tmp_path / "a.tif", _values("uint8", size=(600, 600)))
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "half.tif").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.tif").write_text("no raster")
    (tmp_path / "virtual.tif").write_text(f'<VRTDataset rasterXSize="1" rasterYSize="1">{tmp_path}</VRTDataset>')
    for name in ("half.tif", "text.tif", "virtual.tif"):
        with pytest.raises(DataError, match="Copy or download the file again"), open_raster(tmp_path / name) as raster:
            raster.read()
    with pytest.raises(DataError, match="no such file"), open_raster(tmp_path / "none.tif"):
        pass
    with pytest.raises(DataError, match="is a folder"), open_raster(tmp_path):
        pass
    with pytest.raises(DataError, match=r"Name it \.tif"):
        write_raster(tmp_path / "a.jpg", _values("uint8"))
    with pytest.raises(DataError, match="EPSG:25833"):
        write_raster(tmp_path / "b.tif", _values("uint8"), crs="EPSG:nowhere")
    with pytest.raises(DataError, match="no coordinate system"):
        write_raster(tmp_path / "b.tif", _values("uint8"), crs="Berlin")
    assert not (tmp_path / "b.tif").exists()
    monkeypatch.setattr(io, "MAX_PIXELS", 1000)
    with open_raster(tmp_path / "a.tif") as raster:
        assert raster.read((0, 0, 10, 100)).shape == (10, 100, 3)
        with pytest.raises(DataError, match="limit of 1000 pixels"):
            raster.read()


def test_it_asks_for_rasterio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0")
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(DataError, match=r"pip install 'diorama\[geo\]'"), open_raster(tmp_path / "a.tif"):
        pass
    with pytest.raises(DataError, match=r"pip install 'diorama\[geo\]'"):
        write_raster(tmp_path / "b.tif", np.zeros((4, 4), np.uint8))


def test_memory_stays_bounded(tmp_path: Path) -> None:
    """A raster of 400 MB is written and read by a process of its own that never holds a quarter of it."""
    import subprocess

    program = f"""
import numpy as np, resource
from diorama.data.geotiff import *
import rasterio
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rng = np.random.default_rng(0)
part = rng.integers(0, 255, (512, 512, 4), np.uint8)
size = (10240, 10240)
write_raster({str(tmp_path / "a.tif")!r}, ((w, part) for w in windows(size, 512)), size=size, compressed=False)
with open_raster({str(tmp_path / "a.tif")!r}) as raster:
    for window in windows(size, 2048):
        raster.read((window.top, window.left, 512, 512))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert float(done.stdout) < geotiff.CACHE_MB + 40
