"""Completions that need no training, wherever a model may be named."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from diorama.cli import main
from diorama.data import io
from diorama.errors import ModelError
from diorama.prediction.predictor import load


def test_a_completion_is_loaded_by_name_and_keeps_what_is_known() -> None:
    points = np.zeros((20, 30), np.float32)
    points[[2, 10, 17], [3, 20, 9]] = (2, 5, 3)
    scene = load("nearest").scene(points)
    assert scene.depth is not None
    assert [scene.depth[place] for place in ((2, 3), (10, 20), (17, 9), (3, 4))] == [2, 5, 3, 2]
    assert scene.model["name"] == "nearest"
    with pytest.raises(ModelError, match="did you mean 'linear'"):
        load("liner")


def test_it_predicts_and_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points = np.zeros((32, 48), np.float32)
    points[4::8, 4::8] = 6.5
    io.write_depth_png(tmp_path / "x.png", points)
    assert main(["predict", str(tmp_path / "x.png"), "--model", "linear", "--out", str(tmp_path / "out")]) == 0
    np.testing.assert_allclose(io.read_depth(tmp_path / "out" / "x.depth.png"), 6.5)
    assert main(["methods"]) == 0
    assert "nearest, linear, morphological" in capsys.readouterr().out


def test_millimetres_are_read_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points = np.zeros((32, 48), np.uint16)
    points[4::8, 4::8] = 6500
    assert cv2.imwrite(str(tmp_path / "x.png"), points)
    words = ["predict", str(tmp_path / "x.png"), "--model", "linear", "--out", str(tmp_path / "out"), "--save", "depth"]
    assert main([*words, "--depth-scale", "1000"]) == 0
    np.testing.assert_allclose(io.read_depth(tmp_path / "out" / "x.depth.png"), 6.5)
    capsys.readouterr()
    for scale, said in (("many", "invalid float value: 'many'"), ("0", "a depth scale of 0"), ("-1", "a depth scale of -1")):
        assert main([*words, "--overwrite", "--depth-scale", scale]) == 2
        assert said in capsys.readouterr().err


def test_a_device_that_a_completion_does_not_use_is_told(caplog: pytest.LogCaptureFixture) -> None:
    load("linear")
    assert not caplog.text
    load("linear", device="cuda")
    assert "linear is no network: it runs on the CPU, device 'cuda' changes nothing" in caplog.text
