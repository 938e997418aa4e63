"""Photos and points that a program already holds: NumPy arrays, PIL images and torch tensors, brought to one form. Imports no torch."""

from __future__ import annotations

from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from diorama.data import io
from diorama.errors import DataError, ShapeError, one_line

LIDAR_SCALE = 256.0
"""Values per metre of sparse depth in 16 bits that does not say its own scale (the KITTI convention)."""

_UINT16_MAX = 65535
_PHOTO = "Give uint8 (H, W, 3), RGB; a tensor is (3, H, W), floats lie in 0..1."


def is_held(value: object) -> TypeGuard[Any]:
    """Whether `value` is an array, a PIL image or a tensor, rather than where to find one."""
    return isinstance(value, np.ndarray | Image.Image) or is_tensor(value)


def is_tensor(value: object) -> TypeGuard[Any]:
    """Whether `value` is a torch tensor; asked without importing torch."""
    return all(hasattr(value, name) for name in ("detach", "cpu", "numpy", "ndim"))


def unstacked(value: Any) -> list[Any] | None:
    """The items of a stack of photos, `(N, H, W, C)` arrays or `(N, C, H, W)` tensors; None if `value` is one photo or map."""
    return list(value) if not isinstance(value, Image.Image) and value.ndim == 4 else None


def as_photo(value: Any) -> NDArray[np.uint8]:
    """`(H, W, 3)` RGB of a photo: grey and RGBA ones, 16 bits, floats in 0..1; a PIL image is turned as its EXIF says.

    Raises:
        ShapeError: another shape or type, or floats outside 0..1.
        DataError: a PIL image that is damaged, too large, or of floats.
    """
    if isinstance(value, Image.Image):
        image = _decoded(value)
        if image.mode == "F":
            raise DataError("the PIL image holds floats, so it is no photo. Convert it to RGB, or give it as sparse depth.")
        values = np.asarray(image) if image.mode.startswith("I") else np.asarray(image.convert("RGB"))
    elif is_tensor(value):
        values = np.asarray(value.detach().cpu().numpy())
        if values.ndim != 3 or values.shape[0] not in (1, 3, 4):
            raise ShapeError(f"a photo as a tensor of shape {values.shape}. {_PHOTO}")
        values = values.transpose(1, 2, 0)
    else:
        values = value
    if values.ndim == 2 and not np.issubdtype(values.dtype, np.floating):
        values = values[..., None]
    if values.ndim != 3 or values.shape[2] not in (1, 3, 4) or not values.size:
        raise ShapeError(f"a photo of shape {values.shape} and type {values.dtype}. {_PHOTO}")
    io.check_pixels("the photo", values.shape[1], values.shape[0])
    values = _eight_bits(values[..., :3])
    return np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3)))


def as_points(value: Any, scale: float | None) -> NDArray[Any]:
    """`(H, W)` sparse depth as floats in metres, 0 = unknown: arrays and tensors hold metres, a PIL image of whole numbers metres * scale.

    Args:
        value: an array or a PIL image, or a tensor, which may have one channel.
        scale: of a PIL image; None: what it says itself, else 256.

    Raises:
        DataError: a PIL image that is damaged, too large, or of 8 bits.
    """
    if isinstance(value, Image.Image):
        if value.mode in io.SHALLOW:
            raise DataError(f"the PIL image has 8 bits ({value.mode}), but sparse depth has 16. Open the 16-bit file, or give metres.")
        image = _decoded(value)
        if image.mode == "F":
            return np.asarray(image, np.float32)
        return (np.asarray(image) / (scale or io.recorded_scale(value, "the PIL image") or LIDAR_SCALE)).astype(np.float32)
    values = np.asarray(value.detach().cpu().numpy()) if is_tensor(value) else value
    return values[0] if values.ndim == 3 and values.shape[0] == 1 else values


def _decoded(image: Image.Image) -> Image.Image:
    io.check_pixels("the PIL image", image.width, image.height)
    try:
        return ImageOps.exif_transpose(image)
    except io.DAMAGE as error:
        raise DataError(f"the PIL image is truncated or damaged ({one_line(error)}). Open the file again.") from error


def _eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if np.issubdtype(values.dtype, np.integer):
        if values.min() < 0 or values.max() > _UINT16_MAX:
            raise ShapeError(f"a photo with values from {values.min()} to {values.max()}. {_PHOTO}")
        # what is stored as 32 bits is as bright as a photo of 16 bits
        return ((values.astype(np.int64) * 255 + _UINT16_MAX // 2) // _UINT16_MAX).astype(np.uint8)
    if not np.issubdtype(values.dtype, np.floating):
        raise ShapeError(f"a photo of type {values.dtype}. {_PHOTO}")
    least, most = float(values.min()), float(values.max())
    if not (least >= 0 and most <= 1):  # NaN fails both
        raise ShapeError(f"a photo of floats from {least:.3g} to {most:.3g}, neither in 0..1 nor 8-bit. {_PHOTO}")
    return (values * np.float32(255)).round().astype(np.uint8)
