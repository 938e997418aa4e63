"""What `diorama predict` does with each file, in its own process or in one of many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import Any, Literal

from diorama.errors import UserError
from diorama.prediction import mosaic
from diorama.prediction.ground import quiet
from diorama.prediction.mosaic import Tiling
from diorama.prediction.predictor import Predictor, load
from diorama.prediction.result import SUFFIXES
from diorama.prediction.sources import SourceImage, partner
from diorama.running import predict_video as videos
from diorama.running.predict_video import Frames
from diorama.running.spread import Work

How = Literal["photo", "tiles", "video"]
_SUFFIXES = {"photo": SUFFIXES, "tiles": mosaic.SUFFIXES}


@dataclass(frozen=True)
class Files:
    """What is predicted on."""

    items: Sequence[SourceImage]
    ways: Mapping[Path, How]
    """Of all that are no photos."""

    def __len__(self) -> int:
        return len(self.items)

    def how(self, item: SourceImage) -> How:
        """What is done with one of them."""
        return self.ways.get(item.path, "photo")

    def part(self, shard: tuple[int, int]) -> Files:
        """The i-th of n parts, for (i, n)."""
        return Files(self.items[shard[0] - 1 :: shard[1]], self.ways)


@dataclass(frozen=True)
class Job:
    """What all files have in common; travels to each process once."""

    out: Path
    kinds: list[str]
    """Of photos, and of images that go tile by tile those that there are of them."""
    of_videos: list[str]
    second: Mapping[str, str | Path]
    """Kind of input -> file or folder that the partners of the files are looked for in."""
    points: Mapping[str, Any]
    """`depth_scale` and `calibration`, see `Predictor.scene`."""
    camera: Mapping[str, Any]
    """`intrinsics` and `field_of_view`, likewise."""
    tiling: Tiling
    frames: Frames
    number: int | None = None
    """Of the camera, if the source is one."""

    def suffixes(self, how: How) -> dict[str, str]:
        """Kind -> what its file is called behind the stem; of videos, kinds with a file per frame are a folder: nothing."""
        if how == "video":
            return {kind: videos.SUFFIXES.get(kind, "") for kind in self.of_videos}
        return {kind: _SUFFIXES[how][kind] for kind in self.kinds if kind in _SUFFIXES[how]}

    def one(self, predictor: Predictor, item: SourceImage, how: How, advance: Callable[[str], None]) -> tuple[str, ...]:
        """Predict on `item`, and write; suffixes of what was written come back.

        Raises:
            UserError: the file cannot be read, has no partner, or results cannot be written.
        """
        name, stem = item.path.name, str(item.stem)
        if how == "video":
            origin = item.path if self.number is None else self.number
            written = videos.predict_video(predictor, origin, self.out, stem, self.of_videos, self.frames, self.camera, advance)
        elif how == "tiles":
            targets = {kind: self.out / f"{stem}{suffix}" for kind, suffix in self.suffixes(how).items()}
            with quiet([item.path]):
                written = mosaic.predict_mosaic(predictor, item.path, targets, self.tiling, partial(advance, name))
        else:
            others: dict[str, Any] = {key: partner(item, where, key) for key, where in self.second.items()}
            written = predictor.scene(item.path, **others, **self.points, **self.camera).save(self.out, stem, self.kinds)
            advance(name)
        begins = len(str(self.out / stem))
        return tuple(str(path)[begins:] for path in written)


def begin(job: Job, model: Mapping[str, Any]) -> Work:
    """Load a model in a process of its own; what comes back predicts on one file.

    Args:
        job: what is done.
        model: arguments of `load`.

    Raises:
        UserError: the model cannot be loaded here.
    """
    predictor = load(**model)

    def work(path: str, stem: str, how: How) -> tuple[tuple[str, ...] | None, str]:
        try:
            return job.one(predictor, SourceImage(Path(path), PurePath(stem)), how, lambda _: None), ""
        except UserError as error:
            return None, str(error)
        except Exception as error:  # one file of a million is not worth the others
            said = " ".join(str(error).split())[:200]
            return None, f"{path}: {type(error).__name__}: {said}. Please report it; --engine processes shows where it is."

    return work
