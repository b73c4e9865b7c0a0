"""Writes docs/capacity.md from the results in capacity/results.

    python -m capacity.report [--run | --measure]

With `--run` the simulations are run anew (about two minutes); with `--measure` what the stores take is measured anew
before, too. Without either the page is written from the results that there are.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from capacity import numbers
from capacity.bottlenecks import bottlenecks, decode_cpu_seconds
from capacity.models import Number
from capacity.results import read

PAGE = Path(__file__).resolve().parents[1] / "docs" / "capacity.md"
TEMPLATE = Path(__file__).parent / "page.md"
RUN: Sequence[str] = ("capacity.validation", "capacity.scenarios")
MEASURE: Sequence[str] = ("capacity.stores",)
Row = Mapping[str, Any]
_COUNTED = ("replicas", "second of")
"""Numbers of the validation that are no rates or latencies."""


def main() -> int:
    """Entry point; returns the exit code: 1 if a run failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true", help="simulate anew first")
    parser.add_argument("--measure", action="store_true", help="measure anew and simulate anew first")
    options = parser.parse_args()
    modules = (*MEASURE, *RUN) if options.measure else RUN if options.run else ()
    failed = sum(subprocess.run([sys.executable, "-m", one], check=False).returncode != 0 for one in modules)
    PAGE.write_text(page(read("validation"), read("scenarios"), read("stores")), encoding="utf-8")
    return int(failed > 0)


def page(validation: Row, scenarios: Row, stores: Row) -> str:
    """The page as Markdown."""
    errors = sorted(abs(row["error"]) for row in validation["rows"] if not row["number"].startswith(_COUNTED))
    best = max(scenarios["policies"], key=lambda row: row["within_aim"])
    parts = {
        "validation": _validation(validation["rows"]),
        "median_error": f"{errors[len(errors) // 2]:.1%}",
        "largest_error": f"{errors[-1]:.1%}",
        "capacity": _capacity(scenarios["capacity"]),
        "policies": _policies(scenarios["policies"]),
        "best_policy": f"{best['policy']}, replicas that start in {best['start_seconds']:g} s",
        "bursts": _bursts(scenarios["bursts"]),
        "machine": stores["machine"],
        "costs": _costs(stores["loops"]),
        "events": _events(stores["events"]),
        **_slow_disk(stores["events"]),
        "cache": _cache(stores["cache"]),
        "bottlenecks": _bottlenecks(bottlenecks(numbers.sdxl(), stores, decode_cpu_seconds())),
        "numbers": _numbers(numbers.NUMBERS),
    }
    return TEMPLATE.read_text(encoding="utf-8").format(**parts)


def _validation(rows: Sequence[Row]) -> str:
    head = ("run", "number", "measured", "simulated", "error")
    return _table(
        head,
        [
            (one["what"], one["number"], f"{one['measured']:g}", f"{one['simulated']:g}", f"{one['error']:+.1%}")
            for one in rows
        ],
    )


def _capacity(rows: Sequence[Row]) -> str:
    return _table(
        (
            "model",
            "GPU",
            "GPUs",
            "users",
            "images/s",
            "busy",
            "p50, s",
            "p95, s",
            "aim, s",
            "USD/h",
            "USD/1,000 images",
        ),
        [
            (
                *(row["model"], row["machine"], row["gpus"], f"{row['users']:,g}", row["pictures_per_second"]),
                *(f"{row['load']:.0%}", row["p50_seconds"], row["p95_seconds"], row["aim_seconds"]),
                *(f"{row['usd_an_hour']:,.2f}", f"{row['usd_a_thousand_pictures']:.2f}"),
            )
            for row in rows
        ],
    )


def _policies(rows: Sequence[Row]) -> str:
    head = ("policy", "start, s", "GPUs before", "p50, s", "p95, s", "within the aim", "refused")
    return _table(
        (*head, "s until nine serve", "GPU hours"),
        [
            (
                *(row["policy"], f"{row['start_seconds']:g}", row["replicas_before"], row["p50_seconds"]),
                *(row["p95_seconds"], f"{row['within_aim']:.0%}", f"{row['refused']:.1%}"),
                *("never" if row["seconds_until_enough"] is None else row["seconds_until_enough"], row["gpu_hours"]),
            )
            for row in rows
        ],
    )


def _bursts(rows: Sequence[Row]) -> str:
    return _table(
        ("times", "calls", "refused", "p50 of the others, s", "p95, s", "s until all is as before"),
        [
            (
                *(f"{row['times']:g}", row["asked"], f"{row['refused']:.0%}", row["p50_seconds"], row["p95_seconds"]),
                row["seconds_until_as_before"],
            )
            for row in rows
        ],
    )


def _costs(row: Row) -> str:
    return _table(
        ("a picture of a loop", ""),
        [
            ("gateway, processor", f"{1000 * row['gateway_cpu_seconds_a_picture']:.1f} ms"),
            ("PostgreSQL, processor", f"{1000 * row['postgres_cpu_seconds_a_picture']:.1f} ms"),
            ("PostgreSQL", f"{row['events_a_picture']:.1f} events, {row['commits_a_picture']:.1f} transactions"),
            ("write-ahead log", f"{row['wal_bytes_a_picture'] / 1000:.1f} kB"),
            ("Redis, processor", f"{1000 * row['redis_cpu_seconds_a_picture']:.2f} ms"),
            ("Redis", f"{row['redis_bytes_a_picture'] / 1000:.1f} kB, {row['redis_commands_a_picture']:.1f} commands"),
        ],
    )


def _events(rows: Sequence[Row]) -> str:
    return _table(
        ("writers", "a flush takes longer by", "notifications", "events/s", "PostgreSQL, processor, an event"),
        [
            (
                *(row["writers"], f"{row['flush_ms']} ms", "as it is" if row["notifying"] else "without"),
                *(f"{row['events_per_second']:,.0f}", f"{row['postgres_cpu_ms_an_event']:.2f} ms"),
            )
            for row in rows
        ],
    )


def _slow_disk(rows: Sequence[Row]) -> dict[str, str]:
    slow = {row["notifying"]: row for row in rows if row["flush_ms"]}
    return {
        "flush_ms": f"{slow[True]['flush_ms']}",
        "writers": f"{slow[True]['writers']}",
        "notifying": f"{slow[True]['events_per_second']:,.0f}",
        "silent": f"{slow[False]['events_per_second']:,.0f}",
    }


def _cache(row: Row) -> str:
    return (
        f"Redis: one client keeps and finds {row['kept_and_found_per_second']:,.0f} embeddings of "
        f"{row['embedding_bytes']:,} bytes a second ({row['bytes_per_second'] / 1e6:.1f} MB/s);\n"
        f"each takes {row['redis_cpu_us_an_embedding']:.0f} us of Redis' one core."
    )


def _bottlenecks(rows: Sequence[Row]) -> str:
    lines = (
        ("images/s", "pictures_per_second", "{:,.1f}"),
        ("gateways (one core each, 70 % busy)", "gateways", "{:,}"),
        ("cores that decode PNGs of 1024 x 1024", "gateway_decoding_cores", "{:,.1f}"),
        ("MB/s of pictures through gateways, each way", "picture_megabytes_per_second", "{:,.1f}"),
        ("events/s", "events_per_second", "{:,.0f}"),
        ("a commit that notifies may take at most, ms", "commit_ms", "{:,.2f}"),
        ("PostgreSQL, cores", "postgres_cores", "{:,.2f}"),
        ("write-ahead log, MB/s", "wal_megabytes_per_second", "{:,.2f}"),
        ("database, GB/day", "database_gigabytes_a_day", "{:,.1f}"),
        ("Redis, MB/s", "redis_megabytes_per_second", "{:,.2f}"),
        ("Redis, of its one core", "redis_cores", "{:.1%}"),
    )
    return _table(
        ("", *(f"{row['gpus']:,} GPUs" for row in rows)),
        [(label, *(form.format(row[key]) for row in rows)) for label, key, form in lines],
    )


def _numbers(rows: Sequence[Number]) -> str:
    return _table(
        ("number", "value", "", "where it is from"),
        [(one.name, f"{one.value:,g} {one.unit}".strip(), f"*{one.origin}*", one.source) for one in rows],
    )


def _table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows))


if __name__ == "__main__":
    sys.exit(main())
