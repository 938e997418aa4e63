"""Sparse depth by rules: exact counts, the same for the same seed, no value that is not the input's, geometry by other means."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diorama.data.occlusion import occluded
from diorama.data.patterns import blobs
from diorama.data.sparsify import NEAREST, Sparsify, drawn, frame_seed, sparsify
from diorama.errors import ConfigError, ShapeError, UserError

F32 = NDArray[np.float32]
CAMERA = np.array([[30.0, 0, 19.5], [0, 30, 11.5], [0, 0, 1]])
SEEDS = st.integers(0, 2**64 - 1)
EXACT = [
    Sparsify("all"),
    Sparsify(points=20),
    Sparsify(points=(3, 300)),
    Sparsify("grid", points=30),
    Sparsify("lines", lines=8),
    Sparsify("corners", points=40),
    Sparsify(holes=0.3),
    Sparsify(drop=(0.1, 0.9)),
]
"""Rules that only take away."""
STREET = np.array([[60.0, 0, 40.0], [0, 60.0, 20.0], [0, 0, 1]])
WITHHELD = [
    Sparsify(points=40, withhold=True),
    Sparsify(points=(20, 200), drop=(0.1, 0.9), withhold=True),
    Sparsify("lines", lines=(48, 32), scanner="kitti", withhold=True),
    Sparsify("all", holes=0.3, hole_size=0.4, withhold=True),
    Sparsify("grid", points=30, withhold=True),
    Sparsify("all", drop=1.0, withhold=True),
]
"""Rules that take out of a scan what is to be learned."""


def make_depth(seed: int, share: float = 0.9, size: tuple[int, int] = (24, 40)) -> F32:
    random = np.random.default_rng(seed)
    return np.where(random.random(size) < share, random.uniform(1, 9, size), 0).astype(np.float32)


def make(depth: F32, rules: Sparsify, seed: int) -> F32:
    image = np.random.default_rng(5).integers(0, 256, (*depth.shape, 3), np.uint8)
    return sparsify(depth, rules, seed, intrinsics=CAMERA, image=image)


def make_scan(seed: int) -> F32:
    """A wall at 20 m in a twentieth of the pixels, and before it a post at 1.5 m, over whose edge the scanner sees the wall."""
    random = np.random.default_rng(seed)
    depth = 20 + random.random((40, 80)).astype(np.float32)
    depth[10:, 30:36] = np.where(random.random((30, 6)) < 0.8, np.float32(1.5), depth[10:, 30:36])
    known = random.random(depth.shape) < 0.05
    known[10:, 30:36] = random.random((30, 6)) < 0.4
    known[:8] = False
    return np.where(known, depth, np.float32(0))


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(0, 1000), st.sampled_from([0.02, 0.5, 1.0]), st.sampled_from(EXACT))
def test_kept_values_are_those_of_the_input_in_their_place(seed: int, frame: int, share: float, rules: Sparsify) -> None:
    depth = make_depth(frame, share)
    before = depth.copy()
    sparse = make(depth, rules, seed)
    assert sparse.dtype == np.float32 and sparse.shape == depth.shape
    assert np.array_equal(sparse[sparse > 0], depth[sparse > 0])
    assert np.array_equal(depth, before) and not np.shares_memory(sparse, depth)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.sampled_from([*EXACT, Sparsify(noise=0.1, outliers=0.1), Sparsify(shift=0.1, turn=2.0)]))
def test_the_same_seed_gives_the_same_map(seed: int, rules: Sparsify) -> None:
    assert np.array_equal(make(make_depth(1), rules, seed), make(make_depth(1), rules, seed))


@pytest.mark.parametrize("rules", [Sparsify(points=50), Sparsify("all", holes=0.3), Sparsify("all", drop=0.5), Sparsify("all", turn=5.0)])
def test_another_seed_gives_another_map(rules: Sparsify) -> None:
    maps = {make(make_depth(1), rules, seed).tobytes() for seed in range(8)}
    assert len(maps) == 8


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(1, 2000), st.integers(0, 100), st.sampled_from([0.0, 0.05, 0.8]))
def test_counts_are_exact(seed: int, points: int, frame: int, share: float) -> None:
    depth = make_depth(frame, share)
    known = np.count_nonzero(depth)
    kept = np.count_nonzero(make(depth, Sparsify(points=points), seed))
    assert kept == min(points, known)
    assert np.count_nonzero(make(depth, Sparsify("all", drop=0.25), seed)) == known - round(0.25 * known)


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_fewer_points_are_among_the_more_and_stay_under_noise(seed: int) -> None:
    few, many = (make(make_depth(2), Sparsify(points=n), seed) for n in (50, 200))
    assert np.all(many[few > 0] == few[few > 0])
    noisy = make(make_depth(2), Sparsify(points=50, noise=0.5, outliers=0.2), seed)
    assert np.array_equal(noisy > 0, few > 0)


def test_points_are_uniform_over_the_known_pixels() -> None:
    depth = np.ones((4, 6), np.float32)
    depth[0] = 0
    hits = sum((make(depth, Sparsify(points=3), seed) > 0).astype(int) for seed in range(1500))
    # each of 18 pixels is one of 3: 250 of 1500, standard deviation 14.4
    assert not hits[0].any() and np.abs(hits[1:] - 250).max() < 65


def test_a_range_of_points_is_drawn_log_uniformly() -> None:
    depth = np.ones((60, 80), np.float32)
    counts = np.array([np.count_nonzero(make(depth, Sparsify(points=(10, 1000)), seed)) for seed in range(400)])
    assert counts.min() >= 10 and counts.max() <= 1000
    # half of them below the geometric mean of the ends, 100
    assert 160 < (counts < 100).sum() < 240


def test_lines_are_drawn_from_the_list() -> None:
    depth = make_depth(0, 1.0)
    wanted = {n: make(depth, Sparsify("lines", lines=n), 0).tobytes() for n in (4, 8)}
    drawn = [make(depth, Sparsify("lines", lines=(4, 8)), seed).tobytes() for seed in range(40)]
    assert set(drawn) == set(wanted.values())
    assert 8 < drawn.count(wanted[4]) < 32


def test_the_grid_by_hand() -> None:
    depth = np.ones((6, 9), np.float32)
    found = make(depth, Sparsify("grid", points=6), 0)
    assert np.argwhere(found).tolist() == [[1, 1], [1, 4], [1, 7], [4, 1], [4, 4], [4, 7]]
    depth[1, 4] = 0  # then the nearest known one of the cell, of four the first
    assert np.argwhere(make(depth, Sparsify("grid", points=6), 0))[0].tolist() == [0, 4]
    depth[:3, 3:6] = 0
    assert np.count_nonzero(make(depth, Sparsify("grid", points=6), 0)) == 5
    assert np.array_equal(make(depth, Sparsify("grid", points=54), 0), depth)


def test_corners_lie_at_corners() -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    image[20:40, 30:60] = 255
    found = sparsify(np.ones((60, 80), np.float32), Sparsify("corners", points=30), 0, image=image)
    places = np.argwhere(found)
    assert 4 <= len(places) <= 30
    corners = np.array([[20, 30], [20, 59], [39, 30], [39, 59]])
    gaps = np.abs(places[:, None] - corners).max(-1)
    assert gaps.min(1).max() <= 4 and (gaps.min(0) <= 4).all()


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.floats(0, 0.95), st.floats(0.05, 1.0))
def test_holes_cover_their_share(seed: int, share: float, distance: float) -> None:
    mask = blobs((31, 47), share, distance, np.random.default_rng(seed))
    assert np.count_nonzero(mask) == round(share * 31 * 47)


def test_holes_are_blobs_of_the_size_asked_for() -> None:
    def edges(distance: float) -> int:
        masks = [blobs((96, 128), 0.3, distance, np.random.default_rng(seed)) for seed in range(10)]
        return sum(int(np.count_nonzero(mask[1:] != mask[:-1])) for mask in masks)

    # scattered pixels would have 2 * 0.3 * 0.7 of all neighbours differ; blobs twice as far apart have half the outline
    assert edges(0.2) < 0.25 * 10 * 2 * 0.3 * 0.7 * 95 * 128
    assert 1.6 < edges(0.2) / edges(0.4) < 2.5


def test_noise_has_the_deviation_asked_for() -> None:
    depth = np.full((200, 250), 20, np.float32)
    for rules, deviation in ((Sparsify("all", noise=0.5), 0.5), (Sparsify("all", relative_noise=0.05), 1.0)):
        off = sparsify(depth, rules, 3) - depth
        # of 50000 draws: mean within 5 / sqrt(n), deviation within 5 / sqrt(2 n)
        assert abs(off.mean()) < 0.0224 * deviation and abs(off.std() / deviation - 1) < 0.016
    both = sparsify(depth, Sparsify("all", noise=0.3, relative_noise=0.02), 3) - depth
    assert abs(both.std() / 0.5 - 1) < 0.016
    assert sparsify(np.full((50, 50), 0.05, np.float32), Sparsify("all", noise=1), 3).min() == np.float32(NEAREST)


def test_outliers_are_exactly_as_many_and_within_the_frame() -> None:
    depth = make_depth(4, 0.5)
    sparse = sparsify(depth, Sparsify("all", outliers=0.2), 9)
    assert np.array_equal(sparse > 0, depth > 0)
    assert np.count_nonzero(sparse != depth) == round(0.2 * np.count_nonzero(depth))
    assert sparse[sparse > 0].min() >= depth[depth > 0].min() and sparse.max() <= depth.max()


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.floats(0, 10), st.floats(0, 0.5))
def test_a_misplaced_scanner_moves_points_rigidly(seed: int, turn: float, shift: float) -> None:
    depth = np.zeros((24, 40), np.float32)
    depth[11, 20], depth[12, 18] = 6.0, 4.0
    moved = sparsify(depth, Sparsify("all", turn=turn, shift=shift), seed, intrinsics=CAMERA)
    inverse = np.linalg.inv(CAMERA)

    def points(sparse: F32) -> NDArray[np.float64]:
        return np.array([inverse @ [u, v, 1] * sparse[v, u] for v, u in np.argwhere(sparse)])

    ends = points(moved)
    # a pixel is 1/30 of the depth wide, rounding moves a point by up to 0.71 of it
    for before, after in zip(sorted(np.linalg.norm(points(depth), axis=1)), sorted(np.linalg.norm(ends, axis=1)), strict=True):
        assert abs(after - before) <= shift + 0.03 * 6
    length = np.linalg.norm(np.diff(points(depth), axis=0))
    assert abs(np.linalg.norm(np.diff(ends, axis=0)) - length) < 2 * 0.024 * 7


def test_steps_come_in_their_order() -> None:
    depth = make_depth(3, 1.0)
    # points first: holes then take some of those, and of what is left a share is dropped
    pointed = make(depth, Sparsify(points=100), 1)
    holed = make(depth, Sparsify(points=100, holes=0.5), 1)
    dropped = make(depth, Sparsify(points=100, holes=0.5, drop=0.5), 1)
    assert np.all((pointed > 0)[holed > 0]) and np.all((holed > 0)[dropped > 0])
    left = np.count_nonzero(holed)
    assert np.count_nonzero(dropped) == left - round(left / 2)


def test_a_map_that_is_sparse_already_is_thinned() -> None:
    first = make(make_depth(3), Sparsify(points=300), 1)
    second = make(first, Sparsify(points=100), 2)
    assert np.count_nonzero(second) == 100 and np.all(first[second > 0] == second[second > 0])


def test_an_empty_map_stays_empty() -> None:
    for rules in [*EXACT, Sparsify(noise=0.1, outliers=0.5), Sparsify(turn=1, shift=0.1)]:
        assert not make(np.zeros((24, 40), np.float32), rules, 0).any()


def test_frame_seeds_by_another_route() -> None:
    digest = hashlib.sha256(b"7 0012").hexdigest()
    assert frame_seed(7, "0012") == int(digest[:16], 16) // 2 < 2**63
    assert len({frame_seed(seed, f"{n:04d}") for seed in range(3) for n in range(500)}) == 1500


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(0, 100), st.sampled_from(WITHHELD))
def test_what_is_given_and_what_is_withheld_are_the_scan(seed: int, frame: int, rules: Sparsify) -> None:
    scan = make_scan(frame)
    before = scan.copy()
    parts = drawn(scan, rules, seed, intrinsics=STREET)
    assert set(parts) == {"sparse_depth", "depth"}
    assert all(part.dtype == np.float32 and part.shape == scan.shape for part in parts.values())
    assert not ((parts["sparse_depth"] > 0) & (parts["depth"] > 0)).any()
    assert np.array_equal(parts["sparse_depth"] + parts["depth"], scan) and np.array_equal(scan, before)
    # what is given does not depend on whether the rest is kept
    assert np.array_equal(parts["sparse_depth"], sparsify(scan, replace(rules, withhold=False), seed, intrinsics=STREET))
    if rules.drop == 1.0:
        assert not parts["sparse_depth"].any()
    if rules.points == 40:
        assert np.count_nonzero(parts["depth"]) == np.count_nonzero(scan) - 40


@pytest.mark.parametrize("rules", WITHHELD)
def test_neither_part_holds_a_return_that_the_camera_cannot_see(rules: Sparsify) -> None:
    for frame in range(4):
        scan = make_scan(frame)
        hidden = occluded(scan, STREET)
        assert hidden.any()
        parts = drawn(scan, replace(rules, scanner="kitti", unoccluded=True), frame, intrinsics=STREET)
        for part in parts.values():
            assert not part[hidden].any()
        # judged once, by the whole scan: the rest is all there
        assert np.array_equal(parts["sparse_depth"] + parts["depth"], np.where(hidden, np.float32(0), scan))


def test_noise_is_on_what_is_given_alone_and_a_misplaced_scanner_leaves_the_truth_in_its_place() -> None:
    scan = make_scan(0)
    plain = drawn(scan, Sparsify("all", drop=0.5, withhold=True), 3)
    noisy = drawn(scan, Sparsify("all", drop=0.5, noise=0.5, outliers=0.2, withhold=True), 3)
    assert np.array_equal(noisy["depth"], plain["depth"])
    given_ = plain["sparse_depth"] > 0
    assert np.array_equal(noisy["sparse_depth"] > 0, given_)
    assert (noisy["sparse_depth"] != plain["sparse_depth"])[given_].mean() > 0.9
    moved = drawn(scan, Sparsify("all", drop=0.5, turn=3.0, withhold=True), 3, intrinsics=STREET)
    learned = moved["depth"] > 0
    assert np.array_equal(moved["depth"][learned], scan[learned])
    assert np.array_equal(learned, (scan > 0) & (moved["sparse_depth"] == 0))


def test_nothing_is_withheld_unasked() -> None:
    depth = make_depth(0)
    assert set(drawn(depth, Sparsify(), 0)) == {"sparse_depth"}
    assert np.array_equal(drawn(depth, Sparsify(points=9), 4)["sparse_depth"], sparsify(depth, Sparsify(points=9), 4))


def test_only_a_scan_can_be_divided() -> None:
    with pytest.raises(ConfigError, match="so sparse.source cannot be depth. Leave one out"):
        Sparsify(source="depth", withhold=True)
    with pytest.raises(ConfigError, match="leaves nothing to learn. Set sparse.drop=0.2, or sparse.pattern=lines"):
        Sparsify("all", withhold=True, drop=(0.0, 0.0))
    assert Sparsify(withhold=True).key({"depth", "sparse_depth"}) == "sparse_depth"
    with pytest.raises(ConfigError, match="made of 'sparse_depth', which this data set lacks"):
        Sparsify(withhold=True).key({"depth", "image"})


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("pattern", "hexagons", "choose all, random"),
        ("scanner", "vlp16", "choose camera or kitti"),
        ("source", "stereo", "choose auto"),
        ("points", 0, "at least 1"),
        ("points", (500, 50), "two rising"),
        ("lines", (64, 65), "between 1 and 64"),
        ("lines", (), "between 1 and 64"),
        ("drop", 1.5, "between 0 and 1"),
        ("drop", (0.5, 0.1), "two rising"),
        ("outliers", -0.1, "between 0 and 1"),
        ("holes", 0.99, "between 0 and 0.95"),
        ("hole_size", 0.0, "above 0"),
        ("noise", -1.0, "at least 0"),
        ("turn", float("nan"), "at least 0"),
        ("unoccluded", True, "Set sparse.scanner=kitti"),
    ],
)
def test_wrong_rules_are_named(field: str, value: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        replace(Sparsify(), **{field: value})
    assert f"sparse.{field}" in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_missing_is_named() -> None:
    depth = make_depth(0)
    calls: list[tuple[type[UserError], str, F32, Sparsify]] = [
        (ConfigError, "need the camera", depth, Sparsify("lines")),
        (ConfigError, "need the camera", depth, Sparsify(turn=1)),
        (ConfigError, "needs the image", depth, Sparsify("corners")),
        (ShapeError, "without a channel axis", depth[None], Sparsify()),
    ]
    for kind, says, given_depth, rules in calls:
        with pytest.raises(kind, match=says):
            sparsify(given_depth, rules, 0)
    with pytest.raises(ShapeError, match="differ in size"):
        sparsify(depth, Sparsify("corners"), 0, image=np.zeros((3, 3, 3), np.uint8))


def test_the_source_is_the_scan_unless_depth_is_asked_for() -> None:
    assert Sparsify().key({"depth", "sparse_depth"}) == "sparse_depth"
    assert Sparsify().key({"depth", "image"}) == "depth"
    assert Sparsify(source="depth").key({"depth", "sparse_depth"}) == "depth"
    with pytest.raises(ConfigError, match="lacks"):
        Sparsify(source="sparse_depth").key({"depth"})


def test_rules_are_read_from_yaml() -> None:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Sparsify, "sparse")
    settings_ = parser.parse_string("sparse: {points: [50, 5000], lines: [64, 16], drop: 0.5}").sparse
    assert Sparsify(**settings_) == Sparsify(points=(50, 5000), lines=(64, 16), drop=0.5)
    assert Sparsify(**parser.parse_string("sparse: {points: 200, lines: 8}").sparse) == Sparsify(points=200, lines=8)


def test_opencv_moves_points_to_the_same_pixels() -> None:
    from diorama.data.scan import moved

    random = np.random.default_rng(0)
    depth = np.zeros((48, 64), np.float32)
    depth[random.integers(5, 43, 20), random.integers(5, 59, 20)] = random.uniform(3, 20, 20)
    camera = np.array([[60.0, 0, 31], [0, 62, 24], [0, 0, 1]])
    axis, way = np.array([0.02, -0.03, 0.01]), np.array([0.1, -0.05, 0.2])
    v, u = np.nonzero(depth)
    points = np.stack([(u - 31) / 60, (v - 24) / 62, np.ones(len(u))], 1) * depth[v, u][:, None].astype(np.float64)
    pixels = np.rint(cv2.projectPoints(points, axis, way, camera, None)[0][:, 0]).astype(int)
    far = (cv2.Rodrigues(axis)[0] @ points.T)[2] + way[2]
    expected: dict[tuple[int, int], float] = {}
    for (x, y), z in zip(pixels.tolist(), far.tolist(), strict=True):
        expected[y, x] = min(expected.get((y, x), np.inf), z)
    found = moved(depth, camera, cv2.Rodrigues(axis)[0], way)
    assert {(int(a), int(b)) for a, b in np.argwhere(found)} == set(expected)
    for place, z in expected.items():
        assert found[place] == pytest.approx(z, rel=1e-6)


def test_of_points_that_meet_the_nearer_one_stays_and_those_behind_are_lost() -> None:
    from diorama.data.scan import moved

    depth = np.zeros((5, 5), np.float32)
    depth[2, 2], depth[2, 3], depth[4, 4] = 4.0, 2.0, 0.5
    camera = np.array([[2.0, 0, 2], [0, 2, 2], [0, 0, 1]])
    # 1 m to the left: pixel 3 at 2 m has x = 1 and comes to 0; pixel 2 at 4 m comes to x = -1, u = 1.5, rounded to 2
    found = moved(depth, camera, np.eye(3), np.array([-1.0, 0, 0]))
    assert found[2, 2] == 2.0 and np.count_nonzero(found) == 2
    # 1 m back: 0.5 m in front of the camera is then behind it
    assert np.argwhere(moved(depth, camera, np.eye(3), np.array([0, 0, -1.0]))).tolist() == [[2, 2], [2, 4]]
