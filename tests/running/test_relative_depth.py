"""Relative depth to metres: planted scale and shift with gross outliers, weights, both directions, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from diorama.errors import DataError, ShapeError
from diorama.running.relative_depth import LEAST_POINTS, fit_relative, metres

SCALE, SHIFT = 0.004, 0.02  # 1/m per unit of relative inverse depth, 1/m


def planted(share: float, seed: int = 0, noise: float = 0.0) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Relative inverse depth 0..60, the metres it means, `share` of which are gross errors, and where these are."""
    generator = np.random.default_rng(seed)
    relative = generator.uniform(0, 60, (60, 80)).astype(np.float32)
    inverse = (SCALE * relative + SHIFT) * (1 + noise * generator.normal(size=relative.shape))
    truth = 1 / inverse
    wrong = generator.random(relative.shape) < share
    truth[wrong] = generator.uniform(1, 80, int(wrong.sum()))
    return relative, truth.astype(np.float32), wrong


@pytest.mark.parametrize("seed", range(5))
def test_scale_and_shift_are_recovered_among_30_percent_of_gross_outliers(seed: int) -> None:
    relative, metric, wrong = planted(0.3, seed)
    metric[::3] = 0  # unknown
    found = fit_relative(relative, metric)
    assert found.scale == pytest.approx(SCALE, rel=0.01)
    assert found.shift == pytest.approx(SHIFT, rel=0.01)
    assert not found.inliers[::3].any()
    sound = ~wrong & (metric > 0)
    assert found.inliers[sound].mean() > 0.95
    assert found.inliers[wrong].mean() < 0.05
    assert np.allclose(metres(relative, found)[sound], metric[sound], rtol=0.01)


def test_one_sided_outliers_pull_least_squares_but_not_this() -> None:
    relative, metric, wrong = planted(0.3)
    metric[wrong] = 2.0  # a foreground that is not there
    plain = np.polyfit(relative.ravel().astype(float), 1 / metric.ravel().astype(float), 1)
    assert abs(plain[1] / SHIFT - 1) > 1  # the oracle: the same data without robustness
    found = fit_relative(relative, metric)
    assert (found.scale, found.shift) == pytest.approx((SCALE, SHIFT), rel=0.01)


def test_noise_averages_out_and_the_fit_is_deterministic() -> None:
    relative, metric, _ = planted(0.3, noise=0.02)
    first, second = fit_relative(relative, metric), fit_relative(relative, metric)
    assert (first.scale, first.shift) == (second.scale, second.shift)
    assert (first.scale, first.shift) == pytest.approx((SCALE, SHIFT), rel=0.03)


def test_depth_that_grows_with_distance() -> None:
    relative = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    metric = (50 * relative + 3).astype(np.float32)
    metric[:, ::4] = 70
    found = fit_relative(relative, metric, inverse=False)
    assert (found.scale, found.shift) == pytest.approx((50, 3), rel=1e-5)
    assert metres(relative, found)[0, 0] == pytest.approx(3)
    with pytest.raises(DataError, match=r"falls where it should rise.*inverse=false"):
        fit_relative(relative, metric)
    with pytest.raises(DataError, match=r"inverse=true"):
        fit_relative(-relative, metric, inverse=False)


def test_weights_decide_between_two_halves_that_disagree() -> None:
    relative, metric, _ = planted(0.0)
    metric[:, 40:] = 1 / (3 * SCALE * relative[:, 40:] + SHIFT)
    weight = np.where(np.arange(80) < 40, 0.9, 0.2).astype(np.float32) * np.ones((60, 1), np.float32)
    assert fit_relative(relative, metric, weight).scale == pytest.approx(SCALE, rel=0.01)
    assert fit_relative(relative, metric, weight[:, ::-1]).scale == pytest.approx(3 * SCALE, rel=0.01)
    weight[:, 40:] = 0
    assert not fit_relative(relative, metric, weight).inliers[:, 40:].any()


@pytest.mark.parametrize("rows", [20, 60])
def test_many_hardly_trusted_points_do_not_outvote_few_trusted_ones(rows: int) -> None:
    """62 % of the points, of a hundredth of the weight each, say 60 m: 1.6 % of the weight; fewer points than are drawn, and more."""
    depth = np.random.default_rng(4).uniform(2, 58, (rows, 80)).astype(np.float32)
    relative, hardly = (1 / depth - 0.01) / 3, np.arange(80) < 50
    said = np.where(hardly, np.float32(60), depth)
    found = fit_relative(relative, said, np.broadcast_to(np.where(hardly, 0.01, 1), depth.shape).astype(np.float32))
    assert (found.scale, found.shift) == pytest.approx((3, 0.01), rel=1e-4)
    with pytest.raises(DataError, match="known depth is nearly the same"):
        fit_relative(relative, said)


def test_a_real_disparity_without_a_unit_gets_the_scale_of_its_camera(real_data: Path) -> None:
    """Disparity is inverse depth times focal length and baseline; the official depth is of another matcher, with errors of its own."""
    from diorama.data.cityscapes import Cityscapes
    from diorama.stereo.matching import match

    frame = Cityscapes(real_data / "cityscapes", "train", keys=("image", "right", "depth", "intrinsics", "baseline"))[0]
    rows = slice(256, 768)
    disparity = match(frame["image"][rows], frame["right"][rows]).left.disparity
    metric = frame["depth"][rows]
    unit = frame["intrinsics"][0, 0] * frame["baseline"]  # pixels times metres
    found = fit_relative(disparity, metric)
    assert found.scale * unit == pytest.approx(1, abs=0.005)
    assert found.shift * unit == pytest.approx(0, abs=0.25)  # pixels


def test_metres_by_hand() -> None:
    from diorama.running.relative_depth import RelativeFit

    fit = RelativeFit(0.5, -0.5, np.ones((1, 4), bool))
    relative = np.array([[1.0, 2.0, 1.02, np.nan]], np.float32)  # 1/m: 0, 0.5, 0.01, unknown
    assert metres(relative, fit)[0, :3].tolist() == pytest.approx([0, 2, 100], rel=1e-5)
    assert metres(relative, fit, farthest=80).tolist() == [[0, 2, 0, 0]]


def test_what_cannot_be_fitted_is_refused() -> None:
    relative, metric, _ = planted(0.0)
    few = np.zeros_like(metric)
    few.flat[: LEAST_POINTS - 1] = 5
    with pytest.raises(DataError, match=rf"31 pixels with known depth, {LEAST_POINTS} are needed"):
        fit_relative(relative, few)
    with pytest.raises(DataError, match="no scale"):
        fit_relative(np.full_like(relative, 7), metric)
    nearly = np.full_like(relative, 7)
    nearly.flat[0] = 9
    with pytest.raises(DataError):
        fit_relative(nearly, metric)
    with pytest.raises(ShapeError, match="one size"):
        fit_relative(relative[:10], metric)
