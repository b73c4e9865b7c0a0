"""What the gateways wait for."""

from __future__ import annotations

from deploy.monitoring.boards.queries import FAULTS, quantile, rate, total
from deploy.monitoring.panels import Dashboard, Panel, Query, Row

GATEWAY = Dashboard(
    "likeness-gateway",
    "Likeness / Gateway",
    "What the gateways wait for: backends, cache, decoders; and what they do besides: evaluations, housekeeping.",
    [
        Row(
            "Backends, one line a try",
            [
                Panel(
                    "Latency, 95 %",
                    [quantile(0.95, "likeness_gateway_backend_seconds", "backend")],
                    "s",
                ),
                Panel(
                    "Tries that failed",
                    [
                        Query(
                            rate("likeness_gateway_backend_seconds_count", "backend, code", FAULTS),
                            "{{backend}} {{code}}",
                        )
                    ],
                    "reqps",
                ),
                Panel(
                    "Tried again",
                    [Query(rate("likeness_gateway_backend_retries_total", "backend"), "{{backend}}")],
                    "reqps",
                ),
            ],
        ),
        Row(
            "Cache and decoders",
            [
                Panel(
                    "Lookups",
                    [Query(rate("likeness_gateway_cache_lookups_total", "result"), "{{result}}")],
                    "ops",
                    "joined and waited: somebody else was computing the same vector.",
                ),
                Panel(
                    "Hits",
                    [Query("likeness:gateway_cache_hits:ratio_rate15m{$ns}", "share")],
                    "percentunit",
                    most=1,
                ),
                Panel(
                    "Redis commands that failed",
                    [Query(rate("likeness_gateway_cache_errors_total", "instance"), "{{instance}}")],
                    "ops",
                ),
                Panel(
                    "Decoders that ended",
                    [Query(rate("likeness_gateway_decoders_ended_total", "cause"), "{{cause}}")],
                    "ops",
                    "Processes that died of a picture, by cause.",
                ),
                Panel(
                    "Removed by housekeeping",
                    [Query(rate("likeness_gateway_removed_total", "chore"), "{{chore}}")],
                    "ops",
                ),
                Panel(
                    "Tries of the language model that failed",
                    [Query(rate("likeness_language_model_retries_total", "cause"), "{{cause}}")],
                    "ops",
                ),
            ],
        ),
        Row(
            "Evaluations",
            [
                Panel("Items", [Query(rate("likeness_gateway_evaluation_items_total", "result"), "{{result}}")], "ops"),
                Panel(
                    "Open",
                    [
                        total("likeness_gateway_evaluation_streams", legend="streams"),
                        total("likeness_gateway_running_evaluations", legend="jobs"),
                    ],
                ),
                Panel(
                    "Jobs that ended",
                    [Query(rate("likeness_gateway_evaluations_total", "result"), "{{result}}")],
                    "ops",
                ),
            ],
        ),
    ],
)
