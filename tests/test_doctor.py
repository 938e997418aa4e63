"""`diorama doctor` says what will not work, and never needs torch."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from diorama import doctor, recipes
from diorama.doctor import Finding


def found(name: str, folder: Path) -> Finding:
    return next(finding for finding in doctor.examine(folder) if finding.name == name)


def test_every_finding_has_advice(tmp_path: Path) -> None:
    findings = doctor.examine(tmp_path)
    assert {"Python", "core packages", "devices", "threads", "codecs", "folder", "memory", "shipped models"} <= {f.name for f in findings}
    assert all(finding.advice.endswith((".", "'", "'ci_net-nyuv2'")) or ":" in finding.advice for finding in findings)
    assert all(finding.state in ("good", "note", "bad") for finding in findings)


def test_every_extra_is_examined_with_its_packages() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    extras = {extra: {re.split(r"[\[<>=!~ ]", line)[0] for line in lines} for extra, lines in project["optional-dependencies"].items()}
    extras.pop("dev")
    assert {extra: set(packages) for extra, packages in doctor.EXTRAS.items()} == {k: v - {"diorama"} for k, v in extras.items()}
    assert set(doctor.CORE) == {re.split(r"[\[<>=!~ ]", line)[0] for line in project["dependencies"]}


def test_no_advice_fetches_a_package_that_is_called_diorama(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package index has another project of this name: only extras of the installed package may be asked for."""
    monkeypatch.setattr(doctor, "installed", lambda package: None if package != "diorama" else "0.1.0")
    advice = [finding.advice for finding in doctor.examine(tmp_path)]
    assert not [line for line in advice if re.search(r"pip install .*\bdiorama(?!\[)", line)]
    assert found("core packages", tmp_path).advice == "Install them with: pip install " + " ".join(doctor.CORE)


def test_machine_without_gpu_is_told_the_recipe_for_own_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    finding = found("devices", tmp_path)
    assert finding.state == "note"
    recipe = next(word for word in finding.advice.replace(";", "").split() if "/" in word)
    assert recipes.read_yaml(recipes.find(recipe))["data"]["name"] == "folder"


def test_folder_that_cannot_be_written_to_is_bad(tmp_path: Path) -> None:
    assert found("folder", tmp_path).state == "good"
    assert found("folder", tmp_path / "nowhere").state == "bad"


def test_more_threads_than_cores_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    assert found("threads", tmp_path).state == "bad"
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert found("threads", tmp_path).state == "good"


def test_compromised_release_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed", lambda package: "2.6.2" if package == "lightning" else "9.9")
    finding = found("extra 'train'", tmp_path)
    assert finding.state == "bad"
    assert "lightning 2.6.2" in finding.value


def test_missing_core_package_is_bad_and_missing_extra_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed", lambda package: None if package in ("onnxruntime", "rasterio") else "9.9")
    assert found("core packages", tmp_path).state == "bad"
    assert "onnxruntime" in found("core packages", tmp_path).value
    assert found("extra 'geo'", tmp_path).state == "note"


@pytest.mark.parametrize(("state", "status"), [("good", 0), ("note", 0), ("bad", 1)])
def test_status_tells_whether_something_will_not_work(
    state: doctor.State, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda _: [Finding("extra 'geo'", "PNG", state, "pip install 'diorama[geo]'")])
    assert doctor.doctor() == status
    assert "pip install 'diorama[geo]'" in capsys.readouterr().out


def test_doctor_answers_without_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; from diorama.cli import main; sys.exit(main(['doctor']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "threads" in done.stdout
    assert done.returncode in (0, 1)
    assert not done.stderr
