"""The data doctor on real frames: silent on them as they are, and each defect that is planted in them is found."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from diorama import catalog
from diorama.data.base import SceneDataset
from diorama.data.check import check
from diorama.data.defects import Examination
from diorama.data.defects.twins import fingerprint, shared_pictures
from diorama.data.fixtures import write_folder
from diorama.data.folder import Folder
from diorama.data.sparsify import Sparsify, sparsify
from diorama.types import Frame

Change = Callable[[Frame], dict[str, Any]]

PAIR = ("image", "right", "disparity", "depth", "intrinsics", "baseline")
SETS: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "nyuv2": ("nyuv2", "train", {}, 6),
    "nyuv2, test": ("nyuv2", "test", {"classes": 13}, 6),
    "camvid": ("camvid", "train", {}, 6),
    "camvid, test": ("camvid", "test", {}, 6),
    "kitti_lidar": ("kitti_lidar", "all", {}, 4),
    "kitti_object": ("kitti_object", "train", {}, 2),
    "cityscapes": ("cityscapes", "train", {"keys": PAIR}, 2),
    "cityscapes, labels": ("cityscapes", "train", {"keys": ("image", "semantic")}, 4),
    "sevenscenes": ("sevenscenes", "all", {}, 12),
    "middlebury": ("middlebury", "all", {}, 1),
    "potsdam": ("isprs", "train", {"site": "potsdam", "bands": "rgb", "first_id": 1}, 1),
    "vaihingen": ("isprs", "train", {"site": "vaihingen", "first_id": 1}, 1),
}


@cache
def opened(real_data: Path, case: str) -> tuple[SceneDataset, list[Frame]]:
    name, split, settings, count = SETS[case]
    folder = real_data / ("isprs/" + settings["site"] if name == "isprs" else name)
    dataset: SceneDataset = catalog.dataset(name)(root=folder, split=split, **settings)
    return dataset, [dataset[int(index)] for index in np.linspace(0, len(dataset) - 1, count).round()]


def found_in(frames: list[Frame], dataset: SceneDataset) -> dict[str, str]:
    examination = Examination(dataset.labels, len(frames))
    for number, frame in enumerate(frames):
        examination.look(number, str(number), frame)
    return {finding.rule: finding.level for finding in examination.findings("x")}


@pytest.mark.parametrize("case", SETS)
def test_no_alarm_on_frames_as_they_are(real_data: Path, case: str) -> None:
    dataset, frames = opened(real_data, case)
    assert found_in(frames, dataset) == {}


@pytest.mark.parametrize("site", ["potsdam", "vaihingen"])
def test_void_that_was_read_as_the_first_class(real_data: Path, site: str) -> None:
    """These two files count from 1; read as if they counted from 0 they are one class off."""
    dataset = catalog.dataset("isprs")(root=real_data / "isprs" / site, site=site, bands="rgb" if site == "potsdam" else "irrg")
    assert found_in([dataset[0]], dataset) == {"label_ids": "warning"}


@pytest.mark.slow
@pytest.mark.parametrize("case", SETS)
def test_no_alarm_on_whole_sets(real_data: Path, case: str) -> None:
    dataset, _ = opened(real_data, case)
    rules = [finding.rule for finding in check(dataset, every=True) if finding.rule]
    assert rules == []


def times(factor: float) -> Change:
    return lambda frame: {key: frame[key] * np.float32(factor) for key in ("depth", "sparse_depth") if key in frame}  # type: ignore[literal-required]


def inverted(frame: Frame) -> dict[str, Any]:
    maps = {key: frame[key] for key in ("depth", "sparse_depth") if key in frame}  # type: ignore[literal-required]
    return {key: np.where(depth > 0, 60 / depth.clip(0.1), 0).astype(np.float32) for key, depth in maps.items()}


def shrunk(frame: Frame) -> dict[str, Any]:
    """Maps made 0.7 times as large as photos are; NYU's depth as 3000 points."""
    changed: dict[str, Any] = {"intrinsics": np.diag([0.7, 0.7, 1]) @ frame["intrinsics"]} if "intrinsics" in frame else {}
    for key in ("image", "right", "disparity", "depth", "sparse_depth", "semantic"):
        if key in frame:
            value: Any = frame[key]  # type: ignore[literal-required]
            if key == "depth" and (value > 0).all():
                value = sparsify(value, Sparsify(points=3000), 0)
            nearest = key == "disparity"
            changed[key] = cv2.resize(value, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR)
    if "disparity" in changed:
        changed["disparity"] = changed["disparity"] * np.float32(0.7)
    return changed


STREETS = ("kitti_lidar", "kitti_object", "cityscapes")
METRIC = ("nyuv2", *STREETS, "sevenscenes")
CENTIMETRES = (("nyuv2", "error"), ("kitti_lidar", "error"), ("sevenscenes", "warning"))

PLANTED: list[tuple[str, str, str, str, Change]] = [
    *(("millimetres", "scale", "error", case, times(1000)) for case in METRIC),
    *(("centimetres", "scale", level, case, times(100)) for case, level in CENTIMETRES),
    *(("256 for 1000", "scale", "warning", case, times(1000 / 256)) for case in ("nyuv2", *STREETS)),
    *(("disparity", "disparity", "error", case, inverted) for case in METRIC),
    ("baseline", "calibration", "error", "cityscapes", lambda frame: {"baseline": frame["baseline"] * 1.5}),
    ("baseline, no disparity", "pair", "error", "cityscapes", lambda frame: {"baseline": frame["baseline"] * 1.5, "disparity": None}),
    ("disparity scale", "pair", "error", "middlebury", lambda frame: {"disparity": frame["disparity"] * np.float32(4)}),
    ("exchanged views", "pair", "error", "cityscapes", lambda frame: {"image": frame["right"], "right": frame["image"]}),
    ("said to be IRRG", "bands", "error", "potsdam", lambda frame: {"meta": {**frame["meta"], "bands": "irrg"}}),
    ("said to be RGB", "bands", "error", "vaihingen", lambda frame: {"meta": {**frame["meta"], "bands": "rgb"}}),
    ("DSM", "dsm", "error", "potsdam", lambda frame: {"depth": np.where(frame["semantic"] == 1, 42, 35).astype(np.float32)}),
    *(("bilinear", "resized_depth", "error", case, shrunk) for case in METRIC),
    *(("bilinear", "resized_labels", "error", case, shrunk) for case in ("nyuv2", "camvid", "cityscapes, labels", "potsdam", "vaihingen")),
    *(
        ("colours as ids", "label_ids", "error", case, lambda frame: {"semantic": (frame["semantic"] * 6 + 5).astype(np.uint8)})
        for case in ("nyuv2", "camvid", "cityscapes, labels", "potsdam")
    ),
]  # fmt: skip


PLANTED.sort(key=lambda row: row[3])  # each set is decoded once


@pytest.mark.parametrize(("name", "rule", "level", "case", "change"), PLANTED, ids=[f"{row[0]}-{row[3]}" for row in PLANTED])
def test_planted_in_real_frames(real_data: Path, name: str, rule: str, level: str, case: str, change: Change) -> None:
    dataset, frames = opened(real_data, case)
    changed: list[Any] = [{key: value for key, value in {**frame, **change(frame)}.items() if value is not None} for frame in frames]
    assert found_in(changed, dataset).get(rule) == level


def test_millimetres_of_nyu_in_own_folders(real_data: Path, tmp_path: Path) -> None:
    dataset, frames = opened(real_data, "nyuv2")
    write_folder(frames, tmp_path, labels=dataset.labels)
    assert [finding for finding in check(Folder(tmp_path)) if finding.rule] == []
    found = [finding for finding in check(Folder(tmp_path, depth_scale=0.256)) if finding.rule]
    assert [(finding.rule, finding.level) for finding in found] == [("scale", "error")]
    assert "millimetres read as metres (" in found[0].text


def test_copies_among_real_frames(real_data: Path) -> None:
    """No twins in the official splits or among the neighbours of a film; a copy at other size and quality is one."""
    for name, one, other in (("nyuv2", "train", "test"), ("camvid", "train", "test"), ("camvid", "val", "test")):
        splits = []
        for split in (one, other):
            dataset = catalog.dataset(name)(root=real_data / name, split=split)
            prints = [fingerprint({"image": dataset[index]["image"]}, dataset.ids[index]) for index in range(0, len(dataset), 12)]
            splits.append((split, [mark for mark in prints if mark is not None]))
        assert shared_pictures(splits) == []
    film = catalog.dataset("kitti_lidar")(root=real_data / "kitti_lidar", split="all")
    images = [film[index]["image"] for index in range(len(film))]
    marks = [fingerprint({"image": image}, str(number)) for number, image in enumerate(images)]
    kept = [mark for mark in marks if mark is not None]
    assert len(kept) == len(film)
    assert shared_pictures([("even", kept[::2]), ("odd", kept[1::2])]) == []
    small = cv2.resize(images[5], None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    poor = cv2.imdecode(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)
    copy = fingerprint({"image": np.asarray(poor, np.uint8)}, "copy")
    assert copy is not None
    found = shared_pictures([("train", kept), ("test", [copy])])
    assert [(finding.level, finding.frame) for finding in found] == [("warning", "copy")]
    assert "(first: copy of 5)" in found[0].text
