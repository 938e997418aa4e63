"""What `dataset.yaml` of the folder reader says, read and checked; `folder` lists its keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diorama.data.labels import LabelSet, by_name, distinct_palette, mapping
from diorama.errors import ConfigError, suggest

_UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "ft": 0.3048}
_SETTINGS = (
    "labels", "classes", "palette", "colours", "ids", "depth_scale", "depth_unit", "depth_cap", "disparity_scale", "intrinsics", "baseline",
)  # fmt: skip
_DECODINGS = ("nearest", "exact")


def read_settings(root: Path) -> dict[str, Any]:
    """What `dataset.yaml` says; empty if there is none.

    Raises:
        ConfigError: it is no YAML mapping, or has an unknown key.
    """
    path = root / "dataset.yaml"
    if not path.is_file():
        return {}
    import yaml

    try:
        settings = yaml.safe_load(path.read_text()) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML ({' '.join(str(error).split())[:120]}). Mend the file.") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: expected `key: value` lines, found a {type(settings).__name__}. Mend the file.")
    for key in settings:
        if key not in _SETTINGS:
            raise ConfigError(f"{path}: unknown key '{key}': {suggest(str(key), _SETTINGS)}")
    return settings


def metres_per_unit(root: Path, settings: dict[str, Any]) -> float:
    """Metres that one unit of the depth files is; every scale in the settings is checked on the way.

    Raises:
        ConfigError: an unknown unit, or a scale that is no positive number.
    """
    unit = settings.get("depth_unit", "m")
    if unit not in _UNITS:
        raise ConfigError(f"{root}: unknown depth_unit '{unit}'. Choose one of {', '.join(_UNITS)}.")
    for key in ("depth_scale", "disparity_scale", "depth_cap", "baseline"):
        value = settings.get(key, 1.0)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
            raise ConfigError(f"{root}: {key} is {value!r}, expected a positive number. Mend dataset.yaml or the flag.")
    return _UNITS[unit]


def label_set(root: Path, settings: dict[str, Any]) -> tuple[LabelSet, NDArray[np.uint8] | None]:
    """The label set and, if `ids` is given, the table file id -> train id.

    Raises:
        ConfigError: no class names, an unknown label set, or colours or ids that do not fit the classes.
    """
    classes, palette, ids = settings.get("classes"), settings.get("palette"), settings.get("ids")
    if settings.get("colours", "nearest") not in _DECODINGS:
        raise ConfigError(f"{root}: colours is {settings['colours']!r}. Choose one of {', '.join(_DECODINGS)}.")
    if "labels" in settings:
        labels = by_name(str(settings["labels"]))
    elif not isinstance(classes, list) or not classes:
        raise ConfigError(f"{root}: semantic/ without class names. Write `classes: [...]` or `labels: NAME` into {root / 'dataset.yaml'}.")
    else:
        names = tuple(str(name) for name in classes)
        if palette is not None and not _is_palette(palette, len(names)):
            raise ConfigError(f"{root / 'dataset.yaml'}: palette needs {len(names)} colours [r, g, b] in 0..255. Mend it.")
        colours = tuple((int(r), int(g), int(b)) for r, g, b in palette) if palette else distinct_palette(len(names))
        labels = LabelSet(root.resolve().name, names, colours)
    if ids is None:
        return labels, None
    if not isinstance(ids, list) or len(ids) != len(labels) or any(not isinstance(number, int) or not 0 <= number <= 255 for number in ids):
        raise ConfigError(f"{root / 'dataset.yaml'}: ids needs {len(labels)} whole numbers in 0..255, one per class. Mend it.")
    return labels, mapping({number: train_id for train_id, number in enumerate(ids)})


def _is_palette(palette: object, count: int) -> bool:
    return (
        isinstance(palette, list)
        and len(palette) == count
        and all(isinstance(c, list) and len(c) == 3 and all(isinstance(v, int) and 0 <= v <= 255 for v in c) for c in palette)
    )


def camera_matrix(root: Path, intrinsics: object) -> NDArray[np.float64]:
    """`(3, 3)` camera matrix [px] of `intrinsics`: fx, fy, cx, cy by name, or a matrix.

    Raises:
        ConfigError: it is neither.
    """
    try:
        if isinstance(intrinsics, dict):
            fx, fy, cx, cy = (float(intrinsics[name]) for name in ("fx", "fy", "cx", "cy"))
            return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
        matrix = np.asarray(intrinsics, np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{root / 'dataset.yaml'}: intrinsics needs numbers fx, fy, cx, cy (missing or wrong: {error}). Mend it."
        ) from error
    if matrix.shape != (3, 3):
        raise ConfigError(f"{root / 'dataset.yaml'}: intrinsics is {matrix.shape}, expected fx, fy, cx, cy or a 3x3 matrix. Mend it.")
    return matrix
