"""Withheld returns: which are counted by hand, the numbers by a plain loop, protocols that say what was taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diorama.data.base import SceneDataset
from diorama.data.occlusion import Withheld, withhold
from diorama.data.sparsify import frame_seed
from diorama.errors import DataError, ProtocolError
from diorama.evaluation.protocols import PROTOCOLS, by_name
from diorama.evaluation.withheld import HOW, TARGETS, How, counted
from diorama.running.evaluate import evaluate_model
from diorama.running.points import with_points
from diorama.running.withheld import WithheldDataset, evaluate_withheld
from diorama.types import Frame, Inputs, Prediction

CAMERA = np.array([[60.0, 0.0, 40.0], [0.0, 60.0, 20.0], [0.0, 0.0, 1.0]])


class Scans(SceneDataset):
    """A wall at 20 m with a post at 5 m before it, seen in a twentieth of the pixels below row 8."""

    name, title, citation, terms = "scans", "Scans", "none", "none"

    def __init__(self, frames: int = 4) -> None:
        self.root, self.split, self.labels = None, "test", None
        self.ids = [f"scan{number}" for number in range(frames)]
        self.provides = frozenset({"sparse_depth", "intrinsics"})

    def frame(self, index: int) -> Frame:
        generator = np.random.default_rng(index)
        depth = 20 + generator.random((40, 80)).astype(np.float32)
        depth[10:, 30:36] = 5
        known = generator.random(depth.shape) < 0.05
        known[:8] = False
        return Frame(sparse_depth=np.where(known, depth, np.float32(0)), intrinsics=CAMERA, meta={"id": self.ids[index]})


def ten(inputs: Inputs) -> Prediction:
    return Prediction(depth=np.full(inputs["sparse_depth"].shape, 10.0, np.float32))


def test_each_kind_of_target_by_hand() -> None:
    parts = Withheld(
        sparse=np.zeros((1, 5), np.float32),
        target=np.array([[0, 2, 3, 4, 5]], np.float32),
        unoccluded=np.array([[False, True, False, True, False]]),
        covered=np.array([[False, True, True, False, False]]),
    )
    assert {end: truth.tolist() for end, truth in counted(parts).items()} == {
        "": [[0, 2, 3, 4, 5]],
        "_unoccluded": [[0, 2, 0, 4, 0]],
        "_below": [[0, 2, 3, 0, 0]],
        "_unoccluded_below": [[0, 2, 0, 0, 0]],
    }


@pytest.mark.parametrize("how", HOW)
def test_the_numbers_are_those_of_a_plain_loop(how: How) -> None:
    data = Scans()
    found = evaluate_withheld(ten, data, how, crop="none", progress=False, draws=20)
    assert set(found) == set(TARGETS)
    for end, evaluation in found.items():
        each = []
        for number, name in enumerate(data.ids):
            frame = data.frame(number)
            parts = withhold(frame["sparse_depth"], how, 0.2, frame_seed(0, name), intrinsics=CAMERA)
            errors = []
            for row in range(40):
                for column in range(80):
                    d = float(parts.target[row, column])
                    if d == 0 or ("unoccluded" in end and not parts.unoccluded[row, column]):
                        continue
                    if "below" in end and not parts.covered[row, column]:
                        continue
                    errors.append((10 - d) ** 2)
            if errors:
                each.append(np.sqrt(np.mean(errors)))
        assert evaluation["rmse"] == pytest.approx(1000 * np.mean(each), rel=1e-6)
        assert evaluation.values["rmse"].unit == "mm"
        assert evaluation.breakdown is not None
        assert evaluation.breakdown.counts.sum() == evaluation.rows["depth/n"].sum()
    assert found["_below"].rows["depth/n"].sum() <= found[""].rows["depth/n"].sum()


def test_the_network_gets_what_is_left_and_the_truth_is_what_was_taken() -> None:
    data = WithheldDataset(Scans(), "random", clean=False)
    for number, whole in enumerate(Scans()):
        frame = data.frame(number)
        assert not ((frame["sparse_depth"] > 0) & (frame["depth"] > 0)).any()
        assert np.array_equal(frame["sparse_depth"] + frame["depth"], whole["sparse_depth"])
        returns = np.count_nonzero(whole["sparse_depth"])
        assert np.count_nonzero(frame["depth"]) == round(0.2 * returns)
    assert "depth" in data.provides


@pytest.mark.parametrize("how", HOW)
def test_the_targets_of_each_end_give_the_same_score_frame_by_frame(how: How) -> None:
    together = evaluate_withheld(ten, Scans(), how, crop="none", progress=False, draws=20)
    for end, expected in together.items():
        protocol = by_name(f"kitti_withheld_{how}{end}").vary(crop="none")
        data = WithheldDataset(Scans(), how, targets=end)
        found = evaluate_model(ten, data, protocol, inputs=("sparse_depth",), progress=False, draws=20)
        assert {name: measured.value for name, measured in found.values.items()} == {
            name: measured.value for name, measured in expected.values.items()
        }
        assert found.rows["depth/n"].tolist() == expected.rows["depth/n"].tolist()
        found.values["rmse"].better_than(expected.values["rmse"])  # they may be compared
        assert found.protocol == expected.protocol
        with_others = with_points(Scans(), by_name(f"kitti_withheld_{how}{end}"), ("sparse_depth",))
        assert np.array_equal(with_others.frame(1)["depth"], data.frame(1)["depth"])
        assert np.array_equal(with_others.frame(1)["sparse_depth"], data.frame(1)["sparse_depth"])


def test_points_withheld_in_another_way_are_not_judged_by_the_usual_name() -> None:
    usual = by_name("kitti_withheld_random").vary(crop="none")
    with pytest.raises(ProtocolError, match="the data give 'the other returns as they are'"):
        evaluate_model(ten, WithheldDataset(Scans(), clean=False), usual, inputs=("sparse_depth",), progress=False, draws=0)
    found = evaluate_model(ten, WithheldDataset(Scans(), share=0.5), usual, inputs=("sparse_depth",), progress=False, draws=0)
    assert "50 % of the returns" in found.protocol.truth


def test_protocols_say_what_was_withheld_and_what_is_counted() -> None:
    usual = evaluate_withheld(ten, Scans(), crop="none", progress=False, draws=0)
    for end, evaluation in usual.items():
        named = by_name(f"kitti_withheld_random{end}")
        assert evaluation.protocol.name == f"{named.name}+crop=none"
        assert (evaluation.protocol.truth, evaluation.protocol.sparse) == (named.truth, named.sparse)
    with pytest.raises(ProtocolError, match="counted: all of them"):
        usual[""].values["rmse"].better_than(usual["_below"].values["rmse"])
    other = evaluate_withheld(ten, Scans(), share=0.5, seed=3, clean=False, crop="none", progress=False, draws=0)[""].protocol
    assert other.name == "kitti_withheld_random+crop=none+share=0.5+seed=3+uncleaned"
    assert other.truth == "withheld from the input: 50 % of the returns at random, seed 3; counted: all of them"
    assert other.sparse == "the other returns as they are"
    assert "one scan line in 5" in by_name("kitti_withheld_lines").truth
    assert len([name for name in PROTOCOLS if name.startswith("kitti_withheld")]) == 8


def test_without_a_scan_nothing_is_withheld(toy: Any) -> None:
    with pytest.raises(DataError, match="toy has no 'intrinsics'"):
        evaluate_withheld(ten, toy(2))
    with pytest.raises(DataError, match="no frames"):
        evaluate_withheld(ten, Scans(0))
    with pytest.raises(ProtocolError, match="does not fit into 40x80"):
        evaluate_withheld(ten, Scans(1), progress=False)


def test_real_scans_count_fewer_and_easier_targets_when_hidden_ones_are_left_out(real_data: Path) -> None:
    from diorama.data.kitti import KittiLidar

    data = KittiLidar(real_data / "kitti_lidar", "test", keys=("sparse_depth", "intrinsics"))
    data.ids = data.ids[:2]

    def middle(inputs: Inputs) -> Prediction:
        points = inputs["sparse_depth"]
        return Prediction(depth=np.full(points.shape, np.median(points[points > 0]), np.float32))

    found = evaluate_withheld(middle, data, "lines", batch_size=1, progress=False, draws=0)
    counts = {end: int(evaluation.rows["depth/n"].sum()) for end, evaluation in found.items()}
    assert counts["_unoccluded_below"] < counts["_unoccluded"] < counts[""]
    assert 0.9 < counts["_unoccluded"] / counts[""] < 0.98
    assert found[""].protocol.truth_size == "352x1216"
