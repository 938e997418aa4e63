"""The verb on whole folders: the tree it leaves, what it refuses, and what one bad photo does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import toy
from PIL import Image

from diorama.errors import ConfigError, DataError
from diorama.prediction.predictor import Predictor
from diorama.running.predict import next_run_folder, predict, read_intrinsics


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(toy.SameModel(toy.toy_config(classes=("all",)), depth=1, logits=(1.0,)), "one", "by hand")


def photo(path: Path, *, cut: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)).save(path)
    if cut:
        path.write_bytes(path.read_bytes()[:500])
    return path


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_the_tree_of_the_source_is_mirrored(predictor: Predictor, tmp_path: Path) -> None:
    for name in ("photos/a.png", "photos/day1/b.png", "photos/day1/b.jpg"):
        photo(tmp_path / name)
    summary = predict(predictor, tmp_path / "photos", tmp_path / "out", save=("depth", "json"))
    assert files(tmp_path / "out") == {
        *("a.depth.png", "a.json", "day1/b.png.depth.png", "day1/b.png.json", "day1/b.jpg.depth.png", "day1/b.jpg.json")
    }
    assert len(summary.done) == 3
    assert len(summary.written) == 6
    assert (summary.failed, summary.exit_status) == ([], 0)
    assert np.array(Image.open(tmp_path / "out" / "a.depth.png")).tolist() == [[256] * 40] * 30


def test_one_bad_photo_is_skipped_and_told(predictor: Predictor, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, cut in (("a.png", False), ("b.png", True), ("c.png", False)):
        photo(tmp_path / "photos" / name, cut=cut)
    summary = predict(predictor, tmp_path / "photos", tmp_path / "out", save=("semantic",))
    assert [path.name for path in summary.done] == ["a.png", "c.png"]
    ((bad, reason),) = summary.failed
    assert bad.name == "b.png"
    assert "b.png" in reason
    assert "\n" not in reason
    assert summary.exit_status == 1
    assert files(tmp_path / "out") == {"a.semantic.png", "c.semantic.png"}
    assert "b.png" in caplog.text


def test_results_are_not_overwritten_unasked(predictor: Predictor, tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png")
    predict(predictor, source, tmp_path / "out", save=("json",))
    (tmp_path / "out" / "a.json").write_text("mine")
    with pytest.raises(DataError, match=r"a\.json exists already\. Pass --overwrite"):
        predict(predictor, source, tmp_path / "out", save=("json", "depth"))
    assert files(tmp_path / "out") == {"a.json"}
    assert (tmp_path / "out" / "a.json").read_text() == "mine"
    predict(predictor, source, tmp_path / "out", save=("json",), overwrite=True)
    assert (tmp_path / "out" / "a.json").read_text() != "mine"


def test_results_inside_the_source_are_not_read_as_photos(predictor: Predictor, tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    for _ in range(2):
        summary = predict(predictor, tmp_path, tmp_path / "results", save=("semantic", "overlay"), overwrite=True)
        assert [path.name for path in summary.done] == ["a.png"]
    with pytest.raises(DataError, match="the output folder is the source folder"):
        predict(predictor, tmp_path, tmp_path)


def test_a_photo_is_never_replaced_by_a_result(predictor: Predictor, tmp_path: Path) -> None:
    before = photo(tmp_path / "photos" / "x.depth.png").read_bytes()
    photo(tmp_path / "photos" / "x.png")
    (tmp_path / "list.txt").write_text("photos/x.depth.png\nphotos/x.png\n")
    with pytest.raises(DataError, match="would replace this photo"):
        predict(predictor, tmp_path / "list.txt", tmp_path / "photos", save=("depth",), overwrite=True)
    assert (tmp_path / "photos" / "x.depth.png").read_bytes() == before


def test_without_a_folder_the_next_free_one_is_taken(predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = photo(tmp_path / "a.png")
    outs = [predict(predictor, source, save=("json",)).out for _ in range(2)]
    assert outs == [Path("runs/predict-1"), Path("runs/predict-2")]
    assert next_run_folder() == Path("runs/predict-3")


def test_arguments_are_checked_before_anything_is_written(predictor: Predictor, tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png")
    with pytest.raises(ConfigError, match="did you mean 'overlay'"):
        predict(predictor, source, tmp_path / "out", save=("overlays",))
    with pytest.raises(DataError, match="no such file or folder"):
        predict(predictor, tmp_path / "b.png", tmp_path / "out")
    for degrees in (0.0, -5.0, 400.0):
        with pytest.raises(ConfigError, match=r"choose one between 1 and 179"):
            predict(predictor, source, tmp_path / "out", field_of_view=degrees)
    with pytest.raises(ConfigError, match="Give one of them"):
        predict(predictor, source, tmp_path / "out", field_of_view=60, intrinsics=np.eye(3))
    assert not (tmp_path / "out").exists()


def test_cameras_are_read_from_text(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "nine.txt").write_text("500, 0, 320\n0, 501, 240\n0, 0, 1\n")
    (tmp_path / "four.txt").write_text("500 501 320 240")
    expected = [[500, 0, 320], [0, 501, 240], [0, 0, 1]]
    assert read_intrinsics(tmp_path / "nine.txt").tolist() == read_intrinsics(tmp_path / "four.txt").tolist() == expected
    for text, says in (("a b c d", "not numbers only"), ("1 2 3", "not a camera matrix"), ("0 1 2 3", "not a camera matrix")):
        (tmp_path / "bad.txt").write_text(text)
        with pytest.raises(DataError, match=says):
            read_intrinsics(tmp_path / "bad.txt")
    with pytest.raises(DataError, match="cannot be read"):
        read_intrinsics(tmp_path / "missing.txt")
    summary = predict(predictor, photo(tmp_path / "a.png"), tmp_path / "out", save=("ply",), intrinsics=tmp_path / "four.txt")
    assert b"assumed" not in (summary.out / "a.ply").read_bytes()[:400]


def test_several_sources_are_one_tree(predictor: Predictor, tmp_path: Path) -> None:
    for name in ("x/a.png", "x/b.png", "y/c.png"):
        photo(tmp_path / name)
    summary = predict(predictor, [tmp_path / "x" / "a.png", tmp_path / "y"], tmp_path / "out", save=("depth",))
    assert files(tmp_path / "out") == {"x/a.depth.png", "y/c.depth.png"}
    assert summary.exit_status == 0
    with pytest.raises(DataError, match="listed 2 times"):
        predict(predictor, [tmp_path / "x", tmp_path / "x" / "a.png"], tmp_path / "twice")
    with pytest.raises(DataError, match="is the source folder"):
        predict(predictor, [tmp_path / "x", tmp_path / "y"], tmp_path / "y")


def test_photos_that_nothing_here_reads_are_counted(predictor: Predictor, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    photo(tmp_path / "in" / "a.png")
    for name in ("b.heic", "c.HEIC", "notes.md"):
        (tmp_path / "in" / name).write_bytes(b"x")
    predict(predictor, tmp_path / "in", tmp_path / "out", save=("depth",))
    assert "in: 2 files left out (.heic). Convert them to JPEG or PNG first" in caplog.text
    with pytest.raises(DataError, match=r"\.heic is not read\. Convert it"):
        predict(predictor, tmp_path / "in" / "b.heic", tmp_path / "none")
