"""GeoTIFFs that fit into memory: the scene is what `predict_mosaic` writes of the same file, and GDAL keeps quiet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diorama.data import io
from diorama.data.geotiff import open_raster
from diorama.errors import DataError
from diorama.prediction.mosaic import Tiling, predict_mosaic
from diorama.prediction.predictor import Predictor

rasterio = pytest.importorskip("rasterio")


def ortho(path: Path, bands: int = 3, nodata: int | None = None) -> Path:
    """100 x 150 pixels of half a metre; red at the right half, green rises downwards, black at the lower left."""
    image = np.zeros((bands, 100, 150), np.uint8)
    image[0, :, 75:], image[1] = 255, np.linspace(1, 255, 100).astype(np.uint8)[:, None]
    image[:, 80:, :30] = 0
    place = rasterio.transform.from_origin(500_000, 5_000_000, 0.5, 0.5)
    with rasterio.open(path, "w", driver="GTiff", height=100, width=150, count=bands, dtype="uint8", crs="EPSG:32632", transform=place,
                       nodata=nodata) as file:  # fmt: skip
        file.write(image)
    return path


def test_a_scene_is_what_is_written_tile_by_tile(predictor: Predictor, model: Any, tmp_path: Path) -> None:
    path = ortho(tmp_path / "a.tif", nodata=0)
    (scene,) = predictor.predict(path)
    assert len(set(model.seen)) == 1  # tiles of one size, never the whole
    targets = {kind: tmp_path / f"out.{kind}.tif" for kind in ("semantic", "depth")}
    predict_mosaic(predictor, path, targets, Tiling())
    for kind, target in targets.items():
        with open_raster(target) as written:
            np.testing.assert_array_equal(getattr(scene, kind), written.read(rasterio_window(written))[..., 0])
    assert scene.size == (100, 150)
    assert scene.semantic is not None
    assert scene.depth is not None
    assert (scene.semantic[85:, :25] == 255).all()
    assert (scene.depth[85:, :25] == 0).all()
    assert (scene.semantic[:75, 80:] == 1).all()
    assert [path.name for path in scene.save(tmp_path, save=("semantic", "depth"))] == ["a.semantic.png", "a.depth.png"]


def rasterio_window(raster: Any) -> Any:
    from diorama.data.geotiff import Window

    return Window(0, 0, *raster.size)


def test_what_needs_more_than_memory_says_how(predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io, "MAX_PIXELS", 10_000)
    with pytest.raises(DataError, match=r"Write it tile by tile: diorama\.predict"):
        next(predictor.predict(ortho(tmp_path / "a.tif")))


def test_a_damaged_tiff_is_told_once(predictor: Predictor, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = ortho(tmp_path / "a.tif").read_bytes()
    for number, cut in enumerate((9, 150, 300, len(data) // 2)):
        (tmp_path / f"cut{number}.tif").write_bytes(data[:cut])
        with pytest.raises(DataError) as error:
            list(predictor.predict(tmp_path / f"cut{number}.tif"))
        assert "\n" not in str(error.value)
    assert "ERROR" not in capfd.readouterr().err
