"""Jobs on ray: what is told where it is missing, what becomes of lost tasks, and an actor that is killed on a real local cluster."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diorama.cli import main
from diorama.data.fixtures import make
from diorama.errors import ConfigError, DataError, UserError
from diorama.running import ray_job
from diorama.running.spread import Share, crowd

PHOTOS = 48


def photos(folder: Path, count: int, *, bad: int | None = None) -> Path:
    folder.mkdir()
    for number in range(count):
        path = folder / f"{number:02d}.png"
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (120, 160, 3), np.uint8)).save(path)
        if number == bad:
            path.write_bytes(path.read_bytes()[:500])
    return folder


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def squares() -> Callable[..., Any]:
    return lambda number: (number * number, "") if number != 5 else (None, "five is odd")


def refuses() -> Callable[..., Any]:
    raise DataError("no model here. Get one.")


def clusters(monkeypatch: pytest.MonkeyPatch, **resources: float) -> None:
    """A cluster that has nothing but its resources."""
    fake = SimpleNamespace(cluster_resources=lambda: resources, exceptions=SimpleNamespace(RayError=OSError))
    context = SimpleNamespace(max_errored_blocks=0)
    fake.data = SimpleNamespace(DataContext=SimpleNamespace(get_current=lambda: context))
    monkeypatch.setattr(ray_job, "_connected", lambda: fake)


@pytest.mark.parametrize("verb", ["predict", "pseudo-label"])
def test_without_ray_one_line_says_what_to_install(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    if verb == "predict":
        words = [str(photos(tmp_path / "photos", 1))]
    else:
        make("world_street", tmp_path / "city", "cityscapes", 1, "train", size=(64, 128))
        words = ["--data", f"cityscapes:{tmp_path / 'city'}"]
    assert main([verb, *words, "--out", str(tmp_path / "out"), "--engine", "ray"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "--engine ray needs ray. Install it: pip install 'diorama[ray]'" in said


def test_an_address_is_not_for_many_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "https://example.org/a.png", "--engine", "ray"]) == 2
    assert "Download the file, and give its path" in capsys.readouterr().err


def test_a_cluster_that_is_not_there_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(is_initialized=lambda: False, __path__=[])
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setitem(sys.modules, "ray.data", SimpleNamespace())
    with socket.socket() as nobody:  # bound, not listening
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(ConfigError, match=rf"no ray cluster at {address} \(.*refused\)\. Check RAY_ADDRESS"):
            crowd("ray", None, Share())


def test_an_actor_for_each_device_of_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    clusters(monkeypatch, CPU=33.0, GPU=4.0)
    assert crowd("ray", None, Share()) == 33
    assert crowd("ray", None, Share(threads=8)) == 4
    assert crowd("ray", None, Share(gpu=True)) == 4
    assert crowd("ray", 3, Share()) == 3
    clusters(monkeypatch, CPU=2.0)
    with pytest.raises(ConfigError, match="ray sees no GPU"):
        crowd("ray", None, Share(gpu=True))
    with pytest.raises(ConfigError, match="has 2 cores, 4 per actor are asked for"):
        crowd("ray", None, Share(threads=4))
    clusters(monkeypatch, memory=1e9)
    with pytest.raises(ConfigError, match="has 0 cores"):
        crowd("ray", None, Share())


def test_lost_tasks_are_asked_one_by_one_and_then_given_up(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """An actor that dies of task 4 loses the block of it; ray.data leaves such blocks out."""
    asked: list[tuple[int, list[int]]] = []

    def rows(
        ray: Any, begin: Any, tasks: Sequence[Any], left: Sequence[int], largest: int, workers: int, share: Share
    ) -> Iterator[dict[str, Any]]:
        asked.append((largest, list(left)))
        actor = ray_job.RayWorker(begin, share, str(Path.cwd()))
        for at in range(0, len(left), largest):
            block = left[at : at + largest]
            if 4 not in block:
                yield from (actor({"number": number, "task": json.dumps(tasks[number])}) for number in block)

    clusters(monkeypatch, CPU=1.0)
    monkeypatch.setattr(ray_job, "_rows", rows)
    done = list(ray_job.spread(squares, [(number,) for number in range(32)], 1, Share(), "Again"))
    assert asked == [(4, list(range(32))), (1, [4, 5, 6, 7])]
    assert sorted(number for number, _, _ in done) == list(range(32))
    found = {number: (answer, why) for number, answer, why in done}
    assert found.pop(4)[0] is None
    assert found.pop(5) == (None, "five is odd")
    assert found == {number: (number * number, "") for number in range(32) if number not in (4, 5)}
    assert "died 4 times" in done[-1][2]
    with pytest.raises(UserError, match="no model here"):
        list(ray_job.spread(refuses, [(1,)], 1, Share(), "Again"))


def workers_of(pid: int) -> list[int]:
    """Processes below this one that are actors (Linux)."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    below = [int(word) for word in listed.read_text().split()] if listed.exists() else []
    found = [deeper for child in below for deeper in workers_of(child)]
    try:
        return found + [pid] * Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::MapWorker")
    except OSError:
        return found


def run(words: Sequence[str], then: Callable[[int], None] = lambda _: None) -> tuple[int, str, str]:
    """Status and output of a command whose ray is a cluster of its own; `then` is given its process."""
    environment = {**os.environ, "RAY_ADDRESS": "local", "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "diorama", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    then(process.pid)
    out, err = process.communicate(timeout=180)
    return process.returncode, out, err


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for the actors of a job where Linux lists processes")
def test_a_killed_actor_loses_nothing(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    source = photos(tmp_path / "photos", PHOTOS, bad=7)
    words = ["predict", str(source), "--model", "ci_net-nyuv2", "--out"]
    assert main([*words, str(tmp_path / "plain")]) == 1
    killed: list[int] = []

    def kill(pid: int) -> None:
        began = time.monotonic()
        while time.monotonic() - began < 120 and not killed:
            if len(list((tmp_path / "ray").glob("[0-9]*.json"))) >= 6 and len(actors := workers_of(pid)) == 2:
                os.kill(actors[0], signal.SIGKILL)
                killed.append(len(list((tmp_path / "ray").glob("[0-9]*.json"))))
            time.sleep(0.01)

    status, out, err = run([*words, str(tmp_path / "ray"), "--engine", "ray", "--workers", "2"], kill)
    assert killed and killed[0] < PHOTOS - 8, "an actor was to be killed in the middle"
    assert status == 1, err
    assert f"{PHOTOS - 1} of {PHOTOS} predicted" in out
    assert len([line for line in err.splitlines() if line.startswith("skipped") and "07.png" in line]) == 1
    found = tree(tmp_path / "ray")
    assert len(found) == 5 * (PHOTOS - 1)
    assert found == tree(tmp_path / "plain")


@pytest.mark.slow
def test_pseudo_labels_of_a_cluster_are_those_of_one_process(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    make("world_street", tmp_path / "city", "cityscapes", 4, "train", size=(64, 160))
    words = ["pseudo-label", "--data", f"cityscapes:{tmp_path / 'city'}", "--workers", "2", "--out"]
    assert main([*words, str(tmp_path / "here"), "--workers", "1"]) == 0
    status, out, err = run([*words, str(tmp_path / "ray"), "--engine", "ray"])
    assert status == 0, err
    assert "4 labelled" in out
    assert tree(tmp_path / "ray") == tree(tmp_path / "here")
