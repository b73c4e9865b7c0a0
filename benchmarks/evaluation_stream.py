"""Do items flow through the gateway as fast as its scorer takes them, and from the cache at a thousand a second?

    python -m benchmarks.evaluation_stream [--items 10000] [--uncached-items 1024] [--single-items 200] [--core 1]

Pairs of 64-pixel drawings, named by content hash, each target with 32 candidates in a row; metrics clip-embedded, ssim
and phash. A real gateway, PostgreSQL, Redis and the scorer (on a plain gRPC server: Ray's share would be the same on
both sides) run as processes of their own. Three ways:
"scorer" calls the scorer directly with 32 candidates and 4 calls under way; "uncached" streams the same pairs, none of
them known; "cached" streams --items pairs whose scores are all in the cache. Quality column: the largest difference
between a streamed raw value and the scorer's own. Then single pairs, one after the other, directly and over a stream:
what the gateway adds. Memory is the resident size of the gateway at a tenth of the cached items and at the end.

Wall time depends on what else the machine does. `gateway_items_per_cpu_second` does so less: items by the time that the
gateway's process (with its decoders) had a core, which is what one core of its own would give.
Rows go to benchmarks/results/evaluation_stream.csv, the summary to evaluation_stream.json.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import os
import platform
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import grpc
import numpy as np
import psutil
from rich.console import Console

from benchmarks.gateway_processes import gateway, scorer
from benchmarks.scoring_stream import METRICS, STREAM_BATCH, WINDOW, draw
from likeness import AsyncClient, EvaluationItem, ImageInfo
from likeness.scorer.v1 import scorer_service_pb2 as pb
from likeness.scorer.v1.scorer_service_pb2_grpc import ScorerServiceStub
from likeness.types.v1 import image_pb2

RESULTS = Path(__file__).parent / "results"
MEBIBYTE = 1024 * 1024

Pair = tuple[int, int]
"""Numbers of the drawings."""


@dataclass(frozen=True)
class Row:
    """One run."""

    way: str
    items: int
    seconds: float
    items_per_second: float
    gateway_cpu_seconds: float
    gateway_items_per_cpu_second: float
    item_p50_ms: float
    """Of single items; 0 for those that flow together."""
    max_difference: float
    """Of raw values to the scorer's own."""


def main() -> None:
    """Runs all and prints the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--uncached-items", type=int, default=1_024)
    parser.add_argument("--single-items", type=int, default=200)
    parser.add_argument("--core", type=int, help="core that everything runs on; all of them if left out")
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    asyncio.run(run(options.items, options.uncached_items, options.single_items, options.core))


async def run(items: int, uncached: int, single: int, core: int | None) -> None:
    """All ways, one after the other."""
    console, drawings = Console(), draw()
    rows: list[Row] = []
    async with (
        scorer() as served,
        gateway(served) as (address, process),
        AsyncClient(address, timeout_seconds=600) as client,
    ):
        infos = [await client.upload_image(one) for one in drawings]
        pairs = list(islice(all_pairs(len(drawings)), max(items, uncached + single)))
        expected = await direct(served, drawings, pairs[:uncached], process, rows)
        values = await streamed(client, infos, pairs[:uncached], process, rows, "uncached", expected)
        # The rest of the cached set.
        await streamed(client, infos, pairs[:items], process, [], "fill", values)
        memory: list[float] = []
        await streamed(client, infos, pairs[:items], process, rows, "cached", expected, memory)
        fresh = [(b, a) for a, b in pairs[:single]]
        await direct_singles(served, drawings, fresh, process, rows)
        await streamed_singles(client, infos, fresh, process, rows, "uncached")
        await streamed_singles(client, infos, fresh, process, rows, "cached")
        load = psutil.getloadavg()[0]
    by_way = {row.way: row for row in rows}
    summary = {
        "items": items,
        "cached_items_per_second": by_way["cached"].items_per_second,
        "cached_items_per_gateway_cpu_second": by_way["cached"].gateway_items_per_cpu_second,
        "uncached_by_scorer": round(by_way["uncached"].items_per_second / by_way["scorer"].items_per_second, 3),
        "added_p50_ms": round(by_way["uncached, single"].item_p50_ms - by_way["scorer, single"].item_p50_ms, 2),
        "cached_p50_ms": by_way["cached, single"].item_p50_ms,
        "gateway_mebibytes_at_a_tenth_and_at_the_end": memory,
        "setting": {
            "metrics": METRICS,
            "picture_pixels": [64, 64],
            "calls_under_way_directly": WINDOW,
            "core_of_everything": core,
            "load_average_at_the_end": round(load, 1),
            "cores": os.cpu_count(),
            "cpu": platform.processor() or platform.machine(),
        },
    }
    with (RESULTS / "evaluation_stream.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(asdict(rows[0])))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    (RESULTS / "evaluation_stream.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    console.print(*rows, sep="\n")
    console.print_json(json.dumps(summary))


def all_pairs(count: int) -> Iterator[Pair]:
    """Target and candidate, each pair once, 32 candidates of a target in a row."""
    for step in range(count // STREAM_BATCH):
        for target in range(count):
            for number in range(STREAM_BATCH):
                yield target, (target + 1 + step * STREAM_BATCH + number) % count


async def direct(
    served: str, drawings: list[bytes], pairs: list[Pair], process: psutil.Process, rows: list[Row]
) -> dict[Pair, list[float]]:
    """The scorer by itself; raw values by pair."""
    values: dict[Pair, list[float]] = {}
    todo = iter([pairs[start : start + STREAM_BATCH] for start in range(0, len(pairs), STREAM_BATCH)])
    async with channel(served) as stub:
        await asyncio.gather(*(stub.Score(_request(drawings, pairs[:8])) for _ in range(2)))

        async def worker() -> None:
            for batch in todo:
                answer = await stub.Score(_request(drawings, batch))
                for pair, one in zip(batch, answer.candidates, strict=True):
                    values[pair] = [score.raw for score in one.scores]

        with Timed(process) as timed:
            await asyncio.gather(*(worker() for _ in range(WINDOW)))
    rows.append(timed.row("scorer", len(pairs)))
    return values


async def streamed(
    client: AsyncClient,
    infos: list[ImageInfo],
    pairs: list[Pair],
    process: psutil.Process,
    rows: list[Row],
    way: str,
    expected: dict[Pair, list[float]],
    memory: list[float] | None = None,
) -> dict[Pair, list[float]]:
    """Pairs over one stream; raw values by pair."""
    items = (EvaluationItem(f"{a} {b}", target=infos[a], image=infos[b]) for a, b in pairs)
    values: dict[Pair, list[float]] = {}
    worst = 0.0
    with Timed(process) as timed:
        async with aclosing(client.evaluate_stream(items, metrics=METRICS)) as results:
            done = 0
            async for result in results:
                assert result.error is None, result
                pair, raw = pairs[result.offset], [score.raw for score in result.images[0].scores]
                if len(values) < len(expected) or pair in expected:
                    values[pair] = raw
                if pair in expected:
                    worst = max(worst, float(np.abs(np.subtract(raw, expected[pair])).max()))
                done += 1
                if memory is not None and done == len(pairs) // 10:
                    memory.append(_resident(process))
    if memory is not None:
        memory.append(_resident(process))
    rows.append(timed.row(way, len(pairs), worst=worst))
    return values


async def direct_singles(
    served: str, drawings: list[bytes], pairs: list[Pair], process: psutil.Process, rows: list[Row]
) -> None:
    """Single pairs, one after the other."""
    times = []
    async with channel(served) as stub:
        with Timed(process) as timed:
            for pair in pairs:
                begun = time.perf_counter()
                await stub.Score(_request(drawings, [pair]))
                times.append(time.perf_counter() - begun)
    rows.append(timed.row("scorer, single", len(pairs), times=times))


async def streamed_singles(
    client: AsyncClient, infos: list[ImageInfo], pairs: list[Pair], process: psutil.Process, rows: list[Row], way: str
) -> None:
    """Single pairs over one stream, the next when the last is answered."""
    answered = asyncio.Event()
    times, begun = [], 0.0

    async def items() -> AsyncIterator[EvaluationItem]:
        nonlocal begun
        for a, b in pairs:
            answered.clear()
            begun = time.perf_counter()
            yield EvaluationItem(f"{a} {b}", target=infos[a], image=infos[b])
            await answered.wait()

    with Timed(process) as timed:
        async with aclosing(client.evaluate_stream(items(), metrics=METRICS)) as results:
            async for result in results:
                assert result.error is None, result
                times.append(time.perf_counter() - begun)
                answered.set()
    rows.append(timed.row(f"{way}, single", len(pairs), times=times))


class Timed:
    """Wall time, and processor time of a process and its children."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self.seconds = self.cpu_seconds = 0.0

    def __enter__(self) -> Timed:
        self._begun, self._cpu = time.perf_counter(), self._processor_seconds()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._begun
        self.cpu_seconds = self._processor_seconds() - self._cpu

    def row(self, way: str, items: int, *, times: list[float] | None = None, worst: float = 0.0) -> Row:
        p50 = round(1e3 * float(np.percentile(times, 50)), 2) if times else 0.0
        by_cpu = round(items / self.cpu_seconds, 1) if self.cpu_seconds > 0.05 else 0.0
        return Row(
            way,
            items,
            round(self.seconds, 3),
            round(items / self.seconds, 1),
            round(self.cpu_seconds, 3),
            by_cpu,
            p50,
            worst,
        )

    def _processor_seconds(self) -> float:
        everything = [self._process, *self._process.children(recursive=True)]
        return sum(sum(one.cpu_times()[:2]) for one in everything)


@asynccontextmanager
async def channel(served: str) -> AsyncIterator[ScorerServiceStub]:
    """A client of the scorer."""
    options = [("grpc.max_receive_message_length", 64 * MEBIBYTE)]
    async with grpc.aio.insecure_channel(served, options=options) as opened:
        yield ScorerServiceStub(opened)


def _request(drawings: list[bytes], pairs: list[Pair]) -> pb.ScoreRequest:
    return pb.ScoreRequest(
        request_id="bench",
        target=pb.ScoreSubject(image=image_pb2.Image(data=drawings[pairs[0][0]])),
        candidates=[pb.ScoreSubject(image=image_pb2.Image(data=drawings[b])) for _, b in pairs],
        metrics=METRICS,
    )


def _resident(process: psutil.Process) -> float:
    return round(process.memory_info().rss / MEBIBYTE, 1)


if __name__ == "__main__":
    main()
