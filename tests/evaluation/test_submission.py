"""Submissions: written ones validate and hold the depth, every fault is named, in a folder and in a zip alike."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diorama.data.io import read_depth, write_depth_png
from diorama.errors import ConfigError, DataError
from diorama.evaluation import submission
from diorama.evaluation.submission import KINDS, Kind, validate_submission, write_submission

SIZE = (8, 12)
SMALL = "small"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, SMALL, Kind("a small benchmark", 5, SIZE))


def depth(number: int) -> np.ndarray:
    return np.random.default_rng(number).uniform(1.5, 70, SIZE).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A submission without a fault, not yet zipped."""
    found = tmp_path / "result"
    for number, name in enumerate(KINDS[SMALL].names):
        write_depth_png(found / name, depth(number))
    return found


def zipped(folder: Path, below: str = "") -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, below + file.relative_to(folder).as_posix())
    return path


def test_the_servers_expect_these_files() -> None:
    completion, prediction = KINDS["kitti_depth_completion"].names, KINDS["kitti_depth_prediction"].names
    assert (len(completion), completion[0], completion[-1]) == (1000, "0000000000.png", "0000000999.png")
    assert (len(prediction), prediction[-1]) == (500, "0000000499.png")
    assert KINDS["kitti_depth_completion"].size == KINDS["kitti_depth_prediction"].size == (352, 1216)


def test_what_is_written_validates_and_holds_the_depth_to_half_a_step(tmp_path: Path) -> None:
    depths = [depth(number) for number in range(5)]
    depths[3][0, :3] = 0.001, 300.0, 255.996
    done = write_submission(tmp_path / "out.zip", SMALL, ((f"{number:010d}", depths[number]) for number in (4, 2, 3, 0, 1)))
    assert (done.files, done.clipped) == (5, 2)
    with zipfile.ZipFile(done.path) as archive:
        assert sorted(archive.namelist()) == KINDS[SMALL].names
        archive.extractall(tmp_path / "again")
    for number, name in enumerate(KINDS[SMALL].names):
        with Image.open(tmp_path / "again" / name) as image:
            assert (image.mode, image.size) == ("I;16", (12, 8))
            stored = np.array(image)
        expected = np.rint(depths[number].astype(np.float64) * 256).clip(1, 65535)
        assert np.array_equal(stored, expected)
    faults = validate_submission(done.path, SMALL)
    assert len(faults) == 1  # the 300 m and 255.996 m of frame 3
    assert "0000000003.png: 2 pixels at the largest value" in faults[0]


def test_a_folder_and_its_zip_without_a_fault(folder: Path) -> None:
    assert validate_submission(folder, SMALL) == []
    assert validate_submission(str(zipped(folder)), SMALL) == []


def truncated(folder: Path) -> None:
    file = folder / "0000000001.png"
    file.write_bytes(file.read_bytes()[:-20])


def photo(folder: Path) -> None:
    Image.new("RGB", (12, 8), (9, 9, 9)).save(folder / "0000000001.png")


def eight_bits(folder: Path) -> None:
    Image.new("L", (12, 8), 9).save(folder / "0000000001.png")


def jpeg(folder: Path) -> None:
    Image.new("L", (12, 8), 9).save(folder / "0000000001.png", "JPEG")


def native_size(folder: Path) -> None:
    write_depth_png(folder / "0000000001.png", np.full((9, 12), 5.0, np.float32))


def holes(folder: Path) -> None:
    sparse = depth(1)
    sparse[2, :4] = 0
    write_depth_png(folder / "0000000001.png", sparse)


def millimetres(folder: Path) -> None:
    write_depth_png(folder / "0000000001.png", depth(1), 1.0)


def clipped(folder: Path) -> None:
    far = depth(1)
    far[0, :7] = 400
    write_depth_png(folder / "0000000001.png", far)


def renamed(folder: Path) -> None:
    (folder / "0000000001.png").rename(folder / "1.png")


def strangers(folder: Path) -> None:
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "._x").write_bytes(b"x")
    (folder / "readme.txt").write_text("x")


def huge(folder: Path) -> None:
    (folder / "0000000001.png").write_bytes(bytes(10_000))


FAULTS: list[tuple[Callable[[Path], None], list[str]]] = [
    (truncated, ["0000000001.png: truncated"]),
    (photo, ["0000000001.png: 8-bit PNG, expected 16-bit"]),
    (eight_bits, ["0000000001.png: 8-bit PNG, expected 16-bit"]),
    (jpeg, ["0000000001.png: no PNG file"]),
    (native_size, ["0000000001.png: 9x12, expected 8x12"]),
    (holes, ["0000000001.png: 4 pixels without a depth (0)"]),
    (millimetres, ["0000000001.png: median depth 0.1"]),
    (clipped, ["0000000001.png: 7 pixels at the largest value a file can hold (256.0 m)"]),
    (renamed, ["0000000001.png: 1 file missing of 5", "1.png: 1 file not expected"]),
    (strangers, ["__MACOSX/._x, readme.txt: 2 files not expected"]),
    (huge, ["0000000001.png: 10000 bytes, far above a 16-bit PNG of 8x12"]),
]


@pytest.mark.parametrize(("spoil", "expected"), FAULTS, ids=[spoil.__name__ for spoil, _ in FAULTS])
@pytest.mark.parametrize("as_zip", [False, True])
def test_each_fault_is_named(folder: Path, spoil: Callable[[Path], None], expected: list[str], as_zip: bool) -> None:
    spoil(folder)
    found = validate_submission(zipped(folder) if as_zip else folder, SMALL)
    assert len(found) == len(expected)
    for sentence, start in zip(found, expected, strict=True):
        assert sentence.startswith(start)
        assert sentence.endswith(".")
        assert "\n" not in sentence


def test_files_in_a_folder_of_the_zip(folder: Path) -> None:
    found = validate_submission(zipped(folder, "result/"), SMALL)
    assert found == [
        "result/0000000000.png, result/0000000001.png, result/0000000002.png and 2 more: 5 files in a folder of the zip. "
        "Zip the files themselves: they belong into its root."
    ]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_is_there_twice_and_a_size_above_the_limit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(folder)
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(folder / "0000000004.png", "0000000004.png")
    assert [sentence.split(".")[0] for sentence in validate_submission(path, SMALL)] == ["0000000004"]
    monkeypatch.setattr(submission, "LARGEST", 100)
    assert any("the server takes 0 MB" in sentence for sentence in validate_submission(folder, SMALL))


def test_only_known_pixels_need_a_depth_when_they_are_given(folder: Path, tmp_path: Path) -> None:
    holes(folder)
    known = np.zeros(SIZE, np.float32)
    known[2, 3:6] = 7.0
    for name in KINDS[SMALL].names:
        write_depth_png(tmp_path / "input" / name, known)
    assert validate_submission(folder, SMALL, tmp_path / "input") == [
        "0000000001.png: 1 pixel without a depth (0) where it is known. The server would invent it: predict one everywhere."
    ]
    (tmp_path / "input" / "0000000002.png").unlink()
    assert any("no such file" in sentence for sentence in validate_submission(folder, SMALL, tmp_path / "input"))


def test_what_is_no_submission_at_all(tmp_path: Path) -> None:
    assert "no such file or folder" in validate_submission(tmp_path / "nowhere.zip", SMALL)[0]
    (tmp_path / "bad.zip").write_bytes(b"PK nothing")
    assert "no zip that can be read" in validate_submission(tmp_path / "bad.zip", SMALL)[0]
    assert "5 files missing of 5" in validate_submission(tmp_path, SMALL)[0]
    with pytest.raises(ConfigError, match="did you mean 'kitti_depth_completion'"):
        validate_submission(tmp_path, "kitti_depth_complete")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frames: frames.pop(), "0000000004.png: 1 file missing of 5"),
        (lambda frames: frames.append(frames[0]), "is there twice"),
        (lambda frames: frames.append(("0000000005", depth(5))), "is no test image of a small benchmark"),
        (lambda frames: frames[1][1].__setitem__((0, 0), 0.0), "0000000001.png: 1 pixel not finite or not above 0 m"),
        (lambda frames: frames[1][1].__setitem__((0, 0), np.nan), "0000000001.png: 1 pixel not finite or not above 0 m"),
        (lambda frames: frames.__setitem__(1, ("0000000001", np.ones((3, 3), np.float32))), "Predict at the size of the test image"),
    ],
)
def test_nothing_is_left_of_a_submission_that_cannot_be_written(
    tmp_path: Path, change: Callable[[list[tuple[str, np.ndarray]]], object], message: str
) -> None:
    frames = [(f"{number:010d}", depth(number)) for number in range(5)]
    change(frames)
    with pytest.raises(DataError, match=message.replace("(", r"\(")):
        write_submission(tmp_path / "out.zip", SMALL, frames)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="ends with .zip"):
        write_submission(tmp_path / "out", SMALL, frames)


def test_a_stored_depth_reads_back_as_metres(tmp_path: Path) -> None:
    done = write_submission(tmp_path / "out.zip", SMALL, ((f"{number:010d}.png", depth(number)) for number in range(5)))
    with zipfile.ZipFile(done.path) as archive:
        archive.extract("0000000002.png", tmp_path)
    assert np.abs(read_depth(tmp_path / "0000000002.png") - depth(2)).max() <= 0.5 / 256
