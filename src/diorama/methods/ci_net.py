"""CI-Net: a joint depth estimation and semantic segmentation network using contextual information.

Gao, Wei, Cai, Fan et al.: Applied Intelligence 52 (15), 2022 (arXiv 2107.13800).

| equation | function |
|---|---|
| (1), (2) predicted attention, Y = A V + X | `SceneUnderstanding` on `nn.attention.supervised_attention` / `attend` |
| (3) ideal attention | `nn.attention.ideal_attention`, `attend_truth` |
| (4) attention loss | `nn.attention.supervised_attention` |
| (5) feature-sharing module, (6) LSU, (14) what they allocate | `nn.decoders.FeatureSharing`, `LateralSharing`, `.allocate` |
| (7) consistency | `losses.consistency.consistency_loss` |
| (8) BerHu, (9) pair, (10) normal, (11) their sum | `losses.depth` |
| (12) weighted cross entropy | `losses.segmentation` |
| (13) total | `CINet.losses` |

Choices where the paper is silent or damaged in print:
sigmoid attention as in the text, not the softmax of Fig. 2; (2) divided by the row sum (`normalise`); (4) is the mean over pairs
of labelled positions; stage 1 multiplies by the ideal attention; sigma of (7) is one parameter per feature map, clamped to
[0.1 C, 10 C] because a growing sigma is a trivial minimum; (12) is divided by labelled pixels; one 3x3 convolution per task
gives the features before the first sharing unit; widths are configuration; what the SUM and the
sharing units add back is initialised with 0. Beyond the paper, all off by default: the pyramid
for backbones without dilation, skip features, AdamW, warm-up, balanced class weights, learned or averaged task weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from diorama.errors import ModelError
from diorama.losses.consistency import FeatureVariance, consistency_loss
from diorama.losses.depth import depth_loss
from diorama.losses.segmentation import class_weights, weighted_cross_entropy
from diorama.methods.base import Method, Stage, StepContext, Turn
from diorama.methods.ci_net_config import CINetConfig
from diorama.nn.attention import Normalise, attend, attend_truth, supervised_attention
from diorama.nn.backbones import Backbone
from diorama.nn.decoders import FeatureSharing, LateralSharing, Pyramid, Upsample, conv_bn_relu
from diorama.training.weighting import Weighting
from diorama.types import IGNORE, UNKNOWN_DEPTH, Prediction, Sample

STRIDE = 8


class SceneUnderstanding(nn.Module):
    """The scene-understanding module SUM (CI-Net, Eq. 1-2): attention between positions, supervised by the label map."""

    def __init__(self, channels: int, width: int, classes: int, normalise: Normalise) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, width, 1)
        self.key = nn.Conv2d(channels, width, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.classes, self.normalise = classes, normalise

    def project(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of every position: `(B, N, d)`, `(B, N, d)`, `(B, N, C)`."""
        query, key, value = (part(features).flatten(2).mT for part in (self.query, self.key, self.value))
        return query, key, value

    def forward(self, features: Tensor, labels: Tensor | None = None, truth: bool = False) -> tuple[Tensor, Tensor]:
        """`(B, C, h, w)` -> the same with context added, and the attention loss (0 without labels).

        Args:
            features: X.
            labels: `(B, h, w)` train ids at stride 8, 255 = ignore.
            truth: multiply by the ideal attention instead of the predicted one (stage 1).
        """
        query, key, value = self.project(features)
        loss = features.new_zeros(())
        if labels is None:
            context = attend(query, key, value, normalise=self.normalise)
        elif truth:
            context = attend_truth(value, labels.flatten(1), self.classes, self.normalise)
        else:
            context, loss = supervised_attention(query, key, value, labels.flatten(1), self.normalise)
        return features + context.mT.reshape(features.shape), loss


class Branch(nn.Module):
    """One task's way from the shared features to its answer: f^0, upsampling stages, head."""

    def __init__(self, channels: int, widths: Sequence[int], skip: int, outputs: int) -> None:
        super().__init__()
        self.enter = conv_bn_relu(channels, widths[0])
        self.up = nn.ModuleList(Upsample(a, b, skip if level == 0 else 0) for level, (a, b) in enumerate(pairwise(widths)))
        self.head = nn.Conv2d(widths[-1], outputs, 3, padding=1)


class CINetwork(nn.Module):
    """Backbone, SUM, two decoders with a sharing unit before each upsampling stage, two heads."""

    def __init__(self, config: CINetConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config.backbone, config.output_stride, config.pretrained, config.backbone_weights)
        dilated = config.output_stride == STRIDE
        channels = self.backbone.channels[-1] if dilated else config.context_width or config.width
        self.pyramid = None if dilated else Pyramid(self.backbone.channels[1:], channels)
        self.reduce = None
        if dilated and config.context_width:
            self.reduce, channels = conv_bn_relu(channels, config.context_width, 1), config.context_width
        self.context = None
        if config.scene_understanding:
            self.context = SceneUnderstanding(channels, config.attention_width, config.classes, config.normalise)
        widths = (config.width, *config.decoder_widths[: config.upsampling])
        skip = self.backbone.channels[0] if config.skip else 0
        unit = {"fsm": FeatureSharing, "lsu": LateralSharing}.get(config.sharing)
        self.sharing = nn.ModuleList(unit(width) for width in widths[:-1]) if unit else None
        self.branches = nn.ModuleDict(
            {
                task: Branch(channels, widths, skip, outputs)
                for task, outputs in (("depth", 1), ("semantic", config.classes))
                if config.tasks in ("both", task)
            }
        )
        initialise(self)

    def extract(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """X of (2), the features at stride 8 before the SUM, and the skip features at stride 4 if used."""
        features = self.backbone(image)
        top: Tensor = self.pyramid(features[1:]) if self.pyramid is not None else features[-1]
        if self.reduce is not None:
            top = self.reduce(top)
        return top, features[0] if self.config.skip else None

    def encode(self, image: Tensor, labels: Tensor | None = None, truth: bool = False) -> tuple[Tensor, Tensor | None, Tensor]:
        """Features at stride 8 with context, the skip features at stride 4 if used, and the attention loss."""
        top, skip = self.extract(image)
        if self.context is None:
            return top, skip, top.new_zeros(())
        top, loss = self.context(top, labels, truth)
        return top, skip, loss

    def decode(self, top: Tensor, skip: Tensor | None) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
        """Heads' raw answers by task, and each task's features after every sharing unit and before the heads."""
        branches = {task: cast("Branch", branch) for task, branch in self.branches.items()}
        features = {task: branch.enter(top) for task, branch in branches.items()}
        levels = []
        for level in range(self.config.upsampling):
            if self.sharing is not None:
                features["depth"], features["semantic"] = self.sharing[level](features["depth"], features["semantic"])
                levels.append(dict(features))
            features = {task: branch.up[level](features[task], skip if level == 0 else None) for task, branch in branches.items()}
        levels.append(features)
        return {task: branch.head(features[task]) for task, branch in branches.items()}, levels


def initialise(network: CINetwork) -> None:
    """He initialisation of the new convolutions; what SUM and sharing units add back starts at 0, so training starts as the baseline."""
    kept = set(network.backbone.modules())
    for module in network.modules():
        if module not in kept and isinstance(module, nn.Conv2d) and module.bias is None:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    added = [] if network.context is None else [network.context.value]
    for unit in network.sharing or []:
        added += [part for part in unit.children() if isinstance(part, nn.Conv2d)]
    for part in added:
        nn.init.zeros_(part.weight)
        nn.init.zeros_(cast("Tensor", part.bias))


class CINet(Method):
    """CI-Net with its losses and recipe; see `CINetConfig` for every switch."""

    needs: ClassVar[frozenset[str]] = frozenset({"image", "semantic", "depth"})
    config_class = CINetConfig
    citation = (
        "Gao et al.: CI-Net: a joint depth estimation and semantic segmentation network using contextual information. "
        "Applied Intelligence 2022."
    )

    class_weight: Tensor

    def __init__(self, config: CINetConfig) -> None:
        super().__init__()
        self.config = config
        labelled = config.semantic or config.scene_understanding
        self.requires = frozenset({"image"} | ({"semantic"} if labelled else set()) | ({"depth"} if config.depth else set()))
        self.network = CINetwork(config)
        self.variances = None
        if config.consistency:
            widths = (config.width, *config.decoder_widths[: config.upsampling])
            compared = widths[:-1] if config.consistency_at == "all" else widths[-1:]
            self.variances = nn.ModuleList(
                nn.ModuleDict({task: FeatureVariance(width) for task in ("depth", "semantic")}) for width in compared
            )
        self.register_buffer("class_weight", torch.ones(config.classes), persistent=False)
        self.task_log_variance = nn.ParameterDict()
        tasks = dict.fromkeys(self.network.branches, 1.0)
        self.weighting = Weighting(tasks, config.weighting, config.dwa_steps, learned=self.task_log_variance)

    def forward(self, image: Tensor) -> Prediction:
        """`(B, 3, H, W)` RGB in 0..1, any size from 32 -> logits `(B, K, H, W)` and depth `(B, 1, H, W)` [m]."""
        padded, (height, width) = pad_to(image, 32), image.shape[-2:]
        top, skip, _ = self.network.encode(padded)
        answers, _ = self.network.decode(top, skip)
        maps = {task: resized(answer, padded.shape[-2:])[..., :height, :width] for task, answer in answers.items()}
        depth = self.metres(maps["depth"]) if "depth" in maps else None
        return Prediction(semantic_logits=maps.get("semantic"), depth=depth)

    def metres(self, answer: Tensor) -> Tensor:
        """The depth head's raw answer as depth > 0 [m]."""
        depth: Tensor = self.config.depth_scale * F.softplus(answer.float()) + 1e-3
        return depth

    def losses(self, batch: Mapping[str, Sample], context: StepContext, turn: Turn) -> dict[str, Tensor]:
        """The weighted terms of the total loss that act in this stage (CI-Net, Eq. 13); none if no pixel is labelled."""
        del turn  # one optimiser, one turn
        config, (sample,) = self.config, batch.values()
        padded = pad_to(sample["image"], 32)
        labels = labels_at(sample["semantic"], STRIDE, padded.shape[-2:]) if self.network.context is not None else None
        top, skip, attention = self.network.encode(padded, labels, truth="attention" not in context.stage.losses)
        answers, levels = self.network.decode(top, skip)
        maps, truth = self.compared(answers, sample, padded.shape[-2:])
        seen = any(bool((value != (UNKNOWN_DEPTH if task == "depth" else IGNORE)).any()) for task, value in truth.items())
        terms: dict[str, Tensor] = {}
        if "depth" in maps:
            found = depth_loss(
                self.metres(maps["depth"]),
                truth["depth"],
                context.sample_seed,
                pair_weight=config.pair_weight,
                normal_weight=config.normal_weight,
                pixels=config.pair_pixels,
            )
            terms |= {name: config.alpha * value for name, value in found.items()}
        if "semantic" in maps:
            weight = self.class_weight if config.class_weights != "none" else None
            terms["segmentation"] = config.gamma * weighted_cross_entropy(maps["semantic"], truth["semantic"], weight)
        terms = self.weighting.balance(terms, self.task_terms)
        if self.network.context is not None and "attention" in context.stage.losses:
            terms["attention"] = config.attention_weight * attention
        if self.variances is not None and "consistency" in context.stage.losses:
            compared = levels[:-1] if config.consistency_at == "all" else levels[-1:]
            at_padded = labels_at(sample["semantic"], 1, padded.shape[-2:])
            losses = [
                consistency_loss(
                    level["depth"], level["semantic"], at_padded, *(part() for part in cast("nn.ModuleDict", variance).values())
                )
                for variance, level in zip(self.variances, compared, strict=True)
            ]
            terms["consistency"] = config.beta * torch.stack(losses).mean()
        # only now: another process may have labels, and all have to meet in the denominators
        return terms if seen else {}

    def compared(self, answers: dict[str, Tensor], sample: Sample, padded: torch.Size) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Answers and truth at one size: the image's, or the heads' own."""
        height, width = sample["image"].shape[-2:]
        truth = {task: sample[task].as_subclass(Tensor) for task in answers}  # type: ignore[literal-required]
        if self.config.loss_at == "image":
            return {task: resized(answer, padded)[..., :height, :width].float() for task, answer in answers.items()}, truth
        stride = padded[0] // next(iter(answers.values())).shape[-2]
        at_heads = {task: labels_at(value, stride, padded, UNKNOWN_DEPTH if task == "depth" else IGNORE) for task, value in truth.items()}
        return {task: answer.float() for task, answer in answers.items()}, at_heads

    @property
    def task_terms(self) -> Mapping[str, str]:
        """Depth and semantics; attention and consistency are of both."""
        found = {"berhu": "depth", "pair": "depth", "normal": "depth", "segmentation": "semantic"}
        return {term: task for term, task in found.items() if task in self.network.branches}

    def gauges(self) -> dict[str, float]:
        """What each task counts where that moves."""
        return self.weighting.gauges()

    @property
    def stages(self) -> list[Stage]:
        """The three stages of sec. 4.2; a stage of 0 epochs is left out."""
        config, plain = self.config, ("depth", "segmentation")
        terms = (plain, (*plain, "attention"), (*plain, "attention", "consistency"))
        names = ("truth", "predicted", "all")
        rows = zip(names, config.stage_epochs, config.stage_rates, config.stage_schedules, terms, strict=True)
        return [
            Stage(name, epochs, rate, losses, schedule, warmup=config.warmup) for name, epochs, rate, schedule, losses in rows if epochs > 0
        ]

    def optimisers(self) -> dict[str, Optimizer]:
        """SGD (or AdamW); pretrained layers at `pretrained_rate` of the rate, norms and biases without decay under AdamW."""
        config = self.config
        backbone = list(self.network.backbone.parameters())
        known = {id(parameter) for parameter in backbone}
        fresh = [parameter for parameter in self.parameters() if id(parameter) not in known]
        factor = config.pretrained_rate if config.pretrained or config.backbone_weights else 1.0
        groups: list[dict[str, Any]] = []
        for parameters, rate_factor in ((backbone, factor), (fresh, 1.0)):
            plain = [p for p in parameters if config.optimiser == "adamw" and p.ndim < 2]
            decayed = [p for p in parameters if not (config.optimiser == "adamw" and p.ndim < 2)]
            groups.append({"params": decayed, "rate_factor": rate_factor, "weight_decay": config.weight_decay})
            if plain:
                groups.append({"params": plain, "rate_factor": rate_factor, "weight_decay": 0.0})
        if config.optimiser == "adamw":
            return {"all": torch.optim.AdamW(groups, lr=config.stage_rates[0])}
        return {"all": torch.optim.SGD(groups, lr=config.stage_rates[0], momentum=config.momentum)}

    def prepare(self, statistics: Mapping[str, Any]) -> None:
        """Class weights of (12) from the label counts of the training set, counted once."""
        counts = torch.as_tensor(statistics["class_counts"], dtype=torch.float64)
        if self.config.class_weights == "paper":
            self.class_weight.copy_(class_weights(counts))
        elif self.config.class_weights == "balanced":
            weight = 1 / torch.log(1.1 + counts / counts.sum().clamp(min=1))
            self.class_weight.copy_(weight / weight.mean())

    def attention_map(self, image: Tensor, position: tuple[int, int]) -> Tensor:
        """What one position attends to, `(B, h, w)` in 0..1 at stride 8 (CI-Net, Eq. 1; Fig. 7).

        Args:
            image: `(B, 3, H, W)`.
            position: row and column at stride 8.

        Raises:
            ModelError: the model was built without the SUM.
        """
        if self.network.context is None:
            raise ModelError("this model has no attention: it was trained with model.scene_understanding=false.")
        features, _ = self.network.extract(pad_to(image, 32))
        query, key, _ = self.network.context.project(features)
        row = position[0] * features.shape[-1] + position[1]
        return torch.sigmoid(query[:, row : row + 1] @ key.mT).reshape(-1, *features.shape[-2:])

    def allocated(self, image: Tensor) -> list[dict[str, Tensor]]:
        """What every sharing unit adds to the branches, `(B, C, h, w)` per task, coarse to fine (CI-Net, Eq. 14; Fig. 8).

        Raises:
            ModelError: the model was built without sharing units.
        """
        if self.network.sharing is None:
            raise ModelError("this model shares no features: it was trained with model.sharing=none.")
        found: list[dict[str, Tensor]] = []
        hooks = [
            unit.register_forward_hook(
                lambda _, before, after: found.append({"depth": after[0] - before[0], "semantic": after[1] - before[1]})
            )
            for unit in self.network.sharing
        ]
        try:
            self(image)
        finally:
            for hook in hooks:
                hook.remove()
        return found


def pad_to(image: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until both sizes are multiples of `multiple`."""
    height, width = image.shape[-2:]
    return F.pad(image, (0, (-width) % multiple, 0, (-height) % multiple), mode="replicate")


def resized(answer: Tensor, size: torch.Size) -> Tensor:
    """Bilinear to `size` (H, W); itself if it has that size."""
    if answer.shape[-2:] == size:
        return answer
    return F.interpolate(answer, size=size, mode="bilinear", align_corners=False)


def labels_at(values: Tensor, stride: int, padded: tuple[int, int] | torch.Size, fill: float = IGNORE) -> Tensor:
    """`(..., H, W)` labels or depth at the centres of `stride` x `stride` cells of the padded image; `fill` in the padding."""
    values = values.as_subclass(Tensor)
    filled = F.pad(values, (0, padded[1] - values.shape[-1], 0, padded[0] - values.shape[-2]), value=fill)
    return filled[..., stride // 2 :: stride, stride // 2 :: stride]
