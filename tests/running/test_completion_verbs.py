"""The words of sweep, submit and export: names with brackets, what does not exist, models that come with the package."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diorama.cli import main
from diorama.completion_verbs import axis_names
from diorama.data import io
from diorama.errors import ConfigError
from diorama.evaluation import submission
from diorama.prediction import predictor

ROOMS = ["--data", "world_indoor", "--data.frames", "1", "--data.size", "[48,64]", "--data.stereo", "false"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("[]", []),
        ("points", ["points"]),
        ("[points, scan lines]", ["points", "scan lines"]),
        ("points,scan lines", ["points", "scan lines"]),
        ("[depth noise [m],outliers [%]]", ["depth noise [m]", "outliers [%]"]),
        ("depth noise [m]", ["depth noise [m]"]),
        ("[\"depth noise [m]\", 'points']", ["depth noise [m]", "points"]),
        ("[500 points,x [a,b]]", ["500 points", "x [a,b]"]),
    ],
)
def test_axes_are_read_whatever_brackets_are_in_them(text: str, names: list[str]) -> None:
    assert axis_names(text) == names


@pytest.mark.parametrize("text", ["[points", "points]", "points,,scan lines", "[depth noise [m]", "points,"])
def test_axes_that_are_no_list_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is no list of names. Write them as in --axes '\[points,depth noise \[m\]\]'"):
        axis_names(text)


@pytest.mark.parametrize("axes", ["[depth noise [m]]", "depth noise", '["depth noise [m]"]', "Depth noise"])
def test_an_axis_with_a_unit_is_swept(axes: str, tmp_path: Path) -> None:
    assert main(["sweep", "nearest", *ROOMS, "--axes", axes, "--out", str(tmp_path / "out")]) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "sweep.csv").read_text().splitlines()))
    assert {row["axis"] for row in rows} == {"depth noise [m]"}
    assert [float(row["value"]) for row in rows] == [0, 0.02, 0.05, 0.1, 0.2, 0.5]


@pytest.mark.parametrize("axes", ["[depth noise [cm]]", "depth [m]", "[points,noise]"])
def test_an_unknown_axis_is_answered_with_those_there_are(axes: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["sweep", "nearest", *ROOMS, "--axes", axes, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "is no axis of these data. Choose among " in said
    assert "depth noise [m]" in said
    assert not (tmp_path / "out").exists()


def test_what_is_not_there_cannot_be_checked(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for words, said in (
        ([str(tmp_path / "nowhere"), "--check"], "nowhere: no such file or folder. Check the path of the submission to check."),
        ([str(tmp_path / "nowhere.zip"), "--check"], "nowhere.zip: no such file or folder."),
        ([str(tmp_path), "--check", "--known", str(tmp_path / "sparse")], "sparse: no such file or folder. Check the path of --known."),
        ([str(tmp_path), "--check", "--kind", "kitti_depth"], "unknown submission 'kitti_depth'"),
    ):
        assert main(["submit", *words]) == 2
        printed = capsys.readouterr()
        assert said in printed.err
        assert printed.out == ""
    # a folder that is there has faults, which are no error of the command
    assert main(["submit", str(tmp_path), "--check"]) == 1
    printed = capsys.readouterr()
    assert "missing of 1000. Predict every test image." in printed.out
    assert printed.err == ""


def test_a_check_without_faults_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(submission.KINDS, "kitti_depth_completion", submission.Kind("two", 2, (32, 48)))
    for number in range(2):
        io.write_depth_png(tmp_path / f"{number:010d}.png", np.full((32, 48), 12, np.float32))
    assert main(["submit", str(tmp_path), "--check"]) == 0
    assert capsys.readouterr().out == "no fault found\n"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the function behind the verb is called with."""
    from diorama.export import export
    from diorama.export.export import ExportReport

    calls: list[dict[str, Any]] = []

    def record(**options: Any) -> ExportReport:
        calls.append(options)
        return ExportReport(options["out"] or options["source"], 1.0, "fp32", {}, {}, None)

    monkeypatch.setattr(export, "export", record)
    return calls


@pytest.mark.parametrize("name", ["ci_net-nyuv2", "image_reconstruction-nyuv2"])
def test_a_shipped_model_is_exported_into_the_current_folder(
    name: str, asked: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", name]) == 0
    assert main(["export", name, "--out", "there.onnx", "--precision", "fp16"]) == 0
    assert main(["export", name, "--format", "openvino"]) == 0
    weights = predictor.WEIGHTS / name / "model.safetensors"
    assert [(call["source"], call["out"], call["format"], call["precision"]) for call in asked] == [
        (weights, Path(f"{name}.onnx"), "onnx", "fp32"),
        (weights, Path("there.onnx"), "onnx", "fp16"),
        (weights, Path(f"{name}.xml"), "openvino", "fp32"),
    ]


def test_what_needs_no_export_says_so(
    asked: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = tmp_path / "weights" / "graph-only"
    shipped.mkdir(parents=True)
    config = (predictor.WEIGHTS / "image_reconstruction-nyuv2" / "config.json").read_text()
    (shipped / "config.json").write_text(config)
    (shipped / "model.onnx").touch()
    monkeypatch.setattr(predictor, "WEIGHTS", tmp_path / "weights")
    for name, said in (
        ("graph-only", f"graph-only comes as ONNX only, so it needs no export. Copy {shipped / 'model.onnx'}."),
        ("linear", "linear is no network, so there is nothing to export. Choose among graph-only."),
        ("graph", "graph: no such file or folder. Give a run folder, a .safetensors file or a shipped model (graph-only)."),
    ):
        assert main(["export", name]) == 2
        assert said in capsys.readouterr().err
    assert not asked
