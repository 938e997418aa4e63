"""The frames of a data set at the size at which a protocol judges them."""

from __future__ import annotations

from diorama.data.base import SceneDataset, WrappedDataset
from diorama.data.cache import resize_frame
from diorama.evaluation.protocols import Protocol
from diorama.types import Frame


class Resized(WrappedDataset):
    """The frames of `dataset` at `size` (H, W), by the rules of `data.cache`; nothing is kept on disk."""

    def __init__(self, dataset: SceneDataset, size: tuple[int, int]) -> None:
        super().__init__(dataset)
        self.size = size

    def frame(self, index: int) -> Frame:
        """Frame number `index` at `size`."""
        return resize_frame(self.dataset.frame(index), self.size)


def resized(dataset: SceneDataset, protocol: Protocol) -> SceneDataset:
    """`dataset` at the frame size of `protocol`; itself where the protocol takes frames as they are stored."""
    if not protocol.frame_size:
        return dataset
    height, width = (int(side) for side in protocol.frame_size.split("x"))
    return Resized(dataset, (height, width))
