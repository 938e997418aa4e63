"""A batch drawn by hand and the smallest CI-Net."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from diorama.methods.base import Stage, StepContext
from diorama.methods.ci_net import CINet
from diorama.methods.ci_net_config import CINetConfig

PLAIN = ("depth", "segmentation")
STAGES = {"truth": PLAIN, "predicted": (*PLAIN, "attention"), "all": (*PLAIN, "attention", "consistency")}
SMALL: dict[str, Any] = {
    "classes": 5,
    "backbone": "test_resnet",
    "output_stride": 32,
    "pretrained": False,
    "width": 8,
    "decoder_widths": (8, 6, 6),
    "upsampling": 1,
    "context_width": 12,
    "attention_width": 4,
    "pair_pixels": 30,
}


@pytest.fixture
def make() -> Callable[..., CINet]:
    """The smallest CI-Net with changes, from one seed; its norms know the statistics of random images.

    With the statistics of an untrained norm the features would not depend on the image, and with the values that the SUM starts
    from its answer would not depend on the attention.
    """

    def made(seed: int = 0, **changes: Any) -> CINet:
        torch.manual_seed(seed)
        method = CINet(CINetConfig(**{**SMALL, **changes}))
        norms = [module for module in method.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0
        with torch.no_grad():
            method(torch.rand(2, 3, 64, 64))
        for norm in norms:
            norm.momentum = 0.1
        if method.network.context is not None:
            torch.nn.init.normal_(method.network.context.value.weight)
        return method

    return made


@pytest.fixture
def batch() -> Callable[..., dict[str, Any]]:
    """Images with labels in blocks and a tilted plane as depth, partly unknown."""

    def made(count: int = 2, height: int = 32, width: int = 48) -> dict[str, Any]:
        drawn = torch.Generator().manual_seed(7)
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        semantic = ((rows // 8 + columns // 16) % 5).repeat(count, 1, 1)
        semantic[:, :4, :] = 255
        depth = (1 + 0.02 * rows + 0.01 * columns).repeat(count, 1, 1, 1)
        depth[:, :, :, -5:] = 0.0
        image = (semantic[:, None] % 5 / 5 + 0.1 * torch.rand((count, 3, height, width), generator=drawn)).clamp(0, 1)
        return {"main": {"image": image, "semantic": semantic.long(), "depth": depth.float(), "meta": [{} for _ in range(count)]}}

    return made


@pytest.fixture
def context() -> Callable[..., StepContext]:
    """Where training stands in a stage called "truth", "predicted" or "all"."""

    def made(stage: str = "all", count: int = 2) -> StepContext:
        return StepContext(0, Stage(stage, 1, 0.01, STAGES[stage]), list(range(count)))

    return made
