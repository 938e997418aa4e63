"""The numbered equations of SemiMTL against numbers worked out by hand or by plain loops over pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from diorama.errors import ShapeError
from diorama.evaluation.delta import gain
from diorama.losses.domain import discriminator_loss, domain_loss, inter_domains, label_planes, semi_supervised_loss
from diorama.training.weighting import Weighting

B, D, H, W = 2, 3, 3, 4
LN2 = math.log(2.0)


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


def test_both_adversarial_losses_are_weighed() -> None:
    """SemiMTL, Eq. 7: 0.001 times 4 and 0.0001 times 50 with the weights of sec. 4.1."""
    assert float(semi_supervised_loss(torch.tensor(4.0), torch.tensor(50.0))) == pytest.approx(0.009)
    assert float(semi_supervised_loss(torch.tensor(4.0), torch.tensor(50.0), 0.5, 0.1)) == pytest.approx(7.0)


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
