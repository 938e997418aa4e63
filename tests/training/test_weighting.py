"""Task weights against numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from diorama.errors import ConfigError
from diorama.training.weighting import Weighting

TWO = {"semantic": 1.0, "depth": 0.5}


def of(**losses: float) -> dict[str, torch.Tensor]:
    return {task: torch.tensor(value) for task, value in losses.items()}


def test_fixed_weights_learn_and_keep_nothing() -> None:
    weighting = Weighting(TWO)
    weighting.observe(of(semantic=3.0, depth=2.0))
    assert {task: float(term) for task, term in weighting(of(semantic=3.0, depth=2.0)).items()} == {"semantic": 3.0, "depth": 1.0}
    assert not list(weighting.parameters())
    assert not weighting.state_dict()


def test_uncertainty_by_hand() -> None:
    weighting = Weighting(TWO, "uncertainty")
    start = weighting(of(semantic=3.0, depth=2.0))
    assert {name: float(term) for name, term in start.items()} == {"semantic": 3.0, "depth": 1.0, "log_variance": 0.0}
    with torch.no_grad():
        weighting.log_variance["semantic"].fill_(math.log(4.0))
        weighting.log_variance["depth"].fill_(-math.log(2.0))
    terms = weighting(of(semantic=3.0, depth=2.0))
    found = {name: float(term) for name, term in terms.items()}
    assert found == pytest.approx({"semantic": 0.75, "depth": 2.0, "log_variance": math.log(2.0)})
    # d/ds (exp(-s) L + s) = 1 - exp(-s) L: the minimum is where exp(s) = L
    sum(terms.values(), torch.zeros(())).backward()
    assert float(weighting.log_variance["semantic"].grad) == pytest.approx(0.25)
    assert float(weighting.log_variance["depth"].grad) == pytest.approx(-1.0)


def test_a_task_that_is_absent_moves_no_weight() -> None:
    weighting = Weighting(TWO, "uncertainty")
    sum(weighting(of(depth=2.0)).values(), torch.zeros(())).backward()
    assert weighting.log_variance["semantic"].grad is None
    assert weighting({}) == {}


def test_averages_by_hand() -> None:
    """Means 8 and 3, then 4 and 3: r is 1/2 and 1, so that the slower task counts exp(1/2) / exp(1/4) times the other."""
    weighting = Weighting(TWO, "dwa", period=2)
    for semantic, depth in ((10.0, 2.0), (6.0, 4.0)):
        assert weighting.factors() == TWO
        weighting.observe(of(semantic=semantic, depth=depth))
    for semantic, depth in ((5.0, 3.0), (3.0, 3.0)):
        assert weighting.factors() == TWO
        weighting.observe(of(semantic=semantic, depth=depth))
    total = math.exp(0.25) + math.exp(0.5)
    found = {task: float(factor) for task, factor in weighting.factors().items()}
    assert found == pytest.approx({"semantic": 2 * math.exp(0.25) / total, "depth": 0.5 * 2 * math.exp(0.5) / total})
    terms = weighting(of(semantic=1.0, depth=1.0))
    assert {task: float(term) for task, term in terms.items()} == pytest.approx(found)
    weighting.observe(of(semantic=100.0, depth=0.1))
    assert {task: float(factor) for task, factor in weighting.factors().items()} == pytest.approx(found), "within a period it stays"


def test_averages_go_on_from_a_checkpoint() -> None:
    one, other = (Weighting(TWO, "dwa", period=3) for _ in range(2))
    draw = torch.Generator().manual_seed(0)
    steps = [of(semantic=float(a), depth=float(b)) for a, b in torch.rand(14, 2, generator=draw)]
    for losses in steps[:8]:
        one.observe(losses)
    other.load_state_dict(one.state_dict())
    for losses in steps[8:]:
        one.observe(losses)
        other.observe(losses)
    assert one.factors().keys() == other.factors().keys()
    assert all(torch.equal(one.factors()[task], other.factors()[task]) for task in TWO)


TERMS = {"segmentation": "semantic", "across": "semantic", "berhu": "depth"}


def test_a_loss_of_several_terms_and_a_term_of_no_task() -> None:
    """Semantics as above with the losses 1 + 2, then 3 + 1: its mean is 3.5; depth has 2, then 4: its mean is 3."""
    weighting = Weighting({"semantic": 1.0, "depth": 0.5}, "dwa", period=2)
    steps = [of(segmentation=1.0, across=2.0, berhu=2.0, inter=9.0), of(segmentation=3.0, across=1.0, berhu=4.0, inter=9.0)]
    for terms in steps:
        assert {name: float(term) for name, term in weighting.balance(terms, TERMS).items()} == {
            **{name: float(term) for name, term in terms.items()}, "berhu": float(terms["berhu"]) / 2,
        }  # fmt: skip
    assert weighting.means[0].tolist() == [3.5, 3.0]
    weighting = Weighting({"semantic": 1.0, "depth": 0.5}, "uncertainty")
    with torch.no_grad():
        weighting.log_variance["semantic"].fill_(math.log(4.0))
    found = weighting.balance(of(segmentation=1.0, across=2.0, inter=9.0), TERMS)
    assert {name: float(term.detach()) for name, term in found.items()} == pytest.approx(
        {"segmentation": 0.25, "across": 0.5, "inter": 9.0, "log_variance": math.log(4.0)}
    )
    assert weighting.balance(of(inter=9.0), TERMS) == of(inter=9.0)


def test_what_is_learned_may_live_elsewhere() -> None:
    home = torch.nn.ParameterDict()
    weighting = Weighting(TWO, "uncertainty", learned=home)
    assert set(home) == set(TWO)
    assert not list(weighting.parameters())
    assert not weighting.state_dict()
    with torch.no_grad():
        home["depth"].fill_(-math.log(2.0))
    assert float(weighting(of(depth=2.0))["depth"].detach()) == pytest.approx(2.0)
    assert weighting.gauges() == pytest.approx({"weight_semantic": 1.0, "weight_depth": 1.0})
    assert Weighting(TWO).gauges() == {}


@pytest.mark.parametrize("wrong", [{"weights": {}}, {"weights": {"depth": -1.0}}, {"period": 0}, {"temperature": 0.0}], ids=str)
def test_what_makes_no_weights_is_told(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="give weights from 0"):
        Weighting(**{"weights": TWO, **wrong})
