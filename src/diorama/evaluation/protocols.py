"""Every named protocol. What a protocol is: `protocol.py`; where its crops lie: `crops.py`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from diorama.data.height import HEIGHT_FLOOR, HEIGHT_SCALE
from diorama.errors import ProtocolError, suggest
from diorama.evaluation.crops import CROPS
from diorama.evaluation.protocol import Better, Measured, Protocol
from diorama.evaluation.withheld import HOW, TARGETS, How, input_text, truth_text

__all__ = ["CROPS", "PROTOCOLS", "Better", "Measured", "Protocol", "by_name", "list_protocols"]


def _registry(protocols: Iterable[Protocol]) -> dict[str, Protocol]:
    return {protocol.name: protocol for protocol in protocols}


def _nyuv2(suffix: str, classes: int) -> list[Protocol]:
    pooled = Protocol(
        name=f"nyuv2_pooled{suffix}", dataset="nyuv2", split="test", truth="in-filled depth and labels of the labelled set",
        cap=10.0, floor=0.1, classes=classes,
    )  # fmt: skip
    return [pooled, replace(pooled, name=f"nyuv2_eigen{suffix}", crop="eigen_nyu", aggregation="per_image")]


def _nyuv2_completion(points: int) -> Protocol:
    return Protocol(
        name=f"nyuv2_completion_{points}", dataset="nyuv2", split="test", truth="in-filled depth of the labelled set, halved to 240x320",
        crop="nyu_228x304", cap=10.0, floor=0.1, aggregation="per_image",
        sparse=f"{points} random points inside the middle 228x304, seed 0",
    )  # fmt: skip


def _kitti(name: str, split: str, truth: str) -> list[Protocol]:
    garg = Protocol(name=name, dataset="kitti_raw", split=split, truth=truth, crop="garg", cap=80.0, aggregation="per_image")
    eigen = replace(garg, name=f"{name}_crop_eigen", crop="eigen_kitti")
    return [garg, eigen, *(replace(rules, name=f"{rules.name}_50m", cap=50.0) for rules in (garg, eigen))]


def _kitti_completion() -> list[Protocol]:
    # the server counts every known pixel: the 80 m of the Eigen protocols would leave out what it scores
    benchmark = Protocol(
        name="kitti_completion", dataset="kitti", split="val_selection", truth="annotated depth, 11 scans", unit="mm",
        crop="kitti_352x1216", cap=100.0, floor=0.9, aggregation="per_image",
    )  # fmt: skip
    return [benchmark, replace(benchmark, name="kitti_completion_pooled", aggregation="pooled")]


def _withheld(how: How, targets: str) -> Protocol:
    return Protocol(
        name=f"kitti_withheld_{how}{targets}", dataset="kitti_lidar", split="test", unit="mm", crop="kitti_352x1216", cap=100.0,
        floor=0.9, aggregation="per_image", truth=truth_text(how, targets), sparse=input_text(),
    )  # fmt: skip


def _cityscapes(classes: int) -> Protocol:
    return Protocol(
        name=f"cityscapes{classes}", dataset="cityscapes", split="val", classes=classes, cap=80.0,
        truth="fine labels; depth = baseline * fx / disparity with each image's camera file; hood rows included",
    )  # fmt: skip


def _confidence(tolerance: int) -> Protocol:
    return Protocol(
        name=f"confidence_{tolerance}px", dataset="any with pairs and disparity", split="test", truth="disparity of the left view",
        aggregation="per_image", tolerance_px=tolerance,
    )  # fmt: skip


def _cityscapes_mtan() -> Protocol:
    # MTAN's table has the absolute error of inverse depth (here `imae`, 1/km), of all pixels with a disparity: no cap
    return replace(
        _cityscapes(7), name="cityscapes7_mtan", frame_size="128x256", cap=math.inf,
        truth="fine labels; inverse depth = disparity / (baseline * fx) with each image's camera file; hood rows included",
    )  # fmt: skip


def _heights(name: str, dataset: str, truth: str, cap: float, classes: int) -> Protocol:
    # the ground is height 0: errors of it in parts of 8 mm would drown all others
    return Protocol(
        name=name, dataset=dataset, split="test", truth=truth, cap=cap, floor=HEIGHT_FLOOR, classes=classes,
        relative_floor=0.1, height_floor=HEIGHT_FLOOR, height_scale=HEIGHT_SCALE,
    )  # fmt: skip


PROTOCOLS = _registry(
    [
        *_nyuv2("", 40),
        *_nyuv2("_13", 13),
        *(_nyuv2_completion(points) for points in (500, 200, 50)),
        *_kitti("kitti_eigen_raw", "test", "raw LiDAR (697 images)"),
        *_kitti("kitti_eigen_improved", "test_improved", "improved depth maps (652 images)"),
        *_kitti_completion(),
        *(_withheld(how, targets) for how in HOW for targets in TARGETS),
        _cityscapes(19),
        _cityscapes(7),
        _cityscapes_mtan(),
        Protocol(name="world_indoor", dataset="world_indoor", split="test", truth="exact, rendered", cap=10.0, floor=0.1, classes=13),
        Protocol(name="world_street", dataset="world_street", split="test", truth="exact, rendered", cap=80.0, classes=19),
        _heights("world_aerial", "world_aerial", "exact, drawn", cap=HEIGHT_SCALE, classes=6),
        *(_heights(f"isprs{classes}", "isprs", "official labels and nDSM", cap=100.0, classes=classes) for classes in (6, 5)),
        Protocol(name="sunrgbd37", dataset="sunrgbd", split="test", truth="depth_bfx and labels", cap=math.inf, classes=37),
        Protocol(name="camvid11", dataset="camvid", split="test", truth="labels, void ignored", classes=11),
        Protocol(name="folder", dataset="folder", split="test", truth="as stored"),
        *(_confidence(tolerance) for tolerance in (3, 1)),
    ]
)


def by_name(name: str, **changes: Any) -> Protocol:
    """The protocol called `name`, e.g. `nyuv2_pooled`, with `changes` as in `Protocol.vary`.

    Raises:
        ProtocolError: there is none of this name, or a change is not possible.
    """
    if name not in PROTOCOLS:
        raise ProtocolError(f"unknown protocol '{name}': {suggest(name, PROTOCOLS)} See `diorama evaluate --list-protocols`.")
    return PROTOCOLS[name].vary(**changes)


def list_protocols() -> dict[str, str]:
    """Every protocol name -> the sentence that describes it."""
    return {name: protocol.sentence() for name, protocol in PROTOCOLS.items()}
