"""What every test shares: one thread, and the folder of real frames where there is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

try:
    import torch

    torch.set_num_threads(1)
    # Autograd counts the devices at its first use. After torch.export, which pretends one, no process could be forked any more.
    torch.ones(1, requires_grad=True).sum().backward()
except ImportError:
    pass


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real frames: `DIORAMA_DATA`, else `../shared/data` beside the checkout; the test is skipped without one."""
    folder = Path(os.environ.get("DIORAMA_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real frames at {folder}; set DIORAMA_DATA to their folder")
    return folder
