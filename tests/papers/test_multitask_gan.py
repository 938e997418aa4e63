"""The numbered equations of Multi-task GANs against numbers worked out by hand or by plain loops over pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from diorama.data.labels import CAMVID11
from diorama.losses.adversarial import cycle_loss, discriminator_loss, generator_loss, ssim, structure_loss
from diorama.losses.smoothness import semantic_guided_smoothness, sparse_depth_loss
from diorama.methods.base import Stage, StepContext, Turn
from diorama.methods.multitask_gan import MultitaskGAN
from diorama.methods.multitask_gan_config import MultitaskGANConfig

VEGETATION, BUILDING = (107, 142, 35), (70, 70, 70)
SMALL: dict[str, Any] = {"classes": 11, "width": 4, "semantic_blocks": 1, "depth_blocks": 1, "buffer": 0}
CONTEXT = StepContext(0, Stage("gan", 1, 2e-4, ()), list(range(8)))
GENERATORS, DISCRIMINATORS = Turn("generators", "generators"), Turn("discriminators", "discriminators")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def row(*values: float) -> Tensor:
    """Three equal lines of `values` as a map `(1, 1, 3, W)`."""
    return torch.tensor(values, dtype=torch.float64).expand(1, 1, 3, -1)


def test_least_squares_by_hand() -> None:
    """Multi-task GANs, Eq. 3: judgements 0.5 and 1 of real, 0.5 and -1 of generated images, squares to 1 and to 0, halved."""
    real, fake = torch.tensor([[[[0.5, 1.0]]]]), torch.tensor([[[[0.5, -1.0]]]])
    assert float(discriminator_loss(real, fake)) == pytest.approx(((0.25 + 0) / 2 + (0.25 + 1) / 2) / 2)
    assert float(generator_loss(fake)) == pytest.approx((0.25 + 4) / 2)


def test_logarithm_is_the_printed_objective() -> None:
    """Multi-task GANs, Eq. 3: log D(y) + log(1 - D(G(x))) with D the sigmoid of the judgement, and torch's own cross entropy."""
    real, fake = 3 * random(2, 1, 4, 5), 3 * random(2, 1, 4, 5, seed=1)
    printed = torch.sigmoid(real).log().mean() + (1 - torch.sigmoid(fake)).log().mean()
    torch.testing.assert_close(discriminator_loss(real, fake, "log"), -printed / 2)
    entropy = F.binary_cross_entropy_with_logits
    torch.testing.assert_close(
        discriminator_loss(real, fake, "log"), (entropy(real, torch.ones_like(real)) + entropy(fake, torch.zeros_like(fake))) / 2
    )
    torch.testing.assert_close(generator_loss(fake, "log"), entropy(fake, torch.ones_like(fake)))
    torch.testing.assert_close(generator_loss(fake, "log"), -torch.sigmoid(fake).log().mean())


def test_cycle_by_hand() -> None:
    """Multi-task GANs, Eq. 4: differences 0.5, 1, 0 and 0.1, then the last two unknown."""
    image = torch.tensor([[[[0.5, -1.0], [0.2, 0.3]]]])
    back = torch.tensor([[[[1.0, 0.0], [0.2, 0.4]]]])
    assert float(cycle_loss(image, back)) == pytest.approx(1.6 / 4)
    assert float(cycle_loss(image, back, torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]]))) == pytest.approx(1.5 / 2)


def windows(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """SSIM of two planes in 0..1 by loops: 121 weights, every window inside, C1 = 0.01^2, C2 = 0.03^2."""
    weights = np.array([[math.exp(-(y * y + x * x) / (2 * 1.5**2)) for x in range(-5, 6)] for y in range(-5, 6)])
    weights /= weights.sum()
    found = []
    for top in range(first.shape[0] - 10):
        for left in range(first.shape[1] - 10):
            a, b = (plane[top : top + 11, left : left + 11] for plane in (first, second))
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            spread_a, spread_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
            shared = (weights * (a - mean_a) * (b - mean_b)).sum()
            levels = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
            found.append(levels * (2 * shared + 9e-4) / (spread_a + spread_b + 9e-4))
    return float(np.mean(found))


def test_structure_against_loops() -> None:
    """Multi-task GANs, Eq. 5: 1 - SSIM, with SSIM summed up window by window; equal images have an SSIM of 1."""
    image = random(2, 3, 14, 17)
    back = 0.6 * image + 0.4 * random(2, 3, 14, 17, seed=1)
    expected = [
        np.mean([windows((a.numpy() + 1) / 2, (b.numpy() + 1) / 2) for a, b in zip(one, other, strict=True)])
        for one, other in zip(image, back, strict=True)
    ]
    np.testing.assert_allclose(ssim(image, back).numpy(), expected, rtol=1e-9)
    assert float(structure_loss(image, back)) == pytest.approx(1 - float(np.mean(expected)))
    torch.testing.assert_close(ssim(image, image), torch.ones(2, dtype=torch.float64))
    assert float(structure_loss(image, image)) == pytest.approx(0, abs=1e-12)


def test_structure_of_sparse_maps() -> None:
    """Multi-task GANs, Eq. 5: unknown pixels are -1 in both maps, whatever stands there."""
    image, back, known = random(1, 1, 15, 16), random(1, 1, 15, 16, seed=1), (random(1, 1, 15, 16, seed=2) > 0).double()
    first, second = ((known * (part + 1) - 1).numpy()[0, 0] for part in (image, back))
    expected = 1 - windows((first + 1) / 2, (second + 1) / 2)
    assert float(structure_loss(image, back, known)) == pytest.approx(expected)
    there = back.masked_fill(known == 0, math.nan)
    assert float(structure_loss(image, there, known)) == pytest.approx(expected)


def test_depth_at_known_pixels_by_hand() -> None:
    """Multi-task GANs, Eq. 7: two of four pixels are known, 2 m and 1 m off."""
    sparse = torch.tensor([[[[10.0, 0.0], [0.0, 4.0]]]])
    depth = torch.tensor([[[[12.0, 70.0], [0.1, 3.0]]]])
    assert float(sparse_depth_loss(depth, sparse)) == pytest.approx((4 + 1) / 2)


def test_smoothness_by_hand() -> None:
    """Multi-task GANs, Eq. 8: a depth row 1 2 4 4 3 bends by 1, -2, -1; the guide steps by 0.5 after its third pixel."""
    depth, guide = row(1, 2, 4, 4, 3), row(0, 0, 0, 0.5, 0.5)
    assert float(semantic_guided_smoothness(depth, guide)) == pytest.approx((1 + 2 * math.exp(-0.5) + 1) / 3)
    assert float(semantic_guided_smoothness(depth, guide, edge_scale=10)) == pytest.approx((1 + 2 * math.exp(-5) + 1) / 3)
    assert float(semantic_guided_smoothness(depth, -guide)) == pytest.approx((1 + 2 * math.exp(-0.5) + 1) / 3)
    assert float(semantic_guided_smoothness(depth.mT, guide.mT)) == pytest.approx((1 + 2 * math.exp(-0.5) + 1) / 3)


def test_smoothness_against_loops() -> None:
    """Multi-task GANs, Eq. 8: both axes, several channels, two frames, pixel by pixel."""
    depth, guide = 10 * random(2, 1, 6, 8), random(2, 3, 6, 8, seed=1)
    d, g = depth.numpy()[:, 0], guide.numpy()
    along_x, along_y = [], []
    for frame in range(2):
        for y in range(6):
            for x in range(8):
                if 0 < x < 7:
                    step = np.abs(g[frame, :, y, x + 1] - g[frame, :, y, x]).mean()
                    along_x.append(abs(d[frame, y, x + 1] - 2 * d[frame, y, x] + d[frame, y, x - 1]) * math.exp(-step))
                if 0 < y < 5:
                    step = np.abs(g[frame, :, y + 1, x] - g[frame, :, y, x]).mean()
                    along_y.append(abs(d[frame, y + 1, x] - 2 * d[frame, y, x] + d[frame, y - 1, x]) * math.exp(-step))
    assert float(semantic_guided_smoothness(depth, guide)) == pytest.approx(np.mean(along_x) + np.mean(along_y))


@pytest.mark.parametrize(("edge_scale", "gate"), [(1.0, 0.69), (10.0, 0.02)])
def test_gate_between_vegetation_and_building(edge_scale: float, gate: float) -> None:
    """Multi-task GANs, Eq. 8: (37 + 72 + 35) / 127.5 / 3 is the step between the two colours; the gate is its exponential."""
    guide = torch.tensor([VEGETATION, VEGETATION, BUILDING], dtype=torch.float64).T[None, :, None].expand(1, 3, 3, 3) / 127.5 - 1
    depth = row(5, 5, 6)
    cost = float(semantic_guided_smoothness(depth, guide, edge_scale))
    assert cost == pytest.approx(math.exp(-edge_scale * 144 / 127.5 / 3))
    assert cost == pytest.approx(gate, abs=0.005)


def method_of(**changes: Any) -> MultitaskGAN:
    """The smallest method in float64, its semantic branch as if trained; weights ten times larger than at first tell images apart."""
    torch.manual_seed(0)
    method = MultitaskGAN(MultitaskGANConfig(**{**SMALL, **changes})).double()
    method.prepare({"palette": CAMVID11.palette})
    method.semantic_steps += 1
    with torch.no_grad():
        for parameter in method.parameters():
            parameter *= 10
    return method


def batch(size: int = 24) -> dict[str, Any]:
    """Two samples per stream: noise, labels in blocks with an unlabelled corner, depth of which a part is known."""
    labels = (5.5 * (random(2, 3, 3, seed=1) + 1)).long().repeat_interleave(size // 3, 1).repeat_interleave(size // 3, 2)
    labels[:, :5, :5] = 255
    depth = 40 + 45 * random(4, 1, size, size, seed=2)  # from -5 m, which is unknown, to 85 m, which is beyond what tanh reaches
    depth = depth.clamp_min(0)
    known = random(4, 1, size, size, seed=3) > 0.4
    image = (random(6, 3, size, size, seed=4) + 1) / 2
    return {
        "photos": {"image": image[:2]},
        "labels": {"semantic": labels},
        "sparse": {"image": image[2:4], "sparse_depth": depth[:2] * known[:2]},
        "dense": {"image": image[4:], "depth": depth[2:], "sparse_depth": depth[2:] * known[2:]},
    }


def plain(network: Callable[[Tensor], Tensor], *parts: NDArray[np.float64]) -> NDArray[np.float64]:
    """What `network` makes of one image `(C, H, W)`, whose channels are those of `parts`."""
    with torch.no_grad():
        return network(torch.from_numpy(np.concatenate(parts))[None])[0].double().numpy()


def fooling(judge: Callable[[Tensor], Tensor], image: NDArray[np.float64]) -> float:
    return float(((plain(judge, image) - 1) ** 2).mean())


def unlike(image: NDArray[np.float64], back: NDArray[np.float64]) -> float:
    """1 - SSIM by loops."""
    return 1 - float(np.mean([windows((a + 1) / 2, (b + 1) / 2) for a, b in zip(image, back, strict=True)]))


def palette_images(labels: Tensor) -> NDArray[np.float64]:
    colours = np.array([*CAMVID11.palette, (0, 0, 0)], np.float64) / 127.5 - 1
    return np.moveaxis(colours[np.where(labels.numpy() == 255, 11, labels.numpy())], -1, 1)


def test_generators_of_the_semantic_branch() -> None:
    """Multi-task GANs, Eq. 1: LGAN + LGAN + 10 Lcyc + 2 Lrec, image by image, each generator and judge called by itself."""
    method, given = method_of(), batch()
    terms = method.losses(given, CONTEXT, GENERATORS)
    branch = method.semantic
    found = []
    for photo, label in zip(2 * given["photos"]["image"].numpy() - 1, palette_images(given["labels"]["semantic"]), strict=True):
        made_label, made_photo = plain(branch.to_labels, photo), plain(branch.to_photos, label)
        photo_back, label_back = plain(branch.to_photos, made_label), plain(branch.to_labels, made_photo)
        adversarial = fooling(branch.judges["labels"], made_label) + fooling(branch.judges["photos"], made_photo)
        cycle = np.abs(photo_back - photo).mean() + np.abs(label_back - label).mean()
        structure = unlike(photo, photo_back) + unlike(label, label_back)
        found.append(adversarial + 10 * cycle + 2 * structure)
    assert float(sum(terms.values()).detach()) == pytest.approx(np.mean(found), rel=1e-5)


def bends(depth: NDArray[np.float64], guide: NDArray[np.float64]) -> float:
    """(8) of one map `(H, W)` [m] with its guide `(3, H, W)`."""
    total = 0.0
    for d, g in ((depth, guide), (depth.T, guide.transpose(0, 2, 1))):
        bend = np.abs(d[:, 2:] - 2 * d[:, 1:-1] + d[:, :-2])
        total += float((bend * np.exp(-np.abs(g[:, :, 2:] - g[:, :, 1:-1]).mean(0))).mean())
    return total


@pytest.mark.parametrize("branch", ["depth", "joint"])
def test_generators_of_the_depth_branch(branch: str) -> None:
    """Multi-task GANs, Eq. 6: LGAN + LGAN + 10 Lcyc + Lrec + 0.5 Ld + 0.5 Lsmooth, image by image; (7) and (8) in metres."""
    method, given = method_of(branch=branch), batch()
    terms = method.losses(given, CONTEXT, GENERATORS)
    parts, semantic = method.depth, method.semantic
    adversarial, structure, square, smooth = [], [], [], []
    cycles: dict[str, list[float]] = {"sparse": [], "dense": []}
    for number in range(2):
        first, second = ({key: value[number].numpy() for key, value in given[name].items()} for name in ("sparse", "dense"))
        photo, other = 2 * first["image"] - 1, 2 * second["image"] - 1
        labels, other_labels = plain(semantic.to_labels, photo), plain(semantic.to_labels, other)
        known, dense_known, pattern = (depth > 0 for depth in (first["sparse_depth"], second["depth"], second["sparse_depth"]))
        sparse, dense = (np.minimum(depth, 80) / 40 - 1 for depth in (first["sparse_depth"], second["depth"]))
        made_dense = plain(parts.densify, photo, labels, sparse, known)
        sparse_back = plain(parts.thin, photo, labels, made_dense, np.ones_like(sparse))
        made_sparse = np.where(pattern, plain(parts.thin, other, other_labels, dense, dense_known), -1)
        dense_back = plain(parts.densify, other, other_labels, made_sparse, pattern)
        seen = np.where(dense_known, made_dense, -1)
        adversarial.append(fooling(parts.judges["dense"], seen) + fooling(parts.judges["sparse"], made_sparse))
        cycles["sparse"] += np.abs(sparse_back - sparse)[known].tolist()
        cycles["dense"] += np.abs(dense_back - dense)[dense_known].tolist()
        structure.append(unlike(sparse, np.where(known, sparse_back, -1)) + unlike(dense, np.where(dense_known, dense_back, -1)))
        metres = 40 * (made_dense + 1)
        square += ((metres - first["sparse_depth"])[known] ** 2).tolist()
        smooth.append(bends(metres[0], labels))
    assert 100 < len(cycles["sparse"]) < len(cycles["dense"]) < 2 * 24 * 24
    wanted = {
        "gan": np.mean(adversarial), "depth_cycle": 10 * (np.mean(cycles["sparse"]) + np.mean(cycles["dense"])),
        "depth_structure": np.mean(structure), "depth": 0.5 * np.mean(square), "smooth": 0.5 * np.mean(smooth),
    }  # fmt: skip
    terms = {name: term.detach() for name, term in terms.items()}
    of_depth = {name: float(term) for name, term in terms.items() if name not in {"gan_labels", "gan_photos", "cycle", "structure"}}
    of_depth["gan"] = of_depth.pop("gan_dense") + of_depth.pop("gan_sparse")
    assert of_depth == pytest.approx(wanted, rel=1e-5)
    if branch == "joint":  # (1) on top, unchanged
        alone = method_of().losses(given, CONTEXT, GENERATORS)
        assert float(sum(terms.values())) == pytest.approx(float(sum(wanted.values()) + sum(alone.values()).detach()), rel=1e-5)


def single(given: dict[str, Any]) -> dict[str, Any]:
    """A batch in float32, which is what buffers keep."""
    return {name: {key: value.float() if value.is_floating_point() else value for key, value in one.items()} for name, one in given.items()}


def printed(method: MultitaskGAN, given: dict[str, Any]) -> Tensor:
    """log D(real) + log(1 - D(generated)) of both judges of the semantic branch, (3) as printed, D the sigmoid of a judgement."""
    branch, found = method.semantic, torch.zeros(())
    photos, labels = 2 * given["photos"]["image"] - 1, torch.from_numpy(palette_images(given["labels"]["semantic"])).float()
    for name, real, fake in (("labels", labels, branch.to_labels(photos)), ("photos", photos, branch.to_photos(labels))):
        judge = branch.judges[name]
        found = found + torch.sigmoid(judge(real)).log().mean() + (1 - torch.sigmoid(judge(fake))).log().mean()
    return found


def descended(objective: Tensor, parameters: list[Tensor], length: float) -> None:
    """Move `parameters` by `length` along the steepest descent of `objective`."""
    gradients = torch.autograd.grad(objective, parameters, allow_unused=True)
    size = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients if gradient is not None))
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= length / size * gradient if gradient is not None else 0


def test_judges_ascend_what_generators_descend() -> None:
    """Multi-task GANs, Eq. 2: judges have half the gradient of the printed (3), turned round; their step raises it, the generators' not."""
    method, given = method_of(gan_loss="log", cycle_weight=0.0, structure_weight=0.0).float(), single(batch())
    sets = {name: optimiser.param_groups[0]["params"] for name, optimiser in method.optimisers().items()}

    def objective(turn: Turn) -> Tensor:
        return sum(method.losses(given, CONTEXT, turn).values(), torch.zeros(()))

    objective(GENERATORS)
    turned = torch.autograd.grad(objective(DISCRIMINATORS), sets["discriminators"])
    direct = torch.autograd.grad(printed(method, given), sets["discriminators"])
    for one, other in zip(turned, direct, strict=True):
        torch.testing.assert_close(one, -other / 2, rtol=1e-3, atol=1e-5 * float(other.abs().max()) + 1e-7)
    before = float(printed(method, given).detach())
    descended(objective(DISCRIMINATORS), sets["discriminators"], 0.01)
    between = float(printed(method, given).detach())
    descended(objective(GENERATORS), sets["generators"], 0.01)
    after = float(printed(method, given).detach())
    assert between > before + 1e-4
    assert after < between - 1e-4


@pytest.mark.parametrize("changes", [{}, {"branch": "depth"}, {"branch": "joint"}, {"gan_loss": "log"}], ids=str)
def test_turns_move_their_own_networks_and_lower_their_own_objective(changes: dict[str, Any]) -> None:
    """Multi-task GANs, Eq. 2: generators and judges share no parameter, together they are all that is trained, and each turn gains."""
    method, given = method_of(**changes).float(), single(batch())
    sets = {name: optimiser.param_groups[0]["params"] for name, optimiser in method.optimisers().items()}
    ids = {name: {id(parameter) for parameter in parameters} for name, parameters in sets.items()}
    assert not ids["generators"] & ids["discriminators"]
    still = {id(p) for p in method.semantic.parameters()} if method.config.branch == "depth" else set()
    assert ids["generators"] | ids["discriminators"] == {id(p) for p in method.parameters()} - still
    assert [turn.optimiser for turn in method.turns(CONTEXT)] == ["generators", "discriminators"]
    for turn in method.turns(CONTEXT):
        values = []
        for _ in range(2):
            found = sum(method.losses(given, CONTEXT, turn).values(), torch.zeros(()))
            values.append(float(found.detach()))
            descended(found, sets[turn.optimiser], 0.003)
        assert values[1] < values[0]


LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "discriminator": lambda x: discriminator_loss(x, x * x),
    "discriminator log": lambda x: discriminator_loss(x, x * x, "log"),
    "generator": generator_loss,
    "generator log": lambda x: generator_loss(x, "log"),
    "cycle": lambda x: cycle_loss(random(1, 1, 12, 13, seed=5), x, (random(1, 1, 12, 13, seed=6) > 0).double()),
    "structure": lambda x: structure_loss(random(1, 1, 12, 13, seed=5), x, (random(1, 1, 12, 13, seed=6) > -0.5).double()),
    "depth": lambda x: sparse_depth_loss(x, random(1, 1, 12, 13, seed=5).clamp_min(0)),
    "smoothness": lambda x: semantic_guided_smoothness(x, random(1, 3, 12, 13, seed=5)),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_gradients(loss: Callable[[Tensor], Tensor]) -> None:
    assert torch.autograd.gradcheck(loss, (random(1, 1, 12, 13).requires_grad_(),))
