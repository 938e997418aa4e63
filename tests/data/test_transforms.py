"""Whole samples: images hold their own coordinates, so that every output pixel says where it came from."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from diorama.data.sparsify import Sparsify
from diorama.data.transforms import colour_matrix, eval_transform, train_transform
from diorama.data.view import View
from diorama.errors import ConfigError, ShapeError
from diorama.tensors import Confidence, Depth, Disparity, Intrinsics, SparseDepth

H, W = 48, 64
K = np.array([[60.0, 0, 30.0], [0, 60.0, 25.0], [0, 0, 1]])
SHAKE = View((H, W), crop=(40, 50), zoom=(0.8, 1.7), flip=0.5, rotate=10.0)


def sample(height=H, width=W, **more):
    u, v = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return {
        "image": tv_tensors.Image(torch.from_numpy(np.stack([u / width, v / height, np.full_like(u, 0.5)]))),
        "semantic": tv_tensors.Mask(torch.from_numpy(u).long()),
        "depth": Depth(torch.from_numpy(v + 1)[None]),
        "intrinsics": Intrinsics(K, canvas_size=(height, width)),
        "baseline": torch.tensor(0.25),
        "meta": {"id": "ramp"},
        **more,
    }


def stereo():
    generator = torch.Generator().manual_seed(2)
    left, right = (tv_tensors.Image(torch.rand(3, H, W, generator=generator)) for _ in range(2))
    return {"image": left, "right": right, "intrinsics": Intrinsics(K, canvas_size=(H, W)), "baseline": torch.tensor(0.25)}


def run(view, given_sample, seed):
    torch.manual_seed(seed)
    return train_transform(view)(given_sample)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_all_maps_move_together(seed):
    moved = run(SHAKE, sample(), seed)
    known = moved["semantic"] != 255
    assert torch.equal(moved["depth"][0] == 0, ~known)
    u, v = moved["image"][0] * W, moved["image"][1] * H
    # only away from the frame's border, where the image goes on as a mirror and the labels stop
    inner = known & (u > 1) & (u < W - 2) & (v > 1) & (v < H - 2)
    assert inner.float().mean() > 0.3
    zoom = (60.0 / (moved["intrinsics"][0, 0])).item()
    assert zoom == pytest.approx(1.0)
    assert (u - moved["semantic"])[inner].abs().max() < 0.6
    ratio = (moved["depth"][0] / (v + 1))[inner]
    assert ratio.max() / ratio.min() < 1.6


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_ray_through_a_pixel_survives_up_to_roll_and_mirror(seed):
    """With `zoom_changes: intrinsics` the angle between the axis and each pixel's ray stays, and so do angles between rays."""
    moved = run(View((H, W), crop=(40, 50), zoom=(0.9, 1.7), flip=0.5, rotate=10.0, zoom_changes="intrinsics"), sample(), seed)
    camera = np.linalg.inv(moved["intrinsics"].double().numpy())
    image = moved["image"].double().numpy()
    rays, sources = [], []
    for v, u in [(15, 18), (20, 30), (26, 25)]:
        rays.append(camera @ [u, v, 1])
        sources.append(np.linalg.inv(K) @ [image[0, v, u] * W, image[1, v, u] * H, 1])
    assert np.allclose(np.array(rays) @ np.array(rays).T, np.array(sources) @ np.array(sources).T, atol=2e-3)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_depth_over_zoom_moves_points_along_the_axis_only(seed):
    """(X, Y, Z) becomes (X, Y, Z / zoom): the same camera sees a scene pressed together."""
    frame = sample()
    frame["depth"] = Depth(torch.full((1, H, W), 6.0))
    moved = run(View((H, W), zoom=(1.2, 1.7)), frame, seed)
    nearer = moved["depth"].unique()
    assert len(nearer) == 1
    assert 6 / 1.7 <= nearer.item() <= 6 / 1.2
    camera = np.linalg.inv(moved["intrinsics"].double().numpy())
    for v, u in [(10, 12), (30, 40)]:
        point = nearer.item() * (camera @ [u, v, 1])
        source = [moved["image"][0, v, u].item() * W, moved["image"][1, v, u].item() * H, 1]
        assert np.allclose(point[:2], (6.0 * np.linalg.inv(K) @ source)[:2], atol=0.02)


def test_zoom_changes_depth_or_intrinsics_not_both():
    frame = sample()
    frame["depth"] = Depth(torch.full((1, H, W), 6.0))
    frame["sparse_depth"] = SparseDepth(torch.full((1, H, W), 6.0))
    depth = run(View((H, W), zoom=(1.5, 1.5)), frame, 0)
    camera = run(View((H, W), zoom=(1.5, 1.5), zoom_changes="intrinsics"), frame, 0)
    assert depth["depth"].unique().tolist() == [4.0]
    assert depth["sparse_depth"].max() == 4.0
    assert depth["intrinsics"][0, 0] == 60
    assert camera["depth"].unique().tolist() == [6.0]
    assert camera["intrinsics"][0, 0] == 90


def test_disparity_baseline_and_depth_stay_consistent_under_zoom():
    """depth = focal * baseline / disparity holds before and after, whichever of the two a zoom changes."""
    for changes in ("depth", "intrinsics"):
        frame = sample(width=2 * W)
        frame["depth"] = Depth(torch.full((1, H, 2 * W), 5.0))
        frame["disparity"] = Disparity(torch.full((1, H, 2 * W), 60 * 0.25 / 5.0))
        moved = run(View((H, W), zoom=(1.5, 1.5), zoom_changes=changes), frame, 0)
        expected = moved["intrinsics"][0, 0] * moved["baseline"] / moved["disparity"].max()
        assert moved["depth"].max().item() == pytest.approx(expected.item(), rel=1e-5)


def test_flip_twice_is_the_identity():
    view = View((H, W), flip=1.0)
    points = torch.zeros(1, H, W)
    points[0, 3, 5], points[0, 40, 60] = 2.0, 7.0
    frame = sample(sparse_depth=SparseDepth(points))
    once = run(view, frame, 0)
    twice = run(view, once, 1)
    for key in ("image", "semantic", "depth", "sparse_depth", "intrinsics"):
        assert type(once[key]) is type(frame[key])
        assert torch.equal(twice[key], frame[key])
    assert torch.equal(once["semantic"], frame["semantic"].flip(-1))
    assert once["sparse_depth"][0, 3, W - 1 - 5] == 2.0
    assert once["intrinsics"][0, 2] == W - 1 - 30


def test_flip_swaps_the_views():
    pair = stereo()
    once = run(View((H, W), flip=1.0), pair, 0)
    assert torch.equal(once["image"], pair["right"].flip(-1))
    assert torch.equal(once["right"], pair["image"].flip(-1))
    twice = run(View((H, W), flip=1.0), once, 0)
    assert all(torch.equal(twice[key], pair[key]) for key in pair)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_both_views_get_the_same_geometry_and_photometry(seed):
    pair = stereo()
    pair["right"] = pair["image"]
    moved = run(View((H, W), crop=(30, 40), zoom=(1.0, 1.5), colour=(0.4, 0.4, 0.4, 0.1)), pair, seed)
    assert torch.equal(moved["image"], moved["right"])
    assert moved["image"].shape == (3, 30, 40)


def test_pairs_are_not_turned_and_labelled_pairs_not_mirrored():
    with pytest.raises(ConfigError, match=r"view\.rotate to 0"):
        run(View((H, W), rotate=3.0), stereo(), 0)
    with pytest.raises(ConfigError, match=r"'depth' belongs to the left.*view\.flip to 0"):
        run(View((H, W), flip=0.5), sample(right=sample()["image"]), 0)


def labelled_pair(height=24, width=48):
    """Rows of one depth each, with integer disparities, focal length * baseline = 24 px m; every label says where its pixel came from."""
    shift = 1 + np.arange(height) % 6
    u = np.tile(np.arange(width), (height, 1))
    depth = np.tile((24 / shift).astype(np.float32)[:, None], (1, width))
    # a scene point is named by its column in the left view; the right view shows it `shift` columns further left
    named = {"": u, "_right": u + shift[:, None]}
    made = {
        "intrinsics": Intrinsics([[96.0, 0, 20.0], [0, 96.0, 11.0], [0, 0, 1]], canvas_size=(height, width)),
        "baseline": torch.tensor(0.25),
        "meta": {"id": "pair"},
    }
    for side, names in named.items():
        picture = np.stack([names / 100, np.full_like(names, 0.5, float), np.full_like(names, 0.5, float)]).astype(np.float32)
        made["right" if side else "image"] = tv_tensors.Image(torch.from_numpy(picture))
        made["semantic" + side] = tv_tensors.Mask(torch.from_numpy(names).long())
        made["pseudo_depth" + side] = Depth(torch.from_numpy(depth)[None])
        made["confidence" + side] = Confidence(torch.from_numpy((names / 128).astype(np.float32))[None])
    return made


@pytest.mark.parametrize("zoom_changes", ["depth", "intrinsics"])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_a_mirrored_zoomed_and_cropped_pair_still_matches(zoom_changes, seed):
    """Left column x shows what right column x - focal * baseline / depth shows, and the right view says the same of the left."""
    view = View((24, 48), crop=(18, 36), zoom=(1.0, 1.6), flip=0.5, zoom_changes=zoom_changes)
    moved = {key: value.numpy() for key, value in run(view, labelled_pair(), seed).items() if isinstance(value, Tensor)}
    times = float(moved["intrinsics"][0, 0] * moved["baseline"])
    pairs = 0
    for one, other, sign in (("", "_right", -1), ("_right", "", 1)):
        for v in range(18):
            for u in range(36):
                depth = moved["pseudo_depth" + one][0, v, u]
                assert moved["confidence" + one][0, v, u] == np.float32(moved["semantic" + one][v, u] / 128)
                there = u + sign * times / depth
                # a nearest pixel lies up to half a pixel beside the point it shows
                near = [x for x in (round(there) - 1, round(there), round(there) + 1) if 0 <= x < 36]
                if len(near) == 3:
                    pairs += 1
                    assert moved["semantic" + one][v, u] in [moved["semantic" + other][v, x] for x in near]
                    assert depth == moved["pseudo_depth" + other][0, v, near[1]]
    assert pairs > 500


def test_an_unzoomed_mirrored_pair_matches_to_the_pixel():
    pair = labelled_pair()
    moved = run(View((24, 48), flip=1.0), pair, 0)
    for key in ("semantic", "pseudo_depth", "confidence"):
        assert torch.equal(moved[key], pair[key + "_right"].flip(-1))
        assert torch.equal(moved[key + "_right"], pair[key].flip(-1))
        assert type(moved[key]) is type(pair[key])
    for v in range(24):
        for u in range(6, 48):
            shift = 96 * 0.25 / float(moved["pseudo_depth"][0, v, u])
            assert moved["semantic"][v, u] == moved["semantic_right"][v, u - round(shift)]


def test_confidence_keeps_its_values():
    pair = labelled_pair()
    moved = run(View((24, 48), zoom=(0.5, 0.5)), pair, 0)
    assert type(moved["confidence"]) is Confidence
    uncovered = moved["semantic"] == 255
    assert uncovered.any()
    assert torch.equal(moved["confidence"][0] == 0, uncovered | (moved["semantic"] == 0))
    assert set(moved["confidence"].unique().tolist()) <= set(pair["confidence"].unique().tolist())


@pytest.mark.parametrize(
    ("left_out", "named"), [("semantic_right", "'semantic' belongs to the left"), ("confidence", "'confidence_right'")]
)
def test_a_label_without_its_partner_is_not_mirrored(left_out, named):
    pair = labelled_pair()
    del pair[left_out]
    with pytest.raises(ConfigError, match=named):
        run(View((24, 48), flip=0.5), pair, 0)
    with pytest.raises(ConfigError, match="'matched' belongs to the left"):
        run(View((24, 48), flip=0.5), {**labelled_pair(), "matched": Disparity(torch.ones(1, 24, 48))}, 0)


def test_matched_disparity_scales_and_moves_as_disparity():
    frame = sample(width=2 * W)
    frame["disparity"] = frame["matched"] = Disparity(torch.full((1, H, 2 * W), 6.0))
    moved = run(View((H, W), zoom=(1.5, 1.5)), frame, 0)
    assert torch.equal(moved["matched"], moved["disparity"])
    assert moved["matched"].max() == 4.5


def test_crop_copies_values():
    moved = run(View((H, W), crop=(20, 30)), sample(), 3)
    left, top = int(moved["semantic"][0, 0]), int(moved["depth"][0, 0, 0]) - 1
    assert torch.equal(moved["image"], sample()["image"][:, top : top + 20, left : left + 30])
    assert moved["intrinsics"].tolist() == [[60.0, 0.0, 30.0 - left], [0.0, 60.0, 25.0 - top], [0.0, 0.0, 1.0]]
    assert len({int(run(View((H, W), crop=(20, 30)), sample(), seed)["semantic"][0, 0]) for seed in range(20)}) > 5


def test_evaluation_shows_the_whole_frame_at_its_size():
    moved = eval_transform(View((24, 32), crop=(8, 8), zoom=(2, 2), flip=1.0, rotate=5))(sample())
    assert moved["image"].shape == (3, 24, 32)
    assert moved["intrinsics"].tolist() == [[30.0, 0.0, 14.75], [0.0, 30.0, 12.25], [0.0, 0.0, 1.0]]
    # the area average of two neighbouring columns of a ramp lies half-way
    assert torch.allclose(moved["image"][0, 0] * W, torch.arange(32) * 2 + 0.5, atol=1e-3)
    assert moved["meta"] == {"id": "ramp"}
    same = eval_transform(View((H, W)))(sample())
    assert all(torch.equal(same[key], sample()[key]) for key in ("image", "semantic", "depth", "intrinsics"))


def test_shrinking_averages_pictures_and_keeps_labels():
    board = np.indices((H, W)).sum(0) % 2
    frame = sample(
        image=tv_tensors.Image(torch.from_numpy(board).float().expand(3, H, W)), semantic=tv_tensors.Mask(torch.from_numpy(board) * 9)
    )
    moved = run(View((H // 4, W // 4)), frame, 0)
    assert torch.allclose(moved["image"], torch.tensor(0.5), atol=1e-5)
    assert set(moved["semantic"].unique().tolist()) <= {0, 9}


def test_sparse_points_are_splatted_not_sampled():
    points = torch.zeros(1, H, W)
    points.view(-1)[torch.randperm(H * W, generator=torch.Generator().manual_seed(0))[:60]] = 4.0
    moved = eval_transform(View((H // 4, W // 4)))(sample(sparse_depth=SparseDepth(points)))
    cells = {(v // 4, u // 4) for _, v, u in torch.nonzero(points).tolist()}
    assert {(v, u) for _, v, u in torch.nonzero(moved["sparse_depth"]).tolist()} == cells


@pytest.mark.parametrize(("brightness", "contrast", "saturation"), [(1.1, 1.0, 1.0), (1.0, 0.7, 1.0), (1.0, 1.0, 1.3), (0.9, 1.2, 0.6)])
def test_colour_is_what_torchvision_does(brightness, contrast, saturation):
    image = 0.4 + 0.2 * torch.rand(3, 10, 10, generator=torch.Generator().manual_seed(0))
    expected = F.adjust_saturation(F.adjust_contrast(F.adjust_brightness(image, brightness), contrast), saturation)
    luma = float((image * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0).mean())
    matrix = torch.from_numpy(colour_matrix(np.array([brightness, contrast, saturation, 0.0]), luma)).float()
    found = torch.einsum("dc,chw->dhw", matrix[:, :3], image) + matrix[:, 3, None, None]
    # torchvision rounds the weights of luma to four digits
    assert torch.allclose(found, expected, atol=2e-4)


def test_hue_turns_colours_and_keeps_grey_and_luma():
    third = colour_matrix(np.array([1.0, 1.0, 1.0, 1 / 3]), 0.5)[:, :3]
    assert np.allclose(third @ third @ third, np.eye(3), atol=1e-9)
    assert np.allclose(third @ np.ones(3), 1, atol=1e-9)
    assert np.allclose(np.array([0.299, 0.587, 0.114]) @ third, [0.299, 0.587, 0.114], atol=1e-9)
    assert (third @ [1, 0, 0]).argmax() != 0


def test_colour_stays_in_range_and_varies():
    view = View((H, W), colour=(0.9, 0.9, 0.9, 0.5))
    images = [run(view, sample(), seed)["image"] for seed in range(8)]
    assert all(image.min() >= 0 and image.max() <= 1 for image in images)
    assert len({float(image.sum()) for image in images}) == 8


@dataclass
class Boxed:
    image: Tensor


def test_what_is_withheld_of_a_scan_becomes_the_depth_of_the_sample():
    scan = torch.zeros(1, H, W)
    scan[0, 1::3, 2::5] = torch.arange(16 * 13).reshape(16, 13) + 1.0
    given_sample = {"sparse_depth": SparseDepth(scan), "intrinsics": Intrinsics(K, canvas_size=(H, W)), "meta": {"id": "scan"}}
    mirrored = View((H, W), flip=1.0)
    for rules in (Sparsify("all", drop=0.4, withhold=True), Sparsify("lines", lines=40, scanner="kitti", withhold=True)):
        transform = train_transform(mirrored, rules)
        torch.manual_seed(1)
        moved = transform(given_sample)
        given_points, learned = moved["sparse_depth"], moved["depth"]
        assert type(given_points) is SparseDepth
        assert type(learned) is SparseDepth  # what is taken out of a scan is no denser than the rest
        first, second = given_points.as_subclass(Tensor), learned.as_subclass(Tensor)
        assert first.any()
        assert second.any()
        assert not ((first > 0) & (second > 0)).any()
        assert torch.equal(first + second, scan.flip(-1))
        torch.manual_seed(1)
        assert torch.equal(transform(given_sample)["depth"].as_subclass(Tensor), second)
    assert "depth" not in given_sample
    # depth that the sample brings along is replaced: it is not what was taken out of the scan
    torch.manual_seed(1)
    again = train_transform(mirrored, rules)({**given_sample, "depth": Depth(torch.full((1, H, W), 7.0))})
    assert torch.equal(again["depth"].as_subclass(Tensor), second)


def test_withheld_truth_loses_no_points_when_the_frame_shrinks():
    """Points far apart in odd and even rows and columns, of which nearest sampling at half the size finds one in four."""
    scan = np.zeros((64, 96), np.float32)
    row, column = np.mgrid[:4, :6]
    scan[16 * row + 5 + row % 2, 16 * column + 3 + column % 2] = 10 + np.arange(24, dtype=np.float32).reshape(4, 6)
    camera = Intrinsics(np.array([[80.0, 0, 48], [0, 80, 32], [0, 0, 1]]), canvas_size=(64, 96))
    sample = {"sparse_depth": SparseDepth(torch.from_numpy(scan)[None]), "intrinsics": camera, "meta": {}}
    rules = Sparsify("all", drop=0.5, withhold=True, scanner="kitti", unoccluded=True)  # drawn before the frame shrinks
    torch.manual_seed(3)
    whole = train_transform(View(size=(64, 96)), rules)(sample)
    torch.manual_seed(3)
    half = train_transform(View(size=(32, 48)), rules)(sample)
    for key in ("depth", "sparse_depth"):
        kept = whole[key].as_subclass(Tensor)
        assert kept.count_nonzero() > 5
        assert sorted(kept[kept > 0].tolist()) == sorted(half[key].as_subclass(Tensor)[half[key] > 0].tolist())


def test_trap_a_sample_that_is_no_dict_is_refused():
    with pytest.raises(ConfigError, match="Boxed"):
        train_transform(View((H, W)))(Boxed(torch.rand(3, H, W)))
    with pytest.raises(ConfigError, match="plain tensor"):
        train_transform(View((H, W)))({**sample(), "intrinsics": torch.eye(3)})
    with pytest.raises(ConfigError, match="no image"):
        train_transform(View((H, W)))({"baseline": torch.tensor(0.2)})


def test_maps_of_different_size_are_named():
    with pytest.raises(ShapeError, match=r"ramp: .*image 48x64.*depth 24x32"):
        eval_transform(View((H, W)))(sample(depth=Depth(torch.ones(1, 24, 32))))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", (0, 4)), ("crop", (3,)), ("zoom", (2.0, 1.0)), ("zoom", (0.0, 1.0)), ("flip", 2.0), ("rotate", 90.0),
        ("colour", (0.1, 0.1, 0.1, 0.9)), ("zoom_changes", "both"),
    ],
)  # fmt: skip
def test_view_refuses_nonsense(field, value):
    with pytest.raises(ConfigError, match=rf"view\.{field}"):
        View(**{field: value})
