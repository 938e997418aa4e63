"""Mutated images through `predict`: each has to be predicted on, or refused in one line; no traceback, crash, hang or swelling.

    python benchmarks/fuzz_predict.py --count 10000
    python benchmarks/fuzz_predict.py --first 4711 --count 1 --keep odd/     # one of them again

Image number N depends on N alone. Workers are processes of their own, so that a crash of a decoder is counted and survived. The last
thing printed is one JSON object.
"""

from __future__ import annotations

import argparse
import io as streams
import json
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDES = (60, 84)
SECONDS = 20
PER_WORKER = 500


def photo() -> Image.Image:
    rows, columns = np.mgrid[: SIDES[0], : SIDES[1]]
    smooth = np.stack([rows * 4, columns * 3, (rows * columns) % 256], 2)
    noise = np.random.default_rng(0).integers(0, 40, (*SIDES, 3))
    return Image.fromarray((smooth * 0.8 + noise).astype(np.uint8))


def seeds() -> list[tuple[str, bytes]]:
    """(suffix, content) of sound files of every kind that is read."""
    rgb = photo()
    grey16 = Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "turned"
    made: list[tuple[str, bytes]] = []

    def add(suffix: str, image: Image.Image, kind: str, **options: Any) -> None:
        file = streams.BytesIO()
        image.save(file, kind, **options)
        made.append((suffix, file.getvalue()))

    add(".jpg", rgb, "JPEG", exif=exif)
    add(".jpg", rgb, "JPEG", progressive=True, quality=60)
    add(".jpg", rgb.convert("L"), "JPEG")
    add(".jpg", rgb.convert("CMYK"), "JPEG")
    add(".png", rgb, "PNG", exif=exif)
    add(".png", rgb.convert("RGBA"), "PNG")
    add(".png", rgb.convert("P"), "PNG")
    add(".png", rgb.convert("1"), "PNG")
    add(".png", grey16, "PNG")
    add(".webp", rgb, "WEBP")
    add(".webp", rgb.convert("RGBA"), "WEBP", lossless=True)
    add(".tif", rgb, "TIFF")
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        add(".tif", rgb, "TIFF", compression=compression)
    add(".tif", grey16, "TIFF")
    add(".tif", grey16, "TIFF", compression="tiff_lzw")
    add(".tif", rgb, "TIFF", save_all=True, append_images=[rgb])
    add(".bmp", rgb, "BMP")
    add(".ppm", rgb, "PPM")
    add(".pgm", grey16, "PPM")
    return made


Draw = np.random.Generator


def flip(data: bytearray, draw: Draw) -> bytearray:
    for at in draw.integers(0, len(data), int(draw.integers(1, 20))):
        data[at] ^= 1 << int(draw.integers(8))
    return data


def header(data: bytearray, draw: Draw) -> bytearray:
    for at in draw.integers(0, min(len(data), 80), int(draw.integers(1, 5))):
        data[at] = int(draw.choice([0, 1, 0x7F, 0x80, 0xFF, int(draw.integers(256))]))
    return data


def truncate(data: bytearray, draw: Draw) -> bytearray:
    return data[: int(draw.integers(0, len(data)))]


def hole(data: bytearray, draw: Draw) -> bytearray:
    at, length = int(draw.integers(len(data))), int(draw.integers(1, 400))
    data[at : at + length] = bytes([int(draw.choice([0, 255]))]) * len(data[at : at + length])
    return data


def insert(data: bytearray, draw: Draw) -> bytearray:
    at = int(draw.integers(len(data)))
    return data[:at] + bytearray(draw.bytes(int(draw.integers(1, 200)))) + data[at:]


def repeat(data: bytearray, draw: Draw) -> bytearray:
    first, last = sorted(int(at) for at in draw.integers(0, len(data), 2))
    return data[:last] + data[first:last] * int(draw.integers(1, 5)) + data[last:]


def number(data: bytearray, draw: Draw) -> bytearray:
    """A whole number somewhere in the first part, where sizes and offsets stand, becomes an extreme one."""
    at = int(draw.integers(0, max(1, min(len(data), 600) - 4)))
    value = int(draw.choice([0, 1, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 10**6, 2**31 - 1, 2**31, 2**32 - 1]))
    data[at : at + 4] = struct.pack(str(draw.choice([">I", "<I"])), value)
    return data


def splice(data: bytearray, draw: Draw) -> bytearray:
    other = SEEDS[int(draw.integers(len(SEEDS)))][1]
    return data[: int(draw.integers(len(data)))] + bytearray(other[int(draw.integers(len(other))) :])


CHANGES: tuple[Callable[[bytearray, Draw], bytearray], ...] = (flip, header, truncate, hole, insert, repeat, number, splice)
SEEDS = seeds()


def checksums(data: bytes) -> bytes:
    """A PNG with checksums that fit its chunks, so that what was changed gets past them."""
    found, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        length = struct.unpack(">I", data[at : at + 4])[0]
        body = data[at + 4 : at + 8 + length]
        found += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return bytes(found) + data[at:]


def mutated(index: int) -> tuple[str, bytes, str]:
    """(suffix, content, what was done) of image `index`."""
    draw = np.random.default_rng(index)
    suffix, content = SEEDS[int(draw.integers(len(SEEDS)))]
    kind = suffix[1:]
    changes = [CHANGES[int(at)] for at in draw.integers(0, len(CHANGES), int(draw.integers(1, 4)))]
    data = bytearray(content)
    for change in changes:
        data = change(data, draw) if data else data
    result = bytes(data)
    if suffix == ".png" and draw.random() < 0.6:
        result = checksums(result)
    if draw.random() < 0.03:
        suffix = SEEDS[int(draw.integers(len(SEEDS)))][0]  # the name of another kind
    return suffix, result, f"{kind} {'+'.join(change.__name__ for change in changes)}"


def worker(first: int, count: int, model: str) -> None:
    """One JSON line per image: what became of it."""
    import diorama
    from diorama.errors import UserError

    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError("too slow")))
    predictor = diorama.load(model, threads=1)
    with tempfile.TemporaryDirectory() as folder:
        for index in range(first, first + count):
            suffix, data, done = mutated(index)
            path = Path(folder) / f"image{suffix}"
            path.write_bytes(data)
            sys.stdout.write(json.dumps({"begun": index}) + "\n")
            sys.stdout.flush()
            signal.alarm(SECONDS)
            started = time.monotonic()
            said = ""
            try:
                (scene,) = predictor.predict(path)
                height, width = scene.size
                good = scene.depth is None or (scene.depth.shape == (height, width) and bool(np.isfinite(scene.depth).all()))
                outcome = "predicted" if good else "wrong answer"
            except UserError as error:
                said = str(error)
                outcome = "refused" if "\n" not in said and len(said) < 500 else "refused in more than a line"
            except Exception as error:
                said = f"{type(error).__name__}: {error}"
                outcome = "traceback"
            signal.alarm(0)
            path.unlink(missing_ok=True)
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            line = {"index": index, "done": done, "outcome": outcome, "said": said.replace(folder, ""), "s": time.monotonic() - started}
            sys.stdout.write(json.dumps(line | {"mb": memory}) + "\n")
            sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--model", default="ci_net-nyuv2")
    parser.add_argument("--keep", type=Path, help="write the images that were neither predicted on nor refused, or one asked for, here")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        worker(asked.first, asked.count, asked.model)
        return
    started, at, end = time.monotonic(), asked.first, asked.first + asked.count
    outcomes: Counter[str] = Counter()
    refusals: Counter[str] = Counter()
    faults: list[dict[str, Any]] = []
    noise: list[str] = []
    base, peak, slowest = 0, 0, 0.0
    while at < end:
        words = [
            sys.executable,
            __file__,
            "--worker",
            "--first",
            str(at),
            "--count",
            str(min(PER_WORKER, end - at)),
            "--model",
            asked.model,
        ]
        process = subprocess.run(words, capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in process.stdout.splitlines()]
        finished = [line for line in lines if "outcome" in line]
        begun = [line["begun"] for line in lines if "begun" in line]
        noise += [line for line in process.stderr.splitlines() if line.strip()]
        for line in finished:
            outcomes[line["outcome"]] += 1
            slowest = max(slowest, line["s"])
            if line["outcome"] == "refused":
                refusals[line["said"].partition(": ")[2][:45]] += 1
            elif line["outcome"] != "predicted":
                faults.append(line)
        if finished:
            base, peak = base or finished[0]["mb"], max(peak, finished[-1]["mb"])
        if process.returncode:
            if not begun:
                raise SystemExit(f"the worker does not start:\n{process.stderr}")
            outcomes["crash"] += 1
            faults.append({"index": begun[-1], "outcome": "crash", "status": process.returncode})
        at = begun[-1] + 1
        print(f"{at - asked.first} of {asked.count} in {time.monotonic() - started:.0f} s: {dict(outcomes)}, {peak} MB", flush=True)
    for line in faults:
        print(line)
    for text, count in refusals.most_common(20):
        print(f"{count:6d}  {text}")
    for text, count in Counter(noise).most_common(10):
        print(f"stderr {count:6d}  {text[:160]}")
    if asked.keep:
        asked.keep.mkdir(parents=True, exist_ok=True)
        for index in {line["index"] for line in faults} | ({asked.first} if asked.count == 1 else set()):
            suffix, data, _ = mutated(index)
            (asked.keep / f"{index}{suffix}").write_bytes(data)
    print(json.dumps({
        "images": asked.count, "model": asked.model, "outcomes": dict(outcomes), "slowest_s": round(slowest, 2),
        "lines_on_stderr": len(noise), "memory_mb": {"first_image": base, "peak": peak}, "seconds": round(time.monotonic() - started),
        "pillow": Image.__version__, "numpy": np.__version__,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
