"""Pairs that are matched on the way: what comes, what stays, and that a cached copy is matched once."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from diorama.data.cache import CachedDataset, fingerprint
from diorama.data.world.dataset import WorldStreet
from diorama.errors import ConfigError, DataError
from diorama.stereo.matched import Matched, with_matched
from diorama.stereo.matching import Matcher, match


class Counting:
    """A matcher that says 3 px everywhere and counts how often it is asked."""

    asked: ClassVar[int] = 0

    def __call__(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        Counting.asked += 1
        return np.full(left.shape[:2], 3, np.float32)

    def __repr__(self) -> str:
        return "Counting()"


@pytest.fixture
def street() -> WorldStreet:
    return WorldStreet(frames=2, size=(48, 96))


def test_frames_gain_the_filled_disparity_of_the_matcher(street: WorldStreet) -> None:
    frame, matched = street[1], Matched(street)
    np.testing.assert_array_equal(matched[1]["matched"], match(frame["image"], frame["right"]).left.disparity)
    assert matched.provides == street.provides | {"matched"}
    kept = Matched(street, keep={"matched", "disparity"})
    assert kept.provides == {"image", "disparity", "matched"}
    assert set(kept[0]) == {"image", "disparity", "matched", "meta"}


def test_a_cached_copy_is_matched_once(street: WorldStreet, tmp_path: Path) -> None:
    Counting.asked = 0
    matched = Matched(street, keep={"disparity"}, matcher=Counting())
    cached = CachedDataset(matched, (48, 96), tmp_path)
    assert Counting.asked == 4  # two frames, each in both directions
    first = cached[0]
    np.testing.assert_array_equal(first["disparity"], street[0]["disparity"])
    assert (first["matched"] == 3).all()
    CachedDataset(Matched(street, keep={"disparity"}, matcher=Counting()), (48, 96), tmp_path)
    assert Counting.asked == 4
    halved = CachedDataset(matched, (24, 48), tmp_path)[0]
    assert (halved["matched"] == 1.5).all()


def test_copies_of_other_matchers_or_frames_are_others(street: WorldStreet) -> None:
    size = (48, 96)
    prints = {
        fingerprint(Matched(dataset, matcher=matcher), size)
        for dataset in (street, WorldStreet(frames=2, size=size, style="mill"))
        for matcher in (Matcher(), Matcher(block=7))
    }
    assert len(prints) == 4
    assert fingerprint(Matched(street), size) == fingerprint(Matched(WorldStreet(frames=2, size=size)), size)


def test_only_who_asks_gets_it(street: WorldStreet) -> None:
    assert with_matched(street, {"image", "disparity"}) is street
    matched = with_matched(street, {"matched"})
    assert isinstance(matched, Matched)
    assert with_matched(matched, {"matched"}) is matched


def test_what_cannot_be_matched_is_told(street: WorldStreet) -> None:
    with pytest.raises(ConfigError, match=r"has no 'right' to match\. Choose stereo pairs"):
        Matched(WorldStreet(frames=1, size=(48, 96), stereo=False))
    blind = Matched(street, matcher=lambda left, right: np.zeros(left.shape[:2], np.float32))
    with pytest.raises(DataError, match=f"^world_street {street.ids[1]}: no disparity in the left view"):
        blind[1]
