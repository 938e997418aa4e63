"""The command line: quick help without torch, one-line errors, exit statuses, and verbs that call what they stand for."""

from __future__ import annotations

import importlib
import inspect
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from diorama import catalog, cli, verbs
from diorama.cli import main
from diorama.errors import TrainingError

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from diorama.cli import main
for words in sys.argv[1:]:
    print(f"<{words}>", main(words.split()))
"""


RUN = ["--model", "ci_net", "--data", "nyuv2", "--data.root", "x"]


def failure(words: list[str], capsys: pytest.CaptureFixture[str], status: int = 2) -> str:
    """What the command says on stderr: one line, no traceback."""
    assert main(words) == status
    said = capsys.readouterr().err
    assert said.startswith("diorama: error: ")
    assert said.count("\n") == 1
    assert "Traceback" not in said
    return said


def test_help_needs_no_torch() -> None:
    verbs_help = [f"{verb} --help" for verb in cli.VERBS]
    asked = [
        "--help",
        *verbs_help,
        "train --model.help ci_net",
        "train --data.help nyuv2",
        "data check nyuv2 --help",
        "methods",
        "data list",
    ]
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *asked], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [f"<{words}> 0" in done.stdout for words in asked] == [True] * len(asked)
    assert all(f"usage: diorama {verb}" in done.stdout for verb in cli.VERBS)


def test_help_takes_less_than_half_a_second_of_cpu() -> None:
    for words in (["--help"], ["train", "--help"]):
        spent = []
        for _ in range(3):  # the least of three: other processes share the machine
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-m", "diorama", *words], capture_output=True, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
            if spent[-1] < 0.5:
                break
        assert min(spent) < 0.5, (words, spent)


def test_overview_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {verb} " in shown for verb in cli.VERBS)


def test_every_verb_is_a_function() -> None:
    assert all(callable(getattr(verbs, verb.replace("-", "_"))) for verb in cli.VERBS)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["trian"], ("unknown verb 'trian'", "did you mean 'train'?")),
        (["data", "chek"], ("did you mean 'check'?",)),
        (["train", "--model", "ci_nett", "--data", "nyuv2"], ("unknown method 'ci_nett'", "did you mean 'ci_net'?", "diorama methods")),
        (["train", "--model", "ci_net", "--data", "nyuv3"], ("unknown data set 'nyuv3'", "did you mean 'nyuv2'?", "diorama data list")),
        (["train"], ("no method was named", "--config")),
        (["train", "--config", "nowhere.yaml"], ("nowhere.yaml", "no such file")),
        (["train", "--resume", "nowhere"], ("nowhere", "config.yaml", "--resume")),
        (["train", "--resume"], ("--resume has no value",)),
        (["train", "--model", "ci_net", "--data", "nyuv2", "--data.root", "nowhere"], ("nowhere", "--data.root")),
        (
            ["train", "--model", "ci_net", "--data", "nyuv2", "--data.root", "x", "--trainer.batchsize", "3"],
            ("did you mean 'batch_size'?",),
        ),
        (["predict"], ("source", "diorama predict --help")),
        (["predict", "nowhere.jpg"], ("nowhere.jpg", "no such file")),
        (["predict", "photo.jpg", "--ovrwrite"], ("unknown flag '--ovrwrite'", "did you mean '--overwrite'?")),
        (["predict", "photo.jpg", "--backend", "tf"], ("--backend", "auto")),
        (["evaluate"], ("which model?",)),
        (["evaluate", "nowhere"], ("unknown model 'nowhere'",)),
        (["evaluate", "ci_net-nyuv2"], ("on which data?", "nyuv2")),
        (["evaluate", "nowhere", "--data", "nyuv2", "--data.root", "nowhere"], ("nowhere", "--data.root")),
        (["evaluate", "nowhere", "--data", "nyuv2", "--data.rot", "x"], ("did you mean 'root'?",)),
        (["export", "nowhere"], ("nowhere: no such file",)),
        (["benchmark", "nowhere"], ("nowhere: no such file",)),
        (["data", "check"], ("needs a data set", "nyuv2")),
        (["data", "check", "nyuv2", "--data.root", "nowhere"], ("nowhere",)),
        (["data", "check", "nyuv3"], ("did you mean 'nyuv2'?",)),
        (["data", "plot", "nyuv2", "--data.root", "x", "--frame", "3"], ("did you mean 'frames'?",)),
    ],
)
def test_wrong_words_get_one_line(
    words: list[str], parts: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = failure(words, capsys)
    assert all(part in said for part in parts), said
    assert not list(tmp_path.iterdir()), "nothing may be left behind"


def test_debug_shows_where_an_error_comes_from() -> None:
    with pytest.raises(cli.UserError, match="trian"):
        main(["trian", "--debug"])


def test_every_error_exits_with_its_own_status(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(error: BaseException) -> Any:
        def verb(_: Any) -> int:
            raise error

        return verb

    for error, status, part in (
        (TrainingError("the loss is nan. Lower the rate."), 3, "Lower the rate."),
        (KeyboardInterrupt(), 130, "Ctrl-C"),
        (PermissionError(13, "Permission denied", "runs"), 1, "runs: Permission denied"),
        (ModuleNotFoundError("No module named 'timm'", name="timm"), 2, "pip install 'diorama[train]'"),
    ):
        monkeypatch.setattr(verbs, "doctor", raising(error))
        assert part in failure(["doctor"], capsys, status)


def test_a_module_that_no_extra_brings_is_a_bug_and_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def verb(_: Any) -> int:
        raise ModuleNotFoundError("No module named 'nonsense'", name="nonsense")

    monkeypatch.setattr(verbs, "doctor", verb)
    with pytest.raises(ModuleNotFoundError):
        main(["doctor"])


def test_sigterm_exits_with_143() -> None:
    code = (
        "import sys, time, diorama.cli as cli, diorama.verbs as verbs\n"
        "def wait(words):\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
        "verbs.doctor = wait\n"
        "sys.argv = ['diorama', 'doctor']\n"
        "cli.entry()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(timeout=20) == 143


def test_print_config_is_what_config_reads(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", *RUN, "--trainer.batch_size", "5", "--print_config"]) == 0
    printed = capsys.readouterr().out
    path = tmp_path / "run.yaml"
    path.write_text(printed)
    assert main(["train", "--config", str(path), "--print_config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == yaml.safe_load(printed)
    assert "batch_size: 5" in printed


def test_methods_lists_needs_and_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods"]) == 0
    shown = capsys.readouterr().out
    assert all(part in shown for part in ("ci_net", "depth", "semantic", "ci_net/nyuv2"))


@pytest.mark.parametrize(
    ("words", "target", "expected"),
    [
        (["train", *RUN[:3], "world_indoor"], "diorama.running.train:train", {"resume": None}),
        (["predict", "p.jpg", "--out", "o", "--save", "depth", "ply", "--field-of-view", "60"], "diorama.running.predict:predict",
         {"source": "p.jpg", "out": Path("o"), "save": ["depth", "ply"], "field_of_view": 60.0, "model": "ci_net-nyuv2"}),
        (["predict", "p.jpg"], "diorama.running.predict:predict", {"out": None}),
        (["export", ".", "--precision", "fp16"], "diorama.export.export:export",
         {"source": Path(), "precision": "fp16", "format": "onnx", "out": None}),
        (["quickstart", "--frames", "4", "2", "--epochs", "0.1"], "diorama.running.quickstart:quickstart",
         {"out": Path("quickstart"), "frames": (4, 2), "epochs": 0.1, "overwrite": False}),
        (["benchmark", "ci_net/benchmarks/table1_world", "--seeds", "1", "2", "--trainer.steps", "3"],
         "diorama.running.benchmark:run_benchmark", {"seeds": [1, 2], "flags": ["--trainer.steps", "3"], "rows": []}),
    ],
)  # fmt: skip
def test_verbs_call_their_function_with_arguments_it_takes(
    words: list[str], target: str, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class CalledError(Exception):
        pass

    module, _, name = target.partition(":")
    signature = inspect.signature(getattr(importlib.import_module(module), name))

    def record(*values: Any, **named: Any) -> None:
        raise CalledError(signature.bind(*values, **named).arguments)

    monkeypatch.setattr(f"{module}.{name}", record)
    with pytest.raises(CalledError) as caught:
        main(words)
    arguments = caught.value.args[0]
    assert {key: arguments[key] for key in expected} == expected


def test_data_list_names_every_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in catalog.list_datasets())


def test_data_make_check_plot(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rooms = tmp_path / "rooms"
    assert main(["data", "make", "world_indoor", "--data.size", "[48, 64]", "--out", str(rooms), "--frames", "3", "--split", "val"]) == 0
    assert main(["data", "check", "folder", "--data.root", str(rooms), "--splits", "[val]"]) == 0
    assert "folder: 0 errors" in capsys.readouterr().out
    sheet = tmp_path / "sheet.png"
    assert main(["data", "plot", "folder", "--data.root", str(rooms), "--split", "val", "--out", str(sheet), "--width", "64"]) == 0
    assert sheet.read_bytes().startswith(b"\x89PNG")
    sheet.write_bytes(b"mine")
    again = ["data", "plot", "folder", "--data.root", str(rooms), "--split", "val", "--out", str(sheet), "--frames", "1"]
    assert "sheet.png exists already. Pass --overwrite" in failure(again, capsys)
    assert sheet.read_bytes() == b"mine"
    assert main([*again, "--overwrite"]) == 0
    assert sheet.read_bytes().startswith(b"\x89PNG")
    next((rooms / "images" / "val").iterdir()).write_bytes(b"\x89PNG cut off")
    assert main(["data", "check", "folder", "--data.root", str(rooms), "--splits", "[val]"]) == 1
    assert "folder: 1 errors" in capsys.readouterr().out


def test_evaluate_lists_protocols(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--list-protocols"]) == 0
    assert "\nnyuv2_eigen: " in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("diorama 0.")
