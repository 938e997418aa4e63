"""OpenVINO files against the network worked out in NumPy; what is wrong with a file is told in one line; no torch where they predict."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diorama.errors import ConfigError, ModelError, ShapeError
from diorama.export import openvino_file
from diorama.export.config import read_config
from diorama.export.export import export
from diorama.export.graph import to_onnx
from diorama.export.model_file import load_model
from diorama.export.openvino_model import MAX_COMPILED, OpenVinoModel
from diorama.export.trial import Trial
from diorama.prediction.predictor import load

PRECISIONS = ("fp32", "fp16", "bf16")


@pytest.fixture(scope="module")
def folders(exported: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with model.xml, model.bin and config.json in three precisions; not to be changed."""
    source = exported["fp32"] / "model.safetensors"
    graph = to_onnx(load_model(source)[0])
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openvino_file, "to_onnx", lambda _: graph)
        for precision in PRECISIONS:
            found[precision] = tmp_path_factory.mktemp(precision)
            export(source, found[precision] / "model.xml", format="openvino", precision=precision)
    return found


def weights(path: Path) -> dict[str, np.ndarray]:
    return {name: value.double().numpy() for name, value in load_model(path)[0].state_dict().items()}


def by_hand(values: dict[str, np.ndarray], images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits and depth of `Tiny`, in NumPy and float64."""

    def conv(name: str, maps: np.ndarray) -> np.ndarray:
        return np.einsum("oc,bchw->bohw", values[f"{name}.weight"][..., 0, 0], maps) + values[f"{name}.bias"][:, None, None]

    features = np.maximum(conv("second", np.maximum(conv("first", images.astype(np.float64)), 0)), 0)
    return conv("semantic", features), np.log1p(np.exp(conv("depth", features))) + 0.1


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp16", 4e-3), ("bf16", 3e-2)])
def test_the_file_computes_what_the_formula_says(
    exported: dict[str, Path], folders: dict[str, Path], precision: str, tolerance: float
) -> None:
    values = weights(exported["fp32"] / "model.safetensors")
    model = OpenVinoModel(folders[precision] / "model.xml", threads=1)
    for batch, height, width in ((1, 33, 47), (3, 200, 131)):
        images = np.random.default_rng(height).random((batch, 3, height, width), np.float32)
        found = model({"image": images})
        logits, depth = by_hand(values, images)
        np.testing.assert_allclose(found.semantic_logits, logits, atol=tolerance)
        np.testing.assert_allclose(found.depth, depth, atol=tolerance)
        assert found.attention is None


def test_more_sizes_than_are_compiled_for_give_the_same_answers(exported: dict[str, Path], folders: dict[str, Path]) -> None:
    values = weights(exported["fp32"] / "model.safetensors")
    model = OpenVinoModel(folders["fp32"] / "model.xml", threads=1)
    first = model({"image": np.zeros((1, 3, 40, 32), np.float32)})
    for number in range(MAX_COMPILED + 2):
        images = np.random.default_rng(number).random((1, 3, 40, 32 + number), np.float32)
        np.testing.assert_allclose(model({"image": images}).semantic_logits, by_hand(values, images)[0], atol=1e-5)
    assert len(model._compiled) == MAX_COMPILED + 1
    kept = first.depth.copy()
    model({"image": np.ones((1, 3, 40, 32), np.float32)})
    np.testing.assert_array_equal(first.depth, kept, err_msg="a later call wrote over an earlier answer")


def test_the_file_says_what_was_measured_and_nothing_of_the_machine(exported: dict[str, Path], folders: dict[str, Path]) -> None:
    for precision, folder in folders.items():
        config = read_config(folder / "model.xml")
        assert json.loads((folder / "config.json").read_text()) == config
        assert {**config, "export": {}} == {**read_config(exported["fp32"] / "model.safetensors"), "export": {}}
        measured = config["export"]
        assert (measured["format"], measured["precision"]) == ("openvino", precision)
        assert 0 <= measured["parity"]["depth"] < 1e-4
        assert measured["agreement"] > 0.97
        assert bool(measured["rounding"]) == (precision != "fp32")
        assert measured["sizes"] == [[1, 61, 83], [2, 131, 157], [1, 203, 255]]
        assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.bin", "model.xml"]
        assert str(folder.parent) not in (folder / "model.xml").read_text()


def test_the_weights_of_rounded_files_take_half_the_place(folders: dict[str, Path]) -> None:
    sizes = {name: (folder / "model.bin").stat().st_size for name, folder in folders.items()}
    assert sizes["bf16"] == sizes["fp16"] < 0.7 * sizes["fp32"]


def test_the_ending_and_the_backend_choose_what_runs_a_model(exported: dict[str, Path], folders: dict[str, Path], tmp_path: Path) -> None:
    photo = np.random.default_rng(1).integers(0, 255, (96, 128, 3), np.uint8)
    for source in ("model.onnx", "model.safetensors"):
        shutil.copy(exported["fp32"] / source, tmp_path)
    for source in ("model.xml", "model.bin"):
        shutil.copy(folders["fp32"] / source, tmp_path)
    scenes = {backend: load(tmp_path, backend=backend, threads=1).scene(photo) for backend in ("onnx", "torch", "openvino")}
    assert [scene.model["backend"] for scene in scenes.values()] == ["onnxruntime", "torch", "openvino"]
    for scene in scenes.values():
        np.testing.assert_allclose(scene.depth, scenes["torch"].depth, atol=1e-5)
        assert (scene.semantic == scenes["torch"].semantic).mean() > 0.999
    assert load(tmp_path / "model.xml", threads=1).backend == load(folders["bf16"], threads=1).backend == "openvino"
    with pytest.raises(ModelError, match=r"backend 'onnx' cannot run this file\. Make one that it can with `diorama export --format onnx`"):
        load(tmp_path / "model.xml", backend="onnx")
    with pytest.raises(ModelError, match=r"only the weights of an OpenVINO model\. Give model\.xml"):
        load(tmp_path / "model.bin")


def test_wrong_files_are_refused_in_one_line(folders: dict[str, Path], tmp_path: Path) -> None:
    text = (folders["fp32"] / "model.xml").read_text()
    for name in ("alone", "junk", "short", "foreign"):
        (tmp_path / f"{name}.xml").write_text(text)
    (tmp_path / "junk.xml").write_text("<?xml version='1.0'?><net>")
    (tmp_path / "foreign.xml").write_text(text.replace("<diorama ", "<stranger "))
    whole = (folders["fp32"] / "model.bin").read_bytes()
    for name, content in (("junk", whole), ("short", whole[:100]), ("foreign", whole)):
        (tmp_path / f"{name}.bin").write_bytes(content)
    for name, says in (
        ("missing", "no such file"),
        ("alone", r"its weights, alone\.bin, do not lie beside it"),
        ("junk", "OpenVINO cannot open it"),
        ("short", "OpenVINO cannot open it"),
        ("foreign", "another program wrote it"),
    ):
        with pytest.raises(ModelError, match=says) as error:
            OpenVinoModel(tmp_path / f"{name}.xml")
        assert "\n" not in str(error.value)
    with pytest.raises(ModelError, match="not available to OpenVINO"):
        OpenVinoModel(folders["fp32"] / "model.xml", device="cuda")


def test_wrong_arrays_are_refused(folders: dict[str, Path]) -> None:
    model = OpenVinoModel(folders["fp32"] / "model.xml", threads=1)
    for images in (np.zeros((3, 32, 32), np.float32), np.zeros((1, 3, 32, 32), np.uint8)):
        with pytest.raises(ShapeError, match=r"Give floats \(B, 3, H, W\)"):
            model({"image": images})


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"format": "tflite"}, "unknown format 'tflite'. Choose onnx or openvino."),
        ({"precision": "bf16"}, "onnx files are not written in 'bf16'. Add --format openvino."),
        ({"format": "openvino", "precision": "fp8"}, "openvino files are not written in 'fp8'. Choose among fp32, fp16, bf16, int8."),
        ({"format": "openvino", "precision": "int8"}, "int8 is fitted to real frames and judged on others. Name them"),
    ],
)
def test_formats_that_there_are_not(asked: dict[str, str], says: str, tiny_file: Path) -> None:
    with pytest.raises(ConfigError) as error:
        export(tiny_file, **asked)  # type: ignore[arg-type]
    assert str(error.value).startswith(says)


def test_targets_are_checked_first(tiny_file: Path, tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_text("mine")
    with pytest.raises(ModelError, match="exists already. Pass --overwrite"):
        export(tiny_file, tmp_path / "model.xml", format="openvino")
    assert (tmp_path / "model.xml").read_text() == "mine"
    with pytest.raises(ModelError, match=r"ends with \.xml"):
        export(tiny_file, tmp_path / "model.onnx", format="openvino")


def test_a_file_predicts_where_there_is_neither_torch_nor_onnxruntime(folders: dict[str, Path], tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(tmp_path / "photo.jpg")
    program = f"""
import sys
for blocked in ("torch", "torchvision", "timm", "lightning", "onnx", "onnxruntime", "onnxscript", "nncf", "matplotlib", "h5py"):
    sys.modules[blocked] = None
from diorama.running.predict import predict
summary = predict({str(folders["fp16"])!r}, {str(tmp_path / "photo.jpg")!r}, {str(tmp_path / "out")!r}, threads=1)
print(len(summary.written), summary.exit_status)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert (done.stdout.strip(), done.returncode) == ("5 0", 0), done.stderr
    with Image.open(tmp_path / "out" / "photo.depth.png") as depth:
        assert depth.size == (60, 40)


def test_without_openvino_it_says_what_to_install(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ModelError, match=r"needs the package openvino\. Install it with `pip install openvino`"):
        load(folders["fp32"])


def test_bf16_that_is_far_off_asks_for_real_frames(
    exported: dict[str, Path], folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = iter([({"depth": (0.0, 1.0)}, None), ({"depth": (0.3, 1.0)}, None)] * 2)
    monkeypatch.setattr(openvino_file, "differences", lambda *_: next(said))
    source, target = exported["fp32"] / "model.safetensors", tmp_path / "model.xml"
    with pytest.raises(ModelError, match=r"depth differs from torch by 0\.3 .* Judge it on real frames with --data"):
        export(source, target, format="openvino", precision="bf16")
    assert not list(tmp_path.iterdir())
    export(source, target, format="openvino", precision="bf16", trial=Trial(lambda _: {"rmse": 1.0}))
    assert read_config(target)["export"]["accuracy"]["loss"]["rmse"]["value"] == 0
