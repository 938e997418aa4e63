"""Which points a completion network is given, in the words that a protocol carries."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from diorama.data.base import SceneDataset
from diorama.data.sparse_dataset import SparseDataset
from diorama.data.sparsify import Sparsify

_SAID = {"pattern", "points", "lines", "scanner", "step"}
_SPELT = {"withhold": "the others withheld as truth"}


def points_of(dataset: SceneDataset) -> str:
    """The rule that the sparse depth of `dataset` is drawn by, or what it says in an attribute `points`; empty if it is the data's own."""
    if isinstance(dataset, SparseDataset):
        return points_text(dataset.rules, dataset.seed, dataset.crop)
    return str(getattr(dataset, "points", ""))


def points_text(rules: Sparsify, seed: int | None = None, crop: tuple[int, int] | None = None) -> str:
    """The rule that input points are drawn by, equal for equal rules: `500 random points, seed 0`; steps that are off are left out.

    Args:
        rules: see `Sparsify`.
        seed: that the seeds of the frames are made of (`frame_seed`); None: drawn anew each time.
        crop: `(H, W)` [px] of the middle that they are drawn in; None: everywhere.
    """
    if rules.pattern == "all":
        said = ["all points"]
    elif rules.pattern == "lines":
        said = [f"{_choices(rules.lines)} lines of the {rules.scanner}'s 64, step {rules.step:g} degrees"]
    else:
        said = [f"{_plain(rules.points)} {rules.pattern} points"]
    if crop is not None:
        said[0] += f" inside the middle {crop[0]}x{crop[1]}"
    for field in fields(rules):
        value = getattr(rules, field.name)
        if field.name not in _SAID and value != field.default:
            said.append(_SPELT.get(field.name, field.name) if value is True else f"{field.name} {_plain(value)}")
    return ", ".join([*said, *([] if seed is None else [f"seed {seed}"])]).replace("_", " ")


def _choices(lines: int | tuple[int, ...]) -> str:
    """`64, 32 or 16`."""
    *most, last = [str(number) for number in dict.fromkeys(lines if isinstance(lines, (list, tuple)) else [lines])]
    return f"{', '.join(most)} or {last}" if most else last


def _plain(value: Any) -> str:
    """Text that does not depend on whether a setting came as list or tuple; a range of one value is that value."""
    if isinstance(value, (list, tuple)):
        return _plain(value[0]) if len(set(value)) == 1 else " to ".join(_plain(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
