"""Image-to-image generators of Multi-task GANs: residual blocks between strided convolutions, multi-scale spatial pooling.

Layout decides the speed on a CPU. In channels_last every part but one is faster: transposed convolutions and pooling by three, the
backward of reflection padding by four. The one, stock instance norm, copies to and fro; here it is a batch norm of one image at a time.
Measured against the stock layers in NCHW on one AVX512 core, 128x128, 6 blocks, forward and backward: with 32 channels 1.24 times as fast
in fp32 and in bf16, with 64 channels 1.13 times.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diorama.errors import ConfigError, ShapeError

SMALLEST = 8
"""Pixels that the shorter side of a generator's input must have."""

_STRIDE = 4
_EPS = 1e-5


def initialise(module: nn.Module) -> None:
    """Draw the weights of all convolutions from N(0, 0.02) and set their biases to 0, in place."""
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(part.weight, 0.0, 0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def arranged(image: Tensor) -> Tensor:
    """`image` in channels_last where that is faster: on a CPU, outside an export."""
    if image.device.type != "cpu" or torch.compiler.is_compiling():
        return image
    return image.contiguous(memory_format=torch.channels_last)


class InstanceNorm(nn.Module):
    """Every channel of every image to mean 0 and variance 1 (eps 1e-5), without learnt scales.

    Statistics are float32 or better under autocast too.
    """

    def forward(self, features: Tensor) -> Tensor:
        """`(B, C, H, W)` -> the same size."""
        if features.device.type != "cpu" or torch.compiler.is_compiling():
            return F.instance_norm(features, eps=_EPS)
        # float32 scales make the statistics of bfloat16 features float32
        exact = features.dtype if features.dtype == torch.float64 else torch.float32
        one, zero = features.new_ones(features.shape[1], dtype=exact), features.new_zeros(features.shape[1], dtype=exact)
        images = torch.split(features, 1) if len(features) > 1 else (features,)
        normed = [F.batch_norm(image, None, None, one, zero, training=True, eps=_EPS) for image in images]
        return torch.cat(normed) if len(normed) > 1 else normed[0]


class ReflectionPad(nn.Module):
    """`pixels` more on every side, mirrored at the border pixel; keeps the type, where autocast would make float32 of it."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.pixels = [pixels] * 4

    def forward(self, features: Tensor) -> Tensor:
        """`(B, C, H, W)` -> `(B, C, H + 2 pixels, W + 2 pixels)`."""
        if torch.is_autocast_enabled(features.device.type):
            with torch.autocast(features.device.type, enabled=False):
                return F.pad(features, self.pixels, mode="reflect")
        return F.pad(features, self.pixels, mode="reflect")


class NarrowConv2d(nn.Conv2d):
    """A square convolution to few channels: on a CPU as columns of it beside each other, whose answers are added at their shifts.

    CPU kernels compute 16 channels at a time, so that 3 cost as much; seven columns make 21 of them: forward 1.5 to 3 times as fast,
    with backward 1.2 to 3.4 times. The sum is float32 or better, also of bfloat16 columns.
    """

    def forward(self, features: Tensor) -> Tensor:
        """`(B, C, H, W)` -> `(B, outputs, H - k + 1, W - k + 1)`."""
        if features.device.type != "cpu" or torch.compiler.is_compiling():
            return F.conv2d(features, self.weight, self.bias)
        size, outputs = self.kernel_size[0], self.out_channels
        columns = self.weight.permute(3, 0, 1, 2).reshape(size * outputs, self.in_channels, size, 1)
        parts = torch.split(F.conv2d(features, columns), outputs, 1)
        width = features.shape[-1] - size + 1
        total = parts[0][..., :width].to(self.weight.dtype)
        for shift, part in enumerate(parts[1:], start=1):
            total = total + part[..., shift : shift + width]
        return total if self.bias is None else total + self.bias[:, None, None]


def _norm_relu() -> tuple[nn.Module, nn.Module]:
    return InstanceNorm(), nn.ReLU(inplace=True)


class ResidualBlock(nn.Module):
    """Two reflection-padded 3x3 convolutions with instance norm, a ReLU between them; their result is added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # no bias before a norm: it would be subtracted again
        self.body = nn.Sequential(
            ReflectionPad(1), nn.Conv2d(channels, channels, 3, bias=False), *_norm_relu(),
            ReflectionPad(1), nn.Conv2d(channels, channels, 3, bias=False), InstanceNorm(),
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        """`(B, C, H, W)` -> the same size."""
        added: Tensor = features + self.body(features)
        return added


class MultiScaleSpatialPooling(nn.Module):
    """The multi-scale spatial pooling block: Y_k = X * upsampled(mean over k x k), then a 3x3 convolution of all Y_k and X (sec. IV-B).

    Choice: pooled maps are multiplied with X, then all are concatenated; the stride is the kernel, what is left over is dropped;
    bilinear upsampling aligns corners, so Y_1 = X^2.

    Args:
        channels: channels of X.
        outputs: channels of the answer.
        kernels: sizes of the pooled squares.

    Raises:
        ConfigError: no kernel, or one below 1.
    """

    def __init__(self, channels: int, outputs: int, kernels: Sequence[int] = (1, 4, 9)) -> None:
        super().__init__()
        if not kernels or min(kernels) < 1:
            raise ConfigError(f"pooling kernels {list(kernels)}: give one or more sizes in pixels, such as [1, 4, 9].")
        self.kernels = tuple(kernels)
        self.conv = nn.Conv2d((len(self.kernels) + 1) * channels, outputs, 3, padding=1)

    def scaled(self, features: Tensor, kernel: int) -> Tensor:
        """Y_k `(B, C, H, W)` from X `(B, C, H, W)`."""
        if kernel == 1:
            return features.square()
        means = F.avg_pool2d(features, kernel)
        return features * F.interpolate(means, size=features.shape[-2:], mode="bilinear", align_corners=True)

    def forward(self, features: Tensor) -> Tensor:
        """X `(B, channels, H, W)` -> `(B, outputs, H, W)`.

        Raises:
            ShapeError: X is smaller than the largest kernel.
        """
        height, width = features.shape[-2:]
        if not torch.compiler.is_compiling() and min(height, width) < max(self.kernels):
            raise ShapeError(f"{height} x {width} pixels are fewer than the pooling kernel {max(self.kernels)}; use larger images.")
        mixed: Tensor = self.conv(torch.cat([*(self.scaled(features, kernel) for kernel in self.kernels), features], 1))
        return mixed


class ResNetGenerator(nn.Module):
    """7x7 convolution, two stride-2 ones, residual blocks, two half-strided ones, [pooling block], 7x7 convolution, tanh (sec. IV-B).

    Args:
        inputs: channels of the input; the first `picture` of them are an image.
        outputs: channels of the answer. A single one is a measured quantity: its last convolution stays float32 under autocast.
        width: channels at full resolution (the paper's 64).
        blocks: residual blocks (6 for semantics, 9 for depth in the paper).
        pooling: kernels of the pooling block, which sees the features beside the image; (1, 4, 9) in the paper, () = none.
        picture: channels of the input that the pooling block sees.

    Raises:
        ConfigError: `picture` is more than `inputs`, or a size is below 1.
    """

    def __init__(self, inputs: int, outputs: int, width: int = 64, blocks: int = 6, pooling: Sequence[int] = (), picture: int = 3) -> None:
        super().__init__()
        if min(inputs, outputs, width) < 1 or blocks < 0:
            raise ConfigError(f"a generator of {width} channels and {blocks} blocks; give at least 1 channel and 0 blocks.")
        if pooling and not 0 < picture <= inputs:
            raise ConfigError(f"the pooling block should see {picture} of {inputs} input channels; give 1 to {inputs}.")
        self.picture, self.exact = picture, outputs == 1
        self.encode = nn.Sequential(
            ReflectionPad(3), nn.Conv2d(inputs, width, 7, bias=False), *_norm_relu(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False), *_norm_relu(),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1, bias=False), *_norm_relu(),
        )  # fmt: skip
        self.blocks = nn.Sequential(*(ResidualBlock(4 * width) for _ in range(blocks)))
        self.decode = nn.Sequential(
            nn.ConvTranspose2d(4 * width, 2 * width, 3, stride=2, padding=1, output_padding=1, bias=False), *_norm_relu(),
            nn.ConvTranspose2d(2 * width, width, 3, stride=2, padding=1, output_padding=1, bias=False), *_norm_relu(),
        )  # fmt: skip
        self.pooling = MultiScaleSpatialPooling(width + picture, width, pooling) if pooling else None
        self.head = nn.Sequential(ReflectionPad(3), NarrowConv2d(width, outputs, 7))
        initialise(self)

    def forward(self, given: Tensor) -> Tensor:
        """`(B, inputs, H, W)` in -1..1 -> `(B, outputs, H, W)` in -1..1, float32 under autocast.

        Sizes that 4 does not divide are padded on the right and below by their border pixels and cropped back.

        Raises:
            ShapeError: a side is shorter than 8 pixels, or than the largest kernel of the pooling block.
        """
        height, width = given.shape[-2:]
        if not torch.compiler.is_compiling() and min(height, width) < SMALLEST:
            raise ShapeError(f"{height} x {width} pixels are too small for a generator; use {SMALLEST} x {SMALLEST} or more.")
        padded = arranged(F.pad(given, (0, (-width) % _STRIDE, 0, (-height) % _STRIDE), mode="replicate"))
        features: Tensor = self.decode(self.blocks(self.encode(padded)))
        if self.pooling is not None:
            features = self.pooling(torch.cat((features, padded[:, : self.picture].to(features)), 1))
        return torch.tanh(self._drawn(features))[..., :height, :width]

    def _drawn(self, features: Tensor) -> Tensor:
        """The last convolution, in float32 or better."""
        device = features.device.type
        if not torch.is_autocast_enabled(device):
            drawn: Tensor = self.head(features)
            return drawn
        if self.exact:
            with torch.autocast(device, enabled=False):
                drawn = self.head(features.float())
        else:
            drawn = self.head(features).float()
        return drawn
