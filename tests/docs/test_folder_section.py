"""The section `folder` of docs/datasets.md: its examples read as it says they do."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from diorama.data import io
from diorama.data.folder import Folder
from diorama.data.labels import KNOWN_SETS
from diorama.errors import ConfigError

PAGE = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text()
SECTION = PAGE[PAGE.index("\n## folder\n") : PAGE.index("\n## Adding one\n")]
SMALLEST, FULL = re.findall(r"^```yaml\n(.*?)^```", SECTION, re.DOTALL | re.MULTILINE)
ROWS = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", SECTION, re.MULTILINE))


def folder(root: Path, settings: str, ids: list[int], depth: int = 2000) -> Folder:
    """One frame with a column for each id, and a depth file of one number."""
    io.write_image(root / "images" / "0001.png", np.zeros((2, len(ids), 3), np.uint8))
    io.write_label_png(root / "semantic" / "0001.png", np.array([ids] * 2, np.uint8))
    (root / "depth").mkdir()
    cv2.imwrite(str(root / "depth" / "0001.png"), np.full((2, len(ids)), depth, np.uint16))
    (root / "dataset.yaml").write_text(settings)
    return Folder(root, "all")


def test_smallest_example(tmp_path: Path) -> None:
    frame = folder(tmp_path, SMALLEST, [0, 1, 2, 255])[0]
    assert frame["semantic"][0].tolist() == [0, 1, 2, 255]
    assert (frame["depth"] == 2).all()


def test_full_example_says_every_key_of_the_table(tmp_path: Path) -> None:
    data = folder(tmp_path, FULL, [7, 26, 21, 0], 512)
    assert data[0]["semantic"][0].tolist() == [0, 1, 2, 255]
    assert (data[0]["depth"] == 2).all()
    assert (data[0]["intrinsics"][0, 0], data[0]["baseline"], data.depth_cap) == (721.5, 0.54, 80)
    assert yaml.safe_load(FULL).keys() | {"labels"} == ROWS.keys()
    (tmp_path / "disparity").mkdir()
    cv2.imwrite(str(tmp_path / "disparity" / "0001.png"), np.full((2, 4), 512, np.uint16))
    assert (Folder(tmp_path, "all")[0]["disparity"] == 2).all()


def test_the_table_has_every_key_and_label_set(tmp_path: Path) -> None:
    (tmp_path / "dataset.yaml").write_text("nonsense: 1")
    with pytest.raises(ConfigError) as caught:
        Folder(tmp_path)
    assert ROWS.keys() == set(re.findall(r"\w+", str(caught.value).rpartition("Known:")[2]))
    assert set(re.findall(r"`(\w+)`", ROWS["labels"])) == {labels.name for labels in KNOWN_SETS}


@pytest.mark.parametrize(
    ("settings", "ids", "expected"),
    [
        ("classes: [background, object]\nids: [0, 255]\ndepth_unit: mm", [0, 255, 128], [0, 1, 255]),
        ("classes: [a, b, c]\nids: [1, 2, 3]\ndepth_scale: 1000", [0, 1, 2, 3], [255, 0, 1, 2]),
    ],
)
def test_common_cases(tmp_path: Path, settings: str, ids: list[int], expected: list[int]) -> None:
    frame = folder(tmp_path, settings, ids)[0]
    assert frame["semantic"][0].tolist() == expected
    assert (frame["depth"] == 2).all()
