"""Label -> image scored by a parser: label maps become photos, and a parser's answer to the photos is compared with the label maps.

Needs torch only once a translator is loaded: a model file's ONNX graph holds the image -> label direction alone.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diorama.completion.model import COMPLETIONS
from diorama.data.base import SceneDataset, WrappedDataset
from diorama.data.cache import resize_nearest
from diorama.data.labels import LabelSet
from diorama.errors import DataError, ModelError
from diorama.export.config import ModelConfig, label_set, model_in
from diorama.prediction.predictor import Predictor, find_model
from diorama.types import Frame

if TYPE_CHECKING:
    from diorama.methods.base import Method

PARSED = ("parser_pixel_accuracy", "parser_class_accuracy", "parser_miou")
"""Columns of a benchmark with a parser: the metrics of these names, of photos that the rows' models made."""
_DIGITS = 8


class Translator:
    """A method that makes photos of label maps, with NumPy on both sides.

    Args:
        method: has `translates = True` and `translate(semantic (B, H, W) int64, 255 = ignore) -> (B, 3, H, W)` RGB in 0..1.
        config: what its model file says about it.
        name: how reports call it.
        device: any torch device.

    Raises:
        ModelError: the method does not translate, or torch has no such device.
    """

    backend = "torch"

    def __init__(self, method: Method, config: ModelConfig, name: str, *, device: str = "cpu") -> None:
        import torch

        if not getattr(method, "translates", False):
            raise ModelError(_no_translator(name, config["method"]))
        try:
            self._method: Any = method.to(torch.device(device)).eval()
        except (RuntimeError, AssertionError) as error:
            raise ModelError(f"device '{device}' is not available to torch ({str(error).splitlines()[0]}). Use cpu.") from error
        self.config, self.name, self._device = config, name, device
        self.labels = label_set(config)

    def __call__(self, semantic: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """`(H, W)` train ids, 255 = ignore -> `(h, w, 3)` RGB at the size it was trained at; at that of the map if no size is known.

        Raises:
            ModelError: the photo has another shape or values that are no numbers.
        """
        import torch

        trained = self.config["input"].get("size")
        size = (int(trained[0]), int(trained[1])) if trained else (semantic.shape[0], semantic.shape[1])
        ids = torch.from_numpy(resize_nearest(semantic, size).astype(np.int64))[None].to(self._device)
        with torch.inference_mode():
            photo = self._method.translate(ids)[0].float().cpu().numpy()
        if photo.shape != (3, *size) or not np.isfinite(photo).all():
            raise ModelError(f"{self.name}: its photo has shape {photo.shape} or values that are no numbers. Train it again.")
        # 8 bits, as a photo in a file has: what a parser is given must not hide in digits that no camera has
        return np.ascontiguousarray((photo.clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0))


class TranslatedDataset(WrappedDataset):
    """The label maps of `dataset`, with photos that `translator` makes of them in place of its own."""

    def __init__(self, dataset: SceneDataset, translator: Translator) -> None:
        super().__init__(dataset)
        self.translator, self.provides = translator, frozenset({"image", "semantic"})

    def frame(self, index: int) -> Frame:
        """Frame number `index`: the photo at the translator's size, the label map at its own."""
        frame = self.dataset.frame(index)
        return Frame(image=self.translator(frame["semantic"]), semantic=frame["semantic"], meta=frame.get("meta", {}))


def load_translator(source: str | Path | Predictor | Translator, *, device: str = "cpu") -> Translator:
    """The translating model that `source` names: a shipped name, a run or model folder, or a .safetensors file; a `Translator` as it is.

    Raises:
        ModelError: no such model, one that does not translate, an ONNX file, or torch is missing.
    """
    if isinstance(source, Translator):
        return source
    if isinstance(source, Predictor):
        raise ModelError(f"{source.name} was loaded to label photos. Give the path of a model that makes photos of label maps.")
    if str(source) in COMPLETIONS:
        raise ModelError(_no_translator(str(source), "completion"))
    path = find_model(source)
    name = path.name if path.is_dir() else path.parent.name if path.stem == "model" else path.stem
    if path.is_dir():
        path = path / "model.safetensors" if (path / "model.safetensors").is_file() else model_in(path)
    if path.suffix == ".onnx":
        raise ModelError(f"{path}: an ONNX file makes no photos of label maps. Give the model.safetensors that it was made from.")
    try:
        import torch  # noqa: F401  a clear error before the loading of weights
    except ImportError as error:
        raise ModelError(f"{path}: making photos of label maps needs torch. Install `diorama[train]`.") from error
    from diorama.export.model_file import load_model

    method, config = load_model(path)
    return Translator(method, config, name, device=device)


def require_parser(dataset: SceneDataset, parser: Predictor) -> None:
    """Return if `parser` can judge photos that are made of the label maps of `dataset`.

    Raises:
        DataError: the data have no label maps.
        ModelError: the parser has no semantics, other classes than the data, or does not take photos alone.
    """
    if dataset.labels is None or "semantic" not in dataset.provides:
        raise DataError(f"{dataset.name} has no label maps to make photos of. Choose data with labels: `diorama data list`.")
    if parser.labels is None:
        raise ModelError(
            f"the parser {parser.name} predicts no semantics. Give a model that does, e.g. one of `diorama train --model fcn`."
        )
    if parser.inputs != ("image",):
        raise ModelError(
            f"the parser {parser.name} takes {', '.join(parser.inputs)}. Give one that takes a photo alone, e.g. of method fcn."
        )
    _require_classes(dataset, f"the parser {parser.name}", parser.labels)


def translated(dataset: SceneDataset, translator: Translator, parser: Predictor) -> TranslatedDataset:
    """`dataset` with photos by `translator`, once translator, parser and label maps are known to mean the same by their ids.

    Raises:
        DataError: the data have no label maps.
        ModelError: see `require_parser`; or the translator has other classes than the data.
    """
    require_parser(dataset, parser)
    if translator.labels is not None:
        _require_classes(dataset, f"the model {translator.name}", translator.labels)
    return TranslatedDataset(dataset, translator)


def _require_classes(dataset: SceneDataset, what: str, labels: LabelSet) -> None:
    if dataset.labels is None or labels.classes == dataset.labels.classes:
        return
    differing = (pair for pair in zip(labels.classes, dataset.labels.classes, strict=False) if pair[0] != pair[1])
    theirs, ours = next(differing, (f"{len(labels)} classes", f"{len(dataset.labels)}"))
    raise ModelError(
        f"{what} has other classes than {dataset.name} ({theirs} for {ours}). Give one that was trained on {dataset.labels.name}."
    )


def parser_id(parser: Predictor) -> str:
    """`NAME@DIGEST` of a parser: the digest is of its method, settings, label set and training, so all its files share it."""
    told: dict[str, Any] = {key: value for key, value in parser.config.items() if key not in ("export", "diorama")}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return f"{parser.name}@{digest[:_DIGITS]}"


def _no_translator(name: str, method: str) -> str:
    return f"{name} (method {method}) makes no photos of label maps. Give a model that does (multitask_gan), or leave out --parser."
