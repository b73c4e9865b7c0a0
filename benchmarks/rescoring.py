"""What scoring by a personal metric costs once its pairs are known.

    LIKENESS_LPIPS_WEIGHTS_DIR=... python -m benchmarks.rescoring [--repeats 300]

Through the whole embedded cluster: one target and ten 512-pixel candidates, stored and scored once; then the same
request again and again, by a personal metric (no backbone pass: cached difference vectors and a dot product in the
gateway), by LPIPS itself (a backbone pass each time) and by a call that only reads a stored picture's bytes, as the
floor of any call. In the same process: a new head on 10,000 pairs, and the refit of a profile from one more ranking.
Medians and 95th percentiles in milliseconds go to benchmarks/results/rescoring.json; the quality column is the largest
difference between the personal metric's first version and LPIPS on the same pairs.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

import likeness
from benchmarks.cluster import embedded_cluster
from services.common.heads import Backbone, distances, head_of
from services.scorer.clpips.fitting import fit_profile
from services.scorer.clpips.rankings import RankedSet

RESULTS = Path(__file__).parent / "results" / "rescoring.json"
SIDE_PIXELS = 512
CANDIDATES = 10
CACHED_PAIRS = 10_000
RANKINGS = 10
SQUEEZE_LAYERS = (64, 128, 256, 384, 384, 512, 512)


def main() -> None:
    """Runs the measurements and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=300)
    repeats = parser.parse_args().repeats
    with embedded_cluster() as address, likeness.Client(address) as client:
        rows, error = through_gateway(client, repeats)
    rows |= in_process()
    result = {
        "rows": rows,
        "max_difference_from_lpips": error,
        "setting": {
            "candidates": CANDIDATES,
            "side_pixels": SIDE_PIXELS,
            "repeats": repeats,
            "backbone": "lpips-squeeze",
            "precision": "float32 sums of float16 vectors",
            "cpu": platform.processor() or platform.machine(),
        },
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    table = Table("what", "median ms", "95th percentile ms")
    for name, (median, high) in rows.items():
        table.add_row(name, f"{median:.2f}", f"{high:.2f}")
    console = Console()
    console.print(table)
    console.print(f"largest difference from LPIPS: {error:.1e}")


def through_gateway(client: likeness.Client, repeats: int) -> tuple[dict[str, tuple[float, float]], float]:
    """Calls of one client, one after the other; and how far the personal metric is from LPIPS before any fit."""
    noise = np.random.default_rng(0)
    base = np.asarray(Image.fromarray(noise.integers(0, 255, (8, 8, 3), np.uint8)).resize((SIDE_PIXELS,) * 2), float)
    pictures = []
    for index in range(CANDIDATES + 1):
        pixels = base + noise.normal(0, 6.0 * index, base.shape)
        picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        pictures.append(client.upload_image(picture))
    target, candidates = pictures[0], pictures[1:]
    profile = client.create_profile("bench", base_metric="lpips-squeeze")
    both = client.score(target, candidates, metrics=[profile.metric, "lpips-squeeze"])
    error = max(abs(one.scores[0].raw - one.scores[1].raw) for one in both)
    small = client.upload_image(Image.new("RGB", (8, 8)))
    rows = {
        "a call that reads a small stored picture": timed(lambda: client.get_image_bytes(small), repeats),
        "personal metric, 10 known pairs": timed(
            lambda: client.score(target, candidates, metrics=[profile.metric]), repeats
        ),
        "lpips-squeeze, the same 10 pairs": timed(
            lambda: client.score(target, candidates, metrics=["lpips-squeeze"]), max(3, repeats // 50)
        ),
    }
    return rows, error


def in_process() -> dict[str, tuple[float, float]]:
    """A new head on many pairs, and one more ranking."""
    noise = np.random.default_rng(0)
    backbone = Backbone("lpips-squeeze", "bench", SQUEEZE_LAYERS)
    head = head_of(backbone, noise.random(backbone.channels))
    vectors = (noise.random((CACHED_PAIRS, backbone.channels), dtype=np.float32) ** 4).astype(np.float16)
    sets = [
        RankedSet(
            f"target-{index}",
            vectors[10 * index : 10 * index + 10].astype(np.float32),
            tuple(noise.permutation(10) + 1.0),
        )
        for index in range(RANKINGS)
    ]
    return {
        "new head on 10,000 pairs, float16": timed(lambda: distances(head, vectors), 20),
        "guarded refit from 10 rankings of 10": timed(lambda: fit_profile(head, sets, lpips=head), 10),
    }


def timed(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median and 95th percentile of a call in milliseconds, the first call left out."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times), float(np.percentile(times, 95))


if __name__ == "__main__":
    main()
