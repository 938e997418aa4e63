"""Label maps as colours and back: the round trip is the identity, noise below half the smallest distance changes no class."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diorama.data.labels import CAMVID11, CITYSCAPES7, CITYSCAPES19, NYU13, NYU40, SUN37, LabelSet
from diorama.errors import ConfigError, DataError, ShapeError
from diorama.nn.palette import Palette
from diorama.types import IGNORE

COLOURS = st.lists(st.tuples(*[st.integers(0, 255)] * 3).filter(any), min_size=1, max_size=40, unique=True)


def labels(classes: int, seed: int, size: tuple[int, int, int] = (2, 9, 11)) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    semantic = torch.randint(0, classes + 1, size, generator=draw)
    return semantic.masked_fill(semantic == classes, IGNORE)


def classes_of(palette: Palette, image: Tensor) -> Tensor:
    found, last = palette.logits(image).argmax(1), len(palette.colours) - 1
    return found.masked_fill(found == last, IGNORE)


@settings(max_examples=60, deadline=None)
@given(colours=COLOURS, seed=st.integers(0, 99))
def test_round_trip_is_the_identity(colours: list[tuple[int, int, int]], seed: int) -> None:
    palette, semantic = Palette(colours), labels(len(colours), seed)
    image = palette.encode(semantic)
    assert image.shape == (2, 3, 9, 11)
    assert torch.equal(classes_of(palette, image), semantic)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(classes_of(palette, image), semantic)


@settings(max_examples=60, deadline=None)
@given(colours=COLOURS, seed=st.integers(0, 99), share=st.floats(0, 0.99))
def test_noise_up_to_half_the_smallest_distance_keeps_the_class(colours: list[tuple[int, int, int]], seed: int, share: float) -> None:
    palette, semantic = Palette(colours), labels(len(colours), seed)
    points = np.array([*colours, (0, 0, 0)]) / 127.5 - 1
    smallest = min(float(np.linalg.norm(a - b)) for number, a in enumerate(points) for b in points[:number])
    noise = torch.randn(2, 3, 9, 11, generator=torch.Generator().manual_seed(seed))
    noise *= share * smallest / 2 / noise.norm(dim=1, keepdim=True)
    assert torch.equal(classes_of(palette, palette.encode(semantic) + noise), semantic)


@pytest.mark.parametrize("names", [NYU40, SUN37, NYU13, CITYSCAPES19, CITYSCAPES7, CAMVID11], ids=lambda names: names.name)
def test_colours_are_those_of_the_label_set(names: LabelSet) -> None:
    """Beside the NumPy colouring, which is another piece of code."""
    palette, semantic = Palette(names.palette), labels(len(names), 3)
    expected = names.colour(semantic[0].numpy().astype(np.uint8)).transpose(2, 0, 1)
    np.testing.assert_allclose(palette.encode(semantic)[0].numpy(), expected / 127.5 - 1, atol=1e-6)


def test_distances_by_hand() -> None:
    """Red, blue and black, and a pixel of middle red: 0.5 and 1 away along red, and so on, squared and summed."""
    palette = Palette([(255, 0, 0), (0, 0, 255)])
    assert palette.colours.tolist() == [[1, -1, -1], [-1, -1, 1], [-1, -1, -1]]
    pixel = torch.tensor([0.5, -1.0, -1.0])[None, :, None, None]
    assert palette.logits(pixel)[0, :, 0, 0].tolist() == pytest.approx([-0.25, -(1.5**2 + 2**2), -(1.5**2)])
    assert palette(pixel.bfloat16()).dtype == torch.float32


def test_logits_have_a_gradient() -> None:
    palette, image = Palette([(255, 0, 0), (0, 10, 255)]).double(), torch.rand(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(palette.logits, (image,))


@pytest.mark.parametrize(
    ("colours", "said"),
    [
        ([], "a palette without colours; give one RGB colour per class"),
        ([(1, 2, 3), (4, 5, 6), (1, 2, 3)], r"class 0 and class 2 share the colour \(1, 2, 3\); give every class its own"),
        ([(1, 2, 3), (0, 0, 0)], r"ignore and class 1 share the colour \(0, 0, 0\); give every class its own, none of them black"),
        ([(1, 2, 256)], r"colour \(1, 2, 256\) of class 0; give three values in 0\.\.255"),
    ],
)
def test_bad_palettes(colours: list[tuple[int, int, int]], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Palette(colours)


def test_bad_maps() -> None:
    palette = Palette([(255, 0, 0), (0, 0, 255)])
    with pytest.raises(DataError, match=r"train id 2 in a label map, the palette has 0\.\.1; use the label set of the data"):
        palette.encode(torch.tensor([[[0, 2]]]))
    with pytest.raises(ShapeError, match=r"expected \(B, H, W\)"):
        palette.encode(torch.zeros(1, 1, 2, 2, dtype=torch.int64))
    with pytest.raises(ShapeError, match=r"expected \(B, 3, H, W\)"):
        palette.logits(torch.zeros(1, 4, 2, 2))
