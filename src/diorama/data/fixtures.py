"""Writers: any frames -> the official layout of a reader. For tests without the real sets, and for `diorama data make`.

What a layout cannot hold is left out (CamVid has no depth). Labels are converted to the layout's own ids.
"""

from __future__ import annotations

import inspect
import json
import logging
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diorama import catalog
from diorama.data import io
from diorama.data.exr import write_exr
from diorama.data.folder import FOLDERS
from diorama.data.isprs_fixtures import write_potsdam, write_vaihingen
from diorama.data.kitti_fixtures import write_kitti, write_kitti_object, write_kitti_raw, write_kitti_semantics, write_kitti_stereo
from diorama.data.labels import (
    CAMVID11,
    CITYSCAPES19,
    CITYSCAPES19_TO_34,
    NYU40,
    LabelSet,
    convert,
    mapping,
)
from diorama.data.matlab import write_mat
from diorama.data.nyuv2 import LABELLED_FILE
from diorama.data.synscapes import NUMBERS, PLACES
from diorama.errors import ConfigError, DataError, suggest
from diorama.types import IGNORE, Frame

_log = logging.getLogger("diorama.data")

_MEMBER_OF_13 = ("bed", "books", "ceiling", "chair", "floor", "cabinet", "box", "picture", "sofa", "table", "television", "wall", "window")
NYU13_TO_NYU40 = mapping({train_id: NYU40.classes.index(name) for train_id, name in enumerate(_MEMBER_OF_13)})
"""A member of each of the 13 classes, so that 13 -> 40 -> 13 is the identity."""

_CAMVID_OF_19 = {
    "road": "road", "sidewalk": "pavement", "building": "building", "wall": "building", "fence": "fence", "pole": "pole",
    "traffic light": "sign", "traffic sign": "sign", "vegetation": "tree", "terrain": "tree", "sky": "sky",
    "person": "pedestrian", "rider": "bicyclist", "car": "car", "truck": "car", "bus": "car", "bicycle": "bicyclist",
}  # fmt: skip
CITYSCAPES19_TO_CAMVID11 = mapping(
    {CITYSCAPES19.classes.index(name): CAMVID11.classes.index(other) for name, other in _CAMVID_OF_19.items()}
)
"""The nearest CamVid class; trains and motorcycles have none."""

_CONVERSIONS = {("nyu13", "nyu40"): NYU13_TO_NYU40, ("cityscapes19", "camvid11"): CITYSCAPES19_TO_CAMVID11}


def _semantic(frame: Frame, labels: LabelSet | None, target: LabelSet) -> NDArray[np.uint8]:
    if labels is None or "semantic" not in frame:
        raise DataError(f"this layout needs labels, frame {frame.get('meta', {}).get('id')} has none. Choose layout=folder.")
    if labels.name == target.name:
        return frame["semantic"]
    table = _CONVERSIONS.get((labels.name, target.name))
    if table is None:
        raise DataError(f"labels of '{labels.name}' cannot be stored as '{target.name}'. Choose layout=folder.")
    return convert(frame["semantic"], table)


def _file_ids(semantic: NDArray[np.uint8], shift: int, void: int) -> NDArray[np.uint8]:
    return np.where(semantic == IGNORE, void, semantic + np.uint8(shift)).astype(np.uint8)


def _stem(frame: Frame, number: int) -> str:
    return re.sub(r"[^\w.-]", "_", str(frame.get("meta", {}).get("id", f"{number:06d}")))


def _report_clipped(clipped: int, out: Path) -> None:
    if clipped:
        _log.warning("%s: %d depth pixels were beyond what 16 bits hold and were clipped", out, clipped)


def write_folder(frames: Iterable[Frame], out: str | Path, split: str = "train", labels: LabelSet | None = None) -> list[Path]:
    """Store frames as the `folder` layout, `KEY/SPLIT/STEM.png` + `dataset.yaml`; returns the images (or what there is).

    Depth is 16-bit PNG at 256 units a metre (up to 256 m, steps of 4 mm), disparity at 256 units a pixel; each frame's
    camera is `intrinsics/SPLIT/STEM.json`.
    """
    import yaml

    out = Path(out)
    settings: dict[str, Any] = {"depth_scale": 256, "depth_unit": "m", "disparity_scale": 256}
    if labels is not None:
        settings |= {"classes": list(labels.classes), "palette": [list(colour) for colour in labels.palette]}
    written, clipped = [], 0
    for number, frame in enumerate(frames):
        stem = _stem(frame, number)
        if "intrinsics" in frame:
            _write_json(out / "intrinsics" / split / f"{stem}.json", _camera(frame))
        paths = {key: out / names[0] / split / f"{stem}.png" for key, names in FOLDERS.items() if key in frame and key != "intrinsics"}
        for key, path in paths.items():
            value: Any = frame[key]  # type: ignore[literal-required]
            if key in ("image", "right"):
                io.write_image(path, value)
            elif key == "semantic":
                io.write_label_png(path, value)
            else:
                clipped += io.write_depth_png(path, value, 256)
        written.append(next(iter(paths.values())))
    _report_clipped(clipped, out)
    with io.replacing(out / "dataset.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(settings, sort_keys=False, default_flow_style=None, width=120))
    return written


def _camera(frame: Frame) -> dict[str, float]:
    matrix = frame["intrinsics"]
    found = dict(zip(("fx", "fy", "cx", "cy"), (float(matrix[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2))), strict=True))
    if "baseline" in frame:
        found["baseline"] = float(frame["baseline"])
    return found


def write_nyuv2(
    frames: Iterable[Frame], out: str | Path, split: str = "train", labels: LabelSet | None = NYU40, first: int = 0
) -> list[Path]:
    """Store frames as plain NYUv2 folders; files are numbered from `first`. Returns the images.

    Raises:
        DataError: a frame lacks labels that NYU has, or cannot be written.
    """
    folder, written, clipped = Path(out) / split, [], 0
    for number, frame in enumerate(frames, first):
        name = f"{number:04d}.png"
        io.write_image(folder / "image" / name, frame["image"])
        clipped += io.write_depth_png(folder / "depth" / name, frame["depth"], 1000)
        io.write_label_png(folder / "semantic40" / name, _file_ids(_semantic(frame, labels, NYU40), 1, 0))
        written.append(folder / "image" / name)
    _report_clipped(clipped, folder)
    return written


def write_nyuv2_mat(
    train: Iterable[Frame], test: Iterable[Frame], out: str | Path, labels: LabelSet | None = NYU40, raw_share: float = 1.0
) -> list[Path]:
    """Store frames as the official .mat files: labelled file (HDF5), splits.mat, classMapping40.mat; returns the three.

    The raw classes are invented (raw class r belongs to NYU40 class (r - 1) mod 40 + 1). `raw_share` of the rows of
    `rawDepths` is known.
    """
    import h5py

    sets = [list(train), list(test)]
    every = [frame for one in sets for frame in one]
    out = Path(out)
    known = (np.arange(every[0]["depth"].shape[0]) < raw_share * every[0]["depth"].shape[0])[:, None]
    raw = [
        np.where(ids == 0, 0, ids.astype(np.uint16) + 40 * (number % 22))
        for number, ids in enumerate(_file_ids(_semantic(frame, labels, NYU40), 1, 0) for frame in every)
    ]
    with io.replacing(out / LABELLED_FILE) as temporary, h5py.File(temporary, "w", userblock_size=512) as file:
        file["images"] = np.stack([frame["image"].transpose(2, 1, 0) for frame in every])
        file["depths"] = np.stack([frame["depth"].T for frame in every]).astype(np.float32)
        file["rawDepths"] = np.stack([(frame["depth"] * known).T for frame in every]).astype(np.float32)
        file["labels"] = np.stack([ids.T for ids in raw]).astype(np.uint16)
    first = np.arange(1, len(every) + 1.0)[:, None]
    write_mat(out / "splits.mat", {"trainNdxs": first[: len(sets[0])], "testNdxs": first[len(sets[0]) :]})
    write_mat(out / "classMapping40.mat", {"mapClass": (np.arange(894.0) % 40 + 1)[None]})
    return [out / LABELLED_FILE, out / "splits.mat", out / "classMapping40.mat"]


def write_cityscapes(
    frames: Iterable[Frame], out: str | Path, split: str = "train", labels: LabelSet | None = CITYSCAPES19, city: str = "diorama"
) -> list[Path]:
    """Store frames as Cityscapes (left, right, labelIds, disparity, camera as far as a frame has them); returns the images.

    A frame with depth, intrinsics and baseline but no disparity gets the disparity of its depth.
    """
    out, written = Path(out), []
    for number, frame in enumerate(frames):
        stem = f"{city}_{number // 1000:06d}_{number % 1000:06d}"

        def path(kind: str, ending: str, stem: str = stem) -> Path:
            return out / kind / split / city / f"{stem}_{ending}"

        io.write_image(path("leftImg8bit", "leftImg8bit.png"), frame["image"])
        written.append(path("leftImg8bit", "leftImg8bit.png"))
        if "right" in frame:
            io.write_image(path("rightImg8bit", "rightImg8bit.png"), frame["right"])
        if "semantic" in frame:
            io.write_label_png(path("gtFine", "gtFine_labelIds.png"), convert(_semantic(frame, labels, CITYSCAPES19), CITYSCAPES19_TO_34))
        if "intrinsics" in frame and "baseline" in frame:
            _write_camera(path("camera", "camera.json"), frame)
        if (disparity := _disparity(frame)) is not None:
            stored = np.where(disparity > 0, np.rint(disparity * 256.0 + 1).clip(1, 65535), 0).astype(np.uint16)
            io.write_label_png(path("disparity", "disparity.png"), stored, bits=16)
    return written


def _disparity(frame: Frame) -> NDArray[np.float32] | None:
    if "disparity" in frame:
        return frame["disparity"]
    if not {"depth", "intrinsics", "baseline"} <= set(frame):
        return None
    depth = frame["depth"]
    return np.where(depth > 0, frame["baseline"] * frame["intrinsics"][0, 0] / np.where(depth > 0, depth, 1), 0).astype(np.float32)


def _write_camera(path: Path, frame: Frame) -> None:
    matrix = frame["intrinsics"]
    camera = {
        "extrinsic": {"baseline": float(frame["baseline"]), "pitch": 0.0, "roll": 0.0, "x": 0.0, "y": 0.0, "yaw": 0.0, "z": 0.0},
        "intrinsic": {"fx": float(matrix[0, 0]), "fy": float(matrix[1, 1]), "u0": float(matrix[0, 2]), "v0": float(matrix[1, 2])},
    }
    _write_json(path, camera)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with io.replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=4))


def write_camvid(frames: Iterable[Frame], out: str | Path, split: str = "train", labels: LabelSet | None = CAMVID11) -> list[Path]:
    """Store frames in SegNet's CamVid layout (`SPLIT/*.png`, `SPLITannot/*.png`, 11 = void); returns the images."""
    out, written = Path(out), []
    for number, frame in enumerate(frames):
        name = f"{_stem(frame, number)}.png"
        io.write_image(out / split / name, frame["image"])
        io.write_label_png(out / f"{split}annot" / name, _file_ids(_semantic(frame, labels, CAMVID11), 0, 11))
        written.append(out / split / name)
    return written


def write_sunrgbd(frames: Iterable[Frame], out: str | Path, split: str = "train", labels: LabelSet | None = NYU40) -> list[Path]:
    """Store frames in the flattened layout of SUN RGB-D (depth in 1/10000 m, up to 6.55 m; 37 classes); returns the images."""
    out, written, clipped = Path(out), [], 0
    for number, frame in enumerate(frames, 1):
        written.append(out / "image" / split / f"img-{number:06d}.jpg")
        io.write_image(written[-1], frame["image"])
        clipped += io.write_depth_png(out / "depth" / split / f"{number:08d}.png", frame["depth"], 10000)
        semantic = _semantic(frame, labels, NYU40)
        # the last three classes of NYU40 are not among the 37
        known = np.where(semantic < 37, semantic, IGNORE).astype(np.uint8)
        io.write_label_png(out / "label37" / split / f"img37labels-{number:06d}.png", _file_ids(known, 1, 0))
    _report_clipped(clipped, out)
    return written


def write_sevenscenes(frames: Iterable[Frame], out: str | Path, split: str = "train", labels: LabelSet | None = None) -> list[Path]:  # noqa: ARG001
    """Store frames as one room of 7-Scenes: seq-01 is train, seq-02 test; unknown depth is 65535. Returns the images.

    The pose is `meta["pose"]`, else the identity.
    """
    room, written = Path(out) / "diorama", []
    for name, sequence in (("TrainSplit.txt", "sequence1"), ("TestSplit.txt", "sequence2")):
        with io.replacing(room / name) as temporary:
            temporary.write_text(f"{sequence}\n")
    folder = room / ("seq-02" if split == "test" else "seq-01")
    for number, frame in enumerate(frames):
        written.append(folder / f"frame-{number:06d}.color.png")
        io.write_image(written[-1], frame["image"])
        millimetres = np.where(frame["depth"] > 0, np.rint(frame["depth"] * 1000.0).clip(1, 65534), 65535).astype(np.uint16)
        io.write_label_png(folder / f"frame-{number:06d}.depth.png", millimetres, bits=16)
        pose = np.asarray(frame.get("meta", {}).get("pose", np.eye(4)))
        with io.replacing(folder / f"frame-{number:06d}.pose.txt") as temporary:
            temporary.write_text("\n".join("\t".join(f"{value:.7e}" for value in row) for row in pose) + "\n")
    return written


def write_middlebury(frames: Iterable[Frame], out: str | Path, split: str = "train", labels: LabelSet | None = None) -> list[Path]:  # noqa: ARG001
    """Store pairs in the layout of Middlebury 2014, a folder each, whatever the split; returns the left images."""
    written = []
    for number, frame in enumerate(frames):
        disparity = _disparity(frame)
        if disparity is None or "right" not in frame:
            raise DataError(f"this layout needs pairs with disparity, frame {_stem(frame, number)} lacks them. Choose layout=folder.")
        scene = Path(out) / _stem(frame, number)
        written.append(scene / "im0.png")
        io.write_image(written[-1], frame["image"])
        io.write_image(scene / "im1.png", frame["right"])
        io.write_pfm(scene / "disp0.pfm", np.where(disparity > 0, disparity, np.inf).astype(np.float32))
    return written


def write_synscapes(frames: Iterable[Frame], out: str | Path, split: str = "train", labels: LabelSet | None = CITYSCAPES19) -> list[Path]:
    """Store frames in the layout of Synscapes, numbered from the first of the split; unknown depth is far sky. Returns the images."""
    written = []
    for number, frame in zip(NUMBERS[split], frames, strict=False):
        place = {key: Path(out) / folder / f"{number}{suffix}" for key, (folder, suffix) in PLACES.items()}
        io.write_image(place["image"], frame["image"])
        io.write_label_png(place["semantic"], convert(_semantic(frame, labels, CITYSCAPES19), CITYSCAPES19_TO_34))
        write_exr(place["depth"], np.where(frame["depth"] > 0, frame["depth"], np.float32(1e6)).astype(np.float32))
        if "intrinsics" in frame:
            camera = _camera(frame)
            inside = {"fx": camera["fx"], "fy": camera["fy"], "u0": camera["cx"], "v0": camera["cy"]}
            _write_json(place["intrinsics"], {"camera": {"intrinsic": inside}})
        written.append(place["image"])
    return written


WRITERS: dict[str, Callable[..., list[Path]]] = {
    "folder": write_folder,
    "nyuv2": write_nyuv2,
    "cityscapes": write_cityscapes,
    "camvid": write_camvid,
    "kitti": write_kitti,
    "kitti_raw": write_kitti_raw,
    "kitti_object": write_kitti_object,
    "kitti_semantics": write_kitti_semantics,
    "kitti_stereo": write_kitti_stereo,
    "sunrgbd": write_sunrgbd,
    "sevenscenes": write_sevenscenes,
    "middlebury": write_middlebury,
    "synscapes": write_synscapes,
    "potsdam": write_potsdam,
    "vaihingen": write_vaihingen,
}
"""Layouts of `diorama data make`."""


def make(name: str, out: str | Path, layout: str = "folder", frames: int = 16, split: str = "train", /, **settings: Any) -> list[Path]:
    """Store the first frames of a data set (by catalog name, procedural ones need no root) in a layout; returns the images.

    Args:
        name: catalog name, e.g. `world_indoor`.
        out: a folder that is empty or missing.
        layout: a name of `WRITERS`; or `geotiff` of `world_aerial`, which stores frames larger than memory, window by window.
        frames: how many; fewer if the data set has fewer.
        split: split to read and to write.
        settings: further constructor arguments of the data set.

    Raises:
        ConfigError: an unknown data set or layout.
        DataError: `out` holds this split already, or a layout cannot hold the frames.
    """
    kind = catalog.dataset(name)
    in_windows = layout == "geotiff" and hasattr(kind, "write_geotiff")
    if layout not in WRITERS and not in_windows:
        hint = "Only world_aerial is stored so." if layout == "geotiff" else suggest(layout, WRITERS)
        raise ConfigError(f"unknown layout '{layout}': {hint}")
    if "frames" in inspect.signature(kind).parameters:
        settings["frames"] = frames
    dataset = kind(split=split, **settings)
    out = Path(out)
    taken = [folder for folder in (out / split, *out.glob(f"*/{split}")) if folder.exists()]
    if taken:
        raise DataError(f"{taken[0]}: exists already. Choose another --out, or remove it first.")
    count = min(frames, len(dataset))
    if in_windows:
        return [dataset.write_geotiff(index, out / split)[0] for index in range(count)]
    return WRITERS[layout]((dataset[index] for index in range(count)), out, split, labels=dataset.labels)
