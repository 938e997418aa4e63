"""The protocols of depth completion, each against numbers worked out by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diorama.data.sparse_dataset import SparseDataset
from diorama.data.sparsify import Sparsify
from diorama.errors import ProtocolError
from diorama.evaluation.delta import Run
from diorama.evaluation.depth import depth_columns
from diorama.evaluation.metrics import frame_metrics, score
from diorama.evaluation.points import points_of, points_text
from diorama.evaluation.protocols import PROTOCOLS, Protocol, by_name
from diorama.evaluation.table import FrameTable

Pixels = dict[tuple[int, int], tuple[float, float]]
"""Row and column -> true and predicted depth [m]."""

WITHHELD = [name for name in PROTOCOLS if name.startswith("kitti_withheld")]


def table(protocol: Protocol, size: tuple[int, int], *frames: Pixels) -> FrameTable:
    rows = FrameTable()
    for number, pixels in enumerate(frames):
        truth, predicted = np.zeros(size, np.float32), np.ones(size, np.float32)
        for place, (d, p) in pixels.items():
            truth[place], predicted[place] = d, p
        rows.add(number, str(number), depth_columns(truth, predicted, protocol))
    return rows


# at 375x1242 the crop is rows 23..374 and columns 13..1228: the first three lie just outside of it
STREETS: tuple[Pixels, Pixels] = (
    {(22, 13): (50.0, 1.0), (23, 12): (50.0, 1.0), (374, 1229): (50.0, 1.0), (23, 13): (10.0, 12.5)},
    {(374, 1228): (5.0, 4.0), (200, 600): (4.0, 0.2), (201, 600): (99.0, 120.0), (202, 600): (100.0, 1.0)},
)
# errors of the counted pixels: 2.5 m; 1 m, 3.1 m (0.2 is clipped to 0.9) and 1 m (120 to 100); 100 m is not counted
INVERSE = (1000 / 10 - 1000 / 12.5, 1000 / 4 - 1000 / 5, 1000 / 0.9 - 1000 / 4, 1000 / 99 - 1000 / 100)


def test_kitti_completion_is_the_mean_of_the_images_in_millimetres() -> None:
    protocol = by_name("kitti_completion")
    found = score(table(protocol, (375, 1242), *STREETS), protocol, draws=0)
    expected = {
        "rmse": (2500 + 1000 * math.sqrt((1 + 3.1**2 + 1) / 3)) / 2,
        "mae": (2500 + 1000 * 5.1 / 3) / 2,
        "irmse": (INVERSE[0] + math.sqrt((INVERSE[1] ** 2 + INVERSE[2] ** 2 + INVERSE[3] ** 2) / 3)) / 2,
        "imae": (INVERSE[0] + sum(INVERSE[1:]) / 3) / 2,
        "abs_rel": (0.25 + (1 / 5 + 3.1 / 4 + 1 / 99) / 3) / 2,
    }
    assert {name: found[name].value for name in expected} == pytest.approx(expected, rel=1e-6)
    assert [found[name].unit for name in expected] == ["mm", "mm", "1/km", "1/km", "1"]


def test_kitti_completion_pooled_weighs_every_pixel_alike() -> None:
    protocol = by_name("kitti_completion_pooled")
    found = score(table(protocol, (375, 1242), *STREETS), protocol, draws=0)
    expected = {
        "rmse": 1000 * math.sqrt((2.5**2 + 1 + 3.1**2 + 1) / 4),
        "mae": 1000 * (2.5 + 5.1) / 4,
        "irmse": math.sqrt(sum(value**2 for value in INVERSE) / 4),
        "imae": sum(INVERSE) / 4,
    }
    assert {name: found[name].value for name in expected} == pytest.approx(expected, rel=1e-6)


def test_the_kitti_crop_is_cut_once() -> None:
    protocol = by_name("kitti_completion")
    for width, left in ((1242, 13), (1241, 12), (1238, 11), (1226, 5), (1224, 4), (1216, 0)):
        rows, columns = protocol.region(375 if width > 1216 else 352, width)
        assert (rows.start, rows.stop - rows.start) == (23 if width > 1216 else 0, 352)
        assert (columns.start, columns.stop - columns.start) == (left, 1216)
    with pytest.raises(ProtocolError, match="does not fit into 256x512"):
        protocol.region(256, 512)


@pytest.mark.parametrize("points", [500, 200, 50])
def test_nyuv2_completion_by_hand(points: int) -> None:
    protocol = by_name(f"nyuv2_completion_{points}")
    assert protocol.sparse == points_text(Sparsify(points=points), 0, (228, 304))
    assert f"input points: {points} random points inside the middle 228x304, seed 0;" in protocol.sentence()
    # at 240x320 the crop is rows 6..233 and columns 8..311
    rooms: tuple[Pixels, Pixels] = (
        {(5, 8): (2.0, 9.0), (6, 7): (2.0, 9.0), (234, 311): (2.0, 9.0), (6, 8): (2.0, 2.5), (233, 311): (4.0, 3.5)},
        {(100, 100): (1.0, 0.01), (100, 101): (10.0, 1.0)},
    )
    found = score(table(protocol, (240, 320), *rooms), protocol, draws=0)
    # errors 0.5 and 0.5; 0.9 (0.01 is clipped to 0.1, 10 m is not counted). Ratios 1.25, 4 / 3.5, 10: only the second is below 1.25
    expected = {
        "rmse": (0.5 + 0.9) / 2, "mae": (0.5 + 0.9) / 2, "abs_rel": ((0.25 + 0.125) / 2 + 0.9) / 2, "delta1": (0.5 + 0) / 2,
        "delta2": (1.0 + 0) / 2, "delta3": (1.0 + 0) / 2,
    }  # fmt: skip
    assert {name: found[name].value for name in expected} == pytest.approx(expected, rel=1e-6)
    assert (found["rmse"].unit, found["abs_rel"].unit) == ("m", "1")
    assert protocol.region(228, 304) == (slice(0, 228), slice(0, 304))
    with pytest.raises(ProtocolError, match="cut from 240x320, the truth has 480x640"):
        protocol.region(480, 640)


@pytest.mark.parametrize("name", WITHHELD)
def test_withheld_lidar_by_hand(name: str) -> None:
    protocol = by_name(name)
    found = score(table(protocol, (375, 1242), *STREETS), protocol, draws=0)
    assert found["rmse"].value == pytest.approx((2500 + 1000 * math.sqrt((1 + 3.1**2 + 1) / 3)) / 2, rel=1e-6)
    assert found["rmse"].unit == "mm"
    others = [other for other in WITHHELD if other != name]
    assert all(protocol.differences(by_name(other)) for other in others)  # each kind of target is a protocol of its own


def test_lengths_are_reported_in_the_unit_of_the_protocol_with_their_intervals() -> None:
    metres = by_name("kitti_completion", unit="m")
    rows = table(metres, (375, 1242), *STREETS)
    long, short = score(rows, metres)["rmse"], score(rows, by_name("kitti_completion"))["rmse"]
    assert short.value == 1000 * long.value
    assert short.interval == pytest.approx(tuple(1000 * bound for bound in long.interval or ()))
    assert frame_metrics(rows)["rmse"].tolist() == pytest.approx([2.5, math.sqrt((1 + 3.1**2 + 1) / 3)], rel=1e-6)
    with pytest.raises(ProtocolError, match="different metrics"):
        short.better_than(long)
    with pytest.raises(ProtocolError, match="Choose m or mm"):
        metres.vary(unit="km")
    assert "counted: 0.001 < depth < 100 m;" in by_name("kitti_completion").sentence()
    assert by_name("kitti_completion").sentence().endswith("lengths: in mm.")


def test_other_points_are_another_protocol() -> None:
    protocol = by_name("nyuv2_completion_500")
    rules, middle = Sparsify(points=500), (228, 304)
    assert protocol.given(points_text(rules, 0, middle)) == protocol
    for other in (points_text(rules, 1, middle), points_text(rules, 0), points_text(Sparsify(points=499), 0, middle)):
        with pytest.raises(ProtocolError, match=f"has the input '500 random .*seed 0', the data give '{other}'"):
            protocol.given(other)
    with pytest.raises(ProtocolError, match="the data give 'what they have'"):
        protocol.given("")
    free = by_name("folder").given("16 lines, seed 0")
    assert free.differences(by_name("folder")) == ["sparse: '16 lines, seed 0' != ''"]
    assert "input points: 16 lines, seed 0;" in free.sentence()
    assert "input points" not in by_name("folder").sentence()


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        (Sparsify(pattern="all"), "all points, seed 3"),
        (Sparsify(points=(50, 5000)), "50 to 5000 random points, seed 3"),
        (Sparsify(points=(500, 500), drop=(0.5, 0.5)), "500 random points, drop 0.5, seed 3"),
        (Sparsify(pattern="grid", points=100, holes=0.3), "100 grid points, holes 0.3, seed 3"),
        (Sparsify(pattern="lines", lines=16, scanner="kitti"), "16 lines of the kitti's 64, step 0.17 degrees, seed 3"),
        (
            Sparsify(pattern="lines", lines=(64, 32, 16), scanner="kitti"),
            "64, 32 or 16 lines of the kitti's 64, step 0.17 degrees, seed 3",
        ),
        (Sparsify(pattern="lines", lines=(64, 16), scanner="kitti"), "64 or 16 lines of the kitti's 64, step 0.17 degrees, seed 3"),
        (Sparsify(pattern="lines", lines=(16, 16), scanner="kitti"), "16 lines of the kitti's 64, step 0.17 degrees, seed 3"),
        (
            Sparsify(pattern="all", scanner="kitti", unoccluded=True, relative_noise=0.01),
            "all points, unoccluded, relative noise 0.01, seed 3",
        ),
        (Sparsify(pattern="all", drop=0.2, withhold=True), "all points, drop 0.2, the others withheld as truth, seed 3"),
    ],
)
def test_rules_in_words(rules: Sparsify, text: str) -> None:
    assert points_text(rules, 3) == text


def test_the_points_of_a_data_set(toy: Any) -> None:
    assert points_of(toy(2)) == ""
    assert points_of(SparseDataset(toy(2), Sparsify(points=9), seed=4, crop=(20, 30))) == "9 random points inside the middle 20x30, seed 4"


def test_numbers_stored_before_points_were_named_are_still_read(tmp_path: Path) -> None:
    stored = by_name("nyuv2_pooled").to_dict()
    del stored["sparse"]
    assert Protocol.from_dict(stored) == by_name("nyuv2_pooled")
    metrics = {"rmse": {"value": 0.5, "unit": "m", "better": "lower", "interval": None, "frames": 1}}
    (tmp_path / "metrics.json").write_text(json.dumps({"metrics": metrics, "protocol": stored, "model": {}}))
    assert Run.read(tmp_path).protocol == by_name("nyuv2_pooled")
