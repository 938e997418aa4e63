"""The package of `tests/plugin`, installed: its method and its data set go the whole way by the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from diorama.data.world.dataset import WorldIndoor

PLUGIN = Path(__file__).parent / "plugin"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package is installed."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PLUGIN, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    words = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline", "--python", sys.executable, "--no-deps"]
    subprocess.run([*words, "--no-build-isolation", "--target", str(folder / "site"), str(folder / "source")], check=True)
    return folder / "site"


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rooms")
    for split, count in (("train", 6), ("test", 2)):
        (root / split).mkdir()
        drawn = WorldIndoor(split=split, frames=count, size=(48, 64))
        for index in range(count):
            frame = drawn[index]
            semantic = np.minimum(frame["semantic"], 12).astype(np.uint8)
            np.savez(root / split / f"{split}{index}.npz", image=frame["image"], semantic=semantic, depth=frame["depth"])
    return root


def run(site: Path, folder: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "diorama", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_package_brings_a_method_and_a_data_set(site: Path, rooms: Path, tmp_path: Path) -> None:
    assert "small_unet" in run(site, tmp_path, "methods")
    assert "npz" in run(site, tmp_path, "data", "list")
    assert "channels" in run(site, tmp_path, "train", "--model.help", "small_unet")
    run(site, tmp_path, "data", "check", "npz", "--data.root", str(rooms))
    words = ["--model", "small_unet", "--model.epochs", "4", "--data", "npz", "--data.root", str(rooms), "--view.size", "[48,64]"]
    run(site, tmp_path, "train", *words, "--trainer.batch_size", "2", "--trainer.precision", "32-true", "--out", "runs")
    trained = "runs/small_unet-npz-1"
    metrics = json.loads((tmp_path / trained / "metrics.json").read_text())["metrics"]
    assert {"miou", "rmse"} <= set(metrics)
    assert "rmse" in run(site, tmp_path, "evaluate", trained).lower()
    photo = np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    run(site, tmp_path, "predict", "photo.png", "--model", trained, "--out", "here", "--save", "semantic", "depth")
    run(site, tmp_path, "export", trained, "--out", "small.onnx")
    run(site, tmp_path, "predict", "photo.png", "--model", "small.onnx", "--out", "there", "--save", "semantic", "depth")
    for kind in ("semantic", "depth"):
        here, there = (cv2.imread(str(tmp_path / place / f"photo.{kind}.png"), cv2.IMREAD_UNCHANGED) for place in ("here", "there"))
        assert here is not None and there is not None
        assert here.shape == (50, 70)
        assert np.mean(np.abs(here.astype(int) - there) > (0 if kind == "semantic" else 1)) < 0.002
