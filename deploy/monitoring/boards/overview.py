"""Is the service well, and which part is it, if not."""

from __future__ import annotations

from deploy.monitoring.boards.queries import quantile, rate, total
from deploy.monitoring.panels import Dashboard, Panel, Query, Row


def _golden(service: str) -> Row:
    """Traffic, errors and latency of a service, by method."""
    seconds = f"likeness_{service}_rpc_seconds"
    return Row(
        service.capitalize(),
        [
            Panel("Calls", [Query(rate(f"{seconds}_count", "method"), "{{method}}")], "reqps"),
            Panel(
                "Calls that failed",
                [Query(rate(f"{seconds}_count", "method, code", 'code!="OK"'), "{{method}} {{code}}")],
                "reqps",
                "By status. INVALID_ARGUMENT, NOT_FOUND and CANCELLED are the caller's.",
            ),
            Panel("Latency, 95 %", [quantile(0.95, seconds, "method")], "s", "Streams take as long as they are open."),
        ],
    )


OVERVIEW = Dashboard(
    "likeness-overview",
    "Likeness / Overview",
    "Is the service well, and which part is it, if not.",
    [
        Row(
            "Now",
            [
                Panel(
                    "Parts that no gateway reaches",
                    [Query("sum(1 - max by (component) (likeness_gateway_component_up{$ns}))", "parts")],
                    kind="stat",
                    width=4,
                ),
                Panel(
                    "Calls that fail",
                    [Query("likeness:gateway_errors:ratio_rate5m{$ns}", "share")],
                    "percentunit",
                    "Through no fault of their caller's. The goal is 0.5 % a month.",
                    "stat",
                    4,
                ),
                Panel("Sessions that run", [total("likeness_gateway_running_sessions")], kind="stat", width=4),
                Panel("Sessions that wait", [total("likeness_gateway_waiting_sessions")], kind="stat", width=4),
                Panel("Pictures that wait", [total("likeness_generator_waiting_items")], kind="stat", width=4),
                Panel(
                    "Pictures made a second",
                    [Query(rate("likeness_generator_pictures_total", "model", 'outcome="made"'), "{{model}}")],
                    kind="stat",
                    width=4,
                ),
            ],
        ),
        Row(
            "Gateways",
            [
                Panel(
                    "Parts as the gateways see them",
                    [Query("min by (component) (likeness_gateway_component_up{$ns})", "{{component}}")],
                    note="1 if every gateway reaches it.",
                    most=1,
                ),
                Panel(
                    "Runs that stopped",
                    [Query(rate("likeness_gateway_runs_total", "reason"), "{{reason}}")],
                    "ops",
                ),
                Panel(
                    "Calls not let in",
                    [Query(rate("likeness_gateway_refused_calls_total", "reason"), "{{reason}}")],
                    "reqps",
                ),
            ],
        ),
        _golden("gateway"),
        _golden("generator"),
        _golden("scorer"),
        _golden("refiner"),
    ],
)
