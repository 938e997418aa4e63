"""A small model of each method, trained for a step and used in the three lines of the documentation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import diorama
from diorama import catalog
from diorama.config import RunConfig
from diorama.data import io
from diorama.running.train import Training, train

ROOMS: dict[str, Any] = {"name": "world_indoor", "frames": 4, "size": [32, 48], "stereo": False}
STREETS: dict[str, Any] = ROOMS | {"name": "world_street"}
PLAIN: dict[str, Any] = {"backbone": "test_resnet", "pretrained": False}
RUNS: dict[str, dict[str, Any]] = {
    "ci_net": {},
    "image_reconstruction": {
        "model": {"name": "image_reconstruction", "image": False, "sharing": False, "width": 0.125, "epochs": 1},
        "sparse": {"points": 100},
    },
    "multitask_gan": {
        "model": {"name": "multitask_gan", "branch": "joint", "classes": 19, "width": 4, "semantic_blocks": 1, "depth_blocks": 1},
        "data": STREETS,
        "view": {"size": [32, 32]},
        "sparse": {"points": 100},
    },
    "pseudo_mtl": {
        "model": {"name": "pseudo_mtl", **PLAIN, "upsampling": "bilinear", "head_stride": 2, "pretrain_epochs": 1, "joint_epochs": 1},
        "data": {"name": "labelled_streets", "frames": 4},
        "view": {"size": [32, 64]},
    },
    "semi_mtl": {
        "model": {"name": "semi_mtl", **PLAIN, "classes": 19, "output_stride": 32, "width": 8, "depth_widths": [8, 6], "judge_width": 2,
                  "epochs": 1},
        "data": STREETS,
        "streams": {"labelled": {"style": "harbour"}, "measured": {"style": "mill"}},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_every_method_is_used_alike(
    name: str, settings: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(catalog.DATASETS, "labelled_streets", "pairs:LabelledStreets")
    monkeypatch.setattr(Training, "evaluate", lambda *_, **__: None)
    run = RUNS[name]
    chosen = settings(trainer={"steps": 1}, **{key: part for key, part in run.items() if key in ("sparse", "streams")})
    chosen |= {key: run[key] for key in ("model", "data") if key in run}
    chosen["view"] |= run.get("view", {}) | {"cache": False, "flip": 0.0}
    model = diorama.load(train(RunConfig.from_dict(chosen)), threads=1)

    draw = np.random.default_rng(0)
    photos = draw.integers(0, 255, (2, 37, 51, 3), np.uint8)
    points = np.where(draw.random((2, 37, 51)) < 0.1, np.float32(3), np.float32(0))
    held: dict[str, Any] = {"image": list(photos), "sparse_depth": list(points)}
    tensors = {"image": torch.from_numpy(photos).permute(0, 3, 1, 2), "sparse_depth": list(torch.from_numpy(points))}
    for number in range(2):
        Image.fromarray(photos[number]).save(_made(tmp_path / "image") / f"{number}.png")
        io.write_depth_png(_made(tmp_path / "sparse_depth") / f"{number}.png", points[number])
    files: dict[str, Any] = {"image": tmp_path / "image", "sparse_depth": tmp_path / "sparse_depth"}
    first, *others = model.inputs
    answers = [list(model.predict(form[first], **{key: form[key] for key in others})) for form in (held, tensors, files)]
    assert [len(answer) for answer in answers] == [2, 2, 2]
    for answer in answers[1:]:  # arrays, tensors and files are one and the same
        for one, same in zip(answers[0], answer, strict=True):
            for part in ("semantic", "depth"):
                np.testing.assert_array_equal(getattr(one, part), getattr(same, part))
    scene = answers[2][1]
    assert scene.size == (37, 51)
    assert (scene.semantic is not None) == (model.labels is not None)
    assert scene.depth is not None
    assert scene.depth.shape == (37, 51)
    assert (scene.depth > 0).all()
    assert scene.plot().width > 200
    cloud = scene.point_cloud()
    assert cloud.points.shape == (len(cloud.colours), 3)
    cloud.save(tmp_path / "points.ply")
    assert (tmp_path / "points.ply").read_bytes().startswith(b"ply\n")
    kinds = {"depth", "json", "overlay", "ply"} | ({"semantic"} if model.labels else set())
    assert {path.name.split(".")[1] for path in scene.save(tmp_path / "out")} == kinds


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder
