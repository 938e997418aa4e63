"""`diorama predict` on GeoTIFFs that are odd or broken, and on disks that are: one line each, and no half file."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from diorama.cli import main
from diorama.prediction import mosaic
from diorama.prediction.predictor import Predictor

rasterio = pytest.importorskip("rasterio")

PLACE = rasterio.Affine(0.09, 0.0, 366976.0, 0.0, -0.09, 5808280.0)
RANDOM = np.random.default_rng(3)
SIZE = 100, 130


def ground(bands: int = 3) -> NDArray[np.uint8]:
    return RANDOM.integers(1, 256, (*SIZE, bands), np.uint8)


def saved(path: Path, values: NDArray, crs: str | None = "EPSG:25833", transform: rasterio.Affine = PLACE, **options) -> Path:
    height, width, bands = values.shape
    with rasterio.open(path, "w", "GTiff", width, height, bands, crs, transform, values.dtype, **options) as file:
        file.write(values.transpose(2, 0, 1))
    return path


def words(source: Path, out: Path, *more: str) -> list[str]:
    return ["predict", str(source), "--out", str(out), "--threads", "1", "--save", "semantic", "depth", *more]


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch, predictor: Predictor) -> None:
    """The toy in place of the shipped network: what is asked is what the files are like."""
    monkeypatch.setattr("diorama.running.predict.load", lambda *_, **__: predictor)


@pytest.fixture
def limited() -> Iterator:
    """Files may grow to so many bytes: it stands for a disk that is full."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, before)


def one_line(logged: pytest.LogCaptureFixture) -> str:
    """What is told, on one line."""
    (told,) = [record.getMessage() for record in logged.records if record.name == "diorama"]
    assert told.startswith("skipped ") and "\n" not in told
    return told


def test_without_a_coordinate_system(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main(words(saved(tmp_path / "a.tif", ground(), crs=None), tmp_path / "out")) == 0
    assert "names no coordinate system, so neither do its results" in caplog.text
    with rasterio.open(tmp_path / "out" / "a.depth.tif") as file:
        assert file.crs is None and file.transform == PLACE


def test_turned_and_stretched_pixels_keep_their_place(tmp_path: Path) -> None:
    turned = PLACE @ rasterio.Affine.rotation(30) @ rasterio.Affine.scale(1, 2)
    assert main(words(saved(tmp_path / "a.tif", ground(), transform=turned), tmp_path / "out")) == 0
    for kind in ("semantic", "depth"):
        with rasterio.open(tmp_path / "out" / f"a.{kind}.tif") as file:
            assert file.transform.almost_equals(turned, 1e-9) and file.crs.to_epsg() == 25833


@pytest.mark.parametrize("bands", [1, 5])
def test_one_band_is_grey_and_of_five_three_are_decoded(tmp_path: Path, bands: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values, decoded = ground(bands), []
    read = mosaic.Raster.read
    monkeypatch.setattr(mosaic.Raster, "read", lambda self, *asked: decoded.append(asked[1]) or read(self, *asked))
    flags = ["--bands", "5", "4", "2"] if bands == 5 else []
    assert main(words(saved(tmp_path / "a.tif", values), tmp_path / "out", *flags)) == 0
    red, green = (values[..., 4], values[..., 3]) if bands == 5 else (values[..., 0], values[..., 0])
    with rasterio.open(tmp_path / "out" / "a.semantic.tif") as file:
        np.testing.assert_array_equal(file.read(1), red / np.float32(255) > 0.5)
    with rasterio.open(tmp_path / "out" / "a.depth.tif") as file:
        np.testing.assert_allclose(file.read(1), 4 + green / np.float32(255), atol=1e-5)
    assert set(map(tuple, decoded)) == {(2, 4, 5) if bands == 5 else (1,)}


def test_what_the_mask_inside_the_file_hides_has_no_value(tmp_path: Path) -> None:
    there = RANDOM.random(SIZE) > 0.3
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(saved(tmp_path / "a.tif", ground()), "r+") as file:
        file.write_mask(there)
    assert main(words(tmp_path / "a.tif", tmp_path / "out")) == 0
    with rasterio.open(tmp_path / "out" / "a.semantic.tif") as labels, rasterio.open(tmp_path / "out" / "a.depth.tif") as depth:
        np.testing.assert_array_equal(labels.read(1) != 255, there)
        np.testing.assert_array_equal(depth.read(1) > 0, there)


@pytest.mark.parametrize("left", [0, 3, 200, 30_000])
def test_a_broken_file_among_others_is_skipped(tmp_path: Path, left: int, caplog) -> None:
    (tmp_path / "in").mkdir()
    saved(tmp_path / "in" / "b.tif", ground())
    path = saved(tmp_path / "in" / "a.tif", ground(), compress="deflate")
    path.write_bytes(path.read_bytes()[:left])
    assert main(words(tmp_path / "in", tmp_path / "out")) == 1
    told = one_line(caplog)
    assert "a.tif: " in told and ("Copy or download the file again." in told or "Replace the file or take it out" in told)
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"b.semantic.tif", "b.depth.tif"}


def test_a_cut_off_file_is_found_before_the_first_tile(tmp_path: Path, model, caplog) -> None:
    path = saved(tmp_path / "a.tif", ground(), interleave="band")
    path.write_bytes(path.read_bytes()[:-1])
    assert main(words(path, tmp_path / "out")) == 1
    assert "blocks beyond the end of the file" in one_line(caplog) and not model.seen and not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [20_000, 5000])
def test_a_full_disk(tmp_path: Path, size: int, limited, caplog) -> None:
    path = saved(tmp_path / "a.tif", ground())
    limited(size)
    assert main(words(path, tmp_path / "out")) == 1
    told = one_line(caplog)
    assert "cannot be written" in told and told.rstrip().endswith("Make room, or choose another output folder.")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_cannot_be(tmp_path: Path, caplog) -> None:
    path = saved(tmp_path / "a.tif", ground())
    (tmp_path / "file").touch()
    assert main(words(path, tmp_path / "file" / "out")) == 1
    assert "file/out" in (told := one_line(caplog)) and "Choose another" in told


def test_stopped_by_ctrl_c(tmp_path: Path, predictor: Predictor, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, asked = predictor.batch, []

    def stop(inputs):
        asked.append(sorted(path.suffixes[-2] for path in (tmp_path / "out").iterdir()))
        if len(asked) == 5:
            raise KeyboardInterrupt
        return answer(inputs)

    monkeypatch.setattr(predictor, "batch", stop)
    path = saved(tmp_path / "a.tif", ground())
    assert main(words(path, tmp_path / "out")) == 130
    assert len(asked[-1]) == 2  # both were being written, under other names
    assert list((tmp_path / "out").iterdir()) == [] and "stopped by Ctrl-C" in capsys.readouterr().err
    monkeypatch.setattr(predictor, "batch", answer)
    assert main(words(path, tmp_path / "out")) == 0  # nothing is in the way of another run
