"""G(a; b): maps of one view of a rectified pair as the other view sees them, by the depth of the view that looks.

Pixel centres are integers and the depth of a pair's two views is one and the same (the cameras differ by a shift along the rows), so a
warp moves values along rows and changes none: disparity = focal length * baseline / depth; the pixel x of the left view finds itself at
x - disparity of the right view, the pixel x of the right view at x + disparity of the left one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diorama.errors import ShapeError

EDGE_PX = 1e-3
"""How far beyond the outermost pixel centre still counts as on it: depth and back costs disparity its last digits."""


@dataclass(frozen=True)
class Warp:
    """Where each pixel of one view lies in the other; made by `find`, applied to any map of the other view.

    Args:
        first: `(B, 1, H, W)` int64, the column at or left of the place.
        second: `(B, 1, H, W)` int64, the column right of it.
        part: `(B, 1, H, W)` how far the place is on the way from `first` to `second`, 0..1; carries the gradient to the depth.
        seen: `(B, 1, H, W)` bool, whether the depth is known and the place within the other view.
    """

    first: Tensor
    second: Tensor
    part: Tensor
    seen: Tensor

    def __call__(self, values: Tensor) -> Tensor:
        """G(values; depth): `(B, C, H, W)` maps of the other view -> the same seen from this one, bilinear; 0 where nothing is seen.

        Exact where the disparity is a whole number. float32 or better comes back, whatever `values` are.

        Raises:
            ShapeError: another batch, height or width.
        """
        if values.ndim != 4 or values.shape[:1] + values.shape[2:] != self.part.shape[:1] + self.part.shape[2:]:
            raise ShapeError(f"maps {tuple(values.shape)} do not fit depth {tuple(self.part.shape)}; resize them to the depth.")
        values = values if values.dtype == torch.float64 else values.float()
        near, far = (values.gather(-1, index.expand(values.shape)) for index in (self.first, self.second))
        part = self.part.to(values.dtype)
        return torch.where(self.seen, near + part * (far - near), values.new_zeros(()))

    def whole(self, known: Tensor) -> Tensor:
        """`(B, 1, H, W)` bool: seen, and every pixel that is blended there has a value by `known` `(B, 1, H, W)` bool."""
        near, far = (known.gather(-1, index) for index in (self.first, self.second))
        # a place on a pixel centre takes nothing from the neighbour
        return self.seen & (near | (self.part.detach() > 1 - EDGE_PX)) & (far | (self.part.detach() < EDGE_PX))


def find(depth: Tensor, times: Tensor, right: bool = False) -> Warp:
    """The warp into the view of `depth`: where its pixels lie in the other view.

    Depth that is not finite, not above 0 or too near for its pixel to be seen by both is masked before anything is divided by it. The
    gradient flows from the warped values to `depth`; detach it if it is not to be moved.

    Args:
        depth: b, `(B, 1, H, W)` [m]; 0 = unknown.
        times: `(B,)` focal length [px] * baseline [m] of each pair at this size.
        right: whether `depth` is that of the right view.

    Raises:
        ShapeError: `depth` is not `(B, 1, H, W)`, or there is not one number per pair.
    """
    if depth.ndim != 4 or depth.shape[1] != 1 or times.shape != depth.shape[:1]:
        raise ShapeError(f"depth {tuple(depth.shape)} and focal length * baseline {tuple(times.shape)}: give (B, 1, H, W) and (B,).")
    # bfloat16 has 8 digits: columns beyond 256 would share their places
    depth = depth if depth.dtype == torch.float64 else depth.float()
    scale = times.to(depth)[:, None, None, None]
    last = depth.shape[-1] - 1
    with torch.no_grad():
        usable = torch.isfinite(depth) & (depth > 0) & (scale > 0) & (depth * (last + 1) >= scale)
    disparity = scale / torch.where(usable, depth, torch.ones_like(depth))
    column = torch.arange(last + 1, device=depth.device, dtype=depth.dtype)
    place = column + disparity if right else column - disparity
    seen = usable & (place >= -EDGE_PX) & (place <= last + EDGE_PX)
    place = torch.where(seen, place, torch.zeros_like(place))
    first = place.detach().floor().long().clamp(0, max(last - 1, 0))
    return Warp(first, (first + 1).clamp(max=last), (place - first).clamp(0, 1), seen)


def unoccluded(own: Tensor, warped: Tensor, tolerance: float) -> Tensor:
    """`(B, 1, H, W)` bool: where the other view does not see something nearer at that place.

    Args:
        own: `(B, 1, H, W)` pseudo depth of this view [m].
        warped: `(B, 1, H, W)` pseudo depth of the other view warped into this one [m]: a rectified pair keeps the depth.
        tolerance: by which part of the depth the other may be nearer.
    """
    return warped >= own * (1 - tolerance)
