from __future__ import annotations

import numpy as np
import pytest

from diorama.errors import ConfigError, DataError, ShapeError
from diorama.stereo.consistency import checked, fill_rows, known_only, left_right_difference, mirrored, other_view


def one_row(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


def random_maps(seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    maps = draw.uniform(0, 12, (2, 20, 30)).astype(np.float32)
    maps[draw.random(maps.shape) < 0.2] = 0
    return maps[0], maps[1]


def test_difference_by_hand() -> None:
    left = one_row(2, 1, 2, 1.4, 3, 0)
    right = one_row(2.5, 0, 1.5, 4, 0, 0)
    # 0 -> -2 and 1 -> 0: |1 - 2.5|; 2 -> 0: |2 - 2.5|; 3 -> 1.6, so 2: |1.4 - 1.5|; 4 -> 1, not known there; 5 not known
    expected = [np.inf, 1.5, 0.5, 0.1, np.inf, np.inf]
    np.testing.assert_allclose(left_right_difference(left, right), [expected], rtol=1e-6)


def test_both_views_are_checked_as_a_loop_would() -> None:
    left, right = random_maps(0)
    pair = checked(left, right, tolerance=2)
    for view, own, other, sign in ((pair.left, left, right, -1), (pair.right, right, left, 1)):
        for y in range(own.shape[0]):
            for x in range(own.shape[1]):
                target = int(np.rint(x + sign * own[y, x]))
                there = other[y, target] if 0 <= target < own.shape[1] and own[y, x] > 0 else 0
                difference = abs(own[y, x] - there) if there > 0 else np.inf
                assert view.difference[y, x] == pytest.approx(difference, abs=1e-6)
                assert view.agrees[y, x] == (difference <= 2)


def test_background_fills_by_hand() -> None:
    disparity = np.array([[9, 5, 9, 9, 3, 9], [9] * 6, [9] * 6, [1, 2, 9, 9, 9, 4]], np.float32)
    kept = disparity < 9
    assert fill_rows(disparity, kept).tolist() == [
        [5, 5, 3, 3, 3, 3],
        [5, 5, 3, 3, 3, 3],
        [1, 2, 2, 2, 2, 4],
        [1, 2, 2, 2, 2, 4],
    ]


def test_fill_keeps_what_is_kept_and_knows_the_rest() -> None:
    disparity, _ = random_maps(1)
    kept = disparity > 4
    filled = fill_rows(disparity, kept)
    np.testing.assert_array_equal(filled[kept], disparity[kept])
    assert (filled > 4).all()


def test_fill_takes_what_disagrees_or_only_what_is_missing() -> None:
    left, right = one_row(1, 1, 5, 0, 1, 1), one_row(1, 1, 1, 1, 1, 1)
    assert checked(left, right).left.disparity.tolist() == [[1] * 6]
    assert checked(left, right, fill="missing").left.disparity.tolist() == [[1, 1, 5, 1, 1, 1]]
    assert checked(left, right).left.raw.tolist() == left.tolist()


def test_nothing_that_agrees_leaves_what_was_found() -> None:
    view = checked(one_row(1, 1, 0, 1), one_row(3, 3, 3, 3)).left
    assert not view.agrees.any()
    assert view.disparity.tolist() == [[1, 1, 1, 1]]


def test_other_view_by_hand() -> None:
    # 1 -> 0; 2 (d 2) -> 0 as well and nearer; 3 (d 1) -> 2; 4 (d 1) -> 3; 0 -> -1 is out of view
    assert other_view(one_row(1, 1, 2, 1, 1, 0)).tolist() == [[2, 0, 1, 1, 0, 0]]


def test_left_view_alone_is_checked_against_what_it_hides() -> None:
    left = one_row(1, 1, 1, 1, 4, 4, 1, 1)
    pair = checked(left, other_view(left))
    # The near pixels 4 and 5 fall on right columns 0 and 1, where 1 and 2 fall too; 0 is out of view
    assert pair.left.agrees.tolist() == [[False, False, False, True, True, True, True, True]]


def test_odd_values_are_not_known() -> None:
    assert known_only(one_row(np.nan, np.inf, -np.inf, -1, 0, 7, 7.5, 8)).tolist() == [[0, 0, 0, 0, 0, 7, 7.5, 0]]


def test_mirror() -> None:
    assert mirrored(one_row(1, 2, 3)).tolist() == [[3, 2, 1]]


def test_bad_input() -> None:
    some = one_row(1, 1, 1)
    with pytest.raises(ShapeError, match="one size"):
        checked(some, one_row(1, 1))
    with pytest.raises(ConfigError, match="positive"):
        checked(some, some, tolerance=0)
    with pytest.raises(ConfigError, match="Choose inconsistent or missing"):
        checked(some, some, fill="all")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="right view"):
        checked(some, one_row(0, 0, 0))
    with pytest.raises(DataError, match="without one known value"):
        fill_rows(some, some > 2)
    with pytest.raises(ShapeError, match="one size"):
        fill_rows(some, some[:, :2] > 0)
