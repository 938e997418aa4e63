"""Back-projection against numbers worked out by hand, and .ply files read back byte by byte."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diorama.errors import ConfigError, ShapeError
from diorama.prediction.pointcloud import PointCloud, back_project, intrinsics_from_field_of_view, view, write_ply

K = np.array([[100.0, 0, 2.0], [0, 50.0, 1.0], [0, 0, 1]])


def small_scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    depth = np.zeros((3, 5), np.float32)
    depth[0, 0], depth[1, 2], depth[2, 4] = 4.0, 2.0, 10.0
    image = np.arange(45, dtype=np.uint8).reshape(3, 5, 3)
    return depth, image, np.arange(15, dtype=np.uint8).reshape(3, 5)


def test_points_are_those_worked_out_by_hand() -> None:
    depth, image, semantic = small_scene()
    cloud = back_project(depth, image, K, semantic=semantic, max_jump=None)
    # x = (u - cx) z / fx, y = (v - cy) z / fy
    expected = [[(0 - 2) * 4 / 100, (0 - 1) * 4 / 50, 4], [0, 0, 2], [(4 - 2) * 10 / 100, (2 - 1) * 10 / 50, 10]]
    np.testing.assert_allclose(cloud.points, expected, rtol=1e-6)
    assert cloud.colours.tolist() == [[0, 1, 2], [21, 22, 23], [42, 43, 44]]
    assert cloud.labels is not None
    assert cloud.labels.tolist() == [0, 7, 14]


def test_a_ply_holds_the_same_points_read_back_byte_by_byte(tmp_path: Path) -> None:
    depth, image, semantic = small_scene()
    cloud = back_project(depth, image, K, semantic=semantic, max_jump=None)
    write_ply(tmp_path / "a.ply", cloud, comments=("two\nlines",))
    header, _, body = (tmp_path / "a.ply").read_bytes().partition(b"end_header\n")
    lines = header.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    assert "comment two lines" in lines
    assert any("metres" in line and "z forward" in line for line in lines)
    assert [line.split()[-1] for line in lines if line.startswith("property")] == ["x", "y", "z", "red", "green", "blue", "label"]
    assert "element vertex 3" in lines
    rows = list(struct.iter_unpack("<fffBBBB", body))
    np.testing.assert_allclose([row[:3] for row in rows], cloud.points)
    assert [row[3:] for row in rows] == [(0, 1, 2, 0), (21, 22, 23, 7), (42, 43, 44, 14)]
    assert [path.name for path in tmp_path.iterdir()] == ["a.ply"]


def test_a_field_of_view_spans_the_picture() -> None:
    camera = intrinsics_from_field_of_view(480, 640, 90.0)
    # Pixel edges lie at -0.5 and 639.5; both are seen at 45 degrees.
    assert math.degrees(math.atan((639.5 - camera[0, 2]) / camera[0, 0])) == pytest.approx(45)
    assert math.degrees(math.atan((-0.5 - camera[0, 2]) / camera[0, 0])) == pytest.approx(-45)
    assert camera[1, 2] == 239.5
    with pytest.raises(ConfigError, match="between 1 and 179"):
        intrinsics_from_field_of_view(480, 640, 180.0)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 60), st.integers(2, 60), st.integers(1, 500))
def test_large_pictures_are_thinned_to_the_limit(height: int, width: int, limit: int) -> None:
    depth = np.ones((height, width), np.float32)
    cloud = back_project(depth, np.zeros((height, width, 3), np.uint8), np.eye(3), max_points=limit)
    step = math.ceil(math.sqrt(height * width / limit)) if height * width > limit else 1
    assert len(cloud.points) == math.ceil(height / step) * math.ceil(width / step)


def test_pixels_torn_off_between_two_surfaces_are_left_out() -> None:
    depth = np.ones((4, 6), np.float32)
    depth[:, 3], depth[:, 4:] = 1.5, 2.0  # column 3 hangs in the air between 1 m and 2 m
    cloud = back_project(depth, np.zeros((4, 6, 3), np.uint8), np.eye(3))
    assert sorted(set(cloud.points[:, 2].tolist())) == [1.0, 2.0]
    assert len(cloud.points) == 4 * 5


def test_a_clean_edge_and_a_slanted_plane_keep_every_pixel() -> None:
    edge = np.ones((4, 6), np.float32)
    edge[:, 3:] = 3.0
    slanted = np.tile(np.linspace(2, 2.5, 40, dtype=np.float32), (30, 1))
    for depth in (edge, slanted):
        assert len(back_project(depth, np.zeros((*depth.shape, 3), np.uint8), np.eye(3)).points) == depth.size


def test_arrays_of_different_size_are_refused() -> None:
    with pytest.raises(ShapeError, match="differ in size"):
        back_project(np.ones((3, 4), np.float32), np.zeros((3, 5, 3), np.uint8), np.eye(3))
    with pytest.raises(ShapeError, match=r"not \(3, 3\)"):
        back_project(np.ones((3, 4), np.float32), np.zeros((3, 4, 3), np.uint8), np.eye(4))


def test_the_view_draws_near_points_over_far_ones() -> None:
    # A red wall 4 m away, and before its middle a blue plate at 2 m: seen straight on, the middle is blue, the rim red.
    rows, columns = (grid.ravel() for grid in np.mgrid[-1:1:41j, -1:1:41j])
    wall = np.stack([columns * 2, rows * 2, np.full_like(rows, 4)], 1)
    plate = np.stack([columns * 0.3, rows * 0.3, np.full_like(rows, 2)], 1)
    points = np.concatenate([plate, wall]).astype(np.float32)
    colours = np.concatenate([np.tile([[0, 0, 255]], (41 * 41, 1)), np.tile([[255, 0, 0]], (41 * 41, 1))]).astype(np.uint8)
    picture = view(PointCloud(points, colours, None), 61, 61, yaw=0, pitch=0)
    assert picture[30, 30].tolist() == [0, 0, 255]
    assert picture[6, 6].tolist() == picture[54, 54].tolist() == [255, 0, 0]


def test_the_view_moves_to_the_right_and_up() -> None:
    # A near and a far point straight ahead: from the right the near one shifts left of the far one, from above it lies lower.
    points = np.array([[0, 0, 2], [0, 0, 6], [-3, -3, 4], [3, 3, 4]], np.float32)
    colours = np.array([[255, 0, 0], [0, 255, 0], [9, 9, 9], [9, 9, 9]], np.uint8)
    picture = view(PointCloud(points, colours, None), 200, 200).astype(int)
    near = np.argwhere((picture == (255, 0, 0)).all(-1)).mean(0)
    far = np.argwhere((picture == (0, 255, 0)).all(-1)).mean(0)
    assert near[1] < far[1]
    assert near[0] > far[0]


def test_no_points_give_the_background() -> None:
    empty = PointCloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8), None)
    assert (view(empty, 4, 5, background=(1, 2, 3)) == (1, 2, 3)).all()
