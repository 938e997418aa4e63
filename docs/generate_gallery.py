"""Make every picture of docs/gallery.md by the commands that stand below it there.

    python docs/generate_gallery.py [NAME ...]

The page is the only list: a comment `% FILE` above an image says which of the files that its code blocks leave becomes the picture.
Blocks run in the order of the page in one temporary folder: without a language as shell commands, `python` as Python. With names
(`room`), all blocks run, but only these pictures are replaced.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from PIL import Image

PAGE = Path(__file__).parent / "gallery.md"
WIDTH, BYTES = 1100, 115_000

_PICTURE = re.compile(r"^% (?P<made>\S+)\n```\{image\} (?P<path>\S+)\n.*?^```$", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```(?P<language>python)?\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


class Picture(NamedTuple):
    """One picture of the page."""

    path: Path  # relative to docs/
    made: str  # the file that its blocks leave
    blocks: list[tuple[str, str]]  # (language, code); "" is the shell


def pictures(text: str) -> list[Picture]:
    """The pictures of the page with the blocks between each and the next."""
    found = list(_PICTURE.finditer(text))
    ends = [*(match.start() for match in found[1:]), len(text)]
    return [
        Picture(Path(match["path"]), match["made"], [(m["language"] or "", m["code"]) for m in _BLOCK.finditer(text, match.end(), end)])
        for match, end in zip(found, ends, strict=True)
    ]


def commands(text: str) -> list[str]:
    """The shell commands of the page, one line each."""
    shell = [code for picture in pictures(text) for language, code in picture.blocks if not language]
    return [line for code in shell for line in code.replace("\\\n", " ").splitlines() if line.strip()]


def small(image: Image.Image) -> bytes:
    """The picture as JPEG of at most WIDTH pixels and BYTES bytes, as good as fits."""
    if image.width > WIDTH:
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
    for quality in range(90, 30, -4):
        kept = BytesIO()
        image.convert("RGB").save(kept, "JPEG", quality=quality, optimize=True)
        if kept.tell() <= BYTES:
            return kept.getvalue()
    raise SystemExit(f"a picture of {image.width}x{image.height} does not fit into {BYTES} bytes: make it simpler.")


def main(names: list[str]) -> None:
    """Run the blocks of the page and replace its pictures."""
    found = pictures(PAGE.read_text(encoding="utf-8"))
    if unknown := set(names) - {picture.path.stem for picture in found}:
        raise SystemExit(f"no picture {', '.join(sorted(unknown))}; there are {', '.join(picture.path.stem for picture in found)}")
    # `diorama` and `python` of the environment that runs this file
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory() as work:
        for picture in found:
            for language, code in picture.blocks:
                words = [sys.executable, "-c", code] if language else ["bash", "-euc", code]
                subprocess.run(words, cwd=work, env=environment, check=True, stdout=subprocess.DEVNULL)
            if names and picture.path.stem not in names:
                continue
            target = PAGE.parent / picture.path
            target.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(Path(work) / picture.made) as image:
                target.write_bytes(small(image))
            print(f"{target.stat().st_size // 1000:4d} kB  {picture.path}")


if __name__ == "__main__":
    main(sys.argv[1:])
