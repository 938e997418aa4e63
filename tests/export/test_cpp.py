"""The C++ program of the docs is built, and sees what `predict` sees."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from diorama.data.world.dataset import WorldIndoor
from diorama.export.export import export
from diorama.prediction.predictor import find_model, load

SOURCE = Path(__file__).parents[2] / "docs" / "cpp"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cmake") is None or shutil.which("c++") is None, reason="no C++ compiler, or no cmake")
def test_the_program_of_the_docs_predicts_what_the_package_predicts(tmp_path: Path) -> None:
    places = pytest.importorskip("openvino.utils").get_cmake_path()
    for words in (["-S", SOURCE, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={places}"], ["--build", tmp_path / "build"]):
        subprocess.run(["cmake", *map(str, words)], check=True, capture_output=True, timeout=240)
    model = tmp_path / "model.xml"
    export(find_model("ci_net-nyuv2"), model, format="openvino")
    photo = WorldIndoor(frames=1, size=(240, 320))[0]["image"]
    (tmp_path / "photo.ppm").write_bytes(b"P6\n320 240\n255\n" + photo.tobytes())
    subprocess.run([tmp_path / "build" / "predict", model, tmp_path / "photo.ppm", tmp_path / "seen"], check=True, timeout=120)
    scene = load("ci_net-nyuv2").scene(photo)  # the model's own size: nothing is resized
    semantic, depth = (cv2.imread(str(tmp_path / f"seen.{kind}.pgm"), cv2.IMREAD_UNCHANGED) for kind in ("semantic", "depth"))
    assert semantic is not None and depth is not None and scene.semantic is not None and scene.depth is not None
    assert len(np.unique(semantic)) > 3
    assert np.mean(semantic == scene.semantic) > 0.999
    np.testing.assert_allclose(depth / 256, scene.depth, atol=1 / 256)
    wrong = subprocess.run([tmp_path / "build" / "predict", model, tmp_path / "none.ppm", "x"], capture_output=True, text=True, timeout=60)
    assert (wrong.returncode, wrong.stderr) == (1, f"predict: {tmp_path / 'none.ppm'}: no binary PPM of 8 bits\n")
