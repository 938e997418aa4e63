"""kill -9 in the middle of `pseudo-label`: no half file, nobody left at work, and in the end the files of an unbroken run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from diorama.data import io
from diorama.data.fixtures import make

FRAMES = 16


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def children(pid: int) -> list[int]:
    """Processes that this one started, and theirs (Linux)."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    found = [int(word) for word in listed.read_text().split()] if listed.exists() else []
    return found + [deeper for child in found for deeper in children(child)]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    make("world_street", tmp_path / "city", "cityscapes", FRAMES, "train", size=(96, 320))

    def words(out: str) -> list[str]:
        asked = ["pseudo-label", "--data", f"cityscapes:{tmp_path / 'city'}", "--out", str(tmp_path / out), "--workers", "2"]
        return [sys.executable, "-m", "diorama", *asked]

    subprocess.run(words("whole"), check=True, capture_output=True)
    whole, broken = tree(tmp_path / "whole"), tmp_path / "broken"
    process = subprocess.Popen(words("broken"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    began = time.monotonic()
    # in the middle: some frames are complete, others are not
    while len(list(broken.glob("train.frames/*.json"))) < 3 and time.monotonic() - began < 60:
        time.sleep(0.002)
    workers = children(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    ended = time.monotonic()
    while any(alive(worker) for worker in workers) and time.monotonic() - ended < 20:
        time.sleep(0.01)
    assert not [worker for worker in workers if alive(worker)]
    done = [path for path in broken.glob("train.frames/*.json") if not path.name.startswith(".")]
    assert 3 <= len(done) < FRAMES, "the run was to be killed in its middle"
    for path in broken.rglob("*.png"):
        if not path.name.startswith("."):
            io.read_labels(path)  # whole
            assert path.read_bytes() == whole[path.relative_to(broken).as_posix()]
    again = subprocess.run(words("broken"), check=True, capture_output=True, text=True)
    assert f"{FRAMES - len(done)} labelled" in again.stdout
    assert f"{len(done)} were there already" in again.stdout
    assert tree(broken) == whole
