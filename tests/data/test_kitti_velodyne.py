"""Scans and calibration: hand-computed projections, a brute-force loop, the annotated boxes of real frames, and bad files."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from diorama.data import io
from diorama.data.kitti_calibration import read_camera, read_values, require_same_day, require_size
from diorama.data.kitti_velodyne import implausible, laser_lines, read_points, read_scan, seen, sparse_depth, write_points
from diorama.data.scan import kitti_lidar, scan_lines
from diorama.errors import ConfigError, DataError, ShapeError

# camera = (-y, -z - 0.08, x - 0.27); u = 100 X / Z + 50, v = 100 Y / Z + 40
CALIBRATION = """calib_time: 09-Jan-2012 13:57:47
P_rect_02: 100 0 50 0 0 100 40 0 0 0 1 0
P_rect_03: 100 0 50 -54 0 100 40 0 0 0 1 0
S_rect_02: 1.00e+02 8.0e+01
R_rect_00: 1 0 0 0 1 0 0 0 1
"""
SCANNER = "R: 0 -1 0 0 0 -1 1 0 0\nT: 0 -0.08 -0.27\n"


@pytest.fixture
def day(tmp_path: Path) -> Path:
    folder = tmp_path / "2011_09_26"
    folder.mkdir()
    (folder / "calib_cam_to_cam.txt").write_text(CALIBRATION)
    (folder / "calib_velo_to_cam.txt").write_text(SCANNER)
    return folder


def points(*rows: tuple[float, float, float]) -> np.ndarray:
    return np.array([(*row, 0.5) for row in rows], np.float32)


def test_a_days_calibration(day: Path) -> None:
    camera = read_camera(day)
    assert camera.size == (80, 100)
    assert camera.baseline == pytest.approx(0.54)
    assert np.array_equal(camera.intrinsics, [[100, 0, 50], [0, 100, 40], [0, 0, 1]])
    # row of u: 100 (-y) + 50 (x - 0.27); row of v: 100 (-z - 0.08) + 40 (x - 0.27); row of w: x - 0.27
    assert np.allclose(camera.projection, [[50, -100, 0, -13.5], [40, 0, -100, -18.8], [1, 0, 0, -0.27]])
    assert read_camera(day, 3).baseline is None
    without = read_camera(day / "calib_cam_to_cam.txt")
    assert without.projection is None
    assert without.baseline == pytest.approx(0.54)


def test_baseline_does_not_mistake_a_shift_along_the_axis_for_one_across(tmp_path: Path) -> None:
    # P = K [I | t] with K of 700, 600 and t = (0.06, 0, 0.005) left, (-0.48, 0, 0.003) right: p03 = 700 t_x + 600 t_z
    (tmp_path / "a.txt").write_text(
        "P2: 700 0 600 45 0 700 180 0.9 0 0 1 0.005\nP3: 700 0 600 -334.2 0 700 180 0.54 0 0 1 0.003\n"
        "R0_rect: 1 0 0 0 1 0 0 0 1\nTr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0\n"
    )
    assert read_camera(tmp_path / "a.txt").baseline == pytest.approx(0.54)


def test_points_land_where_a_pencil_puts_them(day: Path) -> None:
    projection = read_camera(day).projection
    scan = points(
        (10.27, -1.0, -0.08),  # camera (1, 0, 10): u 60, v 40 -> pixel 59, 39
        (5.27, -0.5, -0.08),  # the same ray at 5 m: nearer, wins
        (10.27, -1.06, -0.14),  # camera (1.06, 0.06, 10): u 60.6, v 40.6 -> pixel 60, 40
        (-9.73, 1.0, -0.08),  # behind the camera, would land on 59, 39
        (20.27, 12.0, -0.08),  # u = 50 - 60 < 0
        (4.27, -1.998, -0.08),  # camera (1.998, 0, 4): u 99.95 -> pixel 99, the last one
        (4.27, -2.04, -0.08),  # u 101 -> pixel 100: outside
        (0.77, 0.248, 0.12),  # camera (-0.248, -0.2, 0.5): u 0.4, v 0 -> pixel -1: outside
    )
    returns = seen(scan, projection, (80, 100))
    found = {(int(r), int(c)): (float(d), int(p)) for r, c, d, p in zip(*returns[:4], strict=True)}
    assert set(found) == {(39, 59), (40, 60), (39, 99)}
    assert found[39, 59] == (pytest.approx(5.0, abs=1e-5), 1)
    assert found[40, 60] == (pytest.approx(10.0, abs=1e-5), 2)
    assert found[39, 99] == (pytest.approx(4.0, abs=1e-5), 5)
    heights = returns.image(scan[:, 2], empty=np.nan)
    assert heights[39, 59] == np.float32(-0.08)
    assert np.isnan(heights).sum() == 80 * 100 - 3


def test_halves_go_away_from_zero() -> None:
    # u = x / z, v = y / z, exact in binary: 2.5 -> 3 counted from 1 -> 2; rounding halves to even would give 1
    returns = seen(points((2.5, 1.5, 1), (5, 7, 2)), np.eye(3, 4), (4, 4))
    assert list(zip(returns.rows, returns.columns, strict=True)) == [(1, 2), (3, 2)]


def test_nearest_wins_as_a_loop_says(day: Path) -> None:
    random = np.random.default_rng(3)
    scan = np.stack([random.uniform(-5, 12, 4000), random.normal(0, 3, 4000), random.normal(0, 2, 4000), np.zeros(4000)], 1).astype("f4")
    projection = read_camera(day).projection
    expected = np.zeros((80, 100))
    for x, y, z, _ in scan.astype(float):
        depth = x - 0.27
        if depth <= 0:
            continue
        column = int(np.floor(100 * -y / depth + 50 + 0.5)) - 1
        row = int(np.floor(100 * (-z - 0.08) / depth + 40 + 0.5)) - 1
        if 0 <= column < 100 and 0 <= row < 80 and (expected[row, column] == 0 or depth < expected[row, column]):
            expected[row, column] = depth
    made = sparse_depth(scan, projection, (80, 100))
    assert (expected > 0).sum() > 500
    assert np.abs(made - expected).max() < 1e-5
    assert not sparse_depth(scan[:0], projection, (80, 100)).any()


def test_lines_are_counted_from_the_top() -> None:
    # three turns that begin just past straight ahead, to the left
    turn = np.radians(np.arange(0.5, 360, 2.0))
    scan = np.concatenate([points(*[(10 * np.cos(a), 10 * np.sin(a), z) for a in turn]) for z in (0.5, -0.2, -1.0)])
    assert np.array_equal(laser_lines(scan), np.repeat([0, 1, 2], len(turn)))
    assert laser_lines(scan[:0]).shape == (0,)


def test_bad_scans(tmp_path: Path, day: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "scan.bin"
    for data in (b"", b"x" * 17):
        path.write_bytes(data)
        with pytest.raises(DataError, match=rf"scan.bin: {len(data)} bytes, expected a multiple of 16 .*Copy or download"):
            read_points(path)
    with pytest.raises(DataError, match="no such file. Check the path"):
        read_points(tmp_path / "none.bin")
    scan = points((10, 0, 0), (np.nan, 0, 0), (9, np.inf, 0))
    write_points(path, scan)
    with caplog.at_level(logging.WARNING, logger="diorama"):
        assert np.array_equal(read_points(path), scan[:1])
    assert "2 of 3 points are NaN or infinite" in caplog.text
    write_points(path, scan[1:])
    with pytest.raises(DataError, match="no finite point among 2. Copy or download"):
        read_points(path)
    write_points(path, points((-10, 0, 0)))
    with pytest.raises(DataError, match=r"no return is in view of the camera. Is the calibration that of this scan\?"):
        read_scan(path, read_camera(day), (80, 100))
    with pytest.raises(DataError, match="says nothing of the scanner. Use the day's folder"):
        read_scan(path, read_camera(day / "calib_cam_to_cam.txt"), (80, 100))
    with pytest.raises(ShapeError, match=r"a scan is \(N, 4\)"):
        write_points(path, scan[:, :3])
    with pytest.raises(ShapeError, match=r"expected \(N, 4\) and \(3, 4\)"):
        seen(scan[0], np.eye(3, 4), (2, 2))


def test_bad_calibration(day: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no camera 4. Choose 2"):
        read_camera(day, 4)
    with pytest.raises(DataError, match="cannot be read .*Unpack KITTI's calibration files there"):
        read_camera(tmp_path / "none.txt")
    file = day / "calib_cam_to_cam.txt"
    for change, message in (
        (("P_rect_02: 100 0 50", "P_rect_02: 100 0"), "damaged numbers behind 'P_rect_02:'"),
        (("R_rect_00: 1 0 0", "R_rect_00: 2 0 0"), "'R_rect_00' is no rotation"),
        (("P_rect_02", "P_wrong"), "no 'P_rect_02:'"),
        (("P_rect_02: 100", "P_rect_02: -100"), "not positive"),
    ):
        file.write_text(CALIBRATION.replace(*change))
        with pytest.raises(DataError, match=message):
            read_camera(day)
    file.write_bytes(b"\xff\xfe\x00P2")
    with pytest.raises(DataError, match="not a text file"):
        read_values(file)


def test_calibration_of_another_day(day: Path) -> None:
    require_same_day(day, "2011_09_26_drive_0001_sync")
    require_same_day("calib", "2011_09_26_drive_0001_sync")
    with pytest.raises(DataError, match=r"calibration of another day .*Use the files of 2011_09_28"):
        require_same_day(day, "2011_09_28_drive_0001_sync/velodyne_points/data/0000000000.bin")
    require_size(read_camera(day), (80, 100), "x.png")
    with pytest.raises(DataError, match=r"x.png: 101x80, but the calibration is for 100x80: of another day\?"):
        require_size(read_camera(day), (80, 101), "x.png")


def test_units_that_cannot_be_a_street() -> None:
    street = np.geomspace(4, 90, 1000, dtype=np.float32)
    assert implausible(street) is None
    assert implausible(np.zeros((4, 4), np.float32)) is None
    # a file of millimetres read as metres * 256
    assert "millimetres? KITTI stores metres * 256" in str(implausible((np.minimum(street * 1000, 65535) / 256).astype(np.float32)))
    assert "a scale too small?" in str(implausible(street / 256))


def test_real_scans_agree_with_the_projected_files(real_data: Path) -> None:
    for name in ("000000", "000001"):
        base = real_data / "kitti_object" / "training"
        camera = read_camera(base / "calib" / f"{name}.txt")
        height, width = io.image_size(base / "image_2" / f"{name}.png")
        depth = read_scan(base / "velodyne" / f"{name}.bin", camera, (height, width))
        left = (width - 1216) // 2
        stored = io.read_depth(real_data / "kitti_lidar" / "velodyne_raw" / f"object_{name}.png", 256)
        mine = depth[height - 352 :, left : left + 1216]
        assert np.array_equal(mine > 0, stored > 0)
        assert np.abs(mine - stored).max() <= 0.5 / 256 + 1e-5
        # counted in the scan and found from the elevations in the map, the lines are the same
        scan = read_points(base / "velodyne" / f"{name}.bin")
        lines = laser_lines(scan)
        assert lines.max() == 63
        found = scan_lines(depth, camera.intrinsics, kitti_lidar(camera.scanner_to_camera))
        counted = seen(scan, camera.projection, depth.shape).image(lines, empty=-1)
        assert (found[depth > 0] == counted[depth > 0]).mean() > 0.999


def test_returns_of_annotated_boxes_land_in_their_rectangles(real_data: Path) -> None:
    """The labels were drawn by people in 3D and in the picture: points inside the 3D box must show inside the 2D one."""
    base, checked = real_data / "kitti_object" / "training", 0
    for name in ("000000", "000001"):
        values = read_values(base / "calib" / f"{name}.txt")
        scan = read_points(base / "velodyne" / f"{name}.bin")
        camera = read_camera(base / "calib" / f"{name}.txt")
        returns = seen(scan, camera.projection, io.image_size(base / "image_2" / f"{name}.png"))
        rectified = (
            values["R0_rect"].reshape(3, 3) @ (values["Tr_velo_to_cam"].reshape(3, 4) @ np.c_[scan[:, :3], np.ones(len(scan))].T)
        ).T
        for line in (base / "label_2" / f"{name}.txt").read_text().splitlines():
            kind, *words = line.split()
            if kind == "DontCare":
                continue
            left, top, right, bottom, high, wide, long, x, y, z, turn = (float(word) for word in words[3:14])
            away = rectified - (x, y, z)
            along = np.cos(turn) * away[:, 0] - np.sin(turn) * away[:, 2]
            across = np.sin(turn) * away[:, 0] + np.cos(turn) * away[:, 2]
            inside = (np.abs(along) < long / 2) & (np.abs(across) < wide / 2) & (away[:, 1] < -0.1) & (away[:, 1] > -high)
            shown = inside[returns.points]
            checked += int(shown.sum())
            rows, columns = returns.rows[shown], returns.columns[shown]
            assert ((columns > left - 4) & (columns < right + 4) & (rows > top - 4) & (rows < bottom + 4)).all(), kind
            assert (np.abs(returns.depth[shown] - z) < max(long, wide)).all()
    assert checked > 300
