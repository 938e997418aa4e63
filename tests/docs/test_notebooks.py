"""The notebooks of the documentation: stored without outputs, and each runs to its end."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
NAMES = ["nyu_rooms", "lidar_completion", "stereo_rig", "labels_here_depth_there", "own_folder"]


@pytest.mark.parametrize("name", NAMES)
def test_stored_without_outputs(name: str) -> None:
    path = FOLDER / f"{name}.ipynb"
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert code
    assert not any(cell.outputs or cell.execution_count for cell in code), "clear the outputs before storing it"
    assert set(book.metadata) == {"kernelspec", "language_info"}, "an editor left its own settings in it"
    assert book.cells[0].source.startswith("# ")
    assert not re.search(r"(?<![\w.<])/(?:home|root|tmp|Users|mnt|work)/", path.read_text(encoding="utf-8")), "a path of one machine"


def test_every_notebook_is_listed() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES)
    index = (FOLDER / "index.md").read_text(encoding="utf-8")
    assert all(f"\n{name}\n" in index and f"`{name}.ipynb`" in index for name in NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_runs_to_its_end(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for variable in ("TMPDIR", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.delenv("DIORAMA_DATA", raising=False)
    book = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    client = NotebookClient(book, timeout=180, kernel_name="python3", coalesce_streams=True, resources={"metadata": {"path": tmp_path}})
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError) as error:
        pytest.fail(f"{name}.ipynb, cell {failed(book)}: {error}", pytrace=False)
    pictures = [output for cell in book.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
    assert pictures, "every story shows what came out"
    if kept := os.environ.get("DIORAMA_NOTEBOOKS"):  # `make notebooks`: the pages then show the outputs
        Path(kept).mkdir(parents=True, exist_ok=True)
        nbformat.write(book, Path(kept) / f"{name}.ipynb")


def failed(book: nbformat.NotebookNode) -> str:
    """Number and first line of the cell that ended the run, the last one that was begun; `%%bash` says too little."""
    begun = [(number, cell) for number, cell in enumerate(book.cells, 1) if cell.get("metadata", {}).get("execution")]
    number, cell = begun[-1]
    lines = [line for line in cell.source.splitlines() if not line.startswith("%%")]
    return f"{number} ({lines[0]!r})"
