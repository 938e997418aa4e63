"""`diorama quickstart`: from nothing to a trained joint model and a report, on procedural rooms, in minutes."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diorama import recipes
from diorama.config import read_config
from diorama.data.fixtures import make
from diorama.errors import ConfigError
from diorama.prediction.predictor import find_model
from diorama.training.run_folder import VARIABLE

logger = logging.getLogger("diorama")

SHIPPED = "ci_net-nyuv2"
SINGLE: Mapping[str, Any] = {"scene_understanding": False, "sharing": "none", "consistency": False}
SMALL, SIZE = (160, 40), (120, 160)


def quickstart(out: str | Path = "quickstart", *, frames: tuple[int, int] = SMALL, epochs: float = 1.0, overwrite: bool = False) -> Path:
    """Make rooms, train CI-Net and its two single-task baselines, compare, predict on unseen rooms; the report comes back.

    Args:
        out: folder of everything that is made.
        frames: how many to train on and how many to judge on.
        epochs: factor on the recipe's epochs (below 1 for a trial).
        overwrite: remove what an earlier quickstart left in `out`.

    Raises:
        ConfigError: `out` has something in it, or there would be nothing to draw or to train.
    """
    from diorama.running.predict import predict
    from diorama.running.train import train

    if min(frames) < 1 or not epochs > 0:
        raise ConfigError(
            f"{frames[0]} and {frames[1]} frames, {epochs:g} of the epochs. Choose --frames of 1 or more and --epochs above 0."
        )
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: a file, not a folder. Choose another --out.")
    if out.exists() and any(out.iterdir()):
        if not overwrite or not (out / "data").is_dir():
            raise ConfigError(f"{out}: is not empty. Pass --overwrite to replace an earlier quickstart, or another --out.")
        shutil.rmtree(out)
    logger.info("1 of 4: drawing %d rooms into %s", sum(frames), out / "data")
    for split, count in zip(("train", "val"), frames, strict=True):
        make("world_indoor", out / "data", "folder", count, split, size=SIZE, stereo=False)
    runs: dict[str, Path] = {}
    for number, (name, changes) in enumerate(
        (("semantic", {**SINGLE, "tasks": "semantic"}), ("depth", {**SINGLE, "tasks": "depth"}), ("joint", {})), 1
    ):
        logger.info("2 of 4: training network %d of 3 (%s)", number, "CI-Net" if name == "joint" else f"{name} alone")
        settings = recipes.read_yaml(recipes.find("ci_net/quickstart"))
        settings["model"] |= {**changes, "backbone_weights": str(find_model(SHIPPED) / "model.safetensors")}
        settings["model"]["stage_epochs"] = [epochs * value for value in settings["model"]["stage_epochs"]]
        settings["data"]["root"] = str(out / "data")
        runs[name] = out / "runs" / name
        runs[name].mkdir(parents=True)
        os.environ[VARIABLE] = str(runs[name])
        try:
            train(read_config([], settings=settings), baselines=(runs["semantic"], runs["depth"]) if name == "joint" else ())
        finally:
            os.environ.pop(VARIABLE, None)
    logger.info("3 of 4: predicting on rooms that no network has seen")
    make("world_indoor", out / "unseen", "folder", 6, "test", size=(240, 320), stereo=False)
    predict(runs["joint"] / "model.safetensors", next((out / "unseen").rglob("images")), out / "predictions", progress=False)
    report = out / "report.html"
    shutil.copyfile(runs["joint"] / "report.html", report)
    logger.info("4 of 4: open %s", report)
    return report
