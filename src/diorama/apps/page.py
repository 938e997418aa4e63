"""What happens behind the page: uploaded files -> what the viewer shows, the points, and the archive to take home."""

from __future__ import annotations

import math
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diorama.apps import viewer
from diorama.apps.glb import write_glb
from diorama.apps.limits import ClosedError, FullError, Gate, Limits, TooSlowError
from diorama.apps.shelf import Shelf
from diorama.apps.work import Upload, predict_upload
from diorama.errors import UserError
from diorama.prediction.pointcloud import PointCloud
from diorama.prediction.result import SUFFIXES, ScenePrediction

MOST_POINTS = 140_000
"""Of the cloud that the browser shows (15 MB); the downloaded one has up to a million."""

FARTHEST = 3.0
"""Points beyond this many times the median depth are not shown: a few far ones would make all others small."""

_OVERLAP = 1.5
"""How much wider than its pixels a point is drawn, so that slanted surfaces stay closed."""

_KEPT = 12
"""Folders of results that stay until the page ends; older ones are removed."""


class Shown(NamedTuple):
    """What the page shows after a prediction."""

    viewer: str
    cloud: str | None = None
    archive: str | None = None


class Page:
    """What happens behind the page.

    Args:
        shelf: the models.
        limits: what one prediction may cost.
        folder: of results and examples; whoever made it removes it.
    """

    def __init__(self, shelf: Shelf, limits: Limits, folder: Path) -> None:
        self.shelf, self.limits, self.folder = shelf, limits, folder
        self.gate = Gate(limits)
        self._made: list[Path] = []

    def predict(self, model: str, upload: Upload) -> Shown:
        """What `model` sees in `upload`; what is wrong with it is shown, not raised."""
        try:
            return self.gate.run(lambda: self._predict(model, upload))
        except (FullError, TooSlowError, ClosedError) as error:
            return Shown(viewer.problem(str(error), "Busy"))
        except UserError as error:
            return Shown(viewer.problem(_sentence(error), "This cannot be predicted on"))

    def _predict(self, model: str, upload: Upload) -> Shown:
        scene = predict_upload(self.shelf[model], upload, self.limits)
        folder = Path(tempfile.mkdtemp(prefix="result-", dir=self.folder))
        cloud = None
        if scene.depth is not None:
            points = nearer(scene.point_cloud(max_points=MOST_POINTS))
            step = math.ceil(math.sqrt(scene.depth.size / MOST_POINTS))
            if len(points.points):
                cloud = folder / "points.glb"
                write_glb(cloud, points, points.points[:, 2] * np.float32(_OVERLAP * step / scene.intrinsics[0, 0]))
        archive = archived(scene, folder, _stem(upload))
        self._forget(folder)
        return Shown(viewer.described(scene, Path(model).name), None if cloud is None else str(cloud), str(archive))

    def _forget(self, folder: Path) -> None:
        self._made.append(folder)
        while len(self._made) > _KEPT:
            shutil.rmtree(self._made.pop(0), ignore_errors=True)


def nearer(cloud: PointCloud) -> PointCloud:
    """The points up to `FARTHEST` times the median depth."""
    if not len(cloud.points):
        return cloud
    kept = cloud.points[:, 2] <= FARTHEST * np.median(cloud.points[:, 2])
    return PointCloud(cloud.points[kept], cloud.colours[kept], None if cloud.labels is None else cloud.labels[kept])


def archived(scene: ScenePrediction, folder: Path, stem: str) -> Path:
    """Everything that `diorama predict` can save of `scene`, as `folder`/`stem`.zip."""
    path = folder / f"{stem}.zip"
    files = scene.save(folder / "files", stem, SUFFIXES)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in files:
            archive.write(file, file.name)
    shutil.rmtree(folder / "files")
    return path


def _stem(upload: Upload) -> str:
    first = next(iter(upload.files.values()))
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in first.stem)[:80] or "scene"


def _sentence(error: UserError) -> str:
    text = str(error)
    return text if ":" in text.split(" ", 1)[0] else text[:1].upper() + text[1:]  # file names keep their letters
