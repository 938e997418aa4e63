"""A wrapped data set: the crop by hand, the same points in any order, what it keeps of the data set behind."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from diorama.data.base import SceneDataset
from diorama.data.cache import CachedDataset
from diorama.data.fixtures import write_nyuv2
from diorama.data.nyuv2 import NYUv2
from diorama.data.scan import Lidar, scan_lines
from diorama.data.sparse_dataset import SparseDataset, centre_crop
from diorama.data.sparsify import Sparsify, drawn, frame_seed, sparsify
from diorama.data.world.dataset import WorldStreet
from diorama.data.world.lidar import STREET_SCANNER
from diorama.errors import ConfigError, ShapeError
from diorama.types import Frame

Make = Callable[..., Frame]


@pytest.fixture
def nyu(tmp_path: Path, frame: Make) -> Path:
    write_nyuv2((frame(n) for n in range(4)), tmp_path, "train")
    return tmp_path


class Street(WorldStreet):
    """World scans that say where their scanner stands."""

    def frame(self, index: int) -> Frame:
        found = super().frame(index)
        camera = self.scene(index)[1]
        lidar = Lidar.upright(STREET_SCANNER.elevations, STREET_SCANNER.height, camera.rotation)
        found["meta"] = {**found["meta"], "lidar": lidar.to_meta()}
        return found


def test_the_crop_by_hand(frame: Make) -> None:
    whole = frame(3, size=(12, 17))
    part = centre_crop(whole, (7, 8))
    # 5 rows go, 2 of them above; 9 columns, 4 of them to the left
    assert np.array_equal(part["depth"], whole["depth"][2:9, 4:12])
    assert np.array_equal(part["image"], whole["image"][2:9, 4:12])
    assert np.array_equal(part["semantic"], whole["semantic"][2:9, 4:12])
    # the point at pixel (u, v) = (6, 5) of the whole is at (2, 3) of the part
    for v, u in ((5, 6), (8, 11)):
        ray, same = np.linalg.solve(whole["intrinsics"], [u, v, 1]), np.linalg.solve(part["intrinsics"], [u - 4, v - 2, 1])
        assert np.allclose(ray, same)
    assert whole["depth"].shape == (12, 17)
    with pytest.raises(ShapeError, match=r"image is 12x17, smaller than the crop 13x8. Choose a smaller crop"):
        centre_crop(whole, (13, 8))


def test_frames_gain_sparse_depth_and_keep_the_rest(nyu: Path) -> None:
    inner = NYUv2(nyu, "train")
    dataset = SparseDataset(inner, Sparsify(points=9), seed=4, crop=(8, 10))
    assert isinstance(dataset, SceneDataset) and len(dataset) == 4
    for name in ("name", "ids", "labels", "split", "splits", "terms", "citation", "title", "depth_cap", "root"):
        assert getattr(dataset, name) == getattr(inner, name)
    assert dataset.provides == inner.provides | {"sparse_depth"}
    assert list(dataset.files()) == list(inner.files()) and dataset.check() == inner.check()
    for index, found in enumerate(dataset):
        expected = centre_crop(inner[index], (8, 10))
        assert set(found) == set(expected) | {"sparse_depth"} and found["meta"] == expected["meta"]
        assert np.array_equal(found["depth"], expected["depth"])
        # points are drawn inside the crop
        by_hand = sparsify(expected["depth"], Sparsify(points=9), frame_seed(4, inner.ids[index]))
        assert np.array_equal(found["sparse_depth"], by_hand) and np.count_nonzero(by_hand) == 9


def test_points_depend_on_seed_and_id_alone(nyu: Path) -> None:
    rules = Sparsify(points=9)
    dataset = SparseDataset(NYUv2(nyu, "train"), rules)
    backwards = [SparseDataset(NYUv2(nyu, "train"), rules)[index]["sparse_depth"] for index in (3, 2, 1, 0)][::-1]
    again = pickle.loads(pickle.dumps(dataset))
    for index in range(4):
        assert np.array_equal(dataset[index]["sparse_depth"], backwards[index])
        assert np.array_equal(dataset[index]["sparse_depth"], again[index]["sparse_depth"])
    places = {(dataset[index]["sparse_depth"] > 0).tobytes() for index in range(4)}
    assert len(places) == 4
    assert not np.array_equal(SparseDataset(NYUv2(nyu, "train"), rules, seed=1)[0]["sparse_depth"], dataset[0]["sparse_depth"])


def test_it_wraps_a_cache_and_a_cache_wraps_it(nyu: Path) -> None:
    cached = CachedDataset(NYUv2(nyu, "train"), (6, 8))
    dataset = SparseDataset(cached, Sparsify(points=5), crop=(4, 6))
    assert all(np.count_nonzero(found["sparse_depth"]) == 5 and found["sparse_depth"].shape == (4, 6) for found in dataset)
    folders = {CachedDataset(SparseDataset(NYUv2(nyu, "train"), rules, seed), (6, 8)).folder for rules, seed in
               ((Sparsify(points=5), 0), (Sparsify(points=5), 1), (Sparsify(points=6), 0))}  # fmt: skip
    folders.add(CachedDataset(SparseDataset(NYUv2(nyu, "train", classes=13), Sparsify(points=5)), (6, 8)).folder)
    folders.add(CachedDataset(SparseDataset(NYUv2(nyu, "train"), Sparsify(points=5), crop=(10, 10)), (6, 8)).folder)
    assert len(folders) == 5


def test_a_scan_is_thinned_unless_the_dense_map_is_asked_for() -> None:
    street = Street(2, size=(96, 192), stereo=False)
    scanned = street[0]
    lines = scan_lines(scanned["sparse_depth"], scanned["intrinsics"], Lidar.from_meta(scanned["meta"]) or pytest.fail("no scanner"))
    thinned = SparseDataset(street, Sparsify("lines", lines=16))[0]
    assert np.array_equal(thinned["sparse_depth"] > 0, (lines >= 0) & (lines % 4 == 2))
    points = SparseDataset(street, Sparsify(source="depth", points=400))[0]["sparse_depth"]
    assert np.all(points[points > 0] == scanned["depth"][points > 0]) and np.count_nonzero(points) == 400
    assert np.any((points > 0) & (scanned["sparse_depth"] == 0))


def test_what_is_taken_out_of_a_scan_is_the_depth_of_its_frames() -> None:
    street = Street(2, size=(96, 192), stereo=False)
    rules = Sparsify("all", drop=0.3, withhold=True)
    street.provides -= {"depth"}
    dataset = SparseDataset(street, rules, seed=2)
    assert dataset.provides == street.provides | {"depth"}
    assert dataset.truth == "what the rules take out of the scan"
    for index, found in enumerate(dataset):
        scan = street[index]["sparse_depth"]
        assert np.array_equal(found["sparse_depth"] + found["depth"], scan)
        # the rendered depth is not what is learned
        assert np.count_nonzero(found["depth"]) == round(0.3 * np.count_nonzero(scan))
        again = drawn(scan, rules, frame_seed(2, street.ids[index]))
        assert np.array_equal(found["depth"], again["depth"]) and np.array_equal(found["sparse_depth"], again["sparse_depth"])
    street.provides -= {"sparse_depth"}
    with pytest.raises(ConfigError, match="made of 'sparse_depth'"):
        SparseDataset(street, rules)


def test_a_data_set_that_lacks_something_is_named(nyu: Path) -> None:
    inner = NYUv2(nyu, "train")
    with pytest.raises(ConfigError, match="crop is"):
        SparseDataset(inner, Sparsify(), crop=(0, 5))
    inner.provides = frozenset({"depth", "semantic"})
    for rules, says in ((Sparsify("lines"), "need 'intrinsics', which nyuv2 lacks"), (Sparsify("corners"), "need 'image'")):
        with pytest.raises(ConfigError, match=says):
            SparseDataset(inner, rules)
    inner.provides = frozenset({"image"})
    with pytest.raises(ConfigError, match="made of 'depth', which this data set lacks"):
        SparseDataset(inner, Sparsify())


def test_nyuv2_at_500_points(real_data: Path) -> None:
    if not (real_data / "nyuv2/test").is_dir():
        pytest.skip("no nyuv2 among the real frames")
    dataset = SparseDataset(NYUv2(real_data / "nyuv2", "test"), Sparsify(points=500), crop=(228, 304))
    for index in range(0, 654, 130):
        found = dataset[index]
        sparse, depth = found["sparse_depth"], found["depth"]
        assert sparse.shape == depth.shape == (228, 304) and np.count_nonzero(sparse) == 500
        assert np.all(depth[sparse > 0] == sparse[sparse > 0])
        assert np.allclose(found["intrinsics"][:2, 2], dataset.dataset[index]["intrinsics"][:2, 2] - [8, 6])
