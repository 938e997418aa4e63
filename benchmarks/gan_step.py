"""A training step of the semantic branch of Multi-task GANs against a plain one, and bf16 against fp32: time, memory, losses, one thread.

    python benchmarks/gan_step.py [--width 64] [--pairs 9] [--steps 50] [--memory 3] [--size 128]

The row CycleGAN of Table I (no pooling block, no structure loss, no identity loss), batch 1, Adam on all four networks. "Plain" is a
straightforward step written here for the purpose, not anybody's release: stock layers of torch (`InstanceNorm2d`, `ReflectionPad2d`,
convolutions with bias), one call of a generator per image, a pool of images. "Ours" is `MultitaskGAN.losses` with
`training.turns.alone`, as in training. Both begin with the same weights and see the same data: procedural streets, photos of one
half and label maps of the other.

Time: `--pairs` rounds in one process; each takes one step of every form, in an order that turns. Ratios are medians over the rounds, by
the wall and by the processor: other work on the machine moves the first. Memory: `--memory` fresh processes a form; the peak resident
size during three steps minus the resident size before the networks are made. Losses: `--steps` steps of every form, each moved by its
own gradients; per term how far the mean over the steps lies from that of ours in fp32. Adversarial training amplifies rounding: plain in
fp32, which computes the same by other kernels, says how far. So bf16 is also compared at the very weights that fp32 has before each
step. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from memory import peak, resident

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diorama.data.world.dataset import WorldStreet
from diorama.methods.base import StepContext
from diorama.methods.multitask_gan import MultitaskGAN
from diorama.methods.multitask_gan_config import MultitaskGANConfig
from diorama.nn.palette import Palette
from diorama.training.turns import alone

FORMS = ("plain", "ours", "ours_bf16")
RATE, BETAS, CYCLE, POOL, BLOCKS = 2e-4, (0.5, 0.999), 10.0, 50, 6
APART = {"bf16_apart": "ours_bf16", "bf16_at_weights_of_fp32_apart": "guided", "fp32_by_other_kernels_apart": "plain"}
"""What is told of the losses -> the form that is compared with ours in fp32."""
FRAMES = 20
"""Photos, and as many label maps; the data begin anew after them."""

Data = list[tuple[Tensor, Tensor]]
"""Photos `(1, 3, H, W)` in 0..1 and label maps `(1, H, W)`."""


def data(size: int, frames: int = FRAMES) -> Data:
    """Photos of the first half of procedural streets and label maps of the second."""
    streets = WorldStreet(frames=2 * frames, size=(size, size), stereo=False)
    return [
        (
            torch.from_numpy(np.ascontiguousarray(streets[number]["image"].transpose(2, 0, 1)))[None].float() / 255,
            torch.from_numpy(streets[frames + number]["semantic"].astype(np.int64))[None],
        )
        for number in range(frames)
    ]


def plain_generator(width: int) -> nn.Module:
    """7x7, two strided, residual blocks, two half-strided, 7x7: stock layers."""

    def normed(layer: nn.Module) -> list[nn.Module]:
        return [layer, nn.InstanceNorm2d(layer.out_channels), nn.ReLU(inplace=True)]

    class Block(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            first = [nn.ReflectionPad2d(1), *normed(nn.Conv2d(channels, channels, 3))]
            self.body = nn.Sequential(*first, nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), nn.InstanceNorm2d(channels))

        def forward(self, features: Tensor) -> Tensor:
            return features + self.body(features)

    layers: list[nn.Module] = [nn.ReflectionPad2d(3), *normed(nn.Conv2d(3, width, 7))]
    for before in (width, 2 * width):
        layers += normed(nn.Conv2d(before, 2 * before, 3, stride=2, padding=1))
    layers += [Block(4 * width) for _ in range(BLOCKS)]
    for before in (4 * width, 2 * width):
        layers += normed(nn.ConvTranspose2d(before, before // 2, 3, stride=2, padding=1, output_padding=1))
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh())


def plain_judge(width: int) -> nn.Module:
    """The 70x70 PatchGAN: stock layers."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
    for before, after, stride in ((1, 2, 2), (2, 4, 2), (4, 8, 1)):
        conv = nn.Conv2d(before * width, after * width, 4, stride=stride, padding=1)
        layers += [conv, nn.InstanceNorm2d(after * width), nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, padding=1))


class Plain:
    """The straightforward step: four calls of generators, then both discriminators on what a pool hands out."""

    def __init__(self, width: int, palette: Palette) -> None:
        self.to_labels, self.to_photos = plain_generator(width), plain_generator(width)
        self.judge_labels, self.judge_photos = plain_judge(width), plain_judge(width)
        self.palette = palette
        self.generators = [*self.to_labels.parameters(), *self.to_photos.parameters()]
        self.judges = [*self.judge_labels.parameters(), *self.judge_photos.parameters()]
        self.optimisers = [torch.optim.Adam(found, lr=RATE, betas=BETAS) for found in (self.generators, self.judges)]
        self.pools: dict[str, list[Tensor]] = {"labels": [], "photos": []}
        self.draw = random.Random(0)

    def take(self, source: MultitaskGAN) -> None:
        """The weights of `source`; biases before norms, which it does not have, are 0."""
        branch = source.semantic
        own = (self.to_labels, self.to_photos, self.judge_labels, self.judge_photos)
        theirs = (branch.to_labels, branch.to_photos, branch.judges["labels"], branch.judges["photos"])
        for one, other in zip(own, theirs, strict=True):
            pairs = zip(*([part for part in net.modules() if hasattr(part, "kernel_size")] for net in (one, other)), strict=True)
            for mine, given in pairs:
                with torch.no_grad():
                    mine.weight.copy_(given.weight)
                    mine.bias.copy_(given.bias) if given.bias is not None else mine.bias.zero_()

    def pooled(self, name: str, image: Tensor) -> Tensor:
        """A stored image or the new one."""
        kept = self.pools[name]
        if len(kept) < POOL:
            kept.append(image.detach())
            return image.detach()
        if self.draw.random() < 0.5:
            return image.detach()
        place = self.draw.randrange(POOL)
        stored, kept[place] = kept[place], image.detach()
        return stored

    def step(self, number: int, photo: Tensor, semantic: Tensor) -> dict[str, float]:
        """One update of all four networks; the terms."""
        del number
        photos, labels = 2 * photo - 1, self.palette.encode(semantic)
        generators, judges = self.optimisers
        for parameter in self.judges:
            parameter.requires_grad_(False)
        made_labels = self.to_labels(photos)
        photos_back = self.to_photos(made_labels)
        made_photos = self.to_photos(labels)
        labels_back = self.to_labels(made_photos)
        one = self.judge_labels(made_labels), self.judge_photos(made_photos)
        terms = {
            "gan_labels": F.mse_loss(one[0], torch.ones_like(one[0])),
            "gan_photos": F.mse_loss(one[1], torch.ones_like(one[1])),
            "cycle": CYCLE * (F.l1_loss(photos_back, photos) + F.l1_loss(labels_back, labels)),
        }
        generators.zero_grad()
        sum(terms.values(), torch.zeros(())).backward()
        generators.step()
        for parameter in self.judges:
            parameter.requires_grad_(True)
        judges.zero_grad()
        for name, judge, real, made in (
            ("labels", self.judge_labels, labels, made_labels),
            ("photos", self.judge_photos, photos, made_photos),
        ):
            right, wrong = judge(real), judge(self.pooled(name, made))
            loss = (F.mse_loss(right, torch.ones_like(right)) + F.mse_loss(wrong, torch.zeros_like(wrong))) / 2
            loss.backward()
            terms[f"judge_{name}"] = loss
        judges.step()
        return {name: float(term.detach()) for name, term in terms.items()}


class Ours:
    """The library's step, without Fabric around it."""

    def __init__(self, width: int, colours: tuple[tuple[int, int, int], ...], bf16: bool) -> None:
        config = MultitaskGANConfig(width=width, classes=len(colours), pooling=(), structure_weight=0.0)
        self.method = MultitaskGAN(config)
        self.method.prepare({"palette": colours})
        self.method.to(memory_format=torch.channels_last)  # as in training
        self.optimisers = self.method.optimisers()
        self.stage, self.bf16 = self.method.stages[0], bf16

    def step(self, number: int, photo: Tensor, semantic: Tensor) -> dict[str, float]:
        """One update of all four networks; the terms."""
        context = StepContext(number, self.stage, [2 * number, 2 * number + 1])
        batch: dict[str, Any] = {"photos": {"image": photo}, "labels": {"semantic": semantic}}
        said = {}
        for turn in self.method.turns(context):
            optimiser = self.optimisers[turn.optimiser]
            with alone(self.method, optimiser, len(self.optimisers)):
                with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                    terms = self.method.losses(batch, context, turn)
                torch.stack([term.float() for term in terms.values()]).sum().backward()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            said |= {name: float(term.detach()) for name, term in terms.items()}
        return said


def trained(form: str, width: int) -> Plain | Ours:
    """A form ready to take steps, always from the same weights."""
    torch.manual_seed(0)
    ours = Ours(width, WorldStreet.labels.palette, bf16=form == "ours_bf16")
    if form != "plain":
        return ours
    plain = Plain(width, ours.method.semantic.palette)
    plain.take(ours.method)
    return plain


def times(width: int, pairs: int, material: Data) -> dict[str, Any]:
    """Seconds a step of each form in turns, and how far the losses of plain and ours lie apart."""
    forms = {name: trained(name, width) for name in FORMS}
    taken: dict[str, dict[str, list[float]]] = {name: {"seconds": [], "cpu_seconds": []} for name in FORMS}
    terms: dict[str, list[dict[str, float]]] = {name: [] for name in FORMS}
    for number in range(pairs + 1):
        for name in FORMS[number % 3 :] + FORMS[: number % 3]:
            start, cpu_start = time.perf_counter(), time.process_time()
            said = forms[name].step(number, *material[number % len(material)])
            ended, cpu_ended = time.perf_counter(), time.process_time()
            terms[name].append(said)
            if number:  # the first step makes Adam's memory
                taken[name]["seconds"].append(ended - start)
                taken[name]["cpu_seconds"].append(cpu_ended - cpu_start)
    found: dict[str, Any] = {name: {clock: statistics.median(values) for clock, values in clocks.items()} for name, clocks in taken.items()}
    for title, slow, fast in (("ours_against_plain", "plain", "ours"), ("bf16_against_fp32", "ours", "ours_bf16")):
        found[title] = {}
        for clock, name in (("seconds", "times_faster"), ("cpu_seconds", "times_faster_cpu")):
            ratios = [one / other for one, other in zip(taken[slow][clock], taken[fast][clock], strict=True)]
            found[title] |= {name: statistics.median(ratios), f"rounds_{name.removeprefix('times_')}": [round(r, 3) for r in ratios]}
    plain, ours = terms["plain"][0], terms["ours"][0]
    found["plain_and_ours_apart_at_first_step"] = max(abs(ours[name] / value - 1) for name, value in plain.items())
    return found


def losses(width: int, steps: int, material: Data) -> dict[str, Any]:
    """How far the means of the terms over `steps` steps lie from those of ours in fp32.

    Each form is moved by its own gradients; "guided" is bf16 at the weights that ours in fp32 has before the same step.
    """
    forms = {**{name: trained(name, width) for name in FORMS}, "guided": trained("ours_bf16", width)}
    said: dict[str, list[dict[str, float]]] = {name: [] for name in forms}
    for number in range(steps):
        forms["guided"].method.load_state_dict(forms["ours"].method.state_dict())
        for name, form in forms.items():
            said[name].append(form.step(number, *material[number % len(material)]))
    means = {name: {term: statistics.fmean(one[term] for one in terms) for term in terms[0]} for name, terms in said.items()}
    found: dict[str, Any] = {"steps": steps, "means": means}
    for title, name in APART.items():
        found[title] = {term: means[name][term] / value - 1 for term, value in means["ours"].items()}
        found[title]["total"] = sum(means[name].values()) / sum(means["ours"].values()) - 1
    return found


def extra(form: str, width: int, size: int) -> int:
    """Bytes that three steps of this process need at their peak, networks included."""
    material = data(size, 3)
    trained(form, 4).step(0, *material[0])
    exact_peak = Path("/proc/self/clear_refs")
    if exact_peak.exists():
        exact_peak.write_text("5")
    before = (resident("VmRSS") if exact_peak.exists() else None) or peak()
    ready = trained(form, width)
    for number, sample in enumerate(material):
        ready.step(number, *sample)
    return max(peak() - before, 0)


def memory(width: int, size: int, processes: int) -> dict[str, float]:
    """Median MiB of each form, every measurement in a process of its own."""
    found: dict[str, list[int]] = {name: [] for name in FORMS}
    for _ in range(processes):
        for name in FORMS:
            words = [sys.executable, __file__, "--extra", name, "--width", str(width), "--size", str(size)]
            done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)
            found[name].append(int(done.stdout.splitlines()[-1]))
    return {f"{name}_mib": statistics.median(values) / 2**20 for name, values in found.items()}


def main(argv: list[str] | None = None) -> int:
    """Measure, say what was found, and print the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=64, help="channels of the first convolutions")
    parser.add_argument("--size", type=int, default=128, help="height and width [px]")
    parser.add_argument("--pairs", type=int, default=9, help="timed rounds")
    parser.add_argument("--steps", type=int, default=50, help="steps for the losses; 0: not measured")
    parser.add_argument("--memory", type=int, default=3, help="processes per form; 0: not measured")
    parser.add_argument("--extra", choices=FORMS, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    if options.extra:
        print(extra(options.extra, options.width, options.size))
        return 0
    if options.pairs < 1:
        parser.error("--pairs must be at least 1")
    settings = {"width": options.width, "size": options.size, "batch": 1, "pairs": options.pairs}
    report: dict[str, Any] = {"benchmark": "gan_step", "settings": settings}
    if options.memory:
        report["memory"] = memory(options.width, options.size, options.memory)
        print("  ".join(f"{name.removesuffix('_mib')} {value:.0f} MiB" for name, value in report["memory"].items()), flush=True)
    material = data(options.size)
    report["times"] = found = times(options.width, options.pairs, material)
    print("  ".join(f"{name} {found[name]['seconds']:.3f} s a step ({found[name]['cpu_seconds']:.3f} s of CPU)" for name in FORMS))
    for title in ("ours_against_plain", "bf16_against_fp32"):
        print(f"{title}: {found[title]['times_faster']:.2f}x faster ({found[title]['times_faster_cpu']:.2f}x in CPU time)", flush=True)
    if options.steps:
        report["losses"] = losses(options.width, options.steps, material)
        for title in APART:
            apart = "  ".join(f"{name} {100 * value:+.2f} %" for name, value in report["losses"][title].items())
            print(f"losses over {options.steps} steps, {title}: {apart}", flush=True)
    report["versions"] = {
        "python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine(), "threads": 1,
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }  # fmt: skip
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
