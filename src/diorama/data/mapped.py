"""Data sets seen in another way: sparse depth that serves as depth, labels in another label set, several as one. NumPy only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from diorama.data.base import SceneDataset, WrappedDataset
from diorama.data.label_names import by_class_name, plain_name
from diorama.data.labels import LabelSet, convert
from diorama.errors import ConfigError, suggest
from diorama.types import IGNORE, Frame

SPARSE_KEYS = "sparse_keys"
"""Entry of `meta`: keys of the frame, other than `sparse_depth`, whose known pixels are few, so that resizing moves them one by one."""
NO_CLASS = "ignore"
"""What a class is called that is not to be learnt from."""
_NAMED = 8


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


class Relabelled(WrappedDataset):
    """The frames of `dataset` with their labels in the label set `labels`, class by class.

    Classes that are not in it become 255 (ignore).

    Args:
        dataset: frames with labels.
        labels: what they become.
        names: class of `dataset` -> class of `labels`, or "ignore"; the others go by `label_names.by_class_name`.

    Raises:
        ConfigError: the data set has no labels, a name is no class, or no class of the data set becomes one of `labels`.
    """

    def __init__(self, dataset: SceneDataset, labels: LabelSet, names: Mapping[str, str] | None = None) -> None:
        super().__init__(dataset)
        if dataset.labels is None:
            raise ConfigError(f"{dataset.name} ({dataset.split}) has no labels to convert to {labels.name}. Leave out label_set.")
        table = by_class_name(dataset.labels.classes, labels).table.copy()
        for old, new in (names or {}).items():
            table[_number(old, dataset.labels)] = IGNORE if new == NO_CLASS else _number(new, labels, (NO_CLASS,))
        known = set(table[: len(dataset.labels)].tolist()) - {IGNORE}
        if not known:
            raise ConfigError(
                f"label spaces do not overlap: {dataset.name} has {_listed(dataset.labels.classes)}, {labels.name} has "
                f"{_listed(labels.classes)}. Say which is which, e.g. class_names: {{{dataset.labels.classes[0]}: {labels.classes[0]}}}."
            )
        self._table = table
        self.labels = labels
        self.becomes = table[: len(dataset.labels)].tolist()
        """Train id of each class of `dataset` in `labels`, 255 = ignored; public, so that cached copies depend on it."""
        self.unknown = [number for number in range(len(labels)) if number not in known]
        """Classes of `labels` that no label of `dataset` means."""

    @property
    def vocabulary(self) -> LabelSet | None:
        """The label set that labels were converted to."""
        return self.labels

    def frame(self, index: int) -> Frame:
        """Frame number `index` with converted labels, of both views where there are two."""
        frame: Frame = {**self.dataset.frame(index)}
        for key in ("semantic", "semantic_right"):
            if key in frame:
                frame[key] = convert(frame[key], self._table)
        return frame


class Joined(SceneDataset):
    """The frames of several data sets one after the other, with the keys that all of them have.

    Labels of different label sets are none of these; `conflict` then says so.

    Raises:
        ConfigError: they have no key in common.
    """

    def __init__(self, members: Sequence[SceneDataset]) -> None:
        first = members[0]
        self.members = tuple(members)
        self.name = "+".join(member.name for member in members)  # type: ignore[misc]
        self.title = " + ".join(member.title for member in members)  # type: ignore[misc]
        self.citation = "; ".join(dict.fromkeys(member.citation for member in members))  # type: ignore[misc]
        self.terms = ". ".join(dict.fromkeys(f"{member.name}: {member.terms}" for member in members))  # type: ignore[misc]
        self.depth_cap = max(member.depth_cap for member in members)  # type: ignore[misc]
        self.split, self.root = first.split, None
        self.ids = [frame_id for member in members for frame_id in member.ids]
        self.provides = frozenset.intersection(*(member.provides for member in members))
        spaces = {member.labels.classes: (member.name, member.labels) for member in members if member.labels is not None}
        self.conflict = ""
        if "semantic" in self.provides and len(spaces) > 1:
            named = " and ".join(f"{name} has {labels.name}" for name, labels in spaces.values())
            self.conflict = f"{named}: labels of one stream are of one label set. Convert them with label_set."
            self.provides -= {"semantic", "semantic_right"}
        if not self.provides:
            raise ConfigError(f"{self.name}: no key that all of them have. Read them as streams of their own.")
        self.labels = next(iter(spaces.values()))[1] if "semantic" in self.provides and spaces else None

    def files(self) -> Iterable[Path]:
        """The files of all of them."""
        return [path for member in self.members for path in member.files()]

    def check(self) -> list[str]:
        """What each of them finds."""
        return [finding for member in self.members for finding in member.check()]

    def frame(self, index: int) -> Frame:
        """Frame number `index`, of the member that it falls to."""
        place = range(len(self.ids))[index]
        for member in self.members:
            if place < len(member):
                return member.frame(place)
            place -= len(member)
        raise IndexError(index)


def unknown_classes(dataset: SceneDataset) -> list[int]:
    """Classes of the label set of `dataset` that its labels never mean because they were converted from another one."""
    if isinstance(dataset, Joined):
        return sorted(set.intersection(*(set(unknown_classes(member)) for member in dataset.members)))
    if isinstance(dataset, Relabelled):
        return dataset.unknown
    return unknown_classes(dataset.dataset) if isinstance(dataset, WrappedDataset) else []


def _number(name: str, labels: LabelSet, extra: tuple[str, ...] = ()) -> int:
    known = {plain_name(one): number for number, one in enumerate(labels.classes)}
    if plain_name(name) not in known:
        raise ConfigError(f"class_names: '{name}' is no class of {labels.name}: {suggest(name, [*labels.classes, *extra])}")
    return known[plain_name(name)]


def _listed(classes: Sequence[str]) -> str:
    return ", ".join(classes[:_NAMED]) + (", ..." if len(classes) > _NAMED else "")
