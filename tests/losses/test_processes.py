"""Two processes with unequal shares minimise the same loss as one: values and gradients, through real gloo processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from diorama.nn.processes import shared_denominator, shared_maximum, shared_weight

SCRIPT = """
import json, sys
import torch
import torch.distributed as dist
from diorama.losses.consistency import consistency_loss
from diorama.losses.cross_view import Views, depth_across, semantic_across, semantic_of_view
from diorama.losses.depth import depth_loss
from diorama.losses.domain import domain_loss
from diorama.losses.reconstruction import completion_loss, reconstruction_loss, uncertainty_loss
from diorama.losses.segmentation import weighted_cross_entropy
from diorama.nn.attention import attention_loss, supervised_attention
from diorama.nn.warp import find

torch.set_num_threads(1)
rank, store = int(sys.argv[1]), sys.argv[2]
draw = torch.Generator().manual_seed(0)
prediction, features = torch.rand(4, 1, 8, 9, generator=draw), torch.randn(4, 3, 8, 9, generator=draw)
depth = torch.rand(4, 1, 8, 9, generator=draw) * 5
depth[0, :, :7] = 0  # the first process knows little and has the smaller errors
depth[3, 0, 0, 0] = 30.0
image = torch.rand(4, 3, 8, 9, generator=draw)
semantic = torch.randint(0, 3, (4, 8, 9), generator=draw)
semantic[1] = 255
semantic[2, 2:] = 255

def losses(samples):
    pick = lambda tensor: tensor[samples].clone().requires_grad_()
    d, f, s = pick(prediction), pick(features), semantic[samples]
    rows = f.flatten(2).mT
    terms = depth_loss(d, depth[samples], [10 + i for i in samples], pixels=20)
    for norm in ("l2", "l1", "rmse"):
        terms[f"completion {norm}"] = completion_loss(d, depth[samples], norm)
    terms["reconstruction"] = reconstruction_loss(d, image[samples])
    terms["uncertainty"] = uncertainty_loss(depth[samples] * 0.9, depth[samples], d + 2.0, "laplace")
    terms["segmentation"] = weighted_cross_entropy(f, s, torch.tensor([0.2, 0.5, 0.9]))
    terms["consistency"] = consistency_loss(f, f * 2 + 1, s, 3.0, 4.0)
    terms["attention"] = attention_loss(rows, rows, s.flatten(1))
    terms["domain"] = domain_loss(f, (0, 2), depth[samples])
    attended, terms["supervised"] = supervised_attention(rows, rows, rows, s.flatten(1))
    # the depth of the first sample is unknown almost everywhere: its views meet nowhere
    warps = [find(depth[samples], torch.full((len(samples),), 4.0), right) for right in (False, True)]
    weight = Views(*(image[samples][:, side : side + 1] * warp.seen for side, warp in enumerate(warps)))
    own = Views(f.log_softmax(1), (0.5 * f).log_softmax(1))
    warped = Views(warps[0](own.right.exp()), warps[1](own.left.exp()))
    terms["depth across"] = depth_across(weight, Views(d, d * 2), Views(warps[0](d * 2), warps[1](d)))
    terms["semantic across"] = semantic_across(weight, own, warped)
    terms["semantic of view"] = semantic_of_view(weight.left, own.left, warped.left, s, s.flip(-1), warps[0])
    gradients = {name: torch.autograd.grad(term, (d, f), retain_graph=True, allow_unused=True) for name, term in terms.items()}
    return terms, gradients

whole, whole_gradients = losses([0, 1, 2, 3])
dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2)
mine = [[0], [1, 2, 3]][rank]
terms, gradients = losses(mine)
report = {}
for name, term in terms.items():
    mean = term.detach().clone()
    dist.all_reduce(mean)
    worst = 0.0
    for found, expected in zip(gradients[name], whole_gradients[name]):
        if found is not None:
            # DDP would average the gradients of two processes: those of a sample are halved.
            worst = max(worst, float((found / 2 - expected[mine]).abs().max() / expected.abs().max()))
    report[name] = {"one": float(whole[name]), "two": float(mean) / 2, "gradient": worst}
print(json.dumps(report))
dist.destroy_process_group()
"""


def test_two_processes_equal_one(tmp_path: Path) -> None:
    script = tmp_path / "losses.py"
    script.write_text(SCRIPT)
    source = str(Path(__file__).resolve().parents[2] / "src")
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, str(script)]
    children = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "store")], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    outputs = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0, 0], outputs[0][1] + outputs[1][1]
    for text, _ in outputs:
        report = json.loads(text.splitlines()[-1])
        assert set(report) == {
            *("berhu", "pair", "normal", "segmentation", "consistency", "attention", "supervised"),
            *("completion l2", "completion l1", "completion rmse", "reconstruction", "uncertainty"),
            *("depth across", "semantic across", "semantic of view", "domain"),
        }
        for name, found in report.items():
            assert found["one"] > 0, name
            assert found["two"] == pytest.approx(found["one"], rel=1e-5), name
            assert found["gradient"] < 1e-5, name


def test_alone_a_denominator_is_its_own_count() -> None:
    assert float(shared_denominator(7)) == 7
    assert float(shared_denominator(torch.tensor(0))) == 1
    assert float(shared_denominator(2**40 + 1)) == 2**40 + 1


def test_alone_a_weight_is_itself_and_one_in_place_of_zero() -> None:
    assert float(shared_weight(torch.tensor(0.25, requires_grad=True))) == 0.25
    assert not shared_weight(torch.tensor(0.25, requires_grad=True)).requires_grad
    assert float(shared_weight(torch.zeros(()))) == 1


def test_alone_a_maximum_is_its_own_value_without_gradient() -> None:
    value = torch.tensor(3.0, requires_grad=True)
    largest = shared_maximum(value)
    assert float(largest) == 3
    assert not largest.requires_grad
