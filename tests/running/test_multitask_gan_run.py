"""Multi-task GANs as runs: both branches one after the other and at once, stopped and resumed, judged, shown, and fed what is wrong."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from runs import differing, failure, go_on, rows, stop_after
from safetensors.torch import load_file

from diorama.cli import main
from diorama.config import RunConfig
from diorama.data import io
from diorama.data.kitti_fixtures import write_kitti
from diorama.data.labels import CITYSCAPES19
from diorama.errors import TrainingError
from diorama.export.model_file import save_model
from diorama.methods import multitask_gan
from diorama.methods.multitask_gan import MultitaskGAN
from diorama.prediction.predictor import load
from diorama.running import train as loop
from diorama.running.origin import begin_with
from diorama.running.train import StoppedError, Training, train
from diorama.types import Frame

MODEL: dict[str, Any] = {
    "name": "multitask_gan", "classes": 19, "width": 4, "semantic_blocks": 1, "depth_blocks": 1, "buffer": 2, "epochs": 4,
}  # fmt: skip
STREETS: dict[str, Any] = {"name": "world_street", "frames": 4, "size": [32, 48], "stereo": False}
THREE = {"classes": ["road", "car", "tree"], "palette": [[10, 20, 30], [200, 0, 0], [0, 90, 200]]}


def made(out: Path, model: dict[str, Any] | None = None, **sections: Any) -> dict[str, Any]:
    """Settings of a small run; keyword arguments are sections whose entries replace its own."""
    chosen: dict[str, Any] = {
        "model": {**MODEL, **(model or {})},
        "data": STREETS,
        "view": {"size": [32, 32], "cache": False},
        "trainer": {"batch_size": 1, "accelerator": "cpu", "threads": 1, "workers": 0, "log_every": 1},
        "out": str(out),
    }
    for name, value in sections.items():
        chosen[name] = {**chosen[name], **value} if name in ("view", "trainer") else value
    return chosen


def said_by(settings: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str], status: int) -> str:
    """The one line on stderr with which `diorama train` ends; no run is left."""
    said = failure(settings, folder, capsys, status)
    assert not list(Path(settings["out"]).rglob("*"))
    return said


def write_photos(root: Path, sizes: list[tuple[int, int]]) -> str:
    """Noise of these sizes, that belongs to no label map."""
    draw = np.random.default_rng(0)
    for number, (height, width) in enumerate(sizes):
        io.write_image(root / "images" / "train" / f"photo{number}.png", draw.integers(0, 255, (height, width, 3), dtype=np.uint8))
    return str(root)


def write_maps(root: Path, settings: dict[str, Any], colours: list[list[int]] | None = None) -> str:
    """Three label maps without a photo, of ids or of `colours`, in vertical stripes."""
    for number in range(3):
        ids = (np.arange(40) // 10 + number) % 3
        name = root / "semantic" / "train" / f"map{number}.png"
        if colours is None:
            io.write_label_png(name, np.tile(ids, (36, 1)).astype(np.uint8))
        else:
            io.write_image(name, np.tile(np.array(colours, np.uint8)[ids], (36, 1, 1)))
    (root / "dataset.yaml").write_text(yaml.safe_dump(settings))
    return str(root)


def of_folders(photos: str, maps: str) -> dict[str, Any]:
    """Sections of a run whose photos and label maps lie in folders of their own."""
    return {"data": {"name": "folder", "root": photos}, "streams": {"labels": {"name": "folder", "root": maps}}}


@pytest.fixture(scope="module")
def semantic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run of the semantic branch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIORAMA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield train(RunConfig.from_dict(made(tmp_path_factory.mktemp("semantic"), trainer={"steps": 4, "samples_every": 2})))


@pytest.mark.parametrize(
    ("model", "trainer", "stops"),
    [({}, {"ema": 0.9}, (2, 5)), ({"branch": "joint"}, {"precision": "bf16-mixed", "batch_size": 2}, (1,))],
    ids=["semantic", "joint bf16"],
)
def test_a_stopped_and_resumed_run_equals_the_uninterrupted_one(
    model: dict[str, Any], trainer: dict[str, Any], stops: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, optimisers, averages and image buffers."""
    monkeypatch.setattr(Training, "finish", lambda self, baselines=(): None)
    sparse = {"sparse": {"points": 100}} if model else {}
    config = RunConfig.from_dict(made(tmp_path, model, trainer={"steps": 3 if model else 6, **trainer}, **sparse))
    whole = train(config)
    state = torch.load(whole / "last.ckpt", weights_only=True)
    kept = {key for key in state["memories"][0] if "buffer" in key}
    assert kept == {f"{branch}.buffer.{judge}.images" for branch, judge in (
        ("semantic", "labels"), ("semantic", "photos"), *((("depth", "dense"), ("depth", "sparse")) if model else ()))}  # fmt: skip
    assert all(len(state["memories"][0][key]) == 2 for key in kept)
    assert {value.dtype for value in state["model"].values()} == {torch.float32, torch.int64}
    assert all(np.isfinite(float(value)) for row in rows(whole) for key, value in row.items() if key != "stage")
    for number, stop in enumerate(stops, 2):
        with monkeypatch.context() as patch:
            stop_after(patch, stop)
            with pytest.raises(StoppedError, match=f"step {stop} of"):
                train(config)
        run = whole.with_name(f"multitask_gan-world_street-{number}")
        then = torch.load(run / "last.ckpt", weights_only=True)["memories"][0]
        assert any(not torch.equal(then[key], state["memories"][0][key]) for key in kept)  # buffers exchange what they hold after the stop
        torch.manual_seed(stop)
        go_on(run)
        assert differing(run, whole) == []
        assert rows(run) == rows(whole)


def test_a_semantic_run_is_judged_and_shown(semantic: Path) -> None:
    stored = json.loads((semantic / "metrics.json").read_text())
    assert {"miou", "pixel_accuracy", "class_accuracy"} <= set(stored["metrics"])
    assert "rmse" not in stored["metrics"]
    assert stored["model"]["tasks"] == "semantic"
    assert sorted(path.name for path in (semantic / "samples").iterdir()) == ["step_0000002.png", "step_0000004.png"]
    page = (semantic / "report.html").read_text()
    assert "The same training samples throughout, here after 4 steps." in page
    answer = load(semantic).batch({"image": np.zeros((1, 3, 32, 32), np.float32)})
    assert answer.semantic_logits.shape == (1, 20, 32, 32)
    assert answer.depth is None


def test_the_depth_branch_follows_the_semantic_one_which_stands_still(semantic: Path, tmp_path: Path) -> None:
    settings = made(tmp_path, {"branch": "depth"}, trainer={"steps": 2, "start_from": str(semantic)}, sparse={"points": 100})
    run = train(RunConfig.from_dict(settings))
    before, after = load_file(semantic / "model.safetensors"), load_file(run / "model.safetensors")
    of_semantics = [key for key in after if key.startswith("semantic.")]
    assert of_semantics
    assert all(torch.equal(before[key], after[key]) for key in of_semantics)
    assert not any(key.startswith("depth.") for key in before)
    stored = json.loads((run / "metrics.json").read_text())
    assert {"miou", "pixel_accuracy", "rmse", "delta1"} <= set(stored["metrics"])
    assert stored["protocol"]["sparse"] == "100 random points, seed 0"
    assert "from multitask_gan-world_street-1" in stored["model"]["budget"]
    assert json.loads((run / "started_from.json").read_text())["model"] == semantic.name
    depth = load(run).batch({"image": np.zeros((1, 3, 32, 32), np.float32), "sparse_depth": np.zeros((1, 1, 32, 32), np.float32)}).depth
    assert depth.shape == (1, 1, 32, 32)
    assert 0.9 <= float(depth.min()) <= float(depth.max()) <= 80


def test_the_depth_branch_alone_is_refused_and_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = made(tmp_path / "runs", {"branch": "depth"}, trainer={"steps": 2}, sparse={"points": 100})
    said = said_by(settings, tmp_path, capsys, 2)
    assert "Train model.branch=semantic first and pass its run with --trainer.start_from" in said
    assert said.endswith("or set model.semantic_input=false.")


OTHERS: list[dict[str, Any]] = [
    {"width": 8}, {"pooling": [1, 4]}, {"pooling": []}, {"semantic_blocks": 2}, {"semantic_blocks": 0}, {"classes": 11},
]  # fmt: skip


@pytest.mark.parametrize("model", OTHERS, ids=str)
def test_a_semantic_branch_that_fits_in_part_or_of_which_a_part_is_left_over_is_none(
    model: dict[str, Any], semantic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Copied in part, it would make noise of photos, and frozen, it would do so for ever."""
    scans = write_scans(tmp_path / "scans", lambda number, row, column: (row % 3 == 2) & (column % 4 == 0))
    model = {"branch": "depth", "dense": "filled", **model}
    sections = {"trainer": {"steps": 2, "start_from": str(semantic)}, "data": {"name": "kitti_lidar", "root": str(scans)}, **SCANS}
    told = "pooling" in model  # a block is left over, or taken for another: its kernels say so
    said = said_by(made(tmp_path / "runs", model, **sections), tmp_path, capsys, 2 if told else 3)
    wanted = "Set model.pooling=[1, 4, 9]." if told else "its classes, width, semantic_blocks and pooling have to be those of this run"
    assert wanted in said


def test_weights_that_mean_something_else_though_their_shapes_fit_are_told(
    semantic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Frozen, they would guide the depth by noise; trained on, they may find back."""
    others = {"pooling": [1, 3, 9]}
    settings = made(tmp_path / "runs", {"branch": "depth", **others}, trainer={"start_from": str(semantic)}, sparse={"points": 100})
    said = said_by(settings, tmp_path, capsys, 2)
    assert f"model.pooling is [1, 3, 9], the weights of {semantic} were learned with [1, 4, 9] and stand still here" in said
    assert said.endswith("Set model.pooling=[1, 4, 9].")
    for model, told in (({**MODEL, **others}, 1), (MODEL, 0), ({**MODEL, "pooling": []}, 1), ({**MODEL, "max_depth": 50.0}, 0)):
        caplog.clear()
        begin_with(MultitaskGAN(RunConfig.from_dict(made(tmp_path, model)).model), str(semantic))
        warned = [record.message for record in caplog.records if record.levelname == "WARNING"]
        assert len(warned) == told
        assert all(f"model.pooling is {model['pooling']}, the weights" in text and "with [1, 4, 9]" in text for text in warned)


def test_a_joint_run_is_judged_on_both_tasks(tmp_path: Path) -> None:
    run = train(RunConfig.from_dict(made(tmp_path, {"branch": "joint"}, trainer={"steps": 2}, sparse={"points": 100})))
    assert {"miou", "rmse"} <= set(json.loads((run / "metrics.json").read_text())["metrics"])
    assert {"cycle", "depth_cycle", "judge_labels", "judge_dense"} <= set(rows(run)[-1])


@pytest.mark.parametrize(("colour", "expected"), [((0, 0, 0), 255), (CITYSCAPES19.palette[8], 8)])
def test_what_is_generated_black_is_predicted_as_ignore(
    colour: tuple[int, int, int], expected: int, semantic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    method = MultitaskGAN(RunConfig.from_dict(yaml.safe_load((semantic / "config.yaml").read_text())).model)
    method.prepare({"palette": CITYSCAPES19.palette})
    *_, (_, bias) = ((name, p) for name, p in method.semantic.to_labels.named_parameters() if name.endswith("bias"))
    with torch.no_grad():
        for parameter in method.semantic.to_labels.parameters():
            parameter.zero_()
        bias.copy_(torch.atanh((torch.tensor(colour) / 127.5 - 1).clamp(-0.999, 0.999)))
    (tmp_path / "model").mkdir()
    facts: dict[str, Any] = {"labels": CITYSCAPES19, "depth_cap": 80.0, "input_size": (32, 32), "training": {}}
    save_model(method, tmp_path / "model" / "model.safetensors", **facts)
    io.write_image(tmp_path / "photo.png", np.full((40, 50, 3), 90, np.uint8))
    words = ["predict", str(tmp_path / "photo.png"), "--model", str(tmp_path / "model"), "--out", str(tmp_path / "out")]
    assert main([*words, "--save", "semantic", "overlay"]) == 0
    assert (io.read_labels(tmp_path / "out" / "photo.semantic.png") == expected).all()


def test_the_photos_that_a_run_makes_of_labels_are_judged_by_a_parser(semantic: Path, tmp_path: Path) -> None:
    fcn = {"name": "fcn", "classes": 19, "backbone": "test_resnet", "pretrained": False, "epochs": 1}
    parser = train(RunConfig.from_dict({**made(tmp_path, trainer={"steps": 1, "batch_size": 2}), "model": fcn}))
    assert main(["evaluate", str(semantic), "--parser", str(parser)]) == 0
    stored = json.loads((semantic / "evaluation-translated" / "metrics.json").read_text())
    assert stored["protocol"]["parsed_by"]
    assert stored["metrics"]["miou"]["frames"] == 4
    assert "miou" in stored["metrics"]
    shutil.rmtree(semantic / "evaluation-translated")


@pytest.mark.parametrize("sizes", [[(36, 40), (50, 32), (4, 4)], [(36, 40)]], ids=["different sizes", "a single photo"])
def test_photos_and_label_maps_that_belong_to_nothing(sizes: list[tuple[int, int]], tmp_path: Path) -> None:
    sections = of_folders(write_photos(tmp_path / "photos", sizes), write_maps(tmp_path / "maps", THREE))
    run = train(RunConfig.from_dict(made(tmp_path / "runs", {"classes": 3}, trainer={"steps": 3, "samples_every": 3}, **sections)))
    assert load(run).labels.palette == tuple(map(tuple, THREE["palette"]))
    assert (run / "samples" / "step_0000003.png").is_file()
    assert not (run / "metrics.json").exists()  # there is nothing to judge it on


def test_photos_of_a_folder_are_learned_with_labels_of_another_data_set_and_judged_on_a_third(tmp_path: Path) -> None:
    photos = {"name": "folder", "root": write_photos(tmp_path / "photos", [(36, 40)] * 3)}
    run = train(RunConfig.from_dict(made(tmp_path / "runs", trainer={"steps": 2}, streams={"photos": photos})))
    assert "miou" in json.loads((run / "metrics.json").read_text())["metrics"]
    assert json.loads((run / "config.json").read_text())["training"]["data"] == "folder + world_street"


def write_scans(root: Path, known: Callable[[int, Any, Any], Any]) -> Path:
    """Scans in one flat folder without dense depth; `known` says from number, row and column where a scanner saw something."""
    row, column = np.mgrid[:352, :1216].astype(np.float32)
    frames = []
    for number in range(6):
        depth = 60 - 0.14 * row + 0.002 * column + number
        sparse = np.where(known(number, row, column), depth, np.float32(0))
        camera = np.array([[720.0, 0, 608], [0, 720, 172], [0, 0, 1]])
        image = np.full((352, 1216, 3), 40 + number, np.uint8)
        frames.append(Frame(image=image, depth=depth, sparse_depth=sparse, intrinsics=camera, meta={}))
    write_kitti(frames, root, "test")
    return root / "depth_selection" / "test_depth_completion_anonymous"


SCANS: dict[str, Any] = {"view": {"size": [352, 1216], "crop": [64, 96]}, "evaluation": {"protocol": "kitti_withheld_random"}}


def test_scans_alone_are_filled_for_dense_depth(semantic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scans = write_scans(tmp_path / "scans", lambda number, row, column: (row % 3 == 2) & (column % 4 == number % 4))
    sections = {"data": {"name": "kitti_lidar", "root": str(scans)}, **SCANS}
    trainer = {"steps": 2, "start_from": str(semantic)}
    run = train(RunConfig.from_dict(made(tmp_path / "runs", {"branch": "depth", "dense": "filled"}, trainer=trainer, **sections)))
    stored = json.loads((run / "metrics.json").read_text())
    assert stored["protocol"]["truth"].startswith("withheld from the input")
    assert stored["metrics"]["rmse"]["value"] > 0
    assert load(run).labels == CITYSCAPES19  # of the semantic branch: scans have none
    photo = sorted((scans / "image").iterdir())[0]
    words = ["predict", str(photo), "--model", str(run), "--sparse-depth", str(scans / "velodyne_raw" / photo.name)]
    assert main([*words, "--out", str(tmp_path / "out"), "--save", "semantic", "depth", "overlay"]) == 0
    ids = io.read_labels(tmp_path / "out" / f"{photo.stem}.semantic.png")
    assert ((ids < 19) | (ids == 255)).all()
    said = said_by(made(tmp_path / "none", {"branch": "depth"}, trainer=trainer, **sections), tmp_path, capsys, 2)
    assert "(stream 'dense') needs 'depth'" in said


ALONE: dict[str, Any] = {"branch": "depth", "dense": "filled", "semantic_input": False, "smooth_guide": "rgb"}


@pytest.mark.parametrize(
    ("known", "why"),
    [
        (lambda number, row, column: (row > 340) & (column < 9), r"no window of [^ ]+ has any, however often drawn: take larger ones \("),
        (lambda number, row, column: (row > 0) & (number < 0), r"frame [^ ]+ has none at all\. Find such frames with `diorama data check`"),
    ],
    ids=["a corner", "nowhere"],
)
def test_sparse_maps_without_a_point_are_told(known: Any, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scans = write_scans(tmp_path / "scans", known)
    settings = made(tmp_path / "runs", ALONE, data={"name": "kitti_lidar", "root": str(scans)}, **SCANS)
    assert re.search(f"stream 'sparse' has no known depth in this step: {why}", said_by(settings, tmp_path, capsys, 3))


def test_windows_without_a_point_are_drawn_again_and_a_resume_draws_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Points in a fifth of the width."""
    monkeypatch.setattr(Training, "finish", lambda self, baselines=(): None)
    scans = write_scans(tmp_path / "scans", lambda number, row, column: (row % 3 == 2) & (column < 240))
    settings = made(tmp_path / "runs", ALONE, data={"name": "kitti_lidar", "root": str(scans)}, **SCANS)
    settings["trainer"]["steps"] = 3
    whole = train(RunConfig.from_dict(settings))
    assert len([record for record in caplog.records if "windows without known depth were drawn again" in record.message]) in (1, 2)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "agreed", lambda fabric, flag: 15)
        with pytest.raises(StoppedError):
            train(RunConfig.from_dict(settings))
    run = whole.with_name(f"{whole.name[:-1]}2")
    train(RunConfig.from_dict(settings), resume=run)
    assert rows(run) == rows(whole)


@pytest.mark.parametrize(
    ("palette", "said"),
    [
        ([[10, 20, 30], [200, 0, 0], [10, 20, 30]], "class 0 and class 2 share the colour (10, 20, 30)"),
        ([[10, 20, 30], [0, 0, 0], [0, 90, 200]], "ignore and class 1 share the colour (0, 0, 0)"),
    ],
)
def test_colours_that_are_not_distinct_are_told(
    palette: list[list[int]], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sections = of_folders(write_photos(tmp_path / "photos", [(36, 40)]), write_maps(tmp_path / "maps", {**THREE, "palette": palette}))
    assert said in said_by(made(tmp_path / "runs", {"classes": 3}, **sections), tmp_path, capsys, 2)


def test_unknown_colours_are_the_nearest_class_or_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    maps = write_maps(tmp_path / "maps", THREE, [[10, 20, 30], [190, 3, 3], [0, 90, 200]])
    sections = of_folders(write_photos(tmp_path / "photos", [(36, 40)]), maps)
    assert train(RunConfig.from_dict(made(tmp_path / "near", {"classes": 3}, trainer={"steps": 1}, **sections)))
    sections["streams"]["labels"]["colours"] = "exact"
    said = said_by(made(tmp_path / "runs", {"classes": 3}, **sections), tmp_path, capsys, 2)
    assert "map0.png: 360 pixels have the colour (190, 3, 3), which is no class of 'maps'" in said


def test_a_view_too_small_for_the_networks_is_told(semantic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "need at least 32 pixels a side" in said_by(made(tmp_path / "runs", view={"size": [16, 16]}), tmp_path, capsys, 2)
    assert main(["evaluate", str(semantic), "--size", "[4,4]", "--out", str(tmp_path / "out")]) == 2
    assert "4 x 4 pixels are too small for a generator; use 8 x 8 or more." in capsys.readouterr().err


def test_a_discriminator_that_wins_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The share at which a victory is told is lowered: tiny networks seldom win completely within so few steps."""
    monkeypatch.setattr(multitask_gan, "WON", 0.6)
    monkeypatch.setattr(Training, "finish", lambda self, baselines=(): None)
    model = {"classes": 3, "cycle_weight": 0.0, "structure_weight": 0.0, "rate": 0.01, "epochs": 50}
    sections = of_folders(write_photos(tmp_path / "photos", [(36, 40)]), write_maps(tmp_path / "maps", THREE))
    run = train(RunConfig.from_dict(made(tmp_path / "runs", model, trainer={"steps": 36}, **sections)))
    told = [record.message for record in caplog.records if "never wrong" in record.message]
    assert len(told) == len(set(told))
    assert any(text.startswith("the discriminator of photos is never wrong") for text in told)
    shares = [float(row["right_photos"]) for row in rows(run) if row["right_photos"]]
    assert 0 < len(shares) < 10
    assert all(0.6 < share <= 1 for share in shares)


def test_a_stream_that_is_not_there_is_told_before_training_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise TrainingError("training began.")

    monkeypatch.setattr(loop, "train", never)
    missing = {"labels": {"name": "folder", "root": str(tmp_path / "nowhere")}}
    said = said_by(made(tmp_path / "runs", streams=missing), tmp_path, capsys, 2)
    assert f"{tmp_path / 'nowhere'}: no such folder" in said
    assert "training began" in said_by(made(tmp_path / "runs"), tmp_path, capsys, 3)


def test_frames_of_other_classes_than_the_labels_are_told_before_the_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rooms = {"name": "world_indoor", "frames": 4, "size": [32, 48], "stereo": False}
    settings = made(tmp_path / "runs", data=rooms, streams={"labels": STREETS}, trainer={"steps": 1})
    said = said_by(settings, tmp_path, capsys, 2)
    assert "model.classes is 19, world_indoor (test), which the model is judged on, has 13 classes. Choose data of one label set." in said


def test_a_batch_that_is_too_small_for_its_norm_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Networks with instance norm see no single value at 32 pixels; those with batch norm may."""
    fcn = {"name": "fcn", "classes": 19, "backbone": "test_resnet", "pretrained": False, "epochs": 1}
    said = said_by({**made(tmp_path / "runs"), "model": fcn}, tmp_path, capsys, 3)
    assert "batch norm sees a single value: set trainer.batch_size=2 or more, or a larger view.size or crop." in said


@pytest.mark.parametrize("model", [{}, {"branch": "joint"}], ids=["semantic", "joint"])
def test_double_precision_goes_from_the_first_sample_to_the_judgement(model: dict[str, Any], tmp_path: Path) -> None:
    """Also past the image buffers, which hold two images."""
    sparse = {"sparse": {"points": 100}} if model else {}
    run = train(RunConfig.from_dict(made(tmp_path, model, trainer={"steps": 4, "precision": "64-true", "samples_every": 2}, **sparse)))
    state = torch.load(run / "last.ckpt", weights_only=True)
    assert {value.dtype for value in state["model"].values()} == {torch.float64, torch.int64}
    assert {value.dtype for key, value in state["memories"][0].items() if "buffer" in key} == {torch.float64}
    assert "miou" in json.loads((run / "metrics.json").read_text())["metrics"]
    assert load(run).labels is not None
