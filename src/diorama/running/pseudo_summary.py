"""What a set of pseudo labels amounts to: coverage, agreement, confidence, warnings. From the records alone, so the same after any stop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_BAR = 40


def figures(records: Sequence[Mapping[str, Any]], failed: Mapping[str, str]) -> dict[str, Any]:
    """JSON types: numbers of frames, means over frames, the histogram of confidence over pixels, warnings by kind.

    Args:
        records: of the complete frames, in any order.
        failed: `SPLIT/ID` of a frame that was skipped -> why.
    """
    ordered = sorted(records, key=lambda record: (record["split"], record["id"]))
    found: dict[str, Any] = {"frames": len(ordered), "skipped": dict(sorted(failed.items()))}
    for name in ("coverage", "agreement", "confidence", "tau"):
        values = [record[name] for record in ordered if record.get(name) is not None]
        if values:
            found[name] = round(float(np.mean(values)), 6)
    counted = [record["histogram"] for record in ordered if "histogram" in record]
    if counted:
        found["histogram"] = [int(count) for count in np.sum(counted, axis=0)]
    warned = Counter(warning["kind"] for record in ordered for warning in {w["kind"]: w for w in record["warnings"]}.values())
    found["warnings"] = dict(sorted(warned.items()))
    return found


def text(found: Mapping[str, Any]) -> list[str]:
    """The figures as lines for a terminal."""
    parts = [f"{name} {found[name]:.1%}" for name in ("coverage", "agreement") if name in found]
    if "confidence" in found:
        parts.append(f"mean confidence {found['confidence']:.3f}")
    if "tau" in found:
        parts.append(f"mean threshold {found['tau']:.3f}")
    lines = [": ".join([_frames(found["frames"]), *([", ".join(parts)] if parts else [])])]
    if "histogram" in found:
        counts = np.array(found["histogram"], np.float64)
        shares = counts / max(1.0, counts.sum())
        step, bar = 1 / len(shares), _BAR / max(float(shares.max()), 1e-9)
        lines += [
            f"  confidence {number * step:.1f} to {(number + 1) * step:.1f} {share:6.1%} {'#' * round(bar * share)}".rstrip()
            for number, share in enumerate(shares)
        ]
    if found["warnings"]:
        lines.append("warned of: " + ", ".join(f"{kind} in {_frames(count)}" for kind, count in found["warnings"].items()))
    return lines


def _frames(count: int) -> str:
    return f"{count} frame{'' if count == 1 else 's'}"
