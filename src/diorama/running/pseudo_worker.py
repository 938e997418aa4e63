"""What one process of `pseudo-label` does: read a frame, label it, write its files, then its record. torch only if a teacher needs it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diorama.data.base import SceneDataset
from diorama.data.labels import LabelSet
from diorama.errors import DataError, UserError
from diorama.stereo.labeller import Labeller
from diorama.stereo.labelling import Labelling
from diorama.stereo.pseudo_folder import PseudoFolder
from diorama.types import Frame

if TYPE_CHECKING:
    from diorama.running.taught import Taught, Teacher, View

LOOK_EVERY = 20
"""Every so many frames one is examined for views that are not rectified: it costs a tenth of the matching."""


@dataclass(frozen=True)
class Job:
    """What a process has to know; travels to it once."""

    out: Path
    datasets: Mapping[str, SceneDataset]
    """Split -> its frames."""
    labelling: Labelling
    stereo: bool
    """Whether pairs are matched; if not, only a teacher is asked."""
    fingerprint: str
    labels: LabelSet | None = None
    """Of the semantics."""
    teacher: Mapping[str, Any] | None = None
    """Arguments of `load_teacher`."""


@dataclass
class Worker:
    """One process at work."""

    job: Job
    labeller: Labeller | None = None
    teacher: Teacher | None = None
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def __post_init__(self) -> None:
        if self.job.stereo:
            self.labeller = Labeller(self.job.labelling)
        if self.job.teacher is not None:
            from diorama.running.teachers import load_teacher

            self.teacher = load_teacher(**self.job.teacher, threads=1)
        self._folders = {split: PseudoFolder(self.job.out, dataset, self.job.labels) for split, dataset in self.job.datasets.items()}

    def label(self, split: str, index: int) -> dict[str, Any]:
        """Make and store the pseudo labels of one frame; returns its record.

        Raises:
            UserError: the frame cannot be labelled; nothing of it is complete then.
        """
        dataset, folder = self.job.datasets[split], self._folders[split]
        frame_id = dataset.ids[index]
        started = time.perf_counter()
        frame = dataset.frame(index)
        started = self._took("read", started)
        maps: dict[str, NDArray[Any]] = {}
        record: dict[str, Any] = {"id": frame_id, "split": split, "settings": self.job.fingerprint, "warnings": []}
        if self.labeller is not None:
            found = self.labeller(frame, look=index % LOOK_EVERY == 0)
            maps, record = found.maps, {**record, **found.record}
            started = time.perf_counter()
        if self.teacher is not None:
            maps |= self._taught(frame, frame_id, maps, record)
            started = self._took("teach", started)
        clipped = {kind: folder.write(kind, frame_id, values) for kind, values in maps.items()}
        if beyond := clipped.get("disparity", 0) + clipped.get("disparity_right", 0):
            text = f"{beyond} disparities above 255.99 px were clipped, which no 16-bit file holds. Match at a smaller size."
            record["warnings"].append({"kind": "clipped", "text": text})
        record |= {"kinds": sorted(maps), "clipped": {kind: count for kind, count in clipped.items() if count}}
        folder.keep(frame_id, record)
        self._took("write", started)
        return record

    def _taught(self, frame: Frame, frame_id: str, stereo: Mapping[str, NDArray[Any]], record: dict[str, Any]) -> dict[str, NDArray[Any]]:
        """What the teacher says of both views, as far as it is to be saved; its depth in metres."""
        assert self.teacher is not None
        save = self.job.labelling.save
        maps: dict[str, NDArray[Any]] = {}
        for suffix, key in (("", "image"), ("_right", "right")):
            wanted = {kind for kind in ("semantic", "semantic_confidence", "teacher_depth") if f"{kind}{suffix}" in save}
            if not wanted or key not in frame:
                continue
            said = self._asked(frame[key], frame_id, "right" if suffix else "left")  # type: ignore[literal-required]
            if said.semantic is not None:
                maps |= {f"semantic{suffix}": said.semantic}
            if said.semantic_confidence is not None:
                maps |= {f"semantic_confidence{suffix}": said.semantic_confidence.clip(0, 1)}
            if said.depth is not None and "teacher_depth" in wanted:
                maps[f"teacher_depth{suffix}"] = self._metres(said.depth, frame, stereo, record, suffix)
        return {kind: values for kind, values in maps.items() if kind in save}

    def _asked(self, image: NDArray[np.uint8], frame_id: str, view: View) -> Taught:
        """What the teacher says of a view; whatever goes wrong inside it (memory, say) costs this frame alone."""
        assert self.teacher is not None
        try:
            return self.teacher(image, frame_id, view)
        except UserError:
            raise
        except Exception as error:
            said = " ".join(str(error).split())[:200]
            raise DataError(
                f"teacher {self.teacher.name} failed ({type(error).__name__}: {said}). Mend it, or leave the frame out."
            ) from error

    def _metres(
        self, depth: NDArray[np.float32], frame: Frame, stereo: Mapping[str, NDArray[Any]], record: dict[str, Any], suffix: str
    ) -> NDArray[np.float32]:
        """`(H, W)` depth [m] of the teacher; relative depth is fitted to stereo where the two views agree, else to LiDAR."""
        from diorama.data.disparity import depth_from_disparity
        from diorama.running.relative_depth import fit_relative, metres

        assert self.teacher is not None
        if self.teacher.depth_unit in (None, "m"):
            return np.where(np.isfinite(depth) & (depth > 0), depth, 0).astype(np.float32)
        weight = None
        if {f"disparity{suffix}", f"agrees{suffix}"} <= stereo.keys():
            if "intrinsics" not in frame or "baseline" not in frame:
                raise DataError("no calibration, which scales the teacher's relative depth. Add it, or save no teacher_depth.")
            known = depth_from_disparity(stereo[f"disparity{suffix}"], float(frame["intrinsics"][0, 0]), float(frame["baseline"]))
            weight = stereo[f"agrees{suffix}"].astype(np.float32)
        elif not suffix and "sparse_depth" in frame:
            known = frame["sparse_depth"]
        else:
            raise DataError("nothing to scale the teacher's relative depth by. Save disparity and agrees too, or save no teacher_depth.")
        fit = fit_relative(depth, known, weight, inverse=self.teacher.depth_unit == "inverse")
        record[f"fit{suffix}"] = {"scale": fit.scale, "shift": fit.shift, "inliers": int(fit.inliers.sum())}
        return metres(depth, fit, farthest=255.0)

    def _took(self, step: str, started: float) -> float:
        now = time.perf_counter()
        self.seconds[step] += now - started
        return now


def begin(job: Job) -> Callable[[str, int], tuple[dict[str, Any] | None, str]]:
    """Set a process up; what comes back gives the record of a frame, or None and why it was skipped.

    Raises:
        UserError: no frame can be labelled: a model, matcher or teacher cannot be loaded.
    """
    worker = Worker(job)

    def labelled(split: str, index: int) -> tuple[dict[str, Any] | None, str]:
        try:
            return worker.label(split, index), ""
        except UserError as error:
            return None, str(error)

    return labelled
