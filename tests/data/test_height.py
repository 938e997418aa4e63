"""Heights in the key `depth`: the ground is known, holes are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from diorama.data import io
from diorama.data.height import HEIGHT_FLOOR, HEIGHT_SCALE, depth_of_height, height_meta, height_of_depth


def test_ground_is_known_and_holes_are_not() -> None:
    height = np.array([[0.0, -0.3, 0.004, 0.2], [12.5, np.nan, np.inf, 3.0]])
    known = np.array([[True, True, True, True], [True, True, True, False]])
    depth = depth_of_height(height, known)
    np.testing.assert_array_equal(depth, np.float32([[1 / 128, 1 / 128, 1 / 128, 0.2], [12.5, 0, 0, 0]]))
    assert depth.dtype == np.float32
    np.testing.assert_array_equal(depth_of_height(height)[1], np.float32([12.5, 0, 0, 3]))


def test_the_way_back() -> None:
    np.testing.assert_array_equal(height_of_depth(np.float32([1 / 128, 0.2, 12.5, 0])), np.float32([0, 0.2, 12.5, np.nan]))


def test_depth_files_keep_the_ground(tmp_path: Path) -> None:
    depth = depth_of_height(np.array([[0.0, 3.5], [np.nan, 0.0]]))
    io.write_depth_png(tmp_path / "a.png", depth)
    np.testing.assert_array_equal(height_of_depth(io.read_depth(tmp_path / "a.png")), np.float32([[0, 3.5], [np.nan, 0]]))


def test_a_frame_tells_unit_floor_and_scale() -> None:
    assert height_meta() == {"unit": "m above ground", "floor_m": HEIGHT_FLOOR, "scale_m": HEIGHT_SCALE}
