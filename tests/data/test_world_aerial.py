"""Procedural cities from the air: exact windows, heights of things, shadows, two different cities, GeoTIFFs larger than memory."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from diorama.data.check import check
from diorama.data.fixtures import make
from diorama.data.geotiff import Window, open_raster
from diorama.data.world import aerial
from diorama.data.world import aerial_things as things
from diorama.data.world.aerial import AerialCity
from diorama.data.world.aerial_canvas import Canvas
from diorama.data.world.aerial_dataset import WorldAerial
from diorama.errors import ConfigError, DataError

CITIES = pytest.mark.parametrize("style", ["a", "b"])


def test_frame_has_every_promised_key_with_its_type() -> None:
    world = WorldAerial(frames=4, size=(96, 128))
    frame = world[1]
    assert set(frame) == world.provides | {"meta"}
    assert frame["image"].shape == (96, 128, 3) and frame["image"].dtype == np.uint8
    assert frame["semantic"].shape == (96, 128) and frame["semantic"].dtype == np.uint8 and frame["semantic"].max() < 6
    assert frame["depth"].shape == (96, 128) and frame["depth"].dtype == np.float32
    assert frame["depth"].min() == 1 / 128 and frame["depth"].max() < world.depth_cap
    assert frame["domain"] == 1 and frame["meta"]["style"] == "b" and frame["meta"]["gsd"] == 0.09
    assert frame["meta"]["height"]["unit"] == "m above ground"
    assert WorldAerial(frames=4, city="b")[0]["domain"] == 1


def test_frames_are_a_pure_function_of_their_number() -> None:
    program = (
        "import hashlib; from diorama.data.world.aerial_dataset import WorldAerial; f = WorldAerial(frames=9, size=(80, 90))[5];"
        "print(hashlib.sha256(f['image'].tobytes() + f['semantic'].tobytes() + f['depth'].tobytes()).hexdigest())"
    )
    frame = WorldAerial(frames=6, size=(80, 90))[5]
    total = hashlib.sha256(frame["image"].tobytes() + frame["semantic"].tobytes() + frame["depth"].tobytes()).hexdigest()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == total
    others = [WorldAerial(frames=6, size=(80, 90), **change)[5] for change in ({"split": "val"}, {"seed": 1})]  # type: ignore[arg-type]
    assert all((other["depth"] != frame["depth"]).any() for other in others)


@CITIES
@pytest.mark.parametrize("bands", ["rgb", "irrg"])
def test_windows_join_without_a_seam(style: str, bands: str) -> None:
    city = AerialCity(style, 5, 0.15, bands)
    whole = city.draw(-130, -77, 300, 260)
    for top, left, height, width in ((0, 0, 300, 131), (0, 131, 300, 129), (113, 50, 61, 77), (299, 259, 1, 1)):
        part = city.draw(top - 130, left - 77, height, width)
        for one, other in zip(part, whole, strict=True):
            np.testing.assert_array_equal(one, other[top : top + height, left : left + width])


def test_far_from_the_origin_windows_still_join() -> None:
    city = AerialCity("a", 1, 0.09)
    whole = city.draw(10_000_000, -10_000_000, 60, 60)
    np.testing.assert_array_equal(city.draw(10_000_020, -10_000_000, 40, 33).image, whole.image[20:, :33])


@CITIES
def test_heights_fit_their_classes(style: str) -> None:
    views = [AerialCity(style, seed, 0.2).draw(0, 0, 400, 400) for seed in range(6)]
    height = np.concatenate([view.height.ravel() for view in views])
    semantic = np.concatenate([view.semantic.ravel() for view in views])
    assert (np.bincount(semantic, minlength=6) > 0).all(), "a class never occurs"
    assert (height[semantic == things.SURFACE] == 0).all()
    assert height[semantic == things.LOW].max() < 2.5
    assert 2.3 < height[semantic == things.BUILDING].min() and height.max() < aerial.TALLEST
    cars = height[semantic == things.CAR]
    assert 0.8 < cars.min() and cars.max() < 2.3
    assert np.median(height[semantic == things.TREE]) > 2.0


def test_a_roof_rises_by_its_pitch() -> None:
    canvas = Canvas(0.1, 0, 0, 200, 300)
    things.Roof((15.0, 10.0), 0.0, (8.0, 5.0), 4.0, 0.5, False, (0.4, 0.2, 0.1, 0.4)).draw(canvas)
    # ridge along x at y = 10 m: 4 + 0.5 * (5 - |y - 10|)
    for row, column, expected in ((100, 150, 6.5), (80, 150, 5.5), (120, 80, 5.5), (51, 150, 4.05), (49, 150, 0.0), (100, 69, 0.0)):
        assert canvas.height[row, column] == pytest.approx(expected, abs=1e-4), (row, column)
    hipped = Canvas(0.1, 0, 0, 200, 300)
    things.Roof((15.0, 10.0), math.pi / 2, (8.0, 5.0), 4.0, 0.5, True, (0.4, 0.2, 0.1, 0.4)).draw(hipped)
    # turned by 90 degrees: 8 m along y, 5 m along x; near an end the hip is lower than the ridge
    assert hipped.height[100, 150] == pytest.approx(6.5, abs=1e-4) and hipped.height[30, 150] == pytest.approx(4.5, abs=1e-4)
    assert hipped.height[100, 205] == 0 and hipped.height[175, 150] == pytest.approx(4.25, abs=1e-4)


def test_the_higher_thing_is_seen_whatever_the_order() -> None:
    low = things.Box((5.0, 5.0), 0.3, (3.0, 2.0), 1.5, things.CLUTTER, (0.5, 0.1, 0.1, 0.4))
    high = things.Box((6.0, 5.0), 0.0, (2.0, 2.0), 4.0, things.BUILDING, (0.2, 0.2, 0.2, 0.2))
    seen = []
    for order in ((low, high), (high, low)):
        canvas = Canvas(0.1, 0, 0, 100, 100)
        canvas.number(things.SURFACE, (0.2, 0.2, 0.2, 0.2))
        for thing in order:
            thing.draw(canvas)
        seen.append((canvas.height, np.asarray(canvas.labels)[canvas.surface]))
    np.testing.assert_array_equal(seen[0][0], seen[1][0])
    np.testing.assert_array_equal(seen[0][1], seen[1][1])
    assert seen[0][1][50, 60] == things.BUILDING and seen[0][1][50, 30] == things.CLUTTER


def test_a_shadow_is_as_long_as_the_sun_is_low(monkeypatch: pytest.MonkeyPatch) -> None:
    """One box of 6 m, the sun at atan(0.75) in the east: its shadow ends 8 m west of it."""
    box = things.Box((20.0, 10.0), 0.0, (3.0, 4.0), 6.0, things.BUILDING, (0.3, 0.3, 0.3, 0.3))

    class _Plot:
        ground: tuple[things.Thing, ...] = ()
        raised = (box,)

    monkeypatch.setattr(aerial, "_city_draws", lambda style, seed: (0.0, 0.0, math.atan(0.75), 1.0))
    monkeypatch.setattr(AerialCity, "_plots", lambda self, canvas: [_Plot()])
    view = AerialCity("a", 0, 0.1).draw(0, 0, 200, 300)
    row = view.image[95:105].mean((0, 2))
    dark = np.flatnonzero(row < (row[20:80].mean() + row[100:160].mean()) / 2)
    assert abs(dark.min() * 0.1 - (17.0 - 8.0)) < 0.5, "the last half metre fades out"
    assert abs(dark.max() * 0.1 - 17.0) < 0.3
    assert row[240:].mean() == pytest.approx(row[20:80].mean(), abs=4)


def test_the_two_cities_differ_and_infrared_shows_plants() -> None:
    found = {}
    for style in ("a", "b"):
        views = [AerialCity(style, seed, 0.5, "irrg").draw(0, 0, 300, 300) for seed in range(4)]
        image, semantic = (np.concatenate([view[k].reshape(-1, *view[k].shape[2:]) for view in views]) for k in (0, 2))
        height = np.concatenate([view.height.ravel() for view in views])
        plants = image[semantic == things.TREE].mean(0)
        assert plants[0] > plants[1] + 10, "near infrared is brighter than red on plants"
        found[style] = float(np.median(height[semantic == things.BUILDING])), float((semantic == things.TREE).mean()), plants[0] - plants[1]
    assert found["a"][0] > found["b"][0] + 2
    assert found["b"][1] > found["a"][1]
    assert found["b"][2] > found["a"][2] + 20


def test_irrg_shows_red_and_green_where_rgb_does() -> None:
    rgb, irrg = (AerialCity("b", 3, 0.4, bands).draw(0, 0, 200, 200).image.astype(int) for bands in ("rgb", "irrg"))
    assert np.abs(rgb[..., :2] - irrg[..., 1:]).mean() < 6  # the noise of the sensor
    assert np.abs(rgb[..., 0] - irrg[..., 0]).mean() > 10


def test_a_mosaic_is_written_in_windows_and_lies_where_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"size": (300, 420), "gsd": 0.25}
    monkeypatch.setattr("diorama.data.world.aerial_dataset._TILE", 256)
    drawn: list[Window] = []
    draw = AerialCity.draw
    monkeypatch.setattr(AerialCity, "draw", lambda self, *where: drawn.append(Window(*where)) or draw(self, *where))
    (path,) = make("world_aerial", tmp_path, "geotiff", 1, "val", **settings)
    monkeypatch.undo()
    world = WorldAerial(frames=1, split="val", **settings)  # type: ignore[arg-type]
    frame, (_, top, left) = world[0], world.place(0)
    with open_raster(path) as raster:
        assert raster.crs.to_epsg() == 25833 and raster.resolution == pytest.approx((0.25, 0.25))
        np.testing.assert_array_equal(raster.read(), frame["image"])
        east, north = raster.transform @ (10 + 0.5, 20 + 0.5)  # the centre of column 10, row 20
        assert east == pytest.approx(400_000 + 0.25 * (left + 10)) and north == pytest.approx(5_800_000 - 0.25 * (top + 20))
    with open_raster(path.with_suffix(".semantic.tif")) as raster:
        np.testing.assert_array_equal(raster.read()[..., 0], frame["semantic"])
    with open_raster(path.with_suffix(".height.tif")) as raster:
        np.testing.assert_array_equal(np.maximum(raster.read()[..., 0], np.float32(1 / 128)), frame["depth"])
        assert raster.tags["unit"] == "m above ground"
    assert max(window.height * window.width for window in drawn) <= 256**2


def test_settings_are_checked(tmp_path: Path) -> None:
    for wrong, said in (
        ({"frames": 0}, "0 frames"),
        ({"size": (8, 64)}, "too small"),
        ({"city": "c"}, "unknown style"),
        ({"gsd": 9.0}, "--data.gsd"),
        ({"bands": "irrgb"}, "did you mean 'irrg'"),
        ({"seed": -1}, "at least 0"),
    ):
        with pytest.raises(ConfigError, match=said):
            WorldAerial(**wrong)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no split"):
        WorldAerial(split="dev")
    with pytest.raises(DataError, match="above the limit"):
        WorldAerial(size=(20_000, 20_000))[0]
    with pytest.raises(ConfigError, match="Only world_aerial"):
        make("world_indoor", tmp_path, "geotiff")


def test_the_doctor_finds_nothing() -> None:
    assert [str(finding) for finding in check(WorldAerial(frames=8, size=(256, 256), gsd=0.2))] == []
