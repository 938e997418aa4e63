"""The numbered equations of From Depth What Can You See? against numbers worked out by hand or by plain loops over pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diorama.losses.reconstruction import completion_loss, grey, reconstruction_loss
from diorama.methods.base import Stage, StepContext, Turn
from diorama.methods.image_reconstruction import ImageReconstruction
from diorama.methods.image_reconstruction_config import ImageReconstructionConfig
from diorama.nn.completion import Extractor, MultiKernelEncoder, Sharing, Up

SMALL: dict[str, Any] = {"channels": (3, 4, 5, 6), "extractor_channels": (7, 6, 5), "decoder_channels": 4, "min_depth": 0.1}
CONTEXT = StepContext(0, Stage("all", 1, 0.001, ()), [0, 1])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(**changes: Any) -> ImageReconstruction:
    """The smallest network in float64 whose norms know the statistics of one batch."""
    torch.manual_seed(0)
    method = ImageReconstruction(ImageReconstructionConfig(**{**SMALL, **changes})).double()
    method.network.answers(points(), image=method.reconstructs)
    return method.eval()


def points(height: int = 32, width: int = 48) -> Tensor:
    draw = torch.Generator().manual_seed(3)
    known = torch.rand(2, 1, height, width, generator=draw) < 0.1
    return torch.where(known, 1 + 9 * torch.rand(2, 1, height, width, generator=draw), 0.0).double()


def sample() -> dict[str, Any]:
    draw = torch.Generator().manual_seed(4)
    depth = 1 + 9 * torch.rand(2, 1, 32, 48, generator=draw, dtype=torch.float64)
    depth[..., :10] = 0
    image = torch.rand(2, 3, 32, 48, generator=draw, dtype=torch.float64)
    return {"sparse_depth": points(), "depth": depth, "image": image, "meta": [{}, {}]}


def upsampled(up: Up, features: Tensor) -> Tensor:
    """Phi by loops: every input value times its 4x4 kernel, laid at twice its place less one; then norm and ReLU."""
    assert isinstance(up.conv, nn.ConvTranspose2d)
    kernel, (batch, _, height, width) = up.conv.weight, features.shape
    out = torch.zeros(batch, kernel.shape[1], 2 * height + 2, 2 * width + 2, dtype=features.dtype)
    for row in range(height):
        for column in range(width):
            laid = torch.einsum("bi,iohw->bohw", features[:, :, row, column], kernel)
            out[:, :, 2 * row : 2 * row + 4, 2 * column : 2 * column + 4] += laid
    norm, inner = up.norm, out[:, :, 1:-1, 1:-1]
    assert norm.running_mean is not None
    assert norm.running_var is not None
    shape = (1, -1, 1, 1)
    scaled = (inner - norm.running_mean.view(shape)) / (norm.running_var.view(shape) + norm.eps).sqrt()
    return (scaled * norm.weight.view(shape) + norm.bias.view(shape)).clamp_min(0)


def test_the_baseline_is_encoder_extractor_decoder() -> None:
    """Image reconstruction, Eq. 1: row B has no other part, and its answer is one after the other."""
    method = made(image=False, sharing=False)
    network = method.network
    assert {name.split(".")[0] for name, _ in network.named_parameters()} == {"encoder", "depth_extractor", "depth_decoder"}
    level = network.encoder(points())[-1]
    for stage in network.depth_extractor.stages:
        level = stage(level)
    expected = network.depth_decoder.head(network.depth_decoder.up(level))
    torch.testing.assert_close(network.answers(points(), image=False)["depth"], expected)
    torch.testing.assert_close(method(points()).depth, expected.clamp_min(0.1))


def test_training_lowers_what_is_defined_as_the_minimum() -> None:
    """Image reconstruction, Eqs. 2, 4 and 6: definitions; forty steps of Adam on one batch go towards the minimum of the sum."""
    method = made(rate=0.01).train()
    optimiser = method.optimisers()["all"]
    seen = []
    for _ in range(40):
        total = torch.stack(list(method.losses({"main": sample()}, CONTEXT, Turn()).values())).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        seen.append(float(total.detach()))
    assert seen[-1] < 0.7 * seen[0]


def test_the_image_is_never_an_input() -> None:
    """Image reconstruction, Eq. 3: a definition, the models it compares with; ours answers alike whatever the image shows."""
    method = made()
    assert method.inputs == ("sparse_depth",)
    first, second = sample(), sample()
    second["image"] = 1 - second["image"]
    costs = [method.losses({"main": one}, CONTEXT, Turn()) for one in (first, second)]
    assert torch.equal(costs[0]["depth"], costs[1]["depth"])
    assert not torch.equal(costs[0]["image"], costs[1]["image"])


def test_both_answers_come_from_one_encoding() -> None:
    """Image reconstruction, Eqs. 5 and 12: both decoders on Cat of their own and the shared features, by hand from the parts."""
    network = made().network
    first = network.encoder(points())[-1]
    assert first.shape == (2, 4 * 6, 2, 3)
    assert network.image_extractor is not None
    assert network.image_decoder is not None
    assert network.sharing is not None
    depth, image = network.depth_extractor(first), network.image_extractor(first)
    shared = network.sharing(depth, image)
    found = network.answers(points(), image=True)
    torch.testing.assert_close(found["depth"], network.depth_decoder(torch.cat((depth[-1], shared), 1)))
    torch.testing.assert_close(found["image"], network.image_decoder(torch.cat((image[-1], shared), 1)))
    assert found["depth"].shape == found["image"].shape == (2, 1, 32, 48)


def test_prediction_is_the_depth_of_the_joint_model() -> None:
    """Image reconstruction, Eq. 7: leaving out the image decoder and f_r(N_t) changes nothing, and neither is run."""
    method = made()
    network = method.network
    joint = network.answers(points(), image=True)["depth"].clamp_min(0.1)
    ran: list[str] = []
    for name, module in network.named_modules():
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    torch.testing.assert_close(method(points()).depth, joint, rtol=0, atol=0)
    assert not [name for name in ran if name.startswith("image_decoder")]
    assert sorted({name.split(".")[2] for name in ran if name.startswith("image_extractor.stages.")}) == ["0", "1"]


def test_every_branch_of_the_encoder_ends_at_a_sixteenth() -> None:
    """Sec. 3.2: the reach of each branch follows from its kernel, and the branches lie side by side."""
    encoder = MultiKernelEncoder(1, (3, 5), (2, 2, 2, 2)).double().eval()
    given = random(1, 1, 128, 128).requires_grad_()
    for branch, kernel in enumerate((3, 5)):
        (gradient,) = torch.autograd.grad(encoder(given)[-1][0, 2 * branch : 2 * branch + 2, 4, 4].sum(), given)
        touched = gradient[0, 0].abs().sum(0).nonzero()
        # four stride-2 layers of kernel k see 1 + (k - 1) (1 + 2 + 4 + 8) columns
        assert int(touched.max() - touched.min()) + 1 <= 1 + (kernel - 1) * 15
        assert int(touched.max() - touched.min()) + 1 > 1 + (kernel - 3) * 15
    assert encoder.channels == [4, 4, 4, 4]
    assert [level.shape[-1] for level in encoder(given)] == [64, 32, 16, 8]


def parts(levels: int) -> tuple[Extractor, Extractor, Sharing, Tensor]:
    torch.manual_seed(1)
    widths = (4, 3, 2, 2)[:levels]
    found = Extractor(5, widths).double(), Extractor(5, widths).double(), Sharing(widths).double()
    for module in (part for group in found for part in group.modules()):
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
        if isinstance(module, nn.ConvTranspose2d):
            nn.init.normal_(module.weight)
    for group in found:
        group.eval()
    return *found, random(2, 5, 2, 3)


def test_first_shared_features_are_a_sum() -> None:
    """Image reconstruction, Eq. 8: f_r(1) = Phi(f_0), f_d(1) = Phi'(f_0), and f_s(1) = f_r(1) + f_d(1) is what the module goes on with."""
    extract_d, extract_r, sharing, first = parts(2)
    depth, image = extract_d(first), extract_r(first)
    torch.testing.assert_close(depth[0], upsampled(extract_d.stages[0], first))
    torch.testing.assert_close(image[0], upsampled(extract_r.stages[0], first))
    torch.testing.assert_close(sharing(depth, image), upsampled(sharing.stages[0], depth[0] + image[0]))


@pytest.mark.parametrize("levels", [3, 4])
def test_shared_features_of_the_middle_and_the_last_level(levels: int) -> None:
    """Image reconstruction, Eqs. 9 and 10: f(n) = Phi(f(n - 1)); f_s(n) adds both and Phi(f_s(n - 1)), the last is Phi alone."""
    extract_d, extract_r, sharing, first = parts(levels)
    depth, image = [upsampled(extract_d.stages[0], first)], [upsampled(extract_r.stages[0], first)]
    shared = depth[0] + image[0]
    for n in range(1, levels):
        depth.append(upsampled(extract_d.stages[n], depth[-1]))
        image.append(upsampled(extract_r.stages[n], image[-1]))
        shared = upsampled(sharing.stages[n - 1], shared)
        if n < levels - 1:
            shared = image[n] + depth[n] + shared
    found_d, found_r = extract_d(first), extract_r(first)
    for found, expected in ((found_d, depth), (found_r, image)):
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other)
    torch.testing.assert_close(sharing(found_d, found_r), shared)
    # the last level of either extractor plays no part
    torch.testing.assert_close(sharing(found_d[:-1], found_r[:-1]), shared)


def test_outputs_are_own_beside_shared_features() -> None:
    """Image reconstruction, Eq. 11: G_d1 = Cat(f_d(N_t), f_s(N_t)), G_r1 = Cat(f_r(N_t), f_s(N_t)), at half the resolution."""
    method = made()
    levels, _ = method.network.encode(points())
    joined, last = method.network.features(levels, image=True)
    assert torch.equal(joined["depth"], torch.cat((last["depth"], last["shared"]), 1))
    assert torch.equal(joined["image"], torch.cat((last["image"], last["shared"]), 1))
    assert joined["depth"].shape == (2, 5 + 5, 16, 24)
    assert all(torch.equal(value, last[name]) for name, value in method.last_features(points()).items())


@pytest.mark.parametrize(("norm", "expected"), [("l2", (0.25 + 4 + 9) / 3), ("l1", (0.5 + 2 + 3) / 3)])
def test_depth_loss_is_the_mean_over_known_pixels(norm: Any, expected: float) -> None:
    """Image reconstruction, Eq. 13: errors -0.5, 2 and 3 m at the known pixels, 100 m at an unknown one."""
    depth = torch.tensor([[[[2.0, 0.0], [4.0, 1.0]]]])
    prediction = torch.tensor([[[[1.5, 100.0], [6.0, 4.0]]]])
    assert float(completion_loss(prediction, depth, norm)) == pytest.approx(expected)


def test_image_loss_is_the_mean_over_grey_values() -> None:
    """Image reconstruction, Eq. 14: pure red, green and blue are 76.245, 149.685 and 29.07 in BT.601, white is 255."""
    image = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]], [[0.0, 0.0], [1.0, 1.0]]]])
    torch.testing.assert_close(grey(image), torch.tensor([[[[76.245, 149.685], [29.07, 255.0]]]]))
    reconstruction = torch.tensor([[[[76.245, 150.685], [31.07, 250.0]]]])
    assert float(reconstruction_loss(reconstruction, image)) == pytest.approx((0 + 1 + 4 + 25) / 4)
    cv2 = pytest.importorskip("cv2")
    photo = np.random.default_rng(0).random((5, 7, 3), dtype=np.float32)
    found = grey(torch.from_numpy(photo.transpose(2, 0, 1))[None])[0, 0].numpy()
    np.testing.assert_allclose(found, 255 * cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), rtol=1e-5)


def test_total_loss_weighs_depth_and_image() -> None:
    """Image reconstruction, Eq. 15: w_dpt l_dpt + w_img l_img of the two answers, with the paper's weights and others."""
    given = sample()
    valid = given["depth"] > 0
    luma = 255 * (0.299 * given["image"][:, :1] + 0.587 * given["image"][:, 1:2] + 0.114 * given["image"][:, 2:])
    for weights, (depth_weight, image_weight) in (({}, (1, 1e-4)), ({"depth_weight": 0.5, "image_weight": 0.01}, (0.5, 0.01))):
        method = made(**weights)
        found = method.network.answers(given["sparse_depth"], image=True)
        terms = method.losses({"main": given}, CONTEXT, Turn())
        l_dpt = (found["depth"] - given["depth"])[valid].square().mean()
        l_img = (found["image"] - luma).square().mean()
        assert set(terms) == {"depth", "image"}
        torch.testing.assert_close(sum(terms.values()), depth_weight * l_dpt + image_weight * l_img, check_dtype=False)
