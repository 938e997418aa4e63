"""Examples for the page, drawn by the package itself: rooms, and a street with scan lines and a stereo pair."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diorama.data import io
from diorama.data.world.dataset import WorldIndoor, WorldStreet
from diorama.prediction.predictor import list_models

_OF_LIDAR, _OF_STEREO = "image_reconstruction-world_street", "linear"
"""What completes the street: a network trained on scan lines, if it is there, and for matched pixels, which are dense, none at all."""


@dataclass(frozen=True)
class Example:
    """One scene, and the model that it is meant for."""

    title: str
    model: str
    image: Path
    sparse_depth: Path | None = None
    right: Path | None = None
    focal_px: float | None = None
    baseline: float | None = None


def draw(folder: Path, model: str | None, rooms: tuple[int, ...] = (0, 3), size: tuple[int, int] = (360, 480)) -> list[Example]:
    """Draw the scenes into `folder`; half a second each.

    Args:
        folder: where the files go.
        model: what looks at the rooms; None: there are none.
        rooms: which of the test rooms.
        size: of the rooms (H, W).
    """
    found: list[Example] = []
    world = WorldIndoor(frames=max(rooms) + 1, split="test", size=size, stereo=False)
    for number, index in enumerate(rooms if model else (), 1):
        path = folder / f"room_{number}.jpg"
        io.write_image(path, world.frame(index)["image"], quality=92)
        found.append(Example(f"Room {number}", str(model), path))
    street = WorldStreet(frames=1, split="test", size=(256, 512)).frame(0)
    left, right, points = folder / "street_left.jpg", folder / "street_right.jpg", folder / "street_lidar.png"
    io.write_image(left, street["image"], quality=95)
    io.write_image(right, street["right"], quality=95)
    io.write_depth_png(points, street["sparse_depth"])
    completion = _OF_LIDAR if _OF_LIDAR in list_models() else _OF_STEREO
    focal_px, baseline = float(street["intrinsics"][0, 0]), float(street["baseline"])
    found.append(Example("Street, LiDAR", completion, left, sparse_depth=points))
    found.append(Example("Street, stereo", _OF_STEREO, left, right=right, focal_px=round(focal_px, 2), baseline=baseline))
    return found
