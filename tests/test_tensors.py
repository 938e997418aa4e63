"""The tensor types under torchvision's own functionals and transforms; the oracle is torchvision's handling of images."""

import copy
import math
import pickle

import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from diorama.errors import ConfigError, ShapeError
from diorama.tensors import Confidence, Depth, Disparity, Intrinsics, SparseDepth

H, W = 24, 40
K = [[30.0, 0, 17.0], [0, 31.0, 11.0], [0, 0, 1]]
KINDS = (Depth, Confidence, SparseDepth, Disparity, Intrinsics)
CALLS = {
    "affine": {"angle": 10.0, "translate": [2, 1], "scale": 1.2, "shear": [0.0, 0.0]},
    "center_crop": {"output_size": [20, 30]},
    "crop": {"top": 3, "left": 5, "height": 16, "width": 20},
    "elastic": {"displacement": torch.zeros(1, H, W, 2)},
    "horizontal_flip": {},
    "pad": {"padding": [1, 2, 3, 4]},
    "perspective": {"startpoints": [[0, 0], [39, 0], [39, 23], [0, 23]], "endpoints": [[1, 1], [39, 0], [39, 23], [0, 23]]},
    "resize": {"size": [48, 80]},
    "resized_crop": {"top": 2, "left": 4, "height": 12, "width": 20, "size": [24, 40]},
    "rotate": {"angle": 10.0},
    "vertical_flip": {},
}
REFUSED = {(name, kind) for name in ("perspective", "elastic") for kind in KINDS[2:]}
REFUSED |= {("rotate", Disparity), ("affine", Disparity)}


def make(kind: type) -> Tensor:
    if kind is Intrinsics:
        return Intrinsics(K, canvas_size=(H, W))
    return kind(torch.full((1, H, W), 3.0))


def extent(value: Tensor) -> tuple[int, ...]:
    return value.canvas_size if isinstance(value, Intrinsics) else tuple(value.shape[-2:])


def geometric_functionals() -> list[str]:
    names = {name.removesuffix("_bounding_boxes") for name in dir(F) if name.endswith("_bounding_boxes")}
    return sorted(name for name in names - {"get_size"} if callable(getattr(F, name, None)))


def test_walk_knows_every_geometric_functional():
    assert geometric_functionals() == sorted(CALLS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", geometric_functionals())
def test_every_geometric_functional_has_a_kernel_or_refuses(name, kind):
    value = make(kind)
    if (name, kind) in REFUSED:
        with pytest.raises(ConfigError, match=kind.__name__):
            getattr(F, name)(value, **CALLS[name])
        return
    moved = getattr(F, name)(value, **CALLS[name])
    image = getattr(F, name)(tv_tensors.Image(torch.rand(3, H, W)), **CALLS[name])
    assert type(moved) is kind
    assert extent(moved) == tuple(image.shape[-2:])


RAMP = torch.stack([torch.arange(W).float().expand(H, W), torch.arange(H).float()[:, None].expand(H, W)])


@pytest.mark.parametrize(
    ("name", "arguments", "turn"),
    [
        ("crop", CALLS["crop"], 0),
        ("center_crop", {"output_size": [21, 33]}, 0),
        ("center_crop", {"output_size": [30, 33]}, 0),
        ("pad", CALLS["pad"], 0),
        ("pad", {"padding": 3}, 0),
        ("pad", {"padding": [3, 5]}, 0),
        ("resize", {"size": [48, 80]}, 0),
        ("resize", {"size": [12, 20]}, 0),
        ("resize", {"size": [12]}, 0),
        ("resized_crop", CALLS["resized_crop"], 0),
        ("horizontal_flip", {}, "x"),
        ("vertical_flip", {}, "y"),
        ("rotate", {"angle": 20.0}, 20.0),
        ("rotate", {"angle": 20.0, "center": [12, 9]}, 20.0),
        ("affine", {"angle": -15.0, "translate": [3, 2], "scale": 1.25, "shear": [0, 0]}, 15.0),
    ],
)
def test_ray_through_a_pixel_survives(name, arguments, turn):
    """The image is its own coordinates, so each pixel says which pixel of the source it shows."""
    camera = Intrinsics([[30.0, 0, 17.0], [0, 30.0, 11.0], [0, 0, 1]], canvas_size=(H, W))
    bilinear = (
        {} if name in ("crop", "center_crop", "pad", "horizontal_flip", "vertical_flip") else {"interpolation": InterpolationMode.BILINEAR}
    )
    image = getattr(F, name)(tv_tensors.Image(RAMP), **arguments, **bilinear).as_subclass(Tensor)
    moved = getattr(F, name)(camera, **arguments)
    assert moved.canvas_size == tuple(image.shape[-2:])
    new, old = torch.inverse(moved.double()), torch.inverse(camera.double())
    middle_v, middle_u = image.shape[-2] // 2, image.shape[-1] // 2
    for v, u in [(middle_v, middle_u), (middle_v - 3, middle_u + 4), (middle_v + 3, middle_u - 2)]:
        source = torch.tensor([*image[:, v, u].tolist(), 1.0], dtype=torch.float64)
        ray, before = new @ torch.tensor([u, v, 1.0], dtype=torch.float64), old @ source
        if turn == "x":
            before[0] = -before[0]
        elif turn == "y":
            before[1] = -before[1]
        else:
            c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
            # counter-clockwise on the screen, where y points down
            before = torch.tensor([[c, s, 0], [-s, c, 0], [0, 0, 1]], dtype=torch.float64) @ before
        assert torch.allclose(ray, before, atol=2e-4)


def test_intrinsics_of_half_size_by_hand():
    half = F.resize(Intrinsics(K, canvas_size=(H, W)), [12, 20])
    assert half.tolist() == [[15.0, 0.0, 8.25], [0.0, 15.5, 5.25], [0.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    "way",
    [
        Tensor.clone, copy.copy, copy.deepcopy, Tensor.detach, lambda k: k.to("cpu"), lambda k: k.to(torch.float64),
        lambda k: pickle.loads(pickle.dumps(k)), lambda k: k.clone().requires_grad_(),
    ],
)  # fmt: skip
def test_intrinsics_keep_their_canvas(way):
    camera = way(Intrinsics(K, canvas_size=(H, W)))
    assert isinstance(camera, Intrinsics)
    assert camera.canvas_size == (H, W)


def test_intrinsics_become_plain_in_arithmetic_and_refuse_other_shapes():
    camera = Intrinsics(K, canvas_size=(H, W))
    assert type(camera * 2) is Tensor
    assert "canvas_size=(24, 40)" in repr(camera)
    with pytest.raises(ShapeError, match=r"\(3, 3\)"):
        Intrinsics(torch.eye(4), canvas_size=(H, W))


def scattered(count: int, size: tuple[int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    flat = torch.zeros(size[0] * size[1])
    flat[torch.randperm(len(flat), generator=generator)[:count]] = 1 + 9 * torch.rand(count, generator=generator)
    return flat.reshape(1, *size)


@pytest.mark.parametrize("factor", [2, 4])
def test_sparse_points_survive_shrinking(factor):
    dense = scattered(500, (240, 320))
    small = F.resize(SparseDepth(dense), [240 // factor, 320 // factor])
    cells: dict[tuple[int, int], float] = {}
    for _, v, u in torch.nonzero(dense).tolist():
        cell = (v // factor, u // factor)
        cells[cell] = min(cells.get(cell, math.inf), dense[0, v, u].item())
    assert {(v, u): small[0, v, u].item() for _, v, u in torch.nonzero(small).tolist()} == cells
    # what the kernels are for: a mask keeps one in factor squared
    assert len(cells) > 450 > 2 * torch.count_nonzero(F.resize(tv_tensors.Mask(dense), list(small.shape[-2:])))


def test_sparse_points_turn_as_the_image_does():
    dense = scattered(30, (21, 21))
    assert torch.equal(F.rotate(SparseDepth(dense), 90).as_subclass(Tensor), torch.rot90(dense, 1, (-2, -1)))
    assert torch.equal(F.affine(SparseDepth(dense), 180, [0, 0], 1.0, [0, 0]).as_subclass(Tensor), dense.flip(-1, -2))
    moved = F.affine(SparseDepth(dense), 0, [3, -2], 1.0, [0, 0])
    assert torch.equal(moved[:, : 21 - 2, 3:], dense[:, 2:, : 21 - 3])


def test_sparse_batches_keep_their_shape():
    batch = SparseDepth(torch.stack([scattered(30, (20, 20))] * 2))
    assert F.resize(batch, [10, 10]).shape == (2, 1, 10, 10)


def test_depth_is_taken_from_the_nearest_pixel_and_unknown_outside():
    depth = Depth(torch.arange(1.0, 13.0).reshape(1, 3, 4))
    assert torch.equal(
        F.resize(depth, [6, 8]).as_subclass(Tensor), depth.as_subclass(Tensor).repeat_interleave(2, 1).repeat_interleave(2, 2)
    )
    assert F.resize(Depth(torch.arange(6.0)[None, None]), [1, 2]).tolist() == [[[1.0, 4.0]]]
    assert F.pad(depth, [1, 1], fill=255)[0, 0].tolist() == [0.0] * 6
    assert F.rotate(Depth(torch.ones(1, 9, 9)), 45.0, fill=7)[0, 0, 0] == 0


def test_disparity_scales_with_the_width():
    disparity = Disparity(torch.full((1, 10, 20), 6.0))
    assert F.resize(disparity, [10, 10]).unique().tolist() == [3.0]
    assert F.resize(disparity, [20, 20]).unique().tolist() == [6.0]
    assert F.resized_crop(disparity, 0, 0, 5, 10, [10, 20]).unique().tolist() == [12.0]
    assert F.affine(disparity, 0, [0, 0], 2.0, [0, 0]).unique().tolist() == [12.0]
    assert F.rotate(disparity, 0.0).unique().tolist() == [6.0]


@pytest.mark.parametrize("kind", KINDS[2:])
def test_shear_and_expand_are_refused(kind):
    with pytest.raises(ConfigError, match="shear to 0"):
        F.affine(make(kind), 0, [0, 0], 1.0, [5.0, 0.0])
    if kind is not Disparity:
        with pytest.raises(ConfigError, match="expand=False"):
            F.rotate(make(kind), 10.0, expand=True)


def test_stock_transforms_move_a_whole_sample_together():
    columns = RAMP[:1] + 1
    sample = {
        "image": tv_tensors.Image(columns.repeat(3, 1, 1) / 100),
        "semantic": tv_tensors.Mask(columns[0].long()),
        "depth": Depth(columns.clone()),
        "intrinsics": Intrinsics(K, canvas_size=(H, W)),
        "baseline": torch.tensor(0.2),
        "meta": {"id": "a"},
    }
    torch.manual_seed(0)
    moved = v2.Compose([v2.RandomHorizontalFlip(1.0), v2.RandomCrop((16, 20))])(sample)
    assert torch.equal(moved["depth"][0].long(), moved["semantic"])
    assert torch.allclose(moved["image"][0] * 100, moved["depth"][0])
    # column u of the source, now at 0, is W - 1 - u in the mirrored frame: cx follows
    left = W - moved["semantic"][0, 0].item()
    assert moved["intrinsics"][0, 2] == W - 1 - 17 - left
    assert moved["intrinsics"].canvas_size == (16, 20)
    assert moved["baseline"] == pytest.approx(0.2)


def test_trap_plain_matrix_is_mirrored_as_an_image():
    matrix = torch.tensor(K)
    flip = v2.RandomHorizontalFlip(1.0)
    assert torch.equal(flip({"intrinsics": matrix})["intrinsics"], matrix.flip(-1))
    assert flip({"intrinsics": Intrinsics(K, canvas_size=(H, W))})["intrinsics"].tolist()[0] == [30.0, 0.0, W - 1 - 17.0]
