"""Scan lines, occluded and withheld returns: against ray casting, against the order of points in raw scans, by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diorama.data import io
from diorama.data.cache import resize_intrinsics, splat
from diorama.data.occlusion import beyond_minimum, occluded, withhold
from diorama.data.scan import KITTI, Lidar, camera_lidar, is_dense, kitti_lidar, nearest_line, returns, scan_lines, thinned
from diorama.data.sparsify import Sparsify, sparsify
from diorama.data.world.dataset import WorldStreet
from diorama.data.world.lidar import STREET_SCANNER, angles
from diorama.errors import ConfigError

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
CAMERA = np.array([[120.0, 0, 99.5], [0, 120, 29.5], [0, 0, 1]])
SIZE = (60, 200)
# 0.5 m above the camera, 0.27 m behind it, as upright; its lines are drawn about 3 px apart
BESIDE = Lidar(tuple(np.linspace(10, -14, 16).tolist()), (0.2,) * 16, (0.06, -0.3, -0.27))


def board_and_wall(near: float, left: float, right: float, top: float) -> tuple[F32, NDArray[np.int_]]:
    """What `BESIDE` sees of a board (from `top` down) before a wall at 20 m, as a map.

    And of each return 1: the board hides it, -1: it does not, 0: too near to the board's edge to tell from rounded pixels and from
    lines that are drawn 3 pixels apart, or no return.
    """
    start = np.array(BESIDE.origin) + np.array([0, -0.2, 0])
    line, pixel = np.radians(1.6) * near, near / 120
    sparse, hidden = np.zeros(SIZE, np.float32), np.zeros(SIZE, int)
    for elevation in np.radians(BESIDE.elevations):
        for azimuth in np.radians(np.arange(-40, 40, 0.7)):
            ray = np.array([np.cos(elevation) * np.sin(azimuth), -np.sin(elevation), np.cos(elevation) * np.cos(azimuth)])
            point = start + ray * (near - start[2]) / ray[2]
            at_wall = not (left <= point[0] <= right and point[1] >= top)
            if at_wall:
                point = start + ray * (20 - start[2]) / ray[2]
            u, v = (np.rint(CAMERA @ point / point[2])[:2]).astype(int).tolist()
            if not (0 <= u < SIZE[1] and 0 <= v < SIZE[0]) or 0 < sparse[v, u] <= point[2]:
                continue
            sparse[v, u] = point[2]
            x, y, _ = point * near / point[2]  # where the camera's ray to it passes the plane of the board
            sure = left + 3 * pixel < x < right - 3 * pixel and y > top + 1.4 * line
            clear = x < left - 3 * pixel or x > right + 3 * pixel or y < top - pixel
            hidden[v, u] = -1 if clear or not at_wall else int(sure)
    return sparse, hidden


@pytest.mark.parametrize(
    ("near", "left", "right", "top"), [(4, -1.5, 1.0, 0.1), (6, 0.5, 3.0, -0.3), (3, -0.2, 0.2, 0.0), (3, -1.0, 1.5, 0.3), (5, -2, 2, -0.6)]
)
def test_background_past_a_board_is_found(near: float, left: float, right: float, top: float) -> None:
    sparse, hidden = board_and_wall(near, left, right, top)
    found = occluded(sparse, CAMERA, BESIDE)
    assert (hidden == 1).sum() > 5
    assert found[hidden == 1].all() and not found[hidden == -1].any()


def test_the_local_minimum_takes_visible_returns_too() -> None:
    sparse, hidden = board_and_wall(6, 0.5, 3.0, -0.3)
    rough = beyond_minimum(sparse)
    assert rough[hidden == 1].all() and np.count_nonzero(rough[hidden == -1]) > 40


BOARD = board_and_wall(4, -1.5, 1.0, 0.1)


def test_a_scanner_in_the_cameras_place_sees_nothing_hidden() -> None:
    sparse = BOARD[0]
    assert not occluded(sparse, CAMERA, replace(BESIDE, heights=(0.0,) * 16, origin=(0.0, 0.0, 0.0))).any()


def test_upside_down_is_the_same() -> None:
    sparse = BOARD[0]
    x, y, z = BESIDE.origin
    below = Lidar(tuple(-e for e in BESIDE.elevations[::-1]), (-0.2,) * 16, (x, -y, z))
    # rows are symmetric about the principal point, 29.5
    assert np.array_equal(occluded(sparse[::-1], CAMERA, below)[::-1], occluded(sparse, CAMERA, BESIDE))


def test_the_local_minimum_by_hand() -> None:
    sparse = np.zeros((9, 9), np.float32)
    sparse[4, 4], sparse[4, 6], sparse[4, 8], sparse[0, 0] = 10.0, 11.5, 10.9, 50.0
    assert np.argwhere(beyond_minimum(sparse, window=5)).tolist() == [[4, 6]]
    assert np.argwhere(beyond_minimum(sparse, window=9)).tolist() == [[0, 0], [4, 6]]


def test_lines_of_single_rays() -> None:
    lines = np.full(SIZE, -1)
    sparse = np.zeros(SIZE, np.float32)
    for number in range(2, 15, 2):
        # a ray of line `number` that meets the plane at 8 m
        e = np.radians(BESIDE.elevations[number])
        x = (number * 10 - 80) / 120 * 8
        flat = np.hypot(8 + 0.27, x - 0.06)
        y = -0.3 - 0.2 - np.tan(e) * flat
        u, v = 120 * x / 8 + 99.5, 120 * y / 8 + 29.5
        sparse[round(v), round(u)], lines[round(v), round(u)] = 8.0, number
    assert np.array_equal(scan_lines(sparse, CAMERA, BESIDE), lines)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 5), st.integers(0, 3))
def test_lines_of_world_scans_are_those_of_its_scanner(index: int, seed: int) -> None:
    dataset = WorldStreet(6, size=(64, 128), seed=seed, stereo=False)
    camera = dataset.scene(index)[1]
    depth = np.random.default_rng(index).uniform(3, 60, (64, 128)).astype(np.float32)
    lidar = Lidar.upright(STREET_SCANNER.elevations, STREET_SCANNER.height, camera.rotation)
    elevation, azimuth, distance = angles(camera, STREET_SCANNER, depth)
    line = np.rint((elevation + 24.8) / (26.8 / 63)).clip(0, 63)
    found = returns(depth, camera.matrix, lidar)
    assert np.allclose(found.azimuth, azimuth.ravel(), atol=1e-2)
    assert np.allclose(np.hypot(found.flat, found.up), distance.ravel(), rtol=1e-4)
    # float32 there, float64 here: half-way cases may differ
    assert (63 - nearest_line(found, lidar)[0] == line.ravel()).mean() > 0.995
    assert Lidar.from_meta({"lidar": lidar.to_meta()}) == lidar and Lidar.from_meta({}) is None


def test_a_world_scan_is_thinned_by_its_lines() -> None:
    dataset = WorldStreet(1, size=(128, 256), stereo=False)
    frame, camera = dataset[0], dataset.scene(0)[1]
    lidar = Lidar.upright(STREET_SCANNER.elevations, STREET_SCANNER.height, camera.rotation)
    lines = scan_lines(frame["sparse_depth"], camera.matrix, lidar)
    for count in (64, 32, 16, 8, 4):
        sparse = sparsify(frame["sparse_depth"], Sparsify("lines", lines=count), 0, intrinsics=camera.matrix, lidar=lidar)
        every = 64 // count
        assert np.array_equal(sparse > 0, (lines >= 0) & (lines % every == every // 2)), count
        assert np.all(sparse[sparse > 0] == frame["sparse_depth"][sparse > 0])


def test_a_dense_map_is_scanned_where_the_lines_are() -> None:
    depth = np.full(SIZE, 5.0, np.float32)
    lidar = camera_lidar(CAMERA, SIZE)
    assert is_dense(depth)
    sparse = thinned(depth, CAMERA, 8, lidar)
    # by hand: 64 elevations between the image's upper and lower edge, of which 4, 12, 20, ... remain
    top, bottom = np.degrees(np.arctan(30 / 120)), -np.degrees(np.arctan(30 / 120))
    kept = [top + (4 + 8 * k + 0.5) * (bottom - top) / 64 for k in range(8)]
    for u in range(0, SIZE[1], 7):
        away = np.hypot(1, (u - 99.5) / 120)
        rows = [29.5 - 120 * np.tan(np.radians(e)) * away for e in kept]
        expected = [row for row in rows if -0.4 < row < SIZE[0] - 0.6]
        found = np.flatnonzero(sparse[:, u])
        assert len(expected) <= len(found) <= len(expected) + 2
        assert all(np.abs(found - row).min() <= 0.55 for row in expected)
    # 2 degrees between shots: 4.2 px in the middle, and each shot has one return per line
    coarse = thinned(depth, CAMERA, 8, lidar, step=2.0)
    columns = np.flatnonzero(coarse[:, 90:110].any(0))
    assert set(np.diff(columns)) <= {1, 2, 3, 4, 5} and np.count_nonzero(coarse) < 0.3 * np.count_nonzero(sparse)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 100), st.floats(0.02, 0.3))
def test_thinning_a_sparse_map_keeps_whole_lines(seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    sparse = np.where(random.random(SIZE) < share, random.uniform(2, 50, SIZE), 0).astype(np.float32)
    if is_dense(sparse):
        return
    lines = scan_lines(sparse, CAMERA, BESIDE)
    assert np.array_equal(thinned(sparse, CAMERA, 16, BESIDE), sparse)
    assert np.array_equal(thinned(sparse, CAMERA, 4, BESIDE), np.where((lines >= 0) & (lines % 4 == 2), sparse, 0))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**63), st.floats(0.01, 0.99), st.sampled_from(["random", "lines"]))
def test_withheld_returns_are_a_division_of_the_scan(seed: int, share: float, how: str) -> None:
    sparse = BOARD[0]
    parts = withhold(sparse, how, share, seed, intrinsics=CAMERA, lidar=BESIDE, clean=False)  # type: ignore[arg-type]
    assert np.array_equal(parts.sparse + parts.target, sparse) and not np.any((parts.sparse > 0) & (parts.target > 0))
    if how == "random":
        assert np.count_nonzero(parts.target) == round(share * np.count_nonzero(sparse))
    else:
        every = max(round(1 / share), 2)
        assert set(np.unique(scan_lines(parts.target, CAMERA, BESIDE))) <= {-1, *range(every // 2, 16, every)}
        assert not set(np.unique(scan_lines(parts.sparse, CAMERA, BESIDE))) & set(range(every // 2, 16, every))
    assert np.array_equal(parts.unoccluded, (parts.target > 0) & ~occluded(sparse, CAMERA, BESIDE))
    assert np.all(parts.covered <= (parts.target > 0))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_the_input_is_cleaned_without_a_look_at_the_targets(seed: int) -> None:
    sparse, hidden = BOARD
    parts = withhold(sparse, "random", 0.2, seed, intrinsics=CAMERA, lidar=BESIDE)
    given = np.where(parts.target > 0, 0, sparse)
    assert np.array_equal(parts.sparse, np.where(occluded(given, CAMERA, BESIDE), 0, given))
    assert (parts.sparse[hidden == 1] > 0).sum() < 0.1 * (given[hidden == 1] > 0).sum()


def test_targets_above_the_top_input_point() -> None:
    sparse = np.zeros((8, 40), np.float32)
    sparse[[2, 4, 5], [3, 9, 30]] = 7.0
    sparse[[1, 2, 7], [3, 4, 20]] = 8.0  # the targets
    far = Lidar((20.0, -20.0), (0.0, 0.0))
    for seed in range(1000):
        parts = withhold(sparse, "random", 0.5, seed, intrinsics=np.diag([20.0, 20, 1]), lidar=far, clean=False, aside=8)
        if np.all((parts.target > 0) == (sparse == 8)):
            break
    # (1, 3) lies above the input's highest, (2, 3); (2, 4) beside it; (7, 20) has no input within 8 columns
    assert np.argwhere(parts.covered).tolist() == [[2, 4]]


def test_wrong_requests_are_named() -> None:
    sparse = np.zeros(SIZE, np.float32)
    with pytest.raises(ConfigError, match="choose random or lines"):
        withhold(sparse, "columns", intrinsics=CAMERA)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="above 0 and below 1"):
        withhold(sparse, share=1.0, intrinsics=CAMERA)
    with pytest.raises(ConfigError, match="need the camera"):
        withhold(sparse)
    with pytest.raises(ConfigError, match="one of each per line"):
        Lidar((1.0, 0.0), (0.0,))
    with pytest.raises(ConfigError, match="from the top line"):
        Lidar((0.0, 1.0), (0.0, 0.0))
    assert not occluded(sparse, CAMERA).any() and not withhold(sparse, intrinsics=CAMERA).target.any()


def _calibration(root: Path, number: str) -> tuple[F64, F64]:
    """`(3, 4)` LiDAR -> left colour camera and its `(3, 3)` matrix of a frame in the object layout."""
    rows = (line.split(":") for line in (root / f"calib/{number}.txt").read_text().splitlines() if ":" in line)
    values = {key: np.array(text.split(), float) for key, text in rows}
    projection, rectify = values["P2"].reshape(3, 4), values["R0_rect"].reshape(3, 3)
    moved = rectify @ values["Tr_velo_to_cam"].reshape(3, 4)
    moved[:, 3] += np.linalg.inv(projection[:, :3]) @ projection[:, 3]
    return moved, projection[:, :3]


@pytest.mark.parametrize("number", ["000000", "000001"])
def test_lines_are_the_rings_of_a_raw_scan(real_data: Path, number: str) -> None:
    root = real_data / "kitti_object/training"
    if not root.is_dir():
        pytest.skip("no kitti_object among the real frames")
    points = np.fromfile(root / f"velodyne/{number}.bin", np.float32).reshape(-1, 4)[:, :3].astype(np.float64)
    # a raw scan lists one ring after the other: the azimuth jumps back by a turn where the next begins
    azimuth = np.degrees(np.arctan2(points[:, 1], points[:, 0])) % 360
    ring = np.concatenate([[0], np.cumsum(np.diff(azimuth) < -180)])
    assert ring.max() == 63
    pose, camera = _calibration(root, number)
    seen = pose[:, :3] @ points.T + pose[:, 3:]
    front = seen[2] > 1
    seen, ring = seen[:, front], ring[front]
    pixels = np.rint((camera @ seen)[:2] / seen[2]).astype(int) - 1  # as KITTI's development kit counts
    inside = (pixels[0] >= 0) & (pixels[0] < 1224) & (pixels[1] >= 0) & (pixels[1] < 370)
    far_first = np.flatnonzero(inside)[np.argsort(-seen[2, inside])]
    sparse, rings = np.zeros((370, 1224), np.float32), np.full((370, 1224), -1)
    sparse[pixels[1, far_first], pixels[0, far_first]] = seen[2, far_first]
    rings[pixels[1, far_first], pixels[0, far_first]] = ring[far_first]
    lidar = kitti_lidar(pose)
    lines = scan_lines(sparse, camera, lidar)
    assert np.array_equal(lines >= 0, rings >= 0)
    assert (lines == rings)[rings >= 0].mean() > 0.999
    assert (np.abs(nearest_line(returns(sparse, camera, lidar), lidar)[1]) < 0.08).mean() > 0.99
    if number == "000001":  # the day whose calibration is the default
        assert np.allclose(lidar.origin, KITTI.origin, atol=1e-3) and np.allclose(lidar.axes, KITTI.axes, atol=1e-5)


def test_real_scans(real_data: Path) -> None:
    folder = real_data / "kitti_lidar"
    if not folder.is_dir():
        pytest.skip("no kitti_lidar among the real frames")
    near, hidden, rough, same = [], [], [], []
    for path in sorted((folder / "velodyne_raw").glob("sfnd*.png"))[::7]:
        sparse = io.read_depth(path, 256.0)
        camera = np.loadtxt(folder / f"intrinsics/{path.stem}.txt")
        near.append((np.abs(nearest_line(returns(sparse, camera))[1]) < 0.08).mean())
        known = np.count_nonzero(sparse)
        hidden.append(np.count_nonzero(occluded(sparse, camera)) / known)
        rough.append(np.count_nonzero(beyond_minimum(sparse)) / known)
        # at half size each return is on the line that it is on at full size
        half = splat(sparse, (176, 608))
        small = scan_lines(half, resize_intrinsics(camera, (352, 1216), (176, 608)))
        v, u = np.nonzero((sparse > 0) & (half.repeat(2, 0).repeat(2, 1) == sparse))
        same.append((small[v // 2, u // 2] == scan_lines(sparse, camera)[v, u]).mean())
    # 0.08 degrees are one pixel; the calibration of these frames' day is not known, the default is that of another
    assert min(near) > 0.96 and min(same) > 0.97
    assert 0.02 < np.mean(hidden) < 0.05 and 0.06 < np.mean(rough) < 0.1
