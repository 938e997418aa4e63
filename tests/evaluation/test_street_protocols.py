"""The protocols of streets on tiny planted frames: each number by a plain loop over the pixels, from the published constants."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from diorama.data.base import SceneDataset
from diorama.data.labels import CITYSCAPES7, CITYSCAPES19, LabelSet
from diorama.errors import ProtocolError
from diorama.evaluation.protocols import PROTOCOLS, by_name
from diorama.running.evaluate import evaluate_model
from diorama.running.evaluate_file import default_protocol
from diorama.types import Frame, Inputs, Prediction

HEIGHT, WIDTH = 37, 61  # no crop edge falls on a whole pixel

GARG = (0.40810811, 0.99189189, 0.03594771, 0.96405229)
EIGEN = (0.3324324, 0.91351351, 0.0359477, 0.96405229)

KITTI = {
    f"kitti_eigen_{truth}{crop}{cap}": (crop_parts, metres)
    for truth in ("raw", "improved")
    for crop, crop_parts in (("", GARG), ("_crop_eigen", EIGEN))
    for cap, metres in (("", 80.0), ("_50m", 50.0))
}


class Street(SceneDataset):
    """Two frames with depths on both sides of every bound, at the corners of both crops too."""

    name, title, citation, terms = "kitti_raw", "Street", "none", "none"

    def __init__(self, labels: LabelSet | None = None, size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
        self.root, self.split, self.labels, self.size = None, "test", labels, size
        self.ids = ["a", "b"]
        self.provides = frozenset({"image", "depth", *(("semantic",) if labels else ())})

    def frame(self, index: int) -> Frame:
        generator = np.random.default_rng(index)
        bounds = np.array([0, 1e-3, 2e-3, 1, 5, 20, 49.999, 50, 50.001, 79.999, 80, 80.001, 120], np.float32)
        depth = np.where(generator.random(self.size) < 0.5, generator.choice(bounds, self.size), generator.uniform(1, 90, self.size))
        image = generator.integers(0, 256, (*self.size, 3)).astype(np.uint8)
        found = Frame(image=image, depth=depth.astype(np.float32), meta={"id": self.ids[index]})
        if self.labels:
            found["semantic"] = generator.choice(np.array([*range(len(self.labels)), 255], np.uint8), self.size)
        return found


def predict(inputs: Inputs) -> Prediction:
    """From 0 to 60 m by the red channel: a tenth of it below the floor after scaling, and above 50 m at its end."""
    red, green = inputs["image"][:, :1], inputs["image"][:, 1]
    logits = -np.abs(np.floor(green * 19)[:, None] - np.arange(19, dtype=np.float32)[:, None, None])
    return Prediction(logits.astype(np.float32), (60 * red).astype(np.float32))


def by_loop(parts: tuple[float, ...], cap: float, align: bool) -> dict[str, float]:
    """The published evaluation, pixel by pixel, then the mean over images."""
    images: list[dict[str, float]] = []
    for index in range(2):
        frame = Street().frame(index)
        depth, red = frame["depth"], frame["image"][..., 0]
        top, bottom, left, right = (int(part * side) for part, side in zip(parts, (HEIGHT, HEIGHT, WIDTH, WIDTH), strict=True))
        pairs = []
        for row in range(top, bottom):
            for column in range(left, right):
                d = float(depth[row, column])
                if np.float32(1e-3) < np.float32(d) < np.float32(cap):
                    pairs.append((d, float(np.float32(60) * (np.float32(red[row, column]) / np.float32(255)))))
        factor = float(np.median([d for d, _ in pairs]) / np.median([p for _, p in pairs])) if align else 1.0
        scored = [(d, min(max(p * factor, 1e-3), cap)) for d, p in pairs]
        n = len(scored)
        ratios = [max(d / p, p / d) for d, p in scored]
        images.append(
            {
                "abs_rel": sum(abs(d - p) / d for d, p in scored) / n,
                "sq_rel": sum((d - p) ** 2 / d for d, p in scored) / n,
                "rmse": math.sqrt(sum((d - p) ** 2 for d, p in scored) / n),
                "rmse_log": math.sqrt(sum((math.log(d) - math.log(p)) ** 2 for d, p in scored) / n),
                **{f"delta{k}": sum(ratio < 1.25**k for ratio in ratios) / n for k in (1, 2, 3)},
            }
        )
    return {key: (images[0][key] + images[1][key]) / 2 for key in images[0]}


@pytest.mark.parametrize("align", [False, True], ids=["metres", "median"])
@pytest.mark.parametrize("name", KITTI)
def test_kitti_eigen_is_the_published_loop(name: str, align: bool) -> None:
    rules = by_name(name, align="median" if align else "none")
    found = evaluate_model(predict, Street(), rules, progress=False, draws=0)
    expected = by_loop(*KITTI[name], align)
    assert {key: found[key] for key in expected} == pytest.approx(expected, rel=1e-5)
    assert PROTOCOLS[name].frames is None and ("697" in rules.truth) == ("raw" in name) and ("652" in rules.truth) == ("improved" in name)


def test_the_improved_split_is_not_judged_as_raw() -> None:
    street = Street()
    assert default_protocol(street).name == "kitti_eigen_raw"
    street.split = "test_improved"
    assert default_protocol(street).name == "kitti_eigen_improved"
    street.split = "val"  # has no protocol of its own
    assert default_protocol(street).name == "kitti_eigen_raw"


def test_crops_of_the_official_size_from_the_official_constants() -> None:
    for name, (top, bottom, left, right) in (("kitti_eigen_raw", GARG), ("kitti_eigen_raw_crop_eigen", EIGEN)):
        rows, columns = by_name(name).region(375, 1242)
        # np.array([0.40810811 * gt_height, ...]).astype(np.int32) in the public code
        expected = np.array([top * 375, bottom * 375, left * 1242, right * 1242]).astype(np.int32)
        assert [rows.start, rows.stop, columns.start, columns.stop] == expected.tolist()


@pytest.mark.parametrize(("name", "cap"), [("kitti_eigen_raw", 80.0), ("kitti_eigen_improved_50m", 50.0)])
def test_the_cap_itself_is_excluded(name: str, cap: float) -> None:
    depth = np.full((HEIGHT, WIDTH), np.float32(cap))
    inside = by_name(name).region(HEIGHT, WIDTH)
    assert not by_name(name).valid(depth).any()
    below = np.nextafter(np.float32(cap), np.float32(0))
    assert by_name(name).valid(np.full_like(depth, below)).sum() == np.ones_like(depth)[inside].size
    assert not by_name(name).valid(np.full_like(depth, 1e-3)).any()


def test_median_scaling_comes_before_the_clip_at_50_m() -> None:
    truth: NDArray[np.float32] = np.full((HEIGHT, WIDTH), 10, np.float32)
    truth[HEIGHT // 2 :: 2] = 40

    class Two(Street):
        def frame(self, index: int) -> Frame:
            return Frame(image=np.zeros((HEIGHT, WIDTH, 3), np.uint8), depth=truth, meta={"id": "a"})

    def ten_times_too_far(inputs: Inputs) -> Prediction:
        return Prediction(depth=np.stack([10 * truth[None]] * len(inputs["image"])))

    # 100 and 400 m: scaled by 1/10 they are right, clipped to 50 m first they would all be equal
    rules = by_name("kitti_eigen_raw_50m", align="median")
    found = evaluate_model(ten_times_too_far, Two(), rules, progress=False, draws=0)
    assert found["abs_rel"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("name", "labels"), [("cityscapes19", CITYSCAPES19), ("cityscapes7", CITYSCAPES7)])
def test_cityscapes_pools_pixels_and_has_one_confusion_matrix(name: str, labels: LabelSet) -> None:
    classes = len(labels)

    def said(inputs: Inputs) -> Prediction:
        everything = predict(inputs)
        return Prediction(everything.semantic_logits[:, :classes], everything.depth)

    found = evaluate_model(said, Street(labels), name, progress=False, draws=0)
    pairs, matrix = [], np.zeros((classes, classes))
    for index in range(2):
        frame = Street(labels).frame(index)
        for row, column in np.ndindex(HEIGHT, WIDTH):
            d, p = float(frame["depth"][row, column]), 60 * float(frame["image"][row, column, 0]) / 255
            if np.float32(1e-3) < np.float32(d) < 80:
                pairs.append((d, min(max(p, 1e-3), 80.0)))
            truth = int(frame["semantic"][row, column])
            if truth != 255:
                matrix[truth, min(math.floor(np.float32(frame["image"][row, column, 1]) / np.float32(255) * 19), classes - 1)] += 1
    hits = np.diag(matrix)
    assert found["miou"] == pytest.approx(np.mean(hits / (matrix.sum(0) + matrix.sum(1) - hits)))
    assert found["pixel_accuracy"] == pytest.approx(hits.sum() / matrix.sum())
    assert found["abs_rel"] == pytest.approx(sum(abs(d - p) / d for d, p in pairs) / len(pairs), rel=1e-5)
    assert found["sq_rel"] == pytest.approx(sum((d - p) ** 2 / d for d, p in pairs) / len(pairs), rel=1e-5)


def test_mtan_is_the_absolute_error_of_inverse_depth_at_128x256() -> None:
    """Frames of 256x512: each pixel of the judged frame is the lower right one of four, whose centre lies under its own."""
    seen: list[tuple[int, ...]] = []

    def said(inputs: Inputs) -> Prediction:
        seen.append(inputs["image"].shape)
        count = len(inputs["image"])
        return Prediction(np.zeros((count, 7, 128, 256), np.float32), np.full((count, 1, 128, 256), 20, np.float32))

    found = evaluate_model(said, Street(CITYSCAPES7, (256, 512)), "cityscapes7_mtan", progress=False, draws=0, batch_size=1)
    errors, first, labelled = [], 0, 0
    for index in range(2):
        frame = Street(CITYSCAPES7, (256, 512)).frame(index)
        depth, semantic = frame["depth"][1::2, 1::2], frame["semantic"][1::2, 1::2]
        errors += [abs(1 / 20 - 1 / float(d)) for d in depth.ravel() if d > np.float32(1e-3)]
        labelled += int((semantic != 255).sum())
        first += int((semantic == 0).sum())
    assert found["imae"] == pytest.approx(1000 * sum(errors) / len(errors), rel=1e-5)  # 1/km
    assert found["pixel_accuracy"] == pytest.approx(first / labelled)
    assert set(seen) == {(1, 3, 128, 256)}
    assert found.protocol.truth_size == "128x256" and "whole frames at 128x256" in found.protocol.sentence()
    assert found.protocol.differences(by_name("cityscapes7"))


def test_a_frame_size_is_height_times_width() -> None:
    for wrong in ("128", "0x256", "128 x 256"):
        with pytest.raises(ProtocolError, match="like 128x256"):
            by_name("folder", frame_size=wrong)


def test_numbers_stored_before_frame_sizes_are_read() -> None:
    stored = by_name("cityscapes7").to_dict()
    del stored["frame_size"]
    assert type(by_name("cityscapes7")).from_dict(stored) == by_name("cityscapes7")
