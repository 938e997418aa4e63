"""The numbered equations of SemiMTL against numbers worked out by hand or by plain loops over pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diorama.errors import ShapeError
from diorama.evaluation.delta import gain
from diorama.losses.domain import discriminator_loss, domain_loss, inter_domains, label_planes
from diorama.methods.base import StepContext, Turn
from diorama.methods.semi_mtl import SemiMTL
from diorama.methods.semi_mtl_config import SemiMTLConfig
from diorama.training.weighting import Weighting

B, D, H, W = 2, 3, 3, 4
LN2 = math.log(2.0)
SMALL: dict[str, Any] = {"classes": 3, "backbone": "test_resnet", "output_stride": 32, "pretrained": False, "width": 8, "judge_width": 2}


def drawn(seed: int = 0) -> tuple[Tensor, np.ndarray, Tensor]:
    """Scores of three domains, their softmax in NumPy, and a mask."""
    draw = np.random.default_rng(seed)
    scores = draw.normal(size=(B, D, H, W))
    raised = np.exp(scores)
    mask = draw.random((B, 1, H, W)) < 0.6
    return torch.from_numpy(scores), raised / raised.sum(1, keepdims=True), torch.from_numpy(mask)


def by_loops(cost: np.ndarray, mask: Tensor) -> float:
    """Mean of `cost` `(B, H, W)` over the pixels of `mask`, one after the other."""
    total, count = 0.0, 0
    for b in range(B):
        for v in range(H):
            for u in range(W):
                if bool(mask[b, 0, v, u]):
                    total += float(cost[b, v, u])
                    count += 1
    return total / count


def test_the_typical_loss_is_the_weighted_sum_of_the_tasks() -> None:
    """SemiMTL, Eq. 1: weights 1 and 0.01 (sec. 4.1) of the losses 2 and 30."""
    terms = Weighting({"semantic": 1.0, "depth": 0.01})({"semantic": torch.tensor(2.0), "depth": torch.tensor(30.0)})
    assert {task: float(term) for task, term in terms.items()} == pytest.approx({"semantic": 2.0, "depth": 0.3})


@pytest.mark.parametrize("domain", [0, 1, 2])
def test_the_discriminator_minimises_cross_entropy_by_loops(domain: int) -> None:
    """SemiMTL, Eq. 2: -log D at the domain that the map is of."""
    scores, probability, mask = drawn()
    expected = by_loops(-np.log(probability[:, domain]), mask)
    assert float(domain_loss(scores, (domain,), mask)) == pytest.approx(expected)
    labels = torch.where(mask[:, 0], domain, -100)
    assert float(domain_loss(scores, (domain,), mask)) == pytest.approx(float(torch.nn.functional.cross_entropy(scores, labels)))
    assert float(domain_loss(torch.zeros(1, 4, 2, 2), (domain,))) == pytest.approx(2 * LN2)


def test_predictions_on_labelled_data_are_to_pass_for_the_truth() -> None:
    """SemiMTL, Eq. 3: -log D at class 0."""
    scores, probability, mask = drawn(1)
    assert float(domain_loss(scores, (0,), mask)) == pytest.approx(by_loops(-np.log(probability[:, 0]), mask))


def test_mode_1_aims_at_predictions_on_labelled_data() -> None:
    """SemiMTL, Eq. 4: -log D at class 1 for data set B where A, the first, is labelled; of several, of their sum."""
    scores, probability, mask = drawn(2)
    assert inter_domains("m1", own=2, labelled=(1,), domains=3) == (1,)
    assert float(domain_loss(scores, inter_domains("m1", 2, (1,), 3), mask)) == pytest.approx(by_loops(-np.log(probability[:, 1]), mask))
    summed = -np.log(probability[:, 1] + probability[:, 2])
    assert float(domain_loss(scores, inter_domains("m1", 3, (1, 2), 4), mask)) == pytest.approx(by_loops(summed, mask))


def test_mode_2_aims_at_the_truth() -> None:
    """SemiMTL, Eq. 5: -log D at class 0."""
    scores, probability, mask = drawn(3)
    domains = inter_domains("m2", own=2, labelled=(1,), domains=3)
    assert float(domain_loss(scores, domains, mask)) == pytest.approx(by_loops(-np.log(probability[:, 0]), mask))


def test_mode_3_flees_its_own_data_set() -> None:
    """SemiMTL, Eq. 6: -log(1 - D) at class 2 for data set B, also where D is so sure that 1 - D is 0 in float32."""
    scores, probability, mask = drawn(4)
    domains = inter_domains("m3", own=2, labelled=(1,), domains=3)
    assert domains == (0, 1)
    assert float(domain_loss(scores, domains, mask)) == pytest.approx(by_loops(-np.log(1 - probability[:, 2]), mask))
    sure = torch.tensor([0.0, 0.0, 60.0])[None, :, None, None]
    assert float(domain_loss(sure, domains)) == pytest.approx(60 - LN2)


def test_the_discriminator_is_shown_truth_and_predictions_of_all_data_sets() -> None:
    """SemiMTL, Eq. 9: one summand for the truth and one for the predictions on each of two data sets."""
    maps = [drawn(seed) for seed in (5, 6, 7)]
    expected = sum(by_loops(-np.log(probability[:, domain]), mask) for domain, (_, probability, mask) in enumerate(maps))
    shown = [(scores, domain, mask) for domain, (scores, _, mask) in enumerate(maps)]
    assert float(discriminator_loss(shown)) == pytest.approx(expected)


def test_delta_m_is_the_mean_gain_over_single_tasks() -> None:
    """SemiMTL, Eq. 10: the printed mIoU and RMSE of Table 1 give the printed +9.4 % and +11.5 %."""
    for miou, rmse, printed in ((71.4, 5.469, 9.4), (71.9, 5.234, 11.5)):
        assert 100 * (gain(miou, 71.4, "higher") + gain(rmse, 6.744, "lower")) / 2 == pytest.approx(printed, abs=0.1)


def test_a_mask_without_pixels_gives_zero_and_no_gradient() -> None:
    scores = torch.randn(B, D, H, W, requires_grad=True)
    loss = domain_loss(scores, (0,), torch.zeros(B, 1, H, W))
    loss.backward()
    assert float(loss.detach()) == 0
    assert not bool(scores.grad.any())


def test_what_is_masked_moves_nothing() -> None:
    scores, _, mask = drawn(8)
    scores = scores.requires_grad_()
    (gradient,) = torch.autograd.grad(domain_loss(scores, (1,), mask), scores)
    assert not bool(gradient[~mask.expand_as(gradient)].any())
    assert torch.autograd.gradcheck(lambda x: domain_loss(x, (0, 1), mask), (scores,))


def test_labels_as_planes() -> None:
    planes = label_planes(torch.tensor([[[0, 2], [255, 1]]]), 3)
    assert planes[0, :, 0, 0].tolist() == [1, 0, 0]
    assert planes[0, :, 0, 1].tolist() == [0, 0, 1]
    assert planes[0, :, 1, 0].tolist() == [0, 0, 0]
    smoothed = label_planes(torch.tensor([[[1, 255]]]), 4, smoothing=0.2)
    assert smoothed[0, :, 0, 0].tolist() == pytest.approx([0.05, 0.85, 0.05, 0.05])
    assert smoothed[0, :, 0, 1].tolist() == [0, 0, 0, 0]


def test_domains_and_masks_that_do_not_fit_are_told() -> None:
    scores = torch.zeros(B, D, H, W)
    for domains in ((), (3,), (-1, 0)):
        with pytest.raises(ShapeError, match=r"give some of 0\.\.2\."):
            domain_loss(scores, domains)
    with pytest.raises(ShapeError, match=r"give a mask \(B, 1, H, W\)\."):
        domain_loss(scores, (0,), torch.ones(B, H, W))


class Answers(nn.Module):
    """A network that answers the same logits and depths for each data set in turn."""

    def __init__(self, given: list[dict[str, Tensor]]) -> None:
        super().__init__()
        self.given, self.calls = given, 0

    def forward(self, image: Tensor, tasks: Any) -> dict[str, Tensor]:
        del image
        self.calls += 1
        return {task: self.given[self.calls - 1][task] for task in tasks}


class Judge(nn.Module):
    """A discriminator whose scores at a pixel are the first channel times 0, 1, 2, ...; keeps what it saw."""

    def __init__(self, domains: int) -> None:
        super().__init__()
        self.domains, self.saw = domains, []

    def forward(self, maps: Tensor) -> Tensor:
        self.saw.append(maps)
        return torch.cat([number * maps[:, :1] for number in range(self.domains)], 1)


def stubbed(**changes: Any) -> tuple[SemiMTL, list[dict[str, Tensor]]]:
    method, draw = SemiMTL(SemiMTLConfig(**{**SMALL, **changes})), torch.Generator().manual_seed(3)
    sizes = {"semantic": (2, 3, 32, 48), "depth": (2, 1, 32, 48)}
    given = [{task: torch.rand(size, generator=draw) for task, size in sizes.items()} for _ in range(2)]
    method.network = Answers(given)
    method.judges = nn.ModuleDict({task: Judge(method.config.domains) for task in method.judges})
    return method, given


def expected_domain(maps: Tensor, aims: tuple[int, ...], domains: int, mask: np.ndarray) -> float:
    """Mean of -log of the probability of `aims` under the scores of `Judge`, in NumPy."""
    first = maps[:, 0].double().numpy()
    raised = np.stack([np.exp(number * first) for number in range(domains)])
    share = raised[list(aims)].sum(0) / raised.sum(0)
    return float(-np.log(share)[mask].mean())


INTRA = ("intra", (0,))
ALIGNED: dict[str, list[tuple[tuple[str, tuple[int, ...]] | None, int | None]]] = {
    "m1": [(INTRA, 1), (("inter", (1,)), 2), (("inter", (2,)), 1), (INTRA, 2)],
    "m2": [(INTRA, 1), (("inter", (0,)), 2), (("inter", (0,)), 1), (INTRA, 2)],
    "m3": [(INTRA, 1), (("inter", (0, 1)), 2), (("inter", (0, 2)), 1), (INTRA, 2)],
    "binary": [(INTRA, 1), (("inter", (0,)), 1), (("inter", (0,)), 1), (INTRA, 1)],
    "adapt": [(None, 0), (("inter", (0,)), 1), (("inter", (0,)), 1), (None, 0)],
    "adapt_truth": [(None, None), (("inter", (0,)), 1), (("inter", (0,)), 1), (None, None)],
}
"""Semantics on the set with labels, on the one with depth; depth on the set with labels, on the one with depth: the term of the network
with its aims, and the domain that the discriminator is told; None where there is none."""


def samples() -> dict[str, Any]:
    """Labels without the first four rows in one data set, depth without the last five columns in the other."""
    draw = torch.Generator().manual_seed(1)
    semantic = torch.randint(0, 3, (2, 32, 48), generator=draw)
    semantic[:, :4] = 255
    depth = 2 + 60 * torch.rand(2, 1, 32, 48, generator=draw)
    depth[..., -5:] = 0
    image = torch.zeros(2, 3, 32, 48)
    return {"labelled": {"image": image, "semantic": semantic}, "measured": {"image": image, "depth": depth}}


@pytest.mark.parametrize("alignment", ALIGNED)
def test_each_row_aims_and_shows_what_it_says(alignment: str) -> None:
    """SemiMTL, Eqs. 7-9: every term of the network and the sum of the discriminators, masks included, in NumPy."""
    method, given = stubbed(alignment=alignment, depth_scale=4.0)
    sample, domains = samples(), method.config.domains
    context = StepContext(0, method.stages[0], [0, 1, 2, 3])
    assert domains == (3 if alignment.startswith("m") else 2)
    terms = method.losses(sample, context, Turn("generator", "generator"))
    assert method.network.calls == 2, "the network sees each data set once"
    semantic, depth = sample["labelled"]["semantic"], sample["measured"]["depth"]
    masks = {"semantic": (semantic != 255).numpy(), "depth": (depth[:, 0] > 0).numpy()}  # alike in all samples, so pairing plays no part
    expected = {"semantic": float(F.cross_entropy(given[0]["semantic"], semantic, ignore_index=255))}
    target = np.divide(4.0, depth.numpy(), where=depth.numpy() > 0, out=np.zeros(depth.shape))
    error = np.abs(given[1]["depth"].numpy() - target)[:, 0][masks["depth"]]
    c = 0.2 * error.max()
    expected["depth"] = 0.01 * float(np.where(error <= c, error, (error**2 + c**2) / (2 * c)).mean())
    judged = {"semantic": 0.0, "depth": 0.0}
    truths = {"semantic": F.one_hot(semantic % 255, 3).movedim(-1, 1), "depth": torch.from_numpy(target)}
    for row, (task, mask) in enumerate(masks.items()):
        for number in range(2):
            aim, domain = ALIGNED[alignment][2 * row + number]
            maps = given[number][task].softmax(1) if task == "semantic" else given[number][task]
            if aim:
                term, aims = aim
                weight = {"intra": 1e-3, "inter": 1e-4}[term]
                expected[f"{term}_{task}"] = weight * expected_domain(maps, aims, domains, mask)
            if domain is not None:
                judged[task] += expected_domain(maps, (domain,), domains, mask)
        if alignment != "adapt":
            judged[task] += expected_domain(truths[task], (0,), domains, mask)
    assert {name: float(value) for name, value in terms.items()} == pytest.approx(expected, rel=1e-5)
    shown = method.losses(sample, context, Turn("judges", "judges"))
    assert {name: float(value) for name, value in shown.items()} == pytest.approx(
        {f"judge_{task}": value for task, value in judged.items()}
    )
