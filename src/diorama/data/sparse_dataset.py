"""A data set whose frames have sparse depth, made by rules from what the data set provides; and centre crops of frames."""

from __future__ import annotations

from diorama.data.base import SceneDataset, WrappedDataset
from diorama.data.crop import cut, extent
from diorama.data.scan import Lidar
from diorama.data.sparsify import Sparsify, drawn, frame_seed
from diorama.errors import ConfigError, ShapeError
from diorama.types import Frame


def centre_crop(frame: Frame, size: tuple[int, int]) -> Frame:
    """The middle `size` (H, W) of every map; the principal point moves with it, metres and pixels of disparity stay.

    An odd remainder leaves the extra row below and the extra column to the right.

    Raises:
        ShapeError: the frame is smaller than `size`.
    """
    found = extent(frame)
    if found is None:
        return frame
    key, height, width = found
    if height < size[0] or width < size[1]:
        raise ShapeError(f"{key} is {height}x{width}, smaller than the crop {size[0]}x{size[1]}. Choose a smaller crop.")
    return cut(frame, (height - size[0]) // 2, (width - size[1]) // 2, size)  # type: ignore[return-value]


class SparseDataset(WrappedDataset):
    """The frames of `dataset` with `sparse_depth` drawn by `rules` from (`seed`, frame id), after a centre crop.

    Everything else stays as it is: ids, labels, files, dense depth. To train or evaluate at a reduced size wrap a `CachedDataset`
    of that size: points are then drawn at the size at which they are used.

    Args:
        dataset: frames with depth, or with sparse depth to thin (`rules.source`).
        rules: how.
        seed: another seed draws other points.
        crop: `(H, W)` [px] of the centre that remains of every map, before points are drawn; None: all of it.

    Raises:
        ConfigError: the data set lacks what the rules need.
    """

    def __init__(self, dataset: SceneDataset, rules: Sparsify, seed: int = 0, crop: tuple[int, int] | None = None) -> None:
        super().__init__(dataset)
        self.rules, self.seed, self.crop = rules, seed, crop
        if crop is not None and (len(crop) != 2 or min(crop) < 1):
            raise ConfigError(f"crop is {list(crop)}: give height and width in pixels, e.g. [228, 304].")
        self._key = rules.key(dataset.provides)
        for key in sorted(rules.needs - dataset.provides):
            raise ConfigError(
                f"these sparse rules need '{key}', which {dataset.name} lacks. Use sparse.pattern=random without misplacement."
            )
        self.provides = dataset.provides | ({"sparse_depth", "depth"} if rules.withhold else {"sparse_depth"})
        if rules.withhold:
            self.truth = "what the rules take out of the scan"
        # what a cached copy depends on, as text: objects are no part of a fingerprint
        self.settings = (
            repr(rules),
            repr(sorted((key, value) for key, value in vars(dataset).items() if isinstance(value, (str, int, float)))),
        )

    def frame(self, index: int) -> Frame:
        """Frame number `index` with its sparse depth; the same whenever and wherever it is asked for.

        A frame whose `meta` describes its scanner (`lidar`, see `scan.Lidar.from_meta`) is thinned by that scanner's lines.
        """
        frame: Frame = {**self.dataset.frame(index)}
        if self.crop is not None:
            frame = centre_crop(frame, self.crop)
        parts = drawn(
            frame[self._key],
            self.rules,
            frame_seed(self.seed, self.ids[index]),
            intrinsics=frame.get("intrinsics"),
            image=frame.get("image"),
            lidar=Lidar.from_meta(frame.get("meta", {})),
            scanned=self._key == "sparse_depth",
        )
        frame.update(parts)  # type: ignore[typeddict-item]
        return frame
