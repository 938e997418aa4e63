"""Receptive fields and sizes of the discriminators; what the image buffer returns, by statistics and a simulation in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from diorama.errors import ConfigError, ModelError, ShapeError
from diorama.nn.discriminators import DomainDiscriminator, ImageBuffer, PatchDiscriminator


def without_norms(network: PatchDiscriminator) -> nn.Sequential:
    """Instance norm sees the whole image; what the convolutions see is what is asked."""
    return nn.Sequential(*(part for part in network.body if type(part).__name__ != "InstanceNorm"))


def test_one_judgement_sees_seventy_pixels() -> None:
    torch.manual_seed(0)
    body = without_norms(PatchDiscriminator(2, width=2)).double()
    image = torch.rand(1, 2, 128, 128, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(body(image)[0, 0, 6, 7], image)
    rows, columns = (gradient[0].abs().sum((0, axis)).nonzero().flatten() for axis in (2, 1))
    assert len(rows) == len(columns) == 70
    assert int(rows[-1] - rows[0]) == int(columns[-1] - columns[0]) == 69
    # each judgement further is eight pixels further
    (gradient,) = torch.autograd.grad(body(image)[0, 0, 7, 7], image)
    assert int(gradient[0].abs().sum((0, 2)).nonzero()[0] - rows[0]) == 8


@pytest.mark.parametrize(("size", "judged"), [((128, 128), (14, 14)), ((256, 512), (30, 62)), ((24, 24), (1, 1)), ((25, 39), (1, 2))])
def test_sizes_of_the_judgement(size: tuple[int, int], judged: tuple[int, int]) -> None:
    assert PatchDiscriminator(3, width=2)(torch.rand(2, 3, *size)).shape == (2, 1, *judged)


def test_parameters_counted_by_hand() -> None:
    count = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512) + 64 + 1
    assert sum(part.numel() for part in PatchDiscriminator(3).parameters()) == count


def test_the_discriminator_is_the_chain_of_its_parts() -> None:
    torch.manual_seed(0)
    network, image = PatchDiscriminator(3, width=4).double(), torch.rand(2, 3, 32, 40, dtype=torch.float64)
    kernels = [part for part in network.parameters() if part.ndim == 4]
    features, leaky = image, nn.functional.leaky_relu
    for number, (kernel, stride) in enumerate(zip(kernels, (2, 2, 2, 1, 1), strict=True)):
        features = nn.functional.conv2d(features, kernel, stride=stride, padding=1)
        if number < 4:
            features = leaky(nn.functional.instance_norm(features) if number else features, 0.2)
    torch.testing.assert_close(network(image), features)


def test_judgements_stay_float32_under_autocast() -> None:
    network, image = PatchDiscriminator(3, width=4), torch.rand(1, 3, 48, 48)
    with torch.autocast("cpu", torch.bfloat16):
        judged = network(image)
    assert judged.dtype == torch.float32
    torch.testing.assert_close(judged, network(image), atol=0.05, rtol=0.05)


def test_bad_discriminators() -> None:
    with pytest.raises(ShapeError, match="23 x 64 pixels are too small for a discriminator; use 24 x 24 or more"):
        PatchDiscriminator(3, width=2)(torch.rand(1, 3, 23, 64))
    with pytest.raises(ConfigError, match="give at least 1 of each"):
        PatchDiscriminator(3, width=0)


def numbered(*numbers: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32)[:, None, None, None].expand(-1, 2, 3, 4).clone()


def values(images: Tensor) -> list[int]:
    assert all(bool((image == image[0, 0, 0]).all()) for image in images)
    return [int(image[0, 0, 0]) for image in images]


def test_a_filling_buffer_returns_what_it_is_given() -> None:
    buffer = ImageBuffer(5)
    assert values(buffer.exchange(numbered(0, 1, 2), [7, 7, 7])) == [0, 1, 2]
    assert values(buffer.exchange(numbered(3, 4), [7, 7])) == [3, 4]
    assert len(buffer) == 5


def test_half_of_the_answers_are_new_and_stored_ones_are_drawn_evenly() -> None:
    """6000 draws: the share of new ones is within 4 standard deviations of 1/2; the places drawn pass a chi-square test at 1e-4."""
    size, draws = 10, 6000
    buffer, places = ImageBuffer(size), np.zeros(size)
    buffer.exchange(numbered(*range(size)), [0] * size)
    kept, new = list(range(size)), 0
    for number in range(size, size + draws):
        (answer,) = values(buffer.exchange(numbered(number), [number]))
        if answer == number:
            new += 1
        else:
            places[kept.index(answer)] += 1
            kept[kept.index(answer)] = number
    assert abs(new - draws / 2) < 4 * (draws / 4) ** 0.5
    expected = places.sum() / size
    assert ((places - expected) ** 2 / expected).sum() < 33.7  # nine degrees of freedom


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 6), batches=st.lists(st.integers(1, 4), min_size=1, max_size=20), seed=st.integers(0, 2**31))
def test_nothing_is_invented_or_returned_twice(size: int, batches: list[int], seed: int) -> None:
    """Every image that was given either came back once or is still stored; none is lost, none is new."""
    buffer, given_, came = ImageBuffer(size), 0, []
    for batch in batches:
        numbers = list(range(given_, given_ + batch))
        came += values(buffer.exchange(numbered(*numbers), [seed + number for number in numbers]))
        given_ += batch
    stored = values(buffer.state()["images"])
    assert set(came) | set(stored) == set(range(given_))
    assert len(stored) == min(size, given_)
    first = came[: min(size, given_)]
    assert first == list(range(len(first)))
    later = came[len(first) :]
    assert len(set(later)) == len(later)
    assert not set(later) & set(stored)


def test_against_a_simulation() -> None:
    """The stored list moved by hand: a coin, then a place, both from the numbers (stream, seed) of the image."""
    buffer, kept, rule = ImageBuffer(3, stream=4), [], np.random.default_rng
    for number in range(40):
        seed = 1000 * number
        if len(kept) < 3:
            kept.append(number)
            expected = number
        else:
            draw = rule([4, seed])
            expected = number
            if draw.random() >= 0.5:
                place = int(draw.integers(3))
                expected, kept[place] = kept[place], number
        assert values(buffer.exchange(numbered(number), [seed])) == [expected]
        assert values(buffer.state()["images"]) == kept


def test_a_batch_is_its_images_one_after_the_other() -> None:
    one, other = ImageBuffer(4), ImageBuffer(4)
    together = values(one.exchange(numbered(*range(30)), list(range(30))))
    apart = [values(other.exchange(numbered(number), [number]))[0] for number in range(30)]
    assert together == apart


def test_a_restored_buffer_goes_on_alike() -> None:
    whole, first, second = ImageBuffer(5), ImageBuffer(5), ImageBuffer(5)
    expected = values(whole.exchange(numbered(*range(60)), list(range(60))))
    answers = values(first.exchange(numbered(*range(33)), list(range(33))))
    second.load(first.state())
    first.exchange(numbered(*range(33, 60)), [9] * 27)  # the copy must not follow
    answers += values(second.exchange(numbered(*range(33, 60)), list(range(33, 60))))
    assert answers == expected
    empty = ImageBuffer(5)
    second.load(empty.state())
    assert len(second) == 0


def test_other_streams_decide_otherwise() -> None:
    seeds, numbers = list(range(200)), numbered(*range(200))
    one, other = (values(ImageBuffer(5, stream).exchange(numbers, seeds)) for stream in (0, 1))
    assert sum(a == n for n, a in enumerate(one)) > 70
    assert sum((a == n) == (b == n) for n, (a, b) in enumerate(zip(one, other, strict=True))) < 140


def test_stored_images_are_copies_without_history() -> None:
    buffer, given_ = ImageBuffer(2), numbered(1, 2).requires_grad_()
    made = (given_ * 1).bfloat16()
    answer = buffer.exchange(made, [0, 0])
    assert not answer.requires_grad
    assert answer.dtype == torch.float32
    with torch.no_grad():
        answer.zero_()
        made.zero_()
    assert values(buffer.state()["images"]) == [1, 2]


def test_size_zero_is_off() -> None:
    buffer = ImageBuffer(0)
    assert values(buffer.exchange(numbered(*range(20)), list(range(20)))) == list(range(20))
    assert buffer.state() == {}


def test_bad_buffers() -> None:
    with pytest.raises(ConfigError, match=r"an image buffer of -1 images; give 0 \(off\) or more"):
        ImageBuffer(-1)
    buffer = ImageBuffer(2)
    with pytest.raises(ShapeError, match="1 seeds for 2 images; give one seed per image"):
        buffer.exchange(numbered(1, 2), [1])
    buffer.exchange(numbered(1, 2), [1, 2])
    with pytest.raises(ShapeError, match="train with images of one size"):
        buffer.exchange(torch.zeros(1, 2, 3, 5), [1])
    with pytest.raises(ModelError, match="2 stored images for a buffer of 1; resume with the buffer size of the run"):
        ImageBuffer(1).load(buffer.state())


def test_one_score_of_domains_sees_ninety_four_pixels() -> None:
    """1 -> 4 -> 10 -> 22 -> 46 -> 94 by hand: each 4x4 kernel of stride 2 makes r of 2 r + 2; scores lie 32 pixels apart."""
    torch.manual_seed(0)
    body = DomainDiscriminator(2, 3, width=2).double().eval().body
    image = torch.rand(1, 2, 256, 256, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(body(image)[0, 0, 3, 4], image)
    rows, columns = (gradient[0].abs().sum((0, axis)).nonzero().flatten() for axis in (2, 1))
    assert len(rows) == len(columns) == 94
    assert int(rows[-1] - rows[0]) == int(columns[-1] - columns[0]) == 93
    (gradient,) = torch.autograd.grad(body(image)[0, 0, 4, 4], image)
    assert int(gradient[0].abs().sum((0, 2)).nonzero()[0] - rows[0]) == 32


@pytest.mark.parametrize(("size", "judged"), [((256, 256), (8, 8)), ((384, 384), (12, 12)), ((32, 64), (1, 2)), ((47, 33), (1, 1))])
def test_sizes_of_the_scores_of_domains(size: tuple[int, int], judged: tuple[int, int]) -> None:
    network, maps = DomainDiscriminator(1, 3, width=2), torch.rand(2, 1, *size)
    assert network.body(maps).shape == (2, 3, *judged)
    assert network(maps).shape == (2, 3, *size)


def test_only_the_first_four_convolutions_of_domains_have_unit_spectral_norm() -> None:
    torch.manual_seed(0)
    network, maps = DomainDiscriminator(5, 4, width=4), torch.rand(2, 5, 32, 32)
    for _ in range(200):
        network(maps)
    convolutions = [part for part in network.body if isinstance(part, nn.Conv2d)]
    assert [part.out_channels for part in convolutions] == [4, 8, 16, 32, 4]
    largest = [float(torch.linalg.matrix_norm(part.weight.detach().flatten(1), 2)) for part in convolutions]
    assert largest[:4] == pytest.approx([1.0] * 4, abs=2e-3)
    assert not hasattr(convolutions[4], "parametrizations")
    # one power iteration per forward in training, none in evaluation
    vector = convolutions[0].parametrizations.weight[0]._u.clone()
    convolutions[0].parametrizations.weight.original.data.mul_(torch.rand(4, 1, 1, 1))
    network.eval()(maps)
    assert torch.equal(vector, convolutions[0].parametrizations.weight[0]._u)
    network.train()(maps)
    assert not torch.equal(vector, convolutions[0].parametrizations.weight[0]._u)


def test_a_discriminator_without_domains_or_with_too_small_a_map_is_told() -> None:
    with pytest.raises(ConfigError, match="give 2 domains or more"):
        DomainDiscriminator(3, 1)
    with pytest.raises(ShapeError, match="use 32 x 32 or more"):
        DomainDiscriminator(3, 2, width=2)(torch.rand(1, 3, 31, 64))
