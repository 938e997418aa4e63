"""One pair: what is counted, where files of other matchers are found, and settings that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diorama.errors import ConfigError, DataError
from diorama.stereo.files import write_disparity
from diorama.stereo.labeller import Labeller, histogram, is_callable_name
from diorama.stereo.labelling import Labelling
from diorama.stereo.pseudo_folder import differences
from diorama.types import Frame


def test_histogram_counts_each_value_once_and_one_in_the_last_bin() -> None:
    values = np.array([[0.0, 0.05, 0.099, 0.11, 0.5, 0.55], [0.95, 0.999, 1.0, 1.0, 0.31, 0.8999]], np.float32)
    assert histogram(values) == [3, 1, 0, 1, 0, 2, 0, 0, 1, 4]
    random = np.random.default_rng(0).random((50, 60)).astype(np.float32)
    assert histogram(random) == np.histogram(random, bins=10, range=(0, 1))[0].tolist()


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("a:b", True), ("a.b.c:run", True), ("C:\\found", False), ("a:b/c", False), ("found/left", False), (":b", False), ("a:", False)],
)
def test_a_callable_is_told_from_a_folder(text: str, is_one: bool) -> None:
    assert is_callable_name(text) is is_one


def frame_of(frame_id: str, path: str, size: tuple[int, int] = (8, 32)) -> Frame:
    view = np.random.default_rng(0).integers(0, 255, (*size, 3)).astype(np.uint8)
    return {"image": view, "right": view[:, ::-1].copy(), "meta": {"id": frame_id, "path": path}}


@pytest.mark.parametrize(
    ("name", "frame_id", "path"),
    [
        ("0007.npy", "0007", "rig/images/0007.png"),
        ("city_000001_leftImg8bit.pfm", "city_000001", "leftImg8bit/city/city_000001_leftImg8bit.png"),
        ("deep/city_000001.png", "city_000001", "leftImg8bit/city/city_000001_leftImg8bit.png"),
        ("city_000001_disparity.png", "city_000001", "leftImg8bit/city/city_000001_leftImg8bit.png"),
        ("drive_1/image_02/0000000003.png", "drive_1/image_02/0000000003", "drive_1/image_02/data/0000000003.png"),
    ],
)
def test_files_of_another_matcher_are_found(tmp_path: Path, name: str, frame_id: str, path: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    write_disparity(tmp_path / name, np.full((8, 32), 4, np.float32))
    labeller = Labeller(Labelling(matcher=str(tmp_path), save=("disparity", "agrees")))
    found = labeller(frame_of(frame_id, path), look=False)
    np.testing.assert_array_equal(found.maps["disparity"], np.full((8, 32), 4))
    # left pixel x is seen at x - 4: the first four columns are out of the right view
    np.testing.assert_array_equal(found.maps["agrees"], np.broadcast_to(np.arange(32) >= 4, (8, 32)))


def test_drives_whose_frames_share_their_numbers_do_not_mix(tmp_path: Path) -> None:
    for number, drive in enumerate(("drive_1", "drive_2"), 3):
        (tmp_path / drive / "image_02").mkdir(parents=True)
        write_disparity(tmp_path / drive / "image_02" / "0000000000.npy", np.full((8, 32), number, np.float32))
    labeller = Labeller(Labelling(matcher=str(tmp_path), save=("disparity", "agrees")))
    for number, drive in enumerate(("drive_1", "drive_2"), 3):
        found = labeller(frame_of(f"{drive}/image_02/0000000000", "data/0000000000.png"), look=False)
        assert set(np.unique(found.maps["disparity"])) == {number}
    with pytest.raises(DataError, match="the same name as"):
        labeller(frame_of("0000000000", "data/0000000000.png"), look=False)
    one = tmp_path / "one"
    write_disparity(one / "drive_2" / "0000000001.npy", np.full((8, 32), 4, np.float32))
    labeller = Labeller(Labelling(matcher=str(one), save=("disparity", "agrees")))
    with pytest.raises(DataError, match="no disparity of 'drive_3/image_02/0000000001', only one of that name in another folder"):
        labeller(frame_of("drive_3/image_02/0000000001", "data/1.png"), look=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no disparity file"):
        Labeller(Labelling(matcher=str(tmp_path / "empty")))
    with pytest.raises(ConfigError, match="Give sgbm, a folder of disparity files"):
        Labeller(Labelling(matcher=str(tmp_path / "nowhere")))


def test_settings_that_differ_are_named_one_by_one() -> None:
    there = {"format": 1, "labelling": {"tolerance": 1.0, "save": ["a"]}, "data": {"name": "x"}}
    now: dict[str, Any] = {"format": 1, "labelling": {"tolerance": 2.0, "save": ["a"]}, "data": {"name": "x", "rows": [0, 8]}}
    assert differences(there, now) == ["data.rows null -> [0, 8]", "labelling.tolerance 1.0 -> 2.0"]
    assert differences(now, now) == []


def test_a_product_of_confidences_is_the_product_of_their_maps() -> None:
    frame, maps = frame_of("0", "0.png", (48, 96)), {}
    frame["right"] = np.roll(frame["image"], -6, axis=1)
    for name in ("left_right", "cost_margin", "cost_margin*left_right"):
        made = Labeller(Labelling(confidence=name, save=("disparity", "confidence", "confidence_right")))(frame, look=False)
        maps[name] = made.maps
        assert made.record["tau"] is None
    for kind in ("confidence", "confidence_right"):
        expected = maps["left_right"][kind] * maps["cost_margin"][kind]
        assert 0 < expected.mean() < maps["left_right"][kind].mean()
        np.testing.assert_allclose(maps["cost_margin*left_right"][kind], expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["cost_margin*", "*", "none*left_right"])
def test_products_that_mean_nothing_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="Multiply measures or models by name"):
        Labelling(confidence=name)
