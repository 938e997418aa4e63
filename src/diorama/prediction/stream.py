"""Anything a user predicts on as one item after the other: files, frames of videos and cameras, arrays, and lists of all of these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from diorama.errors import ConfigError, ShapeError
from diorama.prediction.arrays import is_held, unstacked
from diorama.prediction.inputs import Given
from diorama.prediction.sources import camera_number, find_images, partner
from diorama.prediction.video import open_video

_KINDS = "a path, a glob pattern, a camera's number, an array, a PIL image, a tensor, or a list of those"


class Item(NamedTuple):
    """One photo, or sparse depth map, to predict on."""

    given: Given
    others: dict[str, Any]
    """What goes with it: `image`, `sparse_depth`."""
    stem: str
    """What its results are called."""
    path: Path | None
    """The file that it comes from, if any."""
    frame: int | None = None
    """Its number in a video, from 0."""


def supplied(source: Any, kind: str, second: Mapping[str, Any], *, every: int = 1) -> Iterator[Item]:
    """The items that `source` stands for, in order, read one at a time.

    Args:
        source: see `Predictor.predict`.
        kind: what each has to be, "image" or "sparse_depth".
        second: what goes with them; of paths folders or files, of lists lists of the same length.
        every: of videos and cameras every `every`-th frame.

    Raises:
        ConfigError: nothing that can be predicted on, or videos for a network that takes more than photos.
        DataError: no such file, or one that cannot be read.
        ShapeError: lists of different lengths.
    """
    if not is_held(source) and not isinstance(source, str | Path | int) and isinstance(source, Iterable):
        yield from _listed(source, kind, second, every)
    elif (camera := camera_number(source)) is not None:
        yield from _frames(camera, f"webcam{camera}", kind, second, every)
    elif isinstance(source, str | Path):
        for found in find_images(source, kind=kind):
            if found.is_video:
                yield from _frames(found.path, str(found.stem), kind, second, every)
            else:
                others = {key: where if is_held(where) else partner(found, where, key) for key, where in second.items()}
                yield Item(found.path, others, str(found.stem), found.path)
    elif is_held(source):
        stack = unstacked(source)
        if stack is None:
            yield Item(source, dict(second), "000000", None)
        else:
            yield from _listed(stack, kind, {key: _parts(value) for key, value in second.items()}, every)
    else:
        raise ConfigError(f"a {type(source).__name__} is nothing to predict on. Give {_KINDS}.")


def _listed(sources: Iterable[Any], kind: str, second: Mapping[str, Any], every: int) -> Iterator[Item]:
    """What each entry of a list stands for; two results never get one name."""
    used: set[str] = set()
    beside = {key: iter(value) for key, value in second.items() if _is_list(value)}
    fixed = {key: value for key, value in second.items() if key not in beside}
    number = -1
    for number, source in enumerate(sources):
        found = {key: next(values, None) for key, values in beside.items()}
        for key in (key for key, value in found.items() if value is None):
            raise ShapeError(f"{key} has {number} entries, the source more. Give one for each.")
        for item in supplied(source, kind, fixed | found, every=every):
            stem = item.stem if item.path is not None or item.frame is not None else f"{number:06d}"
            names = (f"{stem}_{again}" if again else stem for again in count())
            stem = next(name for name in names if name.lower() not in used)
            used.add(stem.lower())
            yield item._replace(stem=stem)
    if number < 0:
        raise ConfigError(f"an empty list is nothing to predict on. Give {_KINDS}.")
    for key in (key for key, values in beside.items() if next(values, None) is not None):
        raise ShapeError(f"{key} has more entries than the source, {number + 1}. Give one for each.")


def _frames(source: Path | int, name: str, kind: str, second: Mapping[str, Any], every: int) -> Iterator[Item]:
    require_photos(name, kind, second)
    with open_video(source) as video:
        for number, frame in video.frames(every):
            yield Item(frame, {}, f"{name}_{number:06d}", video.path, number)


def require_photos(name: str, kind: str, second: Mapping[str, Any]) -> None:
    """Return if the frames of a video are all that the network is given.

    Raises:
        ConfigError: it takes sparse depth first, or something else is given that would have to change with the frames.
    """
    if kind != "image":
        raise ConfigError(f"{name}: a video shows photos, but the model takes {kind.replace('_', ' ')}. Choose a model of photos.")
    for key in second:
        raise ConfigError(f"{name}: {key.replace('_', ' ')} cannot go with a video. Write its frames to a folder, and pair them by name.")


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | Path) and not is_held(value)


def _parts(value: Any) -> Any:
    """Of a stack of maps, `(N, H, W)`, `(N, 1, H, W)` or `(N, H, W, 3)`, its maps."""
    return list(value) if is_held(value) and getattr(value, "ndim", 0) >= 3 else value
