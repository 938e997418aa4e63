"""What a training says of its data of its own accord."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from diorama.running.notices import tell_classes, tell_units
from diorama.tensors import Depth


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ([5, 3, 2], ""),
        ([5, 0, 2], "1 of 3 classes never occur in the training labels (b)"),
        ([0] * 2 + [7], "2 of 3 classes never occur in the training labels (a, b)"),
        ([3, 0] + [1] * 38, ""),
        ([3] + [0] * 39, "39 of 40 classes never occur in the training labels (b, c, 3, ...)"),
    ],
)
def test_classes_that_never_occur_are_named_where_that_is_hardly_meant(
    caplog: pytest.LogCaptureFixture, counts: list[int], said: str
) -> None:
    tell_classes(counts, ["a", "b", "c", *map(str, range(3, len(counts)))])
    assert (said in caplog.text) if said else not caplog.text


@pytest.mark.parametrize(("scale", "said"), [(1.0, ""), (1000.0, "depth of main is 2000 m in the median, and 10 m is the farthest")])
def test_millimetres_taken_for_metres_are_named(caplog: pytest.LogCaptureFixture, scale: float, said: str) -> None:
    sample: Any = {"depth": Depth(scale * torch.tensor([[[[0.0, 1, 2, 3]]]]))}
    tell_units({"main": sample}, 10.0)
    assert (said in caplog.text) if said else not caplog.text
