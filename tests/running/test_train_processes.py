"""Runs of more than one process, and the command line's run that is told to stop."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import nn

from diorama import catalog
from diorama.config import RunConfig
from diorama.errors import TrainingError
from diorama.evaluation.protocols import by_name
from diorama.evaluation.table import FrameTable
from diorama.methods.base import Method, Stage
from diorama.methods.ci_net import CINet
from diorama.methods.pseudo_mtl import PseudoMTL
from diorama.methods.semi_mtl import SemiMTL
from diorama.running.evaluate import evaluate_model
from diorama.running.torch_predictor import torch_predictor
from diorama.running.train import Training, train

Settings = Callable[..., dict[str, Any]]
LOSSES = ("depth", "segmentation")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _one_of_two(rank: int, port: int, work: Callable[[], Any], answers: Any) -> None:
    os.environ.update(LOCAL_RANK=str(rank), NODE_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    try:
        answers.put((rank, work()))
    except Exception as error:
        answers.put((rank, error))


def both(work: Callable[[], Any]) -> list[Any]:
    """What `work` returns, or the error it raises, in each of two processes that a cluster's launcher might have started."""
    fork = multiprocessing.get_context("fork")
    answers, port = fork.Queue(), free_port()
    members = [fork.Process(target=_one_of_two, args=(rank, port, work, answers)) for rank in range(2)]
    for member in members:
        member.start()
    try:
        found = dict(answers.get(timeout=240) for _ in members)
    finally:
        for member in members:
            member.join(20)
            member.kill()
    return [found[0], found[1]]


def frozen_norms(monkeypatch: pytest.MonkeyPatch, kind: type[Method] = CINet) -> None:
    """Batch norms use their stored statistics, so that a sample's answer does not depend on the others of its batch."""
    original = kind.train

    def trained(self: Method, mode: bool = True) -> Method:
        original(self, mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    monkeypatch.setattr(kind, "train", trained)


def two_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention and backbone stand still first; then everything moves, and the queries are used."""
    stages = [
        Stage("heads", 1, 0.01, LOSSES, freeze=("network.backbone.", "network.context.")),
        Stage("whole", 1, 0.01, (*LOSSES, "attention", "consistency")),
    ]
    monkeypatch.setattr(CINet, "stages", property(lambda self: stages))


def states(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs return to the caller the parameters before every step and at the end, instead of being evaluated."""
    original = Training.one_step

    def noted(self: Training, batch: Any) -> dict[str, float]:
        self.__dict__.setdefault("seen", []).append({name: value.detach().clone() for name, value in self.method.named_parameters()})
        return original(self, batch)

    def finish(self: Training, baselines: Any = ()) -> None:
        self.__dict__["seen"].append({name: value.detach().clone() for name, value in self.method.named_parameters()})
        path = self.run_folder.path.parent / f"states-{self.fabric.world_size}-{self.fabric.global_rank}.pt"
        torch.save(self.__dict__["seen"], path)

    monkeypatch.setattr(Training, "one_step", noted)
    monkeypatch.setattr(Training, "finish", finish)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_two_processes_descend_as_one_with_the_same_samples(accumulate: int, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """SGD, norms frozen, no clipping: gradients are the mean over both, and frozen parts are reduced once they move."""
    frozen_norms(monkeypatch)
    two_stages(monkeypatch)
    states(monkeypatch)
    model = {"optimiser": "sgd", "momentum": 0.9}
    single = RunConfig.from_dict(settings(model=model, trainer={"batch_size": 2, "accumulate": accumulate}))
    shared = RunConfig.from_dict(settings(model=model, trainer={"batch_size": 1, "devices": 2, "accumulate": accumulate}))
    alone = train(single)
    paths = both(lambda: train(shared))
    # whichever process asks first gets the lower number, and what the other one made is gone
    assert paths in ([alone.with_name(f"ci_net-world_indoor-{number}")] * 2 for number in (2, 3)), paths
    assert {path for path in alone.parent.iterdir() if path.is_dir()} == {alone, paths[0]}
    one, first, second = (torch.load(alone.parent / f"states-{name}.pt", weights_only=True) for name in ("1-0", "2-0", "2-1"))
    assert len(one) == len(first) == len(second) == 7
    for step in range(7):
        for name, value in one[step].items():
            assert torch.equal(first[step][name], second[step][name]), (step, name)
            moved = (value - one[0][name]).abs().max()
            difference = (first[step][name] - value).abs().max()
            assert difference <= 1e-5 * max(moved, value.abs().max()), (step, name)
    query, backbone = "network.context.query.weight", next(name for name in one[0] if name.startswith("network.backbone."))
    for name in (query, backbone):
        assert torch.equal(first[3][name], first[0][name])
        assert not torch.equal(first[6][name], first[3][name])


def test_two_processes_see_both_views_as_one(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pseudo-MTL with SGD through its three stages: losses across the views, the encoder set back, shares of the gradient logged."""

    def plain(self: PseudoMTL) -> dict[str, torch.optim.Optimizer]:
        return {"all": torch.optim.SGD([{"params": list(self.parameters()), "rate_factor": 1.0}], lr=1.0)}

    monkeypatch.setitem(catalog.DATASETS, "labelled_streets", "pairs:LabelledStreets")
    monkeypatch.setattr(PseudoMTL, "optimisers", plain)
    frozen_norms(monkeypatch, PseudoMTL)
    states(monkeypatch)
    network = {"name": "pseudo_mtl", "backbone": "test_resnet", "pretrained": False, "upsampling": "bilinear", "head_stride": 2}
    recipe = {"pretrain_epochs": 1, "joint_epochs": 1, "pretrain_rate": 1e-4, "joint_rate": 1e-4}

    def run(**trainer: int) -> RunConfig:
        chosen = settings(trainer=trainer, view={"size": [32, 64]})
        return RunConfig.from_dict({**chosen, "data": {"name": "labelled_streets", "frames": 4}, "model": {**network, **recipe}})

    alone = train(run(batch_size=2))
    shared = run(batch_size=1, devices=2)
    both(lambda: train(shared))
    one, first, second = (torch.load(alone.parent / f"states-{name}.pt", weights_only=True) for name in ("1-0", "2-0", "2-1"))
    assert len(one) == len(first) == len(second) == 7
    for step in range(7):
        for name, value in one[step].items():
            assert torch.equal(first[step][name], second[step][name]), (step, name)
            assert (first[step][name] - value).abs().max() <= 1e-5 * max((value - one[0][name]).abs().max(), value.abs().max()), (
                step,
                name,
            )
    moved = {name.split(".")[1] for name, value in one[0].items() if not torch.equal(value, one[2][name])}
    assert moved == {"backbone", "semantic"}
    for name in ("network.semantic.head.weight", "network.depth.head.weight"):
        assert not torch.equal(first[6][name], first[0][name])


@pytest.mark.parametrize(
    ("changes", "gradients"),
    [({"weighting": "dwa", "dwa_steps": 1}, {}), ({"norm": "per_domain"}, {"gradients": "pcgrad", "accumulate": 2})],
    ids=["weights", "gradients joined"],
)
def test_two_processes_align_data_sets_as_one(
    changes: dict[str, Any], gradients: dict[str, Any], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SemiMTL with SGD: holes borrowed across data sets, losses over pixels that count, balanced tasks, spectral norms."""

    def plain(self: SemiMTL) -> dict[str, torch.optim.Optimizer]:
        parts = {"generator": self.network, "judges": self.judges}
        return {name: torch.optim.SGD([{"params": list(part.parameters()), "rate_factor": 1.0}], lr=1.0) for name, part in parts.items()}

    monkeypatch.setattr(SemiMTL, "optimisers", plain)
    monkeypatch.setattr(nn.Dropout2d, "forward", lambda self, features: features)
    frozen_norms(monkeypatch, SemiMTL)
    states(monkeypatch)
    network = {"name": "semi_mtl", "backbone": "test_resnet", "pretrained": False, "output_stride": 32, "classes": 13, "judge_width": 2}
    recipe = {"width": 8, "depth_widths": [8, 6], "rate": 0.01, "depth_weight": 1.0, "intra_weight": 1.0, "inter_weight": 1.0, "epochs": 2}

    def run(**trainer: int) -> RunConfig:
        return RunConfig.from_dict({**settings(trainer={**trainer, **gradients}), "model": {**network, **recipe, **changes}})

    alone = train(run(batch_size=2))
    shared = run(batch_size=1, devices=2)
    both(lambda: train(shared))
    one, first, second = (torch.load(alone.parent / f"states-{name}.pt", weights_only=True) for name in ("1-0", "2-0", "2-1"))
    assert len(one) == len(first) == len(second) > 3
    for step, start in enumerate(one):
        for name, value in start.items():
            assert torch.equal(first[step][name], second[step][name]), (step, name)
            assert (first[step][name] - value).abs().max() <= 1e-5 * max(1e-3, value.abs().max()), (step, name)
    moved = {name.split(".")[1] for name, value in one[0].items() if not torch.equal(value, one[-1][name])}
    assert {"backbone", "semantic", "depth"} <= moved


@pytest.mark.parametrize(("accumulate", "idle"), [(1, [2, 3]), (2, [2, 3]), (2, [3])])
def test_two_processes_take_turns_as_one(accumulate: int, idle: list[int], unpaired: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two streams and two optimisers, of which one has nothing to do at some steps; nothing depends on the other samples of a batch."""

    def finish(self: Training, baselines: Any = ()) -> None:
        end = {name: value.detach().clone() for name, value in self.method.named_parameters()}
        torch.save(end, self.run_folder.path.parent / f"end-{self.fabric.world_size}-{self.fabric.global_rank}.pt")

    monkeypatch.setattr(Training, "finish", finish)
    monkeypatch.setattr(sys.modules["unpaired"].Unpaired, "samples", lambda self, batch: {"photo": batch["photos"]["image"]})
    model = {"norm": False, "buffer": 0, "optimiser": "sgd", "idle": idle}
    alone = train(RunConfig.from_dict(unpaired(model, trainer={"batch_size": 2, "accumulate": accumulate})))
    shared = RunConfig.from_dict(unpaired(model, trainer={"batch_size": 1, "devices": 2, "accumulate": accumulate, "samples_every": 2}))
    paths = both(lambda: train(shared))
    assert isinstance(paths[0], Path), paths
    assert len(list((paths[0] / "samples").iterdir())) == 3
    assert len(torch.load(paths[0] / "last.ckpt", weights_only=True)["memories"]) == 2
    one, first, second = (torch.load(alone.parent / f"end-{name}.pt", weights_only=True) for name in ("1-0", "2-0", "2-1"))
    for name, value in one.items():
        assert torch.equal(first[name], second[name]), name
        assert torch.allclose(first[name], value, rtol=1e-5, atol=1e-7), name


def test_two_processes_train_in_mixed_precision_on_depth_as_it_is(unpaired: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fabric would cast what a wrapped module is given, and stumbles over the stage."""
    kind, seen = sys.modules["unpaired"].Unpaired, []
    losses = kind.losses

    def noted(self: Any, batch: Any, context: Any, turn: Any) -> Any:
        seen.append({value.dtype for sample in batch.values() for value in sample.values() if torch.is_tensor(value)})
        return losses(self, batch, context, turn)

    def finish(self: Training, baselines: Any = ()) -> None:
        torch.save([str(dtype) for dtypes in seen for dtype in dtypes], self.run_folder.path / f"seen-{self.fabric.global_rank}.pt")

    monkeypatch.setattr(kind, "losses", noted)
    monkeypatch.setattr(Training, "finish", finish)
    trainer = {"batch_size": 1, "devices": 2, "steps": 2, "precision": "bf16-mixed"}
    path, other = both(lambda: train(RunConfig.from_dict(unpaired({"norm": False}, trainer=trainer))))
    assert isinstance(path, Path), path
    assert path == other
    for rank in range(2):
        assert "torch.float32" in (dtypes := torch.load(path / f"seen-{rank}.pt", weights_only=True))
        assert not {"torch.bfloat16", "torch.float16"} & set(dtypes)


def test_two_processes_evaluate_exactly_what_one_does(settings: Settings) -> None:
    """Norms are live here: each process has met other samples, yet all must score with the statistics that are saved."""
    config = RunConfig.from_dict(
        {
            **settings(trainer={"batch_size": 1, "devices": 2, "steps": 4, "ema": 0.5}),
            "data": {"name": "world_indoor", "frames": 5, "size": [32, 48], "stereo": False},
        }
    )
    first, second = both(lambda: train(config))
    assert first == second
    assert isinstance(first, Path), first
    # in the memory format of the run, because another one takes kernels that round differently
    method = CINet(config.model).to(memory_format=torch.channels_last)
    method.load_state_dict(load_file(first / "model.safetensors"), strict=False)
    expected = evaluate_model(
        torch_predictor(method), config.open_dataset("test"), by_name("world_indoor"), size=(32, 48), batch_size=1, progress=False
    )
    stored = json.loads((first / "metrics.json").read_text())["metrics"]
    assert {name: stored[name]["value"] for name in ("miou", "rmse")} == {name: expected[name] for name in ("miou", "rmse")}
    with (first / "metrics.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["0", "1", "2", "3"]


def test_two_processes_count_the_pixels_of_semi_mtl_as_one(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Confusion matrix and every sum of every frame, five frames over two processes; norms are live and kept per data set."""
    original = Training.evaluate

    def kept(self: Training, examples: int = 0, **how: Any) -> Any:
        found = original(self, examples, **how)
        assert found is not None
        path = self.run_folder.path
        found.rows.save(path / f"rows-{self.fabric.global_rank}.npz")
        np.save(path / f"confusion-{self.fabric.global_rank}.npy", found.confusion)
        return found

    monkeypatch.setattr(Training, "evaluate", kept)
    network = {"name": "semi_mtl", "backbone": "test_resnet", "pretrained": False, "output_stride": 32, "classes": 13, "judge_width": 2}
    config = RunConfig.from_dict(
        {
            **settings(trainer={"batch_size": 2, "devices": 2, "steps": 2}),
            "model": {**network, "width": 8, "depth_widths": [8, 6], "epochs": 2, "norm": "per_domain"},
            "data": {"name": "world_indoor", "frames": 5, "size": [32, 48], "stereo": False},
        }
    )
    run, other = both(lambda: train(config))
    assert isinstance(run, Path), run
    assert run == other
    method = SemiMTL(config.model).to(memory_format=torch.channels_last)
    method.load_state_dict(load_file(run / "model.safetensors"))
    expected = evaluate_model(
        torch_predictor(method), config.open_dataset("test"), by_name("world_indoor"), size=(32, 48), batch_size=2, progress=False
    )
    assert expected.confusion is not None
    assert expected.confusion.sum() > 0
    assert any(name.startswith("depth/") for name in expected.rows.names)
    for rank in range(2):
        found = FrameTable.load(run / f"rows-{rank}.npz")
        assert np.array_equal(np.load(run / f"confusion-{rank}.npy"), expected.confusion)
        assert found.frames.tolist() == expected.rows.frames.tolist() == list(range(5))
        assert set(found.names) == set(expected.rows.names)
        for name in found.names:
            assert np.array_equal(found[name], expected.rows[name], equal_nan=True), name


def test_what_one_process_finds_stops_both_with_its_words(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    original = CINet.losses

    def broken(self: CINet, batch: Any, context: Any, turn: Any) -> Any:
        terms = original(self, batch, context, turn)
        bad = context.step == 1 and os.environ["LOCAL_RANK"] == "1"
        return {name: term * (float("nan") if bad and name == "pair" else 1.0) for name, term in terms.items()}

    monkeypatch.setattr(CINet, "losses", broken)
    config = RunConfig.from_dict(settings(trainer={"batch_size": 1, "devices": 2}))
    errors = both(lambda: train(config))
    assert all(isinstance(error, TrainingError) for error in errors), errors
    assert str(errors[0]) == str(errors[1])
    assert "step 1: pair = nan on frames train_0_" in str(errors[0])


def test_what_the_first_process_finds_before_the_first_step_stops_both(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from diorama.data.world.dataset import WorldIndoor

    config = RunConfig.from_dict(settings(model={"classes": 5}, trainer={"batch_size": 1, "devices": 2}))
    monkeypatch.setattr(WorldIndoor, "labels", None)
    errors = both(lambda: train(config))
    assert all(isinstance(error, TrainingError) and "Set model.classes=" in str(error) for error in errors), errors
    assert list(Path(config.out).iterdir()) == []


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "diorama", *words]


def written(settings: dict[str, Any], path: Path) -> Path:
    path.write_text(yaml.safe_dump(settings))
    return path


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def started(settings: dict[str, Any], tmp_path: Path) -> tuple[subprocess.Popen[str], Path]:
    """A training in a process group of its own, as a terminal starts it, after its first steps; and its run folder."""
    config = written({**settings, "evaluation": {"split": "val"}}, tmp_path / "run.yaml")
    process = subprocess.Popen(
        command("train", "--config", str(config)), stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    run = tmp_path / "runs" / "ci_net-world_indoor-1"
    deadline = time.monotonic() + 200
    while not ((run / "metrics.csv").is_file() and len((run / "metrics.csv").read_text().splitlines()) > 4):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    return process, run


@pytest.mark.slow
@pytest.mark.parametrize("trainer", [{"workers": 2}, {"devices": 2, "batch_size": 1}])
def test_ctrl_c_reaches_every_process_and_yet_saves_and_leaves_with_130(
    trainer: dict[str, Any], settings: Settings, tmp_path: Path
) -> None:
    process, run = started(settings(model={"stage_epochs": [400, 1, 1]}, trainer=trainer), tmp_path)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert said.count("stopping after this step, which is saved; Ctrl-C again stops at once") == 1
    assert f"Go on with `diorama train --resume {run}`." in said.rstrip().splitlines()[-1]
    assert "Traceback" not in said
    step = torch.load(run / "last.ckpt", weights_only=True)["step"]
    assert [int(row["step"]) for row in rows(run)] == list(range(step))


@pytest.mark.slow
def test_sigterm_saves_and_leaves_with_143_and_the_run_can_be_finished(settings: Settings, tmp_path: Path) -> None:
    process, run = started(settings(model={"stage_epochs": [400, 1, 1]}), tmp_path)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 143, said
    assert f"Go on with `diorama train --resume {run}`." in said.rstrip().splitlines()[-1]
    assert "Traceback" not in said
    step = torch.load(run / "last.ckpt", weights_only=True)["step"]
    before = rows(run)
    assert [int(row["step"]) for row in before] == list(range(step))
    done = subprocess.run(
        command("train", "--resume", str(run), "--trainer.steps", str(step + 2), "--trainer.log_every", "1"),
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(run)
    assert rows(run)[:step] == before
    assert [int(row["step"]) for row in rows(run)] == list(range(step + 2))
    assert (run / "model.safetensors").is_file()
    assert [path.name for path in run.parent.iterdir()] == [run.name]


@pytest.mark.slow
def test_the_command_line_starts_the_second_process_itself(settings: Settings, tmp_path: Path) -> None:
    config = written(settings(), tmp_path / "run.yaml")
    done = subprocess.run(
        command("train", "--config", str(config), "--trainer.devices", "2", "--trainer.steps", "3", "--trainer.batch_size", "1"),
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "ci_net-world_indoor-1"
    assert done.stdout.split() == [str(run)]
    assert [path.name for path in run.parent.iterdir()] == [run.name]
    assert len(rows(run)) == 3
    assert (run / "report.html").is_file()
