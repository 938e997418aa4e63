"""Data sets seen in another way: sparse depth that serves as depth, labels in another label set. NumPy only."""

from __future__ import annotations

from diorama.data.base import SceneDataset, WrappedDataset
from diorama.errors import ConfigError
from diorama.types import Frame

SPARSE_KEYS = "sparse_keys"
"""Entry of `meta`: keys of the frame, other than `sparse_depth`, whose known pixels are few, so that resizing moves them one by one."""


class DepthFrom(WrappedDataset):
    """The frames of `dataset` with their sparse depth as `depth`: LiDAR returns as the labels of a depth network, and as its truth.

    Resizing keeps the points: a return goes to the pixel that covers it, and of two the nearer one stays.

    Raises:
        ConfigError: the data set has no sparse depth, or has depth already.
    """

    def __init__(self, dataset: SceneDataset) -> None:
        super().__init__(dataset)
        if "sparse_depth" not in dataset.provides:
            raise ConfigError(f"{dataset.name} ({dataset.split}) has no 'sparse_depth' to take as depth. Leave out depth_from.")
        if "depth" in dataset.provides:
            raise ConfigError(
                f"{dataset.name} ({dataset.split}) has 'depth' beside 'sparse_depth'. Leave out depth_from, or leave depth out of `keys`."
            )
        self.provides = (dataset.provides - {"sparse_depth"}) | {"depth"}
        self.truth = "sparse depth as it is stored"

    def frame(self, index: int) -> Frame:
        """Frame number `index`; `meta` says that its depth is sparse."""
        frame: Frame = {**self.dataset.frame(index)}
        frame["depth"] = frame.pop("sparse_depth")
        frame["meta"] = {**frame.get("meta", {}), SPARSE_KEYS: ["depth"]}
        return frame
