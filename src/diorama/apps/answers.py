"""A `ScenePrediction` as the body of an HTTP answer: JSON, PNG or NPZ."""

from __future__ import annotations

import base64
import io as streams
import json
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np

from diorama.apps.negotiation import Format
from diorama.data import io
from diorama.errors import ConfigError
from diorama.prediction.result import DEPTH_SCALE, ScenePrediction

Picture = Literal["overlay", "semantic", "depth", "panel"]


def encoded(scene: ScenePrediction, wanted: Format, picture: Picture = "overlay", *, maps: bool = False) -> bytes:
    """The body of an answer.

    Args:
        scene: what was predicted.
        wanted: its form.
        picture: what a PNG shows.
        maps: whether JSON also holds the maps as base64 of PNG.

    Raises:
        ConfigError: a picture of something that the model does not predict.
    """
    if wanted == "png":
        return png(scene, picture)
    if wanted == "npz":
        return npz(scene)
    found = scene.summary(files={})
    found.pop("files")
    if maps:
        kinds: list[Picture] = [kind for kind in ("semantic", "depth") if getattr(scene, kind) is not None]
        found["maps"] = {f"{kind}_png": base64.b64encode(png(scene, kind)).decode("ascii") for kind in kinds}
    return json.dumps(found).encode()


def png(scene: ScenePrediction, picture: Picture) -> bytes:
    """A picture of `scene`: what `diorama predict` saves, all as PNG.

    Raises:
        ConfigError: the model does not predict it.
    """
    with tempfile.TemporaryDirectory(prefix="diorama-") as folder:
        path = Path(folder) / "answer.png"
        if picture == "semantic" and scene.semantic is not None:
            io.write_label_png(path, scene.semantic)
        elif picture == "depth" and scene.depth is not None:
            io.write_depth_png(path, scene.depth, scale=DEPTH_SCALE)
        elif picture in ("overlay", "panel"):
            io.write_image(path, np.asarray(scene.overlay() if picture == "overlay" else scene.plot(), np.uint8))
        else:
            raise ConfigError(f"{scene.model.get('name', 'this model')} predicts no {picture}. Choose another picture, e.g. overlay.")
        return path.read_bytes()


def npz(scene: ScenePrediction) -> bytes:
    """Arrays that `numpy.load` reads without pickle: depth [m], semantic (train ids), classes, palette, intrinsics [px]."""
    arrays: dict[str, Any] = {"intrinsics": scene.intrinsics}
    if scene.depth is not None:
        arrays["depth"] = scene.depth
    if scene.semantic is not None and scene.labels is not None:
        arrays |= {
            "semantic": scene.semantic,
            "classes": np.array(scene.labels.classes),
            "palette": np.array(scene.labels.palette, np.uint8),
        }
    stream = streams.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()
