"""Synscapes: official names and numbers, EXR depth, sky."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from diorama.data import io
from diorama.data.check import check
from diorama.data.exr import read_exr, write_exr
from diorama.data.fixtures import make, write_synscapes
from diorama.data.synscapes import NUMBERS, Synscapes, read_camera
from diorama.data.world.dataset import WorldStreet
from diorama.errors import ConfigError, DataError, ShapeError

OpenEXR = pytest.importorskip("OpenEXR")
ALL = ("image", "semantic", "depth", "intrinsics")


@pytest.fixture(scope="module")
def world() -> WorldStreet:
    return WorldStreet(frames=3, size=(64, 128), stereo=False)


@pytest.fixture
def root(world: WorldStreet, tmp_path: Path) -> Path:
    write_synscapes([world[0], world[1]], tmp_path, "train")
    write_synscapes([world[2]], tmp_path, "val")
    return tmp_path


def test_the_official_split_is_consecutive() -> None:
    assert {split: (numbers[0], numbers[-1], len(numbers)) for split, numbers in NUMBERS.items()} == {
        "train": (1, 20_000, 20_000),
        "val": (20_001, 21_000, 1_000),
        "test": (21_001, 25_000, 4_000),
    }


def test_frames_come_back_as_they_were_written(root: Path, world: WorldStreet) -> None:
    data = Synscapes(root, keys=ALL)
    assert data.ids == ["1", "2"] and Synscapes(root, "val", keys=ALL).ids == ["20001"]
    for index in range(2):
        frame, made = data[index], world[index]
        for key in ("image", "semantic", "depth"):
            np.testing.assert_array_equal(frame[key], made[key])  # type: ignore[literal-required]
        np.testing.assert_allclose(frame["intrinsics"], made["intrinsics"])
    assert (world[0]["depth"] == 0).any(), "the sky is part of this test"
    assert len(Synscapes(root, classes=7).labels or ()) == 7
    assert len(list(data.files())) == 8 and all(path.is_file() for path in data.files())
    assert [finding.text for finding in check(data) if "never occur" not in finding.text] == []


def test_label_ids_are_those_of_cityscapes(root: Path) -> None:
    io.write_label_png(root / "img" / "class" / "1.png", np.repeat(np.uint8([[7, 23, 33, 0]]), 32, 1).repeat(64, 0))
    assert np.unique(Synscapes(root, keys=["semantic"])[0]["semantic"]).tolist() == [0, 10, 18, 255]
    io.write_label_png(root / "img" / "class" / "1.png", np.full((64, 128), 40, np.uint8))
    with pytest.raises(DataError, match="label id 40"):
        Synscapes(root, keys=["semantic"])[0]


def test_what_is_missing_is_named(root: Path) -> None:
    (root / "img" / "depth" / "2.exr").unlink()
    data = Synscapes(root)
    assert data.ids == ["1"] and "1 train frames have no file there (first: 2)" in data.check()[0]
    with pytest.raises(DataError, match="no test frame has all of image, semantic, depth"):
        Synscapes(root, "test")
    with pytest.raises(DataError, match="no such folder"):
        Synscapes(root / "img")
    with pytest.raises(ConfigError, match="Choose 19 or 7"):
        Synscapes(root, classes=11)
    with pytest.raises(ConfigError, match="unknown key 'right'"):
        Synscapes(root, keys=["right"])
    with pytest.raises(ConfigError, match="keys is empty"):
        Synscapes(root, keys=[])
    with pytest.raises(DataError, match="no split"):
        Synscapes(root, "dev")


def test_cameras_are_checked(tmp_path: Path) -> None:
    for content, said in (("{", "no Synscapes meta file"), (json.dumps({"camera": {"intrinsic": {"fx": 1}}}), "fy")):
        (tmp_path / "1.json").write_text(content)
        with pytest.raises(DataError, match=said):
            read_camera(tmp_path / "1.json")
    (tmp_path / "1.json").write_text(json.dumps({"camera": {"intrinsic": {"fx": 0, "fy": 1, "u0": 1, "v0": 1}}}))
    with pytest.raises(DataError, match="not positive"):
        read_camera(tmp_path / "1.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_camera(tmp_path / "2.json")


def test_exr_values_survive_and_the_library_agrees(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((9, 13)).astype(np.float32) * 1e4
    write_exr(tmp_path / "a.exr", values)
    np.testing.assert_array_equal(read_exr(tmp_path / "a.exr"), values)
    with OpenEXR.File(str(tmp_path / "a.exr")) as file:
        np.testing.assert_array_equal(file.channels()["Z"].pixels, values)
    half = {"R": values.astype(np.float16), "G": values.astype(np.float16), "B": values.astype(np.float16)}
    OpenEXR.File({"compression": OpenEXR.PIZ_COMPRESSION, "type": OpenEXR.scanlineimage}, half).write(str(tmp_path / "rgb.exr"))
    np.testing.assert_array_equal(read_exr(tmp_path / "rgb.exr", "G"), values.astype(np.float16).astype(np.float32))
    with pytest.raises(DataError, match="no channel 'Z'"):
        read_exr(tmp_path / "rgb.exr")
    with pytest.raises(ShapeError, match="float32"):
        write_exr(tmp_path / "b.exr", values.astype(np.float64))  # type: ignore[arg-type]


def test_bad_exr_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_exr(tmp_path / "a.exr", np.random.default_rng(0).random((90, 90)).astype(np.float32))
    data = (tmp_path / "a.exr").read_bytes()
    (tmp_path / "half.exr").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.exr").write_text("no picture")
    for name in ("half.exr", "text.exr"):
        with pytest.raises(DataError, match="Copy or download the file again"):
            read_exr(tmp_path / name)
    with pytest.raises(DataError, match="no such file"):
        read_exr(tmp_path / "none.exr")
    monkeypatch.setattr(io, "MAX_PIXELS", 100)
    with pytest.raises(DataError, match="limit of 100 pixels"):
        read_exr(tmp_path / "a.exr")
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(DataError, match=r"pip install 'diorama\[exr\]'"):
        read_exr(tmp_path / "a.exr")


def test_made_by_name(tmp_path: Path) -> None:
    assert len(make("world_street", tmp_path, "synscapes", 2, "val", size=(64, 128), stereo=False)) == 2
    assert Synscapes(tmp_path, "val").ids == ["20001", "20002"]
