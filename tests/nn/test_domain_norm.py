"""Norms with statistics of each domain, against networks that meet one domain alone."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from diorama.nn.domain_norm import DomainNorms


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Sequential(nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2)))


def images(seed: int, brighter: float) -> Tensor:
    return brighter + torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_one_step_by_hand() -> None:
    norms = DomainNorms(norm := nn.BatchNorm2d(1), 2)
    norms(1, torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1))
    norms(2, torch.tensor([10.0, 30.0]).reshape(2, 1, 1, 1))
    # a tenth of the mean and of the variance over n - 1, nine tenths of the start 0 and 1
    found = {name: round(float(value), 5) for name, value in norm.named_buffers() if name.startswith("domain")}
    assert found == {"domain1_mean": 0.2, "domain1_var": 0.9 + 0.2, "domain2_mean": 2.0, "domain2_var": 0.9 + 20.0}
    assert (float(norm.running_mean), float(norm.running_var)) == (0.0, 1.0)
    norms.settle()
    assert (round(float(norm.running_mean), 5), round(float(norm.running_var), 5)) == (1.1, 11.0)
    norms.settle(2)
    assert (round(float(norm.running_mean), 5), round(float(norm.running_var), 5)) == (2.0, 20.9)


def test_each_domain_is_kept_as_if_there_were_no_other() -> None:
    """Answers and gradients in training are those of the plain network; with its statistics chosen a domain sees a network of its own."""
    mixed = network()
    alone = [copy.deepcopy(mixed), copy.deepcopy(mixed)]
    norms = DomainNorms(mixed, 2)
    for step in range(4):
        for domain, plain in enumerate(alone, 1):
            given = images(10 * step + domain, 3.0 * domain)
            found, expected = norms(domain, given), plain(given)
            assert torch.equal(found, expected)
            slopes = (
                torch.autograd.grad(answer.square().sum(), list(net.parameters())) for answer, net in ((found, mixed), (expected, plain))
            )
            assert all(torch.equal(one, other) for one, other in zip(*slopes, strict=True))
    mixed.eval()
    for domain, plain in enumerate(alone, 1):
        norms.settle(domain)
        assert torch.equal(mixed(images(99, 0.0)), plain.eval()(images(99, 0.0)))
    norms.settle()
    for name, value in mixed.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            mean = sum(dict(plain.named_buffers())[name] for plain in alone) / 2
            torch.testing.assert_close(value, mean)


def test_a_network_that_has_met_images_begins_with_what_it_knows() -> None:
    known = network()
    known(images(0, 5.0))
    norms = DomainNorms(known, 3)
    first = known[1]
    assert all(torch.equal(getattr(first, f"domain{number}_mean"), first.running_mean) for number in (1, 2, 3))
    state = known.state_dict()
    assert {"1.domain3_var", "3.1.domain1_mean"} <= set(state)
    assert state["1.domain3_var"].ndim == 1, "files with halved weights keep vectors as they are"
    norms.settle(1)
    assert all(torch.equal(value, state[name]) for name, value in known.state_dict().items())
