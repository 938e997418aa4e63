"""The numbered equations of CI-Net against numbers worked out by hand or by plain loops over pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diorama.losses.consistency import FeatureVariance, consistency_loss
from diorama.losses.depth import berhu, depth_loss, draw_pixels, normal_loss, pair_loss
from diorama.losses.segmentation import class_weights, weighted_cross_entropy
from diorama.methods.base import Stage, StepContext, Turn
from diorama.methods.ci_net import CINet, CINetConfig, SceneUnderstanding
from diorama.nn.attention import (
    attend,
    attend_plain,
    attend_truth,
    attention_loss,
    attention_loss_plain,
    attention_map,
    ideal_attention,
    supervised_attention,
)
from diorama.nn.decoders import FeatureSharing, LateralSharing

LN3 = math.log(3.0)  # sigmoid(ln 3) = 3/4, sigmoid(-ln 3) = 1/4


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand_pointwise(conv: nn.Conv2d, features: Tensor) -> Tensor:
    """A 1x1 convolution as a sum over channels."""
    assert conv.bias is not None
    return torch.einsum("oc,bchw->bohw", conv.weight[:, :, 0, 0], features) + conv.bias[:, None, None]


def test_attention_is_the_sigmoid_of_query_times_key() -> None:
    """CI-Net, Eq. 1: three positions whose scores are 0, ln 3 and -ln 3."""
    q, k = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.tensor([[[LN3, 0.0], [-LN3, LN3]]])
    torch.testing.assert_close(attention_map(q, k), torch.tensor([[[0.75, 0.25], [0.5, 0.75]]]))


@pytest.mark.parametrize(
    ("normalise", "expected"),
    [("none", [[4 + 0.75 * 8 + 0.25 * 16], [0.5 * 8 + 0.75 * 16]]), ("n", [[4 + 5.0], [8.0]]), ("row", [[4 + 10.0], [16 / 1.25]])],
)
def test_context_is_attended_values_plus_input(normalise: str, expected: list[list[float]]) -> None:
    """CI-Net, Eq. 2: two positions with values 8 and 16, input 4 and 0, in every form that computes it."""
    q, k, v = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.tensor([[[LN3, 0.0], [-LN3, LN3]]]), torch.tensor([[[8.0], [16.0]]])
    x = torch.tensor([[[4.0], [0.0]]])
    forms = [attend_plain(q, k, v, normalise), attend(q, k, v, normalise, parts=3), supervised_attention(q, k, v, None, normalise)[0]]
    for attended in forms:
        torch.testing.assert_close(attended + x, torch.tensor([expected]), rtol=2e-6, atol=0)


@pytest.mark.parametrize("labels", [None, "predicted", "truth"])
def test_scene_understanding_adds_context_by_loops(labels: str | None) -> None:
    """CI-Net, Eqs. 1, 2 and 3: the module on a 2x3 map against loops over positions, predicted and with the ideal map."""
    module = SceneUnderstanding(channels=4, width=3, classes=5, normalise="row").double()
    x = random(2, 4, 2, 3)
    semantic = torch.tensor([[[0, 0, 4], [1, 255, 4]], [[2, 2, 2], [255, 255, 1]]])
    given = None if labels is None else semantic
    y, _ = module(x, given, truth=labels == "truth")
    q, k, v = (by_hand_pointwise(conv, x).detach().numpy() for conv in (module.query, module.key, module.value))
    expected = x.numpy().copy()
    cells = [(row, column) for row in range(2) for column in range(3)]
    for b in range(2):
        for i in cells:
            weights = []
            for j in cells:
                one, other = int(semantic[b][i]), int(semantic[b][j])
                predicted = 1 / (1 + math.exp(-float(q[b, :, *i] @ k[b, :, *j])))
                weights.append(float(one == other != 255) if labels == "truth" else predicted)
            total = sum(weights) + 1e-6
            for j, weight in zip(cells, weights, strict=True):
                expected[b, :, *i] += weight / total * v[b, :, *j]
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-12, atol=1e-12)


def test_ideal_attention_marks_pairs_of_one_class() -> None:
    """CI-Net, Eq. 3: labels 1, 2, 1 and one ignored position; the values of a class become their mean."""
    labels = torch.tensor([[[1, 2], [1, 255]]])
    expected = torch.tensor([[[1.0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]])
    torch.testing.assert_close(ideal_attention(labels, 3), expected)
    v = torch.tensor([[[1.0], [5.0], [3.0], [9.0]]])
    torch.testing.assert_close(attend_truth(v, labels.flatten(1), 3, "none"), expected @ v)
    torch.testing.assert_close(attend_truth(v, labels.flatten(1), 3), torch.tensor([[[2.0], [5.0], [2.0], [0.0]]]), rtol=2e-6, atol=0)
    torch.testing.assert_close(attend_truth(v, labels.flatten(1), 3, "n"), expected @ v / 4)


def test_attention_loss_is_the_cross_entropy_of_pairs() -> None:
    """CI-Net, Eq. 4: by loops over pairs of labelled positions of two images, in every form that computes it."""
    q, k, v = random(2, 5, 3, seed=1), random(2, 5, 3, seed=2), random(2, 5, 2, seed=3)
    labels = torch.tensor([[0, 1, 0, 255, 2], [3, 3, 255, 255, 1]])
    costs = []
    for b in range(2):
        for i in range(5):
            for j in range(5):
                if 255 not in (labels[b, i], labels[b, j]):
                    attention = 1 / (1 + math.exp(-float(q[b, i] @ k[b, j])))
                    costs.append(-math.log(attention if labels[b, i] == labels[b, j] else 1 - attention))
    expected = sum(costs) / len(costs)
    assert len(costs) == 16 + 9
    for loss in (attention_loss_plain(q, k, labels), attention_loss(q, k, labels), supervised_attention(q, k, v, labels)[1]):
        assert float(loss) == pytest.approx(expected, rel=1e-12)


def test_feature_sharing_adds_allocated_shared_features() -> None:
    """CI-Net, Eq. 5: each branch gets its own 1x1 convolution of C(concat(f_d, f_s)) added."""
    torch.manual_seed(0)
    module = FeatureSharing(4).double().eval()
    seen: dict[str, Tensor] = {}
    module.down1.register_forward_pre_hook(lambda _, given: seen.update(entered=given[0]))
    module.to_depth.register_forward_pre_hook(lambda _, given: seen.update(shared=given[0]))
    depth, semantic = random(2, 4, 12, 16, seed=1), random(2, 4, 12, 16, seed=2)
    new_depth, new_semantic = module(depth, semantic)
    torch.testing.assert_close(seen["entered"], torch.cat((depth, semantic), 1))
    torch.testing.assert_close(new_depth, depth + by_hand_pointwise(module.to_depth, seen["shared"]))
    torch.testing.assert_close(new_semantic, semantic + by_hand_pointwise(module.to_semantic, seen["shared"]))


def test_feature_sharing_sees_neighbours_and_lateral_sharing_does_not() -> None:
    """CI-Net, Eqs. 5 and 6: the FSM's sampling reaches many pixels, the LSU only its own (sec. 3.3)."""
    torch.manual_seed(0)
    reach = {}
    for unit in (FeatureSharing(16), LateralSharing(16)):
        unit.double().eval()
        depth, semantic = random(1, 16, 32, 32), random(1, 16, 32, 32, seed=1).requires_grad_()
        unit(depth, semantic)[0][0, :, 16, 16].sum().backward()
        touched = semantic.grad.abs().sum(1)[0].nonzero()
        reach[type(unit)] = int((touched.max(0).values - touched.min(0).values).max()) + 1
    assert reach[LateralSharing] == 1
    assert reach[FeatureSharing] >= 12


def test_lateral_sharing_sums_three_features() -> None:
    """CI-Net, Eq. 6: one channel, f_d = 3, f_s = 5: 3 + 10 * 3 + 100 * 5 and 5 + 1000 * 3 + 0.1 * 5."""
    unit = LateralSharing(1)
    for conv, weight in (
        (unit.depth_to_depth, 10.0),
        (unit.semantic_to_depth, 100.0),
        (unit.depth_to_semantic, 1000.0),
        (unit.semantic_to_semantic, 0.1),
    ):
        nn.init.constant_(conv.weight, weight)
        nn.init.zeros_(conv.bias)
    depth, semantic = unit(torch.full((1, 1, 2, 2), 3.0), torch.full((1, 1, 2, 2), 5.0))
    torch.testing.assert_close(depth, torch.full((1, 1, 2, 2), 533.0))
    torch.testing.assert_close(semantic, torch.full((1, 1, 2, 2), 3005.5))


def test_consistency_of_two_pixels() -> None:
    """CI-Net, Eq. 7: distances 4 and 0 at sigma^2 = 2 and 1 give |exp(-1) - 1|; one class or an ignored pixel gives 0."""
    depth_features, semantic_features = torch.tensor([[[[0.0, 2.0]]]]), torch.tensor([[[[7.0, 7.0]]]])
    loss = consistency_loss(depth_features, semantic_features, torch.tensor([[[0, 1]]]), 2.0, 1.0)
    assert float(loss) == pytest.approx(1 - math.exp(-1), rel=1e-6)
    for labels in ([[[1, 1]]], [[[0, 255]]]):
        assert float(consistency_loss(depth_features, semantic_features, torch.tensor(labels), 2.0, 1.0)) == 0


def test_consistency_by_loops_over_eight_neighbours() -> None:
    """CI-Net, Eq. 7: every pixel against neighbours 1 and 2 away in four directions, psi = 1 where labels differ."""
    features = {"depth": random(2, 3, 5, 6, seed=1), "semantic": random(2, 4, 5, 6, seed=2)}
    variance = {"depth": 3.0, "semantic": 5.5}
    labels = torch.randint(0, 3, (2, 5, 6), generator=torch.Generator().manual_seed(3))
    labels[0, 2, 3] = labels[1, 0, 0] = 255
    terms = []
    for b in range(2):
        for i in range(5):
            for j in range(6):
                for di, dj in ((0, 1), (0, -1), (1, 0), (-1, 0), (0, 2), (0, -2), (2, 0), (-2, 0)):
                    if not (0 <= i + di < 5 and 0 <= j + dj < 6):
                        continue
                    one, other = int(labels[b, i, j]), int(labels[b, i + di, j + dj])
                    if 255 in (one, other) or one == other:
                        continue
                    alike = {}
                    for task, values in features.items():
                        step = values[b, :, i, j] - values[b, :, i + di, j + dj]
                        alike[task] = math.exp(-0.5 * float(step @ step) / variance[task])
                    terms.append(abs(alike["depth"] - alike["semantic"]))
    loss = consistency_loss(features["depth"], features["semantic"], labels, variance["depth"], variance["semantic"])
    assert len(terms) > 100
    assert float(loss) == pytest.approx(sum(terms) / len(terms), rel=1e-12)


def test_learned_variance_starts_at_the_width_and_stays_bounded() -> None:
    """CI-Net, Eq. 7: sigma^2 is C at first, within [0.1 C, 10 C] ever after, and can come back from the bounds."""
    variance = FeatureVariance(8)
    assert float(variance().detach()) == pytest.approx(8)
    for value, expected in ((50.0, 80.0), (-50.0, 0.8)):
        nn.init.constant_(variance.log_ratio, value)
        variance.zero_grad()
        variance().backward()
        assert float(variance().detach()) == pytest.approx(expected, rel=1e-5)
        assert float(variance.log_ratio.grad) > 0


def test_berhu_is_linear_below_a_fifth_of_the_largest_error() -> None:
    """CI-Net, Eq. 8: errors 1, 0.1, 0.5 m, so c = 0.2: (1.04 / 0.4 + 0.1 + 0.29 / 0.4) / 3; an unknown pixel is left out."""
    depth = torch.tensor([2.0, 3.0, 4.0, 0.0]).view(1, 1, 2, 2)
    prediction = torch.tensor([3.0, 2.9, 4.5, 77.0]).view(1, 1, 2, 2).requires_grad_()
    loss = berhu(prediction, depth)
    assert float(loss.detach()) == pytest.approx((2.6 + 0.1 + 0.725) / 3, rel=1e-6)
    loss.backward()
    torch.testing.assert_close(prediction.grad.flatten(), torch.tensor([5.0, -1.0, 2.5, 0.0]) / 3)  # c is a constant: e / c


@pytest.mark.parametrize("pixels", [7, 500])
def test_pair_loss_by_loops_over_pairs(pixels: int) -> None:
    """CI-Net, Eq. 9: the mean of |(d_p - d_q) - (d~_p - d~_q)| over all ordered pairs of the drawn pixels."""
    prediction, depth = random(2, 1, 5, 6, seed=1).abs(), random(2, 1, 5, 6, seed=2).abs()
    depth[0, 0, 1] = 0
    costs = []
    for b, seed in enumerate((11, 12)):
        omega = draw_pixels(depth[b] > 0, seed, pixels).tolist()
        assert len(set(omega)) == len(omega) == min(pixels, int((depth[b] > 0).sum()))
        truth, guess = depth[b].flatten(), prediction[b].flatten()
        costs += [abs(float((truth[p] - truth[q]) - (guess[p] - guess[q]))) for p in omega for q in omega if p != q]
    assert float(pair_loss(prediction, depth, [11, 12], pixels)) == pytest.approx(sum(costs) / len(costs), rel=1e-12)


def test_normal_loss_of_a_slope_against_a_wall() -> None:
    """CI-Net, Eq. 10: a slope of 1 m/px has the normal (-1, 0, 1), a flat wall (0, 0, 1): 1 - 1 / sqrt(2)."""
    slope = torch.arange(1.0, 6.0).repeat(1, 1, 4, 1)
    flat = torch.full_like(slope, 3.0)
    assert float(normal_loss(slope, flat)) == pytest.approx(1 - 1 / math.sqrt(2), rel=1e-6)
    assert float(normal_loss(slope, slope + 5)) == pytest.approx(0, abs=1e-6)


def test_normal_loss_by_loops_with_unknown_neighbours() -> None:
    """CI-Net, Eq. 10: pixel by pixel; a pixel counts only if it and its four neighbours are known."""
    prediction, depth = random(1, 1, 6, 7, seed=1).abs() + 1, random(1, 1, 6, 7, seed=2).abs() + 1
    depth[0, 0, 2, 2] = 0
    costs = []
    for i in range(1, 5):
        for j in range(1, 6):
            around = [(i, j), (i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)]
            if (2, 2) in around:
                continue
            guess, truth = (
                np.array([-float(d[i, j + 1] - d[i, j - 1]) / 2, -float(d[i + 1, j] - d[i - 1, j]) / 2, 1.0])
                for d in (prediction[0, 0], depth[0, 0])
            )
            costs.append(1 - guess @ truth / (np.linalg.norm(guess) * np.linalg.norm(truth)))
    assert len(costs) == 20 - 5
    assert float(normal_loss(prediction, depth)) == pytest.approx(np.mean(costs), rel=1e-12)


def test_depth_loss_weighs_its_terms() -> None:
    """CI-Net, Eq. 11: BerHu + 1 * pair + 5 * normal by default (sec. 4.2), other weights scale their own term."""
    slope = torch.arange(1.0, 6.0).repeat(1, 1, 4, 1)
    flat = torch.full_like(slope, 3.0)
    terms = depth_loss(slope, flat, [0])
    # Errors by column are -2..2 m, so c = 0.4 m: 2 m costs 5.2, 1 m costs 1.45. Each two columns share 4 * 4 pairs of 20 pixels.
    pairs = sum(abs(a - b) for a in range(5) for b in range(5)) * 16 / (20 * 19)
    expected = {"berhu": (2 * 5.2 + 2 * 1.45 + 0) / 5, "pair": pairs, "normal": 5 * (1 - 1 / math.sqrt(2))}
    assert {name: float(term) for name, term in terms.items()} == pytest.approx(expected, rel=1e-6)
    heavier = depth_loss(slope, flat, [0], pair_weight=2.0, normal_weight=10.0)
    assert float(heavier["pair"] + heavier["normal"]) == pytest.approx(2 * (expected["pair"] + expected["normal"]), rel=1e-6)


def test_cross_entropy_is_weighted_and_divided_by_labelled_pixels() -> None:
    """CI-Net, Eq. 12: probabilities 3/4 and 1/4 at weights 0.9 and 0.1, one pixel ignored; omega = (N_total - N_c) / N_total."""
    weight = class_weights(torch.tensor([10, 90]))
    torch.testing.assert_close(weight, torch.tensor([0.9, 0.1]))
    logits = torch.tensor([[LN3, 0.0], [LN3, 0.0], [5.0, -5.0]]).T.reshape(1, 2, 1, 3)
    loss = weighted_cross_entropy(logits, torch.tensor([[[0, 1, 255]]]), weight)
    assert float(loss) == pytest.approx(-(0.9 * math.log(0.75) + 0.1 * math.log(0.25)) / 2, rel=1e-6)


@pytest.fixture(scope="module")
def tiny() -> tuple[CINet, dict[str, dict[str, Tensor]]]:
    config = CINetConfig(
        classes=5,
        backbone="resnet18",
        pretrained=False,
        width=8,
        decoder_widths=(8, 8, 8),
        attention_width=4,
        context_width=16,
        pair_pixels=50,
    )
    torch.manual_seed(0)
    method = CINet(config).eval()
    draw = torch.Generator().manual_seed(0)
    semantic = torch.randint(0, 5, (2, 64, 64), generator=draw)
    semantic[:, :8] = 255
    sample = {
        "image": torch.rand(2, 3, 64, 64, generator=draw),
        "semantic": semantic,
        "depth": torch.rand(2, 1, 64, 64, generator=draw) * 5,
    }
    return method, {"all": sample}


def test_total_loss_weighs_attention_depth_consistency_and_segmentation(tiny: tuple[CINet, dict[str, dict[str, Tensor]]]) -> None:
    """CI-Net, Eq. 13: L_att + 1 L_depth + 5 L_con + 0.3 L_seg, each found again from the network's own answers."""
    method, batch = tiny
    sample = batch["all"]
    context = StepContext(step=0, stage=method.stages[-1], sample_seed=[5, 6])
    with torch.no_grad():
        terms = method.losses(batch, context, Turn())  # type: ignore[arg-type]
        network = method.network
        small = sample["semantic"][:, 4::8, 4::8]
        features, _ = network.extract(sample["image"])
        attended, attention = network.context(features, small)
        answers, levels = network.decode(attended, None)
        depth = method.metres(answers["depth"])
        expected = float(attention)
        expected += sum(float(term) for term in depth_loss(depth, sample["depth"], [5, 6], pixels=50).values())
        variance = method.variances[-1]
        last = levels[-1]
        con = consistency_loss(last["depth"], last["semantic"], sample["semantic"], variance["depth"](), variance["semantic"]())
        expected += 5 * float(con) + 0.3 * float(weighted_cross_entropy(answers["semantic"], sample["semantic"]))
    assert con > 0
    assert attention > 0
    assert float(sum(terms.values())) == pytest.approx(expected, rel=1e-5)


def test_terms_act_in_their_stages(tiny: tuple[CINet, dict[str, dict[str, Tensor]]]) -> None:
    """CI-Net, Eq. 13: stage 1 has depth and segmentation, stage 2 adds attention, stage 3 consistency (sec. 4.2)."""
    method, batch = tiny
    acting = []
    for stage in method.stages:
        assert isinstance(stage, Stage)
        with torch.no_grad():
            acting.append(set(method.losses(batch, StepContext(0, stage, [0, 1]), Turn())))  # type: ignore[arg-type]
    plain = {"berhu", "pair", "normal", "segmentation"}
    assert acting == [plain, plain | {"attention"}, plain | {"attention", "consistency"}]


@pytest.mark.parametrize("unit_class", [FeatureSharing, LateralSharing])
def test_allocated_features_are_what_sharing_adds(unit_class: type[FeatureSharing] | type[LateralSharing]) -> None:
    """CI-Net, Eq. 14: the allocated features are the difference between what leaves and what enters the unit."""
    torch.manual_seed(0)
    unit = unit_class(4).double().eval()
    depth, semantic = random(2, 4, 8, 8, seed=1), random(2, 4, 8, 8, seed=2)
    to_depth, to_semantic = unit.allocate(depth, semantic)
    new_depth, new_semantic = unit(depth, semantic)
    torch.testing.assert_close(to_depth, new_depth - depth)
    torch.testing.assert_close(to_semantic, new_semantic - semantic)
    if isinstance(unit, LateralSharing):
        torch.testing.assert_close(
            to_depth, by_hand_pointwise(unit.depth_to_depth, depth) + by_hand_pointwise(unit.semantic_to_depth, semantic)
        )
    assert to_depth.abs().sum() > 0
