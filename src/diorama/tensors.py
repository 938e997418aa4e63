"""tv_tensors of a scene (`Depth`, `SparseDepth`, `Disparity`, `Confidence`, `Intrinsics`), their kernels for torchvision's transforms.

Pixel centres are integers: scaling by s takes column u to s u + (s - 1) / 2, a mirror to W - 1 - u. Every geometric functional that
torchvision offers for bounding boxes has a kernel here for each class, or refuses with a `ConfigError` that says what to use instead.

| functional | Depth | SparseDepth | Disparity | Intrinsics |
|---|---|---|---|---|
| crop, center_crop, pad, flips | as a mask, 0 = unknown | as Depth | as Depth | principal point moves |
| resize, resized_crop | nearest | splat | nearest, values times the width ratio | scaled |
| rotate, affine | nearest | splat (no shear) | no rotation, no shear; values times scale | roll about the axis (no shear) |
| perspective, elastic | nearest | refused | refused | refused |

`Confidence` moves as `Depth` does, and 0 (no trust) fills what is uncovered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from diorama.errors import ConfigError, ShapeError
from diorama.types import UNKNOWN_DEPTH

_Kind = TypeVar("_Kind", bound=tv_tensors.TVTensor)
_Run = TypeVar("_Run", bound=Callable[..., Any])


class Depth(tv_tensors.Mask):
    """Distance along the optical axis, float32 `(..., 1, H, W)` [m], 0 = unknown. Never interpolated between two surfaces."""


class SparseDepth(Depth):
    """A few known pixels [m], 0 = unknown. Resampling moves the points; where two meet, the one nearer to the camera stays."""


class Disparity(Depth):
    """Horizontal shift to the right view [px], 0 = unknown. The values scale with the width of the image."""


class Confidence(tv_tensors.Mask):
    """Trust in another map, float32 `(..., 1, H, W)` in 0..1, 0 = none. Moves by the nearest pixel; its values never change."""


class Intrinsics(tv_tensors.TVTensor):
    """Camera matrix `(3, 3)` float32 [px], pixel centres at integers; knows the `(H, W)` of the image it belongs to.

    `clone`, `to`, `detach`, `copy` and `pickle` keep `canvas_size`; arithmetic returns a plain tensor.
    """

    canvas_size: tuple[int, int]

    def __new__(cls, data: Any, *, canvas_size: Sequence[int], device: torch.device | str | None = None) -> Intrinsics:
        """The camera of an image of `canvas_size` `(H, W)`.

        Raises:
            ShapeError: `data` is not `(..., 3, 3)`.
        """
        matrix = torch.as_tensor(data, dtype=torch.float32, device=device)
        if matrix.shape[-2:] != (3, 3):
            raise ShapeError(f"intrinsics have shape {tuple(matrix.shape)}, expected (3, 3): [[fx, 0, cx], [0, fy, cy], [0, 0, 1]].")
        return _intrinsics(matrix, (int(canvas_size[0]), int(canvas_size[1])))

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Tensor], types: tuple[type[Tensor], ...], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Tensor:
        output: Tensor = super().__torch_function__(func, types, args, kwargs)
        if isinstance(output, Intrinsics) and "canvas_size" not in output.__dict__:
            output.canvas_size = next(a.canvas_size for a in args if isinstance(a, Intrinsics))
        return output

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Intrinsics({self.as_subclass(Tensor).tolist()}, canvas_size={self.canvas_size})"


def _intrinsics(matrix: Tensor, canvas_size: tuple[int, int]) -> Intrinsics:
    found = matrix.as_subclass(Intrinsics)
    found.canvas_size = canvas_size
    return found


def splat(values: NDArray[np.float32], matrix: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    """`(H, W)` sparse map [m] -> map of `size`: each known pixel goes where `matrix` (2, 3) takes its `(u, v)`.

    Of two that meet the one nearer to the camera stays; what leaves the map is lost.
    """
    v, u = np.nonzero(values)
    known = values[v, u]
    x = np.rint(matrix[0, 0] * u + matrix[0, 1] * v + matrix[0, 2]).astype(np.int64)
    y = np.rint(matrix[1, 0] * u + matrix[1, 1] * v + matrix[1, 2]).astype(np.int64)
    inside = (x >= 0) & (y >= 0) & (x < size[1]) & (y < size[0])
    moved = np.full(size, np.inf, np.float32)
    np.minimum.at(moved, (y[inside], x[inside]), known[inside])
    moved[np.isinf(moved)] = UNKNOWN_DEPTH
    return moved


def _typed(tensor: Tensor, kind: type[_Kind]) -> _Kind:
    return tensor.as_subclass(kind)


def _splat(sparse: Tensor, matrix: NDArray[np.float64], size: tuple[int, int]) -> SparseDepth:
    plain = sparse.as_subclass(Tensor)
    flat = plain.detach().cpu().reshape(-1, *plain.shape[-2:]).numpy()
    moved = np.stack([splat(one, matrix, size) for one in flat]) if len(flat) else np.zeros((0, *size), np.float32)
    return torch.from_numpy(moved).reshape(*plain.shape[:-2], *size).to(plain).as_subclass(SparseDepth)


def scale_matrix(source: tuple[int, int], target: tuple[int, int]) -> NDArray[np.float64]:
    """`(2, 3)` matrix that takes pixel `(u, v)` of an image of size `source` `(H, W)` to its place after resizing to `target`."""
    y, x = target[0] / source[0], target[1] / source[1]
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2]])


def _turn_matrix(
    size: tuple[int, int], degrees: float, translate: Sequence[float], scale: float, center: Sequence[float] | None
) -> NDArray[np.float64]:
    """Turn by `degrees` (clockwise on the screen), scale about `center`, shift: torchvision's affine between pixel centres."""
    # torchvision counts `center` from the corner of the first pixel, not from its middle
    cx, cy = ((size[1] - 1) / 2, (size[0] - 1) / 2) if center is None else (center[0] - 0.5, center[1] - 0.5)
    c, s = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    return np.array([[c, -s, cx - c * cx + s * cy + translate[0]], [s, c, cy - s * cx - c * cy + translate[1]]])


def _resized(size: tuple[int, int], wanted: list[int] | None, max_size: int | None) -> tuple[int, int]:
    found = F.resize_bounding_boxes(torch.zeros(1, 4), canvas_size=size, size=wanted, max_size=max_size)[1]
    return int(found[0]), int(found[1])


def _extent(tensor: Tensor) -> tuple[int, int]:
    return int(tensor.shape[-2]), int(tensor.shape[-1])


def _refuse(functional: str, kind: type, instead: str) -> ConfigError:
    return ConfigError(f"{functional} has no meaning for {kind.__name__}: {instead}")


def _no_shear(functional: str, kind: type, shear: Sequence[float]) -> None:
    if any(shear):
        raise _refuse(f"{functional} with shear", kind, "set shear to 0 or drop the key from the sample.")


def _no_expand(kind: type, expand: bool) -> None:
    if expand:
        raise _refuse("rotate with expand=True", kind, "pass expand=False.")


def _kernel(functional: str, kind: type) -> Callable[[_Run], _Run]:
    """Registers what follows as the kernel of `functional` for `kind` (torchvision's own decorator is untyped)."""

    def register(run: _Run) -> _Run:
        F.register_kernel(functional, kind)(run)
        return run

    return register


# ---- Depth and Confidence: the kernels of Mask with unknown (0) as fill, whatever fill the transform holds for images or labels


def _masked(kernel: Callable[..., Tensor], **fixed: Any) -> Callable[..., Any]:
    def run(depth: Depth | Confidence, *args: Any, **kwargs: Any) -> Any:
        for name in ("interpolation", "antialias"):
            kwargs.pop(name, None)
        return kernel(depth.as_subclass(Tensor), *args, **{**kwargs, **fixed}).as_subclass(type(depth))

    return run


for _map in (Depth, Confidence):
    for _name in ("crop", "center_crop", "horizontal_flip", "vertical_flip"):
        _kernel(_name, _map)(_masked(getattr(F, f"{_name}_mask")))
    for _name in ("affine", "rotate", "perspective", "elastic", "pad"):
        _kernel(_name, _map)(_masked(getattr(F, f"{_name}_mask"), fill=UNKNOWN_DEPTH))


@_kernel("resize", Confidence)
@_kernel("resize", Depth)
def _resize_depth(depth: _Kind, size: list[int] | None, max_size: int | None = None, **_: Any) -> _Kind:
    # Mask's own kernel takes the upper left neighbour; nearest-exact keeps pixel centres where the intrinsics say they are
    plain = depth.as_subclass(Tensor)
    moved: Tensor = F.resize_image(
        plain.reshape(-1, 1, *plain.shape[-2:]), size, interpolation=InterpolationMode.NEAREST_EXACT, max_size=max_size, antialias=False
    )
    return _typed(moved.reshape(*plain.shape[:-2], *moved.shape[-2:]), type(depth))


@_kernel("resized_crop", Confidence)
@_kernel("resized_crop", Depth)
def _resized_crop_depth(depth: Depth | Confidence, top: int, left: int, height: int, width: int, size: list[int], **_: Any) -> Any:
    return F.resize(F.crop(depth, top, left, height, width), size)


# ---- SparseDepth


@_kernel("resize", SparseDepth)
def _resize_sparse(sparse: SparseDepth, size: list[int] | None, max_size: int | None = None, **_: Any) -> SparseDepth:
    target = _resized(_extent(sparse), size, max_size)
    return _splat(sparse, scale_matrix(_extent(sparse), target), target)


@_kernel("affine", SparseDepth)
def _affine_sparse(
    sparse: SparseDepth, angle: float, translate: list[float], scale: float, shear: list[float], center: Any = None, **_: Any
) -> SparseDepth:
    _no_shear("affine", SparseDepth, shear)
    return _splat(sparse, _turn_matrix(_extent(sparse), angle, translate, scale, center), _extent(sparse))


@_kernel("rotate", SparseDepth)
def _rotate_sparse(sparse: SparseDepth, angle: float, expand: bool = False, center: Any = None, **_: Any) -> SparseDepth:
    _no_expand(SparseDepth, expand)
    return _splat(sparse, _turn_matrix(_extent(sparse), -angle, (0, 0), 1.0, center), _extent(sparse))


# ---- Disparity


@_kernel("resize", Disparity)
def _resize_disparity(disparity: Disparity, size: list[int] | None, max_size: int | None = None, **_: Any) -> Disparity:
    moved = _resize_depth(disparity, size, max_size).as_subclass(Tensor)
    return _typed(moved * (moved.shape[-1] / disparity.shape[-1]), Disparity)


@_kernel("affine", Disparity)
def _affine_disparity(
    disparity: Disparity, angle: float, translate: list[float], scale: float, shear: list[float], center: Any = None, **_: Any
) -> Disparity:
    _no_shear("affine", Disparity, shear)
    if angle % 360:
        raise _refuse("rotation", Disparity, "the views would no longer be rectified; set the angle to 0 or use depth instead.")
    moved = F.affine_mask(disparity.as_subclass(Tensor), angle, translate, scale, shear, fill=UNKNOWN_DEPTH, center=center)
    return _typed(moved * scale, Disparity)


@_kernel("rotate", Disparity)
def _rotate_disparity(disparity: Disparity, angle: float, **_: Any) -> Disparity:
    return _affine_disparity(disparity, angle, [0, 0], 1.0, [0, 0])


# ---- Intrinsics


def _moved(camera: Intrinsics, matrix: NDArray[np.float64], size: tuple[int, int], fx: float = 1.0, fy: float = 1.0) -> Intrinsics:
    """Focal lengths times `fx`, `fy`; the principal point goes where `matrix` takes it."""
    moved = camera.as_subclass(Tensor).clone()
    point = torch.stack([moved[..., 0, 2], moved[..., 1, 2], torch.ones_like(moved[..., 0, 2])], -1).double()
    moved[..., 0, 0] *= fx
    moved[..., 0, 1] *= fx
    moved[..., 1, 1] *= fy
    moved[..., :2, 2] = (point @ torch.as_tensor(matrix, dtype=torch.float64, device=moved.device).T).to(moved.dtype)
    return _intrinsics(moved, size)


def move_intrinsics(camera: Intrinsics, matrix: NDArray[np.float64], size: tuple[int, int], focal: tuple[float, float]) -> Intrinsics:
    """The camera of an image warped by `matrix` (2, 3) to `size` `(H, W)`, its focal lengths times `focal` `(x, y)`.

    A turn in `matrix` is a camera rolled about its optical axis: exact if fx = fy, else off by |fx / fy - 1| times the sine of the angle.
    """
    return _moved(camera, matrix, size, *focal)


@_kernel("crop", Intrinsics)
def _crop_intrinsics(camera: Intrinsics, top: int, left: int, height: int, width: int) -> Intrinsics:
    return _moved(camera, np.array([[1.0, 0, -left], [0, 1, -top]]), (height, width))


@_kernel("center_crop", Intrinsics)
def _center_crop_intrinsics(camera: Intrinsics, output_size: list[int]) -> Intrinsics:
    probe = torch.arange(camera.canvas_size[1], dtype=torch.float32).repeat(camera.canvas_size[0], 1)
    rows = torch.arange(camera.canvas_size[0], dtype=torch.float32)[:, None].expand_as(probe)
    moved = F.center_crop_mask(torch.stack([probe, rows]) + 1, output_size)
    y, x = (int(i) for i in torch.nonzero(moved[0])[0])
    left, top = int(moved[0, y, x]) - 1 - x, int(moved[1, y, x]) - 1 - y
    return _crop_intrinsics(camera, top, left, *_extent(moved))


@_kernel("pad", Intrinsics)
def _pad_intrinsics(camera: Intrinsics, padding: int | list[int], **_: Any) -> Intrinsics:
    sides = [padding] if isinstance(padding, int) else list(padding)
    left, top, right, bottom = sides * (4 // len(sides))
    height, width = camera.canvas_size
    return _moved(camera, np.array([[1.0, 0, left], [0, 1, top]]), (height + top + bottom, width + left + right))


@_kernel("horizontal_flip", Intrinsics)
def _horizontal_flip_intrinsics(camera: Intrinsics) -> Intrinsics:
    return _moved(camera, np.array([[-1.0, 0, camera.canvas_size[1] - 1], [0, 1, 0]]), camera.canvas_size)


@_kernel("vertical_flip", Intrinsics)
def _vertical_flip_intrinsics(camera: Intrinsics) -> Intrinsics:
    return _moved(camera, np.array([[1.0, 0, 0], [0, -1, camera.canvas_size[0] - 1]]), camera.canvas_size)


@_kernel("resize", Intrinsics)
def _resize_intrinsics(camera: Intrinsics, size: list[int] | None, max_size: int | None = None, **_: Any) -> Intrinsics:
    target = _resized(camera.canvas_size, size, max_size)
    matrix = scale_matrix(camera.canvas_size, target)
    return _moved(camera, matrix, target, matrix[0, 0], matrix[1, 1])


@_kernel("resized_crop", Intrinsics)
def _resized_crop_intrinsics(camera: Intrinsics, top: int, left: int, height: int, width: int, size: list[int], **_: Any) -> Intrinsics:
    return _resize_intrinsics(_crop_intrinsics(camera, top, left, height, width), size)


@_kernel("affine", Intrinsics)
def _affine_intrinsics(
    camera: Intrinsics, angle: float, translate: list[float], scale: float, shear: list[float], center: Any = None, **_: Any
) -> Intrinsics:
    _no_shear("affine", Intrinsics, shear)
    return _moved(camera, _turn_matrix(camera.canvas_size, angle, translate, scale, center), camera.canvas_size, scale, scale)


@_kernel("rotate", Intrinsics)
def _rotate_intrinsics(camera: Intrinsics, angle: float, expand: bool = False, center: Any = None, **_: Any) -> Intrinsics:
    _no_expand(Intrinsics, expand)
    return _moved(camera, _turn_matrix(camera.canvas_size, -angle, (0, 0), 1.0, center), camera.canvas_size)


# ---- what no camera does


def _refusal(functional: str, kind: type) -> Callable[..., Any]:
    def run(*_: Any, **__: Any) -> Any:
        raise _refuse(functional, kind, "drop the key from the sample, or use resize, crop, flip, rotate or affine.")

    return run


for _name in ("perspective", "elastic"):
    for _kind in (SparseDepth, Disparity, Intrinsics):
        _kernel(_name, _kind)(_refusal(_name, _kind))
