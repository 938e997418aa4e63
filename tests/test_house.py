"""The house rules that a machine can check: what the catalog names is documented, light modules stay light, files stay small."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from plugins import offer

import diorama
from diorama import catalog, recipes
from diorama.cli import VERBS, main
from diorama.config import CHOICES, OPTIONAL, SETTINGS, method_config, read_config
from diorama.errors import DataError
from diorama.types import SCENE_KEYS

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src" / "diorama").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

HEAVY = (
    "torch", "torchvision", "lightning", "timm", "torchmetrics", "onnx", "onnxscript", "openvino", "nncf", "matplotlib", "h5py", "rasterio",
    "gradio", "fastapi", "starlette", "uvicorn", "nncf",
)  # fmt: skip
LIGHT = [
    "diorama.apps_verbs", "diorama.apps.page", "diorama.apps.work", "diorama.apps.negotiation", "diorama.apps.answers",
    "diorama", "diorama.errors", "diorama.types", "diorama.catalog", "diorama.config", "diorama.recipes", "diorama.cli", "diorama.verbs",
    "diorama.doctor", "diorama.data.io", "diorama.data.labels", "diorama.data.base", "diorama.data.view", "diorama.data.check",
    "diorama.data.sheet", "diorama.data.fixtures", "diorama.training.settings", "diorama.methods.ci_net_config",
    "diorama.methods.image_reconstruction_config", "diorama.completion.model", "diorama.data.sparsify", "diorama.running.sweep",
    "diorama.evaluation.protocols", "diorama.export.config", "diorama.export.runtime", "diorama.prediction.predictor",
    "diorama.export.openvino_model", "diorama.export.trial", "diorama.export_verb",
    "diorama.prediction.result", "diorama.running.predict", "diorama.running.evaluate", "diorama.running.report",
    "diorama.methods.ccnn_config", "diorama.evaluation.confidence", "diorama.stereo.confidence", "diorama.stereo.matched",
    "diorama.stereo.checks", "diorama.stereo.files", "diorama.stereo.labelled", "diorama.stereo.pseudo_settings",
    "diorama.running.pseudo_label", "diorama.running.pseudo_pool", "diorama.stereo.labeller", "diorama.stereo.measures",
    "diorama.parsing", "diorama.stream_settings", "diorama.methods.fcn_config", "diorama.methods.multitask_gan_config",
    "diorama.methods.pseudo_mtl_config", "diorama.data.disparity", "diorama.methods.semi_mtl_config",
    "diorama.prediction.tiling", "diorama.prediction.mosaic",
    *(value.partition(":")[0] for value in catalog.DATASETS.values()),
]  # fmt: skip


@pytest.mark.parametrize("name", catalog.list_methods())
def test_every_method_is_documented(name: str) -> None:
    page = (ROOT / "docs" / "methods" / f"{name}.md").read_text()
    method = catalog.method(name)
    assert name in page
    assert method.citation.split(".")[0] in " ".join(page.split())
    assert f"]({name}.md)" in (ROOT / "docs" / "methods" / "index.md").read_text()
    assert f"`{name}`" in (ROOT / "README.md").read_text()
    assert method.needs <= SCENE_KEYS
    assert method_config(name).needs == method.needs
    assert method.config_class is method_config(name)


@pytest.mark.parametrize("name", catalog.list_datasets())
def test_every_data_set_is_documented(name: str) -> None:
    kind = catalog.dataset(name)
    text = (ROOT / "docs" / "datasets.md").read_text()
    assert f"\n## {name}\n" in text
    assert f"autoclass:: {kind.__module__}.{kind.__name__}" in text
    assert kind.name == name
    assert kind.citation
    assert kind.terms
    assert kind.title
    assert kind.__doc__


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_reads(name: str) -> None:
    stored = yaml.safe_load((ROOT / "recipes" / f"{name}.yaml").read_text())
    named = {stream: fields["name"] for stream, fields in stored.get("streams", {}).items() if "name" in fields}
    rooted = [stream for stream, data in named.items() if "root" in inspect.signature(catalog.dataset(data)).parameters]
    roots = [word for stream in rooted for word in (f"--streams.{stream}.root", "anywhere")]
    try:
        run = read_config(["--config", name, "--data.root", "anywhere", *roots])
    except DataError:
        pytest.fail("a recipe is read without its data")
    assert name.startswith(f"{run.method}/")
    assert (ROOT / "recipes" / f"{name}.yaml").read_text().startswith("# "), "a recipe begins with a comment that says what it is"
    assert set(stored) <= {*CHOICES, *SETTINGS, *OPTIONAL, "streams", "seed", "out"}


def commands_in_texts() -> list[str]:
    """Every `diorama ...` line of a code block in the README and the documentation."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "methods").glob("*.md"))]
    blocks = (block for page in pages for block in re.findall(r"^```[^\n]*\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))
    lines = (line.strip().removeprefix("$ ") for block in blocks for line in block.replace("\\\n", " ").splitlines())
    return sorted({line for line in lines if line.startswith("diorama ") and "batchsize" not in line})


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package that `docs/extending.md` shows, as if it were installed."""
    folder = ROOT / "tests" / "plugin"
    points = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["entry-points"]
    offer(monkeypatch, folder, points)


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("command", commands_in_texts())
def test_commands_in_texts_exist(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, verb, *words = shlex.split(command.partition(">")[0])
    values = dict(pairwise(words))
    asked = [[verb, "--help"]]
    if verb == "data":
        asked.append([verb, *words[:2], "--help"])
    if verb in ("train", "evaluate", "sweep", "pseudo-label"):
        recipe = recipes.read_yaml(recipes.find(values["--config"])) if "/" in values.get("--config", "") else {}
        names = {section: values.get(f"--{section}", recipe.get(section, {}).get("name")) for section in ("model", "data")}
        asked += [["train", f"--{section}.help", name.partition(":")[0]] for section, name in names.items() if name]
    if verb == "benchmark" and words[0] in recipes.names(benchmarks=True):
        asked += [["train", "--help"], ["train", "--model.help", words[0].partition("/")[0]]]
    assert all(main(words) == 0 for words in asked)
    known = set(re.findall(r"--[\w.-]+", capsys.readouterr().out)) | {"--model", "--data", "--help"}
    used = {word.partition("=")[0] for word in words if word.startswith("--")}
    own = verb == "benchmark" and words[0].endswith(".yaml")  # whose method is in the reader's own file
    used = {word for word in used if not word.startswith("--streams.") and not (own and "." in word)}
    assert used <= known
    assert verb in VERBS


def test_light_modules_import_without_the_extras() -> None:
    code = (
        f"import sys\nfor name in {HEAVY}: sys.modules[name] = None\nimport importlib\nfor name in {LIGHT}: importlib.import_module(name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_public_names_load_lazily_and_exist() -> None:
    code = "import sys, diorama; sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'cv2', 'jsonargparse')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    for name in diorama.__all__:
        assert getattr(diorama, name)
        assert name in dir(diorama)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        diorama.nonsense  # noqa: B018


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_files_and_functions_stay_small(path: Path) -> None:
    source = path.read_text()
    assert source.count("\n") <= 400
    assert path.name not in {"utils.py", "util.py", "common.py", "helpers.py", "misc.py"}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 70, f"{node.name} is too long"


def test_versions_agree() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == PROJECT["project"]["version"]


def test_pinned_requirements_hold_hashes_and_no_address() -> None:
    text = (ROOT / "requirements.txt").read_text()
    pins = re.findall(r"^([a-z0-9.-]+(?:\[[a-z,]+\])?)==", text, re.MULTILINE)
    assert "://" not in text
    assert "--index" not in text
    assert {"numpy", "torch", "torchvision", "lightning", "onnxruntime", "pytest", "uv", "hatchling", "editables"} <= set(pins)
    for block in re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]:
        assert "--hash=sha256:" in block, block.splitlines()[0]


def test_the_core_brings_no_torch() -> None:
    core = {re.split(r"[\[<>=!~ ]", line)[0] for line in PROJECT["project"]["dependencies"]}
    assert not core & set(HEAVY)


def test_make_needs_no_tool_but_python() -> None:
    text = (ROOT / "Makefile").read_text()
    for target in ("env", "quickstart", "test", "lint", "docs", "gallery", "notebooks", "requirements", "clean"):
        assert re.search(rf"^{target}:", text, re.MULTILINE), target
    for target in ("quickstart", "test", "lint", "docs", "gallery", "notebooks"):
        assert re.search(rf"^{target}: env$", text, re.MULTILINE), f"{target} makes the environment when it is missing"
