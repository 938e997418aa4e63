"""How much memory this process holds and has held, for the benchmarks beside this file."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def resident(field: str) -> int | None:
    """A field of /proc/self/status in bytes, None where there is no such file."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), None)


def peak() -> int:
    """The largest resident size so far [bytes]."""
    scale = 1 if sys.platform == "darwin" else 1024
    return resident("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
