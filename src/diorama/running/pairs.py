"""The pairs of a data set, and the frames of it that lack a file for that: they are named, not passed over."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from diorama import catalog
from diorama.data.base import SceneDataset
from diorama.errors import ConfigError, DataError

_PAIR = ("image", "right")
_CAMERA = ("intrinsics", "baseline")


@dataclass(frozen=True)
class Frames:
    """What there is of one split."""

    dataset: SceneDataset
    lacking: dict[str, str] = field(default_factory=dict)
    """Id of a frame that has an image but not all the rest -> what is missing and what to do."""

    @property
    def ids(self) -> list[str]:
        """All frames that have an image, in order."""
        return sorted({*self.dataset.ids, *self.lacking})


def open_pairs(name: str, split: str, settings: Mapping[str, Any], *, camera: bool) -> Frames:
    """The frames of a split that have both views, and a calibration where `camera` asks for it.

    Args:
        name: data set of the catalog.
        split: which.
        settings: constructor arguments; `keys` is chosen here.
        camera: whether intrinsics and baseline are needed.

    Raises:
        ConfigError: the data set has no pairs, or no calibration.
        DataError: files are missing.
    """
    kind = catalog.dataset(name)
    if not set(_PAIR) <= kind.offers:
        known = [other for other in catalog.names("datasets") if set(_PAIR) <= catalog.dataset(other).offers]
        raise ConfigError(f"{name} has no stereo pairs. Choose one of {', '.join(known)}.")
    if "keys" not in inspect.signature(kind).parameters:
        dataset = kind(split=split, **settings)
        _require(name, dataset, {*_PAIR, *(_CAMERA if camera else ())})
        return Frames(dataset)
    if not camera:
        return _complete(name, split, settings, _PAIR, kind(split=split, **{**settings, "keys": _PAIR}))
    refused: Exception | None = None
    # one camera for all may be said outside the frames (`dataset.yaml`): then it comes without being asked for
    for keys in ((*_PAIR, *_CAMERA), (*_PAIR, "intrinsics"), _PAIR):
        try:
            dataset = kind(split=split, **{**settings, "keys": keys})
        except (ConfigError, DataError) as error:
            refused = refused or error
            if keys == _PAIR:
                raise
            continue
        if set(_CAMERA) <= dataset.provides:
            return _complete(name, split, settings, keys, dataset)
    why = f" ({str(refused).rstrip('.')})" if refused else ""
    raise ConfigError(
        f"{name} has no calibration{why}. Depth and --min-depth need one: add it, or "
        "save none: --save disparity disparity_right confidence confidence_right agrees agrees_right."
    )


def open_images(name: str, split: str, settings: Mapping[str, Any], extra: Collection[str] = ()) -> Frames:
    """The frames of a split that have an image, and `extra` keys.

    Raises:
        ConfigError: the data set has no such key.
        DataError: files are missing.
    """
    kind = catalog.dataset(name)
    keys = ("image", *extra)
    takes = "keys" in inspect.signature(kind).parameters
    dataset = kind(split=split, **({**settings, "keys": keys} if takes else settings))
    _require(name, dataset, set(keys))
    return Frames(dataset)


def _require(name: str, dataset: SceneDataset, keys: set[str]) -> None:
    if lacking := sorted(keys - dataset.provides):
        raise ConfigError(f"{name} gives no {' and no '.join(lacking)} with these settings. Change --data.*, or choose another data set.")


def _complete(name: str, split: str, settings: Mapping[str, Any], keys: Collection[str], dataset: SceneDataset) -> Frames:
    """`dataset` and the frames that have an image but not all of `keys`."""
    kind = catalog.dataset(name)
    without = set(kind(split=split, **{**settings, "keys": ("image",)}).ids) - set(dataset.ids)
    if not without:
        return Frames(dataset)
    paired = set(kind(split=split, **{**settings, "keys": _PAIR}).ids) if set(keys) != set(_PAIR) else set()
    said = {True: "no calibration. Add it, or save no depth", False: "no right view. Add the file, or take the frame out"}
    return Frames(dataset, {frame_id: f"{frame_id}: {said[frame_id in paired]}." for frame_id in sorted(without)})
