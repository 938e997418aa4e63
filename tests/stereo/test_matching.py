from __future__ import annotations

import cv2
import numpy as np
import pytest

from diorama.data import io
from diorama.data.cityscapes import Cityscapes
from diorama.data.world.dataset import WorldStreet
from diorama.errors import ConfigError, DataError, ShapeError
from diorama.stereo.matching import FAR, Matcher, match

HEIGHT, WIDTH = 64, 192


@pytest.mark.parametrize("shift", [1.0, 4.0, 9.0, 4.25, 7.5, 12.75])
def test_finds_a_known_shift(make_pair, shift: float) -> None:
    pair = match(*make_pair(HEIGHT, WIDTH, np.full((HEIGHT, WIDTH), shift, np.float32)))
    reach = int(np.ceil(shift)) + 4
    for view, inside in ((pair.left, np.s_[:, reach:]), (pair.right, np.s_[:, : WIDTH - reach])):
        error = np.abs(view.disparity[inside] - shift)
        assert view.agrees[inside].mean() > 0.98
        assert np.median(error) <= (1 / 16 if shift == int(shift) else 0.25)
        assert (error > 1).mean() < 0.01
        assert view.disparity.dtype == np.float32 and (view.disparity > 0).all() and np.isfinite(view.disparity).all()


@pytest.mark.parametrize(("across", "down"), [(0.03, 0.0), (0.0, 0.1), (-0.02, 0.06)])
def test_finds_a_slanted_plane(make_pair, across: float, down: float) -> None:
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    truth = 8 + across * (x - WIDTH / 2) + down * (y - HEIGHT / 2)
    pair = match(*make_pair(HEIGHT, WIDTH, truth))
    error = np.abs(pair.left.disparity - truth)[4:-4, 20:-4]
    assert pair.left.agrees[4:-4, 20:-4].mean() > 0.95
    assert np.median(error) < 0.2 and np.quantile(error, 0.99) < 0.7


def test_the_near_square_hides_the_ground_behind_it(make_pair) -> None:
    left, right = make_pair(HEIGHT, WIDTH, np.full((HEIGHT, WIDTH), 3, np.float32), seed=1)
    patch = make_pair(32, 48, np.zeros((32, 48), np.float32), seed=2)[0]
    left[16:48, 80:128], right[16:48, 68:116] = patch, patch
    view = match(left, right).left
    # Left columns 71..79 show ground (shift 3) that the square (shift 12) covers in the right view.
    assert np.median(view.disparity[20:44, 84:124]) == 12
    hidden = view.agrees[20:44, 72:78]
    assert hidden.mean() < 0.05  # by chance
    assert np.abs(view.disparity[20:44, 72:78] - 3)[~hidden].max() < 1
    assert view.agrees[20:44, 84:124].all() and view.agrees[20:44, 136:].all()


def test_mirrored_pair_gives_the_other_view(make_pair) -> None:
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    left, right = make_pair(HEIGHT, WIDTH, 6 + 0.02 * x + 0.03 * y)
    pair, mirror = match(left, right), match(right[:, ::-1], left[:, ::-1])
    for ours, theirs in ((pair.left, mirror.right), (pair.right, mirror.left)):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other[:, ::-1])


def test_what_is_infinitely_far_is_known_and_not_0(make_pair) -> None:
    left, right = make_pair(HEIGHT, WIDTH, np.zeros((HEIGHT, WIDTH), np.float32))
    assert np.median(Matcher()(left, right)) == FAR > 0
    assert match(left, right).left.agrees.mean() > 0.95


def test_threads_change_nothing(make_pair) -> None:
    left, right = make_pair(HEIGHT, WIDTH, np.full((HEIGHT, WIDTH), 5.5, np.float32))
    one = Matcher()(left, right)
    cv2.setNumThreads(2)
    try:
        np.testing.assert_array_equal(Matcher()(left, right), one)
    finally:
        cv2.setNumThreads(1)


def test_street_pairs_stay_within_bounds() -> None:
    street = WorldStreet(frames=4, split="val", size=(256, 512))
    density, wrong, error, filled_wrong = [], [], [], []
    for index in range(4):
        frame = street[index]
        view = match(frame["image"], frame["right"]).left
        known = frame["disparity"] > 0
        off = np.abs(view.disparity - frame["disparity"])
        bad = (off > 3) & (off > 0.05 * frame["disparity"])
        both = known & view.agrees
        density.append(both.sum() / known.sum())
        wrong.append(bad[both].mean())
        error.append(off[both].mean())
        filled_wrong.append(bad[known].mean())
    assert np.mean(density) > 0.8
    assert np.mean(wrong) < 0.05
    assert np.mean(error) < 0.8
    assert np.mean(filled_wrong) < 0.09


def test_cityscapes_pairs_agree_with_the_official_disparity(real_data) -> None:
    frames = Cityscapes(real_data / "cityscapes", keys=("image", "right", "disparity"))
    assert len(frames.ids) == 2
    for index in range(2):
        frame = frames.frame(index)
        view = match(frame["image"], frame["right"]).left
        error = np.abs(view.disparity - frame["disparity"])[frame["disparity"] > 0]
        assert np.median(error) <= 0.4
        assert view.agrees[frame["disparity"] > 0].mean() > 0.9


def test_cones_agree_with_structured_light(real_data) -> None:
    folder = real_data / "middlebury" / "cones"
    truth = [io.read_labels(folder / name) / 4 for name in ("disp2.pgm", "disp6.pgm")]
    pair = match(io.read_image(folder / "im2.png"), io.read_image(folder / "im6.png"))
    for view, known in zip(pair, truth, strict=True):
        assert np.median(np.abs(view.disparity - known)[known > 0]) <= 0.25


def test_any_callable_is_a_matcher_and_odd_values_are_not_known() -> None:
    image = np.zeros((4, 8, 3), np.uint8)
    found = np.full((4, 8), 2, np.float32)
    found[0, 4:] = (np.nan, np.inf, -3, 8)
    pair = match(image, image, lambda left, right: found)
    assert pair.left.raw[0].tolist() == [2, 2, 2, 2, 0, 0, 0, 0]
    assert (pair.left.disparity == 2).all() and (pair.right.disparity == 2).all()
    # In the mirrored view the same array is turned round, so right column 0..3 of the first row is not known.
    assert pair.left.agrees[1:].tolist() == [[False, False, True, True, True, True, True, True]] * 3
    assert not pair.left.agrees[0].any()


def test_range_follows_width_or_least_depth() -> None:
    assert [Matcher().searched(width) for width in (40, 512, 1242, 2048)] == [16, 64, 160, 256]
    # 700 px * 0.5 m / 4 m = 87.5 px
    near = Matcher(block=7).for_camera(focal_px=700, baseline=0.5, min_depth=4)
    assert (near.range_px, near.block, near.searched(1242), near.searched(60)) == (88, 7, 96, 64)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (7, 16), (33, 17)])
def test_tiny_images_do_not_break(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    assert Matcher()(image, image).shape == size


@pytest.mark.parametrize(
    "wrong", [{"block": 4}, {"block": 13}, {"p1": 64}, {"range_px": 0}, {"speckle": -1}, {"uniqueness": -1}, {"contrast": 0}]
)
def test_settings_are_checked(wrong) -> None:
    with pytest.raises(ConfigError, match="Choose|must"):
        Matcher(**wrong)
    with pytest.raises(ConfigError, match="positive"):
        Matcher().for_camera(700, 0.0, 2)


def test_pairs_that_are_none() -> None:
    image = np.zeros((32, 64, 3), np.uint8)
    with pytest.raises(ShapeError, match=r"left image .* right image .* one size"):
        match(image, image[:, :60])
    with pytest.raises(ShapeError, match="uint8"):
        match(image.astype(np.float32), image)
    with pytest.raises(ShapeError, match="matcher returned"):
        match(image, image, lambda left, right: np.ones((2, 2), np.float32))
    with pytest.raises(DataError, match="no disparity"):
        match(image, image, lambda left, right: np.zeros((32, 64), np.float32))
