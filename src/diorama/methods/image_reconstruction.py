"""From Depth What Can You See? Depth completion via auxiliary image reconstruction.

Lu, Barnes, Anwar, Zheng: CVPR 2020.

| equation | function |
|---|---|
| (1) depth-only model: row B | `CompletionNetwork` with `image=false` |
| (2), (4) what training minimises, (6) ours, (15) its value | `ImageReconstruction.losses` |
| (3) models that take the image as input | compared only; not built |
| (5), (12) both answers from one encoder | `CompletionNetwork.answers` |
| (7) depth alone | `CompletionNetwork.depth`, `ImageReconstruction.forward` |
| (8)-(10) features and their sharing | `nn.completion.Extractor`, `nn.completion.Sharing` |
| (11) concatenation | `CompletionNetwork.features` |
| (13) depth, (14) image | `losses.reconstruction.completion_loss`, `reconstruction_loss` |

Choices where the paper is silent: channels (its layer table is not at hand); batch norm and ReLU after every convolution but the last;
Phi is a transposed convolution in the sharing module too, so that sizes match; branches meet the shared features in the last
concatenation alone (Fig. 4); depth in metres and grey values 0..255 (BT.601), where 1e-4 makes sense; the l1 variant changes (13)
alone; the answer is linear in training and never below `min_depth` in `forward`; epochs and augmentation are configuration.
Prediction leaves out the image decoder and f_r(N_t), which (10) and (11) give to that decoder alone.
Beyond the paper, all off by default: mask channel, residual over a fill, skip features, residual blocks, bilinear upsampling,
uncertainty, semantics, cosine schedule, AdamW.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from diorama.errors import ModelError
from diorama.losses.depth import known
from diorama.losses.reconstruction import completion_loss, reconstruction_loss, uncertainty_loss
from diorama.losses.segmentation import class_weights, weighted_cross_entropy
from diorama.methods.base import Method, Stage, StepContext, Turn
from diorama.methods.image_reconstruction_config import ImageReconstructionConfig
from diorama.nn.completion import STRIDE, Decoder, Extractor, MultiKernelEncoder, Sharing, fill, surroundings
from diorama.nn.decoders import conv_bn_relu
from diorama.training.weighting import Weighting
from diorama.types import IGNORE, Prediction, Sample

LEAST_SPREAD_M = 1e-3


class CompletionNetwork(nn.Module):
    """Encoder, both modules and what they share; sizes must be multiples of 16.

    Without the image module it is the depth-only model D, the baseline B of Table 2 (Image reconstruction, Eqs. 1 and 3).

    Choice: (3) defines models that take the image as input, which the paper compares with; here the image only ever supervises.

    Args:
        config: every switch.
    """

    def __init__(self, config: ImageReconstructionConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.scaled(count) for count in config.extractor_channels]
        kind, blocks = config.upsampling, config.blocks
        inputs = 1 + config.mask + config.residual
        self.encoder = MultiKernelEncoder(inputs, config.kernels, [config.scaled(count) for count in config.channels], blocks)
        *levels, top = self.encoder.channels
        skips = levels[::-1] if config.skip else []
        joined = widths[-1] * (2 if config.sharing else 1)
        last, outputs = config.scaled(config.decoder_channels), 1 + (config.uncertainty != "none")
        self.depth_extractor = Extractor(top, widths, kind, skips, blocks)
        self.depth_decoder = Decoder(joined, last, outputs, kind)
        self.image_extractor = Extractor(top, widths, kind, skips, blocks) if config.image else None
        self.image_decoder = Decoder(joined, last, 1, kind) if config.image else None
        self.sharing = Sharing(widths, kind) if config.sharing else None
        self.semantic_head = None
        if config.classes:
            self.semantic_head = nn.Sequential(conv_bn_relu(joined, widths[-1]), nn.Conv2d(widths[-1], config.classes, 1))
        initialise(self)

    def encode(self, sparse: Tensor) -> tuple[list[Tensor], tuple[Tensor, Tensor] | None]:
        """Features of the encoder at 1/2, 1/4, 1/8 and 1/16 from sparse depth; the fill and its surroundings if depth is a residual."""
        known = (sparse > 0).to(sparse.dtype)
        base = None
        given = [sparse]
        if self.config.residual:
            filled = fill(sparse)
            around = surroundings(filled)
            base = filled, around
            relative = filled / around - 1
            given = [relative, relative * known]
        if self.config.mask:
            given.append(known)
        return self.encoder(torch.cat(given, 1)), base

    def features(self, levels: list[Tensor], image: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """G_d1(f_0) and G_r1(f_0) (Image reconstruction, Eq. 11) by name, and the last features that they join.

        Args:
            levels: what `encode` returns.
            image: whether G_r1 is wanted; if not, no more of the image features is computed than depth needs.
        """
        skips = levels[-2::-1] if self.config.skip else []
        depth = self.depth_extractor(levels[-1], skips)
        last = {"depth": depth[-1]}
        seen: list[Tensor] = []
        if self.image_extractor is not None and (image or self.sharing is not None):
            seen = self.image_extractor(levels[-1], skips, None if image else len(depth) - 1)
        if image:
            last["image"] = seen[-1]
        if self.sharing is None:
            return dict(last), last
        shared = self.sharing(depth, seen)
        return {task: torch.cat((own, shared), 1) for task, own in last.items()}, {**last, "shared": shared}

    def depth(self, features: Tensor, base: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor | None]:
        """Depth [m], linear (Image reconstruction, Eq. 7), and its uncertainty [m] if there is one."""
        raw = self.depth_decoder(features)
        filled, unit = (0.0, self.config.depth_scale) if base is None else base
        return filled + unit * raw[:, :1], unit * F.softplus(raw[:, 1:]) + LEAST_SPREAD_M if raw.shape[1] > 1 else None

    def answers(self, sparse: Tensor, image: bool) -> dict[str, Tensor]:
        """Linear depth, and what else is built: uncertainty, semantic logits at 1/2, and the image (Image reconstruction, Eqs. 5 and 12).

        Args:
            sparse: `(B, 1, H, W)` [m], 0 = unknown.
            image: whether to reconstruct the image.
        """
        levels, base = self.encode(sparse)
        features, _ = self.features(levels, image)
        depth, uncertainty = self.depth(features["depth"], base)
        found = {"depth": depth}
        if uncertainty is not None:
            found["uncertainty"] = uncertainty
        if self.semantic_head is not None:
            found["semantic"] = self.semantic_head(features["depth"]).float()
        if self.image_decoder is not None and image:
            found["image"] = self.config.grey_scale * self.image_decoder(features["image"])
        return found


def initialise(network: CompletionNetwork) -> None:
    """He initialisation; as a residual, depth starts as the fill."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.bias is None:
            # the weights of a transposed convolution lie the other way round
            transposed = isinstance(module, nn.ConvTranspose2d)
            nn.init.kaiming_normal_(module.weight, mode="fan_in" if transposed else "fan_out", nonlinearity="relu")
    if network.config.residual:
        nn.init.zeros_(network.depth_decoder.head.weight)
        nn.init.zeros_(cast("Tensor", network.depth_decoder.head.bias))


class ImageReconstruction(Method):
    """Depth completion that reconstructs the image while it trains; see `ImageReconstructionConfig` for every switch."""

    needs: ClassVar[frozenset[str]] = ImageReconstructionConfig.needs
    inputs: ClassVar[tuple[str, ...]] = ("sparse_depth",)
    config_class = ImageReconstructionConfig
    citation = "Lu et al.: From depth what can you see? Depth completion via auxiliary image reconstruction. CVPR 2020."

    class_weight: Tensor

    def __init__(self, config: ImageReconstructionConfig) -> None:
        super().__init__()
        self.config = config
        self.reconstructs = config.image and config.image_weight > 0
        needed = {"sparse_depth", "depth"} | ({"image"} if self.reconstructs else set()) | ({"semantic"} if config.classes else set())
        self.requires = frozenset(needed)
        self.network = CompletionNetwork(config)
        self.register_buffer("class_weight", torch.ones(config.classes), persistent=False)
        self.weighting = Weighting(dict.fromkeys(self.task_terms.values(), 1.0), config.weighting, config.dwa_steps)

    def forward(self, sparse_depth: Tensor) -> Prediction:
        """`(B, 1, H, W)` sparse depth [m], 0 = unknown, any size -> dense depth [m] and what else is built (Image reconstruction, Eq. 7).

        Returns:
            depth `(B, 1, H, W)`, at least `min_depth`; semantic logits `(B, K, H, W)`; uncertainty `(B, 1, H, W)` [m].
        """
        height, width = sparse_depth.shape[-2:]
        padded = padded_points(sparse_depth)
        found = {name: value[..., :height, :width] for name, value in self.full_size(self.network.answers(padded, image=False)).items()}
        return Prediction(found.get("semantic"), found["depth"].clamp_min(self.config.min_depth), uncertainty=found.get("uncertainty"))

    def full_size(self, answers: dict[str, Tensor]) -> dict[str, Tensor]:
        """The answers with the semantic logits brought to the size of the rest."""
        if "semantic" not in answers:
            return answers
        logits = F.interpolate(answers["semantic"], scale_factor=2.0, mode="bilinear", align_corners=False)
        return {**answers, "semantic": logits}

    def losses(self, batch: Mapping[str, Sample], context: StepContext, turn: Turn) -> dict[str, Tensor]:
        """The weighted terms `depth` and `image` of the total loss (Image reconstruction, Eqs. 2, 4, 6 and 15), and those of the heads.

        None if nothing in the batch tells anything: no known depth, no label and no image to reconstruct.

        Choice: the arg min of the general forms is what the optimiser approaches with these terms.
        """
        del context, turn  # one stage, one turn
        config, (sample,) = self.config, batch.values()
        height, width = sample["sparse_depth"].shape[-2:]
        answers = self.full_size(self.network.answers(padded_points(sample["sparse_depth"].as_subclass(Tensor)), self.reconstructs))
        found = {name: value[..., :height, :width] for name, value in answers.items()}
        truth = sample["depth"].as_subclass(Tensor)
        terms = {"depth": config.depth_weight * completion_loss(found["depth"], truth, config.depth_norm)}
        told = bool(known(truth).any())
        if config.uncertainty != "none":
            fit = uncertainty_loss(found["depth"], truth, found["uncertainty"], config.uncertainty)
            terms["uncertainty"] = config.uncertainty_weight * fit
        if config.classes:
            labels = sample["semantic"].as_subclass(Tensor)
            terms["segmentation"] = config.semantic_weight * weighted_cross_entropy(found["semantic"], labels, self.class_weight)
            told |= bool((labels != IGNORE).any())
        if self.reconstructs:
            terms["image"] = config.image_weight * reconstruction_loss(found["image"], sample["image"].as_subclass(Tensor))
        terms = self.weighting.balance(terms, self.task_terms)
        return terms if told or self.reconstructs else {}

    @property
    def task_terms(self) -> Mapping[str, str]:
        """Depth with its uncertainty, semantics, and the image."""
        found = {"depth": "depth", "uncertainty": "depth"}
        found |= {"segmentation": "semantic"} if self.config.classes else {}
        return found | ({"image": "image"} if self.reconstructs else {})

    def gauges(self) -> dict[str, float]:
        """What each task counts where that moves."""
        return self.weighting.gauges()

    @property
    def stages(self) -> list[Stage]:
        """One stage with every term (sec. 4.1)."""
        config = self.config
        return [Stage("all", config.epochs, config.rate, (), config.schedule, warmup=config.warmup, halve_every=config.halve_every)]

    def optimisers(self) -> dict[str, Optimizer]:
        """Adam (or AdamW); norms and biases are not decayed."""
        parameters, config = list(self.parameters()), self.config
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.ndim > 1], "rate_factor": 1.0, "weight_decay": config.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "rate_factor": 1.0, "weight_decay": 0.0},
        ]
        kind = torch.optim.AdamW if config.optimiser == "adamw" else torch.optim.Adam
        return {"all": kind(groups, lr=config.rate)}

    def prepare(self, statistics: Mapping[str, Any]) -> None:
        """Class weights from the label counts of the training set."""
        if self.config.classes:
            self.class_weight.copy_(class_weights(torch.as_tensor(statistics["class_counts"], dtype=torch.float64)))

    def reconstruct(self, sparse_depth: Tensor) -> Tensor:
        """The image as the network sees it in sparse depth, `(B, 1, H, W)` grey values in 0..255 (Image reconstruction, Eq. 12; Fig. 6).

        Raises:
            ModelError: the model was built without the image module, or trained without its loss.
        """
        if not self.reconstructs:
            raise ModelError("this model reconstructs no image: it was trained with model.image=false or model.image_weight=0.")
        height, width = sparse_depth.shape[-2:]
        found = self.network.answers(padded_points(sparse_depth), image=True)["image"]
        return found[..., :height, :width].clamp(0, 255)

    def last_features(self, sparse_depth: Tensor) -> dict[str, Tensor]:
        """f_d(N_t), f_r(N_t) and f_s(N_t) as `depth`, `image` and `shared`, `(B, C, H / 2, W / 2)` of the padded input (Fig. 5)."""
        levels, _ = self.network.encode(padded_points(sparse_depth))
        return self.network.features(levels, self.config.image)[1]


def padded_points(sparse: Tensor) -> Tensor:
    """`(B, 1, H, W)` sparse depth with unknown pixels added until both sizes are multiples of 16; what is not above 0 is unknown."""
    height, width = sparse.shape[-2:]
    points = torch.where((sparse > 0) & (sparse < math.inf), sparse, torch.zeros_like(sparse))
    return F.pad(points, (0, (-width) % STRIDE, 0, (-height) % STRIDE))
