"""Heights: metres over every known pixel, errors in parts of the truth above 0.1 m alone; by hand and on drawn cities."""

from __future__ import annotations

import math

import numpy as np
import pytest

from diorama.data.height import HEIGHT_FLOOR, HEIGHT_SCALE, depth_of_height
from diorama.data.world.aerial_dataset import WorldAerial
from diorama.evaluation.breakdown import breakdown, breakdown_columns
from diorama.evaluation.density import density_breakdown, density_columns
from diorama.evaluation.depth import RELATIVE, depth_columns
from diorama.evaluation.metrics import frame_metrics, score
from diorama.evaluation.protocols import Protocol, by_name
from diorama.evaluation.table import FrameTable
from diorama.running.evaluate import evaluate_model
from diorama.running.evaluate_file import default_protocol
from diorama.types import Inputs, Prediction

AERIAL = by_name("world_aerial")


def table(protocol: Protocol, *frames: tuple[list[float], list[float]]) -> FrameTable:
    rows = FrameTable()
    for number, (heights, predicted) in enumerate(frames):
        truth = depth_of_height(np.array([heights]))
        rows.add(number, str(number), depth_columns(truth, np.array([predicted], np.float32), protocol))
    return rows


def test_by_hand() -> None:
    # ground, ground seen 1 m too high, a kerb below 0.1 m, a hedge, a roof, a hole; a tower at the cap
    heights = [0.0, -0.3, 0.09, 2.0, 8.0, math.nan, 40.0]
    found = score(table(AERIAL, (heights, [0.0, 1.0, 0.09, 1.0, 10.0, 5.0, 1.0])), AERIAL, draws=0)
    ground = 1 - 1 / 128  # what is 0 is stored as 1/128
    expected = {
        "rmse": math.sqrt((ground**2 + 1 + 4) / 5),
        "mae": (ground + 1 + 2) / 5,
        "abs_rel": (1 / 2 + 2 / 8) / 2,
        "sq_rel": (1 / 2 + 4 / 8) / 2,
        "sq_rel_squared": (1 / 4 + 4 / 64) / 2,
        "rmse_log": math.sqrt((math.log(2) ** 2 + math.log(1.25) ** 2) / 2),
        "log10": (math.log10(2) + math.log10(1.25)) / 2,
        "irmse": math.sqrt((500**2 + 25**2) / 2),
        "imae": (500 + 25) / 2,
        "delta1": 0.0,  # 10 / 8 is at the threshold
        "delta2": 0.5,
        "delta3": 0.5,
    }
    assert {name: measured.value for name, measured in found.items()} == pytest.approx(expected)


def test_a_frame_of_ground_has_metres_and_nothing_else() -> None:
    frames = ([0.0, 0.05], [1.0, 0.05]), ([4.0, 0.0], [2.0, 0.0])
    for protocol in (AERIAL, AERIAL.vary(aggregation="per_image")):
        rows = table(protocol, *frames)
        found = score(rows, protocol, draws=0)
        assert found["abs_rel"].value == pytest.approx(0.5) and found["delta1"].value == 0
        assert {name: measured.frames for name, measured in found.items()} == {
            name: 1 if name in RELATIVE else 2 for name in ("rmse", "mae", *RELATIVE)
        }
        each = frame_metrics(rows)
        assert np.isnan(each["abs_rel"][0]) and each["abs_rel"][1] == pytest.approx(0.5) and np.isfinite(each["rmse"]).all()
    assert "abs_rel" not in {name for name, one in score(table(AERIAL, frames[0]), AERIAL, draws=0).items() if math.isfinite(one.value)}


def test_tables_of_before_count_every_pixel() -> None:
    protocol = AERIAL.vary(relative_floor=0.0)
    rows, older = table(protocol, ([2.0, 4.0], [1.0, 4.0])), FrameTable()
    older.add(0, "0", {key: rows[key][0] for key in rows.names if key != "depth/relative"})
    assert score(older, protocol, draws=0) == score(rows, protocol, draws=0)


def test_cells_of_the_breakdown_and_of_the_density() -> None:
    truth = depth_of_height(np.array([[0.0, 0.0, 2.0, 8.0]]))
    predicted = truth.astype(np.float64) + np.array([[1.0, 0.0, 1.0, 2.0]])
    semantic, rows = np.array([[0, 0, 1, 1]], np.uint8), FrameTable()
    rows.add(
        0, "0",
        breakdown_columns(truth, predicted, truth > 0, semantic, None, 2, (0.0, 40.0), 0.1)
        | density_columns(truth, predicted, truth > 0, np.zeros_like(truth), 0.1),
    )  # fmt: skip
    cells, density = breakdown(rows, ("ground", "roof"), (0.0, 40.0), draws=0), density_breakdown(rows, draws=0)
    assert cells is not None and density is not None
    by_class = {row["class"]: row for row in cells.rows()}
    assert by_class["ground"]["pixels"] == 2 and math.isnan(by_class["ground"]["abs_rel"]) and by_class["ground"]["mae_m"] == 0.5
    assert by_class["roof"]["abs_rel"] == pytest.approx((1 / 2 + 2 / 8) / 2)
    assert density.abs_rel[0] == pytest.approx((1 / 2 + 2 / 8) / 2) and density.mae[0] == 1.0


def test_the_record_says_floor_and_scale() -> None:
    facts = dict(AERIAL.facts())
    assert facts["heights"] == "depth is height, 0 and below stored as 0.0078125 m; 40 m are 1 where heights are normalised"
    assert facts["relative"].endswith("where the truth is above 0.1 m")
    stored = AERIAL.to_dict()
    assert (stored["relative_floor"], stored["height_floor"], stored["height_scale"]) == (0.1, HEIGHT_FLOOR, HEIGHT_SCALE)
    assert AERIAL.floor == HEIGHT_FLOOR and AERIAL.valid(np.float32([[0, HEIGHT_FLOOR, 39.9, 40]])).tolist() == [[False, True, True, False]]
    for name in ("relative_floor", "height_floor", "height_scale"):
        del stored[name]
    assert Protocol.from_dict(stored).relative_floor == 0  # a number of before
    assert "heights" not in dict(by_name("world_street").facts()) and by_name("world_street").relative_floor == 0
    assert (by_name("isprs6").classes, by_name("isprs5").classes, by_name("isprs5").relative_floor) == (6, 5, 0.1)


def test_cities_are_judged_by_it_unasked() -> None:
    data = WorldAerial(frames=2, split="test", size=(64, 96))
    assert default_protocol(data) == AERIAL

    def ground(inputs: Inputs) -> Prediction:
        return Prediction(None, np.full((len(inputs["image"]), 1, 64, 96), HEIGHT_FLOOR, np.float32))

    found = evaluate_model(ground, data, AERIAL, progress=False, draws=0)
    truth = np.stack([data[index]["depth"] for index in range(2)]).astype(np.float64)
    assert found["rmse"] == pytest.approx(math.sqrt(np.mean((truth - HEIGHT_FLOOR) ** 2)))
    raised = truth[truth > 0.1]
    assert found["abs_rel"] == pytest.approx(np.mean((raised - HEIGHT_FLOOR) / raised))
    assert found.protocol.truth == "exact, drawn" and found.protocol.truth_size == "64x96"
