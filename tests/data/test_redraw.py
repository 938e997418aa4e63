"""Windows without a known pixel are drawn again: where from, how often, and what is said of those that stay empty."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from diorama.data.loader import seeded
from diorama.data.redraw import TRIES, Redrawn
from diorama.data.transforms import Augment, train_transform
from diorama.data.view import View
from diorama.tensors import Depth, SparseDepth

VIEW = View(size=(64, 96), crop=(32, 32))


def sample(*places: tuple[int, int]) -> dict[str, Any]:
    """A map of 64x96 that is known at `places` alone."""
    depth = torch.zeros(1, 64, 96)
    for row, column in places:
        depth[0, row, column] = 7.0
    return {"sparse_depth": SparseDepth(depth), "meta": {"id": "one"}}


def points(found: Any) -> Tensor:
    plain: Tensor = found["sparse_depth"].as_subclass(Tensor)
    return plain


def test_what_holds_points_is_as_it_was_drawn_at_once() -> None:
    full = sample(*((row, column) for row in range(64) for column in range(96)))
    for seed in range(5):
        with seeded(seed):
            wanted = train_transform(VIEW)(full)  # type: ignore[arg-type]
        with seeded(seed):
            found: Any = Redrawn(train_transform(VIEW), ["sparse_depth"])(full)  # type: ignore[arg-type]
        assert torch.equal(points(wanted), points(found))
        assert found["meta"] == {"id": "one"}


def test_an_empty_window_is_drawn_again_from_the_same_seed() -> None:
    """A single known pixel in the middle is in about a third of the windows: the first of a seed's windows that holds it comes back."""
    one, counts = sample((32, 48)), []
    for seed in range(40):
        with seeded(seed):
            windows = [points(Augment(VIEW)(one)) for _ in range(TRIES)]
        wanted = next(number for number, window in enumerate(windows) if bool(window.any()))
        with seeded(seed):
            found: Any = Redrawn(train_transform(VIEW), ["sparse_depth"])(one)  # type: ignore[arg-type]
        assert torch.equal(points(found), windows[wanted])
        assert found["meta"].get("redrawn", 0) == wanted
        assert "empty" not in found["meta"]
        counts.append(wanted)
    assert 0 in counts and max(counts) > 1


@pytest.mark.parametrize(("places", "drawn", "empty"), [((), 1, "frame"), (((0, 0),), TRIES, "window")])
def test_what_stays_empty_says_why(places: tuple[tuple[int, int], ...], drawn: int, empty: str) -> None:
    """A frame without a point is looked at once; a transform that never finds the point is asked so often."""
    asked: list[int] = []

    def lost(given: Any) -> Any:
        asked.append(1)
        return {**given, "sparse_depth": SparseDepth(torch.zeros(1, 32, 32))}

    found: Any = Redrawn(lost, ["sparse_depth"])(sample(*places))  # type: ignore[arg-type]
    assert len(asked) == drawn
    assert found["meta"] == {"id": "one", "redrawn": drawn - 1, "empty": empty}


def test_only_the_named_maps_have_to_be_known() -> None:
    given = {**sample((5, 5)), "depth": Depth(torch.zeros(1, 64, 96))}
    found: Any = Redrawn(lambda one: one, ["sparse_depth"])(given)  # type: ignore[arg-type]
    assert "empty" not in found["meta"]
    found = Redrawn(lambda one: one, ["depth", "sparse_depth"])(given)  # type: ignore[arg-type]
    assert found["meta"]["empty"] == "frame"
