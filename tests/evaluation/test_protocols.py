"""Each rule of a protocol against numbers worked out by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from diorama.errors import ProtocolError
from diorama.evaluation.depth import depth_columns, depth_metrics, scale_factor, to_truth_size
from diorama.evaluation.protocols import PROTOCOLS, Measured, Protocol, by_name, list_protocols

BASE = Protocol(name="base", dataset="d", split="s", truth="t", cap=10.0, floor=0.1)


def rmse(truth: list[float], predicted: list[float], protocol: Protocol) -> float:
    d, p = np.array([truth], np.float32), np.array([predicted], np.float32)
    columns = depth_columns(d, p, protocol)
    return float(depth_metrics({key.removeprefix("depth/"): np.asarray(value) for key, value in columns.items()})["rmse"])


def test_the_named_protocols_are_there_and_say_how_they_count() -> None:
    wanted = {
        "nyuv2_pooled", "nyuv2_eigen", "nyuv2_pooled_13", "nyuv2_eigen_13", "kitti_eigen_raw", "kitti_eigen_improved", "cityscapes19",
        "cityscapes7", "world_indoor", "world_street", "camvid11", "folder",
    }  # fmt: skip
    assert wanted <= set(PROTOCOLS)
    assert all("clip: predictions to" in said or "right: a disparity within" in said for said in list_protocols().values())
    assert (by_name("nyuv2_pooled").crop, by_name("nyuv2_pooled").aggregation, by_name("nyuv2_pooled").classes) == ("none", "pooled", 40)
    assert (by_name("nyuv2_eigen_13").crop, by_name("nyuv2_eigen_13").aggregation, by_name("nyuv2_eigen_13").classes) == (
        "eigen_nyu", "per_image", 13,
    )  # fmt: skip
    assert by_name("kitti_eigen_raw").differences(by_name("kitti_eigen_improved"))


def test_an_unknown_name_or_field_gets_a_suggestion() -> None:
    with pytest.raises(ProtocolError, match="did you mean 'nyuv2_pooled'"):
        by_name("nyuv2_poled")
    with pytest.raises(ProtocolError, match="did you mean 'crop'"):
        by_name("nyuv2_pooled", crops="none")
    with pytest.raises(ProtocolError, match="unknown crop"):
        by_name("nyuv2_pooled", crop="middle")


def test_truth_at_the_floor_and_from_the_cap_on_is_excluded() -> None:
    depth = np.array([[0.0, 1e-3, 2e-3, 5.0, 9.999, 10.0, 11.0, np.nan, np.inf]], np.float32)
    assert BASE.valid(depth).tolist() == [[False, False, True, True, True, False, False, False, False]]


def test_predictions_are_clipped_to_floor_and_cap() -> None:
    assert rmse([9.0], [50.0], BASE) == pytest.approx(1.0)
    assert rmse([0.5], [-3.0], BASE) == pytest.approx(0.4)


def test_scale_is_aligned_before_the_clip() -> None:
    truth, small = [2.0, 4.0, 8.0], [0.02, 0.04, 0.08]
    assert rmse(truth, small, BASE.vary(align="median")) == pytest.approx(0.0, abs=1e-6)
    # clipped to 0.1 first, the three would be equal and the error that of a constant
    assert rmse(truth, small, BASE) == pytest.approx(math.sqrt((1.9**2 + 3.9**2 + 7.9**2) / 3), rel=1e-6)


def test_scale_factor_uses_counted_pixels_only() -> None:
    truth, predicted = np.array([[1.0, 2.0, 3.0, 99.0]], np.float32), np.array([[2.0, 4.0, 6.0, 1.0]], np.float32)
    assert scale_factor(truth, predicted, truth < 10) == pytest.approx(0.5)
    assert scale_factor(truth, predicted, truth > 100) == 1.0


@pytest.mark.parametrize(
    ("crop", "size", "box"),
    [
        ("none", (480, 640), (0, 480, 0, 640)),
        ("eigen_nyu", (480, 640), (45, 471, 41, 601)),
        ("eigen_nyu", (240, 320), (22, 235, 20, 300)),  # pixel i of the half covers 2i and 2i+1: centres 45 and 41 are the first inside
        ("garg", (375, 1242), (153, 371, 44, 1197)),  # int(0.40810811 * 375), int(0.99189189 * 375), int(0.03594771 * 1242), ...
        ("eigen_kitti", (375, 1242), (124, 342, 44, 1197)),
    ],
)
def test_crops_at_their_sizes(crop: str, size: tuple[int, int], box: tuple[int, int, int, int]) -> None:
    rows, columns = BASE.vary(crop=crop).region(*size)
    assert (rows.start, rows.stop, columns.start, columns.stop) == box
    mask = BASE.vary(crop=crop).valid(np.ones(size, np.float32))
    assert mask.sum() == (box[1] - box[0]) * (box[3] - box[2])


def test_depth_is_resized_bilinearly_with_half_pixel_centres() -> None:
    small = np.array([[1.0, 3.0]], np.float32)
    # centres of the four new pixels lie at -0.25, 0.25, 0.75, 1.25 of the old ones
    assert to_truth_size(small, (1, 4)).tolist() == [[1.0, 1.5, 2.5, 3.0]]


def test_comparing_numbers_of_two_protocols_names_the_fields() -> None:
    a = Measured("rmse", 0.5, "m", "lower", 10, BASE)
    b = Measured("rmse", 0.6, "m", "lower", 10, BASE.vary(crop="eigen_nyu", aggregation="per_image"))
    with pytest.raises(ProtocolError, match=r"crop: 'none' != 'eigen_nyu'; aggregation: 'pooled' != 'per_image'"):
        a.better_than(b)
    for compare in (lambda: a < b, lambda: a > b, lambda: a - b):
        with pytest.raises(ProtocolError):
            compare()
    with pytest.raises(ProtocolError, match="different metrics"):
        a.better_than(Measured("mae", 0.5, "m", "lower", 10, BASE))


def test_numbers_of_one_protocol_compare_in_the_right_direction() -> None:
    low, high = (Measured("rmse", value, "m", "lower", 10, BASE) for value in (0.5, 0.75))
    assert low.better_than(high)
    assert not high.better_than(low)
    assert low < high
    assert high > low
    assert high - low == 0.25
    assert Measured("miou", 0.4, "1", "higher", 1, BASE).better_than(Measured("miou", 0.3, "1", "higher", 1, BASE))


def test_changes_show_in_the_name_but_the_name_decides_nothing() -> None:
    changed = by_name("nyuv2_pooled", flip=True, align="median", cap=8.0)
    assert changed.name == "nyuv2_pooled+flip+median+cap=8.0"
    assert by_name("nyuv2_pooled", flip=False).name == "nyuv2_pooled"
    assert not BASE.differences(BASE.vary(name="other"))


def test_a_protocol_survives_json() -> None:
    for protocol in (*PROTOCOLS.values(), BASE.vary(cap=math.inf)):
        assert Protocol.from_dict(json.loads(json.dumps(protocol.to_dict(), allow_nan=False))) == protocol
    stored = BASE.to_dict()
    del stored["crop"]
    with pytest.raises(ProtocolError, match="crop"):
        Protocol.from_dict(stored)


def test_nonsense_bounds_are_refused() -> None:
    with pytest.raises(ProtocolError, match="0 < floor < cap"):
        BASE.vary(floor=20.0)
