"""Procedural data sets: geometry that both views share, determinism, classes, styles, LiDAR lines."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from diorama.catalog import DATASETS, dataset
from diorama.data.world.dataset import World, WorldIndoor, WorldStreet
from diorama.errors import ConfigError, DataError
from diorama.types import Frame

SMALL = {"world_indoor": (72, 96), "world_street": (96, 192)}
WORLDS = pytest.mark.parametrize("kind", [WorldIndoor, WorldStreet])


def make(kind: type[World], **arguments: Any) -> World:
    return kind(**{"frames": 8, "size": SMALL[kind.name], **arguments})  # type: ignore[arg-type]


def digest(frame: Frame) -> str:
    total = hashlib.sha256()
    for key in sorted(set(frame) - {"meta"}):
        total.update(np.ascontiguousarray(frame[key]).tobytes())  # type: ignore[literal-required]
    return total.hexdigest()


def points(
    depth: NDArray[np.float32], matrix: NDArray[np.float64], rotation: NDArray[np.float64], position: NDArray[np.float64]
) -> NDArray[np.float64]:
    """World points `(H, W, 3)` of a depth map, by the pinhole formula."""
    v, u = np.mgrid[: depth.shape[0], : depth.shape[1]]
    seen = np.stack([(u - matrix[0, 2]) / matrix[0, 0], (v - matrix[1, 2]) / matrix[1, 1], np.ones(depth.shape)], -1) * depth[..., None]
    return seen @ rotation + position


@WORLDS
def test_frame_has_every_promised_key_with_its_type(kind: type[World]) -> None:
    world = make(kind)
    frame = world[3]
    height, width = SMALL[kind.name]
    assert set(frame) == world.provides | {"meta"}
    arrays = {"image": np.uint8, "right": np.uint8, "semantic": np.uint8}
    arrays |= dict.fromkeys(("depth", "sparse_depth", "disparity"), np.float32)
    for key, kind_of in arrays.items():
        value = frame[key]  # type: ignore[literal-required]
        assert value.dtype == kind_of, key
        assert value.shape == ((height, width, 3) if key in ("image", "right") else (height, width)), key
    assert frame["intrinsics"].shape == (3, 3) and frame["intrinsics"].dtype == np.float64
    assert frame["meta"]["id"] == world.ids[3] and frame["meta"]["split"] == "train" and frame["meta"]["style"] in world.styles
    assert frame["domain"] == world.styles.index(frame["meta"]["style"])
    assert world.labels is not None and frame["semantic"].max() < len(world.labels)
    known = frame["depth"] > 0
    np.testing.assert_allclose(frame["disparity"][known] * frame["depth"][known], frame["baseline"] * frame["intrinsics"][0, 0], rtol=1e-5)
    assert (frame["disparity"][~known] == 0).all()


@WORLDS
def test_mono_leaves_the_other_keys_as_they_are(kind: type[World]) -> None:
    pair, mono = make(kind)[2], make(kind, stereo=False)[2]
    assert set(pair) - set(mono) == {"right", "semantic_right", "disparity"}
    assert make(kind, stereo=False).provides == set(mono) - {"meta"}
    for key in set(mono) - {"meta"}:
        np.testing.assert_array_equal(pair[key], mono[key])  # type: ignore[literal-required]


@WORLDS
def test_right_view_shows_the_same_points(kind: type[World]) -> None:
    world = make(kind, size=(144, 192) if kind is WorldIndoor else (128, 256))
    agree_labels, agree_colour, seen_share = [], [], []
    for index in range(4):
        left, right, camera, baseline = world.views(index)
        assert right is not None
        disparity = np.where(left.depth > 0, baseline * camera.focal_x / np.maximum(left.depth, 1e-6), 0)
        v, u = np.mgrid[: camera.height, : camera.width]
        target = u - disparity
        column = np.rint(target).astype(int)
        # Where the disparity is (nearly) whole, the two rays meet the surface in the same point.
        whole = (np.abs(target - column) < 0.03) & (column >= 0) & (left.depth > 0)
        other = right.depth[v[whole], column[whole]]
        seen = np.abs(other - left.depth[whole]) < 0.004 * left.depth[whole]
        agree_labels.append(np.mean(right.semantic[v[whole], column[whole]][seen] == left.semantic[whole][seen]))
        seen_share.append(seen.mean())
        difference = np.abs(right.image[v[whole], column[whole]][seen].astype(int) - left.image[whole][seen].astype(int)).mean(1)
        agree_colour.append(np.median(difference))
        warped = cv2.remap(right.image, target.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR)
        flat = (left.depth > 0) & (target >= 0)
        assert np.median(np.abs(warped[flat].astype(int) - left.image[flat])) < 8
    assert min(agree_labels) > 0.995
    assert min(seen_share) > 0.75
    assert max(agree_colour) < 6


def test_room_labels_and_depth_come_from_the_same_ray() -> None:
    world = make(WorldIndoor)
    for index in range(4):
        _, camera, light, _, _ = world.scene(index)
        frame = world[index]
        place = points(frame["depth"], frame["intrinsics"], camera.rotation, camera.position)
        low, high = light.low, light.high  # type: ignore[attr-defined]
        ids = {name: frame["semantic"] == k for k, name in enumerate(world.labels.classes)}  # type: ignore[union-attr]
        assert np.abs(place[ids["floor"]][:, 1]).max() < 0.01
        assert np.abs(place[ids["ceiling"]][:, 1] - high[1]).max(initial=0) < 1e-3
        assert (frame["depth"] > 0).all()
        assert (place > low - 1e-3).all() and (place < high + 1e-3).all()
        hung = place[ids["picture"]]
        gap = np.minimum(hung[:, [0, 2]], high[[0, 2]] - hung[:, [0, 2]]).min(1)
        assert gap.max(initial=0) < 0.04, "pictures hang on walls"


def test_street_labels_and_depth_come_from_the_same_ray() -> None:
    world = make(WorldStreet)
    names = world.labels.classes  # type: ignore[union-attr]
    for index in range(4):
        _, camera, _, _, _ = world.scene(index)
        frame = world[index]
        place = points(frame["depth"], frame["intrinsics"], camera.rotation, camera.position)
        label = frame["semantic"]
        np.testing.assert_array_equal(label == names.index("sky"), frame["depth"] == 0)
        near = frame["depth"] < 40
        assert np.abs(place[(label == names.index("road")) & near][:, 1]).max() < 0.041, "the slab of the road is 4 cm thick"
        walk = place[(label == names.index("sidewalk")) & near]
        assert walk[:, 1].min(initial=0) > -0.04 and walk[:, 1].max(initial=0) < 0.13
        car = place[(label == names.index("car")) & near]
        assert car[:, 1].min(initial=0) > -0.01 and car[:, 1].max(initial=0) < 2.1


@WORLDS
def test_frames_do_not_depend_on_order_process_or_neighbours(kind: type[World]) -> None:
    first = [digest(frame) for frame in make(kind, frames=3)]
    longer = make(kind, frames=5)
    assert [digest(longer[index]) for index in (2, 0, 1)] == [first[2], first[0], first[1]]
    program = (
        "import sys, hashlib, numpy as np\n"
        f"from diorama.data.world.dataset import {kind.__name__}\n"
        f"frame = {kind.__name__}(frames=3, size={SMALL[kind.name]})[1]\n"
        "total = hashlib.sha256()\n"
        "for key in sorted(set(frame) - {'meta'}): total.update(np.ascontiguousarray(frame[key]).tobytes())\n"
        "assert 'torch' not in sys.modules\n"
        "print(total.hexdigest())\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == first[1]


@WORLDS
def test_splits_and_seeds_share_no_scene(kind: type[World]) -> None:
    shown = {digest(make(kind, frames=2, stereo=False, split=split, seed=seed)[1]) for split in ("train", "val", "test") for seed in (0, 1)}
    assert len(shown) == 6
    depths = [make(kind, frames=2, stereo=False, split=split)[1]["depth"] for split in ("train", "val", "test")]
    assert np.abs(depths[0] - depths[1]).mean() > 0.1 and np.abs(depths[1] - depths[2]).mean() > 0.1


@pytest.mark.parametrize(("kind", "size", "frames"), [(WorldIndoor, (45, 60), 60), (WorldStreet, (64, 128), 40)])
def test_every_class_appears(kind: type[World], size: tuple[int, int], frames: int) -> None:
    world = make(kind, size=size, frames=frames, stereo=False)
    counts = sum(np.bincount(frame["semantic"].ravel(), minlength=256) for frame in world)
    assert world.labels is not None
    missing = [name for name, count in zip(world.labels.classes, counts, strict=False) if count == 0]
    assert not missing
    assert counts[len(world.labels) :].sum() == 0


def grain(image: NDArray[np.uint8]) -> float:
    """Noise level [grey levels] by the median of a Laplacian (Immerkaer 1996)."""
    grey = image.astype(np.float32).mean(2)
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
    return float(np.median(np.abs(cv2.filter2D(grey, -1, kernel))) / 0.6745)


@WORLDS
def test_styles_differ_measurably(kind: type[World]) -> None:
    numbers = {}
    for name in kind.styles:
        frames = list(make(kind, frames=8, style=name, stereo=False))
        saturation = [float((frame["image"].max(2).astype(float) - frame["image"].min(2)).mean()) for frame in frames]
        focal = [frame["intrinsics"][0, 0] / frame["image"].shape[1] for frame in frames]
        numbers[name] = np.mean(saturation), np.mean([grain(frame["image"]) for frame in frames]), np.mean(focal)
    one, two = numbers.values()
    assert abs(np.log(one[0] / two[0])) > np.log(1.25), "colourfulness"
    assert abs(np.log(one[1] / two[1])) > np.log(1.2), "noise"
    assert abs(one[2] - two[2]) > 0.08, "focal length"
    mixed = make(kind, frames=4, style="mixed", stereo=False)
    assert [frame["domain"] for frame in mixed] == [0, 1, 0, 1]


@WORLDS
def test_lidar_returns_lie_on_their_beams(kind: type[World]) -> None:
    world = make(kind, size=(180, 320))
    frame = world[1]
    _, camera, _, _, _ = world.scene(1)
    sparse, dense = frame["sparse_depth"], frame["depth"]
    hit = sparse > 0
    scanner = world.scanner
    assert np.abs(sparse[hit] - dense[hit]).max() < 6 * scanner.noise
    place = points(dense, frame["intrinsics"], camera.rotation, camera.position)[hit] - camera.position - np.array([0, scanner.height, 0])
    elevation = np.degrees(np.arcsin(place[:, 1] / np.linalg.norm(place, axis=1)))
    lines = scanner.lowest + np.arange(scanner.lines) * (scanner.highest - scanner.lowest) / (scanner.lines - 1)
    off = np.abs(elevation[:, None] - lines).min(1)
    pixel = np.degrees(1 / camera.focal_y)
    assert off.max() <= 0.5 * pixel + 1e-3
    shots = np.degrees(np.arctan2(place[:, 0], place[:, 2])) / scanner.step
    cells = np.stack([np.abs(elevation[:, None] - lines).argmin(1), np.rint(shots)], 1)
    assert len(np.unique(cells, axis=0)) == hit.sum(), "one return per beam and shot"
    assert np.linalg.norm(place, axis=1).max() <= scanner.range
    assert 0.01 < hit.mean() < 0.3


def test_catalog_finds_both_worlds() -> None:
    assert [dataset(name).name for name in DATASETS if name.startswith("world")] == ["world_indoor", "world_street", "world_aerial"]


@WORLDS
def test_bad_arguments_are_named(kind: type[World]) -> None:
    with pytest.raises(DataError, match="Choose one of train, val, test"):
        make(kind, split="dev")
    with pytest.raises(ConfigError, match="did you mean"):
        make(kind, style=kind.styles[0][:-1])
    with pytest.raises(ConfigError, match="--data.frames"):
        make(kind, frames=0)
    with pytest.raises(ConfigError, match="--data.size"):
        make(kind, size=(4, 4))
    with pytest.raises(IndexError):
        make(kind, frames=2)[2]
