"""Pseudo-MTL as runs: stopped and resumed across its stages, started from a pretrained run, refused what it cannot learn from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import differing, failure, go_on, rows, stop_after
from safetensors.torch import load_file

from diorama import catalog
from diorama.config import RunConfig
from diorama.prediction.predictor import load
from diorama.running.train import StoppedError, Training, train

MODEL: dict[str, Any] = {
    "name": "pseudo_mtl", "backbone": "test_resnet", "pretrained": False, "upsampling": "bilinear", "head_stride": 2,
    "pretrain_epochs": 1, "joint_epochs": 1, "pretrain_rate": 1.0e-3, "joint_rate": 1.0e-3,
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(catalog.DATASETS, "labelled_streets", "pairs:LabelledStreets")
        patch.setenv("DIORAMA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def made(out: Path, model: dict[str, Any] | None = None, **sections: Any) -> dict[str, Any]:
    """Settings of a run of three stages of two steps each."""
    chosen: dict[str, Any] = {
        "model": {**MODEL, **(model or {})},
        "data": {"name": "labelled_streets", "frames": 4},
        "view": {"size": [32, 64], "flip": 0.5, "cache": True},
        "trainer": {"batch_size": 2, "accelerator": "cpu", "threads": 1, "workers": 0, "log_every": 1, "ema": 0.9},
        "evaluation": {"protocol": "world_street"},
        "out": str(out),
    }
    for name, value in sections.items():
        chosen[name] = {**chosen.get(name, {}), **value}
    return chosen


@pytest.fixture(scope="module")
def pretrained(streets: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the two pretrainings."""
    return train(RunConfig.from_dict(made(tmp_path_factory.mktemp("pretrained"), {"joint_epochs": 0})))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_run_stopped_in_any_stage_or_between_two_equals_the_uninterrupted_one(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, optimiser, average, and the encoder's first weights that the second stage begins with again."""
    monkeypatch.setattr(Training, "finish", lambda self, baselines=(): None)
    config = RunConfig.from_dict(made(tmp_path, trainer={"precision": precision}))
    whole = train(config)
    assert [row["stage"] for row in rows(whole)] == ["semantic"] * 2 + ["depth"] * 2 + ["joint"] * 2
    for number, stop in enumerate((1, 2, 3, 4) if precision == "32-true" else (2,), 2):
        with monkeypatch.context() as patch:
            stop_after(patch, stop)
            with pytest.raises(StoppedError, match=f"step {stop} of 6"):
                train(config)
        run = whole.with_name(f"pseudo_mtl-labelled_streets-{number}")
        assert bool(torch.load(run / "last.ckpt", weights_only=True)["memories"][0]) == (stop <= 2)
        torch.manual_seed(stop)
        go_on(run)
        assert differing(run, whole) == []
        assert rows(run) == rows(whole)


def test_the_average_follows_the_encoder_back_to_its_first_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first step of "depth" it is 9/11 of the way from the first weights to the new ones, whatever "semantic" had made of it."""
    weights, averages, first = [], [], []
    inner, name = Training.one_step, "features.conv1.0.weight"

    def watched(self: Training, batch: Any) -> dict[str, float]:
        said = inner(self, batch)
        weights.append(self.method.state_dict()[f"network.backbone.{name}"].clone())
        averages.append(self.average.state[f"network.backbone.{name}"].clone())
        first.extend(self.method.memory()[name] for _ in range(self.step == 0))
        return said

    monkeypatch.setattr(Training, "one_step", watched)
    monkeypatch.setattr(Training, "finish", lambda self, baselines=(): None)
    train(RunConfig.from_dict(made(tmp_path, {"joint_epochs": 0})))
    assert not torch.allclose(averages[1], first[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(averages[2], first[0] * 2 / 11 + weights[2] * 9 / 11)


def test_ablation_rows_start_from_one_pretraining(pretrained: Path, tmp_path: Path) -> None:
    config = RunConfig.from_dict(made(tmp_path, {"pretrain_epochs": 0}, trainer={"start_from": str(pretrained)}))
    run = train(config)
    assert {row["stage"] for row in rows(run)} == {"joint"}
    terms = {"segmentation", "depth", "depth_across", "depth_left", "depth_right", "semantic_across", "semantic_left", "semantic_right"}
    shares = {f"gradient_{name}" for name in ("segmentation", "depth", "depth_consistency", "semantic_consistency")}
    assert terms | shares <= set(rows(run)[0])
    assert sum(float(rows(run)[0][name]) for name in shares) == pytest.approx(1)
    begun, ended = load_file(pretrained / "model.safetensors"), load_file(run / "model.safetensors")
    assert begun.keys() == ended.keys()
    assert not torch.equal(begun["network.semantic.head.weight"], ended["network.semantic.head.weight"])
    scene = load(run).scene(torch.zeros(40, 70, 3, dtype=torch.uint8).numpy())
    assert scene.semantic is not None
    assert scene.depth is not None
    assert (scene.semantic.shape, bool((scene.depth > 0).all())) == ((40, 70), True)


@pytest.mark.parametrize(
    ("missing", "way_out"),
    [
        ("pseudo_depth", "no stereo pseudo depth. Make them with `diorama pseudo-label` and set pseudo.root to its folder"),
        ("confidence_right", "no confidence maps of the right view. Make them with `diorama pseudo-label`"),
        ("semantic_right", "no label maps of the right view. Let a teacher make them, `diorama pseudo-label --teacher MODEL`"),
        ("baseline", "no stereo baseline. Try"),
        ("right", "no stereo pairs. Try"),
    ],
)
def test_pairs_that_lack_something_are_told(missing: str, way_out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = failure(made(tmp_path, data={"left_out": [missing]}), tmp_path, capsys, 2)
    assert f"pseudo_mtl needs '{missing}'; labelled_streets (train) has {way_out}" in said


def test_labels_of_one_view_are_not_mirrored_and_that_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = failure(made(tmp_path, {"right_labels": False}), tmp_path, capsys, 2)
    assert "a mirrored stereo pair swaps its views, but 'semantic' belongs to the left one. Set view.flip to 0" in said
    assert not list(tmp_path.glob("pseudo_mtl-*"))


def test_streets_without_pseudo_labels_are_told_what_makes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = made(tmp_path)
    settings["data"] = {"name": "world_street", "frames": 4, "size": [32, 64]}
    said = failure(settings, tmp_path, capsys, 2)
    assert "pseudo_mtl needs 'confidence'; world_street (train) has no confidence maps. Make them with `diorama pseudo-label`" in said


def test_a_rig_without_any_truth_trains_to_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = made(tmp_path, {"pretrain_epochs": 0})
    opened = RunConfig.open_dataset

    def without_truth(self: RunConfig, split: str, stream: str | None = None) -> Any:
        found = opened(self, split, stream)
        if split != "train":
            found.provides = frozenset({"image", "right", "intrinsics", "baseline"})
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunConfig, "open_dataset", without_truth)
        run = train(RunConfig.from_dict(settings))
    assert (run / "model.safetensors").is_file()
    assert not (run / "metrics.json").exists()
    assert "neither labels nor depth to judge by: not evaluated" in caplog.text
