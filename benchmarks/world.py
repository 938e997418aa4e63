"""CPU time of procedural frames on one thread: stereo pairs at full size, single views at the size of ablations.

Prints, last, one JSON object. `best` is the fastest of the repeats of each frame, averaged over frames: what the code
costs when nothing else disturbs the processor's caches.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

from diorama.data.world.dataset import World, WorldIndoor, WorldStreet

LIMIT_S = 0.25
"""At most this much CPU per stereo pair (256x512 street, 240x320 room)."""

CASES: tuple[tuple[str, type[World], tuple[int, int], bool], ...] = (
    ("street_pair_256x512", WorldStreet, (256, 512), True),
    ("street_single_256x512", WorldStreet, (256, 512), False),
    ("indoor_pair_240x320", WorldIndoor, (240, 320), True),
    ("indoor_single_240x320", WorldIndoor, (240, 320), False),
    ("indoor_single_120x160", WorldIndoor, (120, 160), False),
    ("indoor_single_96x128", WorldIndoor, (96, 128), False),
)


def measure(kind: type[World], size: tuple[int, int], stereo: bool, frames: int, repeats: int) -> dict[str, float]:
    """Seconds of CPU per frame."""
    world = kind(frames=frames + 1, size=size, stereo=stereo)  # type: ignore[call-arg, arg-type]
    world.frame(frames)
    seconds = np.zeros((frames, repeats))
    for repeat in range(repeats):
        for index in range(frames):
            start = time.process_time()
            world.frame(index)
            seconds[index, repeat] = time.process_time() - start
    best = seconds.min(1)
    return {
        "mean_s": float(seconds.mean()),
        "median_s": float(np.median(seconds)),
        "best_s": float(best.mean()),
        "slowest_frame_best_s": float(best.max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    result: dict[str, Any] = {"limit_s": LIMIT_S, "frames": arguments.frames, "repeats": arguments.repeats}
    for name, kind, size, stereo in CASES:
        result[name] = {key: round(value, 4) for key, value in measure(kind, size, stereo, arguments.frames, arguments.repeats).items()}
        print(name, result[name], flush=True)
    pairs = [result[name]["median_s"] for name, _, _, stereo in CASES if stereo]
    result["within_limit"] = max(pairs) <= LIMIT_S
    result["versions"] = {"python": platform.python_version(), "numpy": np.__version__, "opencv": cv2.__version__}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
