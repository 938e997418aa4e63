"""Model names and files -> `Predictor`: photos of any size in, semantics and metric depth of the same size out.

Without torch for ONNX files and the shipped models; `.safetensors` models import it when they are loaded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.data import io
from diorama.data.labels import LabelSet
from diorama.errors import ConfigError, ModelError, ShapeError, suggest
from diorama.export.config import CONFIG_NAME, ModelConfig, label_set, model_in, parse, wrong_kind
from diorama.prediction.pointcloud import ASSUMED_FIELD_OF_VIEW, intrinsics_from_field_of_view
from diorama.prediction.result import ScenePrediction
from diorama.prediction.sources import find_images
from diorama.types import Prediction

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
"""Folder of the models that come with the package: `<method>-<data>/{model.onnx,model.safetensors,config.json,README.md}`."""

SMALLEST_SIDE = 32
DEFAULT_PIXELS = 320 * 240


class Model(Protocol):
    """A network that takes and gives NumPy arrays: `OnnxModel` or `EagerModel`."""

    config: ModelConfig

    def __call__(self, images: NDArray[np.float32]) -> Prediction:
        """`(B, 3, H, W)` float32 RGB in 0..1 -> `Prediction` of arrays."""


class Predictor:
    """A model ready for photos.

    Args:
        model: the network behind it.
        name: how outputs call it.
        backend: what runs it, "onnxruntime" or "torch".
    """

    def __init__(self, model: Model, name: str, backend: str) -> None:
        self.model, self.name, self.backend = model, name, backend
        self.config = model.config
        self.labels: LabelSet | None = label_set(self.config)
        self.depth_cap: float | None = None if self.config["depth"] is None else float(self.config["depth"]["cap"])

    def batch(self, images: NDArray[np.float32]) -> Prediction:
        """The network's own answer to `(B, 3, H, W)` float32 RGB in 0..1, at that size: arrays, depth in metres.

        Raises:
            ShapeError: another number of dimensions or channels.
        """
        return self.model(images)

    def predict(
        self, source: str | Path, *, intrinsics: NDArray[np.float64] | None = None, field_of_view: float | None = None
    ) -> Iterator[ScenePrediction]:
        """One `ScenePrediction` after the other for a photo, a folder, a glob pattern or a list; see `scene` for the camera.

        Raises:
            DataError: nothing to predict on, or a photo that cannot be read.
        """
        for item in find_images(source):
            yield self.scene(item.path, intrinsics=intrinsics, field_of_view=field_of_view)

    def scene(
        self,
        photo: str | Path | NDArray[np.uint8],
        *,
        intrinsics: NDArray[np.float64] | None = None,
        field_of_view: float | None = None,
    ) -> ScenePrediction:
        """Semantics and depth of one photo, at its own size.

        Args:
            photo: a path, or `(H, W, 3)` uint8 RGB.
            intrinsics: `(3, 3)` of the photo [px]; only the point cloud uses it.
            field_of_view: instead of intrinsics, the angle over the longer side [degrees]. Without either the camera the model was
                trained with is assumed, if the model says which it was, else 60 degrees.

        Raises:
            DataError: the photo cannot be read.
            ShapeError: the array is no RGB image.
        """
        path = None if isinstance(photo, np.ndarray) else Path(photo)
        image = photo if isinstance(photo, np.ndarray) else io.read_image(photo)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ShapeError(f"a photo of shape {image.shape} and type {image.dtype}. Give uint8 (H, W, 3), RGB.")
        height, width = image.shape[:2]
        size = self.working_size(height, width)
        answer = self.model(_network_input(image, size))
        camera, assumed = self._camera(height, width, intrinsics, field_of_view)
        return ScenePrediction(
            image=image,
            semantic=None if answer.semantic_logits is None else resized_argmax(answer.semantic_logits[0], height, width),
            depth=None if answer.depth is None else _resized(answer.depth[0, 0], height, width),
            labels=self.labels,
            intrinsics=camera,
            intrinsics_assumed=assumed,
            working_size=size,
            model={
                "name": self.name,
                "method": self.config["method"],
                "diorama": self.config["diorama"],
                "backend": self.backend,
                "data": self.config["training"].get("data"),
            },
            path=path,
        )

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) at which the network sees a photo: as many pixels as it was trained on, in the photo's shape.

        A photo of the training shape gets the training size itself; the sides of others are multiples of `multiple_of`.
        """
        trained = self.config["input"].get("size")
        multiple = max(1, int(self.config["input"].get("multiple_of", SMALLEST_SIDE)))
        if trained is not None and abs(width * trained[0] / (height * trained[1]) - 1) < 0.01:
            return int(trained[0]), int(trained[1])
        pixels = DEFAULT_PIXELS if trained is None else trained[0] * trained[1]
        scale = math.sqrt(pixels / (height * width))
        least = math.ceil(SMALLEST_SIDE / multiple) * multiple
        rounded = [max(least, round(side * scale / multiple) * multiple) for side in (height, width)]
        return rounded[0], rounded[1]

    def _camera(
        self, height: int, width: int, intrinsics: NDArray[np.float64] | None, field_of_view: float | None
    ) -> tuple[NDArray[np.float64], bool]:
        if intrinsics is not None and field_of_view is not None:
            raise ConfigError("both intrinsics and a field of view are given. Give one of them.")
        if intrinsics is not None:
            camera = np.asarray(intrinsics, np.float64)
            if camera.shape != (3, 3):
                raise ShapeError(f"intrinsics have shape {camera.shape}, not (3, 3): give the camera matrix in pixels.")
            return camera, False
        degrees = field_of_view if field_of_view is not None else self.config["training"].get("field_of_view") or ASSUMED_FIELD_OF_VIEW
        # The angle belongs to the longer side, so that a camera held upright keeps its focal length.
        focal_px = intrinsics_from_field_of_view(1, max(height, width), float(degrees))[0, 0]
        return np.array([[focal_px, 0, (width - 1) / 2], [0, focal_px, (height - 1) / 2], [0, 0, 1]]), field_of_view is None


def load(
    source: str | Path, *, backend: Literal["auto", "onnx", "torch"] = "auto", device: str = "cpu", threads: int | None = None
) -> Predictor:
    """The model `source` names, ready to predict.

    Args:
        source: a shipped name (`ci_net-nyuv2`), a run or model folder, an .onnx or a .safetensors file.
        backend: "onnx" and "torch" choose between the two files of a folder; "auto" takes ONNX where there is one.
        device: "cpu" or "cuda".
        threads: threads per image; None takes every core.

    Raises:
        ModelError: no such model, a file that is none, a newer format, or torch is needed and missing.
        ConfigError: `threads` is below 1.
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"{threads} threads. Choose 1 or more, or leave it out for every core.")
    path = find_model(source)
    name = path.name if path.is_dir() else path.parent.name if path.stem == "model" else path.stem
    if path.is_dir():
        preferred = {"onnx": "model.onnx", "torch": "model.safetensors"}.get(backend)
        path = path / preferred if preferred and (path / preferred).is_file() else model_in(path)
    if path.suffix not in {".onnx", ".safetensors"}:
        raise ModelError(f"{path}: {wrong_kind(path)}")
    is_onnx = path.suffix == ".onnx"
    if backend != "auto" and is_onnx != (backend == "onnx"):
        hint = "Make it with `diorama export`" if backend == "onnx" else "Give the .safetensors file"
        raise ModelError(f"{path}: backend '{backend}' cannot run this file. {hint}, or leave out the backend.")
    if is_onnx:
        from diorama.export.runtime import OnnxModel

        return Predictor(OnnxModel(path, threads=threads, device=device), name, "onnxruntime")
    from diorama.export.eager import load_eager

    return Predictor(load_eager(path, device=device, threads=threads), name, "torch")


def find_model(source: str | Path) -> Path:
    """The file or folder of a model: shipped names go before paths.

    Raises:
        ModelError: neither a shipped name nor a path.
    """
    if str(source) in list_models():
        return WEIGHTS / str(source)
    path = Path(source)
    if path.exists():
        return path
    if path.suffix or len(path.parts) > 1:
        raise ModelError(
            f"{source}: no such file or folder. Check the path, or take a shipped model: {', '.join(list_models()) or 'none'}."
        )
    raise ModelError(f"unknown model '{source}': {suggest(str(source), list_models())} See `diorama methods`, or give a path.")


def list_models() -> dict[str, ModelConfig]:
    """Name -> config of the models that come with the package."""
    return {
        path.parent.name: parse(path.read_text(encoding="utf-8"), path)
        for path in sorted(WEIGHTS.glob(f"*/{CONFIG_NAME}"))
        if any(path.parent.glob("model.*"))
    }


def resized_argmax(logits: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
    """`(K, h, w)` logits -> `(height, width)` train ids: bilinear, then the largest; ties go to the lower id.

    Class by class with a running maximum: the K resized maps of a large photo would not fit into memory.

    Raises:
        ShapeError: more than 255 classes.
    """
    if len(logits) > 255:
        raise ShapeError(f"{len(logits)} classes: train ids are 8-bit, at most 255. Merge classes.")
    best = _resized(logits[0], height, width)
    found = np.zeros((height, width), np.uint8)
    for index in range(1, len(logits)):
        value = _resized(logits[index], height, width)
        higher = value > best
        found[higher] = index
        np.maximum(best, value, out=best)
    return found


def _network_input(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    height, width = size
    smaller = height < image.shape[0] or width < image.shape[1]
    if image.shape[:2] != size:
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR), np.uint8)
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32) / np.float32(255)


def _resized(values: Any, height: int, width: int) -> NDArray[np.float32]:
    """`(h, w)` -> `(height, width)` float32, bilinear with pixel centres at half integers (torch's align_corners=False)."""
    array = np.ascontiguousarray(values, np.float32)
    if array.shape == (height, width):
        return array.copy()
    return np.asarray(cv2.resize(array, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
