from __future__ import annotations

import cv2
import numpy as np
import pytest

from diorama.data import io
from diorama.data.cityscapes import Cityscapes
from diorama.data.world.dataset import WorldStreet
from diorama.errors import ShapeError
from diorama.stereo.checks import agreement, corresponding_points, swapped, unrectified
from diorama.stereo.matching import match


@pytest.fixture(scope="module")
def streets() -> list[tuple[np.ndarray, np.ndarray]]:
    frames = [WorldStreet(frames=3, split="val", size=(256, 512))[index] for index in range(3)]
    return [(frame["image"], frame["right"]) for frame in frames]


def turned(image: np.ndarray, degrees: float) -> np.ndarray:
    height, width = image.shape[:2]
    return cv2.warpAffine(image, cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1), (width, height))


def test_good_pairs_pass(streets) -> None:
    for left, right in streets:
        assert unrectified(left, right) is None
        assert swapped(left, right, match(left, right)) is None


def test_real_pairs_pass(real_data) -> None:
    frames = Cityscapes(real_data / "cityscapes", keys=("image", "right", "disparity"))
    cones = [io.read_image(real_data / "middlebury" / "cones" / name) for name in ("im2.png", "im6.png")]
    for left, right in [(frames.frame(index)["image"], frames.frame(index)["right"]) for index in range(2)] + [tuple(cones)]:
        assert unrectified(left, right) is None
    assert swapped(*cones, match(*cones)) is None
    assert "wrong order" in str(swapped(*cones[::-1], match(*cones[::-1])))


@pytest.mark.parametrize("offset", [-5, 3, 8])
def test_rows_that_differ(streets, offset: int) -> None:
    for left, right in streets:
        low = np.roll(right, offset, axis=0)
        points = corresponding_points(left, low)
        assert points is not None and points.rows == pytest.approx(offset, abs=0.5) and points.columns > 0
        warning = unrectified(left, low)
        assert warning is not None and f"{abs(points.rows):.1f} px too {'low' if offset > 0 else 'high'}" in warning
        assert "Rectify both views" in warning and "\n" not in warning


def test_a_turned_view(streets) -> None:
    for left, right in streets:
        warning = unrectified(left, turned(right, 1.5))
        assert warning is not None and "rows apart" in warning


def test_views_in_the_wrong_order(streets) -> None:
    for left, right in streets:
        warning = swapped(right, left, match(right, left))
        assert warning is not None and "Exchange the left and right files" in warning
        points = corresponding_points(right, left)
        assert points is not None and points.columns < 0


def test_two_images_of_different_places(streets) -> None:
    left, right = streets[0][0], streets[1][1][::-1]
    warning = swapped(left, right, match(left, right))
    assert warning is not None and "Check that both views show one moment" in warning


def test_agreement_by_hand() -> None:
    image = np.zeros((4, 8, 3), np.uint8)
    # Two columns of eight are out of view on either side
    assert agreement(match(image, image, lambda left, right: np.full((4, 8), 2, np.float32))) == 0.75


def test_nothing_to_compare() -> None:
    grey = np.full((64, 96), 90, np.uint8)
    assert corresponding_points(grey, grey) is None and unrectified(grey, grey) is None
    with pytest.raises(ShapeError, match="one size"):
        unrectified(grey, grey[:, :90])
