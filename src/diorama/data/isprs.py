"""ISPRS 2D semantic labelling, Potsdam and Vaihingen, in the official folders: orthophotos, labels and heights in patches.

Files are found by their names, wherever they lie below the root: `top_potsdam_2_10_RGB.tif` (or IRRG, RGBIR), `..._label.tif`,
`dsm_potsdam_02_10.tif`, `dsm_potsdam_02_10_normalized_lastools.jpg`; `top_mosaic_09cm_area1.tif` in `top/` and, as labels, in
`gts_for_participants/`, `dsm_09cm_matching_area1.tif` in `dsm/` and, normalised, in `ndsm/`. TIFF, PNG and JPEG files are read
window by window (extra `geo`); labels are the official colours or indices 0..5.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diorama.data import geotiff
from diorama.data.base import LeftOut, SceneDataset
from diorama.data.geotiff import Window, open_raster
from diorama.data.height import depth_of_height, height_meta
from diorama.data.labels import ISPRS5, ISPRS6, ISPRS6_TO_5, convert
from diorama.data.resample import Target, averaged, nearest, span
from diorama.errors import ConfigError, DataError, suggest
from diorama.types import IGNORE, Frame

KEYS = ("image", "semantic", "depth")
GSD = {"potsdam": 0.05, "vaihingen": 0.09}
"""Metres that a pixel of the official files spans."""

_TRAIN = {
    "potsdam": "2_10 2_11 2_12 3_10 3_11 3_12 4_10 4_11 4_12 5_10 5_11 5_12 6_7 6_8 6_9 6_10 6_11 6_12 7_7 7_8 7_9 7_10 7_11 7_12",
    "vaihingen": "1 3 5 7 11 13 15 17 21 23 26 28 30 32 34 37",
}
_TEST = {
    "potsdam": "2_13 2_14 3_13 3_14 4_13 4_14 4_15 5_13 5_14 5_15 6_13 6_14 6_15 7_13",
    "vaihingen": "2 4 6 8 10 12 14 16 20 22 24 27 29 31 33 35 38",
}
SPLITS = {site: {"train": tuple(_TRAIN[site].split()), "test": tuple(_TEST[site].split())} for site in GSD}
"""The official tiles: 24 + 14 of Potsdam, 16 + 17 of Vaihingen."""

_TILE = {
    "potsdam": re.compile(r"(?:potsdam_|^)0?(\d+)_0?(\d+)(_\d+_\d+_\d+_\d+)?(?![\d])", re.IGNORECASE),
    "vaihingen": re.compile(r"area0?(\d+)(_\d+_\d+_\d+_\d+)?(?![\d])", re.IGNORECASE),
}
_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
_BANDS = {"rgb": ({"rgb": (0, 1, 2), "rgbir": (0, 1, 2)}), "irrg": ({"irrg": (0, 1, 2), "rgbir": (3, 0, 1)})}
_RAGGED = 2
_RAISED = 5.0
"""Metres; where 19 of 20 heights are above it, they are not heights above ground."""


class _Patch(NamedTuple):
    tile: str
    window: Window
    """Pixels of the resampled tile."""


def _kind(path: Path, root: Path) -> str:
    """What a file holds: rgb, irrg, rgbir, semantic, eroded, ndsm or dsm."""
    folders = path.relative_to(root).parts[:-1]
    words = "/".join((*folders, path.stem)).lower()
    if "label" in words or "gts" in words:
        return "eroded" if "noboundary" in words.replace("_", "") or "eroded" in words else "semantic"
    if "dsm" in words:
        return "ndsm" if "ndsm" in words or "normal" in words else "dsm"
    bands = next((bands for bands in ("rgbir", "irrg", "rgb") if bands in path.stem.lower()), "")
    # The complete labels of Vaihingen lie beside top/ under the names of its images.
    return bands or ("semantic" if "top" not in folders and (root / "top").is_dir() else "irrg")


def find_tiles(root: Path, site: str) -> dict[str, dict[str, Path]]:
    """Tile ("2_10", "area1", with the corners of a part where the name has them) -> what there is of it -> file."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(root.rglob("*")):
        match = _TILE[site].search(path.stem) if path.suffix.lower() in _SUFFIXES else None
        if match:
            tile = "_".join(match.groups()[:2]) if site == "potsdam" else f"area{match[1]}"
            found.setdefault(tile + (match.groups()[-1] or ""), {})[_kind(path, root)] = path
    return found


class ISPRS(SceneDataset):
    """Patches of ISPRS tiles: image, semantic (6 or 5 classes), depth (height above ground, see `diorama.data.height`).

    Args:
        root: the folder of one site; its subfolders are searched.
        split: `train` or `test`, the official tiles.
        site: `potsdam` or `vaihingen`.
        keys: what a frame holds, out of image, semantic, depth; tiles without one of them are left out.
        bands: `irrg`, or `rgb` (Potsdam).
        classes: 6, or 5 (clutter is ignored).
        gsd: metres a pixel after resampling; None: that of the files (0.05 Potsdam, 0.09 Vaihingen). Images and heights are
            averaged over a pixel's area, labels are those of its centre.
        patch: side of a patch [px after resampling]; None: whole tiles.
        overlap: share of a patch that the next one sees again, 0 to 0.9.
        heights: `ndsm` (above ground) or `dsm` (above sea level).
        height_scale: metres per unit of heights stored as whole numbers (8-bit JPEGs, 16-bit PNGs).
        eroded: labels with eroded boundaries, where a pixel near a boundary is ignored.
        first_id: what label maps of ids call impervious surfaces: 0, or 1 where 0 is what is ignored (as MMSegmentation prepares them).
    """

    name: ClassVar[str] = "isprs"
    title: ClassVar[str] = "ISPRS Potsdam and Vaihingen"
    citation: ClassVar[str] = (
        "Rottensteiner et al.: The ISPRS benchmark on urban object classification and 3D building reconstruction, ISPRS Annals I-3, 2012"
    )
    terms: ClassVar[str] = "research use; request it from the ISPRS"
    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    offers: ClassVar[frozenset[str]] = frozenset(KEYS)
    depth_cap: ClassVar[float] = 100.0
    root_hint: ClassVar[str] = "folder with the official files of one site: top/ gts_for_participants/ dsm/ ndsm/, or 1_DSM ... 5_Labels"
    root: Path

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        site: str = "potsdam",
        keys: Sequence[str] = ("image", "semantic"),
        bands: str = "irrg",
        classes: int = 6,
        gsd: float | None = None,
        patch: int | None = 512,
        overlap: float = 0.5,
        heights: str = "ndsm",
        height_scale: float | None = None,
        eroded: bool = False,
        first_id: int = 0,
    ) -> None:
        self.root, self.split, self.site, self.keys, self.bands, self.classes = Path(root), split, site, tuple(keys), bands, classes
        self._check_split()
        for what, word, known in (("site", site, GSD), ("bands", bands, _BANDS), ("heights", heights, ("ndsm", "dsm"))):
            if word not in known:
                raise ConfigError(f"isprs: {what}={word}: {suggest(word, known)}")
        self._check_keys(self.keys, KEYS)
        if classes not in (5, 6):
            raise ConfigError(f"isprs: classes={classes}. Choose 6, or 5 without clutter.")
        if not 0 <= overlap <= 0.9 or (patch is not None and patch < 16):
            raise ConfigError(f"isprs: patch={patch} with overlap={overlap}. Choose at least 16 px and 0 to 0.9.")
        if (gsd is not None and not 0.01 <= gsd <= 2) or (height_scale is not None and height_scale <= 0):
            raise ConfigError(f"isprs: gsd={gsd}, height_scale={height_scale}. Both are metres: choose 0.01 to 2, and above 0.")
        if first_id not in (0, 1):
            raise ConfigError(f"isprs: first_id={first_id}. Choose 0, or 1 for label maps whose 0 is what is ignored.")
        self.gsd, self.height_scale, self.first_id = gsd or GSD[site], height_scale, first_id
        surface = "heights above ground (nDSM)" if heights == "ndsm" else "heights above sea level (DSM)"
        pieces = f"{patch} px patches, {overlap:.0%} overlap, each scored whole" if patch else "whole tiles"
        self.truth = (
            f"{site.capitalize()}: official labels{', boundaries eroded' if eroded else ''}; {surface}; {self.gsd:g} m a pixel; {pieces}"
        )
        """What a protocol says of the truth; the same for one task as for both, so that their numbers compare."""
        self._files = {"semantic": ("eroded" if eroded else "semantic",), "depth": (heights,), "image": tuple(_BANDS[bands])}
        self.provides = frozenset(self.keys)
        self.labels = (ISPRS6 if classes == 6 else ISPRS5) if "semantic" in self.keys else None
        if not self.root.is_dir():
            raise DataError(f"{self.root}: no such folder. Point --data.root at the folder of {site}.")
        numbers = SPLITS[site][split]
        every = {tile: files for tile, files in find_tiles(self.root, site).items() if _number(tile, site) in numbers}
        self._tiles = {tile: files for tile, files in every.items() if all(self._file(files, key) for key in self.keys)}
        self._left_out = {tile: [key for key in self.keys if not self._file(files, key)] for tile, files in every.items()}
        if not self._tiles:
            missing = next((keys[0] for keys in self._left_out.values() if keys), None)
            why = (
                f"none of the {len(every)} {split} tiles has '{missing}'" if missing else f"no file is named like a {split} tile of {site}"
            )
            raise DataError(f"{self.root}: {why}. Unpack the official files there, or ask for other keys, bands or another site.")
        self._scales: dict[str, float] = {}
        """Pixels of a tile's files that a pixel after resampling spans."""
        self._patches = [_Patch(tile, window) for tile in self._tiles for window in self._windows(tile, patch, overlap)]
        self.ids = [f"{tile}_{window.top}_{window.left}" if patch else tile for tile, window in self._patches]

    def _file(self, files: dict[str, Path], key: str) -> Path | None:
        return next((files[kind] for kind in self._files[key] if kind in files), None)

    def _windows(self, tile: str, patch: int | None, overlap: float) -> list[Window]:
        sizes, spans = {}, {}
        for key in self.keys:
            path = self._file(self._tiles[tile], key)
            assert path is not None
            with open_raster(path) as raster:
                sizes[key] = raster.size
                spans[key] = raster.resolution[0] if raster.resolution else GSD[self.site]
        least = tuple(min(size[axis] for size in sizes.values()) for axis in (0, 1))
        # some official height maps lack a row or column
        if any(size[axis] - least[axis] > _RAGGED for size in sizes.values() for axis in (0, 1)) or max(spans.values()) > 1.01 * min(
            spans.values()
        ):
            listed = ", ".join(f"{key} {size[1]}x{size[0]} of {spans[key]:g} m" for key, size in sizes.items())
            raise DataError(f"{self.root}: the files of tile {tile} differ ({listed}). Use files of one ground sampling distance.")
        self._scales[tile] = self.gsd / next(iter(spans.values()))
        height, width = (max(int(side / self._scales[tile] + 1e-6), 1) for side in least)
        if patch is None:
            return [Window(0, 0, height, width)]
        step = max(round(patch * (1 - overlap)), 1)
        return [
            Window(top, left, min(patch, height), min(patch, width))
            for top in _starts(height, patch, step)
            for left in _starts(width, patch, step)
        ]

    def files(self) -> Iterable[Path]:
        """Every file that a frame is made from."""
        return [path for files in self._tiles.values() for key in self.keys if (path := self._file(files, key))]

    def check(self) -> list[str]:
        """Official tiles that are not there or lack a file, and height maps that look like heights above sea level."""
        present = {_number(tile, self.site) for tile in self._left_out}
        absent = [number for number in SPLITS[self.site][self.split] if number not in present]
        found = [f"{self.root}: {len(absent)} {self.split} tiles are missing (first: {absent[0]}). Unpack them."] if absent else []
        for tile, keys in self._left_out.items():
            if keys:
                found.append(
                    LeftOut(f"{self.root}: tile {tile} has no {' and no '.join(keys)} and is left out. Unpack it, or ask for fewer keys.")
                )
        return found + [text for files in self._tiles.values() for text in self._check_heights(self._file(files, "depth"))]

    def _check_heights(self, path: Path | None) -> list[str]:
        if path is None or "depth" not in self.keys or self._files["depth"] != ("ndsm",):
            return []
        with open_raster(path) as raster:
            part = Window(raster.size[0] // 4, raster.size[1] // 4, *(min(side - side // 4, 1024) for side in raster.size))
            heights = self._heights(raster.read(part), raster.nodata, path)
        if not np.isfinite(heights).any() or float(np.nanpercentile(heights, 5)) <= _RAISED:
            return []
        return [f"{path}: 19 of 20 heights are above {_RAISED:g} m: a DSM, not heights above ground? Pass the nDSM, or heights=dsm."]

    def frame(self, index: int) -> Frame:
        """Patch number `index` with the keys asked for; `meta` has the ground sampling distance and, of a GeoTIFF, its place.

        Raises:
            DataError: a file is damaged, or of another kind than its name says.
        """
        tile, window = self._patches[index]
        scale = self._scales[tile]
        frame: dict[str, Any] = {}
        meta: dict[str, Any] = {"id": self.ids[index], "split": self.split, "style": self.site, "gsd": self.gsd, "bands": self.bands}
        for key in self.keys:
            path = self._file(self._tiles[tile], key)
            assert path is not None
            meta.setdefault("path", str(path))
            with open_raster(path) as raster:
                rows, columns = (span(first, count, scale) for first, count in ((window.top, window.height), (window.left, window.width)))
                values = raster.read(Window(rows[0], columns[0], rows[1] - rows[0], columns[1] - columns[0]))
                first = window.top * scale - rows[0], window.left * scale - columns[0]
                frame[key] = getattr(self, f"_{key}")(values, Target(first, (window.height, window.width), scale), raster)
                if raster.crs is not None and "crs" not in meta:
                    place = raster.transform @ _moved(window.left * scale, window.top * scale, scale)
                    meta |= {"crs": raster.crs.to_string(), "transform": list(place)[:6]}
        if "depth" in frame:
            meta["height"] = height_meta()
        frame["meta"] = meta
        return frame  # type: ignore[return-value]

    def _image(self, values: NDArray[Any], to: Target, raster: geotiff.Raster) -> NDArray[np.uint8]:
        kind = _kind(raster.path, self.root)
        if raster.dtype != np.uint8 or raster.bands < (4 if kind == "rgbir" else 3):
            raise DataError(
                f"{raster.path}: {raster.bands} bands of {raster.dtype}, expected 8-bit {kind.upper()}. Use the official orthophoto."
            )
        chosen = values[..., list(_BANDS[self.bands][kind])].astype(np.float32)
        return np.asarray(np.rint(averaged(chosen, to)).astype(np.uint8))

    def _semantic(self, values: NDArray[Any], to: Target, raster: geotiff.Raster) -> NDArray[np.uint8]:
        picked = nearest(values, to)
        if raster.bands >= 3 and raster.dtype == np.uint8:
            ids = ISPRS6.decode(np.ascontiguousarray(picked[..., :3]))
        else:
            ids = picked[..., 0]
            last = self.first_id + len(ISPRS6) - 1
            wrong = ids[(ids > last) & (ids != IGNORE)]
            if wrong.size:
                hint = " Pass --data.first_id 1 if 0 is what is ignored." if not self.first_id and wrong.max() == last + 1 else ""
                raise DataError(
                    f"{raster.path}: label {wrong.max()}, expected 0..{last} or the official colours. Use the official label maps.{hint}"
                )
            ids = np.where((ids < self.first_id) | (ids == IGNORE), IGNORE, ids - self.first_id).astype(np.uint8)
        return convert(ids, ISPRS6_TO_5) if self.classes == 5 else ids.astype(np.uint8)

    def _depth(self, values: NDArray[Any], to: Target, raster: geotiff.Raster) -> NDArray[np.float32]:
        heights = self._heights(values, raster.nodata, raster.path)
        return depth_of_height(averaged(heights[..., None], to)[..., 0])

    def _heights(self, values: NDArray[Any], nodata: float | None, path: Path) -> NDArray[np.float32]:
        """`(h, w)` metres, NaN = unknown."""
        if np.issubdtype(values.dtype, np.integer) and self.height_scale is None:
            raise DataError(
                f"{path}: heights as whole numbers ({values.dtype}) of unknown unit. Pass --data.height_scale, metres per unit."
            )
        metres = values[..., 0].astype(np.float32)
        unknown = ~np.isfinite(metres) | (np.abs(metres) > 1e5) | (np.False_ if nodata is None else metres == np.float32(nodata))
        return np.where(unknown, np.nan, metres * np.float32(1.0 if self.height_scale is None else self.height_scale)).astype(np.float32)


def _moved(x: float, y: float, scale: float) -> Any:
    from affine import Affine

    return Affine(scale, 0.0, x, 0.0, scale, y)


def _number(tile: str, site: str) -> str:
    return "_".join(tile.split("_")[:2]) if site == "potsdam" else tile.split("_")[0].removeprefix("area")


def _starts(side: int, patch: int, step: int) -> list[int]:
    """First pixels of the patches along a side; the last one ends with the side."""
    last = max(side - patch, 0)
    return [*range(0, last, step), last]
