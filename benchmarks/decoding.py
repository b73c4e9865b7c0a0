"""What does it cost to decode pictures in worker processes, and what do the largest ones take?

    python -m benchmarks.decoding [--repeats 200]

First small pictures, decoded in this process (a thread, as before there were workers) and by a worker: median seconds
a picture, one after the other, and the largest difference of what they say (none). Then pictures of 40 million pixels,
the most that is taken, partly of noise, in every format and mode that is heavy: processor seconds and
peak address space of the worker. The limits of services/gateway/decoders/limits.py follow from these.
Rows go to benchmarks/results/decoding.csv, the summary to decoding.json.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import io
import json
import os
import platform
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from rich.console import Console

from services.common import images
from services.gateway.decoders.limits import DecodeLimits
from services.gateway.decoders.pool import DecoderPool

RESULTS = Path(__file__).parent / "results"
MEBIBYTE = 1024 * 1024
SMALL = (("JPEG", 512), ("PNG", 512), ("PNG", 64), ("JPEG", 1536))
LARGE_SIDES = (8000, 5000)
BAND = 25
LARGE = (
    ("JPEG", "RGB", {"progressive": True, "quality": 90}),
    ("JPEG", "CMYK", {"quality": 80}),
    ("PNG", "RGBA", {"compress_level": 1}),
    ("PNG", "I;16", {"compress_level": 1}),
    ("WEBP", "RGBA", {"lossless": True, "quality": 0, "method": 0}),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", "F", {"compression": "tiff_adobe_deflate"}),
)


@dataclass(frozen=True)
class Row:
    """One kind of picture, one way."""

    way: str
    format: str
    mode: str
    width: int
    height: int
    bytes: int
    pictures: int
    median_ms: float
    cpu_seconds: float
    """Of the process that decodes, a picture."""
    peak_address_space_mib: float
    """Of the worker; 0 where it was not measured."""


def main() -> None:
    """Runs all and prints the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=200)
    options = parser.parse_args()
    console = Console()
    rows: list[Row] = []
    for format_, side in SMALL:
        rows += asyncio.run(small(format_, side, options.repeats))
        console.print(*rows[-2:], sep="\n")
    for format_, mode, saved_with in LARGE:
        rows.append(large(format_, mode, saved_with))
        console.print(rows[-1])
    limits = DecodeLimits()
    largest = [row for row in rows if row.way == "largest"]
    summary = {
        "extra_ms_in_a_worker": {
            f"{process.format} {process.width}": round(worker.median_ms - process.median_ms, 3)
            for process, worker in zip(rows[0 : 2 * len(SMALL) : 2], rows[1 : 2 * len(SMALL) : 2], strict=True)
        },
        "largest_cpu_seconds": max(row.cpu_seconds for row in largest),
        "largest_address_space_mib": max(row.peak_address_space_mib for row in largest),
        "limits": {"cpu_seconds": limits.cpu_seconds, "address_space_mib": limits.memory_bytes // MEBIBYTE},
        "setting": {"cores": os.cpu_count(), "cpu": platform.processor() or platform.machine()},
    }
    with (RESULTS / "decoding.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(asdict(rows[0])))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    (RESULTS / "decoding.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    console.print_json(json.dumps(summary))


async def small(format_: str, side: int, repeats: int) -> list[Row]:
    """A small photo-like picture, in this process and by a worker, in turns so that both share the machine's moods."""
    data = encoded(photo(side), format_, {})
    pool = DecoderPool(1)
    pool.start()
    worker = psutil.Process(pool.pids[0])
    ways: dict[str, tuple[psutil.Process, Callable[[], Awaitable[object]]]] = {
        "process": (psutil.Process(), lambda: asyncio.to_thread(images.decode, data)),
        "worker": (worker, lambda: asyncio.to_thread(pool.describe, data)),
    }
    if pool.describe(data).pixel_hash != images.decode(data).pixel_hash:
        raise SystemExit("the ways differ")
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    cpu = dict.fromkeys(ways, 0.0)
    for _ in range(repeats):
        for way, (process, describe) in ways.items():
            used, start = cpu_of(process), time.perf_counter()
            await describe()
            seconds[way].append(time.perf_counter() - start)
            cpu[way] += cpu_of(process) - used
    pool.close()
    return [
        Row(way, format_, "RGB", side, side, len(data), repeats, round(1000 * statistics.median(times), 3),
            round(cpu[way] / repeats, 5), 0.0)
        for way, times in seconds.items()
    ]  # fmt: skip


def large(format_: str, mode: str, saved_with: dict[str, object]) -> Row:
    """A picture of the most pixels or bytes that are taken, by a worker of its own without narrow limits."""
    width, height = LARGE_SIDES
    while len(data := encoded(noise(mode, width, height), format_, saved_with)) > images.MAX_BYTES:
        height = height * 9 // 10
    pool = DecoderPool(1, DecodeLimits(cpu_seconds=600, memory_bytes=64 * 1024 * MEBIBYTE, wall_seconds=600))
    pool.start()
    worker = psutil.Process(pool.pids[0])
    used, start = cpu_of(worker), time.perf_counter()
    pool.describe(data)
    elapsed = time.perf_counter() - start
    peak = peak_address_space(worker.pid)
    cpu = cpu_of(worker) - used
    pool.close()
    return Row("largest", format_, mode, width, height, len(data), 1, round(1000 * elapsed, 1), round(cpu, 2), peak)


def photo(side: int) -> Image.Image:
    """Smooth areas with some noise, so that files have the size of a photo's."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    values = np.asarray(coarse).astype(np.int16) + rng.integers(-6, 7, (side, side, 3))
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def noise(mode: str, width: int, height: int) -> Image.Image:
    """Bands of noise, which is what no format can make small, as many as keep the file under the byte limit."""
    rng = np.random.default_rng(0)
    if mode in ("I;16", "F"):
        values = np.zeros((height, width), dtype=np.uint16 if mode == "I;16" else np.float32)
        for top in range(0, height, 8 * BAND):
            band = rng.random((BAND, width))
            values[top : top + BAND] = band * (65535 if mode == "I;16" else 1.0)
        return Image.fromarray(values)
    pixels = np.zeros((height, width, 4), dtype=np.uint8)
    for top in range(0, height, 8 * BAND):
        pixels[top : top + BAND] = rng.integers(0, 256, (BAND, width, 4))
    whole = Image.fromarray(pixels)
    return whole if mode == "RGBA" else whole.convert("RGB").convert(mode)


def encoded(picture: Image.Image, format_: str, saved_with: dict[str, object]) -> bytes:
    """An encoded picture."""
    out = io.BytesIO()
    picture.save(out, format_, **saved_with)
    return out.getvalue()


def cpu_of(process: psutil.Process) -> float:
    """Processor seconds that a process has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


def peak_address_space(pid: int) -> float:
    """Largest address space of a process so far, MiB."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmPeak:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise SystemExit("no VmPeak")


if __name__ == "__main__":
    main()
