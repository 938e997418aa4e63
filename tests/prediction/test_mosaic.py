"""GeoTIFF in, GeoTIFFs out: place, values, nodata, odd bands, bounded memory; judged by rasterio and by the toy model's own rule."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from diorama.cli import main
from diorama.errors import ConfigError, DataError
from diorama.export.config import ModelConfig
from diorama.prediction import mosaic
from diorama.prediction.mosaic import Tiling, is_mosaic, predict_mosaic
from diorama.prediction.mosaic_writer import Statistics
from diorama.prediction.predictor import Predictor
from diorama.running.predict import predict
from diorama.types import Inputs, Prediction

rasterio = pytest.importorskip("rasterio")

PLACE = rasterio.Affine(0.09, 0.0, 366976.0, 0.0, -0.09, 5808280.0)
RANDOM = np.random.default_rng(0)


def ground(height: int = 300, width: int = 411) -> NDArray[np.uint8]:
    """Smooth hills of colour, so that no tile is like another."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(y / 37) * np.cos(x / 23), np.sin(x / 51 + y / 90), np.cos((x + y) / 70)]
    return (127 + 120 * np.stack(waves, 2)).astype(np.uint8)


def saved(path: Path, values: NDArray, crs: str | None = "EPSG:25833", transform=PLACE, **options) -> Path:
    values = values if values.ndim == 3 else values[..., None]
    place = {} if transform is None else {"transform": transform}
    height, width, bands = values.shape
    with rasterio.open(path, "w", "GTiff", width, height, bands, crs, dtype=values.dtype, **place, **options) as file:
        file.write(values.transpose(2, 0, 1))
    return path


def opened(path: Path):
    with rasterio.open(path) as file:
        return file.read(1), file


@pytest.mark.parametrize("layout", [{}, {"tiled": True, "blockxsize": 64, "blockysize": 128, "compress": "deflate"}])
def test_place_and_values_of_a_mosaic(predictor: Predictor, tmp_path: Path, layout: dict) -> None:
    image = ground()
    path = saved(tmp_path / "town.tif", image, **layout)
    summary = predict(predictor, path, tmp_path / "out", tiling=Tiling(halo=8))
    assert {target.name for target in summary.written} == {"town.semantic.tif", "town.depth.tif", "town.json"}
    assert (summary.done, summary.failed) == ([path], [])
    semantic, labels = opened(tmp_path / "out" / "town.semantic.tif")
    depth, metres = opened(tmp_path / "out" / "town.depth.tif")
    # the toy says red where red is above one half, and 4 + green metres: no pixel sees another
    np.testing.assert_array_equal(semantic, image[..., 0] / np.float32(255) > 0.5)
    np.testing.assert_allclose(depth, 4 + image[..., 1] / np.float32(255), atol=1e-5)
    for file, kind, nodata in ((labels, "uint8", 255), (metres, "float32", 0)):
        assert file.crs.to_epsg() == 25833 and file.transform == PLACE and (file.height, file.width) == (300, 411)
        assert file.dtypes == (kind,) and file.nodata == nodata


def test_colours_statistics_and_record(predictor: Predictor, tmp_path: Path) -> None:
    image = ground()
    predict(predictor, saved(tmp_path / "town.tif", image), tmp_path / "out", tiling=Tiling(halo=8))
    with rasterio.open(tmp_path / "out" / "town.semantic.tif") as file:
        assert file.colormap(1)[0][:3] == (10, 20, 30) and file.colormap(1)[1][:3] == (200, 30, 40)
        red = float((file.read(1) == 1).mean())
    with rasterio.open(tmp_path / "out" / "town.depth.tif") as file:
        depth, tags = file.read(1).astype(np.float64), file.tags(1)
        assert file.tags()["unit"] == "m"
    expected = {"MINIMUM": depth.min(), "MAXIMUM": depth.max(), "MEAN": depth.mean(), "STDDEV": depth.std(), "VALID_PERCENT": 100}
    assert {name: float(tags[f"STATISTICS_{name}"]) for name in expected} == pytest.approx(expected, rel=1e-6)
    record = json.loads((tmp_path / "out" / "town.json").read_text())
    assert record["crs"] == "EPSG:25833" and record["transform"] == list(PLACE)[:6]
    assert record["size"] == {"height": 300, "width": 411}
    # every 32 of 320 rows and every 64 of 416 columns: 40 and 72 are left between the halos, places are multiples of 32
    assert record["tiles"] == {"count": 9 * 6, "height": 64, "width": 96, "halo": 8}
    assert record["semantic"]["shares"]["red"] == pytest.approx(red, abs=1e-5)
    assert record["depth"]["mean"] == pytest.approx(depth.mean(), abs=1e-4)
    assert record["files"] == {"semantic": "town.semantic.tif", "depth": "town.depth.tif"}
    assert record["model"]["name"] == "toy"


class Neighbours:
    """Class and depth from the mean of 17 x 17 pixels, zeros around: it sees 8 pixels far."""

    def __init__(self, config: ModelConfig) -> None:
        self.config = config

    def __call__(self, inputs: Inputs) -> Prediction:
        means = [cv2.blur(np.moveaxis(image, 0, 2), (17, 17), borderType=cv2.BORDER_CONSTANT) for image in inputs["image"]]
        mean = np.moveaxis(np.stack(means), 3, 1)
        return Prediction(50 * mean[:, :2], 1 + mean[:, 2:])


@pytest.mark.parametrize("batch", [1, 5])
def test_files_hold_what_the_whole_image_gives(model, tmp_path: Path, batch: int) -> None:
    image = RANDOM.integers(0, 256, (288, 416, 3), np.uint8)
    network = Neighbours(model.config)
    predict(Predictor(network, "toy", "by hand"), saved(tmp_path / "a.tif", image), tmp_path / "out", tiling=Tiling(halo=8, batch=batch))
    whole = network({"image": image.transpose(2, 0, 1)[None].astype(np.float32) / 255})
    np.testing.assert_allclose(opened(tmp_path / "out" / "a.depth.tif")[0], whole.depth[0, 0], atol=1e-4)
    sure = np.abs(np.subtract(*whole.semantic_logits[0])) > 1e-3
    np.testing.assert_array_equal(opened(tmp_path / "out" / "a.semantic.tif")[0][sure], whole.semantic_logits[0].argmax(0)[sure])
    assert sure.mean() > 0.99


def test_without_rasterio_a_tiff_is_a_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    path = saved(tmp_path / "a.tif", ground(64, 96))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not is_mosaic(path)
    assert "pip install 'diorama[geo]'" in caplog.text


def test_no_pixel_is_resized(predictor: Predictor, model, tmp_path: Path) -> None:
    """Tiles are as large as the model was trained at, except where the whole image is smaller."""
    predict(predictor, saved(tmp_path / "a.tif", ground()), tmp_path / "a", tiling=Tiling(batch=4))
    assert {shape[2:] for shape in model.seen} == {(64, 96)} and max(shape[0] for shape in model.seen) == 4
    model.seen.clear()
    predict(predictor, saved(tmp_path / "b.tif", ground(20, 50)), tmp_path / "b")
    assert [shape[2:] for shape in model.seen] == [(32, 64)]
    assert opened(tmp_path / "b" / "b.semantic.tif")[0].shape == (20, 50)


@pytest.mark.parametrize("how", ["nodata", "mask"])
def test_what_is_not_there_stays_unknown(predictor: Predictor, tmp_path: Path, how: str) -> None:
    image, hole = ground(), np.zeros((300, 411), bool)
    hole[:170, :250] = True
    image = np.maximum(image, 1)
    image[hole] = 0
    if how == "nodata":
        path, tiling = saved(tmp_path / "a.tif", image, nodata=0), Tiling(halo=8)
    else:
        masked = np.concatenate([image, np.where(hole, 0, 255)[..., None].astype(np.uint8)], 2)
        path, tiling = saved(tmp_path / "a.tif", masked), Tiling(halo=8, bands=(1, 2, 3, 4))
    predict(predictor, path, tmp_path / "out", tiling=tiling)
    np.testing.assert_array_equal(opened(tmp_path / "out" / "a.semantic.tif")[0] == 255, hole)
    depth = opened(tmp_path / "out" / "a.depth.tif")[0]
    np.testing.assert_array_equal(depth == 0, hole)
    np.testing.assert_allclose(depth[~hole], (4 + image[..., 1] / np.float32(255))[~hole], atol=1e-5)
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert record["depth"]["valid_percent"] == pytest.approx(100 * (~hole).mean(), abs=1e-3)


def test_bands_are_chosen_and_16_bits_are_scaled(predictor: Predictor, tmp_path: Path) -> None:
    image = ground()
    infrared = np.concatenate([RANDOM.integers(0, 256, (300, 411, 1), np.uint8), image], 2).astype(np.uint16) * 8
    predict(predictor, saved(tmp_path / "a.tif", infrared), tmp_path / "out", tiling=Tiling(bands=(2, 3, 4), white=2040))
    np.testing.assert_array_equal(opened(tmp_path / "out" / "a.semantic.tif")[0], image[..., 0] / np.float32(255) > 0.5)
    assert json.loads((tmp_path / "out" / "a.json").read_text())["bands"] == [2, 3, 4]


def test_a_palette_is_not_taken_for_grey(predictor: Predictor, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tif", ground()[..., 0] // 64, photometric="palette")
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {number: (number, 0, 0, 255) for number in range(4)})
    with pytest.raises(DataError, match="a palette, not colours"):
        predict_mosaic(predictor, path, {"semantic": tmp_path / "b.tif"}, Tiling())


def test_without_a_coordinate_system(predictor: Predictor, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = saved(tmp_path / "a.tif", ground(), crs=None)
    assert is_mosaic(path)
    predict(predictor, path, tmp_path / "out")
    assert "names no coordinate system" in caplog.text
    file = opened(tmp_path / "out" / "a.depth.tif")[1]
    assert file.crs is None and file.transform == PLACE
    assert json.loads((tmp_path / "out" / "a.json").read_text())["crs"] is None


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_photos_are_tiled_when_asked(predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = ground(200, 210)
    Image.fromarray(image).save(tmp_path / "a.png")
    plain = saved(tmp_path / "plain.tif", image, crs=None, transform=None)
    assert not is_mosaic(plain) and not is_mosaic(tmp_path / "a.png")
    assert predict(predictor, tmp_path / "a.png", tmp_path / "whole", save=("depth",)).written == [tmp_path / "whole" / "a.depth.png"]
    predict(predictor, tmp_path / "a.png", tmp_path / "out", tiling=Tiling(tile=96))
    np.testing.assert_allclose(opened(tmp_path / "out" / "a.depth.tif")[0], 4 + image[..., 1] / np.float32(255), atol=1e-5)
    monkeypatch.setattr(mosaic.io, "MAX_PIXELS", 30_000)
    assert is_mosaic(plain)  # too large to be decoded at once


def test_strips_are_cut_where_an_image_is_wide(predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mosaic, "STRIP_PIXELS", 64 * 130)
    image = ground()
    predict(predictor, saved(tmp_path / "a.tif", image), tmp_path / "out")
    np.testing.assert_allclose(opened(tmp_path / "out" / "a.depth.tif")[0], 4 + image[..., 1] / np.float32(255), atol=1e-5)


def test_results_follow_the_rules_of_photos(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = saved(tmp_path / "in" / "a.tif", ground())
    Image.fromarray(ground(64, 96)).save(tmp_path / "in" / "b.png")
    predict(predictor, tmp_path / "in", tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        *("a.semantic.tif", "a.depth.tif", "a.json", "b.semantic.png", "b.depth.png", "b.json", "b.overlay.jpg", "b.ply")
    }
    with pytest.raises(DataError, match=r"a\.depth\.tif exists already\. Pass --overwrite"):
        predict(predictor, path, tmp_path / "out", save=("depth",))
    predict(predictor, path, tmp_path / "out", save=("depth",), overwrite=True)
    with pytest.raises(ConfigError, match="tile by tile there is no ply"):
        predict(predictor, path, tmp_path / "new", save=("ply",))
    with pytest.raises(ConfigError, match="no image is a GeoTIFF"):
        predict(predictor, tmp_path / "in" / "b.png", tmp_path / "new", tiling=Tiling(halo=4))
    with pytest.raises(ConfigError, match="leaves no room"):
        predict(predictor, path, tmp_path / "new", tiling=Tiling(halo=40))
    assert not (tmp_path / "new").exists()


def test_a_stopped_run_leaves_no_half_file(predictor: Predictor, model, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tif", ground())
    targets = {kind: tmp_path / "out" / f"a{suffix}" for kind, suffix in mosaic.SUFFIXES.items()}

    def stop() -> None:
        if len(model.seen) == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_mosaic(predictor, path, targets, Tiling(), stop)
    assert list((tmp_path / "out").iterdir()) == []


def test_one_task_alone(model, tmp_path: Path) -> None:
    model.outputs, model.config["labels"] = ("depth",), None
    path = saved(tmp_path / "a.tif", ground())
    summary = predict(Predictor(model, "toy", "by hand"), path, tmp_path / "out")
    assert {target.name for target in summary.written} == {"a.depth.tif", "a.json"}
    assert "semantic" not in json.loads((tmp_path / "out" / "a.json").read_text())


def test_statistics_of_parts_are_those_of_the_whole() -> None:
    values, found = RANDOM.normal(1000, 0.01, 9999).astype(np.float32), Statistics()
    for part in np.split(values, [1, 1, 500, 9000]):
        found.add(part)
    whole = values.astype(np.float64)
    expected = {"MINIMUM": whole.min(), "MAXIMUM": whole.max(), "MEAN": whole.mean(), "STDDEV": whole.std(), "VALID_PERCENT": 50.0}
    assert found.named(2 * 9999) == pytest.approx(expected, rel=1e-9)
    assert Statistics().named(5) == {}


def four_bands(path: Path) -> Path:
    return saved(path, RANDOM.integers(0, 256, (64, 64, 4), np.uint8))


def sixteen_bits(path: Path) -> Path:
    return saved(path, RANDOM.integers(0, 4096, (64, 64, 3), np.uint16))


def heights(path: Path) -> Path:
    return saved(path, RANDOM.random((64, 64, 1)).astype(np.float32))


def cut_off(path: Path) -> Path:
    saved(path, RANDOM.integers(0, 256, (300, 300, 3), np.uint8), compress="deflate")
    path.write_bytes(path.read_bytes()[:100_000])
    return path


@pytest.mark.parametrize(
    ("made", "flags", "says"),
    [
        (four_bands, [], "4 bands. Say which the model takes for red, green and blue: --bands 1 2 3"),
        (four_bands, ["--bands", "1", "2", "5"], "has no band 5, only 4"),
        (four_bands, ["--bands", "1", "2"], "name three for red, green, blue"),
        (sixteen_bits, [], "uint16 values. Say which of them is white: --white"),
        (heights, [], "float32 values. Say which of them is white"),
        (sixteen_bits, ["--white", "0"], "a white of 0. Give the value that is white"),
        (cut_off, [], "Copy or download"),
        (four_bands, ["--bands", "1", "2", "3", "--halo", "200"], "leaves no room"),
        (four_bands, ["--bands", "1", "2", "3", "--tile", "0"], "tiles of 0x0 pixels"),
        (four_bands, ["--bands", "1", "2", "3", "--batch", "0"], "0 tiles at once"),
    ],
)
def test_bad_input_on_the_command_line(made, flags: list[str], says: str, tmp_path: Path, capsys, caplog) -> None:
    path = made(tmp_path / "a.tif")
    out = tmp_path / "out"
    status = main(["predict", str(path), "--out", str(out), "--threads", "1", *flags])
    told = capsys.readouterr().err + caplog.text
    assert status in (1, 2) and says in told and "Traceback" not in told
    assert not out.exists() or list(out.iterdir()) == []


def test_the_command_line_writes_the_mosaic(tmp_path: Path, capsys) -> None:
    path = saved(tmp_path / "a.tif", ground(250, 330))
    words = ["--threads", "1", "--tile", "192", "--halo", "16", "--batch", "2", "--save", "semantic", "json"]
    assert main(["predict", str(path), "--out", str(tmp_path / "out"), *words]) == 0
    semantic, file = opened(tmp_path / "out" / "a.semantic.tif")
    assert file.crs.to_epsg() == 25833 and semantic.max() < 40 and semantic.shape == (250, 330)
    assert json.loads((tmp_path / "out" / "a.json").read_text())["tiles"] == {"count": 6, "height": 192, "width": 192, "halo": 16}
    capsys.readouterr()
    assert main(["predict", str(path), "--model", "linear", "--tile", "64", "--out", str(tmp_path / "no")]) == 2
    assert "does not take photos alone" in capsys.readouterr().err


@pytest.mark.slow
def test_memory_does_not_grow_with_the_image(tmp_path: Path) -> None:
    """By resident memory of processes, where GDAL's own is counted, too."""
    script = Path(__file__).parents[2] / "benchmarks" / "tiles.py"
    found = {}
    for side in (500, 3000):
        words = [sys.executable, str(script), "--side", str(side), "--model", "pixels", "--tile", "256"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
        found[side] = json.loads(done.stdout.splitlines()[-1])["peak_mb"]
    # an image of 3000 x 3000 has 27 MB, its answer 45
    assert found[3000] < found[500] + 60
