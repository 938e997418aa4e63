"""The training loop: what a run leaves, what stops it, and that stopping and resuming changes nothing."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lightning.fabric import Fabric
from lightning.fabric.plugins import MixedPrecision
from runs import differing, rows, stop_after
from safetensors.torch import load_file

from diorama.config import RunConfig
from diorama.data.world.dataset import WorldIndoor
from diorama.errors import ConfigError, DataError, ModelError, ProtocolError, TrainingError, UserError
from diorama.methods.base import Stage
from diorama.methods.ci_net import CINet
from diorama.running import preparation
from diorama.running.evaluate_file import evaluate
from diorama.running.preparation import count_labels, evaluation_split
from diorama.running.train import StoppedError, Training, train
from diorama.training.run_folder import VARIABLE
from diorama.types import Frame

Settings = Callable[..., dict[str, Any]]
STEPS = 9


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs end with their last checkpoint."""
    monkeypatch.setattr(Training, "finish", lambda self, baselines=(): None)


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulate": {"accumulate": 2, "ema": 0.9, "clip_norm": 1.0},
    "workers": {"workers": 2},
    "evaluating": {"evaluate_every": 1.0, "checkpoint_every": 4, "log_every": 2},
}
STOPS = [
    ("plain", 1), ("plain", 3), ("plain", 4), ("plain", 6), ("plain", 8), ("plain", 9),
    ("accumulate", 1), ("accumulate", 3), ("accumulate", 4), ("accumulate", 7),
    ("workers", 2), ("workers", 6), ("evaluating", 3), ("evaluating", 5),
]  # fmt: skip
"""Within an epoch, at its end, at a border of stages (after 3 and 6 steps), between the steps of one accumulated update."""


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Uninterrupted runs by case, filled as they are needed."""
    return {}


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize(("case", "stop"), STOPS)
def test_a_stopped_and_resumed_run_equals_the_uninterrupted_one(
    case: str,
    stop: int,
    settings: Settings,
    through: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    def weight_sum(self: Training) -> dict[str, float]:
        with self.average.applied():
            return {"miou": float(sum(value.double().sum() for value in self.method.state_dict().values()))}

    monkeypatch.setattr(Training, "_judge", weight_sum)
    if case not in through:
        through[case] = train(RunConfig.from_dict(settings(trainer=CASES[case], out=str(tmp_path_factory.mktemp(case)))))
    config = RunConfig.from_dict(settings(trainer=CASES[case]))
    with monkeypatch.context() as patch:
        stop_after(patch, stop)
        with pytest.raises(StoppedError, match=rf"step {stop} of {STEPS}.*--resume") as caught:
            train(config)
    assert caught.value.exit_status == 143
    (run,) = (Path(config.out)).iterdir()
    torch.manual_seed(stop * 1234567)  # nothing of the process may be carried over but the checkpoint
    assert train(RunConfig.from_dict(yaml.safe_load((run / "config.yaml").read_text())), resume=run) == run
    assert differing(run, through[case]) == []
    assert rows(run) == rows(through[case])
    if case == "evaluating":
        assert [row["step"] for row in rows(run) if row["val_miou"]] == ["3", "6"]


@pytest.mark.usefixtures("brief")
def test_a_run_that_died_resumes_from_its_last_checkpoint(
    settings: Settings, through: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RunConfig.from_dict(settings(trainer={"checkpoint_every": 4}))
    whole = train(config)
    with monkeypatch.context() as patch:
        original = Training.one_step

        def power_cut(self: Training, batch: Any) -> dict[str, float]:
            if self.step == 6:
                raise KeyboardInterrupt
            return original(self, batch)

        patch.setattr(Training, "one_step", power_cut)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    run = whole.with_name("ci_net-world_indoor-2")
    assert torch.load(run / "last.ckpt", weights_only=True)["step"] == 4
    assert len(rows(run)) == 6
    train(config, resume=run)
    assert differing(run, whole) == []
    assert rows(run) == rows(whole)


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_saves_and_a_second_one_stops_at_once(
    presses: int, settings: Settings, through: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RunConfig.from_dict(settings(trainer={"checkpoint_every": 4}))
    original, handler = Training.one_step, signal.signal(signal.SIGINT, signal.default_int_handler)

    def pressed(self: Training, batch: Any) -> dict[str, float]:
        for _ in range(presses if self.step == 5 else 0):
            signal.raise_signal(signal.SIGINT)
        return original(self, batch)

    monkeypatch.setattr(Training, "one_step", pressed)
    try:
        with pytest.raises((StoppedError, KeyboardInterrupt), match=r"diorama train --resume .*ci_net-world_indoor-1`\.$") as caught:
            train(config)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, handler)
    (run,) = Path(config.out).iterdir()
    step = torch.load(run / "last.ckpt", weights_only=True)["step"]
    if presses == 1:
        assert isinstance(caught.value, StoppedError)
        assert (caught.value.exit_status, step) == (130, 6)
    else:
        assert isinstance(caught.value, KeyboardInterrupt)
        assert step == 4


@pytest.mark.usefixtures("brief")
def test_the_seed_decides_the_run(settings: Settings) -> None:
    first, again, other = (train(RunConfig.from_dict(settings(seed=seed, trainer={"steps": 3}))) for seed in (5, 5, 6))
    assert differing(first, again) == []
    with pytest.raises(AssertionError):
        assert differing(first, other) == []


def test_a_run_leaves_everything_that_is_promised(settings: Settings) -> None:
    config = RunConfig.from_dict(settings(trainer={"ema": 0.9, "evaluate_every": 2.0}))
    run = train(config)
    for name in ("config.yaml", "environment.txt", "metrics.csv", "metrics.json", "report.html", "model.safetensors", "last.ckpt"):
        assert (run / name).stat().st_size > 0, name
    assert not list(run.glob("*.tmp"))
    assert RunConfig.from_dict(yaml.safe_load((run / "config.yaml").read_text())) == config
    assert VARIABLE not in os.environ
    (judged,) = [row for row in rows(run) if row["val_miou"]]
    assert 0 <= float(judged["val_miou"]) <= 1
    assert float(judged["val_rmse"]) > 0
    assert [row["stage"] for row in rows(run) if not row["val_miou"]] == ["truth"] * 3 + ["predicted"] * 3 + ["all"] * 3
    # what is saved for users is the average, not the last weights
    saved, state = load_file(run / "model.safetensors"), torch.load(run / "last.ckpt", weights_only=True)
    key = "network.branches.depth.head.weight"
    assert torch.equal(saved[key].float(), state["average"]["state"][key])
    assert not torch.equal(saved[key].float(), state["model"][key])


@pytest.mark.usefixtures("brief")
def test_two_runs_of_one_process_have_two_folders(settings: Settings) -> None:
    config = RunConfig.from_dict(settings(trainer={"steps": 1}))
    assert [train(config).name, train(config).name] == ["ci_net-world_indoor-1", "ci_net-world_indoor-2"]


@pytest.mark.usefixtures("brief")
def test_resuming_with_more_steps_goes_on(settings: Settings) -> None:
    whole = train(RunConfig.from_dict(settings(trainer={"steps": 5})))
    run = train(RunConfig.from_dict(settings(trainer={"steps": 2})))
    assert len(rows(run)) == 2
    train(RunConfig.from_dict(settings(trainer={"steps": 5})), resume=run)
    assert differing(run, whole) == []


@pytest.mark.usefixtures("brief")
def test_frozen_parts_stand_still_in_their_stage_alone(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = ("depth", "segmentation")
    stages = [Stage("heads", 1, 0.01, losses, freeze=("network.backbone.", "network.context.")), Stage("whole", 1, 0.01, losses)]
    monkeypatch.setattr(CINet, "stages", property(lambda self: stages))
    seen: list[dict[str, torch.Tensor]] = []
    original = Training.one_step

    def noted(self: Training, batch: Any) -> dict[str, float]:
        seen.append({name: value.detach().clone() for name, value in self.method.named_parameters()})
        return original(self, batch)

    monkeypatch.setattr(Training, "one_step", noted)
    train(RunConfig.from_dict(settings(trainer={"steps": 6})))

    def moved(name: str, start: int, end: int) -> bool:
        return not torch.equal(seen[start][name], seen[end][name])

    backbone = next(name for name in seen[0] if name.startswith("network.backbone.") and name.endswith("weight"))
    assert [moved(backbone, 0, 3), moved(backbone, 3, 5)] == [False, True]
    assert [moved("network.context.value.weight", 0, 3), moved("network.context.value.weight", 3, 5)] == [False, True]
    assert [moved("network.branches.depth.head.weight", 0, 3), moved("network.branches.depth.head.weight", 3, 5)] == [True, True]


@pytest.mark.usefixtures("brief")
def test_half_precision_is_used_in_the_forward_pass(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = set()
    original = CINet.compared

    def spied(self: CINet, answers: Any, *others: Any) -> Any:
        kinds.update(answer.dtype for answer in answers.values())
        return original(self, answers, *others)

    monkeypatch.setattr(CINet, "compared", spied)
    run = train(RunConfig.from_dict(settings(trainer={"steps": 2, "precision": "bf16-mixed"})))
    assert kinds == {torch.bfloat16}
    state = torch.load(run / "last.ckpt", weights_only=True)
    assert state["model"]["network.branches.depth.head.weight"].dtype == torch.float32


def test_a_run_has_the_figures_that_evaluate_finds(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "diorama")
    config = RunConfig.from_dict(settings(trainer={"steps": 2, "precision": "bf16-mixed"}))
    run = train(config)
    found = evaluate(run, config.open_dataset("test"), config.evaluation.protocol, batch_size=1, progress=False)
    own = json.loads((run / "metrics.json").read_text())["metrics"]
    for name in ("miou", "rmse", "abs_rel"):
        assert own[name]["value"] == pytest.approx(found[name], rel=1e-5)
    assert f"miou {found['miou']:.3f}, pixel_accuracy {found['pixel_accuracy']:.3f}, rmse {found['rmse']:.3f} m" in caplog.text


@pytest.mark.usefixtures("brief")
def test_the_scale_of_half_precision_gradients_survives_a_stop(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def scaled(*_: object) -> Fabric:
        # asked for 16-mixed on a CPU, Fabric takes bf16-mixed, which needs no scaler; here the scale doubles every two steps
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
        return Fabric(accelerator="cpu", plugins=MixedPrecision("16-mixed", "cpu", scaler))

    monkeypatch.setattr(preparation, "build_fabric", scaled)
    config = RunConfig.from_dict(settings(trainer={"steps": 4}))
    whole = train(config)
    stop_after(monkeypatch, 3)
    with pytest.raises(StoppedError):
        train(config)
    run = whole.with_name("ci_net-world_indoor-2")
    assert torch.load(run / "last.ckpt", weights_only=True)["precision"]["scale"] == 16.0
    train(config, resume=run)
    assert torch.load(run / "last.ckpt", weights_only=True)["precision"]["scale"] == 32.0
    assert differing(run, whole) == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "Three knobs"),
        (torch.OutOfMemoryError("CUDA out of memory."), "Three knobs"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "Three knobs"),
        (RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed."), r"trainer\.workers"),
    ],
)
@pytest.mark.parametrize("where", ["one_step", "finish", "__init__"])
def test_short_memory_is_told_with_what_to_change(
    error: Exception, said: str, where: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Training, where, fails)
    if where == "finish":
        monkeypatch.setattr(Training, "run", lambda self: None)
    config = RunConfig.from_dict(settings())
    with pytest.raises(TrainingError, match=said) as caught:
        train(config)
    assert "\n" not in str(caught.value)
    if said == "Three knobs":
        for knob in ("trainer.batch_size", "view.crop", "trainer.precision=bf16-mixed"):
            assert knob in str(caught.value)
    assert list(Path(config.out).iterdir()) == []


def test_another_runtime_error_is_not_taken_for_short_memory(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("size mismatch")

    monkeypatch.setattr(Training, "one_step", fails)
    with pytest.raises(RuntimeError, match="^size mismatch$"):
        train(RunConfig.from_dict(settings()))


@pytest.mark.parametrize("classes", [5, 40])
def test_another_number_of_classes_than_the_data_is_told(classes: int, settings: Settings) -> None:
    config = RunConfig.from_dict(settings(model={"classes": classes}))
    with pytest.raises(ConfigError, match=rf"^model\.classes is {classes}, world_indoor has 13 classes\. Set model\.classes=13\.$"):
        train(config)
    assert not Path(config.out).exists()


def test_labels_beyond_the_classes_are_told_and_nothing_is_left(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    config = RunConfig.from_dict(settings(model={"classes": 5}))
    monkeypatch.setattr(WorldIndoor, "labels", None)  # a folder without a label set
    with pytest.raises(TrainingError, match=r"label \d+ occurs in world_indoor but the model has 5 classes\. Set model\.classes="):
        train(config)
    assert list(Path(config.out).iterdir()) == []


def test_a_loss_that_is_not_finite_at_once_leaves_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CINet, "metres", lambda self, answer: answer.float() * float("nan"))
    config = RunConfig.from_dict(settings())
    with pytest.raises(TrainingError, match=r"step 0: .*nan on frames train_0_0000\d, train_0_0000\d"):
        train(config)
    assert list(Path(config.out).iterdir()) == []


def test_one_that_breaks_later_keeps_its_rows(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    original = CINet.losses
    monkeypatch.setattr(
        CINet,
        "losses",
        lambda self, batch, context, turn: {
            k: v * (float("inf") if context.step == 2 else 1) for k, v in original(self, batch, context, turn).items()
        },
    )
    config = RunConfig.from_dict(settings())
    with pytest.raises(TrainingError, match="step 2: "):
        train(config)
    (run,) = Path(config.out).iterdir()
    assert [row["step"] for row in rows(run)] == ["0", "1"]


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"model": {"backbone": "test_resnett"}}, ConfigError, "did you mean 'test_resnet'"),
        ({"model": {"backbone_weights": "missing.pth"}}, ModelError, r"missing\.pth: no such weights file"),
        ({"model": {"backbone": "test_mambaout", "output_stride": 8}}, ConfigError, r"model\.output_stride=32"),
        ({"trainer": {"loggers": ["tensorbored"]}}, UserError, "tensorbored"),
        ({"evaluation": {"protocol": "nyuv3"}}, UserError, "nyuv3"),
        ({"evaluation": {"protocol": "nyuv2_pooled"}}, ProtocolError, "40 classes, world_indoor was loaded with 13"),
        ({"evaluation": {"split": "tset"}}, DataError, "no split 'tset'"),
        ({"view": {"size": [1, 1]}}, ConfigError, r"view\.size is \[1, 1\]: networks need at least 32 pixels a side\. Set "),
        ({"view": {"size": [64, 31]}}, ConfigError, r"view\.size is \[64, 31\]"),
        ({"view": {"crop": [31, 32]}}, ConfigError, r"view\.crop is \[31, 32\]"),
    ],
)
def test_what_cannot_work_is_told_before_a_folder_is_made(
    change: dict[str, Any], kind: type[UserError], said: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []
    monkeypatch.setattr(Training, "one_step", lambda self, batch: trained.append(1) or {"loss": 0.0})
    with pytest.raises(kind, match=said) as caught:
        train(RunConfig.from_dict(settings(**change)))
    assert "\n" not in str(caught.value)
    assert trained == []
    out = Path(settings()["out"])
    assert not out.exists() or list(out.iterdir()) == []


def test_a_missing_baseline_is_told_before_training(settings: Settings, tmp_path: Path) -> None:
    config = RunConfig.from_dict(settings())
    with pytest.raises(DataError, match=r"no-such-run"):
        train(config, baselines=[tmp_path / "no-such-run"])
    assert not Path(config.out).exists()


def test_a_data_set_without_a_needed_key_is_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    config = RunConfig.from_dict(settings())
    original = WorldIndoor.__init__

    def without_depth(self: WorldIndoor, *values: Any, **named: Any) -> None:
        original(self, *values, **named)
        self.provides = self.provides - {"depth"}

    monkeypatch.setattr(WorldIndoor, "__init__", without_depth)
    with pytest.raises(ConfigError, match=r"ci_net needs 'depth'; world_indoor \(train\) has no depth maps\. Try "):
        train(config)
    assert not Path(config.out).exists()


class Rooms(WorldIndoor):
    """Two frames with labels set by hand."""

    def frame(self, index: int) -> Frame:
        semantic = np.array([[[0, 0, 1], [2, 255, 255]], [[2, 2, 2], [255, 0, 3]]], np.uint8)[index]
        return Frame(semantic=semantic)


def test_labels_are_counted_over_all_frames_without_the_ignored() -> None:
    assert count_labels(Rooms(frames=2), 5) == [3, 1, 4, 1, 0]
    with pytest.raises(TrainingError, match=r"label 2 .* the model has 2 classes\. Set model\.classes=4\."):
        count_labels(Rooms(frames=2), 2)


def test_what_is_evaluated_is_test_then_val_or_what_was_asked_for(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    held_out = evaluation_split(RunConfig.from_dict(settings()))
    assert held_out is not None
    assert held_out.split == "test"
    asked = evaluation_split(RunConfig.from_dict(settings(evaluation={"split": "val"})))
    assert asked is not None
    assert asked.split == "val"

    def only(*present: str) -> object:
        def opened(self: RunConfig, split: str, stream: str | None = None) -> str:
            if split not in present:
                raise DataError(f"no frames of {split}. Make some.")
            return split

        return opened

    for present, expected in ((("train", "val"), "val"), (("train",), None)):
        monkeypatch.setattr(RunConfig, "open_dataset", only(*present))
        assert evaluation_split(RunConfig.from_dict(settings())) == expected
