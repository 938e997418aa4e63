"""Every method of the catalog as ONNX and OpenVINO: as torch at three odd sizes, two of them larger than the trace, and through `load`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diorama import catalog
from diorama.data.labels import CAMVID11
from diorama.export import export as onnx_file
from diorama.export import openvino_file
from diorama.export.config import ModelConfig
from diorama.export.export import PARITY_SIZES, TOLERANCE, trial_inputs
from diorama.export.graph import to_onnx
from diorama.export.trial import Trial
from diorama.prediction.predictor import load

IMAGE: dict[str, Any] = {"classes": 11, "backbone": "test_resnet", "pretrained": False}
GAN: dict[str, Any] = {"classes": 11, "width": 4, "semantic_blocks": 1, "depth_blocks": 1}
DEPTH: dict[str, Any] = {"channels": (4, 4, 8, 8), "extractor_channels": (8, 4, 4), "decoder_channels": 4, "kernels": (3, 5)}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("ccnn", {"threshold_epochs": 4}),
    ("ci_net", {**IMAGE, "output_stride": 32, "width": 8, "decoder_widths": (8, 6, 6), "context_width": 12, "attention_width": 4}),
    ("fcn", IMAGE),
    ("image_reconstruction", {**DEPTH, "uncertainty": "laplace"}),
    ("image_reconstruction", {**DEPTH, "residual": True, "mask": True, "skip": True, "blocks": 1, "upsampling": "bilinear"}),
    ("majority", {"classes": 11}),
    ("multitask_gan", {**GAN, "branch": "semantic"}),
    ("multitask_gan", {**GAN, "branch": "depth"}),
    ("multitask_gan", {**GAN, "branch": "joint"}),
    ("pseudo_mtl", {**IMAGE, "upsampling": "bilinear", "head_stride": 2}),
    ("pseudo_mtl", {**IMAGE, "backbone": "vgg11", "upsampling": "unpool", "head_stride": 1}),
    ("semi_mtl", {**IMAGE, "output_stride": 32, "width": 8, "depth_widths": (8, 6), "judge_width": 2}),
    ("semi_mtl", {**IMAGE, "output_stride": 32, "width": 8, "depth_widths": (8, 6), "judge_width": 2, "norm": "per_domain"}),
]


def made(name: str, changes: dict[str, Any]) -> Any:
    """The method with norms that know the statistics of images: with those it starts from, its answer hardly depends on the image."""
    kind = catalog.method(name)
    torch.manual_seed(0)
    method = kind(kind.config_class(**changes))
    if name == "multitask_gan":
        method.prepare({"palette": CAMVID11.palette})
        method.semantic_steps += 1
    inputs = [torch.from_numpy(part) for part in trial_inputs(method.inputs, 2, 96, 128).values()]
    norms = [module for module in method.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        method.train()(*inputs)
        for score in getattr(getattr(method, "network", None), "scores", ()):  # an FCN starts from zeros
            torch.nn.init.normal_(score.weight, std=0.3)
    return method.eval()


def config_of(name: str, method: Any) -> ModelConfig:
    found: Any = {
        "format": 1, "method": name, "diorama": "0", "init": {}, "labels": None, "depth": {"cap": 10.0, "unit": "m"},
        "input": {"keys": list(method.inputs), "size": None, "multiple_of": 32}, "training": {}, "export": {},
    }  # fmt: skip
    return found


def test_no_method_of_the_catalog_is_left_out() -> None:
    assert {name for name, _ in CASES} == {name for name, target in catalog.METHODS.items() if target.startswith("diorama.")}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "changes"), CASES, ids=[f"{name}-{number}" for number, (name, _) in enumerate(CASES)])
def test_a_method_answers_alike_in_every_format(
    name: str, changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = made(name, changes)
    config, graph = config_of(name, method), to_onnx(method)
    for module in (onnx_file, openvino_file):
        monkeypatch.setattr(module, "to_onnx", lambda _: graph)
    reports = {
        "onnx": onnx_file.export_method(method, config, tmp_path / "fp32.onnx"),
        "openvino": openvino_file.export_openvino(method, config, tmp_path / "fp32.xml"),
    }
    assert sum(height * width > 96 * 128 for _, height, width in PARITY_SIZES) == 2
    assert reports["onnx"].parity.keys() == reports["openvino"].parity.keys()
    assert all(report.agreement is None or report.agreement > 0.999 for report in reports.values())
    # weights that nobody trained may be off by anything in bf16: what counts is that it runs and that real frames may judge
    judged = Trial(lambda network: {"rmse": 1.0 if network(trial_inputs(method.inputs, 1, 64, 96)) else 0.0})
    rounded = openvino_file.export_openvino(method, config, tmp_path / "bf16.xml", precision="bf16", trial=judged)
    assert rounded.rounding.keys() == rounded.parity.keys()
    inputs = trial_inputs(method.inputs, 1, 117, 141)
    with torch.inference_mode():
        expected = method(*(torch.from_numpy(part) for part in inputs.values()))
    for report in (reports["onnx"], reports["openvino"]):
        found = load(report.path, threads=1).batch(inputs)
        for output in report.parity:
            value, wanted = getattr(found, output), getattr(expected, output).numpy()
            np.testing.assert_allclose(value, wanted, atol=TOLERANCE * max(1, float(np.abs(wanted).max())), err_msg=output)
            assert output == "threshold" or name == "majority" or np.ptp(wanted) > 0
