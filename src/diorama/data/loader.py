"""Batches: `StepLoader` serves any number of sources per step, `EvalLoader` every frame once.

The batch of step t is a pure function of (seed, t, rank): a seed travels with each sample and everything random in its transform is
drawn from it, so any number of workers gives the same batches, and a loader is resumed by one integer.
"""

from __future__ import annotations

import random
import signal
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from diorama import catalog
from diorama.data.base import SceneDataset
from diorama.data.batch import collate, move, to_sample
from diorama.data.transforms import eval_transform
from diorama.data.view import View
from diorama.errors import ConfigError, UserError
from diorama.types import Frame, Sample

__all__ = ["EvalBatch", "EvalLoader", "Source", "StepLoader", "apportioned", "collate", "move", "require", "seeded", "to_sample"]

Plan = dict[str, list[tuple[int, int]]]
"""What one step needs: source -> [(index of the frame, seed of the sample), ...]."""
_WORDS = {
    "image": "images", "right": "stereo pairs", "semantic": "label maps", "depth": "depth maps", "sparse_depth": "sparse depth",
    "disparity": "disparity maps", "intrinsics": "camera intrinsics", "baseline": "stereo baseline", "domain": "domains",
    "matched": "matched disparity", "semantic_right": "label maps of the right view", "pseudo_depth": "stereo pseudo depth",
    "pseudo_depth_right": "stereo pseudo depth of the right view", "confidence": "confidence maps",
    "confidence_right": "confidence maps of the right view",
}  # fmt: skip
_PSEUDO = {"pseudo_depth", "pseudo_depth_right", "confidence", "confidence_right", "semantic_right"}
"""Keys that no data set brings along: `diorama pseudo-label` makes them of pairs."""


def require(method: str, needs: Collection[str], dataset: SceneDataset, how: str = "") -> None:
    """Make sure before the first step that `dataset` has every key that `method` needs; `how` to choose another is told beside which.

    Raises:
        ConfigError: a key is missing; the text names it and data sets that have it.
    """
    for key in sorted(set(needs) - dataset.provides):
        what = f"{method} needs '{key}'; {dataset.name} ({dataset.split}) has no {_WORDS.get(key, key)}."
        if key.startswith("semantic") and "right" in dataset.provides:
            raise ConfigError(f"{what} Let a teacher make them, `diorama pseudo-label --teacher MODEL`, and set pseudo.root to its folder.")
        offering = " or ".join(_offering(key))
        if key in _PSEUDO and not offering:
            raise ConfigError(f"{what} Make them with `diorama pseudo-label` and set pseudo.root to its folder.")
        raise ConfigError(f"{what} Try {offering or 'another data set: `diorama data list`'}{how}.")


def _offering(key: str) -> list[str]:
    """Names of the data sets that can provide `key`."""
    found = []
    for name in catalog.names("datasets"):
        # one that needs a package that is not installed here is no advice
        with suppress(ImportError):
            if key in catalog.dataset(name).offers:
                found.append(name)
    return found


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The CPU generators of torch, `random` and `numpy.random` start from `seed` inside, and are where they were afterwards."""
    # the global generators, because that is where transforms of third parties draw from
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002


@dataclass(frozen=True)
class Source:
    """One stream of samples: frames, what happens to them, and how many of them one step of one process takes.

    Args:
        dataset: frames.
        transform: what happens to each sample.
        batch_size: samples of a step and process.
        keys: of `Sample`.
        shares: of several data sets in `dataset`, one after the other: frames, and weight of each in the samples. An epoch still has as
            many samples as there are frames. Empty: each frame once per epoch.
    """

    dataset: SceneDataset
    transform: Callable[[Sample], Sample]
    batch_size: int
    keys: tuple[str, ...]
    shares: tuple[tuple[int, float], ...] = ()


class _StepDataset(Dataset[dict[str, Sample] | UserError]):
    """Plan of a step -> its batch, or what went wrong: torch would wrap an error raised in a worker in its traceback."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self.sources = sources

    def __getitem__(self, plan: Plan) -> dict[str, Sample] | UserError:
        try:
            return {name: collate([self._sample(self.sources[name], *entry) for entry in entries]) for name, entries in plan.items()}
        except UserError as error:
            return error

    @staticmethod
    def _sample(source: Source, index: int, seed: int) -> Sample:
        with seeded(seed):
            sample = source.transform(to_sample(source.dataset.frame(index), source.keys))
        sample["meta"] = {**sample.get("meta", {}), "sample_seed": seed, "index": index}
        return sample


class _Plans(Sampler[Plan]):
    """Plans of the steps from `loader.served` on, without end."""

    def __init__(self, loader: StepLoader) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Plan]:
        step = self.loader.served
        while True:
            yield self.loader.plan(step)
            step += 1


class StepLoader:
    """Endless batches `{source: batch}`, one per training step.

    Each source runs through its own frames in its own order, shuffled anew each time it is through; sources of any lengths go together:
    an epoch is one pass through the first source, in which a source of a hundredth of its length is read a hundred times.
    Process `rank` of `world_size` takes its own slice of each global batch, so N processes with batch b see what one with N b sees.
    """

    def __init__(self, sources: Mapping[str, Source], seed: int = 0, rank: int = 0, world_size: int = 1, workers: int = 0) -> None:
        """Raises: ConfigError: no source, an empty one, or a batch size below 1."""
        if not sources:
            raise ConfigError("no source to load from. Give at least one, e.g. main.")
        for name, source in sources.items():
            if source.batch_size < 1:
                raise ConfigError(f"batch size of source '{name}' is {source.batch_size}. Set it to 1 or more.")
            if not len(source.dataset):
                raise ConfigError(f"source '{name}' ({source.dataset.name}) has no frame. Check its root and split.")
        self.sources, self.seed, self.rank, self.world_size, self.workers = dict(sources), seed, rank, world_size, workers
        self.served = 0
        self._orders: dict[str, tuple[int, np.ndarray[Any, np.dtype[np.int64]]]] = {}
        self._loader: DataLoader[dict[str, Sample] | UserError] | None = None

    def plan(self, step: int) -> Plan:
        """What this process takes at `step`: a pure function of (seed, step, rank)."""
        return {name: self._entries(name, source, step) for name, source in self.sources.items()}

    def _entries(self, name: str, source: Source, step: int) -> list[tuple[int, int]]:
        start = (step * self.world_size + self.rank) * source.batch_size
        entries = []
        for position in range(start, start + source.batch_size):
            epoch, place = divmod(position, len(source.dataset))
            entries.append((int(self._order(name, epoch)[place]), _seed(self.seed, name, 1, position)))
        return entries

    def _order(self, name: str, epoch: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        known = self._orders.get(name)
        if known is None or known[0] != epoch:
            source = self.sources[name]
            made = self._mixed(name, source, epoch) if source.shares else self._shuffled(name, len(source.dataset), epoch)
            known = self._orders[name] = (epoch, made)
        return known[1]

    def _shuffled(self, name: str, count: int, epoch: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.random.default_rng(_seed(self.seed, name, 0, epoch)).permutation(count)

    def _mixed(self, name: str, source: Source, epoch: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Frames of one epoch: of each data set its share, going on in its own order where the epoch before ended."""
        counts = apportioned(len(source.dataset), [weight for _, weight in source.shares])
        taken, first = [], 0
        for number, ((frames, _), count) in enumerate(zip(source.shares, counts, strict=True)):
            rounds, places = np.divmod(np.arange(epoch * count, (epoch + 1) * count), frames)
            orders = {int(one): self._shuffled(f"{name}/{number}", frames, int(one)) for one in np.unique(rounds)}
            taken += [first + int(orders[int(one)][place]) for one, place in zip(rounds, places, strict=True)]
            first += frames
        mixed: np.ndarray[Any, np.dtype[np.int64]] = np.array(taken, np.int64)[self._shuffled(name, len(taken), epoch)]
        return mixed

    def steps_per_epoch(self, source: str | None = None) -> int:
        """Steps after which `source` (default: the first) has been seen once, rounded up."""
        chosen = self.sources[source or next(iter(self.sources))]
        return -(-len(chosen.dataset) // (chosen.batch_size * self.world_size))

    def __iter__(self) -> Iterator[dict[str, Sample]]:
        if self._loader is None:
            self._loader = DataLoader(
                _StepDataset(self.sources), batch_size=None, sampler=_Plans(self), num_workers=self.workers,
                collate_fn=_as_is, worker_init_fn=_start_worker, persistent_workers=self.workers > 0,
                pin_memory=torch.cuda.is_available(), generator=torch.Generator(),  # else torch draws a seed from the global one
            )  # fmt: skip
        for batch in self._loader:
            if isinstance(batch, UserError):
                raise batch
            # counted when handed over, not when prefetched: this is what a resume continues from
            self.served += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The number of batches served."""
        return {"served": self.served}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue after `state["served"]` batches; takes effect at the next `iter`."""
        self.served = int(state["served"])


def apportioned(total: int, weights: Sequence[float]) -> list[int]:
    """`total` shared out as `weights` say, in whole numbers: largest remainders, ties to the first, and nobody goes without."""
    exact = [total * weight / sum(weights) for weight in weights]
    counts = [int(share) for share in exact]
    for number in sorted(range(len(exact)), key=lambda one: counts[one] - exact[one])[: total - sum(counts)]:
        counts[number] += 1
    for number, count in enumerate(counts):
        if not count:  # whoever has the most gives way: a data set that is named is read
            counts[counts.index(max(counts))] -= 1
            counts[number] = 1
    return counts


def _seed(seed: int, name: str, purpose: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, zlib.crc32(name.encode()), purpose, number]).generate_state(1)[0])


def _as_is(batch: Any) -> Any:
    return batch


def _start_worker(_: int) -> None:
    # Ctrl-C reaches every process of a terminal; only the parent, which ends the workers, is to save and stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # threads of OpenCV do not survive the fork, and the workers are the parallelism
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


class EvalBatch(NamedTuple):
    """Frames to evaluate: what the network sees, and the truth at its own size."""

    inputs: Sample
    truth: list[Frame]
    numbers: list[int]
    """Numbers of the frames in the data set."""


class _EvalDataset(Dataset[EvalBatch | UserError]):
    def __init__(self, dataset: SceneDataset, view: View, keys: tuple[str, ...]) -> None:
        self.dataset, self.transform, self.keys = dataset, eval_transform(view), keys

    def __getitem__(self, numbers: list[int]) -> EvalBatch | UserError:
        try:
            truth = [self.dataset.frame(number) for number in numbers]
            return EvalBatch(collate([self.transform(to_sample(frame, self.keys)) for frame in truth]), truth, numbers)
        except UserError as error:
            return error


class EvalLoader:
    """Every frame once, in order, as `EvalBatch`: process `rank` takes frames `range(rank, n, world)`, none is repeated to fill up.

    Predictions are resized to the truth, which keeps its original size.
    """

    def __init__(
        self, dataset: SceneDataset, view: View, rank: int = 0, world: int = 1, batch_size: int = 1,
        keys: Collection[str] = ("image",), workers: int = 0,
    ) -> None:  # fmt: skip
        mine = list(range(rank, len(dataset), world))
        self.indices = [mine[i : i + batch_size] for i in range(0, len(mine), batch_size)]
        self._loader: DataLoader[EvalBatch | UserError] = DataLoader(
            _EvalDataset(dataset, view, tuple(keys)), batch_size=None, sampler=cast("Any", self.indices), num_workers=workers,
            collate_fn=_as_is, worker_init_fn=_start_worker, generator=torch.Generator(),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[EvalBatch]:
        for batch in self._loader:
            if isinstance(batch, UserError):
                raise batch
            yield batch
