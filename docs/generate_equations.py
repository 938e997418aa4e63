"""Write docs/equations.md: every numbered equation of a paper, the code that computes it, its test, and what was chosen.

    python docs/generate_equations.py [--check]

Nothing is listed by hand. A function or class belongs to an equation if its docstring cites it, "(CI-Net, Eq. 7)"; a test, if
its docstring begins with "CI-Net, Eq. 7:". A paragraph of the docstring that begins with "Choice:" says what the paper left open.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAPERS = {"CI-Net": 14, "Image reconstruction": 15, "Multi-task GANs": 8, "Pseudo-MTL": 11, "SemiMTL": 10}
"""Papers as docstrings cite them -> how many numbered equations they have."""

_CITED = re.compile(r"\((?P<paper>[\w -]+?), Eqs?\.\s+(?P<numbers>\d[^;)]*)")
_TESTED = re.compile(r"^(?P<paper>[\w -]+?), Eqs?\.\s+(?P<numbers>\d[^:]*):")


class Place(NamedTuple):
    """A function, class or method that cites an equation."""

    name: str  # module.qualified_name without the package
    path: str  # relative to the repository
    choice: str


def numbers(text: str) -> list[int]:
    """`"1, 2 and 4"` -> [1, 2, 4]; `"8-10"` -> [8, 9, 10]."""
    found: list[int] = []
    for first, last in re.findall(r"(\d+)(?:\s*(?:-|to)\s*(\d+))?", text):
        found += range(int(first), int(last or first) + 1)
    return found


def documented(path: Path) -> Iterator[tuple[str, str]]:
    """Qualified name and docstring of every function, class and method of a file."""

    def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                yield prefix + child.name, ast.get_docstring(child) or ""
                yield from walk(child, f"{prefix}{child.name}.")

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), "")


def choice(docstring: str) -> str:
    """The paragraph that begins with "Choice:", on one line, without that word."""
    for paragraph in docstring.split("\n\n"):
        if paragraph.strip().startswith("Choice:"):
            return " ".join(paragraph.split()).removeprefix("Choice: ")
    return ""


def cited(root: Path = ROOT) -> dict[tuple[str, int], list[Place]]:
    """(paper, equation) -> the places of the package whose docstrings cite it."""
    places: dict[tuple[str, int], list[Place]] = defaultdict(list)
    package = root / "src" / "diorama"
    for path in sorted(package.rglob("*.py")):
        module = ".".join(path.relative_to(package).with_suffix("").parts)
        for name, docstring in documented(path):
            flat = " ".join(docstring.split())
            for match in _CITED.finditer(flat):
                for number in numbers(match["numbers"]):
                    place = Place(f"{module}.{name}", path.relative_to(root).as_posix(), choice(docstring))
                    if place not in places[match["paper"], number]:
                        places[match["paper"], number].append(place)
    return places


def checked(root: Path = ROOT) -> dict[tuple[str, int], list[str]]:
    """(paper, equation) -> the tests in tests/papers whose docstrings begin with it, as pytest names them."""
    tests: dict[tuple[str, int], list[str]] = defaultdict(list)
    for path in sorted((root / "tests" / "papers").glob("test_*.py")):
        for name, docstring in documented(path):
            match = _TESTED.match(docstring)
            if match and name.startswith("test_"):
                for number in numbers(match["numbers"]):
                    tests[match["paper"], number].append(f"{path.name}::{name}")
    return tests


def render(root: Path = ROOT) -> str:
    """The page as text."""
    places, tests = cited(root), checked(root)
    lines = [
        "# Equations",
        "",
        "Each numbered equation of a paper, the code that computes it, the test that holds it against a hand-computed or",
        "independent result (in `tests/papers/`), and what was settled where the paper leaves it open. This page is made from",
        "the docstrings by `python docs/generate_equations.py`.",
        "",
    ]
    for paper, count in PAPERS.items():
        lines += [f"## {paper}", "", "| equation | code | test | choice |", "|---|---|---|---|"]
        for number in range(1, count + 1):
            found = places.get((paper, number), [])
            code = ", ".join(f"`{place.name}`" for place in found)
            choices = " ".join(dict.fromkeys(place.choice for place in found if place.choice)) or "as printed"
            checks = ", ".join(f"`{test}`" for test in tests.get((paper, number), []))
            lines.append(f"| ({number}) | {code or 'missing'} | {checks or 'missing'} | {choices.replace('|', chr(92) + '|')} |")
        lines.append("")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Write the page, or with --check say whether it is stale."""
    parser = argparse.ArgumentParser(description="Write docs/equations.md from the docstrings.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page is not what would be written")
    options = parser.parse_args(argv)
    page, text = ROOT / "docs" / "equations.md", render()
    if options.check:
        if page.read_text(encoding="utf-8") == text:
            return 0
        print("docs/equations.md is stale: run `python docs/generate_equations.py`.", file=sys.stderr)
        return 1
    page.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
