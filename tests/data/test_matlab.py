"""MATLAB files, with scipy and h5py as oracles."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from diorama.data.matlab import read_hdf5, read_mat, write_mat
from diorama.errors import DataError

ARRAYS = {
    "trainNdxs": np.arange(1, 8, dtype=np.uint16)[:, None],
    "row": np.arange(5.0)[None],
    "cube": np.arange(24, dtype=np.int32).reshape(2, 3, 4),
    "small": np.array([[7]], np.uint8),
    "single": np.array([[0.5, 1.5]], np.float32),
}


@pytest.mark.parametrize("compressed", [False, True])
def test_version_5_is_read_as_scipy_writes_it(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {**ARRAYS, "names": np.array(["x", "yy"], object), "text": "hello"}, do_compression=compressed)
    for name, expected in ARRAYS.items():
        assert np.array_equal(read_mat(path, name), expected), name
    with pytest.raises(DataError, match=r"no numeric array 'names'"):
        read_mat(path, "names")


def test_scipy_reads_what_is_written(tmp_path: Path) -> None:
    write_mat(tmp_path / "b.mat", {"a": np.arange(6.0).reshape(2, 3), "longer_name": np.array([[1.0]])})
    found = scipy.io.loadmat(tmp_path / "b.mat")
    assert found["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["longer_name"].tolist() == [[1]]
    assert read_mat(tmp_path / "b.mat", "a").tolist() == [[0, 1, 2], [3, 4, 5]]


def test_version_7_3_is_hdf5_with_reversed_axes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "c.mat", "w", userblock_size=512) as file:
        file["a"] = np.arange(6).reshape(3, 2)
    assert read_mat(tmp_path / "c.mat", "a").tolist() == [[0, 2, 4], [1, 3, 5]]
    assert read_hdf5(tmp_path / "c.mat", "a").tolist() == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(DataError, match=r"no array 'b' .it has a."):
        read_hdf5(tmp_path / "c.mat", "b")


@pytest.mark.parametrize("keep", [0, 50, 127, 140, 200])
def test_damaged_files_are_one_line_errors(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, ARRAYS, do_compression=True)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError) as caught:
        read_mat(path, "cube")
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file"):
        read_mat(tmp_path / "none.mat", "a")
