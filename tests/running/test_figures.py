"""Charts of a report where there is little to draw."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from diorama.evaluation.breakdown import breakdown, breakdown_columns, ranges_for
from diorama.evaluation.table import FrameTable
from diorama.running.figures import cells_chart


@pytest.mark.parametrize("known", [3, 40 * 50])
def test_a_few_measured_distances_make_a_chart_without_a_warning(known: int) -> None:
    truth, edges, rows = np.full((40, 50), 7.0, np.float32), ranges_for(80.0), FrameTable()
    valid = np.arange(truth.size).reshape(truth.shape) < known
    rows.add(0, "0", breakdown_columns(truth, truth.astype(np.float64) + 1, valid, None, None, 2, edges))
    found = breakdown(rows, ("one", "two"), edges)
    assert found is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cells_chart(found).startswith("data:image/")
