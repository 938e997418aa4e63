"""Every numbered equation has code, a test and its row in docs/equations.md."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def ledger() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_equations", ROOT / "docs" / "generate_equations.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_equation_has_code_and_a_test(ledger: ModuleType) -> None:
    assert ledger.PAPERS["CI-Net"] == 14
    places, tests = ledger.cited(ROOT), ledger.checked(ROOT)
    missing = [
        f"{paper} ({number}): no {what}"
        for paper, count in ledger.PAPERS.items()
        for number in range(1, count + 1)
        for what, found in (("code", places), ("test", tests))
        if not found.get((paper, number))
    ]
    assert missing == []


def test_committed_page_is_what_the_code_says(ledger: ModuleType) -> None:
    page = (ROOT / "docs" / "equations.md").read_text(encoding="utf-8")
    assert page == ledger.render(ROOT), "docs/equations.md is stale: run `python docs/generate_equations.py`"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("7", [7]), ("1 and 2", [1, 2]), ("1, 2 and 4", [1, 2, 4]), ("8-10", [8, 9, 10]), ("8 to 10", [8, 9, 10])],
)
def test_equation_numbers_are_read(ledger: ModuleType, text: str, expected: list[int]) -> None:
    assert ledger.numbers(text) == expected


def test_citations_and_choices_are_found(ledger: ModuleType, tmp_path: Path) -> None:
    package, papers = tmp_path / "src" / "diorama", tmp_path / "tests" / "papers"
    package.mkdir(parents=True)
    papers.mkdir(parents=True)
    methods = '    def f(self):\n        """(CI-Net, Eq. 5)."""\n'
    cites = '    """A thing (CI-Net, Eqs. 2-3; Someone 2018).\n\n    Choice: the\n    mean.\n    """\n'
    (package / "part.py").write_text("class A:\n" + cites + methods)
    (papers / "test_part.py").write_text(
        'def test_a():\n    """CI-Net, Eq. 2: by hand."""\n\ndef helper():\n    """CI-Net, Eq. 3: no test."""\n'
    )
    places = ledger.cited(tmp_path)
    assert {key: [place.name for place in found] for key, found in places.items()} == {
        ("CI-Net", 2): ["part.A"],
        ("CI-Net", 3): ["part.A"],
        ("CI-Net", 5): ["part.A.f"],
    }
    assert places["CI-Net", 3][0].choice == "the mean."
    assert ledger.checked(tmp_path) == {("CI-Net", 2): ["test_part.py::test_a"]}
    assert "| (1) | missing | missing | as printed |" in ledger.render(tmp_path)
