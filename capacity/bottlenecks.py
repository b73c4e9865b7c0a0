"""What gateways, PostgreSQL, Redis and the network do at 10, 100 and 1,000 accelerators, by what was measured."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from typing import Any

from capacity import numbers
from capacity.models import Model
from capacity.results import BENCHMARKS

GPUS = (10, 100, 1000)
LOAD = 0.8
"""Of what the accelerators can make."""
CORE_SHARE = 0.7
"""Of a core that a process with one event loop may use for long, so that calls do not wait for it."""
PIXELS = 1024 * 1024
DECODED_PIXELS = 512 * 512


def bottlenecks(model: Model, stores: Mapping[str, Any], decode_cpu_seconds: float) -> list[dict[str, Any]]:
    """A row for each number of accelerators.

    Args:
        stores: What a picture costs, as `capacity/stores.py` measures it.
        decode_cpu_seconds: Of a picture of 512 x 512 pixels in a worker process of the gateway.
    """
    loops, cache = stores["loops"], stores["cache"]
    rows = []
    for gpus in GPUS:
        rate = LOAD * gpus * model.pictures_per_second()
        loop_cores = rate * loops["gateway_cpu_seconds_a_picture"]
        decode_cores = rate * decode_cpu_seconds * PIXELS / DECODED_PIXELS
        transactions = rate * loops["commits_a_picture"]
        embeddings = rate * numbers.EMBEDDINGS.value
        redis_bytes = rate * loops["redis_bytes_a_picture"] + embeddings * cache["bytes_an_embedding"]
        redis_cores = (
            rate * loops["redis_cpu_seconds_a_picture"] + embeddings * cache["redis_cpu_us_an_embedding"] / 1e6
        )
        rows.append(
            {
                "gpus": gpus,
                "pictures_per_second": round(rate, 1),
                "gateways": math.ceil(loop_cores / CORE_SHARE),
                "gateway_loop_cores": round(loop_cores, 2),
                "gateway_decoding_cores": round(decode_cores, 2),
                "events_per_second": round(rate * loops["events_a_picture"], 1),
                "transactions_per_second": round(transactions, 1),
                "commit_ms": round(1000 / (rate * loops["events_a_picture"]), 2),
                "postgres_cores": round(rate * loops["postgres_cpu_seconds_a_picture"], 2),
                "wal_megabytes_per_second": round(rate * loops["wal_bytes_a_picture"] / 1e6, 2),
                "redis_megabytes_per_second": round(redis_bytes / 1e6, 3),
                "redis_cores": round(redis_cores, 4),
                "picture_megabytes_per_second": round(rate * numbers.PICTURE_BYTES.value / 1e6, 1),
                "database_gigabytes_a_day": round(86_400 * rate * loops["database_bytes_a_picture"] / 1e9, 1),
            }
        )
    return rows


def decode_cpu_seconds() -> float:
    """Of a PNG of 512 x 512 pixels in a worker process of the gateway, as benchmarks/decoding.py measured it."""
    with (BENCHMARKS / "decoding.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if (row["way"], row["format"]) == ("worker", "PNG")]
    return next(float(row["cpu_seconds"]) for row in rows if int(row["width"]) == 512)
