"""Gradients of tasks that are joined, against solutions of two quadratics worked out by hand."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lightning.fabric import Fabric
from torch import Tensor, nn

from diorama.cli import main
from diorama.errors import ConfigError, TrainingError
from diorama.methods.base import Method, Stage, StepContext, Turn
from diorama.methods.semi_mtl import SemiMTL
from diorama.methods.semi_mtl_config import SemiMTLConfig
from diorama.training.gradients import AGGREGATORS, TaskGradients
from diorama.training.settings import Trainer
from diorama.training.turns import take_turns

pytest.importorskip("torchjd")
FIRST, SECOND = (3.0, 0.0), (-1.0, 2.0)
"""Gradients of the tasks where training starts; they pull apart: their product is -3."""
STAGE = Stage("all", 1, 1.0, ())


class Quadratics(Method):
    """Task "one" pulls what is shared to -FIRST and `a` to 4, task "two" pulls it to -SECOND and `b` to 6; a third term is of no task."""

    def __init__(self, *, extra: bool = True, absent: str = "") -> None:
        super().__init__()
        self.shared, self.a, self.b = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1, 1))
        self.extra, self.absent = extra, absent

    @property
    def task_terms(self) -> Mapping[str, str]:
        return {"near": "one", "own": "one", "two": "two"}

    def forward(self, *inputs: Any, **named: Any) -> Any:
        raise NotImplementedError

    def losses(self, batch: Any, context: StepContext, turn: Turn) -> dict[str, Tensor]:
        first, second = ((self.shared + torch.tensor(goal)).square().sum() / 2 for goal in (FIRST, SECOND))
        terms = {"near": first, "own": (self.a - 4).square().sum() / 2, "two": second + (self.b - 6).square().sum() / 2}
        if self.extra:
            terms["alignment"] = 10 * self.shared[0] + 20 * self.shared[1] + 7 * self.b.sum()
        return {name: term for name, term in terms.items() if self.task_terms.get(name) != self.absent}

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"all": torch.optim.SGD(self.parameters(), lr=1.0)}

    @property
    def stages(self) -> list[Stage]:
        return [STAGE]


def trained(method: Method, kind: Any, batches: list[Any], accumulate: int = 1, precision: Any = "32-true", rate: float = 1.0) -> None:
    """One step per batch, at `rate`."""
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    made, join = method.optimisers(), None if kind == "sum" else TaskGradients(kind, method)
    for group in (group for optimiser in made.values() for group in optimiser.param_groups):
        group["lr"] = rate
    module = fabric.setup_module(method)
    module.mark_forward_method("losses")
    optimisers = {name: fabric.setup_optimizers(optimiser) for name, optimiser in made.items()}
    for step, batch in enumerate(batches):
        context = StepContext(step, STAGE, list(range(6)))
        take_turns(fabric, module, method, batch, context, optimisers, ids=["a"], accumulate=accumulate, join=join)


def by_hand(kind: str) -> list[float]:
    """What becomes of FIRST and SECOND."""
    if kind == "mgda":  # the point of the segment between them that is nearest to 0 is 0.4 FIRST + 0.6 SECOND, at right angles to it
        return [0.6, 1.2]
    if kind == "pcgrad":  # FIRST + 3/5 SECOND is at right angles to SECOND, SECOND + 3/9 FIRST to FIRST
        return [2.4 + 0.0, 1.2 + 2.0]
    if kind == "imtl_g":  # w FIRST + (1 - w) SECOND = (4w - 1, 2 - 2w) is as long along FIRST, 4w - 1, as along SECOND, (5 - 8w) / sqrt(5)
        w = (1 + math.sqrt(5)) / (4 + 8 / math.sqrt(5))
        return [4 * w - 1, 2 - 2 * w]
    left, values, right = np.linalg.svd(np.array([FIRST, SECOND]))  # aligned_mtl: all singular values are the smallest
    found: list[float] = (values.min() * left @ right).mean(0).tolist()
    return found


@pytest.mark.parametrize("kind", ["mgda", "pcgrad", "imtl_g", "aligned_mtl"])
def test_two_quadratics_by_hand(kind: str) -> None:
    method = Quadratics()
    trained(method, kind, [{}])
    joined = by_hand(kind)
    assert method.shared.tolist() == pytest.approx([-(joined[0] + 10), -(joined[1] + 20)], rel=1e-5)
    # what one task moves alone moves as ever, and so does what no task says
    assert method.a.item() == pytest.approx(4.0)
    assert method.b.item() == pytest.approx(6.0 - 7.0)


def test_descending_as_mgda_says_ends_between_the_two_goals() -> None:
    method = Quadratics(extra=False)
    trained(method, "mgda", [{}] * 60, rate=0.3)
    # every point of the segment is one from which no task can go on without harm to the other
    way, there = np.subtract(SECOND, FIRST), method.shared.detach().numpy() + np.array(FIRST)
    share = float(there @ -way) / float(way @ way)
    assert 0 < share < 1
    assert there.tolist() == pytest.approx((-share * way).tolist(), abs=1e-3)


def test_a_step_without_one_of_the_tasks_is_as_ever() -> None:
    for absent, goal in (("two", FIRST), ("one", SECOND)):
        method = Quadratics(extra=False, absent=absent)
        trained(method, "pcgrad", [{}])
        assert method.shared.tolist() == [-value for value in goal]
        assert (method.a if absent == "one" else method.b).grad is None


def test_accumulated_steps_are_joined_one_by_one_and_averaged() -> None:
    method = Quadratics()
    trained(method, "mgda", [{}, {}], accumulate=2)
    assert method.shared.tolist() == pytest.approx([-10.6, -21.2])
    method = Quadratics()
    trained(method, "mgda", [{}], accumulate=2)
    assert method.shared.tolist() == [0.0, 0.0]
    assert method.shared.grad.tolist() == pytest.approx([5.3, 10.6])
    assert method.b.grad.tolist() == [[pytest.approx(0.5)]]


SMALL: dict[str, Any] = {
    "classes": 3, "backbone": "test_resnet", "output_stride": 32, "pretrained": False, "width": 8, "depth_widths": (8, 6), "judge_width": 2,
    "depth_weight": 0.1, "intra_weight": 0.1, "inter_weight": 0.1, "momentum": 0.0, "weight_decay": 0.0,
}  # fmt: skip


def given() -> dict[str, Any]:
    """A draw for which the tasks pull the encoder apart."""
    draw = torch.Generator().manual_seed(6)
    semantic = torch.randint(0, 3, (2, 32, 48), generator=draw)
    images = torch.rand(2, 2, 3, 32, 48, generator=draw)
    depth = 2 + 60 * torch.rand(2, 1, 32, 48, generator=draw)
    return {"labelled": {"image": images[0], "semantic": semantic}, "measured": {"image": images[0], "depth": depth}}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_semi_mtl_moves_its_encoder_by_what_a_plain_projection_gives(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients of the two tasks by `autograd.grad`, projected in NumPy; adversarial terms are added, discriminators learn as ever."""
    monkeypatch.setattr(nn.Dropout2d, "forward", lambda self, features: features)

    def made() -> SemiMTL:
        torch.manual_seed(0)
        return SemiMTL(SemiMTLConfig(**SMALL))

    method = made()
    parameters = dict(method.network.named_parameters())
    with torch.autocast("cpu", torch.bfloat16, enabled=precision != "32-true"):
        terms = method.losses(given(), StepContext(0, STAGE, list(range(6))), Turn("generator", "generator"))
    rest = torch.stack([term for name, term in terms.items() if name not in method.task_terms]).sum()
    rows = [torch.autograd.grad(loss, list(parameters.values()), retain_graph=True, allow_unused=True) for loss in
            (terms["semantic"], terms["depth"], rest)]  # fmt: skip
    found = {name: [None if row[i] is None else row[i].double().numpy() for row in rows] for i, name in enumerate(parameters)}
    both = [name for name, (one, other, _) in found.items() if one is not None and other is not None]
    assert {name.split(".")[0] for name in both} == {"backbone", "pyramid"}
    one, other = (np.concatenate([found[name][task].ravel() for name in both]) for task in (0, 1))
    product = min(0.0, float(one @ other))
    expected = one + other - product / (other @ other) * other - product / (one @ one) * one
    parts = dict(zip(both, np.split(expected, np.cumsum([parameters[name].numel() for name in both])[:-1]), strict=True))
    stepped, plain = made(), made()
    start = {name: value.detach().double().clone() for name, value in stepped.network.named_parameters()}
    trained(stepped, "pcgrad", [given()], precision=precision)
    trained(plain, "sum", [given()], precision=precision)
    scale = max(1.0, np.abs(expected).max())
    for name, value in stepped.network.named_parameters():
        alone = sum((part for part in found[name][:2] if part is not None), np.zeros(1))
        extra = found[name][2] if found[name][2] is not None else 0.0
        change = (parts[name].reshape(value.shape) if name in parts else alone) + extra
        np.testing.assert_allclose(value.detach().double() - start[name], -change, atol=1e-5 * scale, err_msg=name)
    assert product < 0, "the tasks pull apart here, else this shows nothing"
    assert not all(torch.equal(a, b) for a, b in zip(stepped.network.parameters(), plain.network.parameters(), strict=True))
    for a, b in zip(made().judges.parameters(), stepped.judges.parameters(), strict=True):
        assert not torch.equal(a, b)


def test_a_gradient_that_is_not_finite_names_the_task() -> None:
    class Broken(Quadratics):
        def losses(self, batch: Any, context: StepContext, turn: Turn) -> dict[str, Tensor]:
            # 0 with a slope that is not a number
            return {**super().losses(batch, context, turn), "two": (0 * self.shared.sum()).sqrt()}

    with pytest.raises(TrainingError, match=r"step 0: the gradient of two is not finite\. Lower the rate"):
        trained(Broken(), "mgda", [{}])


def test_one_task_has_nothing_to_join() -> None:
    method = SemiMTL(SemiMTLConfig(**{**SMALL, "tasks": "depth", "alignment": "none"}))
    with pytest.raises(ConfigError, match=r"trainer\.gradients=mgda joins the gradients of several tasks.* Leave it out\."):
        TaskGradients("mgda", method)


def test_every_setting_has_its_aggregator_and_a_missing_solver_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchjd.aggregation
    from torchjd import _mixins

    assert all(hasattr(torchjd.aggregation, name) for name, _ in AGGREGATORS.values())
    monkeypatch.setattr(_mixins, "find_spec", lambda name: None)
    for kind in ("upgrad", "cagrad"):
        with pytest.raises(ConfigError, match=rf"trainer\.gradients={kind}: .*pip install .*, or set trainer\.gradients=mgda\.") as caught:
            TaskGradients(kind, Quadratics())  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


def test_scaled_gradients_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"Set trainer\.precision=bf16-mixed or 32-true\."):
        Trainer(gradients="mgda", precision="16-mixed")


def test_without_the_extra_the_command_to_install_it_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchjd"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchjd", None)
    settings = {
        "model": {"name": "semi_mtl", "classes": 13, "backbone": "test_resnet", "output_stride": 32, "pretrained": False, "width": 8},
        "data": {"name": "world_indoor", "frames": 4, "size": [32, 48], "stereo": False},
        "view": {"size": [32, 48], "cache": False},
        "trainer": {"batch_size": 1, "accelerator": "cpu", "workers": 0, "gradients": "mgda"},
        "out": str(tmp_path / "runs"),
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    assert main(["train", "--config", str(tmp_path / "run.yaml")]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith("not installed. Install it with: pip install 'diorama[gradients]'")
    assert "torchjd" in said
    assert not list((tmp_path / "runs").rglob("*"))
