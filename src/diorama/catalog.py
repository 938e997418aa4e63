"""Name -> `module:Class`: the methods and data sets there are, found without importing any of them."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import Any

from diorama.errors import ConfigError, suggest

DEFAULT_MODEL = "ci_net-nyuv2"
"""The shipped model that verbs take when none is named."""

METHODS = {
    "ccnn": "diorama.methods.ccnn:CCNN",
    "ci_net": "diorama.methods.ci_net:CINet",
    "fcn": "diorama.methods.fcn:FCN",
    "image_reconstruction": "diorama.methods.image_reconstruction:ImageReconstruction",
    "majority": "diorama.methods.majority:Majority",
    "multitask_gan": "diorama.methods.multitask_gan:MultitaskGAN",
    "pseudo_mtl": "diorama.methods.pseudo_mtl:PseudoMTL",
    "semi_mtl": "diorama.methods.semi_mtl:SemiMTL",
}

DATASETS = {
    "world_indoor": "diorama.data.world.dataset:WorldIndoor",
    "world_street": "diorama.data.world.dataset:WorldStreet",
    "world_aerial": "diorama.data.world.aerial_dataset:WorldAerial",
    "nyuv2": "diorama.data.nyuv2:NYUv2",
    "cityscapes": "diorama.data.cityscapes:Cityscapes",
    "camvid": "diorama.data.camvid:CamVid",
    "kitti": "diorama.data.kitti:Kitti",
    "kitti_lidar": "diorama.data.kitti:KittiLidar",
    "kitti_raw": "diorama.data.kitti_raw:KittiRaw",
    "kitti_object": "diorama.data.kitti_benchmark:KittiObject",
    "kitti_semantics": "diorama.data.kitti_benchmark:KittiSemantics",
    "kitti_stereo": "diorama.data.kitti_benchmark:KittiStereo",
    "sunrgbd": "diorama.data.sunrgbd:SunRGBD",
    "sevenscenes": "diorama.data.sevenscenes:SevenScenes",
    "middlebury": "diorama.data.middlebury:Middlebury",
    "synscapes": "diorama.data.synscapes:Synscapes",
    "isprs": "diorama.data.isprs:ISPRS",
    "folder": "diorama.data.folder:Folder",
}

_TABLES = {"methods": METHODS, "datasets": DATASETS}


def names(table: str) -> dict[str, str]:
    """All names of `table` ("methods" or "datasets") -> `module:Class`, third parties' entry points included."""
    found = {point.name: point.value for point in entry_points(group=f"diorama.{table}")}
    return {**found, **_TABLES[table]}


def list_methods() -> list[str]:
    """Names of the methods there are."""
    return sorted(names("methods"))


def list_datasets() -> list[str]:
    """Names of the data sets there are."""
    return sorted(names("datasets"))


def find(table: str, name: str) -> type[Any]:
    """The class behind `name`.

    Raises:
        ConfigError: the name is in no catalog, or the package that brings it cannot be loaded.
    """
    known = names(table)
    if name not in known:
        what, verb = ("method", "methods") if table == "methods" else ("data set", "data list")
        raise ConfigError(f"unknown {what} '{name}': {suggest(name, known)} See `diorama {verb}`.")
    return resolve(name, known[name])


def resolve(name: str, target: str) -> type[Any]:
    """The class at `target`, `module:Class`; `name` is what errors call it.

    Raises:
        ConfigError: `target` is another package's and cannot be loaded.
    """
    module, _, attribute = target.partition(":")
    try:
        found: type[Any] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        if module.startswith("diorama."):
            raise
        raise ConfigError(f"'{name}' is {target} of another package, which cannot be loaded ({error}). Mend or uninstall it.") from error
    return found


def method(name: str) -> type[Any]:
    """The method class called `name`, e.g. `ci_net`."""
    return find("methods", name)


def dataset(name: str) -> type[Any]:
    """The data set class called `name`, e.g. `nyuv2`."""
    return find("datasets", name)
