"""Model names and files -> `Predictor`: photos or sparse depth of any size in, semantics and metric depth of the same size out.

Without torch for ONNX files and the shipped models; `.safetensors` models import it when they are loaded.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.completion.model import COMPLETIONS, ClassicalModel
from diorama.data.labels import LabelSet
from diorama.errors import ConfigError, DataError, ModelError, ShapeError, suggest
from diorama.export.config import CONFIG_NAME, SUFFIXES, ModelConfig, input_keys, label_set, model_in, parse, wrong_kind
from diorama.prediction.arrays import is_held
from diorama.prediction.ground import ground_scene, is_ground
from diorama.prediction.hub import fetch, hub_name, is_hub_id
from diorama.prediction.inputs import Given, check_scale, prepared, read_photo, read_sparse_depth, read_velodyne, scale_of
from diorama.prediction.pointcloud import ASSUMED_FIELD_OF_VIEW, intrinsics_from_field_of_view
from diorama.prediction.result import ScenePrediction
from diorama.prediction.stream import supplied
from diorama.types import IGNORE, Inputs, Prediction, seen_resized

log = logging.getLogger("diorama")

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
"""Folder of the models that come with the package: `<method>-<data>/{model.onnx,model.safetensors,config.json,README.md}`."""

SMALLEST_SIDE = 32
DEFAULT_PIXELS = 320 * 240


class Model(Protocol):
    """A network that takes and gives NumPy arrays: `OnnxModel`, `OpenVinoModel`, `EagerModel` or `ClassicalModel`."""

    config: ModelConfig

    def __call__(self, inputs: Inputs) -> Prediction:
        """`Inputs` -> `Prediction` of arrays."""


class Predictor:
    """A model ready for photos, for sparse depth, or for both, as its network asks.

    Args:
        model: the network behind it.
        name: how outputs call it.
        backend: what runs it, "onnxruntime", "openvino" or "torch".
    """

    def __init__(self, model: Model, name: str, backend: str) -> None:
        self.model, self.name, self.backend = model, name, backend
        self.config = model.config
        self.inputs = input_keys(self.config)
        """What the network takes; the first one is what `scene` and `predict` are given."""
        self.labels: LabelSet | None = label_set(self.config)
        self.depth_cap: float | None = None if self.config["depth"] is None else float(self.config["depth"]["cap"])

    def __repr__(self) -> str:
        """Name, what it takes, what it says, and what runs it."""
        says = [f"{len(self.labels)} classes"] if self.labels else []
        says += [f"depth up to {self.depth_cap:g} m"] if self.depth_cap else []
        return f"<Predictor {self.name}: {' and '.join(self.inputs)} -> {', '.join(says) or 'confidence'} ({self.backend})>"

    @property
    def described(self) -> dict[str, Any]:
        """What results say of the model that made them; JSON types only."""
        return {
            "name": self.name,
            "method": self.config["method"],
            "diorama": self.config["diorama"],
            "backend": self.backend,
            "data": self.config["training"].get("data"),
        }

    def batch(self, inputs: Inputs) -> Prediction:
        """The network's own answer to `inputs`, at their size: arrays, depth in metres.

        Raises:
            ShapeError: another number of dimensions or channels, or an input is missing.
        """
        return self.model(inputs)

    def predict(
        self,
        source: Any,
        *,
        image: Any = None,
        sparse_depth: Any = None,
        depth_scale: float | None = None,
        calibration: str | Path | None = None,
        intrinsics: NDArray[np.float64] | None = None,
        field_of_view: float | None = None,
        every: int = 1,
        on_error: Literal["raise", "skip"] = "raise",
    ) -> Iterator[ScenePrediction]:
        """One `ScenePrediction` after the other for anything that shows photos (or sparse depth, if that is what the network takes first).

        Args:
            source: a file, a folder, a glob pattern or a .txt list; a video; a camera (`0`, `"webcam:0"`); an array, a PIL image, a
                torch tensor, a stack of such; or a list of any of these. One is read at a time. Addresses are refused.
            image: photos of the same places: a folder paired by file name, or one file; of a list of arrays a list as long.
            sparse_depth: points of the same places, likewise.
            depth_scale: see `scene`.
            calibration: see `scene`.
            intrinsics: see `scene`.
            field_of_view: see `scene`.
            every: of videos and cameras, every so many frames.
            on_error: what a file that cannot be read does: end the loop with an error, or be logged and left out.

        Raises:
            ConfigError: what is given is nothing to predict on, or does not go together.
            DataError: nothing is there, or a file cannot be read or has no partner.
            ShapeError: an array that is no photo or no map, or lists of different lengths.
        """
        self.require_scenes()
        second = {key: where for key, where in (("image", image), ("sparse_depth", sparse_depth)) if where is not None}
        camera: dict[str, Any] = {"intrinsics": intrinsics, "field_of_view": field_of_view}
        for item in supplied(source, self.inputs[0], second, every=every):
            try:
                if item.frame is None and item.path is not None and not second and self.inputs == ("image",) and is_ground(item.path):
                    scene = ground_scene(self, item.path, **camera)
                else:
                    scene = self.scene(item.given, **item.others, depth_scale=depth_scale, calibration=calibration, **camera)
            except DataError as error:
                if on_error == "raise":
                    raise
                log.warning("skipped %s", error)
                continue
            yield replace(scene, path=item.path, stem=item.stem, frame=item.frame)

    def scene(
        self,
        source: Given,
        *,
        image: Given | None = None,
        sparse_depth: Given | None = None,
        depth_scale: float | None = None,
        calibration: str | Path | None = None,
        intrinsics: NDArray[np.float64] | None = None,
        field_of_view: float | None = None,
    ) -> ScenePrediction:
        """Semantics and depth of one place, at the size of `source`.

        Args:
            source: what the network takes first: a photo (path, or `(H, W, 3)` uint8 RGB, a PIL image, a `(3, H, W)` tensor), or sparse
                depth (path, or `(H, W)` float metres, 0 = unknown; or a raw `.bin` scan with its `calibration`).
            image: the photo that goes with sparse depth; it colours the outputs, and networks that take both look at it.
            sparse_depth: the points that go with a photo, for networks that take both.
            depth_scale: file units of sparse depth to the metre (1000: millimetres); None: what the file records, else 256.
            calibration: of raw scans, see `inputs.read_velodyne`; it says the camera, too.
            intrinsics: `(3, 3)` of the photo [px]; only the point cloud uses it.
            field_of_view: instead of intrinsics, the angle over the longer side [degrees]. Without either the camera the model was
                trained with is assumed, if the model says which it was, else 60 degrees.

        Raises:
            ConfigError: a depth scale that cannot be one, or for an array.
            DataError: a file cannot be read, or an input that the network takes is not given.
            ShapeError: an array of the wrong shape, or photo and points of different sizes.
        """
        self.require_scenes()
        path = None if is_held(source) else Path(source)
        given = {"image": image, "sparse_depth": sparse_depth, self.inputs[0]: source}
        photo = None if given["image"] is None else read_photo(given["image"])
        points, scan, scale = None, given["sparse_depth"], None
        check_scale(depth_scale)
        if scan is not None and not is_held(scan) and Path(scan).suffix.lower() == ".bin":
            points, seen_by = read_velodyne(Path(scan), calibration, None if photo is None else photo.shape[:2])
            intrinsics = seen_by if intrinsics is None and field_of_view is None else intrinsics
        elif scan is not None:
            points = read_sparse_depth(scan, depth_scale)
            scale = None if is_held(scan) else scale_of(Path(scan), depth_scale)
        maps = {key: value for key, value in (("image", photo), ("sparse_depth", points)) if value is not None}
        if missing := [key for key in self.inputs if key not in maps]:
            raise DataError(f"{self.name} also takes '{missing[0]}', which is not given. Pass --{missing[0].replace('_', '-')}.")
        if len({value.shape[:2] for value in maps.values()}) > 1:
            raise ShapeError(f"photo {photo.shape[:2]} and sparse depth {points.shape} differ in size. Give both at one size.")  # type: ignore[union-attr]
        height, width = maps[self.inputs[0]].shape[:2]
        size = self.working_size(height, width)
        answer = self.model({key: prepared(key, maps[key], size) for key in self.inputs})
        camera, assumed = self.camera(height, width, intrinsics, field_of_view)
        return ScenePrediction(
            image=photo,
            sparse_depth=points,
            sparse_scale=scale,
            semantic=None if answer.semantic_logits is None else self._classes(answer.semantic_logits[0], height, width),
            depth=None if answer.depth is None else _resized(answer.depth[0, 0], height, width),
            labels=self.labels,
            intrinsics=camera,
            intrinsics_assumed=assumed,
            working_size=size,
            model=self.described,
            path=path,
        )

    def require_scenes(self) -> None:
        """Return if the network says something of scenes.

        Raises:
            ConfigError: it judges disparity.
        """
        if "matched" in self.inputs:
            raise ConfigError(
                f"{self.name} judges matched disparity and sees no photos. Use it as `diorama pseudo-label --confidence {self.name}`."
            )

    def _classes(self, logits: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
        """Train ids at the size of the photo; what a model calls "ignore", one logit beyond its classes, is 255."""
        found = resized_argmax(logits, height, width)
        if self.labels is not None:
            found[found >= len(self.labels)] = IGNORE
        return found

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) at which the network sees a photo: as many pixels as it was trained on, in the photo's shape.

        A photo of the training shape gets the training size itself; the sides of others are multiples of `multiple_of`.
        Sparse depth and disparity are seen at their own size: resizing would lose points.
        """
        if not seen_resized(self.inputs):
            return height, width
        trained = self.config["input"].get("size")
        multiple = max(1, int(self.config["input"].get("multiple_of", SMALLEST_SIDE)))
        if trained is not None and abs(width * trained[0] / (height * trained[1]) - 1) < 0.01:
            return int(trained[0]), int(trained[1])
        pixels = DEFAULT_PIXELS if trained is None else trained[0] * trained[1]
        scale = math.sqrt(pixels / (height * width))
        least = math.ceil(SMALLEST_SIDE / multiple) * multiple
        rounded = [max(least, round(side * scale / multiple) * multiple) for side in (height, width)]
        return rounded[0], rounded[1]

    def camera(
        self, height: int, width: int, intrinsics: NDArray[np.float64] | None, field_of_view: float | None
    ) -> tuple[NDArray[np.float64], bool]:
        """The `(3, 3)` matrix [px] of a photo of this size, and whether it had to be assumed; see `scene`.

        Raises:
            ConfigError: both a matrix and an angle are given, or an impossible angle.
            ShapeError: the matrix is not `(3, 3)`.
        """
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
    source: str | Path, *, backend: Literal["auto", "onnx", "openvino", "torch"] = "auto", device: str = "cpu", threads: int | None = None
) -> Predictor:
    """The model `source` names, ready to predict.

    Args:
        source: a shipped name (`ci_net-nyuv2`), a completion that needs no training (`linear`), a run or model folder, an .onnx, an
            OpenVINO .xml or a .safetensors file, or a model of the hub (`org/name`, `org/name@revision`).
        backend: "onnx", "openvino" and "torch" choose between the files of a folder; "auto" takes ONNX where there is one.
        device: "cpu" or "cuda".
        threads: threads per image; None takes every core.

    Raises:
        ModelError: no such model, a file that is none, a newer format, or torch is needed and missing.
        ConfigError: `threads` is below 1.
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"{threads} threads. Choose 1 or more, or leave it out for every core.")
    if str(source) in COMPLETIONS:
        if device != "cpu":
            log.warning("%s is no network: it runs on the CPU, device '%s' changes nothing", source, device)
        return Predictor(ClassicalModel(str(source)), str(source), "numpy")
    path = find_model(source)
    name = path.name if path.is_dir() else path.parent.name if path.stem == "model" else path.stem
    name = hub_name(str(source)) if is_hub_id(source) else name
    if path.is_dir():
        preferred = path / {"onnx": "model.onnx", "torch": "model.safetensors", "openvino": "model.xml"}.get(backend, "")
        path = preferred if preferred.is_file() else model_in(path)
    if path.suffix not in SUFFIXES:
        raise ModelError(f"{path}: {wrong_kind(path)}")
    kind = SUFFIXES[path.suffix]
    if backend not in ("auto", kind):
        hint = "Give the .safetensors file" if backend == "torch" else f"Make one that it can with `diorama export --format {backend}`"
        raise ModelError(f"{path}: backend '{backend}' cannot run this file. {hint}, or leave out the backend.")
    if kind == "onnx":
        from diorama.export.runtime import OnnxModel

        return Predictor(OnnxModel(path, threads=threads, device=device), name, "onnxruntime")
    if kind == "openvino":
        from diorama.export.openvino_model import OpenVinoModel

        return Predictor(OpenVinoModel(path, threads=threads, device=device), name, "openvino")
    from diorama.export.eager import load_eager

    return Predictor(load_eager(path, device=device, threads=threads), name, "torch")


def find_model(source: str | Path) -> Path:
    """The file or folder of a model: shipped names go before paths, and these before the hub, whose models are fetched.

    Raises:
        ModelError: neither a shipped name nor a path, nor a model of the hub.
    """
    if str(source) in list_models():
        return WEIGHTS / str(source)
    path = Path(source)
    if path.exists():
        return path
    if is_hub_id(source):
        return fetch(str(source))
    if path.suffix or len(path.parts) > 1:
        raise ModelError(
            f"{source}: no such file or folder. Check the path, or take a shipped model: {', '.join(list_models()) or 'none'}."
        )
    raise ModelError(
        f"unknown model '{source}': {suggest(str(source), {*list_models(), *COMPLETIONS})} See `diorama methods`, or give a path."
    )


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
    best = _resized(logits[0], height, width).copy()
    found = np.zeros((height, width), np.uint8)
    for index in range(1, len(logits)):
        value = _resized(logits[index], height, width)
        higher = value > best
        found[higher] = index
        np.maximum(best, value, out=best)
    return found


def _resized(values: Any, height: int, width: int) -> NDArray[np.float32]:
    """`(h, w)` -> `(height, width)` float32, bilinear with pixel centres at half integers (torch's align_corners=False)."""
    array = np.ascontiguousarray(values, np.float32)
    if array.shape == (height, width):
        return array
    return np.asarray(cv2.resize(array, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
