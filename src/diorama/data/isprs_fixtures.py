"""Writers: aerial frames -> the official folders of Potsdam or Vaihingen, a tile each. For tests without the real set, and `data make`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from diorama.data.geotiff import write_raster
from diorama.data.height import height_of_depth
from diorama.data.isprs import SPLITS
from diorama.data.labels import ISPRS6, LabelSet
from diorama.errors import DataError
from diorama.types import Frame

TERRAIN = 32.0
"""Metres above sea level of the flat ground that the DSM of a fixture stands on."""


def write_potsdam(frames: Iterable[Frame], out: str | Path, split: str = "train", labels: LabelSet | None = ISPRS6) -> list[Path]:
    """Store up to 24 (test: 14) frames as tiles of Potsdam: image (RGB or IRRG), colour labels, DSM, nDSM; returns the images.

    Raises:
        DataError: a frame has no labels of the 6 classes, or there are more than tiles.
    """
    made = []
    for frame, tile in _tiles(frames, "potsdam", split, labels):
        bands = str(frame.get("meta", {}).get("bands", "rgb")).upper()
        row, column = tile.split("_")
        folder = "2_Ortho_RGB" if bands == "RGB" else "3_Ortho_IRRG"
        height = Path(f"dsm_potsdam_{int(row):02d}_{int(column):02d}")
        made.append(Path(out) / folder / f"top_potsdam_{tile}_{bands}.tif")
        _write(
            frame,
            made[-1],
            Path(out) / "5_Labels_all" / f"top_potsdam_{tile}_label.tif",
            Path(out) / "1_DSM" / f"{height}.tif",
            Path(out) / "1_DSM_normalisation" / f"{height}_normalized_lastools.tif",
        )
    return made


def write_vaihingen(frames: Iterable[Frame], out: str | Path, split: str = "train", labels: LabelSet | None = ISPRS6) -> list[Path]:
    """Store up to 16 (test: 17) frames as areas of Vaihingen: image, colour labels, DSM, nDSM; returns the images.

    Raises:
        DataError: a frame has no labels of the 6 classes, or there are more than areas.
    """
    made = []
    for frame, number in _tiles(frames, "vaihingen", split, labels):
        name, height = f"top_mosaic_09cm_area{number}.tif", f"dsm_09cm_matching_area{number}"
        made.append(Path(out) / "top" / name)
        _write(
            frame,
            made[-1],
            Path(out) / "gts_for_participants" / name,
            Path(out) / "dsm" / f"{height}.tif",
            Path(out) / "ndsm" / f"{height}_normalized.tif",
        )
    return made


def _tiles(frames: Iterable[Frame], site: str, split: str, labels: LabelSet | None) -> Iterable[tuple[Frame, str]]:
    names = SPLITS[site].get(split, ())
    for number, frame in enumerate(frames):
        if labels is None or labels.name != ISPRS6.name or not {"image", "semantic", "depth"} <= set(frame):
            raise DataError(
                "this layout needs images with the 6 ISPRS classes and heights. Make it of world_aerial, or choose layout=folder."
            )
        if number >= len(names):
            raise DataError(f"{site} has {len(names)} {split} tiles, no more frames fit. Ask for fewer --frames, or split train or test.")
        yield frame, names[number]


def _write(frame: Frame, image: Path, semantic: Path, dsm: Path, ndsm: Path) -> None:
    meta: dict[str, Any] = frame.get("meta", {})
    place = meta.get("crs"), meta.get("transform")
    height = height_of_depth(frame["depth"])
    write_raster(image, frame["image"], *place)
    write_raster(semantic, ISPRS6.colour(frame["semantic"]), *place)
    write_raster(dsm, (height + np.float32(TERRAIN)).astype(np.float32), *place)
    write_raster(ndsm, height, *place)
