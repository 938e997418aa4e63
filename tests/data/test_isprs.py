"""ISPRS: official names and splits, patches, ground sampling distance, colours and indices, heights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from diorama.data import io
from diorama.data.check import check
from diorama.data.fixtures import make
from diorama.data.geotiff import open_raster, write_raster
from diorama.data.isprs import GSD, ISPRS, SPLITS
from diorama.data.isprs_fixtures import write_potsdam, write_vaihingen
from diorama.data.labels import ISPRS6
from diorama.data.resample import Target, averaged, nearest, span
from diorama.data.world.aerial_dataset import WorldAerial
from diorama.errors import ConfigError, DataError

pytest.importorskip("rasterio")
ALL = ("image", "semantic", "depth")


@pytest.fixture(scope="module")
def world() -> WorldAerial:
    return WorldAerial(frames=3, size=(150, 200), city="a", gsd=0.05)


@pytest.fixture(scope="module")
def potsdam(world: WorldAerial, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("potsdam")
    write_potsdam([world[0], world[1]], root, "train")
    write_potsdam([world[2]], root, "test")
    return root


def test_the_official_splits() -> None:
    assert {site: (len(SPLITS[site]["train"]), len(SPLITS[site]["test"])) for site in GSD} == {"potsdam": (24, 14), "vaihingen": (16, 17)}
    for site in GSD:
        assert not set(SPLITS[site]["train"]) & set(SPLITS[site]["test"])
    assert set(SPLITS["vaihingen"]["train"] + SPLITS["vaihingen"]["test"]) == {str(n) for n in range(1, 39) if n not in (9, 18, 19, 25, 36)}


def test_whole_tiles_come_back_as_they_were_written(potsdam: Path, world: WorldAerial) -> None:
    data = ISPRS(potsdam, "train", keys=ALL, bands="rgb", patch=None)
    assert data.ids == ["2_10", "2_11"] and data.provides == set(ALL) and data.labels is ISPRS6
    for index in range(2):
        frame, made = data[index], world[index]
        for key in ALL:
            np.testing.assert_array_equal(frame[key], made[key])  # type: ignore[literal-required]
        assert frame["meta"]["crs"] == "EPSG:25833" and frame["meta"]["transform"] == pytest.approx(made["meta"]["transform"])
        assert frame["meta"]["gsd"] == 0.05 and frame["meta"]["height"]["unit"] == "m above ground"
    held_out = ISPRS(potsdam, "test", keys=ALL, bands="rgb", patch=None)
    assert held_out.ids == ["2_13"]
    assert held_out.truth == "Potsdam: official labels; heights above ground (nDSM); 0.05 m a pixel; whole tiles"
    assert ISPRS(potsdam, keys=["image"], bands="rgb", heights="dsm", gsd=0.09).truth == (
        "Potsdam: official labels; heights above sea level (DSM); 0.09 m a pixel; 512 px patches, 50% overlap, each scored whole"
    )


def test_vaihingen_in_both_of_its_folders(tmp_path: Path) -> None:
    irrg = WorldAerial(frames=1, size=(96, 96), city="b", bands="irrg")
    write_vaihingen([irrg[0]], tmp_path, "test")
    for _ in range(2):
        data = ISPRS(tmp_path, "test", "vaihingen", ALL, patch=None)
        assert data.ids == ["area2"]
        for key in ALL:
            np.testing.assert_array_equal(data[0][key], irrg[0][key])  # type: ignore[literal-required]
        # the complete ground truth lies beside top/ under the same name
        if (tmp_path / "gts_for_participants").is_dir():
            (tmp_path / "gts_for_participants" / "top_mosaic_09cm_area2.tif").rename(tmp_path / "top_mosaic_09cm_area2.tif")
            (tmp_path / "gts_for_participants").rmdir()


def test_patches_cover_the_tile_and_overlap_by_half(potsdam: Path, world: WorldAerial) -> None:
    data = ISPRS(potsdam, "train", keys=ALL, bands="rgb", patch=64)
    # 150 rows: 0, 32, 64, 86; 200 columns: 0, 32, ..., 128, 136
    assert len(data) == 2 * 4 * 6
    assert data.ids[0] == "2_10_0_0" and data.ids[23] == "2_10_86_136" and data.ids[24] == "2_11_0_0"
    whole, seen = world[0], np.zeros((150, 200), int)
    for index in range(24):
        top, left = (int(number) for number in data.ids[index].split("_")[2:])
        seen[top : top + 64, left : left + 64] += 1
        for key in ALL:
            np.testing.assert_array_equal(data[index][key], whole[key][top : top + 64, left : left + 64])  # type: ignore[literal-required]
    assert (seen > 0).all()
    a, b, c, d, e, f = whole["meta"]["transform"]
    assert data[23]["meta"]["transform"] == pytest.approx([a, b, c + 136 * a, d, e, f + 86 * e])


def test_resampling_averages_areas_and_takes_labels_at_centres(potsdam: Path, world: WorldAerial) -> None:
    data = ISPRS(potsdam, "train", keys=ALL, bands="rgb", gsd=0.1, patch=None)
    frame, made = data[0], world[0]
    assert frame["image"].shape == (75, 100, 3)
    blocks = made["image"].reshape(75, 2, 100, 2, 3).mean((1, 3))
    assert np.abs(frame["image"] - blocks).max() <= 0.5 + 1e-3
    np.testing.assert_array_equal(frame["semantic"], made["semantic"][1::2, 1::2])  # a centre on a border belongs to the pixel behind it
    height = np.where(made["depth"] > 1 / 128, made["depth"], 0)
    np.testing.assert_allclose(frame["depth"], np.maximum(height.reshape(75, 2, 100, 2).mean((1, 3)), 1 / 128), atol=1e-5)


def test_nine_centimetres_agree_with_opencv_and_patches_with_the_whole(potsdam: Path, world: WorldAerial) -> None:
    whole = ISPRS(potsdam, "train", keys=ALL, bands="rgb", gsd=0.09, patch=None)[0]
    assert whole["image"].shape == (83, 111, 3)  # 150 / 1.8 and 200 / 1.8, rounded down
    part = ISPRS(potsdam, "train", keys=ALL, bands="rgb", gsd=0.09, patch=32)
    for index in (0, 7, 11):
        top, left = (int(number) for number in part.ids[index].split("_")[2:])
        for key in ("semantic", "depth", "image"):
            np.testing.assert_allclose(
                part[index][key].astype(float),  # type: ignore[literal-required]
                whole[key][top : top + 32, left : left + 32].astype(float),  # type: ignore[literal-required]
                atol={"image": 1, "depth": 1e-4, "semantic": 0}[key],
            )
    source = np.random.default_rng(0).random((90, 180, 2)).astype(np.float32)
    mine = averaged(source, Target((0.0, 0.0), (50, 100), 1.8))
    np.testing.assert_allclose(mine, cv2.resize(source, (100, 50), interpolation=cv2.INTER_AREA), atol=1e-5)


def test_resampling_by_hand() -> None:
    row = np.array([[1.0, 2.0, np.nan, 4.0, 5.0, np.nan, np.nan, 8.0]], np.float32)[..., None]
    assert span(1, 2, 1.5) == (1, 5) and span(0, 5, 1.8) == (0, 9)
    got = averaged(np.repeat(row, 2, 0), Target((0.0, 0.0), (1, 4), 2.0))[0, :, 0]
    np.testing.assert_allclose(got, [1.5, 4.0, 5.0, 8.0])  # half known is known
    wide = averaged(np.repeat(row, 3, 0), Target((0.0, 2.0), (1, 2), 3.0))[0, :, 0]
    np.testing.assert_allclose(wide, [4.5, np.nan], rtol=1e-6)  # of the last three one is known
    ids = np.arange(8)[None, :, None].repeat(3, 0)
    np.testing.assert_array_equal(nearest(ids, Target((0.0, 0.5), (1, 3), 2.5))[0, :, 0], [1, 4, 6])


def test_infrared_is_taken_from_four_bands(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 255, (32, 40, 4)).astype(np.uint8)
    write_raster(tmp_path / "4_Ortho_RGBIR" / "top_potsdam_7_13_RGBIR.tif", values)
    np.testing.assert_array_equal(ISPRS(tmp_path, "test", keys=["image"], patch=None)[0]["image"], values[..., [3, 0, 1]])
    np.testing.assert_array_equal(ISPRS(tmp_path, "test", keys=["image"], bands="rgb", patch=None)[0]["image"], values[..., :3])


def test_colours_indices_and_eroded_boundaries(tmp_path: Path) -> None:
    ids = np.random.default_rng(2).integers(0, 6, (20, 24)).astype(np.uint8)
    ids[0, 0] = 255
    folder = tmp_path / "5_Labels_all_noBoundary"
    colours = ISPRS6.colour(ids)
    colours[3, 3] = np.where(ids[3, 3] == 4, (252, 255, 0), colours[3, 3])  # one official map has colours that are a little off
    write_raster(folder / "top_potsdam_6_7_label_noBoundary.tif", colours)
    io.write_label_png(tmp_path / "6_7_label.png", np.where(ids == 255, 0, ids).astype(np.uint8))
    eroded = ISPRS(tmp_path, keys=["semantic"], eroded=True, patch=None)[0]["semantic"]
    np.testing.assert_array_equal(eroded, ids)
    full = ISPRS(tmp_path, keys=["semantic"], classes=5, patch=None)
    np.testing.assert_array_equal(full[0]["semantic"], np.where(ids == 5, 255, np.where(ids == 255, 0, ids)))
    assert full.labels is not None and len(full.labels) == 5
    io.write_label_png(tmp_path / "6_7_label.png", np.full((20, 24), 6, np.uint8))
    with pytest.raises(DataError, match="label 6, expected 0..5"):
        ISPRS(tmp_path, keys=["semantic"], patch=None)[0]


def test_heights_of_whole_numbers_need_their_unit_and_holes_stay_unknown(tmp_path: Path) -> None:
    stored = np.arange(20 * 20, dtype=np.uint8).reshape(20, 20)
    io.write_label_png(tmp_path / "ndsm" / "dsm_09cm_matching_area1_normalized.png", stored)
    settings: dict[str, Any] = {"site": "vaihingen", "keys": ["depth"], "patch": None}
    with pytest.raises(DataError, match="--data.height_scale"):
        ISPRS(tmp_path, **settings)[0]
    depth = ISPRS(tmp_path, **settings, height_scale=0.1)[0]["depth"]
    np.testing.assert_allclose(depth, np.maximum(stored * 0.1, 1 / 128), atol=1e-6)
    heights = np.linspace(-1, 30, 400, dtype=np.float32).reshape(20, 20)
    heights[4, 5], heights[6, 7] = -9999, np.nan
    (tmp_path / "ndsm" / "dsm_09cm_matching_area1_normalized.png").unlink()
    write_raster(tmp_path / "ndsm" / "dsm_09cm_matching_area1.tif", heights, nodata=-9999)
    depth = ISPRS(tmp_path, **settings)[0]["depth"]
    assert depth[4, 5] == 0 and depth[6, 7] == 0 and depth[0, 0] == 1 / 128 and depth[-1, -1] == 30


def test_check_names_what_is_missing_and_a_dsm(potsdam: Path, tmp_path: Path) -> None:
    data = ISPRS(potsdam, "train", keys=ALL, bands="rgb", patch=None)
    assert data.check() == [f"{potsdam}: 22 train tiles are missing (first: 2_12). Unpack them."]
    assert len(list(data.files())) == 6 and all(path.is_file() for path in data.files())
    (tmp_path / "ndsm").mkdir()
    (tmp_path / "ndsm" / "dsm_potsdam_02_10.tif").write_bytes((potsdam / "1_DSM" / "dsm_potsdam_02_10.tif").read_bytes())
    raised = ISPRS(tmp_path, "train", keys=["depth"], patch=None).check()
    assert "a DSM, not heights above ground?" in raised[-1]
    (potsdam / "5_Labels_all" / "top_potsdam_2_11_label.tif").rename(tmp_path / "away.tif")
    try:
        lacking = ISPRS(potsdam, "train", keys=ALL, bands="rgb", patch=None)
        assert lacking.ids == ["2_10"] and "tile 2_11 has no semantic and is left out" in lacking.check()[1]
    finally:
        (tmp_path / "away.tif").rename(potsdam / "5_Labels_all" / "top_potsdam_2_11_label.tif")
    assert np.median(ISPRS(potsdam, keys=["depth"], heights="dsm", patch=None)[0]["depth"]) >= 32


def test_files_of_other_sizes_or_resolutions_are_refused(tmp_path: Path, world: WorldAerial) -> None:
    write_potsdam([world[0]], tmp_path)
    labels = tmp_path / "5_Labels_all" / "top_potsdam_2_10_label.tif"
    with open_raster(labels) as raster:
        values, crs, transform = raster.read(), raster.crs, raster.transform
    write_raster(labels, values[:149], crs, transform)
    assert ISPRS(tmp_path, bands="rgb", patch=None)[0]["image"].shape[:2] == (149, 200)  # official height maps lack a row now and then
    write_raster(labels, values[:100], crs, transform)
    with pytest.raises(DataError, match=r"tile 2_10 differ \(image 200x150 of 0.05 m, semantic 200x100 of 0.05 m\)"):
        ISPRS(tmp_path, bands="rgb")
    write_raster(labels, values, crs, transform @ transform.scale(2))
    with pytest.raises(DataError, match="one ground sampling distance"):
        ISPRS(tmp_path, bands="rgb")


def test_tiles_of_several_resolutions_come_in_one(tmp_path: Path, world: WorldAerial) -> None:
    write_potsdam([world[0], world[0]], tmp_path)
    for path in sorted(tmp_path.rglob("*2_11*.tif")):  # the second tile at half the resolution
        with open_raster(path) as raster:
            values, crs, transform = raster.read(), raster.crs, raster.transform
        write_raster(path, np.ascontiguousarray(values[1::2, 1::2]), crs, transform @ transform.scale(2))
    for gsd in (0.1, 0.09):
        data = ISPRS(tmp_path, "train", keys=ALL, bands="rgb", gsd=gsd, patch=None)
        fine, coarse = data[0], data[1]
        assert fine["image"].shape == coarse["image"].shape == (int(7.5 / gsd), int(10 / gsd), 3)
        assert fine["meta"]["gsd"] == coarse["meta"]["gsd"] == gsd
        assert abs(fine["meta"]["transform"][0]) == pytest.approx(gsd) == pytest.approx(coarse["meta"]["transform"][0])
        # what was thrown away is lost, but the same things lie at the same places
        assert (fine["semantic"] == coarse["semantic"]).mean() > (0.999 if gsd == 0.1 else 0.97)
        assert np.abs(fine["depth"] - coarse["depth"]).mean() < 0.1


def test_settings_and_folders_are_checked(potsdam: Path, tmp_path: Path) -> None:
    for wrong, said in (
        ({"site": "berlin"}, "site=berlin"),
        ({"bands": "rgbir"}, "bands=rgbir"),
        ({"heights": "dtm"}, "did you mean"),
        ({"keys": ["height"]}, "unknown key 'height'"),
        ({"keys": []}, "keys is empty"),
        ({"classes": 7}, "Choose 6"),
        ({"overlap": 1.0}, "0 to 0.9"),
        ({"gsd": 9.0}, "0.01 to 2"),
    ):
        with pytest.raises(ConfigError, match=said):
            ISPRS(potsdam, **wrong)
    with pytest.raises(DataError, match="none of the 2 train tiles has 'image'"):
        ISPRS(potsdam)  # RGB only, IRRG asked for
    with pytest.raises(DataError, match="no file is named like a train tile of vaihingen"):
        ISPRS(potsdam, site="vaihingen")
    with pytest.raises(DataError, match="no such folder"):
        ISPRS(tmp_path / "none")
    with pytest.raises(DataError, match="no split 'val'"):
        ISPRS(potsdam, "val")


def test_made_by_name_and_nothing_found_by_the_doctor(tmp_path: Path) -> None:
    images = make("world_aerial", tmp_path, "vaihingen", 16, size=(64, 64), bands="irrg", gsd=0.09)
    assert len(images) == 16
    data = ISPRS(tmp_path, "train", "vaihingen", ALL)
    assert [finding.text for finding in check(data) if "never occur" not in finding.text] == []
    with pytest.raises(DataError, match="fewer --frames"):
        make("world_aerial", tmp_path / "more", "vaihingen", 17, size=(64, 64))
    with pytest.raises(DataError, match="Make it of world_aerial"):
        make("world_street", tmp_path / "street", "potsdam", 1, size=(64, 64))


def test_label_maps_may_count_from_one_with_what_is_ignored_as_zero(tmp_path: Path) -> None:
    folder = tmp_path / "potsdam"
    folder.mkdir()
    ids = np.zeros((16, 16), np.uint8)
    ids[4:8], ids[8:12], ids[12:] = 1, 4, 6
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(folder / "top_potsdam_2_10_RGB.png")
    Image.fromarray(ids).save(folder / "top_potsdam_2_10_label.png")
    seen = ISPRS(folder, "train", "potsdam", bands="rgb", patch=None, first_id=1)[0]["semantic"]
    assert seen[::4, 0].tolist() == [255, 0, 3, 5]
    with pytest.raises(DataError, match=r"label 6, expected 0\.\.5 .* Pass --data.first_id 1"):
        ISPRS(folder, "train", "potsdam", bands="rgb", patch=None)[0]
    with pytest.raises(ConfigError, match="first_id=2"):
        ISPRS(folder, "train", "potsdam", first_id=2)


def test_real_tiles(real_data: Path) -> None:
    for site, bands in (("potsdam", "rgb"), ("vaihingen", "irrg")):
        data = ISPRS(real_data / "isprs" / site, "train", site, bands=bands, first_id=1)
        assert len(data) == 1
        frame = data[0]
        assert frame["image"].shape == (512, 512, 3) and np.unique(frame["semantic"]).tolist() == [0, 1, 2, 3, 4, 255]
        # ignored are thin borders between two classes: most of those pixels have another class within 3 px
        void = (frame["semantic"] == 255).astype(np.uint8)
        assert 0.05 < void.mean() < 0.12
        assert cv2.erode(void, np.ones((9, 9), np.uint8)).mean() < 0.01
    # plants are bright in near infrared, the first channel
    tree = frame["image"][frame["semantic"] == 3].mean(0)
    assert tree[0] > tree[1] + 20
    finer = ISPRS(real_data / "isprs" / "potsdam", "train", "potsdam", bands="rgb", gsd=0.09, patch=None)
    assert finer[0]["image"].shape == (284, 284, 3)
