"""The same picture in two splits, under whatever names: equal in every byte, or stored again at another size or quality."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.data.defects.rule import LEAST_SIDE, Finding
from diorama.types import Frame

_SIDE = 32
_MEAN, _MOST = 1.0, 12.0
"""Grey levels that the cells of two thumbnails differ at most, in the mean and anywhere. Measured: storing again as JPEG of quality 40,
at half or 1.7 times the size or with noise of 4 levels: 0.9 and 10; the most alike neighbours of a film at 10 Hz: 1.1 and 14."""
_FLAT = 3.0
_BLOCK = 4096
_KEYS = ("image", "semantic", "depth", "sparse_depth", "disparity")


class Print(NamedTuple):
    """What is kept of a frame to recognise it."""

    frame_id: str
    digest: bytes
    """Of the pixels of the image, or of the first map where there is no image."""
    thumbnail: NDArray[np.float16] | None
    """`(32, 32)` grey levels; None of flat or tiny images, which look all alike."""


def fingerprint(frame: Frame, frame_id: str) -> Print | None:
    """The print of a frame; None if it holds nothing to recognise."""
    key = next((key for key in _KEYS if key in frame), None)
    if key is None:
        return None
    pixels: NDArray[np.generic] = np.ascontiguousarray(frame[key])  # type: ignore[literal-required]
    digest = hashlib.blake2b(pixels.tobytes(), digest_size=16, person=str(pixels.shape).encode()[:16]).digest()
    if not pixels.size or (pixels == pixels.flat[0]).all():
        return None
    if key != "image" or min(pixels.shape[:2]) < LEAST_SIDE:
        return Print(frame_id, digest, None)
    grey = cv2.cvtColor(frame["image"], cv2.COLOR_RGB2GRAY).astype(np.float32)
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return Print(frame_id, digest, small.astype(np.float16) if small.std() > _FLAT else None)


def shared_pictures(splits: Sequence[tuple[str, Sequence[Print]]]) -> list[Finding]:
    """Findings for each two of the named splits: an error for equal frames, a warning for copies of them. Equal ids are not repeated."""
    findings = []
    for (one, these), (other, those) in combinations(splits, 2):
        equal = sorted(_equal(these, those))
        copied = sorted(set(_copies(these, those)) - set(equal))
        if equal:
            text = f"{len(equal)} frames of '{other}' are in '{one}' under another name (first: {equal[0][1]} is {equal[0][0]})."
            findings.append(Finding("error", other, equal[0][1], f"{text} Take them out of one.", "twins"))
        if copied:
            text = f"{len(copied)} frames of '{other}' look like copies of frames of '{one}' (first: {copied[0][1]} of {copied[0][0]})."
            findings.append(Finding("warning", other, copied[0][1], f"{text} Compare them, and take them out of one.", "twins"))
    return findings


def _equal(these: Sequence[Print], those: Sequence[Print]) -> set[tuple[str, str]]:
    known = {mark.digest: mark.frame_id for mark in these}
    found = ((known[mark.digest], mark.frame_id) for mark in those if mark.digest in known)
    return {pair for pair in found if pair[0] != pair[1]}


def _copies(these: Sequence[Print], those: Sequence[Print]) -> Iterator[tuple[str, str]]:
    """Pairs whose thumbnails agree; coarse ones of 8 x 8 cells are compared first, all at once."""
    left, right = ([mark for mark in marks if mark.thumbnail is not None] for marks in (these, those))
    if not left or not right:
        return
    fine = [np.stack([mark.thumbnail for mark in marks if mark.thumbnail is not None]) for marks in (left, right)]
    coarse = [maps.astype(np.float32).reshape(-1, 8, 4, 8, 4).mean((2, 4)).reshape(len(maps), 64) - 128 for maps in fine]
    squares = [(maps**2).sum(1) for maps in coarse]
    for start in range(0, len(left), _BLOCK):
        block = slice(start, start + _BLOCK)
        distance = squares[0][block, None] + squares[1] - 2 * coarse[0][block] @ coarse[1].T
        for i, j in zip(*np.nonzero(distance < 64 * _MEAN * 4), strict=True):
            one, other = left[start + i], right[j]
            cells = np.abs(fine[0][start + i].astype(np.float32) - fine[1][j].astype(np.float32))
            if cells.mean() <= _MEAN and cells.max() <= _MOST and one.frame_id != other.frame_id:
                yield one.frame_id, other.frame_id
