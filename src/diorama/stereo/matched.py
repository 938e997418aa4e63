"""Pairs with what a matcher finds in them: the input of networks that judge disparity. NumPy and OpenCV only."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from diorama.data.base import SceneDataset, WrappedDataset
from diorama.data.cache import fingerprint
from diorama.errors import ConfigError, DataError, ShapeError
from diorama.stereo.matching import Matcher, Matching, match
from diorama.types import Frame


class Matched(WrappedDataset):
    """The frames of `dataset` with `matched`: the dense disparity [px] of the left view, as `match` fills it.

    Args:
        dataset: rectified pairs.
        keep: keys of the frames that stay, beside `image`, whose size they have; None: all. A cached copy holds no more.
        matcher: None: `Matcher()`. Another callable should have a `repr` that says what it does: cached copies are told apart by it.

    Raises:
        ConfigError: the data set has no pairs.
    """

    def __init__(self, dataset: SceneDataset, keep: Collection[str] | None = None, matcher: Matching | None = None) -> None:
        super().__init__(dataset)
        for key in ("image", "right"):
            if key not in dataset.provides:
                raise ConfigError(f"{dataset.name} ({dataset.split}) has no '{key}' to match. Choose stereo pairs: `diorama data list`.")
        self._matcher = Matcher() if matcher is None else matcher
        kept = dataset.provides if keep is None else dataset.provides & {*keep, "image"}
        self.provides = frozenset({*kept, "matched"})
        self.settings = (repr(self._matcher), fingerprint(dataset, (0, 0)))

    def frame(self, index: int) -> Frame:
        """Frame number `index` with its matched disparity."""
        frame: dict[str, Any] = {**self.dataset.frame(index)}
        try:
            frame["matched"] = match(frame["image"], frame["right"], self._matcher).left.disparity
        except (DataError, ShapeError) as error:
            raise type(error)(f"{self.name} {self.ids[index]}: {error}") from error
        return {key: value for key, value in frame.items() if key in self.provides or key == "meta"}  # type: ignore[return-value]


def with_matched(dataset: SceneDataset, needs: Collection[str], keep: Collection[str] | None = None) -> SceneDataset:
    """`dataset`, matched where `needs` asks for what it does not provide; see `Matched`."""
    return Matched(dataset, keep) if "matched" in needs and "matched" not in dataset.provides else dataset
