"""Delta M: by hand, under permutation, and what it refuses; the t-interval against scipy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from diorama.errors import DataError, ProtocolError
from diorama.evaluation.delta import Run, delta_m, gain
from diorama.evaluation.depth import depth_columns
from diorama.evaluation.metrics import score
from diorama.evaluation.protocols import Protocol
from diorama.evaluation.resample import t_interval, t_quantile
from diorama.evaluation.semantics import confusion
from diorama.evaluation.table import FrameTable

PROTOCOL = Protocol(name="p", dataset="d", split="s", truth="t", cap=10.0, floor=0.1, classes=2)
MODEL = {"backbone": "resnet18", "data": "d", "budget": "10 epochs"}


def run(seed: int | None = 0, protocol: Protocol = PROTOCOL, model: dict[str, Any] | None = None, **values: float) -> Run:
    facts = {**MODEL, "seed": seed, **(model or {})}
    return Run(f"run{seed}", facts, protocol, values, {"miou": "higher", "rmse": "lower"})


SINGLE = [run(miou=0.40), run(rmse=0.50)]


def test_by_hand() -> None:
    # mIoU + 10 %, RMSE 5 % larger, which is worse: (0.10 - 0.05) / 2
    found = delta_m([run(miou=0.44, rmse=0.525)], SINGLE)
    assert found.value == pytest.approx(0.025)
    assert found.tasks == pytest.approx({"miou": 0.10, "rmse": -0.05})
    assert found.interval is None
    assert "+2.5 %" in found.sentence()
    assert "one run" in found.sentence()
    assert gain(0.4, 0.5, "lower") == pytest.approx(0.2)


def test_seeds_are_paired_and_their_order_does_not_matter() -> None:
    joint = [run(seed, miou=0.4 * (1 + part), rmse=0.5) for seed, part in enumerate((0.02, 0.04, 0.12))]
    single = [run(seed, miou=0.4) for seed in range(3)] + [run(seed, rmse=0.5) for seed in range(3)]
    found = delta_m(joint, single)
    assert found.value == pytest.approx(0.03)
    mean, deviation = 0.03, np.std([0.01, 0.02, 0.06], ddof=1)
    assert found.interval == pytest.approx((mean - 4.302653 * deviation / 3**0.5, mean + 4.302653 * deviation / 3**0.5), rel=1e-4)
    for permuted in (joint[::-1], [joint[1], joint[2], joint[0]]):
        again = delta_m(permuted, single[::-1])
        assert again.value == pytest.approx(found.value)
        assert again.interval == pytest.approx(found.interval)
    assert "over 3 seeds" in found.sentence()


def test_pairing_takes_each_seed_against_its_own_baseline() -> None:
    joint = [run(0, miou=0.2, rmse=1.0), run(1, miou=0.4, rmse=1.0)]
    single = [run(0, miou=0.1), run(1, miou=0.2), run(0, rmse=1.0), run(1, rmse=1.0)]
    paired = delta_m(joint, single)
    assert paired.interval == pytest.approx((0.5, 0.5))  # twice as good in both seeds
    other = delta_m(joint, [run(7, miou=0.1), run(8, miou=0.2), run(7, rmse=1.0)])  # other seeds: against the mean 0.15
    assert other.value == pytest.approx((0.2 / 0.15 - 1 + 0.4 / 0.15 - 1) / 4)


@pytest.mark.parametrize("key", ["backbone", "data", "budget"])
def test_a_baseline_on_other_terms_is_refused(key: str) -> None:
    joint = run(miou=0.4, rmse=0.5)
    with pytest.raises(ProtocolError, match=f"{key} is 'other'"):
        delta_m([joint], [run(miou=0.4, model={key: "other"}), SINGLE[1]])
    with pytest.raises(ProtocolError, match=f"does not say its {key}"):
        delta_m([joint], [run(miou=0.4, model={key: None}), SINGLE[1]])


def test_a_baseline_under_another_protocol_is_refused() -> None:
    with pytest.raises(ProtocolError, match="crop: 'none' != 'eigen_nyu'"):
        delta_m([run(miou=0.4, rmse=0.5)], [SINGLE[0], run(rmse=0.5, protocol=PROTOCOL.vary(crop="eigen_nyu"))])


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ProtocolError, match="a model of one task"):
        delta_m([run(miou=0.4, rmse=0.5)], [run(miou=0.4, rmse=0.5)])
    with pytest.raises(DataError, match="no single-task baseline has rmse"):
        delta_m([run(miou=0.4, rmse=0.5)], [SINGLE[0]])
    with pytest.raises(DataError, match="has no rmse"):
        delta_m([run(miou=0.4)], SINGLE)


def tables(shift: float) -> FrameTable:
    """Twelve frames; depth is off by `shift` times the frame's own factor, half of the labels are right."""
    rows = FrameTable()
    for number in range(12):
        truth = np.full((2, 2), 4.0, np.float32)
        predicted = truth + np.float32(shift * (1 + number / 6))
        labels = np.array([[0, 0, 1, 1]], np.uint8)
        columns = {"confusion": confusion(labels, np.array([[0, 1, 1, number % 2]], np.uint8), 2)}
        rows.add(number, str(number), columns | depth_columns(truth, predicted, PROTOCOL))
    return rows


def stored(folder: Path, rows: FrameTable, names: tuple[str, ...]) -> Run:
    folder.mkdir()
    found = {name: value.to_dict() for name, value in score(rows, PROTOCOL, draws=0).items() if name in names}
    (folder / "metrics.json").write_text(json.dumps({"metrics": found, "protocol": PROTOCOL.to_dict(), "model": {**MODEL, "seed": 0}}))
    rows.save(folder / "frames.npz")
    return Run.read(folder)


def test_one_run_gets_an_interval_over_images(tmp_path: Path) -> None:
    joint = stored(tmp_path / "joint", tables(0.5), ("miou", "rmse"))
    single = [stored(tmp_path / "semantic", tables(1.0), ("miou",)), stored(tmp_path / "depth", tables(1.0), ("rmse",))]
    found = delta_m([joint], single)
    # equal labels, half the depth error in every frame: the gain is the same whichever images are drawn
    assert found.value == pytest.approx(0.25)
    assert found.over == "images"
    assert found.interval == pytest.approx((0.25, 0.25))


def test_reading_what_is_no_evaluation(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(DataError, match="diorama evaluate"):
        Run.read(tmp_path)
    with pytest.raises(DataError, match="diorama evaluate"):
        Run.read(tmp_path / "nowhere.json")


def test_t_quantiles() -> None:
    ours = [t_quantile(freedom) for freedom in range(1, 80)]
    assert ours == pytest.approx(stats.t.ppf(0.975, np.arange(1, 80)).tolist(), abs=5e-4)
    assert t_interval([1.0]) is None
    assert t_interval([1.0, 2.0, 3.0]) == pytest.approx(stats.t.interval(0.95, 2, 2.0, 1 / 3**0.5), rel=1e-4)
