"""What the page's viewer is given of a prediction: pictures to show and maps to ask, as JSON. Drawing and asking happen in the browser."""

from __future__ import annotations

import base64
import json
import zlib
from importlib.resources import files
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.prediction import render
from diorama.prediction.result import DEPTH_SCALE, ScenePrediction

LARGEST_SIDE = 1024
"""Of the pictures that are sent to the browser [px]; each of their pixels is one of the prediction's."""

_STOPS = 32
_OF_BAR = 256


def asset(name: str) -> str:
    """The text of a file in `static`."""
    return (files("diorama.apps") / "static" / name).read_text(encoding="utf-8")


def problem(text: str, title: str = "That did not work") -> str:
    """What the viewer is given instead of a prediction."""
    return json.dumps({"problem": text, "title": title})


def described(scene: ScenePrediction, name: str) -> str:
    """What the viewer is given of `scene`; `name` is shown above it."""
    height, width = scene.size
    scale = min(1.0, LARGEST_SIDE / max(height, width))
    view = max(1, round(height * scale)), max(1, round(width * scale))
    found: dict[str, Any] = {
        "name": name,
        "size": [height, width],
        "view": view,
        "photo": None
        if scene.image is None
        else _picture(np.asarray(cv2.resize(scene.image, view[::-1], interpolation=cv2.INTER_AREA), np.uint8), ".jpg"),
        "panes": [],
    }
    if scene.semantic is not None and scene.labels is not None:
        shares = render.class_shares(scene.semantic, len(scene.labels))
        found["semantic"] = _packed(_nearest(scene.semantic, view))
        found["classes"] = [
            {"id": index, "name": scene.labels.classes[index], "colour": scene.labels.palette[index], "share": share}
            for index, share in shares
        ]
        found["panes"].append({"kind": "semantic", "title": "Semantics", "note": scene.labels.name, "opacity": 0.6})
    shown = scene.depth if scene.depth is not None else scene.sparse_depth
    near, far = render.depth_range(shown) if shown is not None else (0.0, 1.0)
    if scene.sparse_depth is not None:
        dots = render.thickened(_splatted(scene.sparse_depth, view))
        colours = np.dstack([render.depth_colours(dots, near, far), np.where(dots > 0, 255, 0).astype(np.uint8)])
        count = int((scene.sparse_depth > 0).sum())
        found["panes"].append({"kind": "points", "title": "Known depth", "note": f"{count:,} points", "opacity": 1.0})
        found["points"] = _picture(colours, ".png")
    if scene.depth is not None:
        depth = _nearest(scene.depth, view)
        found["depth"] = _packed(np.rint(depth.astype(np.float64) * DEPTH_SCALE).clip(0, 65535).astype("<u2"))
        found["coloured"] = _picture(render.depth_colours(depth, near, far), ".png")
        found["panes"].append({"kind": "depth", "title": "Depth", "note": "metres", "opacity": 1.0})
    found |= {"depth_scale": DEPTH_SCALE, "near": near, "far": far, "stops": _stops(near, far)}
    return json.dumps(found)


def _stops(near: float, far: float) -> list[str]:
    """The colours of evenly spaced metres from near to far, as CSS writes them."""
    metres = np.linspace(near, far, _STOPS, dtype=np.float32)
    return ["#{:02x}{:02x}{:02x}".format(*colour) for colour in render.depth_colours(metres[None], near, far)[0]]


def _nearest(values: NDArray[Any], view: tuple[int, int]) -> NDArray[Any]:
    return np.asarray(cv2.resize(values, view[::-1], interpolation=cv2.INTER_NEAREST))


def _splatted(points: NDArray[np.float32], view: tuple[int, int]) -> NDArray[np.float32]:
    from diorama.data.cache import splat

    return points if points.shape == view else splat(points, view)


def _packed(values: NDArray[Any]) -> str:
    """The bytes of an array, row by row, deflated, as base64."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(values).tobytes(), 6)).decode("ascii")


def _picture(picture: NDArray[np.uint8], suffix: str) -> str:
    """An RGB or RGBA picture as a `data:` address."""
    order = cv2.COLOR_RGB2BGR if picture.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    _, coded = cv2.imencode(suffix, cv2.cvtColor(picture, order), [cv2.IMWRITE_JPEG_QUALITY, 90] if suffix == ".jpg" else [])
    return f"data:image/{'jpeg' if suffix == '.jpg' else 'png'};base64,{base64.b64encode(coded.tobytes()).decode('ascii')}"
