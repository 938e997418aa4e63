"""Places, seconds and pixels: what is let in, what is sent away, and that places come back."""

from __future__ import annotations

import threading
from concurrent.futures import wait

import pytest

from diorama.apps.limits import ClosedError, FullError, Gate, Limits, TooLargeError, TooSlowError
from diorama.errors import ConfigError


@pytest.mark.parametrize(
    "wrong", [{"megabytes": 0}, {"megapixels": -1}, {"seconds": float("inf")}, {"seconds": float("nan")}, {"workers": 0}, {"queue": -1}]
)
def test_limits_that_allow_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=rf"{next(iter(wrong))}.*Choose"):
        Limits(**wrong)  # type: ignore[arg-type]


def test_bytes_and_places_follow_from_the_limits() -> None:
    limits = Limits(megabytes=2, queue=3, workers=2)
    assert limits.bytes == 2_097_152
    assert limits.places == 5


def test_pixels_are_counted_up_to_the_limit() -> None:
    limits = Limits(megapixels=0.006, network_megapixels=0.001)
    limits.check_pixels(60, 100, "a.png")
    with pytest.raises(TooLargeError, match=r"a.png: 101x60 pixels, more than the 0.006 million allowed here. Make it smaller"):
        limits.check_pixels(60, 101, "a.png")
    limits.check_work(10, 100)
    with pytest.raises(TooLargeError, match="101x10"):
        limits.check_work(10, 101)


def test_who_finds_no_place_is_sent_away_and_places_come_back() -> None:
    gate, go = Gate(Limits(workers=1, queue=1)), threading.Event()
    inside = [gate.submit(lambda: go.wait(20)), gate.submit(lambda: 7)]
    assert gate.inside == 2
    with pytest.raises(FullError, match="2 others"):
        gate.submit(lambda: 8)
    go.set()
    wait(inside, 20)
    assert inside[1].result() == 7
    assert gate.run(lambda: 9) == 9
    assert gate.inside == 0


def test_who_waits_too_long_leaves_but_work_that_has_begun_keeps_its_place() -> None:
    gate, go = Gate(Limits(workers=1, queue=1, seconds=0.05)), threading.Event()
    begun = gate.submit(lambda: go.wait(20))
    with pytest.raises(TooSlowError, match=r"0.05 s"):
        gate.run(lambda: 1)  # waits behind the first, never begins
    assert gate.inside == 1
    go.set()
    assert begun.result(20)
    wait([begun])
    assert gate.run(lambda: 2) == 2


def test_errors_of_work_come_out_and_free_the_place() -> None:
    gate = Gate(Limits())
    with pytest.raises(ZeroDivisionError):
        gate.run(lambda: 1 / 0)
    assert gate.inside == 0


def test_nobody_is_let_in_after_the_end() -> None:
    gate = Gate(Limits())
    gate.close()
    with pytest.raises(ClosedError, match="about to stop"):
        gate.run(lambda: 1)
