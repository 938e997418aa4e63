"""The verb over processes, in parts and broken off: what is kept, made again and refused, and that files are those of a plain run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from PIL import Image

from diorama.cli import main
from diorama.errors import ConfigError, DataError
from diorama.prediction.mosaic import Tiling
from diorama.prediction.predictor import Predictor
from diorama.prediction.sources import SourceImage
from diorama.running.alone import alone
from diorama.running.predict import ALONE, Parts, PredictSummary, predict
from diorama.running.predict_job import Files, Job
from diorama.running.predict_targets import clean
from diorama.running.predict_video import Frames
from diorama.running.spread import Done, Share, WorkerDiedError, spread

KINDS = ("semantic", "depth", "json", "overlay", "ply", "panel")
SUFFIXES = (".semantic.png", ".depth.png", ".json", ".overlay.jpg", ".ply", ".panel.jpg")


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(toy.RedModel(), "red", "by hand")


def photos(folder: Path, count: int, *, size: tuple[int, int] = (30, 40), bad: Iterable[int] = ()) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"{number}.png"
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (*size, 3), np.uint8)).save(path)
        if number in bad:
            path.write_bytes(path.read_bytes()[:200])
    return folder


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def names(paths: Iterable[Path]) -> list[str]:
    return [path.name for path in paths]


@pytest.mark.parametrize("missing", SUFFIXES)
def test_a_photo_that_lacks_one_result_is_made_again(missing: str, predictor: Predictor, tmp_path: Path) -> None:
    source, out = photos(tmp_path / "photos", 3), tmp_path / "out"
    predict(predictor, source, out, save=KINDS)
    whole = tree(out)
    assert len(whole) == 3 * len(KINDS)
    (out / f"1{missing}").unlink()
    (out / "0.json").write_bytes(whole["0.json"] + b"\n")  # so that it is seen whether it is left alone
    summary = predict(predictor, source, out, save=KINDS, resume=True)
    assert (names(summary.done), names(summary.kept), summary.failed) == (["1.png"], ["0.png", "2.png"], [])
    assert tree(out) == {**whole, "0.json": whole["0.json"] + b"\n"}


def test_what_a_model_does_not_predict_is_not_waited_for(tmp_path: Path) -> None:
    blind = Predictor(toy.SameModel(toy.toy_config(classes=()), depth=2), "blind", "by hand")
    source, out = photos(tmp_path / "photos", 2), tmp_path / "out"
    predict(blind, source, out, save=("semantic", "depth"))
    assert set(tree(out)) == {"0.depth.png", "1.depth.png"}
    assert names(predict(blind, source, out, save=("semantic", "depth"), resume=True).kept) == ["0.png", "1.png"]


def test_results_of_another_model_are_not_kept(predictor: Predictor, tmp_path: Path) -> None:
    source, out = photos(tmp_path / "photos", 2), tmp_path / "out"
    predict(predictor, source, out, save=("json",))
    other = Predictor(toy.RedModel(), "blue", "by hand")
    with pytest.raises(DataError, match=r"0\.json: made by a model of name red, not blue\. Choose another --out"):
        predict(other, source, out, save=("json",), resume=True)
    (out / "0.json").write_text("{")
    with pytest.raises(DataError, match=r"0\.json: not what predict writes \(JSONDecodeError\)"):
        predict(predictor, source, out, save=("json",), resume=True)


def test_videos_are_whole_when_their_json_is_there(predictor: Predictor, tmp_path: Path) -> None:
    import cv2

    film = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (96, 64))
    for _ in range(2):
        film.write(np.zeros((64, 96, 3), np.uint8))
    film.release()
    for save, kept in ((("overlay",), 1), (("overlay", "json"), 1), (("depth", "json"), 1), (("depth",), 0)):
        out = tmp_path / "-".join(save)
        predict(predictor, tmp_path / "a.avi", out, save=save)
        if "depth" in save:  # of a killed process
            (out / "a" / ".000001.depth-abcdefgh.png").touch()
        assert len(predict(predictor, tmp_path / "a.avi", out, save=save, resume=True).kept) == kept
        assert not list(out.rglob(".*"))


def test_parts_are_every_nth_and_make_the_whole(predictor: Predictor, tmp_path: Path) -> None:
    source = photos(tmp_path / "photos", 5)
    predict(predictor, source, tmp_path / "whole", save=("json", "depth"))
    done = [predict(predictor, source, tmp_path / "out", save=("json", "depth"), parts=Parts(shard=(i, 7))).done for i in range(1, 8)]
    assert [names(part) for part in done] == [["0.png"], ["1.png"], ["2.png"], ["3.png"], ["4.png"], [], []]
    second = predict(predictor, source, tmp_path / "two", save=("json", "depth"), parts=Parts(shard=(2, 2)))
    assert names(second.done) == ["1.png", "3.png"]
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_two_runs_of_one_part_do_not_mix(predictor: Predictor, tmp_path: Path) -> None:
    source = photos(tmp_path / "photos", 2)
    with (
        alone(tmp_path / "out", "predict-1-of-1", ""),
        pytest.raises(DataError, match="another process is making the same predictions"),
    ):
        predict(predictor, source, tmp_path / "out", resume=True)


def test_only_what_killed_processes_left_of_these_files_is_removed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = Job(out, ["json", "depth"], ["depth"], {}, {}, {}, Tiling(), Frames())
    films: dict[Path, Any] = {Path("b.mp4"): "video"}
    files = Files([SourceImage(Path("day/a.png"), Path("day/a")), SourceImage(Path("b.mp4"), Path("b"))], films)
    ours = ["day/.a-abcdefgh.json", "day/.a.depth-abc_1234.png", "b/.000012.depth-abcdefgh.png"]
    others = [
        "day/.a.overlay-abcdefgh.jpg",
        "day/.c-abcdefgh.json",
        "day/a-abcdefgh.json",
        "day/.a-abc.json",
        ".a-abcdefgh.json",
        "day/a.json",
    ]
    for name in (*ours, *others):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).touch()
    assert clean(files, job) == 3
    assert set(tree(out)) == set(others)


@pytest.mark.parametrize(
    ("parts", "settings", "says"),
    [
        (Parts("nonsense"), {}, "no engine 'nonsense'. Choose processes or ray"),  # type: ignore[arg-type]
        (Parts(shard=(3, 2)), {}, "Write i/n with i from 1 to n"),
        (Parts(workers=0), {}, "--workers 0. Choose 1 or more"),
        (Parts(workers=2), {}, "a loaded model stays in this process"),
        (Parts(shard=(1, 2)), {"out": None}, "--shard without --out"),
        (ALONE, {"out": None, "resume": True}, "--resume without --out"),
        (ALONE, {"overwrite": True, "resume": True}, "Give one of them"),
        (Parts("ray"), {"source": "webcam:0", "model": "ci_net-nyuv2"}, "Leave out --engine ray"),
        (Parts(workers=2), {"model": "ci_net-nyuv2", "device": "cuda"}, "Use --engine ray, which gives each actor a GPU"),
    ],
)
def test_what_does_not_go_together_is_refused(
    parts: Parts, settings: dict[str, Any], says: str, predictor: Predictor, tmp_path: Path
) -> None:
    words = {"model": predictor, "source": photos(tmp_path / "photos", 1), "out": tmp_path / "out", "parts": parts, **settings}
    with pytest.raises(ConfigError, match=says):
        predict(words.pop("model"), words.pop("source"), words.pop("out"), **words)
    assert not (tmp_path / "out").exists()


def test_the_command_line_predicts_in_two_processes_what_it_does_in_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = photos(tmp_path / "photos", 5, bad=[3])
    words = ["predict", str(source), "--model", "ci_net-nyuv2", "--save", "semantic", "depth", "json", "--out"]
    assert main([*words, str(tmp_path / "one")]) == 1
    assert main([*words, str(tmp_path / "two"), "--workers", "2"]) == 1
    said = capsys.readouterr()
    assert said.err.count("skipped") == 2
    assert len([line for line in said.err.splitlines() if "3.png" in line]) == 2
    assert tree(tmp_path / "two") == tree(tmp_path / "one")
    assert len(tree(tmp_path / "two")) == 4 * 3
    assert main([*words, str(tmp_path / "two"), "--shard", "1/1", "--resume"]) == 1
    assert "0 of 1 predicted" in (last := capsys.readouterr().out.splitlines()[-1])
    assert ", 4 were there already, 1 skipped:" in last
    assert main([*words, str(tmp_path / "two"), "--shard", "x"]) == 2
    assert "Write i/n" in capsys.readouterr().err


def dies(number: int) -> tuple[int | None, str]:
    import os
    import signal

    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number, ""


def begin_dying() -> Callable[..., Any]:
    return dies


def refuses() -> Callable[..., Any]:
    raise DataError("no model here. Get one.")


def begin_speaking() -> Callable[..., Any]:
    import logging

    def speaks(number: int) -> tuple[int | None, str]:
        logging.getLogger("diorama").warning("at %d", number)
        return (None, "odd") if number % 2 else (number, "")

    return speaks


def run(begin: Callable[[], Any], workers: int) -> list[Done]:
    return sorted(spread("processes", begin, [(number,) for number in range(6)], workers, Share(), str))


def test_answers_and_words_come_back_from_processes(caplog: pytest.LogCaptureFixture) -> None:
    expected = [(number, None if number % 2 else number, "odd" if number % 2 else "") for number in range(6)]
    for workers in (1, 2):
        caplog.clear()
        assert run(begin_speaking, workers) == expected
        assert sorted(caplog.messages) == [f"at {number}" for number in range(6)]


def test_who_cannot_begin_says_why() -> None:
    for workers in (1, 2):
        with pytest.raises(DataError, match="no model here. Get one."):
            run(refuses, workers)


def test_a_killed_process_is_told_with_what_to_do() -> None:
    with pytest.raises(WorkerDiedError, match=r"ended from outside while .*3.* waited .* Run the same command again: .*--workers 1"):
        run(begin_dying, 2)


def test_the_summary_names_what_was_written(tmp_path: Path) -> None:
    summary = PredictSummary(tmp_path)
    summary.made.append((Path("day/a"), (".json", "")))  # of a video with files per frame its folder
    assert summary.written == [tmp_path / "day" / "a.json", tmp_path / "day" / "a"]
