"""What a completion's evaluation adds: error by density of the input, calibration, in the files and on the page."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from diorama.data.sparse_dataset import SparseDataset
from diorama.data.sparsify import Sparsify
from diorama.evaluation.protocols import by_name
from diorama.running.evaluate import evaluate_model
from diorama.running.report import write_report
from diorama.types import Inputs, Prediction


def half_sure(inputs: Inputs) -> Prediction:
    points = inputs["sparse_depth"]
    depth = np.full(points.shape, 3.0, np.float32)
    return Prediction(depth=depth, uncertainty=np.full_like(depth, 0.5))


def test_density_and_calibration_reach_files_and_page(toy: Any, tmp_path: Path) -> None:
    data = SparseDataset(toy(3), Sparsify(points=40), crop=(40, 48))
    found = evaluate_model(half_sure, data, by_name("folder", cap=10.0), inputs=("sparse_depth",), progress=False)
    assert found.protocol.sparse == "40 random points inside the middle 40x48, seed 0"
    assert found.density is not None
    assert (found.density.points, found.density.share) == (40.0, 40 / (40 * 48))
    assert found.density.counts.sum() == found.rows["depth/n"].sum()
    assert [curve.law for curve in found.calibration] == ["laplace", "gaussian"]
    assert found.calibration[0].predicted.tolist() == [0.5]
    assert abs(found.calibration[0].observed[0] - found["mae"]) < 1e-9
    assert abs(found.calibration[1].observed[0] - found["rmse"]) < 1e-9
    page = write_report(found, tmp_path, model={"name": "half sure"}).read_text()
    assert "Input and uncertainty" in page
    for name in ("density.csv", "calibration.csv"):
        with (tmp_path / name).open() as file:
            assert list(csv.DictReader(file))


def test_a_photo_alone_has_neither(toy: Any, predict: Any, tmp_path: Path) -> None:
    found = evaluate_model(predict, toy(2), by_name("folder", cap=10.0), progress=False)
    assert (found.density, found.calibration) == (None, [])
    assert "Input and uncertainty" not in write_report(found, tmp_path, model={}).read_text()
    assert not (tmp_path / "density.csv").exists()
