"""A teacher from Hugging Face transformers (extra `teachers`): semantic segmentation or depth estimation, of a local folder or the hub.

A folder is read without a look at the network. Which way round its depth counts is known of these kinds; for others, and for networks
that were tuned to metres under a relative kind (DPT on KITTI), say `depth_unit`:

| kind | depth |
|---|---|
| glpn, zoedepth, depth_pro; depth_anything with `depth_estimation_type: metric` | metres |
| dpt (MiDaS); depth_anything otherwise | inverse, relative |
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diorama.data.labels import LabelSet, mapping
from diorama.errors import ConfigError, ModelError
from diorama.evaluation.depth import to_truth_size
from diorama.running.taught import DepthUnit, Taught, Unmapped, View, fitted, labelled

_UNITS: dict[str, DepthUnit] = {"glpn": "m", "zoedepth": "m", "depth_pro": "m", "dpt": "inverse"}
_METRIC_OR_NOT = ("depth_anything", "prompt_depth_anything")


class TransformersTeacher:
    """One network of transformers; of segmentation the confidence is the largest softmax probability.

    Mask classification (MaskFormer, Mask2Former, EoMT) gives masses instead, whose share is the confidence where they add up to more
    than 1. Photos are not cropped, whatever the stored processor says: the answer has to cover them.

    Args:
        source: a folder with config.json, weights and preprocessor_config.json, or a hub id.
        labels: see `load_teacher`.
        unmapped: see `load_teacher`.
        depth_unit: of a depth network; None: what the table above says.
        device: "cpu" or "cuda".
        threads: of torch on the CPU, for the whole process; None leaves them.

    Raises:
        ModelError: it cannot be loaded, does another task, or its classes do not fit.
        ConfigError: its kind does not say what its depth means and `depth_unit` is not given.
    """

    def __init__(
        self,
        source: str,
        labels: LabelSet | None = None,
        unmapped: Unmapped = "refuse",
        depth_unit: DepthUnit | None = None,
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        import transformers

        self.name = Path(source).name if Path(source).is_dir() else source
        local = {"local_files_only": True} if Path(source).is_dir() else {}
        config = _loaded(transformers.AutoConfig, source, **local)
        task = _task(self.name, config)
        self._task, self.labels, self._table = task, None, mapping({})
        self.depth_unit: DepthUnit | None = None
        if task == "depth":
            self.depth_unit = depth_unit or _unit(self.name, config)
        else:
            classes = tuple(str(config.id2label[number]) for number in sorted(config.id2label))
            self.labels, self._table = fitted(self.name, classes, None, labels, unmapped)
        kinds = {
            "semantic": transformers.AutoModelForSemanticSegmentation,
            "masks": transformers.AutoModelForUniversalSegmentation,
            "depth": transformers.AutoModelForDepthEstimation,
        }
        self.processor = _loaded(transformers.AutoImageProcessor, source, **local)
        for step in ("do_center_crop", "do_random_crop"):
            if getattr(self.processor, step, False):
                setattr(self.processor, step, False)
        self.network = _loaded(kinds[task], source, **local).to(device).eval()
        self.device = device
        if threads is not None:
            torch.set_num_threads(threads)

    def __call__(self, image: NDArray[np.uint8], frame_id: str, view: View = "left") -> Taught:  # noqa: ARG002
        """What the network sees in the photo; id and view change nothing."""
        size = (image.shape[0], image.shape[1])
        inputs = self.processor(images=image, return_tensors="pt", input_data_format="channels_last").to(self.device)
        with torch.inference_mode():
            said = self.network(**inputs)
            if self._task == "semantic":
                return Taught(*labelled(_array(said.logits[0]), self._table, size))
            if self._task == "masks":
                shown = self.processor.post_process_semantic_segmentation(said, target_sizes=[size], return_segmentation_scores=True)
                return Taught(*labelled(_array(shown[0].segmentation_scores), self._table, size, scores=True))
            return Taught(depth=self._depth(said, size))

    def _depth(self, said: Any, size: tuple[int, int]) -> NDArray[np.float32]:
        process = getattr(self.processor, "post_process_depth_estimation", None)
        if process is None:
            return to_truth_size(_array(said.predicted_depth[0]), size).clip(min=0)
        asked = {"target_sizes": [size], "source_sizes": [size]}
        taken = inspect.signature(process).parameters
        found = process(said, **{key: value for key, value in asked.items() if key in taken})
        return to_truth_size(_array(found[0]["predicted_depth"]), size).clip(min=0)


def _task(name: str, config: Any) -> str:
    """What the stored network does: "semantic", "masks" (mask classification) or "depth".

    Raises:
        ModelError: something else, or its answer depends on a text as well.
    """
    built = next(iter(config.architectures or ()), "")
    if config.model_type == "oneformer":
        raise ModelError(f"{name}: {built} is asked with a text besides the photo. Choose Mask2Former or another semantic model.")
    for ending, task in (("ForDepthEstimation", "depth"), ("ForSemanticSegmentation", "semantic"), ("Segmentation", "masks")):
        if built.endswith(ending):
            return task
    raise ModelError(f"{name}: {built or 'a model without architecture'} gives neither semantics nor depth. Choose a model of those tasks.")


def _unit(name: str, config: Any) -> DepthUnit:
    if config.model_type in _METRIC_OR_NOT:
        return "m" if config.depth_estimation_type == "metric" else "inverse"
    if config.model_type not in _UNITS:
        raise ConfigError(
            f"{name}: it is not known what depth of the kind '{config.model_type}' means. Say --depth-unit m, relative or inverse."
        )
    return _UNITS[config.model_type]


def _loaded(kind: Any, source: str, **settings: Any) -> Any:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # of the weights, once in every worker
    try:
        return kind.from_pretrained(source, **settings)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"{source}: no model of transformers there ({reason}). Check the folder, the hub id or the network.") from error
    finally:
        if shown:
            logging.enable_progress_bar()


def _array(values: torch.Tensor) -> NDArray[np.float32]:
    return np.asarray(values.float().cpu().numpy(), np.float32)
