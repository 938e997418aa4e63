"""Multi-task generative adversarial networks: semantics from unpaired photos and label maps, and depth completion that uses them.

Zhang, Tang, Zhao, Sun, Zhou, Kurths: Multitask GANs for Semantic Segmentation and Depth Completion With Cycle Consistency. TNNLS 2021.

| equation | function |
|---|---|
| (1) semantic branch | `SemanticBranch.generator_terms`, `MultitaskGAN.losses` |
| (2) what training approaches | `MultitaskGAN.turns` |
| (3) adversarial | `losses.adversarial.generator_loss`, `discriminator_loss` |
| (4) cycle | `losses.adversarial.cycle_loss` |
| (5) structure | `losses.adversarial.structure_loss` |
| (6) depth branch | `DepthBranch.generator_terms`, `MultitaskGAN.losses` |
| (7) known depth | `losses.smoothness.sparse_depth_loss` |
| (8) smoothness | `losses.smoothness.semantic_guided_smoothness` |

Choices where the paper is silent or contradicts itself: least squares for (3), as CycleGAN is trained (option "log"); maps are pooled,
multiplied and then concatenated (Fig. 2 swaps its symbols); the pooling block follows the half-strided convolutions and sees the input
image; no such block in the depth branch (IV-C); no identity loss; two independent frames meet in the depth branch, so dense truth never
supervises a frame pairwise; depth passes the tanh as 2 d / 80 - 1 and (7), (8) are in metres (option); the generated semantics enter
the depth branch as the raw image, and stand still there unless `branch=joint`; a pixel nearest to black is "ignore", a miss.
GcGAN (Fu et al., CVPR 2019) is a compared row: each generator answers for an image and the moved image, with a judge for each.
CoGAN, SimGAN, DualGAN and AsymGAN, which the paper cites figures of, are not built.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from diorama.errors import TrainingError
from diorama.methods.base import Method, Stage, StepContext, Turn
from diorama.methods.multitask_gan_config import MultitaskGANConfig
from diorama.methods.translation import DepthBranch, SemanticBranch, filled
from diorama.types import Prediction, Sample

logger = logging.getLogger("diorama")

COLLAPSED = 0.03
"""Outputs that differ less than this share of what their inputs do are one output."""
LABEL_EDGE = 100.0
"""Step of the guide from one class to the next: exp(-100) lets nothing through."""
_MORE_POINTS = "take larger ones (view.crop, view.size) or more points (sparse.points or lines, less sparse.drop and holes)"
WON = 0.995
"""A discriminator that is right this often has won."""


class MultitaskGAN(Method):
    """Semantic branch, depth branch on top of it, or both at once.

    Args:
        config: every switch.
    """

    needs: ClassVar[frozenset[str]] = MultitaskGANConfig.needs
    config_class: ClassVar[type[MultitaskGANConfig]] = MultitaskGANConfig
    citation: ClassVar[str] = (
        "Zhang, Tang, Zhao, Sun, Zhou, Kurths: Multitask GANs for Semantic Segmentation and Depth Completion With Cycle Consistency, "
        "TNNLS 2021"
    )
    translates: ClassVar[bool] = True

    semantic_steps: Tensor

    def __init__(self, config: MultitaskGANConfig) -> None:
        super().__init__()
        self.config = config
        with_depth = config.branch != "semantic"
        self.inputs = ("image", "sparse_depth") if with_depth else ("image",)  # type: ignore[misc]
        self.semantic = SemanticBranch(config) if config.branch != "depth" or config.semantic_input else None
        self.depth = DepthBranch(config) if with_depth else None
        self.requires = frozenset().union(*self.streams.values())
        self.register_buffer("semantic_steps", torch.zeros((), dtype=torch.int64))
        self.register_load_state_dict_post_hook(_forget_steps)  # type: ignore[no-untyped-call]
        self._warned: set[str] = set()
        self._redrawn = 0

    @property
    def streams(self) -> Mapping[str, frozenset[str]]:
        """Photos and label maps that belong to no photo; sparse depth of frames a and dense depth of frames b."""
        found: dict[str, frozenset[str]] = {}
        if self.config.branch != "depth":
            found |= {"photos": frozenset({"image"}), "labels": frozenset({"semantic"})}
        if self.config.branch != "semantic":
            truth = {"depth"} if self.config.dense == "truth" else set()
            found |= {"sparse": frozenset({"image", "sparse_depth"}), "dense": frozenset({"image", "sparse_depth"} | truth)}
        return found

    @property
    def task_terms(self) -> Mapping[str, str]:
        """What each branch minimises beside its adversarial terms; only `branch=joint` has parameters that both move."""
        found = {"semantic": ("cycle", "structure", "geometry"), "depth": ("depth", "depth_cycle", "depth_structure", "smooth")}
        return {term: task for task, terms in found.items() if self.config.branch in (task, "joint") for term in terms}

    def forward(self, image: Tensor, sparse_depth: Tensor | None = None) -> Prediction:
        """RGB `(B, 3, H, W)` in 0..1, with a depth branch also sparse depth `(B, 1, H, W)` [m] -> logits of K classes and "ignore", depth.

        The logits are minus the squared distances of the generated colours from those of the classes.
        """
        photo = 2 * image - 1
        labels, logits, depth = None, None, None
        if self.semantic is not None:
            labels = self.semantic.to_labels(photo)
            logits = self.semantic.palette.logits(labels)
        if self.depth is not None and sparse_depth is not None:
            points = torch.where((sparse_depth > 0) & (sparse_depth < math.inf), sparse_depth, torch.zeros_like(sparse_depth))
            scene = photo if labels is None else torch.cat([photo, labels.to(photo.dtype)], 1)
            depth = self.depth.metres(self.depth.dense(points, scene)).clamp_min(self.config.min_depth)
        return Prediction(semantic_logits=logits, depth=depth)

    def translate(self, semantic: Tensor) -> Tensor:
        """`(B, H, W)` train ids, 255 = ignore -> `(B, 3, H, W)` RGB in 0..1: the label -> image direction, Fs."""
        if self.semantic is None:
            raise TrainingError("this model has no semantic branch: it was trained with model.semantic_input=false.")
        made: Tensor = self.semantic.to_photos(self.semantic.palette.encode(semantic))
        return (made.float() + 1) / 2

    def losses(self, batch: Mapping[str, Sample], context: StepContext, turn: Turn) -> dict[str, Tensor]:
        """The weighted terms of the generators, then those of the discriminators (Multi-task GANs, Eqs. 1 and 6).

        The second turn judges what the first one made.

        Raises:
            TrainingError: the depth branch begins without a trained semantic branch.
        """
        terms: dict[str, Tensor] = {}
        if self.config.branch != "depth" and self.semantic is not None:
            photos, labels = 2 * _plain(batch["photos"]["image"]) - 1, self.semantic.palette.encode(_plain(batch["labels"]["semantic"]))
            if turn.name == "generators":
                terms |= self.semantic.generator_terms(photos, labels)
                self.semantic_steps += 1
            else:
                real = self.semantic.real(photos, labels)
                terms |= self.semantic.judge_terms(real, context.sample_seed[: len(photos)])
        if self.depth is not None:
            if self.semantic is not None and not int(self.semantic_steps):
                raise TrainingError(self.config.starts)
            terms |= self._depth_terms(self.depth, batch, context, turn)
        return terms

    def _depth_terms(self, branch: DepthBranch, batch: Mapping[str, Sample], context: StepContext, turn: Turn) -> dict[str, Tensor]:
        first, second = batch["sparse"], batch["dense"]
        sparse, pattern = _plain(first["sparse_depth"]), _plain(second["sparse_depth"])
        dense = _plain(second["depth"]) if self.config.dense == "truth" else filled(pattern)
        if turn.name != "generators":
            real = branch.real(sparse, dense)
            # by the seeds of its own stream, else its buffers would decide as those of the semantic branch do
            own = context.sample_seed[-len(sparse) - len(dense) :]
            return branch.judge_terms(real, own[: len(sparse)])
        for name, depth in (("sparse", sparse), ("dense", dense), ("dense", pattern)):
            if not bool((depth > 0).any()):
                raise TrainingError(f"stream '{name}' has no known depth in this step: {_why_empty(batch[name])}")
        self._count_redrawn(batch)
        photos = 2 * _plain(first["image"]) - 1, 2 * _plain(second["image"]) - 1
        scenes, guide = list(photos), photos[0]
        if self.semantic is not None:
            with torch.set_grad_enabled(self.config.branch == "joint"):
                made = self.semantic.to_labels(torch.cat(photos)).split([len(photos[0]), len(photos[1])])
            scenes = [torch.cat([photo, labels.to(photo.dtype)], 1) for photo, labels in zip(photos, made, strict=True)]
            if self.config.smooth_guide != "rgb":
                guide = made[0] if self.config.smooth_guide == "semantic" else LABEL_EDGE * self.semantic.classes(made[0])
        return branch.generator_terms(sparse, scenes[0], guide, dense, pattern, scenes[1])

    def _count_redrawn(self, batch: Mapping[str, Sample]) -> None:
        """Warn at the 1st, 10th, 100th, ... window without known depth that was drawn again."""
        entries = [entry for name in ("sparse", "dense") for entry in _meta(batch[name]) if entry.get("redrawn")]
        before, self._redrawn = self._redrawn, self._redrawn + sum(int(entry["redrawn"]) for entry in entries)
        if entries and (not before or len(str(self._redrawn)) > len(str(before))):
            logger.warning(
                "windows without known depth were drawn again: %d so far, last of frame %s. If they are many, %s",
                self._redrawn, entries[-1].get("id"), _MORE_POINTS,
            )  # fmt: skip

    def turns(self, context: StepContext) -> list[Turn]:
        """Generators, then discriminators (Multi-task GANs, Eq. 2): the order of CycleGAN."""
        del context
        return [Turn("generators", "generators"), Turn("discriminators", "discriminators")]

    @property
    def stages(self) -> list[Stage]:
        """Half of the epochs at the full rate, half falling to 0; in the depth branch the semantic one stands still."""
        config = self.config
        still = ("semantic.",) if config.branch == "depth" else ()
        return [Stage("gan", config.epochs, config.rate, (), "flat_linear", still)]

    def optimisers(self) -> dict[str, Optimizer]:
        """Adam (0.5, 0.999) for the generators and for the discriminators."""
        trained = [branch for branch in (self.semantic if self.config.branch != "depth" else None, self.depth) if branch is not None]
        parameters = {
            "generators": [parameter for branch in trained for parameter in branch.generator_parameters()],
            "discriminators": [parameter for branch in trained for parameter in branch.judges.parameters()],
        }
        return {
            name: Adam([{"params": found, "rate_factor": 1.0}], lr=self.config.rate, betas=(0.5, 0.999))
            for name, found in parameters.items()
        }

    def prepare(self, statistics: Mapping[str, Any]) -> None:
        """The colours of the classes, from the label set of the training data."""
        if self.semantic is not None and self.config.branch != "depth" and "palette" in statistics:
            self.semantic.recolour(statistics["palette"])

    def memory(self) -> dict[str, Tensor]:
        """Image buffers and what is watched."""
        return {f"{name}.{key}": value for name, branch in self._branches().items() for key, value in branch.memory().items()}

    def recall(self, state: Mapping[str, Tensor]) -> None:
        """Put `memory` back."""
        for name, branch in self._branches().items():
            branch.recall({key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")})

    def _branches(self) -> dict[str, SemanticBranch | DepthBranch]:
        found = {"semantic": self.semantic if self.config.branch != "depth" else None, "depth": self.depth}
        return {name: branch for name, branch in found.items() if branch is not None}

    def gauges(self) -> dict[str, float]:
        """Spread of the outputs against the inputs, and how often each discriminator is right; warns once of a collapse or a victory."""
        found: dict[str, float] = {}
        for branch in self._branches().values():
            for name, collapse in branch.collapse.items():
                if not math.isnan(ratio := collapse.ratio()):
                    found[f"spread_{name}"] = ratio
                    if ratio < COLLAPSED:
                        self._warn(f"generated {name} hardly differ any more while their inputs do (spread {ratio:.3f}): mode collapse")
            for name, victory in branch.victory.items():
                if not math.isnan(share := victory.share()):
                    found[f"right_{name}"] = share
                    if share > WON:
                        self._warn(f"the discriminator of {name} is never wrong ({100 * share:.1f} %): its generator learns little from it")
        return found

    def _warn(self, text: str) -> None:
        if (about := text.partition("(")[0]) not in self._warned:
            self._warned.add(about)
            logger.warning("%s", text)

    def samples(self, batch: Mapping[str, Sample]) -> dict[str, Tensor]:
        """What a look at training shows: photos, what is made of them, and back; label images likewise; depth."""
        found: dict[str, Tensor] = {}
        if self.semantic is not None and "photos" in batch:
            photos, labels = 2 * _plain(batch["photos"]["image"]) - 1, self.semantic.palette.encode(_plain(batch["labels"]["semantic"]))
            made_labels, made_photos = self.semantic.to_labels(photos), self.semantic.to_photos(labels)
            images = {
                "photo": photos, "labels made": made_labels, "photo back": self.semantic.to_photos(made_labels),
                "labels": labels, "photo made": made_photos, "labels back": self.semantic.to_labels(made_photos),
            }  # fmt: skip
            found |= {title: (image.float() + 1) / 2 for title, image in images.items()}
        if self.depth is not None and "sparse" in batch:
            image, sparse = _plain(batch["sparse"]["image"]), _plain(batch["sparse"]["sparse_depth"])
            dense = self.forward(image, sparse).depth
            found |= {"image": image, "sparse depth": _nearness(sparse), "dense depth made": _nearness(dense)}
        return found


def _forget_steps(method: Any, keys: Any) -> None:
    """Weights that lack a part of what makes label images of photos, or have one more, are of no trained semantic branch of this kind."""
    if any(key.startswith(("semantic.to_labels.", "semantic.palette.")) for key in (*keys.missing_keys, *keys.unexpected_keys)):
        method.semantic_steps.zero_()


def _plain(values: Any) -> Tensor:
    found: Tensor = values.as_subclass(Tensor)
    return found


def _meta(sample: Sample) -> list[dict[str, Any]]:
    """What is known of each sample; nothing of one that no loader has made."""
    return list(sample.get("meta", []))  # type: ignore[arg-type]


def _why_empty(sample: Sample) -> str:
    """What is wrong with the frames of a batch without known depth, and what to do."""
    for entry in _meta(sample):
        if entry.get("empty") == "frame":
            return f"frame {entry.get('id')} has none at all. Find such frames with `diorama data check` and leave them out."
    names = ", ".join(str(entry.get("id")) for entry in _meta(sample)) or "its frames"
    return f"no window of {names} has any, however often drawn: {_MORE_POINTS}."


def _nearness(depth: Tensor) -> Tensor:
    """`(B, 3, H, W)` in 0..1: near is bright, far is dark, unknown is black."""
    near = depth.float().clamp_min(1e-3)
    shown = torch.where(depth > 0, (2 / near).clamp(0.02, 1) ** 0.5, torch.zeros_like(near))
    return shown.expand(-1, 3, -1, -1)
