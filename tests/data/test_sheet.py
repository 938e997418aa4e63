"""Contact sheets: colours and bars of heights are even in metres, those of depth in its logarithm."""

from __future__ import annotations

import numpy as np
import pytest

from diorama.data.height import HEIGHT_FLOOR, height_meta
from diorama.data.sheet import Scale, contact_sheet
from diorama.types import Frame

_GREY = (52, 55, 62)


def steps(frame: Frame) -> np.ndarray:
    """The colours of the one picture of `frame`, whose columns are constant: `(columns, 3)`."""
    width = frame["depth"].shape[1]
    sheet = contact_sheet([frame], None, width)
    return sheet[-8 - frame["depth"].shape[0] // 2, 8 : 8 + width].astype(int)


def test_scales_there_and_back() -> None:
    linear, logarithmic = Scale(0, 20, rising=True, linear=True), Scale(1, 100)
    assert linear.parts(np.float32([0, 5, 20, 30])).tolist() == [0, 0.25, 1, 1]
    assert logarithmic.parts(np.float32([1, 10, 100])).tolist() == pytest.approx([0, 0.5, 1])
    assert (linear.value(0.25), logarithmic.value(0.5)) == (5, pytest.approx(10))


def test_heights_are_brighter_the_higher_in_even_steps() -> None:
    metres = np.float32([HEIGHT_FLOOR, 5, 10, 15, 20]).repeat(8)[None].repeat(40, 0)
    metres[:, -8:-4] = 0
    frame = Frame(depth=metres, meta={"id": "a", "height": height_meta()})
    seen = steps(frame)
    assert tuple(seen[34]) == _GREY  # unknown
    light = seen[[2, 10, 18, 26, 38]].sum(1)
    assert (np.diff(light) > 0).all()
    # a depth picture of the same values has four bright quarters of near, and a dark one
    plain = steps(Frame(depth=metres, meta={"id": "a"}))[[2, 10, 18, 26, 38]].sum(1)
    assert (np.diff(plain) < 0).all()
    assert np.ptp(plain[1:]) < 0.4 * np.ptp(light[1:])
