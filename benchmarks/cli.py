"""CPU seconds of the answers that must come at once: `diorama --help`, `diorama VERB --help`. Prints one JSON object."""

from __future__ import annotations

import json
import platform
import resource
import statistics
import subprocess
import sys
from importlib.metadata import version

from diorama.cli import VERBS

LIMIT_S = 0.5
RUNS = 7


def cpu_seconds(words: list[str]) -> float:
    """User and system time of one whole process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "diorama", *words], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Measure every help; 1 if the median of one is over the limit."""
    found = {}
    for words in (["--help"], *([verb, "--help"] for verb in VERBS), ["train", "--model.help", "ci_net"], ["data", "list"]):
        spent = [cpu_seconds(words) for _ in range(RUNS)]
        found[" ".join(words)] = {"median_s": round(statistics.median(spent), 3), "worst_s": round(max(spent), 3)}
        print(f"diorama {' '.join(words):<24} {found[' '.join(words)]}", file=sys.stderr)
    worst = max(entry["median_s"] for entry in found.values())
    versions = {"python": platform.python_version(), **{name: version(name) for name in ("jsonargparse", "numpy")}}
    print(json.dumps({"limit_s": LIMIT_S, "worst_median_s": worst, "runs": RUNS, "commands": found, "versions": versions}))
    return int(worst > LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
