"""Domain styles: what two "cities" or two homes differ in, as numbers that a test can measure."""

from __future__ import annotations

from dataclasses import dataclass

from diorama.data.world.render import Sensor
from diorama.errors import ConfigError, suggest

Range = tuple[float, float]


@dataclass(frozen=True)
class IndoorStyle:
    """A family of rooms. Ranges are (lowest, highest)."""

    saturation: Range
    """Of walls and fabrics."""
    white: float
    """Share of white furniture."""
    floors: tuple[str, ...]
    walls: tuple[str, ...]
    lamp_warmth: Range
    """0 is cool white, 1 is candle light."""
    ambient: Range
    lamp_power: Range
    window_power: Range
    sunny: float
    """Share of rooms with sun through a window."""
    clutter: Range
    """Loose things per room."""
    camera_height: Range
    """[m]"""
    camera_pitch: Range
    """Downwards [degrees]."""
    focal: Range
    """Focal length over image width."""
    sensor: Sensor
    baseline: float = 0.12


@dataclass(frozen=True)
class StreetStyle:
    """A city and its weather. Ranges are (lowest, highest)."""

    sun_height: Range
    """[degrees]"""
    sun_power: Range
    sun_warmth: Range
    clouds: Range
    """0 clear .. 1 overcast."""
    haze_length: Range
    """[m]"""
    facades: tuple[str, ...]
    """Wall materials: plaster, brick, stone, glass."""
    wall_saturation: Range
    wall_value: Range
    floors: Range
    """Storeys of a house."""
    trees: Range
    """Distance between street trees [m]."""
    lane: Range
    """Lane width [m]."""
    roof: float
    """Share of houses with a gabled roof."""
    autumn: float
    """Share of yellow and red leaves."""
    camera_height: Range
    """[m]"""
    camera_pitch: Range
    """Downwards [degrees]."""
    focal: Range
    """Focal length over image width."""
    sensor: Sensor
    baseline: float = 0.22


INDOOR = {
    "home": IndoorStyle(
        saturation=(0.5, 1.2),
        white=0.15,
        floors=("planks", "planks", "planks", "mottle", "tiles"),
        walls=("plain", "plain", "stripes", "mottle"),
        lamp_warmth=(0.35, 0.8),
        ambient=(0.12, 0.28),
        lamp_power=(0.8, 1.7),
        window_power=(0.5, 1.6),
        sunny=0.5,
        clutter=(4, 11),
        camera_height=(1.1, 1.65),
        camera_pitch=(-3, 19),
        focal=(0.74, 0.9),
        sensor=Sensor(exposure=1.0, white=(1.05, 1.0, 0.92), noise=2.0, vignette=0.25),
    ),
    "office": IndoorStyle(
        saturation=(0.1, 0.45),
        white=0.5,
        floors=("mottle", "tiles", "mottle", "planks"),
        walls=("plain", "plain", "plain", "tiles"),
        lamp_warmth=(0.0, 0.25),
        ambient=(0.22, 0.42),
        lamp_power=(0.9, 1.8),
        window_power=(0.6, 1.8),
        sunny=0.3,
        clutter=(3, 9),
        camera_height=(1.35, 1.8),
        camera_pitch=(0, 22),
        focal=(0.86, 1.05),
        sensor=Sensor(exposure=1.05, white=(0.95, 1.0, 1.05), saturation=0.9, noise=4.0, blur=0.6, vignette=0.1),
    ),
}

STREET = {
    "harbour": StreetStyle(
        sun_height=(28, 58),
        sun_power=(2.2, 3.2),
        sun_warmth=(0.1, 0.5),
        clouds=(0.2, 0.6),
        haze_length=(450, 1200),
        facades=("plaster", "plaster", "plaster", "stone", "brick"),
        wall_saturation=(0.12, 0.5),
        wall_value=(0.6, 0.92),
        floors=(3, 6),
        trees=(9, 24),
        lane=(3.2, 3.6),
        roof=0.45,
        autumn=0.08,
        camera_height=(1.2, 1.35),
        camera_pitch=(0, 4),
        focal=(0.86, 0.98),
        sensor=Sensor(exposure=0.95, saturation=1.1, noise=1.5, blur=0.4, vignette=0.2),
    ),
    "mill": StreetStyle(
        sun_height=(18, 42),
        sun_power=(0.25, 1.1),
        sun_warmth=(0.2, 0.6),
        clouds=(0.75, 1.0),
        haze_length=(250, 600),
        facades=("brick", "brick", "glass", "stone"),
        wall_saturation=(0.15, 0.5),
        wall_value=(0.35, 0.65),
        floors=(2, 9),
        trees=(14, 40),
        lane=(2.9, 3.3),
        roof=0.2,
        autumn=0.5,
        camera_height=(1.55, 1.75),
        camera_pitch=(1, 6),
        focal=(1.08, 1.22),
        sensor=Sensor(exposure=0.82, white=(0.97, 1.0, 1.05), contrast=0.97, saturation=0.7, noise=4.0, blur=0.65, vignette=0.05),
    ),
}


def choose(style: str, known: tuple[str, ...], index: int) -> str:
    """The style of frame `index`: `style` itself, or each in turn for "mixed".

    Raises:
        ConfigError: there is no such style.
    """
    if style == "mixed":
        return known[index % len(known)]
    if style not in known:
        raise ConfigError(f"unknown style '{style}': {suggest(style, (*known, 'mixed'))}")
    return style
