"""Checkpoints: what cannot be resumed is one line, and nothing in a file is executed."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from diorama.errors import ModelError
from diorama.training.average import MovingAverage
from diorama.training.checkpoint import load_checkpoint, save_checkpoint


class Parts:
    """A module with everything a checkpoint holds."""

    def __init__(self, width: int = 2, rate: float = 0.1, decay: float = 0.9) -> None:
        self.method: Any = nn.Sequential(nn.Linear(width, 3), nn.BatchNorm1d(3))
        self.average = MovingAverage(self.method, decay)
        self.optimiser = torch.optim.SGD(self.method.parameters(), lr=rate, momentum=0.9)

    def step(self) -> None:
        self.method(torch.arange(8.0).reshape(4, 2)).square().sum().backward()
        self.optimiser.step()
        self.average.update()

    def save(self, path: Path, step: int = 3, name: str = "ci_net") -> None:
        save_checkpoint(
            path, name=name, method=self.method, average=self.average, optimisers={"all": self.optimiser}, step=step, loader={"served": 7}
        )

    def load(self, path: Path, name: str = "ci_net") -> tuple[int, dict[str, Any]]:
        return load_checkpoint(path, name=name, method=self.method, average=self.average, optimisers={"all": self.optimiser})


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Parts]:
    parts = Parts()
    parts.step()
    path = tmp_path / "last.ckpt"
    parts.save(path)
    return path, parts


def test_everything_comes_back(saved: tuple[Path, Parts]) -> None:
    path, parts = saved
    other = Parts(rate=9.0)
    assert other.load(path) == (3, {"served": 7})
    for one, two in zip(parts.method.state_dict().values(), other.method.state_dict().values(), strict=True):
        assert torch.equal(one, two)
    assert all(torch.equal(parts.average.state[key], value) for key, value in other.average.state.items())
    one, two = parts.optimiser.state_dict(), other.optimiser.state_dict()
    assert one["param_groups"] == two["param_groups"]
    assert all(torch.equal(state["momentum_buffer"], two["state"][key]["momentum_buffer"]) for key, state in one["state"].items())
    # gradients of an unfinished accumulation
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(parts.method.parameters(), other.method.parameters(), strict=True))


class Scaler:
    """A precision plugin whose scale is its state."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def state_dict(self) -> dict[str, Any]:
        return {"scale": self.scale}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.scale = state_dict["scale"]


def test_the_scale_of_gradients_comes_back_where_there_is_one(tmp_path: Path) -> None:
    parts, path = Parts(), tmp_path / "last.ckpt"

    def resumed(scaler: Scaler) -> float:
        names: Any = {"name": "ci_net", "method": parts.method, "average": parts.average, "optimisers": {}}
        load_checkpoint(path, **names, precision=scaler)
        return scaler.scale

    parts.save(path)
    assert resumed(Scaler(65536.0)) == 65536.0, "a run without a scaler says nothing of it"
    save_checkpoint(
        path, name="ci_net", method=parts.method, average=parts.average, optimisers={}, step=3, loader={}, precision=Scaler(512.0)
    )
    assert resumed(Scaler(65536.0)) == 512.0
    torch.save({key: value for key, value in torch.load(path, weights_only=True).items() if key != "precision"}, path)
    assert resumed(Scaler(65536.0)) == 65536.0, "as an earlier version wrote it"


def test_a_failed_write_keeps_the_old_file(saved: tuple[Path, Parts], monkeypatch: pytest.MonkeyPatch) -> None:
    path, parts = saved
    before = path.read_bytes()

    def full(state: object, where: Path) -> None:
        where.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        parts.save(path, step=4)
    assert path.read_bytes() == before
    assert not path.with_suffix(".tmp").exists()


def says(path: Path, said: str, name: str = "ci_net", parts: Parts | None = None) -> bool:
    """Whether loading ends with one line that begins with the file and holds the pattern `said`."""
    with pytest.raises(ModelError) as caught:
        (parts or Parts()).load(path, name)
    text = str(caught.value)
    return text.startswith(str(path)) and "\n" not in text and re.search(said, text) is not None


def test_one_of_another_method(saved: tuple[Path, Parts]) -> None:
    assert says(saved[0], r"a checkpoint of 'ci_net', not of 'semi_mtl'\. Set model\.name=ci_net", name="semi_mtl")


def test_one_of_another_configuration(saved: tuple[Path, Parts]) -> None:
    assert says(saved[0], r"another configuration.*config\.yaml", parts=Parts(width=5))


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_one_that_was_cut_off(saved: tuple[Path, Parts], part: float) -> None:
    content = saved[0].read_bytes()
    saved[0].write_bytes(content[: int(part * len(content))])
    assert says(saved[0], "not a readable checkpoint")


def test_one_of_a_newer_version(saved: tuple[Path, Parts]) -> None:
    state = torch.load(saved[0], weights_only=True)
    torch.save({**state, "format": 99}, saved[0])
    assert says(saved[0], r"newer diorama \(format 99.*Update diorama")


@pytest.mark.parametrize("content", [{"some": "dictionary"}, [1, 2], {"format": 1, "method": "ci_net"}])
def test_one_that_is_something_else(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "last.ckpt")
    assert says(tmp_path / "last.ckpt", r"not a readable checkpoint|another configuration")


def test_none_at_all(tmp_path: Path) -> None:
    assert says(tmp_path / "last.ckpt", "no checkpoint")


class Trap:
    """Unpickling it would leave a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, write: Any) -> None:
    path, mark = tmp_path / "last.ckpt", tmp_path / "mark"
    write({"format": 1, "method": "ci_net", "step": Trap(mark)}, path)
    assert says(path, "not a readable checkpoint")
    assert not mark.exists()


class Gathering(nn.Linear):
    """A network with a memory."""

    def __init__(self) -> None:
        super().__init__(1, 1)
        self.seen: list[float] = []

    def recall(self, state: Any) -> None:
        self.seen = state["seen"].tolist()


@pytest.mark.parametrize(
    ("rank", "world", "seen", "told"),
    [
        (0, 2, [0.0], ""),
        (1, 2, [1.0], ""),
        (0, 1, [0.0], r"of 2 processes, this run has 1: what the last 1 had gathered is left out\. .* resume with 2"),
        (0, 3, [0.0], "of 2 processes, this run has 3: the last 1 begin with none"),
        (2, 3, [], ""),
    ],
)
def test_memories_of_other_processes_than_there_are_now(
    rank: int, world: int, seen: list[float], told: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The first process says that they do not fit, once."""
    method: Any = Gathering()
    names: Any = {"name": "ci_net", "method": method, "average": MovingAverage(method, 0.0), "optimisers": {}}
    for memories in ([{"seen": torch.tensor([float(number)])} for number in range(2)], [{}, {}]):
        save_checkpoint(tmp_path / "last.ckpt", **names, step=3, loader={}, memories=memories)
        caplog.clear()
        load_checkpoint(tmp_path / "last.ckpt", **names, rank=rank, world=world)
        assert method.seen == seen
        warned = [record.message for record in caplog.records]
        assert len(warned) == bool(told and memories[0])
        assert all(re.search(told, text) for text in warned)


def test_what_an_earlier_run_did_not_declare_is_declared_when_it_goes_on(saved: tuple[Path, Parts]) -> None:
    path, _ = saved
    other = Parts(rate=9.0)
    other.optimiser.param_groups[0]["steady_rate"] = 1e-4
    other.load(path)
    assert other.optimiser.param_groups[0]["steady_rate"] == 1e-4
    assert other.optimiser.param_groups[0]["lr"] == 0.1
