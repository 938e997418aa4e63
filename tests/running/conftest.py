"""A small network and six small rooms: a run of a few seconds that goes through every part of the loop."""

from __future__ import annotations

import copy
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from diorama import catalog
from diorama.training.run_folder import VARIABLE

SETTINGS: dict[str, Any] = {
    "model": {
        "name": "ci_net",
        "classes": 13,
        "backbone": "test_resnet",
        "output_stride": 32,
        "pretrained": False,
        "width": 8,
        "decoder_widths": [8, 8, 8],
        "upsampling": 1,
        "context_width": 8,
        "attention_width": 4,
        "pair_pixels": 20,
        "stage_epochs": [1, 1, 1],
        "stage_rates": [0.01, 0.01, 0.01],
    },
    "data": {"name": "world_indoor", "frames": 6, "size": [32, 48], "stereo": False},
    "view": {"size": [32, 48], "flip": 0.5, "cache": True},
    "trainer": {"batch_size": 2, "accelerator": "cpu", "threads": 1, "workers": 0, "log_every": 1},
}
"""Three epochs of three steps, a stage each."""


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the rooms are kept at training size."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def settings(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Nested settings of the small run; keyword arguments are sections whose entries replace its own."""
    monkeypatch.setenv("DIORAMA_CACHE", str(cache))

    def made(**sections: Any) -> dict[str, Any]:
        chosen = copy.deepcopy(SETTINGS) | {"out": str(tmp_path / "runs")}
        for name, value in sections.items():
            chosen[name] = {**chosen.get(name, {}), **value} if isinstance(value, dict) else value
        return chosen

    return made


@pytest.fixture
def unpaired(settings: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Settings of a small adversarial run on two streams, its method in the catalog; three epochs of two steps for six rooms."""
    spec = importlib.util.spec_from_file_location("unpaired", Path(__file__).with_name("unpaired.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    for name in ("unpaired", "unpaired_config"):  # where the catalog looks for a method and for its settings
        monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    monkeypatch.setitem(catalog.METHODS, "unpaired", "unpaired:Unpaired")

    def made(model: Mapping[str, Any] | None = None, **sections: Any) -> dict[str, Any]:
        return {**settings(**sections), "model": {"name": "unpaired", **(model or {})}}

    return made
