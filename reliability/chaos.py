"""Loops under way while random parts of the deployment are killed, and what is true of the database afterwards.

    python -m reliability.chaos [--seconds 300] [--loops 50] [--items 2000] [--seed 1]

Real processes: PostgreSQL, Redis, two gateways, and light backends that speak the real contracts. Every `--every`
seconds one of those that live gets SIGKILL and is started again up to 4 s later. As many clients as `--loops` run one
loop after another, and one sends the items of an evaluation stream, spread over the time. When the time is over no new
loop begins and nothing more is killed; then every loop must come to its end and every item to its result, and the
invariants of `invariants.py` must hold. The result goes to reliability/results/chaos.json; the exit code is 1 if
anything is lost, doubled or without an end.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from reliability.deployment import Deployment, deployed
from reliability.invariants import Audit, audit
from reliability.killing import Killer
from reliability.loops import LoopTally, run_loops
from reliability.results import RESULTS, machine, write
from reliability.stream import StreamTally, run_stream

REPORT_SECONDS = 10.0
END_SECONDS = 300.0
"""How long the loops under way may take once nothing dies any more."""
SENDING_PART = 0.9
"""Of the time in which parts are killed, over which the items of the stream are spread."""
SETTINGS = {"max_running_sessions": 64}

console = Console()


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="for how long parts are killed")
    parser.add_argument("--loops", type=int, default=50, help="loops at once")
    parser.add_argument("--items", type=int, default=2000, help="of the evaluation stream")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two kills")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "chaos.json")
    options = parser.parse_args()
    try:
        row = asyncio.run(_until_told(options))
    except asyncio.CancelledError:
        console.print("stopped; nothing was written")
        return 130
    write(options.out, row)
    console.print_json(data=row)
    return 0 if row["held"] else 1


async def _until_told(options: argparse.Namespace) -> dict[str, Any]:
    """The run; SIGINT and SIGTERM end it with everything that it started."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await chaos(
        seconds=options.seconds,
        loops=options.loops,
        items=options.items,
        every_seconds=options.every,
        seed=options.seed,
    )


async def chaos(*, seconds: float, loops: int, items: int, every_seconds: float, seed: int) -> dict[str, Any]:
    """One run and its row; `held` says whether everything that must be true is."""
    async with deployed(gateways=2, settings=SETTINGS) as deployment:
        console.print(f"up: {', '.join(deployment.parts)}")
        tally, stream = LoopTally(), StreamTally(items)
        killer = Killer(deployment, seed, every_seconds)
        began = time.monotonic()
        killing = asyncio.create_task(killer.run(seconds))
        clients = [
            asyncio.create_task(run_loops(deployment.address(number), number, seed, tally, lambda: not killing.done()))
            for number in range(loops)
        ]
        clients.append(asyncio.create_task(run_stream(deployment.address(), stream, SENDING_PART * seconds / items)))
        progress = asyncio.create_task(_report(tally, stream, killer, began))
        try:
            await killing
            console.print(f"{time.monotonic() - began:5.0f} s: nothing dies any more")
            await asyncio.wait(clients, timeout=END_SECONDS)
        finally:
            unfinished = sum(not client.done() for client in clients)
            for task in (killing, progress, *clients):
                task.cancel()
            outcomes = await asyncio.gather(killing, progress, *clients, return_exceptions=True)
        crashes = [repr(one) for one in outcomes if isinstance(one, Exception)]
        found = await audit(deployment.database_url, deployment.objects)
        row = _row(deployment, tally, stream, killer, found, unfinished, crashes)
    return row | {
        "clients": loops,
        "every_seconds": every_seconds,
        "kill_seconds": seconds,
        "seconds": round(time.monotonic() - began, 1),
        "machine": machine(),
    }


def _row(
    deployment: Deployment,
    tally: LoopTally,
    stream: StreamTally,
    killer: Killer,
    found: Audit,
    unfinished: int,
    crashes: list[str],
) -> dict[str, Any]:
    internal = sum(deployment.log(one.name).count('"rpc_crashed"') for one in deployment.gateways)
    p50, p99 = np.quantile(tally.seconds, (0.5, 0.99)).round(2).tolist() if tally.seconds else (0.0, 0.0)
    of_loops = unfinished or tally.wrong_logs or tally.client_errors
    of_stream = stream.missing or stream.contradicted or stream.wrong or stream.state != "STATE_SUCCEEDED"
    return {
        "held": not (of_loops or of_stream or crashes or found.broken or internal),
        "kills": dict(sorted(killer.kills.by_part.items())),
        "longest_down_seconds": {k: round(max(v), 1) for k, v in sorted(killer.kills.down_seconds.items())},
        "failed_starts": killer.kills.failed_starts,
        "loops": {
            "started": tally.started,
            "ended": dict(tally.ended),
            "unfinished": unfinished,
            "seconds_p50": p50,
            "seconds_p99": p99,
            "watched_events": tally.watched_events,
            "wrong_logs": tally.wrong_logs[:10],
            "client_errors": dict(tally.client_errors),
        },
        "stream": {
            "items": stream.items,
            "answered": len(stream.results),
            "missing": stream.missing,
            "contradicted": len(stream.contradicted),
            "wrong": stream.wrong[:10],
            "replayed": stream.replayed,
            "reopened": max(stream.opened - 1, 0),
            "breaks": dict(stream.breaks.most_common(10)),
            "state": stream.state,
        },
        "calls_that_crashed": internal,
        "client_crashes": crashes[:10],
        "database": {key: value for key, value in asdict(found).items() if key != "checks"},
        "broken_invariants": {one.name: list(one.broken_by) for one in found.broken},
        "invariants_checked": [one.name for one in found.checks],
    }


async def _report(tally: LoopTally, stream: StreamTally, killer: Killer, began: float) -> None:
    while True:
        await asyncio.sleep(REPORT_SECONDS)
        ended = ", ".join(f"{count} {name}" for name, count in sorted(tally.ended.items()))
        killed, down = killer.kills.by_part.total(), ", ".join(killer.down) or "nothing"
        console.print(
            f"{time.monotonic() - began:5.0f} s: {killed} killed, down: {down}; "
            f"{tally.open} loops open, {ended or 'none ended'}; {len(stream.results)} items answered, stream opened "
            f"{stream.opened} times; client errors {dict(tally.client_errors)}"
        )


if __name__ == "__main__":
    sys.exit(main())
