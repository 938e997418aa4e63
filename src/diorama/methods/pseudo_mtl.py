"""Pseudo-MTL: pseudo label-guided multi-task learning for scene understanding.

Under review as a conference paper at ICLR 2021 (anonymous authors; the text that this follows).

| equation | function |
|---|---|
| (1) confidence-weighted l1 on pseudo depth | `losses.cross_view.regression`, `depth_regression` |
| (2) cross entropy of both views | `losses.cross_view.segmentation` |
| G(a; b) | `nn.warp.find`, `nn.warp.Warp` |
| (3)-(6) depth across the views | `losses.cross_view.depth_consistency`, `depth_across`, `depth_of_view` |
| (7)-(10) semantics across the views | `losses.cross_view.semantic_consistency`, `semantic_across`, `semantic_of_view` |
| L_S = alpha_d L_d + alpha_s L_s, (11) total | `PseudoMTL.losses` |
| Fig. 1 encoder and symmetric decoders | `nn.segnet`, `PseudoNetwork` |
| sec. 4.2 recipe | `PseudoMTL.stages`, `PseudoMTL.enter` |

Choices where the paper is silent or damaged in print:
the decoders are SegNet's, with unpooling and batch norm after each convolution, the encoder is VGG16 without; depth = scale * softplus +
1 mm; (1) and (3) are of depth / 80, pseudo depth beyond 80 m counts as 80 m and warps as it is; both views go through the network as one
batch, so batch norms see both; Z of a view is the sum of its weights over the batch. The two pretrainings and the joint training are stages
of one run: "semantic" (E + Ds), then E returns to its initial weights, "depth" (E + Dd, Ds stands still), "joint" (all): the joint
network so takes E and Dd of the depth run and Ds of the segmentation run, as sec. 4.2 says. Beyond the paper, all off by default: other
backbones, bilinear upsampling, skip features, coarser answers, occlusion, constant warped predictions, weight decay, warm-up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from diorama.errors import ConfigError, TrainingError
from diorama.losses import cross_view
from diorama.losses.cross_view import Views, Weights, precise
from diorama.methods.base import Method, Stage, StepContext, Turn
from diorama.methods.pseudo_mtl_config import PseudoMTLConfig
from diorama.nn.backbones import Backbone
from diorama.nn.segnet import SegDecoder, pooled_from, pools
from diorama.nn.warp import Warp, find, unoccluded
from diorama.training.weighting import Weighting
from diorama.types import IGNORE, Prediction, Sample

STRIDE = 32


class PseudoNetwork(nn.Module):
    """One encoder E, a decoder for depth Dd and one for semantics Ds (Fig. 1)."""

    def __init__(self, config: PseudoMTLConfig) -> None:
        super().__init__()
        self.backbone = Backbone(config.backbone, STRIDE, config.pretrained, config.backbone_weights, finest=1)
        self.unpools = config.upsampling == "unpool"
        if self.unpools and not pools(self.backbone):
            raise ConfigError(
                f"backbone '{config.backbone}' has no 2x2 max pooling to undo: set model.upsampling=bilinear, or model.backbone=vgg16."
            )
        self.semantic = SegDecoder(self.backbone, config.classes, config.skip, config.head_stride)
        self.depth = SegDecoder(self.backbone, 1, config.skip, config.head_stride)
        for decoder in (self.semantic, self.depth):
            for module in decoder.modules():
                if isinstance(module, nn.Conv2d) and module.bias is None:
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor, tasks: Sequence[str] = ("semantic", "depth")) -> tuple[dict[str, Tensor], list[Tensor]]:
        """`(B, 3, H, W)`, sides multiples of 32 -> the decoders' answers by task, and the features that they share."""
        features = self.backbone(image)
        taken = [pooled_from(feature) for feature in features[:-1]] if self.unpools else None
        decoders = {"semantic": self.semantic, "depth": self.depth}
        return {task: decoders[task](features, taken) for task in tasks}, features


class PseudoMTL(Method):
    """Pseudo-MTL with its losses and recipe; see `PseudoMTLConfig` for every switch."""

    needs: ClassVar[frozenset[str]] = PseudoMTLConfig.needs
    config_class: ClassVar[type[PseudoMTLConfig]] = PseudoMTLConfig
    citation: ClassVar[str] = "Pseudo label-guided multi-task learning for scene understanding. Submitted to ICLR 2021 (anonymous)."

    def __init__(self, config: PseudoMTLConfig) -> None:
        super().__init__()
        self.config = config
        left_out = set() if config.use_confidence else {"confidence", "confidence_right"}
        left_out |= set() if config.right_labels else {"semantic_right"}
        left_out |= set() if config.consistent else {"intrinsics", "baseline"}
        self.requires = self.needs - left_out
        self.network = PseudoNetwork(config)
        self.weighting = Weighting({"semantic": 1.0, "depth": 1.0}, config.weighting, config.dwa_steps)
        self._initial: dict[str, Tensor] = {}
        self._shares: dict[str, float] = {}

    def forward(self, image: Tensor) -> Prediction:
        """`(B, 3, H, W)` RGB in 0..1, any size -> logits `(B, K, H, W)` and depth `(B, 1, H, W)` [m]."""
        answers, _ = self.answers(image)
        return Prediction(semantic_logits=answers["semantic"], depth=self.metres(answers["depth"]))

    def answers(self, image: Tensor, tasks: Sequence[str] = ("semantic", "depth")) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Raw answers `(B, K, H, W)`, `(B, 1, H, W)` at the size of the image, and the shared features."""
        height, width = image.shape[-2:]
        padded = F.pad(image, (0, (-width) % STRIDE, 0, (-height) % STRIDE), mode="replicate")
        found, features = self.network(padded, tasks)
        if self.config.head_stride > 1:
            found = {task: F.interpolate(a, size=padded.shape[-2:], mode="bilinear", align_corners=False) for task, a in found.items()}
        return {task: answer[..., :height, :width] for task, answer in found.items()}, features

    def metres(self, answer: Tensor) -> Tensor:
        """The depth decoder's raw answer as depth > 0 [m]."""
        depth: Tensor = self.config.depth_scale * F.softplus(precise(answer)) + 1e-3
        return depth

    def losses(self, batch: Mapping[str, Sample], context: StepContext, turn: Turn) -> dict[str, Tensor]:
        """The weighted terms of L = L_S + L_d,c + L_s,c that act in this stage (Pseudo-MTL, Eq. 11).

        Both views go through the network as one batch. None if no pixel has a label or pseudo depth that counts.
        """
        del turn  # one optimiser, one turn
        config, (sample,) = self.config, batch.values()
        acting = context.stage.losses
        tasks = [task for task, loss in (("semantic", "segmentation"), ("depth", "depth")) if loss in acting]
        answers, features = self.answers(torch.cat([_plain(sample["image"]), _plain(sample["right"])]), tasks)
        terms: dict[str, dict[str, Tensor]] = {}
        labels = _plain(sample["semantic"]), _plain(sample["semantic_right"]) if config.right_labels else None
        pseudo = Views(_plain(sample["pseudo_depth"]), _plain(sample["pseudo_depth_right"]))
        trust = self.trust(sample, pseudo)
        seen = {"semantic": any(bool((one != IGNORE).any()) for one in labels if one is not None)}
        seen["depth"] = any(bool((one > 0).any()) for one in trust)
        metres, logits = None, None
        if "semantic" in tasks:
            logits = Views(*precise(answers["semantic"]).chunk(2))
            terms["segmentation"] = {"segmentation": config.alpha_s * cross_view.segmentation(logits, *labels)}
        if "depth" in tasks:
            metres = Views(*self.metres(answers["depth"]).chunk(2))
            found = cross_view.depth_regression(trust, self.scaled(metres), self.capped(pseudo))
            terms["depth"] = {"depth": config.alpha_d * found}
        if metres is not None and logits is not None and {"depth_consistency", "semantic_consistency"} & set(acting):
            warps, weight = self.warps(sample, metres if config.warp == "predicted" else pseudo, pseudo, trust)
            if "depth_consistency" in acting:
                terms["depth_consistency"] = self.depth_terms(metres, pseudo, warps, weight)
            if "semantic_consistency" in acting:
                terms["semantic_consistency"] = self.semantic_terms(logits, labels, warps, weight)
        if context.logs and config.gradient_log and len(terms) > 1:
            self._shares = gradient_shares({name: torch.stack(list(found.values())).sum() for name, found in terms.items()}, features)
        weighted = self.weighting.balance({name: term for found in terms.values() for name, term in found.items()}, self.task_terms)
        # only now: another process may have labels, and all have to meet in the denominators
        return weighted if any(seen[task] for task in tasks) else {}

    @property
    def task_terms(self) -> Mapping[str, str]:
        """Each task has its loss in both views and across them."""
        across = {f"{task}_{where}": task for task in ("semantic", "depth") for where in ("across", "left", "right")}
        return {"segmentation": "semantic", "depth": "depth", **across}

    def trust(self, sample: Sample, pseudo: Views) -> Views:
        """C of both views, 0 where there is no pseudo depth; 1 elsewhere without confidence."""
        if not self.config.use_confidence:
            return Views(*((depth > 0).float() for depth in pseudo))
        given = _plain(sample["confidence"]), _plain(sample["confidence_right"])
        return Views(*(trust * (depth > 0) for trust, depth in zip(given, pseudo, strict=True)))

    def scaled(self, metres: Views) -> Views:
        """Depth in the unit of the losses."""
        return Views(*(depth / self.config.max_depth for depth in metres))

    def capped(self, pseudo: Views) -> Views:
        """Pseudo depth in the unit of the losses, at most 1."""
        return Views(*((depth / self.config.max_depth).clamp(max=1.0) for depth in pseudo))

    def warps(self, sample: Sample, by: Views, pseudo: Views, trust: Views) -> tuple[tuple[Warp, Warp], Views]:
        """G into the left and into the right view by the depth `by`, and the weights where both views see a pixel."""
        times = _plain(sample["intrinsics"])[:, 0, 0] * _plain(sample["baseline"])
        warps = find(by.left, times), find(by.right, times, right=True)
        # by predicted depth every pixel has a place in the other view, whether the matcher found one or not
        weight = trust if self.config.warp == "pseudo" else Views(*(torch.ones_like(depth) for depth in pseudo))
        weight = Views(*(w * warp.seen for w, warp in zip(weight, warps, strict=True)))
        if self.config.occlusion:
            visible = (
                unoccluded(own, warp(other), self.config.occlusion) for own, other, warp in zip(pseudo, pseudo[::-1], warps, strict=True)
            )
            weight = Views(*(w * mask for w, mask in zip(weight, visible, strict=True)))
        return warps, weight

    def depth_terms(self, metres: Views, pseudo: Views, warps: tuple[Warp, Warp], weight: Views) -> dict[str, Tensor]:
        """The terms of L_d,c."""
        depth, truth = self.scaled(metres), self.capped(pseudo)
        warped = Views(warps[0](depth.right), warps[1](depth.left))
        across = Views(*(one.detach() for one in warped)) if self.config.detach_warped else warped
        of_view = [
            cross_view.depth_of_view(
                weight[i] * (pseudo[i] > 0),
                truth[i],
                depth[i],
                warped[i],
                warps[i](truth[1 - i]),
                weight[i] * warps[i].whole(pseudo[1 - i] > 0),
            )
            for i in (0, 1)
        ]
        weights, gain = Weights(*self.config.depth_weights), self.config.depth_consistency_gain
        return cross_view.depth_consistency(cross_view.depth_across(weight, depth, across), of_view[0], of_view[1], weights, gain)

    def semantic_terms(
        self, logits: Views, labels: tuple[Tensor, Tensor | None], warps: tuple[Warp, Warp], weight: Views
    ) -> dict[str, Tensor]:
        """The terms of L_s,c that are switched on."""
        log_own = Views(*(one.log_softmax(1) for one in logits))
        warped = Views(warps[0](log_own.right.exp()), warps[1](log_own.left.exp()))
        across: Tensor | None = None
        of_view: list[Tensor | None] = [None, None]
        if self.config.semantic_across:
            other = Views(*(one.detach() for one in warped)) if self.config.detach_warped else warped
            across = cross_view.semantic_across(weight, log_own, other)
        if self.config.semantic_views:
            of_view = [cross_view.semantic_of_view(weight[i], log_own[i], warped[i], labels[i], labels[1 - i], warps[i]) for i in (0, 1)]
        return cross_view.semantic_consistency(across, of_view[0], of_view[1], Weights(*self.config.semantic_weights))

    @property
    def stages(self) -> list[Stage]:
        """The two pretrainings and the joint training of sec. 4.2; a stage of 0 epochs is left out."""
        config = self.config
        joint = ["segmentation", "depth"]
        joint += ["depth_consistency"] * config.depth_consistency
        joint += ["semantic_consistency"] * (config.semantic_across or config.semantic_views)
        first = (config.pretrain_epochs, config.pretrain_rate)
        rows = (
            ("semantic", *first, ("segmentation",), config.pretrain_schedule, ("network.depth.",)),
            ("depth", *first, ("depth",), config.pretrain_schedule, ("network.semantic.",)),
            ("joint", config.joint_epochs, config.joint_rate, tuple(joint), config.joint_schedule, ()),
        )
        return [
            Stage(name, epochs, rate, losses, schedule, freeze, config.warmup, tenth_every=config.tenth_every)
            for name, epochs, rate, losses, schedule, freeze in rows
            if epochs > 0
        ]

    def enter(self, stage: Stage) -> tuple[str, ...]:
        """Keep the encoder's first weights while Ds is pretrained, and put them back before Dd is (sec. 4.2: two runs from one start)."""
        encoder = self.network.backbone
        if stage.name == "semantic":
            self._initial = {key: value.detach().clone() for key, value in encoder.state_dict().items()}
        if stage.name != "depth":
            return ()
        if not self._initial:
            raise TrainingError(
                "the encoder's first weights are not in this process's checkpoint. Resume with as many processes as the run began with."
            )
        encoder.load_state_dict(self._initial)
        self._initial = {}
        return ("network.backbone.",)

    def optimisers(self) -> dict[str, Optimizer]:
        """Adam with beta1 = 0.9 (sec. 4.2); with `weight_decay` AdamW, which spares norms and biases."""
        config = self.config
        encoder = list(self.network.backbone.parameters())
        decoders = [*self.network.semantic.parameters(), *self.network.depth.parameters()]
        groups: list[dict[str, Any]] = []
        for parameters, factor in ((encoder, config.pretrained_rate), (decoders, 1.0)):
            for flat, decay in ((False, config.weight_decay), (True, 0.0)):
                row = [parameter for parameter in parameters if (parameter.ndim < 2) == flat]
                groups += [{"params": row, "rate_factor": factor, "weight_decay": decay}] if row else []
        if learned := list(self.weighting.parameters()):
            groups.append({"params": learned, "rate_factor": 1.0, "weight_decay": 0.0})
        return {"all": torch.optim.AdamW(groups, lr=config.pretrain_rate, betas=(0.9, 0.999))}

    def gauges(self) -> dict[str, float]:
        """Each loss's share of the gradient that reaches the encoder, of the last logged joint step; task weights that move."""
        return {**{f"gradient_{name}": share for name, share in self._shares.items()}, **self.weighting.gauges()}

    def memory(self) -> dict[str, Tensor]:
        """The encoder's first weights, while they are still needed."""
        return dict(self._initial)

    def recall(self, state: Mapping[str, Tensor]) -> None:
        """Put `memory` back."""
        wanted = self.network.backbone.state_dict()
        self._initial = {key: state[key].to(value.device) for key, value in wanted.items()}


def gradient_shares(losses: Mapping[str, Tensor], features: Sequence[Tensor]) -> dict[str, float]:
    """Norm of the gradient of each loss at the features of the encoder, over the sum of these norms.

    Where losses of one unit differ by orders of magnitude here, the smaller ones teach the encoder nothing.
    """
    norms = {}
    for name, loss in losses.items():
        gradients = torch.autograd.grad(loss, list(features), retain_graph=True, allow_unused=True)
        norms[name] = sum(float(one.float().square().sum()) for one in gradients if one is not None) ** 0.5
    total = sum(norms.values())
    return {name: norm / total if total else 0.0 for name, norm in norms.items()}


def _plain(value: Tensor) -> Tensor:
    return value.as_subclass(Tensor)
