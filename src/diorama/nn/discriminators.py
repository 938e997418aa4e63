"""What judges images and maps: the 70x70 PatchGAN, the discriminator of domains, and the buffer of images generated earlier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from diorama.errors import ConfigError, ModelError, ShapeError
from diorama.nn.generators import InstanceNorm, arranged, initialise

SMALLEST = 24
"""Pixels that the shorter side of a discriminator's input must have to leave one judgement."""
SMALLEST_MAP = 32
"""The same for a discriminator of domains."""


class PatchDiscriminator(nn.Module):
    """The 70x70 PatchGAN: 4x4 convolutions to 64, 128, 256 (stride 2), 512 and 1 channels; every output judges 70x70 pixels (sec. IV-B).

    Padding 1, LeakyReLU 0.2, instance norm except after the first and the last. 128x128 pixels give 14x14 judgements, 256x512 30x62.

    Args:
        inputs: channels of the images.
        width: channels of the first convolution (the paper's 64).

    Raises:
        ConfigError: a size is below 1.
    """

    def __init__(self, inputs: int, width: int = 64) -> None:
        super().__init__()
        if min(inputs, width) < 1:
            raise ConfigError(f"a discriminator of {inputs} inputs and {width} channels; give at least 1 of each.")
        layers: list[nn.Module] = [nn.Conv2d(inputs, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        for before, after, stride in ((1, 2, 2), (2, 4, 2), (4, 8, 1)):
            # no bias before a norm: it would be subtracted again
            layers += [
                nn.Conv2d(before * width, after * width, 4, stride=stride, padding=1, bias=False),
                InstanceNorm(),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        self.body = nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, padding=1))
        initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        """`(B, inputs, H, W)` -> judgements `(B, 1, H', W')`, unbounded, larger is more real; float32 or better.

        Raises:
            ShapeError: a side is shorter than 24 pixels.
        """
        height, width = image.shape[-2:]
        if not torch.compiler.is_compiling() and min(height, width) < SMALLEST:
            raise ShapeError(f"{height} x {width} pixels are too small for a discriminator; use {SMALLEST} x {SMALLEST} or more.")
        judged: Tensor = self.body(arranged(image))
        return judged if judged.dtype == torch.float64 else judged.float()


class DomainDiscriminator(nn.Module):
    """What tells where a map of one task comes from: class 0 the ground truth, class k the predictions on data set k (SemiMTL, sec. 3.4).

    Five 4x4 convolutions of stride 2, padding 1, to 64, 128, 256, 512 and `domains` channels; the first four with spectral norm and
    LeakyReLU 0.2. Every score sees 94x94 pixels: 256x256 give 8x8 scores, 384x384 give 12x12. They are resized to the map.

    Args:
        inputs: channels of the maps: classes, or 1 for depth.
        domains: K + 1 for K data sets.
        width: channels of the first convolution (the paper's 64).

    Raises:
        ConfigError: there is nothing to tell apart, or a size is below 1.
    """

    def __init__(self, inputs: int, domains: int, width: int = 64) -> None:
        super().__init__()
        if min(inputs, width) < 1 or domains < 2:
            raise ConfigError(f"a discriminator of {inputs} inputs, {width} channels and {domains} domains; give 2 domains or more.")
        layers: list[nn.Module] = []
        for before, after in pairwise((inputs, width, 2 * width, 4 * width, 8 * width)):
            layers += [spectral_norm(nn.Conv2d(before, after, 4, stride=2, padding=1)), nn.LeakyReLU(0.2, inplace=True)]
        self.body = nn.Sequential(*layers, nn.Conv2d(8 * width, domains, 4, stride=2, padding=1))

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, inputs, H, W)` -> scores before the softmax `(B, domains, H, W)`; float32 or better.

        Raises:
            ShapeError: a side is shorter than 32 pixels.
        """
        if min(maps.shape[-2:]) < SMALLEST_MAP:
            height, width = maps.shape[-2:]
            raise ShapeError(f"{height} x {width} pixels are too small for a discriminator of domains; use 32 x 32 or more.")
        with torch.autocast(maps.device.type, enabled=False):
            scores: Tensor = self.body(maps if maps.dtype == torch.float64 else maps.float())
            return F.interpolate(scores, size=maps.shape[-2:], mode="bilinear", align_corners=False)


class ImageBuffer:
    """Images generated earlier, so that a discriminator does not forget what it has already learnt to tell apart.

    While it fills, every image is kept and comes back. Once full, a new image comes back with probability 1/2; otherwise a stored one,
    drawn evenly, comes back and the new one takes its place. What happens to an image depends on its seed alone.

    Args:
        size: how many images are kept (the paper's 50); 0 = none, every image comes back.
        stream: buffers of one method take different numbers, else they decide alike on the same seeds.

    Raises:
        ConfigError: `size` is negative.
    """

    def __init__(self, size: int = 50, stream: int = 0) -> None:
        if size < 0:
            raise ConfigError(f"an image buffer of {size} images; give 0 (off) or more.")
        self.size, self.stream = size, stream
        self._kept: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._kept)

    def exchange(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """`(B, C, H, W)` generated images -> as many for the discriminator, new or stored, detached, float32 or better.

        Args:
            images: any type; `(B, C, H, W)`.
            seeds: one per image, not negative.

        Raises:
            ShapeError: there is not one seed per image, or the images differ in size from the stored ones.
        """
        if len(seeds) != len(images):
            raise ShapeError(f"{len(seeds)} seeds for {len(images)} images; give one seed per image.")
        images = images.detach().as_subclass(Tensor)
        images = images if images.dtype == torch.float64 else images.float()
        if self._kept and self._kept[0].shape != images.shape[1:]:
            raise ShapeError(
                f"images {tuple(images.shape[1:])} for a buffer of {tuple(self._kept[0].shape)}; train with images of one size."
            )
        return torch.stack([self._exchanged(image, seed) for image, seed in zip(images, seeds, strict=True)]) if self.size else images

    def _exchanged(self, image: Tensor, seed: int) -> Tensor:
        if len(self._kept) < self.size:
            self._kept.append(image.clone())
            return image
        # not torch's generator: the augmentation of the sample starts from the same seed and would decide alike
        draw = np.random.default_rng((self.stream, seed))
        if draw.random() < 0.5:
            return image
        place = int(draw.integers(self.size))
        stored, self._kept[place] = self._kept[place].to(image.device), image.clone()
        return stored

    def state(self) -> dict[str, Tensor]:
        """The stored images `(N, C, H, W)` in order under "images", on the CPU; an empty buffer has none."""
        return {"images": torch.stack([image.cpu() for image in self._kept])} if self._kept else {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take the images of `state()` in place of the stored ones.

        Raises:
            ModelError: they are more than the buffer keeps.
        """
        images = state.get("images", torch.zeros(0))
        if len(images) > self.size:
            raise ModelError(f"{len(images)} stored images for a buffer of {self.size}; resume with the buffer size of the run.")
        self._kept = [image.clone() for image in images]
