"""What `predict` hands a user for one place: semantics and metric depth at the input's own size, and ways to keep and see them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diorama.data import io
from diorama.data.cache import splat
from diorama.data.labels import LabelSet
from diorama.errors import ConfigError, suggest
from diorama.prediction import pointcloud, render

DEPTH_SCALE = 256
"""A depth PNG holds metres * 256 in 16 bits: steps of 4 mm up to 256 m."""

SUFFIXES = {
    "semantic": ".semantic.png",
    "depth": ".depth.png",
    "json": ".json",
    "overlay": ".overlay.jpg",
    "ply": ".ply",
    "panel": ".panel.jpg",
}
"""What can be saved -> how its file is called behind the photo's stem."""

DEFAULT_SAVE = ("semantic", "depth", "json", "overlay", "ply")

_WORKING_JUMP = 0.04
"""Part by which depth may change from pixel to pixel of the network's picture before a point counts as torn off."""


@dataclass(frozen=True, repr=False)
class ScenePrediction:
    """One photo or sparse depth map and what the network sees in it, all `(H, W)` of the input."""

    image: NDArray[np.uint8] | None
    """`(H, W, 3)` RGB; None if only sparse depth was given."""
    semantic: NDArray[np.uint8] | None
    """`(H, W)` train ids of `labels`; None if the model has no semantic output."""
    depth: NDArray[np.float32] | None
    """`(H, W)` metres; None if the model has no depth output."""
    labels: LabelSet | None
    intrinsics: NDArray[np.float64]
    """`(3, 3)` pixels, pixel centres at integers."""
    intrinsics_assumed: bool
    """The camera was not known: a field of view was assumed, and the shape of the point cloud depends on it."""
    working_size: tuple[int, int]
    """(height, width) at which the network saw the photo."""
    model: dict[str, Any] = field(default_factory=dict)
    """Name, method, version and backend of the model."""
    path: Path | None = None
    stem: str | None = None
    """What its files are called if `save` is not told; None: as the photo."""
    frame: int | None = None
    """Its number in the video that it is a frame of, from 0."""
    sparse_depth: NDArray[np.float32] | None = None
    """`(H, W)` metres, 0 = unknown: the points that were given, if any."""
    sparse_scale: float | None = None
    """File units to the metre that these points were read with; None where they were metres, or a scan."""

    def __repr__(self) -> str:
        """Name, size, the largest classes and the range of depth."""
        said = [str(self.path.name if self.path else self.stem or "a scene"), "{1} x {0}".format(*self.size)]
        if self.semantic is not None and self.labels is not None:
            shares = render.class_shares(self.semantic, len(self.labels))[:3]
            said += [", ".join(f"{self.labels.classes[number]} {share:.0%}" for number, share in shares)]
        if self.depth is not None:
            said += ["{:.3g} to {:.3g} m".format(*np.percentile(self.depth, (1, 99)))]
        return f"<ScenePrediction {'; '.join(said)}>"

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the input and of every map."""
        height, width = next(part for part in (self.image, self.sparse_depth) if part is not None).shape[:2]
        return height, width

    @property
    def picture(self) -> NDArray[np.uint8]:
        """`(H, W, 3)` RGB of what was given: the photo, else the predicted or the known depth in colours."""
        if self.image is not None:
            return self.image
        depth = self.sparse_depth if self.depth is None else self.depth
        assert depth is not None
        return render.depth_colours(depth, *render.depth_range(depth))

    @property
    def field_of_view(self) -> float:
        """Angle over the longer side [degrees], as `Predictor.scene` and `--field-of-view` take it."""
        height, width = self.size
        focal_px = float(self.intrinsics[0, 0] if width >= height else self.intrinsics[1, 1])
        return math.degrees(2 * math.atan(max(height, width) / (2 * focal_px)))

    def overlay(self) -> NDArray[np.uint8]:
        """`(H, W, 3)` RGB: classes over the photo; depth in colour if the model has no classes."""
        if self.semantic is not None and self.labels is not None:
            return render.overlay(self.picture, self.semantic, self.labels)
        if self.depth is None:
            return self.picture
        return render.depth_colours(self.depth, *render.depth_range(self.depth))

    def plot(self, *, tile: int = 640) -> Image.Image:
        """One picture of everything: photo, known points, classes with legend, depth with its scale, points seen from the side.

        A PIL image: notebooks show it, `.save(path)` writes it, `.show()` opens it, and `numpy.asarray` gives its pixels.

        Args:
            tile: largest side of each of the pictures in it [px].
        """
        photo = render.fit(self.picture, tile, tile)
        height, width = photo.shape[:2]
        name = self.path.name if self.path else ""
        tiles = [] if self.image is None else [render.tile(photo, "Photo", note=name)]
        if self.sparse_depth is not None:
            dots = splat(self.sparse_depth, (height, width)) if height < self.size[0] else self.sparse_depth
            near, far = render.depth_range(self.sparse_depth if self.depth is None else self.depth)
            colours = render.resized(render.depth_colours(render.thickened(dots), near, far), width, height)
            tiles.append(
                render.tile(colours, "Known depth", note=name if self.image is None else f"{int((self.sparse_depth > 0).sum())} points")
            )
        if self.semantic is not None and self.labels is not None:
            small = render.fit_labels(self.semantic, width, height)
            legend = render.legend(self.semantic, self.labels, width)
            tiles.append(render.tile(render.overlay(photo, small, self.labels), "Semantics", legend, note=self.labels.name))
        if self.depth is not None:
            near, far = render.depth_range(self.depth)
            colours = render.resized(render.depth_colours(self.depth, near, far), width, height)
            tiles.append(render.tile(colours, "Depth", render.colour_bar(near, far, width), note="metres"))
            seen = pointcloud.view(self.point_cloud(max_points=250_000), height, width, background=render.BACKGROUND)
            note = f"{'assumed ' if self.intrinsics_assumed else ''}field of view {self.field_of_view:.0f}°"
            tiles.append(render.tile(seen, "Points", note=note))
        return Image.fromarray(render.grid(tiles, 2 if len(tiles) > 1 else 1))

    def point_cloud(self, *, max_points: int = 1_000_000) -> pointcloud.PointCloud:
        """The pixels as coloured points [m] in the camera's frame (x right, y down, z forward).

        Raises:
            ConfigError: the model has no depth output.
        """
        if self.depth is None:
            raise ConfigError("this model predicts no depth, so there are no points. Use a model with a depth output.")
        # The network's blur between two surfaces widens with the photo: the allowed change per pixel shrinks with it.
        jump = _WORKING_JUMP * min(1.0, self.working_size[1] / self.size[1])
        return pointcloud.back_project(
            self.depth, self.picture, self.intrinsics, semantic=self.semantic, max_points=max_points, max_jump=jump
        )

    def save(self, out: str | Path, stem: str | None = None, save: Iterable[str] = DEFAULT_SAVE) -> list[Path]:
        """Write what `save` names as `out/STEM.semantic.png` and so on; the written paths come back.

        Files of that name are replaced; each is complete or not there. What the model does not predict is left out.

        Args:
            out: folder, created if need be.
            stem: path below `out` without suffix. None: the photo's own name; from `predict` its place in the source folder, a frame's
                number behind the name of its video, or the place in a list of arrays.
            save: any of semantic, depth, json, overlay, ply, panel.

        Raises:
            ConfigError: an unknown kind, or no stem for a picture without a path.
        """
        kinds = check_save(save)
        stem = stem or self.stem or (None if self.path is None else self.path.stem)
        if stem is None:
            raise ConfigError("a prediction from an array has no file name: pass stem.")
        targets = {kind: Path(out) / f"{stem}{SUFFIXES[kind]}" for kind in kinds if self._has(kind)}
        for path in targets.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        clipped = 0
        if self.semantic is not None and "semantic" in targets:
            io.write_label_png(targets["semantic"], self.semantic)
        if self.depth is not None and "depth" in targets:
            clipped = io.write_depth_png(targets["depth"], self.depth, scale=DEPTH_SCALE)
        if "overlay" in targets:
            io.write_image(targets["overlay"], self.overlay())
        if "panel" in targets:
            io.write_image(targets["panel"], np.asarray(self.plot(), np.uint8))
        points = None
        if "ply" in targets:
            cloud = self.point_cloud()
            points = len(cloud.points)
            assumed = ", assumed" if self.intrinsics_assumed else ""
            camera = f"field of view {self.field_of_view:.2f} degrees over the longer side{assumed}"
            pointcloud.write_ply(targets["ply"], cloud, comments=(camera,))
        if "json" in targets:
            files = {kind: path.name for kind, path in targets.items() if kind != "json"}
            said = self.summary(files=files, clipped=clipped, points=points)
            # a line for each entry: with an indent json falls back on its slow encoder
            text = "{\n" + ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in said.items()) + "\n}"
            with io.replacing(targets["json"]) as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")
        return list(targets.values())

    def summary(self, *, files: dict[str, str], clipped: int = 0, points: int | None = None) -> dict[str, Any]:
        """What the JSON file of this photo says: model, classes, camera, scales and units; JSON types only."""
        height, width = self.size
        found: dict[str, Any] = {
            "model": self.model,
            "source": None if self.path is None else self.path.name,
            **({} if self.frame is None else {"frame": self.frame}),
            "size": {"height": height, "width": width},
            "input_size": {"height": self.working_size[0], "width": self.working_size[1]},
            "files": files,
            "camera": {
                "intrinsics": [[round(float(v), 4) for v in row] for row in self.intrinsics],
                "field_of_view_longer_side_degrees": round(self.field_of_view, 3),
                "assumed": self.intrinsics_assumed,
                "frame": "x right, y down, z forward; pixel centres at integers",
            },
        }
        if self.sparse_depth is not None:
            scale = self.sparse_scale
            found["sparse_depth"] = {
                "unit": "m",
                "scale": scale,
                "rule": f"metres = {'value' if scale is None else f'value / {scale:g}'}; 0 = unknown",
                "points": int((self.sparse_depth > 0).sum()),
            }
        if self.semantic is not None and self.labels is not None:
            shares = render.class_shares(self.semantic, len(self.labels))
            found["semantic"] = {
                "label_set": self.labels.name,
                "classes": list(self.labels.classes),
                "ignore": 255,
                "shares": {self.labels.classes[index]: round(part, 5) for index, part in shares},
            }
        if self.depth is not None:
            known = self.depth[self.depth > 0]
            found["depth"] = {
                "unit": "m",
                "scale": DEPTH_SCALE,
                "rule": "metres = value / 256; 0 = no value",
                "clipped_pixels": clipped,
                "median": round(float(np.median(known)), 4) if known.size else None,
                "range": [round(float(known.min()), 4), round(float(known.max()), 4)] if known.size else None,
            }
        if points is not None:
            found["points"] = points
        return found

    def _has(self, kind: str) -> bool:
        needs = {"semantic": self.semantic, "depth": self.depth, "ply": self.depth}
        return kind not in needs or needs[kind] is not None


def check_save(save: Iterable[str]) -> list[str]:
    """The kinds to save, in the order of `SUFFIXES`.

    Raises:
        ConfigError: an unknown kind, or none.
    """
    asked = set([save] if isinstance(save, str) else save)
    for kind in sorted(asked - SUFFIXES.keys()):
        raise ConfigError(f"cannot save '{kind}': {suggest(kind, SUFFIXES)} Choose among {', '.join(SUFFIXES)}.")
    if not asked:
        raise ConfigError(f"nothing to save. Choose among {', '.join(SUFFIXES)}.")
    return [kind for kind in SUFFIXES if kind in asked]
