"""Do pairs flow through the scorer as fast as through a loop in one process, and in constant memory?

    python -m benchmarks.scoring_stream [--pairs 10000] [--curve-pairs 2000]

Pairs of drawings as PNG, three metrics: clip-embedded, ssim, phash. First the whole number of pairs, by calls
of 32 candidates with 4 calls under way, against `scoring.score` on the same calls in a loop of this process; then
curves of fewer pairs over candidates a call and over replicas. The scorer runs on Ray Serve behind its gRPC proxy, as
in a cluster. Quality column: the largest difference between a streamed raw value and the loop's. Memory is the resident
size of this client and of the replicas, at a tenth of the pairs and at the end.
Rows go to benchmarks/results/scoring_stream.csv, the summary to scoring_stream.json.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import io
import json
import os
import platform
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path

import grpc
import numpy as np
import torch
from PIL import Image
from rich.console import Console

from benchmarks.cluster import Serving, serving
from likeness.scorer.v1 import scorer_service_pb2 as pb
from likeness.scorer.v1 import scorer_service_pb2_grpc
from likeness.types.v1 import image_pb2
from services.cluster.ray_cluster import APPLICATIONS
from services.common.profile import load_profile
from services.common.settings import Settings
from services.scorer import compute, registry, scoring
from services.scorer.domain import ScoreQuery, Subject
from services.scorer.metrics.base import Value
from world.draw import render
from world.imaging import SIZE
from world.scene import sample_scene

RESULTS = Path(__file__).parent / "results"
METRICS = ("clip-embedded", "ssim", "phash")
DRAWINGS = 512
WINDOW = 4
"""Calls under way."""
STREAM_BATCH = 32
BATCHES = (1, 8, 32, 128, 256)
REPLICAS = (1, 2)
MEBIBYTE = 1024 * 1024
_METADATA = (("application", "scorer"),)

Call = tuple[bytes, list[bytes]]
"""Target and candidates."""


@dataclass(frozen=True)
class Row:
    """One run."""

    way: str
    replicas: int
    candidates_a_call: int
    pairs: int
    seconds: float
    pairs_per_second: float
    call_p50_ms: float
    call_p95_ms: float
    max_difference: float
    """Of raw values to the loop in one process."""


def main() -> None:
    """Runs all and prints the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--curve-pairs", type=int, default=2_000)
    options = parser.parse_args()
    console = Console()
    drawings = draw()
    settings = Settings()
    compute.set_threads(settings)
    loaded = registry.build(settings, load_profile(settings.profile))
    rows: list[Row] = []
    memory: dict[str, list[float]] = {}
    for replicas in REPLICAS:
        with serving("scorer", APPLICATIONS["scorer"], scorer_replicas=replicas) as served:
            # All pairs first: both ways in turn, twice, so that neither has the machine's better moments alone.
            for batch, pairs in [(STREAM_BATCH, options.pairs)] * 2 * (replicas == 1) + [
                (batch, options.curve_pairs) for batch in BATCHES
            ]:
                row, expected = loop(loaded, drawings, batch, pairs, replicas)
                rows.append(row)
                row, grown = asyncio.run(stream(served, drawings, batch, pairs, replicas, expected))
                rows.append(row)
                if pairs == options.pairs:
                    memory = grown
                console.print(*rows[-2:], sep="\n")
    whole = rows[:4]
    best = {way: max(row.pairs_per_second for row in whole if row.way == way) for way in ("loop", "stream")}
    summary = {
        "pairs": options.pairs,
        "throughput_of_stream_by_loop": round(best["stream"] / best["loop"], 3),
        "memory_mebibytes_at_a_tenth_and_at_the_end": memory,
        "setting": {
            "metrics": METRICS,
            "picture_pixels": [SIZE, SIZE],
            "calls_under_way": WINDOW,
            "precision": "float32",
            "threads": torch.get_num_threads(),
            "cores": os.cpu_count(),
            "cpu": platform.processor() or platform.machine(),
        },
    }
    with (RESULTS / "scoring_stream.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(asdict(rows[0])))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    (RESULTS / "scoring_stream.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    console.print_json(json.dumps(summary))


def draw() -> list[bytes]:
    """Drawings as PNG files."""
    rng = random.Random(0)
    files = []
    for pixels in render([sample_scene(rng) for _ in range(DRAWINGS)], 0):
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        files.append(out.getvalue())
    return files


def calls(drawings: list[bytes], batch: int, pairs: int) -> Iterator[Call]:
    """Targets with candidates, drawn from the drawings in turn; made as they are asked for."""
    turn = cycle(drawings)
    for _ in range(pairs // batch):
        yield next(turn), list(islice(turn, batch))


def loop(
    loaded: registry.Registry, drawings: list[bytes], batch: int, pairs: int, replicas: int
) -> tuple[Row, dict[str, list[float]]]:
    """All pairs in this process; raw values of the first calls, by metric, for comparison."""
    metrics = [loaded.metrics[name] for name in METRICS]
    expected: dict[str, list[float]] = {name: [] for name in METRICS}
    times: list[float] = []
    start = time.perf_counter()
    for number, (target, candidates) in enumerate(calls(drawings, batch, pairs)):
        begun = time.perf_counter()
        subjects = tuple(Subject("candidate", one) for one in candidates)
        found = scoring.score(ScoreQuery(Subject("target", target), "", subjects, METRICS), metrics, lambda: None)
        times.append(time.perf_counter() - begun)
        if number < WINDOW:
            for one in found:
                for score in one.scores:
                    assert isinstance(score.outcome, Value), score.outcome
                    expected[score.metric.id].append(score.outcome.raw)
    return _row("loop", replicas, batch, len(times) * batch, time.perf_counter() - start, times, 0.0), expected


async def stream(
    served: Serving, drawings: list[bytes], batch: int, pairs: int, replicas: int, expected: dict[str, list[float]]
) -> tuple[Row, dict[str, list[float]]]:
    """All pairs through the proxy, WINDOW calls at a time."""
    times: list[float] = []
    first: dict[int, pb.ScoreResponse] = {}
    memory: dict[str, list[float]] = {"client": [], "replicas": []}
    todo = enumerate(calls(drawings, batch, pairs))
    channel_options = [("grpc.max_receive_message_length", 64 * MEBIBYTE)]
    async with grpc.aio.insecure_channel(served.address, options=channel_options) as channel:
        stub = scorer_service_pb2_grpc.ScorerServiceStub(channel)
        warm = next(calls(drawings, batch, batch))
        await asyncio.gather(*(stub.Score(_request(*warm), metadata=_METADATA) for _ in range(2 * replicas)))

        async def worker() -> None:
            for number, (target, candidates) in todo:
                begun = time.perf_counter()
                answer = await stub.Score(_request(target, candidates), metadata=_METADATA)
                times.append(time.perf_counter() - begun)
                if number < WINDOW:
                    first[number] = answer
                if len(times) == pairs // batch // 10:
                    _note(memory, served)

        start = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(WINDOW)))
        seconds = time.perf_counter() - start
    _note(memory, served)
    found: dict[str, list[float]] = {name: [] for name in METRICS}
    for number in sorted(first):
        for one in first[number].candidates:
            for score in one.scores:
                found[score.metric].append(score.raw)
    worst = max(float(np.abs(np.subtract(found[name], expected[name])).max()) for name in METRICS)
    return _row("stream", replicas, batch, len(times) * batch, seconds, times, worst), memory


def _request(target: bytes, candidates: list[bytes]) -> pb.ScoreRequest:
    return pb.ScoreRequest(
        request_id="bench",
        target=pb.ScoreSubject(image=image_pb2.Image(data=target)),
        candidates=[pb.ScoreSubject(image=image_pb2.Image(data=one)) for one in candidates],
        metrics=METRICS,
    )


def _row(way: str, replicas: int, batch: int, pairs: int, seconds: float, times: list[float], worst: float) -> Row:
    p50, p95 = (round(1e3 * float(np.percentile(times, q)), 2) for q in (50, 95))
    return Row(way, replicas, batch, pairs, round(seconds, 3), round(pairs / seconds, 1), p50, p95, worst)


def _note(memory: dict[str, list[float]], served: Serving) -> None:
    memory["client"].append(_resident(os.getpid()))
    memory["replicas"].append(sum(map(_resident, served.replicas())))


def _resident(process_id: int) -> float:
    """Resident memory in MiB."""
    pages = int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / MEBIBYTE, 1)


if __name__ == "__main__":
    main()
