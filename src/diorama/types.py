"""The contracts that every room shares: one scene before the network (`Frame`, `Sample`) and what comes out (`Prediction`).

Imports no torch: the ONNX runtime and the readers use the same names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor
    from torchvision import tv_tensors

    from diorama.tensors import Confidence, Depth, Disparity, Intrinsics, SparseDepth

IGNORE = 255
"""Train id of a pixel without a label."""

UNKNOWN_DEPTH = 0.0
"""Depth [m] or disparity [px] of a pixel without a value."""


class Frame(TypedDict, total=False):
    """One scene as a reader returns it: NumPy, native size. A missing label is a missing key, never None."""

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    right: NDArray[np.uint8]  # (H, W, 3) RGB, rectified
    semantic: NDArray[np.uint8]  # (H, W) train ids, 255 = ignore
    depth: NDArray[np.float32]  # (H, W) metres, 0 = unknown
    sparse_depth: NDArray[np.float32]  # (H, W) metres, 0 = unknown
    disparity: NDArray[np.float32]  # (H, W) pixels, 0 = unknown
    matched: NDArray[np.float32]  # (H, W) pixels, what a matcher found in the left view, 0 = nothing
    semantic_right: NDArray[np.uint8]  # (H, W) train ids of the right view, 255 = ignore
    pseudo_depth: NDArray[np.float32]  # (H, W) metres, depth of the left view by stereo, 0 = none
    pseudo_depth_right: NDArray[np.float32]  # (H, W) metres, the same of the right view
    confidence: NDArray[np.float32]  # (H, W) trust in pseudo_depth, 0..1
    confidence_right: NDArray[np.float32]  # (H, W) trust in pseudo_depth_right, 0..1
    intrinsics: NDArray[np.float64]  # (3, 3) pixels, pixel centres at integers
    baseline: float  # metres
    domain: int
    meta: dict[str, Any]  # id, path, split, ...


class Sample(TypedDict, total=False):
    """One scene as the network is fed: tv_tensors, so that stock torchvision v2 transforms move them together."""

    image: tv_tensors.Image  # float32 (3, H, W), RGB in 0..1
    right: tv_tensors.Image
    semantic: tv_tensors.Mask  # int64 (H, W), train ids, 255 = ignore
    depth: Depth  # float32 (1, H, W), metres, 0 = unknown
    sparse_depth: SparseDepth
    disparity: Disparity  # float32 (1, H, W), pixels, 0 = unknown
    matched: Disparity
    semantic_right: tv_tensors.Mask
    pseudo_depth: Depth
    pseudo_depth_right: Depth
    confidence: Confidence  # float32 (1, H, W), 0..1
    confidence_right: Confidence
    intrinsics: Intrinsics  # float32 (3, 3), pixels
    baseline: Tensor  # () metres
    domain: Tensor  # () int64
    meta: dict[str, Any]


SCENE_KEYS = frozenset(Sample.__annotations__) - {"meta"}
"""The keys a data set can provide and a method can need."""


RIGHT_OF = {"image": "right", "semantic": "semantic_right", "pseudo_depth": "pseudo_depth_right", "confidence": "confidence_right"}
"""What belongs to the left view of a pair -> the same of the right view. A mirrored pair swaps them."""

INPUT_CHANNELS = {"image": 3, "right": 3, "sparse_depth": 1, "matched": 1}
"""Keys of `Sample` that a network can take as input, with their channels."""


def seen_resized(inputs: Collection[str]) -> bool:
    """Whether a network of these inputs is given them at the size that it was trained at: points and disparities keep their own."""
    return not {"sparse_depth", "matched"} & set(inputs)


Inputs = Mapping[str, NDArray[np.float32]]
"""What a network is given, in NumPy: key of `INPUT_CHANNELS` -> `(B, C, H, W)`; RGB in 0..1, depth in metres and disparity in pixels,
both with 0 = unknown."""


class Prediction(NamedTuple):
    """What every method's `forward` returns (tensors in training, NumPy arrays from the ONNX runtime)."""

    semantic_logits: Any = None  # (B, K, H, W)
    depth: Any = None  # (B, 1, H, W) metres, > 0
    reconstruction: Any = None  # (B, 1, H, W) grey image in 0..255
    attention: Any = None  # (B, N, N) in 0..1, row = query
    uncertainty: Any = None  # (B, 1, H, W) metres, larger is worse
    confidence: Any = None  # (B, 1, H, W) in 0..1, larger is surer: whether the disparity that the network was given is right
    threshold: Any = None  # (B, 1, 1, 1) in 0..1: the confidence above which that image's disparity is to be trusted
