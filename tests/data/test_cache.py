"""The cache: geometry by hand, staleness, two builders at once, nothing left behind."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diorama.data import cache, io
from diorama.data.base import SceneDataset, WrappedDataset
from diorama.data.cache import CachedDataset, resize_frame, resize_image, resize_intrinsics, resize_nearest, splat
from diorama.data.fixtures import write_nyuv2
from diorama.data.nyuv2 import NYUv2
from diorama.errors import DataError
from diorama.types import Frame

Make = Callable[..., Frame]


def test_halving_by_hand() -> None:
    values = np.arange(16, dtype=np.float32).reshape(4, 4)
    # The centre of a half-size pixel is the corner of four: the nearest rule takes the lower right one.
    assert resize_nearest(values, (2, 2)).tolist() == [[5, 7], [13, 15]]
    grey = np.repeat(values[..., None].astype(np.uint8) * 10, 3, axis=2)
    assert resize_image(grey, (2, 2))[..., 0].tolist() == [[25, 45], [105, 125]]


@settings(max_examples=40, deadline=None)
@given(st.tuples(st.integers(1, 40), st.integers(1, 40)), st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_nearest_takes_the_pixel_under_the_centre(old: tuple[int, int], new: tuple[int, int]) -> None:
    index = np.arange(old[0] * old[1]).reshape(old)
    chosen = resize_nearest(index, new)
    rows, columns = (np.floor((np.arange(n) + 0.5) * o / n + 1e-9).astype(int) for n, o in zip(new, old, strict=True))
    assert np.array_equal(chosen, index[rows][:, columns])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(6, 8), (3, 4), (5, 7), (24, 32), (1, 1)]))
def test_splat_keeps_the_nearest_point_of_each_pixel(seed: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    sparse = np.where(rng.random((12, 16)) < 0.2, rng.uniform(1, 80, (12, 16)), 0).astype(np.float32)
    expected: dict[tuple[int, int], float] = {}
    for row, column in np.argwhere(sparse):
        place = (int((row + 0.5) * size[0] / 12), int((column + 0.5) * size[1] / 16))
        expected[place] = min(expected.get(place, np.inf), float(sparse[row, column]))
    moved = splat(sparse, size)
    assert {(int(r), int(c)): float(moved[r, c]) for r, c in np.argwhere(moved)} == expected


def test_a_ray_meets_the_same_point_after_a_resize() -> None:
    matrix = np.array([[500.0, 0, 319.5], [0, 510, 200.25], [0, 0, 1]])
    small = resize_intrinsics(matrix, (480, 640), (120, 320))
    assert small[0].tolist() == [250, 0, 0.5 * 319.5 - 0.25]
    # The image's corner (-0.5, -0.5) stays its corner.
    assert np.allclose(np.linalg.solve(matrix, [-0.5, -0.5, 1]), np.linalg.solve(small, [-0.5, -0.5, 1]))
    assert np.allclose(np.linalg.solve(matrix, [639.5, 479.5, 1]), np.linalg.solve(small, [319.5, 119.5, 1]))


def test_disparity_scales_with_the_width_only() -> None:
    frame: Frame = {"disparity": np.full((4, 8), 6, np.float32), "image": np.zeros((4, 8, 3), np.uint8), "meta": {}}
    small = resize_frame(frame, (4, 4))
    assert (small["disparity"] == 3).all()
    assert small["meta"]["native_size"] == [4, 8]
    assert (resize_frame(frame, (2, 8))["disparity"] == 6).all()


def test_labels_of_pairs_keep_their_values() -> None:
    columns = np.tile(np.arange(8, dtype=np.float32), (4, 1))
    frame: Frame = {
        "image": np.zeros((4, 8, 3), np.uint8), "semantic_right": columns.astype(np.uint8), "pseudo_depth": columns,
        "pseudo_depth_right": columns, "confidence": columns / 8, "confidence_right": columns / 8, "matched": columns, "meta": {},
    }  # fmt: skip
    small = resize_frame(frame, (4, 4))
    assert small["semantic_right"][0].tolist() == small["pseudo_depth"][0].tolist() == [1, 3, 5, 7]
    assert small["pseudo_depth_right"][3].tolist() == [1, 3, 5, 7]
    assert small["confidence"][0].tolist() == small["confidence_right"][0].tolist() == [1 / 8, 3 / 8, 5 / 8, 7 / 8]
    assert small["matched"][0].tolist() == [0.5, 1.5, 2.5, 3.5]


class _Behind(WrappedDataset):
    def frame(self, index: int) -> Frame:
        return self.dataset.frame(index)


def test_settings_of_a_wrapped_data_set_count(nyu: Path) -> None:
    folders = set()
    for setting in (1, 2, 2):
        dataset = NYUv2(nyu, "train")
        dataset.anything = setting
        folders.add(CachedDataset(_Behind(dataset), (6, 8)).folder)
    assert len(folders) == 2


@pytest.fixture
def nyu(tmp_path: Path, frame: Make) -> Path:
    write_nyuv2([frame(k) for k in range(4)], tmp_path / "nyu", "train")
    return tmp_path / "nyu"


def test_cached_frames_are_the_resized_ones(nyu: Path) -> None:
    dataset = NYUv2(nyu, "train")
    stored = CachedDataset(dataset, (6, 8))
    assert (stored.name, stored.ids, stored.provides, stored.labels, stored.depth_cap) == (
        dataset.name,
        dataset.ids,
        dataset.provides,
        dataset.labels,
        10.0,
    )
    for direct, read in zip(dataset, stored, strict=True):
        expected = resize_frame(direct, (6, 8))
        assert set(read) == {"image", "semantic", "depth", "intrinsics", "meta"}
        for key in ("image", "semantic", "depth", "intrinsics"):
            assert np.array_equal(read[key], expected[key]), key
            assert read[key].dtype == expected[key].dtype
        assert read["meta"]["native_size"] == [12, 16]
        read["image"][:] = 0  # a copy: the cache stays as it is
    assert stored[0]["image"].any()


def test_a_full_size_cache_changes_nothing(nyu: Path) -> None:
    dataset = NYUv2(nyu, "train")
    for key in ("image", "semantic", "depth", "intrinsics"):
        assert np.array_equal(CachedDataset(dataset, (12, 16))[2][key], dataset[2][key])


def test_the_second_time_reads_no_source_file(nyu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CachedDataset(NYUv2(nyu, "train"), (6, 8))
    monkeypatch.setattr(io, "read_image", lambda path: pytest.fail(f"{path} was decoded again"))
    assert CachedDataset(NYUv2(nyu, "train"), (6, 8))[3]["meta"]["id"] == "0003"


def test_what_changes_the_frames_makes_another_cache(nyu: Path) -> None:
    folders = {CachedDataset(NYUv2(nyu, "train"), (6, 8)).folder}
    folders.add(CachedDataset(NYUv2(nyu, "train"), (6, 16)).folder)
    folders.add(CachedDataset(NYUv2(nyu, "train", classes=13), (6, 8)).folder)
    io.write_depth_png(nyu / "train/depth/0001.png", np.full((12, 16), 7, np.float32), 1000)
    changed = CachedDataset(NYUv2(nyu, "train"), (6, 8))
    folders.add(changed.folder)
    assert len(folders) == 4
    assert (changed[1]["depth"] == 7).all()


def test_a_failed_build_leaves_nothing(nyu: Path) -> None:
    (nyu / "train/image/0002.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"an empty file"):
        CachedDataset(NYUv2(nyu, "train"), (6, 8))
    assert [path for path in cache.cache_folder().iterdir() if path.suffix != ".lock"] == []


def test_cached_sets_travel_to_workers_without_their_frames(nyu: Path) -> None:
    stored = CachedDataset(NYUv2(nyu, "train"), (6, 8))
    first = stored[0]["image"]
    packed = pickle.dumps(stored)
    assert len(packed) < 20_000
    assert np.array_equal(pickle.loads(packed)[0]["image"], first)


def _build_in_child(nyu: str, folder: str, results: Any) -> None:
    os.environ["DIORAMA_CACHE"] = folder
    stored = CachedDataset(NYUv2(nyu, "train"), (6, 8))
    results.put((str(stored.folder), int(stored[3]["image"].astype(int).sum())))


def test_two_processes_build_it_once(nyu: Path) -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    children = [context.Process(target=_build_in_child, args=(str(nyu), str(cache.cache_folder()), results)) for _ in range(2)]
    for child in children:
        child.start()
    found = {results.get(timeout=60) for _ in children}
    for child in children:
        child.join()
    assert len(found) == 1
    assert len([path for path in cache.cache_folder().iterdir() if path.is_dir()]) == 1


class _Lying(SceneDataset):
    name, title, citation, terms = "lying", "", "", ""

    def __init__(self) -> None:
        self.root, self.split, self.ids, self.labels = None, "train", ["0"], None
        self.provides = frozenset({"image", "depth"})

    def frame(self, index: int) -> Frame:
        return {"image": np.zeros((4, 4, 3), np.uint8), "meta": {"id": "0"}}


def test_a_frame_without_a_promised_key_is_named() -> None:
    with pytest.raises(DataError, match=r"lying: frame 0 has no 'depth'"):
        CachedDataset(_Lying(), (2, 2))


def test_a_cache_needs_a_place(nyu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DIORAMA_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"Set DIORAMA_CACHE"):
        CachedDataset(NYUv2(nyu, "train"), (6, 8))
    monkeypatch.delenv("DIORAMA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_folder() == tmp_path / "xdg" / "diorama"
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=r"0 are free. Move it with DIORAMA_CACHE"):
        CachedDataset(NYUv2(nyu, "train"), (6, 8))
