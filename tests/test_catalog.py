"""The catalog: other packages' methods and data sets are found by their entry points and used like the package's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from plugins import offer

from diorama import catalog
from diorama.cli import main
from diorama.config import RunConfig, read_config
from diorama.errors import ConfigError

METHOD = """
from diorama.methods.base import Method


class Theirs(Method):
    '''Another package's method.'''
"""

CONFIG = """
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class TheirsConfig:
    '''Fields of their method.

    Args:
        depth_cap: farthest depth [m].
    '''

    needs: ClassVar[frozenset[str]] = frozenset({"image", "depth"})
    depth_cap: float = 12.5
"""

DATASET = """
from diorama.data.world.dataset import WorldIndoor


class Attic(WorldIndoor):
    '''Rooms under the roof.'''

    name = "attic"
    title = "attics"
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package beside diorama that brings a method, a data set, and one of each that cannot be loaded."""
    for name, text in (("theirs", METHOD), ("theirs_config", CONFIG), ("their_data", DATASET)):
        (tmp_path / f"{name}.py").write_text(text)
    points = {
        "diorama.methods": {"theirs": "theirs:Theirs", "broken": "nowhere:Broken", "ci_net": "theirs:Theirs"},
        "diorama.datasets": {"attic": "their_data:Attic", "lost": "their_data:Lost"},
    }
    offer(monkeypatch, tmp_path, points)


@pytest.mark.usefixtures("plugin")
def test_entry_points_are_used_like_the_packages_own() -> None:
    run: RunConfig = read_config(["--model", "theirs", "--data", "attic", "--model.depth_cap", "3", "--data.frames", "2"])
    assert (run.method, run.model.depth_cap) == ("theirs", 3.0)
    assert RunConfig.from_dict(run.to_dict()) == run
    dataset = run.open_dataset("train")
    assert (dataset.title, len(dataset)) == ("attics", 2)
    assert catalog.method("theirs").__name__ == "Theirs"
    assert {"theirs", "ci_net"} <= set(catalog.list_methods())
    assert {"attic", "nyuv2"} <= set(catalog.list_datasets())


@pytest.mark.usefixtures("plugin")
def test_the_packages_own_names_cannot_be_taken() -> None:
    assert catalog.names("methods")["ci_net"] == "diorama.methods.ci_net:CINet"


@pytest.mark.usefixtures("plugin")
def test_what_cannot_be_loaded_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"'lost' is their_data:Lost of another package.*Mend or uninstall it"):
        catalog.dataset("lost")
    assert main(["train", "--model", "broken", "--data", "attic"]) == 2
    said = capsys.readouterr().err
    assert "'broken' is nowhere_config:BrokenConfig of another package" in said
    assert said.count("\n") == 1


def test_a_missing_extra_of_the_package_itself_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalog.METHODS, "gone", "diorama.methods.gone:Gone")
    with pytest.raises(ModuleNotFoundError):
        catalog.method("gone")
