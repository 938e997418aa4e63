"""The light install has no torch: what reads and looks at data must import and work without it."""

from __future__ import annotations

import subprocess
import sys

MODULES = (
    *("diorama.errors", "diorama.types", "diorama.catalog", "diorama.data.base", "diorama.data.io", "diorama.data.labels"),
    *("diorama.data.matlab", "diorama.data.nyuv2", "diorama.data.cityscapes", "diorama.data.camvid", "diorama.data.folder"),
    *("diorama.data.kitti", "diorama.data.kitti_raw", "diorama.data.kitti_benchmark", "diorama.data.sunrgbd", "diorama.data.sevenscenes"),
    *("diorama.data.sparsify", "diorama.data.sparse_dataset", "diorama.data.occlusion", "diorama.data.middlebury"),
    *("diorama.data.geotiff", "diorama.data.height", "diorama.data.isprs", "diorama.data.synscapes", "diorama.data.world.aerial_dataset"),
    *("diorama.data.cache", "diorama.data.check", "diorama.data.sheet", "diorama.data.fixtures"),
)

PROGRAM = """
import importlib, sys, tempfile
for blocked in ("torch", "torchvision", "h5py", "matplotlib", "lightning", "timm", "rasterio", "OpenEXR"):
    sys.modules[blocked] = None
for name in {modules!r}:
    importlib.import_module(name)
from diorama.data.check import list_datasets
from diorama.data.matlab import open_hdf5
from diorama.errors import DataError
assert len(list_datasets()) >= 6
try:
    open_hdf5("x.mat")
except DataError as error:
    print(error)
"""


def test_readers_import_and_answer_without_torch() -> None:
    program = PROGRAM.format(modules=MODULES)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "x.mat: HDF5 files need h5py. Install it: pip install 'diorama[train]'."
