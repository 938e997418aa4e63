"""The numbered equations of Pseudo-MTL against numbers worked out by hand or by plain loops over pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from diorama.losses.cross_view import (
    Views,
    Weights,
    depth_across,
    depth_consistency,
    depth_of_view,
    depth_regression,
    log_clamped,
    regression,
    segmentation,
    semantic_across,
    semantic_consistency,
    semantic_of_view,
    soft_cross_entropy,
)
from diorama.methods.base import StepContext, Turn
from diorama.methods.pseudo_mtl import PseudoMTL
from diorama.methods.pseudo_mtl_config import PseudoMTLConfig
from diorama.nn.warp import find

LN3 = math.log(3.0)
TIMES, H, W, K = 6.0, 3, 7, 4  # focal length * baseline [px m], sizes, classes


def row(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[None, None, None]


class Pair:
    """Random predictions, pseudo labels and confidences of two 3x7 views; `[side]` is the left (0) or right (1) one, in NumPy."""

    def __init__(self, seed: int = 0) -> None:
        draw = np.random.default_rng(seed)
        self.depth = draw.uniform(1, 20, (2, H, W))
        self.pseudo = draw.uniform(1, 20, (2, H, W)) * (draw.random((2, H, W)) < 0.85)
        self.trust = draw.random((2, H, W)) * (self.pseudo > 0)
        self.logits = draw.normal(size=(2, K, H, W))
        self.labels = np.where(draw.random((2, H, W)) < 0.2, 255, draw.integers(0, K, (2, H, W)))

    @property
    def probability(self) -> np.ndarray:
        raised = np.exp(self.logits)
        return raised / raised.sum(1, keepdims=True)

    def place(self, side: int, v: int, u: int) -> list[tuple[int, float]]:
        """Columns of the other view that pixel (v, u) of `side` is blended from, with their shares; empty out of view."""
        if self.pseudo[side, v, u] <= 0:
            return []
        x = u + (-1, 1)[side] * TIMES / self.pseudo[side, v, u]
        if not 0 <= x <= W - 1:
            return []
        near = min(math.floor(x), W - 2)
        return [(column, share) for column, share in ((near, near + 1 - x), (near + 1, x - near)) if share > 0]

    def pixels(self, side: int) -> list[tuple[int, int, list[tuple[int, float]], float]]:
        """(v, u, place in the other view, confidence) of the pixels of `side` that both views see."""
        return [(v, u, p, self.trust[side, v, u]) for v in range(H) for u in range(W) if (p := self.place(side, v, u))]

    def mean(self, side: int, cost: Any) -> float:
        """Confidence-weighted mean of `cost(v, u, place)` over the pixels where it is not None."""
        found = [(c, w) for v, u, place, w in self.pixels(side) if (c := cost(v, u, place)) is not None]
        return sum(c * w for c, w in found) / sum(w for _, w in found)

    def warped(self, values: np.ndarray, v: int, place: list[tuple[int, float]]) -> Any:
        """`(..., H, W)` values of the other view blended at `place`."""
        return sum(share * values[..., v, column] for column, share in place)

    # ---- the terms by loops

    def across(self) -> float:
        """Eq. 4."""
        return sum(self.mean(s, lambda v, u, p, s=s: abs(self.depth[s, v, u] - self.warped(self.depth[1 - s], v, p))) for s in (0, 1))

    def of_view(self, side: int) -> float:
        """Eqs. 5 and 6."""

        def second(v: int, u: int, place: list[tuple[int, float]]) -> float | None:
            if any(self.pseudo[1 - side, v, column] <= 0 for column, _ in place):
                return None
            return abs(self.depth[side, v, u] - self.warped(self.pseudo[1 - side], v, place))

        first = self.mean(side, lambda v, u, p: abs(self.pseudo[side, v, u] - self.warped(self.depth[1 - side], v, p)))
        return first + self.mean(side, second)

    def semantic_across(self) -> float:
        """Eq. 8, both directions of H."""

        def cost(side: int, v: int, u: int, place: list[tuple[int, float]]) -> float:
            p, q = self.probability[side, :, v, u], np.maximum(self.warped(self.probability[1 - side], v, place), 1e-6)
            return -0.5 * float(np.sum(p * np.log(q)) + np.sum(q * np.log(p)))

        return sum(self.mean(side, lambda v, u, p, s=side: cost(s, v, u, p)) for side in (0, 1))

    def semantic_half(self, side: int, half: int) -> float:
        """First or second summand of Eqs. 9 and 10."""

        def first(v: int, u: int, place: list[tuple[int, float]]) -> float | None:
            label = self.labels[side, v, u]
            return None if label == 255 else -math.log(self.warped(self.probability[1 - side], v, place)[label])

        def second(v: int, u: int, place: list[tuple[int, float]]) -> float | None:
            others = [(self.labels[1 - side, v, column], share) for column, share in place]
            if any(label == 255 for label, _ in others):
                return None
            target = np.zeros(K)
            for label, share in others:
                target[label] += share
            return -float(np.sum(target * np.log(self.probability[side, :, v, u])))

        return self.mean(side, (first, second)[half])

    # ---- the same as tensors

    def maps(self, values: np.ndarray) -> Views:
        tensors = torch.from_numpy(values)
        return Views(*(one[None] if values.ndim == 4 else one[None, None] for one in tensors))

    def given(self) -> dict[str, Any]:
        pseudo, trust = self.maps(self.pseudo), self.maps(self.trust)
        times = torch.tensor([TIMES], dtype=torch.float64)
        warps = find(pseudo.left, times), find(pseudo.right, times, right=True)
        weight = Views(*(w * warp.seen for w, warp in zip(trust, warps, strict=True)))
        return {"pseudo": pseudo, "trust": trust, "warps": warps, "weight": weight, "depth": self.maps(self.depth)}


def test_regression_is_weighted_by_confidence() -> None:
    """Pseudo-MTL, Eq. 1: errors 1, 2 and 9 with confidences 1, 1/2 and 0; both views add up."""
    weight, depth, pseudo = row(1, 0.5, 0), row(3, 6, 1), row(2, 8, 10)
    assert float(regression(weight, depth, pseudo)) == pytest.approx((1 + 1) / 1.5)
    both = depth_regression(Views(weight, row(0, 0, 2)), Views(depth, depth), Views(pseudo, pseudo))
    assert float(both) == pytest.approx(2 / 1.5 + 9)


def test_cross_entropy_of_both_views() -> None:
    """Pseudo-MTL, Eq. 2: two classes at 3 : 1, one pixel ignored; the right view alone has other labels, or none."""
    logits = torch.tensor([[[[LN3, LN3, 0.0]], [[0.0, 0.0, 5.0]]]], dtype=torch.float64)
    left, right = torch.tensor([[[0, 1, 255]]]), torch.tensor([[[0, 255, 255]]])
    costs = -math.log(0.75), -math.log(0.25)
    assert float(segmentation(Views(logits, logits), left, right)) == pytest.approx(sum(costs) / 2 + costs[0])
    assert float(segmentation(Views(logits, logits), left, None)) == pytest.approx(sum(costs) / 2)


def test_depth_consistency_weighs_its_three_terms() -> None:
    """Pseudo-MTL, Eq. 3: terms 2, 3 and 5 with the paper's weights, as printed and in metres."""
    terms = [torch.tensor(value) for value in (2.0, 3.0, 5.0)]
    printed = depth_consistency(*terms, Weights(0.5, 1, 1))
    assert {name: float(value) for name, value in printed.items()} == {"depth_across": 1.0, "depth_left": 3.0, "depth_right": 5.0}
    assert sum(float(value) for value in depth_consistency(*terms, Weights(0.5, 1, 1), gain=80).values()) == 720


def test_predictions_of_both_views_agree_where_both_see() -> None:
    """Pseudo-MTL, Eq. 4: by hand with whole disparities, by loops with others."""
    # pseudo depth 6 everywhere: disparity 1, so the left columns 1 and 2 see the right columns 0 and 1
    left, right, times = row(4, 5, 6), row(7, 8, 9), torch.tensor([TIMES], dtype=torch.float64)
    warps = find(torch.full_like(left, 6.0), times), find(torch.full_like(left, 6.0), times, right=True)
    weight = Views(row(0.5, 1, 3) * warps[0].seen, row(1, 1, 9) * warps[1].seen)
    by_hand = (1 * abs(5 - 7) + 3 * abs(6 - 8)) / 4 + (abs(5 - 7) + abs(6 - 8)) / 2
    assert float(depth_across(weight, Views(left, right), Views(warps[0](right), warps[1](left)))) == pytest.approx(by_hand)
    for seed in range(3):
        pair = Pair(seed)
        given = pair.given()
        warped = Views(given["warps"][0](given["depth"].right), given["warps"][1](given["depth"].left))
        assert float(depth_across(given["weight"], given["depth"], warped)) == pytest.approx(pair.across(), rel=1e-9)


@pytest.mark.parametrize("side", [0, 1])
def test_pseudo_depth_of_a_view_against_the_other_view(side: int) -> None:
    """Pseudo-MTL, Eqs. 5 and 6: by loops; (6) is (5) with the views exchanged."""
    for seed in range(3):
        pair = Pair(seed)
        given = pair.given()
        warp, depth, pseudo, weight = given["warps"][side], given["depth"], given["pseudo"], given["weight"][side]
        other = 1 - side
        whole = weight * warp.whole(pseudo[other] > 0)
        found = depth_of_view(weight, pseudo[side], depth[side], warp(depth[other]), warp(pseudo[other]), whole)
        assert float(found) == pytest.approx(pair.of_view(side), rel=1e-9)


def test_semantic_consistency_weighs_its_three_terms() -> None:
    """Pseudo-MTL, Eq. 7: terms 2, 3 and 5 with the paper's weights; what is switched off is no term."""
    terms = [torch.tensor(value) for value in (2.0, 3.0, 5.0)]
    found = semantic_consistency(*terms, Weights(0.5, 1.5, 1.5))
    assert {name: float(value) for name, value in found.items()} == {"semantic_across": 1.0, "semantic_left": 4.5, "semantic_right": 7.5}
    assert list(semantic_consistency(terms[0], None, None, Weights(0.5, 1.5, 1.5))) == ["semantic_across"]


def test_classes_of_both_views_agree_where_both_see() -> None:
    """Pseudo-MTL, Eq. 8: one pixel by hand, then by loops; a probability of 0 costs log 1e-6."""
    p, q = row(0.75, 0.25).movedim(3, 1), row(0.5, 0.5).movedim(3, 1)
    assert float(soft_cross_entropy(p, q.log())) == pytest.approx(math.log(2))
    assert float(soft_cross_entropy(q, p.log())) == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2)
    assert float(log_clamped(torch.zeros(()))) == pytest.approx(math.log(1e-6))
    one = row(1.0)
    by_hand = (math.log(2) - (math.log(0.75) + math.log(0.25)) / 2) / 2
    assert float(semantic_across(Views(one, 0 * one), Views(p.log(), q.log()), Views(q, p))) == pytest.approx(by_hand)
    for seed in range(3):
        pair = Pair(seed)
        given, own = pair.given(), pair.maps(pair.logits)
        log_own = Views(*(one.log_softmax(1) for one in own))
        warped = Views(given["warps"][0](log_own.right.exp()), given["warps"][1](log_own.left.exp()))
        assert float(semantic_across(given["weight"], log_own, warped)) == pytest.approx(pair.semantic_across(), rel=1e-9)


@pytest.mark.parametrize("side", [0, 1])
def test_labels_of_a_view_against_the_other_view(side: int) -> None:
    """Pseudo-MTL, Eqs. 9 and 10: by loops with one-hot maps, with labels of both views and of one."""
    for seed in range(3):
        pair = Pair(seed)
        given, own = pair.given(), pair.maps(pair.logits)
        log_own = Views(*(one.log_softmax(1) for one in own))
        labels = [torch.from_numpy(one)[None] for one in pair.labels]
        warp, weight, other = given["warps"][side], given["weight"][side], 1 - side
        halves = [pair.semantic_half(side, half) for half in (0, 1)]
        warped = warp(log_own[other].exp())
        for mine, theirs, expected in (
            (labels[side], labels[other], sum(halves)), (labels[side], None, halves[0]), (None, labels[other], halves[1])
        ):  # fmt: skip
            found = semantic_of_view(weight, log_own[side], warped, mine, theirs, warp)
            assert float(found) == pytest.approx(expected, rel=1e-9)
        assert semantic_of_view(weight, log_own[side], warped, None, None, warp) is None


def batch_of(pair: Pair) -> dict[str, Any]:
    """The pair as a batch; the images play no part where the network's answers are given."""
    made: dict[str, Any] = {
        "intrinsics": torch.tensor([[[12.0, 0, 3], [0, 12, 1], [0, 0, 1]]], dtype=torch.float64),
        "baseline": torch.tensor([0.5], dtype=torch.float64),
        "meta": [{}],
    }
    for side, ending in enumerate(("", "_right")):
        made["image" if not side else "right"] = torch.zeros(1, 3, H, W)
        made["semantic" + ending] = torch.from_numpy(pair.labels[side])[None]
        for key, values in (("pseudo_depth", pair.pseudo), ("confidence", pair.trust)):
            made[key + ending] = torch.from_numpy(values[side])[None, None]
    return {"main": made}


def test_the_terms_sum_to_the_total_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pseudo-MTL, Eq. 11: 850 L_d + 2.5 L_s + L_d,c + L_s,c by loops, depth in 80 m, from the answers of one network to both views."""
    method = PseudoMTL(PseudoMTLConfig(classes=K, backbone="test_resnet", upsampling="bilinear", pretrained=False)).double()
    pair = Pair(5)
    # the raw answer whose softplus gives the depth
    raw = torch.from_numpy(np.log(np.expm1((pair.depth - 1e-3) / 10)))[:, None]
    answers = {"depth": raw, "semantic": torch.from_numpy(pair.logits)}
    monkeypatch.setattr(method, "answers", lambda images, tasks=(): (answers, [images]))
    terms = method.losses(batch_of(pair), StepContext(0, method.stages[-1], [0]), Turn())
    truth = []
    for side in (0, 1):
        costs = [
            -math.log(pair.probability[side, pair.labels[side, v, u], v, u])
            for v in range(H)
            for u in range(W)
            if pair.labels[side, v, u] < 255
        ]
        truth.append(sum(costs) / len(costs))
    supervised = [np.sum(pair.trust[s] * abs(pair.depth[s] - pair.pseudo[s])) / pair.trust[s].sum() for s in (0, 1)]
    expected = 850 * sum(supervised) / 80 + 2.5 * sum(truth)
    expected += (0.5 * pair.across() + pair.of_view(0) + pair.of_view(1)) / 80
    expected += 0.5 * pair.semantic_across() + 1.5 * sum(pair.semantic_half(side, half) for side in (0, 1) for half in (0, 1))
    assert set(terms) == {
        "segmentation", "depth", "depth_across", "depth_left", "depth_right", "semantic_across", "semantic_left", "semantic_right",
    }  # fmt: skip
    assert float(sum(terms.values())) == pytest.approx(expected, rel=1e-9)
