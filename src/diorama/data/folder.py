"""The user's own frames: `images/ semantic/ depth/ sparse_depth/ right/ disparity/`, matched by file stem, and `dataset.yaml`.

Cameras that differ between frames go into `intrinsics/STEM.txt` (9 numbers row by row, or fx fy cx cy) or `STEM.json`
(`{"fx":, "fy":, "cx":, "cy":, "baseline":}`); one camera for all goes into `dataset.yaml`.

Splits: sub-folders (`images/train/...` or `train/images/...`), else lists of stems (`train.txt`, `val.txt`, `test.txt` in the
root), else a fixed draw by a hash of the stem: a tenth val, a tenth test, the rest train. `all` is everything.

The section `folder` of `docs/datasets.md` has defaults and common cases besides.

`dataset.yaml` (every key optional; a constructor argument of the same name wins):

    labels: cityscapes19          # a label set of diorama, or `classes` with `palette`
    classes: [road, car, tree]
    palette: [[128, 64, 128], [0, 0, 142], [107, 142, 35]]   # also decodes colour-coded label images
    colours: nearest              # of colour-coded label images; or exact: a colour that no class has is an error (black is ignored)
    ids: [7, 26, 21]              # ids in the files, in the order of the classes; all others are ignored
    depth_scale: 256              # integers in depth files = depth * depth_scale
    depth_unit: m                 # or mm, cm, ft
    depth_cap: 80                 # metres
    disparity_scale: 256          # integers in disparity files = pixels * disparity_scale
    intrinsics: {fx: 721.5, fy: 721.5, cx: 609.6, cy: 172.9}  # px at the images' size, pixel centres at integers
    baseline: 0.54                # metres
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from diorama.data import io
from diorama.data.base import LeftOut, SceneDataset
from diorama.data.disparity import depth_from_disparity
from diorama.data.folder_settings import camera_matrix, label_set, metres_per_unit, read_settings
from diorama.data.labels import LabelSet, convert
from diorama.errors import ConfigError, DataError, suggest
from diorama.types import IGNORE, Frame

FOLDERS = {
    "image": ("images", "image"),
    "right": ("right", "images_right"),
    "semantic": ("semantic", "labels"),
    "depth": ("depth",),
    "sparse_depth": ("sparse_depth",),
    "disparity": ("disparity",),
    "intrinsics": ("intrinsics", "camera"),
}
"""Key of a frame -> names its folder may have."""

CAMERA = ("intrinsics", "baseline")
"""Keys that `dataset.yaml` may say for all frames."""

_DIVIDED = ("train", "val", "test")


class IncompleteError(DataError):
    """Some frames of a split that is there lack files that others have."""


class Folder(SceneDataset):
    """Frames from folders whose files share a stem; the section folder of docs/datasets.md has the layout and `dataset.yaml`.

    Args:
        root: the folder that holds `images/` and the others.
        split: `train`, `val`, `test` or `all`.
        keys: what a frame holds; frames that lack one of these files are left out. None: every folder that is there,
            and then each has to hold a file for every frame.
        labels: name of a label set of diorama (over `dataset.yaml`).
        depth_scale: integers in depth files are depth * depth_scale (over `dataset.yaml`).
        depth_unit: unit of the depth values: m, cm, mm or ft (over `dataset.yaml`).
        colours: "nearest" gives pixels of colour-coded label images the class of the nearest colour, "exact" refuses colours that no
            class has (over `dataset.yaml`).
    """

    name: ClassVar[str] = "folder"
    title: ClassVar[str] = "your own folders"
    citation: ClassVar[str] = "your own data"
    terms: ClassVar[str] = "yours"
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test", "all")
    offers: ClassVar[frozenset[str]] = frozenset({*FOLDERS, "baseline"})
    root_hint: ClassVar[str] = "{images, semantic, depth, sparse_depth, right, disparity, intrinsics} with equal file stems; dataset.yaml"
    derived_splits: ClassVar[frozenset[str]] = frozenset({"all"})
    root: Path

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        keys: Sequence[str] | None = None,
        labels: str | None = None,
        depth_scale: float | None = None,
        depth_unit: str | None = None,
        colours: Literal["nearest", "exact"] | None = None,
    ) -> None:
        self.root, self.split = Path(root), split
        self._check_split()
        if not self.root.is_dir():
            raise DataError(f"{self.root}: no such folder. Point --data.root at the folder that holds images/.")
        given = {"labels": labels, "depth_scale": depth_scale, "depth_unit": depth_unit, "colours": colours}
        self.settings = read_settings(self.root) | {key: value for key, value in given.items() if value is not None}
        self._metres_per_unit = metres_per_unit(self.root, self.settings)
        self.depth_cap = float(self.settings.get("depth_cap", 80.0))  # type: ignore[misc]
        drawn = split != "all" and not _split_folders(self.root) and not _has_lists(self.root)
        self.division = "no train.txt, val.txt or test.txt: split by a hash of the file names" if drawn else ""
        self._files = {key: _files_of(self.root, key, split) for key in FOLDERS}
        self._choose_keys(keys)
        self.ids = self._chosen_ids()
        self.labels: LabelSet | None = None
        self._table: NDArray[np.uint8] | None = None
        if "semantic" in self._keys:
            self.labels, self._table = label_set(self.root, self.settings)
        if "intrinsics" in self._keys and read_camera(self._files["intrinsics"][self.ids[0]])[1] is not None:
            self._keys |= {"baseline"}
        fixed: set[str] = {key for key in CAMERA if key in self.settings}
        self._matrix = camera_matrix(self.root, self.settings["intrinsics"]) if "intrinsics" in fixed else None
        self.provides = frozenset({*self._keys, *fixed})
        if "baseline" in (keys or ()) and "baseline" not in self.provides:
            raise DataError(f"{self.root}: no baseline. Write `baseline: METRES` into {self.root / 'dataset.yaml'}.")
        if {"intrinsics", "baseline", "disparity"} <= self.provides:
            self.provides |= {"depth"}

    @property
    def vocabulary(self) -> LabelSet | None:
        """What `dataset.yaml` or an argument calls the classes."""
        return label_set(self.root, self.settings)[0] if {"labels", "classes"} & self.settings.keys() else None

    def files(self) -> Iterable[Path]:
        """Every file of the split's frames, and `dataset.yaml`."""
        frames = [self._files[key][frame_id] for key in sorted(self._keys & FOLDERS.keys()) for frame_id in self.ids]
        return [*frames, self.root / "dataset.yaml"]

    def check(self) -> list[str]:
        """Which frames are left out because a folder lacks them."""
        union = sorted(set().union(*(self._files[key] for key in self._keys & FOLDERS.keys())))
        findings: list[str] = []
        for key in sorted(self._keys & FOLDERS.keys()):
            lacking = [frame_id for frame_id in union if frame_id not in self._files[key]]
            if lacking:
                findings.append(
                    LeftOut(f"{self.root}: {len(lacking)} frames have no {key} (first: {lacking[0]}) and are left out. Add the files.")
                )
        return findings

    def frame(self, index: int) -> Frame:
        """Frame number `index` at native size: the keys of `provides` and meta.

        Raises:
            DataError: a file is damaged, a label id is out of range, or sizes differ.
        """
        frame_id = self.ids[index]
        paths = {key: self._files[key][frame_id] for key in sorted(self._keys & FOLDERS.keys())}
        # A unit without a scale means whole units: a 16-bit PNG of millimetres.
        scale = self.settings.get("depth_scale", 1.0 if "depth_unit" in self.settings else None)
        frame: dict[str, Any] = {}
        for key, path in paths.items():
            if key in ("image", "right"):
                frame[key] = io.read_image(path)
            elif key == "semantic":
                frame[key] = self._semantic(path)
            elif key == "intrinsics":
                frame |= self._camera(path)
            elif key == "disparity":
                frame[key] = io.read_depth(path, self.settings.get("disparity_scale"))
            else:
                frame[key] = io.read_depth(path, scale) * np.float32(self._metres_per_unit)
        if self._matrix is not None:
            frame.setdefault("intrinsics", self._matrix.copy())
        if "baseline" in self.settings:
            frame["baseline"] = float(self.settings["baseline"])
        if "depth" in self.provides and "depth" not in frame:
            frame["depth"] = depth_from_disparity(frame["disparity"], frame["intrinsics"][0, 0], frame["baseline"])
        frame["meta"] = {"id": frame_id, "path": str(paths.get("image", next(iter(paths.values())))), "split": self.split}
        self._check_sizes(frame, frame_id)  # type: ignore[arg-type]
        return frame  # type: ignore[return-value]

    def _camera(self, path: Path) -> dict[str, Any]:
        matrix, baseline = read_camera(path)
        if "baseline" in self._keys and baseline is None:
            raise DataError(f"{path}: no baseline, though other cameras have one. Add `baseline` [m].")
        return {"intrinsics": matrix} if baseline is None else {"intrinsics": matrix, "baseline": baseline}

    def _choose_keys(self, keys: Sequence[str] | None) -> None:
        there = {key for key, files in self._files.items() if files}
        wanted = [key for key in keys or () if key not in CAMERA or key not in self.settings]
        if "baseline" in wanted:  # the files of cameras may say it
            wanted = [*(key for key in wanted if key != "baseline"), *({"intrinsics"} & there)]
        for key in wanted:
            if key not in FOLDERS:
                raise ConfigError(f"folder: unknown key '{key}': {suggest(key, self.offers)}")
            if key not in there:
                other = "say `intrinsics` and `baseline` of all frames in dataset.yaml" if key in CAMERA else "ask for fewer keys"
                raise DataError(f"{self.root}: no {key} files for split '{self.split}'. Put them in {FOLDERS[key][0]}/, or {other}.")
        if not there:
            listed = ", ".join(f"{names[0]}/" for names in FOLDERS.values())
            raise DataError(
                f"{self.root}: no files for split '{self.split}'. Put them in {listed} (one stem each), or list stems in {self.split}.txt."
            )
        self._keys = frozenset(wanted) if wanted else frozenset(there)
        self._strict = not keys

    def _chosen_ids(self) -> list[str]:
        stems = {key: set(self._files[key]) for key in self._keys}
        complete = sorted(set.intersection(*stems.values()))
        union = set().union(*stems.values())
        if not complete or (self._strict and (len(complete) < len(union) or _has_lists(self.root))):
            self._refuse_strange_stems()
        if not complete:
            raise IncompleteError(
                f"{self.root}: no stem of {self.split} has files for all of {', '.join(sorted(self._keys))}. "
                "Give the files of a frame one name."
            )
        for key, have in sorted(stems.items()):
            if self._strict and len(have) < len(union):
                raise IncompleteError(
                    f"{self.root}: {key} has {len(have)} of {len(union)} {self.split} frames (first without: {min(union - have)}). "
                    f"Add the files, or leave such frames out: --data.keys [{','.join(key for key in FOLDERS if key in self._keys)}]"
                )
        return complete

    def _refuse_strange_stems(self) -> None:
        """Raise if files beside the images are named after images with something added: `room_mask.png` for `room.png`."""
        # The two names may stand in different splits, and lists of stems name one of them only.
        split = self.split if _split_folders(self.root) else "all"
        images = _files_of(self.root, "image", split)
        for key in FOLDERS if self._strict else sorted(self._keys):
            files = _files_of(self.root, key, split)
            free = images.keys() - files.keys()
            strange = [path for stem, path in files.items() if stem not in images and _inside(stem, free)]
            if strange:
                path, others = strange[0], ", and the others likewise" if len(strange) > 1 else ""
                raise IncompleteError(
                    f"{self.root}: {len(strange)} of {len(files)} {key} files have no image of that stem: "
                    f"name {path.relative_to(self.root)} {_inside(path.stem, free)}{path.suffix}{others}."
                )

    def _semantic(self, path: Path) -> NDArray[np.uint8]:
        assert self.labels is not None
        if io.is_colour(path):
            if "palette" not in self.settings and "labels" not in self.settings:
                raise DataError(f"{path}: a colour-coded label map. Give `palette` and `classes` in dataset.yaml, or store ids.")
            return self._decoded(path, self.labels)
        ids = io.read_labels(path)
        if self._table is not None:
            return convert(np.where(ids > IGNORE, IGNORE, ids).astype(np.uint8), self._table)
        wrong = ids[(ids >= len(self.labels)) & (ids != IGNORE)]
        if wrong.size:
            raise DataError(
                f"{path}: label id {wrong.max()} out of range, '{self.labels.name}' has {len(self.labels)} classes "
                f"(0..{len(self.labels) - 1}, 255 = ignore). Mend the file, or list the file ids under `ids` in dataset.yaml."
            )
        return ids.astype(np.uint8)

    def _decoded(self, path: Path, labels: LabelSet) -> NDArray[np.uint8]:
        if len({*labels.palette, (0, 0, 0)}) <= len(labels):
            raise DataError(f"{path}: two classes share a colour, or one is black, which means ignore. Mend `palette` in dataset.yaml.")
        image = io.read_image(path)
        semantic = labels.decode(image)
        strange = image[(labels.colour(semantic) != image).any(-1)]
        if len(strange) and self.settings.get("colours") == "exact":
            colours, counts = np.unique(strange, axis=0, return_counts=True)
            colour, others = tuple(colours[counts.argmax()].tolist()), len(colours) - 1
            raise DataError(
                f"{path}: {counts.max()} pixels have the colour {colour}, which is no class of '{labels.name}'"
                + (f" (and {others} more such colours)" if others else "")
                + ". Mend the file, or take the nearest colour: colours=nearest."
            )
        return semantic


def read_camera(path: Path) -> tuple[NDArray[np.float64], float | None]:
    """`(3, 3)` camera matrix [px] and baseline [m] (None if it says none) of an `intrinsics/` file, JSON or text.

    Raises:
        DataError: the file cannot be read or is neither.
    """
    try:
        text = path.read_text()
        if path.suffix.lower() == ".json":
            values = json.loads(text)
            numbers = [float(values[name]) for name in ("fx", "fy", "cx", "cy")]
            baseline = float(values["baseline"]) if "baseline" in values else None
        else:
            numbers, baseline = [float(word) for word in text.replace(",", " ").split()], None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Check the file.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: no camera ({type(error).__name__}: {error}). Write fx fy cx cy, or 9 numbers row by row.") from error
    if len(numbers) == 9:
        return np.array(numbers).reshape(3, 3), baseline
    if len(numbers) != 4:
        raise DataError(f"{path}: {len(numbers)} numbers, expected fx fy cx cy or 9 row by row. Mend the file.")
    fx, fy, cx, cy = numbers
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]), baseline


def _files_of(root: Path, key: str, split: str) -> dict[str, Path]:
    """{stem: file} of one key in one split (`all`: every split), by the three rules of the module."""
    suffixes = (
        io.IMAGE_SUFFIXES if key in ("semantic", "image", "right") else (".txt", ".json") if key == "intrinsics" else io.DEPTH_SUFFIXES
    )
    names = FOLDERS[key]
    divided = _split_folders(root)
    if divided:
        wanted = divided if split == "all" else [split]
        folders = [folder for s in wanted for name in names for folder in (root / s / name, root / name / s) if folder.is_dir()]
        return _stems(folders, suffixes)
    found = _stems([root / name for name in names if (root / name).is_dir()], suffixes)
    if split == "all":
        return found
    if _has_lists(root):
        listed = root / f"{split}.txt"
        if not listed.is_file():
            raise DataError(f"{listed}: missing, though other split lists are there. Write it (one stem a line), or choose another split.")
        stems = [Path(line.strip()).stem for line in listed.read_text().splitlines() if line.strip()]
        return {stem: found[stem] for stem in stems if stem in found}
    return {stem: path for stem, path in found.items() if _drawn_split(stem) == split}


def _split_folders(root: Path) -> list[str]:
    """The splits that have folders of their own."""
    names = [name for folder in FOLDERS.values() for name in folder]
    return [s for s in _DIVIDED if any((root / s / name).is_dir() or (root / name / s).is_dir() for name in names)]


def _has_lists(root: Path) -> bool:
    return any((root / f"{s}.txt").is_file() for s in _DIVIDED)


def _inside(stem: str, others: Iterable[str]) -> str:
    """The longest of the other stems that is this one but for some letters (no number: 10 is not 1 with a 0); empty if none is."""
    return max((other for other in others if other in stem and not re.search(r"\d", stem.replace(other, "", 1))), key=len, default="")


def _drawn_split(stem: str) -> str:
    """A tenth val, a tenth test, by the stem alone: adding frames never moves one from test to train."""
    tenth = int(hashlib.sha256(stem.encode()).hexdigest()[:8], 16) % 10
    return {0: "val", 1: "test"}.get(tenth, "train")


def _stems(folders: list[Path], suffixes: tuple[str, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in suffixes and not path.name.startswith("."):
                if path.stem in found:
                    raise DataError(f"{path}: same stem as {found[path.stem]}. Give every frame its own name.")
                found[path.stem] = path
    return found
