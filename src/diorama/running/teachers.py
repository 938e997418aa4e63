"""Teachers: whatever already knows semantics or depth of a photo, to label photos that have none.

```python
teacher = load_teacher("hf:PATH_OR_ID", dataset.labels)
taught = teacher(frame["image"], frame["meta"]["id"])
```

| source | what it is |
|---|---|
| `ci_net-nyuv2`, a run folder, a model file | a model of this package that takes a photo |
| a folder without a model in it | label maps, confidence and depth made elsewhere, see `FolderTeacher` |
| `hf:FOLDER`, `hf:OWNER/NAME` | semantic segmentation or depth estimation of Hugging Face transformers (extra `teachers`) |

Without torch for folders and for models that are there as ONNX.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diorama.completion.model import COMPLETIONS
from diorama.data.labels import LabelSet, mapping
from diorama.errors import ConfigError, ModelError
from diorama.evaluation.depth import to_truth_size
from diorama.prediction.inputs import prepared
from diorama.prediction.predictor import Predictor, list_models, load
from diorama.running.folder_teacher import FolderTeacher
from diorama.running.relative_depth import RelativeFit, fit_relative, metres
from diorama.running.taught import DepthUnit, Taught, Teacher, Unmapped, View, fitted, labelled

__all__ = ["DepthUnit", "FolderTeacher", "ModelTeacher", "RelativeFit", "Taught", "Teacher", "fit_relative", "load_teacher", "metres"]

HUGGING_FACE = "hf:"


def load_teacher(
    source: str | Path,
    labels: LabelSet | None = None,
    *,
    unmapped: Unmapped = "refuse",
    depth_unit: DepthUnit | None = None,
    device: str = "cpu",
    threads: int | None = None,
) -> Teacher:
    """The teacher that `source` names (see the module), its classes brought to `labels`.

    Args:
        source: a model, a folder, or `hf:` and a folder or hub id.
        labels: label set of the data; None keeps the teacher's own.
        unmapped: what to do with classes of the teacher that `labels` does not have: an error, or ignored pixels.
        depth_unit: of its depth; None takes metres, for transformers what the model's kind says.
        device: "cpu" or "cuda".
        threads: threads per image; None takes every core.

    Raises:
        ModelError: no such model, it takes more than a photo, gives neither semantics nor depth, or its classes do not fit.
        DataError: a folder without label maps.
        ConfigError: an unknown setting.
    """
    if unmapped not in ("refuse", "ignore") or depth_unit not in (None, "m", "relative", "inverse"):
        raise ConfigError(f"unmapped={unmapped!r}, depth_unit={depth_unit!r}. Choose refuse or ignore, and m, relative or inverse.")
    if str(source).startswith(HUGGING_FACE):
        import transformers  # noqa: F401  (before torch: who has neither is told the extra that brings both)

        from diorama.running.transformers_teacher import TransformersTeacher

        return TransformersTeacher(str(source)[len(HUGGING_FACE) :], labels, unmapped, depth_unit, device, threads)
    path = Path(source)
    if str(source) not in {*list_models(), *COMPLETIONS} and path.is_dir():
        if _is_transformers(path):
            raise ModelError(f"{path}: a model of Hugging Face transformers. Write {HUGGING_FACE}{path}.")
        if not any((path / name).is_file() for name in ("model.onnx", "model.safetensors", "config.json")):
            return FolderTeacher(path, labels, depth_unit or "m")
    return ModelTeacher(load(source, device=device, threads=threads), labels, unmapped, depth_unit or "m")


def _is_transformers(folder: Path) -> bool:
    try:
        return "architectures" in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


class ModelTeacher:
    """A model of this package; its confidence is the largest softmax probability, of merged classes their sum.

    Args:
        predictor: the loaded model.
        labels: see `load_teacher`.
        unmapped: see `load_teacher`.
        depth_unit: see `load_teacher`.

    Raises:
        ModelError: it takes more than a photo, or its classes do not fit.
    """

    def __init__(
        self, predictor: Predictor, labels: LabelSet | None = None, unmapped: Unmapped = "refuse", depth_unit: DepthUnit = "m"
    ) -> None:
        if predictor.inputs != ("image",):
            raise ModelError(f"{predictor.name} takes {' and '.join(predictor.inputs)}; a teacher sees a photo only. Choose another model.")
        self.predictor, self.name = predictor, predictor.name
        self.labels, self._table = None, mapping({})
        if predictor.labels is not None:
            self.labels, self._table = fitted(predictor.name, predictor.labels.classes, predictor.labels, labels, unmapped)
        self.depth_unit: DepthUnit | None = None if predictor.depth_cap is None else depth_unit

    def __call__(self, image: NDArray[np.uint8], frame_id: str, view: View = "left") -> Taught:  # noqa: ARG002
        """What the model sees in the photo; id and view change nothing."""
        height, width = image.shape[:2]
        said = self.predictor.batch({"image": prepared("image", image, self.predictor.working_size(height, width))})
        semantic = confidence = None
        if said.semantic_logits is not None:
            semantic, confidence = labelled(np.asarray(said.semantic_logits[0]), self._table, (height, width))
        depth = None if said.depth is None else to_truth_size(said.depth[0], (height, width))
        return Taught(semantic, confidence, depth)
