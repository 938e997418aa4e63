"""A method small enough to be worked out in NumPy: two 1x1 convolutions and two heads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from diorama import catalog
from diorama.data.labels import LabelSet
from diorama.export.export import export
from diorama.export.model_file import save_model
from diorama.methods.base import Method
from diorama.types import Prediction

LABELS = LabelSet("toy3", ("floor", "wall", "chair"), ((200, 0, 0), (0, 200, 0), (0, 0, 200)))


@dataclass(frozen=True)
class Nested:
    """A part of a config."""

    rates: tuple[float, ...] = (0.1, 0.2)


@dataclass(frozen=True)
class TinyConfig:
    """Configuration of `Tiny`."""

    classes: int = 3
    width: int = 16
    pretrained: bool = True
    backbone_weights: str | None = None
    sizes: tuple[int, int] = (3, 4)
    nested: Nested = Nested()


class Tiny(Method):
    """Logits and depth of each pixel from its own colour alone, and a depth that also knows its column."""

    needs: ClassVar[frozenset[str]] = frozenset({"image"})
    config_class = TinyConfig
    citation = "none"

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        if config.pretrained:
            raise AssertionError("weights would be downloaded")
        self.config = config
        self.first, self.second = nn.Conv2d(3, config.width, 1), nn.Conv2d(config.width, config.width, 1)
        self.semantic, self.depth = nn.Conv2d(config.width, config.classes, 1), nn.Conv2d(config.width, 1, 1)

    def forward(self, image: Tensor) -> Prediction:
        features = torch.relu(self.second(torch.relu(self.first(image))))
        return Prediction(semantic_logits=self.semantic(features), depth=nn.functional.softplus(self.depth(features)) + 0.1)

    def losses(self, batch: Any, context: Any, turn: Any) -> dict[str, Tensor]:
        return {}

    def optimisers(self) -> dict[str, Any]:
        return {}

    @property
    def stages(self) -> list[Any]:
        return []


class Other(Tiny):
    """Another method with other weights."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__(config)
        self.extra = nn.Conv2d(1, 1, 1)


@pytest.fixture(autouse=True, scope="module")
def in_catalog() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(catalog.METHODS, "tiny", f"{Tiny.__module__}:Tiny")
        patch.setitem(catalog.METHODS, "other", f"{Other.__module__}:Other")
        yield


def make_tiny() -> Tiny:
    torch.manual_seed(0)
    return Tiny(TinyConfig(pretrained=False)).eval()


def save_tiny(path: Path) -> Path:
    save_model(make_tiny(), path, labels=LABELS, depth_cap=10.0, training={"data": "none", "terms": "free"}, input_size=(48, 64))
    return path


@pytest.fixture
def tiny() -> Tiny:
    return make_tiny()


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "run" / "model.safetensors")


@pytest.fixture
def tiny_rooms(tmp_path: Path) -> Path:
    """A model file with the classes of procedural rooms."""
    labels = catalog.dataset("world_indoor")(split="test", frames=1, size=(32, 48), stereo=False).labels
    torch.manual_seed(0)
    method, path = Tiny(TinyConfig(classes=len(labels), pretrained=False)), tmp_path / "rooms" / "model.safetensors"
    save_model(method, path, labels=labels, depth_cap=10.0, training={}, input_size=(32, 48))
    return path


@pytest.fixture(scope="module")
def exported(in_catalog: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with model.safetensors, config.json and model.onnx, whose weights are fp32 or fp16; not to be changed."""
    folders = {}
    for kind in ("fp32", "fp16"):
        folders[kind] = tmp_path_factory.mktemp(kind)
        export(save_tiny(folders[kind] / "model.safetensors"), precision=kind)
    return folders
