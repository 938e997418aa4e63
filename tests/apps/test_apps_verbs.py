"""`diorama demo` and `diorama serve` as typed: limits, wrong words, and what is said where the extra is missing."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from diorama.apps.limits import Limits
from diorama.cli import main


@pytest.mark.parametrize(
    ("verb", "missing", "extra"), [("demo", "gradio", "demo"), ("serve", "uvicorn", "serve"), ("serve", "fastapi", "serve")]
)
def test_without_the_extra_one_line_says_what_to_install(verb: str, missing: str, extra: str) -> None:
    code = f"import sys\nsys.modules['{missing}'] = None\nfrom diorama.cli import main\nsys.exit(main(['{verb}']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"pip install 'diorama[{extra}]'" in done.stderr


def test_the_light_parts_import_neither_torch_nor_the_extras() -> None:
    code = (
        "import sys\nfor name in ('torch', 'gradio', 'fastapi', 'starlette', 'uvicorn', 'matplotlib'): sys.modules[name] = None\n"
        "import diorama.cli, diorama.apps_verbs, diorama.apps.page, diorama.apps.examples, diorama.apps.negotiation, diorama.apps.answers"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_serve_hands_over_model_and_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
    given: dict[str, Any] = {}
    monkeypatch.setattr("diorama.apps.running.serve", lambda *items, **more: given.update(items=items, **more))
    words = "serve --model nearest --port 0 --max-megabytes 1.5 --max-megapixels 2 --seconds 3 --queue 4 --workers 2"
    assert main(words.split()) == 0
    predictor, limits = given["items"]
    assert predictor.name == "nearest"
    assert limits == Limits(megabytes=1.5, megapixels=2, seconds=3, queue=4, workers=2)
    assert (given["host"], given["port"]) == ("127.0.0.1", 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("serve --seconds 0", "seconds 0 would allow nothing"),
        ("serve --prot 1", "did you mean '--port'?"),
        ("serve --model nonsense", "unknown model 'nonsense'"),
        ("serve --model nearest --port 99999", "cannot be had"),
        ("demo --queue -1", "queue -1"),
    ],
)
def test_wrong_words_get_one_line(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
    assert main(words.split()) == 2
    assert said in capsys.readouterr().err


def test_an_address_for_others_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    from diorama.apps.ports import listening

    with listening("127.0.0.1", 0):
        assert not caplog.records
    with listening("0.0.0.0", 0):
        assert "nobody is asked for a password" in caplog.text
