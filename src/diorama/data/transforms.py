"""Geometry and photometry of whole samples: one affine map and one colour matrix per sample, the same for all its maps.

torchvision's own chain also works on a `Sample`; here zoom, turn, crop and mirror are a single `cv2.warpAffine` per map, which is an
order of magnitude cheaper (`benchmarks/transforms.py`), and what concerns several maps at once is settled in one place.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from diorama.data.scan import Lidar
from diorama.data.sparsify import Sparsify, drawn
from diorama.data.view import View
from diorama.errors import ConfigError, ShapeError
from diorama.tensors import Confidence, Depth, Disparity, Intrinsics, SparseDepth, move_intrinsics, scale_matrix, splat
from diorama.types import IGNORE, RIGHT_OF, UNKNOWN_DEPTH, Sample

Array = NDArray[Any]
_LUMA = np.array([0.299, 0.587, 0.114])
_YIQ = np.array([_LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_LEFT_ALONE = {"depth", "sparse_depth", "disparity", "matched"}


@dataclass(frozen=True)
class Geometry:
    """Where the pixels of one sample go."""

    matrix: NDArray[np.float64]
    """`(2, 3)`: `(u, v)` of the frame -> `(u, v)` of the sample."""
    size: tuple[int, int]
    """Height and width of the sample [px]."""
    scale: tuple[float, float]
    """Magnification along x and y, without the zoom."""
    zoom: float = 1.0
    mirrored: bool = False


def _compose(second: NDArray[np.float64], first: NDArray[np.float64]) -> NDArray[np.float64]:
    moved = second[:, :2] @ first
    moved[:, 2] += second[:, 2]
    return moved


def draw_geometry(view: View, source: tuple[int, int]) -> Geometry:
    """A random `Geometry` within `view` for a frame of size `source` `(H, W)`, from torch's global generator."""
    pick = torch.rand(5, dtype=torch.float64).tolist()
    (height, width), window = view.size, view.window
    low, high = view.zoom
    zoom = low * (high / low) ** pick[0]
    scale = (width / source[1], height / source[0])
    left, top = (_offset(full * zoom - cut, p) for full, cut, p in ((width, window[1], pick[1]), (height, window[0], pick[2])))
    cx, cy = (window[1] - 1) / 2, (window[0] - 1) / 2
    angle = math.radians(view.rotate * (2 * pick[3] - 1))
    c, s = math.cos(angle), math.sin(angle)
    mirror = pick[4] < view.flip
    enlarge = np.array([[zoom, 0, (zoom - 1) / 2 - left], [0, zoom, (zoom - 1) / 2 - top]])
    turn = np.array([[c, -s, cx - c * cx + s * cy], [s, c, cy - s * cx - c * cy]])
    matrix = _compose(turn, _compose(enlarge, scale_matrix(source, view.size)))
    if mirror:
        matrix[0] = [-matrix[0, 0], -matrix[0, 1], window[1] - 1 - matrix[0, 2]]
    return Geometry(matrix, window, scale, zoom, mirror)


def _offset(slack: float, position: float) -> float:
    # whole pixels: an unzoomed crop then copies values instead of blending neighbours
    return float(round(slack * position))


def draw_colour(view: View) -> NDArray[np.float64]:
    """Random numbers within `view.colour` (factors of brightness, contrast, saturation; turn of hue), from torch's generator."""
    strength = np.array(view.colour)
    shift = (2 * torch.rand(4, dtype=torch.float64).numpy() - 1) * strength
    return cast("NDArray[np.float64]", shift + np.array([1.0, 1.0, 1.0, 0.0]))


def colour_matrix(factors: NDArray[np.float64], luma: float) -> NDArray[np.float64]:
    """`(3, 4)` matrix on RGB in 0..1: brightness, contrast about `luma` (mean luma of the image), saturation, hue (a turn in YIQ)."""
    brightness, contrast, saturation, hue = factors
    c, s = math.cos(2 * math.pi * hue), math.sin(2 * math.pi * hue)
    turn = np.linalg.inv(_YIQ) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ _YIQ
    grey = np.tile(_LUMA, (3, 1))
    mix = turn @ (saturation * np.eye(3) + (1 - saturation) * grey)
    offset = mix @ np.full(3, (1 - contrast) * brightness * luma)
    return np.concatenate([mix * brightness * contrast, offset[:, None]], 1)


class _Move(v2.Transform):
    """Applies one `Geometry` and one colour shift to every map of a sample."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self.view = view

    def _draw(self, source: tuple[int, int]) -> tuple[Geometry, NDArray[np.float64] | None]:
        size = self.view.size
        return Geometry(scale_matrix(source, size), size, (size[1] / source[1], size[0] / source[0])), None

    def forward(self, *inputs: Any) -> Any:
        """The moved sample; keys stay, `meta` is handed on.

        Raises:
            ConfigError: `inputs` is not one `Sample`, or the view asks for what a stereo pair cannot do.
            ShapeError: two maps of the sample differ in size.
        """
        if len(inputs) != 1 or not isinstance(inputs[0], dict):
            kind = type(inputs[0]).__name__ if inputs else "nothing"
            raise ConfigError(f"expected one Sample (a dict), got {kind}: convert frames with diorama.data.loader.to_sample.")
        sample = cast("dict[str, Any]", inputs[0])
        geometry, colour = self._draw(_frame_size(sample))
        moved = {key: _move(key, value, geometry, self.view.zoom_changes) for key, value in sample.items()}
        if geometry.mirrored:
            for left, right in RIGHT_OF.items():
                if right in moved:
                    moved[left], moved[right] = moved[right], moved[left]
        pictures = [key for key in ("image", "right") if key in moved]
        if colour is not None and pictures:
            matrix = colour_matrix(colour, float(np.dot(cv2.mean(moved[pictures[0]])[:3], _LUMA)))
            for key in pictures:
                moved[key] = np.clip(cv2.transform(moved[key], matrix), 0, 1)
        for key in pictures:
            moved[key] = tv_tensors.Image(torch.from_numpy(np.ascontiguousarray(moved[key].transpose(2, 0, 1))))
        return cast("Sample", moved)


class Augment(_Move):
    """Random zoom, turn, crop, mirror and colour of a whole sample, from torch's global generator (seeded per sample by the loader).

    Both views get the same geometry and the same photometry. A mirrored stereo pair swaps its views with all that belongs to them; one
    with labels of a single view cannot be mirrored, and no pair can be turned: both are refused, see `require_movable`.
    """

    def _draw(self, source: tuple[int, int]) -> tuple[Geometry, NDArray[np.float64] | None]:
        geometry = draw_geometry(self.view, source)
        factors = draw_colour(self.view)
        return geometry, factors if any(self.view.colour) else None

    def forward(self, *inputs: Any) -> Any:
        """The augmented sample; see `Augment`."""
        keys = set(inputs[0]) if inputs and isinstance(inputs[0], dict) else set()
        require_movable(self.view, keys)
        return super().forward(*inputs)


class Fit(_Move):
    """The whole frame at `view.size`; nothing random."""


class DrawPoints(v2.Transform):
    """Gives a sample what `rules` make of its own sparse depth, or of its depth (`drawn`); seeded like every random transform."""

    def __init__(self, rules: Sparsify) -> None:
        super().__init__()
        self.rules = rules

    def forward(self, *inputs: Any) -> Any:
        """The sample with its points."""
        (sample,) = inputs
        key = self.rules.key(sample)
        image = None
        if self.rules.pattern == "corners":
            image = (sample["image"].as_subclass(Tensor).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        camera = sample["intrinsics"].as_subclass(Tensor).double().numpy() if self.rules.needs_intrinsics else None
        seed, lidar = int(torch.randint(2**62, ())), Lidar.from_meta(sample.get("meta", {}))
        scanned = key == "sparse_depth"
        parts = drawn(_plane(sample[key]), self.rules, seed, intrinsics=camera, image=image, lidar=lidar, scanned=scanned)
        # the depth among them is what was withheld of a scan, as sparse as the rest of it
        return {**sample, **{name: SparseDepth(torch.from_numpy(part)[None]) for name, part in parts.items()}}


def train_transform(view: View, sparse: Sparsify | None = None) -> Augment | v2.Compose:
    """What training applies to each sample: resize to `view.size`, vary as `view` says, draw points; comes out at `view.window`.

    Scan lines and occlusion are those of the camera that took the frame, so they are settled before it is mirrored or enlarged.
    """
    if sparse is None:
        return Augment(view)
    parts = [Augment(view), DrawPoints(sparse)]
    return v2.Compose(parts[::-1] if sparse.pattern == "lines" or sparse.unoccluded else parts)


def eval_transform(view: View) -> Fit:
    """What evaluation applies: the whole frame at `view.size`."""
    return Fit(view)


def require_movable(view: View, keys: Collection[str]) -> None:
    """Return if samples with these keys can be varied as `view` says.

    Raises:
        ConfigError: a mirror of a stereo pair with labels of one view, or a turn of one.
    """
    rights = set(keys) & set(RIGHT_OF.values())
    if view.flip and rights:
        for key, side in _without_partner(set(keys)):
            raise ConfigError(f"a mirrored stereo pair swaps its views, but '{key}' belongs to the {side} one. Set view.flip to 0.")
    if view.rotate and (rights or set(keys) & {"disparity", "matched"}):
        raise ConfigError("a turned stereo pair is no longer rectified. Set view.rotate to 0.")


def _without_partner(keys: set[str]) -> list[tuple[str, str]]:
    """Keys that have a value for one view only, and which: left or right."""
    lefts = [key for key in keys if key in _LEFT_ALONE or (key in RIGHT_OF and RIGHT_OF[key] not in keys)]
    rights = [right for left, right in RIGHT_OF.items() if right in keys and left not in keys]
    return sorted([(key, "left") for key in lefts] + [(key, "right") for key in rights])


def _frame_size(sample: dict[str, Any]) -> tuple[int, int]:
    sizes = {key: (int(v.shape[-2]), int(v.shape[-1])) for key, v in sample.items() if isinstance(v, (tv_tensors.Image, tv_tensors.Mask))}
    sizes |= {key: v.canvas_size for key, v in sample.items() if isinstance(v, Intrinsics)}
    if not sizes:
        raise ConfigError("the sample has no image and no map. Ask for the key 'image' at least.")
    if len(set(sizes.values())) > 1:
        parts = ", ".join(f"{key} {height}x{width}" for key, (height, width) in sizes.items())
        raise ShapeError(f"{sample.get('meta', {}).get('id', 'sample')}: maps of different size ({parts}). Resize them to the image.")
    return next(iter(sizes.values()))


def _move(key: str, value: Any, to: Geometry, zoom_changes: str) -> Any:
    """One entry of a sample under `to`; pictures come back as `(H, W, 3)` arrays, the rest in its own type."""
    nearer = to.zoom if zoom_changes == "depth" else 1.0
    if isinstance(value, tv_tensors.Image):
        return warp_image(value.as_subclass(Tensor).permute(1, 2, 0).numpy(), to.matrix, to.size)
    if isinstance(value, Intrinsics):
        focal = to.zoom / nearer
        return move_intrinsics(value, to.matrix, to.size, (to.scale[0] * focal, to.scale[1] * focal))
    if isinstance(value, SparseDepth):
        return SparseDepth(torch.from_numpy(splat(_plane(value), to.matrix, to.size))[None] / nearer)
    if isinstance(value, Disparity):
        moved = torch.from_numpy(_nearest(_plane(value), to, UNKNOWN_DEPTH))[None]
        return Disparity(moved * (to.scale[0] * to.zoom))
    if isinstance(value, Confidence):
        return Confidence(torch.from_numpy(_nearest(_plane(value), to, 0.0))[None])
    if isinstance(value, Depth):
        return Depth(torch.from_numpy(_nearest(_plane(value), to, UNKNOWN_DEPTH))[None] / nearer)
    if isinstance(value, tv_tensors.Mask):
        labels = value.as_subclass(Tensor).to(torch.uint8).numpy()
        return tv_tensors.Mask(torch.from_numpy(_nearest(labels, to, IGNORE)).to(torch.int64))
    if isinstance(value, Tensor) and value.ndim >= 2:
        raise ConfigError(f"'{key}' is a plain tensor, so it is unknown how it moves: wrap it (tv_tensors or diorama.tensors).")
    return value


def _plane(depth: Tensor) -> NDArray[np.float32]:
    return cast("NDArray[np.float32]", depth.as_subclass(Tensor).reshape(depth.shape[-2:]).numpy())


def _nearest(values: Array, to: Geometry, fill: float) -> Array:
    return cv2.warpAffine(values, to.matrix, to.size[::-1], flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)


def warp_image(image: Array, matrix: NDArray[np.float64], size: tuple[int, int]) -> Array:
    """`(H, W, C)` image under `matrix` (2, 3) at `size` `(H, W)`; bilinear, area-averaged first when it shrinks, mirrored at the border."""
    shrink = np.hypot(matrix[0, :2], matrix[1, :2])
    if shrink.min() < 0.99:
        source = image.shape[:2]
        smaller = (max(1, round(source[0] * min(shrink[1], 1.0))), max(1, round(source[1] * min(shrink[0], 1.0))))
        image = cv2.resize(image, smaller[::-1], interpolation=cv2.INTER_AREA)
        matrix = _compose(matrix, scale_matrix(smaller, source))
        if smaller == size and np.allclose(matrix, np.eye(2, 3), atol=1e-6):
            return image
    return cv2.warpAffine(image, matrix, size[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
