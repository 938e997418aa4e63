from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from diorama.completion.interpolate import nearest
from diorama.completion.morphological import morphological
from diorama.errors import ConfigError, DataError

STILL = {"median": 1, "blur": "none"}
ALONE = {"dilate": 1, "close": 1, "small_hole": 1, "large_hole": 1, **STILL}


def points(seed: int, share: float = 0.05) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return np.where(draw.random((70, 90)) < share, draw.uniform(2, 80, (70, 90)), 0).astype(np.float32)


def as_published(sparse: np.ndarray, extend: bool) -> np.ndarray:
    """The steps of the paper on inverted depth (100 m minus depth, 0 = empty) up to the blurs, by another library's filters."""
    diamond = np.array([[0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [1, 1, 1, 1, 1], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0]])

    def grown(inverted: np.ndarray, footprint: np.ndarray) -> np.ndarray:
        return ndimage.maximum_filter(inverted, footprint=footprint, mode="constant", cval=0)

    inverted = np.where(sparse > 0, 100.0 - sparse, 0)
    inverted = grown(inverted, diamond)
    inverted = ndimage.minimum_filter(grown(inverted, np.ones((5, 5))), footprint=np.ones((5, 5)), mode="constant", cval=1e9)
    inverted = np.where(inverted > 0, inverted, grown(inverted, np.ones((7, 7))))
    if extend:
        for column in inverted.T:
            first = int(np.argmax(column > 0))
            column[:first] = column[first]
    inverted = np.where(inverted > 0, inverted, grown(inverted, np.ones((31, 31))))
    return np.where(inverted > 0, 100.0 - inverted, 0)


@pytest.mark.parametrize("extend", [False, True])
@pytest.mark.parametrize("share", [0.001, 0.02, 0.2])
def test_equals_the_published_steps_on_inverted_depth(share: float, extend: bool) -> None:
    sparse = points(3, share)
    sparse[:30] = 0
    theirs = as_published(sparse, extend)
    ours = morphological(sparse, extend=extend, **STILL)
    filled = theirs > 0
    assert filled.mean() > 0.1
    assert np.abs(ours - theirs)[filled].max() < 1e-4
    assert (ours > 0).all()


def test_blurs_are_median_then_gaussian() -> None:
    sparse = points(4)
    plain = morphological(sparse, **STILL).astype(np.float64)
    smooth = ndimage.median_filter(plain, 5, mode="nearest")
    for axis in (0, 1):  # the Gaussian of five pixels that OpenCV takes when no width is asked for
        smooth = ndimage.correlate1d(smooth, np.array([1, 4, 6, 4, 1]) / 16, axis=axis, mode="mirror")
    assert np.abs(morphological(sparse) - smooth).max() < 1e-4


@pytest.mark.parametrize("factor", [0.1, 0.125, 4.0])
def test_scales_with_depth_so_rooms_and_streets_need_no_setting(factor: float) -> None:
    sparse = points(5)
    scaled = morphological(sparse * np.float32(factor))
    assert np.allclose(scaled, morphological(sparse) * factor, rtol=1e-5)


def test_one_point_grows_into_a_diamond_and_the_nearer_wins() -> None:
    sparse = np.zeros((9, 9), np.float32)
    sparse[4, 3], sparse[4, 5] = 8.0, 2.0
    grown = morphological(sparse, **{**ALONE, "dilate": 5})
    assert grown[4].tolist() == [8, 8, 8, 2, 2, 2, 2, 2, 2]
    assert (grown[2, 3], grown[2, 5], grown[3, 4]) == (8, 2, 2)


def test_highest_values_go_up_to_the_frame() -> None:
    sparse = np.zeros((6, 2), np.float32)
    sparse[3], sparse[5] = (4, 7), (1, 1)
    raised = morphological(sparse, extend=True, **ALONE)
    assert raised[:3].tolist() == [[4, 7]] * 3


def test_without_any_step_it_is_the_nearest_value() -> None:
    sparse = np.zeros((9, 9), np.float32)
    sparse[4, 1], sparse[4, 7] = 3.0, 6.0
    assert np.array_equal(morphological(sparse, **ALONE)[:, :4], nearest(sparse)[:, :4])
    assert np.array_equal(morphological(sparse, **ALONE)[:, 5:], nearest(sparse)[:, 5:])


@pytest.mark.parametrize("blur", ["gaussian", "bilateral", "none"])
@pytest.mark.parametrize("where", [[(0, 0)], [(0, 0), (399, 799)], [(7, 1), (7, 2), (7, 300)]])
def test_few_points_fill_the_frame(where: list[tuple[int, int]], blur: str) -> None:
    sparse = np.zeros((400, 800), np.float32)
    for row, column in where:
        sparse[row, column] = 0.25 * (1 + column)
    dense = morphological(sparse, blur=blur)
    known = sparse[sparse > 0]
    assert np.isfinite(dense).all()
    assert 0 < known.min() * 0.9999 <= dense.min()
    assert dense.max() <= known.max() * 1.0001


def test_a_bilateral_blur_keeps_edges_that_a_gaussian_one_rounds() -> None:
    sparse = np.full((40, 40), 2.0, np.float32)
    sparse[:, 20:] = 30.0
    sharp, round_ = (morphological(sparse, blur=blur) for blur in ("bilateral", "gaussian"))
    assert np.isin(np.round(sharp, 3), [2, 30]).all()
    assert not np.isin(np.round(round_, 3), [2, 30]).all()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"dilate": 4}, "dilate 4. Choose an odd"),
        ({"large_hole": 0}, "large_hole 0. Choose an odd"),
        ({"median": 7}, "Choose 1, 3 or 5"),
        ({"blur": "box"}, "Choose gaussian, bilateral or none"),
        ({"edge": 0.0}, "positive number of metres"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        morphological(points(0), **wrong)


def test_no_known_pixel_is_refused() -> None:
    with pytest.raises(DataError, match="without one known value"):
        morphological(np.zeros((4, 6), np.float32))
