"""Supervised attention in tiles against the plain form: time and extra peak memory of forward + backward on one thread.

    python benchmarks/attention.py [--sizes 4800 8192] [--pairs 3] [--ignored 0 0.17] [--channels 64]

Two rows per size: the attention loss alone (CI-Net, Eqs. 1, 3, 4), and with the product with V (Eq. 2, divided by row sums).
Each once with all positions labelled and once with a sixth of them unlabelled, as in NYUv2: the plain form then masks pairs.
Every measurement runs in its own process, the two forms in turns; a process reports its best time, the figures are medians over
the processes. Time is given by the wall and by the processor: other work on the machine moves the first. Extra memory is the
peak resident size during the first forward + backward minus the resident size just before it, inputs included there. The last
thing printed is one JSON object with all figures.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from memory import peak, resident

CLASSES = 13


def _forget_peak() -> bool:
    """Start the peak resident size anew (Linux); False where that is not possible."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def measure(form: str, count: int, channels: int, values: bool, ignored: float, repeats: int) -> dict[str, Any]:
    """One process's figures: seconds per forward + backward (best of `repeats` after one more), bytes, loss and gradients."""
    import torch
    from torch.nn import functional

    from diorama.nn import attention

    torch.set_num_threads(1)

    def inputs(positions: int) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
        draw = torch.Generator().manual_seed(positions)
        q, k = (torch.randn(1, positions, channels, generator=draw).mul_(channels**-0.25).requires_grad_() for _ in range(2))
        v = torch.randn(1, positions, channels, generator=draw).requires_grad_()
        slope = torch.randn(1, positions, channels, generator=draw)
        labels = torch.randint(0, CLASSES, (1, positions), generator=draw)
        return [q, k, v], slope, labels.where(torch.rand(1, positions, generator=draw) >= ignored, 255)

    def plain(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = q @ k.transpose(1, 2)
        same = attention.ideal_attention(labels, CLASSES)
        if ignored:
            pairs = (labels != 255)[:, :, None] & (labels != 255)[:, None, :]
            cost = functional.binary_cross_entropy_with_logits(scores, same, reduction="none")
            loss = torch.where(pairs, cost, 0.0).sum() / pairs.sum()
        else:
            loss = functional.binary_cross_entropy_with_logits(scores, same)
        return attention.apply_attention(torch.sigmoid(scores), v, "row") if values else v[:, :0], loss

    def tiled(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if values:
            return attention.supervised_attention(q, k, v, labels, "row")
        return v[:, :0], attention.attention_loss(q, k, labels)

    def run(tensors: list[torch.Tensor], slope: torch.Tensor, labels: torch.Tensor) -> float:
        for tensor in tensors:
            tensor.grad = None
        attended, loss = (plain if form == "plain" else tiled)(*tensors, labels)
        total = loss + (attended * slope).mean() if values else loss
        torch.autograd.backward(total)
        return float(total.detach())

    run(*inputs(256))
    ready = inputs(count)
    exact_peak = _forget_peak()
    before = (resident("VmRSS") if exact_peak else None) or peak()
    value = run(*ready)
    extra = max(peak() - before, 0)
    seconds, cpu_seconds = [], []
    for _ in range(repeats):
        start, cpu_start = time.perf_counter(), time.process_time()
        run(*ready)
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
    norms = [float(tensor.grad.norm()) for tensor in ready[0] if tensor.grad is not None]
    times = {"seconds": min(seconds), "cpu_seconds": min(cpu_seconds)}
    return {**times, "extra_bytes": extra, "value": value, "gradient_norms": norms}


def _apart(form: str, *settings: float) -> dict[str, Any]:
    """`measure` in a process of its own."""
    arguments = json.dumps([form, *settings])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, __file__, "--measure", arguments], capture_output=True, text=True, env=environment, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(count: int, channels: int, values: bool, ignored: float, pairs: int, repeats: int) -> dict[str, Any]:
    """Medians over `pairs` paired measurements of the plain form and the tiles."""
    runs: dict[str, list[dict[str, Any]]] = {"plain": [], "tiled": []}
    for pair in range(pairs):
        for form in ("plain", "tiled") if pair % 2 == 0 else ("tiled", "plain"):
            runs[form].append(_apart(form, count, channels, values, ignored, repeats))
    row: dict[str, Any] = {"positions": count, "channels": channels, "with_values": values, "ignored": ignored}
    for form, results in runs.items():
        for clock in ("seconds", "cpu_seconds"):
            row[f"{form}_{clock}"] = statistics.median(result[clock] for result in results)
        row[f"{form}_extra_mib"] = statistics.median(result["extra_bytes"] for result in results) / 2**20
    together = list(zip(runs["plain"], runs["tiled"], strict=True))
    for clock, name in (("seconds", "times_faster"), ("cpu_seconds", "times_faster_cpu")):
        row[name] = statistics.median(plain[clock] / tiled[clock] for plain, tiled in together)
    row["times_less_memory"] = row["plain_extra_mib"] / max(row["tiled_extra_mib"], 2**-10)
    row["pairs_faster_cpu"] = [round(plain["cpu_seconds"] / tiled["cpu_seconds"], 2) for plain, tiled in together]
    row["difference_of_values"] = max(abs(plain["value"] - tiled["value"]) for plain, tiled in together)
    row["difference_of_gradient_norms"] = max(
        abs(one - other) / one
        for plain, tiled in together
        for one, other in zip(plain["gradient_norms"], tiled["gradient_norms"], strict=True)
    )
    return row


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table and then the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[4800, 8192], help="numbers of positions N")
    parser.add_argument("--ignored", type=float, nargs="+", default=[0.0, 0.17], help="shares of positions without a label")
    parser.add_argument("--channels", type=int, default=64, help="channels d of queries, keys and values")
    parser.add_argument("--pairs", type=int, default=3, help="paired measurements per row")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs per process")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.measure:
        print(json.dumps(measure(*json.loads(options.measure))))
        return 0
    rows = []
    for count, ignored, values in itertools.product(options.sizes, options.ignored, (False, True)):
        row = compare(count, options.channels, values, ignored, options.pairs, options.repeats)
        rows.append(row)
        print(
            f"N {count:6d}  ignored {ignored:4.2f}  {'loss + values' if values else 'loss         '}  "
            f"plain {row['plain_seconds']:.3f} s {row['plain_extra_mib']:7.1f} MiB   "
            f"tiles {row['tiled_seconds']:.3f} s {row['tiled_extra_mib']:6.1f} MiB   "
            f"{row['times_faster']:.2f}x faster ({row['times_faster_cpu']:.2f}x in CPU time), "
            f"{row['times_less_memory']:.1f}x less memory",
            flush=True,
        )
    import torch

    versions = {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine(), "threads": 1}
    print(json.dumps({"benchmark": "attention", "versions": versions, "rows": rows}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
