"""Two cities seen from the air that differ in plan, houses, plants, season, sun and camera."""

from __future__ import annotations

from dataclasses import dataclass

from diorama.data.world.aerial_canvas import Colour


@dataclass(frozen=True)
class AerialStyle:
    """Ranges are (least, most); lengths in metres."""

    block: float
    """Distance of the streets."""
    uneven: float
    """By what share of it that distance varies."""
    street: tuple[float, float]
    """Half widths of the two directions of streets."""
    kerb: float
    """Width of a pavement."""
    plots: dict[str, float]
    """Share of each kind of block: rows, villas, slabs, park, site."""
    eaves: tuple[float, float]
    pitch: tuple[float, float]
    flat: float
    """Share of flat roofs among houses."""
    hips: float
    tiles: tuple[Colour, ...]
    gravel: tuple[Colour, ...]
    road: Colour
    pavement: Colour
    joints: float
    """Distance of the joints of its paving, 0 = asphalt."""
    lines: bool
    lawn: tuple[Colour, ...]
    leaves: tuple[Colour, ...]
    bare: tuple[float, float]
    tree: tuple[float, float]
    """Radii of crowns."""
    trees: float
    """Trees of a garden or yard, per 100 m2."""
    cars: float
    """Share of parking spaces taken."""
    sun: tuple[float, float]
    """Elevation [degrees]."""
    sun_colour: Colour
    sky: Colour
    exposure: tuple[float, float]
    contrast: float
    noise: float
    """Standard deviation of the noise [grey levels]."""
    blur: float
    """Share of the light of a pixel that falls on its neighbours."""


AERIAL = {
    "a": AerialStyle(
        block=78.0,
        uneven=0.22,
        street=(5.2, 3.9),
        kerb=2.6,
        plots={"rows": 0.5, "villas": 0.14, "slabs": 0.14, "park": 0.14, "site": 0.08},
        eaves=(8.5, 14.0),
        pitch=(0.55, 0.95),
        flat=0.12,
        hips=0.35,
        tiles=((0.44, 0.19, 0.12, 0.42), (0.36, 0.15, 0.10, 0.38), (0.50, 0.25, 0.16, 0.46), (0.24, 0.20, 0.18, 0.26)),
        gravel=((0.34, 0.33, 0.31, 0.34), (0.20, 0.20, 0.20, 0.21), (0.14, 0.22, 0.19, 0.24)),
        road=(0.25, 0.26, 0.25, 0.26),
        pavement=(0.31, 0.31, 0.29, 0.33),
        joints=0.7,
        lines=False,
        lawn=((0.16, 0.17, 0.10, 0.34), (0.21, 0.19, 0.13, 0.33), (0.13, 0.16, 0.08, 0.38)),
        leaves=((0.19, 0.17, 0.12, 0.27), (0.23, 0.20, 0.15, 0.28), (0.12, 0.15, 0.08, 0.34)),
        bare=(0.5, 1.0),
        tree=(2.2, 5.0),
        trees=0.8,
        cars=0.55,
        sun=(36.0, 48.0),
        sun_colour=(1.02, 1.0, 0.93, 1.0),
        sky=(0.19, 0.23, 0.26, 0.17),
        exposure=(0.8, 1.0),
        contrast=1.0,
        noise=2.2,
        blur=0.35,
    ),
    "b": AerialStyle(
        block=54.0,
        uneven=0.28,
        street=(4.2, 2.9),
        kerb=1.6,
        plots={"rows": 0.12, "villas": 0.5, "slabs": 0.2, "park": 0.1, "site": 0.08},
        eaves=(3.4, 7.5),
        pitch=(0.45, 1.1),
        flat=0.3,
        hips=0.2,
        tiles=(
            (0.33, 0.20, 0.15, 0.34),
            (0.27, 0.24, 0.22, 0.28),
            (0.40, 0.29, 0.20, 0.40),
            (0.20, 0.19, 0.20, 0.21),
            (0.48, 0.40, 0.26, 0.5),
        ),
        gravel=((0.40, 0.39, 0.37, 0.40), (0.30, 0.26, 0.24, 0.33), (0.55, 0.54, 0.52, 0.55)),
        road=(0.22, 0.23, 0.25, 0.23),
        pavement=(0.37, 0.37, 0.38, 0.38),
        joints=0.0,
        lines=True,
        lawn=((0.10, 0.16, 0.08, 0.52), (0.12, 0.17, 0.08, 0.60), (0.15, 0.18, 0.10, 0.46)),
        leaves=((0.06, 0.11, 0.05, 0.46), (0.08, 0.13, 0.06, 0.58), (0.05, 0.09, 0.05, 0.38)),
        bare=(0.0, 0.25),
        tree=(1.3, 3.8),
        trees=2.4,
        cars=0.4,
        sun=(48.0, 60.0),
        sun_colour=(1.0, 1.02, 1.05, 1.05),
        sky=(0.15, 0.17, 0.21, 0.13),
        exposure=(0.95, 1.2),
        contrast=1.15,
        noise=3.2,
        blur=0.5,
    ),
}

CAR_COLOURS: tuple[Colour, ...] = (
    (0.62, 0.63, 0.64, 0.6),
    (0.75, 0.75, 0.74, 0.75),
    (0.30, 0.31, 0.32, 0.3),
    (0.06, 0.06, 0.07, 0.1),
    (0.06, 0.06, 0.07, 0.1),
    (0.42, 0.05, 0.05, 0.4),
    (0.06, 0.10, 0.28, 0.2),
    (0.08, 0.17, 0.14, 0.2),
    (0.62, 0.48, 0.06, 0.6),
)
CONTAINER_COLOURS: tuple[Colour, ...] = (
    (0.50, 0.12, 0.06, 0.45),
    (0.07, 0.16, 0.38, 0.2),
    (0.60, 0.44, 0.05, 0.6),
    (0.10, 0.28, 0.14, 0.2),
)
SOIL: Colour = (0.36, 0.29, 0.21, 0.40)
WATER: Colour = (0.05, 0.09, 0.10, 0.02)
PAINT: Colour = (0.62, 0.62, 0.60, 0.62)
GRAVEL_PATH: Colour = (0.44, 0.41, 0.34, 0.45)
