"""Do loops make better pictures, and where does their time go."""

from __future__ import annotations

from deploy.monitoring.boards.queries import quantile, rate, total
from deploy.monitoring.panels import Dashboard, Panel, Query, Row, Unit

_QUALITY: Unit = "none"
LOOPS = Dashboard(
    "likeness-loops",
    "Likeness / Loop quality",
    "Do loops make better pictures, round by round, and where does their time go.",
    [
        Row(
            "Quality, means over the last hour",
            [
                Panel(
                    "Best loop score after a round",
                    [
                        Query(
                            "sum by (strategy, round) (increase(likeness_gateway_round_best_score_sum{$ns}[1h]))"
                            " / sum by (strategy, round) (increase(likeness_gateway_round_best_score_count{$ns}[1h]))",
                            "{{strategy}} round {{round}}",
                        )
                    ],
                    _QUALITY,
                    "0 to 1. Loops with other selection metrics have other scores: compare like with like.",
                    "bargauge",
                    12,
                    1,
                ),
                Panel(
                    "Gain of a round",
                    [
                        Query(
                            "sum by (strategy, round) (increase(likeness_gateway_round_gain_sum{$ns}[1h]))"
                            " / sum by (strategy, round) (increase(likeness_gateway_round_gain_count{$ns}[1h]))",
                            "{{strategy}} round {{round}}",
                        )
                    ],
                    _QUALITY,
                    "What the round added to the best score. Round 10 stands for all later ones too.",
                    "bargauge",
                    12,
                ),
                Panel(
                    "Gain of a round over time",
                    [Query("likeness:gateway_round_gain:mean_rate1h{$ns}", "{{strategy}} round {{round}}")],
                    _QUALITY,
                    "A fall after a release is a model, a metric or a language model that got worse.",
                    width=12,
                ),
                Panel(
                    "Rounds that gain nothing",
                    [
                        Query(
                            'sum by (strategy) (rate(likeness_gateway_round_gain_bucket{$ns,le="0.0"}[1h]))'
                            " / sum by (strategy) (rate(likeness_gateway_round_gain_count{$ns}[1h]))",
                            "{{strategy}}",
                        )
                    ],
                    "percentunit",
                    width=12,
                    most=1,
                ),
            ],
        ),
        Row(
            "Runs",
            [
                Panel(
                    "Sessions",
                    [
                        total("likeness_gateway_running_sessions", legend="run or wait"),
                        total("likeness_gateway_waiting_sessions", legend="wait"),
                    ],
                ),
                Panel("Ended, by reason", [Query(rate("likeness_gateway_runs_total", "reason"), "{{reason}}")], "ops"),
                Panel(
                    "Where the time goes",
                    [Query(rate("likeness_gateway_loop_step_seconds_sum", "step"), "{{step}}")],
                    "s",
                    "Seconds of each step in a second, over all loops.",
                ),
                Panel(
                    "Time of a step, 95 %",
                    [quantile(0.95, "likeness_gateway_loop_step_seconds", "step")],
                    "s",
                    width=24,
                ),
            ],
        ),
    ],
)
