"""SemiMTL: semi-supervised multi-task learning for semantics and depth.

Wang, Tsai, Hung, Ding, Liu, Yang: WACV 2022 (arXiv 2110.07197).

| equation | function |
|---|---|
| (1) typical multi-task loss | `training.weighting.Weighting` |
| (2) discriminator, (3) intra-domain loss | `losses.domain.domain_loss` |
| (4), (5), (6) inter-domain loss, modes 1 to 3 | `losses.domain.inter_domains` |
| (7) semi-supervised loss | `SemiMTL.adversarial_terms` |
| (8) generator, (9) discriminators | `SemiMTL.generator_terms`, `losses.domain.discriminator_loss` |
| Algorithm 1 | `SemiMTL.turns`, `SemiMTL.losses` |
| (10) Delta M | `evaluation.delta` |

A data set of the run is a stream; `config.sets` says which tasks are learnt from it. Data set k, in alphabetical order, is domain k. A
task that a data set does not teach has no supervised term there at all. All compared rows are configurations of this file: STL and DA by
`tasks` and `alignment`, JTL and SemiSD by `alignment`.

Choices where the paper is silent or contradicts itself: the discriminators' last convolution has K + 1 channels; all losses are means over
pixels; one update of the network per step on all data sets (3.3 says "synchronously"), or one on each, as Algorithm 1 is printed; each
data set is a batch of its own for the norms; discriminators learn once per step from what the network made in it; a label map has
holes that no prediction has, so predictions are zeroed in the same places, those on unlabelled data by the holes of a labelled
sample of the same step, and such pixels leave (2)-(6); BerHu is taken in the unit of the network's output; what is upsampled to the image
is that output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, Optimizer

from diorama.errors import TrainingError
from diorama.losses.depth import berhu, known
from diorama.losses.domain import TRUTH, discriminator_loss, domain_loss, inter_domains, label_planes
from diorama.losses.segmentation import weighted_cross_entropy
from diorama.methods.base import Method, Stage, StepContext, Turn
from diorama.methods.semi_mtl_config import SemiMTLConfig, Task
from diorama.nn.backbones import Backbone
from diorama.nn.decoders import Pyramid
from diorama.nn.discriminators import DomainDiscriminator
from diorama.nn.domain_norm import DomainNorms
from diorama.nn.psp import DepthDecoder, PSPDecoder
from diorama.training.weighting import Weighting
from diorama.types import IGNORE, UNKNOWN_DEPTH, Prediction, Sample

STRIDE = 32
SMALLEST_DEPTH_M = 1e-3
Shown = tuple[Tensor, int, Tensor | None]
"""A map `(B, C, H, W)` that a discriminator is shown, its domain, and the pixels that count `(B, 1, H, W)`."""


class SemiNetwork(nn.Module):
    """Shared encoder, PSP decoder for semantics, convolutional decoder for depth (sec. 3.4)."""

    def __init__(self, config: SemiMTLConfig) -> None:
        super().__init__()
        self.backbone = Backbone(config.backbone, config.output_stride, config.pretrained, config.backbone_weights)
        dilated = config.output_stride != STRIDE
        channels = self.backbone.channels[-1] if dilated else config.width
        self.pyramid = None if dilated else Pyramid(self.backbone.channels[1:], channels)
        self.semantic = PSPDecoder(channels, config.classes, config.width) if "semantic" in config.active else None
        self.depth = DepthDecoder(channels, config.depth_widths) if "depth" in config.active else None
        kept = set(self.backbone.modules())
        for module in self.modules():
            if module not in kept and isinstance(module, nn.Conv2d) and module.bias is None:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor, tasks: Sequence[Task]) -> dict[str, Tensor]:
        """`(B, 3, H, W)` of any size -> logits `(B, K, H, W)` and regressed depth `(B, 1, H, W)` of `tasks`, float32 or better."""
        height, width = image.shape[-2:]
        padded = F.pad(image, (0, (-width) % STRIDE, 0, (-height) % STRIDE), mode="replicate")
        features = self.backbone(padded)
        top = self.pyramid(features[1:]) if self.pyramid is not None else features[-1]
        answers = {}
        for task in tasks:
            answer = cast("nn.Module", getattr(self, task))(top)
            answer = answer if answer.dtype == torch.float64 else answer.float()
            answers[str(task)] = F.interpolate(answer, size=padded.shape[-2:], mode="bilinear", align_corners=False)[..., :height, :width]
        return answers


class SemiMTL(Method):
    """SemiMTL and what it is compared with; see `SemiMTLConfig` for every switch."""

    needs: ClassVar[frozenset[str]] = SemiMTLConfig.needs
    config_class: ClassVar[type[SemiMTLConfig]] = SemiMTLConfig
    citation: ClassVar[str] = "Wang, Tsai, Hung, Ding, Liu, Yang: Semi-supervised multi-task learning for semantics and depth. WACV 2022."

    def __init__(self, config: SemiMTLConfig) -> None:
        super().__init__()
        self.config = config
        self.requires = frozenset().union(*self.streams.values())
        self.network = SemiNetwork(config)
        self.norms = DomainNorms(self.network, len(config.sets)) if config.norm == "per_domain" else None
        self.register_load_state_dict_post_hook(_take_up)  # type: ignore[no-untyped-call]
        weights = {"semantic": config.semantic_weight, "depth": config.depth_weight}
        self.weighting = Weighting({task: weights[task] for task in config.active}, config.weighting, config.dwa_steps)
        inputs = {"semantic": config.classes, "depth": 1}
        judged = () if config.alignment == "none" else config.active
        self.judges = nn.ModuleDict({task: DomainDiscriminator(inputs[task], config.domains, config.judge_width) for task in judged})
        self._shown: dict[str, dict[str, Shown]] = {}
        self._right: dict[str, float] = {}

    @property
    def streams(self) -> Mapping[str, frozenset[str]]:
        """The data sets: of each the image, and the labels of the tasks that it teaches."""
        return {
            name: frozenset({"image", *(task for task in self.config.active if task in tasks)}) for name, tasks in self.config.sets.items()
        }

    @property
    def task_terms(self) -> Mapping[str, str]:
        """The supervised losses, of all data sets or of each."""
        each = {f"{task}_{name}": task for name in self.config.sets for task in self.config.active}
        return {task: task for task in self.config.active} | each

    def forward(self, image: Tensor) -> Prediction:
        """`(B, 3, H, W)` RGB in 0..1, any size -> logits `(B, K, H, W)` and depth `(B, 1, H, W)` [m], as far as predicted."""
        answers = self.network(image, self.config.active)
        depth = self.metres(answers["depth"]) if "depth" in answers else None
        return Prediction(semantic_logits=answers.get("semantic"), depth=depth)

    def metres(self, answer: Tensor) -> Tensor:
        """What the network regresses as depth in 0..`max_depth` [m]."""
        scale, farthest = self.config.depth_scale, self.config.max_depth
        inverse = self.config.depth_unit == "inverse"
        depth: Tensor = scale / answer.clamp_min(scale / farthest) if inverse else (scale * answer).clamp(SMALLEST_DEPTH_M, farthest)
        return depth

    def regressed(self, depth: Tensor) -> Tensor:
        """Depth [m], 0 = unknown, as what the network regresses, 0 = unknown."""
        capped = depth.clamp(SMALLEST_DEPTH_M, self.config.max_depth)
        target = self.config.depth_scale / capped if self.config.depth_unit == "inverse" else capped / self.config.depth_scale
        return torch.where(known(depth), target, torch.full_like(depth, UNKNOWN_DEPTH))

    def losses(self, batch: Mapping[str, Sample], context: StepContext, turn: Turn) -> dict[str, Tensor]:
        """The terms of the network on all data sets or on one, or those of the discriminators (SemiMTL, Algorithm 1)."""
        if turn.optimiser == "judges":
            return self.judge_terms(context)
        if self.config.generator_update == "accumulated":
            return self.generator_terms(batch, list(self.config.sets), context)
        terms = self.generator_terms(batch, [turn.name], context)
        return {f"{name}_{turn.name}": term for name, term in terms.items()}

    def generator_terms(self, batch: Mapping[str, Sample], names: Sequence[str], context: StepContext) -> dict[str, Tensor]:
        """What the network minimises: weighted losses of labelled tasks and adversarial ones (SemiMTL, Eq. 8).

        None if nothing is labelled and nothing aligned.
        """
        supervised: dict[str, list[Tensor]] = {}
        adversarial: dict[str, list[Tensor]] = {}
        seen = False
        for name in names:
            taught = [task for task in self.config.active if task in self.config.sets[name]]
            tasks = self.config.active if self.judges else taught
            if not tasks:
                continue
            sample = batch[name]
            answers = self.trained(name, _plain(sample["image"]), tasks)
            for task in taught:
                supervised.setdefault(task, []).append(self.supervised_loss(task, answers[task], name, sample))
                seen = seen or bool(_labelled(task, sample).any())
            for task in self.judges:
                for key, term in self.adversarial_terms(cast("Task", task), answers[task], name, batch, context).items():
                    adversarial.setdefault(f"{key}_{task}", []).append(term)
        self.settle()
        summed = {task: torch.stack(losses).sum() for task, losses in supervised.items()}
        terms = self.weighting.balance(summed, {task: task for task in summed})
        terms |= {name: torch.stack(losses).sum() for name, losses in adversarial.items()}
        # only now: another process may have labels, and all have to meet in the denominators
        return terms if seen or adversarial else {}

    def trained(self, name: str, image: Tensor, tasks: Sequence[Task]) -> dict[str, Tensor]:
        """What the network answers for images of data set `name`, whose norms take in their statistics."""
        answers: dict[str, Tensor] = self.norms(self.number(name), image, tasks) if self.norms else self.network(image, tasks)
        return answers

    def number(self, name: str) -> int:
        """Of data set `name`, from 1: its domain."""
        return list(self.config.sets).index(name) + 1

    def settle(self) -> None:
        """Make the statistics that the configuration says those of evaluation and exports; with "shared" there is nothing to do."""
        if self.norms:
            self.norms.settle(self.number(self.config.norm_domain) if self.config.norm_domain else None)

    def supervised_loss(self, task: Task, answer: Tensor, name: str, sample: Sample) -> Tensor:
        """Cross entropy over the classes that the labels of data set `name` know, or BerHu in the unit of the network.

        Raises:
            TrainingError: a label that `config.absent` says the data set does not know.
        """
        if task == "depth":
            return berhu(answer, self.regressed(_plain(sample["depth"])))
        semantic = _plain(sample["semantic"])
        if absent := self.config.absent.get(name):
            if bool(torch.isin(semantic, torch.tensor(absent, device=semantic.device)).any()):
                raise TrainingError(
                    f"data set '{name}' has a label of the classes {absent} that model.absent.{name} says it lacks. Mend that."
                )
            unknown = torch.zeros(answer.shape[1], dtype=torch.bool, device=answer.device)
            unknown[absent] = True
            answer = answer.masked_fill(unknown[:, None, None], -torch.inf)
        return weighted_cross_entropy(answer, semantic)

    def adversarial_terms(
        self, task: Task, answer: Tensor, name: str, batch: Mapping[str, Sample], context: StepContext
    ) -> dict[str, Tensor]:
        """The weighted "intra" or "inter" term of predictions on data set `name`, noted for the discriminator (SemiMTL, Eq. 7)."""
        config = self.config
        number, taught = self.number(name), name in config.labelled(task)
        by_domain = config.alignment in ("m1", "m2", "m3")
        mask = self.counting(task, name, batch, context) if config.mask_void else None
        made = _masked(answer.softmax(1) if task == "semantic" else answer, mask)
        shown = self._shown.setdefault(task, {})
        if taught and config.alignment != "adapt":
            sample = batch[name]
            true = (
                label_planes(_plain(sample["semantic"]), config.classes, config.truth_smoothing)
                if task == "semantic"
                else self.regressed(_plain(sample["depth"]))
            )
            shown[f"{name} truth"] = (true.to(made), TRUTH, mask)
        if config.alignment == "adapt":
            shown[name] = (made.detach(), TRUTH if taught else 1, mask)
        elif by_domain or config.alignment == "binary" or not taught:
            shown[name] = (made.detach(), number if by_domain else 1, mask)
        if taught:
            if config.alignment in ("adapt", "adapt_truth"):
                return {}
            return {"intra": config.intra_weight * domain_loss(self.judges[task](made), (TRUTH,), mask)}
        aims: Sequence[int] = (TRUTH,)
        if by_domain:
            labelled = [self.number(other) for other in config.labelled(task)]
            aims = inter_domains(cast("Any", config.alignment), number, labelled, config.domains)
        return {"inter": config.inter_weight * domain_loss(self.judges[task](made), aims, mask)}

    def counting(self, task: Task, name: str, batch: Mapping[str, Sample], context: StepContext) -> Tensor:
        """`(B, 1, H, W)`, where predictions count: where there are labels, or where the labelled sample of the same place has some.

        Streams are shuffled each in its own way, so what shares a place is a random pair. Of several labelled data sets the seed of the
        sample picks one; so N processes pair as one does. Batches of other sizes are gone through in step, windows of other sizes resized.
        """
        labelled = self.config.labelled(task)
        if name in labelled:
            return _labelled(task, batch[name])
        counts = [len(sample["image"]) for sample in batch.values()]
        place = list(batch).index(name)
        start, count, size = sum(counts[:place]), counts[place], batch[name]["image"].shape[-2:]
        masks = [_labelled(task, batch[other]) for other in labelled]
        masks = [mask if mask.shape[-2:] == size else F.interpolate(mask.float(), size).to(mask.dtype) for mask in masks]
        picked = [masks[seed % len(masks)] for seed in context.sample_seed[start : start + count]]
        return torch.stack([mask[number * len(mask) // count] for number, mask in enumerate(picked)])

    def judge_terms(self, context: StepContext) -> dict[str, Tensor]:
        """What the discriminators minimise on the truth and on what the network made in this step, constants here (SemiMTL, Eq. 9)."""
        terms = {}
        for task, entries in self._shown.items():
            judged = [(self.judges[task](maps), domain, mask) for maps, domain, mask in entries.values()]
            terms[f"judge_{task}"] = discriminator_loss(judged)
            if context.logs:
                self._right[f"right_{task}"] = _right(judged)
        self._shown = {}
        return terms

    def turns(self, context: StepContext) -> list[Turn]:
        """The network on all data sets at once or on one after the other, then the discriminators (SemiMTL, Algorithm 1)."""
        del context  # all steps are alike
        names = ["generator"] if self.config.generator_update == "accumulated" else list(self.config.sets)
        return [*(Turn(name, "generator") for name in names), *([Turn("judges", "judges")] if self.judges else [])]

    @property
    def stages(self) -> list[Stage]:
        """One stage: poly with power 0.9 (sec. 4.1)."""
        config = self.config
        return [Stage("all", config.epochs, config.rate, ("supervised", "adversarial"), config.schedule, warmup=config.warmup)]

    def optimisers(self) -> dict[str, Optimizer]:
        """SGD (or AdamW) for the network, Adam (0.9, 0.99) at a constant rate for the discriminators (sec. 4.1)."""
        config = self.config
        encoder = list(self.network.backbone.parameters())
        own = {id(parameter) for parameter in encoder}
        fresh = [parameter for parameter in self.network.parameters() if id(parameter) not in own]
        factor = config.pretrained_rate if config.pretrained or config.backbone_weights else 1.0
        groups: list[dict[str, Any]] = []
        for parameters, rate_factor in ((encoder, factor), (fresh, 1.0)):
            # AdamW, which is not the paper's, spares norms and biases
            for spared in (False, True):
                rows = [one for one in parameters if (config.optimiser == "adamw" and one.ndim < 2) == spared]
                decay = 0.0 if spared else config.weight_decay
                groups += [{"params": rows, "rate_factor": rate_factor, "weight_decay": decay}] if rows else []
        if learned := list(self.weighting.parameters()):
            groups.append({"params": learned, "rate_factor": 1.0, "weight_decay": 0.0})
        if config.optimiser == "adamw":
            found: dict[str, Optimizer] = {"generator": torch.optim.AdamW(groups, lr=config.rate)}
        else:
            found = {"generator": torch.optim.SGD(groups, lr=config.rate, momentum=config.momentum)}
        if self.judges:
            group = {"params": list(self.judges.parameters()), "steady_rate": config.judge_rate}
            found["judges"] = Adam([group], lr=config.judge_rate, betas=(0.9, 0.99))
        return found

    def gauges(self) -> dict[str, float]:
        """How often each discriminator is right, of the last logged step, and what each task counts where that moves."""
        return {**self._right, **self.weighting.gauges()}


def _take_up(method: SemiMTL, keys: Any) -> None:
    """After weights were loaded: those of a model that had one statistic for all data sets go to each."""
    if method.norms and any(".domain1_" in key for key in keys.missing_keys):
        method.norms.begin()
    method.settle()


def _plain(value: Any) -> Tensor:
    found: Tensor = value.as_subclass(Tensor)
    return found


def _labelled(task: Task, sample: Sample) -> Tensor:
    """`(B, 1, H, W)`: where the label of `task` is known."""
    return known(_plain(sample["depth"])) if task == "depth" else (_plain(sample["semantic"]) != IGNORE)[:, None]


def _masked(maps: Tensor, mask: Tensor | None) -> Tensor:
    return maps if mask is None else torch.where(mask, maps, torch.zeros_like(maps))


def _right(judged: Sequence[Shown]) -> float:
    """The share of the pixels that count of which the scores name the domain."""
    hits = [
        (scores.detach().argmax(1, keepdim=True) == domain)[mask if mask is not None else ...].float() for scores, domain, mask in judged
    ]
    together = torch.cat([one.flatten() for one in hits])
    return float(together.mean()) if together.numel() else 0.0
