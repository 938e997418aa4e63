"""The two branches of the multi-task GANs: photo <-> label image, and sparse <-> dense depth, each a pair of generators and their judges.

Images and depth are in [-1, 1] in here. A step of a branch is two calls: `generator_terms` makes what can be made and remembers it,
`judge_terms` shows it to the discriminators; nothing is generated twice. Generators treat images one by one (instance norm), so that
images of different origin share one call.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diorama.losses.adversarial import cycle_loss, discriminator_loss, generator_loss, structure_loss
from diorama.losses.smoothness import semantic_guided_smoothness, sparse_depth_loss
from diorama.methods.multitask_gan_config import MultitaskGANConfig
from diorama.nn.collapse import CollapseWatch, VictoryWatch
from diorama.nn.completion import STRIDE, fill
from diorama.nn.discriminators import ImageBuffer, PatchDiscriminator
from diorama.nn.generators import ResNetGenerator, initialise
from diorama.nn.palette import Palette

Terms = dict[str, Tensor]


class Branch(nn.Module):
    """What both branches share: judges with their buffers, and the watch over training.

    Args:
        config: every switch.
        judges: name of a discriminator -> channels that it sees.
    """

    def __init__(self, config: MultitaskGANConfig, judges: dict[str, int]) -> None:
        super().__init__()
        self.config = config
        self.judges = nn.ModuleDict({name: PatchDiscriminator(channels, config.width) for name, channels in judges.items()})
        self.buffers_of = {name: ImageBuffer(config.buffer, number) for number, name in enumerate(judges)}
        self.collapse = {name: CollapseWatch() for name in judges}
        self.victory = {name: VictoryWatch() for name in judges}
        self._made: dict[str, Tensor] = {}

    def generator_parameters(self) -> list[nn.Parameter]:
        """Of everything but the judges."""
        return [parameter for name, parameter in self.named_parameters() if not name.startswith("judges.")]

    def fooled(self, made: dict[str, Tensor]) -> Terms:
        """How far each judge is from taking what was made for real (Multi-task GANs, Eq. 3, generator's part); remembers what was made."""
        self._made = {name: image.detach() for name, image in made.items()}
        return {f"gan_{name}": generator_loss(self.judges[name](image), self.config.gan_loss) for name, image in made.items()}

    def judge_terms(self, real: dict[str, Tensor], seeds: Sequence[int]) -> Terms:
        """How far each judge is from telling real from made (Multi-task GANs, Eq. 3, discriminator's part), halved.

        Args:
            real: name of a judge -> real images.
            seeds: one per image; they decide what the buffers hand out.
        """
        terms: Terms = {}
        threshold = 0.5 if self.config.gan_loss == "lsgan" else 0.0
        for name, image in real.items():
            shown = self.buffers_of[name].exchange(self._made[name], seeds)
            judged_real, judged_made = self.judges[name](image), self.judges[name](shown)
            self.victory[name].add(judged_real, judged_made, threshold)
            terms[f"judge_{name}"] = discriminator_loss(judged_real, judged_made, self.config.gan_loss)
        return terms

    def memory(self) -> dict[str, Tensor]:
        """What a checkpoint keeps beside the weights."""
        return {f"{prefix}.{key}": value for prefix, holder in self._holders() for key, value in holder.state().items()}

    def recall(self, state: dict[str, Tensor]) -> None:
        """Put `memory` back."""
        for prefix, holder in self._holders():
            found = {key.removeprefix(f"{prefix}."): value for key, value in state.items() if key.startswith(f"{prefix}.")}
            if found:
                holder.load(found)

    def _holders(self) -> list[tuple[str, ImageBuffer | CollapseWatch | VictoryWatch]]:
        """What has a state, by a name of its own."""
        return [
            *((f"buffer.{name}", holder) for name, holder in self.buffers_of.items()),
            *((f"collapse.{name}", holder) for name, holder in self.collapse.items()),
            *((f"victory.{name}", holder) for name, holder in self.victory.items()),
        ]


class SemanticBranch(Branch):
    """Gs and Fs between photos and label images, with D_Y1 (`labels`) and D_X1 (`photos`)."""

    def __init__(self, config: MultitaskGANConfig) -> None:
        moved = {} if config.consistency == "cycle" else {"moved_labels": 3, "moved_photos": 3}
        super().__init__(config, {"labels": 3, "photos": 3, **moved})
        # shades of red until the label set of the training data is known, see `recolour`
        self.palette = Palette([(number + 1, 0, 0) for number in range(config.classes)])
        self.to_labels = ResNetGenerator(3, 3, config.width, config.semantic_blocks, config.pooling)
        self.to_photos = ResNetGenerator(3, 3, config.width, config.semantic_blocks, config.pooling)
        initialise(self)

    def recolour(self, colours: Sequence[tuple[int, int, int]]) -> None:
        """Take the colours of a label set; ConfigError if two are equal."""
        self.palette.load_state_dict(Palette(colours).state_dict())

    def generator_terms(self, photos: Tensor, labels: Tensor) -> Terms:
        """The terms of (Multi-task GANs, Eq. 1) that the generators minimise, weighted; `photos` and `labels` are `(B, 3, H, W)`."""
        return self._cycle_terms(photos, labels) if self.config.consistency == "cycle" else self._geometry_terms(photos, labels)

    def _cycle_terms(self, photos: Tensor, labels: Tensor) -> Terms:
        made_photos = self.to_photos(labels)
        made_labels, labels_back = self.to_labels(torch.cat([photos, made_photos])).split([len(photos), len(labels)])
        photos_back = self.to_photos(made_labels)
        self._watch(photos, labels, made_photos, made_labels)
        terms = self.fooled({"labels": made_labels, "photos": made_photos})
        cycle = cycle_loss(photos, photos_back) + cycle_loss(labels, labels_back)
        terms["cycle"] = self.config.cycle_weight * cycle
        if self.config.structure_weight:
            structure = structure_loss(photos, photos_back) + structure_loss(labels, labels_back)
            terms["structure"] = self.config.structure_weight * structure
        return terms

    def _geometry_terms(self, photos: Tensor, labels: Tensor) -> Terms:
        moved_photos, moved_labels = self.moved(photos), self.moved(labels)
        if moved_photos.shape == photos.shape:
            made_labels, of_moved_photos = self.to_labels(torch.cat([photos, moved_photos])).chunk(2)
            made_photos, of_moved_labels = self.to_photos(torch.cat([labels, moved_labels])).chunk(2)
        else:
            made_labels, of_moved_photos = self.to_labels(photos), self.to_labels(moved_photos)
            made_photos, of_moved_labels = self.to_photos(labels), self.to_photos(moved_labels)
        self._watch(photos, labels, made_photos, made_labels)
        terms = self.fooled(
            {"labels": made_labels, "photos": made_photos, "moved_labels": of_moved_photos, "moved_photos": of_moved_labels}
        )
        apart = cycle_loss(self.moved(made_labels), of_moved_photos) + cycle_loss(self.moved(made_photos), of_moved_labels)
        terms["geometry"] = self.config.geometry_weight * apart
        return terms

    def _watch(self, photos: Tensor, labels: Tensor, made_photos: Tensor, made_labels: Tensor) -> None:
        self.collapse["labels"].add(photos, made_labels)
        self.collapse["photos"].add(labels, made_photos)

    def moved(self, images: Tensor) -> Tensor:
        """GcGAN's transformation: a quarter turn clockwise, or upside down."""
        return torch.rot90(images, -1, (2, 3)) if self.config.consistency == "rotation" else images.flip(2)

    def classes(self, labels: Tensor) -> Tensor:
        """`(B, 1, H, W)` train ids, as floats, of the colours nearest to those of a label image; K is "ignore"."""
        return self.palette.logits(labels.detach()).argmax(1, keepdim=True).float()

    def real(self, photos: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """What each judge is to take for real."""
        found = {"labels": labels, "photos": photos}
        if self.config.consistency != "cycle":
            found |= {"moved_labels": self.moved(labels), "moved_photos": self.moved(photos)}
        return found


class DepthBranch(Branch):
    """Gd and Fd between sparse and dense depth, both beside photo and generated semantics, with D_Y2 (`dense`) and D_X2 (`sparse`).

    Choice: unknown pixels are -1 and tell so in a mask channel, in both generators; judges see dense maps where the truth is known and
    sparse maps where a scanner measured, generated ones masked alike, or the holes alone would decide.
    """

    def __init__(self, config: MultitaskGANConfig) -> None:
        super().__init__(config, {"dense": 1, "sparse": 1})
        channels = 1 + 1 + 3 + (3 if config.semantic_input else 0)
        self.densify = ResNetGenerator(channels, 1, config.width, config.depth_blocks, config.depth_pooling)
        self.thin = ResNetGenerator(channels, 1, config.width, config.depth_blocks, config.depth_pooling)
        initialise(self)

    def coded(self, depth: Tensor) -> Tensor:
        """Depth [m], 0 = unknown -> [-1, 1]; what lies beyond `max_depth` is 1, unknown is -1."""
        return 2 * depth.clamp(0.0, self.config.max_depth) / self.config.max_depth - 1

    def metres(self, coded: Tensor) -> Tensor:
        """[-1, 1] -> depth [m]."""
        return (coded.float() + 1) * (self.config.max_depth / 2)

    def dense(self, sparse: Tensor, scene: Tensor) -> Tensor:
        """y~ = Gd: dense depth in [-1, 1] from sparse depth [m] and `scene`, photo and semantics side by side."""
        found: Tensor = self.densify(torch.cat([scene, self.coded(sparse), _mask(sparse)], 1))
        return found

    def generator_terms(self, sparse: Tensor, scene: Tensor, guide: Tensor, dense: Tensor, pattern: Tensor, other: Tensor) -> Terms:
        """The terms of (Multi-task GANs, Eq. 6) that the generators minimise, weighted.

        Args:
            sparse: `(B, 1, H, W)` sparse depth of frames a [m], 0 = unknown.
            scene: photo and generated semantics of frames a.
            guide: `(B, 3, H, W)` what damps the smoothness.
            dense: `(B, 1, H, W)` dense depth of frames b [m], 0 = unknown.
            pattern: sparse depth of frames b; only where it is known counts.
            other: photo and generated semantics of frames b.
        """
        config = self.config
        mask, dense_mask, pattern_mask = _mask(sparse), _mask(dense), _mask(pattern)
        made_dense = self.dense(sparse, scene)
        back = torch.cat([scene, made_dense, torch.ones_like(mask)], 1)
        forth = torch.cat([other, self.coded(dense), dense_mask], 1)
        sparse_back, made_sparse = self.thin(torch.cat([back, forth])).split([len(back), len(forth)])
        made_sparse = torch.where(pattern_mask > 0, made_sparse, -1)
        dense_back = self.densify(torch.cat([other, made_sparse, pattern_mask], 1))
        self.collapse["dense"].add(self.coded(filled(sparse)), made_dense)
        real = self.real(sparse, dense)
        judged = {"dense": _where(dense_mask, made_dense), "sparse": made_sparse}
        terms = self.fooled(judged)
        cycle = cycle_loss(real["sparse"], sparse_back, mask) + cycle_loss(real["dense"], dense_back, dense_mask)
        terms["depth_cycle"] = config.depth_cycle_weight * cycle
        if config.depth_structure_weight:
            structure = structure_loss(real["sparse"], sparse_back, mask) + structure_loss(real["dense"], dense_back, dense_mask)
            terms["depth_structure"] = config.depth_structure_weight * structure
        in_metres = config.depth_unit == "m"
        found, wanted = (self.metres(made_dense), sparse) if in_metres else (made_dense + 1, (self.coded(sparse) + 1) * mask)
        if config.depth_weight:
            terms["depth"] = config.depth_weight * sparse_depth_loss(found, wanted)
        if config.smooth_weight:
            terms["smooth"] = config.smooth_weight * semantic_guided_smoothness(found, guide.detach(), config.edge_scale)
        return terms

    def real(self, sparse: Tensor, dense: Tensor) -> dict[str, Tensor]:
        """What each judge is to take for real, unknown pixels -1."""
        return {"dense": self.coded(dense), "sparse": self.coded(sparse)}


def filled(sparse: Tensor) -> Tensor:
    """Dense depth [m] from sparse depth `(B, 1, H, W)` [m] without training (`nn.completion.fill`), of any size."""
    height, width = sparse.shape[-2:]
    return fill(F.pad(sparse, (0, (-width) % STRIDE, 0, (-height) % STRIDE)))[..., :height, :width]


def _mask(depth: Tensor) -> Tensor:
    return (depth > 0).to(depth.dtype)


def _where(mask: Tensor, image: Tensor) -> Tensor:
    return torch.where(mask > 0, image, torch.full_like(image, -1))
