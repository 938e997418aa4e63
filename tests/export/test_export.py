"""ONNX files against the network worked out in NumPy, and against torch for CI-Net at sizes the trace never saw."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from PIL import Image

from diorama.errors import ModelError, ShapeError
from diorama.export import export as export_module
from diorama.export.config import ModelConfig, read_config
from diorama.export.eager import EagerModel
from diorama.export.export import PARITY_SIZES, export, export_method
from diorama.export.graph import TRACED, halve, static_same_padding
from diorama.export.runtime import OnnxModel
from diorama.prediction.predictor import load


def by_hand(method: Any, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits and depth of `Tiny`, in NumPy and float64."""
    layers = dict(method.named_children())

    def conv(name: str, values: np.ndarray) -> np.ndarray:
        weight, bias = (getattr(layers[name], key).detach().double().numpy() for key in ("weight", "bias"))
        return np.einsum("oc,bchw->bohw", weight[..., 0, 0], values) + bias[:, None, None]

    features = np.maximum(conv("second", np.maximum(conv("first", images.astype(np.float64)), 0)), 0)
    return conv("semantic", features), np.log1p(np.exp(conv("depth", features))) + 0.1


@pytest.mark.parametrize("kind", ["fp32", "fp16"])
def test_the_file_computes_what_the_formula_says(tiny: Any, exported: dict[str, Path], kind: str) -> None:
    model = OnnxModel(exported[kind] / "model.onnx", threads=1)
    for batch, height, width in ((1, 33, 47), (3, 200, 131)):
        images = np.random.default_rng(height).random((batch, 3, height, width), np.float32)
        found = model({"image": images})
        logits, depth = by_hand(tiny, images)
        # fp16 weights have 11 significant bits; sixteen products of them add up.
        tolerance = 4e-3 if kind == "fp16" else 1e-5
        np.testing.assert_allclose(found.semantic_logits, logits, atol=tolerance)
        np.testing.assert_allclose(found.depth, depth, atol=tolerance)
        assert found.attention is None


def test_halved_weights_are_stored_as_fp16_and_computed_in_fp32(exported: dict[str, Path]) -> None:
    graph = onnx.load(str(exported["fp16"] / "model.onnx")).graph
    kinds = {weight.name: weight.data_type for weight in graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds.values()
    assert {output.type.tensor_type.elem_type for output in graph.output} == {onnx.TensorProto.FLOAT}
    casts = [node for node in graph.node if node.op_type == "Cast" and node.input[0] in kinds]
    assert len(casts) == sum(kind == onnx.TensorProto.FLOAT16 for kind in kinds.values())


def test_halved_weights_with_a_norm_in_them_lose_nothing() -> None:
    random = np.random.default_rng(0)
    own = random.normal(size=(16, 8, 3, 3)).astype(np.float16).astype(np.float32)
    factors = random.uniform(0.3, 3, (16, 1, 1, 1)).astype(np.float32)
    image = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 8, 9, 9])
    depth = onnx.helper.make_tensor_value_info("depth", onnx.TensorProto.FLOAT, [1, 16, 7, 7])
    for origin, tolerance in (
        ({"conv.weight": own}, 1e-6),
        ({}, 1e-3),
        ({"conv.weight": own.mean(0)}, 1e-3),
        ({"conv.weight": 0 * own}, 1e-3),
    ):
        folded = onnx.numpy_helper.from_array(own * factors, "method.conv.weight")
        node = onnx.helper.make_node("Conv", ["image", "method.conv.weight"], ["depth"])
        graph = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [image], [depth], [folded]), ir_version=10)
        halve(graph, origin)
        onnx.checker.check_model(graph)
        found = ReferenceEvaluator(graph)
        scaled = sum(step.op_type == "Mul" for step in graph.graph.node)
        assert scaled == (tolerance < 1e-5)
        values = random.normal(size=(1, 8, 9, 9)).astype(np.float32)
        wanted = torch.nn.functional.conv2d(torch.from_numpy(values), torch.from_numpy(own * factors)).numpy()
        gap = np.abs(found.run(None, {"image": values})[0] - wanted).max()
        assert gap <= tolerance * np.abs(wanted).max() * 3
        assert tolerance < 1e-5 or gap > 1e-6 * np.abs(wanted).max()


def test_the_file_says_what_was_measured(exported: dict[str, Path]) -> None:
    for kind, folder in exported.items():
        config = read_config(folder / "model.onnx")
        assert json.loads((folder / "config.json").read_text()) == config
        assert {**config, "export": {}} == {**read_config(folder / "model.safetensors"), "export": {}}
        measured = config["export"]
        assert measured["weights"] == kind
        assert 0 <= measured["parity"]["depth"] < 1e-4
        assert measured["agreement"] > 0.99
        assert bool(measured["rounding"]) == (kind == "fp16")


def test_parity_is_measured_at_odd_sizes_and_beyond_the_trace() -> None:
    assert all(height % 2 == width % 2 == 1 for _, height, width in PARITY_SIZES)
    assert sum(height > TRACED[0] and width > TRACED[1] for _, height, width in PARITY_SIZES) >= 2


def test_a_graph_that_differs_from_torch_is_not_written(tiny: Any, tiny_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Shifted(EagerModel):
        def __call__(self, inputs: Any) -> Any:
            found = super().__call__(inputs)
            return found._replace(depth=found.depth + 0.01)

    monkeypatch.setattr(export_module, "EagerModel", Shifted)
    with pytest.raises(ModelError, match="depth differs from torch by 0.01"):
        export(tiny_file)
    assert sorted(path.name for path in tiny_file.parent.iterdir()) == ["config.json", "model.safetensors"]


def test_targets_are_checked_first(tiny_file: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"mine")
    with pytest.raises(ModelError, match="exists already. Pass --overwrite"):
        export(tiny_file, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == b"mine"
    with pytest.raises(ModelError, match=r"ends with \.onnx"):
        export(tiny_file, tmp_path / "model.pt")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="belongs to another model"):
        export(tiny_file, tmp_path / "elsewhere" / "model.onnx")


def test_wrong_arrays_and_devices_are_refused(exported: dict[str, Path], tiny_file: Path) -> None:
    path = exported["fp32"] / "model.onnx"
    for model in (OnnxModel(path, threads=1), load(tiny_file).model):
        for images in (np.zeros((3, 32, 32), np.float32), np.zeros((1, 3, 32, 32), np.uint8)):
            with pytest.raises(ShapeError, match=r"Give floats \(B, 3, H, W\)"):
                model({"image": images})
    with pytest.raises(ModelError, match="not available to onnxruntime"):
        OnnxModel(path, device="abacus")
    with pytest.raises(ModelError, match="not available to torch"):
        load(tiny_file, device="abacus")


def test_both_backends_give_the_same_scene(exported: dict[str, Path], tiny_file: Path) -> None:
    photo = np.random.default_rng(1).integers(0, 255, (96, 128, 3), np.uint8)
    scenes = [load(exported["fp32"], backend=backend, threads=1).scene(photo) for backend in ("onnx", "torch")]
    assert [scene.model["backend"] for scene in scenes] == ["onnxruntime", "torch"]
    np.testing.assert_allclose(scenes[0].depth, scenes[1].depth, atol=1e-5)
    assert (scenes[0].semantic == scenes[1].semantic).mean() > 0.999
    with pytest.raises(ModelError, match="backend 'onnx' cannot run this file"):
        load(tiny_file, backend="onnx")


def test_an_onnx_file_predicts_where_there_is_no_torch(exported: dict[str, Path], tiny_file: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(tmp_path / "photo.jpg")
    program = f"""
import sys
for blocked in ("torch", "torchvision", "timm", "lightning", "onnx", "onnxscript", "matplotlib", "h5py"):
    sys.modules[blocked] = None
from diorama.errors import ModelError
from diorama.prediction.predictor import load
from diorama.running.predict import predict
summary = predict({str(exported["fp16"])!r}, {str(tmp_path / "photo.jpg")!r}, {str(tmp_path / "out")!r}, threads=1)
print(len(summary.written), summary.exit_status)
try:
    load({str(tiny_file)!r})
except ModelError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.strip().splitlines()
    assert first == "5 0"
    assert "needs torch. Install `diorama[train]`" in second
    with Image.open(tmp_path / "out" / "photo.depth.png") as depth:
        assert depth.size == (60, 40)


def ci_net(**changes: Any) -> tuple[Any, ModelConfig]:
    from diorama.methods.ci_net import CINet, CINetConfig

    torch.manual_seed(0)
    small = {"pretrained": False, "width": 16, "decoder_widths": (16, 8, 8), "context_width": 16, "attention_width": 8, "classes": 5}
    config: Any = {
        "format": 1,
        "method": "ci_net",
        "diorama": "0",
        "init": {},
        "labels": None,
        "depth": {"cap": 10.0, "unit": "m"},
        "input": {"size": None, "multiple_of": 32},
        "training": {},
        "export": {},
    }
    return CINet(CINetConfig(**{**small, **changes})), config


def test_ci_net_is_exported_with_its_attention(tmp_path: Path) -> None:
    method, config = ci_net(backbone="resnet10t", output_stride=8)
    report = export_method(method, config, tmp_path / "ci_net.onnx")
    assert set(report.parity) == {"semantic_logits", "depth"}
    assert max(report.parity.values()) < 1e-3
    # A size between those that were compared, and larger than the trace.
    images = np.random.default_rng(3).random((1, 3, 160, 193), np.float32)
    with torch.inference_mode():
        expected = method(torch.from_numpy(images))
    found = OnnxModel(tmp_path / "ci_net.onnx", threads=1)({"image": images})
    np.testing.assert_allclose(found.depth, expected.depth, atol=1e-3)
    np.testing.assert_allclose(found.semantic_logits, expected.semantic_logits, atol=1e-3 * float(expected.semantic_logits.abs().max()))


@pytest.mark.slow
def test_single_task_rows_export_their_only_output(tmp_path: Path) -> None:
    method, config = ci_net(backbone="tf_efficientnet_lite0", output_stride=32, tasks="depth", sharing="none", consistency=False)
    report = export_method(method, config, tmp_path / "depth.onnx", half=True)
    assert set(report.parity) == {"depth"}
    assert report.agreement is None
    assert OnnxModel(tmp_path / "depth.onnx", threads=1)({"image": np.zeros((1, 3, 40, 40), np.float32)}).semantic_logits is None


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 2, 1), (5, 2, 1), (3, 1, 1), (5, 1, 2), (1, 2, 1), (7, 4, 1)])
def test_constant_padding_equals_timms_where_the_stride_divides(kernel: int, stride: int, dilation: int) -> None:
    layers = pytest.importorskip("timm.layers")
    conv = layers.Conv2dSame(4, 6, kernel, stride=stride, dilation=dilation)
    image = torch.randn(1, 4, 32, 48)
    plain = conv(image)
    with static_same_padding(conv):
        assert torch.equal(conv(image), plain)
    assert "forward" not in vars(conv)


def test_a_process_that_exported_can_still_fork() -> None:
    code = (
        "import os, torch\n"
        "from diorama.export.graph import to_onnx\n"
        "from diorama.methods.image_reconstruction import ImageReconstruction\n"
        "from diorama.methods.image_reconstruction_config import ImageReconstructionConfig\n"
        "to_onnx(ImageReconstruction(ImageReconstructionConfig(image=False, sharing=False, width=0.125, kernels=(3,))))\n"
        "torch.ones(1, requires_grad=True).sum().backward()\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    torch.ones(1, requires_grad=True).sum().backward()\n"
        "    os._exit(0)\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
