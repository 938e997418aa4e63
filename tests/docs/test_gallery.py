"""The gallery names pictures that exist, each with what made it; the commands themselves are tried by tests/test_house.py."""

from __future__ import annotations

import importlib.util
import re
import shlex
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from diorama.cli import VERBS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "gallery.md").read_text(encoding="utf-8")

_spec = importlib.util.spec_from_file_location("generate_gallery", DOCS / "generate_gallery.py")
assert _spec is not None
assert _spec.loader is not None
gallery = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(gallery)


def test_every_picture_exists_and_is_small() -> None:
    shown = re.findall(r"^```\{image\} (\S+)$", PAGE, re.MULTILINE)
    stored = {str(path.relative_to(DOCS)): path.stat().st_size for path in (DOCS / "pictures" / "gallery").iterdir()}
    assert sorted(shown) == sorted(stored)
    assert max(stored.values()) < 150_000
    assert sum(stored.values()) < 1_200_000
    for name in shown:
        with Image.open(DOCS / name) as image:
            assert image.format == "JPEG"
            assert min(image.size) >= 200


def test_every_picture_has_what_made_it() -> None:
    pictures = gallery.pictures(PAGE)
    assert [str(picture.path) for picture in pictures] == re.findall(r"^```\{image\} (\S+)$", PAGE, re.MULTILINE)
    for picture in pictures:
        assert picture.blocks, f"{picture.path}: no command below it"
        code = "".join(code for _, code in picture.blocks)
        assert picture.made.split("/")[0] in code, f"{picture.made} is made by none of its blocks"
    for language, code in (block for picture in pictures for block in picture.blocks):
        if language:
            compile(code, "gallery.md", "exec")


def test_every_command_is_one_of_ours() -> None:
    commands = [shlex.split(line) for line in gallery.commands(PAGE)]
    assert commands
    assert all(words[0] == "rm" or (words[0] == "diorama" and words[1] in VERBS) for words in commands)


def test_blocks_belong_to_the_picture_above_them() -> None:
    text = (
        "% a.png\n```{image} p/a.jpg\n:alt: A\n```\n\nText.\n\n```\ndiorama one \\\n    --two 3\n```\n\n"
        "% b/c.png\n```{image} p/b.jpg\n:alt: B\n```\n\n```python\nx = 1\n```\n```\nrm y\n```\n"
    )
    first, second = gallery.pictures(text)
    assert first == (Path("p/a.jpg"), "a.png", [("", "diorama one \\\n    --two 3\n")])
    assert second == (Path("p/b.jpg"), "b/c.png", [("python", "x = 1\n"), ("", "rm y\n")])
    assert [line.split() for line in gallery.commands(text)] == [["diorama", "one", "--two", "3"], ["rm", "y"]]


def test_a_picture_that_cannot_be_small_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = Image.effect_noise((1500, 900), 80)
    assert len(gallery.small(Image.new("L", (1500, 900)))) <= gallery.BYTES
    with Image.open(BytesIO(gallery.small(Image.new("L", (2200, 900))))) as kept:
        assert kept.size == (1100, 450)
    monkeypatch.setattr(gallery, "BYTES", 5000)
    with pytest.raises(SystemExit, match="make it simpler"):
        gallery.small(noise)
