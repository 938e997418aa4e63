"""Sphinx settings. Pages that repeat what the code knows (protocols, commands, recipes) are generated from it at each build."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import yaml
from sphinx.application import Sphinx

import diorama
from diorama import catalog, cli, config, recipes
from diorama.evaluation.protocols import list_protocols

project = "diorama"
author = "The diorama developers"
copyright = author
version = release = diorama.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
nb_execution_mode = "off"  # `make notebooks` executes them; their outputs are shown from then on
myst_enable_extensions = ["dollarmath", "colon_fence", "attrs_block"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_generated", "results"]
default_role = "code"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_use_ivar = True
html_theme = "furo"
html_title = "diorama"
html_show_sphinx = False
suppress_warnings = ["ref.python"]  # two modules may have a function of one name

GENERATED = Path(__file__).parent / "_generated"
EXECUTED = Path(__file__).parent / "_build" / "notebooks"


def generate(_: Sphinx) -> None:
    """Write what the pages include from the code."""
    GENERATED.mkdir(exist_ok=True)
    rows = [f"| `{name}` | {sentence} |" for name, sentence in list_protocols().items()]
    write("protocols.md", ["| name | rules |", "|---|---|", *rows])
    for verb in cli.VERBS:
        write(f"cli_{verb}.txt", [printed([verb, "--help"])])
    write("cli.txt", [cli.overview()])
    for name in catalog.list_methods():
        write(f"fields_{name}.txt", [config.fields_help("model", name)])
        own = {recipe: path for recipe, path in recipes.names().items() if recipe.startswith(f"{name}/")}
        rows = [f"| `{recipe}` | {summary(path)} |" for recipe, path in own.items()]
        write(f"recipes_{name}.md", ["| recipe | what it is |", "|---|---|", *rows] if rows else ["None yet."])


def printed(words: list[str]) -> str:
    """What the command prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        cli.main(words)
    return out.getvalue()


def summary(recipe: Path) -> str:
    """The comment that a recipe starts with, else its data set."""
    text = recipe.read_text(encoding="utf-8")
    comment = [line[1:].strip() for line in text.splitlines() if line.startswith("#")]
    return comment[0] if text.startswith("#") else f"on {yaml.safe_load(text)['data']['name']}"


def write(name: str, lines: list[str]) -> None:
    """Replace one generated file."""
    (GENERATED / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def with_outputs(_: Sphinx, page: str, source: list[str]) -> None:
    """Show a notebook as `make notebooks` left it, if it still is that notebook: git keeps it without outputs."""
    executed = EXECUTED / f"{page.removeprefix('notebooks/')}.ipynb"
    if not page.startswith("notebooks/") or not executed.is_file():
        return
    kept = executed.read_text(encoding="utf-8")
    cells = [[(cell["id"], "".join(cell["source"])) for cell in json.loads(text)["cells"]] for text in (source[0], kept)]
    if cells[0] == cells[1]:
        source[0] = kept


def setup(app: Sphinx) -> None:
    """Generate before the pages are read."""
    app.connect("builder-inited", generate)
    app.connect("source-read", with_outputs)
