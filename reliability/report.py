"""Writes docs/reliability.md from the results in reliability/results.

    python -m reliability.report [--run]

With `--run` everything is measured anew first (about fifteen minutes): the tests of faults, the chaos run, overload and
fuzz. Without it the page is written from the results that there are.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from reliability.results import RESULTS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"
FAULTS = RESULTS / "faults.json"
COMMANDS: Sequence[Sequence[str]] = (
    ("pytest", "tests/faults", "--fault-results", str(FAULTS)),
    ("reliability.chaos",),
    ("reliability.overload",),
    ("reliability.fuzz",),
)
_OUTCOMES = {"passed": "holds", "failed": "**broken**", "skipped": "not shown on this machine"}


def main() -> int:
    """Entry point; returns the exit code: 1 if a run found something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true", help="measure everything anew first")
    failed = 0
    if parser.parse_args().run:
        failed = sum(subprocess.run([sys.executable, "-m", *one], check=False).returncode != 0 for one in COMMANDS)
    PAGE.write_text(page(read("faults"), read("chaos"), read("overload"), read("fuzz")), encoding="utf-8")
    return int(failed > 0)


def read(name: str) -> Any:
    """A result."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def page(faults: list[dict[str, Any]], chaos: dict[str, Any], overload: dict[str, Any], fuzz: dict[str, Any]) -> str:
    """The page as Markdown."""
    return "\n".join(
        [
            "# What happens when parts fail",
            "",
            "Written by `python -m reliability.report` from `reliability/results`; `make reliability` measures anew.",
            "Every row comes from real processes: PostgreSQL, Redis, two gateways on one database, and backends that",
            "speak the real contracts and know no model (`reliability/light`), so that all of it runs on one core.",
            "What becomes of replicas of the real backends is shown by `tests/gateway/test_replica_killed.py`",
            "(generator) and `tests/e2e/test_faults.py` (scorer, refiner), and of a whole node that is lost, with",
            "replicas and proxy, by `tests/cluster/nodes` (network namespaces). Clients are those of the SDK, with the",
            "addresses of both gateways: `ipv4:HOST:PORT,HOST:PORT`.",
            "",
            *_faults(faults),
            *_chaos(chaos),
            *_overload(overload),
            *_fuzz(fuzz),
            "## Not shown",
            "",
            "- A network that swallows packets without closing connections. Keep-alive pings are to find it: after",
            "  45 s between client and gateway, after 330 s between gateway and backends, whose proxy takes no more.",
            "- A machine that loses power. What is told as stored was written through to the disk before: commits by",
            "  PostgreSQL, pictures by the object store's fsync of file and folders.",
            "",
        ]
    )


def _faults(rows: list[dict[str, Any]]) -> Iterable[str]:
    yield from ("## Faults", "", "    pytest tests/faults", "")
    yield "| fault | what the client sees | what is retried | what is lost | shown by | |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        name, _, case = row["test"].partition("[")
        fault = row["fault"].format(part=case.rstrip("]"))
        cells = [fault, row["client_sees"], row["retried"], row["lost"], f"`{name}`", _OUTCOMES[row["outcome"]]]
        yield f"| {' | '.join(cells)} |"
    yield ""


def _chaos(row: dict[str, Any]) -> Iterable[str]:
    loops, kills, stream = row["loops"], row["kills"], row["stream"]
    ended = ", ".join(f"{count:,} {name}" for name, count in loops["ended"].items())
    yield from ("## Chaos", "", "    python -m reliability.chaos", "")
    yield (
        f"{row['clients']} loops at once and one stream of {stream['items']:,} items, while a random part was killed "
        f"every {row['every_seconds']:g} s for {row['kill_seconds']:g} s: {sum(kills.values())} kills ("
        + ", ".join(f"{name} {count}" for name, count in kills.items())
        + "). Several parts may be down at once."
    )
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield f"| loops begun | {loops['started']:,} |"
    yield f"| ended | {ended} |"
    yield f"| without an end | {loops['unfinished']} |"
    yield f"| calls of loops that failed after all retries | {_counts(loops['client_errors'])} |"
    yield f"| events watched | {loops['watched_events']:,} |"
    yield f"| logs with a gap or a repetition, as watched | {len(loops['wrong_logs'])} |"
    yield f"| candidates in the database; made or scored twice | {row['database']['candidates']:,}; {_doubled(row)} |"
    yield f"| items of the stream that have a result | {stream['answered']:,} of {stream['items']:,} |"
    yield f"| items lost; answered twice in two ways | {stream['missing']}; {stream['contradicted']} |"
    yield f"| times the stream was opened again | {stream['reopened']} |"
    yield f"| calls that ended with INTERNAL | {row['calls_that_crashed']} |"
    yield f"| invariants checked; broken | {len(row['invariants_checked'])}; {len(row['broken_invariants'])} |"
    yield f"| pictures checked in the object store | {row['database']['images']:,} |"
    yield f"| pictures stored that no row knows | {row['database']['unknown_objects']} |"
    yield from (
        "",
        f"{_verdict(row)} Invariants: {'; '.join(row['invariants_checked'])}. Machine: {row['machine']}.",
        "",
    )


def _doubled(row: dict[str, Any]) -> int:
    doubles = ("each thing happened to a candidate once", "no candidate is there twice")
    return sum(len(row["broken_invariants"].get(name, ())) for name in doubles)


def _overload(row: dict[str, Any]) -> Iterable[str]:
    yield from ("## Overload", "", "    python -m reliability.overload", "")
    asked, capacity = row["asked_per_second"], row["capacity_per_second"]
    yield f"{asked:g} pictures a second asked for where {capacity:g} can be made, for {row['seconds']:g} s."
    yield ""
    yield "| | quiet | overloaded | afterwards |"
    yield "|---|---|---|---|"
    yield f"| p50 of pictures let in, s | {row['quiet_p50_seconds']} | {row['overloaded_p50_seconds']} | |"
    yield (
        f"| p99 of pictures let in, s | {row['quiet_p99_seconds']} | {row['overloaded_p99_seconds']} | "
        f"{row['quiet_p99_afterwards_seconds']} |"
    )
    yield ""
    yield (
        f"Let in {row['let_in']:,}, refused {row['refused']:,} with RESOURCE_EXHAUSTED, "
        f"{row['refused_without_retry_info']} of them without RetryInfo, p99 of a refusal "
        f"{row['refusal_p99_seconds']} s; failed otherwise: {_counts(row['failed'])}. The gateway takes "
        f"{row['gateway_cpu_milliseconds_per_call']} ms of a core a call, and its memory grew by "
        f"{row['gateway_rss_growth_mib']} MiB after the first quarter. {_verdict(row)} Machine: {row['machine']}."
    )
    yield ""


def _fuzz(row: dict[str, Any]) -> Iterable[str]:
    yield from ("## Fuzz", "", "    python -m reliability.fuzz", "")
    exceptions = sum(row["exceptions_in_the_log"].values())
    yield (
        f"{row['cases']:,} cases against a real gateway: half of them broken pictures of every format, the others "
        f"requests of {row['methods']} methods with nasty fields and broken bytes, at least "
        f"{row['fewest_of_a_method']} of each. Answers: {_counts(row['statuses'])} (left: streams that were left after "
        f"a while). Defects: {len(row['defects'])}; exceptions in the gateway's log: {exceptions}. {_verdict(row)}"
    )
    yield ""


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"


def _verdict(row: dict[str, Any]) -> str:
    return "All of it held." if row["held"] else "**Not all of it held.**"


if __name__ == "__main__":
    sys.exit(main())
